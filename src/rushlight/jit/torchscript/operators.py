"""The operators that TorchScript code may call: ``torch.*`` and ``ops.prim.*`` by their names.

On tensors they are the operators of `torch.ops.aten`; on numbers, strings, lists and dicts small functions of this file. Which of the two a
call means, PyTorch knows by the types in the text; here the arguments tell. There are no other operators: nothing that reads or writes
files, and nothing that finds Python's objects by name.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from operator import eq, ge, gt, le, lt, ne
from typing import Any

import numpy as np

from ... import dtypes, random
from ...amp.casting import is_autocast_cpu_enabled, is_autocast_enabled
from ...autograd.grad_mode import is_grad_enabled, no_grad, set_grad_enabled
from ...devices import device
from ...futures import Future
from ...layout import channels_last, channels_last_3d, contiguous_format, preserve_format, sparse_coo, sparse_csr, strided
from ...nn import functional
from ...nn.utils import rnn
from ...ops import aten
from ...ops.creation import tensor
from ...tensor import Tensor
from .values import Error, Holder

__all__ = ["BUILTINS", "NUMBER_OF", "find", "item"]

Operator = Callable[..., Any]

# The numbers that stand for dtypes, layouts and memory formats.
_DTYPES = ("uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64", "complex32", "complex64", "complex128", "bool",
           "qint8", "quint8", "qint32", "bfloat16", "quint4x2", "quint2x4", "bits1x8", "bits2x4", "bits4x2", "bits8", "bits16",
           "float8_e5m2", "float8_e4m3fn", "float8_e5m2fnuz", "float8_e4m3fnuz", "uint16", "uint32", "uint64")
_CONTAINERS = (list, dict, str, tuple)
_LAYOUTS = {0: strided, 1: sparse_coo, 2: sparse_csr}
_FORMATS = {0: contiguous_format, 1: preserve_format, 2: channels_last, 3: channels_last_3d}
# Where a dtype stands among the arguments by place.
_DTYPE_AT = {"softmax": 2, "log_softmax": 2, "to_dense": 1, "to_sparse": 1}
# Operators of PyTorch's registry that touch files or threads.
_NEVER = frozenset(("from_file", "save", "load", "share_memory_", "set_data", "backward", "retain_grad", "rename_", "set_",
                    "record_stream"))


def _dtype(number: Any) -> Any:
    if number.__class__ is not int:
        return number
    found = dtypes.DTYPES.get(_DTYPES[number]) if 0 <= number < len(_DTYPES) else None
    if found is None:
        raise Error(f"rushlight has no dtype of the number {number} ({_DTYPES[number] if 0 <= number < len(_DTYPES) else 'unknown'})")
    return found


def _number_of_dtype(value: Any) -> int:
    return _DTYPES.index(value.name)


def _layout(number: Any) -> Any:
    return _LAYOUTS.get(number, strided) if number.__class__ is int else number


def _format(number: Any) -> Any:
    return _FORMATS.get(number, contiguous_format) if number.__class__ is int else number


_MEANINGS: dict[str, Operator] = {"dtype": _dtype, "out_dtype": _dtype, "layout": _layout, "memory_format": _format}


# --- on plain values ------------------------------------------------------------------------------------------------------------------

def _add(a: Any, b: Any) -> Any:
    return a + b


def _remainder(a: Any, b: Any) -> Any:
    return a % b


def _power(a: Any, b: Any) -> Any:
    result = a ** b
    return float(result) if isinstance(result, int) else result


def _derived(index: int, start: int, step: int) -> int:
    return start + index * step


def _bounded(length: int, start: int | None, end: int | None, step: int) -> slice:
    return slice(start, None if end is None or end >= length else end, step)


def _sliced(value: Any, start: int | None = None, end: int | None = None, step: int = 1) -> Any:
    return value[_bounded(len(value), start, end, step)]


def _formatted(text: str, *values: Any) -> str:
    parts = text.split("{}")
    if len(parts) - 1 != len(values):
        raise Error("Too few arguments for format string" if len(parts) - 1 > len(values) else "Too many arguments for format string")
    return "".join([each for pair in zip(parts, [*map(str, values), ""], strict=True) for each in pair])


def _percent(text: str, *values: Any) -> str:
    return text % values


def _insert(values: list[Any], index: int, value: Any) -> None:
    values.insert(index, value)


def _set(container: Any, key: Any, value: Any) -> Any:
    container[key] = value
    return container


def _delete(container: Any, key: Any) -> None:
    del container[key]


def item(container: Any, key: Any) -> Any:
    """``container[key]`` of lists, tuples, dicts and strings."""
    if isinstance(container, (list, tuple, dict, str)):
        return container[key]
    raise Error(f"a {type(container).__name__} has no items here")


def _appended(values: list[Any], value: Any) -> list[Any]:
    values.append(value)
    return values


def _emptied(values: Any) -> None:
    values.clear()


def _listed(value: Any) -> list[Any]:
    return list(value)


def _sort(values: list[Any], *arguments: Any, **options: Any) -> None:
    reverse = options.get("reverse", arguments[-1] if arguments else False)
    if values and isinstance(values[0], Holder):
        raise Error("instances of classes can't be sorted")
    values.sort(reverse=bool(reverse))


def _sorted(values: Any) -> list[Any]:
    made = list(values)
    _sort(made)
    return made


def _same(a: Any, b: Any) -> bool:
    return a is b


def _other(a: Any, b: Any) -> bool:
    return a is not b


def _has(container: Any, value: Any) -> bool:
    return value in container


def _not(value: Any) -> bool:
    return not value


def _range_length(start: int, end: int, step: int) -> int:
    if step == 0:
        raise Error("range() arg 3 must not be zero")
    return len(range(start, end, step))


def _rounded(value: float, digits: int | None = None) -> Any:
    return float(round(value, digits or 0))


def _found(text: str, part: str, start: int = 0, end: int = -1) -> int:
    return text.find(part, start, len(text) if end == -1 else end)


def _warn(message: str, *options: Any, **more: Any) -> None:
    warnings.warn(message, UserWarning, stacklevel=3)


def _waited(future: Any) -> Any:
    if not isinstance(future, Future):
        raise Error("wait takes a Future")
    return future.wait()


def _seeded(seed: int) -> None:
    random.manual_seed(seed)


def _of_strings(*names: str) -> dict[str, Operator]:
    """Methods of strings, by their names, as functions."""
    return {name: getattr(str, name) for name in names}


_VALUES: dict[str, Operator] = {
    "add": _add, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "div": lambda a, b: a / b, "floordiv": lambda a, b: a // b,
    "floor_divide": lambda a, b: a // b, "remainder": _remainder, "fmod": math.fmod, "pow": _power, "neg": lambda a: -a, "abs": abs,
    "eq": eq, "ne": ne, "lt": lt, "le": le, "gt": gt, "ge": ge, "__and__": lambda a, b: a & b, "__or__": lambda a, b: a | b,
    "__xor__": lambda a, b: a ^ b, "__lshift__": lambda a, b: a << b, "__rshift__": lambda a, b: a >> b, "bitwise_not": lambda a: ~a,
    "add_": lambda a, b: a.__iadd__(b), "mul_": lambda a, b: a.__imul__(b), "logical_not": _not, "ceil": math.ceil, "floor": math.floor,
    "trunc": math.trunc, "round": _rounded, "sqrt": math.sqrt, "exp": math.exp, "expm1": math.expm1, "log": math.log, "log10": math.log10,
    "log1p": math.log1p, "log2": math.log2, "sin": math.sin, "cos": math.cos, "tan": math.tan, "asin": math.asin, "acos": math.acos,
    "atan": math.atan, "atan2": math.atan2, "sinh": math.sinh, "cosh": math.cosh, "tanh": math.tanh, "asinh": math.asinh,
    "acosh": math.acosh, "atanh": math.atanh, "degrees": math.degrees, "radians": math.radians, "gcd": math.gcd, "gamma": math.gamma,
    "erf": math.erf, "erfc": math.erfc, "lgamma": math.lgamma, "factorial": math.factorial, "copysign": math.copysign,
    "isnan": math.isnan, "isinf": math.isinf, "isfinite": math.isfinite, "fabs": math.fabs, "modf": math.modf, "frexp": math.frexp,
    "ldexp": math.ldexp, "sum": sum, "all": all, "any": any, "slice": _sliced, "append": _appended, "extend": lambda a, b: a.extend(b),
    "insert": _insert, "pop": lambda a, *key: a.pop(*key), "remove": lambda a, value: a.remove(value), "clear": _emptied,
    "reverse": lambda a: a.reverse(), "sort": _sort, "copy": lambda a: a.copy(), "count": lambda a, *rest: a.count(*rest),
    "index": lambda a, *rest: a.index(*rest), "sorted": _sorted, "list": _listed, "get": lambda a, *rest: a.get(*rest),
    "split": lambda text, *rest: text.split(*rest), "keys": lambda a: list(a.keys()), "values": lambda a: list(a.values()),
    "items": lambda a: list(a.items()),
    "popitem": lambda a: a.popitem(), "setdefault": lambda a, *rest: a.setdefault(*rest), "update": lambda a, b: a.update(b),
    "find": _found, "select": item,
    **_of_strings("upper", "lower", "strip", "lstrip", "rstrip", "startswith", "endswith", "replace", "splitlines", "join", "capitalize",
                  "title", "swapcase", "isdigit", "isalpha", "isalnum", "isspace", "isupper", "islower", "isdecimal", "isnumeric",
                  "isidentifier", "istitle", "isprintable", "center", "ljust", "rjust", "zfill", "expandtabs", "partition", "rpartition",
                  "rsplit", "rfind", "rindex", "casefold"),
}

# The same for every kind of value.
_ALWAYS: dict[str, Operator] = {
    "__is__": _same, "__isnot__": _other, "__not__": _not, "__contains__": _has, "__getitem__": item, "_set_item": _set, "Delete": _delete,
    "len": len, "format": _formatted, "percentFormat": _percent, "str": str, "ord": ord, "chr": chr, "hex": hex, "oct": oct, "bin": bin,
    "dict": dict, "__range_length": _range_length, "__derive_index": _derived, "is_grad_enabled": is_grad_enabled, "wait": _waited,
    "set_grad_enabled": lambda mode: set_grad_enabled(mode) and None, "warn": _warn, "manual_seed": _seeded, "device": device, "Size": list,
    "is_scripting": lambda: True, "__interpolate": functional.interpolate, "__upsample": functional.interpolate,
    "is_autocast_enabled": is_autocast_enabled, "is_autocast_cpu_enabled": is_autocast_cpu_enabled,
    "divmod": divmod, "mathremainder": math.remainder, "_infer_size": lambda a, b: list(np.broadcast_shapes(tuple(a), tuple(b))),
    "__round_to_zero_floordiv": lambda a, b: int(a / b),
    "__upsample_nearest": lambda x, size=None, scale=None: functional.interpolate(x, size, scale, "nearest"),
    "__upsample_bilinear": lambda x, size=None, scale=None: functional.interpolate(x, size, scale, "bilinear", align_corners=True),
    "list_with_default": lambda size, default: [b if a is None else a for a, b in zip(size, default, strict=True)],
    "broadcast_shapes": lambda *sizes: list(np.broadcast_shapes(*map(tuple, sizes))),
}


def _raised(message: str = "", cls: str = "") -> None:
    raise Error(f"{cls.rpartition('.')[2]}: {message}" if cls else message)


def _unwrapped(value: Any) -> Any:
    if value is None:
        raise Error("Unwrapping null optional")
    return value


_ALWAYS["_unwrap_optional"] = _unwrapped


def _smallest(*values: Any) -> Any:
    return min(*values)


def _largest(*values: Any) -> Any:
    return max(*values)


def _is_on(kind: str) -> Operator:
    return lambda x: x.device.type == kind


_PRIM: dict[str, Operator] = {
    "data": lambda x: x.detach(), "device": lambda x: x.device, "dtype": lambda x: _number_of_dtype(x.dtype), "layout": lambda x: 0,
    "requires_grad": lambda x: x.requires_grad, "grad": lambda x: x.grad, "NumToTensor": tensor, "RaiseException": _raised,
    "min": _smallest, "max": _largest, "abs": abs, "unchecked_unwrap_optional": _unwrapped, "rangelist": lambda n: list(range(n)),
    "type": lambda x: x.type, "index": lambda x: x.index, "name": lambda x: None, "itemsize": lambda x: x.element_size(),
    "nbytes": lambda x: x.nbytes, "is_sparse": lambda x: x.is_sparse, "is_quantized": lambda x: False, "is_mkldnn": lambda x: False,
    "is_nested": lambda x: x.is_nested, "StringIndex": item, "is_sparse_csr": lambda x: x.is_sparse_csr,
    "IfThenElse": lambda condition, a, b: a if condition else b, "tolist": lambda x, *kind: x.tolist(), "is_leaf": lambda x: x.is_leaf,
    **{f"is_{kind}": _is_on(kind) for kind in ("cpu", "cuda", "meta", "mps", "xpu", "xla", "vulkan", "ipu", "ort", "hpu", "maia", "mtia")},
}


# --- on tensors -----------------------------------------------------------------------------------------------------------------------

def _to(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """The overloads of ``to``: another tensor, a device, a dtype (a number), or both; then non_blocking, copy, memory_format."""
    given = dict(kwargs)
    rest = list(args)
    if rest and isinstance(rest[0], Tensor):
        other = rest.pop(0)
        given["device"], given["dtype"] = other.device, other.dtype
    else:
        if rest and (rest[0] is None or isinstance(rest[0], (device, str))):
            given["device"] = rest.pop(0)
        if rest and not isinstance(rest[0], bool):
            given["dtype"] = rest.pop(0)
    given |= dict(zip(("non_blocking", "copy", "memory_format"), rest, strict=False))
    options: dict[str, Any] = {key: value for key, value in (("device", given.get("device")), ("dtype", _dtype(given.get("dtype"))),
                                                             ("memory_format", _format(given.get("memory_format")))) if value is not None}
    return x.to(copy=bool(given.get("copy")), **options)


def _tensor(data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    return tensor(data, dtype=_dtype(dtype), device=device, requires_grad=requires_grad)


def _as_tensor(data: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
    return _to(data, device, dtype) if isinstance(data, Tensor) else _tensor(data, dtype=dtype, device=device)


def _renorm(weight: Tensor, input: Tensor, max_norm: float, norm_type: float) -> Tensor:
    with no_grad():
        return aten.embedding_renorm_(weight, input, max_norm, norm_type)


def _no_nested(*arguments: Any) -> Tensor:
    raise Error("nested tensors of archives are not supported: the mask is applied to padded tensors instead")


def _to_complex(*parts: Any) -> complex:
    return complex(*[each.item() if isinstance(each, Tensor) else each for each in parts])


def _packed(x: Tensor, lengths: Tensor, batch_first: bool) -> tuple[Tensor, Tensor]:
    found = rnn.pack_padded_sequence(x, lengths, batch_first)
    return found.data, found.batch_sizes


def _padded(data: Tensor, sizes: Tensor, batch_first: bool, value: float, total: int) -> tuple[Tensor, Tensor]:
    found = rnn.PackedSequence(data, sizes)
    return rnn.pad_packed_sequence(found, batch_first, value, total if total > 0 else None)


def _cast(number: int) -> Operator:
    return lambda x, non_blocking=False: x.to(_dtype(number))


def _weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    others = [i for i in range(v.dim()) if i != dim % v.dim()]
    return v * (g / (v * v).sum(others, keepdim=True).sqrt())


def _quietly(name: str) -> Operator:
    """A method that changes a tensor in place, without a gradient."""
    def call(x: Tensor, *numbers: float) -> Tensor:
        with no_grad():
            return getattr(aten, name)(x, *numbers)
    return call


_TENSORS: dict[str, Operator] = {
    "_pack_padded_sequence": _packed, "_pad_packed_sequence": _padded, "_weight_norm": _weight_norm, "is_leaf": lambda x: x.is_leaf,
    "pad_sequence": lambda parts, batch_first=False, value=0.0, side="right": rnn.pad_sequence(parts, batch_first, value, side),
    "nonzero_numpy": lambda x: list(x.nonzero(as_tuple=True)), "linalg_matmul": lambda a, b: a @ b, "_stack": aten.stack,
    "_shape_as_tensor": lambda x: tensor(list(x.shape), dtype=dtypes.int64), "Complex": _to_complex, "ComplexImplicit": _to_complex,
    **{f"_no_grad_{name}": _quietly(name) for name in ("uniform_", "normal_", "fill_", "zero_")},
    **{f"_cast_{name}": _cast(dtype) for name, dtype in (("Float", 6), ("Double", 7), ("Half", 5), ("Int", 3), ("Long", 4), ("Byte", 0))},
    "to": _to, "tensor": _tensor, "as_tensor": _as_tensor, "_no_grad_embedding_renorm_": _renorm, "cpu": lambda x: x.cpu(),
    "cuda": lambda x: x.cuda(),
    # The encoder's code asks whether it may pack what a mask hides away; it goes on with padded tensors where it may not.
    "_nested_tensor_from_mask_left_aligned": lambda x, mask: False, "_nested_tensor_from_mask": _no_nested, "to_padded_tensor": _no_nested,
    "Int": int, "Float": float, "Bool": bool, "ScalarImplicit": lambda x: x.item(), "IntImplicit": int, "FloatImplicit": float,
    "size": lambda x, *dim: list(x.shape) if not dim else x.shape[dim[0]], "dim": lambda x: x.dim(), "numel": lambda x: x.numel(),
    "item": lambda x: x.item(), "stride": lambda x, *dim: x.stride(*dim) if dim else list(x.stride()),
    "get_device": lambda x: x.get_device(),
    "is_floating_point": lambda x: x.is_floating_point(), "is_complex": lambda x: x.is_complex(),
    "requires_grad_": lambda x, mode=True: x.requires_grad_(mode),
    "type_as": lambda x, other: x.type_as(other), "element_size": lambda x: x.element_size(), "float": lambda x: x.float(),
}


def _with_meanings(name: str, packet: Operator) -> Operator:
    """An operator some of whose arguments are numbers that stand for dtypes, layouts or memory formats."""
    place = _DTYPE_AT.get(name, -1)

    def call(*args: Any, **kwargs: Any) -> Any:
        if len(args) > place >= 0:
            args = (*args[:place], _dtype(args[place]), *args[place + 1:])
        if kwargs:
            kwargs = {key: _MEANINGS[key](value) if key in _MEANINGS else value for key, value in kwargs.items()}
            if kwargs.get("pin_memory", 0) is None:
                del kwargs["pin_memory"]
        return packet(*args, **kwargs)
    return call


def _on_tensors(name: str) -> Operator | None:
    if name in _TENSORS:
        return _TENSORS[name]
    if name in _NEVER or name.startswith("__") and name not in dir(aten):
        return None
    try:
        packet = getattr(aten, name)
    except AttributeError:
        return None
    if not isinstance(packet, aten.OpOverloadPacket):
        return None
    named = any(each in _MEANINGS or each == "kwargs" for each in packet.parameters)
    return _with_meanings(name, packet) if named else packet


def _floored(div: Operator) -> Operator:
    """Division as archives before PyTorch 1.6 mean it: of whole numbers the quotient without its fraction."""
    def call(a: Any, b: Any, **options: Any) -> Any:
        whole = all(not each.is_floating_point() if isinstance(each, Tensor) else isinstance(each, int) for each in (a, b))
        return div(a, b, rounding_mode="trunc") if whole and not options else div(a, b, **options)
    return call


def _chosen(name: str, values: Operator, tensors: Operator) -> Operator:
    """The form of an operator that fits the arguments: the first one decides, and beside a number the second."""
    def call(*args: Any, **kwargs: Any) -> Any:
        if args:
            first = args[0]
            if isinstance(first, Tensor) or len(args) > 1 and isinstance(args[1], Tensor) and not isinstance(first, _CONTAINERS):
                return tensors(*args, **kwargs)
            return values(*args, **kwargs)
        return tensors(*args, **kwargs)
    call.__name__ = name
    return call


def _in_floats(full: Operator) -> Operator:
    """`full` as archives before PyTorch 1.7 mean it: of a whole number, in floats where no dtype is given."""
    def call(size: Any, value: Any, **options: Any) -> Any:
        return full(size, float(value) if options.get("dtype") is None and not isinstance(value, complex) else value, **options)
    return call


# What operators meant before a version of the format.
_BEFORE: dict[str, tuple[int, Callable[[Operator], Operator]]] = {
    "div": (4, _floored), "div_": (4, _floored), "full": (5, _in_floats)}
_known: dict[tuple[str, int], Operator | None] = {}


def find(full: str, version: int = 10) -> Operator | None:
    """The operator ``torch.NAME`` or ``ops.prim.NAME``, as archives of a version mean it; None where there is none."""
    if (full, version) not in _known:
        _known[full, version] = _find(full, version)
    return _known[full, version]


def _find(full: str, version: int) -> Operator | None:
    namespace, _, name = full.rpartition(".")
    if namespace == "ops.prim":
        return _PRIM.get(name)
    if namespace not in ("torch", "ops.aten", "torch.jit"):
        return None
    if name in _ALWAYS:
        return _ALWAYS[name]
    values, tensors = _VALUES.get(name), _on_tensors(name)
    if name in _BEFORE and version < _BEFORE[name][0] and tensors is not None:
        tensors = _BEFORE[name][1](tensors)
    if values is None or tensors is None:
        return values or tensors
    return _chosen(name, values, tensors)


# --- what has a name of its own -------------------------------------------------------------------------------------------------------

def _to_int(value: Any, base: int | None = None) -> int:
    if not isinstance(value, (Tensor, int, float, str, bool)):
        raise Error(f"a {type(value).__name__} is no number")
    return int(value) if base is None else int(value, base)  # type: ignore[arg-type]


def _to_float(value: Any) -> float:
    if not isinstance(value, (Tensor, int, float, str, bool)):
        raise Error(f"a {type(value).__name__} is no number")
    return float(value)


NUMBER_OF: dict[str, Operator] = {"int": int, "float": float, "bool": bool, "complex": _to_complex, "number": lambda x: x.item(),
                                  "Scalar": lambda x: x.item()}

BUILTINS: dict[str, Operator] = {"int": _to_int, "float": _to_float, "bool": bool, "complex": _to_complex, "str": str, "print": print,
                                 "range": range, "len": len, "sorted": _sorted, "min": _smallest, "max": _largest, "abs": abs,
                                 "round": round, "all": all, "any": any, "list": list, "dict": dict, "ord": ord, "chr": chr,
                                 "divmod": divmod}
