"""Matrix products: matmul and its special cases, addmm and its family, linear, outer products, tensordot."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import services
from ..autograd.graph import OWN_VIEWS
from ..dims import wrap_dim
from ..dtypes import bool_, promote_types
from ..kernels import native
from ..kernels.arrays import as_array
from ..kernels.columns import column_sums
from ..kernels.linear import linear as linear_rows
from ..kernels.shapes import broadcast_shapes
from ..kernels.strides import iteration_order
from ..kind import Kind, NotBatched
from ..layout import SparseRefusal
from ..tensor import Tensor, wrap
from ..vocabulary import Array, Function, Scalar
from .deferred import function_of
from .errors import broadcast_error, no_lists, not_a_tensor, title
from .failed_calls import check_tensor, overridden
from .joining import stack
from .promotion import same_device
from .public import export, functional, op
from .record import RecordNode, node_class, record
from .write import write_out

__all__ = ["product", "linear"]

ndarray = np.ndarray


def _sparse(name: str, *args: Any, **kwargs: Any) -> Tensor:
    """The sparse form of a product."""
    return services.sparse_form(name, *args, **kwargs)


def _check(name: str, a: Tensor, b: Tensor, first: str = "m1", second: str = "m2") -> Kind:
    """The common kind of two factors: dtypes have to be equal."""
    ka, kb = a._kind, b._kind
    if ka is not kb:
        same_device(name, a, b)
        if ka.dtype is not kb.dtype:
            raise RuntimeError(f"expected {first} and {second} to have the same dtype, but got: {_c_name(ka)} != {_c_name(kb)}")
    if ka.dtype is bool_:
        raise NotImplementedError(f'"{name}_impl_cpu_" not implemented for \'Bool\'')
    return ka


def _c_name(kind: Kind) -> str:
    names = {"float32": "float", "float64": "double", "float16": "c10::Half", "bfloat16": "c10::BFloat16", "int64": "long int",
             "int32": "int", "int16": "short", "int8": "signed char", "uint8": "unsigned char", "complex64": "c10::complex<float>",
             "complex128": "c10::complex<double>"}
    return names.get(kind.dtype.name, kind.dtype.name)


def product(a: Array, b: Array) -> Array:
    """a @ b on arrays: BLAS where there is one for the dtype; float16 and bfloat16 natively, or through float32."""
    if native.library is None and a.dtype.itemsize == 2 and a.dtype.kind in "fV" and a.__class__ is ndarray:
        return product(a.astype(np.float32), b.astype(np.float32)).astype(a.dtype)
    try:
        r = native.matmul(a, b)
    except NotBatched:       # an array and one that is batched by vmap: ndarray.dot does not hand over, the ufunc does
        r = np.matmul(a, b)
    return r if r.__class__ is ndarray else as_array(r)


# --- two matrices, matrix and vector --------------------------------------------------------------------------------------------------

def _mm(a: Tensor, b: Tensor, kind: Kind) -> Tensor:
    x, y = a._a, b._a
    out = wrap(product(x, y), kind)
    if a._node is None and b._node is None:
        return out
    return record(out, "MmBackward0", (a, b), _MM_GRAD, (a, b), array_grad=_mm_arrays(a._node is not None, b._node is not None))


_MM_GRAD = (lambda g, a, b: mm(g, b.t()), lambda g, a, b: mm(a.t(), g))


def _mm_arrays(need_a: bool, need_b: bool) -> Function:
    def arrays(g: Array, a: Array, b: Array) -> tuple[Any, ...]:
        return (product(g, b.T) if need_a else None), (product(a.T, g) if need_b else None)
    return arrays


@op(method=True, out=True)
def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """The product of two matrices, (n, m) and (m, p)."""
    try:
        a, b = input._a, mat2._a
    except SparseRefusal:
        return _sparse("mm", input, mat2)
    if a.ndim != 2 or b.ndim != 2:
        raise RuntimeError("self must be a matrix" if a.ndim != 2 else "mat2 must be a matrix")
    kind = _check("addmm", input, mat2)
    if a.shape[1] != b.shape[0]:
        raise RuntimeError(f"mat1 and mat2 shapes cannot be multiplied ({a.shape[0]}x{a.shape[1]} and {b.shape[0]}x{b.shape[1]})")
    return _mm(input, mat2, kind)


@op(method=True, out=True)
def mv(input: Tensor, vec: Tensor) -> Tensor:
    """The product of a matrix (n, m) and a vector (m)."""
    try:
        a, b = input._a, vec._a
    except AttributeError:
        check_tensor("mv", input=input, vec=vec)
        raise
    if a.ndim != 2 or b.ndim != 1:
        raise RuntimeError(f"vector + matrix @ vector expected, got 1, {a.ndim}, {b.ndim}")
    kind = _check("addmv", input, vec, "mat", "vec")
    if a.shape[1] != b.shape[0]:
        raise RuntimeError(f"size mismatch, got input ({a.shape[0]}), mat ({a.shape[0]}x{a.shape[1]}), vec ({b.shape[0]})")
    out = wrap(product(a, b), kind)
    return record(out, "MvBackward0", (input, vec), (lambda g, a, b: outer(g, b), lambda g, a, b: mv(a.t(), g)), (input, vec))


@op(method=True, out=True)
def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """The sum of the products of two vectors' elements (no conjugation)."""
    try:
        a, b = input._a, tensor._a
    except AttributeError:
        check_tensor("dot", input=input, tensor=tensor)
        raise
    if a.ndim != 1 or b.ndim != 1:
        raise RuntimeError(f"1D tensors expected, but got {a.ndim}D and {b.ndim}D tensors")
    if input._kind.dtype is not tensor._kind.dtype:
        raise RuntimeError(f"dot : expected both vectors to have same dtype, but found {title(input._kind.dtype)} and "
                           f"{title(tensor._kind.dtype)}")
    kind = _check("dot", input, tensor)
    if a.shape != b.shape:
        raise RuntimeError(f"inconsistent tensor size, expected tensor [{a.shape[0]}] and src [{b.shape[0]}] to have the same number of "
                           f"elements, but got {a.shape[0]} and {b.shape[0]} elements respectively")
    return record(wrap(product(a, b), kind), "DotBackward0", (input, tensor), (lambda g, a, b: g * b, lambda g, a, b: g * a),
                  (input, tensor))


