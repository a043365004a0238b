"""Elementwise ops on sparse tensors: functions that keep zero, sums of two patterns, products, and the in-place forms of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import services
from ..autograd.grad_mode import LOCAL
from ..autograd.graph import AccumulateGrad
from ..dtypes import can_cast, promote_types
from ..ops.errors import title
from ..ops.record import rename
from ..ops.registry import FUNCTIONS, PLACES
from ..tensor import Tensor
from ..vocabulary import Function, MemoryFormat, Number, Operand
from .conversion import build, coalesced, index_tensor, link, to_dense, values_at, values_of
from .patterns import Compressed, Coo, Pattern
from .tensor import RULES, SparseTensor, define, make, rule, unsupported

__all__ = ["map_values"]

# Functions with f(0) = 0: they apply to the values. Those that are not linear need each place's sum first.
_LINEAR = ("neg", "negative", "positive", "real", "imag", "deg2rad", "rad2deg", "conj", "conj_physical")
_ZERO_KEEPING = ("abs", "absolute", "sqrt", "sin", "sinh", "asin", "arcsin", "asinh", "arcsinh", "tan", "tanh", "atan", "arctan", "atanh",
    "arctanh", "relu", "sign", "sgn", "signbit", "floor", "ceil", "round", "trunc", "fix", "frac", "expm1", "log1p", "erf", "erfinv",
    "isnan", "isinf", "isposinf", "isneginf", "square", "nan_to_num")


def map_values(x: SparseTensor, function: Function, name: str, linear: bool = False, args: tuple[Any, ...] = ()) -> SparseTensor:
    """The function of the values in the same pattern."""
    if not linear:
        x = coalesced(x)
    values = function(values_of(x), *args)
    return _named(build(x.pattern, values), name)


def _named(r: Tensor, name: str) -> Tensor:
    if r._node is not None:
        rename(r, "".join(part.capitalize() for part in name.split("_")) + "Backward0")
    return r


def _value_rule(name: str, linear: bool) -> None:
    function = FUNCTIONS[name]

    def apply(self: SparseTensor, *args: Any, **kwargs: Any) -> SparseTensor:
        return map_values(self, lambda v: function(v, *args, **kwargs), name, linear)
    apply.__name__ = apply.__qualname__ = name
    apply.__doc__ = f"{name} of the values."
    rule(name)(apply)
    if f"Tensor.{name}_" in PLACES:
        _in_place(name)


def _in_place(name: str, target: str = "") -> None:
    """name_: the result replaces the tensor's pattern and values (written into its memory where the pattern stays)."""
    def apply_(self: SparseTensor, *args: Any, **kwargs: Any) -> SparseTensor:
        return assign(self, RULES[name](self, *args, **kwargs), name)
    apply_.__name__ = apply_.__qualname__ = name + "_"
    apply_.__doc__ = f"In-place form of `{name}`."
    for each in (name + "_", *((target,) if target else ())):
        setattr(SparseTensor, each, apply_)
        RULES[each] = apply_


@services.sparse_assign.given
def assign(self: Tensor, r: Tensor, name: str = "copy") -> SparseTensor:
    """Make a sparse tensor what a result is."""
    if LOCAL.grad and self._node is not None and self._node.__class__ is AccumulateGrad:
        raise RuntimeError("a leaf Variable that requires grad is being used in an in-place operation.")
    if not isinstance(self, SparseTensor) or not isinstance(r, SparseTensor) or r.layout != self.layout:
        raise unsupported(name + "_", (self, r))
    if r.dtype is not self.dtype:
        if not can_cast(r.dtype, self.dtype):
            raise RuntimeError(f"result type {title(r.dtype)} can't be cast to the desired output type {title(self.dtype)}")
        r = r.to(self.dtype)
    assert isinstance(r, SparseTensor)
    if r.pattern is self.pattern:
        self.stored[...] = r.stored
        self._node = r._node
        self._ver += 1
        return self
    return self.replace(r)


for _name in (*_LINEAR, *_ZERO_KEEPING):
    if _name in FUNCTIONS:
        _value_rule(_name, _name in _LINEAR)
