"""``torch.nested``: not supported; using it says what to do instead."""

from __future__ import annotations

from ..unsupported import attribute_of

__all__: list[str] = []


__getattr__ = attribute_of("nested", "pad the sequences (torch.nn.utils.rnn.pad_sequence), or pack them "
                                     "(torch.nn.utils.rnn.pack_padded_sequence)")
