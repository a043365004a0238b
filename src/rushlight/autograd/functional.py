"""Derivatives of functions: vjp, jvp, jacobian, hessian, vhp, hvp (``torch.autograd.functional``)."""

from __future__ import annotations

from typing import Any

from ..func.transforms import jacfwd, jacrev
from ..ops.joining import stack
from ..tensor import Tensor
from ..vocabulary import Function
from .api import grad
from .grad_mode import enable_grad

__all__ = ["vjp", "jvp", "jacobian", "hessian", "vhp", "hvp"]


def _tuple(value: Any, what: str, where: str) -> tuple[bool, tuple[Any, ...]]:
    """(whether it was a tuple, the tensors)."""
    was_tuple = isinstance(value, (tuple, list))
    values = tuple(value) if was_tuple else (value,)
    for i, each in enumerate(values):
        if not isinstance(each, Tensor):
            if was_tuple:
                raise TypeError(f"The {what} given to {where} must be either a Tensor or a tuple of Tensors but the value at index {i} "
                                f"has type {type(each)}.")
            raise TypeError(f"The {what} given to {where} must be either a Tensor or a tuple of Tensors but the given {what} has type "
                            f"{type(each)}.")
    return was_tuple, values


def _fresh(inputs: tuple[Any, ...], create_graph: bool) -> tuple[Any, ...]:
    """Inputs to differentiate by: parts of the caller's graph if a graph is wanted, else detached."""
    return tuple(t.view_as(t) if create_graph and t.requires_grad else t.detach().requires_grad_() for t in inputs)


def _run(func: Function, inputs: Tensor | tuple[Tensor, ...], create_graph: bool, where: str) -> tuple[bool, tuple[Any, ...], bool,
         tuple[Any, ...]]:
    was_tuple, inputs = _tuple(inputs, "inputs", where)
    inputs = _fresh(inputs, create_graph)
    outputs = func(*inputs)
    out_tuple, outputs = _tuple(outputs, "outputs of the user-provided function", where)
    return was_tuple, inputs, out_tuple, outputs


def _strict_outputs(outputs: tuple[Any, ...], strict: bool, what: str = "Output") -> None:
    if strict:
        for i, out in enumerate(outputs):
            if not out.requires_grad:
                raise RuntimeError(f"{what} {i} of the user-provided function does not require gradients. The outputs must be computed in "
                                   "a differentiable manner from the input when running in strict mode.")


_BACK = "The output of the user-provided function is independent of input {}. This is not allowed in strict mode."
_FORWARD = ("The gradient with respect to the input is independent of entry {} in the grad_outputs when using the double backward trick "
            "to compute forward mode gradients. This is not allowed in strict mode.")
_ROW = "Output {output} of the user-provided function is independent of input {}. This is not allowed in strict mode."
_SECOND = "The jacobian of the user-provided function is independent of input {}. This is not allowed in strict mode."
_GRADIENT = ("While computing the hessian, found that the jacobian of the user-provided function with respect to input {} is independent "
             "of the input. This is not allowed in strict mode. You should ensure that your function is twice differentiable and that the "
             "jacobian depends on the inputs (this would be violated by a linear function for example).")


def _gradients(outputs: tuple[Any, ...], inputs: tuple[Any, ...], given: tuple[Any, ...], create_graph: bool, strict: bool,
               independent: str = _BACK, output: int = 0) -> tuple[Any, ...]:
    """autograd.grad where outputs may not require grad, with zeros (or an error if strict) for what is independent."""
    pairs = [(o, g) for o, g in zip(outputs, given, strict=True) if o.requires_grad]
    if pairs:
        found = grad([o for o, _ in pairs], inputs, [g for _, g in pairs], create_graph=create_graph, retain_graph=True, allow_unused=True)
    else:
        found = (None,) * len(inputs)
    if strict and any(each is None for each in found):
        where = next(i for i, each in enumerate(found) if each is None)
        raise RuntimeError(independent.format(where, output=output))
    return tuple(t.new_zeros(t.shape) if g is None else g for t, g in zip(inputs, found, strict=True))


def _finish(values: tuple[Any, ...], was_tuple: bool, create_graph: bool) -> Tensor | tuple[Tensor, ...]:
    values = values if create_graph else tuple(v.detach() for v in values)
    return values if was_tuple else values[0]


