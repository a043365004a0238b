"""Parametrisations: a parameter (or buffer) that is computed from other tensors by modules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

from ...autograd.grad_mode import no_grad
from ...tensor import Tensor
from ..modules.container import ModuleDict, ModuleList
from ..modules.module import Module
from ..parameter import Parameter

__all__ = ["cached", "ParametrizationList", "register_parametrization", "is_parametrized", "remove_parametrizations",
           "type_before_parametrizations", "transfer_parametrizations_and_params"]

_cache_enabled = 0
_cache: dict[tuple[int, str], Tensor | None] = {}


@contextmanager
def cached() -> Iterator[None]:
    """While it lasts, every parametrised tensor is computed once only."""
    global _cache_enabled
    _cache_enabled += 1
    try:
        yield
    finally:
        _cache_enabled -= 1
        if not _cache_enabled:
            _cache.clear()


def _register_parameter_or_buffer(module: Module, name: str, value: Tensor) -> None:
    if isinstance(value, Parameter):
        module.register_parameter(name, value)
    else:
        module.register_buffer(name, value)


def _maybe_set(dest: Tensor, src: Tensor) -> None:
    """Give `dest` the memory of `src` unless they are the same tensor."""
    if dest is not src:
        dest.data = src.detach()


class ParametrizationList(ModuleList):
    """The parametrisations of one tensor, in the order in which they apply, and the tensor(s) they start from: ``original``, or
    ``original0``, ``original1``, ... where the first one's right_inverse returns several."""

    original: Tensor
    unsafe: bool

    def __init__(self, modules: Sequence[Module], original: Tensor, unsafe: bool = False) -> None:
        if not modules:
            raise ValueError("ParametrizationList requires one or more modules.")
        super().__init__(modules)
        self.unsafe = unsafe
        new = self._invert(original)
        self.is_tensor = isinstance(new, Tensor)
        self.ntensors = 1 if self.is_tensor else len(new)
        if self.is_tensor:
            if original.dtype != new.dtype:
                raise ValueError("When `right_inverse` outputs one tensor, it may not change the dtype.\n"
                                 f"original.dtype: {original.dtype}\nright_inverse(original).dtype: {new.dtype}")
            if original.device != new.device:
                raise ValueError("When `right_inverse` outputs one tensor, it may not change the device.\n"
                                 f"original.device: {original.device}\nright_inverse(original).device: {new.device}")
            # The original tensor object stays, for optimizers that know it.
            with no_grad():
                _maybe_set(original, new)
            _register_parameter_or_buffer(self, "original", original)
        else:
            for i, each in enumerate(new):
                if not isinstance(each, Tensor):
                    raise ValueError(f"A `right_inverse` must return a Tensor or a sequence of tensors (list, tuple...). Got element {i} "
                                     f"of the sequence with type {type(each).__name__}.")
                if isinstance(original, Parameter):
                    each = Parameter(each, original.requires_grad)
                each.requires_grad_(original.requires_grad)
                _register_parameter_or_buffer(self, f"original{i}", each)
        if not unsafe:
            self._check_consistency(original)

    def _invert(self, value: Tensor) -> Any:
        """What the originals must be for the parametrised tensor to be `value`."""
        new: Any = value
        with no_grad():
            for module in reversed(list(self)):
                if not hasattr(module, "right_inverse"):
                    continue
                try:
                    new = module.right_inverse(new)
                except NotImplementedError:
                    pass        # it says itself that it cannot; the value is taken as it is
        if not isinstance(new, Tensor) and not isinstance(new, Sequence):
            raise ValueError(f"'right_inverse' must return a Tensor or a Sequence of tensors (list, tuple...). Got {type(new).__name__}")
        return new

    def _check_consistency(self, original: Tensor) -> None:
        """The parametrised tensor must have the original's dtype, device and shape."""
        value = self()
        if not isinstance(value, Tensor):
            raise ValueError(f"A parametrization must return a tensor. Got {type(value).__name__}.")
        unsafe = "unless `unsafe` flag is enabled."
        if value.dtype != original.dtype:
            raise ValueError(f"Registering a parametrization may not change the dtype of the tensor, {unsafe}\n"
                             f"unparametrized dtype: {original.dtype}\nparametrized dtype: {value.dtype}")
        if value.device != original.device:
            raise ValueError(f"Registering a parametrization may not change the device of the tensor, {unsafe}\n"
                             f"unparametrized device: {original.device}\nparametrized device: {value.device}")
        if value.shape != original.shape:
            raise ValueError(f"Registering a parametrization may not change the shape of the tensor, {unsafe}\n"
                             f"unparametrized shape: {original.shape}\nparametrized shape: {value.shape}")

    def right_inverse(self, value: Tensor) -> None:
        """Set the originals so that the parametrised tensor becomes `value`: what assigning to it does."""
        with no_grad():
            for module in reversed(list(self)):
                if not hasattr(module, "right_inverse"):
                    raise RuntimeError(f"parametrization {type(module).__name__} does not implement right_inverse.")
                value = module.right_inverse(value)
            if self.is_tensor:
                if not isinstance(value, Tensor):
                    raise ValueError(f"`right_inverse` should return a tensor. Got {type(value).__name__}")
                if value.dtype != self.original.dtype:
                    raise ValueError("The tensor returned by `right_inverse` has dtype "
                                     f"{value.dtype} while `original` has dtype {self.original.dtype}")
                _maybe_set(self.original, value)
                return
            if not isinstance(value, Sequence):
                raise ValueError(f"'right_inverse' must return a sequence of tensors. Got {type(value).__name__}.")
            if len(value) != self.ntensors:
                raise ValueError(f"'right_inverse' must return a sequence of tensors of length {self.ntensors}. Got a sequence of length "
                                 f"{len(value)}.")
            for i, each in enumerate(value):
                original = getattr(self, f"original{i}")
                if not isinstance(each, Tensor):
                    raise ValueError(f"`right_inverse` must return a sequence of tensors. Got element {i} of type {type(each).__name__}")
                if original.dtype != each.dtype:
                    raise ValueError(f"Tensor {i} returned by `right_inverse` has dtype {each.dtype} while `original{i}` has dtype "
                                     f"{original.dtype}")
                _maybe_set(original, each)

    def forward(self) -> Tensor:
        modules = list(self)
        value = modules[0](self.original) if self.is_tensor else modules[0](*(getattr(self, f"original{i}") for i in range(self.ntensors)))
        for module in modules[1:]:
            value = module(value)
        return value


