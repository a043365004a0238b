"""rushlight: PyTorch's API without PyTorch's weight. ``import rushlight as torch``."""

from __future__ import annotations

import numpy as _np

_np.seterr(all="ignore")

from . import dtypes as _dtype  # noqa: E402
from .devices import device, set_default_device  # noqa: E402
from .dtypes import can_cast, finfo, get_default_dtype, iinfo, promote_types, set_default_dtype  # noqa: E402
from .layout import *  # noqa: E402,F403
from .size import Size  # noqa: E402
from .tensor import Tensor  # noqa: E402

dtype = _dtype.dtype
globals().update(_dtype.DTYPES)
globals().update({d.alias: d for d in _dtype.DTYPES.values() if d.alias})

from .ops import arithmetic, convert, creation, elementwise  # noqa: E402,F401
from .ops.define import FUNCTIONS as _FUNCTIONS  # noqa: E402
from .autograd.grad_mode import enable_grad, inference_mode, is_grad_enabled, is_inference_mode_enabled, no_grad, set_grad_enabled  # noqa: E402,F401

globals().update(_FUNCTIONS)
__version__ = "0.1.0"
