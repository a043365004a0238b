"""`Proxy`: a value that is not there. What a program does with it becomes nodes of a graph."""

from __future__ import annotations

import copy
import dis
import enum
import inspect
import operator
import sys
import traceback
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from .. import overrides
from ..ops.aten import OpOverload, OpOverloadPacket
from ..utils import _pytree as pytree
from . import traceback as notes
from .codegen import magic_methods, reflectable_magic_methods
from .graph import Graph
from .names import own_name, recorded, spelled
from .node import Argument, Node, Target, base_types, map_arg

__all__ = ["TracerBase", "GraphAppendingTracer", "TraceError", "Proxy", "MetaProxy", "Attribute", "ParameterProxy", "Scope",
           "ScopeContextManager", "assert_fn"]

_PACKAGE = str(Path(__file__).resolve().parent.parent)


class Scope:
    """In which module, by its path and class, nodes are being made."""

    def __init__(self, module_path: str, module_type: Any) -> None:
        self.module_path, self.module_type = module_path, module_type


class ScopeContextManager:
    """Context: a scope says what another one says."""

    def __init__(self, scope: Scope, current_scope: Scope) -> None:
        self._before = copy.copy(scope)
        scope.module_path, scope.module_type = current_scope.module_path, current_scope.module_type
        self._scope = scope

    def __enter__(self) -> Scope:
        return self._scope

    def __exit__(self, *exception: object) -> None:
        self._scope.module_path, self._scope.module_type = self._before.module_path, self._before.module_type


class TraceError(ValueError):
    """A program did something with a `Proxy` that only a value can do."""


class TracerBase:
    """What makes nodes for proxies."""

    graph: Graph
    record_stack_traces: bool = False
    _record_forward_stack_traces_only: bool = False
    check_mutable_operations: bool = False
    trace_asserts: bool = False
    proxy_buffer_attributes: bool = False
    traced_func_name: str = "forward"
    scope: Scope
    module_stack: OrderedDict[str, tuple[str, Any]]
    node_name_to_scope: dict[str, tuple[str, type]]

    def create_node(self, kind: str, target: Target, args: tuple[Argument, ...], kwargs: dict[str, Argument], name: str | None = None,
                    type_expr: Any = None) -> Node:
        """Put a node into the graph. Override it to check or change what is recorded."""
        if kind == "call_function" and self.check_mutable_operations:
            from .operator_schemas import check_for_mutable_operation
            check_for_mutable_operation(target, args, kwargs)
        node = self.graph.create_node(kind, target, args, kwargs, name, type_expr)
        self.node_name_to_scope[node.name] = (self.scope.module_path, self.scope.module_type)
        if notes.has_preserved_node_meta():
            node.meta.update(notes.copied_notes())
        elif self.module_stack:
            node.meta["nn_module_stack"] = copy.copy(self.module_stack)
        if self.record_stack_traces and not node.stack_trace:
            frames = self._filter_traceback_frames(traceback.StackSummary.extract(_frames(), lookup_lines=False))
            if frames:
                node.stack_trace = "".join(frames.format()).strip()
        return node

    def _filter_traceback_frames(self, user_stack_summary: traceback.StackSummary) -> traceback.StackSummary:
        """The frames of the traced program: from its first ``forward`` on, or only those called so."""
        frames = list(user_stack_summary)
        if self._record_forward_stack_traces_only:
            frames = [each for each in frames if each.name == "forward"]
        else:
            first = next((i for i, each in enumerate(frames) if each.name == "forward"), len(frames))
            frames = frames[first:]
        return traceback.StackSummary.from_list([each for each in frames if not each.filename.startswith(_PACKAGE)])

    def proxy(self, node: Node) -> Proxy:
        """The proxy of a node. Override it to use a class of your own."""
        return Proxy(node, self)

    def create_proxy(self, kind: str, target: Target, args: tuple[Any, ...], kwargs: dict[str, Any], name: str | None = None,
                     type_expr: Any = None, proxy_factory_fn: Callable[[Node], Proxy] | None = None) -> Proxy:
        """Put a node into the graph for a call with proxies, and return its proxy."""
        node = self.create_node(kind, target, self.create_arg(args), self.create_arg(kwargs), name, type_expr)
        return proxy_factory_fn(node) if proxy_factory_fn else self.proxy(node)

    def _find_user_frame(self) -> FrameType | None:
        """The innermost frame that is not the package's."""
        frame = inspect.currentframe()
        while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
            frame = frame.f_back
        return frame

    def create_arg(self, a: Any) -> Argument:
        """What a value that the program gave becomes in a node: proxies their nodes, containers containers of these. NotImplementedError
        for values that a node can't hold. Override it to allow more."""
        if isinstance(a, Proxy):
            return a.node
        if hasattr(a, "__fx_create_arg__"):
            return a.__fx_create_arg__(self)
        if isinstance(a, tuple):
            items = [self.create_arg(each) for each in a]
            return type(a)(*items) if hasattr(a, "_fields") else type(a)(items)
        if isinstance(a, list):
            return [self.create_arg(each) for each in a]
        if isinstance(a, dict):
            return self._create_dict(a)
        if isinstance(a, (slice, range)):
            return type(a)(self.create_arg(a.start), self.create_arg(a.stop), self.create_arg(a.step))
        if isinstance(a, (*base_types, enum.Enum, OpOverload, OpOverloadPacket)) or a is None or a is ...:
            return a
        if is_dataclass(a) and not isinstance(a, type):
            return self.create_node("call_function", a.__class__, (),
                                    {each.name: self.create_arg(getattr(a, each.name)) for each in fields(a)})
        raise NotImplementedError(f"argument of type: {type(a)}")

    def _create_dict(self, a: dict[Any, Any]) -> dict[Any, Argument]:
        def refuse(node: Node) -> Argument:
            raise RuntimeError(f"Keys for dictionaries used as an argument cannot contain a Node. Got key: {node}")
        made = {}
        for key, value in a.items():
            if not isinstance(key, str):
                key = self.create_arg(key)
                map_arg(key, refuse)
            made[key] = self.create_arg(value)
        return made

    def to_bool(self, obj: Proxy) -> bool:
        """What a proxy is in ``if``: it raises. Override it to decide."""
        raise TraceError("symbolically traced variables cannot be used as inputs to control flow" + self._where())

    def iter(self, obj: Proxy) -> Iterator[Any]:
        """What a loop over a proxy runs through: it raises. Override it to decide."""
        raise TraceError("Proxy object cannot be iterated. This can be attempted when the Proxy is used in a loop or as a *args or "
                         "**kwargs function argument. Loop over a number that the module knows, or mark the function that loops with "
                         "torch.fx.wrap"
                         + self._where())

    def keys(self, obj: Proxy) -> Any:
        """What ``keys()`` of a proxy gives; ``**proxy`` asks for it."""
        return Attribute(obj, "keys")()

    def _where(self) -> str:
        frame = self._find_user_frame()
        return "" if frame is None else f" ({frame.f_code.co_filename}, line {frame.f_lineno}, in {frame.f_code.co_name})"


