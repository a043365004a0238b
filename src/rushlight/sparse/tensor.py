"""`SparseTensor`: the tensors whose layout is not strided, and how ops find their sparse forms.

PyTorch has one Tensor class; here a sparse tensor is an object of an internal subclass with a pattern and an array of values. It has no
`_a`: reading it raises `SparseRefusal`, so no dense op can compute anything with a sparse tensor by mistake. The sparse forms of ops are
functions in `RULES`, by name. They are reached

* from methods and operators: those with a rule are set on the class, all others of Tensor's are replaced by ones that raise;
* from elementwise ops (`unary_slow`, `binary_slow`), which every sparse tensor reaches because its kind is never `fast`;
* from ``torch.name(...)``, whose wrapper catches the refusal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import services
from .._utils import _rebuild_sparse_tensor
from ..autograd.graph import kind_of_array
from ..dims import wrap_dim
from ..kind import Kind, SparseKind, sparse_kind
from ..layout import SparseRefusal, sparse_coo, sparse_csr
from ..size import Size
from ..tensor import ItemError, Tensor, wrap
from ..vocabulary import Array, Dtype, Function, MemoryFormat
from .patterns import Compressed, Coo, Pattern, SparseArray
from .printing import sparse_repr

__all__ = ["RULES", "SparseTensor", "call", "call_function", "define", "kind_of_array", "make", "rule", "unsupported"]

RULES: dict[str, Callable[..., Any]] = {}

new = object.__new__


def rule(*names: str, method: bool = True) -> Callable[[Any], Any]:
    """Register the sparse form of an op under its names, and as the methods of sparse tensors."""
    def register(function: Function) -> Function:
        for name in names or (function.__name__.rstrip("_"),):
            RULES[name] = function
            if method:
                setattr(SparseTensor, name, function)
        return function
    return register


def define(name: str, function: Function) -> None:
    """Make a function a method of sparse tensors only."""
    setattr(SparseTensor, name, function)


@services.sparse_form.given
def call(name: str, *args: Any, **kwargs: Any) -> Any:
    """The sparse form of an op; PyTorch's error where there is none."""
    load_rules()
    function = RULES.get(name)
    if function is None:
        raise unsupported(name, args)
    return function(*args, **kwargs)


