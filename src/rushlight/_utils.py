"""``torch._utils``: the functions that pickled tensors call: a storage and a geometry become a tensor again.

Files and pickles name them, so they have PyTorch's names; the arguments are the file's, so they are checked.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from . import cat, empty_strided
from . import dtypes as _dtype
from .devices import device
from .homes import is_own, shown_in
from .kind import kind_of
from .layout import layout as layout_class
from .layout import sparse_coo, sparse_csc, sparse_csr, strided
from .storage import TypedStorage, UntypedStorage, array_over
from .tensor import Tensor, wrap
from .vocabulary import Layout

Ints = Sequence[int]


def _rebuild_tensor(storage: TypedStorage, offset: int, size: Ints, stride: Ints) -> Tensor:
    """A tensor of this size and stride (in elements) over a storage from `offset` on."""
    return _rebuild_tensor_v2(storage, offset, size, stride, False, None)


def _rebuild_tensor_v2(storage: TypedStorage, offset: int, size: Ints, stride: Ints, requires_grad: bool, backward_hooks: Any,
                       metadata: Mapping[str, bool] | None = None) -> Tensor:
    """The usual form: the storage knows the dtype."""
    if not isinstance(storage, TypedStorage):
        raise TypeError(f"a tensor needs a typed storage, not {type(storage).__name__}")
    return _rebuild_tensor_v3(storage.untyped(), offset, size, stride, requires_grad, backward_hooks, storage.dtype, metadata)


def _rebuild_tensor_v3(storage: UntypedStorage, offset: int, size: Ints, stride: Ints, requires_grad: bool, backward_hooks: Any,
                       dtype: _dtype.dtype, metadata: Mapping[str, bool] | None = None) -> Tensor:
    """The form for dtypes that have no storage class of their own."""
    if isinstance(storage, TypedStorage):
        storage = storage.untyped()
    if not isinstance(storage, UntypedStorage) or not isinstance(dtype, _dtype.dtype):
        raise TypeError(f"a tensor needs a storage and a dtype, not {type(storage).__name__} and {type(dtype).__name__}")
    if not isinstance(offset, int) or not all(isinstance(ints, (tuple, list)) and
                                              all(isinstance(n, int) for n in ints) for ints in (size, stride)):
        raise TypeError("a tensor's offset, size and stride are integers")
    if storage.device.type == "meta":
        return _rebuild_meta_tensor_no_storage(dtype, size, stride, requires_grad)
    array = array_over(storage, dtype, offset, size, stride)
    for bit, value in (metadata or {}).items():
        # PyTorch conjugates and negates lazily and stores the memory as it was before; here it is done at once, on a copy.
        if bit not in ("conj", "neg"):
            raise NotImplementedError(f"the file has a tensor with the property {bit!r}, which is not known here")
        if value:
            array = array.conj() if bit == "conj" else -array
    found = wrap(array, kind_of(dtype, storage.device))
    if requires_grad:
        found.requires_grad_(True)
    for hook in (backward_hooks or {}).values():
        found.register_hook(hook)
    return found


def _rebuild_meta_tensor_no_storage(dtype: _dtype.dtype, size: Ints, stride: Ints, requires_grad: bool) -> Tensor:
    """A tensor on the meta device: a size, a stride and a dtype."""
    return empty_strided(tuple(size), tuple(stride), dtype=dtype, device=device("meta"), requires_grad=bool(requires_grad))


def _rebuild_parameter(data: Tensor, requires_grad: bool, backward_hooks: Any) -> Tensor:
    """An ``nn.Parameter`` around a tensor."""
    from .nn.parameter import Parameter  # a plain tensor's copy loads no nn
    found = Parameter(data, requires_grad)
    for hook in (backward_hooks or {}).values():
        found.register_hook(hook)
    return found


def _rebuild_parameter_with_state(data: Tensor, requires_grad: bool, backward_hooks: Any, state: Any) -> Tensor:
    """A parameter that had Python attributes of its own."""
    return _with_state(_rebuild_parameter(data, requires_grad, backward_hooks), state)


@shown_in("_tensor")
def _rebuild_from_type_v2(function: Callable[..., Tensor], new_type: type, args: Sequence[Any], state: Any) -> Tensor:
    """A tensor of a subclass, or one that had Python attributes of its own."""
    if not (isinstance(new_type, type) and issubclass(new_type, Tensor)):
        raise TypeError(f"expected a subclass of torch.Tensor, not a {type(new_type).__name__}")
    found = function(*args)
    if type(found) is not new_type:
        found = found.as_subclass(new_type)
    if state is not None and new_type.__setstate__ is not Tensor.__setstate__:
        found.__setstate__(state)
        return found
    return _with_state(found, state)


def _with_state(found: Tensor, state: Any) -> Tensor:
    """Give back the instance attributes. They come from a file, so they may not hide what the class defines."""
    attributes, slots = state if isinstance(state, tuple) else (state, None)
    own = user_slots(type(found))
    for part, fits in ((attributes, lambda name: not hasattr(type(found), name)), (slots, own.__contains__)):
        for name, value in (part or {}).items():
            if not fits(name):
                raise ValueError(f"the file sets the attribute {name!r} of a tensor, which is not the user's to set")
            setattr(found, name, value)
    return found


def user_slots(cls: type) -> list[str]:
    """The names of the slots that classes outside this package have added to Tensor's."""
    found = []
    for base in cls.__mro__:
        if issubclass(base, Tensor) and not is_own(base.__module__):
            slots = vars(base).get("__slots__", ())
            found += [name for name in ((slots,) if isinstance(slots, str) else slots) if not name.startswith("__")]
    return found


