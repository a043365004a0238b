"""`Tracer`: runs a module's ``forward`` with proxies for its inputs and gives the graph of what it did."""

from __future__ import annotations

import builtins
import copy
import functools
import inspect
import math
import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import CodeType, FunctionType, ModuleType
from typing import Any

from .. import homes, overrides
from ..nn.modules.container import Sequential
from ..nn.modules.module import Module
from ..nn.parameter import Parameter
from ..tensor import Tensor
from ..utils import _pytree as pytree
from .codegen import _PyTreeCodeGen, _PyTreeInfo
from .graph import Graph
from .node import Argument, base_types, map_aggregate
from .proxy import ParameterProxy, Proxy, Scope, ScopeContextManager, TracerBase

__all__ = ["Tracer", "symbolic_trace", "wrap", "PH", "PHBase", "PHWithMeta", "ProxyableClassMeta", "is_fx_tracing",
           "is_fx_symbolic_tracing"]

HAS_VARSTUFF = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS
_orig_module_call, _orig_module_getattr = Module.__call__, Module.__getattr__
_is_fx_tracing_flag = False
_proxyable_classes: dict[type, None] = {}


def is_fx_tracing() -> bool:
    """Whether a `Tracer` runs."""
    return _is_fx_tracing_flag


def is_fx_symbolic_tracing() -> bool:
    """The same; nothing here compiles."""
    return _is_fx_tracing_flag


class ProxyableClassMeta(type):
    """Metaclass: making an instance of the class with proxies among the arguments becomes a node."""

    def __init__(cls, name: str, bases: Any, attrs: Any) -> None:
        _proxyable_classes.setdefault(cls)
        super().__init__(name, bases, attrs)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        made: Any = cls.__new__(cls, *args, **kwargs)  # type: ignore[misc,arg-type]
        if not is_fx_tracing():
            cls.__init__(made, *args, **kwargs)  # type: ignore[misc]
            return made
        found = _find_proxy(args, kwargs)
        if found is not None:
            return found.tracer.create_proxy("call_function", cls, args, kwargs)
        cls.__init__(made, *args, **kwargs)  # type: ignore[misc]
        return made


class PHBase:
    """Stands in `concrete_args` for an input that stays an input."""

    def __repr__(self) -> str:
        return "PH"


PH = PHBase()


class PHWithMeta(PHBase):
    """The same, with attributes for the placeholder's node."""

    def __init__(self, ph_key: str | None = None) -> None:
        self.ph_key = ph_key


def _transfer_attrs(fr: object, to: object) -> None:
    for name in dir(fr):
        value = getattr(fr, name)
        if not callable(value) and not name.startswith("__") and not hasattr(to, name):
            setattr(to, name, value)


def _patch_function(fn: FunctionType, nargs: int) -> FunctionType:
    """The function with ``*args`` and ``**kwargs`` as two ordinary arguments, so that it can be given proxies for them."""
    code = fn.__code__
    changed: CodeType = code.replace(co_flags=code.co_flags & ~HAS_VARSTUFF, co_argcount=nargs, co_posonlyargcount=0, co_kwonlyargcount=0)
    made = FunctionType(changed, fn.__globals__, fn.__name__, fn.__defaults__, fn.__closure__)
    made.__annotations__ = fn.__annotations__
    return made


def _annotations(fn: Any) -> dict[str, Any]:
    """A function's annotations. Ours are strings, of which only Tensor means something to a graph."""
    found = getattr(fn, "__annotations__", {})
    return {name: Tensor for name, each in found.items() if each == "Tensor"} if homes.is_own(getattr(fn, "__module__", None)) else found


