"""`ReduceOp`: how values of several processes are put together."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np

from ..homes import settle

__all__ = ["COMBINE", "PremulSum", "ReduceOp", "checked", "reduce_op"]


class ReduceOp(IntEnum):
    """How values of several processes are put together. AVG is the sum over the number of ranks; PREMUL_SUM comes from
    `_make_nccl_premul_sum`."""

    SUM = 0
    AVG = 1
    PRODUCT = 2
    MIN = 3
    MAX = 4
    BAND = 5
    BOR = 6
    BXOR = 7
    PREMUL_SUM = 8


ReduceOp.RedOpType = ReduceOp  # type: ignore[attr-defined]
reduce_op = ReduceOp
COMBINE = {ReduceOp.SUM: np.add, ReduceOp.AVG: np.add, ReduceOp.PRODUCT: np.multiply, ReduceOp.MIN: np.minimum, ReduceOp.MAX: np.maximum,
           ReduceOp.BAND: np.bitwise_and, ReduceOp.BOR: np.bitwise_or, ReduceOp.BXOR: np.bitwise_xor, ReduceOp.PREMUL_SUM: np.add}
_REAL_ONLY = (ReduceOp.PRODUCT, ReduceOp.MIN, ReduceOp.MAX, ReduceOp.BAND, ReduceOp.BOR, ReduceOp.BXOR)
_BITS = (ReduceOp.BAND, ReduceOp.BOR, ReduceOp.BXOR)


class PremulSum:
    """The sum of the values, each multiplied by a factor before."""

    op = ReduceOp.PREMUL_SUM

    def __init__(self, factor: Any) -> None:
        self.factor = factor


def checked(op: Any, kind: Any, what: str) -> tuple[ReduceOp, Any]:
    """The op and its factor (None but for PREMUL_SUM); TypeError, ValueError or RuntimeError for what cannot be applied to tensors of
    this kind."""
    if isinstance(op, PremulSum):
        return op.op, op.factor
    if not isinstance(op, int) or op not in COMBINE:
        raise TypeError(f"{what}: op has to be a ReduceOp, not {op!r}")
    op = ReduceOp(op)
    if op is ReduceOp.PREMUL_SUM:
        raise ValueError(f"{what}: PREMUL_SUM needs a factor: torch.distributed._make_nccl_premul_sum(factor)")
    if kind.is_complex and op in _REAL_ONLY:
        raise ValueError(f"{what} does not support ReduceOp.{op.name} on complex tensors")
    if kind.is_floating and op in _BITS:
        raise RuntimeError(f"Cannot use ReduceOp.{op.name} with non-integral dtype")
    return op, None


settle("distributed", globals(), ["ReduceOp"])
