"""``torch.types``: names for type annotations."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import IO, Any

from .autograd.graph import Node  # noqa: F401
from .devices import device as _torch_device
from .dtypes import dtype as _dtype  # noqa: F401
from .layout import layout as _layout  # noqa: F401
from .size import Size
from .storage import UntypedStorage as Storage
from .tensor import Tensor

__all__ = ["Number", "Device", "FileLike", "Storage", "Tensor", "Size"]

Number = int | float | bool
Device = _torch_device | str | int | None
FileLike = str | os.PathLike[str] | IO[bytes]
_int, _float, _bool, _complex, _size = int, float, bool, complex, Size | list[int] | tuple[int, ...]
_TensorOrTensors = Tensor | Sequence[Tensor]
_TensorOrTensorsOrGradEdge = Any
_device, _symint = _torch_device, int
