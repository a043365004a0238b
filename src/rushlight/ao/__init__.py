"""``torch.ao``: not supported; using it says what to do instead."""

from __future__ import annotations

from ..unsupported import attribute_of

__all__: list[str] = []


__getattr__ = attribute_of("ao", "there is no quantisation and no pruning of that kind; torch.nn.utils.prune prunes, torch.amp computes "
                                 "in bfloat16 or float16")
