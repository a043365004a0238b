"""Modules as functions of their parameters: `functional_call`, `stack_module_state`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..nn.modules.batchnorm import _BatchNorm
from ..nn.utils.stateless import _functional_call
from ..ops.joining import stack
from ..tensor import Tensor

if TYPE_CHECKING:
    from ..nn.modules.module import Module

__all__ = ["functional_call", "stack_module_state", "replace_all_batch_norm_modules_"]


def functional_call(module: Module, parameter_and_buffer_dicts: tuple[Any, ...], args: Tensor | tuple[Tensor, ...] | None = None,
                    kwargs: dict[str, Any] | None = None, *,
                    tie_weights: bool = True, strict: bool = False) -> Tensor:
    """``module(*args, **kwargs)`` with other tensors in the places of its parameters and buffers: a dict by name, or several dicts.

    args         a tuple, or one argument
    tie_weights  a tensor given for one name of a shared parameter serves all its names
    strict       RuntimeError unless all parameters and buffers are given, and nothing else
    """
    given = parameter_and_buffer_dicts
    if not isinstance(given, dict):
        if not isinstance(given, (list, tuple)):
            raise ValueError(f"Expected parameter_and_buffer_dicts to be a dict, or a list/tuple of dicts, but got {type(given)}")
        if not all(isinstance(each, dict) for each in given):
            raise ValueError("Expected all elements of parameter_and_buffer_dicts to be dictionaries")
        names = [name for each in given for name in each]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"{repeated} appeared in multiple dictionaries; behavior of functional call is ambiguous")
        given = {name: tensor for each in given for name, tensor in each.items()}
    return _functional_call(module, given, args, kwargs, tie_weights=tie_weights, strict=strict)


def stack_module_state(models: list[Any]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(parameters, buffers) of models of one architecture, each stacked along a new first dimension: for an ensemble under `vmap`.

    The stacked parameters require grad as the models' do. RuntimeError for models of different classes or modes.
    """
    models = list(models)
    if not models:
        raise RuntimeError("stack_module_state: Expected at least one model, got 0.")
    if len({model.training for model in models}) > 1:
        raise RuntimeError("stack_module_state: Expected all models to have the same training/eval mode.")
    if any(type(model) is not type(models[0]) for model in models):
        raise RuntimeError("stack_module_state: Expected all models to be of the same class.")
    parameters = {name: _stacked([dict(model.named_parameters())[name] for model in models]) for name, _ in models[0].named_parameters()}
    buffers = {name: _stacked([dict(model.named_buffers())[name] for model in models]) for name, _ in models[0].named_buffers()}
    return parameters, buffers


def _stacked(tensors: Sequence[Tensor]) -> Tensor:
    """A leaf for leaves: the stacked tensors, without their history."""
    if all(t.is_leaf for t in tensors):
        if len({t.requires_grad for t in tensors}) > 1:
            raise RuntimeError(f"Expected {', '.join(str(tuple(t.shape)) for t in tensors)} parameters to have the same .requires_grad")
        return stack([t.detach() for t in tensors]).requires_grad_(tensors[0].requires_grad)
    return stack(list(tensors))


def replace_all_batch_norm_modules_(root: Module) -> Module:
    """Let all batch norms of a module use the statistics of the batch alone, in place: vmap can't update one sample's into all samples'
    buffers."""
    for module in root.modules():
        if isinstance(module, _BatchNorm):
            module.running_mean = module.running_var = module.num_batches_tracked = None
            module.track_running_stats = False
    return root