define("__neg__", RULES["neg"])
define("__abs__", RULES["abs"])
define("__pos__", lambda self: self)


# --- sums ---------------------------------------------------------------------------------------------------------------------------

def _promoted(x: Tensor, other: Any) -> Tensor:
    """x in the dtype of a sum with the other, before it is scaled: a product of uint8 by -1 is no difference."""
    dtype = promote_types(x.dtype, other.dtype) if isinstance(other, Tensor) else x.dtype
    return x if x.dtype is dtype else x.to(dtype)


def _scaled(x: Any, alpha: Any) -> SparseTensor:
    return x if alpha.__class__ is int and alpha == 1 else mul(x, alpha) if isinstance(x, SparseTensor) else x * alpha


@rule("add")
def add(self: Operand, other: Operand, *, alpha: Number = 1) -> Tensor:
    """self + alpha * other: two sparse tensors of one layout, or a dense one plus a sparse one."""
    if isinstance(self, SparseTensor) and isinstance(self.pattern, Coo) and not isinstance(other, SparseTensor):
        raise RuntimeError("add(sparse, dense) is not supported. Use add(dense, sparse) instead.")
    if not isinstance(self, Tensor) or not isinstance(other, Tensor):
        raise RuntimeError("add(sparse, number) is not supported: the places without a value would get one; use .to_dense() first")
    if self.shape != other.shape:
        if isinstance(self, SparseTensor) and isinstance(self.pattern, Coo):
            raise RuntimeError(f"add: expected sizes of 'self' and 'other' to match, but {list(self.shape)} != {list(other.shape)}")
        raise RuntimeError(f"add: expected 'self' and 'other' to have same size, but self has size {list(self.shape)} while other has size "
                           f"{list(other.shape)} (FYI: dense-sparse addition does not currently support broadcasting)")
    other = _scaled(other if alpha.__class__ is int and alpha == 1 else _promoted(other, self), alpha)
    if isinstance(self, SparseTensor) and isinstance(other, SparseTensor):
        return _named(_sum(self, other), "add")
    dense, sparse = (other, self) if isinstance(self, SparseTensor) else (self, other)
    out = dense.detach() + to_dense(sparse.detach())
    return link(out, "AddBackward0", (dense, sparse), lambda g: (g.to(dense.dtype), g.to(sparse.dtype)))


def _sum(a: SparseTensor, b: SparseTensor) -> SparseTensor:
    p, q = a.pattern, b.pattern
    if p.layout is not q.layout:
        raise RuntimeError(f"add: expected both operands to have one layout, but got {p.layout} and {q.layout}")
    if p.sparse_dim != q.sparse_dim:
        raise RuntimeError(f"add: expected 'self' and 'other' to have same number of sparse dimensions, but {p.sparse_dim} != "
                           f"{q.sparse_dim}")
    if _same_places(p, q):
        return build(p, values_of(a) + values_of(b))
    values = FUNCTIONS["cat"]([values_of(a), values_of(b)])
    pattern = Coo(np.concatenate((p.coords(), q.coords()), 1), p.shape)
    r = build(pattern, values)
    if isinstance(p, Compressed):
        r = coalesced(r)
        return r.to_sparse_csc() if p.by_column else r.to_sparse_csr()
    return coalesced(r) if p.coalesced and q.coalesced else r


def _same_places(p: Pattern, q: Pattern) -> bool:
    return p is q or p.nnz == q.nnz and np.array_equal(p.coords(), q.coords())


@rule("sub", "subtract")
def sub(self: Tensor, other: Operand, *, alpha: int = 1) -> Tensor:
    """self - alpha * other."""
    if any(isinstance(each, Tensor) and each.dtype.name == "bool" for each in (self, other)):
        raise RuntimeError("Subtraction, the `-` operator, with a bool tensor is not supported. If you are trying to invert a mask, use "
                           "the `~` or `logical_not()` operator instead.")
    r = add(self, other, alpha=-alpha) if not isinstance(other, Tensor) else add(self, -_promoted(other, self), alpha=alpha)
    return _named(r, "sub")


# --- products -----------------------------------------------------------------------------------------------------------------------