@op(method=True, out=True)
def vdot(input: Tensor, other: Tensor) -> Tensor:
    """`dot` with the first vector conjugated."""
    return dot(input.conj(), other) if input.is_complex() else dot(input, other)


@op(method=True, out=True, alias=("ger",))
def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """The outer product of two vectors."""
    if input._a.ndim != 1 or vec2._a.ndim != 1:
        bad, which = (input, "self") if input._a.ndim != 1 else (vec2, "vec2")
        raise RuntimeError(f"outer: Expected 1-D argument {which}, but got {bad._a.ndim}-D")
    return input.unsqueeze(1) * vec2


@op(method=True, out=True)
def inner(input: Tensor, other: Tensor) -> Tensor:
    """Sums of products over the last dimension of both."""
    if input._a.ndim == 0 or other._a.ndim == 0:
        return input * other
    if input._a.shape[-1] != other._a.shape[-1]:
        raise RuntimeError(f"inner() the last dimension must match on both input tensors but got shapes {list(input._a.shape)} and "
                           f"{list(other._a.shape)}")
    return tensordot(input, other, dims=([-1], [-1]))


@op(method=True, out=True)
def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """Products of matrices in two batches, (b, n, m) and (b, m, p)."""
    try:
        a, b = input._a, mat2._a
    except AttributeError:
        check_tensor("bmm", input=input, mat2=mat2)
        raise
    if a.ndim != 3 or b.ndim != 3:
        raise RuntimeError("batch1 must be a 3D tensor" if a.ndim != 3 else "batch2 must be a 3D tensor")
    kind = _check("bmm", input, mat2, "batch1", "batch2") if input._kind is mat2._kind else _scalar_type_error(input, mat2)
    if a.shape[0] != b.shape[0] or a.shape[2] != b.shape[1]:
        raise RuntimeError(f"Expected size for first two dimensions of batch2 tensor to be: [{a.shape[0]}, {a.shape[2]}] but got: "
                           f"[{b.shape[0]}, {b.shape[1]}].")
    return _batched(input, mat2, kind, "BmmBackward0")


