"""``torch.utils._import_utils``: which packages there are."""

from __future__ import annotations

from importlib.util import find_spec
from types import ModuleType

__all__ = ["dill_available", "import_dill"]


def _check_module_exists(name: str) -> bool:
    """Whether a module of that name could be imported (without importing it)."""
    try:
        return find_spec(name) is not None
    except ImportError:
        return False


def dill_available() -> bool:
    """Whether the package dill is there."""
    return _check_module_exists("dill")


def import_dill() -> ModuleType | None:
    """The package dill, or None."""
    if not dill_available():
        return None
    import dill
    return dill
