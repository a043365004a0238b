"""Functions of PyTorch in terms of ONNX's operators: arithmetic, reductions, shapes and indexing. `translations_nn.py` has layers and
losses.

A translation has the arguments of the public function; values stand for tensors (see `building.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from .. import dtypes
from ..vocabulary import Dims, Dtype, Function, Number, PerDim
from .building import Builder, Value, translates, wrong

__all__ = ["axis_of", "axes_of"]

B = Builder
Given: TypeAlias = Value | Number            # what stands for an operand: a value of the graph, or a number of the program
MAX = (1 << 63) - 1


def axis_of(x: Value, dim: int) -> int:
    """A dimension counted from the front."""
    return dim % max(x.rank, 1)


def axes_of(x: Value, dim: Dims) -> list[int]:
    """The dimensions of a reduction."""
    dims = list(range(x.rank)) if dim is None or dim == () or dim == [] else [dim] if isinstance(dim, int) else list(dim)
    return [axis_of(x, d) for d in dims]


# --- elementwise ----------------------------------------------------------------------------------------------------------------------

_UNARY = {"exp": "Exp", "log": "Log", "sqrt": "Sqrt", "tanh": "Tanh", "sigmoid": "Sigmoid", "expit": "Sigmoid", "erf": "Erf", "sin": "Sin",
          "cos": "Cos", "tan": "Tan", "asin": "Asin", "acos": "Acos", "atan": "Atan", "sinh": "Sinh", "cosh": "Cosh", "asinh": "Asinh",
          "acosh": "Acosh", "atanh": "Atanh", "reciprocal": "Reciprocal"}
_SAME_TYPE = {"abs": "Abs", "absolute": "Abs", "neg": "Neg", "negative": "Neg", "relu": "Relu", "floor": "Floor", "ceil": "Ceil",
              "round": "Round", "sign": "Sign"}


def _unary(name: str, kind: str, floats: bool) -> None:
    def translate(b: B, input: Value, inplace: bool = False) -> Value:
        x = b.cast(input, b.dtype) if floats else input
        if kind in ("Floor", "Ceil", "Round") and not x.dtype.is_floating_point:
            return x
        return b.op(kind, x)
    translates(name, name + "_")(translate)


for _name, _kind in _UNARY.items():
    _unary(_name, _kind, True)
for _name, _kind in _SAME_TYPE.items():
    _unary(_name, _kind, False)


@translates("rsqrt")
def _rsqrt(b: B, input: Value) -> Value:
    return b.op("Reciprocal", b.op("Sqrt", input))


@translates("square")
def _square(b: B, input: Value) -> Value:
    return b.op("Mul", input, input)


@translates("log2", "log10", "log1p", "expm1", "exp2")
def _log2(b: B, input: Value) -> Value:
    raise wrong("log2, log10, log1p, expm1 and exp2: write them with log and exp, which")


@translates("logical_not", "_invert", "bitwise_not")
def _not(b: B, input: Value) -> Value:
    return b.op("Not", b.cast(input, dtypes.bool_))


@translates("isnan")
def _isnan(b: B, input: Value) -> Value:
    return b.op("IsNaN", input)


@translates("isinf")
def _isinf(b: B, input: Value) -> Value:
    return b.op("IsInf", input)


def _binary(b: B, kind: str, a: Given, c: Given) -> Value:
    a, c = b.together(a, c)
    result = b.op(kind, a, c, dtype=a.dtype)
    return b.cast(result, b.dtype)


@translates("add", "add_", "__radd__", "__add__")
def _add(b: B, input: Given, other: Given, *, alpha: Number = 1) -> Value:
    return _binary(b, "Add", input, other if alpha == 1 else _binary(b, "Mul", other, alpha))


@translates("sub", "sub_", "subtract")
def _sub(b: B, input: Given, other: Given, *, alpha: Number = 1) -> Value:
    return _binary(b, "Sub", input, other if alpha == 1 else _binary(b, "Mul", other, alpha))


@translates("rsub", "__rsub__")
def _rsub(b: B, input: Given, other: Given, *, alpha: Number = 1) -> Value:
    return _sub(b, other, input, alpha=alpha)


@translates("mul", "mul_", "multiply")
def _mul(b: B, input: Given, other: Given) -> Value:
    if b.dtype is dtypes.bool_:
        return b.op("And", input, other)
    return _binary(b, "Mul", input, other)


@translates("div", "div_", "divide", "true_divide")
def _div(b: B, input: Given, other: Given, *, rounding_mode: str | None = None) -> Value:
    if rounding_mode is None:
        return b.op("Div", b.cast(input, b.dtype), b.cast(other, b.dtype))
    if rounding_mode == "floor":
        return _floor_divide(b, input, other)
    a, c = b.together(input, other)
    result = b.op("Div", a, c)
    return result if not b.dtype.is_floating_point else b.op("Mul", b.op("Floor", b.op("Abs", result)), b.op("Sign", result))


@translates("__rtruediv__")
def _rdiv(b: B, self: Given, other: Given) -> Value:
    return _div(b, other, self)


@translates("floor_divide", "__floordiv__")
def _floor_divide(b: B, input: Given, other: Given) -> Value:
    a, c = b.together(input, other)
    if a.dtype.is_floating_point:
        return b.op("Floor", b.op("Div", a, c))
    return b.cast(b.op("Floor", b.op("Div", b.cast(a, dtypes.float64), b.cast(c, dtypes.float64), dtype=dtypes.float64),
                       dtype=dtypes.float64), b.dtype)


@translates("remainder", "__mod__")
def _remainder(b: B, input: Given, other: Given) -> Value:
    a, c = b.together(input, other)
    if a.dtype.is_floating_point:
        return b.op("Sub", a, b.op("Mul", c, b.op("Floor", b.op("Div", a, c))))
    return b.op("Mod", a, c)


@translates("pow", "_power_operator", "pow_")
def _pow(b: B, input: Given, exponent: Given) -> Value:
    if isinstance(exponent, (int, float)) and not isinstance(input, (int, float)):
        if exponent == 2:
            return _square(b, b.cast(input, b.dtype))
        if exponent == 0.5:
            return b.op("Sqrt", b.cast(input, b.dtype))
    return b.op("Pow", b.cast(input, b.dtype), b.cast(exponent, b.dtype))


@translates("_reflected_power")
def _rpow(b: B, self: Given, other: Given) -> Value:
    return _pow(b, other, self)


@translates("maximum")
def _maximum(b: B, input: Given, other: Given) -> Value:
    return _binary(b, "Max", input, other)


@translates("minimum")
def _minimum(b: B, input: Given, other: Given) -> Value:
    return _binary(b, "Min", input, other)


@translates("atan2")
def _atan2(b: B, input: Value, other: Value) -> Value:
    raise wrong("atan2")


def _comparison(name: str, kind: str, negated: bool = False) -> None:
    def translate(b: B, input: Given, other: Given) -> Value:
        a, c = b.together(input, other)
        if kind != "Equal" and a.dtype is dtypes.bool_:
            a, c = b.cast(a, dtypes.int64), b.cast(c, dtypes.int64)
        r = b.op(kind, a, c, dtype=dtypes.bool_)
        return b.op("Not", r, dtype=dtypes.bool_) if negated else r
    translates(name, name + "_")(translate)


for _name, _kind in (("gt", "Greater"), ("lt", "Less"), ("ge", "GreaterOrEqual"), ("le", "LessOrEqual"), ("eq", "Equal")):
    _comparison(_name, _kind)
_comparison("ne", "Equal", True)


def _logical(name: str, kind: str) -> None:
    def translate(b: B, input: Given, other: Given) -> Value:
        if name.startswith("bitwise") and b.dtype is not dtypes.bool_:
            return b.op("Bitwise" + kind, *b.together(input, other))
        return b.op(kind, b.cast(input, dtypes.bool_), b.cast(other, dtypes.bool_))
    translates(name)(translate)


for _name, _kind in (("and", "And"), ("or", "Or"), ("xor", "Xor")):
    _logical("logical_" + _name, _kind)
    _logical("bitwise_" + _name, _kind)


@translates("where", "_where_method")
def _where(b: B, condition: Value, input: Given, other: Given) -> Value:
    return b.op("Where", b.cast(condition, dtypes.bool_), b.cast(input, b.dtype), b.cast(other, b.dtype))


@translates("masked_fill", "masked_fill_")
def _masked_fill(b: B, input: Value, mask: Value, value: Given) -> Value:
    return b.op("Where", mask, b.cast(value, b.dtype), input)


@translates("clamp", "clamp_", "clip")
def _clamp(b: B, input: Value, min: Given | None = None, max: Given | None = None) -> Value:
    x = b.cast(input, b.dtype)
    return b.op("Clip", x, None if min is None else b.cast(min, b.dtype), None if max is None else b.cast(max, b.dtype))


@translates("addcmul")
def _addcmul(b: B, input: Value, tensor1: Value, tensor2: Value, *, value: Number = 1) -> Value:
    return _add(b, input, _mul(b, tensor1, tensor2), alpha=value)


@translates("lerp")
def _lerp(b: B, input: Value, end: Value, weight: Given) -> Value:
    return b.op("Add", input, b.op("Mul", b.op("Sub", end, input), b.cast(weight, b.dtype)))


@translates("detach", "clone", "contiguous", "alias", "requires_grad_", "data", "cpu", "detach_")
def _same(b: B, input: Value, *args: Any, **kwargs: Any) -> Value:
    return input


@translates("to", "type", "type_as", "float", "double", "half", "bfloat16", "long", "int", "short", "char", "byte", "bool", "cast")
def _to(b: B, input: Value, *args: Any, **kwargs: Any) -> Value:
    return b.cast(input, b.dtype)


# --- reductions -----------------------------------------------------------------------------------------------------------------------

def reduced(b: B, kind: str, x: Value, dim: Dims, keepdim: bool) -> Value:
    """A reduction along dimensions."""
    axes = axes_of(x, dim)
    if not x.rank:
        return x
    return b.op(kind, x, axes, keepdims=int(keepdim), dtype=x.dtype)


@translates("sum")
def _sum(b: B, input: Value, dim: Dims = None, keepdim: bool = False, *, dtype: Dtype = None) -> Value:
    return reduced(b, "ReduceSum", b.cast(input, b.dtype), dim, keepdim)


@translates("mean")
def _mean(b: B, input: Value, dim: Dims = None, keepdim: bool = False, *, dtype: Dtype = None) -> Value:
    return reduced(b, "ReduceMean", b.cast(input, b.dtype), dim, keepdim)


@translates("prod")
def _prod(b: B, input: Value, dim: Dims = None, keepdim: bool = False, *, dtype: Dtype = None) -> Value:
    return reduced(b, "ReduceProd", b.cast(input, b.dtype), dim, keepdim)


@translates("amax")
def _amax(b: B, input: Value, dim: Dims = (), keepdim: bool = False) -> Value:
    return reduced(b, "ReduceMax", input, dim, keepdim)


@translates("amin")
def _amin(b: B, input: Value, dim: Dims = (), keepdim: bool = False) -> Value:
    return reduced(b, "ReduceMin", input, dim, keepdim)


def _extreme(name: str, reduce: str, arg: str, pair: str) -> None:
    def translate(b: B, input: Value, dim: Dims | Value = None, keepdim: bool = False) -> Any:
        if isinstance(dim, Value):
            return _binary(b, pair, input, dim)
        if dim is None:
            return reduced(b, reduce, input, None, False)
        return [reduced(b, reduce, input, dim, keepdim),
                b.op(arg, input, axis=axis_of(input, dim), keepdims=int(keepdim), dtype=dtypes.int64)]

    def index(b: B, input: Value, dim: Dims = None, keepdim: bool = False) -> Value:
        if dim is None:
            return b.op("Squeeze", b.op(arg, b.op("Reshape", input, [-1]), axis=0, keepdims=0, dtype=dtypes.int64), dtype=dtypes.int64)
        return b.op(arg, input, axis=axis_of(input, dim), keepdims=int(keepdim), dtype=dtypes.int64)
    translates(name)(translate)
    translates("arg" + name)(index)


_extreme("max", "ReduceMax", "ArgMax", "Max")
_extreme("min", "ReduceMin", "ArgMin", "Min")


def _variance(b: B, x: Value, dim: Dims, correction: float, keepdim: bool) -> Value:
    axes = axes_of(x, dim)
    centred = b.op("Sub", x, reduced(b, "ReduceMean", x, axes, True), shape=x.shape)
    total = reduced(b, "ReduceSum", b.op("Mul", centred, centred, shape=x.shape), axes, keepdim)
    sizes = b.op("Gather", b.op("Shape", x, dtype=dtypes.int64), axes, axis=0, dtype=dtypes.int64)
    count = b.cast(b.op("ReduceProd", sizes, keepdims=0, dtype=dtypes.int64, shape=[]), x.dtype)
    return b.op("Div", total, b.op("Sub", count, b.cast(float(correction), x.dtype)) if correction else count)


def _spread(name: str) -> None:
    def translate(b: B, input: Value, dim: Dims | Value = None, unbiased: bool | None = None, keepdim: bool = False, *,
                  correction: float | None = None) -> Value:
        if isinstance(dim, bool):
            dim, unbiased = None, dim
        r = _variance(b, input, dim, 1 if correction is None and unbiased is None else int(unbiased) if correction is None else correction,
                      keepdim)
        return b.op("Sqrt", r) if name == "std" else r
    translates(name)(translate)


_spread("var")
_spread("std")


@translates("norm", "vector_norm")
def _norm(b: B, input: Value, p: Number | str = 2, dim: Dims = None, keepdim: bool = False, dtype: Dtype = None) -> Value:
    if p in (2, 2.0, "fro"):
        return reduced(b, "ReduceL2", input, dim, keepdim)
    if p == 1:
        return reduced(b, "ReduceL1", input, dim, keepdim)
    raise wrong(f"norm with p={p}")


@translates("logsumexp")
def _logsumexp(b: B, input: Value, dim: Dims, keepdim: bool = False) -> Value:
    return reduced(b, "ReduceLogSumExp", input, dim, keepdim)


@translates("cumsum")
def _cumsum(b: B, input: Value, dim: int, *, dtype: Dtype = None) -> Value:
    return b.op("CumSum", b.cast(input, b.dtype), axis_of(input, dim))


@translates("topk")
def _topk(b: B, input: Value, k: Given, dim: int = -1, largest: bool = True, sorted: bool = True) -> list[Value]:
    values, indices = b.op("TopK", input, b.ints(k), outputs=2, axis=axis_of(input, dim), largest=int(largest), sorted=int(sorted))
    return [values, Value(indices.name, dtypes.int64, indices.shape)]


@translates("sort")
def _sort(b: B, input: Value, dim: int = -1, descending: bool = False, stable: bool = False) -> list[Value]:
    axis = axis_of(input, dim)
    size = b.op("Gather", b.op("Shape", input, dtype=dtypes.int64), [axis], axis=0, dtype=dtypes.int64, shape=[1])
    values, indices = b.op("TopK", input, size, outputs=2, axis=axis, largest=int(descending), sorted=1)
    return [values, Value(indices.name, dtypes.int64, indices.shape)]


@translates("any")
def _any(b: B, input: Value, dim: Dims = None, keepdim: bool = False) -> Value:
    return b.cast(reduced(b, "ReduceMax", b.cast(input, dtypes.int32), dim, keepdim), dtypes.bool_)


@translates("all")
def _all(b: B, input: Value, dim: Dims = None, keepdim: bool = False) -> Value:
    return b.cast(reduced(b, "ReduceMin", b.cast(input, dtypes.int32), dim, keepdim), dtypes.bool_)


# --- shapes ---------------------------------------------------------------------------------------------------------------------------

def _packed(values: tuple[Any, ...]) -> list[Any]:
    return list(values[0]) if len(values) == 1 and isinstance(values[0], (list, tuple)) else list(values)


@translates("reshape", "view", "view_as", "reshape_as", "_unsafe_view")
def _reshape(b: B, input: Value, *shape: Any, **kwargs: Any) -> Value:
    given = list(kwargs.get("shape", kwargs.get("size", ()))) or _packed(shape)
    if len(given) == 1 and isinstance(given[0], Value) and not given[0].number:
        return b.op("Reshape", input, b.op("Shape", given[0], dtype=dtypes.int64, shape=[given[0].rank]))
    return b.op("Reshape", input, b.ints(given), allowzero=1 if 0 in given else None)


@translates("flatten")
def _flatten(b: B, input: Value, start_dim: int = 0, end_dim: int = -1) -> Value:
    if not input.rank:
        return b.op("Reshape", input, [1])
    start, end = axis_of(input, start_dim), axis_of(input, end_dim)
    if start == end:
        return input
    if end == input.rank - 1:
        return b.op("Reshape", input, [0] * start + [-1])
    tail = b.op("Shape", input, start=end + 1, dtype=dtypes.int64, shape=[input.rank - end - 1])
    return b.op("Reshape", input, b.op("Concat", b.ints([0] * start + [-1]), tail, axis=0, dtype=dtypes.int64))


@translates("unflatten")
def _unflatten(b: B, input: Value, dim: int, sizes: Sequence[Given]) -> Value:
    axis = axis_of(input, dim)
    shape = b.op("Shape", input, dtype=dtypes.int64, shape=[input.rank])
    parts = [b.op("Slice", shape, [0], [axis], dtype=dtypes.int64), b.ints(sizes),
             b.op("Slice", shape, [axis + 1], [MAX], dtype=dtypes.int64)]
    return b.op("Reshape", input, b.op("Concat", *parts, axis=0, dtype=dtypes.int64))


@translates("transpose", "swapaxes", "swapdims")
def _transpose(b: B, input: Value, dim0: int, dim1: int) -> Value:
    if not input.rank:
        return input
    order = list(range(input.rank))
    one, two = axis_of(input, dim0), axis_of(input, dim1)
    order[one], order[two] = order[two], order[one]
    return b.op("Transpose", input, perm=order)


@translates("t", "T")
def _t(b: B, input: Value) -> Value:
    return b.op("Transpose", input, perm=list(range(input.rank))[::-1]) if input.rank > 1 else input


@translates("mT")
def _mt(b: B, input: Value) -> Value:
    return _transpose(b, input, -1, -2)


@translates("permute")
def _permute(b: B, input: Value, *dims: Any) -> Value:
    return b.op("Transpose", input, perm=[axis_of(input, d) for d in _packed(dims)])


@translates("movedim", "moveaxis")
def _movedim(b: B, input: Value, source: PerDim, destination: PerDim) -> Value:
    given = [axis_of(input, d) for d in ([source] if isinstance(source, int) else source)]
    places = [axis_of(input, d) for d in ([destination] if isinstance(destination, int) else destination)]
    rest = iter([i for i in range(input.rank) if i not in given])
    return b.op("Transpose", input, perm=[given[places.index(i)] if i in places else next(rest) for i in range(input.rank)])


@translates("unsqueeze")
def _unsqueeze(b: B, input: Value, dim: int) -> Value:
    return b.op("Unsqueeze", input, [dim % (input.rank + 1)])


@translates("squeeze")
def _squeeze(b: B, input: Value, dim: Dims = None) -> Value:
    axes = [i for i in (range(input.rank) if dim is None else axes_of(input, dim)) if input.shape[i] == 1]
    return b.op("Squeeze", input, axes) if axes else input


@translates("expand", "expand_as", "broadcast_to")
def _expand(b: B, self: Value, *size: Any) -> Value:
    given = _packed(size)
    if len(given) == 1 and isinstance(given[0], Value) and not given[0].number:
        return b.op("Expand", self, b.op("Shape", given[0], dtype=dtypes.int64))
    return b.op("Expand", self, b.ints([1 if not isinstance(n, Value) and n == -1 else n for n in given]))


@translates("repeat", "tile")
def _repeat(b: B, self: Value, *repeats: Any) -> Value:
    counts = _packed(repeats)
    x = self
    if len(counts) > x.rank:
        x = b.op("Unsqueeze", x, list(range(len(counts) - x.rank)), shape=[1] * (len(counts) - x.rank) + x.shape)
    return b.op("Tile", x, b.ints([1] * (x.rank - len(counts)) + counts))


@translates("cat", "concat", "concatenate")
def _cat(b: B, tensors: Sequence[Value], dim: int = 0) -> Value:
    values = [b.cast(each, b.dtype) for each in tensors if each.shape != [0]]
    return values[0] if len(values) == 1 else b.op("Concat", *values, axis=axis_of(values[0], dim))


@translates("stack")
def _stack(b: B, tensors: Sequence[Value], dim: int = 0) -> Value:
    axis = dim % (tensors[0].rank + 1)
    return b.op("Concat", *[b.op("Unsqueeze", b.cast(each, b.dtype), [axis]) for each in tensors], axis=axis)


def _pieces(b: B, x: Value, axis: int, lengths: list[int]) -> list[Value]:
    if len(lengths) == 1:
        return [x]
    made = b.op("Split", x, lengths, outputs=len(lengths), axis=axis)
    for each, shape in zip(made, b.shapes, strict=True):
        each.shape = shape
    return made


@translates("split", "split_with_sizes")
def _split(b: B, tensor: Value, split_size_or_sections: PerDim, dim: int = 0) -> list[Value]:
    axis = axis_of(tensor, dim)
    return _pieces(b, tensor, axis, [shape[axis] for shape in b.shapes])


@translates("chunk", "tensor_split")
def _chunk(b: B, input: Value, chunks: int, dim: int = 0) -> list[Value]:
    return _split(b, input, chunks, dim)


@translates("unbind", "__iter__")
def _unbind(b: B, input: Value, dim: int = 0) -> list[Value]:
    axis = axis_of(input, dim)
    return [b.op("Gather", input, i, axis=axis, shape=shape) for i, shape in enumerate(b.shapes)]


@translates("select")
def _select(b: B, input: Value, dim: int, index: Given) -> Value:
    return b.op("Gather", input, index, axis=axis_of(input, dim))


@translates("narrow")
def _narrow(b: B, input: Value, dim: int, start: Given, length: Given) -> Value:
    end = start + length if isinstance(start, int) and isinstance(length, int) else b.op("Add", start, length, dtype=dtypes.int64)
    return b.op("Slice", input, b.ints(start), b.ints(end), [axis_of(input, dim)])


@translates("flip")
def _flip(b: B, input: Value, *dims: Any) -> Value:
    axes = [axis_of(input, d) for d in _packed(dims)]
    return b.op("Slice", input, [-1] * len(axes), [-MAX] * len(axes), axes, [-1] * len(axes))


@translates("roll")
def _roll(b: B, input: Value, shifts: PerDim, dims: Dims = None) -> Value:
    if dims is None:
        raise wrong("roll without dims")
    x = input
    for shift, dim in zip([shifts] if isinstance(shifts, int) else shifts, [dims] if isinstance(dims, int) else dims, strict=True):
        axis = axis_of(input, dim)
        parts = [b.op("Slice", x, [-shift], [MAX], [axis]), b.op("Slice", x, [0], [-shift], [axis])]
        x = b.op("Concat", *parts, axis=axis)
    return x


@translates("tril", "tril_")
def _tril(b: B, input: Value, diagonal: int = 0) -> Value:
    return b.op("Trilu", input, b.value(diagonal), upper=0)


@translates("triu", "triu_")
def _triu(b: B, input: Value, diagonal: int = 0) -> Value:
    return b.op("Trilu", input, b.value(diagonal), upper=1)


# --- indexing and creation ------------------------------------------------------------------------------------------------------------

@translates("getitem", "__getitem__")
def _getitem(b: B, self: Value, index: Any) -> Value:
    items = list(index) if isinstance(index, tuple) else [index]
    tensors = [each for each in items if isinstance(each, Value) and not each.number]
    if len(tensors) > 1 or any(each.dtype is dtypes.bool_ or each.dtype is dtypes.uint8
                               for each in tensors) or any(isinstance(each, (list, bool)) for each in items):
        raise wrong("indexing with several tensors, with a mask or with a list")
    if Ellipsis in [each for each in items if not isinstance(each, Value)]:
        at = next(i for i, each in enumerate(items) if each is Ellipsis)
        items[at:at + 1] = [slice(None)] * (self.rank - sum(each is not None for each in items) + 1)
    x, axis = self, 0
    for each in items:
        if each is None:
            x = b.op("Unsqueeze", x, [axis])
            axis += 1
        elif isinstance(each, slice):
            if each != slice(None):
                step = 1 if each.step is None else each.step
                x = b.op("Slice", x, b.ints(0 if each.start is None else each.start), b.ints(MAX if each.stop is None else each.stop),
                         [axis], [step])
            axis += 1
        else:
            x = b.op("Gather", x, each, axis=axis)
            axis += each.rank if isinstance(each, Value) and not each.number else 0
    return x


@translates("gather")
def _gather(b: B, input: Value, dim: int, index: Value, *, sparse_grad: bool = False) -> Value:
    return b.op("GatherElements", input, index, axis=axis_of(input, dim))


@translates("index_select")
def _index_select(b: B, input: Value, dim: int, index: Value) -> Value:
    return b.op("Gather", input, index, axis=axis_of(input, dim))


@translates("scatter")
def _scatter(b: B, input: Value, dim: int, index: Value, src: Given | None = None, *, value: Given | None = None) -> Value:
    src = value if src is None else src
    if not isinstance(src, Value):
        src = b.op("Expand", b.value(src, b.dtype), b.op("Shape", index, dtype=dtypes.int64))
    return b.op("ScatterElements", input, index, src, axis=axis_of(input, dim))


@translates("scatter_add")
def _scatter_add(b: B, input: Value, dim: int, index: Value, src: Value) -> Value:
    return b.op("ScatterElements", input, index, src, axis=axis_of(input, dim), reduction="add")


def _filled(b: B, size: Sequence[Given], value: Given) -> Value:
    return b.op("Expand", b.value(value, b.dtype), b.ints(size)) if size else b.value(value, b.dtype)


@translates("zeros", "new_zeros", "ones", "new_ones", "empty", "new_empty")
def _constant(b: B, *size: Any, **kwargs: Any) -> Value:
    function = kwargs.pop("_function")
    given = [each for each in size if not (isinstance(each, Value) and not each.number)]
    return _filled(b, list(kwargs.get("size", ())) or _packed(tuple(given)), 1 if "ones" in function else 0)


@translates("full", "new_full")
def _full(b: B, *args: Any, **kwargs: Any) -> Value:
    given = [each for each in args if not (isinstance(each, Value) and not each.number)]
    return _filled(b, given[0] if given else kwargs["size"], given[1] if len(given) > 1 else kwargs["fill_value"])


def _like(value: Number | None) -> Function:
    def translate(b: B, input: Value, *args: Any, **kwargs: Any) -> Value:
        filler = value if value is not None else args[0] if args else kwargs["fill_value"]
        return b.op("Expand", b.value(filler, b.dtype), b.op("Shape", input, dtype=dtypes.int64))
    return translate


for _name, _value in (("zeros_like", 0), ("ones_like", 1), ("empty_like", 0), ("full_like", None)):
    translates(_name)(_like(_value))


@translates("arange")
def _arange(b: B, start: Given, end: Given | None = None, step: Given = 1, **kwargs: Any) -> Value:
    start, end = (0, start) if end is None else (start, end)
    return b.op("Range", *[b.cast(each, b.dtype) if isinstance(each, Value) else b.value(each, b.dtype) for each in (start, end, step)])


@translates("one_hot")
def _one_hot(b: B, input: Value, num_classes: int = -1) -> Value:
    return b.op("OneHot", input, b.value(b.shape[-1]), b.constant(np.array([0, 1]), dtypes.int64))


# --- sizes ----------------------------------------------------------------------------------------------------------------------------

@translates("size_of")
def _size_of(b: B, x: Value, dim: int) -> Value:
    found = b.op("Gather", b.op("Shape", x, dtype=dtypes.int64, shape=[x.rank]), dim, axis=0, dtype=dtypes.int64, shape=[])
    found.number = True
    return found


def on_sizes(b: B, name: str, one: Given, two: Given) -> Value:
    """Arithmetic with sizes."""
    kind = {"add": "Add", "sub": "Sub", "mul": "Mul", "floordiv": "Div", "mod": "Mod"}[name]
    found = b.op(kind, b.value(one), b.value(two), dtype=dtypes.int64, shape=[])
    found.number = True
    return found

