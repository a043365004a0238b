"""``torch.distributed.checkpoint.state_dict``: the states of models and optimizers by parameters' names, whatever wraps them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import rushlight as torch

from ...homes import settle
from ...tensor import Tensor
from ..tensor import DTensor, distribute_tensor
from ..tensor.dtensor import wrapped

__all__ = [
    "StateDictOptions",
    "get_model_state_dict",
    "get_optimizer_state_dict",
    "get_state_dict",
    "set_model_state_dict",
    "set_optimizer_state_dict",
    "set_state_dict",
]


@dataclass
class StateDictOptions:
    """full_state_dict: whole tensors in place of DTensors; cpu_offload: on the CPU; ignore_frozen_params: without parameters that need no
    gradient; strict: as in load_state_dict."""

    full_state_dict: bool = False
    cpu_offload: bool = False
    ignore_frozen_params: bool = False
    keep_submodule_prefixes: bool = True
    strict: bool = True
    broadcast_from_rank0: bool = False
    flatten_optimizer_state_dict: bool = False

    def __post_init__(self) -> None:
        for name in ("broadcast_from_rank0", "flatten_optimizer_state_dict"):
            if getattr(self, name):
                raise NotImplementedError(f"StateDictOptions({name}=True) is missing in rushlight")


def _inside(model: Any) -> Any:
    """The module inside of DistributedDataParallel and FullyShardedDataParallel."""
    while type(model).__name__ in ("DistributedDataParallel", "FullyShardedDataParallel"):
        model = model.module
    return model


def _out(value: Any, options: StateDictOptions) -> Any:
    if isinstance(value, DTensor) and options.full_state_dict:
        value = value.full_tensor()
    return value.cpu() if options.cpu_offload and isinstance(value, Tensor) else value


def _like(value: Any, own: Any) -> Any:
    """A value as its place has it: a whole tensor becomes this process's part."""
    if isinstance(own, DTensor) and isinstance(value, Tensor) and not isinstance(value, DTensor):
        return distribute_tensor(value.detach(), own.device_mesh, own.placements, src_data_rank=None)
    return value


def get_model_state_dict(model: Any, *, submodules: Any = None, options: StateDictOptions | None = None) -> dict[str, Any]:
    """The model's state."""
    if submodules is not None:
        raise NotImplementedError("submodules is not supported: call this for the submodule")
    options, inside = options or StateDictOptions(), _inside(model)
    frozen = {name for name, p in inside.named_parameters() if not p.requires_grad} if options.ignore_frozen_params else set()
    return {name: _out(value, options) for name, value in inside.state_dict().items() if name not in frozen}


def set_model_state_dict(model: Any, model_state_dict: dict[str, Any], *, options: StateDictOptions | None = None) -> Any:
    """Load a model's state: whole tensors or DTensors."""
    options, inside = options or StateDictOptions(), _inside(model)
    own = inside.state_dict()
    return inside.load_state_dict({name: _like(value, own.get(name)) for name, value in model_state_dict.items()}, options.strict)


def _begun(optimizer: Any) -> None:
    """Have an optimizer that never stepped make its state: a step of gradients 0 and rate 0."""
    if optimizer.state or any(p.grad is not None for group in optimizer.param_groups for p in group["params"]):
        return
    rates = [group["lr"] for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["lr"] = 0.0
        for p in group["params"]:
            if p.requires_grad:
                p.grad = torch.zeros_like(p)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate


def _names(model: Any) -> dict[int, str]:
    return {id(p): name for name, p in _inside(model).named_parameters()}


def _each(optimizers: Any) -> list[Any]:
    return list(optimizers) if isinstance(optimizers, Iterable) and not isinstance(optimizers, torch.optim.Optimizer) else [optimizers]


def get_optimizer_state_dict(
    model: Any, optimizers: Any, *, submodules: Any = None, options: StateDictOptions | None = None
) -> dict[str, Any]:
    """The optimizers' state, by the parameters' names. Of a DTensor's state it gives DTensors."""
    options, names = options or StateDictOptions(), _names(model)
    found: dict[str, Any] = {"state": {}, "param_groups": []}
    for optimizer in _each(optimizers):
        _begun(optimizer)
        for group in optimizer.param_groups:
            found["param_groups"].append(
                {**{k: v for k, v in group.items() if k != "params"}, "params": [names[id(p)] for p in group["params"]]}
            )
            for p in group["params"]:
                state = {}
                for key, value in optimizer.state.get(p, {}).items():
                    part = isinstance(p, DTensor) and isinstance(value, Tensor) and not isinstance(value, DTensor)
                    if part and value.shape == p._local_tensor.shape:
                        value = wrapped(value, p._spec)
                    state[key] = _out(value, options)
                if state:
                    found["state"][names[id(p)]] = state
    return found


def set_optimizer_state_dict(
    model: Any, optimizers: Any, optim_state_dict: dict[str, Any], *, options: StateDictOptions | None = None
) -> None:
    """Load what `get_optimizer_state_dict` gave."""
    names = _names(model)
    groups = list(optim_state_dict["param_groups"])
    for optimizer in _each(optimizers):
        state: dict[int, Any] = {}
        loaded, count = [], 0
        for group in optimizer.param_groups:
            wanted = {names[id(p)] for p in group["params"]}
            given = next((each for each in groups if set(each["params"]) == wanted), None)
            if given is None:
                raise RuntimeError(f"the state has no group of the parameters {sorted(wanted)}")
            loaded.append(
                {**{k: v for k, v in given.items() if k != "params"}, "params": list(range(count, count + len(group["params"])))}
            )
            for i, p in enumerate(group["params"], count):
                if names[id(p)] in optim_state_dict["state"]:
                    state[i] = {key: _local(value, p) for key, value in optim_state_dict["state"][names[id(p)]].items()}
            count += len(group["params"])
        optimizer.load_state_dict({"state": state, "param_groups": loaded})


def _local(value: Any, p: Any) -> Any:
    if isinstance(p, DTensor) and isinstance(value, Tensor) and tuple(value.shape) == tuple(p.shape):
        value = _like(value, p)
    return value._local_tensor if isinstance(value, DTensor) else value


def get_state_dict(model: Any, optimizers: Any, *, submodules: Any = None, options: StateDictOptions | None = None) -> tuple[Any, Any]:
    """(the model's state, the optimizers')."""
    return (
        get_model_state_dict(model, submodules=submodules, options=options),
        get_optimizer_state_dict(model, optimizers, submodules=submodules, options=options),
    )


def set_state_dict(
    model: Any,
    optimizers: Any,
    *,
    model_state_dict: dict[str, Any],
    optim_state_dict: dict[str, Any],
    options: StateDictOptions | None = None,
) -> Any:
    """Load both."""
    found = set_model_state_dict(model, model_state_dict, options=options)
    set_optimizer_state_dict(model, optimizers, optim_state_dict, options=options)
    return found


settle("distributed.checkpoint.state_dict", globals())
