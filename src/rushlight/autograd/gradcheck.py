"""Checks of gradients against finite differences (``torch.autograd.gradcheck``)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ..func import linearize, vmap
from ..tensor import Tensor, wrap
from ..vocabulary import Function
from .api import grad
from .grad_mode import enable_grad

__all__ = ["gradcheck", "gradgradcheck", "GradcheckError"]


class GradcheckError(RuntimeError):
    """A gradient does not agree with finite differences."""


def _outputs(func: Function, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    result = func(*inputs)
    results = tuple(result) if isinstance(result, (tuple, list)) else (result,)
    return tuple(r for r in results if isinstance(r, Tensor) and r._kind.differentiable)


def _values(t: Tensor) -> Any:
    """A copy of the tensor's values in host memory."""
    a = t._a
    return a.copy() if a.__class__ is np.ndarray else t.detach().cpu()._a


def _tensor(values: Any, like: Tensor) -> Tensor:
    """Values as a tensor of the other one's kind, on its device."""
    return wrap(like._kind.xp.asarray(values), like._kind)


def _steps(t: Tensor, eps: float) -> list[Any]:
    """The directions of finite differences: real, and imaginary for complex tensors."""
    return [eps, eps * 1j] if t.is_complex() else [eps]


def _numerical(func: Function, inputs: tuple[Any, ...], t: Tensor, eps: float) -> list[Any]:
    """Per output and direction, the Jacobian (t.numel(), output.numel()) by central differences."""
    flat_size = t._a.size
    outs = _outputs(func, inputs)
    jacobians = [[np.zeros((flat_size, o._a.size), o._a.dtype) for _ in _steps(t, eps)] for o in outs]
    for index in range(flat_size):
        at = np.unravel_index(index, t._a.shape)
        value = t._a[at].item()
        for direction, step in enumerate(_steps(t, eps)):
            t._a[at] = value + step
            up = [_values(o) for o in _outputs(func, inputs)]
            t._a[at] = value - step
            down = [_values(o) for o in _outputs(func, inputs)]
            t._a[at] = value
            for k, (a, b) in enumerate(zip(up, down, strict=True)):
                jacobians[k][direction][index] = ((a - b) / (2 * eps)).reshape(-1)
    return jacobians


def _analytical(out: Tensor, t: Tensor, scale: complex = 1) -> Any:
    """The Jacobian (t.numel(), out.numel()) by backward, one output element at a time."""
    columns = np.zeros((t._a.size, out._a.size), t._a.dtype)
    for j in range(out._a.size):
        g = np.zeros(out._a.size, out._a.dtype)
        g[j] = scale
        found = grad(out, t, _tensor(g.reshape(out._a.shape), out), retain_graph=True, allow_unused=True)[0]
        if found is not None:
            columns[:, j] = _values(found).reshape(-1)
    return columns


def gradcheck(func: Function, inputs: Any, *, eps: float = 1e-6, atol: float = 1e-5, rtol: float = 1e-3, raise_exception: bool = True,
              nondet_tol: float = 0.0, check_undefined_grad: bool = True, check_grad_dtypes: bool = False, check_batched_grad: bool = False,
              check_batched_forward_grad: bool = False, check_forward_ad: bool = False, check_backward_ad: bool = True,
              fast_mode: bool = False, masked: bool | None = None) -> bool:
    """Compare backward with central finite differences of step `eps`; inputs should be float64 tensors that require grad.

    True if all agree within atol + rtol * |numerical|; else GradcheckError, or False if not `raise_exception`. `fast_mode` is accepted;
    all elements are checked anyway.
    """
    if check_batched_grad and not check_backward_ad:
        raise ValueError("gradcheck(): check_batched_grad=True needs check_backward_ad=True")
    if check_batched_forward_grad and not check_forward_ad:
        raise ValueError("gradcheck(): check_batched_forward_grad=True needs check_forward_ad=True")
    inputs = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    try:
        if check_backward_ad:
            _check(func, inputs, eps, atol, rtol, nondet_tol)
        if check_forward_ad:
            _check_forward(func, inputs, eps, atol, rtol, check_batched_forward_grad)
        if check_batched_grad:
            _check_batched(func, inputs, atol, rtol)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def _check(func: Function, inputs: tuple[Any, ...], eps: float, atol: float, rtol: float, nondet_tol: float) -> None:
    wanted = [(i, t) for i, t in enumerate(inputs) if isinstance(t, Tensor) and t.requires_grad]
    if not wanted:
        raise ValueError("gradcheck expects at least one input tensor to require gradient, but none of the them have requires_grad=True.")
    for i, t in wanted:
        if t._kind.np.itemsize < (16 if t.is_complex() else 8):
            import warnings
            warnings.warn(f"Input #{i} requires gradient and is not a double precision floating point or complex. This check will likely "
                          "fail if all the inputs are not of double precision floating point or complex.", stacklevel=4)
    with enable_grad():
        outs = _outputs(func, inputs)
        for i, t in wanted:
            numerical = _numerical(func, inputs, t, eps)
            for k, out in enumerate(outs):
                if out.requires_grad:
                    _compare(out, t, numerical[k], (k, i), atol, rtol, nondet_tol)
                elif any(np.abs(n).max(initial=0) > atol for n in numerical[k]):
                    raise GradcheckError(f"Numerical gradient for function expected to be zero: output {k} does not require grad")


