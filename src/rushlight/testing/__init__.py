"""``torch.testing``: `assert_close` and `make_tensor`, for tests."""

from . import _utils as _utils
from .comparison import assert_allclose, assert_close
from .creation import make_tensor

__all__ = ["assert_close", "assert_allclose", "make_tensor"]
