"""What PyTorch's tests and tools ask its compiled module: how it was built, which modes are on, how its TorchScript executor is set."""

from __future__ import annotations

from enum import Enum
from typing import Any
from weakref import ref

from ..autograd.engine import task, will_run
from ..autograd.grad_mode import LOCAL as LOCAL_GRAD
from ..autograd.graph import AccumulateGrad, Node
from ..devices import device
from ..kind import VMAP_FALLBACK
from ..overrides import LOCAL
from ..utils import deterministic

__all__: list[str] = []

# --- how it was built: everything that these stand for in PyTorch's tests is there
has_lapack = True           # torch.linalg works
has_spectral = True         # torch.fft works
has_openmp = True           # torch.set_num_threads is heeded
has_mkl = _has_mkl = False
_has_mkldnn = has_mkldnn = False
has_cuda = has_mps = has_cudnn = False
_has_cuda = _has_mps = _has_cudnn = False


def _get_cpu_capability() -> str:
    """The instructions that the native kernels use, by PyTorch's names."""
    from ..kernels import native
    return {"v3": "AVX2", "v4": "AVX512"}.get(native.level, "DEFAULT")


def _get_accelerator(check: bool = False) -> device:
    """The accelerator that is there, else the CPU."""
    from .. import accelerator
    found = accelerator.current_accelerator(check_available=check)
    return device("cpu") if found is None else found


def _get_deterministic_fill_uninitialized_memory() -> bool:
    """Whether `empty` and its like fill their memory while deterministic algorithms are on."""
    return deterministic.fill_uninitialized_memory


def _set_deterministic_fill_uninitialized_memory(mode: bool) -> None:
    """Say whether they do."""
    deterministic.fill_uninitialized_memory = mode


# --- which functions are seen by whom

class _TorchFunctionState(Enum):
    """Who is asked about calls of torch functions: subclasses and modes, modes only, nobody."""

    ENABLED = 0
    SUBCLASSES_DISABLED = 1
    ALL_DISABLED = 2


def _get_torch_function_state() -> _TorchFunctionState:
    """Who is asked now."""
    return _TorchFunctionState.SUBCLASSES_DISABLED if LOCAL.no_subclass else _TorchFunctionState.ENABLED


def _set_torch_function_state(state: _TorchFunctionState) -> None:
    """Say who is asked from now on."""
    if state is _TorchFunctionState.ALL_DISABLED:
        LOCAL.modes = ()
    LOCAL.no_subclass = state is not _TorchFunctionState.ENABLED


def _is_torch_function_enabled() -> bool:
    """Whether subclasses are asked."""
    return not LOCAL.no_subclass


def _len_torch_function_stack() -> int:
    """How many function modes are on."""
    return len(LOCAL.modes)


def _get_function_stack_at(level: int) -> Any:
    """The function mode at a place of the stack, the outermost first."""
    return LOCAL.modes[level]


def _push_on_torch_function_stack(mode: Any) -> None:
    """Switch a function mode on."""
    from ..overrides import watch
    watch()
    LOCAL.modes = (*LOCAL.modes, mode)


def _pop_torch_function_stack() -> Any:
    """Switch the innermost function mode off; the mode."""
    if not LOCAL.modes:
        raise RuntimeError("Trying to pop from empty mode stack")
    *rest, last = LOCAL.modes
    LOCAL.modes = tuple(rest)
    return last


# --- TorchScript's executor, which there is none of: its switches keep what they are given

_executor = {"profiling": True, "optimize": True, "mode": True, "runs": 1}


def _exchange(name: str, value: Any) -> Any:
    before, _executor[name] = _executor[name], value
    return before


def _jit_set_profiling_executor(value: bool) -> bool:
    """Keep a switch; what it was."""
    return bool(_exchange("profiling", value))


def _jit_set_profiling_mode(value: bool) -> bool:
    """Keep a switch; what it was."""
    return bool(_exchange("mode", value))


def _jit_set_num_profiled_runs(value: int) -> int:
    """Keep a number; what it was."""
    return int(_exchange("runs", value))


def _get_graph_executor_optimize(value: bool | None = None) -> bool:
    """What the switch was; with a value, it is set."""
    return bool(_executor["optimize"] if value is None else _exchange("optimize", value))


def _set_graph_executor_optimize(value: bool) -> None:
    """Set the switch."""
    _exchange("optimize", value)


_emit_hooks: tuple[Any, ...] = (None, None)


def _jit_set_emit_hooks(*hooks: Any) -> None:
    """Keep the functions that are to be called with the modules and functions that TorchScript compiles: none are (``torch.jit.script`` leaves the
    Python code as it is)."""
    global _emit_hooks
    _emit_hooks = hooks


def _jit_get_emit_hooks() -> tuple[Any, ...]:
    """What `_jit_set_emit_hooks` was given."""
    return _emit_hooks


def _jit_clear_class_registry() -> None:
    """Forget the classes that TorchScript has compiled: none."""


# --- backward passes

def _current_graph_task_id() -> int:
    """The number of the backward pass that runs in this thread, -1 where none does."""
    running = task()
    return -1 if running is None else running.number


def _will_engine_execute_node(node: Any) -> bool:
    """Whether the backward pass that runs comes by a node. RuntimeError outside of one, and for a leaf under `autograd.grad`."""
    if not isinstance(node, Node):
        raise RuntimeError(f"_will_engine_execute_node expects an grad_fn, but got {type(node).__name__}")
    if LOCAL_GRAD.backward is None:
        raise RuntimeError("_get_should_execute_nodes should only be called during the backward pass")
    if isinstance(node, AccumulateGrad) and LOCAL_GRAD.partial_backward:
        raise RuntimeError("A leaf node was passed to _will_engine_execute_node but we are currently running autograd.grad(). This is "
                           "currently not supported.")
    return will_run([node]) == 1


class _WeakTensorRef:
    """A reference to a tensor that does not keep it."""

    def __init__(self, tensor: Any) -> None:
        self._ref = ref(tensor)

    def expired(self) -> bool:
        """Whether the tensor is gone."""
        return self._ref() is None


# --- vmap

def _debug_only_are_vmap_fallback_warnings_enabled() -> bool:
    """Whether vmap warns of ops that it runs sample by sample."""
    return VMAP_FALLBACK["warn"]


def _debug_only_display_vmap_fallback_warnings(enabled: bool) -> None:
    """Say whether it does."""
    VMAP_FALLBACK["warn"] = bool(enabled)
