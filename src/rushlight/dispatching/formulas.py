"""Formulas of `derivatives.py`: what PyTorch's backward pass calls, in its order."""

from __future__ import annotations

from typing import Any

from ..ops import aten as A
from .derivatives import Context, rule
from .lowering import reshape

__all__: list[str] = []

Found = dict[str, Any]


def _scaled(g: Any, factor: Any) -> Any:
    return g if factor == 1 else A.mul.Tensor(g, factor)


# --- arithmetic -----------------------------------------------------------------------------------------------------------------------

@rule("add")
def _add(c: Context, g: Any) -> Found:
    return {"self": g, "other": lambda: _scaled(g, c.alpha)}


@rule("sub")
def _sub(c: Context, g: Any) -> Found:
    return {"self": g, "other": lambda: _scaled(A.neg.default(g), c.alpha)}


@rule("rsub")
def _rsub(c: Context, g: Any) -> Found:
    return {"self": lambda: A.neg.default(g), "other": g}


@rule("mul", saved="self other")
def _mul(c: Context, g: Any) -> Found:
    return {"self": lambda: A.mul.Tensor(g, c.other), "other": lambda: A.mul.Tensor(g, c.self)}


@rule("div", saved="self other")
def _div(c: Context, g: Any) -> Found:
    return {"self": lambda: A.div.Tensor(g, c.other),
            "other": lambda: A.mul.Tensor(A.neg.default(g), A.div.Tensor(A.div.Tensor(c.self, c.other), c.other))}


@rule("pow", saved="self")
def _pow(c: Context, g: Any) -> Found:
    if not isinstance(c.exponent, (int, float)):
        raise NotImplementedError("the gradient of pow by its exponent, operator by operator")
    return {"self": lambda: A.mul.Tensor(g, A.mul.Scalar(A.pow.Tensor_Scalar(c.self, float(c.exponent) - 1), float(c.exponent)))}


@rule("neg")
def _neg(c: Context, g: Any) -> Found:
    return {"self": lambda: A.neg.default(g)}


@rule("exp", results=[0])
def _exp(c: Context, g: Any) -> Found:
    return {"self": A.mul.Tensor(g, c.result())}


@rule("log", saved="self")
def _log(c: Context, g: Any) -> Found:
    return {"self": A.div.Tensor(g, c.self)}


@rule("sqrt", results=[0])
def _sqrt(c: Context, g: Any) -> Found:
    return {"self": A.div.Tensor(g, A.mul.Scalar(c.result(), 2))}


@rule("rsqrt", results=[0])
def _rsqrt(c: Context, g: Any) -> Found:
    return {"self": A.mul.Tensor(A.mul.Scalar(g, -0.5), A.pow.Tensor_Scalar(c.result(), 3))}


@rule("reciprocal", results=[0])
def _reciprocal(c: Context, g: Any) -> Found:
    y = c.result()
    return {"self": A.mul.Tensor(A.neg.default(g), A.mul.Tensor(y, y))}


@rule("abs", saved="self")
def _abs(c: Context, g: Any) -> Found:
    return {"self": A.mul.Tensor(g, A.sgn.default(c.self))}


@rule("sin", saved="self")
def _sin(c: Context, g: Any) -> Found:
    return {"self": A.mul.Tensor(g, A.cos.default(c.self))}


@rule("cos", saved="self")
def _cos(c: Context, g: Any) -> Found:
    return {"self": A.mul.Tensor(g, A.neg.default(A.sin.default(c.self)))}


@rule("clamp", saved="self")
def _clamp(c: Context, g: Any) -> Found:
    zero = A.scalar_tensor.default(0.0, dtype=g.dtype)
    mask = None
    if c.min is not None:
        mask = A.ge.Scalar(c.self, c.min)
    if c.max is not None:
        upper = A.le.Scalar(c.self, c.max)
        mask = upper if mask is None else A.logical_and_.default(mask, upper)
    return {"self": A.where.self(mask, g, zero)}


@rule("where", saved="condition")
def _where(c: Context, g: Any) -> Found:
    zero = A.scalar_tensor.default(0.0, dtype=g.dtype)
    first = "self" if "self" in c.edges else "input"
    return {first: lambda: A.where.self(c.condition, g, zero), "other": lambda: A.where.self(c.condition, zero, g)}


@rule("masked_fill", saved="mask")
def _masked_fill(c: Context, g: Any) -> Found:
    return {"self": lambda: A.masked_fill.Scalar(g, c.mask, 0)}


# --- reductions -----------------------------------------------------------------------------------------------------------------------

def _keepdim(c: Context) -> bool:
    return bool(getattr(c, "keepdim", False))


def _restored(g: Any, shape: list[int], dim: Any, keepdim: bool) -> Any:
    """A gradient with the dimensions that were reduced away."""
    if keepdim or not shape:
        return g
    dims = sorted({d % len(shape) for d in ([dim] if isinstance(dim, int) else dim)})
    for d in dims:
        g = A.unsqueeze.default(g, d)
    return g


