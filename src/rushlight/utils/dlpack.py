"""DLPack: memory shared with other array libraries, both ways, through the protocol's capsules.

NumPy (CuPy for cuda) makes and reads the capsules. It does not know bfloat16: such tensors travel as 16-bit integers, and the type that
the capsule names is corrected in its C struct.
"""

from __future__ import annotations

import ctypes
from enum import IntEnum
from typing import Any

import numpy as np

from .. import dtypes
from ..devices import as_device
from ..kind import cpu_kind, kind_of
from ..tensor import Tensor, attach, wrap
from ..vocabulary import Device

__all__ = ["DLDeviceType", "from_dlpack", "to_dlpack"]


class DLDeviceType(IntEnum):
    """The protocol's numbers for kinds of devices."""

    kDLCPU = 1
    kDLCUDA = 2
    kDLCUDAHost = 3
    kDLOpenCL = 4
    kDLVulkan = 7
    kDLMetal = 8
    kDLVPI = 9
    kDLROCM = 10
    kDLROCMHost = 11
    kDLExtDev = 12
    kDLCUDAManaged = 13
    kDLOneAPI = 14
    kDLWebGPU = 15
    kDLHexagon = 16
    kDLMAIA = 17


_DEVICES = {"cpu": DLDeviceType.kDLCPU, "cuda": DLDeviceType.kDLCUDA}
_INTEGER, _BFLOAT = 0, 4


def _type_field(capsule: Any) -> tuple[Any, bool]:
    """(the bytes code and bits of a capsule's dtype in its C struct, whether the capsule is of the versioned kind)."""
    api = ctypes.pythonapi
    api.PyCapsule_GetName.restype, api.PyCapsule_GetName.argtypes = ctypes.c_char_p, [ctypes.py_object]
    api.PyCapsule_GetPointer.restype, api.PyCapsule_GetPointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    name = api.PyCapsule_GetName(capsule)
    versioned = name == b"dltensor_versioned"
    if not versioned and name != b"dltensor":
        raise RuntimeError("from_dlpack received an invalid capsule. Note that DLTensor capsules can be consumed only once, so you might "
                           "have already constructed a tensor from it once.")
    # DLTensor starts with a pointer, a device of two int32, and the number of dimensions; versioned structs have 32 bytes before it.
    place = api.PyCapsule_GetPointer(capsule, name) + (32 if versioned else 0) + 20
    return (ctypes.c_uint8 * 2).from_address(place), versioned


# --- out ----------------------------------------------------------------------------------------------------------------------------------

def device_of(t: Tensor) -> tuple[DLDeviceType, int]:
    """``t.__dlpack_device__()``."""
    device = t._kind.device
    if device.type not in _DEVICES:
        raise ValueError(f"Unknown device type {device.type} for Dlpack")
    return _DEVICES[device.type], device.index or 0


def export(t: Tensor, stream: Any = None, max_version: tuple[int, int] | None = None, dl_device: Any = None, copy: bool |
           None = None) -> Any:
    """``t.__dlpack__(...)``: a capsule that shares the tensor's memory (or, with copy=True, that of a copy)."""
    if t._node is not None:
        raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
    if t._kind.sparse:
        raise BufferError("Can't export tensors with layout other than torch.strided")
    if t.is_conj():
        raise BufferError("Can't export tensors with the conjugate bit set")
    device = device_of(t)
    if stream is not None and type(stream) is not int:
        raise TypeError("stream must be ``int`` or ``none``")
    if stream is not None and device[0] == DLDeviceType.kDLCPU:
        raise AssertionError("stream should be None on cpu.")
    if dl_device is not None and tuple(dl_device) != tuple(device):
        if copy is False:
            raise ValueError(f"cannot move a tensor from {t.device} to another device without a copy")
        kinds = {value: key for key, value in _DEVICES.items()}
        t = t.to(f"{kinds[dl_device[0]]}:{dl_device[1]}" if dl_device[0] == DLDeviceType.kDLCUDA else "cpu")
    elif copy:
        t = t.clone()
    array = t._a
    if not isinstance(array, np.ndarray):
        return array.__dlpack__(stream=stream, max_version=max_version)
    bfloat16 = t.dtype is dtypes.bfloat16
    capsule = (array.view(np.int16) if bfloat16 else array).__dlpack__(max_version=max_version)
    if bfloat16:
        _type_field(capsule)[0][0] = _BFLOAT
    return capsule


