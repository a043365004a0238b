"""`grad`, `vjp`, `jvp`, `jacrev`, `jacfwd`, `hessian`, `linearize`: functions that differentiate functions.

Each takes derivatives with respect to aliases of its inputs, places in the graph of its own (`autograd.forward.alias`). What is computed
stays in the graph as far as it reaches leaves outside of the transformation: so transformations nest, and mix with ``backward``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from ..autograd.engine import run
from ..autograd.forward import alias, depends_on_others, peeled, pushforward, recording_forward, zeros_for
from ..autograd.grad_mode import LOCAL, enable_grad
from ..autograd.graph import wrap_array
from ..tensor import Tensor, wrap
from ..utils._pytree import tree_flatten, tree_map, tree_unflatten
from ..vocabulary import Operand, PerDim
from .fallback import assume_clean
from .vmap import vmap

__all__ = ["grad", "grad_and_value", "vjp", "jvp", "jacrev", "jacfwd", "hessian", "linearize", "functionalize"]


# --- what all share -------------------------------------------------------------------------------------------------------------------

def _aliases(tree: tuple[Any, ...], outside: bool, strict: bool = True) -> tuple[list[Any], Any]:
    """The leaves of a tree as aliases to differentiate by, and the tree's structure. ValueError for leaves that are no tensors."""
    leaves, spec = tree_flatten(tree)
    made = []
    for leaf in leaves:
        if not isinstance(leaf, Tensor):
            if strict:
                raise ValueError(f"Thing passed to transform API must be Tensor, got {type(leaf)}")
            made.append(leaf)
            continue
        if not leaf._kind.differentiable:
            raise RuntimeError("only Tensors of floating point dtype can require gradients")
        made.append(alias(leaf, outside))
    return made, spec


def checked_argnums(argnums: PerDim, args: tuple[Any, ...]) -> tuple[int, ...]:
    """The positions to differentiate by, non-negative; RuntimeError where there is no such argument."""
    if not isinstance(argnums, (int, tuple)):
        raise RuntimeError(f"argnums must be int or Tuple[int, ...], got: {type(argnums)}")
    numbers = (argnums,) if isinstance(argnums, int) else argnums
    for n in numbers:
        if not isinstance(n, int):
            raise RuntimeError(f"argnum must be int, got {type(n)}")
        if not -len(args) <= n < len(args):
            raise RuntimeError(f"Got argnum={n}, but only {len(args)} positional inputs")
    wrapped = tuple([n % len(args) for n in numbers])
    if len(set(wrapped)) != len(wrapped):
        raise RuntimeError(f"argnums elements must be unique, got {argnums}")
    if not wrapped:
        raise RuntimeError("argnums must be non-empty")
    return wrapped


def _backward(outputs: Sequence[Tensor], cotangents: Sequence[Any], inputs: Sequence[Tensor], graph: bool) -> list[Tensor]:
    """The gradients of the inputs (zeros where nothing arrives)."""
    roots = [(y._node, c if graph else c._a) for y, c in zip(outputs, cotangents, strict=True) if y._node is not None]
    found = run(roots, graph, True, [t._node for t in inputs], accumulate=False) if roots else [None] * len(inputs)
    results = []
    for t, g in zip(inputs, found, strict=True):
        if g is None:
            g = zeros_for(t)
        else:
            g = g if graph else wrap_array(g)
        results.append(peeled(g, inputs))
    return results


def _with_aux(result: Operand | dict[Any, Any] | tuple[Any, ...], has_aux: bool, where: str) -> tuple[Any, Any]:
    if not has_aux:
        return result, None
    if not (isinstance(result, tuple) and len(result) == 2):
        raise RuntimeError(f"{where}: output of function f should be a tuple: (output, aux) if has_aux is True")
    return result


def _peeled_aux(aux: Operand | dict[Any, Any], own: Sequence[Tensor]) -> Tensor | dict[Any, Any]:
    leaves = tree_flatten(aux)[0]
    for leaf in leaves:
        if not isinstance(leaf, Tensor):
            raise RuntimeError(f"Expected tensors, got unsupported type {type(leaf)}")
    return tree_map(lambda t: peeled(t, own), aux)


# --- reverse mode ---------------------------------------------------------------------------------------------------------------------

