"""`torch.compile`: rushlight runs the function as it is, so that programs that ask for compilation work."""

from __future__ import annotations

from typing import Any

from .unsupported import partly
from .vocabulary import Function

__all__ = ["compile"]

_MODES = (None, "default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")


@partly("the function runs as it is, uncompiled, with the same results")
def compile(model: Function | None = None, *, fullgraph: bool = False, dynamic: bool | None = None, backend: str = "inductor",
            mode: str | None = None,
            options: dict[str, Any] | None = None, disable: bool = False) -> Function:
    """The function or module itself: there is nothing that compiles it yet, and results are the same. Without `model`: a decorator.

    The options say how PyTorch would compile; they are checked and change nothing. RuntimeError for an unknown mode, or mode with options.
    """
    if mode is not None and options is not None:
        raise RuntimeError("Either mode or options can be specified, but both can't be specified at the same time.")
    if mode not in _MODES:
        raise RuntimeError(f"Unrecognized mode={mode}, should be one of: {', '.join(map(str, _MODES[1:]))}")
    if not (isinstance(backend, str) or callable(backend)):
        raise TypeError(f"torch.compile(): backend must be a name or a callable, got {type(backend).__name__}")
    if model is None:
        return lambda function: compile(function, fullgraph=fullgraph, dynamic=dynamic, backend=backend, mode=mode, options=options,
                                        disable=disable)
    if not callable(model):
        raise AssertionError(f"A callable function is expected, but {type(model)} is provided.")
    return model
