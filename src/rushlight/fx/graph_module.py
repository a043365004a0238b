"""`GraphModule`: a module whose ``forward`` is a graph."""

from __future__ import annotations

import copy
import itertools
import linecache
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .. import homes
from ..nn.modules.module import Module
from ..nn.parameter import Parameter
from ..tensor import Tensor
from .codegen import PythonCode, _BoxedCodeGen, _custom_builtins, _PyTreeCodeGen
from .graph import Graph
from .names import is_own_value
from .node import Node

__all__ = ["GraphModule", "reduce_graph_module", "_CodeOnlyModule", "_copy_attr", "_assign_attr", "_get_attr", "_del_attr", "_has_attr"]

_USER_PRESERVED_ATTRIBUTES_KEY = "_user_preserved_attributes"


class _Sources:
    """Keeps generated code, so that tracebacks and `inspect` show it."""

    def __init__(self) -> None:
        self.eval_cache: dict[str, str] = {}
        self.next_id = 0

    def cache(self, src: str, globals: dict[str, Any], co_fields: dict[str, Any] | None = None) -> str:
        """Keep a source; returns the name that its code says it is from."""
        key = f"<eval_with_key>.{self.next_id}"
        self.next_id += 1
        if co_fields and "co_firstlineno" in co_fields:
            key += f" from {co_fields['co_filename']}:{co_fields['co_firstlineno']} in {co_fields['co_name']}"
        self.eval_cache[key] = src
        linecache.lazycache(key, {**globals, "__file__": key, "__name__": key, "__loader__": self})
        return key

    def get_source(self, module_name: str) -> str | None:
        """What `linecache` asks."""
        return self.eval_cache.get(module_name)


_loader = _Sources()


def _exec_with_source(src: str, globals: dict[str, Any], co_fields: dict[str, Any] | None = None) -> None:
    exec(compile(src, _loader.cache(src, globals, co_fields), "exec", dont_inherit=True), globals)


def _forward_from_src(src: str, globals: dict[str, Any], co_fields: dict[str, Any] | None = None) -> Any:
    """The function ``forward`` that a source defines."""
    scope = globals.copy()
    _exec_with_source(src, scope, co_fields)
    return scope.pop("forward")


def _import_statement(name: str, value: Any) -> str:
    """The line that imports a global of generated code."""
    if is_own_value(value) and not isinstance(value, type):
        return "import torch"
    module, attribute = getattr(value, "__module__", None), getattr(value, "__qualname__", name)
    found: Any = sys.modules.get(module) if module else None
    for each in attribute.split("."):
        found = getattr(found, each, None)
    if found is not value:
        raise TypeError(f"the graph calls {value}, which can't be imported by the name {module}.{attribute}, so that its module can't be "
                        "pickled")
    return f"from {module} import {attribute} as {name}"


def _import_block(globals: dict[str, Any]) -> str:
    """The import statements of generated code; the package's name may differ where it is read."""
    known = {name for name in globals if name in _custom_builtins}
    lines = [_custom_builtins[name].import_str for name in known]
    lines += [_import_statement(name, value) for name, value in globals.items() if name not in known]
    return "\n".join(sorted(set(lines)))


def reduce_graph_module(body: dict[str, Any], import_block: str) -> Module:
    """A pickled module, made from its state and its code: the code is traced."""
    code = body.get("_code") or body["code"]
    scope = {name: value for name, (_, value) in _custom_builtins.items()}
    lines = [line for line in import_block.split("\n") if line not in {each.import_str for each in _custom_builtins.values()}]
    return _deserialize_graph_module(_forward_from_src("\n".join(lines) + code, scope), body)


class _CodeOnlyModule(Module):
    """A module from the state of another one."""

    def __init__(self, body: dict[str, Any]) -> None:
        super().__init__()
        self.__dict__ = body


