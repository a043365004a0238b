"""NumPy's ufuncs on the device's arrays: a fused kernel where there is one, else CuPy's ufunc, else NumPy's on copies. Operators are
ufuncs, too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..kernels.cuda import driver
from ..kernels.cuda.elementwise import FORMULAS, UFUNCS
from ..kernels.cuda.matmul import matmul
from ..vocabulary import Array, Function
from .array import (
    HOST_CALLS,
    DeviceArray,
    box,
    call_cupy,
    explained,
    from_host,
    guarded,
    index_of,
    is_batched,
    mixed,
    on_host,
    raw,
    to_host,
)

__all__ = ["KERNELS", "call_ufunc"]

# (*cupy arrays and numbers, out=None) -> cupy array or NotImplemented
KERNELS: dict[str, Callable[..., Any]] = {name: FORMULAS[name] for name in UFUNCS}


def _array_ufunc(self: DeviceArray, ufunc: Function, method: str, *inputs: Any, **kwargs: Any) -> Array:
    if method == "__call__":
        return call_ufunc(ufunc, inputs, kwargs, self)
    return _METHODS[method](ufunc, inputs, kwargs)


DeviceArray.__array_ufunc__ = _array_ufunc  # type: ignore[attr-defined]


def call_ufunc(ufunc: Function, inputs: tuple[Any, ...], kwargs: dict[Any, Any], first: DeviceArray) -> Any:
    """A ufunc on arrays of the device: a fused kernel where there is one, else CuPy's, else NumPy's on copies."""
    name = ufunc.__name__
    out = kwargs.get("out")
    values = []
    for each in inputs:
        cls = each.__class__
        if cls is DeviceArray:
            values.append(each.c)
        elif cls is float or cls is int:
            values.append(each)
        elif is_batched(cls):
            return NotImplemented
        else:
            values.append(raw(each))
    if driver.several:
        return guarded(first.c, _call_ufunc, ufunc, name, values, inputs, kwargs, out)
    return _call_ufunc(ufunc, name, values, inputs, kwargs, out)


def _call_ufunc(ufunc: Function, name: str, values: list[Any], inputs: tuple[Any, ...], kwargs: dict[Any, Any], out: Any) -> Array:
    try:
        if not kwargs or (out is not None and len(kwargs) <= 1 + ("casting" in kwargs) and len(out) == 1
                          and out[0].__class__ is DeviceArray):
            kernel = KERNELS.get(name)
            target = None if out is None else out[0]
            if kernel is not None:
                result = kernel(*values, out=None if target is None else target.c)
                if result is not NotImplemented:
                    return box(result) if target is None else target
            function = getattr(driver.needed(), name, None)
            if function is None:
                return on_host(ufunc, name, inputs, dict(kwargs))
            if target is None:
                return box(function(*values))
            function(*values, out=target.c, **({"casting": kwargs["casting"]} if "casting" in kwargs else {}))
            return target
        return _rare_ufunc(ufunc, name, values, inputs, kwargs)
    except (TypeError, NotImplementedError):
        return on_host(ufunc, name, inputs, dict(kwargs))
    except MemoryError as error:
        raise explained(error) from None


def _rare_ufunc(ufunc: np.ufunc, name: str, values: Any, inputs: Any, kwargs: dict[str, Any]) -> Any:
    """where=, dtype= and several outputs."""
    function = getattr(driver.needed(), name, None)
    if function is None:
        return on_host(ufunc, name, inputs, dict(kwargs))
    options = {key: raw(value) for key, value in kwargs.items()}
    if options.get("where") is True:
        del options["where"]
    out = options.pop("out", None)
    if out is None:
        return box(function(*values, **options))
    if len(out) == 1:
        function(*values, out=out[0], **options)
        return kwargs["out"][0]
    for target, result in zip(kwargs["out"], function(*values, **options), strict=True):
        if target is not None:
            target[...] = box(result)
    return kwargs["out"]


_REDUCTIONS = {"add": "sum", "multiply": "prod", "maximum": "max", "minimum": "min", "logical_and": "all", "logical_or": "any"}


def _reduce(ufunc: Any, inputs: Any, kwargs: Any) -> Any:
    values = dict(zip(("axis", "dtype", "out", "keepdims", "initial", "where"), inputs[1:], strict=False)) | kwargs
    a = inputs[0]
    name = _REDUCTIONS.get(ufunc.__name__)
    axis, keepdims = values.get("axis", 0), bool(values.get("keepdims", False))
    if name is None or values.get("where", True) is not True or values.get("out") is not None:
        return on_host(ufunc.reduce, f"{ufunc.__name__}.reduce", inputs, dict(kwargs))
    initial = values.get("initial", np._NoValue)
    if a.ndim == 0:
        axis = None
    return guarded(a.c, _reduce_here, a, name, axis, keepdims, values.get("dtype"), None if initial is np._NoValue else initial)


def _reduce_here(a: DeviceArray, name: str, axis: Sequence[int], keepdims: bool, dtype: Any, initial: Any) -> Array:
    c = a.c
    if name in ("sum", "prod"):
        r = call_cupy(getattr(c, name), axis, dtype, None, keepdims)
        if initial is not None:
            r = r + initial if name == "sum" else r * initial
        return box(r)
    if name in ("max", "min") and initial is not None:
        axes = range(a.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
        if any(a.shape[each] == 0 for each in axes):
            wanted = {each % max(a.ndim, 1) for each in axes}
            shape = tuple(1 if i in wanted else n for i, n in enumerate(a.shape) if keepdims or i not in wanted)
            return box(driver.needed().full(shape, initial, a.dtype))
        r = call_cupy(getattr(c, name), axis, None, keepdims)
        return box(getattr(driver.needed(), "maximum" if name == "max" else "minimum")(r, raw(np.asarray(initial, a.dtype))))
    return box(call_cupy(getattr(c, name), axis, None, keepdims))


def _accumulate(ufunc: np.ufunc, inputs: Any, kwargs: dict[str, Any]) -> Any:
    values = dict(zip(("axis", "dtype", "out"), inputs[1:], strict=False)) | kwargs
    name = {"add": "cumsum", "multiply": "cumprod"}.get(ufunc.__name__)
    if name is None or values.get("out") is not None:
        return on_host(ufunc.accumulate, f"{ufunc.__name__}.accumulate", inputs, dict(kwargs))
    return guarded(inputs[0].c, lambda: box(call_cupy(getattr(inputs[0].c, name), values.get("axis", 0), values.get("dtype"))))


def _at(ufunc: np.ufunc, inputs: Any, kwargs: dict[str, Any]) -> None:
    a, index = inputs[0], inputs[1]
    name = ufunc.__name__
    if a.__class__ is not DeviceArray:
        raise mixed(a, inputs[-1].device.id)
    function = {"add": "scatter_add", "maximum": "scatter_max", "minimum": "scatter_min"}.get(name)
    if function is None or a.dtype.kind not in "fiu" or (a.dtype.itemsize < 4 and function != "scatter_add") or a.dtype.itemsize < 2:
        HOST_CALLS[f"{name}.at"] += 1
        host = a.get()
        ufunc.at(host, to_host(index), *[to_host(each) for each in inputs[2:]])
        a[...] = from_host(host)
        return
    guarded(a.c, lambda: getattr(a.c, function)(index_of(index, a), raw(inputs[2])))


def _outer(ufunc: np.ufunc, inputs: Any, kwargs: dict[str, Any]) -> Any:
    a, b = inputs
    return ufunc(a.reshape(a.shape + (1,) * b.ndim), b, **kwargs)


def _reduceat(ufunc: np.ufunc, inputs: Any, kwargs: dict[str, Any]) -> Any:
    return on_host(ufunc.reduceat, f"{ufunc.__name__}.reduceat", inputs, dict(kwargs))


_METHODS = {"reduce": _reduce, "accumulate": _accumulate, "at": _at, "outer": _outer, "reduceat": _reduceat}


# --- operators ----------------------------------------------------------------------------------------------------------------------------

_OPERATORS = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "truediv": np.true_divide, "floordiv": np.floor_divide,
              "mod": np.remainder, "pow": np.power, "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor,
              "lshift": np.left_shift, "rshift": np.right_shift}


def _operator(ufunc: Function, mode: str) -> Function:
    if mode == "i":
        def inplace(self: DeviceArray, other: Any) -> Any:
            r = call_ufunc(ufunc, (self, other), {"out": (self,)}, self)
            # What steps back is asked through NumPy: Python would compute out of place.
            return ufunc(self, other, out=(self,)) if r is NotImplemented else r
        return inplace
    if mode == "r":
        return lambda self, other: call_ufunc(ufunc, (other, self), {}, self)
    return lambda self, other: call_ufunc(ufunc, (self, other), {}, self)


for _name, _ufunc in _OPERATORS.items():
    for _mode in ("", "r", "i"):
        setattr(DeviceArray, f"__{_mode}{_name}__", _operator(_ufunc, _mode))
for _name, _ufunc in {"lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "eq": np.equal,
                      "ne": np.not_equal}.items():
    setattr(DeviceArray, f"__{_name}__", _operator(_ufunc, ""))
for _name, _ufunc in {"neg": np.negative, "pos": np.positive, "abs": np.absolute, "invert": np.invert}.items():
    setattr(DeviceArray, f"__{_name}__", lambda self, u=_ufunc: call_ufunc(u, (self,), {}, self))
DeviceArray.__matmul__ = lambda self, other: np.matmul(self, other)  # type: ignore[attr-defined]
DeviceArray.__rmatmul__ = lambda self, other: np.matmul(other, self)  # type: ignore[attr-defined]


def _matmul(a: Any, b: Any, out: Any = None) -> Any:
    if out is not None or not hasattr(a, "ndim") or not hasattr(b, "ndim"):
        return NotImplemented
    if a.ndim == 1 or b.ndim == 1:
        if a.dtype.kind not in "fV" or not a.ndim or not b.ndim:
            return NotImplemented
        r = matmul(a.reshape(1, -1) if a.ndim == 1 else a, b.reshape(-1, 1) if b.ndim == 1 else b)
        if r is NotImplemented:
            return r
        return r.reshape(r.shape[:-2] + (() if a.ndim == 1 else r.shape[-2:-1]) + (() if b.ndim == 1 else r.shape[-1:]))
    return matmul(a, b)


KERNELS["matmul"] = _matmul
