"""``torch._C._special``: the functions of `torch.special`, by the names of the operators (``special_expit``)."""

from __future__ import annotations

from . import by_operator_names

__getattr__ = by_operator_names("special")
