"""Random tensors: rand, randn, randint, randperm and their like, and the in-place fills normal_, uniform_, bernoulli_, ...

The numbers are PyTorch's CPU numbers (see kernels/random_fill.py). A `write` function fills an array; `on_device` gives it a second form,
which draws on the GPU (kernels/cuda/philox.py). ``torch.cuda.random.use_cpu_streams()`` has all drawn on the CPU and copied over.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from .. import dtypes, services
from ..autograd.grad_mode import LOCAL, STATE
from ..devices import CPU
from ..generator import Generator, generator_of
from ..kernels import random_fill as R
from ..kind import Kind, OneByOne
from ..size import Size
from ..tensor import Tensor, wrap
from ..vocabulary import Array, Device, Dtype, Function, GeneratorLike, Layout, MemoryFormat, Operand, PerDim
from .creation import check_layout, creation_kind, finish, like_kind, like_layout, size_of
from .errors import not_a_tensor, title
from .public import export, method
from .record import record
from .write import check_inplace, rebase, root_of, write_in_place, write_out

__all__ = ["fill", "number", "integer"]

_DIGITS = {"float16": 11, "bfloat16": 8, "float32": 24, "float64": 53}
_CPP_NAMES = {"uint8": "unsigned char", "int8": "signed char", "int16": "short", "int32": "int", "int64": "long",
              "uint16": "unsigned short", "uint32": "unsigned int", "uint64": "unsigned long", "bool": "bool", "float16": "c10::Half",
              "bfloat16": "c10::BFloat16", "float32": "float", "float64": "double"}
_MAX = {"float16": 65504.0, "bfloat16": (2.0 - 2.0 ** -7) * 2.0 ** 127, "float32": (2.0 - 2.0 ** -23) * 2.0 ** 127,
        "float64": (2.0 - 2.0 ** -52) * 2.0 ** 1023}


# --- arguments ------------------------------------------------------------------------------------------------------------------------

def number(value: Any, name: str, parameter: str, position: int) -> float:
    """A real number as float; TypeError for anything else."""
    if value.__class__ is float:
        return value
    if isinstance(value, Tensor) and value._a.ndim == 0 and not value._kind.is_complex:
        return float(value.item())
    if isinstance(value, (int, float, np.integer, np.floating)):
        return float(value)
    raise TypeError(f"{name}(): argument '{parameter}' (position {position}) must be float, not {type(value).__name__}")


def integer(value: Operand, name: str, parameter: str, position: int) -> int:
    """An integer of 64 bits; TypeError for anything else."""
    if isinstance(value, Tensor) and value._a.ndim == 0 and value._kind.dtype.category == dtypes.INT:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name}(): argument '{parameter}' (position {position}) must be int, not {type(value).__name__}")
    if not -2 ** 63 <= value < 2 ** 63:
        raise ValueError(f"Overflow when unpacking long long: {name}() got {parameter}={value}")
    return int(value)


def _show(value: float) -> str:
    return f"{value:g}"


# --- filling --------------------------------------------------------------------------------------------------------------------------

def fill(self: Tensor, label: str, write: Function) -> Tensor:
    """Run `write(array)`, which overwrites the tensor's array with random numbers. The history before it gets a zero gradient."""
    if not isinstance(self, Tensor):
        raise not_a_tensor(label.removesuffix("Backward0").lower() + "_", "input", 1, self)
    direct = write if self._kind.device is CPU else _by_way_of_cpu(self._kind, write)
    if STATE.vmaps:
        direct = _for_samples(self._kind, direct)
    if (self._node is None and self._view is None) or (STATE.unusual and not LOCAL.grad):
        return write_in_place(self, direct)
    check_inplace(self, self._node is not None)
    if self._node is None and root_of(self)._node is None:
        return write_in_place(self, direct)
    before = wrap(self._a, self._kind)
    before._node = self._node
    write_in_place(self, direct)
    after = record(wrap(self._a, self._kind), label, (before,), lambda g: g * 0)
    rebase(self, after)
    return self


def _for_samples(kind: Kind, write: Function) -> Function:
    """Inside vmap: numbers for all samples, or the same for each, as its `randomness` says."""
    def direct(a: Array) -> None:
        have = services.levels_of(a)
        if any(randomness == "different" and level not in have for level, _, randomness in LOCAL.vmaps):
            raise RuntimeError("vmap: Cannot ask for different inplace randomness on an unbatched tensor. This will appear like same "
                               "randomness. If this is necessary for your usage, please file an issue with functorch.")
        if have:
            a[...] = drawn(a.shape, kind, write)
        else:
            write(a)
    return direct


