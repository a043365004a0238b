"""``torch.masked.maskedtensor``: tensors with a mask."""

from .core import MaskedTensor, is_masked_tensor
