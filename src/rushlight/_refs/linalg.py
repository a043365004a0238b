"""``torch._refs.linalg``: the functions of torch.linalg."""

from . import of

__getattr__ = of("linalg")
