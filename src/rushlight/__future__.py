"""``torch.__future__``: how modules change their parameters when they are moved or loaded."""

from __future__ import annotations

__all__ = ["get_overwrite_module_params_on_conversion", "get_swap_module_params_on_conversion", "set_overwrite_module_params_on_conversion",
           "set_swap_module_params_on_conversion"]

_overwrite = False
_swap = False


def set_overwrite_module_params_on_conversion(value: bool) -> None:
    """Whether ``module.to`` and its like make new parameters (the old ones keep their values) instead of changing those that there are."""
    global _overwrite
    _overwrite = value


def get_overwrite_module_params_on_conversion() -> bool:
    """What `set_overwrite_module_params_on_conversion` was given; False at first."""
    return _overwrite


def set_swap_module_params_on_conversion(value: bool) -> None:
    """Whether ``module.to`` and ``load_state_dict`` exchange parameters with the new tensors (`torch.utils.swap_tensors`)."""
    global _swap
    _swap = value


def get_swap_module_params_on_conversion() -> bool:
    """What `set_swap_module_params_on_conversion` was given; False at first."""
    return _swap
