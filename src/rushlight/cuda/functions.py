"""NumPy's functions on the device's arrays: CuPy's of the same name, a few of our own (`SPECIAL`), else NumPy's on copies."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..kernels.cuda import driver
from ..vocabulary import Array, Function
from .array import DeviceArray, box, call_cupy, explained, from_host, guarded, host_array, is_batched, on_host, raw, to_host

if TYPE_CHECKING:
    from ..kind import Kind

__all__ = ["SPECIAL", "call_function"]


def _array_function(self: DeviceArray, func: Function, types: tuple[Any, ...], args: tuple[Any, ...], kwargs: dict[Any, Any]) -> Any:
    if len(types) > 1 and any(is_batched(each) for each in types):
        return NotImplemented
    special = SPECIAL.get(func.__name__)
    if special is not None:
        return guarded(self.c, lambda: special(*args, **kwargs)) if driver.several else special(*args, **kwargs)
    return call_function(func, args, kwargs, self)


DeviceArray.__array_function__ = _array_function  # type: ignore[attr-defined]

_found: dict[Any, Any] = {}


def cupy_function(func: Function) -> Function:
    """CuPy's function of the same name as a NumPy function, or None."""
    module = driver.needed()
    key = (module, func)
    if key not in _found:
        holder: Any = module
        try:
            for part in func.__module__.split(".")[1:]:
                holder = getattr(holder, part)
            found = getattr(holder, func.__name__)
        except AttributeError:
            found = None
        _found[key] = None if found is func else found
    return _found[key]


def call_function(func: Function, args: tuple[Any, ...], kwargs: dict[Any, Any], first: Array | None = None) -> Array:
    """A NumPy function (not a ufunc) on arrays of the device."""
    function = cupy_function(func)
    if function is None:
        return on_host(func, func.__name__, args, dict(kwargs))
    values, options = [raw(each) for each in args], {key: raw(value) for key, value in kwargs.items()}
    source = next((each for each in args if each.__class__ is DeviceArray), first)
    try:
        result = guarded(source.c, lambda: function(
                                                    *values, **options)) if driver.several and source is not None else function(*values, **options)
    except (TypeError, NotImplementedError):
        return on_host(func, func.__name__, args, dict(kwargs))
    except MemoryError as error:
        raise explained(error) from None
    out = kwargs.get("out")
    if out is not None:
        return out[0] if isinstance(out, tuple) and len(out) == 1 else out
    return box(result, source)


def _creation(name: str) -> Function:
    """np.<name>(..., like=array)."""
    func = getattr(np, name)

    def create(*args: Any, **kwargs: Any) -> Array:
        module = driver.needed()
        kwargs.pop("device", None)
        if name in ("array", "asarray", "ascontiguousarray"):
            if args[0].__class__ is DeviceArray:
                if driver.several and args[0].device.id != module.cuda.runtime.getDevice():
                    return box(call_cupy(module.array, args[0].c))      # from another GPU
                return call_function(func, args, kwargs, args[0])
            return box(call_cupy(getattr(module, name), *args, **kwargs))
        return box(call_cupy(getattr(module, name), *[raw(each) for each in args], **kwargs))
    return create


def _sorted(name: str) -> Function:
    func = getattr(np, name)

    def call(a: Any, axis: Any = -1, kind: Kind = None, **kwargs: Any) -> Any:
        if axis is None:
            a, axis = a.reshape(-1), -1
        if a.ndim == 0:
            return on_host(func, name, (a,), {"axis": -1}) if name == "argsort" else a.copy()
        return call_function(func, (a, axis), {})        # CuPy's sort is stable
    return call


def _lexsort(keys: Any, axis: int = -1) -> Any:
    if keys.__class__ is not DeviceArray:
        keys = np.stack(list(keys))
    return call_function(np.lexsort, (keys,), {})


def _repeat(a: Any, repeats: Any, axis: Any = None) -> Any:
    if repeats.__class__ is DeviceArray or repeats.__class__ is host_array:
        counts = to_host(repeats)
        if a.__class__ is not DeviceArray:
            a = from_host(a)
        if counts.size == 1:
            repeats = int(counts.reshape(-1)[0])
        else:
            length = a.size if axis is None else a.shape[axis]
            where = np.repeat(np.arange(length), np.broadcast_to(counts, (length,)))
            return (a.reshape(-1) if axis is None else a)[(slice(None),) * (0 if axis is None else axis % a.ndim) + (where,)]
    return call_function(np.repeat, (a, repeats), {"axis": axis})