def drawn(shape: tuple[int, ...], kind: Kind, write: Function) -> Array:
    """A new array of this kind filled by `write`; inside vmap with randomness="different" one per sample, drawn in one go."""
    here = kind.device is CPU
    draw = write if here else _by_way_of_cpu(kind, write)
    empty = np.empty if here else kind.xp.empty
    if not STATE.vmaps:
        a = empty(shape, kind.np)
        draw(a)
        return a
    levels = [(level, size) for level, size, randomness in LOCAL.vmaps if randomness == "different"]
    a = empty((*[size for _, size in levels], *shape), kind.np)
    draw(a)
    for level, _ in levels:
        a = services.put_level(a, level)
    return a


def one_by_one() -> None:
    """For random ops that can't draw for all samples of a vmap in one go: NotBatched where samples differ."""
    if any(randomness == "different" for _, _, randomness in LOCAL.vmaps):
        raise OneByOne("this random op draws sample by sample")


def one_for_all(*parameters: Any) -> None:
    """For random ops with parameters that are tensors: RuntimeError where samples of a vmap have their own and shall get the same
    numbers."""
    if not STATE.vmaps:
        return
    same = {level for level, _, randomness in LOCAL.vmaps if randomness == "same"}
    if same and any(level in same for t in parameters if isinstance(t, Tensor) for level in services.levels_of(t._a)):
        raise RuntimeError("Vmap does not currently support same randomness with a batched tensor input. Please file an issue with "
                           "functorch")


def on_device(gen: Generator, kind: Kind, name: str, write: Any, *parameters: Any) -> Function:
    """`write`, with the GPU's own kernel for the same distribution (``philox.<name>``) at hand where generator and dtype are a GPU's."""
    if kind.device is CPU:
        return write
    if kind.xp.random.own_stream():
        write.on_device = lambda a: kind.xp.random.filled(a, name, gen, parameters)
    return write


def _by_way_of_cpu(kind: Kind, write: Function) -> Function:
    if hasattr(write, "on_device"):
        return write.on_device

    def direct(a: Any) -> None:
        order = R.memory_axes(a)           # numbers come in the order of memory, so the host's array lies as the device's does
        host = np.empty([a.shape[i] for i in order], kind.np).transpose(np.argsort(order))
        write(host)
        a[...] = kind.xp.asarray(host)
    return direct


def as_real_array(a: Array) -> Array:
    """A complex array as a real one with a last dimension of two, in the same memory."""
    part = a.real
    shape, strides = (*a.shape, 2), (*a.strides, part.itemsize)
    return np.lib.stride_tricks.as_strided(part, shape, strides) if isinstance(a, np.ndarray) else part.strided(shape, strides)


def normal_writer(gen: Generator, kind: Kind, mean: float, std: float) -> Function:
    """A function that fills an array of this kind with normal numbers."""
    if not std >= 0.0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {_show(std)}")
    if kind.is_complex:
        # The real and the imaginary parts share the variance.
        return on_device(gen, kind, "normal", lambda a: R.fill_normal(gen, as_real_array(a), mean, std / math.sqrt(2.0)), mean,
                         std / math.sqrt(2.0))
    if not kind.is_floating:
        def write(a: Array) -> None:
            if a.size:                  # PyTorch's loop asks for the dtype, and runs where there is something to fill
                raise NotImplementedError(f"\"normal_kernel_cpu\" not implemented for '{title(kind.dtype)}'")
        return write
    return on_device(gen, kind, "normal", lambda a: R.fill_normal(gen, a, mean, std), mean, std)


