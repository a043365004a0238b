"""``torch.quantization``: not supported; using it says what to do instead."""

from __future__ import annotations

from .unsupported import attribute_of

__all__: list[str] = []


__getattr__ = attribute_of("quantization",
                           "there are no quantised dtypes; bfloat16 and float16 halve the memory, and torch.amp computes in them")
