"""The rushlight counterpart of anything that PyTorch's databases hold: tensors, dtypes, functions, and lambdas that call torch.

PyTorch describes an op by a callable: a builtin (`torch.add`), a method (`torch.Tensor.add`), or a function of its test package that uses
the global `torch`. The first two are found again in rushlight under the same dotted name; the third is rebuilt with rushlight as its `torch`.
"""

import contextlib
import enum
import functools
import importlib
import inspect
import types

import numpy as np
import torch as pt
from torch.testing._internal.opinfo.core import OpInfo

import rushlight as rl
from rushlight.kind import kind_of
from rushlight.ops.record import share_version
from rushlight.tensor import wrap

NAMESPACES = ("torch", "torch.Tensor", "torch.nn.functional", "torch.nn", "torch.linalg", "torch.fft", "torch.special", "torch.signal.windows",
              "torch.masked", "torch.sparse", "torch.autograd", "torch.nn.init", "torch.func", "torch.optim", "torch.optim.lr_scheduler")


class Unrepresentable(Exception):
    """A tensor that exists in PyTorch only: on its meta device, or with more dimensions than NumPy has."""


class Missing(Exception):
    """rushlight lacks a name."""


def attribute(path):
    """The object at a dotted path of torch, on rushlight's side."""
    value = rl
    for part in path.split(".")[1:]:
        try:
            value = getattr(value, part)
        except (AttributeError, ImportError):
            try:
                value = importlib.import_module(f"{value.__name__}.{part}")
            except (ImportError, AttributeError):
                raise Missing(f"rushlight has no {path}") from None
    return value


@functools.cache
def _paths():
    """id -> dotted path of every public callable of torch."""
    found = {}
    for namespace in NAMESPACES:
        owner = pt
        for part in namespace.split(".")[1:]:
            owner = getattr(owner, part)
        for name in dir(owner):
            value = getattr(owner, name, None)
            if callable(value):
                found.setdefault(id(value), f"{namespace}.{name}")
    return found


# Helpers of PyTorch's tests that reach into its internals, and what they amount to here.
_REPLACED = {"freeze_rng_state": contextlib.nullcontext}
_rebuilt = {}


def function(f):
    """The rushlight counterpart of a callable."""
    if getattr(f, "__name__", "") in _REPLACED:
        return _REPLACED[f.__name__]
    path = _paths().get(id(f))
    if path is not None:
        return attribute(path)
    if isinstance(f, OpInfo):          # closures look at its name only
        return f
    if isinstance(f, functools.partial):
        return functools.partial(function(f.func), *mirror(f.args), **mirror(f.keywords))
    if inspect.isfunction(f) and f.__module__.startswith("torch.testing._"):
        return _rebuild(f)
    qualified = f"{getattr(f, '__module__', '')}.{getattr(f, '__qualname__', '')}"
    if isinstance(f, (pt._ops.OpOverload, pt._ops.OpOverloadPacket)):
        return attribute("torch.ops." + str(f))
    if inspect.ismethod(f) and inspect.isclass(f.__self__):
        return getattr(function(f.__self__), f.__name__)
    return attribute(qualified) if qualified.startswith("torch.") else f


def _rebuild(f):
    """A copy of a Python function that sees rushlight where the original sees torch."""
    if id(f) in _rebuilt:
        return _rebuilt[id(f)][1]
    scope = {"__builtins__": __builtins__, "__name__": f.__module__}
    cells = tuple(types.CellType() for _ in f.__closure__ or ())
    copy = types.FunctionType(f.__code__, scope, f.__name__, mirror_known(f.__defaults__), cells)
    copy.__kwdefaults__ = mirror_known(f.__kwdefaults__)
    _rebuilt[id(f)] = (f, copy)        # f is kept: its id must not be used again
    for name in _names(f.__code__):
        if name in f.__globals__:
            with contextlib.suppress(Missing):
                scope[name] = mirror_known(f.__globals__[name])
    for cell, original in zip(cells, f.__closure__ or ()):
        cell.cell_contents = mirror_known(original.cell_contents)
    return copy


def _names(code):
    yield from code.co_names
    for constant in code.co_consts:
        if inspect.iscode(constant):
            yield from _names(constant)


def mirror_known(value):
    """`mirror` for what a function closes over: modules too; tensors are copied."""
    if isinstance(value, types.ModuleType):
        return attribute(value.__name__) if value.__name__.split(".")[0] == "torch" else value
    return mirror(value)


def _bytes(t):
    """All of a tensor's storage as a fresh NumPy array of bytes."""
    return pt.empty(0, dtype=pt.uint8).set_(t.untyped_storage()).numpy().copy()


def _overlaps(a):
    reached = 1
    for step, n in sorted(zip(a.strides, a.shape)):
        if n > 1:
            if step < reached * a.itemsize:
                return True
            reached = step * (n - 1) // a.itemsize + reached
    return False


