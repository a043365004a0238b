"""`MaskedTensor`: a tensor and a mask that go through operations together. Elementwise operations and reductions, the basics of
PyTorch's."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from ...nn._torch import torch
from ...tensor import Tensor
from ...vocabulary import Function

__all__ = ["MaskedTensor", "as_masked_tensor", "is_masked_tensor", "masked_tensor"]

_UNARY = frozenset(["abs", "absolute", "acos", "arccos", "acosh", "arccosh", "angle", "asin", "arcsin", "asinh", "arcsinh", "atan",
                    "arctan", "atanh", "arctanh", "bitwise_not", "ceil", "clamp", "clip", "conj_physical", "cos", "cosh", "deg2rad",
                    "digamma", "erf", "erfc", "erfinv", "exp", "exp2", "expm1", "fix", "floor", "frac", "lgamma", "log", "log10", "log1p",
                    "log2", "logit", "i0", "isnan", "nan_to_num", "neg", "negative", "positive", "pow", "rad2deg", "reciprocal", "round",
                    "rsqrt", "sigmoid", "sign", "sgn", "signbit", "sin", "sinc", "sinh", "sqrt", "square", "tan", "tanh", "trunc", "detach",
                    "clone", "contiguous", "to", "float", "double", "half", "int", "long", "bool", "type", "relu"])
_BINARY = frozenset(["add", "atan2", "arctan2", "bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_left_shift", "bitwise_right_shift",
                     "div", "divide", "floor_divide", "fmod", "logaddexp", "logaddexp2", "mul", "multiply", "nextafter", "remainder", "sub",
                     "subtract", "true_divide", "eq", "ne", "le", "ge", "greater", "greater_equal", "gt", "less_equal", "lt", "less",
                     "maximum", "minimum", "fmax", "fmin", "not_equal"])
_REDUCTIONS = frozenset(["sum", "mean", "amin", "amax", "argmin", "argmax", "prod", "norm", "var", "std"])
_RESHAPING = frozenset(["view", "reshape", "t", "transpose", "permute", "expand", "unsqueeze", "squeeze", "flatten", "unflatten",
                        "__getitem__", "select", "narrow"])


class MaskedTensor:
    """Data, and a bool mask of its shape that is True where an element counts. Made by `masked_tensor` and `as_masked_tensor`.

    Elementwise operations keep the mask; two MaskedTensors in one operation must have the same (ValueError). Reductions give a MaskedTensor
    whose elements count where at least one element did. Other operations raise (TypeError): take `get_data` or `to_tensor(value)`.
    """

    def __init__(self, data: Tensor, mask: Tensor, requires_grad: bool = False) -> None:
        warnings.warn("The PyTorch API of MaskedTensors is in prototype stage and will change in the near future.", UserWarning,
                      stacklevel=3)
        if not isinstance(data, Tensor) or not isinstance(mask, Tensor):
            raise TypeError("data and mask must be Tensors")
        if mask.dtype is not torch.bool:
            raise TypeError("mask must have dtype bool")
        if data.shape != mask.shape:
            raise ValueError("data.shape and mask.shape must match")
        if data.device != mask.device:
            raise TypeError("data and mask must have the same device")
        self._data = data.requires_grad_() if requires_grad else data
        self._mask = mask

    @classmethod
    def _make(cls, data: Tensor, mask: Tensor) -> MaskedTensor:
        self = cls.__new__(cls)
        self._data, self._mask = data, mask
        return self

    def get_data(self) -> Tensor:
        """The data, masked-out elements included."""
        return self._data

    def get_mask(self) -> Tensor:
        """The mask."""
        return self._mask

    def to_tensor(self, value: Any) -> Tensor:
        """The data with `value` for what is masked out."""
        return self._data.masked_fill(~self._mask, value)

    def is_sparse(self) -> bool:
        """Whether the data is sparse: never."""
        return False

    shape = property(lambda self: self._data.shape)
    dtype = property(lambda self: self._data.dtype)
    device = property(lambda self: self._data.device)
    layout = property(lambda self: self._data.layout)
    ndim = property(lambda self: self._data.ndim)
    requires_grad = property(lambda self: self._data.requires_grad)

    def dim(self) -> int:
        """The number of dimensions."""
        return self._data.ndim

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the size of one dimension."""
        return self._data.size(dim)

    def numel(self) -> int:
        """The number of elements."""
        return self._data.numel()

    @property
    def grad(self) -> MaskedTensor | None:
        """The data's gradient, with the mask."""
        grad = self._data.grad
        return None if grad is None else MaskedTensor._make(grad, self._mask)

    def backward(self, gradient: Any = None, **options: Any) -> None:
        """``get_data().backward``; masked-out elements get no gradient from reductions."""
        self._data.backward(gradient.get_data() if isinstance(gradient, MaskedTensor) else gradient, **options)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("_data", "_mask"):
            raise AttributeError(name)
        if name not in _UNARY | _BINARY | _REDUCTIONS | _RESHAPING:
            raise AttributeError(f"'MaskedTensor' object has no attribute {name!r}")
        return lambda *args, **kwargs: _operate(name, (self, *args), kwargs)

    @classmethod
    def __torch_function__(cls, func: Function, types: Sequence[type[Any]], args: tuple[Any, ...] = (),
                           kwargs: dict[str, Any] | None = None) -> Any:
        return _operate(getattr(func, "__name__", str(func)), args, kwargs or {})

    def __getitem__(self, index: Any) -> MaskedTensor:
        return MaskedTensor._make(self._data[index], self._mask[index])

    def __len__(self) -> int:
        return len(self._data)

    def __repr__(self) -> str:
        if self._data.ndim == 0:
            return f"MaskedTensor({_element(self._data, self._mask)}, {bool(self._mask)})"
        return f"MaskedTensor(\n{_rows(self._data, self._mask, 2)}\n)"

    __hash__ = object.__hash__