def _where(condition: Any, *args: Any) -> Any:
    if condition.__class__ is host_array and not condition.ndim:
        condition = np.asarray(condition, like=next(each for each in args if each.__class__ is DeviceArray))
    return call_function(np.where, (condition, *args), {})


def _may_share(a: Any, b: Any, max_work: Any = None) -> bool:
    if a.__class__ is not DeviceArray or b.__class__ is not DeviceArray or not a.size or not b.size:
        return False

    def bounds(x: DeviceArray) -> tuple[int, int]:
        reach = [(n - 1) * step for n, step in zip(x.shape, x.strides, strict=True)]
        start = x.data.ptr
        return start + sum(r for r in reach if r < 0), start + sum(r for r in reach if r > 0) + x.itemsize
    low_a, high_a = bounds(a)
    low_b, high_b = bounds(b)
    return low_a < high_b and low_b < high_a


def _clip(a: Any, a_min: Any = None, a_max: Any = None, out: Any = None, **kwargs: Any) -> Any:
    low, high = kwargs.get("min", a_min), kwargs.get("max", a_max)
    r = a
    if low is not None:
        r = np.maximum(r, low)
    if high is not None:
        r = np.minimum(r, high)
    if out is None:
        return r.copy() if r is a else r
    out[...] = r
    return out


def _copyto(dst: Any, src: Any, casting: str = "same_kind", where: Any = True) -> None:
    if where is True:
        dst[...] = src
    else:
        dst[...] = np.where(where, src, dst)


def _dtype_of(value: Any) -> Any:
    return value.dtype if value.__class__ is DeviceArray else value


SPECIAL: dict[str, Callable[..., Any]] = {
    **{name: _creation(name) for name in ("empty", "zeros", "ones", "full", "array", "asarray", "ascontiguousarray", "arange", "eye",
                                          "identity", "tri", "asfortranarray")},
    "sort": _sorted("sort"), "argsort": _sorted("argsort"), "lexsort": _lexsort, "repeat": _repeat, "where": _where,
    "may_share_memory": _may_share, "shares_memory": _may_share, "clip": _clip, "copyto": _copyto,
    "result_type": lambda *values: np.result_type(*[_dtype_of(each) for each in values]),
    "can_cast": lambda from_, to, casting="safe": np.can_cast(_dtype_of(from_), to, casting),
    "shape": lambda a: a.shape, "ndim": lambda a: a.ndim, "iscomplexobj": lambda a: a.dtype.kind == "c",
    "isrealobj": lambda a: a.dtype.kind != "c",
    "size": lambda a, axis=None: a.size if axis is None else a.shape[axis],
    "max": lambda a, axis=None, out=None, keepdims=False, **other: np.maximum.reduce(a, axis=axis, keepdims=keepdims, **other),
    "min": lambda a, axis=None, out=None, keepdims=False, **other: np.minimum.reduce(a, axis=axis, keepdims=keepdims, **other),
    "copy": lambda a, order="K", subok=False: a.copy(order),
}
SPECIAL["amax"], SPECIAL["amin"] = SPECIAL["max"], SPECIAL["min"]


def _sort_in_place(self: DeviceArray, axis: int = -1, kind: Kind = None) -> None:
    """Sort in place; always stable."""
    self[...] = SPECIAL["sort"](self, axis)


DeviceArray.sort = _sort_in_place  # type: ignore[attr-defined]
DeviceArray.argsort = lambda self, axis=-1, kind=None: SPECIAL["argsort"](self, axis)  # type: ignore[attr-defined]
DeviceArray.clip = lambda self, min=None, max=None, out=None: _clip(self, min, max, out)  # type: ignore[attr-defined]
DeviceArray.repeat = lambda self, repeats, axis=None: _repeat(self, repeats, axis)  # type: ignore[attr-defined]
DeviceArray.searchsorted = lambda self, v, side="left": call_function(np.searchsorted, (self, v), {"side": side})  # type: ignore[attr-defined]
DeviceArray.byteswap = lambda self: from_host(self.get().byteswap())  # type: ignore[attr-defined]
DeviceArray.dot = lambda self, b, out=None: np.matmul(self, b) if self.ndim <= 2 and b.ndim <= 2 and self.ndim and b.ndim else (  # type: ignore[attr-defined]
    call_function(np.dot, (self, b), {}))
SPECIAL["dot"] = lambda a, b, out=None: a.dot(b)
