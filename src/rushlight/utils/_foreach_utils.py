"""``torch.utils._foreach_utils``: lists of tensors, taken apart by what they can be computed in together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..devices import device
from ..dtypes import dtype
from ..tensor import Tensor

__all__ = ["Indices", "TensorListList"]

Indices = list[int]
TensorListList = list[list[Tensor | None]]
_foreach_supported_types = [Tensor]


def _get_foreach_kernels_supported_devices() -> list[str]:
    """The accelerators on which optimizers take lists by default."""
    return ["cuda", "xpu", "mtia", "privateuseone"]


def _get_fused_kernels_supported_devices() -> list[str]:
    """The devices whose optimizers have ``fused=True``."""
    return ["mps", "cuda", "xpu", "hpu", "cpu", "mtia", "privateuseone"]


def _group_tensors_by_device_and_dtype(tensorlistlist: Sequence[Sequence[Tensor | None]],
                                       with_indices: bool = False) -> dict[tuple[device, dtype], tuple[TensorListList, Indices]]:
    """(device, dtype) of the first list's tensors -> the lists' tensors at these places, and the places (empty unless asked for)."""
    if not tensorlistlist or not tensorlistlist[0]:
        return {}
    groups: dict[Any, tuple[TensorListList, Indices]] = {}
    for i, first in enumerate(tensorlistlist[0]):
        if first is None:
            raise RuntimeError("Tensors of the first list provided must not be None.")
        lists, places = groups.setdefault((first.device, first.dtype), ([[] for _ in tensorlistlist], []))
        for mine, each in zip(lists, tensorlistlist, strict=True):
            if each:
                mine.append(each[i])
        if with_indices:
            places.append(i)
    return groups


def _device_has_foreach_support(device: device) -> bool:
    return device.type in (*_get_foreach_kernels_supported_devices(), "cpu")


def _has_foreach_support(tensors: Sequence[Tensor | None], device: device) -> bool:
    return _device_has_foreach_support(device) and all(t is None or type(t) in _foreach_supported_types for t in tensors)