@rule("sum")
def _sum(c: Context, g: Any) -> Found:
    dim = getattr(c, "dim", None)
    return {"self": A.expand.default(g if dim is None or dim == [] else _restored(g, c.shape, dim, _keepdim(c)), c.shape)}


@rule("mean")
def _mean(c: Context, g: Any) -> Found:
    shape, dim = c.shape, getattr(c, "dim", None)
    dims = list(range(len(shape))) if dim is None or dim == [] else [dim] if isinstance(dim, int) else list(dim)
    count = 1
    for d in dims:
        count *= shape[d]
    spread = A.expand.default(g if dim is None or dim == [] else _restored(g, shape, dims, _keepdim(c)), shape)
    return {"self": A.div.Scalar(spread, count)}


@rule("var", saved="self")
def _var(c: Context, g: Any) -> Found:
    dims = list(range(len(c.shape))) if c.dim is None else [c.dim] if isinstance(c.dim, int) else list(c.dim)
    count = 1
    for d in dims:
        count *= c.shape[d]
    correction = 1 if c.correction is None else c.correction
    g = g if c.dim is None else _restored(g, c.shape, dims, _keepdim(c))
    centred = A.sub.Tensor(c.self, A.mean.dim(c.self, dims, True))
    return {"self": A.mul.Tensor(A.mul.Scalar(g, 2.0 / (count - correction)), centred)}


@rule("max.dim", "min.dim", quiet=[1])
def _extreme_along(c: Context, g: Any) -> Found:
    g, where = g[0] if isinstance(g, list) else g, c._results[0]
    if not _keepdim(c) and c.shape:
        g, where = A.unsqueeze.default(g, c.dim), A.unsqueeze.default(where, c.dim)
    return {"self": A.scatter.src(A.new_zeros.default(g, c.shape), c.dim, where, g)}


@rule("max.default", "min.default", saved="self", results=[0])
def _extreme(c: Context, g: Any) -> Found:
    y = c.result()
    mask = A.logical_and.default(A.isnan.default(c.self), A.isnan.default(y))
    mask = A.logical_or_.default(mask, A.eq.Tensor(c.self, y))
    return {"self": A.mul.Tensor(A.div.Tensor(g, A.sum.default(mask)), mask)}


@rule("cumsum")
def _cumsum(c: Context, g: Any) -> Found:
    return {"self": A.flip.default(A.cumsum.default(A.flip.default(g, [c.dim]), c.dim), [c.dim])}


# --- shapes ---------------------------------------------------------------------------------------------------------------------------

@rule("view", "_unsafe_view")
def _view(c: Context, g: Any) -> Found:
    return {"self": reshape(g, c.shape)}


@rule("t")
def _t(c: Context, g: Any) -> Found:
    return {"self": A.t.default(g)}


@rule("transpose")
def _transpose(c: Context, g: Any) -> Found:
    return {"self": A.transpose.int(g, c.dim0, c.dim1)}


@rule("permute")
def _permute(c: Context, g: Any) -> Found:
    dims = [d % len(c.dims) for d in c.dims]
    return {"self": A.permute.default(g, [dims.index(i) for i in range(len(dims))])}


@rule("expand")
def _expand(c: Context, g: Any) -> Found:
    shape, have = c.shape, [int(n) for n in g._a.shape]
    lead = len(have) - len(shape)
    dims = [*range(lead), *[i + lead for i, n in enumerate(shape) if n == 1 and have[i + lead] != 1]]
    if dims:
        g = A.sum.dim_IntList(g, dims, True)
    return {"self": A.view.default(g, shape) if lead else g}


@rule("squeeze", "squeeze_")
def _squeeze(c: Context, g: Any) -> Found:
    shape = c.shape
    dim = getattr(c, "dim", None)
    dims = range(len(shape)) if dim is None else [dim] if isinstance(dim, int) else dim
    for d in sorted(d % len(shape) for d in dims if shape and shape[d] == 1):
        g = A.unsqueeze.default(g, d)
    return {"self": g}


@rule("unsqueeze")
def _unsqueeze(c: Context, g: Any) -> Found:
    return {"self": A.squeeze.dim(g, c.dim)}


@rule("clone", "alias", "contiguous")
def _same(c: Context, g: Any) -> Found:
    return {"self": g}


@rule("_to_copy", "to")
def _to_copy(c: Context, g: Any) -> Found:
    return {"self": A._to_copy.default(g, dtype=c.source) if g.dtype is not c.source else g}


@rule("cat")
def _cat(c: Context, g: Any) -> Found:
    grads, at = [], 0
    for i, shape in enumerate(c.shapes["tensors"]):
        n = shape[c.dim]
        grads.append(A.slice.Tensor(g, c.dim, at, at + n) if c.want(f"tensors.{i}") else None)
        at += n
    return {"tensors": grads}


