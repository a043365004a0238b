"""How functions run on DTensors: where their inputs have to lie, and where the result then does.

A rule looks at one dimension of the mesh at a time. It gives a `Plan`, which `execute` follows: the inputs move, the function runs on the
local tensors, the result is wrapped. What has no rule runs as it is written, if it is made of functions that have one; else it is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import rushlight as torch

from ...overrides import redispatch_function, resolve_name
from ...tensor import Tensor
from ..device_mesh import DeviceMesh
from .dtensor import STATE, DTensor, Spec, placed, wrapped
from .moving import Enter
from .placement_types import Partial, Placement, Replicate, Shard

__all__ = ["RULES", "Plan", "execute", "rule"]

RULES: dict[str, Callable[..., Any]] = {}
R = Replicate()


class Plan:
    """Per input its placements, those of the result, and the sizes of the result's dimensions that are cut."""

    def __init__(self, inputs: int, mesh: DeviceMesh) -> None:
        self.inputs: list[list[Placement]] = [[R] * mesh.ndim for _ in range(inputs)]
        self.out: list[Placement] = [R] * mesh.ndim
        self.sizes: dict[int, int] = {}

    def cut(self, i: int, dim: int, size: int, dims: Sequence[int | None]) -> None:
        """Cut the result along `dim` in the mesh's dimension i, and each input along its own (None: it is replicated)."""
        self.out[i] = Shard(dim)
        self.sizes[dim] = size
        for placements, d in zip(self.inputs, dims, strict=True):
            placements[i] = R if d is None else Shard(d)


def _names(text: str) -> list[str]:
    """The names in a text."""
    return text.split()


def rule(*names: str) -> Callable[[Any], Any]:
    """Register a rule ``(func, args, kwargs)`` under names of functions and methods."""

    def register(function: Any) -> Any:
        RULES.update(dict.fromkeys(names, function))
        return function

    return register


@cache
def name_of(func: Callable[..., Any]) -> str:
    """The function's own name: "add" for torch.add, Tensor.add and the operator."""
    full = resolve_name(func) or getattr(func, "__qualname__", repr(func))
    parts = full.split(".")
    return ".".join(parts[-2:]) if parts[-1] == "__get__" else parts[-1]


