"""``make_functional``: a module as a function of a list of its parameters (`torch.func.functional_call` takes them by name)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from itertools import chain, product
from typing import Any

from ..func.modules import functional_call
from ..nn.modules.module import Module
from ..nn.parameter import Parameter
from ..ops.joining import stack
from ..tensor import Tensor
from ..vocabulary import Device

__all__ = ["FunctionalModule", "FunctionalModuleWithBuffers", "combine_state_for_ensemble", "functional_init",
           "functional_init_with_buffers", "make_functional", "make_functional_with_buffers"]


def _emptied(model: Module) -> Module:
    """A copy of a module whose parameters and buffers have no memory."""
    memo: dict[int, Any] = {}
    for tensor in chain(model.parameters(), model.buffers()):
        empty = tensor.detach().to("meta")
        memo[id(tensor)] = Parameter(empty, tensor.requires_grad) if isinstance(tensor, Parameter) else empty
    return deepcopy(model, memo)


def _copies(named: Iterable[tuple[str, Tensor]], keep: bool) -> tuple[tuple[str, ...], tuple[Tensor, ...]]:
    """Names, and copies of the tensors; they require grad where the tensors do and `keep` says so."""
    found = [(name, deepcopy(t)) for name, t in named]
    if not keep:
        found = [(name, t.requires_grad_(False)) for name, t in found]
    return tuple([name for name, _ in found]), tuple([t for _, t in found])


class FunctionalModuleWithBuffers(Module):
    """What `make_functional_with_buffers` returns: it is called with parameters, buffers, and the module's inputs."""

    def __init__(self, stateless_model: Module, param_names: tuple[str, ...], buffer_names: tuple[str, ...]) -> None:
        super().__init__()
        self.stateless_model, self.param_names, self.buffer_names = stateless_model, param_names, buffer_names

    @staticmethod
    def _create_from(model: Module, disable_autograd_tracking: bool = False) -> tuple[Any, tuple[Tensor, ...], tuple[Tensor, ...]]:
        names, params = _copies(model.named_parameters(), not disable_autograd_tracking)
        buffer_names, buffers = _copies(model.named_buffers(), True)
        return FunctionalModuleWithBuffers(_emptied(model), names, buffer_names), params, buffers

    def forward(self, params: Iterable[Tensor], buffers: Iterable[Tensor], *args: Any, **kwargs: Any) -> Any:
        """The module's result with these in the places of its own."""
        given = dict(chain(zip(self.param_names, params, strict=True), zip(self.buffer_names, buffers, strict=True)))
        return functional_call(self.stateless_model, given, args, kwargs)


class FunctionalModule(Module):
    """What `make_functional` returns: it is called with parameters and the module's inputs."""

    def __init__(self, stateless_model: Module, param_names: tuple[str, ...]) -> None:
        super().__init__()
        self.stateless_model, self.param_names = stateless_model, param_names

    @staticmethod
    def _create_from(model: Module, disable_autograd_tracking: bool = False) -> tuple[Any, tuple[Tensor, ...]]:
        names, params = _copies(model.named_parameters(), not disable_autograd_tracking)
        return FunctionalModule(_emptied(model), names), params

    def forward(self, params: Iterable[Tensor], *args: Any, **kwargs: Any) -> Any:
        """The module's result with these in the places of its own."""
        return functional_call(self.stateless_model, dict(zip(self.param_names, params, strict=True)), args, kwargs)


def make_functional(model: Module, disable_autograd_tracking: bool = False) -> tuple[FunctionalModule, tuple[Tensor, ...]]:
    """(function, parameters) of a module without buffers: ``function(parameters, *inputs)``. The parameters are copies.

    disable_autograd_tracking  the copies do not require grad, as the transforms of `torch.func` do not need it
    """
    if any(True for _ in model.buffers()):
        raise RuntimeError("make_functional(model): `model` has buffers. Please use make_functional_with_buffers(model) instead.")
    return FunctionalModule._create_from(model, disable_autograd_tracking)


def make_functional_with_buffers(model: Module, disable_autograd_tracking: bool = False) -> tuple[
        FunctionalModuleWithBuffers, tuple[Tensor, ...], tuple[Tensor, ...]]:
    """(function, parameters, buffers) of a module: ``function(parameters, buffers, *inputs)``. Parameters and buffers are copies."""
    return FunctionalModuleWithBuffers._create_from(model, disable_autograd_tracking)


def combine_state_for_ensemble(models: Sequence[Module]) -> tuple[FunctionalModuleWithBuffers, tuple[Tensor, ...], tuple[Tensor, ...]]:
    """(function, parameters, buffers) of models of one class, each parameter and buffer stacked over the models: for `vmap`."""
    if len(models) == 0:
        raise RuntimeError("combine_state_for_ensemble: Expected at least one model, got 0.")
    if not (all(m.training for m in models) or all(not m.training for m in models)):
        raise RuntimeError("combine_state_for_ensemble: Expected all models to have the same training/eval mode.")
    if any(type(m) is not type(models[0]) for m in models):
        raise RuntimeError("combine_state_for_ensemble: Expected all models to be of the same class.")
    functions, params, buffers = zip(*[make_functional_with_buffers(m) for m in models], strict=True)
    return functions[0], tuple(map(_stacked, zip(*params, strict=True))), tuple(map(_stacked, zip(*buffers, strict=True)))


def _stacked(tensors: Sequence[Tensor]) -> Tensor:
    return stack(list(tensors))


def functional_init(model_class: Callable[..., Module], ensemble_shape: tuple[int, ...] = (), device: Device = "cpu") -> Callable[..., Any]:
    """The function that makes models of a class without buffers and returns (parameters stacked over them, function, names).

    The function is called with parameters and the tuple of the model's inputs."""
    def made(*args: Any, **kwargs: Any) -> Any:
        params, _, function = _ensemble(model_class, ensemble_shape, device, args, kwargs, "functional_init")
        return params, lambda weights, data: function(weights, (), *data), function.param_names
    return made


def functional_init_with_buffers(model_class: Callable[..., Module], ensemble_shape: tuple[int, ...] = (),
                                 device: Device = "cpu") -> Callable[..., Any]:
    """The same with buffers: (parameters, buffers, function, names, buffers' names)."""
    def made(*args: Any, **kwargs: Any) -> Any:
        params, buffers, function = _ensemble(model_class, ensemble_shape, device, args, kwargs, "functional_init_with_buffers")
        return params, buffers, lambda weights, buffers, data: function(weights, buffers, *data), function.param_names, function.buffer_names
    return made


def _ensemble(model_class: Callable[..., Module], shape: tuple[int, ...], device: Device, args: tuple[Any, ...], kwargs: dict[str, Any],
              name: str) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], FunctionalModuleWithBuffers]:
    if len(shape) >= 2:
        raise ValueError("NYI: ensemble_shape with more than 1 element")
    if shape and shape[0] <= 0:
        raise ValueError(f"num_models {shape[0]} should be > 0")
    models = [model_class(*args, **kwargs).to(device) for _ in product(*map(range, shape))]
    if name == "functional_init" and any(True for _ in models[0].buffers()):
        raise RuntimeError(f"{name}: the model has buffers. Please use functional_init_with_buffers instead.")
    function, params, buffers = combine_state_for_ensemble(models)
    if not shape:
        params, buffers = tuple([t.squeeze(0) for t in params]), tuple([t.squeeze(0) for t in buffers])
    return params, buffers, function