def uniform_writer(gen: Generator, kind: Kind, low: float, high: float) -> Function:
    """A function that fills an array of this kind with uniform numbers of [low, high)."""
    if not kind.differentiable:
        raise NotImplementedError(f"\"check_uniform_bounds\" not implemented for '{title(kind.dtype)}'")
    limit = _MAX[kind.dtype.to_real().name]
    for parameter, value in (("from", low), ("to", high)):
        if not -limit <= value <= limit:
            raise RuntimeError(f"{parameter} is out of bounds for {_CPP_NAMES[kind.dtype.to_real().name]}")
    if low > high:
        raise RuntimeError(f"uniform_ expects to return a [from, to) range, but found from={_show(low)} > to={_show(high)}")
    if high - low > limit:
        raise RuntimeError(f"uniform_ expects to-from <= std::numeric_limits<{title(kind.dtype)}>::max(), but found to={_show(high)} and "
                           f"from={_show(low)} which result in to-from to exceed the limit")
    if kind.is_complex:
        return on_device(gen, kind, "uniform", lambda a: R.draw(gen, as_real_array(a), R.uniform, low, high), low, high)
    return on_device(gen, kind, "uniform", lambda a: R.draw(gen, a, R.uniform, low, high), low, high)


def normal_(self: Tensor, mean: float = 0, std: float = 1, *, generator: GeneratorLike = None) -> Tensor:
    """Fill with normal numbers of this mean and standard deviation (floating and complex dtypes)."""
    mean, std = number(mean, "normal_", "mean", 1), number(std, "normal_", "std", 2)
    kind = self._kind
    return fill(self, "NormalBackward0", normal_writer(generator_of(generator, kind.device, "normal_"), kind, mean, std))


def uniform_(self: Tensor, *args: Any, generator: GeneratorLike = None, **kwargs: Any) -> Tensor:
    """``uniform_(from=0, to=1)``: fill with uniform numbers of [from, to)."""
    low, high = _from_to("uniform_", args, kwargs, (0.0, 1.0))
    low, high = number(low, "uniform_", "from", 1), number(high, "uniform_", "to", 2)
    kind = self._kind
    return fill(self, "UniformBackward0", uniform_writer(generator_of(generator, kind.device, "uniform_"), kind, low, high))


def _from_to(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], defaults: tuple[Any, Any]) -> tuple[Any, Any]:
    """The arguments `from` (no Python name) and `to`, by position or by name."""
    given = dict(zip(("from", "to"), args, strict=False))
    if len(args) > 2:
        raise TypeError(f"{name}() takes at most 2 positional arguments, got {len(args)}")
    for key, value in kwargs.items():
        if key not in ("from", "to") or key in given:
            raise TypeError(f"{name}() got an unexpected keyword argument '{key}'")
        given[key] = value
    return given.get("from", defaults[0]), given.get("to", defaults[1])


def _floating_fill(name: str, sampler: Function, parameters: tuple[tuple[str, float], ...], check: Function, refusal: str = "") -> None:
    """Define an in-place fill of floating dtypes."""
    label = "".join(part.capitalize() for part in name.split("_")) + "Backward0"

    def run(self: Tensor, values: list[float], generator: GeneratorLike) -> Tensor:
        kind = self._kind
        gen = generator_of(generator, kind.device, name)
        check(*values)
        if not kind.is_floating:
            if refusal and not kind.is_complex:
                raise RuntimeError(f"{refusal} distribution is a continuous probability distribution. dtype must be a floating point but "
                                   f"you specified {title(kind.dtype)}")
            raise NotImplementedError(f"\"{name}cpu\" not implemented for '{title(kind.dtype)}'")
        return fill(self, label, on_device(gen, kind, name[:-1], lambda a: R.draw(gen, a, sampler, *values), *values))

    def fn(self: Tensor, *args: Any, generator: GeneratorLike = None, **kwargs: Any) -> Tensor:
        if len(args) > len(parameters):
            raise TypeError(f"{name}() takes at most {len(parameters)} positional arguments, got {len(args)}")
        given = dict(zip((each for each, _ in parameters), args, strict=False))
        for key, value in kwargs.items():
            if key in given or all(key != each for each, _ in parameters):
                raise TypeError(f"{name}() got an unexpected keyword argument '{key}'")
            given[key] = value
        values = [number(given.get(each, default), name, each, i) for i, (each, default) in enumerate(parameters, 1)]
        return run(self, values, generator)

    fn.__name__ = fn.__qualname__ = name
    fn.__doc__ = f"``{name}({', '.join(f'{each}={default:g}' for each, default in parameters)}, *, generator=None)``: {sampler.__doc__}"
    method(fn)


def _positive(name: str, parameter: str, second: bool) -> Function:
    def check(*values: float) -> None:
        value = values[1 if second else 0]
        if not value > 0.0:
            raise RuntimeError(f"{name} expects {parameter} > 0.0, but found {parameter}={_show(value)}")
    return check


