"""`BatchedArray`: many arrays of one shape that look like one, so that `vmap` runs an op on all samples at once.

A vmapped function sees tensors whose array is a BatchedArray. It has the shape of one sample; in memory (`physical`) there is one more
dimension in front, the batch. It takes part in NumPy's protocols as CuPy's arrays do, so that the ops, their gradients and the backward
pass work on it as they stand:

    ufuncs (np.add, np.matmul, np.add.reduce, ...)   `__array_ufunc__`: dimensions are lined up, then one call on the physical arrays
    functions (np.where, np.concatenate, ...)        `__array_function__`: a rule from `rules.py`, else one call per sample
    methods and indexing                              below

What can't be batched (writing a sample's values into memory that all samples share, branching on a value) raises `NotBatched`; the op is
then run sample by sample (see `fallback.py`).

Every vmap that runs has a `level`, a number that is never used again; inner ones have higher numbers. An array that is batched at several
levels is a BatchedArray of the highest level whose physical array is batched at the next. Levels outlive their vmap in the recorded graph:
a gradient on its way to a tensor that lacks a level of a vmap that has ended is summed over it (`BatchedFix` in autograd/graph.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from math import prod
from types import EllipsisType
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from .. import services
from ..kernels import reduce as R
from ..kernels.door import join
from ..kernels.strides import strided
from ..tensor import NotBatched
from ..vocabulary import Array, Axes, Dtype, Function, Index, Number, PerDim, Scalar

if TYPE_CHECKING:
    from ..kind import Kind

__all__ = ["BatchedArray", "NotBatched", "new_level", "put_level", "take_level", "batched_getitem", "batched_setitem"]

ndarray = np.ndarray
_levels = count(1)


def new_level() -> int:
    """A number for a vmap, higher than all before."""
    return next(_levels)


def data_dependent(what: str) -> NotBatched:
    """PyTorch's error for a value of a batched tensor that decides something in Python."""
    if what == "item":
        return NotBatched("vmap: It looks like you're calling .item() on a Tensor. We don't support vmap over calling .item() on a Tensor, "
                            "please try to rewrite what you're doing with other operations.")
    return NotBatched("vmap: It looks like you're attempting to use a Tensor in some data-dependent control flow. We don't support that "
                      "yet; "
                        "torch.where chooses between values without control flow.")


def shared_write() -> NotBatched:
    """PyTorch's error for a write that has one value per sample and one place for all."""
    return NotBatched("vmap: inplace arithmetic(self, *extra_args) is not possible because there exists a Tensor `other` in extra_args "
                      "that has "
                        "more elements than `self`. This happened due to `other` being vmapped over but `self` not being vmapped over. "
                        "Please try to use out-of-place operators instead of inplace arithmetic.")


class _Flags:
    """The flags of one sample's array."""

    __slots__ = ("physical",)

    def __init__(self, physical: Array) -> None:
        self.physical = physical

    def __getattr__(self, name: str) -> bool:
        p = self.physical
        return getattr((p[0, ...] if p.shape[0] else p).flags, name)

    @property
    def writeable(self) -> bool:
        """Whether the memory may be written to."""
        return self.physical.flags.writeable

    @writeable.setter
    def writeable(self, value: bool) -> None:
        self.physical.flags.writeable = value

    @property
    def carray(self) -> bool:
        """False: never memory that one may look at directly."""
        return False


