"""`Generator`: the mt19937 stream behind every random op, word for word the one of PyTorch's CPU generator.

NumPy's MT19937, or the native library, makes the words, a block of 624 at a time; ops take them off the block. The state has PyTorch's
layout (5056 bytes), so that ``get_state`` here and ``set_state`` there, and the other way round, continue the same stream.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from .autograd.grad_mode import LOCAL, STATE
from .devices import CPU, as_device
from .devices import device as device_type
from .homes import settle
from .kernels import native
from .kernels.random_fill import doubles
from .kind import cpu_kind
from .tensor import Tensor, wrap
from .vocabulary import Array, Device, GeneratorLike

__all__ = ["Generator", "default_generator", "generator_for", "generator_of", "all_default_generators"]

# What PyTorch's generators start with.
DEFAULT_SEED = 67280421310721
_BLOCK = 624
_LOW_SCALE = 2.0 ** -53

# The 5056 bytes of PyTorch's CPU generator state. `left` counts the words that are left in the block, plus one.
_LAYOUT = np.dtype([("seed", "<u8"), ("left", "<i4"), ("seeded", "<i4"), ("next", "<u8"), ("key", "<u8", 624), ("normal_x", "<f8"),
                    ("normal", "<f8"), ("normal_rho", "<f8"), ("has_normal", "<i4"), ("pad1", "<i4"), ("float_normal", "<f4"),
                    ("has_float_normal", "u1"), ("pad2", "u1", 3)])
# What PyTorch before 1.6 wrote: the same without the last two fields.
_LEGACY_SIZE = 5048


class _Twister:
    """mt19937 by the native library, in the form in which NumPy's bit generator is used here."""

    __slots__ = ("key", "current")

    def __init__(self, seed: int) -> None:
        self.key = np.empty(_BLOCK, np.uint32)
        self._legacy_seeding(seed)

    def _legacy_seeding(self, seed: int) -> None:
        native.library.mt_seed(self.key, seed)
        self.current = False                 # whether the words of the state as it is are still to come

    def random_raw(self, n: int) -> Array:
        """The next n words, a multiple of 624."""
        out = np.empty(n, np.uint32)
        native.library.mt_words(self.key, out, self.current)
        self.current = False
        return out

    @property
    def state(self) -> Any:
        return {"state": {"key": self.key, "pos": 0 if self.current else _BLOCK}}

    @state.setter
    def state(self, value: Any) -> None:
        self.key[:] = value["state"]["key"]
        self.current = value["state"]["pos"] == 0