def _scalar_type_error(a: Tensor, b: Tensor) -> Any:
    raise RuntimeError(f"expected scalar type {title(a._kind.dtype)} but found {title(b._kind.dtype)}")


def _batched(a: Tensor, b: Tensor, kind: Kind, name: str) -> Tensor:
    """Batches of matrices with broadcasting."""
    x, y = a._a, b._a
    out = wrap(_matmul_arrays(x, y), kind)
    if a._node is None and b._node is None:
        return out
    need_a, need_b = a._node is not None, b._node is not None

    def arrays(g: Array, x: Array, y: Array) -> tuple[Any, ...]:
        return ((_matmul_arrays(g, y.swapaxes(-1, -2)) if need_a else None), (_matmul_arrays(x.swapaxes(-1, -2), g) if need_b else None))
    return record(out, name, (a, b), (lambda g, x, y: matmul(g, y.swapaxes(-1, -2)), lambda g, x, y: matmul(x.swapaxes(-1, -2), g)),
                  (a, b), array_grad=arrays)


def _matmul_arrays(x: Array, y: Array) -> Array:
    """Batched a @ b. One shared right matrix becomes one large product."""
    if y.ndim == 2 and x.ndim > 2 and x.flags.c_contiguous:
        return product(x.reshape(-1, x.shape[-1]), y).reshape(*x.shape[:-1], y.shape[-1])
    return product(x, y)


@op(method=True, out=True)
def matmul(input: Tensor, other: Tensor) -> Tensor:
    """The matrix product, with PyTorch's rules for vectors and batches:
    (m) @ (m), (n, m) @ (m, p), (m) @ (m, p), (n, m) @ (m), and batches (..., n, m) @ (..., m, p) with broadcasting."""
    try:
        a, b = input._a, other._a
    except SparseRefusal:
        return _sparse("matmul", input, other)
    except AttributeError:
        check_tensor("matmul", input=input, other=other)
        raise
    na, nb = a.ndim, b.ndim
    if na == 2 and nb == 2:
        kind = input._kind
        if kind is not other._kind or not kind.fast:
            kind = _check("addmm", input, other)
        if a.shape[1] != b.shape[0]:
            raise RuntimeError(f"mat1 and mat2 shapes cannot be multiplied ({a.shape[0]}x{a.shape[1]} and {b.shape[0]}x{b.shape[1]})")
        return _mm(input, other, kind)
    if na == 0 or nb == 0:
        raise RuntimeError(f"both arguments to matmul need to be at least 1D, but they are {na}D and {nb}D")
    if na == 1 and nb == 1:
        return dot(input, other)
    if na == 2 and nb == 1:
        return mv(input, other)
    if na == 1 and nb == 2:
        return mm(input.unsqueeze(0), other).squeeze(0)
    if na == 1:
        return matmul(input.unsqueeze(0), other).squeeze(-2)
    if nb == 1:
        return matmul(input, other.unsqueeze(1)).squeeze(-1)
    kind = _check("bmm", input, other) if input._kind is other._kind else _scalar_type_error(input, other)
    return _matmul_batches(input, other, kind)


def _matmul_batches(input: Tensor, other: Tensor, kind: Kind) -> Tensor:
    a, b = input._a, other._a
    if a.shape[-1] != b.shape[-2]:
        if b.ndim == 2:
            rows = a.size // a.shape[-1] if a.shape[-1] else 0
            raise RuntimeError(f"mat1 and mat2 shapes cannot be multiplied ({rows}x{a.shape[-1]} and {b.shape[0]}x{b.shape[1]})")
        raise RuntimeError(f"Expected size for first two dimensions of batch2 tensor to be: [{_product(b.shape[:-2])}, {a.shape[-1]}] but "
                           f"got: [{_product(b.shape[:-2])}, {b.shape[-2]}].")
    if b.ndim == 2 and a.ndim > 2:
        # One matrix on the right: a single product of all rows, forward and backward.
        flat = input.reshape(_product(a.shape[:-1]), a.shape[-1])
        return _mm(flat, other, kind).view(*a.shape[:-1], b.shape[-1])
    if a.shape[:-2] != b.shape[:-2]:
        try:
            broadcast_shapes(a.shape[:-2], b.shape[:-2])
        except ValueError:
            raise broadcast_error(a.shape[:-2], b.shape[:-2]) from None
    return _batched(input, other, kind, "BmmBackward0")


