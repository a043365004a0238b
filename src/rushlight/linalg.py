"""``torch.linalg``: linear algebra. The functions are defined in `ops/linalg/`."""

from __future__ import annotations

from .ops import linalg as _linalg  # noqa: F401
from .ops.deferred import namespace
from .ops.linalg.common import LinAlgError
from .ops.matmul import matmul

globals().update(namespace("linalg"))
__all__ = sorted(["LinAlgError", "matmul", *namespace("linalg")])