def _deserialize_graph_module(forward: Any, body: dict[str, Any], graph_module_cls: Any = None) -> Module:
    tracer_cls = body.get("_tracer_cls")
    if tracer_cls is None:
        from ._symbolic_trace import Tracer as tracer_cls

    class KeepModules(tracer_cls):  # type: ignore[misc,valid-type]
        """Every module is a leaf: the code calls modules where it was made from calls."""

        def is_leaf_module(self, _: Module, __: str) -> bool:
            return True
    stacks = body.pop("_graphmodule_graph_node_meta_stack_trace", None)
    holder = type("_CodeOnlyModule", (_CodeOnlyModule,), {"forward": forward})(body)
    graph = KeepModules().trace(holder, **body.get("_tracer_extras", {}))
    graph._tracer_cls = tracer_cls
    for node in graph.nodes:
        if stacks and stacks.get(node.name) is not None:
            node.meta["stack_trace"] = stacks[node.name]
    made = (graph_module_cls or GraphModule)(holder, graph, class_name=body.get("_graphmodule_cls_name", "GraphModule"))
    for name, value in body.items():
        if not hasattr(made, name):
            setattr(made, name, value)
    return made


# --- attributes by dotted names -------------------------------------------------------------------------------------------------------

def _copy_attr(from_module: Any, to_module: Any, target: str) -> None:
    """Share what is at a dotted name with another module, which gets empty modules on the way."""
    *path, name = target.split(".")
    for each in path:
        source, place = getattr(from_module, each), getattr(to_module, each, None)
        if source is place:
            return
        if place is None:
            place = Module()
            setattr(to_module, each, place)
        from_module, to_module = source, place
    _put(getattr(from_module, name), to_module, name)


def _assign_attr(from_obj: Any, to_module: Any, target: str) -> None:
    """Put something at a dotted name, with empty modules on the way."""
    *path, name = target.split(".")
    for each in path:
        place = getattr(to_module, each, None)
        if place is None:
            place = Module()
            setattr(to_module, each, place)
        to_module = place
    _put(from_obj, to_module, name)


def _put(value: Any, module: Any, name: str) -> None:
    if isinstance(value, Tensor) and not isinstance(value, Parameter):
        module.register_buffer(name, value)
    else:
        setattr(module, name, value)


def _get_attr(model: Any, attr_name: str) -> Any:
    """What is at a dotted name."""
    for each in attr_name.split("."):
        model = getattr(model, each)
    return model


def _del_attr(model: Any, attr_name: str) -> None:
    """Delete what is at a dotted name."""
    path, _, name = attr_name.rpartition(".")
    delattr(_get_attr(model, path) if path else model, name)


def _has_attr(model: Any, attr_name: str) -> bool:
    """Whether something is at a dotted name."""
    try:
        _get_attr(model, attr_name)
    except AttributeError:
        return False
    return True


# --- the module -----------------------------------------------------------------------------------------------------------------------

