"""What PyTorch takes apart before a dispatch mode sees it: composite functions, in terms of operators.

A function of `TABLE` has the public function's arguments and calls operators (or public functions that are taken apart themselves). Where
PyTorch does it in another way for unusual arguments, it raises `Whole`, and the function goes to the mode as the operator of its name.
`nn.py` has layers and losses.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from .. import dtypes
from ..devices import device as Place
from ..dtypes import bool_ as _BOOL
from ..dtypes import dtype as Type
from ..kernels.shapes import broadcast_shapes
from ..layout import contiguous_format
from ..ops import aten as A
from ..ops.registry import FUNCTIONS
from ..tensor import Tensor

__all__ = ["BELOW", "COMPOSITE", "TABLE", "Whole", "fits", "lowers", "reshape", "viewable"]

# Questions and settings, which are no operators, and what other names go through.
BELOW = frozenset((
    "size", "stride", "dim", "ndimension", "numel", "nelement", "is_contiguous", "storage_offset", "data_ptr", "element_size",
    "requires_grad_", "is_floating_point", "is_complex", "is_signed", "is_conj", "is_neg", "is_inference", "get_device", "is_tensor",
    "is_nonzero", "is_same_size", "is_set_to", "has_names", "dim_order",
    "backward", "register_hook", "retain_grad", "register_post_accumulate_grad_hook", "storage", "untyped_storage", "numpy", "tolist",
    "_repr", "__format__", "__len__", "__contains__", "__array_wrap__", "result_type", "promote_types", "can_cast", "set_default_dtype",
    "is_distributed", "broadcast_shapes", "manual_seed", "save", "load", "is_grad_enabled", "compile", "get_default_dtype", "typename",
    "_nnz", "_indices", "multi_head_attention_forward", "normalize", "is_storage", "shares_memory", "_is_view", "is_shared",
    "share_memory_", "is_coalesced", "__reversed__"))


class Whole(Exception):  # noqa: N818
    """These arguments are not taken apart here."""


TABLE: dict[str, Callable[..., Any]] = {}
COMPOSITE: set[str] = set()       # operators that are taken apart, too, where they are called by their name


def lowers(*names: str, operator: bool = True) -> Callable[[Any], Any]:
    """Decorator: this takes the functions of these names apart (`operator`: with the arguments of the operator of the name, too)."""
    def register(function: Any) -> Any:
        for name in names:
            TABLE[name] = function
        if operator:
            COMPOSITE.update(names)
        return function
    return register


def fits(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a function takes these arguments."""
    try:
        inspect.signature(function).bind(*args, **kwargs)
    except TypeError:
        return False
    return True


def sizes(x: Tensor) -> list[int]:
    """A tensor's shape."""
    return [int(n) for n in x._a.shape]


def _list(values: Sequence[Any]) -> list[Any]:
    first = values[0] if len(values) == 1 else values
    return [int(n) for n in first] if isinstance(first, (list, tuple)) else [int(n) for n in values]


# --- shapes ---------------------------------------------------------------------------------------------------------------------------

def viewable(x: Tensor, shape: Sequence[int]) -> bool:
    """Whether a tensor's memory can be read with this shape as it lies."""
    old, steps = sizes(x), list(x.stride())
    if 0 in old or old == list(shape):
        return True
    at = len(shape) - 1
    chunk, first, left = 1, steps[-1] if old else 1, 1
    for i in range(len(old) - 1, -1, -1):
        chunk *= old[i]
        if i == 0 or (old[i - 1] != 1 and steps[i - 1] != chunk * first):
            while at >= 0 and (left < chunk or shape[at] == 1):
                left *= shape[at]
                at -= 1
            if left != chunk:
                return False
            if i > 0:
                first, chunk, left = steps[i - 1], 1, 1
    return at == -1 or all(n == 1 for n in shape[:at + 1])


def _inferred(x: Tensor, shape: Sequence[int]) -> list[int]:
    shape = list(shape)
    if -1 in shape:
        known = 1
        for n in shape:
            known *= n if n != -1 else 1
        shape[shape.index(-1)] = x.numel() // known if known else 0
    return shape


