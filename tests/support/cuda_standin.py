"""A stand-in for CuPy on the host, so that device code is tested where there is no GPU. It exists in the tests alone.

It is strict where CuPy is: arrays are of a class of their own, never mix with NumPy's, convert to nothing by themselves, and offer the
names, parameters and ufunc types that cupy_surface.json lists (read from the real CuPy), no others. Raw CUDA kernels are run for real:
cuda_emulator.py compiles their source for the host. So what passes here uses only what CuPy has, and computes the right numbers.

    with cuda_standin.cuda(): ...           # inside, there are two `cuda` devices
"""

import contextlib
import ctypes
import itertools
import json
import pathlib
import threading
import time
import types
import weakref

import numpy as np

SURFACE = json.loads((pathlib.Path(__file__).parent / "cupy_surface.json").read_text())
DEVICES = 2
MIB = 1 << 20
_SCALARS = (bool, int, float, complex, np.number, np.bool_)
_ELEMENT = np.ndarray


class _State(threading.local):
    device = 0


STATE = _State()


# --- memory ------------------------------------------------------------------------------------------------------------------------------

class OutOfMemoryError(MemoryError):
    """cupy.cuda.memory.OutOfMemoryError."""


class MemoryHook:
    """cupy.cuda.MemoryHook: told of every allocation while it is registered."""

    name = "MemoryHook"

    def __enter__(self):
        POOL.hooks.append(self)
        return self

    def __exit__(self, *exception):
        POOL.hooks.remove(self)


