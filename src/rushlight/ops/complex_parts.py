"""Parts of complex numbers, and complex numbers of parts: real, imag, conj, complex, polar, and the views between complex and pairs of
reals."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dtypes import bfloat16
from ..kernels.arrays import as_array
from ..kernels.shapes import broadcast_shapes
from ..tensor import Tensor, wrap
from ..vocabulary import Function
from .conjugate import conjugated
from .errors import broadcast_error, title
from .failed_calls import check_tensor
from .public import export, method, op
from .record import record
from .record import view as make_view

__all__: list[str] = []

def _complex_part(name: str) -> Function:
    def part(input: Tensor) -> Tensor:
        kind = input._kind
        if not kind.is_complex:
            if name == "real":
                return input
            raise RuntimeError("imag is not implemented for tensors with non-complex dtypes.")
        if name == "imag" and input.is_conj():
            return -part(input.conj())
        r = make_view(input, getattr(input._a, name), "SelectBackward0",
                      lambda g: g.to(kind.dtype) * (1 if name == "real" else 1j), part)
        r._kind = kind.with_dtype(kind.dtype.to_real())
        return r
    part.__name__ = part.__qualname__ = name
    part.__doc__ = f"The {name} part of a complex tensor, as a view."
    export(part, name, guard=True)

    def assign(self: Tensor, value: Any) -> None:
        part(self).copy_(value)
    method(property(part, assign), name)
    return part


real, imag = _complex_part("real"), _complex_part("imag")


@export(guard=True)
def view_as_real(input: Tensor) -> Tensor:
    """A complex tensor as a real one with a last dimension of size 2: real and imaginary parts."""
    kind = input._kind
    if not kind.is_complex:
        raise RuntimeError("view_as_real is only supported for complex tensors")
    if input.is_conj():
        raise RuntimeError("view_as_real doesn't work on unresolved conjugated tensors.  To resolve the conjugate tensor so you can view "
                           "it as real, use self.resolve_conj(); however, be warned that the resulting tensor will NOT alias the original.")
    real_kind = kind.with_dtype(kind.dtype.to_real())
    r = make_view(input, input._a[..., None].view(real_kind.np), "ViewAsRealBackward0", lambda g: view_as_complex(g.contiguous()),
                  view_as_real)
    r._kind = real_kind
    return r


@export(guard=True)
def view_as_complex(input: Tensor) -> Tensor:
    """A real tensor whose last dimension holds real and imaginary parts as a complex tensor."""
    kind, a = input._kind, input._a
    if not kind.is_floating:
        raise RuntimeError("view_as_complex is only supported for half, float and double tensors, but got a tensor of scalar type: "
                           f"{title(input.dtype)}")
    if a.ndim == 0:
        raise RuntimeError("Input tensor must have one or more dimensions")
    if a.shape[-1] != 2:
        raise RuntimeError("Tensor must have a last dimension of size 2")
    if a.strides[-1] != a.itemsize and a.size:        # NumPy has no strides of its own for what is empty
        raise RuntimeError("Tensor must have a last dimension with stride 1")
    if any(step % (2 * a.itemsize) for n, step in zip(a.shape[:-1], a.strides[:-1], strict=True) if n > 1):
        raise RuntimeError("Tensor must have a stride divisible by 2 for all but last dimension")
    complex_kind = kind.with_dtype(kind.dtype.to_complex())
    r = make_view(input, a.view(complex_kind.np)[..., 0], "ViewAsComplexBackward0", view_as_real, view_as_complex)
    r._kind = complex_kind
    return r


@op(method=True)
def conj(input: Tensor) -> Tensor:
    """The complex conjugate, as a view that shares memory (elsewhere than on the CPU, and inside vmap, a copy); a real tensor itself."""
    if not input._kind.is_complex:
        return input
    if input.is_conj():
        return input.conj()
    return conjugated(input) if input._a.__class__ is np.ndarray else _conjugate(input)


def _conjugate(input: Tensor) -> Tensor:
    return record(wrap(as_array(np.conjugate(input._a)), input._kind), "ConjPhysicalBackward0", (input,), _conjugate)


@op(method=True, inplace="function", out=True)
def conj_physical(input: Tensor) -> Tensor:
    """The complex conjugate."""
    return _conjugate(input) if input._kind.is_complex else input.clone()


@op(out="fresh")
def complex_(real: Tensor, imag: Tensor) -> Tensor:
    """The complex tensor with these real and imaginary parts."""
    if real._kind is not imag._kind:
        raise RuntimeError(f"Expected object of scalar type {real.dtype} but got scalar type {imag.dtype} for second argument")
    kind = real._kind
    if not kind.is_floating or kind.dtype is bfloat16:
        raise RuntimeError(f"Expected both inputs to be Half, Float or Double tensors but got {title(kind.dtype)} and {title(kind.dtype)}")
    ckind = kind.with_dtype(kind.dtype.to_complex())
    try:
        shape = broadcast_shapes(real._a.shape, imag._a.shape)
    except ValueError:
        raise broadcast_error(real._a.shape, imag._a.shape) from None
    a = kind.xp.empty(shape, ckind.np)
    a.real, a.imag = real._a, imag._a
    return record(wrap(a, ckind), "ComplexBackward0", (real, imag), lambda g: (g.real, g.imag))


@op(out="fresh")
def polar(abs: Tensor, angle: Tensor) -> Tensor:
    """The complex tensor with these absolute values and angles (radians)."""
    check_tensor("polar", abs=abs, angle=angle)
    if abs._kind.np.char not in "efd" or angle._kind.np.char not in "efd":
        raise RuntimeError(f"Expected both inputs to be Half, Float or Double tensors but got {title(abs._kind.dtype)} and "
                           f"{title(angle._kind.dtype)}")
    if abs._kind.dtype is not angle._kind.dtype:
        raise RuntimeError(f"Expected object of scalar type {title(abs._kind.dtype)} but got scalar type {title(angle._kind.dtype)} for "
                           "second argument")
    return complex_(abs * angle.cos(), abs * angle.sin())
