"""``RecursiveScriptModule``: a module that was loaded from a TorchScript archive."""

from __future__ import annotations

from functools import partial
from typing import Any

from ...homes import settle
from ...nn.modules.module import Module
from ...nn.parameter import Parameter
from ...tensor import Tensor
from ..scripted import ScriptModule
from .language import Code
from .values import Error, Holder, ScriptClass

__all__ = ["RecursiveScriptModule"]


class RecursiveScriptModule(ScriptModule, Holder):
    """A module of an archive: its parameters, buffers, submodules and attributes are Python's, its methods the archive's code.

    Hooks that the program adds to submodules are not called by the archive's code, as in PyTorch.
    """

    def __init__(self, cls: ScriptClass, archive: Any) -> None:
        self.__dict__.update(_class=cls, _archive=archive)
        Module.__init__(self)

    # --- what the archive's code does with it -----------------------------------------------------------------------------------------

    def _read(self, name: str) -> Any:
        values = self.__dict__
        for table in (values["_parameters"], values["_modules"], values["_buffers"]):
            if name in table:
                return table[name]
        if name in self._class.attributes and name in values:
            return values[name]
        if name in self._class.constants:
            return self._class.constants[name]
        raise Error(f"{self._class.name} has no attribute {name}, or it is not set yet")

    def _write(self, name: str, value: Any) -> None:
        cls, values = self._class, self.__dict__
        if name not in cls.attributes:
            raise Error(f"{cls.name} declares no attribute {name}")
        if name in values["_parameters"]:
            if not isinstance(value, Parameter):
                raise Error(f"the parameter {name} of {cls.name} can be changed, but not replaced")
            values["_parameters"][name] = value
        elif name in values["_buffers"]:
            values["_buffers"][name] = value
        elif isinstance(value, Module) or name in values["_modules"]:
            values["_modules"][name] = value
        else:
            values[name] = value

    def _fill(self, state: dict[str, Any]) -> None:
        """Take the attributes that the archive holds."""
        cls = self._class
        for name, value in state.items():
            if name not in cls.attributes:
                raise RuntimeError(f"torch.jit.load: the file holds an attribute {name[:80]!r} of {cls.name}, which declares none")
            if name in cls.parameters and (value is None or isinstance(value, Parameter)):
                self._parameters[name] = value
            elif name in cls.buffers and (value is None or isinstance(value, Tensor)):
                self._buffers[name] = value
            elif isinstance(value, Module):
                self._modules[name] = value
            else:
                self.__dict__[name] = value

    # --- what a program does with it --------------------------------------------------------------------------------------------------

    def _bound(self, name: str) -> Any:
        code: Code = self._class.methods[name]  # type: ignore[assignment]
        return partial(_called, code, self)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The archive's forward."""
        methods = self._class.methods
        if "forward" not in methods:
            raise AttributeError(f"'{type(self).__name__}' object has no attribute 'forward': {self._class.name} has none")
        return _called(methods["forward"], self, *args, **kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        cls = self._class
        if not (cls.hooks or cls.pre_hooks):
            return super().__call__(*args, **kwargs)
        for name in cls.pre_hooks:
            found = cls.methods[name](self, args)
            args = args if found is None else found if isinstance(found, tuple) else (found,)
        result = super().__call__(*args, **kwargs)
        for name in cls.hooks:
            found = cls.methods[name](self, args, result)
            result = result if found is None else found
        return result

    def train(self, mode: bool = True) -> Any:
        """Switch to training (or evaluation)."""
        return Module.train(self, mode)

    @property
    def original_name(self) -> str:
        """The class's name in the program that made the archive."""
        return self._class.name.rpartition(".")[2]

    @property
    def code(self) -> str:
        """The archive's text of forward."""
        forward: Any = self._class.methods.get("forward")
        return "" if forward is None else forward.code

    def __getattr__(self, name: str) -> Any:
        cls = self.__dict__.get("_class")
        if cls is not None and not name.startswith("__"):
            if name in cls.methods and name not in cls.hooks and name not in cls.pre_hooks:
                return self._bound(name)
            if name in cls.constants:
                return cls.constants[name]
            if f"__{name}_getter" in cls.methods:
                return cls.methods[f"__{name}_getter"](self)
        return Module.__getattr__(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if f"__{name}_setter" in self._class.methods:
            self._class.methods[f"__{name}_setter"](self, value)
        else:
            super().__setattr__(name, value)

    def __setstate__(self, state: dict[str, Any]) -> None:
        Module.__setstate__(self, state)

    def extra_repr(self) -> str:
        return f"original_name={self.original_name}"


def _called(code: Any, self: RecursiveScriptModule, *args: Any, **kwargs: Any) -> Any:
    return code.from_python((self, *args), kwargs)


settle("jit", globals())
