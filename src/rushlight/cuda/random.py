"""The GPUs' random streams: seeds and states."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..devices import device as device_type
from ..generator import Generator, generator_for
from ..kernels.cuda import driver, philox, sampling
from ..kernels.random_fill import memory_axes
from ..ops.random import as_real_array
from ..vocabulary import Device
from .array import box, call_cupy, guarded, raw
from .generator import STREAMS
from .indices import checked, device_count

if TYPE_CHECKING:
    from ..cuda.generator import CudaGenerator
    from ..kind import Kind

__all__ = ["manual_seed", "manual_seed_all", "seed", "seed_all", "initial_seed", "get_rng_state", "get_rng_state_all", "set_rng_state",
           "set_rng_state_all", "default_generators", "use_cpu_streams"]


def _generator(device: Device = None) -> Any:
    return generator_for(device_type("cuda", checked(device)))


class _Generators:
    """``torch.cuda.default_generators[i]``: the generator that ops on GPU i use by default."""

    def __getitem__(self, index: int) -> Any:
        return _generator(index)

    def __len__(self) -> int:
        return device_count()


default_generators = _Generators()


def manual_seed(seed: int) -> None:
    """Seed the current GPU's generator; without a GPU there is nothing to seed."""
    if driver.cupy() is not None:
        _generator().manual_seed(int(seed))


def manual_seed_all(seed: int) -> None:
    """Seed the generators of all GPUs."""
    for i in range(len(default_generators)):
        _generator(i).manual_seed(int(seed))


def use_cpu_streams(mode: bool = True) -> None:
    """Draw CUDA tensors' random numbers from the CPU's streams: a seed then gives the same numbers on both, at the cost of a copy."""
    if not isinstance(mode, bool):
        raise TypeError(f"use_cpu_streams(): argument 'mode' must be bool, not {type(mode).__name__}")
    STREAMS["cpu"] = mode
    for i in range(len(default_generators)):
        found: Generator = _generator(i)
        found.manual_seed(found.initial_seed())


# --- drawing -----------------------------------------------------------------------------------------------------------------------------

def own_stream() -> bool:
    """Whether CUDA tensors' numbers come from the GPU's own stream."""
    return not STREAMS["cpu"]


def filled(a: Any, name: str, gen: CudaGenerator, parameters: tuple[Any, ...]) -> None:
    """Fill a DeviceArray by ``philox.<name>``, in the order of memory: along the smallest stride first. Complex numbers are pairs of real
    ones."""
    if a.dtype.kind == "c":
        a = as_real_array(a)
    values = raw(list(parameters))

    def run() -> None:
        flat = a if a.flags.c_contiguous else a.transpose(memory_axes(a))
        if flat.flags.c_contiguous:
            getattr(philox, name)(flat.c, gen, *values)
        else:
            whole = driver.needed().empty(flat.shape, flat.dtype)
            getattr(philox, name)(whole, gen, *values)
            flat[...] = box(whole)
    guarded(a.c, call_cupy, run)


def sampled(kind: Kind, name: str, gen: Any, *parameters: Any) -> Any:
    """The DeviceArray that ``sampling.<name>`` draws on the kind's GPU."""
    values = raw(list(parameters))
    with driver.needed().cuda.Device(kind.device.index or 0):
        return box(call_cupy(getattr(sampling, name), gen, *values))


def seed() -> None:
    """Seed the current GPU's generator with a random number."""
    if driver.cupy() is not None:
        _generator().seed()


def seed_all() -> None:
    """Seed the generators of all GPUs with one random number."""
    import os
    manual_seed_all(int.from_bytes(os.urandom(8), "little"))


def initial_seed() -> int:
    """The seed of the current GPU's generator."""
    return _generator().initial_seed()


def get_rng_state(device: Device = "cuda") -> Any:
    """The state of a GPU's generator: a CPU uint8 tensor of 16 bytes, seed and offset, as PyTorch has it."""
    return _generator(device).get_state()


def get_rng_state_all() -> list[Any]:
    """The states of all GPUs' generators."""
    return [get_rng_state(i) for i in range(len(default_generators))]


def set_rng_state(new_state: Any, device: Device = "cuda") -> None:
    """Continue a GPU's stream from a state of `get_rng_state`."""
    _generator(device).set_state(new_state)


def set_rng_state_all(new_states: Iterable[Any]) -> None:
    """Continue all GPUs' streams from states of `get_rng_state_all`."""
    for i, state in enumerate(new_states):
        set_rng_state(state, i)
