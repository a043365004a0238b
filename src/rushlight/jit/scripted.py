"""What `script` and `trace` return: the function or module itself in a form that says so, and that can be saved."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable
from types import FunctionType
from typing import Any
from weakref import WeakValueDictionary

from ..autograd.grad_mode import no_grad
from ..nn.modules.module import Module
from ..nn.parameter import is_lazy
from ..random import fork_rng
from ..tensor import Tensor
from ..utils._pytree import tree_leaves
from ..vocabulary import Function

__all__ = ["SCRIPTED", "ScriptFunction", "ScriptModule", "TracerWarning", "script", "trace", "trace_module"]


class TracerWarning(Warning):
    """A traced function gave something else when it was run again."""

    @staticmethod
    def ignore_lib_warnings() -> None:
        """Silence this warning where modules of the package itself cause it."""
        warnings.filterwarnings("ignore", category=TracerWarning, module=r"torch\.(?!jit)")
        warnings.filterwarnings("ignore", "torch::jit::fuser::cuda", category=UserWarning)


# What the program has scripted, by module and name: `load` gives these back to a file that names them.
SCRIPTED: WeakValueDictionary[tuple[str, str], Any] = WeakValueDictionary()


class ScriptFunction:
    """A function that was scripted or traced; calling it calls the function. `save` writes its name (see `torch.jit.save`)."""

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        if isinstance(function, FunctionType):
            SCRIPTED[function.__module__, function.__qualname__] = function
        self.name = getattr(function, "__name__", type(function).__name__)
        self.qualified_name = f"__torch__.{self.name}"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    @property
    def code(self) -> str:
        """The Python source, where it is known."""
        return inspect.getsource(self.function)

    def save(self, f: Any, _extra_files: Any = None) -> None:
        """``torch.jit.save(self, f)``."""
        from .files import save
        save(self, f, _extra_files)

    def __repr__(self) -> str:
        return f"<torch.jit.ScriptFunction of {self.qualified_name}>"


class ScriptModule(Module):
    """A module that was scripted or traced. It has the original's parameters, buffers and submodules (the very same), its methods and
    attributes, and calls its forward, hooks included."""

    def __init__(self, original: Module) -> None:
        super().__init__()
        self.__dict__["_original"] = original
        for name in ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set"):
            self.__dict__[name] = original.__dict__[name]
        self.training = original.training

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The original's forward."""
        return self.__dict__["_original"](*args, **kwargs)

    def train(self, mode: bool = True) -> Any:
        """Switch to training (or evaluation), the original as well."""
        self.__dict__["_original"].train(mode)
        return super().train(mode)

    @property
    def original_name(self) -> str:
        """The original's class name."""
        return type(self.__dict__["_original"]).__name__

    @property
    def code(self) -> str:
        """The Python source of the original's forward."""
        return inspect.getsource(type(self.__dict__["_original"]).forward)

    def save(self, f: Any, _extra_files: Any = None) -> None:
        """``torch.jit.save(self, f)``."""
        from .files import save
        save(self, f, _extra_files)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name.startswith("__") or "_original" not in self.__dict__:
                raise
            return getattr(self.__dict__["_original"], name)

    def __setstate__(self, state: dict[str, Any]) -> None:
        # After a copy: the dicts of the copied original, which are shared again.
        super().__setstate__(state)
        for name in ("_parameters", "_buffers", "_modules"):
            self.__dict__[name] = self.__dict__["_original"].__dict__[name]

    def extra_repr(self) -> str:
        return f"original_name={self.original_name}"


def script(obj: Any, optimize: None = None, _frames_up: int = 0, _rcb: Any = None, example_inputs: Any = None) -> Any:
    """A module as a ScriptModule, a function as a ScriptFunction, a class as itself. They run as Python; nothing is compiled."""
    if isinstance(obj, (ScriptModule, ScriptFunction)) or isinstance(obj, type):
        return obj
    if isinstance(obj, Module):
        if any(is_lazy(each) for each in (*obj.parameters(), *obj.buffers())):
            raise RuntimeError(f"{type(obj).__name__} has uninitialized parameters or buffers. Did you forget to run a forward pass?")
        return ScriptModule(obj)
    if not callable(obj):
        raise RuntimeError(f"torch.jit.script: expected a module, a class or a function, got {type(obj).__name__}")
    return ScriptFunction(obj)


def _as_tuple(inputs: Any) -> tuple[Any, ...]:
    return (inputs,) if isinstance(inputs, (Tensor, dict)) else tuple(inputs)


def _check_outputs(value: Any) -> None:
    if not all(isinstance(each, Tensor) for each in tree_leaves(value)):
        raise RuntimeError("Tracer cannot infer type of the result: a traced function returns tensors, or tuples, lists and dicts of them")


def _run_twice(call: Callable[[], Any], check: bool, tolerance: float) -> None:
    """Run with the example inputs, which shows errors; and once more, which shows whether the results are always the same."""
    first = call()
    _check_outputs(first)
    if not check:
        return
    with no_grad(), fork_rng():
        second = call()
    for a, b in zip(tree_leaves(first), tree_leaves(second), strict=True):
        if a.shape != b.shape or not bool(a.detach().isclose(b.detach(), rtol=tolerance, atol=tolerance, equal_nan=True).all()):
            warnings.warn("Output of the traced function differs between two runs with the example inputs: it is not deterministic "
                          "(dropout in training mode?), or it keeps a state", TracerWarning, stacklevel=4)
            return


def trace(func: Function, example_inputs: Any = None, optimize: None = None, check_trace: bool = True, check_inputs: Any = None,
          check_tolerance: float = 1e-5, strict: bool = True, _force_outplace: bool = False, _module_class: Any = None,
          _compilation_unit: Any = None, example_kwarg_inputs: dict[str, Any] | None = None, _store_inputs: bool = True) -> Any:
    """Run a module or function with example inputs, and give it back as a ScriptModule or ScriptFunction.

    Unlike PyTorch's, the result still runs the Python code, so control flow that depends on values keeps working.
    check_trace  run it again and warn (`TracerWarning`) where the results differ by more than check_tolerance; also for each of
                 `check_inputs`
    RuntimeError where the result is anything but tensors.
    """
    if (example_inputs is None) == (example_kwarg_inputs is None):
        raise RuntimeError("example_kwarg_inputs should be a dict, and example_inputs or it has to be given, but not both")
    call = (lambda: func(**example_kwarg_inputs)) if example_inputs is None else lambda: func(*_as_tuple(example_inputs))
    _run_twice(call, check_trace, check_tolerance)
    for inputs in check_inputs or ():
        _run_twice(functools.partial(func, *_as_tuple(inputs)), check_trace, check_tolerance)
    return script(func)


def trace_module(mod: Module, inputs: dict[str, Any], optimize: None = None, check_trace: bool = True, check_inputs: Any = None,
                 check_tolerance: float = 1e-5, strict: bool = True, **options: Any) -> Any:
    """`trace` for several methods: `inputs` maps their names to example inputs."""
    if not isinstance(mod, Module):
        raise AttributeError("expected torch.nn.Module as the first argument")
    if not isinstance(inputs, dict):
        raise AttributeError("expected a dictionary of (method_name, input) pairs")
    for name, values in inputs.items():
        method = mod if name == "forward" else getattr(mod, name)
        _run_twice(functools.partial(method, *_as_tuple(values)), check_trace, check_tolerance)
    return script(mod)
