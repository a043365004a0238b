"""`swap_in_optimizer_params_and_state`: lend other parameters and state to an optimizer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..tensor import Tensor
from .optimizer import Optimizer

__all__ = ["swap_in_optimizer_params_and_state"]


@contextmanager
def swap_in_optimizer_params_and_state(optimizer: Optimizer, swapin_parameters: dict[str, Tensor],
                                       swapin_optim_state: dict[str, Any]) -> Iterator[None]:
    """Within the context the optimizer works on these parameters (by name, in the order of its own) and this state (as `state_dict`
    returns it); afterwards it has its own again. In-place changes reach the tensors that were given, nothing else does.

    ValueError where the numbers of parameters or groups differ.
    """
    own = [p for group in optimizer.param_groups for p in group["params"]]
    given = list(swapin_parameters.values())
    groups = swapin_optim_state["param_groups"]
    if len(given) != len(own):
        raise ValueError(f"the optimizer has {len(own)} parameters, but {len(given)} were given")
    if [len(group["params"]) for group in groups] != [len(group["params"]) for group in optimizer.param_groups]:
        raise ValueError("the given state has other parameter groups than the optimizer")
    at = iter(given)
    by_id: dict[Any, Tensor] = {}
    new_groups = []
    for group in groups:
        params = [next(at) for _ in group["params"]]
        by_id.update(zip(group["params"], params, strict=True))
        new_groups.append({**group, "params": params})
    state: Any = defaultdict(dict)
    for key, value in swapin_optim_state["state"].items():
        state[by_id.get(key, key)] = dict(value) if isinstance(value, dict) else value
    saved = optimizer.state, optimizer.param_groups
    optimizer.state, optimizer.param_groups = state, new_groups
    optimizer._forget_plans()
    try:
        yield
    finally:
        optimizer.state, optimizer.param_groups = saved
        optimizer._forget_plans()