def grad_and_value(func: Callable[..., Any], argnums: PerDim = 0, has_aux: bool = False) -> Callable[..., Any]:
    """The function that returns (gradient, value) of a scalar function, or (gradient, (value, aux)).

    argnums  the argument(s) to differentiate by, which may be nested containers of tensors; a tuple gives a tuple of gradients
    has_aux  `func` returns (value, aux), and aux is passed on
    """
    @wraps(func)
    def differentiated(*args: Any, **kwargs: Any) -> tuple[Any, ...]:
        outside = LOCAL.grad
        numbers = checked_argnums(argnums, args)
        leaves, spec = _aliases(tuple([args[n] for n in numbers]), outside)
        inner = list(args)
        for n, each in zip(numbers, tree_unflatten(leaves, spec), strict=True):
            inner[n] = each
        with enable_grad():
            output, aux = _with_aux(func(*inner, **kwargs), has_aux, "grad_and_value(f)(*args)")
            if not isinstance(output, Tensor):
                raise RuntimeError(f"grad_and_value(f)(*args): Expected f(*args) to return a Tensor, got {type(output)}")
            if output._a.ndim:
                raise RuntimeError("grad_and_value(f)(*args): Expected f(*args) to return a scalar Tensor, got tensor with "
                                   f"{output._a.ndim} dims. Maybe you wanted to use the vjp or jacrev APIs instead?")
            if not output._kind.is_floating:
                raise RuntimeError("grad_and_value(f)(*args): grad can be implicitly created only for real scalar outputs but got "
                                   f"{output.dtype}")
            graph = outside and depends_on_others((output,), leaves)
            one = wrap(output._kind.xp.ones((), output._kind.np), output._kind)
            found = tree_unflatten(_backward([output], [one], leaves, graph), spec)
        result = found[0] if isinstance(argnums, int) else tuple(found)
        value = peeled(output, leaves)
        return (result, (value, _peeled_aux(aux, leaves))) if has_aux else (result, value)
    return differentiated


def grad(func: Callable[..., Any], argnums: PerDim = 0, has_aux: bool = False) -> Callable[..., Any]:
    """The function that returns the gradient of a scalar function: ``grad(torch.sin)(x)``. See `grad_and_value` for the arguments."""
    both = grad_and_value(func, argnums, has_aux)

    @wraps(func)
    def differentiated(*args: Any, **kwargs: Any) -> Tensor | dict[Any, Any] | tuple[Any, ...]:
        result, value = both(*args, **kwargs)
        return (result, value[1]) if has_aux else result
    return differentiated


def _tensor_leaves(outputs: Operand | dict[Any, Any] | tuple[Any, ...], where: str) -> tuple[list[Tensor], Any]:
    leaves, spec = tree_flatten(outputs)
    if outputs is None or not leaves:
        raise RuntimeError(f"{where}: Expected f to be a function that has non-empty output (got output = {outputs})")
    for leaf in leaves:
        if not isinstance(leaf, Tensor):
            raise RuntimeError(f"{where}: expected f(*primals) to return only tensors, got unsupported type {type(leaf)}")
    return leaves, spec