class _WrappedCall:
    """Calls a graph module; an error inside of generated code is shown there."""

    def __init__(self, cls: type, cls_call: Any) -> None:
        self.cls, self.cls_call = cls, cls_call

    @staticmethod
    def _generate_error_message(frame_summary: traceback.FrameSummary) -> str:
        number, line = frame_summary.lineno or 0, frame_summary.line or ""
        lines = linecache.getlines(frame_summary.filename)
        head = f"Call using an FX-traced Module, line {number} of the traced Module's generated forward function:"
        return "\n".join([traceback.format_exc(), head, "".join(lines[max(number - 2, 0):number]), "~" * len(line) + "~~~ <--- HERE",
                          "\n".join(lines[number:number + 2])])

    def __call__(self, obj: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            if self.cls_call is not None:
                return self.cls_call(obj, *args, **kwargs)
            return super(self.cls, obj).__call__(*args, **kwargs)  # type: ignore[misc,arg-type]
        except Exception as error:
            innermost = traceback.StackSummary.extract(traceback.walk_tb(error.__traceback__))[-1]
            if "eval_with_key" not in innermost.filename:
                raise
            print(self._generate_error_message(innermost), file=sys.stderr)
            raise error.with_traceback(None)  # noqa: B904 - the same error, without the frames of this machinery


class GraphModule(Module):
    """A module that runs a graph.

    After changes in the nodes of `graph` call `recompile`; assigning a graph does it by itself. `code` is the Python that runs.

    root        the module whose parameters and submodules the graph names (they are shared), or a dict of them by dotted name
    graph       the graph
    class_name  the name of the new module's class
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        base = next(each for each in cls.__mro__ if each.__qualname__.rpartition(".")[2] != "GraphModuleImpl")
        # each has a forward of its own
        made: Any = type("GraphModuleImpl", (base,), {"__qualname__": "GraphModule.__new__.<locals>.GraphModuleImpl"})
        return super().__new__(made)

    def __init__(self, root: Module | dict[str, Any], graph: Graph, class_name: str = "GraphModule") -> None:
        super().__init__()
        self.__class__.__name__ = class_name
        targets = [node.target for node in graph.nodes if node.op in ("get_attr", "call_module")]
        if isinstance(root, Module):
            self._take_from_module(root, targets)
        elif isinstance(root, dict):
            self._take_from_dict(root, graph)
        else:
            raise RuntimeError("Unsupported type " + str(root) + " passed for root!")
        self.graph = graph
        tracer_cls = graph._tracer_cls      # a local class can't be pickled
        self._tracer_cls = tracer_cls if tracer_cls and "<locals>" not in tracer_cls.__qualname__ else None
        self._tracer_extras = graph._tracer_extras or {}
        self.meta: dict[str, Any] = {}
        self._replace_hooks: list[Any] = []
        self._create_node_hooks: list[Any] = []
        self._erase_node_hooks: list[Any] = []
        self._deepcopy_hooks: list[Any] = []
        self.shape_env: Any = None

    def _take_from_module(self, root: Module, targets: list[str]) -> None:
        if hasattr(root, "training"):
            self.training = root.training
        if isinstance(root, _CodeOnlyModule):       # a copy keeps what its graph does not name, too
            for pairs in (root.named_children(), root.named_buffers(), root.named_parameters()):
                for name, _ in pairs:
                    _copy_attr(root, self, name)
        for target in targets:
            _copy_attr(root, self, target)

    def _take_from_dict(self, root: dict[str, Any], graph: Graph) -> None:
        targets = []
        for node in graph.nodes:
            if node.op in ("get_attr", "call_module"):
                if node.target not in root:
                    raise RuntimeError(f"Node {node} referenced target {node.target} but that target was not provided in ``root``!")
                targets.append(node.target)
        for target in sorted(targets, key=lambda t: t.count(".")):      # parents first: assigning one would wipe out its children
            _assign_attr(root[target], self, target)

    @property
    def _boxed_call(self) -> bool:
        return isinstance(self._graph._codegen, _BoxedCodeGen)

    @property
    def graph(self) -> Graph:
        """The graph. Assigning one recompiles."""
        return self._graph

    @graph.setter
    def graph(self, g: Graph) -> None:
        if not isinstance(g, Graph):
            raise AssertionError(f"Expected a Graph instance, but got {type(g)}")
        self._graph = g
        g.owning_module = self
        self.recompile()

    @property
    def code(self) -> str:
        """The Python code of the graph."""
        if not hasattr(self, "_code"):
            raise RuntimeError("this GraphModule has no code yet: call recompile()")
        return self._code

    def recompile(self) -> PythonCode:
        """Write the code of the graph anew and have calls run it."""
        if isinstance(self._graph._codegen, _PyTreeCodeGen):
            self._in_spec, self._out_spec = self._graph._codegen.pytree_info.in_spec, self._graph._codegen.pytree_info.out_spec
        made = self._graph.python_code(root_module="self")
        self._code, self._lineno_map, self._prologue_start = made.src, made._lineno_map, made._prologue_start
        cls = type(self)
        cls.forward = _forward_from_src(self._code, made.globals, self._graph._co_fields)  # type: ignore[method-assign]
        if "_wrapped_call" not in vars(cls):
            cls._wrapped_call = _WrappedCall(cls, vars(cls).get("__call__"))  # type: ignore[attr-defined]
        self._recompile_submodules()

        def call_wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
            return self._wrapped_call(self, *args, **kwargs)
        cls.__call__ = call_wrapped  # type: ignore[method-assign]
        return made

    def _recompile_submodules(self) -> list[tuple[str, PythonCode]]:
        return [(name, child.recompile()) for name, child in self.named_children() if isinstance(child, GraphModule)]

    # --- copies ---------------------------------------------------------------------------------------------------------------------

    def __reduce__(self) -> Any:
        state = self.__dict__.copy()
        block = _import_block(self.recompile().globals)
        del state["_graph"]
        return reduce_graph_module, (state, block)

    def _deepcopy_init(self) -> Callable[..., None]:
        return GraphModule.__init__

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        made = type(self).__new__(type(self))
        memo[id(self)] = made
        holder = _CodeOnlyModule(copy.deepcopy(self.__dict__, memo))
        self._deepcopy_init()(made, holder, holder.__dict__["_graph"])
        for name in ("_state_dict_hooks", "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks", "_replace_hooks",
                     "_create_node_hooks", "_erase_node_hooks", "_deepcopy_hooks"):
            if name in self.__dict__:
                setattr(made, name, copy.deepcopy(self.__dict__[name], memo))
        made.meta = copy.deepcopy(getattr(self, "meta", {}), memo)
        for name, value in made.meta.get(_USER_PRESERVED_ATTRIBUTES_KEY, {}).items():
            setattr(made, name, value)
        for hook in getattr(self, "_deepcopy_hooks", ()):
            hook(made)
        return made

    def __copy__(self) -> Any:
        made = GraphModule(self, self.graph)
        made.meta = getattr(self, "meta", {})
        return made

    def to_folder(self, folder: str | os.PathLike[str], module_name: str = "FxModule") -> None:
        """Write the module as a Python package: ``from folder import FxModule``. Submodules whose repr does not make them are pickled
        beside it."""
        from ..serialization import save
        place = Path(folder)
        place.mkdir(exist_ok=True)
        save(self.state_dict(), place / "state_dict.pt")
        root = homes.root()
        imports = [each.import_str.replace("from torch", f"from {root}").replace("import torch.", f"import {root}.")
                   for name, each in _custom_builtins.items() if name != "torch"]
        lines = [f"import {root} as torch" if root != "torch" else "import torch", *imports, f"from {root}.nn import *", "",
                 f"class {module_name}(torch.nn.Module):", "    def __init__(self):", "        super().__init__()"]
        pickled = []
        for name, module in self.named_children():
            text, file = _constructor(module), place / f"{name}.pt"
            if text is None:
                save(module, file)
                pickled.append(name)
                text = f"torch.load(r'{file}', weights_only=False) # {' '.join(repr(module).split())}"
            value, _, comment = text.partition(" # ")
            lines.append(f"        setattr(self, '{name}', {value})" + (f"  # {comment}" if comment else ""))
        empty = "torch.empty({}, dtype={})"
        for name, value in self._buffers.items():
            if value is not None:
                made = empty.format(list(value.shape), str(value.dtype).replace(homes.root() + ".", "torch."))
                lines.append(f"        self.register_buffer('{name}', {made})")
        for name, value in self._parameters.items():
            if value is not None:
                made = empty.format(list(value.shape), str(value.dtype).replace(homes.root() + ".", "torch."))
                lines.append(f"        setattr(self, '{name}', torch.nn.Parameter({made}))")
        lines += [f"        self.load_state_dict(torch.load(r'{place}/state_dict.pt'))", _indented(self.code, 4), ""]
        (place / "module.py").write_text("\n".join(lines))
        (place / "__init__.py").write_text("from .module import *")
        if pickled:
            warnings.warn(f"Was not able to save the following children modules as reprs -saved as pickled files instead: {pickled}",
                          stacklevel=2)

    # --- submodules -----------------------------------------------------------------------------------------------------------------

    def add_submodule(self, target: str, m: Module) -> bool:
        """Put a module at a dotted name, with empty modules on the way. Returns False where something else is in the way."""
        *path, name = target.split(".")
        place: Module = self
        for each in path:
            child = getattr(place, each, None)
            if child is None:
                child = Module()
                setattr(place, each, child)
            if not isinstance(child, Module):
                return False
            place = child
        place.add_module(name, m)
        return True

    def delete_submodule(self, target: str) -> bool:
        """Delete the module at a dotted name. Returns False where there is none."""
        *path, name = target.split(".")
        place: Any = self
        for each in path:
            place = getattr(place, each, None)
            if not isinstance(place, Module):
                return False
        if not isinstance(getattr(place, name, None), Module):
            return False
        delattr(place, name)
        return True

    def delete_all_unused_submodules(self) -> None:
        """Delete the modules that the graph neither calls nor fetches anything from."""
        used: set[str] = {""}
        for node in self.graph.nodes:
            if node.op in ("call_module", "get_attr"):
                used.update(itertools.accumulate(node.target.split("."), lambda x, y: f"{x}.{y}"))
            if node.op == "call_module":
                try:
                    inside = self.get_submodule(node.target)
                except AttributeError:
                    continue
                used.update(f"{node.target}.{name}" for name, _ in inside.named_modules() if name)
        for name in [name for name, _ in self.named_modules() if name not in used]:
            self.delete_submodule(name)

    # --- what it shows --------------------------------------------------------------------------------------------------------------

    def print_readable(self, print_output: bool = True, include_stride: bool = False, include_device: bool = False, colored: bool = False,
                       *, fast_sympy_print: bool = False, expanded_def: bool = False, additional_meta: list[str] | None = None) -> str:
        """The code with what is known of each value, as a class, graph modules inside included. Returned, and printed unless told not
        to."""
        options: dict[str, Any] = {"include_stride": include_stride, "include_device": include_device, "colored": colored,
                                   "additional_meta": additional_meta}
        text = _readable(self, self._get_name(), {**options, "expanded_def": expanded_def}, options)
        if print_output:
            print(text)
        return text

    def __str__(self) -> str:
        return "\n".join([super().__str__(), self._code, "# To see more debug info, please use `graph_module.print_readable()`"])

    def _replicate_for_data_parallel(self) -> Any:
        made = self.__copy__()
        object.__setattr__(made, "_is_replica", True)
        return made

    # --- hooks ----------------------------------------------------------------------------------------------------------------------

    @contextmanager
    def _set_replace_hook(self, f: Callable[..., Any]) -> Iterator[None]:
        """Context: ``f(old=node, new=name, user=node)`` is called whenever a node is replaced, or renamed, in a user."""
        self._register_replace_node_hook(f)
        try:
            yield
        finally:
            self._unregister_replace_node_hook(f)

    def _register_replace_node_hook(self, f: Callable[..., Any]) -> None:
        _add_hook(self._replace_hooks, f)

    def _unregister_replace_node_hook(self, f: Callable[..., Any]) -> None:
        self._replace_hooks.remove(f)

    def _register_create_node_hook(self, f: Callable[[Node], Any]) -> None:
        _add_hook(self._create_node_hooks, f)

    def _unregister_create_node_hook(self, f: Callable[[Node], Any]) -> None:
        self._create_node_hooks.remove(f)

    def _register_erase_node_hook(self, f: Callable[[Node], Any]) -> None:
        _add_hook(self._erase_node_hooks, f)

    def _unregister_erase_node_hook(self, f: Callable[[Node], Any]) -> None:
        self._erase_node_hooks.remove(f)

    def _register_deepcopy_hook(self, f: Callable[[Any], Any]) -> None:
        _add_hook(self._deepcopy_hooks, f)

    def _unregister_deepcopy_hook(self, f: Callable[[Any], Any]) -> None:
        self._deepcopy_hooks.remove(f)


def _add_hook(hooks: list[Any], f: Any) -> None:
    if not callable(f):
        raise AssertionError("hook must be a callable.")
    hooks.append(f)


def _indented(text: str, spaces: int) -> str:
    """All lines but the first further in; blank ones empty."""
    first, *rest = text.split("\n")
    return "\n".join([first, *[" " * spaces + line if line.strip() else "" for line in rest]])


def _readable(module: Any, name: str, options: dict[str, Any], inner: dict[str, Any]) -> str:
    code = module.graph.python_code(root_module="self", verbose=True, **options).src.lstrip("\n")
    text = _indented(f"class {name}(torch.nn.Module):\n{code}", 4)
    children = [_readable(child, key, inner, inner) for key, child in module.named_children() if isinstance(child, GraphModule)]
    return text + _indented("\n".join(["", *children]), 4)


def _constructor(module: Module) -> str | None:
    """The expression that makes a module like this one, for those whose repr says it all."""
    from .. import nn
    plain = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    return repr(module) if type(module) in plain else None
