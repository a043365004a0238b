"""``torch.utils._contextlib``: contexts that are decorators too."""

from ..autograd.grad_mode import _Context as _DecoratorContextManager

__all__ = ["_DecoratorContextManager"]