class MemoryPool:
    """cupy.cuda.MemoryPool: counts what arrays hold; the limit makes it run out."""

    def __init__(self):
        self.used, self.held, self.limit, self.hooks = [0] * DEVICES, [0] * DEVICES, [0] * DEVICES, []

    def take(self, nbytes):
        size, device = -(-nbytes // 512) * 512, STATE.device
        if self.limit[device] and self.used[device] + size > self.limit[device]:
            raise OutOfMemoryError(f"Out of memory allocating {size:,} bytes (allocated so far: {self.used[device]:,} bytes, limit set to: "
                                   f"{self.limit[device]:,} bytes).")
        self.used[device] += size
        if self.used[device] > self.held[device]:
            self.held[device] = self.used[device]
            for hook in self.hooks:
                if hasattr(hook, "alloc_postprocess"):
                    hook.alloc_postprocess(device_id=device, mem_size=size, mem_ptr=1)
        for hook in self.hooks:
            hook.malloc_postprocess(device_id=device, size=nbytes, mem_size=size, mem_ptr=1, pmem_id=1)
        return size, device

    def give(self, size, device):
        self.used[device] -= size
        for hook in self.hooks:
            hook.free_postprocess(device_id=device, mem_size=size, mem_ptr=1, pmem_id=1)

    def free_all_blocks(self, stream=None):
        self.held[STATE.device] = self.used[STATE.device]

    def used_bytes(self):
        return self.used[STATE.device]

    def total_bytes(self):
        return self.held[STATE.device]

    def free_bytes(self):
        return self.held[STATE.device] - self.used[STATE.device]

    def set_limit(self, size=None, fraction=None):
        self.limit[STATE.device] = size if size is not None else int((fraction or 0) * 1024 * MIB)

    def get_limit(self):
        return self.limit[STATE.device]


POOL = MemoryPool()
ALLOCATOR = [None]        # what cupy.cuda.using_allocator has put in place


@contextlib.contextmanager
def using_allocator(allocator=None):
    """cupy.cuda.using_allocator."""
    previous, ALLOCATOR[0] = ALLOCATOR[0], allocator
    try:
        yield
    finally:
        ALLOCATOR[0] = previous


class PrivatePool:
    """cupy.cuda.MemoryPool: of a graph; the stand-in counts its memory with the rest."""

    def malloc(self, size):
        raise NotImplementedError("the stand-in allocates by itself")


# --- graphs ------------------------------------------------------------------------------------------------------------------------------

CAPTURE = [None]          # while a stream is captured: the launches so far, as (compute, result)
BLOCKS = weakref.WeakSet()


def taped(compute, result=None):
    """A launch: while a stream is captured, `compute` is noted, to be run again at each replay, into the memory of `result`."""
    if CAPTURE[0] is not None:
        CAPTURE[0].append((compute, result))
    return result


def no_capture(what):
    """What waits for the GPU, or copies from memory that may change, breaks a capture."""
    if CAPTURE[0] is not None:
        raise CUDARuntimeError(f"cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing ({what})")


def _rewrite(result, value):
    if isinstance(result, (tuple, list)):
        for each, new in zip(result, value):
            _rewrite(each, new)
    elif isinstance(result, ndarray):
        new = np.asarray(value)
        if new.size and not np.may_share_memory(result._host, new):
            result._host[...] = new


class Graph:
    """cupy.cuda.Graph: what was captured."""

    def __init__(self, tape):
        self._tape = tape

    def launch(self, stream=None):
        for compute, result in self._tape:
            _rewrite(result, compute())


class _Memory:
    """The block that an array was allocated in."""

    def __init__(self, host, device):
        self.host, self.ptr, self.size, self.device_id = host, host.__array_interface__["data"][0], host.nbytes, device
        BLOCKS.add(self)
        size, where = POOL.take(host.nbytes)
        weakref.finalize(self, POOL.give, size, where)


class MemoryPointer:
    """cupy.cuda.MemoryPointer: an address inside of a block."""

    def __init__(self, mem, offset):
        self.mem, self.ptr, self.device_id = mem, mem.ptr + offset, mem.device_id

    def __add__(self, offset):
        return MemoryPointer(self.mem, self.ptr - self.mem.ptr + offset)

    device = property(lambda self: Device(self.device_id))


# --- arrays ------------------------------------------------------------------------------------------------------------------------------

def _refuse(value):
    return TypeError(f"Unsupported type {type(value)}: the stand-in's arrays, like CuPy's, don't mix with NumPy's "
                     f"(something was not moved to the device: host array of shape {getattr(value, 'shape', ())})")


def host(value, *, arrays=False):
    """The host form of an argument; NumPy arrays are refused unless `arrays`."""
    if isinstance(value, ndarray):
        if value.device.id != STATE.device:
            raise ValueError(f"Array device must be same as the current device: array device = {value.device.id} while current = {STATE.device}")
        return value._host
    if isinstance(value, np.ndarray):
        if arrays:
            return value
        raise _refuse(value)
    if isinstance(value, (tuple, list)):
        items = [host(each, arrays=arrays) for each in value]
        return type(value)(items) if type(value) in (tuple, list) else type(value)(*items)
    return value


def _index(value):
    return tuple(_index(each) for each in value) if isinstance(value, tuple) else host(value, arrays=True)


class _Flags:
    def __init__(self, flags):
        self._flags = flags

    def __getattr__(self, name):
        if name not in SURFACE["flags"]:
            raise AttributeError(f"'Flags' object has no attribute {name!r}")
        return getattr(self._flags, name)


class ndarray:
    """cupy.ndarray."""

    __slots__ = ("_host", "_memory", "base", "__weakref__")
    __array_priority__ = 100
    __hash__ = None

    def __init__(self, shape, dtype=float, memptr=None, strides=None, order="C"):
        if memptr is None:
            _fill(self, np.empty(shape, dtype, order), None)
        else:
            mem = memptr.mem
            dtype = np.dtype(dtype)
            self._host = np.ndarray(shape, dtype, mem.host.reshape(-1).view(np.uint8).data, memptr.ptr - mem.ptr, strides)
            self._memory, self.base = mem, None

    # What CuPy computes from the pointer.
    shape = property(lambda self: self._host.shape)
    dtype = property(lambda self: self._host.dtype)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    itemsize = property(lambda self: self._host.itemsize)
    nbytes = property(lambda self: self._host.nbytes)
    strides = property(lambda self: self._host.strides)
    flags = property(lambda self: _Flags(self._host.flags))
    device = property(lambda self: Device(self._memory.device_id))
    data = property(lambda self: MemoryPointer(self._memory, self._host.__array_interface__["data"][0] - self._memory.ptr))
    T = property(lambda self: device(self._host.T, self))
    mT = property(lambda self: device(self._host.mT, self))
    real = property(lambda self: device(self._host.real, self), lambda self, value: self._host.real.__setitem__(..., host(value)))
    imag = property(lambda self: device(self._host.imag, self), lambda self, value: self._host.imag.__setitem__(..., host(value)))
    flat = property(lambda self: self._host.flat)

    @property
    def __cuda_array_interface__(self):
        return {"shape": self.shape, "typestr": self.dtype.str, "data": (self.data.ptr, False), "version": 3, "strides": self.strides, "stream": 1}

    def __array__(self, dtype=None, copy=None):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy array explicitly.")

    def get(self, stream=None, order="C", out=None, blocking=True):
        no_capture("get")
        if out is not None:
            out[...] = self._host
            return out
        return np.array(self._host, order=order)

    def set(self, arr, stream=None):
        if arr.dtype != self.dtype or arr.shape != self.shape:
            raise ValueError("set() needs an array of the same dtype and shape")
        self._host[...] = arr

    def item(self, *args):
        no_capture("item")
        return self._host.item(*args)

    def tolist(self):
        no_capture("tolist")
        return self._host.tolist()

    def __len__(self):
        return len(self._host)

    def __bool__(self):
        no_capture("bool")
        return bool(self._host)

    def __int__(self):
        no_capture("int")
        return int(self._host)

    def __float__(self):
        no_capture("float")
        return float(self._host)

    def __complex__(self):
        return complex(self._host)

    def __iter__(self):
        if not self.ndim:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self)))

    def __repr__(self):
        return repr(self._host)

    def _positions(self, item):
        index = _index(item)
        arrays = [each for each in (index if isinstance(index, tuple) else (index,)) if isinstance(each, (np.ndarray, list))]
        if any(np.asarray(each).dtype == bool for each in arrays):
            no_capture("the size of a mask's selection")
        return _wrapped(index, self._host.shape) if any(np.asarray(each).dtype.kind in "iu" for each in arrays) else index

    def __getitem__(self, item):
        def pick():
            index = self._positions(item)
            result = self._host[index]
            if isinstance(result, np.generic):       # CuPy gives a 0-dim view, not a scalar
                result = self._host[(*(index if isinstance(index, tuple) else (index,)), ...)]
            return result
        return taped(pick, device(pick(), self))

    def __setitem__(self, item, value):
        if isinstance(value, np.ndarray) and (value.ndim or not isinstance(value, np.generic)):
            if value.ndim:
                raise ValueError("non-scalar numpy.ndarray cannot be used for fill")

        def write():
            self._host[self._positions(item)] = host(value, arrays=True)
        write()
        taped(write)

    def scatter_add(self, slices, value):
        self._scatter(np.add, slices, value)

    def scatter_max(self, slices, value):
        self._scatter(np.maximum, slices, value)

    def scatter_min(self, slices, value):
        self._scatter(np.minimum, slices, value)

    def _scatter(self, ufunc, slices, value):
        def write():
            ufunc.at(self._host, _index(slices), host(value))
        write()
        taped(write)

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        name = ufunc.__name__
        if name == "matmul" and method == "__call__":
            return function("matmul", np.matmul, inputs, kwargs)
        known = SURFACE["ufuncs"].get(name)
        if known is None:
            return NotImplemented
        if method in ("reduce", "accumulate", "reduceat") and not (known["reduce"] and (method != "reduceat" or name == "add")):
            raise NotImplementedError(f"`cupy_{name}.{method}` is not supported yet")
        if method == "at":
            if not known["at"]:
                raise NotImplementedError(f"`cupy_{name}.at` is not supported yet")
            ufunc.at(host(inputs[0]), _index(inputs[1]), *[host(each) for each in inputs[2:]])
            return None
        if "initial" in kwargs or (method == "reduce" and "where" in kwargs):
            raise TypeError(f"{method}() got an unexpected keyword argument 'initial'")
        values = [host(each) for each in inputs]
        if method == "__call__":
            _check_types(name, known, values)
        out = kwargs.pop("out", None)
        if out is not None:
            if len(out) != 1 and ufunc.nout == 1:
                raise ValueError("The 'out' parameter must have exactly one array value")
            if any(each is not None and not isinstance(each, ndarray) for each in out):
                raise TypeError("out must be a cupy.ndarray")
            kwargs["out"] = tuple(None if each is None else host(each) for each in out)
        if method == "reduceat":
            values = [values[0], np.asarray(inputs[1]._host if isinstance(inputs[1], ndarray) else inputs[1]), *values[2:]]
        kwargs = {key: value if key == "out" else host(value) for key, value in kwargs.items()}
        def compute():
            with np.errstate(all="ignore"):
                return getattr(ufunc, method)(*values, **kwargs)
        result = compute()
        if out is not None:
            taped(compute)
            return out[0]
        return taped(compute, device(result))

    def __array_function__(self, func, types, args, kwargs):
        path = f"{func.__module__}.{func.__name__}".split(".", 1)[1]
        if path not in SURFACE["functions"] and path not in SURFACE["ufuncs"]:
            return NotImplemented
        return function(path, func, args, kwargs, self)


