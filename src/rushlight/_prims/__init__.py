"""``torch._prims``: PyTorch's primitive operators under its compiler. Ops are not made of these here; `utils` is
``torch._prims_common``."""

from .. import _prims_common as utils

__all__ = ["utils"]
