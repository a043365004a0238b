"""``torch.backends``: switches of libraries. Those of libraries that rushlight does not use are remembered and change nothing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

__all__ = ["cudnn", "mkl", "mkldnn", "openmp", "mps", "cuda", "cpu"]


class _Backend(SimpleNamespace):
    """A named set of switches with `is_available()`."""

    def __init__(self, available: bool, **switches: Any) -> None:
        super().__init__(**switches)
        object.__setattr__(self, "is_available", lambda: available)


cudnn = _Backend(False, enabled=True, benchmark=False, deterministic=False, allow_tf32=True, version=lambda: None)
mkl = _Backend(False)
mkldnn = _Backend(False, enabled=False)
openmp = _Backend(False)
mps = _Backend(False, is_built=lambda: False)
cuda = _Backend(False, is_built=lambda: False, matmul=SimpleNamespace(allow_tf32=False, allow_fp16_reduced_precision_reduction=True,
                                                                      allow_bf16_reduced_precision_reduction=True))
cpu = _Backend(True, get_cpu_capability=lambda: "DEFAULT")