def _product(shape: tuple[int, ...]) -> int:
    n = 1
    for s in shape:
        n *= s
    return n


def _operator(self: Tensor, other: Tensor) -> Any:
    if other.__class__ is not Tensor and not isinstance(other, Tensor):
        return NotImplemented
    return matmul(self, other)


Tensor.__matmul__ = _operator
Tensor.__rmatmul__ = lambda self, other: matmul(other, self) if isinstance(other, Tensor) else NotImplemented


# --- sums with products ---------------------------------------------------------------------------------------------------------------

def _plus(input: Tensor, term: Tensor, beta: int, alpha: int) -> Tensor:
    """beta * input + alpha * term; input is not read where beta is 0 (nan there does not matter)."""
    kind = term._kind
    if input._kind.dtype is not kind.dtype:
        raise RuntimeError(f"self and mat2 must have the same dtype, but got {title(input._kind.dtype)} and {title(kind.dtype)}")
    if not kind.differentiable:
        alpha, beta = int(alpha), int(beta)
    if alpha != 1:
        term = term * alpha
    if beta == 0:
        if input._node is None:
            return term
        shape = input._a.shape
        return record(wrap(term._a, kind), "AddmmBackward0", (input, term), lambda g: (g.new_zeros(shape), g))
    try:
        shape = broadcast_shapes(input._a.shape, term._a.shape)
    except ValueError:
        shape = None
    if shape != term._a.shape:
        raise RuntimeError(f"The expanded size of the tensor ({_first_bad(input, term)[0]}) must match the existing size "
                           f"({_first_bad(input, term)[1]}) at non-singleton dimension {_first_bad(input, term)[2]}.  Target sizes: "
                           f"{list(term._a.shape)}.  Tensor sizes: {list(input._a.shape)}")
    return (input if beta == 1 else input * beta) + term


def _first_bad(input: Tensor, term: Tensor) -> tuple[int, int, int]:
    have, want = input._a.shape, term._a.shape
    for i in range(1, min(len(have), len(want)) + 1):
        if have[-i] not in (1, want[-i]):
            return want[-i], have[-i], len(want) - i
    return 0, 0, 0


@op(method=True, inplace=True, out=True)
def addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Scalar = 1, alpha: Scalar = 1) -> Tensor:
    """beta * input + alpha * (mat1 @ mat2)."""
    if mat1._kind.sparse or mat2._kind.sparse:
        return _sparse("addmm", input, mat1, mat2, beta=beta, alpha=alpha)
    if beta == 1 and alpha == 1 and input._a.ndim == 1 and input._kind is mat1._kind is mat2._kind and mat1._a.ndim == 2 == mat2._a.ndim \
            and mat1._a.shape[1] == mat2._a.shape[0] and input._a.shape[0] == mat2._a.shape[1] and (
                input._kind.is_floating):
        return _addmm_row(input, mat1, mat2)
    return _plus(input, mm(mat1, mat2), beta, alpha)