def _frames() -> Iterator[tuple[FrameType, int]]:
    """The stack, outermost frame first."""
    return iter(list(traceback.walk_stack(sys._getframe(2)))[::-1])


class GraphAppendingTracer(TracerBase):
    """A tracer that only adds to a graph: what a `Proxy` without one gets."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.scope = Scope("", None)
        self.module_stack = OrderedDict()
        self.node_name_to_scope = {}


def assert_fn(x: object) -> None:
    """``assert x``, as graphs call it that were traced with `trace_asserts`."""
    if not x:
        raise AssertionError("Assertion failed")


def _instruction(frame: FrameType) -> tuple[list[dis.Instruction], int]:
    """A frame's instructions, and the place of the one that runs."""
    instructions = list(dis.get_instructions(frame.f_code))
    return instructions, next(i for i, each in enumerate(instructions) if each.offset >= frame.f_lasti)


class Proxy:
    """Stands for the value of a node. Operators, methods, attributes and torch functions applied to it make new nodes, and proxies of
    these.

    It has no truth value and no length, and it can't be iterated but in ``a, b = proxy``. Functions that need these go into the graph as
    one call if they are marked by `torch.fx.wrap`; what depends only on the module's own numbers may branch and loop.
    """

    def __init__(self, node: Node, tracer: TracerBase | None = None) -> None:
        self.tracer = GraphAppendingTracer(node.graph) if tracer is None else tracer
        self.node = node

    def __repr__(self) -> str:
        return f"Proxy({self.node.name})"

    def __getattr__(self, k: str) -> Attribute:
        # an op asks, without a door before it: it finds no tensor, and the doors open (see overrides.rescue)
        if k in ("_kind", "_a"):
            raise AttributeError(f"a torch.fx.Proxy has no {k}")
        return Attribute(self, k)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__

    def __setstate__(self, d: dict[str, Any]) -> None:
        self.__dict__ = d

    def __deepcopy__(self, memo: dict[int, Any]) -> Proxy:
        copied = Proxy.__new__(Proxy)
        for key, value in self.__dict__.items():
            try:
                copied.__dict__[key] = copy.deepcopy(value, memo)
            except Exception:                       # a tracer may hold what can't be copied; it is shared then
                copied.__dict__[key] = copy.copy(value)
        return copied

    def __call__(self, *args: Any, **kwargs: Any) -> Proxy:
        return self.tracer.create_proxy("call_method", "__call__", (self, *args), kwargs)

    def __iter__(self) -> Iterator[Any]:
        frame = sys._getframe(1)
        instructions, at = _instruction(frame)
        if instructions[at].opname == "UNPACK_SEQUENCE":
            return iter([operator.getitem(self, i) for i in range(instructions[at].argval)])  # type: ignore[call-overload]
        return self.tracer.iter(self)

    def __abs__(self) -> Proxy:
        return self.tracer.create_proxy("call_function", operator.abs, (self,), {})

    def __bool__(self) -> bool:
        if self.tracer.trace_asserts and _asserts(sys._getframe(1)):
            self.tracer.create_proxy("call_function", assert_fn, (self,), {})
            return True
        return self.tracer.to_bool(self)

    def keys(self) -> Any:
        """The proxy of ``keys()``, or what the tracer says."""
        return self.tracer.keys(self)

    def __len__(self) -> int:
        raise RuntimeError("'len' is not supported in symbolic tracing by default. If you want this call to be recorded, please call "
                           "torch.fx.wrap('len') at module scope" + self.tracer._where())

    @classmethod
    def __torch_function__(cls, orig_method: Any, types: Any, args: tuple[Any, ...] | None = None,
                           kwargs: dict[str, Any] | None = None) -> Proxy:
        args, kwargs = args or (), kwargs or {}
        tracers: dict[TracerBase, None] = {}

        def note(value: Any) -> None:
            if isinstance(value, cls):
                tracers[value.tracer] = None
        pytree.tree_map_(note, args)
        pytree.tree_map_(note, kwargs)
        if len(tracers) > 1:
            raise RuntimeError(f"Found multiple different tracers {list(tracers)} while trying to trace operations {orig_method}")
        tracer = next(iter(tracers))
        method = _method_name(orig_method, args)
        if method is not None:
            return tracer.create_proxy("call_method", method, args, kwargs)
        orig_method, args, kwargs = _as_pytorch_calls(orig_method, args, kwargs)
        return tracer.create_proxy("call_function", orig_method, args, kwargs, name=tracer.graph._target_to_str(own_name(orig_method)))


