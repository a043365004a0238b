"""Anomaly detection: backward names the forward operation whose gradient failed or became nan."""

from __future__ import annotations

import traceback
import warnings
from typing import Any

import numpy as np

from ..vocabulary import Array
from .grad_mode import LOCAL, adjust

__all__ = ["detect_anomaly", "set_detect_anomaly", "is_anomaly_enabled", "is_anomaly_check_nan_enabled", "set_anomaly_enabled"]


def trace() -> str:
    """Where the user's code is now, as text."""
    return "".join(traceback.format_stack()[:-4])


def is_anomaly_enabled() -> bool:
    """Whether anomaly detection is on."""
    return LOCAL.anomaly


def is_anomaly_check_nan_enabled() -> bool:
    """Whether anomaly detection also looks for nan."""
    return LOCAL.anomaly_check_nan


def _switch(on: bool, check_nan: bool) -> None:
    if on != LOCAL.anomaly:
        adjust(1 if on else -1)
    LOCAL.anomaly, LOCAL.anomaly_check_nan = on, check_nan


def set_anomaly_enabled(enabled: bool, check_nan: bool = True) -> None:
    """Switch anomaly detection on or off."""
    _switch(bool(enabled), check_nan)


class set_detect_anomaly:
    """Switch anomaly detection on or off, at once or for a ``with`` block."""

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self._previous = LOCAL.anomaly, LOCAL.anomaly_check_nan
        _switch(bool(mode), check_nan)

    def __enter__(self) -> None:
        return None

    def __exit__(self, *exception: object) -> None:
        _switch(*self._previous)


class detect_anomaly(set_detect_anomaly):
    """Inside, forward ops remember where they ran; a backward that fails, or returns nan, shows it."""

    def __init__(self, check_nan: bool = True) -> None:
        self._previous = LOCAL.anomaly, LOCAL.anomaly_check_nan
        self._check_nan = check_nan
        warnings.warn("Anomaly Detection has been enabled. This mode will increase the runtime and should only be enabled for debugging.",
                      stacklevel=2)

    def __enter__(self) -> None:
        _switch(True, self._check_nan)


def run_checked(node: Any, g: Array, graph: bool) -> tuple[Array | None, ...]:
    """Run a node; say where its forward was if it fails or returns nan."""
    try:
        grads = node.tensors(g) if graph else node.arrays(g)
    except Exception:
        _tell(node)
        raise
    if LOCAL.anomaly_check_nan:
        for i, each in enumerate(grads):
            if each is not None and np.isnan(each._a if graph else each).any():
                _tell(node)
                raise RuntimeError(f"Function '{node.label}' returned nan values in its {i}th output.")
    return grads


def _tell(node: Any) -> None:
    where = node.hooks.trace if node.hooks is not None else None
    if where:
        warnings.warn(f"Error detected in {node.label}. Traceback of forward call that caused the error:\n{where}", stacklevel=4)
    else:
        warnings.warn(f"Error detected in {node.label}. No forward pass information available. Enable detect anomaly during forward pass "
                      "for more information.", stacklevel=4)