@lowers("reshape")
def reshape(input: Tensor, *shape: Any) -> Tensor:
    """A view where the memory allows it, else a copy."""
    wanted = _inferred(input, _list(shape))
    total = 1
    for n in wanted:
        total *= n
    if total != input.numel():
        raise Whole
    if viewable(input, wanted):
        return A.view.default(input, wanted)
    return A._unsafe_view.default(A.clone.default(input, memory_format=contiguous_format), wanted)


@lowers("flatten")
def _flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    shape = sizes(input)
    if not shape:
        return reshape(input, [1])
    start, end = start_dim % len(shape), end_dim % len(shape)
    if start == end:
        return input
    middle = 1
    for n in shape[start:end + 1]:
        middle *= n
    return reshape(input, [*shape[:start], middle, *shape[end + 1:]])


@lowers("ravel")
def _ravel(input: Tensor) -> Tensor:
    return reshape(_as_contiguous(input), [-1])


@lowers("unflatten")
def _unflatten(input: Tensor, dim: int, sizes_: Sequence[int]) -> Tensor:
    shape = sizes(input)
    return A.view.default(input, [*shape[:dim], *_list([sizes_]),
                                  *shape[dim % len(shape) + 1:]]) if dim >= 0 else _unflatten(input, dim % len(shape), sizes_)


@lowers("view_as", operator=False)
def _view_as(self: Tensor, other: Tensor) -> Tensor:
    return A.view.default(self, sizes(other))


@lowers("reshape_as", operator=False)
def _reshape_as(self: Tensor, other: Tensor) -> Tensor:
    return reshape(self, sizes(other))


@lowers("expand_as", operator=False)
def _expand_as(self: Tensor, other: Tensor) -> Tensor:
    return A.expand.default(self, sizes(other))


@lowers("contiguous")
def _as_contiguous(self: Tensor, memory_format: Any = None) -> Tensor:
    wanted = contiguous_format if memory_format is None else memory_format
    return self if self.is_contiguous(memory_format=wanted) else A.clone.default(self, memory_format=wanted)


def _transposed(self: Tensor) -> Tensor:
    return A.t.default(self) if self._a.ndim < 3 else A.permute.default(self, list(range(self._a.ndim - 1, -1, -1)))


TABLE["_T"] = _transposed
def _last_exchanged(self: Tensor) -> Tensor:
    return A.transpose.int(self, -2, -1)


def _adjoint(self: Tensor) -> Tensor:
    return A.transpose.int(self, -2, -1) if not self.is_complex() else _whole(self)


def _whole(self: Tensor) -> Any:
    raise Whole


def _data(self: Tensor) -> Tensor:
    return A.detach.default(self)


TABLE["_mT"], TABLE["data"] = _last_exchanged, _data
TABLE["adjoint"] = TABLE["_mH"] = _adjoint
TABLE["real"] = TABLE["imag"] = TABLE["_H"] = _whole


@lowers("movedim", "moveaxis")
def _movedim(input: Tensor, source: Any, destination: Any) -> Tensor:
    n = input._a.ndim
    given = [s % n for s in ([source] if isinstance(source, int) else source)]
    places = [d % n for d in ([destination] if isinstance(destination, int) else destination)]
    rest = iter([i for i in range(n) if i not in given])
    return A.permute.default(input, [given[places.index(i)] if i in places else next(rest) for i in range(n)])


