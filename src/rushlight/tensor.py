"""`Tensor`: a small object around one array. The modules in `ops/`, `autograd/` and others attach methods; here is what a tensor is by
itself.

Slots
    _a      the array: numpy.ndarray, also for 0-dim; on cuda a DeviceArray, inside vmap a BatchedArray
    _kind   its `Kind`: dtype and device
    _node   None, or where gradients go: the node that made it; an `AccumulateGrad` for a leaf that requires grad
    _ver    version: an int, or a `Version` shared with views and aliases
    _view   None, or (parent, replay function, args) of a view
    _grad   the value of .grad
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from . import services
from .autograd import graph
from .autograd.grad_mode import LOCAL
from .autograd.graph import AccumulateGrad, Node, Port, Version
from .dims import dim_error, wrap_dim
from .homes import place, settle
from .kind import Kind, NotBatched, cpu_kind
from .layout import strided
from .size import Size
from .vocabulary import Array, Device, Dtype, Function, MemoryFormat, Number

__all__ = ["Tensor", "attach", "wrap", "ItemError", "NotBatched"]

new = object.__new__
ndarray = np.ndarray
_size = tuple.__new__


class ItemError(RuntimeError, ValueError):
    """The tensor has not exactly one element. PyTorch raised ValueError once and raises RuntimeError now; this is both."""

if TYPE_CHECKING:
    from ._methods import TensorMethods as _Methods  # what the ops put on Tensor: a stub, written by tools/make_stubs.py
else:
    _Methods = object


class Tensor(_Methods):
    """A multi-dimensional array of one dtype on one device, with optional gradient recording.

    Make one with ``torch.tensor(data)``, ``torch.zeros(2, 3)`` and the like. ``torch.Tensor(2, 3)`` is PyTorch's old constructor:
    an uninitialised float tensor of that size, or a float tensor of the given data.
    """

    __slots__ = ("_a", "_kind", "_node", "_ver", "_view", "_grad", "__dict__", "__weakref__")
    __array_priority__ = 1000

    _a: Any
    _kind: Kind
    _node: Any       # a Node, a Port, or None
    _ver: Any        # an int, or a Version
    _view: tuple[Tensor, Any, Any] | None
    _grad: Tensor | None

    # --- subclasses (overrides.py) --------------------------------------------------------------------------------------------------

    @classmethod
    def __torch_function__(cls, func: Function, types: Sequence[type[Any]], args: tuple[Any, ...] = (),
                           kwargs: dict[str, Any] | None = None) -> Any:
        """Asked by every torch function that has an argument of a subclass: computes as usual, and gives the results the subclass."""
        return services.default_torch_function(cls, func, types, args, kwargs)

    @staticmethod
    def _disabled_torch_function(func: Function, types: Sequence[type[Any]], args: tuple[Any, ...] = (),
                                 kwargs: dict[str, Any] | None = None) -> Any:
        """The ``__torch_function__`` of subclasses whose results are plain tensors (Parameter)."""
        return NotImplemented

    @staticmethod
    def _disabled_torch_dispatch(func: Function, types: Sequence[type[Any]], args: tuple[Any, ...] = (),
                                 kwargs: dict[str, Any] | None = None) -> Any:
        """The ``__torch_dispatch__`` of tensors that do not look at operators."""
        return NotImplemented

    __torch_dispatch__ = _disabled_torch_dispatch  # type: ignore[assignment]  # (the stub of methods has it as one of them)

    # --- what it is -----------------------------------------------------------------------------------------------------------------

    @property
    def shape(self) -> Size:
        """The size of each dimension."""
        return _size(Size, self._a.shape)

    @property
    def dtype(self) -> Any:
        """The element type, e.g. ``torch.float32``."""
        return self._kind.dtype

    @property
    def device(self) -> Any:
        """Where the memory is."""
        return self._kind.device

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return self._a.ndim

    @property
    def layout(self) -> Any:
        """``torch.strided``, or how a sparse tensor stores its elements."""
        return strided

    @overload
    def size(self, dim: None = None) -> Size: ...

    @overload
    def size(self, dim: int) -> int: ...

    def size(self, dim: int | None = None) -> Size | int:
        """The shape, or the size of one dimension."""
        shape = self._a.shape
        if dim is None:
            return _size(Size, shape)
        try:
            return shape[dim]
        except IndexError:
            raise dim_error(dim, len(shape)) from None

    def dim(self) -> int:
        """The number of dimensions."""
        return self._a.ndim

    ndimension = dim

    def numel(self) -> int:
        """The number of elements."""
        return self._a.size

    nelement = numel

    def __len__(self) -> int:
        try:
            return self._a.shape[0]
        except IndexError:
            raise TypeError("len() of a 0-d tensor") from None

    def element_size(self) -> int:
        """Bytes per element."""
        return self._kind.np.itemsize

    @property
    def itemsize(self) -> int:
        """Bytes per element."""
        return self._kind.np.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self._a.size * self._kind.np.itemsize

    @overload
    def stride(self, dim: None = None) -> tuple[int, ...]: ...

    @overload
    def stride(self, dim: int) -> int: ...

    def stride(self, dim: int | None = None) -> tuple[int, ...] | int:
        """How many elements to step in memory per dimension (all of them as a tuple, or one)."""
        a = self._a
        itemsize = a.itemsize
        result = tuple([step // itemsize for step in a.strides])
        if not a.size:       # NumPy gives empty arrays zeros
            strides, step = [], 1
            for n in reversed(a.shape):
                strides.append(step)
                step *= max(n, 1)
            result = tuple(reversed(strides))
        elif 0 in result:      # NumPy gives new dimensions of size 1 the stride 0, PyTorch that of a full step
            shape, full = a.shape, list(result)
            for i in range(len(full) - 1, -1, -1):
                if shape[i] == 1 and not full[i]:
                    full[i] = shape[i + 1] * full[i + 1] if i + 1 < len(full) else 1
            result = tuple(full)
        if dim is None:
            return result
        return result[wrap_dim(dim, a.ndim)]

    def is_contiguous(self, *, memory_format: MemoryFormat = None) -> bool:
        """Whether the elements lie in memory in order, without gaps."""
        if memory_format is not None and memory_format.name == "channels_last":
            a = self._a
            return a.ndim == 4 and a.transpose(0, 2, 3, 1).flags.c_contiguous
        if memory_format is not None and memory_format.name == "channels_last_3d":
            a = self._a
            return a.ndim == 5 and a.transpose(0, 2, 3, 4, 1).flags.c_contiguous
        return self._a.flags.c_contiguous

    @property
    def _cdata(self) -> int:
        """A number that stands for what this tensor is: it stays as memory and dtype change, and goes along when tensors are swapped."""
        return self.__dict__.get("_swapped_cdata", id(self))

    def data_ptr(self) -> int:
        """The address of the first element (0 on the meta device)."""
        a = self._a
        if self._kind.device.type == "meta":
            return 0
        return a.__array_interface__["data"][0] if a.__class__ is ndarray else a.data.ptr

    def is_floating_point(self) -> bool:
        """Whether the dtype is a floating-point type."""
        return self._kind.is_floating

    def is_complex(self) -> bool:
        """Whether the dtype is complex."""
        return self._kind.is_complex

    def is_signed(self) -> bool:
        """Whether the dtype has negative numbers."""
        return self._kind.dtype.is_signed

    def is_inference(self) -> bool:
        """Always False: tensors made in inference mode are ordinary ones here."""
        return False

    def is_conj(self) -> bool:
        """Whether this is a conjugated view (see ops/conjugate.py)."""
        return False

    def is_neg(self) -> bool:
        """Always False: there are no lazy negations."""
        return False

    def resolve_conj(self) -> Tensor:
        """A tensor whose memory holds its values: itself, but for a conjugated view a copy."""
        return self

    def resolve_neg(self) -> Tensor:
        """The tensor itself: there are no lazy negations."""
        return self

    def is_pinned(self, device: Device = None) -> bool:
        """Whether the memory is page-locked for transfers to a GPU."""
        from sys import modules
        pinned = modules.get(place("cuda.pinned"))      # nothing is pinned before it was loaded
        return pinned is not None and pinned.is_pinned(self._a)

    is_cpu = property(lambda self: self._kind.device.type == "cpu")
    is_cuda = property(lambda self: self._kind.device.type == "cuda")
    is_meta = property(lambda self: self._kind.device.type == "meta")
    is_sparse = property(lambda self: False)
    is_sparse_csr = property(lambda self: False)
    is_quantized = property(lambda self: False)
    is_nested = property(lambda self: False)
    is_mkldnn = property(lambda self: False)
    is_mps = property(lambda self: False)
    is_xpu = property(lambda self: False)
    is_xla = property(lambda self: False)
    names = property(lambda self: (None,) * self._a.ndim)

    def has_names(self) -> bool:
        """Always False: there are no named dimensions."""
        return False

    def get_device(self) -> int:
        """The device index, -1 for the CPU."""
        index = self._kind.device.index
        return -1 if index is None or self._kind.device.type == "cpu" else index

    # --- gradients ------------------------------------------------------------------------------------------------------------------

    @property
    def requires_grad(self) -> bool:
        """Whether gradients are computed for this tensor."""
        return self._node is not None

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.requires_grad_(bool(value))

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Switch gradient recording on (or off) for a leaf, in place."""
        if requires_grad.__class__ is not bool:
            raise TypeError(f"requires_grad_(): argument 'requires_grad' (position 1) must be bool, not {type(requires_grad).__name__}")
        node = self._node
        if not requires_grad:
            if node is not None and node.__class__ is not AccumulateGrad:
                raise RuntimeError("you can only change requires_grad flags of leaf variables. If you want to use a computed variable in a "
                                   "subgraph that doesn't require differentiation use var_no_grad = var.detach().")
            self._node = None
        elif node is None:
            if not self._kind.differentiable:
                raise RuntimeError("only Tensors of floating point dtype can require gradients (or complex ones)")
            self._node = AccumulateGrad(self)
        return self

    @property
    def is_leaf(self) -> bool:
        """True for tensors that no recorded operation made."""
        node = self._node
        return node is None or node.__class__ is AccumulateGrad

    @property
    def grad_fn(self) -> Node | None:
        """The node that made this tensor, None for leaves."""
        node = self._node
        if node is None or node.__class__ is AccumulateGrad:
            return None
        return node.node if node.__class__ is Port else node

    @property
    def output_nr(self) -> int:
        """Which output of its `grad_fn` this tensor is."""
        return self._node.index if self._node.__class__ is Port else 0

    @property
    def grad(self) -> Tensor | None:
        """The accumulated gradient of a leaf (or of a tensor with retain_grad), None before the first backward."""
        grad = self._grad
        if grad is None and self._node is not None and not self.is_leaf and not self.retains_grad:
            import warnings
            warnings.warn("The .grad attribute of a Tensor that is not a leaf Tensor is being accessed. Its .grad attribute won't be "
                          "populated during autograd.backward(). If you indeed want the .grad field to be populated for a non-leaf "
                          "Tensor, use .retain_grad() on the non-leaf Tensor. If you access the non-leaf Tensor by mistake, make sure you "
                          "access the leaf Tensor instead.", UserWarning, stacklevel=2)
        return grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None:
            if not isinstance(value, Tensor):
                raise TypeError(f"assigned grad expected to be a Tensor or None but got grad of type {type(value).__name__}")
            if value is self:
                raise RuntimeError("can't assign Variable as its own grad")
            if value._kind.dtype is not self._kind.dtype:
                raise RuntimeError(f"attempting to assign a gradient with dtype '{value._kind.dtype}' to a tensor with dtype "
                                   f"'{self._kind.dtype}'. Please ensure that the gradient and the tensor have the same dtype")
            if value._kind.device is not self._kind.device:
                raise RuntimeError(f"attempting to assign a gradient located on {value._kind.device} to a tensor on {self._kind.device}")
            if value.shape != self.shape:
                raise RuntimeError(f"attempting to assign a gradient of size '{list(value.shape)}' to a tensor of size "
                                   f"'{list(self.shape)}'. Please ensure that the gradient and the tensor are the same size")
        self._grad = value

    @grad.deleter
    def grad(self) -> None:
        self._grad = None

    def detach(self) -> Tensor:
        """The same memory without history; in-place changes are seen, and noticed, on both sides."""
        version = self._ver
        if version.__class__ is not Version:
            version = self._ver = Version(version)
        r = wrap(self._a, self._kind)
        r._ver = version
        return r

    def detach_(self) -> Tensor:
        """Cut the history off in place: the tensor becomes a leaf."""
        if self._view is not None:
            raise RuntimeError("Can't detach views in-place. Use detach() instead. If you are using DistributedDataParallel (DDP) for "
                               "training, and gradient_as_bucket_view is set as True, gradients are views of DDP buckets, and hence "
                               "detach_() cannot be called on these gradients.")
        self._node = None
        return self

    @property
    def data(self) -> Tensor:
        """The same memory without history and with a version of its own: changes are not noticed by autograd."""
        return wrap(self._a, self._kind)

    @data.setter
    def data(self, value: Tensor) -> None:
        if not isinstance(value, Tensor):
            raise TypeError(f"Variable data has to be a tensor, but got {type(value).__name__}")
        if self._node is not None and not value._kind.differentiable:
            raise RuntimeError("data set to a tensor that requires gradients must be floating point or complex dtype")
        graph.remember(self)
        self._a, self._kind = value._a, value._kind

    @property
    def _version(self) -> int:
        return self._ver + 0

    @property
    def _base(self) -> Tensor | None:
        t = self
        while t._view is not None:
            t = t._view[0]
        return None if t is self else t

    def _is_view(self) -> bool:
        return self._view is not None

    @property
    def retains_grad(self) -> bool:
        """Whether `retain_grad` was called on this non-leaf tensor."""
        node = self.grad_fn
        return node is not None and node.hooks is not None and self.output_nr in node.hooks.retain

    # --- to Python and NumPy --------------------------------------------------------------------------------------------------------

    def item(self) -> Any:
        """The value of a one-element tensor as a Python number."""
        a = self._a
        if a.size != 1:
            raise ItemError(f"a Tensor with {a.size} elements cannot be converted to Scalar "
                            "(only one element tensors can be converted to Python scalars; use .tolist() for all values)")
        value = a.item()
        return value if value.__class__ in _PLAIN else float(value)

    def tolist(self) -> Number | list[Any]:
        """Nested lists of Python numbers; a number for a 0-dim tensor."""
        a = self._a
        if a.__class__ is not ndarray:
            a = a.get()
        return (a.astype(np.float32) if a.dtype.kind == "V" or a.dtype.name == "bfloat16" else a).tolist()

    def numpy(self, *, force: bool = False) -> Array:
        """The NumPy array that shares this tensor's memory. `force` detaches and copies to the CPU where that is needed."""
        if not force:
            if self._node is not None and LOCAL.grad:
                raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
            if self._a.__class__ is not ndarray and hasattr(self._a, "level"):
                return self._a.tolist()      # refuses: inside vmap there is no one array
            if self._a.__class__ is not ndarray:
                raise TypeError(f"can't convert {self._kind.device} device type tensor to numpy. Use Tensor.cpu() to copy the tensor to "
                                "host memory first.")
        if self._kind.dtype.name == "bfloat16":
            raise TypeError("Got unsupported ScalarType BFloat16: use .float().numpy()")
        # A view: whoever sets its shape or strides must not reshape the tensor.
        return self._a.view() if self._a.__class__ is ndarray else self._a.get()

    def __array__(self, dtype: Dtype = None, copy: Any = None) -> Any:
        a = self.numpy()
        if dtype is None or np.dtype(dtype) == a.dtype:
            return a.copy() if copy else a
        return a.astype(dtype)

    def __bool__(self) -> bool:
        a = self._a
        if a.size != 1:
            if a.size == 0:
                raise RuntimeError("Boolean value of Tensor with no values is ambiguous")
            raise RuntimeError("Boolean value of Tensor with more than one value is ambiguous: use .any() or .all()")
        return bool(a.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __complex__(self) -> complex:
        return complex(self.item())

    def __index__(self) -> int:
        if self._kind.differentiable or self._a.size != 1:
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return int(self._a.item())

    def __hash__(self) -> int:
        return id(self)

    def __iter__(self) -> Iterator[Tensor]:
        if self._a.ndim == 0:
            raise TypeError("iteration over a 0-d tensor")
        return iter(self.unbind(0))

    def __reversed__(self) -> Tensor:
        return self if self._a.ndim == 0 else self.flip(0)

    def __contains__(self, element: Any) -> bool:
        if not isinstance(element, (Tensor, int, float, complex, bool)):
            raise RuntimeError(f"Tensor.__contains__ only supports Tensor or scalar, but you passed in a {type(element)}.")
        return bool((self == element).any())

    def __format__(self, spec: str) -> str:
        if self._a.ndim == 0 and type(self) is Tensor and self._kind.device.type != "meta":
            return self.item().__format__(spec)
        return object.__format__(self, spec)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Tensor:
        # What NumPy's functions return for tensors; bool becomes uint8, as in PyTorch.
        array = np.asarray(array)
        return from_array(array.astype(np.uint8) if array.dtype == np.bool_ else array)

    @property
    def __cuda_array_interface__(self) -> Any:
        if self._kind.device.type != "cuda":
            raise AttributeError(f"Can't get __cuda_array_interface__ on non-CUDA tensor type: {self.type()}. If CUDA data is required use "
                                 "tensor.cuda() to copy tensor to device memory.")
        return self._a.__cuda_array_interface__

    def as_subclass(self, cls: type) -> Any:
        """The same memory and history in a tensor subclass."""
        if not issubclass(cls, Tensor):
            raise TypeError(f"cls must be a subclass of torch.Tensor, not {cls.__name__}")
        watch_subclass(cls)
        r = new(cls)
        r._a, r._kind, r._node, r._ver, r._view, r._grad = self._a, self._kind, self._node, self._ver, self._view, None
        return r

    @staticmethod
    def _make_subclass(cls: type, data: Tensor, require_grad: bool = False) -> Any:
        watch_subclass(cls)
        r: Any = new(cls)
        r._a, r._kind, r._node, r._ver, r._view, r._grad = data._a, data._kind, None, 0, None, None
        return r.requires_grad_(require_grad) if require_grad else r

    @staticmethod
    def _make_wrapper_subclass(cls: type, size: Sequence[int], *args: Any, **kwargs: Any) -> Any:
        """A tensor without memory, whose class computes in its ``__torch_dispatch__`` (see dispatching/wrappers.py for the arguments)."""
        return services.wrapper_subclass(cls, size, *args, **kwargs)


_PLAIN = (float, int, bool, complex)


def watch_subclass(cls: Any) -> None:
    """An instance of this class is made: from now on functions have to look for the class's ``__torch_function__``, if it has one."""
    if cls is Tensor:
        return
    if cls.__torch_function__ is not Tensor._disabled_torch_function:
        services.watch()
    if cls.__torch_dispatch__ is not Tensor._disabled_torch_dispatch:
        services.watch_dispatch()


def attach(function: Function, name: str | None = None) -> Function:
    """Make a function a method of every tensor. (Ops use `method` of ops/public.py, which keeps a record of it.)"""
    setattr(Tensor, name or function.__name__, function)
    return function


def wrap(array: Any, kind: Kind) -> Tensor:
    """A tensor without history around an array (which it shares)."""
    r = new(Tensor)
    r._a = array
    r._kind = kind
    r._node = r._view = r._grad = None
    r._ver = 0
    return r


def from_array(array: Any) -> Tensor:
    """A tensor without history around a NumPy array of any supported dtype."""
    return wrap(array, cpu_kind(array))


graph.wrap = wrap

settle("", globals(), ("Tensor",))
