"""``torch.fx.operator_schemas``: the arguments of calls, matched with signatures."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from ..ops.aten import OpOverload, OpOverloadPacket
from ..ops.interception import original_of
from ..tensor import Tensor

__all__ = ["ArgsKwargsPair", "check_for_mutable_operation", "get_signature_for_torch_op", "create_type_hint", "type_matches",
           "normalize_function", "normalize_module"]


class ArgsKwargsPair(NamedTuple):
    """The arguments of a call, by position and by name."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def get_signature_for_torch_op(op: Callable[..., Any], return_schemas: bool = False) -> Any:
    """The signatures of a torch function (here each has one), or None where it has none; with `return_schemas`, a pair with the schemas."""
    inner = op.overloadpacket._function if isinstance(op, OpOverload) else op._function if isinstance(op, OpOverloadPacket) else op
    try:
        found = [inspect.signature(original_of(inner))]
    except (TypeError, ValueError):
        return (None, None) if return_schemas else None
    return (found, [getattr(op, "_schema", None)]) if return_schemas else found


def check_for_mutable_operation(target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """RuntimeError for a torch function that writes into its arguments."""
    from .names import is_own_value
    name = getattr(target, "__name__", "")
    if is_own_value(target) and ((name.endswith("_") and not name.endswith("__")) or kwargs.get("out") is not None
                                 or kwargs.get("inplace")):
        raise RuntimeError(f"Tried to trace mutable operation {name}. FX only supports functional code, so operations that mutate "
                           "operands in-place (e.g. via `out` arguments) are not supported")


def create_type_hint(x: Any) -> Any:
    """The type of a list's or tuple's elements, as an annotation, where they have one in common."""
    if not isinstance(x, (list, tuple)) or not x:
        return x
    first = x[0]
    same = all(each is first or (isinstance(each, type) and isinstance(first, type) and issubclass(each, first)) for each in x)
    inner = first if same else Any
    return list[inner] if isinstance(x, list) else tuple[inner, ...]  # type: ignore[valid-type]


def type_matches(signature_type: Any, argument_type: Any) -> bool:
    """Whether an argument of one type goes where another one is asked for."""
    if signature_type is argument_type or signature_type in (Any, inspect.Parameter.empty):
        return True
    members = getattr(signature_type, "__args__", ())
    if type(None) in members or str(getattr(signature_type, "__origin__", "")).endswith("Union"):
        return any(type_matches(each, argument_type) for each in members)
    if signature_type in (list[int], list[float]) and argument_type in (int, float, tuple[int, ...]):
        return True
    both = inspect.isclass(signature_type) and inspect.isclass(argument_type)
    number = signature_type is float and argument_type is int
    return number or (both and (issubclass(argument_type, signature_type) or (signature_type in (int, float) and argument_type is Tensor)))


def normalize_function(target: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any] | None = None, arg_types: Any = None,
                       kwarg_types: Any = None, normalize_to_only_use_kwargs: bool = False) -> ArgsKwargsPair | None:
    """The arguments of a torch function's call as its signature has them, defaults filled in; all by name on request. None where they don't
    fit."""
    from .names import is_own_value
    if not is_own_value(target):
        return None
    signatures = get_signature_for_torch_op(target)
    return None if signatures is None else _bound(signatures[0], args, kwargs or {}, normalize_to_only_use_kwargs)


def normalize_module(root: Any, target: str, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None,
                     normalize_to_only_use_kwargs: bool = False) -> ArgsKwargsPair | None:
    """The same for the call of a module of torch.nn. RuntimeError where there is no such submodule."""
    from ..nn import modules
    try:
        module = root.get_submodule(target)
    except AttributeError as error:
        raise RuntimeError(f"Tried to normalize node with target {target} but root did not have that target!") from error
    if getattr(modules, module.__class__.__name__, None) is not module.__class__:
        return None
    return _bound(inspect.signature(module.forward), args, kwargs or {}, normalize_to_only_use_kwargs)


def _bound(signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any], only_by_name: bool) -> ArgsKwargsPair | None:
    parameters = signature.parameters.values()
    if any(each.kind in (each.POSITIONAL_ONLY, each.VAR_POSITIONAL) for each in parameters) and only_by_name:
        return None
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError:
        return None
    bound.apply_defaults()
    if only_by_name:
        return ArgsKwargsPair((), {name: value for name, value in bound.arguments.items() if signature.parameters[name].kind is not
                                   inspect.Parameter.VAR_KEYWORD})
    by_place, by_name = [], {}
    for i, each in enumerate(parameters):
        value = bound.arguments[each.name]
        if each.kind is each.VAR_POSITIONAL:
            by_place.extend(value)
        elif each.kind is each.VAR_KEYWORD:
            by_name.update(value)
        elif each.kind is not each.KEYWORD_ONLY and i < len(args):
            by_place.append(value)
        else:
            by_name[each.name] = value
    return ArgsKwargsPair(tuple(by_place), by_name)
