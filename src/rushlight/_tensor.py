"""``torch._tensor``: the class Tensor, and what pickles of its subclasses call."""

from ._utils import _rebuild_from_type_v2 as _rebuild_from_type_v2
from .tensor import Tensor

__all__ = ["Tensor"]
