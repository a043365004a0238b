"""The rules of DTensors whose results have other shapes: products, reductions, views, lookups, losses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import rushlight as torch

from ...autograd.function import Function
from ...tensor import Tensor
from ...vocabulary import Dims
from .dtensor import DTensor, wrapped
from .moving import offset
from .placement_types import Partial, Replicate, Shard
from .rules import Plan, execute, gathered, name_of, pointwise, rule

if TYPE_CHECKING:
    from ..device_mesh import DeviceMesh

__all__ = ["along", "linear", "matmul"]

R = Replicate()

# --- products -----------------------------------------------------------------------------------------------------------------------------


def _product(a: DTensor, b: DTensor, mesh: DeviceMesh, turned: bool = False) -> Plan:
    """A plan for a[..., n, k] @ b[..., k, m] (`turned`: b[m, k])."""
    plan, out = Plan(2, mesh), max(a.dim(), b.dim())
    ak, an, bk, bm = a.dim() - 1, a.dim() - 2, b.dim() - (1 if turned else 2), b.dim() - (2 if turned else 1)
    for i in range(mesh.ndim):
        p, q = a.placements[i], b.placements[i]
        pd, qd = (x.dim if isinstance(x, Shard) else None for x in (p, q))
        if (pd == ak and qd in (bk, None)) or (qd == bk and pd in (ak, None)):
            plan.inputs[0][i], plan.inputs[1][i], plan.out[i] = Shard(ak), Shard(bk), Partial()
        elif pd == an:
            plan.cut(i, out - 2, a.shape[an], [an, None])
        elif qd == bm:
            plan.cut(i, out - 1, b.shape[bm], [None, bm])
        elif pd is not None and pd < an:
            d = pd - a.dim() + b.dim()
            plan.cut(i, pd - a.dim() + out, a.shape[pd], [pd, d if d >= 0 and b.shape[d] == a.shape[pd] else None])
        elif qd is not None and qd < min(bk, bm):
            d = qd - b.dim() + a.dim()
            plan.cut(i, qd - b.dim() + out, b.shape[qd], [d if d >= 0 and a.shape[d] == b.shape[qd] else None, qd])
    return plan


@rule("matmul", "mm", "bmm", "__matmul__", "__rmatmul__")
def matmul(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Products of matrices."""
    mesh, tensors = gathered(func, args, kwargs)
    if min(t.dim() for t in tensors) < 2:
        raise NotImplementedError(f"{name_of(func)} of DTensors needs matrices: unsqueeze the vector")
    a, b = reversed(tensors) if name_of(func) == "__rmatmul__" else tensors
    plan = _product(a, b, mesh)
    if name_of(func) == "__rmatmul__":
        plan.inputs.reverse()
    return execute(func, args, kwargs, mesh, tensors, plan)


@rule("linear")
def linear(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``F.linear``. Where the product is partial, each process adds its share of the bias."""
    given = dict(zip(("input", "weight", "bias"), args, strict=False)) | kwargs
    x, w, bias = given["input"], given["weight"], given.get("bias")
    tensors = [x, w] if bias is None else [x, w, bias]
    mesh, tensors = gathered(func, tuple(tensors), {})
    if x.dim() < 2:
        raise NotImplementedError("linear of a DTensor needs a matrix: unsqueeze the vector")
    plan = _product(x, w, mesh, turned=True)
    if bias is not None:
        plan.inputs.append(
            [Partial() if isinstance(p, Partial) else Shard(0) if isinstance(p, Shard) and p.dim == x.dim() - 1 else R for p in plan.out]
        )
    return execute(func, tuple(tensors), {}, mesh, tensors, plan)


@rule("addmm", "baddbmm")
def addmm(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A product and a sum, of functions that have rules."""
    given = dict(zip(("input", "mat1", "mat2"), args, strict=False)) | kwargs
    product = torch.matmul(given["mat1"] if "mat1" in given else given["batch1"], given["mat2"] if "mat2" in given else given["batch2"])
    return given["input"] * given.get("beta", 1) + product * given.get("alpha", 1)


# --- along dimensions ---------------------------------------------------------------------------------------------------------------------


def _dims(dim: Dims, ndim: int) -> list[int]:
    return (
        list(range(ndim))
        if dim is None or (isinstance(dim, (list, tuple)) and not dim)
        else [d % max(ndim, 1) for d in ([dim] if isinstance(dim, int) else dim)]
    )


def along(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], dims: Sequence[int], gone: bool,
          kind: str | None = None) -> Any:
    """What works along dimensions, which are not cut then, and leaves the others alone. `gone`: the result is without them.
    `kind`: cut ones may be reduced part by part, to a partial result of this kind."""
    mesh, tensors = gathered(func, args, kwargs)
    x, plan = tensors[0], Plan(len(tensors), mesh)
    for i, p in enumerate(x.placements):
        if isinstance(p, Shard) and p.dim in dims:
            if kind and (kind != "avg" or x.shape[p.dim] % mesh.size(i) == 0):
                plan.inputs[0][i], plan.out[i] = p, Partial(kind)
        elif isinstance(p, Shard):
            plan.cut(i, p.dim - sum(d < p.dim for d in dims) if gone else p.dim, x.shape[p.dim], [p.dim] + [None] * (len(tensors) - 1))
        elif isinstance(p, Partial) and kind:
            plan.inputs[0][i] = plan.out[i] = p
    kinds = {p.reduce_op for p in plan.out if isinstance(p, Partial)}
    if len(kinds) > 1 or (
        kinds
        and name_of(func) == "mean"
        and sum(isinstance(p, Shard) and p.dim in dims for p in x.placements) > 1
        and any(x.shape[d] % mesh.size() for d in dims)
    ):
        return along(func, args, kwargs, dims, gone)
    return execute(func, args, kwargs, mesh, tensors, plan)


