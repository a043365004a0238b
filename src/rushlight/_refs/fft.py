"""``torch._refs.fft``: the functions of torch.fft."""

from . import of

__getattr__ = of("fft")
