"""A stand-in for CuPy: the `cuda` device on NumPy arrays of another class, so that device logic is tested where there is no GPU.

It exists in the tests alone. Arrays are `DeviceArray`s; mixing them with plain arrays in NumPy functions raises, as CuPy does.
"""

import contextlib

import numpy as np

from rushlight import kind
from rushlight.devices import device


class _Device:
    def __init__(self, index):
        self.id = index


def _to_device(value):
    if type(value) is np.ndarray:
        return value.view(DeviceArray)
    if isinstance(value, np.generic):
        return np.asarray(value).view(DeviceArray)
    if isinstance(value, (tuple, list)):
        return type(value)(_to_device(each) for each in value)
    return value


def _has_host_array(value):
    if isinstance(value, (tuple, list)):
        return any(_has_host_array(each) for each in value)
    return type(value) is np.ndarray and value.ndim > 0


def _plain(value):
    if isinstance(value, (tuple, list)):
        return type(value)(_plain(each) for each in value)
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return np.ndarray.view(value, np.ndarray) if isinstance(value, DeviceArray) else value


class DeviceArray(np.ndarray):
    """An array that says that it is on the device."""

    device = property(lambda self: _Device(0))

    def get(self):
        return np.array(np.ndarray.view(self, np.ndarray))

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        if _has_host_array(inputs):
            raise TypeError("the stand-in's arrays don't mix with host arrays: something was not moved to the device")
        out = kwargs.get("out")
        result = getattr(ufunc, method)(*_plain(inputs), **_plain(kwargs))
        return out[0] if out is not None and len(out) == 1 else _to_device(result)

    def __array_function__(self, func, types, args, kwargs):
        if _has_host_array(args):
            raise TypeError("the stand-in's arrays don't mix with host arrays: something was not moved to the device")
        return _to_device(func(*_plain(args), **_plain(kwargs)))


class _Module:
    """NumPy's functions, with results on the device."""

    def __getattr__(self, name):
        value = getattr(np, name)
        if isinstance(value, type) or not callable(value):
            return value
        return lambda *args, **kwargs: _to_device(value(*_plain(args), **_plain(kwargs)))


@contextlib.contextmanager
def cuda():
    """Inside, there is one `cuda` device."""
    previous = kind._modules.get("cuda")

    def find(wanted):
        if wanted.index not in (None, 0):
            raise RuntimeError(f"CUDA error: invalid device ordinal: {wanted} of 1 devices")
        return _Module(), device("cuda", 0)

    kind.register_device("cuda", find)
    try:
        yield
    finally:
        kind._modules["cuda"] = previous
        for key in [key for key in kind._kinds if key[1].type == "cuda"]:
            del kind._kinds[key]
