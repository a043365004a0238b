"""How autocast works: the state per thread, and the casts around the listed ops.

An op that autocast may change costs nothing while autocast is off: nothing in it knows about autocast. While the first autocast context is
alive in any thread, the listed functions are intercepted (ops/interception.py) by a layer that casts the arguments and then runs the
original; when the last context ends, they are released. So it does not matter who calls the function, or through which name.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache, partial
from types import FunctionType
from typing import Any

from .. import dtypes
from ..autograd.graph import AccumulateGrad
from ..dtypes import dtype as dtype_type
from ..ops.interception import intercept, release
from ..ops.loss import cross_entropy_of_halves
from ..ops.registry import FUNCTIONS
from ..tensor import Tensor
from .op_lists import OP_LISTS, PADS_IN_FLOAT32

__all__ = ["is_autocast_enabled", "set_autocast_enabled", "get_autocast_dtype", "set_autocast_dtype", "is_autocast_cache_enabled",
           "set_autocast_cache_enabled", "clear_autocast_cache", "autocast_increment_nesting", "autocast_decrement_nesting",
           "is_autocast_available", "is_autocast_cpu_enabled", "set_autocast_cpu_enabled", "get_autocast_cpu_dtype",
           "set_autocast_cpu_dtype", "get_autocast_gpu_dtype", "set_autocast_gpu_dtype"]

_DEFAULT_DTYPES = {"cpu": dtypes.bfloat16, "cuda": dtypes.float16}


class _Local(threading.local):
    """Autocast's state in one thread."""

    def __init__(self) -> None:
        self.enabled: set[str] = set()
        self.dtypes = dict(_DEFAULT_DTYPES)
        self.cache_enabled = True
        self.nesting = 0
        self.cache: dict[int, tuple[Tensor, Tensor]] = {}      # id of a parameter -> (the parameter, its cast)
        self.inside = False                                    # a listed op runs: what it calls keeps its dtypes


LOCAL = _Local()
_lock = threading.Lock()
_users = dict.fromkeys(_DEFAULT_DTYPES, 0)          # per device type: in how many threads autocast is on


# --- state --------------------------------------------------------------------------------------------------------------------------------

def _known(device_type: Any) -> str:
    if not isinstance(device_type, str):
        raise TypeError(f"argument 'device_type' must be str, not {type(device_type).__name__}")
    if device_type not in _DEFAULT_DTYPES:
        raise RuntimeError(f"unknown device type for autocast in get_autocast_dispatch_key_from_device_type: '{device_type}' "
                           f"(rushlight has {', '.join(_DEFAULT_DTYPES)})")
    return device_type


def is_autocast_available(device_type: str) -> bool:
    """Whether there is an autocast for devices of this type."""
    if not isinstance(device_type, str):
        raise TypeError(f"is_autocast_available(): argument 'device_type' must be str, not {type(device_type).__name__}")
    return device_type in _DEFAULT_DTYPES


# Device types that PyTorch has an autocast for and rushlight does not have: it is off for them.
_ABSENT = ("mps", "xpu", "mtia", "maia", "hpu", "ipu", "xla", "privateuseone")


def is_autocast_enabled(device_type: str = "cuda") -> bool:
    """Whether autocast is on for devices of this type in this thread."""
    return device_type not in _ABSENT and _known(device_type) in LOCAL.enabled


def set_autocast_enabled(*args: Any) -> None:
    """``set_autocast_enabled(device_type, enabled)``, or with one argument for cuda: switch autocast on or off in this thread."""
    device_type, enabled = args if len(args) == 2 else ("cuda", *args)
    if _known(device_type) in LOCAL.enabled:
        if not enabled:
            LOCAL.enabled.discard(device_type)
            _count(device_type, -1)
    elif enabled:
        LOCAL.enabled.add(device_type)
        _count(device_type, 1)


def get_autocast_dtype(device_type: str) -> dtype_type:
    """The dtype in which autocast runs ops on devices of this type."""
    return LOCAL.dtypes[_known(device_type)]