def _compare(out: Tensor, t: Tensor, numerical: list[Any], where: tuple[int, int], atol: float, rtol: float, nondet_tol: float) -> None:
    """Compare for real, and where the output is complex also for imaginary output gradients."""
    for scale in ((1, 1j) if out.is_complex() else (1,)):
        analytical = _analytical(out, t, scale)
        again = _analytical(out, t, scale)
        if np.abs(analytical - again).max(initial=0) > nondet_tol:
            raise GradcheckError("Backward is not reentrant, i.e., running backward with same input and grad_output multiple times gives "
                                 "different values, although analytical gradient matches numerical gradient.The tolerance for "
                                 f"nondeterminism was {nondet_tol}.")
        # The gradient of the real function Re(conj(scale) * out) with respect to the real and imaginary parts of the input.
        parts = [(np.conj(scale) * n).real for n in numerical]
        expected = parts[0] + 1j * parts[1] if t.is_complex() else parts[0]
        if not np.allclose(analytical, expected, rtol=rtol, atol=atol, equal_nan=True):
            raise GradcheckError(f"Jacobian mismatch for output {where[0]} with respect to input {where[1]},\nnumerical:{expected}\n"
                                 f"analytical:{analytical}\n")


def _check_forward(func: Function, inputs: tuple[Any, ...], eps: float, atol: float, rtol: float, batched: bool) -> None:
    """Compare tangents pushed forward, one unit vector of the input at a time, with finite differences."""
    for i, t in enumerate(inputs):
        if not (isinstance(t, Tensor) and t.requires_grad):
            continue
        def of(x: Any, i: int = i) -> Any:
            return _outputs(func, (*inputs[:i], x, *inputs[i + 1:]))
        numerical = _numerical(func, inputs, t, eps)
        _, push = linearize(of, t.detach())
        for direction, unit in enumerate((1, 1j) if t.is_complex() else (1,)):
            basis = _tensor((np.eye(t._a.size) * unit).astype(t._a.dtype).reshape(t._a.size, *t._a.shape), t)
            rows = [push(v) for v in basis]
            if batched and rows:
                together = vmap(push)(basis)
                if any(not np.allclose(_values(a), np.stack([_values(row[k]) for row in rows]), rtol=rtol,
                                       atol=atol) for k, a in enumerate(together)):
                    raise GradcheckError("batched forward-mode gradients differ from those computed one by one")
            for k in range(len(rows[0]) if rows else 0):
                analytical = np.stack([_values(row[k]).reshape(-1) for row in rows])
                expected = numerical[k][direction]
                if not np.allclose(analytical, expected, rtol=rtol, atol=atol, equal_nan=True):
                    raise GradcheckError(f"Jacobian computed with forward mode mismatch for output {k} with respect to input {i},\n"
                                         f"numerical:{expected}\nanalytical:{analytical}\n")


def _check_batched(func: Function, inputs: tuple[Any, ...], atol: float, rtol: float) -> None:
    wanted = [t for t in inputs if isinstance(t, Tensor) and t.requires_grad]
    for out in _outputs(func, inputs):
        rows = np.random.default_rng(0).standard_normal((3, *out._a.shape)).astype(out._a.dtype)
        batch = _tensor(rows, out)
        together = grad(out, wanted, batch, is_grads_batched=True, retain_graph=True, allow_unused=True)
        for i in range(3):
            alone = grad(out, wanted, batch[i], retain_graph=True, allow_unused=True)
            for a, b in zip(together, alone, strict=True):
                if a is not None and not np.allclose(_values(a)[i], _values(b), rtol=rtol, atol=atol):
                    raise GradcheckError("batched gradients differ from those computed one by one")