def _element(data: Tensor, mask: Tensor) -> str:
    if not bool(mask):
        return "--"
    value = data.item()
    return f"{value:8.4f}" if isinstance(value, float) else str(value)


def _rows(data: Tensor, mask: Tensor, indent: int) -> str:
    space = " " * indent
    if data.ndim == 1:
        cells = [_element(d, m) for d, m in zip(data, mask, strict=True)]
        width = max((8 if each == "--" else len(each) for each in cells), default=0)
        return f"{space}[{', '.join(each.rjust(width) if each == '--' else each for each in cells)}]"
    return f"{space}[\n" + ",\n".join(_rows(d, m, indent + 2) for d, m in zip(data, mask, strict=True)) + f"\n{space}]"


def _operate(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    name = name.strip("_") if name != "__getitem__" else name
    if name in _UNARY:
        x = args[0]
        return MaskedTensor._make(getattr(x._data, name)(*args[1:], **kwargs), x._mask)
    if name in _BINARY:
        return _binary(name, args, kwargs)
    if name in _REDUCTIONS:
        return _reduce(name, args, kwargs)
    if name in _RESHAPING:
        x = args[0]
        return MaskedTensor._make(getattr(x._data, name)(*args[1:], **kwargs), getattr(x._mask, name)(*args[1:], **kwargs))
    raise TypeError(f"torch.{name} is not implemented for MaskedTensor: use get_data(), or to_tensor(value)")


def _binary(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> MaskedTensor:
    masks = [each._mask for each in args[:2] if isinstance(each, MaskedTensor)]
    if len(masks) == 2 and not torch.equal(masks[0], masks[1]):
        raise ValueError("Input masks must match. If you need support for this, please open an issue on Github.")
    plain = [each._data if isinstance(each, MaskedTensor) else each for each in args]
    return MaskedTensor._make(getattr(torch, name)(*plain, **kwargs), masks[0])


def _reduce(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> MaskedTensor:
    from .. import reductions
    x = args[0]
    result = getattr(reductions, name)(*args, **kwargs)
    if name == "norm":
        dim, keepdim = kwargs.get("dim", args[2] if len(args) > 2 else None), kwargs.get("keepdim", False)
    else:
        dim, keepdim = kwargs.get("dim", args[1] if len(args) > 1 else None), kwargs.get("keepdim", False)
    dims = reductions._dims(dim, x.ndim)
    mask = x._mask
    for each in reversed(dims):
        mask = mask.any(each, keepdim=keepdim)
    return MaskedTensor._make(result, mask)


def _operator(name: str, reverse: bool) -> Function:
    if reverse:
        return lambda self, other: _binary(name, (other if isinstance(other, Tensor) else torch.as_tensor(other), self), {})
    return lambda self, other: _binary(name, (self, other), {})


for _symbol, _name in (("add", "add"), ("sub", "sub"), ("mul", "mul"), ("truediv", "div"), ("floordiv", "floor_divide"),
                       ("mod", "remainder"), ("and", "bitwise_and"), ("or", "bitwise_or"), ("xor", "bitwise_xor")):
    setattr(MaskedTensor, f"__{_symbol}__", _operator(_name, False))
    setattr(MaskedTensor, f"__r{_symbol}__", _operator(_name, True))
for _name in ("eq", "ne", "lt", "le", "gt", "ge"):
    setattr(MaskedTensor, f"__{_name}__", _operator(_name, False))
for _symbol, _name in (("neg", "neg"), ("abs", "abs"), ("invert", "bitwise_not")):
    setattr(MaskedTensor, f"__{_symbol}__", lambda self, name=_name: _operate(name, (self,), {}))
setattr(MaskedTensor, "__pow__", lambda self, other: _operate("pow", (self, other), {}))  # noqa: B010


def masked_tensor(data: Any, mask: Tensor | None, requires_grad: bool = False) -> MaskedTensor:
    """A MaskedTensor of copies of a tensor and of a mask."""
    return MaskedTensor(torch.as_tensor(data).clone().detach(), torch.as_tensor(mask).clone().detach(), requires_grad)


def as_masked_tensor(data: Any, mask: Tensor | None) -> MaskedTensor:
    """A MaskedTensor of this very tensor, with its history, and this very mask."""
    return MaskedTensor(torch.as_tensor(data), torch.as_tensor(mask))


def is_masked_tensor(obj: Any, /) -> bool:
    """Whether an object is a MaskedTensor."""
    return isinstance(obj, MaskedTensor)

