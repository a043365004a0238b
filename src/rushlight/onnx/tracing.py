"""A model's run as a graph of the functions that it called, with the sizes that may change as nodes of it."""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..autograd.grad_mode import no_grad
from ..fx.experimental.proxy_tensor import _Recorder
from ..fx.node import Node
from ..size import Size
from ..tensor import Tensor

__all__ = ["Traced", "size_of", "trace"]

_ROOT = str(Path(__file__).resolve().parent.parent)


def size_of(x: Tensor, dim: int) -> int:
    """The size of a dimension: a node of a graph whose sizes may change."""
    return int(x._a.shape[dim])


class TracedInt(int):
    """A size that a program read. Arithmetic with it is recorded when it is used."""

    make: Callable[[], Node]

    def __new__(cls, value: int, make: Callable[[], Node]) -> TracedInt:
        found = super().__new__(cls, value)
        found.make = make
        return found


def _arithmetic(name: str, reflected: bool) -> Callable[..., Any]:
    plain, function = getattr(int, name), getattr(operator, name.strip("_").removeprefix("r") if reflected else name.strip("_"))

    def call(self: TracedInt, other: Any) -> Any:
        value = plain(self, other)
        if type(value) is not int or not isinstance(other, int):
            return value
        pair = (other, self) if reflected else (self, other)
        return TracedInt(value, lambda: _graph(self).call_function(function, tuple([each.make() if isinstance(each, TracedInt) else each for each in pair])))
    return call


def _graph(size: TracedInt) -> Any:
    return size.make().graph


for _name in ("add", "sub", "mul", "floordiv", "mod"):
    setattr(TracedInt, f"__{_name}__", _arithmetic(f"__{_name}__", False))
    setattr(TracedInt, f"__r{_name}__", _arithmetic(f"__r{_name}__", True))


class Traced(_Recorder):
    """One run. Nodes know what they gave (``meta["val"]``) and the line of the program that made them (``meta["line"]``)."""

    def __init__(self, dynamic: bool, names: dict[int, str]) -> None:
        super().__init__()
        self.dynamic, self.names = dynamic, names

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if self.dynamic and args and id(args[0]) in self.nodes:
            if name == "__get__" and func.__self__ is vars(Tensor)["shape"]:
                return self.shape(args[0])
            if name == "size":
                shape = self.shape(args[0])
                dim = args[1] if len(args) > 1 else kwargs.get("dim")
                return shape if dim is None else shape[dim]
            if name == "numel":
                total: Any = 1
                for n in self.shape(args[0]):
                    total = n * total
                return total
        if name in _CONSTANTS:
            made = func(*args, **kwargs)
            self.before[id(made)] = made
            return made
        return super().__torch_function__(func, types, args, kwargs)

    def shape(self, x: Tensor) -> Size:
        """A tensor's shape, of sizes that are recorded where they are used."""
        node = self.nodes[id(x)][1]

        def size(i: int, n: int) -> TracedInt:
            made: list[Node] = []

            def make() -> Node:
                if not made:
                    made.append(self.graph.call_function(size_of, (node, i)))
                return made[0]
            return TracedInt(n, make)
        return tuple.__new__(Size, [size(i, int(n)) for i, n in enumerate(x._a.shape)])

    def arguments(self, value: Any) -> Any:
        return value.make() if isinstance(value, TracedInt) else super().arguments(value)

    def constant(self, value: Tensor) -> Node:
        name = self.names.get(id(value))
        if name is None or name in self.attributes:
            node = super().constant(value)
        else:
            self.attributes[name] = value
            node = self.graph.get_attr(name.replace(".", "_"))
            node.target = name
            self.nodes[id(value)] = (value, node)
        node.meta["val"] = value
        return node

    def record(self, func: Any, name: str, args: Any, kwargs: Any) -> Node:
        node = self.graph.call_function(func, args, kwargs) if name != "__get__" else super().record(func, name, args, kwargs)
        node.meta["line"], node.meta["function"] = _line(), name
        if name == "__get__":
            node.meta["function"] = str(node.args[1])
        return node

    def name_results(self, result: Any, node: Node) -> None:
        node.meta["val"] = result
        super().name_results(result, node)


_CONSTANTS = frozenset(("tensor", "as_tensor", "asarray", "from_numpy", "scalar_tensor", "hann_window", "hamming_window", "eye",
                        "linspace"))


def _line() -> str:
    """The line of the program, outside of this package, that runs now."""
    frame = sys._getframe(1)
    while frame is not None:
        if not frame.f_code.co_filename.startswith((_ROOT, "<")):
            return f"{frame.f_code.co_filename}:{frame.f_lineno}, in {frame.f_code.co_name}"
        frame = frame.f_back  # type: ignore[assignment]
    return "an unknown line"


def trace(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any], dynamic: bool) -> tuple[Traced, Any]:
    """(the recorder with its graph, what the model gave) of a run without gradients."""
    names: dict[int, str] = {}
    if hasattr(model, "named_parameters"):
        for name, value in (*model.named_parameters(), *model.named_buffers()):
            names.setdefault(id(value), name)
    recorder = Traced(dynamic, names)
    results: list[Any] = []

    def run(*given: Any) -> Any:
        results.append(model(*given[:len(args)], **dict(zip(kwargs, given[len(args):], strict=True))))
        return results[-1]
    with no_grad():
        recorder.collect(run, (*args, *kwargs.values()))
    return recorder, results[-1]
