"""`make_fx`: the operators that a function calls on real tensors, as a graph.

Other than `symbolic_trace`, it runs the function on values: Python's loops and branches are gone from the graph, modules are looked into,
and what is recorded are operators of ``torch.ops.aten`` where they take what the function was called with, else the functions themselves.
Composite functions stay whole, as with PyTorch's ``pre_dispatch=True``.
"""

from __future__ import annotations

import gc
import inspect
import operator
from collections.abc import Callable
from typing import Any

from ...amp import casting
from ...autograd import engine
from ...dispatching.naming import operator_of
from ...nn.modules.module import Module
from ...nn.parameter import Parameter
from ...ops.interception import intercept, release
from ...overrides import TorchFunctionMode
from ...tensor import Tensor
from ...unsupported import NotSupported, attribute_of
from ...utils import _pytree as pytree
from ..codegen import _package, _PyTreeCodeGen, _PyTreeInfo
from ..graph import Graph
from ..graph_module import GraphModule
from ..names import spelled
from ..node import Node

__all__ = ["make_fx", "get_proxy_mode"]

_VALUES = frozenset(["item", "tolist", "numpy", "__bool__", "__int__", "__float__", "__complex__", "__index__"])
_ENGINE: Any = engine.run
_current: list[_Recorder] = []


def get_proxy_mode() -> Any:
    """The trace that runs, or None."""
    return _current[-1] if _current else None


def make_fx(f: Callable[..., Any], decomposition_table: Any = None, tracing_mode: str = "real", _allow_non_fake_inputs: bool = False, *,
            pre_dispatch: bool = True, record_module_stack: bool = False) -> Callable[..., GraphModule]:
    """A function that runs `f` on its arguments and gives the graph of what that called, as a module with the same arguments.

    tracing_mode  only "real": sizes, and values that are no tensors, are constants of the graph (NotImplementedError for "fake" and
                  "symbolic")

    RuntimeError where the function asks for a tensor's value, which the graph could not ask again; NotImplementedError for backward passes,
    vmap and decompositions, and for tensors that were made where the trace does not see it.
    """
    if tracing_mode not in ("real", "fake", "symbolic"):
        raise ValueError(f"Unexpected tracing type: {tracing_mode}")
    if tracing_mode != "real" or decomposition_table or record_module_stack or not pre_dispatch or _allow_non_fake_inputs:
        raise NotSupported('torch.fx.experimental.proxy_tensor.make_fx is supported by rushlight with tracing_mode="real" and '
                           'pre_dispatch=True '
                           "only, without decompositions and module stacks")

    def traced(*args: Any) -> GraphModule:
        return _Recorder().run(f, args)
    return traced


