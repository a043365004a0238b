"""``torch.overrides``: ``__torch_function__`` on subclasses and tensor-like objects, and modes that see every call.

PyTorch's functions look for overrides on every call. Here they don't, and cost nothing, until a program makes use of overrides: `watch`
then puts a door in front of every public function and method (ops/interception.py). It is called when the first instance of a Tensor
subclass is made, when a mode is entered, and when a function is called with a tensor-like object.
"""

from __future__ import annotations

import functools
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import FunctionType
from typing import TYPE_CHECKING, Any

from . import services
from .homes import is_own, place
from .ops import deferred, public, registry
from .ops.interception import intercept, python_function, release
from .tensor import NotBatched, Tensor
from .vocabulary import Function, Operand

if TYPE_CHECKING:
    from .dtypes import dtype

__all__ = ["get_ignored_functions", "get_overridable_functions", "get_testing_overrides", "handle_torch_function", "has_torch_function",
           "has_torch_function_unary", "has_torch_function_variadic", "resolve_name", "is_tensor_like", "is_tensor_method_or_property",
           "wrap_torch_function", "redispatch_function", "enable_reentrant_dispatch", "TorchFunctionMode", "BaseTorchFunctionMode",
           "DisableTorchFunctionSubclass", "DisableTorchFunction"]


class _Local(threading.local):
    modes: tuple[TorchFunctionMode, ...] = ()
    no_subclass = False      # inside DisableTorchFunctionSubclass
    skip = False             # the next call does not ask (redispatch_function)


LOCAL = _Local()


# --- who overrides --------------------------------------------------------------------------------------------------------------------

def _overrides(value: Operand | dtype | str | None) -> bool:
    """Whether a value's class wants to see the calls that it is an argument of."""
    cls = value.__class__
    if cls is Tensor:
        return False
    found = getattr(cls, "__torch_function__", None)
    return found is not None and found is not _disabled_torch_function_impl


_disabled_torch_function_impl = Tensor._disabled_torch_function


def _relevant(args: Iterable[Any], kwargs: dict[str, Any] | None = None) -> list[Any]:
    """The arguments (also in lists and tuples) whose classes override, one per class, subclasses before their bases."""
    found: list[Any] = []
    for value in args if not kwargs else (*args, *kwargs.values()):
        cls = value.__class__
        if cls is Tensor:
            continue
        if cls is list or cls is tuple:
            for each in value:
                if each.__class__ is not Tensor and _overrides(each):
                    _insert(found, each)
        elif _overrides(value):
            _insert(found, value)
    return found


def _insert(found: list[Any], value: Any) -> None:
    cls = type(value)
    if any(type(each) is cls for each in found):
        return
    for i, each in enumerate(found):
        if issubclass(cls, type(each)):
            found.insert(i, value)
            return
    found.append(value)


def _ask(public: Any, relevant: list[Any], args: Any, kwargs: dict[str, Any]) -> Any:
    """Ask mode and classes in turn; TypeError where none of them answers."""
    types = tuple(map(type, relevant))
    if LOCAL.modes:
        mode = LOCAL.modes[-1]
        previous, LOCAL.modes = LOCAL.modes, LOCAL.modes[:-1]
        try:
            result = mode.__torch_function__(public, types, args, kwargs)
        finally:
            LOCAL.modes = previous
        if result is not NotImplemented:
            return result
    for value in relevant:
        result = type(value).__torch_function__(public, types, args, kwargs)
        if result is not NotImplemented:
            return result
    asked = [f"mode {LOCAL.modes[-1]}"] if LOCAL.modes else []
    asked += [f"tensor subclass {type(value)}" for value in relevant]
    raise TypeError(f"Multiple dispatch failed for '{resolve_name(public) or public}'; all __torch_function__ handlers returned "
                    "NotImplemented:\n\n"
                    + "\n".join("  - " + each for each in asked))


def has_torch_function(relevant_args: Iterable[Any]) -> bool:
    """Whether one of the arguments overrides functions, or a mode is active."""
    if LOCAL.skip:
        LOCAL.skip = False
        return False
    return bool(LOCAL.modes) or (not LOCAL.no_subclass and any(_overrides(each) for each in relevant_args))


def has_torch_function_unary(tensor: Any) -> bool:
    """`has_torch_function` of one argument."""
    return has_torch_function((tensor,))


def has_torch_function_variadic(*args: Any) -> bool:
    """`has_torch_function` of the arguments."""
    return has_torch_function(args)


def handle_torch_function(public_api: Callable[..., Any], relevant_args: Iterable[Any], *args: Any, **kwargs: Any) -> Any:
    """Call the ``__torch_function__`` of the mode or of the first of `relevant_args` that answers. TypeError where none does."""
    return _ask(public_api, _relevant(relevant_args), args, kwargs)


