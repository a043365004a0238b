"""``Tensor.pin_memory``."""

from __future__ import annotations

from ..devices import CPU
from ..kernels.cuda import driver
from ..ops.convert import TYPE_NAMES
from ..ops.public import method
from ..ops.record import record
from ..tensor import Tensor, wrap
from ..vocabulary import Device
from . import pinned

__all__: list[str] = []


@method
def pin_memory(self: Tensor, device: Device = None) -> Tensor:
    """A copy in page-locked memory, from which transfers to a GPU can run beside other work; the tensor itself if it lies there already."""
    if self._kind.device is not CPU:
        raise RuntimeError(f"cannot pin 'torch.{'cuda.' if self._kind.device.type == 'cuda' else ''}{TYPE_NAMES[self._kind.dtype.name]}Tensor' "
                           "only dense CPU tensors can be pinned")
    if driver.cupy() is None:
        raise RuntimeError(f"Cannot access accelerator device when none is available: pin_memory() needs CUDA ({driver.why_not()})")
    if pinned.is_pinned(self._a):
        return self
    return record(wrap(pinned.copy(self._a), self._kind), "PinMemoryBackward0", (self,), lambda g: g)
