"""``torch.backends.python_native``: kernels that PyTorch has in other languages than C++. There are none here."""

from __future__ import annotations

__all__ = ["all_dsls", "available_dsls"]

all_dsls: list[str] = []            # the languages
available_dsls: list[str] = []      # those that are installed