def to_dlpack(tensor: Tensor) -> Any:
    """A DLPack capsule that shares a tensor's memory; it can be consumed once."""
    return tensor.__dlpack__()


# --- in -----------------------------------------------------------------------------------------------------------------------------------

class _Producer:
    """A capsule as the object that NumPy's from_dlpack expects."""

    def __init__(self, capsule: Any) -> None:
        self.capsule = capsule

    def __dlpack__(self, **options: Any) -> Any:
        return self.capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return DLDeviceType.kDLCPU, 0


class _Writable:
    """Memory of a capsule without a version, which NumPy takes for read-only, as memory that can be written to."""

    def __init__(self, array: Any) -> None:
        interface = dict(array.__array_interface__)
        interface["data"] = (interface["data"][0], False)
        self.__array_interface__, self.base = interface, array


def _import(capsule: Any) -> Tensor:
    field, versioned = _type_field(capsule)
    bfloat16 = field[0] == _BFLOAT and field[1] == 16
    if bfloat16:
        field[0] = _INTEGER
    array = np.from_dlpack(_Producer(capsule))
    if not versioned:
        array = np.asarray(_Writable(array))
    if bfloat16:
        return wrap(array.view(dtypes.bfloat16.np), kind_of(dtypes.bfloat16))
    return wrap(array, cpu_kind(array))


def from_dlpack(ext_tensor: Any, *, device: Device = None, copy: bool | None = None) -> Tensor:
    """A tensor that shares the memory of another library's array (anything with ``__dlpack__``), or of a capsule.

    device, copy  move it, or copy it (True: always, False: never, ValueError where it would be needed)
    """
    if not hasattr(ext_tensor, "__dlpack__"):
        if device is not None or copy is not None:
            raise AssertionError("device and copy kwargs not supported when ext_tensor is already a DLPack capsule.")
        if type(ext_tensor).__name__ != "PyCapsule":
            raise RuntimeError(f"from_dlpack received an invalid capsule: {type(ext_tensor).__name__} has no __dlpack__ method")
        return _import(ext_tensor)
    if ext_tensor.__dlpack_device__()[0] == DLDeviceType.kDLCUDA:
        import cupy
        array = cupy.from_dlpack(ext_tensor)
        result = wrap(array, kind_of(dtypes.from_numpy_dtype(array.dtype), as_device(f"cuda:{array.device.id}")))
    else:
        result = _import(_capsule_of(ext_tensor))
    target = None if device is None else as_device(device)
    if target is not None and target is not result._kind.device:
        if copy is False:
            raise ValueError(f"cannot move the array from {result.device} to {target} without a copy")
        return result.to(target)
    return result.clone() if copy else result


def _capsule_of(producer: Any) -> Any:
    """The producer's capsule, of the versioned kind where it makes such."""
    try:
        return producer.__dlpack__(max_version=(1, 0))
    except TypeError:          # a producer from before versions
        return producer.__dlpack__()
    except BufferError:
        if isinstance(producer, np.ndarray):
            raise
        return producer.__dlpack__()


def _export(self: Tensor, *, stream: Any = None, max_version: tuple[int, int] | None = None, dl_device: Any = None, copy: bool |
            None = None) -> Any:
    return export(self, stream, max_version, dl_device, copy)


attach(_export, "__dlpack__")
attach(device_of, "__dlpack_device__")