class Tracer(TracerBase):
    """Records what a module's ``forward`` (or a function) does. Subclasses change how.

    autowrap_modules, autowrap_functions  their functions become calls in the graph wherever a traced module names them (``math.sqrt``)
    param_shapes_constant                 parameters know their shapes while they are traced
    """

    def __init__(self, autowrap_modules: tuple[ModuleType, ...] = (math,), autowrap_functions: tuple[Callable[..., Any], ...] = (),
                 param_shapes_constant: bool = False) -> None:
        self._autowrap_function_ids = {id(value) for module in autowrap_modules for name, value in vars(module).items()
                                       if not name.startswith("_") and callable(value)} | {id(each) for each in autowrap_functions}
        self._autowrap_search = list(autowrap_modules)
        self.param_shapes_constant = param_shapes_constant
        self.submodule_paths: dict[Module, str] | None = None
        self.root_module_name = ""
        self.scope = Scope("", None)
        self.module_stack = OrderedDict()
        self.num_calls: dict[str, int] = {}
        self.node_name_to_scope = {}

    _qualname_counter: dict[str, int] = defaultdict(int)

    def get_fresh_qualname(self, prefix: str) -> str:
        """A name for a new attribute of the root that begins so."""
        i = 0 if not hasattr(self.root, f"{prefix}0") else self._qualname_counter[prefix]
        while hasattr(self.root, f"{prefix}{i}"):
            i += 1
        self._qualname_counter[prefix] = i + 1 if i else 0
        return f"{prefix}{i}"

    def create_arg(self, a: Any) -> Argument:
        """As `TracerBase.create_arg`; parameters, buffers and submodules become nodes that fetch them, other tensors attributes of the
        root."""
        owned = self._path_of_value(a)
        if owned is not None:
            return self.create_node("get_attr", owned, (), {})
        if isinstance(a, tuple) and hasattr(a, "_fields"):
            return self.create_node("call_function", a.__class__, tuple([self.create_arg(each) for each in a]), {})
        if isinstance(a, (Tensor, pytree.TreeSpec)):
            name = self.tensor_attrs.get(a)
            if not name:
                name = self.get_fresh_qualname("_tensor_constant" if isinstance(a, Tensor) else "_tree_spec_constant")
                self.tensor_attrs[a] = name
                setattr(self.root, name, a)
            return self.create_node("get_attr", name, (), {})
        if type(a) in _proxyable_classes:
            name = self.get_fresh_qualname(f"_{a.__class__.__name__}_constant_")
            setattr(self.root, name, a)
            return self.create_node("get_attr", name, (), {})
        return super().create_arg(a)

    def _path_of_value(self, a: Any) -> str | None:
        """The path of a parameter, buffer or submodule in the root. NameError for a parameter that is not the root's."""
        if isinstance(a, Parameter):
            for name, each in self.root.named_parameters():
                if a is each:
                    return name
            raise NameError("parameter is not a member of this module")
        pairs = self.root.named_buffers() if isinstance(a, Tensor) else self.root.named_modules() if isinstance(a, Module) else ()
        return next((name for name, each in pairs if a is each), None)

    def is_leaf_module(self, m: Module, module_qualified_name: str) -> bool:
        """Whether calls of a module become one node: torch.nn's modules do, but for containers of others. Override it to decide."""
        own, _, rest = m.__module__.partition(".")
        return homes.is_own(own) and rest.startswith(("nn", "ao.nn")) and not isinstance(m, Sequential)

    def path_of_module(self, mod: Module) -> str:
        """The dotted name of a module below the root; NameError where it has none."""
        if self.submodule_paths:
            path = self.submodule_paths.get(mod)
        else:
            path = next((name for name, each in self.root.named_modules() if each is mod), None)
        if path is None:
            raise NameError("module is not installed as a submodule")
        return path

    def call_module(self, m: Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What a call of a module becomes: a node for a leaf, else what its ``forward`` does. Override it to look at calls."""
        path = self.path_of_module(m)
        with ScopeContextManager(self.scope, Scope(path, type(m))) as scope:
            calls = self.num_calls.get(path, 0)
            self.num_calls[path] = calls + 1
            key = f"{scope.module_path}@{calls}" if calls else scope.module_path
            self.module_stack[key] = (path, scope.module_type)
            if self.is_leaf_module(m, path):
                result = self.create_proxy("call_module", path, args, kwargs)
            else:
                result = forward(*args, **kwargs)
            self.module_stack.popitem(last=True)
        return result

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Proxy]) -> Any:
        """What an attribute of a module is while it is traced: parameters are proxies (and buffers, with `proxy_buffer_attributes`)."""
        if isinstance(attr_val, Parameter):
            pairs: Iterable[tuple[str, Any]] = self.root.named_parameters()
        elif self.proxy_buffer_attributes and isinstance(attr_val, Tensor):
            pairs = self.root.named_buffers()
        else:
            return attr_val
        name = next((name for name, each in pairs if each is attr_val), None)
        if name is None:
            return attr_val
        if name not in parameter_proxy_cache:
            options: dict[str, Any] = {}
            if self.param_shapes_constant and isinstance(attr_val, Parameter):
                options["proxy_factory_fn"] = lambda node: ParameterProxy(self, node, name, attr_val)
            parameter_proxy_cache[name] = self.create_proxy("get_attr", name, (), {}, **options)
        return parameter_proxy_cache[name]

    # --- inputs ---------------------------------------------------------------------------------------------------------------------

    def create_args_for_root(self, root_fn: Any, is_module: bool,
                             concrete_args: dict[str, Any] | tuple[Any, ...] | None = None) -> tuple[Any, list[Any]]:
        """(the function to call, its arguments): placeholders for the parameters, values for those that `concrete_args` fixes."""
        analysed = inspect.unwrap(root_fn)
        code = analysed.__code__
        total = code.co_argcount + code.co_kwonlyargcount
        names = list(code.co_varnames)
        if is_module and total == 0:
            raise RuntimeError("``self`` argument cannot be part of *args expansion!")
        args: list[Any] = [self.root] if is_module else []
        signature = inspect.signature(analysed)
        if isinstance(concrete_args, tuple) and concrete_args and code.co_flags & HAS_VARSTUFF and total == 1:
            return root_fn, [*args, *[self._numbered_placeholder(i, each) for i, each in enumerate(concrete_args)]]
        own = names[len(args):total]
        if isinstance(concrete_args, tuple):
            if len(own) != len(concrete_args):
                raise RuntimeError(f"Tracing expected {len(own)} arguments but got {len(concrete_args)} concrete arguments")
            concrete_args = dict(zip(own, concrete_args, strict=True))
        args += [self._proxy_placeholder(name, concrete_args, signature, analysed) for name in own]
        if code.co_kwonlyargcount or code.co_flags & HAS_VARSTUFF:
            rest = iter(names[total:])
            stars = [star for star, flag in (("*", inspect.CO_VARARGS), ("**", inspect.CO_VARKEYWORDS)) if code.co_flags & flag]
            args += [self._proxy_placeholder(star + next(rest), concrete_args, signature, analysed) for star in stars]
            root_fn = _patch_function(root_fn, len(args))
        flat, spec = pytree.tree_flatten(tuple(args))
        if all(child.is_leaf() for child in spec.children()):
            return root_fn, args
        self.graph._codegen = _PyTreeCodeGen(_PyTreeInfo(names[:total], spec, None))
        return self._flattened(root_fn, spec), flat

    def _flattened(self, root_fn: Any, spec: Any) -> Any:
        """The function with the leaves of its arguments as arguments and the leaves of its result as result."""
        def flatten_fn(*args: Any) -> Any:
            leaves, out_spec = pytree.tree_flatten(root_fn(*pytree.tree_unflatten(list(args), spec)))
            codegen: Any = self.graph._codegen
            codegen.pytree_info = codegen.pytree_info._replace(out_spec=out_spec)
            return leaves
        return flatten_fn

    def _numbered_placeholder(self, i: int, concrete: Any) -> Proxy:
        made = self.create_proxy("placeholder", f"input_{i}", (), {})
        if isinstance(concrete, PHBase) and concrete is not PH:
            _transfer_attrs(concrete, made.node)
        return made

    def _proxy_placeholder(self, name: str, concrete_args: Any, signature: inspect.Signature, analysed: Any) -> Any:
        parameter = None if name[0] == "*" else signature.parameters[name]
        default = () if parameter is None or parameter.default is parameter.empty else (parameter.default,)
        if concrete_args is None or name not in concrete_args:
            return self.create_proxy("placeholder", name, default, {}, type_expr=_annotations(analysed).get(name))
        count = 0

        def fix(value: Any) -> Any:
            nonlocal count
            count += 1
            made = self.create_proxy("placeholder", f"{name}_{count}", default, {})
            if isinstance(value, PHBase):
                if value is not PH:
                    _transfer_attrs(value, made.node)
                return made
            self._check_at_run_time(name, made, value)
            return value
        return pytree.tree_map(fix, concrete_args[name])

    def _check_at_run_time(self, name: str, made: Proxy, value: Any) -> None:
        """Have the graph check that an input has the value that it was traced with."""
        if isinstance(value, base_types) and not isinstance(value, Tensor):
            from ..settings import _assert
            message = f"{name} has been specialized to have value {value} but got another value"
            self.create_proxy("call_function", _assert, (made == value, message), {})
        elif value is None:
            self.create_proxy("call_function", _assert_is_none,
                              (made, f"{name} has been specialized to have value None but got another value"), {})
        else:
            warnings.warn(f"Was not able to add assertion to guarantee correct input {name} to specialized function. It is up to the user "
                          "to make sure that your inputs match the inputs you specialized the function with.", stacklevel=2)

    # --- tracing --------------------------------------------------------------------------------------------------------------------

    def trace(self, root: Module | Callable[..., Any], concrete_args: Any = None) -> Graph:
        """The graph of a module or a function. Afterwards ``self.root`` is the module that the graph's names are of (a new one for a
        function)."""
        global _is_fx_tracing_flag
        before, _is_fx_tracing_flag = _is_fx_tracing_flag, True
        try:
            with overrides.watched():
                return self._trace(root, concrete_args)
        finally:
            _is_fx_tracing_flag = before
            self.submodule_paths = None

    def _trace(self, root: Any, concrete_args: Any) -> Graph:
        fn = root
        if isinstance(root, Module):
            self.root = root
            if not hasattr(type(root), self.traced_func_name):
                raise AssertionError(f"traced_func_name={self.traced_func_name} doesn't exist in {type(root).__name__}")
            fn = getattr(type(root), self.traced_func_name)
            self.root_module_name = root._get_name()
            self.submodule_paths = {module: name for name, module in root.named_modules()}
        else:
            self.root = Module()
        self.graph = Graph(tracer_cls=self.__class__)
        if hasattr(fn, "__code__"):
            self.graph._co_fields = {name: getattr(fn.__code__, name) for name in ("co_name", "co_filename", "co_firstlineno")}
        self.tensor_attrs: dict[Any, str] = {}
        self._collect_constants(self.root, "")
        if not isinstance(fn, FunctionType):
            raise AssertionError(f"Expected FunctionType, got {type(fn)}")
        scope = fn.__globals__
        fn, args = self.create_args_for_root(fn, isinstance(root, Module), concrete_args)
        cache: dict[str, Proxy] = {}
        with _new_patcher() as patcher:
            self._patch(patcher, scope, cache)
            annotations = _annotations(inspect.unwrap(fn))
            self.create_node("output", "output", (self.create_arg(fn(*args)),), {}, type_expr=annotations.get("return"))
        return self.graph

    def _collect_constants(self, module: Module, path: str) -> None:
        """Note where tensors are plain attributes of modules."""
        for name, value in vars(module).items():
            if isinstance(value, Tensor):
                self.tensor_attrs[value] = path + name
        for name, child in module.named_children():
            self._collect_constants(child, f"{path}{name}.")

    def _patch(self, patcher: _Patcher, scope: dict[str, Any], cache: dict[str, Proxy]) -> None:
        """Have calls and attributes of modules, and wrapped functions, come here."""
        @functools.wraps(_orig_module_getattr)
        def get(mod: Module, attr: str) -> Any:
            return self.getattr(attr, _orig_module_getattr(mod, attr), cache)

        @functools.wraps(_orig_module_call)
        def call(mod: Module, *args: Any, **kwargs: Any) -> Any:
            def forward(*args: Any, **kwargs: Any) -> Any:
                return _orig_module_call(mod, *args, **kwargs)
            _autowrap_check(patcher, getattr(getattr(mod, "forward", mod), "__globals__", {}), self._autowrap_function_ids)
            return self.call_module(mod, forward, args, kwargs)
        patcher.patch_method(Module, "__getattr__", get, deduplicate=False)
        patcher.patch_method(Module, "__call__", call, deduplicate=False)
        _patch_wrapped_functions(patcher)
        for each in (scope, *[vars(module) for module in self._autowrap_search]):
            _autowrap_check(patcher, each, self._autowrap_function_ids)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tracer:
        made = Tracer.__new__(Tracer)
        made.__dict__.update({key: copy.copy(value) if key == "_autowrap_search" else copy.deepcopy(value, memo)
                              for key, value in self.__dict__.items()})
        return made


# --- wrapped functions ----------------------------------------------------------------------------------------------------------------

_wrapped_fns_to_patch: dict[tuple[int, str], dict[str, Any]] = {}
_wrapped_methods_to_patch: list[tuple[type, str]] = []


def _find_proxy(*objects_to_search: object) -> Proxy | None:
    """A proxy in nested containers, or None."""
    found: list[Proxy] = []

    def note(x: object) -> None:
        if isinstance(x, Proxy):
            found.append(x)
    map_aggregate(objects_to_search, note)
    return found[-1] if found else None


def _create_wrapped_func(orig_fn: Any) -> Any:
    """The function; called with a proxy, it becomes a node."""
    @functools.wraps(orig_fn)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        proxy = _find_proxy(args, kwargs)
        if proxy is None:
            return orig_fn(*args, **kwargs)
        made = proxy.tracer.create_proxy("call_function", orig_fn, args, kwargs)
        made.node.meta["is_wrapped"] = True
        return made
    return wrapped


def _create_wrapped_method(cls: type, name: str) -> Any:
    """A method; called with a proxy, it becomes a node."""
    orig_fn = getattr(cls, name)

    @functools.wraps(orig_fn)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        proxy = _find_proxy(args, kwargs)
        return orig_fn(*args, **kwargs) if proxy is None else proxy.tracer.create_proxy("call_method", name, args, kwargs)
    return wrapped


class _Patcher:
    """Puts functions in place of others, and the others back at the end."""

    def __init__(self) -> None:
        self.patches_made: list[tuple[Callable[[], None], Callable[[], None]]] = []      # (patch, revert)
        self.visited: set[int] = set()

    def patch(self, frame_dict: dict[str, Any], name: str, new_fn: Any, deduplicate: bool = True) -> None:
        """Put a function into a namespace, unless one is there already that was put."""
        new_fn.__fx_already_patched = deduplicate
        if name not in frame_dict and hasattr(builtins, name):
            self._make(lambda: frame_dict.__setitem__(name, new_fn), lambda: frame_dict.__delitem__(name))
        elif not getattr(frame_dict[name], "__fx_already_patched", False):
            original = frame_dict[name]
            self._make(lambda: frame_dict.__setitem__(name, new_fn), lambda: frame_dict.__setitem__(name, original))

    def patch_method(self, cls: type, name: str, new_fn: Any, deduplicate: bool = True) -> None:
        """Put a method into a class, unless one is there already that was put."""
        new_fn.__fx_already_patched = deduplicate
        original = getattr(cls, name)
        if not getattr(original, "__fx_already_patched", False):
            self._make(lambda: setattr(cls, name, new_fn), lambda: setattr(cls, name, original))

    def _make(self, patch: Callable[[], None], revert: Callable[[], None]) -> None:
        self.patches_made.append((patch, revert))
        patch()

    def visit_once(self, thing: object) -> bool:
        """True at the first call with a thing."""
        if id(thing) in self.visited:
            return False
        self.visited.add(id(thing))
        return True

    def revert_all_patches(self) -> list[Any]:
        """Put everything back; what was done is remembered."""
        for _, revert in reversed(self.patches_made):
            revert()
        return self.patches_made

    def reapply_all_patches(self) -> list[Any]:
        """Do it all again."""
        for patch, _ in self.patches_made:
            patch()
        return self.patches_made


CURRENT_PATCHER: _Patcher | None = None


@contextmanager
def _new_patcher() -> Iterator[_Patcher]:
    global CURRENT_PATCHER
    before, CURRENT_PATCHER = CURRENT_PATCHER, _Patcher()
    mine = CURRENT_PATCHER
    try:
        yield mine
    finally:
        mine.revert_all_patches()
        CURRENT_PATCHER = before


@contextmanager
def _maybe_revert_all_patches() -> Iterator[None]:
    """Context: what a running trace has put in place is off."""
    patcher = CURRENT_PATCHER
    if patcher is None:
        yield
        return
    patcher.revert_all_patches()
    try:
        yield
    finally:
        patcher.reapply_all_patches()


def _patch_wrapped_functions(patcher: _Patcher) -> None:
    """Put the functions that `wrap` named, in their modules, behind ones that make nodes."""
    for (_, name), frame_dict in _wrapped_fns_to_patch.copy().items():
        original = getattr(builtins, name) if name not in frame_dict and hasattr(builtins, name) else frame_dict[name]
        patcher.patch(frame_dict, name, _create_wrapped_func(original))
    for cls, name in _wrapped_methods_to_patch:
        patcher.patch_method(cls, name, _create_wrapped_method(cls, name))


def _autowrap_check(patcher: _Patcher, frame_dict: dict[str, Any], function_ids: set[int]) -> None:
    """The same for functions (``sqrt``) that a module has imported from those that are wrapped by themselves."""
    if patcher.visit_once(frame_dict):
        for name, value in list(frame_dict.items()):
            if not name.startswith("_") and callable(value) and id(value) in function_ids:
                patcher.patch(frame_dict, name, _create_wrapped_func(value))


def wrap(fn_or_name: Any) -> Any:
    """Mark a function of the calling module, by itself (as a decorator) or by its name, as one whose calls become one node.

    Only at the top level of a module: NotImplementedError elsewhere.
    """
    if not callable(fn_or_name) and not isinstance(fn_or_name, str):
        raise RuntimeError("Unsupported type for global function! Must be either a callable or string name")
    frame = inspect.currentframe()
    caller = frame.f_back if frame is not None else None
    if caller is None or caller.f_code.co_name != "<module>":
        raise NotImplementedError("wrap must be called at the top level of a module")
    name = fn_or_name if isinstance(fn_or_name, str) else fn_or_name.__name__
    _wrapped_fns_to_patch[id(caller.f_globals), name] = caller.f_globals
    return fn_or_name


def symbolic_trace(root: Module | Callable[..., Any], concrete_args: Any = None) -> Any:
    """A `GraphModule` that does what a module or a function does.

    concrete_args  values of some arguments, by name: the trace may branch on them, and the graph checks that they are given again. In
                   nested arguments, `PH` stands for what stays an input.
    """
    from .graph_module import GraphModule
    tracer = Tracer()
    graph = tracer.trace(root, concrete_args)
    return GraphModule(tracer.root, graph, root.__class__.__name__ if isinstance(root, Module) else root.__name__)


@wrap
def _assert_is_none(value: object, msg: str) -> None:
    """AssertionError where a value is not None."""
    if value is not None:
        raise AssertionError(msg)