@rule("mul", "multiply")
def mul(self: Any, other: Operand) -> SparseTensor:
    """The product with a number, a dense tensor (which broadcasts), or a sparse tensor (at the places that both have)."""
    if not isinstance(self, SparseTensor):
        self, other = other, self
    if not isinstance(other, Tensor) or (other.dim() == 0 and not isinstance(other, SparseTensor)):
        r = build(self.pattern, values_of(self) * other)
    elif isinstance(other, SparseTensor):
        r = _intersection(self, other)
    else:
        r = _times_dense(self, other)
    return _named(r, "mul")


def _times_dense(x: SparseTensor, d: Tensor) -> SparseTensor:
    shape = FUNCTIONS["broadcast_shapes"](d.shape, x.shape)
    if tuple(shape) != x.pattern.shape:
        raise NotImplementedError(f"mul: broadcasting a sparse tensor of shape {list(x.shape)} to {list(shape)} is not supported; use "
                                  ".to_dense()")
    return build(x.pattern, values_of(x) * values_at(d.expand(shape), x.pattern))


def _intersection(a: SparseTensor, b: SparseTensor) -> SparseTensor:
    if a.shape != b.shape or a.pattern.sparse_dim != b.pattern.sparse_dim:
        raise RuntimeError("sparse_binary_op_intersection_cpu(): expects sparse inputs with equal dimensionality, number of sparse "
                           "dimensions, and shape of sparse dimensions")
    if a.pattern is b.pattern and a.pattern.coalesced:
        return build(a.pattern, values_of(a) * values_of(b))
    # Each element of `a` meets the sum of b's elements at its place, so that only b has to be coalesced.
    b = coalesced(b)
    p = a.pattern
    keep = np.flatnonzero(np.isin(p.keys(), b.pattern.keys()))
    if isinstance(p, Compressed):
        coords = p.coords()[:, keep]
        long, short = (coords[1], coords[0]) if p.by_column else (coords[0], coords[1])
        pattern: Pattern = Compressed.from_sorted(long, short, p.shape, p.by_column)
    else:
        pattern = Coo(np.ascontiguousarray(p.coords()[:, keep], like=keep), p.shape, p.coalesced)
    return build(pattern, values_of(a).index_select(0, index_tensor(keep)) * values_at(b, pattern))


def _divisor(name: str, self: SparseTensor | int, other: Any) -> None:
    if not isinstance(self, SparseTensor) or (isinstance(other, Tensor) and (isinstance(other, SparseTensor) or other.dim())):
        if isinstance(self, (int, float, complex)):
            raise unsupported("reciprocal", (other,))
        raise RuntimeError(f"Sparse {name} requires a scalar or zero-dim dense tensor divisor (got shape {list(other.shape)} for divisor)")


@rule("div", "divide", "true_divide")
def div(self: SparseTensor | int, other: Operand, *, rounding_mode: str | None = None) -> SparseTensor:
    """The quotient by a number or a dense tensor with one element."""
    _divisor("division", self, other)
    return map_values(self, lambda v: FUNCTIONS["div"](v, other, rounding_mode=rounding_mode), "div", rounding_mode is None)


@rule("floor_divide")
def floor_divide(self: SparseTensor, other: Operand) -> SparseTensor:
    """floor(self / number)."""
    _divisor("floor division", self, other)
    return map_values(self, lambda v: FUNCTIONS["floor_divide"](v, other), "floor_divide")


@rule("pow")
def pow(self: SparseTensor, exponent: Operand) -> SparseTensor:
    """self to the power of a number greater than zero."""
    if isinstance(exponent, Tensor) or not isinstance(self, SparseTensor) or isinstance(exponent, complex):
        raise unsupported("pow", (self, exponent))
    if exponent <= 0:
        raise RuntimeError(f"pow: expected an exponent greater than 0 for a sparse tensor, but got {exponent}: zeros would not stay zero")
    return map_values(self, lambda v: FUNCTIONS["pow"](v, exponent), "pow")


