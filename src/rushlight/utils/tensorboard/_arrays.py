"""What callers log, as NumPy arrays."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from ...dtypes import DTYPES
from ...tensor import Tensor
from ...vocabulary import Array

__all__ = ["Loggable", "make_np"]

Loggable: TypeAlias = "Tensor | Array | float"


def make_np(x: Loggable) -> Array:
    """An array as it is, a tensor's numbers (bfloat16 as float16), a number as an array of one. NotImplementedError for anything else."""
    if isinstance(x, np.ndarray):
        return x
    if np.isscalar(x):
        return np.array([x])
    if not isinstance(x, Tensor):
        raise NotImplementedError(f"Got {type(x)}, but numpy array or torch tensor are expected.")
    if x.device.type == "meta":
        raise NotImplementedError("a tensor on the meta device has no numbers to log: move the model with .to_empty() first")
    plain: Any = x.to(DTYPES["float16"]) if x.dtype is DTYPES["bfloat16"] else x
    return plain.detach().cpu().numpy()
