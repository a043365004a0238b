"""``torch.library``: operators of one's own, with kernels per device, a form without data, and gradients, as
``torch.ops.<namespace>.<name>``."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterable, Sequence
from types import NoneType, UnionType
from typing import Any

from . import services
from .amp.casting import is_autocast_enabled
from .autograd.function import Function
from .autograd.grad_mode import STATE, is_grad_enabled, no_grad
from .autograd.saved_hooks import increment_version
from .devices import device
from .dtypes import dtype
from .kind import NotBatched
from .layout import layout, memory_format
from .op_checks import opcheck
from .tensor import Tensor
from .unsupported import NotSupported

__all__ = ["CustomOpDef", "Library", "custom_op", "define", "fallthrough_kernel", "get_ctx", "impl", "impl_abstract", "infer_schema",
           "opcheck", "register_autocast", "register_autograd", "register_fake", "register_kernel", "register_torch_dispatch",
           "register_vmap"]

Kernel = Callable[..., Any]
_COMPOSITE = ("compositeimplicitautograd", "autograd", "autogradcpu", "autogradcuda", "autogradother")
_EVERYWHERE = ("compositeexplicitautograd", "compositeexplicitautogradnonfunctional", "default", "backendselect")


class OpOverload:
    """An operator: it is called with the operator's arguments. `kernels` is what computes it, by device type or dispatch key in lower
    case."""

    def __init__(self, namespace: str, name: str, schema: str, mutates: Iterable[str] = ()) -> None:
        self.namespace, self.name, self.schema = namespace, name, schema
        self.kernels: dict[str, Kernel] = {}
        self.mutates = frozenset(mutates)
        self.signature: inspect.Signature | None = None
        self.backward: Kernel | None = None
        self.setup_context: Kernel | None = None
        self.batched: Kernel | None = None
        self.custom = False          # made by `custom_op`: a missing gradient is said when it is asked for
        self.__name__ = self.__qualname__ = name
        self.__module__ = f"torch.ops.{namespace}"

    @property
    def default(self) -> OpOverload:
        """The operator has one overload, itself."""
        return self

    @property
    def _name(self) -> str:
        return f"{self.namespace}::{self.name}"

    def overloads(self) -> list[str]:
        """The names of its overloads."""
        return ["default"]

    def __repr__(self) -> str:
        return f"<OpOverload(op='{self.namespace}.{self.name}', overload='default')>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        args, keywords = self._bound(args, kwargs)
        if STATE.vmaps and self.batched is not None:
            batches = services.vmapped_operator(self.batched, self._name, args, keywords)
            if batches is not None:
                return batches()
        try:
            return self._compute(args, keywords)
        except NotBatched as error:                 # a kernel that asks for values: it runs once per sample
            return services.per_sample(self, args, keywords, error)

    def _compute(self, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        for key in _COMPOSITE:
            if key in self.kernels:
                return self.kernels[key](*args, **keywords)
        tensors = list(_tensors((*args, *keywords.values())))
        kernel = self._kernel(tensors)
        if not (is_grad_enabled() and any(each.requires_grad for each in tensors)):
            result = kernel(*args, **keywords)
        else:
            result = _with_gradient(self, kernel, args, keywords)
        self._note_writes(args, keywords)
        return result

    @property
    def composite(self) -> bool:
        """Whether a kernel of it is made of operators with gradients."""
        return any(key in self.kernels for key in _COMPOSITE)

    def _bound(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if self.signature is None:
            return args, kwargs
        found = self.signature.bind(*args, **kwargs)
        found.apply_defaults()
        return found.args, found.kwargs

    def _kernel(self, tensors: list[Tensor]) -> Kernel:
        types = [each.device.type for each in tensors] or ["cpu"]
        place = "meta" if "meta" in types else next((each for each in types if each != "cpu"), "cpu")
        for key in (place, *(_EVERYWHERE if place != "meta" else ())):
            if key in self.kernels:
                return self.kernels[key]
        have = ", ".join(self.kernels) or "no kernel at all"
        raise NotImplementedError(f"Could not run '{self._name}' with arguments from the '{place.upper()}' backend: it has {have}"
                                  + (" (register_fake gives it one for the meta device)" if place == "meta" else ""))

    def _note_writes(self, args: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        if self.mutates and self.signature is not None:
            values = self.signature.bind(*args, **keywords).arguments
            for each in _tensors(values[name] for name in self.mutates if name in values):
                increment_version(each)


class Namespace:
    """``torch.ops.<namespace>``: the operators that were defined in it."""

    def __init__(self, name: str) -> None:
        self._of, self.__name__ = name, f"torch.ops.{name}"

    def __getattr__(self, name: str) -> OpOverload:
        found = _OPERATORS.get((vars(self)["_of"], name))
        if found is None:
            raise AttributeError(f"'_OpNamespace' '{vars(self)['_of']}' object has no attribute '{name}'")
        return found

    def __dir__(self) -> list[str]:
        return [name for namespace, name in _OPERATORS if namespace == self._of]


_OPERATORS: dict[tuple[str, str], OpOverload] = {}


def _tensors(values: Iterable[Any]) -> Iterable[Tensor]:
    for each in values:
        if isinstance(each, Tensor):
            yield each
        elif isinstance(each, (list, tuple)):
            yield from _tensors(each)


# --- gradients ------------------------------------------------------------------------------------------------------------------------


def _with_gradient(op: OpOverload, kernel: Kernel, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    """Run a kernel as one node of the graph. Lists of tensors are spread, since a node's inputs are tensors."""
    spread: list[Any] = []
    for each in args:
        spread += each if _is_tensor_list(each) else [each]

    def gathered(flat: Sequence[Any]) -> list[Any]:
        rest, found = list(flat), []
        for each in args:
            count = len(each) if _is_tensor_list(each) else 1
            found.append(type(each)(rest[:count]) if _is_tensor_list(each) else rest[0])
            del rest[:count]
        return found

    class Node(Function):
        @staticmethod
        def forward(ctx: Any, *flat: Any) -> Any:
            inputs = gathered(flat)
            with no_grad():
                output = kernel(*inputs, **keywords)
            if op.setup_context is not None:
                extra = {"keyword_only_inputs": keywords} if keywords else {}
                op.setup_context(ctx, tuple(inputs), output, **extra)
            return output

        @staticmethod
        def backward(ctx: Any, *gradients: Any) -> Any:
            if op.backward is None:
                raise RuntimeError(f"Trying to backward through {op.namespace}.{op.name}.default but no autograd formula was registered. "
                                   "If you want to use autograd, please use register_autograd.")
            found = op.backward(ctx, *gradients)
            found = found if isinstance(found, tuple) else (found,)
            flat: list[Any] = []
            for given, each in zip(args, found, strict=False):
                flat += (each if each is not None else [None] * len(given)) if _is_tensor_list(given) else [each]
            return tuple(flat)

    Node.__name__ = Node.__qualname__ = f"GeneratedBackwardFor_{op.namespace}_{op.name}_default"
    return Node.apply(*spread)