def _vector(v: Tensor | tuple[Tensor, ...] | None, like: tuple[Any, ...], as_tuple: bool, where: str) -> tuple[Any, ...]:
    """The given vector, or 1 where there is a single one-element tensor."""
    if v is None:
        if len(like) != 1 or like[0].numel() != 1:
            what = "user-provided function returns" if where == "vjp" else "input to the user-provided function is"
            raise RuntimeError(f"The vector v can only be None if the {what} a single Tensor with a single element.")
        return (like[0].new_ones(like[0].shape),)
    _, vs = _tuple(v, "v", where)
    if len(vs) != len(like):
        if as_tuple:
            raise RuntimeError(f"v is a tuple of invalid length: should be {len(like)} but got {len(vs)}.")
        raise RuntimeError("The given v should contain a single Tensor.")
    for i, (each, t) in enumerate(zip(vs, like, strict=True)):
        if each.shape != t.shape:
            raise RuntimeError(f"{f'Entry {i} in ' if as_tuple else ''}v has invalid size: should be {t.shape} but got {each.shape}.")
    return vs


def vjp(func: Function, inputs: Tensor | tuple[Tensor, ...], v: Tensor | tuple[Tensor, ...] | None = None, create_graph: bool = False,
        strict: bool = False) -> tuple[Any, Any]:
    """(outputs, v^T J): the product of a vector (of the outputs' shapes) with the Jacobian of `func` at `inputs`."""
    with enable_grad():
        was_tuple, inputs, out_tuple, outputs = _run(func, inputs, create_graph, "vjp")
        _strict_outputs(outputs, strict)
        given = _vector(v, outputs, out_tuple, "vjp")
        found = _gradients(outputs, inputs, given, create_graph, strict)
    return _finish(outputs, out_tuple, create_graph), _finish(found, was_tuple, create_graph)


def jvp(func: Function, inputs: Tensor | tuple[Tensor, ...], v: Tensor | tuple[Tensor, ...] | None = None, create_graph: bool = False,
        strict: bool = False) -> tuple[Any, Any]:
    """(outputs, J v): the product of the Jacobian with a vector (of the inputs' shapes), by differentiating twice."""
    with enable_grad():
        was_tuple, places, out_tuple, outputs = _run(func, inputs, create_graph, "jvp")
        _strict_outputs(outputs, strict)
        vs = _vector(v, places, was_tuple, "jvp")
        dummies = tuple(out.new_zeros(out.shape).requires_grad_() for out in outputs)
        back = _gradients(outputs, places, dummies, True, strict)
        found = _gradients(back, dummies, vs, create_graph, strict, _FORWARD)
    return _finish(outputs, out_tuple, create_graph), _finish(found, out_tuple, create_graph)


def jacobian(func: Function, inputs: Tensor | tuple[Tensor, ...], create_graph: bool = False, strict: bool = False, vectorize: bool = False,
             strategy: str = "reverse-mode") -> Tensor | tuple[Any, ...]:
    """The Jacobian: for each output and input a tensor of shape (*output.shape, *input.shape); tuples where these are tuples.

    vectorize  compute all rows (columns) in one pass, as under vmap, instead of one by one
    strategy   "reverse-mode", row by row, or "forward-mode", column by column, which needs vectorize=True
    strict     RuntimeError where an output does not depend on an input (not with vectorize)
    """
    if strategy not in ("forward-mode", "reverse-mode"):
        raise AssertionError('Expected strategy to be either "forward-mode" or "reverse-mode". Hint: If your function has more outputs '
                             'than '
                             f'inputs, "forward-mode" tends to be more performant. Got: {strategy}')
    if strategy == "forward-mode" and not vectorize:
        raise NotImplementedError("torch.autograd.functional.jacobian(strategy='forward-mode') needs vectorize=True")
    if vectorize and strict:
        raise RuntimeError("torch.autograd.functional.jacobian: `strict=True` and `vectorized=True` are not supported together. Please "
                           "either set `strict=False` or `vectorize=False`.")
    if vectorize:
        return _vectorized(func, inputs, create_graph, strategy)
    with enable_grad():
        was_tuple, inputs, out_tuple, outputs = _run(func, inputs, create_graph, "jacobian")
        _strict_outputs(outputs, strict)
        rows = []
        for i, out in enumerate(outputs):
            flat = out.reshape(-1)
            per_element = [_gradients((flat[j],), inputs, (None,), create_graph, strict, _ROW, i) if out.requires_grad
                           else tuple(t.new_zeros(t.shape) for t in inputs) for j in range(flat.numel())]
            row = tuple(stack([g[k] for g in per_element]).view(out.shape + t.shape) if per_element else t.new_zeros(out.shape + t.shape)
                        for k, t in enumerate(inputs))
            rows.append(row if create_graph else tuple(each.detach() for each in row))
    shaped = tuple(row if was_tuple else row[0] for row in rows)
    return shaped if out_tuple else shaped[0]


