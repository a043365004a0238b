"""``torch._refs.special``: the functions of torch.special."""

from . import of

__getattr__ = of("special")