def _is_tensor_list(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and any(isinstance(each, Tensor) for each in value)


# --- defining -------------------------------------------------------------------------------------------------------------------------


def _split(qualname: str) -> tuple[str, str]:
    namespace, colons, name = qualname.partition("::")
    if not colons or not namespace or not name:
        raise ValueError(f"Expected qualname to be of the form 'namespace::name' but got {qualname!r}")
    return namespace, name.removesuffix(".default")


def _find(op: Any) -> OpOverload:
    if isinstance(op, CustomOpDef):
        return op._op
    if isinstance(op, OpOverload):
        return op
    if not isinstance(op, str):
        raise ValueError(f"expected an operator or its name, got {type(op).__name__}")
    found = _OPERATORS.get(_split(op))
    if found is None:
        raise RuntimeError(f"operator {op} does not exist: define it first (torch.library.define or custom_op)")
    return found


def _add(namespace: str, name: str, schema: str, mutates: Iterable[str] = ()) -> OpOverload:
    if namespace in ("aten", "prim", "prims"):
        raise NotSupported(f"torch.library: rushlight's own operators ({namespace}::{name}) can't be added to; choose a namespace of your "
                           "own")
    op = _OPERATORS[namespace, name] = OpOverload(namespace, name, schema, mutates)
    op.signature = _signature(schema)
    return op


def _signature(schema: str) -> inspect.Signature | None:
    """The parameters that a schema's text names: ``"(Tensor x, int n=1, *, float scale=2.0) -> Tensor"``."""
    inside = schema[schema.index("(") + 1:schema.rindex(") ->") if ") ->" in schema else schema.rindex(")")]
    kind: Any = inspect.Parameter.POSITIONAL_OR_KEYWORD
    found = []
    for part in filter(None, (each.strip() for each in _parts(inside))):
        if part == "*":
            kind = inspect.Parameter.KEYWORD_ONLY
            continue
        text, equals, default = part.partition("=")
        found.append(inspect.Parameter(text.split()[-1], kind, default=_default(default.strip()) if equals else inspect.Parameter.empty))
    return inspect.Signature(found)


def _parts(text: str) -> list[str]:
    parts, depth = [""], 0
    for letter in text:
        depth += letter in "([" or -(letter in ")]")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _default(text: str) -> Any:
    from ast import literal_eval
    try:
        return literal_eval({"true": "True", "false": "False"}.get(text, text))
    except (ValueError, SyntaxError):
        return text


_TYPES = {Tensor: "Tensor", int: "SymInt", float: "float", bool: "bool", str: "str", complex: "Scalar", dtype: "ScalarType",
          device: "Device", layout: "Layout", memory_format: "MemoryFormat"}


def _type_name(annotation: Any) -> str:
    if annotation in _TYPES:
        return _TYPES[annotation]
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, UnionType):
        rest = [each for each in args if each is not NoneType]
        if len(rest) == 1:
            return _type_name(rest[0]) + "?"
        if set(rest) <= {int, float, bool, complex}:
            return "Scalar" + "?" * (NoneType in args)
    if origin in (list, Sequence) and args:
        return _type_name(args[0]) + "[]"
    if origin is tuple and args:
        return f"({', '.join(_type_name(each) for each in args)})"
    raise ValueError(f"infer_schema(func): unsupported type {annotation}")