def _inject_new_class(module: Module) -> None:
    """Give the module a class of its own, on which the properties can live."""
    cls = type(module)

    def copy(self: Any, memo: dict[int, Any]) -> Any:
        if id(self) in memo:
            return memo[id(self)]
        replica = self.__new__(type(self))
        memo[id(self)] = replica
        replica.__dict__ = deepcopy(self.__dict__, memo)
        return replica

    def refuse(self: Any) -> Any:
        raise RuntimeError(
            "Serialization of parametrized modules is only supported through state_dict(). See:\n"
            "https://pytorch.org/tutorials/beginner/saving_loading_models.html"
            "#saving-loading-a-general-checkpoint-for-inference-and-or-resuming-training")

    members: dict[str, Any] = {"__getstate__": refuse}
    if not hasattr(cls, "__deepcopy__"):
        members["__deepcopy__"] = copy
    module.__class__ = type(f"Parametrized{cls.__name__}", (cls,), members)


def _inject_property(module: Module, tensor_name: str) -> None:
    """Make the tensor a property that computes it."""
    if hasattr(module, tensor_name):
        raise AssertionError(f"Expected module not to have attribute '{tensor_name}'")

    def get(self: Any) -> Tensor:
        parametrization = self.parametrizations[tensor_name]
        if not _cache_enabled:
            return parametrization()
        key = (id(module), tensor_name)
        found = _cache.get(key)
        if found is None:
            found = _cache[key] = parametrization()
        return found

    def set(self: Any, value: Tensor) -> None:
        self.parametrizations[tensor_name].right_inverse(value)

    setattr(type(module), tensor_name, property(get, set))


def register_parametrization(module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False) -> Module:
    """Compute ``module.<tensor_name>`` as ``parametrization(original)`` from now on; registered again, the next applies on top.

    A method right_inverse of the parametrisation tells what original gives a value; it makes the tensor assignable.
    unsafe  skip the checks that shape, dtype and device stay the same
    """
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        _add_parametrization(module, tensor_name, parametrization, unsafe)
    elif tensor_name in module._buffers or tensor_name in module._parameters:
        original = getattr(module, tensor_name)
        parametrizations = ParametrizationList([parametrization], original, unsafe=unsafe)
        delattr(module, tensor_name)
        if not is_parametrized(module):
            _inject_new_class(module)
            module.parametrizations = ModuleDict()
        _inject_property(module, tensor_name)
        module.parametrizations[tensor_name] = parametrizations
    else:
        raise ValueError(f"Module '{module}' does not have a parameter, a buffer, or a parametrized element with name '{tensor_name}'")
    return module