def set_autocast_dtype(device_type: str, dtype: dtype_type) -> None:
    """Choose the dtype in which autocast runs ops on devices of this type."""
    if not isinstance(dtype, dtype_type):
        raise TypeError(f"set_autocast_dtype(): argument 'dtype' must be torch.dtype, not {type(dtype).__name__}")
    if LOCAL.dtypes[_known(device_type)] is not dtype:
        LOCAL.dtypes[device_type] = dtype
        LOCAL.cache.clear()


def is_autocast_cpu_enabled() -> bool:
    """`is_autocast_enabled` for the CPU."""
    return "cpu" in LOCAL.enabled


def set_autocast_cpu_enabled(enabled: bool) -> None:
    """`set_autocast_enabled` for the CPU."""
    set_autocast_enabled("cpu", enabled)


def get_autocast_cpu_dtype() -> dtype_type:
    """`get_autocast_dtype` for the CPU."""
    return LOCAL.dtypes["cpu"]


def set_autocast_cpu_dtype(dtype: dtype_type) -> None:
    """`set_autocast_dtype` for the CPU."""
    set_autocast_dtype("cpu", dtype)


def get_autocast_gpu_dtype() -> dtype_type:
    """`get_autocast_dtype` for cuda."""
    return LOCAL.dtypes["cuda"]


def set_autocast_gpu_dtype(dtype: dtype_type) -> None:
    """`set_autocast_dtype` for cuda."""
    set_autocast_dtype("cuda", dtype)


def is_autocast_cache_enabled() -> bool:
    """Whether a parameter is cast once per outermost autocast context rather than at every use."""
    return LOCAL.cache_enabled


def set_autocast_cache_enabled(enabled: bool) -> None:
    """Switch the cache of cast parameters on or off."""
    LOCAL.cache_enabled = bool(enabled)


def clear_autocast_cache() -> None:
    """Forget the cast parameters."""
    LOCAL.cache.clear()


def autocast_increment_nesting() -> int:
    """Enter an autocast context; returns how deep."""
    LOCAL.nesting += 1
    return LOCAL.nesting


def autocast_decrement_nesting() -> int:
    """Leave an autocast context; returns how many are left."""
    LOCAL.nesting -= 1
    return LOCAL.nesting


# --- casts --------------------------------------------------------------------------------------------------------------------------------

def _each(value: Any, function: Callable[[Tensor], Any]) -> Any:
    """Apply a function to a tensor, or to the tensors in a list or tuple."""
    if isinstance(value, Tensor):
        return function(value)
    if value.__class__ in (list, tuple):
        return value.__class__([_each(item, function) for item in value])
    return value


def _cast(t: Tensor, device_type: str, to: dtype_type) -> Tensor:
    """The tensor in another floating dtype. float64 stays; a parameter's lower-precision cast is remembered."""
    kind = t._kind
    if not kind.is_floating or kind.dtype is to or kind.dtype.name == "float64" or kind.device.type != device_type:
        return t
    if not (LOCAL.cache_enabled and kind.dtype.name == "float32" and t._node.__class__ is AccumulateGrad and t._view is None
            and to is LOCAL.dtypes[device_type]):
        return t.to(to)
    found = LOCAL.cache.get(id(t))
    if found is None:
        found = LOCAL.cache[id(t)] = (t, t.to(to))
    return found[1]


def _float_dtypes(args: tuple[Any, ...], kwargs: dict[str, Any], device_type: str) -> set[str]:
    found: set[str] = set()

    def see(t: Tensor) -> Tensor:
        if t._kind.is_floating and t._kind.device.type == device_type:
            found.add(t._kind.dtype.name)
        return t
    _each([*args, *kwargs.values()], see)
    return found