def _operators() -> None:
    for name, function in (("add", add), ("sub", sub), ("mul", mul), ("truediv", div), ("floordiv", floor_divide), ("pow", pow)):
        setattr(SparseTensor, f"__{name}__", function)
        setattr(SparseTensor, f"__r{name}__", lambda self, other, function=function: function(other, self))
    for name in ("add", "sub", "mul", "div", "floor_divide", "pow", "subtract", "multiply", "divide"):
        _in_place(name, {"add": "__iadd__", "sub": "__isub__", "mul": "__imul__", "div": "__itruediv__", "floor_divide": "__ifloordiv__",
                         "pow": "__ipow__"}.get(name, ""))


_operators()


# --- in place -----------------------------------------------------------------------------------------------------------------------

@rule("zero_")
def zero_(self: SparseTensor) -> SparseTensor:
    """No element is specified any more (all values are zero in the compressed layouts)."""
    if isinstance(self.pattern, Compressed):
        return assign(self, make(self.pattern, np.zeros_like(self.stored), self._kind), "zero")
    pattern = Coo(self._kind.xp.zeros((self.pattern.sparse_dim, 0), np.int64), self.pattern.shape, True)
    return assign(self, make(pattern, self._kind.xp.zeros((0, *self.stored.shape[1:]), self.stored.dtype), self._kind), "zero")


RULES["zero_"] = zero_
define("zero_", zero_)


@rule("copy_")
def copy_(self: Any, src: Any, non_blocking: bool = False) -> SparseTensor:
    """Take over another sparse tensor's elements."""
    if not isinstance(src, SparseTensor) or not isinstance(self, SparseTensor):
        raise RuntimeError("copy_() between dense and sparse Tensors is not implemented! Found self type = "
                           f"{self.type()} and src type = {src.type()}")
    if src.layout is not self.layout:
        raise RuntimeError(f"copy_(): the layouts {self.layout} and {src.layout} differ")
    r = src.clone() if src.dtype is self.dtype else src.to(self.dtype)
    return assign(self, r, "copy")


@rule("sparse_resize_")
def sparse_resize_(self: SparseTensor, size: Sequence[int], sparse_dim: int, dense_dim: int) -> SparseTensor:
    """Give a coordinate tensor another size; elements are kept, so no dimension may shrink while there are any."""
    p = self.pattern
    size = tuple(size)
    if not isinstance(p, Coo):
        raise unsupported("sparse_resize_", (self,))
    if len(size) != sparse_dim + dense_dim:
        raise RuntimeError(f"'len(size) == sparse_dim + dense_dim' is not satisfied: len(size) = {len(size)}, sparse_dim = {sparse_dim}, "
                           f"dense_dim = {dense_dim}")
    if p.nnz and (sparse_dim != p.sparse_dim or size[sparse_dim:] != p.shape[sparse_dim:]):
        raise RuntimeError("changing the number of sparse dimensions or the dense dimensions on a non-empty sparse tensor is not supported")
    if p.nnz and any(a < b for a, b in zip(size, p.shape, strict=False)):
        raise RuntimeError("shrinking the size of sparse dimensions on a non-empty sparse tensor is not supported")
    indices = p.indices if sparse_dim == p.sparse_dim else self._kind.xp.zeros((sparse_dim, 0), np.int64)
    values = self.stored if p.nnz else self._kind.xp.zeros((0, *size[sparse_dim:]), self.stored.dtype)
    return self.replace(make(Coo(indices, size, p.coalesced), values, self._kind))


@rule("sparse_resize_and_clear_")
def sparse_resize_and_clear_(self: SparseTensor, size: Sequence[int], sparse_dim: int, dense_dim: int) -> SparseTensor:
    """Another size, and no elements."""
    if not isinstance(self.pattern, Coo):
        raise unsupported("sparse_resize_and_clear_", (self,))
    return sparse_resize_(zero_(self), size, sparse_dim, dense_dim)


@rule("resize_as_")
def resize_as_(self: Any, the_template: Any, *, memory_format: MemoryFormat = None) -> SparseTensor:
    """The size of another sparse tensor."""
    if self.shape == the_template.shape:
        return self
    return sparse_resize_(self, the_template.shape, the_template.sparse_dim(), the_template.dense_dim())


@rule("is_same_size")
def is_same_size(self: Any, other: Any) -> bool:
    """Whether the shapes agree."""
    return self.shape == other.shape
