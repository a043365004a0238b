"""How functions and types are spelled in generated code and in printed graphs, which is PyTorch's way.

PyTorch's functions are partly written in C and then live in modules that nobody types (``torch._C._nn.gelu``). Programs compare and store
generated code, so `spelled` gives those names; `torch._C` here knows them. Which functions are written in Python matters, too: what PyTorch
records of a call is then what the function handed on, required arguments by position and all others by name (`recorded`).
"""

from __future__ import annotations

import builtins
import inspect
import types
from collections.abc import Callable
from functools import cache
from typing import Any

from .. import functional, homes
from ..ops.registry import NAMESPACES
from ..tensor import Tensor

__all__ = ["spelled", "own_name", "recorded", "type_name", "is_own_value"]

_IN_C_NN = frozenset(["avg_pool2d", "avg_pool3d", "elu_", "gelu", "hardtanh_", "leaky_relu_", "linear", "one_hot",
                      "scaled_dot_product_attention", "softplus", "softshrink"])
_IN_TORCH = frozenset(["avg_pool1d", "celu_", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
                       "hardshrink", "prelu", "rrelu_", "selu_", "threshold_", "bilinear", "cosine_similarity", "pairwise_distance",
                       "pdist", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "native_channel_shuffle", "adaptive_avg_pool1d",
                       "relu_"])
_POOLS = frozenset(f"{kind}{n}d" for kind in ("max_pool", "adaptive_max_pool")
                   for n in (1, 2, 3)) | {"fractional_max_pool2d", "fractional_max_pool3d"}
_IN_FUNCTIONAL = frozenset(functional._NAMES)
_SPACES = {"linalg": "_C._linalg.linalg_", "fft": "_C._fft.fft_", "special": "_C._special.special_"}
_OTHER_NAMES = {"torch.nn.functional.logsigmoid": "torch._C._nn.log_sigmoid",
                "torch.nn.functional.threshold": "torch.nn.functional._threshold",
                "torch._torch_celu": "torch.celu", "torch._torch_rrelu": "torch.rrelu", "torch._torch_selu": "torch.selu",
                "torch._torch_threshold": "torch.threshold", "torch._public_fill": "torch.fill_", "torch._public_zero": "torch.zero_",
                "torch.range_": "torch.range", "torch.symbolic.cond": "torch.cond", "torch.settings._assert": "torch._assert",
                "torch.settings.typename": "torch.typename", "torch.ops.promotion.result_type": "torch.result_type"}


def is_own_value(value: object) -> bool:
    """Whether something is the package's own, so that generated code reaches it from the name ``torch``."""
    return homes.is_own(getattr(value, "__module__", None))


def _home(module: str) -> str:
    """The name of one of our modules as PyTorch's."""
    first, dot, rest = module.partition(".")
    return "torch" + dot + rest if homes.is_own(first) else module


@cache
def _own(module: str, name: str) -> str:
    """The spelling of one of our functions, by where it says it is from."""
    where = _home(module)
    full = f"{where}.{name}"
    if full in _OTHER_NAMES:
        return _OTHER_NAMES[full]
    if where == "torch.nn.functional":
        return f"torch._C._nn.{name}" if name in _IN_C_NN else f"torch.{name}" if name in _IN_TORCH else full
    if where == "torch" and name in _IN_FUNCTIONAL:
        return f"torch.functional.{name}"
    if where == "torch" and name in _POOLS:
        return f"torch.nn.functional.{name}"
    space = where.removeprefix("torch.")
    return f"torch.{_SPACES[space]}{name}" if space in _SPACES else full


def spelled(function: Any) -> str:
    """The name by which generated code calls a function: "torch.nn.functional.relu", "getattr", "mypackage.f". RuntimeError for a lambda
    whose source cannot be found."""
    name = function.__name__
    if getattr(builtins, name, None) is function:
        return name
    module = getattr(function, "__module__", None)
    if getattr(function, "__qualname__",
               "") == f"Tensor.{name}" or (vars(Tensor).get(name) is function and not _public(function, module, name)):
        return f"torch.Tensor.{name}"
    if module is None:
        raise RuntimeError(f"cannot find module for {function}")
    if homes.is_own(module):
        return _own(module, name).replace("torch._ops.", "torch.ops.")
    if name == "<lambda>":
        try:
            name = inspect.getsource(function).split("=")[0].strip()
        except Exception as error:
            raise RuntimeError("Unable to represent lambda") from error
    return f"{module}.{name}"


def _public(function: Any, module: Any, name: str) -> bool:
    """Whether a function stands under its name in the module that it says it is from, and not only on Tensor."""
    space = NAMESPACES.get(_home(module or "").removeprefix("torch").removeprefix("."))
    return space is not None and space.get(name) is function


def own_name(function: Any) -> str:
    """The last part of a function's spelling: nodes that call it are named after it."""
    if is_own_value(function) and isinstance(getattr(function, "__qualname__", None), str) and not isinstance(function, type):
        return _own(function.__module__, function.__name__).rpartition(".")[2]
    return function.__name__


def recorded(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments that PyTorch records of a call: as they were given for a function in C; for one in Python, the required ones by
    position and all others by name, defaults included."""
    name = spelled(function)
    if not name.startswith(("torch.nn.functional.", "torch.functional.")):
        return args, kwargs
    parameters = _parameters(function)
    short = name.rpartition(".")[2]
    if any(each.kind is each.VAR_POSITIONAL for each in parameters):
        return (args, {**kwargs, "indexing": kwargs.get("indexing")}) if short == "meshgrid" else (args, kwargs)
    if len(args) > len(parameters):
        return args, kwargs
    given = {**{each.name: value for each, value in zip(parameters, args, strict=False)}, **kwargs}
    required = [each.name for each in parameters if each.default is each.empty
                or (each.name == "split_size_or_sections" and each.name in given)]
    others = {each.name: each.default for each in parameters if each.name not in required}
    if not given.keys() <= {*required, *others} or not given.keys() >= set(required):
        return args, kwargs
    for left_out in _LEFT_OUT.get(short, ()):
        if left_out not in given:
            others.pop(left_out, None)
    order = [*_LAST.get(short, ())]
    others = {each: others[each] for each in [*[each for each in others if each not in order], *order]}
    return (tuple([given[each] if each in given else others[each] for each in required]),
            {each: given.get(each, default) for each, default in others.items()})


_LEFT_OUT: dict[str, tuple[str, ...]] = {"l1_loss": ("weight",), "split": ("split_size",)}
_LAST = {"norm": ("dtype",), "multi_head_attention_forward": (
    "use_separate_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight", "static_k", "static_v", "average_attn_weights")}


@cache
def _parameters(function: Callable[..., Any]) -> tuple[inspect.Parameter, ...]:
    return tuple(inspect.signature(function).parameters.values())


def type_name(value: object) -> str:
    """A type as code spells it: "int", "torch.Tensor", "typing.List[int]"."""
    if isinstance(value, type) and not isinstance(value, types.GenericAlias):
        return value.__qualname__ if value.__module__ == "builtins" else f"{_home(value.__module__)}.{value.__qualname__}"
    if value is ...:
        return "..."
    return value.__name__ if isinstance(value, types.FunctionType) else repr(value)
