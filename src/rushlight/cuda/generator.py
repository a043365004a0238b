"""`CudaGenerator`: the seed and offset of PyTorch's CUDA generator (kernels/cuda/philox.py draws from it).

Distributions that have no kernel are drawn on the host, by a Mersenne twister that each draw starts from (seed, offset): the state is those
two numbers alone, as PyTorch has it. ``torch.cuda.random.use_cpu_streams(True)`` gives all numbers that way from one running Mersenne
twister per generator: then a seed gives the same numbers on the GPU as on the CPU, more slowly.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from ..generator import CLASSES, Generator
from ..kind import cpu_kind
from ..tensor import wrap
from ..vocabulary import Device

__all__ = ["CudaGenerator", "STREAMS"]

STREAMS = {"cpu": False}      # whether all numbers come from the CPU's streams
NOTHING = np.uint64(0)        # a null pointer, too


class _Lock:
    """Held while the host draws; taking it starts the host's stream afresh from the generator's present state."""

    def __init__(self, owner: CudaGenerator) -> None:
        self.owner, self.inner, self.depth = owner, threading.RLock(), 0

    def __enter__(self) -> None:
        self.inner.acquire()
        self.depth += 1
        if self.depth == 1 and not STREAMS["cpu"]:
            owner = self.owner
            seed, offset = owner._seed, owner.offset
            owner.offset += 4
            owner._start_host((seed ^ (offset * 0x9E3779B97F4A7C15)) % 2 ** 64)

    def __exit__(self, *exception: object) -> None:
        self.depth -= 1
        self.inner.release()


class CudaGenerator(Generator):
    """A generator of random numbers on a GPU: ``torch.Generator(device="cuda")``."""

    __slots__ = ("offset", "recording")
    offset: int
    recording: Any       # a graphs.Recording while a CUDA graph that knows this generator is recorded

    def __init__(self, device: Device = "cuda") -> None:
        self.offset, self.recording = 0, None
        super().__init__(device)
        self.lock = _Lock(self)  # type: ignore[assignment]

    @property
    def draws_here(self) -> bool:
        """Whether numbers come from the GPU's own stream."""
        return not STREAMS["cpu"]

    def _reset(self, seed: int) -> None:
        super()._reset(seed)
        self.offset = 0

    def _start_host(self, seed: int) -> None:
        keep = self._seed, self.offset
        super()._reset(seed)
        self._seed = seed
        self._bits = self._start()
        self._seed, self.offset = keep

    def _reset_checked(self, seed: int) -> None:
        if not -2 ** 63 <= seed < 2 ** 64:
            raise ValueError("Overflow when unpacking long long: a seed must lie in [-2**63, 2**64)")
        self._reset(seed % 2 ** 64)

    def advance(self, numbers: int) -> tuple[Any, Any, Any]:
        """(seed, offset, cell) for a launch that draws so many numbers per thread; the next launch continues behind them.

        While a CUDA graph is recorded, the cell (a device array) holds seed and offset, and the offset here counts from the graph's start.
        """
        with self.lock.inner:  # type: ignore[attr-defined]
            steps = -(-numbers // 4) * 4
            recording = self.recording
            if recording is not None:
                offset, recording.used = recording.used, recording.used + steps
                return NOTHING, np.uint64(offset), recording.cell
            offset = self.offset
            self.offset += steps
        return np.uint64(self._seed), np.uint64(offset), NOTHING

    def get_offset(self) -> int:
        """How many numbers each thread has drawn since the seed was set."""
        return self.offset

    def set_offset(self, offset: int) -> None:
        """Continue at this offset (a multiple of four)."""
        if offset % 4:
            raise RuntimeError("offset must be a multiple of 4")
        self.offset = int(offset)

    def get_state(self) -> Any:
        """The state as a CPU uint8 tensor of 16 bytes: seed and offset."""
        a = self.state_bytes()
        return wrap(a, cpu_kind(a))

    def state_bytes(self) -> Any:
        """The state as a new uint8 array: seed and offset, or the running stream's where the CPU's streams are used."""
        if STREAMS["cpu"]:
            return super().state_bytes()
        return np.array([self._seed, self.offset], np.uint64).view(np.uint8).copy()

    def load_bytes(self, data: Any) -> None:
        """Take over the state in a uint8 array."""
        if STREAMS["cpu"]:
            super().load_bytes(data)
            return
        if data.size != 16:
            raise RuntimeError(f"RNG state is wrong size: 16 bytes expected, {data.size} given")
        seed, offset = np.frombuffer(data.tobytes(), np.uint64).tolist()
        self._reset(seed)
        self.offset = offset

    def clone_state(self) -> CudaGenerator:
        """A new generator that continues with the same numbers."""
        other = object.__new__(CudaGenerator)
        other.device, other.offset, other.recording, other.lock = self.device, 0, None, _Lock(other)  # type: ignore[assignment]
        other.load_bytes(self.state_bytes())
        return other


CLASSES["cuda"] = CudaGenerator
