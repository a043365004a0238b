"""``torch.nn.utils._named_member_accessor``: exchanging a module's tensors by name."""

from __future__ import annotations

from typing import Any

from ...tensor import Tensor
from ..modules.module import Module

__all__ = ["NamedMemberAccessor", "set_tensor", "swap_tensor"]


def set_tensor(module: Module, name: str, tensor: Tensor) -> None:
    """Put a tensor in a parameter's or buffer's place (or that of an attribute). TypeError for what is no Module or tensor."""
    swap_tensor(module, name, tensor, allow_missing=True)


def swap_tensor(module: Module, name: str, tensor: Any, allow_missing: bool = False) -> Any:
    """The same, returning what was there. AttributeError where nothing was, unless it may be missing."""
    if not isinstance(module, Module):
        raise TypeError(f"{module} is not an instance of torch.nn.Module")
    if not isinstance(tensor, Tensor) and tensor is not None:
        raise TypeError(f"{tensor} is not an instance of torch.Tensor")
    if "." in name or not name:
        raise KeyError(f'tensor name can\'t be empty or contain ".": {name!r}')
    for place in (module._parameters, module._buffers):
        if name in place:
            before = place[name]
            place[name] = tensor
            return before
    before = getattr(module, name, None)
    if before is None and not allow_missing:
        raise AttributeError(f"{module._get_name()} has no attribute `{name}`")
    if before is not None and not isinstance(before, Tensor):
        raise TypeError(f"attribute `{name}`: {before} is not an instance of torch.Tensor")
    setattr(module, name, tensor)
    return before


class NamedMemberAccessor:
    """A module's tensors by their dotted names."""

    def __init__(self, module: Module) -> None:
        self.module = module

    def get_submodule(self, name: str) -> Module:
        """The submodule of a dotted name."""
        return self.module.get_submodule(name)

    def _owner(self, name: str) -> tuple[Module, str]:
        prefix, _, last = name.rpartition(".")
        return self.module.get_submodule(prefix), last

    def get_tensor(self, name: str) -> Tensor:
        """The tensor of a dotted name."""
        owner, last = self._owner(name)
        return getattr(owner, last)

    def set_tensor(self, name: str, value: Tensor) -> None:
        """Put a tensor in its place."""
        set_tensor(*self._owner(name), value)

    def swap_tensor(self, name: str, value: Any, allow_missing: bool = False) -> Any:
        """The same, returning what was there."""
        return swap_tensor(*self._owner(name), value, allow_missing)

    def swap_tensors_dict(self, named_tensors: dict[str, Tensor], allow_missing: bool = False) -> tuple[dict[str, Any], list[str]]:
        """The same for several: (what was there, the names that were missing)."""
        before, missing = {}, []
        for name, tensor in named_tensors.items():
            try:
                before[name] = self.swap_tensor(name, tensor, True)
            except AttributeError:
                missing.append(name)
        if missing and not allow_missing:
            raise RuntimeError(f"Missing key(s): {', '.join(map(repr, missing))}.")
        return before, missing

    def named_parameters(self, remove_duplicate: bool = True) -> Any:
        """The module's parameters with their names."""
        return self.module.named_parameters(remove_duplicate=remove_duplicate)

    def named_buffers(self, remove_duplicate: bool = True) -> Any:
        """The module's buffers with their names."""
        return self.module.named_buffers(remove_duplicate=remove_duplicate)