@shown_in("serialization")
def _get_layout(name: str) -> layout_class:
    """``torch.strided`` and its like, by name."""
    if not isinstance(name, str):
        raise TypeError(f"expected the name of a layout, not a {type(name).__name__}")
    for known in (strided, sparse_coo, sparse_csr, sparse_csc):
        if repr(known) == name:
            return known
    raise NotImplementedError(f"the file names the layout {name!r}, which is not known here")


class _Unread(threading.local):
    """The sparse tensors of a file whose storages' contents come after its objects, with what they are to be made from; None while none is
    read."""

    tensors: list[tuple[Any, Any, Any]] | None = None


UNREAD = _Unread()


@contextmanager
def sparse_tensors_later() -> Iterator[None]:
    """A context in which sparse tensors are rebuilt when it ends: their indices can't be looked at before."""
    before, UNREAD.tensors = UNREAD.tensors, []
    try:
        yield
        waiting, UNREAD.tensors = UNREAD.tensors, None
        for shell, layout, data in waiting:
            shell.replace(_rebuild_sparse_tensor(layout, data))
            shell._ver = 0
    finally:
        UNREAD.tensors = before


def _rebuild_sparse_tensor(layout: Layout, data: Sequence[Any]) -> Tensor:
    """A sparse tensor from its indices, values and size."""
    from .sparse.creation import sparse_compressed_tensor, sparse_coo_tensor
    if (not isinstance(layout, layout_class) or not isinstance(data, (tuple, list)) or
        not all(isinstance(each, Tensor) for each in data[:2])):
        raise TypeError("expected the layout, the parts and the size of a sparse tensor")
    if UNREAD.tensors is not None:
        shell = sparse_coo_tensor((0,))
        UNREAD.tensors.append((shell, layout, data))
        return shell
    if layout is sparse_coo:
        indices, values, size, *coalesced = data
        return sparse_coo_tensor(indices, values, tuple(size), is_coalesced=bool(coalesced and coalesced[0]))
    if layout in (sparse_csr, sparse_csc):
        compressed, plain, values, size = data
        return sparse_compressed_tensor(compressed, plain, values, tuple(size), layout=layout)
    raise NotImplementedError(f"loading tensors of layout {layout} is not supported: save them with .to_dense()")


def _flatten_dense_tensors(tensors: Sequence[Tensor]) -> Tensor:
    """The elements of several tensors of one dtype, one after another in one dimension."""
    return tensors[0].contiguous().view(-1) if len(tensors) == 1 else cat([each.contiguous().view(-1) for each in tensors])


def _unflatten_dense_tensors(flat: Tensor, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Views of a flat tensor, of the sizes of these tensors (the inverse of `_flatten_dense_tensors`)."""
    found, start = [], 0
    for each in tensors:
        found.append(flat.narrow(0, start, each.numel()).view_as(each))
        start += each.numel()
    return tuple(found)


def _get_available_device_type() -> str | None:
    """The accelerator's type, or None where there is only the CPU."""
    from .cuda import is_available
    return "cuda" if is_available() else None


def _get_device_module(device_type: str) -> Any:
    """The namespace of a device's type: ``torch.cpu`` for "cpu"."""
    from .accelerator import get_device_module
    return get_device_module(device_type)


def _is_privateuse1_backend_available() -> bool:
    """Whether a plug-in has brought a device of its own, and it is there."""
    from .devices import has_provider
    return has_provider("privateuseone")


def _element_size(dtype: _dtype.dtype) -> int:
    """The size of an element in bytes."""
    if not isinstance(dtype, _dtype.dtype):
        raise RuntimeError(f"expected torch.dtype, but got {type(dtype)}")
    return dtype.itemsize


def _take_tensors(tensors: Sequence[Tensor], size_limit: int) -> Iterator[list[Tensor]]:
    """The tensors in groups of one dtype, each group of about `size_limit` bytes; what is left over comes last."""
    groups: dict[str, tuple[list[Tensor], int]] = {}
    for tensor in tensors:
        group, size = groups.get(tensor.type(), ([], 0))
        more = tensor.numel() * tensor.element_size()
        if group and size + more > size_limit:
            yield group
            group, size = [], 0
        groups[tensor.type()] = ([*group, tensor], size + more)
    for group, _ in groups.values():
        if group:
            yield group


def _reorder_tensors_as(tensors: Sequence[Tensor], ordered_tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The tensors in the order in which tensors of their types stand in the other list."""
    by_type: dict[str, list[Tensor]] = {}
    for tensor in tensors:
        by_type.setdefault(tensor.type(), []).append(tensor)
    queues = {name: iter(each) for name, each in by_type.items()}
    return tuple(next(queues[tensor.type()]) for tensor in ordered_tensors)
