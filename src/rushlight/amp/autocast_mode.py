"""`autocast`, the context and decorator, and the decorators for custom autograd functions."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import partial, wraps
from typing import Any

import numpy as np

from .. import dtypes
from ..dtypes import dtype as dtype_type
from ..tensor import Tensor
from . import casting
from .casting import is_autocast_available

__all__ = ["autocast", "autocast_decorator", "custom_fwd", "custom_bwd", "is_autocast_available"]


def autocast_decorator(autocast_instance: autocast, func: Callable[..., Any]) -> Callable[..., Any]:
    """The function, run inside the context at every call."""
    @wraps(func)
    def decorate_autocast(*args: Any, **kwargs: Any) -> Any:
        with autocast_instance:
            return func(*args, **kwargs)
    return decorate_autocast


class autocast:
    """Context or decorator: inside, matrix products and convolutions run in a lower precision, sensitive ops in float32.

    device_type    "cpu" or "cuda": the devices whose ops are affected
    dtype          bfloat16 or float16 (default: bfloat16 on the CPU, float16 on cuda); float64 tensors are never cast
    enabled        False: ops inside run as they are, also within another autocast
    cache_enabled  cast a parameter once until the outermost context ends

    A dtype that is not supported warns and switches autocast off, as in PyTorch.
    """

    def __init__(self, device_type: str, dtype: dtype_type | None = None, enabled: bool = True, cache_enabled: bool | None = None) -> None:
        if not isinstance(device_type, str):
            raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
        if not is_autocast_available(device_type):
            raise RuntimeError(f"User specified an unsupported autocast device_type '{device_type}'")
        self.device = device_type
        self.fast_dtype = casting.get_autocast_dtype(device_type) if dtype is None else dtype
        self._cache_enabled = casting.is_autocast_cache_enabled() if cache_enabled is None else cache_enabled
        if enabled and device_type == "cuda":
            from .. import cuda
            if not cuda.is_available():
                warnings.warn("CUDA is not available or torch_xla is imported. Disabling autocast.", stacklevel=2)
                enabled = False
        elif enabled and self.fast_dtype not in (dtypes.bfloat16, dtypes.float16):
            warnings.warn(f"In {device_type.upper()} autocast, but the target dtype is not supported. Disabling autocast.\n"
                          f"{device_type.upper()} Autocast only supports dtypes of torch.bfloat16, torch.float16 currently.", stacklevel=2)
            enabled = False
        self._enabled = enabled
        self._previous: list[tuple[bool, dtype_type, bool]] = []

    def __enter__(self) -> autocast:
        device = self.device
        self._previous.append((casting.is_autocast_enabled(device), casting.get_autocast_dtype(device),
                               casting.is_autocast_cache_enabled()))
        casting.set_autocast_enabled(device, self._enabled)
        casting.set_autocast_dtype(device, self.fast_dtype)
        casting.autocast_increment_nesting()
        casting.set_autocast_cache_enabled(self._cache_enabled)
        return self

    def __exit__(self, *exception: object) -> None:
        enabled, dtype, cache_enabled = self._previous.pop()
        if casting.autocast_decrement_nesting() == 0:
            casting.clear_autocast_cache()
        casting.set_autocast_enabled(self.device, enabled)
        casting.set_autocast_dtype(self.device, dtype)
        casting.set_autocast_cache_enabled(cache_enabled)

    def __call__(self, func: Callable[..., Any]) -> Callable[..., Any]:
        if not callable(func):
            raise TypeError(f"autocast()(func) requires a callable, but got {type(func).__name__}. Did you mean to use autocast as a "
                            "context manager? For example:\n    with torch.autocast(device_type=...):\n        output = model(input)")
        return autocast_decorator(self, func)


def _cast(value: Any, device_type: str, dtype: dtype_type) -> Any:
    """Tensors in nested containers, cast to a floating dtype."""
    if isinstance(value, Tensor):
        fits = value.is_floating_point() and value.device.type == device_type and value.dtype is not dtypes.float64
        return value.to(dtype) if fits else value
    if isinstance(value, (str, bytes, np.ndarray)):
        return value
    if isinstance(value, Mapping):
        return {_cast(key, device_type, dtype): _cast(each, device_type, dtype) for key, each in value.items()}
    if isinstance(value, Iterable):
        items = (_cast(each, device_type, dtype) for each in value)
        return type(value)(items) if isinstance(value, (list, tuple)) else items  # type: ignore[call-arg]
    return value


def custom_fwd(fwd: Any = None, *, device_type: str, cast_inputs: dtype_type | None = None) -> Any:
    """Decorator for the forward of an autograd Function: with `cast_inputs`, inputs are cast and autocast is off inside."""
    if not isinstance(device_type, str):
        raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
    if fwd is None:
        return partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)

    @wraps(fwd)
    def decorate_fwd(*args: Any, **kwargs: Any) -> Any:
        enabled = casting.is_autocast_enabled(device_type)
        args[0]._dtype = casting.get_autocast_dtype(device_type)
        args[0]._fwd_used_autocast = enabled and cast_inputs is None
        if cast_inputs is None or not enabled:
            return fwd(*args, **kwargs)
        with autocast(device_type=device_type, enabled=False):
            return fwd(*_cast(args, device_type, cast_inputs), **_cast(kwargs, device_type, cast_inputs))
    return decorate_fwd


def custom_bwd(bwd: Any = None, *, device_type: str) -> Any:
    """Decorator for the backward of an autograd Function: it runs under the autocast state that the forward ran under."""
    if not isinstance(device_type, str):
        raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
    if bwd is None:
        return partial(custom_bwd, device_type=device_type)

    @wraps(bwd)
    def decorate_bwd(*args: Any, **kwargs: Any) -> Any:
        with autocast(device_type=device_type, enabled=args[0]._fwd_used_autocast, dtype=args[0]._dtype):
            return bwd(*args, **kwargs)
    return decorate_bwd
