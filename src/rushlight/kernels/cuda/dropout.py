"""Dropout with a mask from the GPU's own stream, in one kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...vocabulary import Array
from . import philox

if TYPE_CHECKING:
    from ...cuda.generator import CudaGenerator
    from .driver import CupyArray

__all__ = ["dropped"]


def dropped(a: CupyArray, gen: CudaGenerator, keep: float) -> tuple[Array, Array]:
    """(the array with each element kept with probability `keep` and divided by it, else 0; what was kept as bool).

    NotImplemented where the numbers come from the CPU's streams (``torch.cuda.random.use_cpu_streams``).
    """
    return philox.dropout(a, gen, keep) if gen.draws_here else NotImplemented