@rule("stack")
def _stack(c: Context, g: Any) -> Found:
    return {"tensors": [A.select.int(g, c.dim, i) if c.want(f"tensors.{i}") else None for i in range(len(c.shapes["tensors"]))]}


def _filled(grads: list[Any], shapes: list[list[int]]) -> list[Any]:
    some = next(each for each in grads if each is not None)
    return [A.zeros.default(shape, dtype=some.dtype, device=some.device) if each is None else each
            for each, shape in zip(grads, shapes, strict=True)]


@rule("split", "split_with_sizes")
def _split(c: Context, g: Any) -> Found:
    n = c.shape[c.dim]
    size = c.__dict__.get("split_size_or_sections", c.__dict__.get("split_size", c.__dict__.get("split_sizes")))
    lengths = list(size) if isinstance(size, (list, tuple)) else [min(size, n - i) for i in range(0, n, size)]
    shapes = [[*c.shape[:c.dim % len(c.shape)], length, *c.shape[c.dim % len(c.shape) + 1:]] for length in lengths]
    return {"self": A.cat.default(_filled(g if isinstance(g, list) else [g], shapes), *((c.dim,) if c.dim else ()))}


@rule("unbind")
def _unbind(c: Context, g: Any) -> Found:
    shape = [n for i, n in enumerate(c.shape) if i != c.dim % len(c.shape)]
    grads = g if isinstance(g, list) else [g]
    return {"self": A.stack.default(_filled(grads, [shape] * len(grads)), *((c.dim,) if c.dim else ()))}


# --- indexing -------------------------------------------------------------------------------------------------------------------------

@rule("select")
def _select(c: Context, g: Any) -> Found:
    return {"self": A.select_backward.default(g, c.shape, c.dim, c.index)}


@rule("slice")
def _slice(c: Context, g: Any) -> Found:
    n = c.shape[c.dim]
    end = n if c.end is None else c.end
    return {"self": A.slice_backward.default(g, c.shape, c.dim, c.start or 0, end, c.step)}


@rule("index", saved="indices")
def _index(c: Context, g: Any) -> Found:
    return {"self": A.index_put.default(A.new_zeros.default(g, c.shape), c.indices, g, True)}


@rule("gather", saved="index")
def _gather(c: Context, g: Any) -> Found:
    return {"self": A.scatter_add.default(A.new_zeros.default(g, c.shape), c.dim, c.index, g)}


@rule("embedding", saved="indices input")
def _embedding(c: Context, g: Any) -> Found:
    indices = c.__dict__.get("indices")
    padding = c.__dict__.get("padding_idx")
    return {"weight": A.embedding_dense_backward.default(g, indices, c.shapes["weight"][0], -1 if padding is None else padding,
                                                         c.scale_grad_by_freq)}


# --- products -------------------------------------------------------------------------------------------------------------------------

def _is_column_major(x: Any) -> bool:
    steps = x.stride()
    return steps[0] == 1 and steps[1] == x._a.shape[0]


def _by_first(g: Any, first: tuple[bool, Any], second: Any) -> Any:
    if first[0]:
        return A.t.default(A.mm.default(second, A.t.default(g)))
    return A.mm.default(g, A.t.default(second))


def _by_second(g: Any, first: Any, second: Any) -> Any:
    if _is_column_major(second):
        return A.t.default(A.mm.default(A.t.default(g), first))
    return A.mm.default(A.t.default(first), g)


@rule("mm", saved="self mat2")
def _mm(c: Context, g: Any) -> Found:
    return {"mat2": lambda: _by_second(g, c.self, c.mat2), "self": lambda: _by_first(g, (_is_column_major(c.self), c.self), c.mat2)}


@rule("addmm", saved="mat1 mat2")
def _addmm(c: Context, g: Any) -> Found:
    return {"mat1": lambda: _scaled(_by_first(g, (_is_column_major(c.mat1), c.mat1), c.mat2), c.alpha),
            "mat2": lambda: _scaled(_by_second(g, c.mat1, c.mat2), c.alpha), "self": lambda: _scaled(g, c.beta)}


@rule("bmm", saved="self mat2")
def _bmm(c: Context, g: Any) -> Found:
    return {"mat2": lambda: A.bmm.default(A.transpose.int(c.self, 1, 2), g),
            "self": lambda: A.bmm.default(g, A.transpose.int(c.mat2, 1, 2))}


@rule("mv", saved="self vec")
def _mv(c: Context, g: Any) -> Found:
    return {"self": lambda: A.mul.Tensor(A.view.default(g, [c.shape[0], 1]), c.vec), "vec": lambda: A.mv.default(A.t.default(c.self), g)}


@rule("dot", saved="self tensor")
def _dot(c: Context, g: Any) -> Found:
    return {"self": lambda: A.mul.Tensor(g, c.tensor), "tensor": lambda: A.mul.Tensor(g, c.self)}