def infer_schema(prototype_function: Kernel, /, *, mutates_args: Any, op_name: str | None = None) -> str:
    """The schema that a function's annotations say. ValueError for a parameter without one, or of a type that operators can't have."""
    signature = inspect.signature(prototype_function)
    hints = typing.get_type_hints(prototype_function)
    parts, keyword_only = [], False
    for name, parameter in signature.parameters.items():
        if name not in hints:
            raise ValueError(f"infer_schema(func): Parameter {name} must have a type annotation.")
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and not keyword_only:
            parts, keyword_only = [*parts, "*"], True
        text = _type_name(hints[name])
        if mutates_args == "unknown" or name in mutates_args:
            text = text.replace("Tensor", f"Tensor(a{len(parts)}!)", 1)
        default = "" if parameter.default is inspect.Parameter.empty else f"={parameter.default!r}"
        parts.append(f"{text} {name}{default}")
    unknown = [] if mutates_args == "unknown" else [name for name in mutates_args if name not in signature.parameters]
    if unknown:
        raise ValueError(f"infer_schema(func): mutates_args names {unknown}, which the function does not have")
    returns = hints.get("return")
    result = "()" if returns in (None, NoneType) else _type_name(returns)
    return f"{op_name or ''}({', '.join(parts)}) -> {result}"