class Generator:
    """A source of random numbers with its own state: ``Generator()``, ``Generator("cpu")``.

    Equal seeds give equal numbers, on every machine, and the numbers that PyTorch's CPU generator gives.
    """

    __slots__ = ("device", "lock", "polar", "next_normal", "_float_normal", "_seed", "_bits", "block", "position", "_fresh", "__weakref__")

    device: device_type

    def __new__(cls, device: Device = "cpu") -> Generator:
        if cls is Generator and device != "cpu":
            kind = as_device(device).type
            if kind not in CLASSES:
                raise RuntimeError(f"{kind.upper()} device type not an accelerator.")
            cls = CLASSES[kind]
        return object.__new__(cls)

    def __init__(self, device: Device = "cpu") -> None:
        concrete = CPU if device == "cpu" else as_device(device)
        self.device = concrete
        self.lock = threading.RLock()
        self._reset(DEFAULT_SEED)

    def _reset(self, seed: int) -> None:
        self._seed = seed
        self._bits: Any = None               # NumPy's bit generator, made when the first word is needed
        self.block: Any = None              # the current 624 words
        self.position = _BLOCK                   # how many of them are used
        self._fresh = True                   # no word was drawn since seeding
        self.next_normal: float | None = None   # the second normal number of a pair, not handed out yet
        self._float_normal: float | None = None
        self.polar: Any = None               # what the current block's words mean for normal numbers, see kernels/random_normal.py

    # --- words ------------------------------------------------------------------------------------------------------------------------

    def words(self, n: int) -> Array:
        """The next n 32-bit words (a uint32 array that the caller must not write to)."""
        start = self.position
        end = start + n
        if end <= _BLOCK:
            self.position = end
            return self.block[start:end] if n else np.empty(0, np.uint32)
        return self._more_words(n)

    def _more_words(self, n: int) -> Array:
        bits = self._bits or self._start()
        out = np.empty(n, np.uint32)
        rest = _BLOCK - self.position
        if rest:
            out[:rest] = self.block[self.position:]
        whole = (n - rest) // _BLOCK * _BLOCK
        if whole:
            out[rest:rest + whole] = bits.random_raw(whole)
        last = n - rest - whole
        self._fresh = False
        self.position = _BLOCK
        if last:
            self.next_block()
            self.position = last
            out[rest + whole:] = self.block[:last]
        else:
            self.polar = None
        return out

    def next_block(self) -> None:
        """Make the next 624 words."""
        self.block = (self._bits or self._start()).random_raw(_BLOCK).astype(np.uint32, copy=False)
        self.position = 0
        self._fresh = False
        self.polar = None

    def doubles(self, n: int) -> Array:
        """n float64 uniform numbers in [0, 1) of 53 bits, from two words each."""
        return doubles(self.words(2 * n))

    def double(self) -> float:
        """One uniform number in [0, 1) of 53 bits."""
        high, low = self.words(2).tolist()
        return ((high & 0x1FFFFF) << 32 | low) * _LOW_SCALE

    def drawn(self, function: str, *parameters: Array) -> Array:
        """Numbers by a function of native/sampling.cpp, which takes as many words as it needs. (Without the library: `double`, in
        Python.)"""
        bits = self._bits or self._start()
        block = np.empty(_BLOCK, np.uint32) if self.block is None else self.block.copy()
        values, self.position, bits.current, self.next_normal, blocks = getattr(native.library, function)(
            bits.key, block, self.position, bits.current, self.next_normal, *parameters)
        if blocks:
            self.block, self.polar, self._fresh = block, None, False
        return values

    def longs(self, n: int) -> Array:
        """n 64-bit words (uint64), from two words each; the first is the high one."""
        words = self.words(2 * n)
        result = words[0::2].astype(np.uint64)
        result <<= np.uint64(32)
        result |= words[1::2]
        return result

    def _start(self) -> Any:
        if native.library is not None:
            self._bits = _Twister(self._seed & 0xFFFFFFFF)
            return self._bits
        from numpy.random import MT19937
        bits = self._bits = MT19937(0)
        bits._legacy_seeding(self._seed & 0xFFFFFFFF)
        return bits

    # --- seeds and states -------------------------------------------------------------------------------------------------------------

    def manual_seed(self, seed: int) -> Generator:
        """Start the stream of this seed (-2**63 ... 2**64 - 1; negative ones count from 2**64); returns the generator."""
        if type(seed) is not int and (isinstance(seed, bool) or not isinstance(seed, np.integer)):
            raise RuntimeError(f"manual_seed expected a long, but got {type(seed).__name__}")
        self._reset_checked(int(seed))
        return self

    def _reset_checked(self, seed: int) -> None:
        if not -2 ** 63 <= seed < 2 ** 64:
            raise ValueError("Overflow when unpacking long long: a seed must lie in [-2**63, 2**64)")
        with self.lock:
            self._reset(seed % 2 ** 64)

    def seed(self) -> int:
        """Start a stream that the operating system's randomness chooses; returns the seed."""
        import os
        seed = int.from_bytes(os.urandom(8), "little")
        self._reset_checked(seed)
        return seed

    def initial_seed(self) -> int:
        """The seed that the stream was started with."""
        return self._seed

    def get_state(self) -> Tensor:
        """The state as a uint8 tensor of 5056 bytes, in PyTorch's layout."""
        with self.lock:
            a = self.state_bytes()
        return wrap(a, cpu_kind(a))

    def set_state(self, new_state: Tensor) -> Generator:
        """Continue from a state that `get_state` returned, here or in PyTorch. Raises before anything changes if it is no state."""
        if not isinstance(new_state, Tensor):
            raise TypeError(f"expected a torch.ByteTensor, but got {type(new_state).__name__}")
        if new_state._kind.dtype.name != "uint8" or new_state._kind.device is not CPU:
            raise TypeError("RNG state must be a torch.ByteTensor")
        self.load_bytes(new_state._a)
        return self

    def state_bytes(self) -> Array:
        """The state as a new uint8 array."""
        bits = self._bits or self._start()
        state = np.zeros((), _LAYOUT)
        state["seed"], state["seeded"] = self._seed, 1
        state["left"] = _BLOCK + 1 - self.position
        state["next"] = 0 if self._fresh else self.position
        state["key"] = bits.state["state"]["key"]
        if self.next_normal is not None:
            state["normal"], state["has_normal"] = self.next_normal, 1
        if self._float_normal is not None:
            state["float_normal"], state["has_float_normal"] = self._float_normal, 1
        return np.frombuffer(state.tobytes(), np.uint8).copy()

    def load_bytes(self, data: Array) -> None:
        """Take over the state in a uint8 array."""
        if data.size not in (_LAYOUT.itemsize, _LEGACY_SIZE):
            raise RuntimeError(f"Expected a CPUGeneratorImplState of size {_LAYOUT.itemsize} but found the input RNG state size to be "
                               f"{data.size}")
        state = np.frombuffer(data.tobytes().ljust(_LAYOUT.itemsize, b"\0"), _LAYOUT)[0]
        left, position = int(state["left"]), int(state["next"])
        if state["seeded"] != 1 or not 0 < left <= _BLOCK or position > _BLOCK:
            raise RuntimeError("Invalid mt19937 state")
        with self.lock:
            self._reset(int(state["seed"]))
            bits = self._start()
            used_up = left == 1
            bits.state = {"bit_generator": "MT19937", "state": {"key": state["key"].astype(np.uint32), "pos": _BLOCK if used_up else 0}}
            if not used_up:
                self.next_block()
                self.position = position
            self._fresh = used_up and position == 0
            if state["has_normal"]:
                self.next_normal = float(state["normal"])
            if state["has_float_normal"]:
                self._float_normal = float(state["float_normal"])

    def clone_state(self) -> Generator:
        """A new generator that continues with the same numbers."""
        other = Generator.__new__(Generator)
        other.device = self.device
        other.lock = threading.RLock()
        with self.lock:
            other.load_bytes(self.state_bytes())
        return other

    def get_offset(self) -> int:
        """CUDA generators have an offset; this one has not (RuntimeError)."""
        raise RuntimeError("CPU Generator does not use offset")

    def set_offset(self, offset: int) -> None:
        """CUDA generators have an offset; this one has not (RuntimeError)."""
        raise RuntimeError("CPU Generator does not use offset")

    def graphsafe_get_state(self) -> Any:
        """For CUDA graphs only (NotImplementedError): use get_state."""
        raise NotImplementedError("graphsafe_get_state is not supported in this Generator: use get_state or clone_state")

    def graphsafe_set_state(self, state: Any) -> None:
        """For CUDA graphs only (NotImplementedError): use set_state."""
        raise NotImplementedError("graphsafe_set_state is not supported in this Generator: use set_state")

    def __repr__(self) -> str:
        return f"<torch.Generator object on {self.device}, seed {self._seed}>"

    def __reduce__(self) -> tuple[Any, ...]:
        # The form in which PyTorch's files have generators: seed, offset (cuda's), state.
        return Generator, (self.device,), (self._seed, None, self.get_state())

    def __setstate__(self, state: tuple[int, None, Any]) -> None:
        self.set_state(state[2])

    def __deepcopy__(self, memo: dict[int, Any]) -> Generator:
        return self.clone_state()


