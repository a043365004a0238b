"""Which public, documented names of each namespace rushlight has."""

import importlib
import inspect
import json
import types
from pathlib import Path

from .mirror import Missing, attribute

NAMESPACES = (
    "torch", "torch.Tensor", "torch.nn", "torch.nn.functional", "torch.nn.init", "torch.nn.utils", "torch.nn.utils.parametrize",
    "torch.nn.utils.parametrizations", "torch.nn.utils.prune", "torch.nn.utils.rnn", "torch.nn.utils.stateless", "torch.nn.attention",
    "torch.optim", "torch.optim.lr_scheduler", "torch.optim.swa_utils", "torch.linalg", "torch.fft", "torch.special", "torch.func",
    "torch.autograd", "torch.autograd.functional", "torch.autograd.forward_ad", "torch.autograd.graph", "torch.distributions",
    "torch.distributions.constraints", "torch.distributions.transforms", "torch.utils.data", "torch.utils.checkpoint", "torch.utils._pytree",
    "torch.amp", "torch.random", "torch.signal.windows", "torch.masked", "torch.overrides", "torch.testing", "torch.hub", "torch.sparse",
    "torch.jit",
)


def wanted(namespace):
    """The public names of a namespace that are documented: `__all__` where there is one, else what has a docstring of its own."""
    owner = _theirs(namespace)
    if namespace == "torch":
        names = {name for name in owner.__all__ if _documented(getattr(owner, name, None))}
    elif isinstance(owner, types.ModuleType) and hasattr(owner, "__all__"):
        names = set(owner.__all__)
    else:
        names = {name for name in dir(owner) if _documented(getattr(owner, name, None)) and _belongs(getattr(owner, name), owner)}
    return sorted(name for name in names if not name.startswith("_") and hasattr(owner, name))


def _theirs(namespace):
    value = importlib.import_module("torch")
    for part in namespace.split(".")[1:]:
        value = getattr(value, part) if hasattr(value, part) else importlib.import_module(f"{value.__name__}.{part}")
    return value


def _documented(value):
    return not isinstance(value, types.ModuleType) and bool(getattr(value, "__doc__", None))


def _belongs(value, owner):
    """Whether a name of a module without `__all__` is not just something that the module imported from elsewhere."""
    if inspect.isclass(owner):
        return True
    home = getattr(value, "__module__", None) or ""
    if inspect.isclass(value) or inspect.isfunction(value):
        return home.startswith(owner.__name__)
    return callable(value) and not home.startswith("typing")


def missing(namespace):
    """(missing names, number of names) of a namespace."""
    names = wanted(namespace)
    lacking = []
    for name in names:
        try:
            attribute(f"{namespace}.{name}")
        except Missing:
            lacking.append(name)
        except Exception:  # noqa: BLE001   the module that should hold it can't be imported
            lacking.append(name)
    return lacking, len(names)


def known_missing():
    """The missing names by namespace when the line was written."""
    return json.loads((Path(__file__).parent / "line.json").read_text()).get("names", {})
