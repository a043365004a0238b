"""``torch._subclasses``: PyTorch's tensors without data; here they are tensors on the device "meta", where that is supported."""

from .fake_tensor import FakeTensor, FakeTensorMode

__all__ = ["FakeTensor", "FakeTensorMode"]