class CustomOpDef:
    """What `custom_op` returns: the operator, and decorators that register more about it."""

    def __init__(self, op: OpOverload, function: Kernel) -> None:
        self._op, self._init_fn = op, function
        self.__name__, self.__doc__ = function.__name__, function.__doc__

    @property
    def _opoverload(self) -> OpOverload:
        return self._op

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._op(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<CustomOpDef({self._op._name})>"

    def register_kernel(self, device_types: Any, fn: Kernel | None = None, /) -> Any:
        """A kernel for a device type, or several."""
        return register_kernel(self, device_types, fn)

    def register_fake(self, fn: Kernel, /) -> Kernel:
        """The form for the device "meta": it makes the results' shapes."""
        return register_fake(self, fn)

    def register_autograd(self, backward: Kernel, /, *, setup_context: Kernel | None = None) -> None:
        """The gradient: ``backward(ctx, *gradients)``, after ``setup_context(ctx, inputs, output)``."""
        register_autograd(self, backward, setup_context=setup_context)

    def register_vmap(self, func: Kernel | None = None) -> Any:
        """The form for vmap."""
        return register_vmap(self, func)


def custom_op(name: str, fn: Kernel | None = None, /, *, mutates_args: Any, device_types: Any = None, schema: str | None = None,
              tags: Any = None) -> Any:
    """Make an operator of a function with annotations, as a decorator or a call.

    mutates_args  names of the arguments that it writes into, or "unknown"
    device_types  for which devices the function is; all by default
    """
    def inner(function: Kernel) -> CustomOpDef:
        text = infer_schema(function, mutates_args=mutates_args) if schema is None else schema
        namespace, short = _split(name)
        writes = inspect.signature(function).parameters if mutates_args == "unknown" else mutates_args
        op = _add(namespace, short, text, writes)
        op.signature, op.custom = inspect.signature(function), True
        found = CustomOpDef(op, function)
        for key in ["default"] if device_types is None else [device_types] if isinstance(device_types, str) else device_types:
            op.kernels[key.lower()] = function
        return found
    return inner if fn is None else inner(fn)


def define(qualname: str, schema: str, *, lib: Library | None = None, tags: Any = ()) -> None:
    """Define an operator by its schema: ``define("mine::sin", "(Tensor x) -> Tensor")``; `impl` gives it kernels."""
    _add(*_split(qualname), schema)


def impl(qualname: Any, types: Any, func: Kernel | None = None, *, lib: Library | None = None) -> Any:
    """Give an operator a kernel for device types ("cpu", "cuda", "default") or a dispatch key, as a decorator or a call."""
    if isinstance(qualname, Library):      # the old form: impl(library, name, dispatch_key)
        library, old = qualname, types
        return lambda function: library.impl(old, function, func or "") or function
    return register_kernel(qualname, types, func)


def register_kernel(op: Any, device_types: Any, func: Kernel | None = None, /, *, lib: Library | None = None) -> Any:
    """The same for an operator or its name."""
    found = _find(op)

    def inner(function: Kernel) -> Kernel:
        for key in ["default"] if device_types is None else [device_types] if isinstance(device_types, str) else device_types:
            found.kernels[key.lower()] = function
        return function
    return inner if func is None else inner(func)


def register_fake(op: Any, func: Kernel | None = None, /, *, lib: Library | None = None, _stacklevel: int = 1,
                  allow_override: bool = False) -> Any:
    """The form of an operator on the device "meta"."""
    return register_kernel(op, "meta", func)


impl_abstract = register_fake


def register_autograd(op: Any, backward: Kernel, /, *, setup_context: Kernel | None = None, lib: Library | None = None) -> None:
    """The gradient of an operator: ``backward(ctx, *gradients)`` returns one per input; ``setup_context(ctx, inputs, output)`` saves
    what it needs."""
    found = _find(op)
    found.backward, found.setup_context = backward, setup_context


def register_vmap(op: Any, func: Kernel | None = None, /, *, lib: Library | None = None) -> Any:
    """The form of an operator for vmap: ``func(info, in_dims, *args, **keywords)`` is given whole batches, and returns (output, out_dims).

    Without one, vmap gives the operator's kernel tensors that stand for one sample each."""
    found = _find(op)

    def inner(function: Kernel) -> Kernel:
        found.batched = function
        return function
    return inner if func is None else inner(func)


def register_autocast(op: Any, device_type: str, cast_inputs: Any, /, *, lib: Library | None = None) -> None:
    """Have floating-point inputs cast under autocast of a device type."""
    found = _find(op)
    before = dict(found.kernels)

    def cast(kernel: Kernel) -> Kernel:
        def function(*args: Any, **kwargs: Any) -> Any:
            if not is_autocast_enabled(device_type):
                return kernel(*args, **kwargs)
            return kernel(*map(change, args), **{name: change(value) for name, value in kwargs.items()})
        return function

    def change(value: Any) -> Any:
        if isinstance(value, Tensor) and value.is_floating_point() and value.device.type == device_type and value.dtype.itemsize < 8:
            return value.to(cast_inputs)
        return value
    found.kernels.update({key: cast(kernel) for key, kernel in before.items() if key != "meta"})


def register_torch_dispatch(op: Any, torch_dispatch_class: Any, func: Kernel | None = None, /, *, lib: Library | None = None) -> Any:
    """Rules for ``__torch_dispatch__``: not supported."""
    raise NotSupported("torch.library.register_torch_dispatch is not supported by rushlight: use __torch_function__ (torch.overrides)")


def get_ctx() -> Any:
    """What a form for "meta" asks for sizes that depend on data: not supported."""
    raise NotSupported("torch.library.get_ctx is not supported by rushlight: sizes that depend on data can't be symbols")


def fallthrough_kernel() -> None:
    """Stands for "go on to the next kernel" in `Library.impl`; it is not called."""
    raise NotImplementedError("fallthrough_kernel() should never be called.")


class Library:
    """Operators of one namespace: ``Library("mine", "DEF")`` defines them, "IMPL" and "FRAGMENT" add to them."""

    def __init__(self, ns: str, kind: str, dispatch_key: str = "") -> None:
        if kind not in ("IMPL", "DEF", "FRAGMENT"):
            raise ValueError(f"Unsupported kind: {kind}")
        self.ns, self.kind, self.dispatch_key = ns, kind, dispatch_key
        self._names: list[tuple[str, str]] = []

    def __repr__(self) -> str:
        return f"Library(kind={self.kind}, ns={self.ns}, dispatch_key={self.dispatch_key})>"

    def define(self, schema: str, alias_analysis: str = "", *, tags: Any = ()) -> str:
        """Define an operator: ``define("sin(Tensor x) -> Tensor")``. Returns its name."""
        name = schema.partition("(")[0].strip()
        _add(self.ns, name, schema[len(name):].strip())
        self._names.append((self.ns, name))
        return name

    def impl(self, op_name: Any, fn: Kernel, dispatch_key: str = "", *, with_keyset: bool = False, allow_override: bool = False) -> None:
        """Give an operator a kernel."""
        if with_keyset:
            raise NotSupported("torch.library.Library.impl(with_keyset=True) is not supported by rushlight: there are no dispatch key sets")
        name = op_name if isinstance(op_name, str) else op_name._name
        found = _find(name if "::" in name else f"{self.ns}::{name}")
        if fn is not fallthrough_kernel:
            found.kernels[(dispatch_key or self.dispatch_key or "CompositeImplicitAutograd").lower()] = fn

    def _destroy(self) -> None:
        for key in self._names:
            _OPERATORS.pop(key, None)
        self._names.clear()
