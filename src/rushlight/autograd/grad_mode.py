"""Whether operations are recorded: no_grad, enable_grad, set_grad_enabled, inference_mode. Thread-local, as in PyTorch.

The hot paths do not read thread-local state. They test one attribute, ``STATE.unusual``: the number of contexts alive in any
thread that change how ops record (grad off, inference mode, saved-tensor hooks, anomaly detection). While it is zero, and it
nearly always is during training, recording is on everywhere.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

from ..vocabulary import Function, Shape

if TYPE_CHECKING:
    from ..tensor import Tensor

__all__ = ["no_grad", "enable_grad", "set_grad_enabled", "inference_mode", "is_grad_enabled", "is_inference_mode_enabled",
           "set_multithreading_enabled", "is_multithreading_enabled", "enforce_grad_layout_policy"]


class _State:
    __slots__ = ("unusual", "vmaps")

    unusual: int
    vmaps: int


STATE = _State()
STATE.unusual = 0
STATE.vmaps = 0      # how many vmaps run, in all threads: random ops look at it


class _Local(threading.local):
    """Per-thread switches."""

    grad = True
    inference = False
    pack_hooks: tuple[Any, ...] = ()     # stack of (pack, unpack) pairs
    pack_disabled: str | None = None
    multithreading = True
    anomaly = False
    anomaly_check_nan = True
    partial_backward = False             # a backward pass runs that computes chosen gradients only (autograd.grad, backward(inputs=...))
    task: Any = None         # of the backward pass that runs: whether it retains, or its engine.Task once that was asked for
    backward: Any = None     # (order of nodes, leaves) of the backward pass that runs
    # (level, batch size, randomness) of the vmaps that run, outermost first (func/batched.py)
    vmaps: tuple[tuple[int, int, str], ...] = ()
    dual = 0             # how many forward-mode contexts are active: they need recording in no_grad too (forward.py)
    dual_levels: list[Any] | None = None     # the open levels of forward_ad.py
    transposing = 0      # whether a backward pass is the first half of a forward pass (forward.py)


LOCAL = _Local()
_lock = threading.Lock()


def adjust(by: int) -> None:
    """Change the number of unusual contexts alive."""
    with _lock:
        STATE.unusual += by


def recording() -> bool:
    """Whether this thread records operations. Call it only where ``STATE.unusual`` is not zero; else the answer is True."""
    return LOCAL.grad


def is_grad_enabled() -> bool:
    """True where operations on tensors that require gradients are recorded."""
    return LOCAL.grad


def is_inference_mode_enabled() -> bool:
    """True inside ``inference_mode()``."""
    return LOCAL.inference


def _set_grad(on: bool) -> None:
    if LOCAL.grad != on:
        adjust(-1 if on else 1)
        LOCAL.grad = on


class _Context:
    """A context manager that is also a decorator, for functions and generator functions."""

    __slots__ = ("_previous",)

    _previous: bool

    def __enter__(self) -> Any:
        raise NotImplementedError

    def __exit__(self, *exception: object) -> None:
        _set_grad(self._previous)

    def clone(self) -> _Context:
        return self.__class__()

    def __call__(self, function: Function) -> Function:
        import inspect
        if inspect.isclass(function):
            import warnings
            warnings.warn("Decorating classes is deprecated and will be disabled in future versions. You should only decorate functions "
                          "or methods. To preserve the current behavior of class decoration, you can directly decorate the `__init__` "
                          "method and nothing else.", FutureWarning, stacklevel=2)
            function.__init__ = self(function.__init__)  # type: ignore[method-assign]
            return function
        if inspect.isgeneratorfunction(function):
            return _wrap_generator(self.clone, function)

        @wraps(function)
        def decorated(*args: Any, **kwargs: Any) -> Shape | Tensor | bool:
            with self.clone():
                return function(*args, **kwargs)
        return decorated


def _wrap_generator(context: Callable[[], Any], function: Function) -> Function:
    """Run each step of a generator inside the context, and its consumer outside of it."""
    @wraps(function)
    def decorated(*args: Any, **kwargs: Any) -> Any:
        generator = function(*args, **kwargs)
        try:
            with context():
                value = generator.send(None)
            while True:
                try:
                    request = yield value
                except GeneratorExit:
                    with context():
                        generator.close()
                    raise
                except BaseException as error:
                    with context():
                        value = generator.throw(error)
                else:
                    with context():
                        value = generator.send(request)
        except StopIteration as stop:
            return stop.value
    return decorated


class no_grad(_Context):
    """Context or decorator: operations inside are not recorded; their results have requires_grad False."""

    __slots__ = ()

    def __new__(cls, function: Function | None = None) -> Any:
        self = object.__new__(cls)
        return self if function is None else self(function)

    def __enter__(self) -> None:
        self._previous = LOCAL.grad
        if self._previous:
            adjust(1)
            LOCAL.grad = False


class enable_grad(_Context):
    """Context or decorator: operations inside are recorded, also within ``no_grad``."""

    __slots__ = ()

    def __new__(cls, function: Function | None = None) -> Any:
        self = object.__new__(cls)
        return self if function is None else self(function)

    def __enter__(self) -> None:
        self._previous = LOCAL.grad
        _set_grad(True)


class set_grad_enabled(_Context):
    """Switch recording on or off: a plain call does it at once, as a context it is undone at the end, as a decorator it is per call."""

    __slots__ = ("mode",)

    def __init__(self, mode: bool) -> None:
        if not isinstance(mode, bool):
            raise TypeError(f"set_grad_enabled(): argument 'enabled' (position 1) must be bool, not {type(mode).__name__}")
        self._previous = LOCAL.grad
        self.mode = mode
        _set_grad(bool(mode))

    def __enter__(self) -> None:
        _set_grad(bool(self.mode))

    def __call__(self, function: Function) -> Function:
        _set_grad(self._previous)
        return super().__call__(function)

    def clone(self) -> set_grad_enabled:
        return self.__class__(self.mode)

    def __repr__(self) -> str:
        return f"set_grad_enabled(mode={self.mode})"


class inference_mode(_Context):
    """Context or decorator for inference. In rushlight it records nothing, like ``no_grad``, and that is all there is to it:
    version counters cost nothing here, so tensors made inside are ordinary ones without PyTorch's later restrictions."""

    __slots__ = ("mode", "_inference")

    mode: bool
    _inference: bool

    def __new__(cls, mode: bool = True) -> inference_mode:
        self = object.__new__(cls)
        if isinstance(mode, bool):
            self.mode = mode
            return self
        self.mode = True
        return self(mode)

    def __enter__(self) -> None:
        self._previous, self._inference = LOCAL.grad, LOCAL.inference
        LOCAL.inference = self.mode
        if self.mode:
            _set_grad(False)
        elif self._inference:
            _set_grad(True)

    def __exit__(self, *exception: object) -> None:
        LOCAL.inference = self._inference
        _set_grad(self._previous)

    def clone(self) -> inference_mode:
        return self.__class__(self.mode)


