"""``torch._C._fft``: the functions of `torch.fft`, by the names of the operators (``fft_rfft``)."""

from __future__ import annotations

from . import by_operator_names

__getattr__ = by_operator_names("fft")
