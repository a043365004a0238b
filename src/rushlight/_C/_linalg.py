"""``torch._C._linalg``: the functions of `torch.linalg`, by the names of the operators (``linalg_inv``)."""

from __future__ import annotations

from . import by_operator_names

__getattr__ = by_operator_names("linalg")
