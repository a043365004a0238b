"""``torch.distributed.fsdp.wrap``: which submodules are gathered by themselves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ...homes import settle
from ...unsupported import attribute_of

__all__ = ["ModuleWrapPolicy", "always_wrap_policy", "size_based_auto_wrap_policy", "transformer_auto_wrap_policy"]


class ModuleWrapPolicy:
    """Modules of these classes."""

    def __init__(self, module_classes: Iterable[type]) -> None:
        self._module_classes = set(module_classes)

    def __call__(self, module: Any, recurse: bool, *args: Any, **kwargs: Any) -> bool:
        return recurse or isinstance(module, tuple(self._module_classes))


def always_wrap_policy(*args: Any, **kwargs: Any) -> bool:
    """Every module."""
    return True


def transformer_auto_wrap_policy(module: Any, recurse: bool, nonwrapped_numel: int, transformer_layer_cls: set[type]) -> bool:
    """Modules of these classes (with functools.partial)."""
    return recurse or isinstance(module, tuple(transformer_layer_cls))


def size_based_auto_wrap_policy(
    module: Any,
    recurse: bool,
    nonwrapped_numel: int,
    min_num_params: int = int(1e8),
    force_leaf_modules: Any = None,
    exclude_wrap_modules: Any = None,
) -> bool:
    """Modules of at least so many parameters (with functools.partial)."""
    return recurse or nonwrapped_numel >= min_num_params


__getattr__ = attribute_of("distributed.fsdp.wrap", "docs/distributed.md lists what is there")

settle("distributed.fsdp.wrap", globals())