def _reduction(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], kind: str | None) -> Any:
    x = args[0]
    dim = args[1] if len(args) > 1 and not isinstance(args[1], Tensor) else kwargs.get("dim", kwargs.get("axis"))
    keep = args[2] if len(args) > 2 and isinstance(args[2], bool) else kwargs.get("keepdim", False)
    dims = _dims(dim, x.dim())
    return along(func, args, kwargs, dims, not keep, kind)


@rule("sum")
def total(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A sum of parts is partial."""
    return _reduction(func, args, kwargs, "sum")


class _Share(Function):
    """The mean of a part is 1/count of the mean of all, in backward."""

    @staticmethod
    def forward(ctx: Any, local: Tensor, count: int) -> Tensor:
        ctx.count = count
        return local.view_as(local)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return grad / ctx.count, None


@rule("mean")
def mean(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """So is a mean of parts of one size."""
    found, count = _reduction(func, args, kwargs, "avg"), 1
    for i, (p, q) in enumerate(zip(args[0].placements, found.placements, strict=True)):
        count *= found.device_mesh.size(i) if isinstance(p, Shard) and isinstance(q, Partial) else 1
    if count > 1 and found.requires_grad:
        return wrapped(_Share.apply(found._local_tensor, count), found._spec)
    return found


@rule("amax", "amin", "prod", "all", "any", "var", "std", "logsumexp", "argmax", "argmin", "nanmean", "nansum", "count_nonzero", "median")
def reduced(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Reductions along dimensions that are not cut."""
    return _reduction(func, args, kwargs, None)


@rule("max", "min")
def extreme(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The largest of all, or along a dimension, or of two tensors."""
    if len(args) > 1 and isinstance(args[1], Tensor):
        return pointwise(func, args, kwargs)
    return _reduction(func, args, kwargs, None)


@rule("norm", "vector_norm")
def norm(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Lengths, made of sums of squares where parts are cut."""
    given = dict(zip(("input", "p", "dim", "keepdim"), args, strict=False)) | kwargs
    p = given.get("p", given.get("ord", 2))
    if p in (2, 2.0, None, "fro") and given.get("dim") is None and not given.get("keepdim"):
        x = given.get("input", given.get("x", args[0]))
        return (x * x).sum().sqrt()
    raise NotImplementedError("norm of a DTensor is there for p=2 over all elements: use abs, pow and sum")


@rule(
    "softmax",
    "log_softmax",
    "cumsum",
    "cumprod",
    "sort",
    "argsort",
    "topk",
    "flip",
    "roll",
    "tril",
    "triu",
    "glu",
    "normalize",
    "softmin",
    "gather",
    "index_select",
    "unbind",
    "split",
    "chunk",
    "tensor_split",
    "narrow",
    "select",
    "unfold",
    "diff",
)
def kept(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What works along one dimension, by the name `dim`."""
    x, name = args[0], name_of(func)
    place = {"split": 2, "chunk": 2, "tensor_split": 2, "topk": 2, "roll": 2}.get(name, 1)
    default = {"split": 0, "chunk": 0, "tensor_split": 0, "unbind": 0, "topk": -1, "sort": -1, "argsort": -1, "glu": -1, "normalize": 1}
    dim = args[place] if len(args) > place else kwargs.get("dim", kwargs.get("dims", default.get(name)))
    dims = [-2, -1] if name in ("tril", "triu") else dim
    if name in ("gather", "index_select") and any(
        isinstance(t, DTensor) and any(isinstance(p, Shard) for p in t.placements) for t in (*args[1:], *kwargs.values())
    ):
        raise NotImplementedError(f"{name} of a DTensor with an index that is cut: redistribute the index to Replicate()")
    found = _dims(dims, x.dim())
    return along(func, args, kwargs, range(x.dim()) if name == "gather" else found, name in ("select", "unbind"))


@rule("layer_norm", "rms_norm")
def layer_norm(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Along the last dimensions."""
    shape = args[1] if len(args) > 1 else kwargs["normalized_shape"]
    count = 1 if isinstance(shape, int) else len(shape)
    return along(func, args, kwargs, range(args[0].dim() - count, args[0].dim()), False)


@rule("scaled_dot_product_attention")
def attention(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Batches and heads may be cut, not sequences and features."""
    mesh, tensors = gathered(func, args, kwargs)
    q, plan = tensors[0], Plan(len(tensors), mesh)
    if args[4] if len(args) > 4 else kwargs.get("dropout_p", 0.0):
        raise NotImplementedError("scaled_dot_product_attention of DTensors has no dropout: there are no generators for them yet")
    for i, p in enumerate(q.placements):
        if isinstance(p, Shard) and p.dim < q.dim() - 2:
            cut = [p.dim - q.dim() + t.dim() for t in tensors]
            plan.cut(
                i,
                p.dim,
                q.shape[p.dim],
                [d if d >= 0 and t.shape[d] == q.shape[p.dim] else None for d, t in zip(cut, tensors, strict=True)],
            )
    return execute(func, args, kwargs, mesh, tensors, plan)


# --- lookups and losses -------------------------------------------------------------------------------------------------------------------


@rule("embedding")
def embedding(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Rows of a table. Of a table cut into rows each process finds those it has, and zeros for the others: a partial result."""
    given = (
        dict(zip(("input", "weight", "padding_idx", "max_norm", "norm_type", "scale_grad_by_freq", "sparse"), args, strict=False))
        | kwargs
    )
    ids, weight, padding = given.pop("input"), given.pop("weight"), given.pop("padding_idx", None)
    if given.get("max_norm") is not None or given.get("sparse") or given.get("scale_grad_by_freq"):
        raise NotImplementedError("embedding of DTensors has no max_norm, scale_grad_by_freq and sparse")
    mesh, (ids, weight) = gathered(func, (ids, weight), {})
    plan, rows = Plan(2, mesh), []
    for i in range(mesh.ndim):
        p, q = ids.placements[i], weight.placements[i]
        if isinstance(q, Shard) and q.dim == 1:
            plan.cut(i, ids.dim(), weight.shape[1], [None, 1])
        elif isinstance(p, Shard):
            plan.cut(i, p.dim, ids.shape[p.dim], [p.dim, None])
        elif isinstance(q, Shard):
            plan.inputs[1][i], plan.out[i] = q, Partial()
            rows.append(i)
    if padding is not None and padding < 0:
        padding += weight.shape[0]
    begin = offset(weight.shape, mesh, [p if i in rows else R for i, p in enumerate(weight.placements)])[0]

    def local(found: Tensor, table: Tensor) -> Any:
        if not rows:
            return torch.nn.functional.embedding(found, table, padding)
        here = (found >= begin) & (found < begin + table.shape[0])
        if not table.shape[0]:
            return found.new_zeros((*found.shape, table.shape[1]), dtype=table.dtype)
        at = (found - begin).clamp(0, table.shape[0] - 1)
        own = None if padding is None or not begin <= padding < begin + table.shape[0] else padding - begin
        return torch.nn.functional.embedding(at, table, own) * here.unsqueeze(-1)

    return execute(local, (ids, weight), {}, mesh, [ids, weight], plan)


@rule("mse_loss", "l1_loss")
def distance_loss(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The mean of squares, or of absolute values, by functions that have rules."""
    given = dict(zip(("input", "target"), args, strict=False)) | kwargs
    if given.get("weight") is not None or given.get("reduce") is not None or given.get("size_average") is not None:
        raise NotImplementedError(f"{name_of(func)} of DTensors takes no weight, reduce and size_average: use reduction")
    difference = given["input"] - given["target"]
    each = difference * difference if name_of(func) == "mse_loss" else difference.abs()
    how = given.get("reduction", "mean")
    return each if how == "none" else each.sum() if how == "sum" else each.mean()


@rule("cross_entropy", "nll_loss")
def class_loss(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Losses of classes: samples may be cut, classes may not. The mean is the sum of parts over the number of all targets."""
    given = dict(zip(("input", "target", "weight"), args, strict=False)) | kwargs
    x, target, how = given["input"], given["target"], given.get("reduction", "mean")
    rest = {k: v for k, v in given.items() if k not in ("input", "target", "reduction") and v is not None}
    mesh, (x, target) = gathered(func, (x, target), {})
    plan = Plan(2, mesh)
    if x.dim() == target.dim() + 1 and x.dim() > 1 and "weight" not in rest:
        for i in range(mesh.ndim):
            p, q = x.placements[i], target.placements[i]
            cut = 0 if (isinstance(p, Shard) and p.dim == 0) or (isinstance(q, Shard) and q.dim == 0) else None
            if cut is not None and how == "none":
                plan.cut(i, 0, x.shape[0], [0, 0])
            elif cut is not None:
                plan.inputs[0][i] = plan.inputs[1][i] = Shard(0)
                plan.out[i] = Partial()
    parts = any(isinstance(p, Partial) for p in plan.out)
    if parts and how == "mean":
        count = (target != rest.get("ignore_index", -100)).sum()
        return execute(lambda a, b: func(a, b, reduction="sum", **rest), (x, target), {}, mesh, [x, target], plan) / count.full_tensor()
    return execute(lambda a, b: func(a, b, reduction=how, **rest), (x, target), {}, mesh, [x, target], plan)


# --- views --------------------------------------------------------------------------------------------------------------------------------


def _rearranged(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], order: Sequence[int | None]) -> Any:
    """A view whose dimension d is the input's order[d] (None: a new one)."""
    mesh, tensors = gathered(func, args, kwargs)
    x, plan = tensors[0], Plan(1, mesh)
    for i, p in enumerate(x.placements):
        if isinstance(p, Shard) and p.dim in order:
            plan.cut(i, list(order).index(p.dim), x.shape[p.dim], [p.dim])
        elif isinstance(p, Partial):
            plan.inputs[0][i] = plan.out[i] = p
    return execute(func, args, kwargs, mesh, tensors, plan)


@rule("transpose", "swapaxes", "swapdims", "t", "permute", "movedim", "moveaxis", "unsqueeze", "squeeze", "T.__get__", "mT.__get__")
def rearranged(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Views that only exchange, add or drop dimensions: found by trying them on the meta device."""
    x = args[0]
    marks = torch.empty(
        [2 + d for d in range(x.dim())] if name_of(func) != "squeeze" else [1 if n == 1 else 2 + d for d, n in enumerate(x.shape)],
        device="meta",
    )
    shape = func(marks, *args[1:], **kwargs).shape
    if name_of(func) == "squeeze":
        marked = [d for d, n in enumerate(x.shape) if n != 1]
        left = [n - 2 if n > 1 else None for n in shape]
        assert [d for d in left if d is not None] == marked
        return _rearranged(func, args, kwargs, left)
    return _rearranged(func, args, kwargs, [n - 2 if n > 1 else None for n in shape])


@rule("view", "reshape", "flatten", "unflatten", "view_as", "reshape_as")
def reshaped(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Another shape. A cut dimension stays cut where it is the first of those that it is put together with, or taken apart into."""
    x = args[0]
    if len(args) > 1 and isinstance(args[1], torch.dtype):
        return pointwise(func, args, kwargs)
    rest = [a.shape if isinstance(a, Tensor) else a for a in args[1:]]
    to = (
        tuple(torch.empty(x.shape, device="meta").reshape(rest[0]).shape)
        if name_of(func).endswith("_as")
        else tuple(
            getattr(torch.empty(x.shape, device="meta"), {"view": "reshape"}.get(name_of(func), name_of(func)))(*rest, **kwargs).shape
        )
    )
    mesh, plan = x.device_mesh, Plan(1, x.device_mesh)
    for i, p in enumerate(x.placements):
        if isinstance(p, Partial):
            plan.inputs[0][i] = plan.out[i] = p
        elif isinstance(p, Shard):
            d = _new_place(x.shape, to, p.dim)
            if d is not None and x.shape[p.dim] % mesh.size(i) == 0 and to[d] % mesh.size(i) == 0:
                plan.cut(i, d, to[d], [p.dim])
    own = [n // _cuts(plan, mesh, d) for d, n in enumerate(to)]
    return execute(lambda local: local.reshape(own), (x,), {}, mesh, [x], plan)


def _cuts(plan: Plan, mesh: DeviceMesh, dim: int) -> int:
    count = 1
    for i, p in enumerate(plan.out):
        count *= mesh.size(i) if isinstance(p, Shard) and p.dim == dim else 1
    return count


def _new_place(before: Sequence[int], after: Sequence[int], dim: int) -> int | None:
    """The dimension that begins where `dim` does: as many elements are in front of both."""
    front = 1
    for n in before[:dim]:
        front *= n
    here = 1
    for d, n in enumerate(after):
        if here == front and n > 1:
            return d
        here *= n
    return None


@rule("expand", "expand_as", "broadcast_to")
def expanded(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """More of the same along dimensions that are not cut."""
    x = args[0]
    sizes = (
        args[1].shape
        if len(args) > 1 and isinstance(args[1], Tensor)
        else args[1]
        if len(args) == 2 and not isinstance(args[1], int)
        else kwargs.get("size", args[1:])
    )
    to = tuple(torch.empty(x.shape, device="meta").expand(*sizes).shape)
    new, plan, mesh = len(to) - x.dim(), Plan(1, x.device_mesh), x.device_mesh
    own = list(to)
    for i, p in enumerate(x.placements):
        if isinstance(p, Shard) and x.shape[p.dim] == to[p.dim + new]:
            plan.cut(i, p.dim + new, x.shape[p.dim], [p.dim])
            own[p.dim + new] = -1
        elif isinstance(p, Partial):
            plan.inputs[0][i] = plan.out[i] = p
    return execute(lambda local: local.expand(*own), (x,), {}, mesh, [x], plan)


@rule("__getitem__", "getitem")
def indexed(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Numbers, slices, None and ...: a dimension may be cut where all of it is taken."""
    x, index = args
    parts = list(index) if isinstance(index, tuple) else [index]
    if any(isinstance(each, (Tensor, list, bool)) for each in parts):
        raise NotImplementedError("a DTensor takes numbers, slices, None and ... as index: use full_tensor() for others")
    if Ellipsis not in parts:
        parts.append(Ellipsis)
    at = parts.index(Ellipsis)
    rest = x.dim() - sum(each is not None and each is not Ellipsis for each in parts)
    parts[at : at + 1] = [slice(None)] * rest
    order: list[int | None] = []
    own, d = [], 0
    for each in parts:
        if each is not None and isinstance(each, slice):
            all_of_it = each.indices(x.shape[d]) == (0, x.shape[d], 1)
            order.append(d if all_of_it else None)
            own.append(slice(None) if all_of_it else each)
        else:
            order += [None] if each is None else []
            own.append(each)
        d += each is not None
    return _rearranged(func, (x, tuple(own)), {}, order)


@rule("cat", "concat", "concatenate", "stack", "hstack", "vstack")
def joined(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Tensors behind each other along a dimension that is not cut."""
    mesh, tensors = gathered(func, args, kwargs)
    name, first = name_of(func), tensors[0]
    if name in ("hstack", "vstack"):
        raise NotImplementedError(f"{name} of DTensors: use cat")
    new = name == "stack"
    dim = (args[1] if len(args) > 1 else kwargs.get("dim", 0)) % (first.dim() + new)
    plan = Plan(len(tensors), mesh)
    for i in range(mesh.ndim):
        now = [t.placements[i] for t in tensors]
        cut = next((p.dim for p in now if isinstance(p, Shard) and (new or p.dim != dim)), None)
        if cut is not None:
            plan.cut(i, cut + (new and cut >= dim), first.shape[cut], [cut] * len(tensors))
        elif all(isinstance(p, Partial) for p in now) and len(set(now)) == 1:
            plan.out[i] = now[0]
            for placements in plan.inputs:
                placements[i] = now[0]
    return execute(func, args, kwargs, mesh, tensors, plan)