@services.sparse_function.given
def call_function(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The same for ``torch.name(*args, **kwargs)``, where the tensor may have been given by keyword."""
    if "input" in kwargs:
        kwargs = dict(kwargs)
        args = (kwargs.pop("input"), *args)
    return call(name, *args, **kwargs)


def unsupported(name: str, args: tuple[Any, ...] = ()) -> NotImplementedError:
    """PyTorch's error for an op that sparse tensors don't have."""
    flat = [each for arg in args for each in (arg if isinstance(arg, (list, tuple)) else (arg,))]
    pattern = next((each.pattern for each in flat if isinstance(each, SparseTensor)), None)
    backend = "SparseCPU" if pattern is None else pattern.backend
    if any(isinstance(each, SparseTensor) and each.device.type == "cuda" for each in flat):
        backend = backend.replace("CPU", "CUDA")
    return NotImplementedError(f"Could not run 'aten::{name}' with arguments from the '{backend}' backend: tensors of layout "
                               f"{sparse_coo if pattern is None else pattern.layout} don't have {name}; use .to_dense() first")


class SparseTensor(Tensor):
    """A tensor of layout sparse_coo, sparse_csr or sparse_csc. `pattern` says where the elements are, `stored` is the array of values."""

    __slots__ = ("pattern", "stored")
    pattern: Any
    stored: Any
    _kind: SparseKind                                                        # type: ignore[assignment]
    _nnz: Callable[[], int]              # by @rule, as all ops on sparse tensors
    _indices: Callable[[], Tensor]
    _values: Callable[[], Tensor]
    __torch_function__ = Tensor._disabled_torch_function      # a class of ours, not a user's that overrides functions

    @property
    def _a(self) -> Any:                                                     # type: ignore[override]
        raise SparseRefusal(f"this operation needs a dense tensor, but got one of layout {self.pattern.layout}: use .to_dense() first")

    @property
    def _grad(self) -> Any:                                                  # type: ignore[override]
        return _grad_slot.__get__(self)

    @_grad.setter
    def _grad(self, value: Any) -> None:
        # The backward pass wraps a dense gradient in the kind of its leaf, which here is a sparse one.
        if value is not None and value._kind.sparse and not isinstance(value, SparseTensor):
            value._kind = value._kind.dense
        _grad_slot.__set__(self, value)

    def sparse_array(self) -> SparseArray:
        """Pattern and values without the tensor."""
        return SparseArray(self.pattern, self.stored)

    def replace(self, other: SparseTensor) -> SparseTensor:
        """Take over another tensor's pattern, values and history: how in-place ops end."""
        self.pattern, self.stored, self._kind, self._node = other.pattern, other.stored, other._kind, other._node
        self._ver += 1
        return self

    # --- what it is -------------------------------------------------------------------------------------------------------------------

    @property
    def shape(self) -> Size:
        """The size of each dimension."""
        return Size(self.pattern.shape)

    @property
    def layout(self) -> Any:
        """How the elements are stored."""
        return self.pattern.layout

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self.pattern.shape)

    is_sparse = property(lambda self: self.pattern.layout is sparse_coo)
    is_sparse_csr = property(lambda self: self.pattern.layout is sparse_csr)
    names = property(lambda self: (None,) * self.ndim)

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the size of one dimension."""
        if dim is None:
            return self.shape
        return self.pattern.shape[wrap_dim(dim, self.ndim)]

    def dim(self) -> int:
        """The number of dimensions."""
        return len(self.pattern.shape)

    ndimension = dim

    def numel(self) -> int:
        """The number of elements, specified or not."""
        n = 1
        for size in self.pattern.shape:
            n *= size
        return n

    nelement = numel

    def __len__(self) -> int:
        if not self.pattern.shape:
            raise TypeError("len() of a 0-d tensor")
        return self.pattern.shape[0]

    @property
    def nbytes(self) -> int:
        """An error for coordinates, as in PyTorch; the bytes of a dense copy for the compressed layouts."""
        if self.is_sparse:
            raise RuntimeError("nbytes is not defined for sparse tensors.  If you want the size of the constituent tensors, add the "
                               "nbytes of the indices and values.")
        return self.numel() * self._kind.np.itemsize

    def stride(self, dim: int | None = None) -> Any:
        """Zeros for coordinates, as in PyTorch."""
        self._no("strides")
        return (0,) * self.ndim if dim is None else 0

    def is_contiguous(self, *, memory_format: MemoryFormat = None) -> bool:
        """False: the elements do not lie in one block."""
        self._no("is_contiguous")
        return False

    def _no(self, what: str) -> None:
        if isinstance(self.pattern, Compressed):
            raise RuntimeError(f"Sparse CSR tensors do not have {what}")

    def storage_offset(self) -> int:
        """Always 0."""
        return 0

    def untyped_storage(self) -> Any:
        """NotImplementedError: there is no one storage."""
        raise NotImplementedError(f"Cannot access storage of {'SparseTensorImpl' if self.is_sparse else 'SparseCsrTensorImpl'}")

    storage = share_memory_ = untyped_storage

    def data_ptr(self) -> int:
        """RuntimeError: there is no one storage."""
        raise RuntimeError("Cannot access data pointer of Tensor that doesn't have storage")

    tolist = data_ptr                                                        # type: ignore[assignment]

    def numpy(self, *, force: bool = False) -> Any:
        """TypeError: NumPy has no sparse arrays."""
        raise TypeError(f"can't convert {self.pattern.title} layout tensor to numpy. Use Tensor.to_dense() first.")

    def __array__(self, dtype: Dtype = None, copy: Any = None) -> Any:
        return self.numpy()

    def item(self) -> Any:
        """The value of a one-element tensor."""
        if self.numel() != 1:
            raise ItemError(f"a Tensor with {self.numel()} elements cannot be converted to Scalar")
        return self.to_dense().item()

    def __bool__(self) -> bool:
        if self.numel() != 1:
            raise RuntimeError("Boolean value of Tensor with more than one value is ambiguous" if self.numel() else
                               "Boolean value of Tensor with no values is ambiguous")
        return bool(self.to_dense())

    is_nonzero = __bool__

    def __index__(self) -> int:
        raise TypeError("only integer tensors of a single element can be converted to an index")

    def __iter__(self) -> Any:
        if not self.pattern.shape:
            raise TypeError("iteration over a 0-d tensor")
        return iter(self.unbind(0))

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return sparse_repr(self)

    def __format__(self, spec: str) -> str:
        return object.__format__(self, spec)

    def detach(self) -> Tensor:
        """The same pattern and values without history."""
        return make(self.pattern, self.stored, self._kind.dense)

    def detach_(self) -> Tensor:
        """Cut the history off in place."""
        self._node = None
        return self

    @property
    def data(self) -> Tensor:
        """The same pattern and values without history."""
        return self.detach()

    @data.setter
    def data(self, value: Tensor) -> None:
        if not isinstance(value, SparseTensor):
            raise RuntimeError(f"incompatible tensor type: cannot assign a tensor of layout {value.layout} to the data of one of layout "
                               f"{self.layout}")
        self.pattern, self.stored, self._kind = value.pattern, value.stored, value._kind

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if not self.is_leaf:
            raise RuntimeError("Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the moment.")
        if id(self) not in memo:
            copied = memo[id(self)] = make(self.pattern, self.stored.copy(), self._kind.dense)
            if self.requires_grad:
                copied.requires_grad_()
            if self.grad is not None:
                from copy import deepcopy
                copied.grad = deepcopy(self.grad, memo)
        return memo[id(self)]

    def __reduce_ex__(self, protocol: int) -> tuple[Any, ...]:
        p = self.pattern
        values = wrap(self.stored, self._kind.dense)
        from .conversion import index_tensor
        if isinstance(p, Coo):
            data: tuple[Any, ...] = (index_tensor(p.indices), values, self.shape, p.coalesced)
        else:
            data = (index_tensor(p.crow), index_tensor(p.col), values, self.shape)
        return _rebuild_sparse_tensor, (p.layout, data)


_grad_slot: Any = Tensor.__dict__["_grad"]


def make(pattern: Pattern, values: Array, kind: Kind) -> SparseTensor:
    """A sparse tensor without history; `kind` is that of the values (dense or sparse)."""
    r = new(SparseTensor)
    r.pattern, r.stored = pattern, values
    r._kind = kind if isinstance(kind, SparseKind) else sparse_kind(kind)
    r._node = r._view = None
    _grad_slot.__set__(r, None)
    r._ver = 0
    return r


# What sparse tensors inherit from Tensor as it is: nothing in it looks at the elements.
_INHERITED = frozenset((
    "H", "T", "mT", "mH", "requires_grad", "requires_grad_", "is_leaf", "grad", "grad_fn", "output_nr", "backward", "dtype", "device",
    "is_cpu", "is_cuda", "is_meta", "is_quantized", "is_nested", "is_mkldnn", "is_mps", "is_xpu", "is_xla", "is_floating_point",
    "is_complex", "is_signed", "is_inference", "is_conj", "is_neg", "resolve_conj", "resolve_neg", "has_names", "get_device",
    "element_size", "itemsize", "retain_grad", "retains_grad", "register_hook", "register_post_accumulate_grad_hook", "is_pinned",
    "double", "float", "half", "bfloat16", "int", "long", "short", "char", "byte", "bool", "cfloat", "cdouble", "to", "cpu", "cuda",
    "type", "type_as", "is_shared"))

# Operators whose method has another name than their function.
_OPERATORS = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor", "lshift", "rshift", "div")

_loaded = False


def load_rules() -> None:
    """Import the modules with the rules, and refuse the rest of Tensor's methods."""
    global _loaded
    if _loaded:
        return
    _loaded = True
    from . import conversion, elementwise, joining, matmul, reduction  # noqa: F401
    own = SparseTensor.__dict__
    for name in dir(Tensor):
        if name not in own and name not in _INHERITED and not name.startswith("_") and callable(getattr(Tensor, name)):
            setattr(SparseTensor, name, _refusing(name))
    for name in ("eq", "ne", "lt", "le", "gt", "ge", "invert", "pos", "abs", "neg", "getitem", "setitem", "contains", "reversed",
                 *_OPERATORS, *("r" + each for each in _OPERATORS), *("i" + each for each in _OPERATORS)):
        dunder = f"__{name}__"
        if dunder not in own and hasattr(Tensor, dunder):
            setattr(SparseTensor, dunder, _refusing(name))


def _refusing(name: str) -> Function:
    def refuse(self: SparseTensor, *args: Any, **kwargs: Any) -> Any:
        raise unsupported(name, (self, *args))
    refuse.__name__ = refuse.__qualname__ = name
    refuse.__doc__ = f"NotImplementedError: sparse tensors don't have {name}."
    return refuse
