"""Ops that look at the same memory in another shape or order: view, squeeze, permute, expand.

Each gives a tensor that shares memory, version and history with its input (see `record.view`). Most gradients are written once for arrays
and tensors alike: `reshape` and `swapaxes` mean the same on both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..autograd.engine import sum_array_to
from ..dims import wrap_dim, wrap_dims
from ..dtypes import bool_, dtype_of
from ..dtypes import dtype as Dtype
from ..kernels import shapes as kernel_shapes
from ..kernels.arrays import as_array, as_truth
from ..kernels.strides import broadcast, same_memory
from ..size import Size
from ..tensor import Tensor, wrap
from ..vocabulary import Array, PerDim, Shape
from .errors import broadcast_error, no_lists, title
from .failed_calls import check_tensor
from .public import export, method, op
from .record import record
from .record import view as make_view

__all__ = ["sizes", "shape_error"]


# --- arguments ------------------------------------------------------------------------------------------------------------------------

def sizes(args: tuple[Any, ...], name: str, parameter: str = "size") -> tuple[int, ...]:
    """A shape (or dims) given as separate ints or as one sequence."""
    if len(args) == 1 and args[0].__class__ is not int and isinstance(args[0], (tuple, list)):
        args = tuple(args[0])
    for arg in args:
        if arg.__class__ is not int:
            break
    else:
        return args
    try:
        return tuple([arg.__index__() for arg in args])
    except (AttributeError, TypeError):
        at, bad = next(((i, arg) for i, arg in enumerate(args) if isinstance(arg, (float, str)) or not hasattr(arg, "__index__")),
                       (0, args[0]))
        raise TypeError(f"{name}(): argument '{parameter}' (position 1) must be tuple of ints, but found element of type "
                        f"{type(bad).__name__} at pos {at}") from None


def shape_error(shape: tuple[int, ...], size: int) -> RuntimeError | None:
    """What is wrong with reshaping `size` elements to `shape`; None if nothing is."""
    if shape.count(-1) > 1:
        return RuntimeError("only one dimension can be inferred")
    known = 1
    for i, n in enumerate(shape):
        if n < -1:
            return RuntimeError(f"invalid shape dimension {n} at index {i} of shape {list(shape)}")
        known *= 1 if n == -1 else n
    if known == 0 and -1 in shape and size == 0:
        return RuntimeError(f"cannot reshape tensor of 0 elements into shape {list(shape)} because the unspecified dimension size -1 can "
                            "be any value and is ambiguous")
    if (known != size) if -1 not in shape else (known == 0 or size % known):
        return RuntimeError(f"shape '{list(shape)}' is invalid for input of size {size}")
    return None


_FLAT = (-1,)


def _no_other_negatives(shape: tuple[Any, ...]) -> None:
    """NumPy infers a size from any negative number, PyTorch from -1 alone."""
    shape = shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
    for i, n in enumerate(shape):
        if n < -1:
            raise RuntimeError(f"invalid shape dimension {n} at index {i} of shape {list(shape)}")


def _reshaped(a: Array, shape: tuple[int, ...]) -> Array:
    try:
        r = a.reshape(shape)
    except ValueError:
        raise shape_error(shape, a.size) or RuntimeError(f"shape '{list(shape)}' is invalid for input of size {a.size}") from None
    if shape and min(shape) < -1:
        raise shape_error(shape, a.size)
    return r


# --- reshaping ------------------------------------------------------------------------------------------------------------------------

@op(torch=False, method=True)
def view(self: Tensor, *shape: Any, dtype: Any = None, size: Any = None) -> Tensor:
    """The same memory in another shape (one size may be -1), or seen as another dtype: ``x.view(2, -1)``, ``x.view(torch.int32)``.

    RuntimeError where the shape does not fit, or where the strides would need a copy (use reshape)."""
    a = self._a
    if shape and shape[0].__class__ is type:
        shape = (dtype_of(shape[0]), *shape[1:])
    if shape and shape[0].__class__ is not Dtype:
        try:
            r = a.reshape(*shape)
        except (ValueError, TypeError):
            return _view(self, sizes(shape, "view"))
        if r.shape != shape and shape != _FLAT:
            _no_other_negatives(shape)
        base = r.base
        if base is a or (base is not None and base is a.base) or same_memory(r, a):
            old = a.shape

            def back(g: Array | Tensor) -> Array | Tensor:
                return g.reshape(old)
            return make_view(self, r, "ViewBackward0", back, _view, (r.shape,), back)
        return _view(self, sizes(shape, "view"))
    if dtype is not None or shape:
        return _view_dtype(self, shape[0] if dtype is None else dtype)
    if size is not None:
        return _view(self, sizes((size,), "view"))
    if not shape:
        raise TypeError("view() received an invalid combination of arguments - got (), but expected one of: (torch.dtype dtype), "
                        "(tuple of ints size)")
    return _view(self, sizes(shape, "view"))


def _view(self: Tensor, shape: tuple[int, ...]) -> Tensor:
    a = self._a
    r = _reshaped(a, shape)
    if r.base is not a and not same_memory(r, a):
        raise RuntimeError("view size is not compatible with input tensor's size and stride (at least one dimension spans across two "
                           "contiguous subspaces). Use .reshape(...) instead.")
    old = a.shape

    def back(g: Array | Tensor) -> Array | Tensor:
        return g.reshape(old)
    return make_view(self, r, "ViewBackward0", back, _view, (r.shape,), back)


def _view_dtype(self: Tensor, d: Dtype) -> Tensor:
    kind = self._kind.with_dtype(d)
    have = self._kind.np.itemsize
    want = d.itemsize
    a = self._a
    if have != want:
        if a.ndim == 0:
            raise RuntimeError(f"self.dim() cannot be 0 to view {title(self.dtype)} as {title(d)} (different element sizes)")
        if want > have and (a.shape[-1] * have) % want:
            raise RuntimeError(f"self.size(-1) must be divisible by {want // have} to view {title(self.dtype)} as {title(d)} "
                               f"(different element sizes), but got {a.shape[-1]}")
        if a.size and a.strides[-1] != have and a.shape[-1] > 1:
            raise RuntimeError(f"self.stride(-1) must be 1 to view {title(self.dtype)} as {title(d)} (different element sizes), "
                               f"but got {a.strides[-1] // have}")
        if want > have and a.__class__ is np.ndarray and self.storage_offset() % (want // have):
            raise RuntimeError(f"self.storage_offset() must be divisible by {want // have} to view {title(self.dtype)} as {title(d)} "
                               f"(different element sizes), but got {self.storage_offset()}")
        for i, step in enumerate(a.strides[:-1] if want > have and a.size else ()):
            if step % want:
                raise RuntimeError(f"self.stride({i}) must be divisible by {want // have} to view {title(self.dtype)} as {title(d)} "
                                   f"(different element sizes), but got {step // have}")
    old = self._kind
    if not a.size and a.__class__ is np.ndarray:
        step, steps = have, []
        for n in reversed(a.shape):
            steps.append(step)
            step *= max(n, 1)
        a = np.lib.stride_tricks.as_strided(a, a.shape, steps[::-1])     # the strides of nothing may be anything, which NumPy would look at
    seen = a.view(d.np)
    r = make_view(self, as_truth(seen) if d is bool_ else seen, "ViewBackward0", lambda g: _view_dtype(g, old.dtype), _view_dtype, (d,))
    r._kind = kind
    if not (kind.differentiable and old.differentiable) or (kind.is_complex != old.is_complex):
        r._node = None
    return r


@op(method=True)
def reshape(input: Tensor, *args: Any, shape: Any = None) -> Tensor:
    """The elements in another shape (one size may be -1): a view where the strides allow it, else a copy."""
    if not args and shape is None:
        raise TypeError("reshape() missing 1 required positional arguments: \"shape\"")
    a = input._a
    if shape is None:
        try:
            r = a.reshape(*args)
        except (ValueError, TypeError):
            return _reshape(input, sizes(args, "reshape", "shape"))
        if r.shape != args and args != _FLAT:
            _no_other_negatives(args)
        return _reshape_to(input, r)
    return _reshape(input, sizes((shape,), "reshape", "shape"))


def _reshape(self: Tensor, shape: tuple[int, ...]) -> Tensor:
    return _reshape_to(self, _reshaped(self._a, shape))


def _reshape_to(self: Tensor, r: Array) -> Tensor:
    """The result of reshape around the array that NumPy's reshape gave: a view, or a copy where it had to be one."""
    a = self._a
    old = a.shape

    def back(g: Array | Tensor) -> Array | Tensor:
        return g.reshape(old)
    base = r.base
    if base is a or (base is not None and base is a.base) or same_memory(r, a):
        return make_view(self, r, "ViewBackward0", back, _view, (r.shape,), back)
    return record(wrap(r, self._kind), "UnsafeViewBackward0", (self,), back, (), back)