class Copier:
    """Copies values for one call, on PyTorch's side (`ours` False) or to rushlight. Tensors that share memory still do afterwards."""

    def __init__(self, ours, grad=True):
        self.ours, self.grad, self.storages, self.made, self.uploaded = ours, grad, {}, {}, {}

    def __call__(self, value):
        if isinstance(value, pt.Tensor):
            if id(value) not in self.made:
                self.made[id(value)] = (self._tensor(value), value)
            return self.made[id(value)][0]
        if isinstance(value, pt.Size):
            return rl.Size(value) if self.ours else value
        if isinstance(value, (list, tuple)):
            items = [self(each) for each in value]
            if hasattr(value, "_fields"):
                return type(value)(*items)
            return type(value)(items)
        if isinstance(value, dict):
            return {key: self(each) for key, each in value.items()}
        if isinstance(value, slice):
            return slice(self(value.start), self(value.stop), self(value.step))
        return mirror(value) if self.ours else value

    def _tensor(self, t):
        source = t.detach()
        if t.device.type == "meta" or t.ndim > 64:
            raise Unrepresentable(str(t.device) if t.ndim <= 64 else f"{t.ndim} dimensions")
        if t.layout is not pt.strided:
            return self._sparse(source, t.requires_grad and self.grad)
        source = source.resolve_conj().resolve_neg()
        key = source.untyped_storage().data_ptr() if source.numel() else object()
        if key not in self.storages:
            self.storages[key] = (_bytes(source), [], source)      # the source is kept: its address must not be used again
        data, siblings, _ = self.storages[key]
        copy = self._ours(source, data, siblings) if self.ours else self._theirs(source, data, siblings)
        if t.requires_grad and self.grad:
            copy.requires_grad_()
        if isinstance(t, pt.nn.Parameter):
            copy = (rl if self.ours else pt).nn.Parameter(copy.detach(), requires_grad=t.requires_grad)
        return copy

    def _theirs(self, t, data, siblings):
        if not siblings:
            siblings.append(pt.from_numpy(data).untyped_storage())
        return pt.empty(0, dtype=t.dtype).set_(siblings[0], t.storage_offset(), t.shape, t.stride())

    def _ours(self, t, data, siblings):
        dtype = dtype_of(t.dtype)
        itemsize = dtype.itemsize
        if t.numel():
            a = np.ndarray(t.shape, dtype.np, data, t.storage_offset() * itemsize, tuple(n * itemsize for n in t.stride()))
            if _overlaps(a):
                a.flags.writeable = False
        else:
            a = np.empty(t.shape, dtype.np)
        kind = kind_of(dtype)
        if rl.get_default_device().type == "cuda":
            kind = kind_of(dtype, rl.device("cuda", 0))
            a = self._on_device(a, data, kind)
        copy = wrap(a, kind)
        if siblings:
            copy._ver = share_version(siblings[0])
        siblings.append(copy)
        return copy

    def _on_device(self, a, data, kind):
        """The same view of a copy of the storage on the GPU."""
        if not a.size:
            return kind.xp.empty(a.shape, a.dtype)
        if id(data) not in self.uploaded:
            self.uploaded[id(data)] = kind.xp.asarray(data)
        start = a.__array_interface__["data"][0] - data.__array_interface__["data"][0]
        moved = self.uploaded[id(data)].strided(a.shape, a.strides, start, a.dtype)
        moved.writeable = a.flags.writeable
        return moved

    def _sparse(self, t, requires_grad):
        if not self.ours:
            return t.clone().requires_grad_(requires_grad)
        if t.layout is pt.sparse_coo:
            copy = rl.sparse_coo_tensor(self(t._indices()), self(t._values()), tuple(t.shape), is_coalesced=t.is_coalesced() or None)
        elif t.layout in (pt.sparse_csr, pt.sparse_bsr):
            make = rl.sparse_csr_tensor if t.layout is pt.sparse_csr else rl.sparse_bsr_tensor
            copy = make(self(t.crow_indices()), self(t.col_indices()), self(t.values()), tuple(t.shape))
        else:
            make = rl.sparse_csc_tensor if t.layout is pt.sparse_csc else rl.sparse_bsc_tensor
            copy = make(self(t.ccol_indices()), self(t.row_indices()), self(t.values()), tuple(t.shape))
        return copy.requires_grad_(requires_grad)


def module(m):
    """An nn.Module: one of our class with the same attributes, parameters, buffers and submodules."""
    copy = object.__new__(function(type(m)))
    rl.nn.Module.__init__(copy)
    for name, value in vars(m).items():
        if name in ("_parameters", "_buffers", "_modules"):
            vars(copy)[name].update({key: mirror(each) for key, each in value.items()})
        elif name not in vars(pt.nn.Module()):
            setattr(copy, name, mirror(value))
    return copy


def dtype_of(dtype):
    try:
        return getattr(rl, str(dtype).removeprefix("torch."))
    except AttributeError:
        raise Missing(f"rushlight has no {dtype}") from None


def mirror(value):
    """The rushlight counterpart of a value."""
    if value is None or isinstance(value, (int, float, complex, str, bytes, np.ndarray, np.generic)):
        return value
    if isinstance(value, (pt.Tensor, list, tuple, dict, slice)):
        return Copier(True)(value)
    if isinstance(value, pt.dtype):
        return dtype_of(value)
    if isinstance(value, pt.device):
        return rl.device(str(value))
    if isinstance(value, (pt.layout, pt.memory_format)):
        return attribute(str(value))
    if isinstance(value, pt.Generator):
        generator = rl.Generator()
        generator.manual_seed(value.initial_seed())
        return generator
    if isinstance(value, pt.nn.Module):
        return module(value)
    if callable(value):
        return function(value)
    if type(value).__module__.startswith("torch."):
        return _plain_object(value)
    return value


def _plain_object(value):
    """An object that only holds options."""
    if isinstance(value, enum.Enum):
        return getattr(function(type(value)), value.name)
    copy = object.__new__(function(type(value)))
    for name in {*getattr(value, "__dict__", {}), *getattr(value, "__slots__", ())}:
        setattr(copy, name, mirror(getattr(value, name)))
    return copy