def _fill(self, array, memory):
    self._host, self.base = array, None
    if memory is None:
        owner = array
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        if not (owner.flags.c_contiguous or owner.flags.f_contiguous) or not owner.flags.writeable or not owner.flags.owndata:
            self._host = owner = np.array(array, copy=True, order="K", subok=False)
        memory = _Memory(owner if owner.flags.c_contiguous else owner.T, STATE.device)
    self._memory = memory


def device(value, source=None):
    """The device form of a host result; `source`: the array that it may be a view of."""
    if isinstance(value, (tuple, list)):
        items = [device(each, source) for each in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if isinstance(value, np.generic):
        value = np.asarray(value)
    if not isinstance(value, np.ndarray):
        return value
    r = object.__new__(ndarray)
    if source is not None and not value.flags.writeable:
        value = np.lib.stride_tricks.as_strided(value, value.shape, value.strides) if value.base is None else _writable(value)
    if source is not None and value.size and np.may_share_memory(value, source._host):
        r._host, r._memory = value, source._memory
        r.base = source if source.base is None else source.base
    elif source is not None and not value.size and value.base is not None:
        r._host, r._memory, r.base = value, source._memory, source if source.base is None else source.base
    else:
        _fill(r, value, None)
    return r


def _writable(view):
    """CuPy knows no read-only arrays."""
    root = view
    while isinstance(root.base, np.ndarray):
        root = root.base
    if not root.flags.c_contiguous and not root.flags.f_contiguous or not view.size:
        return view
    start = view.__array_interface__["data"][0] - root.__array_interface__["data"][0]
    flat = root.reshape(-1, order="A").view(np.uint8)
    return np.ndarray(view.shape, view.dtype, flat.data, start, view.strides)


def _wrapped(index, shape):
    """Integer arrays of an index wrap around where they are out of bounds: CuPy does not check them."""
    items = list(index) if isinstance(index, tuple) else [index]
    dim = 0
    if any(each is Ellipsis for each in items):
        at = next(i for i, each in enumerate(items) if each is Ellipsis)
        used = sum(np.asarray(e).ndim if isinstance(e, np.ndarray) and e.dtype == bool else 1 for e in items if e is not None and e is not Ellipsis)
        items[at:at + 1] = [slice(None)] * (len(shape) - used)
    for i, each in enumerate(items):
        if each is None:
            continue
        if isinstance(each, (np.ndarray, list)):
            array = np.asarray(each)
            if array.dtype == bool:
                dim += array.ndim
                continue
            if shape[dim]:
                items[i] = array % shape[dim]
        dim += 1
    return tuple(items)


def _check_types(name, known, values):
    """CuPy's ufuncs have the types that they list, and refuse others."""
    dtypes = [None if isinstance(value, (bool, int, float, complex)) else np.asarray(value).dtype for value in values]
    for loop in known["types"]:
        wanted = loop.split("->")[0].replace("E", "f")
        if all(d is None or np.can_cast(np.float32 if d.name == "bfloat16" else d, np.dtype(w), "safe") for d, w in zip(dtypes, wanted)):
            return
    raise TypeError(f"Wrong type ({dtypes}) of arguments for cupy_{name}")


def function(path, func, args, kwargs, source=None):
    """Call a NumPy function as CuPy's of the same name would take it."""
    parameters = SURFACE["functions"].get(path)
    if parameters is not None and not any(each.startswith("*") for each in parameters):
        unknown = [key for key in kwargs if key not in parameters]
        if unknown or len(args) > len(parameters):
            raise TypeError(f"cupy.{path}() got an unexpected keyword argument {unknown or 'list: too many'}")
    if path in ("argsort", "sort") and kwargs.get("kind") not in (None, "stable"):
        raise ValueError("CuPy only supports kind=None or 'stable'")
    if path in ("argsort", "sort"):
        kwargs = {**kwargs, "kind": "stable"}
    if path == "repeat" and not isinstance(args[1], (int, list, tuple)):
        raise ValueError('"repeats" should be int or sequence')
    creates = path in ("array", "asarray", "ascontiguousarray", "asfortranarray", "asanyarray")
    loose = creates or path in ("split", "array_split")
    if path == "lexsort" and not isinstance(args[0], ndarray):
        raise AttributeError("'tuple' object has no attribute 'ndim'")
    if path == "array" and isinstance(args[0], ndarray):      # from any device to the current one
        return device(np.array(args[0]._host))
    out = kwargs.get("out")
    plain = {key: host(value, arrays=loose) for key, value in kwargs.items() if key != "blocking"}
    def compute():
        with np.errstate(all="ignore"):
            return func(*[host(value, arrays=loose) for value in args], **plain)
    if creates and not isinstance(args[0], ndarray):
        no_capture(path)
    result = compute()
    if out is not None:
        taped(compute)
        return out
    if creates and isinstance(args[0], ndarray) and result is args[0]._host:
        return args[0]
    if creates and isinstance(result, np.ndarray) and not isinstance(args[0], ndarray):
        result = np.array(result)      # a copy on the device, never the host's own memory
    first = next((each for each in itertools.chain(args, args[0] if args and isinstance(args[0], (tuple, list)) else ())
                  if isinstance(each, ndarray)), source)
    return taped(compute, device(result, first))


_VIEWS = ("reshape", "ravel", "transpose", "swapaxes", "squeeze", "diagonal", "view")
_METHODS = {"all": "axis out keepdims", "any": "axis out keepdims", "argmax": "axis dtype out keepdims", "argmin": "axis dtype out keepdims",
            "argsort": "axis kind", "astype": "dtype order casting subok copy", "choose": "choices out mode", "clip": "min max out",
            "conj": "", "conjugate": "", "copy": "order", "cumprod": "axis dtype out", "cumsum": "axis dtype out", "dot": "b out",
            "fill": "value", "flatten": "order", "max": "axis out keepdims", "mean": "axis dtype out keepdims", "min": "axis out keepdims",
            "nonzero": "", "partition": "kth axis", "argpartition": "kth axis", "prod": "axis dtype out keepdims", "put": "indices values mode",
            "repeat": "repeats axis", "round": "decimals out", "searchsorted": "v side sorter", "sort": "axis kind",
            "std": "axis dtype out ddof keepdims", "sum": "axis dtype out keepdims", "take": "indices axis out",
            "trace": "offset axis1 axis2 dtype out", "var": "axis dtype out ddof keepdims", "tobytes": "order", "ptp": "axis out keepdims",
            "compress": "condition axis out"} | dict.fromkeys(_VIEWS)


def _method(name, parameters):
    allowed = None if parameters is None else parameters.split()

    def call(self, *args, **kwargs):
        if allowed is not None:
            unknown = [key for key in kwargs if key not in allowed]
            if unknown or len(args) > len(allowed):
                raise TypeError(f"cupy.ndarray.{name}() got an unexpected argument {unknown or args}")
            values = dict(zip(allowed, args)) | kwargs
            if name == "argmax" or name == "argmin":
                values.pop("dtype", None)
        def compute():
            return _run(host(self), args, kwargs, {} if allowed is None else values)
        result = compute()
        return taped(compute, device(result, self if name in _VIEWS or name in ("ravel", "astype") else None))

    def _run(target, args, kwargs, values):
        if allowed is None:
            result = getattr(target, name)(*host(args), **host_dict(kwargs))
        else:
            with np.errstate(all="ignore"):
                if name == "dot":
                    result = target.dot(host(values["b"]))
                elif name == "conj":
                    result = target.conj().copy()
                else:
                    result = getattr(target, name)(**host_dict(values)) if name not in ("fill", "put", "repeat", "searchsorted", "partition",
                                                                                         "argpartition", "choose", "take", "compress") \
                        else getattr(target, name)(*[host(v) for v in values.values()] if "axis" not in values and "side" not in values
                                                   else [host(values[allowed[0]])], **{k: host(v) for k, v in values.items() if k in ("axis", "side")})
        return result
    call.__name__ = name
    return call


def host_dict(values):
    return {key: host(value) for key, value in values.items()}


for _name, _parameters in _METHODS.items():
    assert _name in SURFACE["ndarray"], _name
    setattr(ndarray, _name, _method(_name, _parameters))

_OPERATORS = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "truediv": np.true_divide, "floordiv": np.floor_divide, "mod": np.remainder,
              "pow": np.power, "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor, "lshift": np.left_shift,
              "rshift": np.right_shift, "matmul": np.matmul}