def gradgradcheck(func: Function, inputs: Any, grad_outputs: Any = None, *, eps: float = 1e-6, atol: float = 1e-5, rtol: float = 1e-3,
                  gen_non_contig_grad_outputs: bool = False, raise_exception: bool = True, nondet_tol: float = 0.0,
                  check_undefined_grad: bool = True, check_grad_dtypes: bool = False, check_batched_grad: bool = False,
                  check_fwd_over_rev: bool = False, check_rev_over_rev: bool = True, fast_mode: bool = False, masked: bool = False) -> bool:
    """`gradcheck` of the gradient: second derivatives against finite differences of the first."""
    inputs = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    if grad_outputs is None:
        with enable_grad():
            outs = _outputs(func, inputs)
        rng = np.random.default_rng(0)
        given = tuple(_tensor(rng.standard_normal(o._a.shape).astype(o._a.dtype), o).requires_grad_() for o in outs)
    else:
        given = (grad_outputs,) if isinstance(grad_outputs, Tensor) else tuple(grad_outputs)
    count = len(inputs)

    def first(*args: Any) -> Any:
        ins, gs = args[:count], args[count:]
        ins = tuple(t.view_as(t) if isinstance(t, Tensor) and t.requires_grad else t for t in ins)
        wanted = [t for t in ins if isinstance(t, Tensor) and t.requires_grad]
        outs = _outputs(func, ins)
        pairs = [(o, g) for o, g in zip(outs, gs, strict=True) if o.requires_grad]
        found = grad([o for o, _ in pairs], wanted, [g for _, g in pairs], create_graph=True, allow_unused=True)
        return tuple(g for g in found if g is not None)

    return gradcheck(first, inputs + given, eps=eps, atol=atol, rtol=rtol, raise_exception=raise_exception, nondet_tol=nondet_tol,
                     check_batched_grad=check_batched_grad, check_forward_ad=check_fwd_over_rev, check_backward_ad=check_rev_over_rev)


def _iter_tensors(x: Any, only_requiring_grad: bool = False) -> Iterator[Tensor]:
    """The tensors in a tensor or in nested sequences."""
    if isinstance(x, Tensor):
        if x.requires_grad or not only_requiring_grad:
            yield x
    elif isinstance(x, Iterable) and not isinstance(x, str):
        for each in x:
            yield from _iter_tensors(each, only_requiring_grad)


def _get_numerical_jacobian(fn: Function, inputs: Any, outputs: Any = None, target: Any = None, eps: float = 1e-3,
                            is_forward_ad: bool = False) -> list[tuple[Tensor, ...]]:
    """Per tensor that `target` (the inputs) has, the Jacobians (its elements, the output's elements) of all outputs, by central
    differences."""
    given = tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)
    outs = _outputs(lambda *_: fn(inputs) if isinstance(inputs, list) else fn(*given), given)
    found = []
    for t in _iter_tensors(inputs if target is None else target, only_requiring_grad=target is None):
        matrices = _numerical(lambda *_: fn(inputs) if isinstance(inputs, list) else fn(*given), given, t, eps)
        found.append(tuple(_tensor(m[0] + 1j * m[1] if len(m) > 1 else m[0], t if m[0].dtype == t._a.dtype or len(m) > 1 else out)
                           for m, out in zip(matrices, outs, strict=True)))
    return found


def get_numerical_jacobian(fn: Function, inputs: Any, target: Any = None, eps: float = 1e-3, grad_out: float = 1.0) -> list[Tensor]:
    """Deprecated: the Jacobian of the first output for each input; `grad_out` must be 1 (ValueError)."""
    if grad_out != 1.0:
        raise ValueError("Expected grad_out to be 1.0. get_numerical_jacobian no longer supports values of grad_out != 1.0.")
    return [jacobians[0] for jacobians in _get_numerical_jacobian(lambda *args: fn(inputs), inputs, None, target, eps)]


def get_analytical_jacobian(inputs: Any, output: Tensor, nondet_tol: float = 0.0, grad_out: float = 1.0) -> tuple[tuple[Tensor, ...], bool,
                            bool, bool]:
    """Deprecated: the Jacobians of `output` by backward, and whether two passes agreed, sizes were right, and dtypes were right."""
    if grad_out != 1.0:
        raise ValueError("Expected grad_out to be 1.0. get_analytical_jacobian no longer supports values of grad_out != 1.0.")
    if output.is_complex():
        raise ValueError("Expected output to be non-complex. get_analytical_jacobian no longer supports functions that return complex "
                         "outputs.")
    wanted = list(_iter_tensors(inputs, True))
    first, second = ([_analytical(output, t) for t in wanted] for _ in range(2))
    reentrant = all(np.abs(a - b).max(initial=0) <= nondet_tol for a, b in zip(first, second, strict=True))
    return tuple(_tensor(matrix, t) for matrix, t in zip(first, wanted, strict=True)), reentrant, True, True