_floating_fill("exponential_", R.exponential, (("lambd", 1.0),), _positive("exponential_", "lambda", False), "Exponential")
_floating_fill("cauchy_", R.cauchy, (("median", 0.0), ("sigma", 1.0)), _positive("cauchy_", "sigma", True), "Cauchy")
_floating_fill("log_normal_", R.log_normal, (("mean", 1.0), ("std", 2.0)), _positive("log_normal_", "std", True))


def geometric_(self: Tensor, p: float, *, generator: GeneratorLike = None) -> Tensor:
    """Fill with the number of trials, each of chance p, that the first success takes (all real dtypes but bool)."""
    p = number(p, "geometric_", "p", 1)
    kind = self._kind
    gen = generator_of(generator, kind.device, "geometric_")
    if not 0.0 < p < 1.0:
        raise RuntimeError(f"geometric_ expects p to be in (0, 1), but got p={_show(p)}")
    if kind.is_complex or kind is kind.bool_:
        raise NotImplementedError(f"\"geometric_cpu\" not implemented for '{title(kind.dtype)}'")
    return fill(self, "GeometricBackward0", on_device(gen, kind, "geometric", lambda a: R.draw(gen, a, R.geometric, p), p))


# --- integers -------------------------------------------------------------------------------------------------------------------------

def _check_bounds(kind: Kind, low: int, last: int) -> None:
    """RuntimeError unless the dtype holds low ... last; a warning where a floating dtype cannot tell its neighbours apart."""
    d = kind.dtype
    if kind.is_complex:
        raise RuntimeError("check_random_bounds handles only integral, floating-point and boolean types")
    if kind.is_floating:
        most = _MAX[d.name]
        least = -most
    elif d is dtypes.bool_:
        least, most = 0, 1
    else:
        info = np.iinfo(kind.np)
        least, most = int(info.min), int(info.max)
    for label, value in (("from", low), ("to - 1", last)):
        if not least <= value <= most:
            raise RuntimeError(f"{label} is out of bounds for {_CPP_NAMES[d.name]}")
        if kind.is_floating and abs(value) > 1 << _DIGITS[d.name]:
            import warnings
            warnings.warn(f"{label} is out of bounds [-(2^{_DIGITS[d.name]}), 2^{_DIGITS[d.name]}]. Due to precision limitations "
                          f"{_CPP_NAMES[d.name]} can support discrete uniform distribution only within this range.", UserWarning,
                          stacklevel=4)


def _rounded_bounds(kind: Kind, low: int, high: int) -> tuple[int, int]:
    """For floats that cannot hold the bounds: the bounds moved inwards, so that no number is rounded out of [low, high)."""
    digits = _DIGITS[kind.dtype.name]

    def spacing(value: int) -> int:
        return 1 << max(abs(value).bit_length() - 1 - digits + 1, 0)

    above = int(kind.np.type(np.float32(low + 1) if digits < 24 else low + 1))
    if above < low:
        low = above + spacing(low + 1)
    below = int(kind.np.type(np.float32(high - 1) if digits < 24 else high - 1))
    if below >= high:
        high = below - spacing(high - 1)
    return low, high


def integers_writer(gen: Generator, kind: Kind, low: int, high: int) -> Function:
    """A function that fills an array of this kind with integers of [low, high)."""
    if low >= high:
        raise RuntimeError(f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}")
    if kind.is_floating:
        low, high = _rounded_bounds(kind, low, high)
        if low >= high:
            raise RuntimeError(f"random_ expects 'from' casted to dtype to be less than 'to' casted to dtype, but got from={low} >= "
                               f"to={high}")
    _check_bounds(kind, low, high - 1)
    return _span_writer(gen, kind, low, high - low)


def _span_writer(gen: Generator, kind: Kind, low: int, span: int) -> Function:
    return on_device(gen, kind, "integers", lambda a: R.draw(gen, a, R.integers, low, span), low, span)