def call(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a function on DTensors."""
    name = name_of(func)
    found = RULES.get(name)
    if found is not None:
        return found(func, args, kwargs)
    before, STATE.inside = STATE.inside, STATE.inside or name
    try:
        return redispatch_function(func, (), args, kwargs)
    finally:
        STATE.inside = before


def handle(cls: Any, func: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (),
           kwargs: dict[str, Any] | None = None) -> Any:
    """`DTensor.__torch_function__`."""
    return call(func, tuple(args), kwargs or {})


# --- running a plan -----------------------------------------------------------------------------------------------------------------------


def tensors_in(value: object) -> list[Any]:
    """The tensors in arguments, in order, those in lists and tuples included."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, (list, tuple)):
        return [t for each in value for t in tensors_in(each)]
    return [t for each in value.values() for t in tensors_in(each)] if isinstance(value, dict) else []


def replaced(value: Any, locals_: Any) -> Any:
    """The same arguments with other tensors in the place of theirs."""
    if isinstance(value, Tensor):
        return next(locals_)
    if isinstance(value, (list, tuple)):
        items = [replaced(each, locals_) for each in value]
        return type(value)(items) if type(value) in (list, tuple) else tuple(items)
    return {key: replaced(each, locals_) for key, each in value.items()} if isinstance(value, dict) else value


def gathered(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[DeviceMesh, list[Any]]:
    """The mesh, and the tensors among the arguments as DTensors: numbers are taken as replicated, other tensors are an error."""
    found = tensors_in((args, kwargs))
    mesh = next(t for t in found if isinstance(t, DTensor)).device_mesh
    tensors = []
    for t in found:
        if not isinstance(t, DTensor):
            if t.dim():
                raise RuntimeError(
                    f"{name_of(func)}: got mixed torch.Tensor and DTensor, need to convert all torch.Tensor to DTensor before "
                    "calling distributed operators!"
                )
            t = wrapped(t, Spec(mesh, [R] * mesh.ndim, ()))
        elif t.device_mesh != mesh:
            raise RuntimeError(f"{name_of(func)}: the DTensors are on different meshes, {mesh} and {t.device_mesh}")
        tensors.append(t)
    return mesh, tensors


def entered(tensor: Tensor, to: Sequence[Placement], out: Sequence[Placement]) -> Any:
    """The local tensor under these placements. Where it is replicated and the result is not, gradients are summed."""
    here = placed(tensor, tuple(to))
    local, mesh = here._local_tensor, here.device_mesh
    dims = [i for i, (a, b) in enumerate(zip(to, out, strict=True)) if isinstance(a, Replicate) and not isinstance(b, Replicate)]
    return Enter.apply(local, mesh, dims) if dims and torch.is_grad_enabled() and local.requires_grad else local


def result(value: Any, mesh: DeviceMesh, plan: Plan) -> Any:
    """The local result as a DTensor."""
    if isinstance(value, Tensor):
        shape = [plan.sizes.get(d, n) for d, n in enumerate(value.shape)]
        return wrapped(value, Spec(mesh, plan.out, shape))
    if isinstance(value, (list, tuple)):
        items = [result(each, mesh, plan) for each in value]
        return getattr(type(value), "_make", type(value))(items)
    return value


def execute(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], mesh: DeviceMesh, tensors: Sequence[Any],
            plan: Plan) -> Any:
    """Follow a plan."""
    locals_ = [entered(t, to, plan.out) for t, to in zip(tensors, plan.inputs, strict=True)]
    each = iter(locals_)
    value = func(*replaced(args, each), **replaced(kwargs, each))
    return result(value, mesh, plan)


# --- element by element -------------------------------------------------------------------------------------------------------------------

_LINEAR_1 = _names("""
    neg positive clone detach contiguous alias real imag conj to float double half bfloat16 type type_as cpu view_as_real
    __neg__ __pos__ requires_grad_
""")
_SCALED = ("mul", "multiply", "div", "divide", "true_divide", "__mul__", "__rmul__", "__truediv__")
_ADDED = ("add", "sub", "subtract", "__add__", "__radd__", "__sub__", "__rsub__", "rsub")
_POINT = _names("""
    abs absolute exp exp2 expm1 log log2 log10 log1p sqrt rsqrt square reciprocal sign sgn sin cos tan asin acos atan sinh cosh
    tanh asinh acosh atanh sigmoid logit erf erfc erfinv floor ceil round trunc frac relu relu6 gelu silu mish elu selu celu
    leaky_relu hardtanh hardswish hardsigmoid softplus softsign tanhshrink logsigmoid threshold clamp clip clamp_min clamp_max
    nan_to_num isnan isinf isfinite logical_not bitwise_not pow float_power atan2 maximum minimum fmax fmin fmod remainder
    floor_divide eq ne lt le gt ge logical_and logical_or logical_xor bitwise_and bitwise_or bitwise_xor where masked_fill
    addcmul addcdiv lerp hypot xlogy logaddexp int long bool digamma lgamma __pow__ __rpow__ __rtruediv__ __floordiv__ __mod__
    __eq__ __ne__ __lt__ __le__ __gt__ __ge__ __and__ __or__ __xor__ __invert__ __abs__ softmax_backward_data deg2rad rad2deg
    heaviside copysign zeros_like ones_like full_like empty_like
""")


def _points(tensors: Sequence[Any], mesh: DeviceMesh, keeps: Callable[[Sequence[Placement]], bool] = lambda now: False) -> Plan:
    """A plan for what works element by element, with broadcasting. `keeps`: whether partial inputs stay partial."""
    shape = torch.broadcast_shapes(*[t.shape for t in tensors])
    plan = Plan(len(tensors), mesh)
    for i in range(mesh.ndim):
        now = [t.placements[i] for t in tensors]
        cuts = [
            (t.numel(), p.dim + len(shape) - t.dim())
            for t, p in zip(tensors, now, strict=True)
            if isinstance(p, Shard) and t.shape[p.dim] == shape[p.dim + len(shape) - t.dim()]
        ]
        if cuts:
            dim = max(cuts, key=lambda cut: cut[0])[1]
            places = [dim - len(shape) + t.dim() for t in tensors]
            plan.cut(
                i, dim, shape[dim], [d if d >= 0 and t.shape[d] == shape[dim] else None for d, t in zip(places, tensors, strict=True)]
            )
        elif all(isinstance(p, Partial) for p in now) and len(set(now)) == 1 and keeps(now):
            plan.out[i] = now[0]
            for placements in plan.inputs:
                placements[i] = now[0]
    return plan


def _numbers(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether there are numbers beside the tensors (an added number would be added in every process)."""
    return any(isinstance(each, (int, float, complex)) for each in args)


@rule(*_POINT)
def pointwise(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Element by element."""
    mesh, tensors = gathered(func, args, kwargs)
    return execute(func, args, kwargs, mesh, tensors, _points(tensors, mesh))


@rule(*_LINEAR_1)
def linear_unary(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What a sum goes through: partial tensors stay partial."""
    mesh, tensors = gathered(func, args, kwargs)
    return execute(func, args, kwargs, mesh, tensors, _points(tensors, mesh, lambda now: len(now) == 1))


@rule(*_SCALED)
def scaled(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Products and quotients: a partial tensor stays partial with a number."""
    mesh, tensors = gathered(func, args, kwargs)
    return execute(func, args, kwargs, mesh, tensors, _points(tensors, mesh, lambda now: len(now) == 1 and isinstance(args[0], Tensor)))


@rule(*_ADDED)
def added(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Sums and differences: partial tensors of one kind stay partial."""
    mesh, tensors = gathered(func, args, kwargs)
    return execute(func, args, kwargs, mesh, tensors, _points(tensors, mesh, lambda now: len(now) == 2 and not _numbers(args, kwargs)))


_IN_PLACE = _names("""
    add_ sub_ mul_ div_ zero_ fill_ copy_ neg_ exp_ sqrt_ clamp_ addcmul_ addcdiv_ lerp_ pow_ relu_ __iadd__ __isub__ __imul__
    __itruediv__ masked_fill_ clamp_min_ clamp_max_ abs_ sigmoid_ tanh_ square_ reciprocal_ rsqrt_ log_ sign_ maximum_ minimum_
    mul__ detach_
""")
_PARTIAL_TOO = ("zero_", "detach_", "neg_")


@rule(*_IN_PLACE)
def in_place(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The first tensor stays where it is; the others come to it."""
    mesh, tensors = gathered(func, args, kwargs)
    own, plan = tensors[0], Plan(len(tensors), mesh)
    for i, p in enumerate(own.placements):
        plan.out[i] = p
        if isinstance(p, Partial) and name_of(func) not in _PARTIAL_TOO:
            raise RuntimeError(
                f"{name_of(func)}: in-place operations that require placement changes are not supported: this DTensor is {p!r}"
            )
        for t, placements in zip(tensors, plan.inputs, strict=True):
            d = p.dim - own.dim() + t.dim() if isinstance(p, Shard) else -1
            placements[i] = p if t is own else Shard(d) if d >= 0 and t.shape[d] == own.shape[p.dim] else R
    execute(func, args, kwargs, mesh, tensors, plan)
    return own


@rule("data.__get__")
def data(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The same memory, without a graph."""
    return wrapped(args[0]._local_tensor.data, args[0]._spec)


@rule(*_names("""
    is_floating_point is_complex element_size is_conj is_neg is_inference get_device is_signed is_contiguous _version.__get__
    is_cpu.__get__ is_cuda.__get__ is_meta.__get__ is_sparse.__get__ layout.__get__ itemsize.__get__ is_quantized.__get__
    is_nested.__get__ retains_grad.__get__ output_nr.__get__ names.__get__ is_same_size has_names is_sparse_csr.__get__
    is_mkldnn.__get__ storage_offset retain_grad is_tensor is_storage is_nonzero
"""))
def metadata(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What is the same for the local tensor."""
    return func(*[a._local_tensor if isinstance(a, DTensor) else a for a in args], **kwargs)


@rule("equal", "allclose", "is_nonzero", "isclose_all")
def whole(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """On the whole tensors: the answer is a bool."""
    args = [a.full_tensor() if isinstance(a, DTensor) else a for a in args]
    return func(*args, **{k: v.full_tensor() if isinstance(v, DTensor) else v for k, v in kwargs.items()})


@rule("new_zeros", "new_ones", "new_full", "new_empty")
def new_ones(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A replicated tensor."""
    mesh, tensors = gathered(func, args, kwargs)
    return result(func(tensors[0]._local_tensor, *args[1:], **kwargs), mesh, Plan(1, mesh))


@rule(*_names("""
    dropout dropout1d dropout2d dropout3d alpha_dropout feature_alpha_dropout bernoulli rand_like randn_like multinomial normal_
    uniform_ random_ bernoulli_ dropout_
"""))
def drawn(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Random numbers: only where none are drawn."""
    rest = dict(zip(("input", "p", "training"), args, strict=False)) | kwargs
    if name_of(func).startswith("dropout") and (not rest.get("training", True) or rest.get("p", 0.5) == 0):
        return linear_unary(torch.clone, (rest["input"],), {})
    raise NotImplementedError(
        f"{name_of(func)} draws random numbers, which DTensors have no generators for yet: apply it to to_local(), or "
        "distribute_tensor what it makes"
    )


DTensor.__torch_function__ = classmethod(handle)  # type: ignore[method-assign, assignment]