def _addmm_row(bias: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """mat1 @ mat2 plus a row, as one node."""
    out = wrap(linear_rows(a._a, b._a.T, bias._a), a._kind)
    need_bias, need_a, need_b = bias._node is not None, a._node is not None, b._node is not None

    def arrays(g: Array, a: Array, b: Array) -> Any:
        return ((column_sums(g) if need_bias else None), (product(g, b.T) if need_a else None), (product(a.T, g) if need_b else None))
    return record(out, "AddmmBackward0", (bias, a, b),
                  (lambda g, a, b: g.sum(0), lambda g, a, b: mm(g, b.t()), lambda g, a, b: mm(a.t(), g)),
                  (a, b), array_grad=arrays)


@op(method=True, inplace="function", out=True)
def addmv(input: Tensor, mat: Tensor, vec: Tensor, *, beta: Scalar = 1, alpha: Scalar = 1) -> Tensor:
    """beta * input + alpha * (mat @ vec)."""
    return _plus(input, mv(mat, vec), beta, alpha)


@op(method=True, inplace=True, out=True)
def addr(input: Tensor, vec1: Tensor, vec2: Tensor, *, beta: Scalar = 1, alpha: Scalar = 1) -> Tensor:
    """beta * input + alpha * outer(vec1, vec2)."""
    term = outer(vec1, vec2)
    d = promote_types(input._kind.dtype, term._kind.dtype)
    for which, value in (("beta", beta), ("alpha", alpha)):
        if isinstance(value, bool) and d is not bool_:
            raise RuntimeError(f"Boolean {which} only supported for Boolean results.")
        if isinstance(value, float) and not (d.is_floating_point or d.is_complex):
            raise RuntimeError(f"For integral input tensors, argument {which} must not be a floating point number.")
    if d is bool_:
        return (input & bool(beta)) | (term & bool(alpha))
    return _plus(input.to(d), term.to(d), beta, alpha)


def _check_batches(batch1: Tensor, batch2: Tensor, sizes: tuple[int, ...]) -> None:
    """IndexError for fewer dimensions than a batch of matrices has: PyTorch looks at the sizes before their number."""
    for dim in sizes:
        wrap_dim(dim, batch1.dim())
    wrap_dim(2, batch2.dim())


@op(method=True, inplace=True, out=True)
def baddbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Scalar = 1, alpha: Scalar = 1) -> Tensor:
    """beta * input + alpha * bmm(batch1, batch2)."""
    _check_batches(batch1, batch2, (0, 1))
    return _plus(input, bmm(batch1, batch2), beta, alpha)


@op(method=True, inplace=True, out=True)
def addbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Scalar = 1, alpha: Scalar = 1) -> Tensor:
    """beta * input + alpha * the sum of bmm(batch1, batch2) over the batch."""
    _check_batches(batch1, batch2, (1,))
    return _plus(input, bmm(batch1, batch2).sum(0), beta, alpha)


# --- linear ---------------------------------------------------------------------------------------------------------------------------

def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None, *, out: Tensor | None = None) -> Tensor:
    """input @ weight.T + bias: input (..., in), weight (out, in) or (in), bias (out) or ()."""
    if out is not None:
        return write_out(out, linear(input, weight, bias), "linear")
    try:
        x, w = input._a, weight._a
    except SparseRefusal:
        return _sparse("linear", input, weight, bias)
    except AttributeError:
        check_tensor("linear", input=input, weight=weight)
        raise
    kind = input._kind
    if w.ndim != 2 or kind is not weight._kind or not kind.is_floating or x.ndim == 0 or x.shape[-1] != w.shape[1] or (
            bias is not None and (bias._kind is not kind or bias._a.shape != w.shape[:1])):
        return _linear_slow(input, weight, bias)
    shape = x.shape
    rows = x if len(shape) == 2 else x.reshape(-1, shape[-1])
    r = product(rows, w.T) if bias is None else linear_rows(rows, w, bias._a)
    if len(shape) != 2:
        r = r.reshape(shape[:-1] + (w.shape[0],))
    result = wrap(r, kind)
    if input._node is None and weight._node is None and (bias is None or bias._node is None):
        return result
    name = _LINEAR_NAMES[2 if len(shape) != 2 else 1 if bias is None else 0]
    edges = (input._node, weight._node, None if bias is None else bias._node)
    return record(result, name, (input, weight, bias), _LINEAR_GRAD, (input, weight),
                  array_grad=lambda g, x, w: _linear_arrays(edges, g, x, w))