def random_(self: Tensor, *args: Any, generator: GeneratorLike = None, **kwargs: Any) -> Tensor:
    """``random_()``, ``random_(to)``, ``random_(from, to)``: fill with integers of [from, to).

    Without arguments: all that the dtype can count from 0 on. ``random_(from, None)``: from there up.
    """
    kind = self._kind
    if len(args) == 1 and "to" not in kwargs and "from" not in kwargs:
        args, kwargs = (), {"to": args[0], **kwargs}
    bounded = bool(args) or bool(kwargs)
    low, high = _from_to("random_", args, kwargs, (0, None))
    low = integer(low, "random_", "from", 1)
    high = None if high is None else integer(high, "random_", "to", 2)
    gen = generator_of(generator, kind.device, "random_")
    if not bounded:
        if kind.is_complex or kind.dtype.name in ("uint16", "uint32", "uint64"):
            raise NotImplementedError(f"\"random_kernel_cpu\" not implemented for '{title(kind.dtype)}'")
        return fill(self, "RandomBackward0", on_device(gen, kind, "full_range", lambda a: R.draw(gen, a, R.full_range)))
    if high is not None:
        return fill(self, "RandomBackward0", integers_writer(gen, kind, low, high))
    return fill(self, "RandomBackward0", _open_ended(gen, kind, low))


def _open_ended(gen: Generator, kind: Kind, low: int) -> Any:
    d = kind.dtype
    if low == -2 ** 63:
        if d.name not in ("int64", "float64", "float32", "bfloat16"):
            raise (NotImplementedError if d is dtypes.float16 else RuntimeError)(
                "random_full_64_bits_range_kernel_cpu handles only int64, double, float and bfloat16")
        return _span_writer(gen, kind, 0, 1 << 64)
    if kind.is_floating:
        last = 1 << _DIGITS[d.name]
    else:
        last = 1 if d is dtypes.bool_ else int(np.iinfo(kind.np).max)
    _check_bounds(kind, low, last)
    return _span_writer(gen, kind, low, last - low + 1)


for _fn in (normal_, uniform_, geometric_, random_):
    method(_fn)


# --- creation -------------------------------------------------------------------------------------------------------------------------

def fresh(kind: Kind, shape: tuple[int, ...], write: Function) -> Tensor:
    """A new tensor filled by `write`."""
    return wrap(drawn(shape, kind, write), kind)


def _uniform_01(gen: Generator, kind: Kind) -> Function:
    return uniform_writer(gen, kind, 0.0, 1.0)


def _normal_01(gen: Generator, kind: Kind) -> Function:
    return normal_writer(gen, kind, 0.0, 1.0)


def _into(out: Tensor, shape: tuple[int, ...], dtype: Any, name: str, writer: Any) -> Tensor:
    """Fill the tensor given as out=, in its own dtype and (where the shape fits) its own memory layout."""
    if not isinstance(out, Tensor):
        raise TypeError(f"{name}(): argument 'out' must be Tensor, not {type(out).__name__}")
    kind = out._kind
    if dtype is not None and dtype is not kind.dtype:
        raise RuntimeError(f"dtype {title(dtype)} does not match dtype of out parameter ({title(kind.dtype)})")
    write = writer(kind)
    if out._a.shape != shape:
        return write_out(out, fresh(kind, shape, write), name)
    return fill(out, "NormalBackward0", write)


def _creator(name: str, writer: Function, quick: Function, doc: str) -> None:
    """Define a creation function and its _like form. `quick(gen, n, dtype)` gives few numbers as a 1-D array."""
    def fn(*size: Any, generator: GeneratorLike = None, out: Tensor | None = None, dtype: Dtype = None, layout: Layout = None,
           device: Device = None,
           pin_memory: bool = False, requires_grad: bool = False, names: Any = None, **kwargs: Any) -> Tensor:
        if kwargs or names is not None or not size:
            size = _sizes(name, size, kwargs, names)
        shape = size_of(size, name)
        if layout is not None:
            check_layout(layout)
        if out is not None:
            return finish(_into(out, shape, dtype, name, lambda kind: writer(generator_of(generator, kind.device, name), kind)),
                          requires_grad)
        kind = creation_kind(dtype, device)
        gen = generator_of(generator, kind.device, name)
        n = prod(shape)
        if n <= R.CHUNK and kind.fast and kind.device is CPU and not STATE.vmaps:
            with gen.lock:
                r = wrap(quick(gen, n, kind.np).reshape(shape), kind)
        else:
            r = fresh(kind, shape, writer(gen, kind))
        return finish(r, requires_grad, pin_memory) if requires_grad or pin_memory else r

    def like(input: Tensor, *, generator: GeneratorLike = None, dtype: Dtype = None, layout: Layout = None, device: Device = None,
             pin_memory: bool = False,
             requires_grad: bool = False, memory_format: MemoryFormat = None) -> Tensor:
        kind = _like(name + "_like", input, dtype, device, layout)
        r = _fresh_like(kind, input, memory_format, writer(generator_of(generator, kind.device, name), kind))
        return finish(r, requires_grad, pin_memory)

    for each, label, text in ((fn, name, doc), (like, name + "_like", doc + " The shape, dtype and device are those of `input`.")):
        each.__name__ = each.__qualname__ = label
        each.__doc__ = text
        export(each)


