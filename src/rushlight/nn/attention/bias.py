"""``torch.nn.attention.bias``: causal masks for queries and keys of different numbers."""

from __future__ import annotations

import warnings
from enum import IntEnum, auto
from typing import Any

import numpy as np

from ...kind import cpu_kind
from ...tensor import Tensor, wrap
from ...vocabulary import Device

__all__ = ["causal_upper_left", "causal_lower_right", "CausalVariant", "CausalBias"]


class CausalVariant(IntEnum):
    """Which corner the diagonal starts from: query i sees keys 0..i (upper left), or the last query sees all keys (lower right)."""

    UPPER_LEFT = auto()
    LOWER_RIGHT = auto()


class CausalBias(Tensor):
    """A causal mask as a tensor: bool, True where a query may look. It goes where an `attn_mask` goes."""

    def __new__(cls, variant: CausalVariant, seq_len_q: int, seq_len_kv: int) -> Any:
        if not isinstance(variant, CausalVariant):
            raise AssertionError(f"variant must be a CausalVariant, got {type(variant).__name__}")
        lower_right = variant is CausalVariant.LOWER_RIGHT
        mask = np.tri(seq_len_q, seq_len_kv, seq_len_kv - seq_len_q if lower_right else 0, dtype=np.bool_)
        self = Tensor._make_subclass(cls, wrap(mask, cpu_kind(mask)))
        self.variant, self.seq_len_q, self.seq_len_kv = variant, seq_len_q, seq_len_kv
        if seq_len_q > seq_len_kv and lower_right:
            warnings.warn("Lower right causal bias will produce NaNs in the output when seq_len_q > seq_len_kv!", stacklevel=2)
        return self

    def __init__(self, variant: CausalVariant, seq_len_q: int, seq_len_kv: int) -> None:
        pass

    def _materialize(self, device: Device = None) -> Tensor:
        """The mask as an ordinary tensor."""
        plain = wrap(self._a, self._kind)
        return plain if device is None else plain.to(device)

    def __repr__(self, **options: Any) -> str:  # type: ignore[override]
        return repr(self._materialize())


def causal_upper_left(*size: int) -> CausalBias:
    """The mask (queries, keys) whose diagonal starts at the upper left."""
    if len(size) != 2:
        raise AssertionError("causal_upper_left only supports 2D tensors")
    return CausalBias(CausalVariant.UPPER_LEFT, *size)


def causal_lower_right(*size: int) -> CausalBias:
    """The mask (queries, keys) whose diagonal ends at the lower right."""
    if len(size) != 2:
        raise AssertionError("causal_lower_right only supports 2D tensors")
    return CausalBias(CausalVariant.LOWER_RIGHT, *size)