class BatchedArray(NDArrayOperatorsMixin):
    """See the module's docstring. `physical` is (batch, *shape)."""

    __slots__ = ("physical", "level")
    __array_priority__ = 2000

    def __init__(self, physical: Array, level: int) -> None:
        self.physical, self.level = physical, level

    # --- what it looks like -----------------------------------------------------------------------------------------------------------

    shape = property(lambda self: self.physical.shape[1:])
    ndim = property(lambda self: self.physical.ndim - 1)
    size = property(lambda self: prod(self.physical.shape[1:]))
    dtype = property(lambda self: self.physical.dtype)
    itemsize = property(lambda self: self.physical.dtype.itemsize)
    nbytes = property(lambda self: self.size * self.itemsize)
    strides = property(lambda self: self.physical.strides[1:])
    flags = property(lambda self: _Flags(self.physical))
    device = property(lambda self: self.physical.device)
    base = property(lambda self: None)
    T = property(lambda self: self.transpose())
    real = property(lambda self: self.like(self.physical.real), lambda self, value: _set_part(self, "real", value))
    imag = property(lambda self: self.like(self.physical.imag), lambda self, value: _set_part(self, "imag", value))
    batch = property(lambda self: self.physical.shape[0])
    levels = property(lambda self: [self.level] if self.physical.__class__ is ndarray else levels_of(self))

    def like(self, physical: Array) -> BatchedArray:
        """Another array of this level."""
        return BatchedArray(physical, self.level)

    def __repr__(self) -> str:
        return f"BatchedArray(level={self.level}, batch={self.batch}, shape={self.shape}, dtype={self.dtype})"

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("len() of unsized object")
        return self.shape[0]

    def __iter__(self) -> Iterator[Array]:
        return iter([self[i] for i in range(len(self))])

    __hash__ = None  # type: ignore[assignment]

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise NotBatched("a batched array is not one NumPy array")

    def __bool__(self) -> bool:
        raise NotBatched("the truth of a batched array differs from sample to sample")

    def __index__(self) -> int:
        raise NotBatched("the value of a batched array differs from sample to sample")

    __int__ = __index__

    def __float__(self) -> float:
        raise NotBatched("the value of a batched array differs from sample to sample")

    def __complex__(self) -> complex:
        raise NotBatched("the value of a batched array differs from sample to sample")

    def item(self, *args: Any) -> NoReturn:
        """A value per sample is no value (RuntimeError)."""
        raise data_dependent("item")

    tolist = item

    @property
    def __array_interface__(self) -> NoReturn:
        raise AttributeError("__array_interface__")

    @property
    def data(self) -> NoReturn:
        """There is no address (RuntimeError)."""
        raise RuntimeError("Cannot access data pointer of Tensor that doesn't have storage: it is batched by vmap")

    def all(self, axis: Axes = None, out: Array | None = None, keepdims: bool = False, **kwargs: Any) -> Truth:
        """Whether all elements are true."""
        return np.all(self, axis=axis, keepdims=keepdims, **kwargs)

    def any(self, axis: Axes = None, out: Array | None = None, keepdims: bool = False, **kwargs: Any) -> Truth:
        """Whether an element is true."""
        return np.any(self, axis=axis, keepdims=keepdims, **kwargs)

    def get(self) -> NoReturn:
        """Not as one host array (RuntimeError)."""
        raise data_dependent("item")

    # --- methods ----------------------------------------------------------------------------------------------------------------------

    def reshape(self, *shape: Any, **kwargs: Any) -> BatchedArray:
        """Each sample in another shape."""
        if len(shape) == 1 and not isinstance(shape[0], (int, np.integer)):
            shape = tuple(shape[0])
        if -1 in shape:
            known = prod(n for n in shape if n != -1)
            if shape.count(-1) > 1 or (self.size % known if known else True):
                raise ValueError(f"cannot reshape array of size {self.size} into shape {shape}")
            shape = tuple([self.size // known if n == -1 else n for n in shape])
        if prod(shape) != self.size:
            raise ValueError(f"cannot reshape array of size {self.size} into shape {shape}")
        return self.like(self.physical.reshape((self.batch, *shape), **kwargs))

    def transpose(self, *axes: Any) -> BatchedArray:
        """Each sample with its dimensions in another order."""
        if len(axes) == 1 and (axes[0] is None or not isinstance(axes[0], (int, np.integer))):
            axes = tuple(axes[0]) if axes[0] is not None else ()
        n = self.ndim
        if not axes and n:
            axes = tuple(range(n - 1, -1, -1))
        if len(axes) != n:
            raise ValueError("axes don't match array")
        return self.like(self.physical.transpose(0, *[normal_axis(a, n) + 1 for a in axes]))

    def swapaxes(self, a: int, b: int) -> BatchedArray:
        """Each sample with two dimensions exchanged."""
        n = self.ndim
        return self.like(self.physical.swapaxes(normal_axis(a, n) + 1, normal_axis(b, n) + 1))

    def squeeze(self, axis: Axes = None) -> BatchedArray:
        """Each sample without dimensions of size 1."""
        if axis is None:
            axis = tuple([i for i, n in enumerate(self.shape) if n == 1])
        return self.like(self.physical.squeeze(physical_axis(axis, self.ndim)))

    def ravel(self, order: str = "C") -> BatchedArray:
        """Each sample as a vector."""
        return self.reshape(-1) if order == "C" else self.transpose().reshape(-1)

    def flatten(self, order: str = "C") -> BatchedArray:
        """Each sample as a vector of its own memory."""
        return self.copy().ravel(order)

    def astype(self, dtype: Dtype, *args: Any, **kwargs: Any) -> BatchedArray:
        """Another element type."""
        return self.like(self.physical.astype(dtype, *args, **kwargs))

    def copy(self, order: str = "C") -> BatchedArray:
        """A copy."""
        return self.like(self.physical.copy())

    def __copy__(self) -> BatchedArray:
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> BatchedArray:
        return self.copy()

    def view(self, dtype: Dtype) -> BatchedArray:
        """The memory as another element type."""
        if not self.ndim and np.dtype(dtype).itemsize != self.itemsize:
            raise NotBatched("view of 0-dim samples as a dtype of another size")
        return self.like(self.physical.view(dtype))

    def fill(self, value: Array | Scalar) -> None:
        """The same value everywhere."""
        self[...] = value

    def conj(self) -> BatchedArray:
        """The complex conjugate."""
        return self.like(self.physical.conj())

    conjugate = conj

    def dot(self, other: Array) -> Array:
        """NumPy's dot product."""
        return np.dot(self, other)

    def __getattr__(self, name: str) -> Function:
        # The other methods (sum, argmax, cumsum, take, ...) are NumPy's functions of the same name.
        function = getattr(np, name, None) if name in _METHODS else None
        if function is None:
            raise AttributeError(f"'BatchedArray' object has no attribute {name!r}")
        return lambda *args, **kwargs: function(self, *args, **kwargs)

    def maker(self, xp: Any) -> Any:
        """What makes new arrays that are batched as this one is, as a module of arrays does."""
        return _Maker(self.physical.maker(xp) if isinstance(self.physical, BatchedArray) else xp, self)

    def at_levels(self, levels: list[int]) -> BatchedArray:
        """The same samples under other levels, highest first."""
        inner = self.physical
        return BatchedArray(inner.at_levels(levels[1:]) if isinstance(inner, BatchedArray) else inner, levels[0])

    def summed(self, level: int) -> Array:
        """The sum over the samples of one of its levels."""
        return R.sum(take_level(self, level), 0, False)

    def strided(self, shape: Sequence[int], strides: Sequence[int], offset: int = 0) -> BatchedArray:
        """Each sample's memory in another shape and with other strides (in bytes)."""
        p = self.physical
        return self.like(strided(p, (self.batch, *shape), (p.strides[0], *strides), offset))

    def sort(self, axis: int = -1, kind: Kind = None, **kwargs: Any) -> None:
        """Sort each sample in place."""
        self.physical.sort(axis=physical_axis(axis, self.ndim), kind=kind, **kwargs)

    def __getitem__(self, index: int | slice | tuple[Any, ...] | None) -> Array:
        return batched_getitem(self, index)

    def __setitem__(self, index: EllipsisType | int | tuple[Any, ...], value: Array | Number) -> None:
        batched_setitem(self, index, value)

    # --- NumPy's protocols ------------------------------------------------------------------------------------------------------------

    def __array_ufunc__(self, ufunc: Function, method: str, *inputs: Any, out: Any = None, **kwargs: Any) -> Any:
        outs = () if out is None else out if isinstance(out, tuple) else (out,)
        where = kwargs.get("where", True)
        level = max_level((*inputs, *outs, where))
        if any(o is not None and not is_at(o, level) for o in outs) and max_level((*inputs, where)) == level:
            raise shared_write()
        if method == "__call__":
            if ufunc is np.matmul and not outs and inputs[1].__class__ is ndarray and inputs[1].ndim == 2:
                return inputs[0].like(_one_product(inputs[0].physical, inputs[1]))
            if where is not True:
                n = max(np.ndim(x) for x in (*inputs, *outs, where))
                kwargs["where"] = lined_up(where, level, n)
            arguments = _call_arguments(ufunc, inputs, level)
            if outs:
                getattr(ufunc, method)(*arguments, out=tuple([o if o is None else unwrapped(o, level) for o in outs]), **kwargs)
                return outs[0] if len(outs) == 1 else outs
            return wrapped(_after(ufunc, inputs, ufunc(*arguments, **kwargs)), level)
        from .rules import ufunc_method
        return ufunc_method(ufunc, method, level, inputs, outs, kwargs)

    def __array_function__(self, function: Function, types: tuple[Any, ...], args: tuple[Any, ...], kwargs: dict[Any, Any]) -> Any:
        if function in _CREATION:       # np.zeros(shape, like=self)
            rest = {key: value for key, value in kwargs.items() if key != "shape"}
            shape = kwargs["shape"] if "shape" in kwargs else args[0]
            full = (self.batch, *((shape,) if isinstance(shape, int) else shape))
            return self.like(function(full, *args[1:], **rest, like=self.physical))
        # np.arange(n, like=self): the same for all samples
        if function in _SAME and not any(isinstance(each, BatchedArray) for each in args):
            return function(*args, **kwargs, like=self.physical)
        from .rules import call
        return call(function, args, kwargs)


class _Maker:
    """zeros, ones, empty and full at a batched array's levels: memory for each sample, so that a sample's values can be written into it."""

    __slots__ = ("xp", "of")

    def __init__(self, xp: Any, of: BatchedArray) -> None:
        self.xp, self.of = xp, of

    def _full(self, name: str, shape: PerDim, *args: Any) -> BatchedArray:
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        return self.of.like(getattr(self.xp, name)((self.of.batch, *shape), *args))

    def zeros(self, shape: PerDim, dtype: Dtype = None) -> BatchedArray:
        """Zeros."""
        return self._full("zeros", shape, dtype)

    def ones(self, shape: PerDim, dtype: Dtype = None) -> BatchedArray:
        """Ones."""
        return self._full("ones", shape, dtype)

    def empty(self, shape: PerDim, dtype: Dtype = None) -> BatchedArray:
        """Whatever the memory holds."""
        return self._full("empty", shape, dtype)

    def full(self, shape: PerDim, value: Array | Scalar, dtype: Dtype = None) -> BatchedArray:
        """One value."""
        return self._full("full", shape, value, dtype)


_CREATION, _SAME = (np.zeros, np.ones, np.empty, np.full), (np.arange, np.eye, np.tri, np.identity)

# The methods that NumPy has as functions, by name.
_METHODS = frozenset(("sum", "prod", "mean", "std", "var", "max", "min", "argmax", "argmin", "argsort", "cumsum", "cumprod", "take",
                      "repeat", "clip", "round", "diagonal", "trace", "nonzero", "searchsorted", "partition", "argpartition", "ptp",
                      "compress", "choose"))


class Truth(BatchedArray):
    """The result of any() or all() over whole samples: as a Python truth value, of any or of all samples. This is what the ops ask for when
    they check their inputs. (A user's ``if tensor.any():`` goes through `item`, which refuses.)"""

    __slots__ = ("over",)

    def __init__(self, physical: Array, level: int, over: Function) -> None:
        super().__init__(physical, level)
        self.over = over

    def __bool__(self) -> bool:
        return bool(self.over(self.physical))


def _set_part(self: BatchedArray, name: str, value: Array | Scalar) -> None:
    part = getattr(self.physical, name)
    part[...] = lined_up(value, self.level, self.ndim)


# --- levels ---------------------------------------------------------------------------------------------------------------------------

def is_at(x: object, level: int) -> bool:
    """Whether x is batched at this level (which has to be the highest there is in x)."""
    return isinstance(x, BatchedArray) and x.level == level


def max_level(values: Any) -> int:
    """The highest level among the values (and the lists and tuples in them); 0 where nothing is batched."""
    level = 0
    for x in values:
        if isinstance(x, BatchedArray):
            level = x.level if x.level > level else level
        elif x.__class__ in (tuple, list):
            inner = max_level(x)
            level = inner if inner > level else level
        elif x.__class__ is dict:
            inner = max_level(x.values())
            level = inner if inner > level else level
    return level


def batch_size(values: tuple[Any, ...], level: int) -> int:
    """The batch size of the values at a level."""
    for x in values:
        if is_at(x, level):
            return x.batch
        if x.__class__ in (tuple, list, dict):
            n = batch_size(x.values() if x.__class__ is dict else x, level)
            if n >= 0:
                return n
    return -1


def unwrapped(x: Any, level: int) -> Array:
    """The physical array where x is batched at the level, else x."""
    return x.physical if is_at(x, level) else x


def wrapped(result: Array, level: int) -> Array:
    """A result of physical arrays (or several) as batched arrays."""
    if result.__class__ is tuple:
        return tuple([wrapped(each, level) for each in result])
    if isinstance(result, (list, tuple)):
        return getattr(type(result), "_make", type(result))([wrapped(each, level) for each in result])
    return BatchedArray(result, level)


def lined_up(x: Any, level: int, ndim: int) -> Any:
    """x's physical array with the batch in front of `ndim` dimensions; what is not batched broadcasts by itself."""
    if not is_at(x, level):
        return x
    p = x.physical
    missing = ndim + 1 - p.ndim
    return p.reshape(p.shape[:1] + (1,) * missing + p.shape[1:]) if missing > 0 else p


def expanded(x: Any, level: int, batch: int) -> Array:
    """The physical array of x, repeated for each sample where it is not batched."""
    if is_at(x, level):
        return x.physical
    if not hasattr(x, "ndim"):
        x = np.asarray(x)
    return np.broadcast_to(x, (batch, *x.shape))


def zeros_at(shape: tuple[int, ...], dtype: Dtype, arrays: Any) -> Any:
    """Zeros that are batched at every level at which one of the arrays is."""
    sizes: dict[int, int] = {}
    plain = None
    for each in arrays:
        while isinstance(each, BatchedArray):
            sizes[each.level], each = each.batch, each.physical
        plain = each
    levels = sorted(sizes)
    r = np.zeros((*[sizes[level] for level in levels], *shape), dtype, like=plain)
    for level in levels:
        r = BatchedArray(r, level)
    return r


@services.put_level.given
def put_level(x: Array, level: int) -> BatchedArray:
    """The array whose first dimension has become the batch of a level."""
    if isinstance(x, BatchedArray) and x.level > level:
        return BatchedArray(put_level(x.physical.swapaxes(0, 1), level), x.level)
    return BatchedArray(x, level)


def take_level(x: Array, level: int) -> Array | None:
    """The array with a level's batch as its first dimension; None where it is not batched at the level."""
    if not isinstance(x, BatchedArray) or x.level < level:
        return None
    if x.level == level:
        return x.physical
    inner = take_level(x.physical, level)
    return None if inner is None else BatchedArray(inner.swapaxes(0, 1), x.level)


@services.levels_of.given
def levels_of(x: Array) -> list[int]:
    """All levels that x is batched at, highest first."""
    found = []
    while isinstance(x, BatchedArray):
        found.append(x.level)
        x = x.physical
    return found


def normal_axis(axis: int, ndim: int) -> int:
    """A non-negative axis."""
    if not -ndim <= axis < ndim:
        raise np.exceptions.AxisError(axis, ndim)
    return axis + ndim if axis < 0 else int(axis)


def physical_axis(axis: PerDim | None, ndim: int) -> int | tuple[int, ...]:
    """The axis (or axes, or None for all) of the physical array that is this axis of a sample."""
    if axis is None:
        return tuple(range(1, ndim + 1))
    if isinstance(axis, (tuple, list, range)):
        return tuple([normal_axis(a, ndim) + 1 for a in axis])
    return normal_axis(axis, ndim) + 1


# --- calling ufuncs -------------------------------------------------------------------------------------------------------------------

def _call_arguments(ufunc: np.ufunc, inputs: tuple[Any, ...], level: int) -> list[Any]:
    """The physical arguments of a ufunc call, lined up so that samples meet their own kind."""
    if ufunc.signature is None:
        n = max([x.physical.ndim - 1 if is_at(x, level) else np.ndim(x) for x in inputs])
        return [lined_up(x, level, n) for x in inputs]
    if ufunc is np.matmul:
        a, b = inputs
        na, nb = np.ndim(a), np.ndim(b)
        # Vectors become matrices (taken back in `_after`), so that the batch is not taken for a dimension of the product.
        a, b = (a[None] if na == 1 else a), (b[..., None] if nb == 1 else b)
        n = max(na, nb, 2)
        return [lined_up(a, level, n), lined_up(b, level, n)]
    cores = [part.count(",") + 1 if part.strip("() ") else 0 for part in ufunc.signature.split("->")[0].replace("),(", ");(").split(";")]
    loops = max([np.ndim(x) - core for x, core in zip(inputs, cores, strict=True)])
    return [lined_up(x, level, loops + core) for x, core in zip(inputs, cores, strict=True)]


def _one_product(p: Array, b: Array) -> Array:
    """The products of all samples (B, ..., k) with one matrix (k, m), as one product."""
    if p.ndim < 2 or p.shape[-1] != b.shape[0]:
        raise ValueError(f"matmul: {p.shape[1:]} and {b.shape} don't fit")
    return np.matmul(p.reshape(prod(p.shape[:-1]), p.shape[-1]), b).reshape(*p.shape[:-1], b.shape[1])


def _after(ufunc: Function, inputs: tuple[Any, ...], result: Array) -> Array:
    if ufunc is np.matmul:
        if np.ndim(inputs[0]) == 1:
            result = result[..., 0, :]
        if np.ndim(inputs[1]) == 1:
            result = result[..., 0]
    return result


# --- indexing -------------------------------------------------------------------------------------------------------------------------

def _physical_index(a: Array, index: tuple[Any, ...], level: int, batch: int) -> tuple[Any, int, int]:
    """The index of the physical array that picks, in each sample, what `index` picks; and where NumPy puts the dimensions that integer
    arrays pick: (index, how many, in front of which of the sample's dimensions; -1 for in front of the batch)."""
    arrays = [i for i, each in enumerate(index) if _is_array_index(each)]
    picked = max([np.ndim(index[i]) if index[i].dtype != bool else 1 for i in arrays], default=0)
    if max_level(index) < level:
        separate = bool(arrays) and _separate(index)
        return (slice(None), *index), picked, -1 if separate else 0
    if any(is_at(each, level) and each.dtype == bool for each in index):
        raise NotBatched("indexing with a batched mask gives samples of different sizes")
    # Some index is an array per sample: the batch becomes one more integer index. It stands in front, and so does what is picked,
    # unless the indices follow each other from the first dimension on.
    lead = 0
    if not _separate(index):
        first = next(i for i, each in enumerate(index) if _is_integer_index(each))
        for each in index[:first]:
            lead += np.ndim(a) - sum(1 for other in index if other is not None and other is not Ellipsis) if each is Ellipsis else 1
    samples = np.arange(batch).reshape((batch,) + (1,) * picked)
    return (samples, *[lined_up(each, level, picked) if _is_array_index(each) else each for each in index]), picked, lead


def _separate(index: tuple[Any, ...]) -> bool:
    """Whether something that is no integer index stands between integer indices (NumPy then puts what they pick in front)."""
    positions = [i for i, each in enumerate(index) if _is_integer_index(each)]
    return bool(positions) and positions != list(range(positions[0], positions[-1] + 1))


def _as_index(index: Index) -> tuple[Any, ...]:
    """The index as a tuple, with sequences as arrays."""
    index = index if index.__class__ is tuple else (index,)
    return tuple([np.asarray(each) if isinstance(each, (list, range)) else each for each in index])


def _is_array_index(each: object) -> bool:
    return hasattr(each, "ndim") and not isinstance(each, np.generic)


def _is_integer_index(each: Array | slice) -> bool:
    return _is_array_index(each) or (isinstance(each, (int, np.integer)) and not isinstance(each, bool))


def _getitem(a: Array, index: tuple[Any, ...]) -> Array:
    return batched_getitem(a, index) if max_level((a, index)) else a[index]


@services.batched_getitem.given
def batched_getitem(a: Array | BatchedArray, index: int | slice | tuple[Any, ...] | None) -> Array:
    """``a[index]`` where a, or an array in the index, is batched."""
    index = _as_index(index)
    level = max_level((a, index))
    batch = batch_size((a, index), level)
    if not is_at(a, level):
        if len(index) == 1 and index[0].dtype != bool:       # the same array for all samples: its rows are picked at once
            return BatchedArray(_getitem(a, (index[0].physical,)), level)
        a = BatchedArray(np.broadcast_to(a, (batch, *a.shape)), level)
    full, picked, lead = _physical_index(a, index, level, batch)
    r = _getitem(a.physical, full)
    if lead < 0:
        r = np.moveaxis(r, picked, 0)
    elif lead and _separate(full):
        # What was picked stands behind the batch: move it back to where the index stood.
        r = np.moveaxis(r, list(range(1, 1 + picked)), list(range(1 + lead, 1 + lead + picked)))
    return BatchedArray(r, level)


def batched_setitem(a: Array | BatchedArray, index: EllipsisType | int | tuple[Any, ...], value: Array | Scalar) -> None:
    """``a[index] = value`` where a is batched; the index and the value may be."""
    index = _as_index(index)
    level = max_level((a, index, value))
    if not is_at(a, level):
        raise shared_write()
    full, picked, lead = _physical_index(a, index, level, a.batch)
    target = a.physical
    if lead < 0 or (lead and _separate(full)):
        for i in range(a.batch):
            at = tuple([each.physical[i, ...] if is_at(each, level) else each for each in index])
            target[i, ...][at] = value.physical[i, ...] if is_at(value, level) else value
    elif is_at(value, level):
        target[full] = lined_up(value, level, target[full].ndim - 1)
    else:
        target[full] = value


join(BatchedArray, "func.kernel_rules")
