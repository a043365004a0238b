"""``torch._C``: the few names of PyTorch's compiled module that programs use."""

from __future__ import annotations

from ..autograd.grad_mode import is_grad_enabled as is_grad_enabled
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

from . import probes
from ..unsupported import NotSupported, absent_class
from ..homes import place
from ..generator import Generator as Generator
from ..tensor import Tensor
from ..overrides import DisableTorchFunction as DisableTorchFunction
from ..overrides import DisableTorchFunctionSubclass as DisableTorchFunctionSubclass
from ..overrides import _disabled_torch_function_impl as _disabled_torch_function_impl
from ..amp.casting import is_autocast_enabled, set_autocast_enabled


if TYPE_CHECKING:
    from ..markers import DispatchKeySet

_TensorMeta = type(Tensor)


def _get_tracing_state() -> None:
    """The trace that is being recorded: none ever is."""
    return


def _get_privateuse1_backend_name() -> str:
    """The name of a device that a plug-in brings."""
    return "privateuseone"


def _log_api_usage_once(event: str) -> None:
    """Where PyTorch counts which features are used; nothing is counted here."""


class _ExcludeDispatchKeyGuard:
    """A context without what some dispatch keys do: autocast, of all that there are (NotImplementedError for others)."""

    def __init__(self, keys: DispatchKeySet) -> None:
        names = [each.name for each in keys._keys]
        if not all(each.startswith("Autocast") for each in names):
            raise NotSupported(f"torch._C._ExcludeDispatchKeyGuard({keys}) is not supported by rushlight: only the keys of autocast can "
                               "be left out")
        self._types = [each.removeprefix("Autocast").lower() for each in names if each in ("AutocastCPU", "AutocastCUDA")]

    def __enter__(self) -> None:
        self._before = [(each, is_autocast_enabled(each)) for each in self._types]
        for each in self._types:
            set_autocast_enabled(each, False)

    def __exit__(self, *exception: object) -> None:
        for each, on in self._before:
            set_autocast_enabled(each, on)


# TorchScript's classes: of scripted things, of its graphs, of its types.
_SCRIPTED = ("ScriptFunction", "ScriptMethod", "ScriptDict", "ScriptList", "ScriptObject")
_TYPES = """Any Await Bool Class Complex DeviceObj Dict Enum Float Future Inferred Int Interface List None Number Optional PyObject RRef StreamObj String
    SymBool SymInt Tensor Tuple Union"""
_GRAPHS = ("Graph", "Node", "Value", "Block", "Use", "Type", *[f"{name}Type" for name in _TYPES.split()])


def _script_class(name: str) -> type:
    """One of them: what `torch.jit.script` returns, or a class without instances, because scripted code is Python's here."""
    if name == "ScriptFunction":
        from ..jit.scripted import ScriptFunction
        return ScriptFunction
    found = absent_class(name, "nothing is compiled, so there are no such graphs; torch.fx has graphs" if name in _GRAPHS
                         else "scripted code has Python's own lists, dicts and methods")
    found.__call__ = lambda self, *args, **kwargs: None         # type: ignore[method-assign]  # utilities wrap it; there are no instances
    return found


_SUBMODULES = ("_autograd", "_functions", "_functorch")
# where PyTorch's compiled module keeps functions that are public elsewhere
_SPACES = {"_VariableFunctions": "", **{name: f"_C.{name}" for name in ("_nn", "_linalg", "_fft", "_special", *_SUBMODULES)}}


def by_operator_names(space: str) -> Callable[[str], object]:
    """A module's ``__getattr__`` that gives the functions of torch.<space> by their operators' names ("linalg_inv")."""
    def get(name: str) -> object:
        prefix, _, short = name.partition("_")
        if prefix != space:
            raise AttributeError(f"module {place('_C._' + space)!r} has no attribute {name!r}")
        return getattr(import_module(place(space)), short)
    return get


def __getattr__(name: str) -> object:
    if name in ("DispatchKey", "DispatchKeySet"):
        return globals().setdefault(name, getattr(import_module("..markers", __name__), name))
    if name in _SCRIPTED or name in _GRAPHS:
        return globals().setdefault(name, _script_class(name))
    if hasattr(probes, name):
        return getattr(probes, name)
    if name in _SPACES:
        return globals().setdefault(name, import_module(place(_SPACES[name])))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