for _name, _ufunc in _OPERATORS.items():
    setattr(ndarray, f"__{_name}__", lambda self, other, u=_ufunc: self.__array_ufunc__(u, "__call__", self, other))
    setattr(ndarray, f"__r{_name}__", lambda self, other, u=_ufunc: self.__array_ufunc__(u, "__call__", other, self))
    if _name != "matmul":
        setattr(ndarray, f"__i{_name}__", lambda self, other, u=_ufunc: self.__array_ufunc__(u, "__call__", self, other, out=(self,)))
for _name, _ufunc in {"lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "eq": np.equal, "ne": np.not_equal}.items():
    setattr(ndarray, f"__{_name}__", lambda self, other, u=_ufunc: self.__array_ufunc__(u, "__call__", self, other))
for _name, _ufunc in {"neg": np.negative, "pos": np.positive, "abs": np.absolute, "invert": np.invert}.items():
    setattr(ndarray, f"__{_name}__", lambda self, u=_ufunc: self.__array_ufunc__(u, "__call__", self))


# --- cupy.cuda ---------------------------------------------------------------------------------------------------------------------------

class CUDARuntimeError(RuntimeError):
    """cupy.cuda.runtime.CUDARuntimeError."""


class Device:
    """cupy.cuda.Device."""

    def __init__(self, device=None):
        self.id = STATE.device if device is None else int(device)

    def __int__(self):
        no_capture("int")
        return self.id

    def __eq__(self, other):
        return isinstance(other, Device) and self.id == other.id

    def __hash__(self):
        return self.id

    def __enter__(self):
        self._stack = [*getattr(self, "_stack", ()), STATE.device]
        set_device(self.id)
        return self

    def __exit__(self, *exception):
        STATE.device = self._stack.pop()

    def use(self):
        set_device(self.id)

    def synchronize(self):
        pass

    compute_capability = "90"
    cublas_handle = property(lambda self: self.id)
    mem_info = property(lambda self: (1024 * MIB - POOL.held[self.id], 1024 * MIB))
    attributes = property(lambda self: {"MultiProcessorCount": 4, "MaxThreadsPerMultiProcessor": 2048})


def set_device(index):
    if not 0 <= index < DEVICES:
        raise CUDARuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
    STATE.device = index


class Event:
    """cupy.cuda.Event."""

    def __init__(self, block=False, disable_timing=False, interprocess=False):
        self.timing, self.at, self.ptr = not disable_timing, None, id(self)

    done = property(lambda self: True)

    def record(self, stream=None):
        self.at = time.perf_counter()

    def synchronize(self):
        pass


class Stream:
    """cupy.cuda.Stream: work is done at once, so there is nothing to wait for."""

    current = None

    def __init__(self, null=False, non_blocking=False, ptds=False, priority=None):
        self.ptr, self.priority, self.device_id, self._graph = 0 if null else id(self), priority or 0, STATE.device, None

    done = property(lambda self: True)

    def __enter__(self):
        self._previous = Stream.current
        Stream.current = self
        return self

    def __exit__(self, *exception):
        Stream.current = self._previous

    def use(self):
        Stream.current = self
        return self

    def begin_capture(self, mode=None):
        if CAPTURE[0] is not None:
            raise CUDARuntimeError("cudaErrorIllegalState: a stream is being captured already")
        CAPTURE[0] = []
        self._before = [(weakref.ref(block), block.host.copy()) for block in BLOCKS]

    def end_capture(self):
        tape, CAPTURE[0] = CAPTURE[0], None
        for block, values in self._before:           # a captured launch does not run: what it wrote is taken back
            if block() is not None:
                block().host[...] = values
        self._before = []
        return Graph(tape)

    def is_capturing(self):
        return CAPTURE[0] is not None

    def synchronize(self):
        no_capture("synchronize")

    def record(self, event=None):
        event = event or Event()
        event.record(self)
        return event

    def wait_event(self, event):
        if not isinstance(event, Event):
            raise TypeError("wait_event needs an Event")

    def __eq__(self, other):
        return isinstance(other, Stream) and self.ptr == other.ptr

    __hash__ = object.__hash__


Stream.null = Stream(null=True)
Stream.current = Stream.null


def elapsed(start, end):
    if start.at is None or end.at is None:
        raise CUDARuntimeError("cudaErrorInvalidResourceHandle: invalid resource handle")
    return (end.at - start.at) * 1e3


class _Pinned:
    """What cupy.cuda.alloc_pinned_memory returns: a writable buffer."""

    def __init__(self, size):
        self._buffer = bytearray(max(size, 1))
        self.mem, self.size = self, size
        self.ptr = ctypes.addressof(ctypes.c_char.from_buffer(self._buffer))

    def __buffer__(self, flags):
        return memoryview(self._buffer)

    def __array__(self, dtype=None, copy=None):
        return np.frombuffer(self._buffer, np.uint8)


def alloc_pinned_memory(size):
    """cupy.cuda.alloc_pinned_memory; the stand-in's buffer is ordinary memory."""
    return memoryview(bytearray(max(size, 1)))


def properties(index):
    if not 0 <= index < DEVICES:
        raise CUDARuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
    return {"name": b"Stand-in GPU", "major": 9, "minor": 0, "totalGlobalMem": 1024 * MIB, "multiProcessorCount": 4, "warpSize": 32,
            "maxThreadsPerMultiProcessor": 2048, "regsPerMultiprocessor": 65536, "sharedMemPerBlock": 49152, "l2CacheSize": MIB,
            "isMultiGpuBoard": 0, "integrated": 0, "uuid": bytes(16), "pciBusID": 1, "pciDeviceID": index, "pciDomainID": 0}


def _module():
    """The object that plays `cupy`."""
    cupy = _Cupy()
    cupy.ndarray, cupy.__version__ = ndarray, SURFACE["version"]
    runtime = types.SimpleNamespace(
        getDevice=lambda: STATE.device, setDevice=set_device, getDeviceCount=lambda: DEVICES, getDeviceProperties=properties,
        deviceSynchronize=lambda: None, memGetInfo=lambda: Device().mem_info, runtimeGetVersion=lambda: 12090, driverGetVersion=lambda: 12090,
        deviceCanAccessPeer=lambda a, b: 1, CUDARuntimeError=CUDARuntimeError, CUDA_R_16F=2, CUDA_R_32F=0, CUDA_R_64F=1)
    memory = types.SimpleNamespace(OutOfMemoryError=OutOfMemoryError)
    cupy.cuda = types.SimpleNamespace(
        Device=Device, Stream=Stream, Event=Event, ExternalStream=lambda ptr, device_id=-1: Stream(), runtime=runtime, memory=memory,
        get_current_stream=lambda: Stream.current, get_elapsed_time=elapsed, alloc_pinned_memory=alloc_pinned_memory, MemoryHook=MemoryHook,
        MemoryPointer=MemoryPointer, MemoryPool=PrivatePool, using_allocator=using_allocator)
    cupy.get_default_memory_pool = lambda: POOL
    from tests.support.cuda_emulator import RawKernel, cublas, cublaslt
    cupy.RawKernel, cupy.cublas_of_the_standin, cupy.cublaslt_of_the_standin = RawKernel, cublas, cublaslt
    return cupy


class _Cupy(types.ModuleType):
    """NumPy's functions under CuPy's names, with CuPy's parameters, on the device."""

    def __init__(self):
        super().__init__("cupy")
        self.linalg, self.fft = _Part("linalg"), _Part("fft")
        self.lib = types.SimpleNamespace(stride_tricks=types.SimpleNamespace(as_strided=as_strided))

    def __getattr__(self, name):
        return _Part("").__getattr__(name)


def call_ufunc(func, args, kwargs):
    """cupy.<ufunc>(...): `out` is an array, not a tuple."""
    if kwargs.get("out") is not None:
        kwargs["out"] = (kwargs["out"],)
    holder = next((each for each in args if isinstance(each, ndarray)), None)
    holder = device(np.zeros(())) if holder is None else holder
    return holder.__array_ufunc__(func, "__call__", *args, **kwargs)


class _Part:
    def __init__(self, path):
        self._path = path

    def __getattr__(self, name):
        path = f"{self._path}.{name}".lstrip(".")
        if path in SURFACE["functions"] or path in SURFACE["ufuncs"]:
            func = np
            for part in path.split("."):
                func = getattr(func, part)
            if isinstance(func, np.ufunc):
                return lambda *args, **kwargs: call_ufunc(func, args, kwargs)
            return lambda *args, **kwargs: function(path, func, args, kwargs)
        value = getattr(np, name, None) if not self._path else None
        if isinstance(value, type) or isinstance(value, (float, int)) or value is None and name == "newaxis":
            return value
        raise AttributeError(f"module 'cupy' has no attribute {path!r}")


def as_strided(x, shape=None, strides=None):
    """cupy.lib.stride_tricks.as_strided."""
    return ndarray(shape, x.dtype, x.data, strides)


def without_formulas():
    """Let ufuncs go to the stand-in's own: compiling each formula for the host, for each dtype and layout, would take long.
    tests/cuda/test_kernels.py runs the formulas."""
    from rushlight.cuda import formulas
    for name in list(formulas.KERNELS):
        if name != "matmul":
            del formulas.KERNELS[name]
    formulas.formula_of = lambda function, inputs, name="": None


CUPY = None


def real():
    """CuPy itself where it finds a GPU, and nothing plays it; else None."""
    from rushlight.cuda import driver
    found = driver.cupy()
    return None if hasattr(found, "cublas_of_the_standin") else found


def _count_launches():
    """On a GPU, let LAUNCHES count as the emulator's RawKernel does."""
    from rushlight.kernels.cuda.source import Kernel
    from tests.support.cuda_emulator import LAUNCHES
    original = Kernel.__call__
    if getattr(original, "counts", False):
        return

    def counted(self, dtype):
        LAUNCHES[self.entry(dtype)] = LAUNCHES.get(self.entry(dtype), 0) + 1
        return original(self, dtype)
    counted.counts = True
    Kernel.__call__ = counted


@contextlib.contextmanager
def cuda():
    """Inside, there are `cuda` devices: the machine's where it has some, else two of the stand-in."""
    global CUPY
    from rushlight import generator, kind
    from rushlight.cuda import driver
    if real() is not None:
        _count_launches()
        yield real()
        return
    CUPY = CUPY or _module()
    previous = driver.replace(CUPY)
    STATE.device = 0
    try:
        yield CUPY
    finally:
        driver.replace(previous)
        STATE.device = 0
        for table, of in ((kind._kinds, lambda key: key[1]), (generator._defaults, lambda key: key)):
            for key in [key for key in table if of(key).type == "cuda"]:
                del table[key]
