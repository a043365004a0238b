"""``torch.special``: special functions. They are defined in `ops/special.py`."""

from __future__ import annotations

from .ops import special as _special  # noqa: F401
from .ops.deferred import namespace

globals().update(namespace("special"))
__all__ = sorted(namespace("special"))
