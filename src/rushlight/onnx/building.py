"""What a translation gets: ONNX values in the place of tensors, and the builder of the model's nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import dtypes
from ..dtypes import dtype as Type
from ..dtypes import promote_types
from ..unsupported import NotSupported

__all__ = ["Builder", "TRANSLATIONS", "Value", "element_type", "translates", "wrong"]

TRANSLATIONS: dict[str, Callable[..., Any]] = {}

# dtype -> the number of ONNX's TensorProto.DataType.
_TYPES = {dtypes.float32: 1, dtypes.uint8: 2, dtypes.int8: 3, dtypes.int16: 5, dtypes.int32: 6, dtypes.int64: 7, dtypes.bool_: 9,
          dtypes.float16: 10, dtypes.float64: 11, dtypes.bfloat16: 16, dtypes.complex64: 14, dtypes.complex128: 15}


def element_type(dtype: Type) -> int:
    """ONNX's number of a dtype."""
    found = _TYPES.get(dtype)
    if found is None:
        raise NotSupported(f"torch.onnx: {dtype} is not supported in ONNX files by rushlight")
    return found


def translates(*names: str) -> Callable[[Any], Any]:
    """Decorator: the ONNX form of the functions of these names. It is called with the builder and what the program called the function
    with."""
    def register(function: Any) -> Any:
        for name in names:
            TRANSLATIONS[name] = function
        return function
    return register


def wrong(what: str) -> NotSupported:
    """The error for arguments that a translation does not know."""
    return NotSupported(f"torch.onnx.export: {what} has no translation")


class Value:
    """A value of the ONNX graph: a tensor of the program, or a number that it computed from sizes."""

    __slots__ = ("name", "dtype", "shape", "number")

    def __init__(self, name: str, dtype: Type, shape: Sequence[int], number: bool = False) -> None:
        self.name, self.dtype, self.shape, self.number = name, dtype, [int(n) for n in shape], number

    @property
    def rank(self) -> int:
        """The number of dimensions."""
        return len(self.shape)


class Builder:
    """Collects nodes and initializers. `dtype` and `shape` are those of the (first) result of the function that is being translated."""

    def __init__(self, opset: int) -> None:
        from onnx import helper, numpy_helper
        self._helper, self._numpy = helper, numpy_helper
        self.opset = opset
        self.nodes: list[Any] = []
        self.initializers: dict[str, Any] = {}
        self._constants: dict[Any, str] = {}
        self._count = 0
        self.dtype: Any = dtypes.float32
        self.shape: list[int] = []
        self.shapes: list[list[int]] = []
        self.hint = "value"

    def fresh(self) -> str:
        """A name that nothing has yet."""
        self._count += 1
        return f"{self.hint}_{self._count}"

    def op(self, kind: str, *inputs: Any, outputs: int = 1, dtype: Any = None, shape: Any = None, **attributes: Any) -> Any:
        """Add a node; gives its value (a list where there are several outputs). Inputs: values, arrays and numbers; None is left out."""
        given = ["" if each is None else self.value(each).name for each in inputs]
        while given and not given[-1]:
            given.pop()
        names = [self.fresh() for _ in range(outputs)]
        kept = {key: value for key, value in attributes.items() if value is not None}
        self.nodes.append(self._helper.make_node(kind, given, names, name=f"{kind}_{names[0]}", **kept))
        made = [Value(name, self.dtype if dtype is None else dtype, self.shape if shape is None else shape) for name in names]
        return made[0] if outputs == 1 else made

    def value(self, value: Any, dtype: Any = None) -> Value:
        """A value of what is a value, an array, a number or a list of numbers."""
        if isinstance(value, Value):
            return value
        wanted = dtype if dtype is not None else dtypes.bool_ if isinstance(value, bool) else dtypes.int64 if isinstance(value, (int, list, tuple)) else dtypes.float32
        return self.constant(np.asarray(value, dtype=wanted.np), wanted)

    def constant(self, array: Any, dtype: Any) -> Value:
        """An initializer with an array's values; the same values are one."""
        array = np.array(array, order="C")
        key = (array.dtype.str, array.shape, array.tobytes()) if array.size < 64 else id(array)
        name = self._constants.get(key)
        if name is None:
            name = self._constants[key] = f"constant_{len(self._constants)}"
            self.initializers[name] = self.tensor(array, name, dtype)
        return Value(name, dtype, array.shape)

    def tensor(self, array: Any, name: str, dtype: Any) -> Any:
        """ONNX's form of an array."""
        return self._helper.make_tensor(name, element_type(dtype), array.shape, array.tobytes(), raw=True)

    def cast(self, value: Any, dtype: Any) -> Value:
        """A value (or number) in a dtype."""
        if not isinstance(value, Value):
            return self.value(value, dtype)
        if value.dtype is dtype:
            return value
        return self.op("Cast", value, to=element_type(dtype), dtype=dtype, shape=value.shape)

    def ints(self, values: Any) -> Value:
        """A list of whole numbers, of which some may be values, as a vector."""
        values = list(values) if isinstance(values, (list, tuple)) else [values]
        if not any(isinstance(each, Value) for each in values):
            return self.constant(np.array([int(each) for each in values], dtype=np.int64), dtypes.int64)
        parts = [self.op("Reshape", each, [1], dtype=dtypes.int64, shape=[1]) if isinstance(each, Value) else self.value([int(each)])
                 for each in values]
        return parts[0] if len(parts) == 1 else self.op("Concat", *parts, axis=0, dtype=dtypes.int64, shape=[len(parts)])

    def together(self, *values: Any) -> list[Value]:
        """Operands in the dtype that PyTorch computes in."""
        tensors = [each for each in values if isinstance(each, Value) and not each.number]
        dtype = tensors[0].dtype if tensors else dtypes.int64
        ranked = [each for each in tensors if each.rank] or tensors
        if ranked:
            dtype = ranked[0].dtype
        for each in ranked[1:]:
            dtype = promote_types(dtype, each.dtype)
        for each in tensors:
            if each not in ranked and _category(each.dtype) > _category(dtype):
                dtype = each.dtype
        for each in values:
            if not isinstance(each, Value) and _category_of(each) > _category(dtype):
                dtype = dtypes.float32 if isinstance(each, float) else dtypes.int64
        return [self.cast(each, dtype) for each in values]


def _category(dtype: Any) -> int:
    return 2 if dtype.is_floating_point else 0 if dtype is dtypes.bool_ else 1


def _category_of(value: Any) -> int:
    return 0 if isinstance(value, bool) else 2 if isinstance(value, float) else 1

