"""state_dict and load_state_dict of Module, with their hooks."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from weakref import ref

from ... import __future__
from ...autograd.grad_mode import no_grad
from ...hooks import RemovableHandle
from ...tensor import Tensor
from ...utils._swap import swap_tensors
from ...vocabulary import Function, Operand
from ..parameter import Parameter, is_lazy

if TYPE_CHECKING:
    from ...nn.modules.module import Module
    from ...nn.utils.parametrizations import _OldNames
    from ...nn.utils.spectral_norm import _LoadOld, _SaveVersion

__all__ = ["State", "IncompatibleKeys"]

_EXTRA = "_extra_state"
_UNREACHABLE = ("Reached a code path in Module.{}() that should never be called. Please file an issue at "
                "https://github.com/pytorch/pytorch/issues/new?template=bug-report.yml to report this bug.")


class IncompatibleKeys(namedtuple("IncompatibleKeys", ["missing_keys", "unexpected_keys"])):
    """What `load_state_dict` returns: the keys that were missing and those nobody expected."""

    __slots__ = ()

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return super().__repr__()

    __str__ = __repr__


# The class that the namedtuple's printed form names.
IncompatibleKeys.__name__ = IncompatibleKeys.__qualname__ = "_IncompatibleKeys"


class _WithModule:
    """A load hook that gets the module, which has it, as its first argument (picklable, so that modules with hooks can be copied)."""

    def __init__(self, hook: Callable[..., Any], module: Module) -> None:
        self.hook, self.module = hook, ref(module)

    def __call__(self, *args: Any) -> Any:
        module = self.module()
        if module is None:
            raise RuntimeError("You are trying to call the hook of a dead Module!")
        return self.hook(module, *args)

    def __getstate__(self) -> Any:
        return self.hook, self.module()

    def __setstate__(self, state: Any) -> None:
        self.__init__(*state)       # type: ignore[misc]


class State:
    """The part of Module that saves and loads its state."""

    _version: int
    _parameters: dict[str, Any]
    _buffers: dict[str, Any]
    _modules: dict[str, Any]
    _non_persistent_buffers_set: set[str]
    _state_dict_hooks: OrderedDict[int, Any]
    _state_dict_pre_hooks: OrderedDict[int, Any]
    _load_state_dict_pre_hooks: OrderedDict[int, Any]
    _load_state_dict_post_hooks: OrderedDict[int, Any]

    # --- hooks ----------------------------------------------------------------------------------------------------------------------

    def _register_state_dict_hook(self, hook: Function | _SaveVersion) -> RemovableHandle:
        """Call ``hook(module, state_dict, prefix, local_metadata)`` after state_dict; it may return another state_dict."""
        if getattr(hook, "_from_public_api", False):
            raise RuntimeError("Cannot register the same function as the state dict post hook that was previously registered via "
                               "register_state_dict_post_hook")
        return RemovableHandle.into(self._state_dict_hooks, hook)

    def register_state_dict_post_hook(self, hook: Any) -> RemovableHandle:
        """Call ``hook(module, state_dict, prefix, local_metadata)`` after state_dict; it changes the state_dict in place."""
        hook._from_public_api = True
        return RemovableHandle.into(self._state_dict_hooks, hook)

    def register_state_dict_pre_hook(self, hook: Function) -> RemovableHandle:
        """Call ``hook(module, prefix, keep_vars)`` before state_dict."""
        return RemovableHandle.into(self._state_dict_pre_hooks, hook)

    def _register_load_state_dict_pre_hook(self, hook: Function | _LoadOld | _OldNames, with_module: bool = False) -> RemovableHandle:
        """Call ``hook(state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)`` before this module loads."""
        return RemovableHandle.into(self._load_state_dict_pre_hooks, _WithModule(hook, self) if with_module else hook)

    def register_load_state_dict_pre_hook(self, hook: Function) -> RemovableHandle:
        """Call ``hook(module, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)`` before this module
        loads."""
        return self._register_load_state_dict_pre_hook(hook, with_module=True)

    def register_load_state_dict_post_hook(self, hook: Function) -> RemovableHandle:
        """Call ``hook(module, incompatible_keys)`` after this module has loaded; it may change incompatible_keys in place."""
        return RemovableHandle.into(self._load_state_dict_post_hooks, hook)

    def get_extra_state(self) -> Any:
        """Override it (and `set_extra_state`) to keep something of your own in the state_dict; it should be picklable."""
        raise RuntimeError(_UNREACHABLE.format("get_extra_state"))

    def set_extra_state(self, state: int) -> None:
        """Override it to take back what `get_extra_state` returned."""
        raise RuntimeError(_UNREACHABLE.format("set_extra_state"))

    # --- saving ---------------------------------------------------------------------------------------------------------------------

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        """Put this module's own parameters, persistent buffers and extra state into `destination`."""
        for name, param in self._parameters.items():
            if param is not None:
                destination[prefix + name] = param if keep_vars else param.detach()
        for name, buf in self._buffers.items():
            if buf is not None and name not in self._non_persistent_buffers_set:
                destination[prefix + name] = buf if keep_vars else buf.detach()
        if type(self).get_extra_state is not State.get_extra_state:
            destination[prefix + _EXTRA] = self.get_extra_state()

    def state_dict(self, *args: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> Any:
        """Parameters and persistent buffers of this module and its children by name, as an OrderedDict of (detached) tensors.

        prefix     put before every name
        keep_vars  the parameters themselves instead of detached tensors
        """
        if args:
            import warnings
            warnings.warn("Positional args are being deprecated, use kwargs instead. Refer to "
                          "https://pytorch.org/docs/main/generated/torch.nn.Module.html#torch.nn.Module.state_dict for details.",
                          FutureWarning, stacklevel=2)
            destination = args[0] if destination is None else destination
            prefix = args[1] if len(args) > 1 and prefix == "" else prefix
            keep_vars = args[2] if len(args) > 2 and keep_vars is False else keep_vars
        if destination is None:
            destination = OrderedDict()
            destination._metadata = OrderedDict()
        local_metadata = {"version": self._version}
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]] = local_metadata
        for hook in self._state_dict_pre_hooks.values():
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, module in self._modules.items():
            if module is not None:
                module.state_dict(destination=destination, prefix=prefix + name + ".", keep_vars=keep_vars)
        for hook in self._state_dict_hooks.values():
            result = hook(self, destination, prefix, local_metadata)
            if getattr(hook, "_from_public_api", False):
                if result is not None:
                    raise RuntimeError("state_dict post-hook must return None")
            elif result is not None:
                destination = result
        return destination

    # --- loading --------------------------------------------------------------------------------------------------------------------

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, local_metadata: dict[Any, Any], strict: bool,
                              missing_keys: list[str],
                              unexpected_keys: list[str], error_msgs: list[str]) -> None:
        """Copy this module's own values out of `state_dict`; what goes wrong is appended to the three lists."""
        for hook in self._load_state_dict_pre_hooks.values():
            hook(state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)
        persistent = {k: v for k, v in self._buffers.items() if k not in self._non_persistent_buffers_set}
        local = {k: v for k, v in (*self._parameters.items(), *persistent.items()) if v is not None}
        assign = local_metadata.get("assign_to_params_buffers", False)
        for name, param in local.items():
            key = prefix + name
            if key in state_dict:
                problem = self._load_one(name, key, param, state_dict[key], assign)
                if problem:
                    error_msgs.append(problem)
            elif strict:
                missing_keys.append(key)
        extra_key = prefix + _EXTRA
        if type(self).set_extra_state is not State.set_extra_state:
            if extra_key in state_dict:
                self.set_extra_state(state_dict[extra_key])
            elif strict:
                missing_keys.append(extra_key)
        elif strict and extra_key in state_dict:
            unexpected_keys.append(extra_key)
        if strict:
            for key in state_dict:
                if key.startswith(prefix) and key != extra_key:
                    head, dot, _ = key[len(prefix):].partition(".")
                    if head not in (self._modules if dot else local):
                        unexpected_keys.append(key)

    def _load_one(self, name: str, key: str, param: Tensor, value: Operand, assign: bool) -> str | None:
        """Copy (or assign) one value; returns a description of the problem if there is one."""
        if not isinstance(value, Tensor):
            return (f'While copying the parameter named "{key}", expected torch.Tensor or Tensor-like object from checkpoint but received '
                    f"{type(value)}")
        lazy = is_lazy(param)
        if lazy and is_lazy(value):
            return None     # neither has values yet
        if not lazy and param.dim() == 0 and value.dim() == 1 and value.numel() == 1:
            value = value[0]  # zero-dimensional parameters were once saved with one dimension
        if not lazy and param.shape != value.shape:
            return (f"size mismatch for {key}: copying a param with shape {value.shape} from checkpoint, the shape in current model is "
                    f"{param.shape}.")
        if param.is_meta and not value.is_meta and not assign:
            import warnings
            warnings.warn(f"for {key}: copying from a non-meta parameter in the checkpoint to a meta parameter in the current model, "
                          "which is a no-op. (Did you mean to pass `assign=True` to assign items in the state dictionary to their "
                          "corresponding key in the module instead of copying them in place?)", stacklevel=2)
        try:
            with no_grad():
                if __future__.get_swap_module_params_on_conversion():
                    _swap_in(param, value, assign)
                elif assign:
                    self._assign_one(name, param, value)
                else:
                    param.copy_(value)
        except Exception as error:
            return (f'While copying the parameter named "{key}", whose dimensions in the model are {param.size()} and whose dimensions in '
                    'the '
                    f"checkpoint are {value.size()}, an exception occurred : {error.args}.")
        return None

    def _assign_one(self, name: str, param: Tensor, value: Tensor) -> None:
        if isinstance(param, Parameter):
            if isinstance(value, Parameter):
                value.requires_grad_(param.requires_grad)
            else:
                value = Parameter(value, requires_grad=param.requires_grad)
        setattr(self, name, value)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> IncompatibleKeys:
        """Copy values from a state_dict into this module and its children.

        strict  RuntimeError unless the keys are exactly those of ``self.state_dict()``
        assign  use the state_dict's tensors themselves (their dtype and device) instead of copying into the present ones

        Returns a named tuple (missing_keys, unexpected_keys).
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        missing_keys: list[str] = []
        unexpected_keys: list[str] = []
        error_msgs: list[str] = []
        metadata = getattr(state_dict, "_metadata", None)
        state: Any = OrderedDict(state_dict)
        if metadata is not None:
            state._metadata = metadata
        _load(self, state, metadata, "", assign, (missing_keys, unexpected_keys, error_msgs))
        if strict:
            if unexpected_keys:
                error_msgs.insert(0, "Unexpected key(s) in state_dict: {}. ".format(", ".join(f'"{k}"' for k in unexpected_keys)))
            if missing_keys:
                error_msgs.insert(0, "Missing key(s) in state_dict: {}. ".format(", ".join(f'"{k}"' for k in missing_keys)))
        if error_msgs:
            raise RuntimeError("Error(s) in loading state_dict for {}:\n\t{}".format(type(self).__name__, "\n\t".join(error_msgs)))
        return IncompatibleKeys(missing_keys, unexpected_keys)


def _swap_in(param: Any, value: Any, assign: bool) -> None:
    """The parameter becomes what ``param.module_load(value)`` makes of the value, and stays the object it is."""
    new = param.module_load(value, assign=assign)
    if new is value or new is param:
        raise RuntimeError("module_load returned one of self or other, please .detach() the result if returning one of the inputs in "
                           "module_load")
    if isinstance(param, Parameter):
        new = new.requires_grad_(param.requires_grad) if isinstance(new, Parameter) else Parameter(new, requires_grad=param.requires_grad)
    swap_tensors(param, new)


def _load(module: Module, state: Any, metadata: Any, prefix: str, assign: bool, lists: tuple[Any, ...]) -> None:
    """Load one module, then its children, each with the part of the state_dict that is theirs."""
    local_metadata = {} if metadata is None else dict(metadata.get(prefix[:-1], {}))
    if assign:
        local_metadata["assign_to_params_buffers"] = assign
    # True: what is missing or unexpected is reported in any case; whether it is an error is decided at the end.
    module._load_from_state_dict(state, prefix, local_metadata, True, *lists)
    for name, child in module._modules.items():
        if child is not None:
            child_prefix = prefix + name + "."
            child_state = {k: v for k, v in state.items() if k.startswith(child_prefix)}
            _load(child, child_state, metadata, child_prefix, assign, lists)
    keys = IncompatibleKeys(lists[0], lists[1])
    for hook in module._load_state_dict_post_hooks.values():
        if hook(module, keys) is not None:
            raise AssertionError("Hooks registered with ``register_load_state_dict_post_hook`` are not expected to return new values, if "
                                 "incompatible_keys need to be modified, it should be done inplace.")
