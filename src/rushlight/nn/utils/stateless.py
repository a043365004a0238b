"""Calling a module with other parameters and buffers than its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ...tensor import Tensor

if TYPE_CHECKING:
    from ...nn.modules.module import Module

__all__ = ["functional_call"]


def _tied_names(module: Module) -> dict[str, list[str]]:
    """For every parameter and buffer that has several names: each name with all of them."""
    names: dict[int, list[str]] = {}
    for name, tensor in (*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)):
        names.setdefault(id(tensor), []).append(name)
    return {name: group for group in names.values() if len(group) > 1 for name in group}


def _with_tied(module: Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """`tensors` with the other names of tied parameters added; ValueError where two names get different tensors."""
    tied = _tied_names(module)
    result = dict(tensors)
    for name, tensor in tensors.items():
        for other in tied.get(name, ()):
            if other in tensors and tensors[other] is not tensor:
                raise ValueError(f"functional_call got multiple values for keys {sorted(set(tied[name]) & set(tensors))}, which are tied. "
                                 "Consider using tie_weights=False")
            result[other] = tensor
    return result


def _check_keys(module: Module, tensors: dict[str, Tensor]) -> None:
    """RuntimeError unless `tensors` has exactly the module's names."""
    own = {name for name, _ in (*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False))}
    unexpected, missing = [k for k in tensors if k not in own], sorted(own - tensors.keys())
    parts = []
    if unexpected:
        parts.append("Unexpected key(s): " + ", ".join(map(repr, unexpected)) + ".")
    if missing:
        parts.append("Missing key(s): " + ", ".join(map(repr, missing)) + ".")
    if parts:
        raise RuntimeError(f"Error(s) in reparametrizing for {module._get_name()}:\n\t" + "\n\t".join(parts))


_ABSENT = object()


def _swap(module: Module, path: str, value: Any) -> Any:
    """Put a value where the path leads; returns what was there."""
    prefix, _, name = path.rpartition(".")
    owner = module.get_submodule(prefix)
    for place in (owner._parameters, owner._buffers):
        if name in place:
            old = place[name]
            if value is _ABSENT:
                del place[name]
            else:
                place[name] = value
            return old
    old = getattr(owner, name, _ABSENT)
    if value is _ABSENT:
        delattr(owner, name)
    else:
        setattr(owner, name, value)
    return old


@contextmanager
def _reparametrize_module(module: Module, parameters_and_buffers: dict[str, Tensor], tie_weights: bool = False,
                          strict: bool = False) -> Iterator[None]:
    """While it lasts, the module has these tensors in the places of its own."""
    for tensor in parameters_and_buffers.values():
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{tensor} is not an instance of torch.Tensor")
    tensors = _with_tied(module, parameters_and_buffers) if tie_weights else dict(parameters_and_buffers)
    if strict:
        _check_keys(module, tensors)
    old: dict[str, Any] = {}
    try:
        for path, tensor in tensors.items():
            old[path] = _swap(module, path, tensor)
        yield
    finally:
        for path, value in reversed(old.items()):
            now = _swap(module, path, value)
            # What forward assigned in place (running statistics) stays with the caller's tensors.
            if path in parameters_and_buffers and isinstance(now, Tensor) and value is not _ABSENT:
                parameters_and_buffers[path] = now


def functional_call(module: Module, parameters_and_buffers: dict[str, Tensor], args: Tensor | None = None,
                    kwargs: dict[str, Any] | None = None, *,
                    tie_weights: bool = True, strict: bool = False) -> Tensor:
    """The old place of ``torch.func.functional_call``."""
    import warnings
    warnings.warn("`torch.nn.utils.stateless.functional_call` is deprecated as of PyTorch 2.0 and will be removed in a future version of "
                  "PyTorch. Please use `torch.func.functional_call` instead which is a drop-in replacement.", FutureWarning, stacklevel=2)
    return _functional_call(module, parameters_and_buffers, args, kwargs, tie_weights=tie_weights, strict=strict)


def _functional_call(module: Module, parameters_and_buffers: dict[str, Tensor], args: Tensor | tuple[Tensor, ...] | None = None,
                     kwargs: dict[str, Any] | None = None, *,
                     tie_weights: bool = True, strict: bool = False) -> Tensor:
    """``module(*args, **kwargs)`` with other tensors in the places named.

    args         a tuple, or one argument
    tie_weights  a tensor given for one name of a shared parameter serves all its names
    strict       RuntimeError unless all parameters and buffers are given, and nothing else
    """
    args = () if args is None else args if isinstance(args, tuple) else (args,)
    kwargs = {} if kwargs is None else kwargs
    with _reparametrize_module(module, parameters_and_buffers, tie_weights=tie_weights, strict=strict):
        return module(*args, **kwargs)