def is_tensor_like(inp: Any) -> bool:
    """Whether a value is a Tensor or has a ``__torch_function__``."""
    return type(inp) is Tensor or hasattr(inp, "__torch_function__")


def wrap_torch_function(dispatcher: Callable[..., Iterable[Any]]) -> Callable[[Any], Any]:
    """Decorator: make a function of the user's one that can be overridden. ``dispatcher(*args)`` gives the arguments to ask."""
    def decorate(function: Function) -> Any:
        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            relevant = tuple(dispatcher(*args, **kwargs))
            if has_torch_function(relevant):
                return handle_torch_function(wrapped, relevant, *args, **kwargs)
            return function(*args, **kwargs)
        return wrapped
    return decorate


@services.rescue.given
def rescue(function: Function, args: tuple[Any, ...], kwargs: dict[Any, Any], error: Exception) -> Any:
    """A function met something that is no tensor: call it again with doors, if that overrides functions. Else its error."""
    if watching() or not has_torch_function((*_flat(args), *_flat(kwargs.values()))):
        raise error from None
    watch()
    return function(*args, **kwargs)


def _flat(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from value
        else:
            yield value


# --- doors ----------------------------------------------------------------------------------------------------------------------------

_doors: dict[FunctionType, Any] = {}      # function -> its door, whether open or not
_lock = threading.RLock()
_keep = False                             # the program makes use of overrides: the doors stay
_visits = 0                               # how many `watched` contexts are active


def watching() -> bool:
    """Whether there are doors in front of public functions."""
    return _keep or _visits > 0


@services.watch.given
def watch() -> None:
    """Put doors in front of all public functions and methods, for good."""
    global _keep
    with _lock:
        if not watching():
            _open()
        _keep = True


class watched:
    """Context: doors in front of all public functions and methods."""

    def __enter__(self) -> None:
        global _visits
        with _lock:
            if not watching():
                _open()
            _visits += 1

    def __exit__(self, *exception: object) -> None:
        global _visits
        with _lock:
            _visits -= 1
            if not watching():
                public.on_export = None
                for function in _doors:
                    release(function, "overrides")


def _open() -> None:
    if not _doors:
        _find_functions()
    for function, door in _doors.items():
        intercept(function, "overrides", door)
    public.on_export = lambda function: _add_door(function, function)


def public_functions() -> dict[FunctionType, Any]:
    """The functions that doors stand before: the Python function -> the public function, method or property that it is behind."""
    if not _doors:
        _find_functions()
    return {function: door.args[0] for function, door in _doors.items()}


def _find_functions() -> None:
    """Make the doors of all public functions and methods."""
    deferred.load_all()
    for function in list(registry.FUNCTIONS.values()):
        _add_door(function, function)
    for module in _modules():
        for key in getattr(module, "__all__", None) or dir(module):
            value = getattr(module, key)
            if not key.startswith("_") and python_function(value) and is_own(value.__module__):
                _add_door(value, value)
    for name, value in list(vars(Tensor).items()):
        if python_function(value) and name not in _NO_DOOR:
            named = vars(Tensor).get(value.__name__)
            _add_door(value, named if name.startswith("__") and python_function(named) else value)
        elif isinstance(value, property) and name not in _NO_DOOR:
            _add_door(value.fget, value.__get__)
            _add_door(value.fset, value.__set__)


def _modules() -> list[Any]:
    """The modules of public functions besides torch itself."""
    from importlib import import_module
    return [import_module(place(name)) for name in ("nn.functional", "linalg", "fft", "special", "ops.rnn")]


# What makes, inspects or subclasses tensors below the level that can be overridden.
_NO_DOOR = {"__new__", "__init__", "__init_subclass__", "__reduce_ex__", "__setstate__", "__deepcopy__", "__hash__", "__array__",
            "as_subclass", "_make_subclass", "__torch_function__", "__torch_dispatch__", "_disabled_torch_dispatch",
            "_make_wrapper_subclass", "__class__", "__dict__", "__weakref__", "__getattr__", "__dir__",
            "_is_view"}


def _add_door(function: Function | type[Any], public: Function | type[Any]) -> None:
    inside = python_function(function)
    if inside is not None and inside not in _doors:
        arranged = inside.__dict__.get("arranged")
        _doors[inside] = functools.partial(_enter, public) if arranged is None else functools.partial(_enter_arranged, arranged, public)
        if watching():
            intercept(inside, "overrides", _doors[inside])


def _enter(public: Any, inside: Function, args: tuple[Any, ...], kwargs: dict[Any, Any]) -> Operand | dtype | tuple[Any, ...]:
    """What a door does: look for overrides, and for vmap's fallback."""
    if LOCAL.skip:
        LOCAL.skip = False
    elif LOCAL.modes:
        return _ask(public, [] if LOCAL.no_subclass else _relevant(args, kwargs), args, kwargs)
    elif not LOCAL.no_subclass:
        relevant = _relevant(args, kwargs)
        if relevant:
            return _ask(public, relevant, args, kwargs)
    try:
        return inside(*args, **kwargs)
    except NotBatched as error:
        return services.per_sample(inside, args, kwargs, error)


def _enter_arranged(arranged: Callable[..., Any], public: Any, inside: Function, args: tuple[Any, ...], kwargs: dict[Any, Any]) -> Any:
    """The door of a function that takes its tensors one by one or in a list: overrides see them one by one."""
    return _enter(public, inside, arranged(*args), kwargs)


@services.default_torch_function.given
def default_torch_function(cls: Any, func: Function, types: Sequence[type[Any]], args: tuple[Any, ...] = (),
                           kwargs: dict[str, Any] | None = None) -> Any:
    """What a subclass does by default: compute as usual, and give the results its own class."""
    if not all(issubclass(cls, each) for each in types):
        return NotImplemented
    with DisableTorchFunctionSubclass():
        result = func(*args, **(kwargs or {}))
    return result if func in (_GRAD, _BASE) else _converted(result, cls)


_GRAD, _BASE = vars(Tensor)["grad"].__get__, vars(Tensor)["_base"].__get__


_ITERATORS = (type(iter(())), type(iter([])))      # what iterating over a tensor gives


def _converted(result: Any, cls: Any) -> Any:
    if cls is Tensor:
        return result
    if isinstance(result, Tensor) and not isinstance(result, cls):
        return result.as_subclass(cls)
    if isinstance(result, _ITERATORS):
        return iter([_converted(each, cls) for each in result])
    if isinstance(result, (tuple, list)):
        items = [_converted(each, cls) for each in result]
        return getattr(type(result), "_make", type(result))(items)
    return result


def redispatch_function(func: Function, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
    """From inside a ``__torch_function__``: call the function itself, one level on. The torch functions that it calls are asked about as
    usual.

    (A mode is off in its ``__torch_function__``: ``with self:`` around this lets it see those functions too.)
    """
    LOCAL.skip = True
    try:
        return func(*args, **(kwargs or {}))
    finally:
        LOCAL.skip = False


class DisableTorchFunctionSubclass:
    """Context: subclasses' ``__torch_function__`` is not asked; modes are."""

    def __enter__(self) -> None:
        self.previous = LOCAL.no_subclass
        LOCAL.no_subclass = True

    def __exit__(self, *exception: object) -> None:
        LOCAL.no_subclass = self.previous


class DisableTorchFunction(DisableTorchFunctionSubclass):
    """Context: neither subclasses nor modes are asked."""

    def __enter__(self) -> None:
        super().__enter__()
        self.modes = LOCAL.modes
        LOCAL.modes = ()

    def __exit__(self, *exception: object) -> None:
        LOCAL.modes = self.modes
        super().__exit__()


# --- modes ----------------------------------------------------------------------------------------------------------------------------

class TorchFunctionMode:
    """A context in which every call of a torch function goes to ``self.__torch_function__(func, types, args, kwargs)``.

    Inside of that method the mode is off (the one around it is on), so that ``func(*args, **kwargs)`` does the call.
    """

    inner: TorchFunctionMode

    def __init__(self) -> None:
        pass

    def __torch_function__(self, func: Function, types: Sequence[type[Any]], args: tuple[Any, ...] = (),
                           kwargs: dict[str, Any] | None = None) -> Any:
        raise NotImplementedError("a TorchFunctionMode has to define __torch_function__(self, func, types, args=(), kwargs=None)")

    def __enter__(self) -> Any:
        watch()
        LOCAL.modes = (*LOCAL.modes, self)
        return self

    def __exit__(self, *exception: object) -> None:
        LOCAL.modes = LOCAL.modes[:-1]

    @classmethod
    def push(cls, *args: Any, **kwargs: Any) -> Any:
        """Old name for making a mode: ``with MyMode.push():``."""
        warnings.warn("`Mode.push()` is no longer necessary and can be replaced with just `with Mode()`", stacklevel=2)
        return cls(*args, **kwargs)


class BaseTorchFunctionMode(TorchFunctionMode):
    """A mode that changes nothing."""

    def __torch_function__(self, func: Function, types: Sequence[type[Any]], args: tuple[Any, ...] = (),
                           kwargs: dict[str, Any] | None = None) -> Any:
        return func(*args, **(kwargs or {}))


def _get_current_function_mode() -> TorchFunctionMode | None:
    """The innermost mode that is on."""
    return LOCAL.modes[-1] if LOCAL.modes else None


def _get_current_function_mode_stack() -> list[TorchFunctionMode]:
    """All modes that are on, outermost first."""
    return list(LOCAL.modes)


@contextmanager
def enable_reentrant_dispatch() -> Iterator[None]:
    """Context for ``__torch_dispatch__``, which rushlight does not have: changes nothing."""
    yield


# --- what can be overridden -----------------------------------------------------------------------------------------------------------

_IGNORED = ["typename", "is_tensor", "is_storage", "set_default_device", "get_default_device", "set_default_dtype", "get_default_dtype",
            "set_printoptions", "get_rng_state", "set_rng_state", "manual_seed", "initial_seed", "seed", "save", "load", "fork", "rand",
            "randn", "randint", "randperm", "arange", "as_tensor", "asarray", "bartlett_window", "blackman_window", "can_cast",
            "cudnn_is_acceptable", "empty", "empty_permuted", "empty_strided", "eye", "from_file", "from_numpy", "frombuffer", "full",
            "hamming_window", "hann_window", "kaiser_window", "linspace", "logspace", "ones", "zeros", "tensor", "range", "scalar_tensor",
            "sparse_coo_tensor", "tril_indices", "triu_indices", "promote_types", "result_type", "is_grad_enabled", "set_grad_enabled",
            "is_inference_mode_enabled", "complex", "polar", "normal", "vander", "broadcast_shapes", "compile", "get_num_threads",
            "set_num_threads"]


def get_ignored_functions() -> set[Any]:
    """Public functions that ``__torch_function__`` of an argument can't override: those that make tensors from what are no tensors, and
    settings."""
    import rushlight
    found = {getattr(rushlight, name) for name in _IGNORED if hasattr(rushlight, name)}
    return found | {vars(Tensor)[name] for name in _NO_DOOR if name in vars(Tensor) and callable(vars(Tensor)[name])}


def _by_namespace() -> dict[Any, list[Any]]:
    deferred.load_all()
    return _namespaces_at(registry.changes)


@functools.lru_cache(1)
def _namespaces_at(changes: int) -> dict[Any, list[Any]]:
    import rushlight
    ignored = get_ignored_functions()
    found: dict[Any, list[Any]] = {}
    for module in (rushlight, *_modules()):
        names = registry.FUNCTIONS if module is rushlight else getattr(module, "__all__", None) or dir(module)
        functions = [getattr(module, name) for name in names if not name.startswith("_")]
        found[module] = [each for each in functions if python_function(each) and each not in ignored
                        and is_own(each.__module__)]
    found[Tensor] = [value.__get__ if isinstance(value, property) else value for name, value in vars(Tensor).items()
                             if name not in _NO_DOOR and (isinstance(value, property) or python_function(value))]
    return found


def get_overridable_functions() -> dict[Any, list[Any]]:
    """The functions that ``__torch_function__`` sees, by namespace (the modules torch, torch.nn.functional, torch.linalg, ..., and
    torch.Tensor)."""
    return {namespace: list(functions) for namespace, functions in _by_namespace().items()}


def get_testing_overrides() -> dict[Any, Callable[..., int]]:
    """For each function that can be overridden, a function of the same arguments that returns -1."""
    return {function: (lambda *args, **kwargs: -1) for functions in _by_namespace().values() for function in functions}


def _names() -> dict[Any, str]:
    deferred.load_all()
    return _names_at(registry.changes)


@functools.lru_cache(1)
def _names_at(changes: int) -> dict[Any, str]:
    import rushlight
    names: dict[Any, str] = {}
    for namespace, functions in _by_namespace().items():
        label = "torch.Tensor" if namespace is Tensor else ".".join(["torch", *namespace.__name__.split(".")[1:]])
        for function in functions:
            owner = getattr(function, "__self__", None)
            if isinstance(owner, property):
                name = next(key for key, value in vars(Tensor).items() if value is owner) + ".__get__"
            else:
                name = function.__name__
            names.setdefault(function, f"{label}.{name}")
    for function in get_ignored_functions():
        if getattr(rushlight, getattr(function, "__name__", ""), None) is function:
            names.setdefault(function, f"torch.{function.__name__}")
    return names


def resolve_name(f: Any) -> str | None:
    """The name that a function passed to ``__torch_function__`` has in the program: "torch.add"; None for what is no such function."""
    try:
        return _names().get(f)
    except TypeError:
        return None


def is_tensor_method_or_property(func: Function) -> bool:
    """Whether a function is a method, or the getter of a property, of Tensor."""
    return func in set(_by_namespace()[Tensor])