def _asserts(frame: FrameType) -> bool:
    """Whether the truth value that a frame asks for is that of an ``assert``."""
    instructions, at = _instruction(frame)
    if "JUMP" not in instructions[at].opname or "TRUE" not in instructions[at].opname:
        return False
    following = instructions[at + 1]
    return following.opname == "LOAD_ASSERTION_ERROR" or (following.opname == "LOAD_GLOBAL" and following.argval == "AssertionError")


_METHODS = {"bitwise_and": "__and__", "bitwise_or": "__or__", "bitwise_xor": "__xor__", "_operator": "matmul", "_power_operator": "pow",
            "true_divide": "div", "floor_divide": "__floordiv__"}
_AS_METHODS = ("torch.nn.functional.sigmoid", "torch.nn.functional.tanh")


def _method_name(function: Any, args: tuple[Any, ...]) -> str | None:
    """The name of the method of Tensor that was called (or that PyTorch's function calls); None where it was a function.

    Most methods are the functions of torch themselves. Methods of proxies never come here, so with a proxy first it was the function.
    """
    if overrides.is_tensor_method_or_property(function) and not (args and isinstance(args[0], Proxy)):
        return _METHODS.get(function.__name__, function.__name__)
    return function.__name__ if function.__name__ in ("sigmoid", "tanh") and spelled(function) in _AS_METHODS else None