def _sizes(name: str, size: tuple[Any, ...], kwargs: dict[str, Any], names: Any) -> tuple[Any, ...]:
    """The size given as ``size=``, and the errors for what is no argument."""
    if names is not None:
        raise NotImplementedError(f"{name}(): names= is not supported: rushlight's dimensions have no names")
    if "size" in kwargs and not size:
        size = (kwargs.pop("size"),)
    elif not size and not kwargs:
        raise TypeError(f"{name}() received an invalid combination of arguments - got (), but expected a size")
    if kwargs:
        raise TypeError(f"{name}() got an unexpected keyword argument '{next(iter(kwargs))}'")
    return size


def _check_requires_grad(kind: Kind) -> None:
    if not kind.differentiable:
        raise RuntimeError("Only Tensors of floating point and complex dtype can require gradients")


def _like(name: str, input: Tensor, dtype: Any, device: Device, layout: Layout) -> Kind:
    if not isinstance(input, Tensor):
        raise not_a_tensor(name, "input", 1, input)
    if layout is not None:
        check_layout(layout)
    return like_kind(input, dtype, device)


def _fresh_like(kind: Kind, input: Tensor, memory_format: MemoryFormat, write: Function) -> Tensor:
    if memory_format is not None and memory_format.name != "preserve_format" and not STATE.vmaps:
        return fill(wrap(kind.xp.empty(input._a.shape, kind.np), kind).contiguous(memory_format=memory_format), "", write)
    if input._a.flags.c_contiguous or STATE.vmaps:       # what samples draw is new memory of theirs
        return fresh(kind, input._a.shape, write)
    return fill(wrap(like_layout(kind.xp.empty(input._a.shape, kind.np), input._a), kind), "", write)


_creator("rand", _uniform_01, R.uniform, "A tensor of uniform numbers of [0, 1).")
_creator("randn", _normal_01, R.few_normals, "A tensor of normal numbers of mean 0 and variance 1.")


def randint(*args: Any, low: Any = None, high: int | None = None, size: PerDim | None = None, generator: GeneratorLike = None,
            out: Tensor | None = None, dtype: Dtype = None,
            layout: Layout = None, device: Device = None, pin_memory: bool = False, requires_grad: bool = False) -> Tensor:
    """``randint(high, size)``, ``randint(low, high, size)``: integers of [low, high), int64 unless dtype says otherwise."""
    low, high, size = _low_high_size("randint", args, low, high, size)
    if not isinstance(size, (tuple, list, Size)):
        raise TypeError(f"randint(): argument 'size' (position {3 if len(args) == 3 else 2}) must be tuple of ints, not "
                        f"{type(size).__name__}")
    shape = size_of((size,), "randint")
    if layout is not None:
        check_layout(layout)

    def writer(kind: Kind) -> Function:
        return integers_writer(generator_of(generator, kind.device, "randint"), kind, low, high)

    if out is not None:
        return finish(_into(out, shape, dtype, "randint", writer), requires_grad)
    kind = creation_kind(dtype, device, dtypes.int64)
    if requires_grad:
        _check_requires_grad(kind)
    if kind.dtype is dtypes.int64 and kind.device is CPU and low < high and not pin_memory and 0 < (n := prod(shape)) <= R.CHUNK \
            and not STATE.vmaps:
        gen = generator_of(generator, CPU, "randint")
        with gen.lock:
            return wrap(R.integers(gen, n, kind.np, low, high - low).astype(np.int64, copy=False).reshape(shape), kind)
    r = fresh(kind, shape, writer(kind))
    return finish(r, requires_grad, pin_memory) if requires_grad or pin_memory else r


