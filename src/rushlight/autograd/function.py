"""Custom differentiable functions: `Function` with a forward and a backward written by the user."""

from __future__ import annotations

from functools import wraps
from inspect import signature
from typing import Any

from .. import services
from ..ops.record import Packed, SavedOutput, record
from ..ops.write import check_inplace, rebase
from ..tensor import Tensor, wrap
from .anomaly_mode import trace
from .grad_mode import LOCAL, STATE, no_grad
from .graph import Node, Port, fix_of, new_seq

__all__ = ["Function", "FunctionCtx", "once_differentiable", "InplaceFunction", "NestedIOFunction"]


class FunctionCtx:
    """What forward leaves for backward. It is at the same time the node in the graph (``y.grad_fn``)."""

    to_save: tuple[Any, ...] = ()
    dirty: tuple[Any, ...] = ()
    non_differentiable: tuple[Any, ...] = ()
    materialize_grads = True
    _materialize_non_diff_grads = True       # for outputs that have no gradient, too
    fixed_outputs: tuple[int, ...] = ()      # which these are
    needs_input_grad: tuple[bool, ...] = ()
    saved_for_forward: tuple[Any, ...] | None = None
    pushing = False          # jvp runs

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep tensors (inputs, outputs, others; None is allowed) for backward, safely against later in-place changes."""
        for t in tensors:
            if t is not None and not isinstance(t, Tensor):
                raise TypeError(f"save_for_backward can only save variables, but argument {tensors.index(t)} is of type {type(t).__name__}")
        self.to_save = tensors

    def save_for_forward(self, *tensors: Tensor | None) -> None:
        """Keep tensors for `jvp`, which finds them in ``ctx.saved_tensors``."""
        self.saved_for_forward = tensors

    def mark_dirty(self, *args: Tensor) -> None:
        """Say which inputs forward changed in place; they have to be outputs as well."""
        self.dirty = args

    def mark_non_differentiable(self, *args: Tensor) -> None:
        """Say which outputs have no gradient."""
        self.non_differentiable = args

    def set_materialize_grads(self, value: bool) -> None:
        """Whether backward gets zeros (the default) or None for outputs to which no gradient flows."""
        self.materialize_grads = value


class FunctionNode(Node, FunctionCtx):
    """The node of a custom function; `saved` holds (entries for Tensors and None)."""

    function: Any
    outputs = 1  # instances may have more

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """What forward saved, checked to be unmodified."""
        if self.saved is None:
            raise self._freed()
        if self.seq < 0:
            return self.to_save
        if self.pushing and self.saved_for_forward is not None:
            return self.saved_for_forward
        values: list[Any] = []
        version = 0
        for entry in self.saved:
            if entry is None:
                values.append(None)
                continue
            version += entry._ver
            values.append(entry if isinstance(entry, Tensor) else entry.tensor(self, not LOCAL.grad))
        if version != self.version:
            bad = max((e for e in self.saved if e is not None), key=lambda e: e._ver + 0)
            raise self._modified(bad._a, getattr(bad, "_node", None), bad._ver + 0, self.version)
        return tuple(values)

    saved_variables = saved_tensors

    def tensors(self, g: Tensor | list[Any], detach: bool = False) -> list[Any]:
        if self.saved is None and self.to_save:
            raise self._freed()
        gs = [g] if self.outputs == 1 else list(g)
        if LOCAL.transposing and self.function.jvp is not Function.jvp:
            return self._transposed_jvp(gs)
        if self.materialize_grads:
            silent = () if self._materialize_non_diff_grads else self.fixed_outputs
            gs = [each if each is not None or meta is None or i in silent else wrap(meta[1].xp.zeros(meta[0], meta[1].np), meta[1])
                  for i, (each, meta) in enumerate(zip(gs, self.output_meta, strict=True))]
        grads = self.function._backward(self, *gs)
        if not isinstance(grads, tuple):
            grads = tuple(grads) if isinstance(grads, list) else (grads,)
        return self._per_edge(grads)

    def _transposed_jvp(self, gs: list[Any]) -> list[Any]:
        """In the first half of a forward pass (forward.py): placeholders for the inputs' gradients whose own gradient is the function's
        jvp."""
        places = [i for i, edge in enumerate(self.next) if edge is not None]
        outs = tuple([wrap(meta[1].xp.zeros(meta[0], meta[1].np), meta[1]) for meta in (self.input_meta[i] for i in places)])
        given = tuple([g for g in gs if g is not None])

        def push(tangents: list[Tensor]) -> tuple[Any, ...]:
            by_tensor: list[Any] = [None] * len(self.next)
            for i, t in zip(places, tangents, strict=True):
                by_tensor[i] = t
            if self.materialize_grads:
                by_tensor = [t if t is not None or not meta[1].differentiable else wrap(meta[1].xp.zeros(meta[0], meta[1].np), meta[1])
                             for t, meta in zip(by_tensor, self.input_meta, strict=True)]
            tensors = iter(by_tensor)
            self.pushing = True
            try:
                results = self.function.jvp(self, *[next(tensors) if is_tensor else None for is_tensor in self.is_tensor])
            finally:
                self.pushing = False
            results = results if isinstance(results, tuple) else (results,)
            if len(results) != len(gs):
                raise RuntimeError(f"jvp of {self.label.removesuffix('Backward')} returned {len(results)} tangents for {len(gs)} outputs")
            return tuple([r for r, g in zip(results, gs, strict=True) if g is not None])
        placeholders = iter(record(outs, "JvpBackward", given, push))
        return [None if edge is None else next(placeholders) for edge in self.next]

    def _per_edge(self, grads: tuple[Any, ...]) -> list[Any]:
        """Check what backward returned, and keep the gradients of tensor inputs."""
        expected = len(self.is_tensor)
        if len(grads) > expected and all(each is None for each in grads[expected:]):
            grads = grads[:expected]
        if len(grads) != expected:
            raise RuntimeError(f"function {self.label} returned an incorrect number of gradients (expected {expected}, got {len(grads)})")
        kept = []
        for i, (each, is_tensor) in enumerate(zip(grads, self.is_tensor, strict=True)):
            if is_tensor:
                if each is not None and not isinstance(each, Tensor):
                    raise RuntimeError(f"expected Variable or None (got {type(each).__name__})")
                kept.append(each)
            elif each is not None:
                raise RuntimeError(f"function {self.label} returned a gradient different from None at position {i + 1}, but the "
                                   "corresponding forward input was not a Variable")
        return kept

    def free(self) -> None:
        if self.saved:
            self.saved = None


class _FunctionMeta(type):
    """Makes the node class of each Function: class Exp(Function) has nodes of class ExpBackward."""

    def __init__(cls, name: str, bases: tuple[Any, ...], attributes: dict[Any, Any]) -> None:
        super().__init__(name, bases, attributes)
        cls._backward_cls = type(name + "Backward", (FunctionNode,), {"label": name + "Backward", "function": cls})


class Function(metaclass=_FunctionMeta):
    """Base of custom differentiable functions. Define static methods ``forward(ctx, *inputs)`` (or ``forward(*inputs)`` and
    ``setup_context(ctx, inputs, output)``) and ``backward(ctx, *grad_outputs)``, and call ``MyFunction.apply(*inputs)``."""

    generate_vmap_rule = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        import warnings
        warnings.warn(f"{type(self)} should not be instantiated. Methods on autograd functions are all static, so you should invoke them "
                      "on the class itself. Instantiating an autograd function will raise an error in a future version of PyTorch.",
                      DeprecationWarning, stacklevel=2)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("Legacy autograd function with non-static forward method is deprecated. Please use new-style autograd function "
                           "with static forward method.")

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """Compute the result. To be defined by subclasses."""
        raise NotImplementedError("You must implement the forward function for custom autograd.Function.")

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> Any:
        """Save what backward needs, when forward takes no ctx."""
        raise NotImplementedError("setup_context is not implemented.")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """Compute one gradient per input of forward. To be defined by subclasses."""
        raise NotImplementedError("You must implement either the backward or vjp method for your custom autograd.Function to use it with "
                                  "backward mode AD.")

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> Any:
        """Compute the outputs' tangents from the inputs' (None for what is no tensor). Optional: forward mode uses backward where it is not
        there."""
        raise NotImplementedError("You must implement the jvp function for custom autograd.Function to use it with forward mode AD.")

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> Any:
        """Compute a batch at once: returns (output, out_dims). `info` has batch_size and randomness; optional where generate_vmap_rule is
        set."""
        raise NotImplementedError("To use autograd.Function with vmap, you must either override the vmap staticmethod or set "
                                  "generate_vmap_rule=True.")

    @classmethod
    def _backward(cls, ctx: Any, *grads: Any) -> Tensor | tuple[Any, ...]:
        if cls.backward is Function.backward and hasattr(cls, "vjp"):
            return cls.vjp(ctx, *grads)
        return cls.backward(ctx, *grads)

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Tensor | tuple[Tensor, ...]:
        """Run the function, recording it where an input requires grad."""
        if cls.setup_context is not Function.setup_context:
            args = _with_defaults(cls.forward, args, kwargs)
        is_tensor = tuple(isinstance(a, Tensor) for a in args)
        if STATE.vmaps and LOCAL.vmaps:
            level = services.vmapped_function(cls, args)
            if level is not None:
                return level()
        needs = tuple(t and a._node is not None for a, t in zip(args, is_tensor, strict=True))
        ctx: Any = object.__new__(cls._backward_cls)
        ctx.next, ctx.saved, ctx.version, ctx.seq, ctx.fix, ctx.hooks = (), (), 0, -1, None, None
        ctx.needs_input_grad, ctx.is_tensor = needs, is_tensor
        recording = any(needs) and (not STATE.unusual or LOCAL.grad or LOCAL.dual > 0)
        with no_grad():
            if cls.setup_context is Function.setup_context:
                result = cls.forward(ctx, *args, **kwargs)
            else:
                result = cls.forward(*args, **kwargs)
                cls.setup_context(ctx, args, result)
        return _finish(ctx, args, result, recording)


def _with_defaults(forward: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    """The arguments with the defaults of those that are missing: `setup_context` is told about all."""
    if kwargs or not getattr(getattr(forward, "__func__", forward), "__defaults__", None):
        return args
    bound = signature(forward).bind(*args)
    bound.apply_defaults()
    return bound.args


def _finish(ctx: Any, args: tuple[Any, ...], result: Tensor | tuple[Tensor, ...], recording: bool) -> Tensor | tuple[Tensor, ...]:
    """Attach the node to the outputs, and store what was saved."""
    single = not isinstance(result, tuple)
    outputs: list[Any] = [result] if single else list(result)
    for t in ctx.dirty:
        if not any(t is each for each in outputs):
            raise RuntimeError("Some elements marked as dirty during the forward method were not returned as output. The inputs that are "
                               "modified inplace must all be outputs of the Function.")
        if recording:
            check_inplace(t, True)
    if not recording:
        outputs = [_alias(each) if isinstance(each, Tensor) and any(each is a for a in args) and not any(each is d for d in ctx.dirty)
                   else each
                   for each in outputs]
        return outputs[0] if single else tuple(outputs)
    tensors_in = [a for a, is_tensor in zip(args, ctx.is_tensor, strict=True) if is_tensor]
    ctx.input_meta = [(a._a.shape, a._kind) for a in tensors_in]
    ctx.next = tuple(a._node for a in tensors_in)
    ctx.fix = fix_of(tensors_in, [each for each in outputs if isinstance(each, Tensor)] or tensors_in)
    ctx.seq = new_seq()
    ctx.outputs = len(outputs)
    ctx.output_meta = [(each._a.shape, each._kind) if isinstance(each, Tensor) else None for each in outputs]
    wrapped: list[Any] = []
    for index, each in enumerate(outputs):
        if not isinstance(each, Tensor):
            wrapped.append(each)
            continue
        fixed = any(each is t for t in ctx.non_differentiable) or not each._kind.differentiable
        if any(each is t for t in ctx.dirty):
            each._ver += 0 if each._ver + 0 else 1
            if each._view is not None and not fixed:
                _write_into_base(each, ctx if len(outputs) == 1 else Port(ctx, index))
                wrapped.append(each)
                continue
        elif each._node is not None or any(each is a for a in args):
            source, each = each, _alias(each)
            if any(source is a for a in args):
                each._view = (source, None, f"{index} of {ctx.label}")
        elif each._view is not None:      # of an input: forward ran without recording
            each._view = (each._view[0], None, f"{index} of {ctx.label}")
        if fixed:
            ctx.fixed_outputs += (index,)
        else:
            each._node = ctx if len(outputs) == 1 else Port(ctx, index)
        wrapped.append(each)
    _save(ctx, outputs, wrapped)
    return wrapped[0] if single else tuple(wrapped)


def _write_into_base(changed: Tensor, node: Any) -> None:
    """The history of a view that forward changed in place, and of its base, of which it is a part."""
    values = wrap(changed._a, changed._kind)
    values._node = node
    rebase(changed, values)


def _alias(t: Tensor) -> Tensor:
    """The same memory as a new tensor without history."""
    return t.detach()


def _save(ctx: Any, outputs: list[Any], wrapped: list[Any]) -> None:
    entries: list[Any] = []
    version = 0
    for t in ctx.to_save:
        if t is None:
            entries.append(None)
            continue
        entry: Any = t
        for index, (raw, out) in enumerate(zip(outputs, wrapped, strict=True)):
            if t is raw and isinstance(out, Tensor) and out is raw and out._node is not None:
                entry = SavedOutput(out, index)
        if LOCAL.pack_hooks:
            pack, unpack = LOCAL.pack_hooks[-1]
            entry = Packed(pack(t), unpack, entry)
        version += entry._ver
        entries.append(entry)
    ctx.saved, ctx.version = tuple(entries), version
    ctx.to_save = bool(entries)
    if LOCAL.anomaly:
        ctx.own_hooks().trace = trace()


def once_differentiable(fn: Any) -> Any:
    """For a backward that can't be differentiated again: a second derivative through it is an error."""
    @wraps(fn)
    def backward(ctx: Any, *grads: Any) -> Any:
        with no_grad():
            outputs = fn(ctx, *grads)
        if not LOCAL.grad or not any(isinstance(g, Tensor) and g._node is not None for g in grads):
            return outputs
        single = not isinstance(outputs, tuple)
        results = (outputs,) if single else outputs
        marked = tuple(_Refuse.apply(r, *[g for g in grads if isinstance(g, Tensor)]) if isinstance(r, Tensor) else r for r in results)
        return marked[0] if single else marked
    return backward


class _Refuse(Function):
    """Passes a value through, and refuses to be differentiated."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, *others: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        raise RuntimeError("trying to differentiate twice a function that was marked with @once_differentiable")


class InplaceFunction(Function):
    """Kept for old code: a Function with an `inplace` flag."""


class NestedIOFunction(Function):
    """PyTorch's old base for nested inputs."""

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("NestedIOFunction: use torch.autograd.Function with flat tensor arguments")


def _nested_map(condition: Any, fn: Any, condition_msg: str | None = None) -> Any:
    """A function that puts `fn` of whatever fulfils the condition in its place, in nested lists, tuples and dicts (ValueError for
    others)."""
    def walk(found: Any) -> Any:
        if condition(found):
            return fn(found)
        if found is None:
            return None
        if isinstance(found, (list, tuple)):
            mapped = [walk(each) for each in found]
            return type(found)(*mapped) if hasattr(found, "_fields") else type(found)(mapped)
        if isinstance(found, dict):
            return {key: walk(each) for key, each in found.items()}
        raise ValueError(f"cannot go through a {type(found).__name__}: expected {condition_msg or 'a value'}, or lists, tuples or dicts "
                         "of them")
    return walk