class set_multithreading_enabled:
    """Accepted for PyTorch's sake: rushlight's backward always runs in the calling thread, which is what False asks for."""

    def __init__(self, mode: bool) -> None:
        self.mode, self._previous = mode, LOCAL.multithreading
        LOCAL.multithreading = mode

    def __enter__(self) -> None:
        LOCAL.multithreading = self.mode

    def __exit__(self, *exception: object) -> None:
        LOCAL.multithreading = self._previous


def is_multithreading_enabled() -> bool:
    """What `set_multithreading_enabled` said last."""
    return LOCAL.multithreading


class _unsafe_preserve_version_counter(_Context):
    """A context after which tensors count as if nothing inside had changed them in place."""

    __slots__ = ("tensors", "versions")

    def __init__(self, tensors: Tensor | tuple[Tensor, ...]) -> None:
        self.tensors = tensors if isinstance(tensors, tuple) else (tensors,)

    def __enter__(self) -> None:
        self.versions = [t._version for t in self.tensors]

    def __exit__(self, *exception: object) -> None:
        for t, version in zip(self.tensors, self.versions, strict=True):
            if t._ver.__class__ is int:
                t._ver = version
            else:
                t._ver.n = version

    def clone(self) -> _unsafe_preserve_version_counter:
        return self.__class__(self.tensors)


class enforce_grad_layout_policy(_Context):
    """Accepted for PyTorch's sake: gradients keep the layout in which they were computed, which is what False asks for."""

    __slots__ = ("mode",)

    def __init__(self, enable: bool = True) -> None:
        self.mode = enable

    def __enter__(self) -> None:
        return None

    def __exit__(self, *exception: object) -> None:
        return None

    def clone(self) -> enforce_grad_layout_policy:
        return self.__class__(self.mode)