CLASSES: dict[str, type[Generator]] = {"cpu": Generator}      # by device type; other devices add theirs



default_generator = Generator()
_defaults: dict[device_type, Generator] = {CPU: default_generator}


def generator_for(device: device_type) -> Generator:
    """The default generator of a (concrete) device."""
    found = _defaults.get(device)
    if found is None:
        found = Generator(device)
        found._reset(default_generator.initial_seed())
        found = _defaults.setdefault(device, found)
    return found


def all_default_generators() -> list[Generator]:
    """The default generators of all devices that have drawn numbers so far."""
    return list(_defaults.values())


def generator_of(generator: GeneratorLike, device: device_type, name: str) -> Generator:
    """The generator that a `generator=` argument means; TypeError and RuntimeError as PyTorch has them."""
    if STATE.vmaps:
        check_randomness()
    if generator is None:
        return default_generator if device is CPU or device.type == "meta" else generator_for(device)      # nothing is drawn on meta
    if not isinstance(generator, Generator):
        raise TypeError(f"{name}(): argument 'generator' must be torch.Generator, not {type(generator).__name__}")
    if generator.device.type != device.type and device.type != "meta":
        raise RuntimeError(f"Expected a '{device.type}' device type for generator but found '{generator.device.type}'")
    return generator


def check_randomness() -> None:
    """RuntimeError inside a vmap that has not said what random ops mean there."""
    if any(randomness == "error" for _, _, randomness in LOCAL.vmaps):
        raise RuntimeError("vmap: called random operation while in randomness error mode. Please either use the 'same' or 'different' "
                           "randomness flags on vmap or perform the randomness operation out of vmap")

settle("_C", globals(), ("Generator",))
