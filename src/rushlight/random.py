"""The global random state: ``torch.manual_seed`` and its like, and ``torch.random.fork_rng``."""

from __future__ import annotations

from collections.abc import Generator as Iterator
from collections.abc import Iterable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .devices import device as device_type_
from .generator import Generator, all_default_generators, default_generator, generator_for
from .kernels.random_fill import bernoulli_stream

if TYPE_CHECKING:
    from .tensor import Tensor

__all__ = ["set_rng_state", "get_rng_state", "manual_seed", "seed", "initial_seed", "fork_rng", "thread_safe_generator",
           "default_generator", "bernoulli_stream"]


def manual_seed(seed: int) -> Generator:
    """Start the global streams of all devices with this seed (-2**63 ... 2**64 - 1); returns the CPU's generator."""
    seed = int(seed)
    for generator in all_default_generators():
        generator.manual_seed(seed)
    return default_generator


def seed() -> int:
    """Start the global streams with a seed that the operating system chooses; returns it."""
    chosen = default_generator.seed()
    for generator in all_default_generators():
        generator.manual_seed(chosen)
    return chosen


def initial_seed() -> int:
    """The seed that the global CPU stream was started with."""
    return default_generator.initial_seed()


def get_rng_state() -> Tensor:
    """The state of the global CPU stream, a uint8 tensor of 5056 bytes that PyTorch understands, too."""
    return default_generator.get_state()


def set_rng_state(new_state: Tensor) -> None:
    """Continue the global CPU stream from a state of `get_rng_state`."""
    default_generator.set_state(new_state)


def thread_safe_generator() -> Generator | None:
    """The generator of a DataLoader worker that is a thread. DataLoader workers are processes here, with a global stream each: None."""
    return None


@contextmanager
def fork_rng(devices: Iterable[Any] | None = None, enabled: bool = True, _caller: str = "fork_rng", _devices_kw: str = "devices",
             device_type: str | None = None) -> Iterator[None]:
    """Inside, random numbers are drawn as usual; afterwards the global streams continue as if nothing had been drawn.

    devices  whose streams are kept, besides the CPU's; None: those of all devices that have one
    """
    if not enabled:
        yield
        return
    if devices is None:
        generators = all_default_generators()
    else:
        chosen = [device_type_(each) if not isinstance(each, int) else device_type_(device_type or "cuda", each) for each in devices]
        generators = [default_generator, *(generator_for(each) for each in chosen if each.type != "cpu")]
    states = [generator.clone_state() for generator in generators]
    try:
        yield
    finally:
        for generator, state in zip(generators, states, strict=True):
            generator.load_bytes(state.state_bytes())