def _as_pytorch_calls(function: Any, args: Any, kwargs: Any) -> tuple[Any, Any, Any]:
    """A call as PyTorch's function of that name hands it on: pooling with indices is another function, the old ``upsample`` is
    ``interpolate``."""
    if not hasattr(function, "__name__"):
        return function, args, kwargs
    args, kwargs = recorded(function, args, kwargs)
    name = function.__name__
    from ..nn import functional as F
    if kwargs.get("return_indices") is True and hasattr(F, name + "_with_indices"):
        return getattr(F, name + "_with_indices"), args, kwargs
    if name == "upsample" and function is F.upsample:
        args, kwargs = recorded(F.interpolate, args, kwargs)
        return F.interpolate, args, kwargs
    return function, args, kwargs


class MetaProxy(Proxy):
    """A proxy that computes what its value looks like (``node.meta["val"]``) as the graph grows, under a `FakeTensorMode`."""

    def __init__(self, node: Node, tracer: TracerBase | None = None, fake_mode: Any = None) -> None:
        super().__init__(node, tracer)
        self.fake_mode = fake_mode

    def __repr__(self) -> str:
        return f"MetaProxy({self.node.name})"

    @classmethod
    def __torch_function__(cls, orig_method: Any, types: Any, args: tuple[Any, ...] | None = None,
                           kwargs: dict[str, Any] | None = None) -> MetaProxy:
        args, kwargs = args or (), kwargs or {}
        mode = next(each for each in args if isinstance(each, MetaProxy)).fake_mode
        proxy = super().__torch_function__(orig_method, types, args, kwargs)
        with mode:
            proxy.node.meta["val"] = orig_method(*[each.node.meta["val"] if isinstance(each, Proxy) else each for each in args], **kwargs)
        return MetaProxy(proxy.node, proxy.tracer, mode)


class Attribute(Proxy):
    """An attribute of a proxy: a node if it is used as a value, a method if it is called."""

    def __init__(self, root: Proxy, attr: str) -> None:
        self.root, self.attr, self.tracer = root, attr, root.tracer
        self._node: Node | None = None

    @property
    def node(self) -> Node:  # type: ignore[override]
        """The node that fetches the attribute, made when it is first needed."""
        if self._node is None:
            self._node = self.tracer.create_proxy("call_function", getattr, (self.root, self.attr), {}).node
        return self._node

    def __call__(self, *args: Any, **kwargs: Any) -> Proxy:
        return self.tracer.create_proxy("call_method", self.attr, (self.root, *args), kwargs)


class ParameterProxy(Proxy):
    """The proxy of a parameter that knows its shape (``Tracer(param_shapes_constant=True)``), so that a program may branch on it."""

    def __init__(self, tracer: TracerBase, node: Node, name: str, param: Any) -> None:
        super().__init__(node, tracer)
        from ..nn.parameter import Parameter
        if not isinstance(param, Parameter):
            raise AssertionError(f"Expected Parameter, got {type(param)}")
        self.param, self.name = param, name

    def __repr__(self) -> str:
        return f"ParameterProxy({self.name})"

    @property
    def shape(self) -> Any:
        """The parameter's shape."""
        return self.param.shape

    @property
    def ndim(self) -> int:
        """The parameter's number of dimensions."""
        return self.param.ndim

    def size(self) -> Any:
        """The parameter's shape."""
        return self.param.size()

    def dim(self) -> int:
        """The parameter's number of dimensions."""
        return self.param.dim()

    def numel(self) -> int:
        """The parameter's number of elements."""
        return self.param.numel()

    def nelement(self) -> int:
        """The parameter's number of elements."""
        return self.param.numel()


def _operator(name: str, reflected: bool) -> None:
    target = getattr(operator, name) if hasattr(operator, name) else None
    if target is None:                                    # "div": there is no such operator
        return

    def straight(*args: Any, **kwargs: Any) -> Proxy:
        return args[0].tracer.create_proxy("call_function", target, args, kwargs)

    def swapped(self: Proxy, rhs: Any) -> Proxy:
        return self.tracer.create_proxy("call_function", target, (rhs, self), {})
    method = swapped if reflected else straight
    method.__name__ = method.__qualname__ = f"__{'r' if reflected else ''}{name.strip('_')}__"
    setattr(Proxy, method.__name__, method)


for _name in magic_methods:
    _operator(_name, False)
for _name in reflectable_magic_methods:
    _operator(_name, True)
