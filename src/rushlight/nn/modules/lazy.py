"""`LazyModuleMixin`: modules that learn their sizes from their first input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..parameter import is_lazy

if TYPE_CHECKING:
    from ...nn.modules.module import Module
    from ...tensor import Tensor

__all__ = ["LazyModuleMixin"]


class LazyModuleMixin:
    """Makes a Module lazy. The class gives

    cls_to_become          the class it turns into after the first forward
    initialize_parameters  called with the arguments of the first forward; materialises the uninitialised parameters
    """

    cls_to_become: Any = None

    def __init__(self: Module, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._load_hook = self._register_load_state_dict_pre_hook(self._lazy_load_hook)
        self._initialize_hook = self.register_forward_pre_hook(self._infer_parameters, with_kwargs=True)

    def _save_to_state_dict(self: Any, destination: Any, prefix: str, keep_vars: bool) -> None:
        for name, param in self._parameters.items():
            if param is not None:
                destination[prefix + name] = param if is_lazy(param) or keep_vars else param.detach()
        for name, buf in self._buffers.items():
            if buf is not None and name not in self._non_persistent_buffers_set:
                destination[prefix + name] = buf if is_lazy(buf) or keep_vars else buf.detach()

    def _lazy_load_hook(self: Any, state_dict: dict[str, Any], prefix: str, local_metadata: Any, strict: bool, missing_keys: Any,
                        unexpected_keys: Any,
                        error_msgs: Any) -> None:
        """Before values are loaded, the parameters take the shapes that the values have."""
        for name, param in (*self._parameters.items(), *self._buffers.items()):
            key = prefix + name
            if key in state_dict and param is not None and is_lazy(param) and not is_lazy(state_dict[key]):
                param.materialize(state_dict[key].shape)

    def initialize_parameters(self, *args: Any, **kwargs: Any) -> None:
        """Materialise the parameters for these arguments of forward; every lazy module defines it."""
        raise NotImplementedError(f"initialize_parameters is not implemented for {type(self).__name__}")

    def has_uninitialized_params(self: Module) -> bool:
        """Whether a parameter or buffer is still uninitialised."""
        return any(is_lazy(t) for t in (*self._parameters.values(), *self._buffers.values()))

    def _infer_parameters(self: Module, module: Module, args: tuple[Tensor, ...], kwargs: dict[Any, Any] | None = None) -> None:
        """The forward pre-hook: initialise, then become the ordinary class and forget about being lazy."""
        module.initialize_parameters(*args, **(kwargs or {}))
        if module.has_uninitialized_params():
            raise RuntimeError(f"module {self._get_name()} has not been fully initialized")
        module._initialize_hook.remove()
        module._load_hook.remove()
        delattr(module, "_initialize_hook")
        delattr(module, "_load_hook")
        if module.cls_to_become is not None:
            module.__class__ = module.cls_to_become
        module.__dict__["_plain"] = not (module._forward_hooks or module._forward_pre_hooks or module._backward_hooks
                                         or module._backward_pre_hooks)

    def _replicate_for_data_parallel(self) -> Any:
        raise RuntimeError("Modules with uninitialized parameters can't be used with `DataParallel`. Run a dummy forward pass to correctly "
                           "initialize the modules")