@lowers("chunk")
def _chunk(input: Tensor, chunks: int, dim: int = 0) -> Any:
    n = sizes(input)[dim]
    return tuple(A.split.Tensor(input, max(-(-n // chunks), 1), dim) if dim else A.split.Tensor(input, max(-(-n // chunks), 1)))


@lowers("split", operator=False)
def _split(tensor: Tensor, split_size_or_sections: Any, dim: int = 0) -> Any:
    more = (dim,) if dim else ()
    if isinstance(split_size_or_sections, (list, tuple)):
        return tuple(A.split_with_sizes.default(tensor, list(split_size_or_sections), *more))
    return tuple(A.split.Tensor(tensor, split_size_or_sections, *more))


@lowers("split_with_sizes", operator=False)
def _split_with_sizes(self: Tensor, split_sizes: Any, dim: int = 0) -> Any:
    return _split(self, split_sizes, dim)


@lowers("unbind", operator=False)
def _unbind(input: Tensor, dim: int = 0) -> Any:
    return tuple(A.unbind.int(input, dim) if dim else A.unbind.int(input))


@lowers("__iter__", operator=False)
def _iterate(self: Tensor) -> Any:
    if not self._a.ndim:
        raise Whole
    return iter(_unbind(self))


@lowers("sum_to_size")
def _sum_to_size(self: Tensor, *size: Any) -> Tensor:
    wanted, have = _list(size), sizes(self)
    lead = len(have) - len(wanted)
    if not wanted:
        return A.sum.default(self) if have else self
    dims = [*range(lead), *[i + lead for i, n in enumerate(wanted) if n == 1 and have[i + lead] != 1]]
    r = A.sum.dim_IntList(self, dims, True) if dims else self
    return A.view.default(r, wanted) if lead else r


@lowers("narrow")
def _narrow(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    start = int(start)
    return A.slice.Tensor(input, dim, start, start + length)


@lowers("stack", operator=False)
def _stack(tensors: Any, dim: int = 0, *, out: Any = None) -> Tensor:
    if out is not None:
        raise Whole
    return A.stack.default(list(tensors), *((dim,) if dim else ()))


@lowers("cat", "concat", "concatenate", operator=False)
def _cat(tensors: Any, dim: int = 0, *, out: Any = None) -> Tensor:
    if out is not None:
        raise Whole
    return A.cat.default(list(tensors), *((dim,) if dim else ()))


for _name, _at in (("hstack", 1), ("vstack", 0), ("row_stack", 0)):
    def _joined(tensors: Any, *, out: Any = None, _at: int = _at) -> Tensor:
        least = min(_rank(t) for t in tensors)
        if out is not None or least < (2 if _at == 0 else 1):
            raise Whole
        return _cat(tensors, _at if least > 1 else 0)
    lowers(_name)(_joined)


def _rank(t: Tensor) -> int:
    return t._a.ndim


# --- dtypes ---------------------------------------------------------------------------------------------------------------------------

def _same(x: Tensor, dtype: Any, device: Any) -> bool:
    return (dtype is None or dtype is x.dtype) and (device is None or device == x.device)


@lowers("to")
def _to(self: Tensor, *args: Any, dtype: Any = None, device: Any = None, other: Any = None, non_blocking: bool = False, copy: bool = False,
        memory_format: Any = None) -> Tensor:
    for each in args:
        if isinstance(each, Tensor):
            dtype, device = each.dtype, each.device
        elif isinstance(each, Type):
            dtype = each
        elif isinstance(each, (str, Place)):
            device = each
        elif isinstance(each, bool) or each is None:
            raise Whole if each else TypeError
    if isinstance(device, str):
        device = Place(device)
    if other is not None:
        dtype, device = other.dtype, other.device
    if _same(self, dtype, device) and not copy and memory_format is None:
        return self
    found = {"dtype": dtype, "device": None if device == self.device else device, "memory_format": memory_format}
    return A._to_copy.default(self, **{key: value for key, value in found.items() if value is not None})


def _casts() -> None:
    for name, kind in (("float", "float32"), ("double", "float64"), ("half", "float16"), ("bfloat16", "bfloat16"), ("long", "int64"),
                       ("int", "int32"), ("short", "int16"), ("char", "int8"), ("byte", "uint8"), ("bool", "bool_"),
                       ("cfloat", "complex64"), ("cdouble", "complex128")):
        wanted = getattr(dtypes, kind)
        TABLE[name] = lambda self, memory_format=None, wanted=wanted: _to(self, dtype=wanted, memory_format=memory_format)


_casts()


@lowers("type_as", operator=False)
def _type_as(self: Tensor, other: Tensor) -> Tensor:
    return _to(self, dtype=other.dtype)


@lowers("cpu", operator=False)
def _cpu(self: Tensor, memory_format: Any = None) -> Tensor:
    return _to(self, device="cpu", memory_format=memory_format)


@lowers("item", operator=False)
def _item(self: Tensor) -> Any:
    return A._local_scalar_dense.default(self)


def _number(name: str, kind: type) -> None:
    def call(self: Tensor) -> Any:
        if self.numel() != 1:
            raise Whole
        return kind(_item(self))
    TABLE[name] = call


for _name, _kind in (("__bool__", bool), ("__float__", float), ("__int__", int), ("__complex__", complex)):
    _number(_name, _kind)


# --- arithmetic -----------------------------------------------------------------------------------------------------------------------

@lowers("square", operator=True)
def _square(input: Tensor, *, out: Any = None) -> Tensor:
    if out is not None:
        raise Whole
    return A.pow.Tensor_Scalar(input, 2)


@lowers("rsub", "__rsub__", operator=False)
def _rsub(input: Tensor, other: Any, *, alpha: Any = 1) -> Tensor:
    more = {} if alpha == 1 else {"alpha": alpha}
    return A.rsub.Tensor(input, other, **more) if isinstance(other, Tensor) else A.rsub.Scalar(input, other, **more)


@lowers("__rtruediv__", operator=False)
def _rdiv(self: Tensor, other: Any) -> Tensor:
    return A.mul.Tensor(A.reciprocal.default(self), other)


@lowers("_reflected_power", operator=False)
def _rpow(self: Tensor, other: Any) -> Tensor:
    return A.pow.Scalar(other, self)


@lowers("var", "std", operator=False)
def _unused(*args: Any, **kwargs: Any) -> Any:
    raise Whole


def _spread(name: str) -> None:
    def call(input: Tensor, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *, correction: Any = None,
             out: Any = None) -> Tensor:
        if out is not None:
            raise Whole
        if isinstance(dim, bool):
            dim, unbiased = None, dim
        more: dict[str, Any] = {"keepdim": True} if keepdim else {}
        if unbiased is not None or correction is not None:
            more["correction"] = correction if correction is not None else int(unbiased)
        return getattr(A, name).correction(input, None if dim is None else [dim] if isinstance(dim, int) else list(dim), **more)
    TABLE[name] = call


_spread("var")
_spread("std")


@lowers("matmul")
def _matmul(input: Tensor, other: Tensor, *, out: Any = None) -> Tensor:
    if out is not None or not isinstance(other, Tensor):
        raise Whole
    a, b = input._a.ndim, other._a.ndim
    if not a or not b:
        raise Whole
    if a == 1 and b == 1:
        return A.dot.default(input, other)
    if a == 2 and b == 1:
        return A.mv.default(input, other)
    if a == 1 and b == 2:
        return A.squeeze_.dim(A.mm.default(A.unsqueeze.default(input, 0), other), 0)
    if a == 2 and b == 2:
        return A.mm.default(input, other)
    if a >= 3 and b <= 2 and _folds(input, other):
        lead = sizes(input)[:-1]
        rows = reshape(input, [-1, sizes(input)[-1]])
        if b == 1:
            return A._unsafe_view.default(A.mv.default(rows, other), lead)
        return A._unsafe_view.default(A.mm.default(rows, other), [*lead, sizes(other)[-1]])
    return _batched(input, other)


def _folds(larger: Tensor, smaller: Tensor) -> bool:
    if smaller._node is not None or not larger.numel() or smaller._a.ndim == 1:
        return True
    shape, steps = sizes(larger), larger.stride()
    return all(steps[i] == steps[i + 1] * shape[i + 1] for i in range(len(shape) - 2))


def _batched(a: Tensor, b: Tensor) -> Tensor:
    left = [1, *sizes(a)] if a._a.ndim == 1 else sizes(a)
    right = [*sizes(b), 1] if b._a.ndim == 1 else sizes(b)
    lead = [int(n) for n in broadcast_shapes(tuple(left[:-2]), tuple(right[:-2]))]
    count = 1
    for n in lead:
        count *= n
    a = A.unsqueeze.default(a, 0) if a._a.ndim == 1 else a
    b = A.unsqueeze.default(b, 1) if b._a.ndim == 1 else b
    one = reshape(A.expand.default(a, [*lead, *left[-2:]]), [count, *left[-2:]])
    two = reshape(A.expand.default(b, [*lead, *right[-2:]]), [count, *right[-2:]])
    tail = [*([left[-2]] if len(sizes(a)) > 1 and left[-2:] else []), right[-1]]
    r = A._unsafe_view.default(A.bmm.default(one, two), [*lead, left[-2], right[-1]])
    return r if tail else r


@lowers("linear")
def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None, *, out: Any = None) -> Tensor:
    n = input._a.ndim
    if out is not None or weight._a.ndim != 2 or not n:
        raise Whole
    if n == 2 and bias is not None:
        return A.addmm.default(bias, input, A.t.default(weight))
    if bias is not None and n > 2 and input.is_contiguous():
        shape = sizes(input)
        rows = A.view.default(input, [input.numel() // shape[-1] if shape[-1] else 0, shape[-1]])
        return A.view.default(A.addmm.default(bias, rows, A.t.default(weight)), [*shape[:-1], sizes(weight)[0]])
    r = _matmul(input, A.t.default(weight))
    return r if bias is None else A.add.Tensor(r, bias)


# --- indexing -------------------------------------------------------------------------------------------------------------------------

def _indexed(self: Tensor, index: Any) -> tuple[Tensor, list[Any]]:
    """(the view that numbers, slices and None give, the tensors that index it)."""
    items = list(index) if isinstance(index, tuple) else [index]
    used = sum(each._a.ndim if isinstance(each, Tensor) and each.dtype is _BOOL else 1 for each in items if each is not None
               and each is not Ellipsis)
    if any(isinstance(each, bool) or not (each is None or each is Ellipsis or isinstance(each, (int, slice, Tensor))) for each in items):
        raise Whole
    if Ellipsis in [each for each in items if not isinstance(each, Tensor)]:
        at = next(i for i, each in enumerate(items) if each is Ellipsis)
        items[at:at + 1] = [slice(None)] * (self._a.ndim - used)
    x, dim, tensors = self, 0, []
    for each in items:
        if each is None:
            x, dim = A.unsqueeze.default(x, dim), dim + 1
        elif isinstance(each, int):
            x = A.select.int(x, dim, each)
        elif isinstance(each, slice):
            if each != slice(None):
                n = sizes(x)[dim]
                start, stop, step = (None if v is None else int(v) for v in (each.start, each.stop, each.step))
                if step is not None and step < 1:
                    raise Whole
                x = A.slice.Tensor(x, dim, 0 if start is None else start,
                                   n if stop is None and start is None else _FAR if stop is None else stop,
                                   *(() if step in (None, 1) else (step,)))
            dim += 1
        else:
            tensors += [None] * (dim - len(tensors)) + [each]
            dim += each._a.ndim if each.dtype is _BOOL else 1
    return x, tensors


def _getitem(self: Tensor, index: Any) -> Any:
    x, tensors = _indexed(self, index)
    if tensors:
        return A.index.Tensor(x, tensors)
    return A.alias.default(x) if x is self else x


_FAR = (1 << 63) - 1

TABLE["getitem"] = _getitem


def _setitem(self: Tensor, index: Any, value: Any) -> None:
    x, tensors = _indexed(self, index)
    if tensors:
        value = value if isinstance(value, Tensor) else FUNCTIONS["full"]((), value, dtype=self.dtype)
        A.index_put_.default(x, tensors, value)
    elif isinstance(value, Tensor):
        A.copy_.default(x, value if value.dtype is x.dtype else _to(value, dtype=x.dtype))
    else:
        A.fill_.Scalar(x, value)


TABLE["setitem"] = _setitem