@op(torch=False, method=True)
def view_as(self: Tensor, other: Tensor) -> Tensor:
    """``self.view(other.size())``."""
    return _view(self, other._a.shape)


@op(torch=False, method=True)
def reshape_as(self: Tensor, other: Tensor) -> Tensor:
    """``self.reshape(other.size())``."""
    return _reshape(self, other._a.shape)


@op(method=True)
def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Merge the dimensions from start_dim to end_dim into one; the tensor itself where there is nothing to merge."""
    shape = input._a.shape
    if start_dim == 0 and end_dim == -1 and len(shape) != 1:
        return _reshape_to(input, input._a.reshape(-1))
    start, end = wrap_dim(start_dim, len(shape)), wrap_dim(end_dim, len(shape))
    if start > end:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    if not shape:
        return _reshape(input, (1,))
    if start == end:
        return input
    merged = 1
    for n in shape[start:end + 1]:
        merged *= n
    return _reshape(input, (*shape[:start], merged, *shape[end + 1:]))


@op(method=True)
def ravel(input: Tensor) -> Tensor:
    """All elements as a vector: a view where possible."""
    return _view(input.contiguous(), (input._a.size,))


@op(method=True)
def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """Split one dimension into several (one size may be -1)."""
    if isinstance(sizes, int):
        raise TypeError("unflatten(): argument 'sizes' (position 3) must be tuple of ints, not int")
    shape = input._a.shape
    if isinstance(dim, str):
        raise NotImplementedError("unflatten: named dimensions are not supported; give the dimension's number")
    dim = wrap_dim(dim, len(shape))
    parts = tuple(sizes)
    if not parts:
        raise RuntimeError("unflatten: sizes must be non-empty")
    n = shape[dim] if shape else 1
    known = 1
    for part in parts:
        known *= 1 if part == -1 else part
    if parts.count(-1) > 1:
        raise RuntimeError("only one dimension can be inferred")
    if (-1 not in parts and known != n) or (-1 in parts and (known == 0 or n % known)):
        raise RuntimeError(f"unflatten: Provided sizes {list(parts)} don't multiply up to the size of dim {dim} ({n}) in the input tensor")
    parts = tuple([n // known if part == -1 else part for part in parts])
    return _view(input, (*shape[:dim], *parts, *shape[dim + 1:]))


# --- dimensions of size one -----------------------------------------------------------------------------------------------------------

_NEW_AT = [(slice(None),) * dim + (None, ...) for dim in range(8)]     # NumPy indices that add a dimension


@op(method=True)
def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """A new dimension of size one at `dim`."""
    a = input._a
    shape = a.shape
    n = len(shape) + 1
    if dim.__class__ is not int or dim < 0 or dim >= n:
        dim = wrap_dim(dim, n)

    def back(g: Array | Tensor) -> Array | Tensor:
        return g.reshape(shape)
    return make_view(input, a[_NEW_AT[dim] if dim < 8 else (*(slice(None),) * dim, None)], "UnsqueezeBackward0", back, unsqueeze, (dim,),
                     back)


@op(method=True)
def squeeze(input: Tensor, dim: PerDim | None = None) -> Tensor:
    """Without the dimensions of size one: all of them, or those named by `dim` (an int or several)."""
    a = input._a
    shape = a.shape
    if dim is None:
        axes, name = (tuple([i for i, n in enumerate(shape) if n == 1]) if 1 in shape else ()), "SqueezeBackward0"
    elif isinstance(dim, (tuple, list)):
        axes, name = tuple([d for d in wrap_dims(dim, len(shape)) if shape and shape[d] == 1]), "SqueezeBackward2"
    else:
        d = wrap_dim(dim, len(shape))
        axes, name = (d,) if shape and shape[d] == 1 else (), "SqueezeBackward1"

    def back(g: Array | Tensor) -> Array | Tensor:
        return g.reshape(shape)
    return make_view(input, a.squeeze(axes) if axes else a[...], name, back, squeeze, (dim if dim is None else axes,), back)


# --- order of the dimensions ----------------------------------------------------------------------------------------------------------

@op(method=True, alias=("swapdims",))
def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """The tensor with two dimensions exchanged."""
    a = input._a
    n = a.ndim
    if dim0.__class__ is not int or dim1.__class__ is not int or not (-n <= dim0 < n and -n <= dim1 < n):
        dim0, dim1 = wrap_dim(dim0, n), wrap_dim(dim1, n)

    def back(g: Array | Tensor) -> Array | Tensor:
        return g.swapaxes(dim0, dim1) if n else g
    return make_view(input, a.swapaxes(dim0, dim1) if n else a[...], "TransposeBackward0", back, transpose, (dim0, dim1), back)


@op(method=True)
def swapaxes(input: Tensor, axis0: int, axis1: int) -> Tensor:
    """The tensor with two dimensions exchanged (NumPy's name of transpose)."""
    return transpose(input, axis0, axis1)


@op(method=True)
def t(input: Tensor) -> Tensor:
    """The transpose of a matrix; vectors and numbers as they are."""
    a = input._a
    if a.ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {a.ndim}D")

    def back(g: Array | Tensor) -> Array | Tensor:
        return g.T if g.ndim == 2 else g
    return make_view(input, a.T, "TBackward0", back, t, (), back)


@op(method=True)
def permute(input: Tensor, *args: Any, dims: Any = None) -> Tensor:
    """The dimensions in another order: ``x.permute(2, 0, 1)``."""
    if not args and dims is None:
        raise TypeError("permute() missing 1 required positional arguments: \"dims\"")
    order = args if dims is None else (dims,)
    return _permute(input, order if order[0].__class__ is int else sizes(order, "permute", "dims"))


def _permute(input: Tensor, dims: tuple[int, ...]) -> Tensor:
    a = input._a
    n = a.ndim
    try:
        array = a.transpose(dims)
    except (ValueError, TypeError):
        array = None
    if array is None or len(dims) != n:
        raise _permute_error(dims, n)
    if input._node is None:
        return make_view(input, array, "PermuteBackward0", None, _permute, (dims,))
    inverse = [0] * n
    for i, d in enumerate(dims):
        inverse[d] = i
    order = tuple(inverse)
    return make_view(input, array, "PermuteBackward0", lambda g: _permute(g, order), _permute, (dims,), lambda g: g.transpose(order))


def _permute_error(dims: tuple[Any, ...], n: int) -> Exception:
    if len(dims) != n:
        return RuntimeError("permute(sparse_coo): number of dimensions in the tensor input does not match the length of the desired "
                            "ordering of "
                           f"dimensions i.e. input.dim() = {n} is not equal to len(dims) = {len(dims)}")
    for d in dims:
        wrap_dim(d, n)
    return RuntimeError("permute(): duplicate dims are not allowed.")


@op(method=True, alias=("moveaxis",))
def movedim(input: Tensor, source: PerDim, destination: PerDim) -> Tensor:
    """Move dimensions to other places; the rest keep their order."""
    if isinstance(source, int) is not isinstance(destination, int):
        raise TypeError(f"movedim() received an invalid combination of arguments - got ({type(source).__name__}, "
                        f"{type(destination).__name__})")
    source = (source,) if isinstance(source, int) else tuple(source)
    destination = (destination,) if isinstance(destination, int) else tuple(destination)
    if len(source) != len(destination):
        raise RuntimeError(f"movedim: Invalid source or destination dims: source ({list(source)} dims) should contain the same number of "
                           f"dims as destination ({list(destination)} dims)")
    n = input._a.ndim
    source, destination = tuple([wrap_dim(d, n) for d in source]), tuple([wrap_dim(d, n) for d in destination])
    for label, dims in (("source", source), ("destination", destination)):
        if len(set(dims)) != len(dims):
            raise RuntimeError(f"movedim: repeated dim in `{label}` ({list(dims)})")
    order = [d for d in range(n) if d not in source]
    for to, d in sorted(zip(destination, source, strict=True)):
        order.insert(to, d)
    return _permute(input, tuple(order)) if n else input


@op(method=True)
def adjoint(input: Tensor) -> Tensor:
    """Conjugate transpose of the last two dimensions."""
    if input._a.ndim == 0:
        return input.conj() if input._kind.is_complex else transpose(input, 0, 0)
    if input._a.ndim < 2:
        raise RuntimeError(f"tensor.adjoint() is only supported on matrices or batches of matrices. Got {input._a.ndim}-D tensor.")
    r = transpose(input, -2, -1)
    return r.conj() if r._kind.is_complex else r


def _T(self: Tensor) -> Tensor:
    """The dimensions in reverse order."""
    n = self._a.ndim
    if n != 2 and n != 0:
        import warnings
        warnings.warn("The use of `x.T` on tensors of dimension other than 2 to reverse their shape is deprecated: use `x.mT` to "
                      "transpose batches of matrices or `x.permute(*range(x.ndim - 1, -1, -1))`.", UserWarning, stacklevel=2)
    return _permute(self, tuple(range(n - 1, -1, -1)))


def _mT(self: Tensor) -> Tensor:
    """The last two dimensions exchanged."""
    if self._a.ndim < 2:
        raise RuntimeError(f"tensor.mT is only supported on matrices or batches of matrices. Got {self._a.ndim}-D tensor.")
    return transpose(self, -2, -1)


def _H(self: Tensor) -> Tensor:
    """The conjugate transpose of a matrix."""
    if self._a.ndim not in (0, 2):
        raise RuntimeError("tensor.H is only supported on matrices (2-D tensors). Got "
                           f"{self._a.ndim}-D tensor.{' For batches of matrices, consider using tensor.mH' if self._a.ndim > 2 else ''}")
    return adjoint(self) if self._a.ndim else self.conj()


def _mH(self: Tensor) -> Tensor:
    """The conjugate transpose of the last two dimensions."""
    if self._a.ndim < 2:
        raise RuntimeError(f"tensor.mH is only supported on matrices or batches of matrices. Got {self._a.ndim}-D tensor.")
    return adjoint(self)


for _name, _get in (("T", _T), ("mT", _mT), ("H", _H), ("mH", _mH)):
    method(property(_get), _name)


# --- broadcasting ---------------------------------------------------------------------------------------------------------------------

@op(torch=False, method=True)
def expand(self: Tensor, *args: Any, size: Any = None, implicit: bool = False) -> Tensor:
    """Dimensions of size one repeated without a copy; -1 keeps a size, new dimensions go in front."""
    if not args and size is None:
        raise TypeError('expand() missing 1 required positional arguments: "size"')
    return _expand(self, sizes(args if size is None else (size,), "expand"))


def _expand(self: Tensor, shape: tuple[int, ...]) -> Tensor:
    a = self._a
    old = a.shape
    extra = len(shape) - len(old)
    if extra < 0:
        raise RuntimeError(f"expand({self.type()}{{{list(old)}}}, size={list(shape)}): the number of sizes provided ({len(shape)}) must "
                           f"be greater or equal to the number of dimensions in the tensor ({len(old)})")
    if old == shape[extra:] and (not extra or min(shape[:extra]) >= 0):
        full = shape
    else:
        full = _expanded_shape(old, shape, extra)

    def array_back(g: Array) -> Array:
        return sum_array_to(g, old)
    return make_view(self, broadcast(a, full), "ExpandBackward0", lambda g: g.sum_to_size(old), _expand, (full,), array_back)


def _expanded_shape(old: tuple[int, ...], shape: tuple[int, ...], extra: int) -> tuple[int, ...]:
    """The shape that expand(shape) gives, with -1 filled in; raises where it does not fit."""
    full = list(shape)
    for i, want in enumerate(shape):
        have = old[i - extra] if i >= extra else None
        if want == have:
            continue
        if want == -1:
            if have is None:
                raise RuntimeError(f"The expanded size of the tensor (-1) isn't allowed in a leading, non-existing dimension {i}")
            full[i] = have
        elif want < 0:
            raise RuntimeError(f"expand: invalid size {want} at dimension {i}")
        elif have is not None and have != 1:
            raise RuntimeError(f"The expanded size of the tensor ({want}) must match the existing size ({have}) at non-singleton "
                               f"dimension {i}.  Target sizes: {list(shape)}.  Tensor sizes: {list(old)}")
    return tuple(full)


@op(torch=False, method=True)
def expand_as(self: Tensor, other: Tensor) -> Tensor:
    """``self.expand(other.size())``."""
    check_tensor("expand_as", other=other)
    return _expand(self, other._a.shape)


@op(method=True)
def broadcast_to(input: Tensor, size: PerDim) -> Tensor:
    """The tensor expanded to `size`."""
    return _expand(input, sizes((size,), "broadcast_to"))


@export
def broadcast_shapes(*shapes: Any) -> Shape:
    """The shape that results from broadcasting the given shapes (ints count as vectors)."""
    full = [(shape,) if isinstance(shape, int) else tuple(shape) for shape in shapes if shape is not None]
    if any(n < 0 for shape in full for n in shape):
        raise ValueError("Attempting to broadcast a dimension with negative length!")
    try:
        return Size(kernel_shapes.broadcast_shapes(*full))
    except ValueError:
        raise RuntimeError(f"Shape mismatch: objects cannot be broadcast to a single shape: {[list(each) for each in full]}") from None


@export(guard=True)
def broadcast_tensors(*tensors: Any) -> tuple[Tensor, ...]:
    """All tensors expanded to their common shape."""
    no_lists(tensors)
    if not tensors:
        return ()
    shape: tuple[int, ...] = tensors[0]._a.shape
    for each in tensors[1:]:
        try:
            shape = kernel_shapes.broadcast_shapes(shape, each._a.shape)
        except ValueError:
            raise broadcast_error(shape, each._a.shape) from None
    return tuple([each if each._a.shape == shape else _expand(each, shape) for each in tensors])


@op(torch=False, method=True)
def sum_to_size(self: Tensor, *size: Any) -> Tensor:
    """Summed over the dimensions that were broadcast from `size`."""
    return _sum_to(self, sizes(size, "sum_to_size"))


def _sum_to(self: Tensor, shape: tuple[int, ...]) -> Tensor:
    a = self._a
    old = a.shape
    extra = len(old) - len(shape)
    if extra < 0 or any(want != have and want != 1 for want, have in zip(shape, old[extra:], strict=True)):
        raise RuntimeError(f"size {{{list(shape)}}} is not expandable to size {{{list(old)}}}.")
    if old == shape and (old or self._kind.differentiable):
        return self
    kind = self._kind
    if not kind.differentiable:
        kind = kind.int64
    r = wrap(as_array(sum_array_to(a, shape), kind.np), kind)
    return record(r, "SumBackward1", (self,), lambda g: _expand(g, old))


@export(guard=True)
def detach(input: Tensor) -> Tensor:
    """The same memory without history."""
    return input.detach()


@export(guard=True)
def detach_(input: Tensor) -> Tensor:
    """Cut the history of a tensor off, in place."""
    return input.detach_()