def _add_parametrization(module: Module, tensor_name: str, parametrization: Any, unsafe: bool) -> None:
    """A further parametrisation of a tensor that has some."""
    present = module.parametrizations[tensor_name]
    if not unsafe:
        value = getattr(module, tensor_name)
        result = parametrization(value)
        if not isinstance(result, Tensor):
            raise ValueError(f"A parametrization must return a tensor. Got {type(result).__name__}.")
        for what, before, after in (("dtype", value.dtype, result.dtype), ("shape", value.shape, result.shape),
                                    ("device", value.device, result.device)):
            if before != after:
                raise ValueError(f"Registering a parametrization may not change the {what} of the tensor, unless the `unsafe` flag is "
                                 f"enabled.\nmodule.{tensor_name}.{what}: {before}\nparametrization(module.{tensor_name}).{what}: {after}")
        if hasattr(parametrization, "right_inverse"):
            try:
                inverse = parametrization.right_inverse(result)
            except NotImplementedError:
                inverse = None
            if inverse is not None:
                if not isinstance(inverse, Tensor):
                    raise ValueError("parametrization.right_inverse must return a tensor. Got: " + type(inverse).__name__)
                for what in ("dtype", "shape"):
                    given, returned = getattr(value, what), getattr(inverse, what)
                    if given != returned:
                        raise ValueError(f"The tensor returned by parametrization.right_inverse must have the same {what} as "
                                         f"module.{tensor_name}, unless the `unsafe` flag is enabled.\n"
                                         f"module.{tensor_name}.{what}: {given}\nreturned {what}: {returned}")
    present.append(parametrization)
    present.unsafe |= unsafe


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether the module (or this tensor of it) is parametrised."""
    parametrizations = module._modules.get("parametrizations") if "_modules" in module.__dict__ else None
    if not isinstance(parametrizations, ModuleDict):
        return False
    return len(parametrizations) > 0 if tensor_name is None else tensor_name in parametrizations


def remove_parametrizations(module: Module, tensor_name: str, leave_parametrized: bool = True) -> Module:
    """Make a parametrised tensor ordinary again: with its present value, or (leave_parametrized False) the original's."""
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"Module {module} does not have a parametrization on {tensor_name}")
    parametrizations = module.parametrizations[tensor_name]
    if parametrizations.is_tensor:
        original = parametrizations.original
        if leave_parametrized:
            with no_grad():
                value = getattr(module, tensor_name)
            # The same tensor object, so that optimizers go on with it.
            original.data = value.detach()
    elif leave_parametrized:
        value = getattr(module, tensor_name)
        original = Parameter(value) if value.requires_grad else value
    else:
        raise ValueError("Cannot leave unparametrized (`leave_parametrized=False`) a tensor that is parametrized in terms of a sequence of "
                         "tensors.")
    delattr(type(module), tensor_name)
    del module.parametrizations[tensor_name]
    _register_parameter_or_buffer(module, tensor_name, original)
    if not is_parametrized(module):
        delattr(module, "parametrizations")
        module.__class__ = type(module).__bases__[0]
    return module


def type_before_parametrizations(module: Module) -> type:
    """The class that a module had before it was parametrised."""
    return type(module).__bases__[0] if is_parametrized(module) else type(module)


def transfer_parametrizations_and_params(from_module: Any, to_module: Module, tensor_name: str | None = None) -> Module:
    """Give `to_module` copies of the parametrisations (all, or one tensor's) of `from_module`, and its parameters."""
    if not is_parametrized(from_module):
        return to_module
    names = [tensor_name] if tensor_name is not None else list(from_module.parametrizations)
    for name in names:
        if name not in from_module.parametrizations:
            continue
        present = from_module.parametrizations[name]
        if not hasattr(to_module, name):
            setattr(to_module, name, deepcopy(getattr(from_module, name)))
        for parametrization in present:
            register_parametrization(to_module, name, parametrization)
        target = to_module.parametrizations[name]
        if hasattr(present, "original"):
            target.original = present.original
        else:
            for i in range(present.ntensors):
                setattr(target, f"original{i}", getattr(present, f"original{i}"))
    return to_module
