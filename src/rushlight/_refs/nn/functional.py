"""``torch._refs.nn.functional``: the functions of torch.nn.functional."""

from .. import of

__getattr__ = of("nn.functional")