def _vectorized(func: Function, inputs: Tensor | tuple[Tensor, ...], create_graph: bool, strategy: str) -> tuple[Any, ...]:
    """The Jacobian in one batched pass."""
    if strategy == "forward-mode" and create_graph:
        raise NotImplementedError('torch.autograd.functional.jacobian: `create_graph=True` and `strategy="forward-mode"` are not '
                                  'supported together '
                                  '(yet). Please either set `create_graph=False` or `strategy="reverse-mode"`.')
    was_tuple, inputs = _tuple(inputs, "inputs", "jacobian")
    out_tuple = False

    def checked(*args: Any) -> tuple[Tensor, ...]:
        nonlocal out_tuple
        out_tuple, outputs = _tuple(func(*args), "outputs of the user-provided function", "jacobian")
        return outputs
    inputs = inputs if create_graph else tuple(t.detach() for t in inputs)
    rows = (jacrev if strategy == "reverse-mode" else jacfwd)(checked, tuple(range(len(inputs))))(*inputs)
    if not create_graph:
        rows = tuple(tuple(each.detach() for each in row) for row in rows)
    shaped = tuple(row if was_tuple else row[0] for row in rows)
    return shaped if out_tuple else shaped[0]


def _scalar(outputs: tuple[Any, ...], out_tuple: bool, where: str) -> Tensor:
    if out_tuple:
        raise RuntimeError(f"The function given to {where} should return a single Tensor")
    if outputs[0].numel() != 1:
        raise RuntimeError(f"The Tensor returned by the function given to {where} should contain a single element")
    return outputs[0]


def hessian(func: Function, inputs: Tensor | tuple[Tensor, ...], create_graph: bool = False, strict: bool = False, vectorize: bool = False,
            outer_jacobian_strategy: str = "reverse-mode") -> Tensor | tuple[Any, ...]:
    """The matrix of second derivatives of a scalar function; nested tuples where the inputs are a tuple."""
    was_tuple, _ = _tuple(inputs, "inputs", "hessian")

    def first(*args: Any) -> tuple[Tensor, ...]:
        out_tuple, outputs = _tuple(func(*args), "outputs of the user-provided function", "hessian")
        out = _scalar(outputs, out_tuple, "hessian")
        _strict_outputs((out,), strict)
        found = _gradients((out.reshape(()),), args, (None,), True, False)
        if strict:
            _depends(found, _GRADIENT)
        return found

    if outer_jacobian_strategy not in ("forward-mode", "reverse-mode"):
        raise AssertionError('Expected strategy to be either "forward-mode" or "reverse-mode".')
    result = jacobian(first, inputs, create_graph=create_graph, strict=strict, vectorize=vectorize, strategy=outer_jacobian_strategy)
    return result if was_tuple else result[0]


def _depends(gradients: tuple[Any, ...], text: str) -> None:
    for i, each in enumerate(gradients):
        if not each.requires_grad:
            raise RuntimeError(text.format(i))


def vhp(func: Function, inputs: Tensor | tuple[Tensor, ...], v: Tensor | tuple[Tensor, ...] | None = None, create_graph: bool = False,
        strict: bool = False) -> tuple[Any, Any]:
    """(output, v^T H) for a scalar function with Hessian H."""
    return _hessian_product(func, inputs, v, create_graph, strict, "vhp")


def _hessian_product(func: Function, inputs: Tensor | tuple[Tensor, ...], v: Tensor | tuple[Tensor, ...] | None, create_graph: bool,
                     strict: bool, where: str) -> tuple[Any, Any]:
    with enable_grad():
        was_tuple, places, out_tuple, outputs = _run(func, inputs, create_graph, where)
        vs = _vector(v, places, was_tuple, where)
        _strict_outputs(outputs, strict)
        out = _scalar(outputs, out_tuple, where)
        first = _gradients((out.reshape(()),), places, (None,), True, strict)
        if strict:
            _depends(first, _GRADIENT)
        found = _gradients(first, places, vs, create_graph, strict, _SECOND)
    return _finish(outputs, out_tuple, create_graph), _finish(found, was_tuple, create_graph)


def hvp(func: Function, inputs: Tensor | tuple[Tensor, ...], v: Tensor | tuple[Tensor, ...] | None = None, create_graph: bool = False,
        strict: bool = False) -> tuple[Any, Any]:
    """(output, H v) for a scalar function with Hessian H (symmetric, so the same as `vhp`)."""
    return _hessian_product(func, inputs, v, create_graph, strict, "hvp")