class _Recorder(TorchFunctionMode):
    """One run of `make_fx`."""

    def __init__(self) -> None:
        self.graph = Graph()
        # id -> a tensor that the graph has (kept, so that the id stays its own), its node
        self.nodes: dict[int, tuple[Tensor, Node]] = {}
        self.attributes: dict[str, Any] = {}
        self.before = {id(each): each for each in gc.get_objects() if issubclass(type(each), Tensor)}

    def run(self, f: Any, args: tuple[Any, ...]) -> GraphModule:
        """The graph of a call."""
        self.collect(f, args)
        return GraphModule(self.attributes, self.graph)

    def collect(self, f: Any, args: tuple[Any, ...]) -> None:
        """Fill the graph with a call."""
        leaves, spec = pytree.tree_flatten(args)
        names = _names(f, len(args))
        counts = [each.num_leaves for each in spec.children()]
        labels = [f"{name}_{i + 1}" for name, count in zip(names, counts, strict=True) for i in range(count)]
        for label, value in zip(labels, leaves, strict=True):
            node = self.graph.placeholder(label)
            if isinstance(value, Tensor):
                self.nodes[id(value)] = (value, node)
                node.meta["val"] = value
        if any(count != 1 for count in counts) or not all(each.is_leaf() for each in spec.children()):
            self.graph.set_codegen(_PyTreeCodeGen(_PyTreeInfo(names, spec, None)))
        _current.append(self)
        intercept(_ENGINE, "overrides", _no_backward)
        try:
            with self:
                result = f(*args)
        finally:
            release(_ENGINE, "overrides")
            _current.pop()
        self.graph.output(self.arguments(result))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if casting.LOCAL.enabled:
            raise NotSupported("make_fx: the casts of autocast are not recorded: run the graph under autocast, or export the program with torch.export")
        name = _name(func)
        if name in _VALUES and any(id(each) in self.nodes for each in args):
            raise RuntimeError(f"make_fx: the function asks for the value of a traced tensor ({name}), so that another value might make "
                               "another graph; use torch.where, or trace with fx.symbolic_trace and fx.wrap")
        nodes = self.arguments(args), self.arguments(kwargs)      # before the call: it may write into them
        result = func(*args, **kwargs)
        if _holds(result, Tensor):
            self.name_results(result, self.record(func, name, *nodes))
        elif result is None and _holds(nodes, Node):
            if name == "__set__":
                raise NotSupported("make_fx: assigning to an attribute of a tensor is not recorded: use copy_()")
            self.record(func, name, *nodes)
        return result

    def arguments(self, value: Any) -> Any:
        """What a call was given, with nodes for tensors."""
        if isinstance(value, Tensor):
            return self.nodes[id(value)][1] if id(value) in self.nodes else self.constant(value)
        if isinstance(value, (list, tuple)):
            items = [self.arguments(each) for each in value]
            return type(value)(*items) if hasattr(value, "_fields") else items if isinstance(value, list) else tuple(items)
        if isinstance(value, dict):
            return {key: self.arguments(each) for key, each in value.items()}
        if isinstance(value, slice):
            return slice(self.arguments(value.start), self.arguments(value.stop), self.arguments(value.step))
        return value

    def constant(self, value: Tensor) -> Node:
        """A node for a tensor that was there before: a parameter, or one that the function holds."""
        if id(value) not in self.before:
            raise NotSupported("make_fx: the function uses a tensor that was made where the trace does not see it (a custom Function, "
                               "vmap, NumPy), so that the graph would hold its value as a constant")
        stem = "_param_constant" if isinstance(value, Parameter) else "_tensor_constant"
        name = f"{stem}{sum(each.startswith(stem) for each in self.attributes)}"
        self.attributes[name] = value
        node = self.graph.get_attr(name)
        self.nodes[id(value)] = (value, node)
        return node

    def record(self, func: Any, name: str, args: Any, kwargs: Any) -> Node:
        """A node for a call."""
        if func is vars(Tensor)["__setitem__"]:
            return self.graph.call_function(operator.setitem, args, kwargs)
        if name == "__get__":
            return self.graph.call_function(getattr, (args[0], _key(func.__self__)))
        target = operator_of(func, args, kwargs, Node)
        if target is not None:
            return self.graph.call_function(target, args, kwargs, name=target._opname)
        public = _public(func)
        if public is not None:
            return self.graph.call_function(public, args, kwargs)
        method = _key(func)
        if method is None:
            raise NotSupported(f"make_fx: {func} can't be named in a graph")
        return self.graph.call_method(method, args, kwargs)

    def name_results(self, result: Any, node: Node) -> None:
        """Note which tensors a call gave."""
        if isinstance(result, Tensor):
            self.nodes[id(result)] = (result, node)
        elif isinstance(result, (list, tuple)):
            for i, each in enumerate(result):
                if _holds(each, Tensor):
                    self.name_results(each, self.graph.call_function(operator.getitem, (node, i)))


def _holds(value: Any, kind: type) -> bool:
    """Whether a value is, or a container (one of `torch.return_types` among them) holds, something of a class."""
    if isinstance(value, (list, tuple, dict)):
        return any(_holds(each, kind) for each in (value.values() if isinstance(value, dict) else value))
    return isinstance(value, kind)


def _no_backward(inside: Any, args: Any, kwargs: Any) -> Any:
    raise NotSupported("make_fx: backward passes are not recorded (autograd.grad, backward, func.grad): trace the forward computation")


def _names(f: Any, count: int) -> list[str]:
    """The names of a function's arguments."""
    target = f.forward if isinstance(f, Module) else f
    try:
        known = [each.name for each in inspect.signature(target).parameters.values()
                 if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    except (TypeError, ValueError):
        known = []
    return [*known[:count], *[f"arg{i}" for i in range(len(known), count)]]


def _name(func: Any) -> str:
    return getattr(func, "__name__", "")


def _key(value: Any) -> str | None:
    """The name under which a method or a property stands on Tensor."""
    return next((key for key, each in vars(Tensor).items() if each is value), None)


def _public(func: Any) -> Any:
    """The function that generated code finds by the name that it would print, if it is this one, or this one behind its checks; else
    None."""
    try:
        found: Any = _package()
        if spelled(func).startswith("torch.ops."):          # the file that defines it, not a name of PyTorch's
            return None
        for each in spelled(func).split(".")[1:]:
            found = getattr(found, each)
    except (AttributeError, RuntimeError):
        return None
    return found if found is func or getattr(found, "__wrapped__", None) is func else None


__getattr__ = attribute_of("fx.experimental.proxy_tensor", "make_fx records real tensors; there are no symbolic shapes")