def vjp(func: Callable[..., Any], *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """(outputs, vjp_fn) or (outputs, vjp_fn, aux): ``vjp_fn(cotangents)``, with cotangents like the outputs, gives the product with the
    Jacobian: a tuple with one gradient per primal."""
    outside = LOCAL.grad
    leaves, spec = _aliases(primals, outside)
    with enable_grad():
        outputs, aux = _with_aux(func(*tree_unflatten(leaves, spec)), has_aux, "vjp(f, *primals)")
        flat, out_spec = _tensor_leaves(outputs, "vjp(f, *primals)")

    def vjp_fn(cotangents: Tensor | dict[Any, Any] | tuple[Any, ...], retain_graph: bool = True,
               create_graph: bool | None = None) -> tuple[Tensor, ...]:
        given, given_spec = tree_flatten(cotangents)
        if given_spec != out_spec:
            raise RuntimeError("Expected pytree structure of cotangents to be the same as pytree structure of outputs to the function. "
                               f"cotangents: {given_spec}, primal output: {out_spec}")
        for i, (c, y) in enumerate(zip(given, flat, strict=True)):
            if c._a.shape != y._a.shape:
                raise RuntimeError(f"Mismatch in shape: grad_output[{i}] has a shape of {c.shape} and output[{i}] has a shape of "
                                   f"{y.shape}.")
        given = [c if c._kind is y._kind else c.to(y._kind.dtype) for c, y in zip(given, flat, strict=True)]
        graph = LOCAL.grad and (any(c._node is not None for c in given) or depends_on_others(flat, leaves))
        results = _backward(flat, given, leaves, graph if create_graph is None else create_graph)
        return tree_unflatten(results, spec)

    result = tree_unflatten([peeled(y, leaves) for y in flat], out_spec)
    return (result, vjp_fn, _peeled_aux(aux, leaves)) if has_aux else (result, vjp_fn)


def _basis(tensors: Sequence[Tensor]) -> list[Tensor]:
    """For each tensor (total, *shape): the unit vectors of all elements of all tensors."""
    sizes = [t._a.size for t in tensors]
    total = sum(sizes)
    result, start = [], 0
    for t, n in zip(tensors, sizes, strict=True):
        a = t._kind.xp.zeros((total, n), t._kind.np)
        at = range(n)
        a[[start + i for i in at], list(at)] = 1
        result.append(wrap(a.reshape(total, *t._a.shape), t._kind))
        start += n
    return result


def _refuse_complex(name: str, what: str, tensors: Sequence[Any]) -> None:
    for i, t in enumerate(tensors):
        if isinstance(t, Tensor) and t._kind.is_complex:
            raise RuntimeError(f"{name}: Expected all {what} to be real but received complex tensor at flattened input idx: {i}")


def jacrev(func: Callable[..., Any], argnums: PerDim = 0, *, has_aux: bool = False, chunk_size: int | None = None,
           _preallocate_and_copy: bool = False) -> Callable[..., Any]:
    """The function that returns the Jacobian by reverse mode, (*output.shape, *input.shape), nested like the outputs and then the inputs.

    chunk_size  how many rows to compute at once (default: all)
    """
    if not (chunk_size is None or chunk_size > 0):
        raise ValueError("jacrev: `chunk_size` should be greater than 0.")

    @wraps(func)
    def jacobian(*args: Any, **kwargs: Any) -> Tensor | dict[Any, Any] | tuple[Any, ...]:
        numbers = checked_argnums(argnums, args)

        def of(*primals: Any) -> Operand | dict[Any, Any] | tuple[Tensor, ...]:
            inner = list(args)
            for n, each in zip(numbers, primals, strict=True):
                inner[n] = each
            return func(*inner, **kwargs)

        _refuse_complex("jacrev", "inputs", tree_flatten([args[n] for n in numbers])[0])
        result = vjp(of, *[args[n] for n in numbers], has_aux=has_aux)
        flat, out_spec = tree_flatten(result[0])
        _refuse_complex("jacrev", "outputs", flat)
        vjp_fn = result[1]
        inputs, in_spec = tree_flatten(tuple([args[n] for n in numbers]))

        def rows(cotangents: list[Tensor]) -> tuple[Tensor, ...]:
            found = vjp_fn(tree_unflatten(cotangents, out_spec))
            return tuple(tree_flatten(found)[0])

        assume_clean(rows)
        basis = _basis(flat)
        stacked = vmap(rows, chunk_size=chunk_size)(basis) if basis and basis[0]._a.shape[0] else [
            zeros_for(t).new_zeros((0, *t._a.shape)) for t in inputs]
        sizes = [y._a.size for y in flat]
        per_output = list(zip(*[column.split(sizes, 0) for column in stacked], strict=True))
        shaped = [tree_unflatten([part.reshape(*y._a.shape, *x._a.shape) if y._a.ndim + x._a.ndim else part.reshape(())
                                  for part, x in zip(parts, inputs, strict=True)],
                                  in_spec) for parts, y in zip(per_output, flat, strict=True)]
        jac = tree_unflatten([each[0] if isinstance(argnums, int) else each for each in shaped], out_spec)
        return (jac, result[2]) if has_aux else jac
    return jacobian


# --- forward mode ---------------------------------------------------------------------------------------------------------------------

def _check_tangents(primals: Sequence[Any], tangents: Sequence[Any]) -> None:
    for p, t in zip(primals, tangents, strict=True):
        if not isinstance(p, Tensor) or not isinstance(t, Tensor):
            raise ValueError(f"Thing passed to transform API must be Tensor, got {type(p if not isinstance(p, Tensor) else t)}")
        if not p._kind.differentiable:
            raise ValueError(f"Expected primal to be floating point or complex, but got: {p.dtype}")
        if not t._kind.differentiable:
            raise ValueError(f"Expected tangent to be floating point or complex, but got: {t.dtype}")
        if p._a.shape != t._a.shape:
            raise RuntimeError("Trying to set a forward gradient that has a different size than that of the original Tensor, this is not "
                               f"supported. Tensor is of size {list(p.shape)} while the given forward gradient is of size {list(t.shape)}.")


class _Forward:
    """A function evaluated at primals, ready to push tangents forward."""

    def __init__(self, func: Callable[..., Any], primals: tuple[Tensor, ...], has_aux: bool, where: str) -> None:
        self.outside = LOCAL.grad
        self.leaves, self.spec = _aliases(primals, self.outside)
        with enable_grad(), recording_forward():
            inner = [alias(leaf, True) for leaf in self.leaves]         # no leaves: `func` may change them in place
            outputs, aux = _with_aux(func(*tree_unflatten(inner, self.spec)), has_aux, where)
        self.flat, self.out_spec = _tensor_leaves(outputs, where)
        self.push = pushforward(self.flat, self.leaves)
        self.outer = self.outside and depends_on_others(self.flat, self.leaves)
        self.outputs = tree_unflatten([peeled(y, self.leaves) for y in self.flat], self.out_spec)
        self.aux = _peeled_aux(aux, self.leaves) if has_aux else None

    def tangents(self, given: Sequence[Tensor]) -> list[Tensor]:
        """The outputs' tangents, flat, zeros where there is none."""
        graph = LOCAL.grad and (self.outer or any(t._node is not None for t in given))
        found = self.push(given, graph)
        return [zeros_for(y) if t is None else peeled(t, self.leaves) for y, t in zip(self.flat, found, strict=True)]


def jvp(func: Callable[..., Any], primals: Tensor | tuple[Tensor, ...], tangents: Tensor | tuple[Tensor, ...], *, strict: bool = False,
        has_aux: bool = False) -> tuple[Any, ...]:
    """(outputs, output tangents) or with aux a third: the Jacobian of `func` at the tuple `primals` times the tuple `tangents` (alike).

    strict  RuntimeError where an output does not depend on the primals (else its tangent is zero)
    """
    if not isinstance(primals, tuple):
        raise RuntimeError("jvp(f, primals, tangents): Expected primals to be a tuple. E.g. it should be valid to call f(*primals).")
    flat_primals, spec = tree_flatten(primals)
    flat_tangents, tangent_spec = tree_flatten(tangents)
    if spec != tangent_spec or not isinstance(tangents, tuple):
        raise RuntimeError("jvp(f, primals, tangents): Expected primals and tangents to have the same python structure. For example, if "
                           f"primals is a tuple of 3 tensors, tangents also must be. Got primals with structure {spec} and tangents with "
                           f"structure {tangent_spec}")
    if not flat_primals:
        raise RuntimeError("jvp(f, primals, tangents): Expected at least one Tensor in primals")
    for name, leaves in (("primals", flat_primals), ("tangents", flat_tangents)):
        for leaf in leaves:
            if not isinstance(leaf, Tensor):
                raise RuntimeError(f"jvp(f, primals, tangents): Expected {name} to only contain Tensors, got unsupported type {type(leaf)}")
    _check_tangents(flat_primals, flat_tangents)
    forward = _Forward(func, primals, has_aux, "jvp(f, primals, tangents)")
    if strict and any(y._node is None for y in forward.flat):
        raise RuntimeError("jvp(f, primals, tangents, strict=True): The output of f is independent of the inputs. This is not allowed with "
                           "strict=True.")
    out = tree_unflatten(forward.tangents(flat_tangents), forward.out_spec)
    return (forward.outputs, out, forward.aux) if has_aux else (forward.outputs, out)


def linearize(func: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[..., Any]]:
    """(outputs, jvp_fn): `func` is evaluated once, and ``jvp_fn(*tangents)`` pushes tangents forward as often as wanted."""
    forward = _Forward(func, primals, False, "linearize(f, *primals)")
    flat_primals, spec = tree_flatten(primals)

    def jvp_fn(*tangents: Any) -> Tensor | tuple[Tensor, ...]:
        given, given_spec = tree_flatten(tangents)
        if given_spec != spec:
            raise RuntimeError(f"Expected the tangents {given_spec} to have the same argspec as the primals {spec}")
        for i, (p, t) in enumerate(zip(flat_primals, given, strict=True)):
            for what, primal, tangent in (("shape", p.shape, t.shape), ("dtype", p.dtype, t.dtype), ("device", p.device, t.device)):
                if primal != tangent:
                    raise RuntimeError(f"The tangent at position {i} in flattened pytree doesn't match the {what} of its primal: "
                                       f"{tangent} instead of {primal}")
        return tree_unflatten(forward.tangents(given), forward.out_spec)
    return forward.outputs, jvp_fn


def jacfwd(func: Callable[..., Any], argnums: PerDim = 0, has_aux: bool = False, *, randomness: str = "error") -> Callable[..., Any]:
    """The function that returns the Jacobian by forward mode, (*output.shape, *input.shape), nested like the outputs and then the inputs.

    `func` runs once, for all columns: so `randomness` (what random ops do in it, see `vmap`) only has to allow for them.
    """
    @wraps(func)
    def jacobian(*args: Any, **kwargs: Any) -> Tensor | dict[Any, Any] | tuple[Any, ...]:
        numbers = checked_argnums(argnums, args)

        def of(*primals: Any) -> Tensor | dict[Any, Any] | tuple[Tensor, ...]:
            inner = list(args)
            for n, each in zip(numbers, primals, strict=True):
                inner[n] = each
            return func(*inner, **kwargs)

        primals = tuple([args[n] for n in numbers])
        inputs, in_spec = tree_flatten(primals)
        _check_tangents(inputs, inputs)
        _refuse_complex("jacfwd", "inputs", inputs)
        forward = _Forward(of, primals, has_aux, "jvp(f, primals, tangents)")
        _refuse_complex("jacfwd", "outputs", forward.flat)
        basis = _basis(inputs)
        sizes = [x._a.size for x in inputs]

        def column(tangents: list[Tensor]) -> tuple[Tensor, ...]:
            return tuple(forward.tangents(tangents))
        assume_clean(column)
        columns = vmap(column, out_dims=-1, randomness=randomness)(basis) if sum(sizes) else [
            y.new_zeros((*y._a.shape, 0)) for y in forward.flat]
        shaped = []
        for y, each in zip(forward.flat, columns, strict=True):
            parts = each.split(sizes, -1)
            tree = tree_unflatten([part.reshape(*y._a.shape, *x._a.shape) if y._a.ndim + x._a.ndim else part.reshape(())
                                   for part, x in zip(parts, inputs, strict=True)], in_spec)
            shaped.append(tree[0] if isinstance(argnums, int) else tree)
        jac = tree_unflatten(shaped, forward.out_spec)
        return (jac, forward.aux) if has_aux else jac
    return jacobian


def hessian(func: Callable[..., Any], argnums: PerDim = 0) -> Callable[..., Any]:
    """The function that returns the matrix of second derivatives: forward mode over reverse mode."""
    return jacfwd(jacrev(func, argnums), argnums)


def functionalize(func: Callable[..., Any], *, remove: str = "mutations") -> Callable[..., Any]:
    """The function itself: rushlight has no tracer that in-place changes or views would trouble, so that there is nothing to remove.

    Results are PyTorch's: there, too, the functionalised function computes the same and changes its inputs as `func` does.
    """
    if remove not in ("mutations", "mutations_and_views"):
        raise RuntimeError(f"functionalize(f, remove='mutations'): received invalid argument for remove={remove}. Valid options are: "
                           "remove='mutations', remove='mutations_and_views'")

    @wraps(func)
    def same(*args: Any, **kwargs: Any) -> Tensor:
        return func(*args, **kwargs)
    return same