def _linear_arrays(edges: tuple[Any, ...], g: Array, x: Array, w: Array) -> tuple[Any, ...]:
    """The gradients of `linear` on arrays, of the inputs that have an edge."""
    rows = g if g.ndim == 2 else g.reshape(-1, g.shape[-1])
    return ((None if edges[0] is None else product(rows, w).reshape(x.shape)),
            (None if edges[1] is None else product(rows.T, x if x.ndim == 2 else x.reshape(-1, x.shape[-1]))),
            (None if edges[2] is None else column_sums(rows)))


class LinearNode(RecordNode):
    """The node that the native fast path of `linear` makes. The native backward pass knows its gradients; these are for the Python
    engine."""

    __slots__ = ()

    def arrays(self, g: Array) -> Any:
        x, w = self.values(True)
        return _linear_arrays(self.next, g, x._a, w._a)


_LINEAR_GRAD = (lambda g, x, w: matmul(g, w),
                lambda g, x, w: mm(g.reshape(-1, g.shape[-1]).t(), x.reshape(-1, x.shape[-1])),
                lambda g, x, w: g.reshape(-1, g.shape[-1]).sum(0))
_LINEAR_NAMES = ("AddmmBackward0", "MmBackward0", "ViewBackward0")       # of matrices with a bias, of those without, of other inputs
OWN_VIEWS.add(_LINEAR_GRAD)