def _low_high_size(name: str, args: Sequence[Any], low: Any, high: int | None, size: Sequence[int] | None) -> tuple[int, int, Any]:
    """Sort out ``(high, size)`` and ``(low, high, size)``, by position or by name."""
    given = {"low": low, "high": high, "size": size}
    positions = ("low", "high", "size") if len(args) == 3 or (len(args) == 2 and size is not None) or (
        len(args) == 1 and (high is not None)) else ("high", "size")
    if len(args) > len(positions):
        raise TypeError(f"{name}() takes at most 3 positional arguments, got {len(args)}")
    for parameter, value in zip(positions, args, strict=False):
        if given[parameter] is not None:
            raise TypeError(f"{name}() got multiple values for argument '{parameter}'")
        given[parameter] = value
    if given["high"] is None or given["size"] is None:
        missing = "high" if given["high"] is None else "size"
        raise TypeError(f"{name}() received an invalid combination of arguments: '{missing}' is missing; expected (high, size) or "
                        "(low, high, size)")
    at = positions.index("high") + 1
    return integer(0 if given["low"] is None else given["low"], name, "low", 1), integer(given["high"], name, "high", at), given["size"]


def _scalar_bound(value: Any) -> Any:
    """A bound of `randint_like`, which may be a tensor of one number."""
    if isinstance(value, Tensor):
        if value._a.ndim:
            raise RuntimeError("high must be a scalar tensor and on CPU")
        return integer(value.item().real if value._kind.is_complex else int(value.item()), "randint_like", "high", 2)
    return value


def randint_like(input: Tensor, *args: Any, low: Any = None, high: Any = None, generator: GeneratorLike = None, dtype: Dtype = None,
                 layout: Layout = None,
                 device: Device = None, pin_memory: bool = False, requires_grad: bool = False,
                 memory_format: MemoryFormat = None) -> Tensor:
    """``randint_like(input, high)``, ``randint_like(input, low, high)``: integers of [low, high) in input's shape, dtype and device."""
    kind = _like("randint_like", input, dtype, device, layout)
    low, high, _ = _low_high_size("randint_like", [_scalar_bound(each) for each in args], _scalar_bound(low), _scalar_bound(high), ())
    if requires_grad:
        _check_requires_grad(kind)
    write = integers_writer(generator_of(generator, kind.device, "randint_like"), kind, low, high)
    return finish(_fresh_like(kind, input, memory_format, write), requires_grad, pin_memory)


def randperm(n: int, *, generator: GeneratorLike = None, out: Tensor | None = None, dtype: Dtype = None, layout: Layout = None,
             device: Device = None,
             pin_memory: bool = False, requires_grad: bool = False) -> Tensor:
    """A random permutation of 0 ... n - 1, int64 unless dtype says otherwise."""
    n = integer(n, "randperm", "n", 1)
    if n < 0:
        raise RuntimeError(f"Trying to create tensor with negative dimension {n}: [{n}]")
    if layout is not None:
        check_layout(layout)
    kind = creation_kind(dtype, device, dtypes.int64) if out is None else out._kind
    d = kind.dtype
    if requires_grad:
        _check_requires_grad(kind)
    if kind.is_complex or d.name in ("bool", "uint16", "uint32", "uint64"):
        raise NotImplementedError(f"\"randperm\" not implemented for '{title(d)}'")
    if kind.is_floating and n > (1 << _DIGITS[d.name]) + 1:
        raise RuntimeError(f"n cannot be greater than {(1 << _DIGITS[d.name]) + 1} for {title(d)} type.")
    if not kind.is_floating and n - 1 > int(np.iinfo(kind.np).max):
        raise RuntimeError(f"value cannot be converted to type {d.name}_t without overflow")
    if STATE.vmaps:
        one_by_one()
    a = permuted(generator_of(generator, kind.device, "randperm"), n, kind)
    r = wrap(a if kind.np == np.int64 else a.astype(kind.np), kind)
    if out is not None:
        return write_out(out, r, "randperm")
    return finish(r, requires_grad, pin_memory)


def permuted(gen: Generator, n: int, kind: Kind) -> Array:
    """A random permutation as an int64 array on the kind's device."""
    if kind.device is CPU:
        return R.permutation(gen, n)
    if kind.xp.random.own_stream():
        return kind.xp.random.sampled(kind, "permutation", gen, n)
    return kind.xp.asarray(R.permutation(gen, n))


for _fn in (randint, randint_like, randperm):
    export(_fn)