def _device_type(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Where an op runs: on cuda if any of its tensors is there."""
    types: set[str] = set()

    def see(t: Tensor) -> Tensor:
        types.add(t._kind.device.type)
        return t
    _each([*args, *kwargs.values()], see)
    return "cuda" if "cuda" in types else "cpu"


def _pads_in_float32(input: Any, pad: Any = (), mode: str = "constant", value: Any = None) -> bool:
    return len(pad) // 2 in PADS_IN_FLOAT32.get(mode, ())


def run_cast(name: str, original: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What a listed op does while autocast is on somewhere: cast as its list says, and run with autocast off."""
    if LOCAL.inside or not LOCAL.enabled:
        return original(*args, **kwargs)
    device_type = _device_type(args, kwargs)
    policy = OP_LISTS[device_type].get(name) if device_type in LOCAL.enabled else None
    if policy is None or (name == "pad" and not _pads_in_float32(*args, **kwargs)):
        return original(*args, **kwargs)
    if policy == "banned":
        raise RuntimeError("torch.nn.functional.binary_cross_entropy and torch.nn.BCELoss are unsafe to autocast. Many models use a "
                           "sigmoid layer right before the binary cross entropy layer. In this case, combine the two layers using "
                           "torch.nn.functional.binary_cross_entropy_with_logits or torch.nn.BCEWithLogitsLoss, which are safe to "
                           "autocast.")
    if name == "cross_entropy" and device_type == "cuda":
        found = cross_entropy_of_halves(*args, **kwargs)
        if found is not None:
            return found
    to = dtypes.float32 if policy == "float32" else LOCAL.dtypes[device_type]
    if policy == "widest":
        present = _float_dtypes(args, kwargs, device_type) - {"float64", to.name}
        if "float32" in present:
            to = dtypes.float32
        elif present:
            raise RuntimeError(f"Unexpected floating ScalarType in at::autocast::prioritize: {name} got {', '.join(sorted(present))} under "
                               f"autocast to {to.name}")
    cast = lambda t: _cast(t, device_type, to)
    args = tuple([_each(each, cast) for each in args])
    kwargs = {key: _each(each, cast) for key, each in kwargs.items()}
    LOCAL.inside = True
    try:
        return original(*args, **kwargs)
    finally:
        LOCAL.inside = False


# --- intercepting -------------------------------------------------------------------------------------------------------------------------

def _count(device_type: str, by: int) -> None:
    """Count the threads in which autocast is on for a device type; the first one lets calls of its ops be intercepted, the last one ends
    it."""
    with _lock:
        before = _users[device_type]
        _users[device_type] += by
        if (before == 0) != (_users[device_type] == 0):
            active = {each for each, count in _users.items() if count}
            for function, layer, types in _listed():
                if types & active:
                    intercept(function, "autocast", layer)
                else:
                    release(function, "autocast")


@cache
def _listed() -> list[tuple[Any, Any, set[str]]]:
    """(function, the layer that casts first, the device types that list it) of every listed op that there is."""
    found: dict[int, tuple[Any, Any, set[str]]] = {}
    for name in sorted({name for ops in OP_LISTS.values() for name in ops}):
        types = {device_type for device_type, ops in OP_LISTS.items() if name in ops}
        for function in _functions_called(name):
            entry = found.setdefault(id(function), (function, partial(run_cast, name), set()))
            entry[2].update(types)
    return list(found.values())


def _functions_called(name: str) -> list[Any]:
    """The Python functions behind torch.<name>, F.<name>, Tensor.<name>, without the wrappers around them."""
    from importlib import import_module

    place, _, last = name.rpartition(".")
    if place:
        places: list[Any] = [import_module(f"..{place}", __package__)]
    else:
        places = [import_module("..nn.functional", __package__), import_module("..ops.rnn", __package__), Tensor]
    candidates = [getattr(each, last, None) for each in places]
    if not place:
        candidates.append(FUNCTIONS.get(name))
    functions = []
    for each in candidates:
        while hasattr(each, "__wrapped__"):
            each = each.__wrapped__
        if isinstance(each, FunctionType):
            functions.append(each)
    return functions