def _linear_slow(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Other dtypes, a weight vector, a 0-dim bias, and all errors."""
    if bias is not None and not isinstance(bias, Tensor):
        raise TypeError(f"linear(): argument 'bias' (position 3) must be Tensor, not {type(bias).__name__}")
    for t in (weight, bias):
        if t is not None and t._kind.dtype is not input._kind.dtype:
            if t is weight or t is bias:
                raise RuntimeError(f"mat1 and mat2 must have the same dtype, but got {title(input._kind.dtype)} and {title(t._kind.dtype)}")
    if weight._a.ndim == 1:
        r = matmul(input, weight)
    elif weight._a.ndim != 2:
        raise RuntimeError(f"linear(): weight must be 1-D or 2-D, got {weight._a.ndim}-D")
    else:
        r = matmul(input, weight.t())
    if bias is not None and bias._a.ndim == 1 and bias._a.shape[0] not in (1, r._a.shape[-1]):
        raise RuntimeError(f"The expanded size of the tensor ({r._a.shape[-1]}) must match the existing size ({bias._a.shape[0]}) at "
                           f"non-singleton dimension {r._a.ndim - 1}.  Target sizes: {list(r._a.shape)}.  Tensor sizes: "
                           f"{list(bias._a.shape)}")
    return r if bias is None else r + bias


if native.library is not None:
    linear = native.library.linear_op(linear, *[node_class(_name, LinearNode, grad=_LINEAR_GRAD, agrad=None, conj=False)
                                                for _name in _LINEAR_NAMES])
functional(linear)


# --- composed -------------------------------------------------------------------------------------------------------------------------

@op
def chain_matmul(*matrices: Tensor) -> Tensor:
    """The product of several matrices, in the cheapest order."""
    no_lists(matrices)
    for at, each in enumerate(matrices):
        if not isinstance(each, Tensor):
            raise TypeError(f"expected Tensor as element {at} in argument 0, but got {type(each).__name__}")
    return matrices[0] if len(matrices) == 1 else function_of("linalg", "multi_dot")(matrices)


@export
def tensordot(a: Tensor, b: Tensor, dims: Any = 2, out: Tensor | None = None) -> Tensor:
    """Sums of products over `dims`: the last n of a and first n of b (an int), or two lists of dimensions."""
    for each in (a, b):
        if not isinstance(each, Tensor):
            error: Exception = AttributeError(f"{type(a).__name__!r} object has no attribute 'dim'")
            if isinstance(a, Tensor):
                error = not_a_tensor("tensordot", "other", 2, b)
            return overridden(tensordot, (a, b, dims), {} if out is None else {"out": out}, error)
    if not isinstance(dims, (tuple, list, Tensor, int)):
        raise RuntimeError("tensordot expects dims to be int or tuple[list[int], list[int]] or list[list[int]] containing two lists, but "
                           f"got dims={dims}")
    if isinstance(dims, Tensor):
        dims = dims.tolist()
    if isinstance(dims, (tuple, list)) and len(dims) != 2:
        raise ValueError(f"two lists of dimensions were expected, but there are {len(dims)}")
    r = _tensordot(a, b, dims)
    return r if out is None else write_out(out, r, "tensordot")


def _tensordot(a: Tensor, b: Tensor, dims: Any) -> Tensor:
    if isinstance(dims, int):
        if dims < 0:
            raise RuntimeError(f"tensordot expects dims >= 0, but got dims={dims}")
        if dims > min(a._a.ndim, b._a.ndim):
            raise RuntimeError(f"tensordot expects dims < ndim_a or ndim_b, but got dims={dims}")
        first, second = list(range(a._a.ndim - dims, a._a.ndim)), list(range(dims))
    else:
        first, second = ([d] if isinstance(d, int) else list(d) for d in dims)
    if len(first) != len(second):
        raise RuntimeError(f"both dimension lists should have same length, got {first} and {second}")
    first, second = [wrap_dim(d, a._a.ndim) for d in first], [wrap_dim(d, b._a.ndim) for d in second]
    for i, j in zip(first, second, strict=True):
        if a._a.shape[i] != b._a.shape[j] and 1 not in (a._a.shape[i], b._a.shape[j]):
            raise RuntimeError(f"contracted dimensions need to match, but first has size {a._a.shape[i]} in dim {i} and second has size "
                               f"{b._a.shape[j]} in dim {j}")
        if a._a.shape[i] != b._a.shape[j]:
            a, b = (a.sum(i, keepdim=True), b) if b._a.shape[j] == 1 else (a, b.sum(j, keepdim=True))
    free_a = [i for i in range(a._a.ndim) if i not in first]
    free_b = [i for i in range(b._a.ndim) if i not in second]
    shape = [a._a.shape[i] for i in free_a] + [b._a.shape[i] for i in free_b]
    inner_size = _product(tuple(a._a.shape[i] for i in first))
    left = a.permute(free_a + first).reshape(-1 if inner_size and a._a.size else _product(tuple(a._a.shape[i] for i in free_a)), inner_size)
    right = b.permute(second + free_b).reshape(inner_size, -1 if inner_size and b._a.size
                                               else _product(tuple(b._a.shape[i] for i in free_b)))
    return mm(left, right).reshape(shape)


@op(method=True, out=True)
def kron(input: Tensor, other: Tensor) -> Tensor:
    """The Kronecker product."""
    n = max(input._a.ndim, other._a.ndim)
    a = input.reshape((1,) * (n - input._a.ndim) + input._a.shape)
    b = other.reshape((1,) * (n - other._a.ndim) + other._a.shape)
    spread_a = [size for pair in zip(a.shape, (1,) * n, strict=True) for size in pair]
    spread_b = [size for pair in zip((1,) * n, b.shape, strict=True) for size in pair]
    a, b = a.reshape(spread_a), b.reshape(spread_b)
    order = iteration_order((a._a, b._a))
    # a view, where PyTorch's product can be seen as one
    r = (a * b).permute(order).contiguous().permute(np.argsort(order).tolist())
    return r.view([x * y for x, y in zip(r.shape[::2], r.shape[1::2], strict=True)])


@op(method=True, out=True)
def cross(input: Tensor, other: Tensor, dim: int | None = None) -> Tensor:
    """The vector product along a dimension of size 3 (the first such one by default)."""
    if dim is None:
        dim = next((i for i, n in enumerate(input._a.shape) if n == 3), None)
        if dim is None:
            raise RuntimeError("no dimension of size 3 in input")
    if input.dim() != other.dim():
        raise RuntimeError(f"linalg.cross: inputs must have the same number of dimensions, but got {input.dim()} and {other.dim()}.")
    dim = wrap_dim(dim, input.dim())
    if input._a.shape[dim] != 3 or other._a.shape[dim] != 3:
        raise RuntimeError(f"inputs dimension {dim} must have length 3. Got {input._a.shape[dim]} and {other._a.shape[dim]}")
    a0, a1, a2 = input.unbind(dim)
    b0, b1, b2 = other.unbind(dim)
    return stack([a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0], dim)


