"""Element types: ``rushlight.float32`` and its like, and how two of them combine.

A `dtype` knows its NumPy twin (``.np``). bfloat16 and the float8 types live in memory as ``ml_dtypes`` types, which load at first use.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .homes import settle
from .kernels.native import library
from .vocabulary import NumpyDtype

__all__ = ["dtype", "promote_types", "can_cast", "finfo", "iinfo", "get_default_dtype", "set_default_dtype", "from_numpy_dtype"]

# Categories of PyTorch's promotion rules: the higher one wins.
BOOL, INT, FLOAT, COMPLEX = range(4)


class dtype:
    """The element type of a tensor, e.g. ``rushlight.float32``. Instances are singletons: compare with ``is`` or ``==``."""

    __slots__ = ("name", "np", "category", "is_floating_point", "is_complex", "is_signed", "itemsize", "alias", "__weakref__")

    name: str
    np: np.dtype[Any]
    category: int
    is_floating_point: bool
    is_complex: bool
    is_signed: bool
    itemsize: int
    alias: str

    def __repr__(self) -> str:
        return "torch." + self.name

    def __reduce__(self) -> str:
        return self.name

    def __copy__(self) -> dtype:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> dtype:
        return self

    def __getattr__(self, attribute: str) -> NumpyDtype:
        # Reached only while the slot `np` of a type from ml_dtypes is still empty.
        if attribute == "np":
            self.np = _extension_type(self.name)
            _FROM_NUMPY[self.np] = self
            return self.np
        raise AttributeError(f"'torch.dtype' object has no attribute {attribute!r}")

    def to_real(self) -> dtype:
        """float32 for complex64, float64 for complex128; other types are their own."""
        return _TO_REAL.get(self, self)

    def to_complex(self) -> dtype:
        """complex64 for float32 (and lower), complex128 for float64."""
        return _TO_COMPLEX.get(self, self)


def _extension_type(name: str) -> np.dtype[Any]:
    if name in ABSENT:
        raise NotImplementedError(f"torch.{name} is not supported by rushlight: use {_INSTEAD[name]}")
    import ml_dtypes
    type = np.dtype(getattr(ml_dtypes, name))
    if name == "bfloat16":
        if library is not None:
            library.set_bfloat16(type)
    return type


DTYPES: dict[str, dtype] = {}
ABSENT: dict[str, dtype] = {}        # PyTorch's dtypes that tensors can't have here: programs compare with them
_FROM_NUMPY: dict[np.dtype[Any], dtype] = {}


def _make(name: str, category: int, itemsize: int, *, extension: bool = False, alias: str = "") -> dtype:
    self = dtype()
    self.name, self.category, self.itemsize, self.alias = name, category, itemsize, alias
    self.is_floating_point, self.is_complex = category == FLOAT, category == COMPLEX
    self.is_signed = category != BOOL and not name.startswith("u")
    if not extension:
        self.np = np.dtype(name)
        _FROM_NUMPY[self.np] = self
    DTYPES[name] = self
    return self


bool_ = _make("bool", BOOL, 1)
uint8 = _make("uint8", INT, 1)
int8 = _make("int8", INT, 1)
int16 = _make("int16", INT, 2, alias="short")
int32 = _make("int32", INT, 4, alias="int")
int64 = _make("int64", INT, 8, alias="long")
uint16 = _make("uint16", INT, 2)
uint32 = _make("uint32", INT, 4)
uint64 = _make("uint64", INT, 8)
float16 = _make("float16", FLOAT, 2, alias="half")
bfloat16 = _make("bfloat16", FLOAT, 2, extension=True)
float32 = _make("float32", FLOAT, 4, alias="float")
float64 = _make("float64", FLOAT, 8, alias="double")
float8_e4m3fn = _make("float8_e4m3fn", FLOAT, 1, extension=True)
float8_e5m2 = _make("float8_e5m2", FLOAT, 1, extension=True)
complex64 = _make("complex64", COMPLEX, 8, alias="cfloat")
complex128 = _make("complex128", COMPLEX, 16, alias="cdouble")

# name, category, bytes, what to use instead
_INSTEAD = {}
for _name, _category, _size, _other in (
        ("complex32", COMPLEX, 4, "complex64"), ("float8_e4m3fnuz", FLOAT, 1, "float8_e4m3fn"),
        ("float8_e5m2fnuz", FLOAT, 1, "float8_e5m2"),
        ("float8_e8m0fnu", FLOAT, 1, "float8_e5m2"), ("float4_e2m1fn_x2", FLOAT, 1, "float8_e4m3fn"), ("qint8", INT, 1, "int8 and a scale"),
        ("quint8", INT, 1, "uint8 and a scale"), ("qint32", INT, 4, "int32 and a scale"), ("quint4x2", INT, 1, "uint8 and a scale"),
        ("quint2x4", INT, 1, "uint8 and a scale")):
    ABSENT[_name] = _make(_name, _category, _size, extension=True, alias="chalf" if _name == "complex32" else "")
    del DTYPES[_name]
    _INSTEAD[_name] = f"torch.{_other}"

_TO_REAL = {complex64: float32, complex128: float64}
_TO_COMPLEX = {float32: complex64, float64: complex128, float16: complex64, bfloat16: complex64}

_WIDE_UNSIGNED = (uint16, uint32, uint64)
_FLOATS = (float16, bfloat16, float32, float64)


def from_numpy_dtype(numpy_dtype: NumpyDtype) -> dtype:
    """The dtype of a NumPy array of this type; TypeError where PyTorch has none."""
    numpy_dtype = np.dtype(numpy_dtype)
    found = _FROM_NUMPY.get(numpy_dtype) or _FROM_NUMPY.get(numpy_dtype.newbyteorder("="))
    if found is None and numpy_dtype.name in DTYPES:
        found = DTYPES[numpy_dtype.name]
        found.np  # noqa: B018  fills the slot and the table
    if found is None:
        raise TypeError(
            f"can't convert np.ndarray of type numpy.{numpy_dtype.type.__name__}. The only supported types are: float64, float32, "
            "float16, complex64, complex128, int64, int32, int16, int8, uint64, uint32, uint16, uint8, and bool.")
    return found


_PROMOTED: dict[tuple[dtype, dtype], dtype] = {}


def promote_types(type1: dtype, type2: dtype) -> dtype:
    """The smallest dtype that both convert to by PyTorch's rules (it keeps the wider category; int and float give the float)."""
    if type1 is type2:
        return dtype_of(type1)
    type1, type2 = dtype_of(type1), dtype_of(type2)
    key = (type1, type2)
    found = _PROMOTED.get(key)
    if found is None:
        if not (isinstance(type1, dtype) and isinstance(type2, dtype)):
            bad, which = (type1, 1) if not isinstance(type1, dtype) else (type2, 2)
            raise TypeError(f"promote_types(): argument 'type{which}' (position {which}) must be torch.dtype, not {type(bad).__name__}")
        found = _PROMOTED[key] = _promote(type1, type2)
    return found


def _promote(a: dtype, b: dtype) -> dtype:
    if a.category > b.category:
        a, b = b, a
    if a.category < b.category:
        if b.category == COMPLEX and a.category == FLOAT:
            return complex128 if a is float64 else b
        return b
    if a.category == COMPLEX:
        return complex128
    if a.category == FLOAT:
        if a not in _FLOATS or b not in _FLOATS:
            raise RuntimeError(f"Promotion for Float8 Types is not supported, attempted to promote {a} and {b}: convert with .to() first")
        if {a, b} == {float16, bfloat16}:
            return float32
        return a if _FLOATS.index(a) > _FLOATS.index(b) else b
    if a in _WIDE_UNSIGNED or b in _WIDE_UNSIGNED:
        if a.is_signed or b.is_signed:
            raise RuntimeError(f"Promotion for uint16, uint32, uint64 types is not supported, attempted to promote {a} and {b}")
        return a if a.itemsize > b.itemsize else b
    if a is uint8 or b is uint8:
        other = b if a is uint8 else a
        return int16 if other is int8 else other
    return a if a.itemsize > b.itemsize else b


def dtype_of(d: Any) -> Any:
    """The dtype for which a Python type stands where PyTorch takes one (float, int, bool, complex); anything else as it is."""
    return {float: float64, int: int64, bool: bool_, complex: complex128}.get(d, d) if d.__class__ is type else d


def can_cast(from_: dtype, to: dtype) -> bool:
    """Whether PyTorch's promotion allows the cast: never to a lower category (float to int, complex to float)."""
    from_, to = dtype_of(from_), dtype_of(to)
    return from_.category <= to.category and not (to is bool_ and from_ is not bool_)


_default = float32


def get_default_dtype() -> dtype:
    """The dtype of floating-point tensors made from Python numbers (float32 unless `set_default_dtype` says otherwise)."""
    return _default


def set_default_dtype(d: dtype, /) -> None:
    """Make `d` (a floating-point dtype) the one that Python floats become."""
    global _default
    if isinstance(d, type) and hasattr(d, "dtype"):
        d = d.dtype
    if not isinstance(d, dtype):
        raise TypeError(f"invalid dtype object: {d!r} is not a torch.dtype")
    if not d.is_floating_point:
        raise TypeError("only floating-point types are supported as the default type")
    _default = d


class iinfo:
    """Limits of an integer dtype: ``bits``, ``min``, ``max``, ``dtype``."""

    def __init__(self, type: dtype) -> None:
        type = dtype_of(type)
        if not isinstance(type, dtype) or type.category != INT:
            raise TypeError(f"torch.iinfo() requires an integer input type. Use torch.finfo to handle '{_plain(type)}'")
        limits = np.iinfo(type.np)
        self.bits, self.min, self.max, self.dtype = limits.bits, int(limits.min), int(limits.max), type.name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, iinfo) and self.dtype == other.dtype

    def __hash__(self) -> int:
        return hash(self.dtype)

    def __repr__(self) -> str:
        return f"iinfo(min={self.min}, max={self.max}, dtype={self.dtype})"


class finfo:
    """Limits of a floating-point dtype: ``bits``, ``eps``, ``max``, ``min``, ``tiny``, ``smallest_normal``, ``resolution``, ``dtype``."""

    def __init__(self, type: dtype | None = None) -> None:
        type = _default if type is None else dtype_of(type)
        if not isinstance(type, dtype) or type.category < FLOAT:
            raise TypeError(f"torch.finfo() requires a floating point input type. Use torch.iinfo to handle '{_plain(type)}'")
        type = type.to_real()
        limits: Any = np.finfo(type.np) if type in (float16, float32, float64) else _extension_limits(type)
        self.bits, self.dtype = type.itemsize * 8, type.name
        self.eps, self.max, self.min = float(limits.eps), float(limits.max), float(limits.min)
        self.tiny = self.smallest_normal = float(limits.smallest_normal)
        self.resolution = float(limits.resolution)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, finfo) and self.dtype == other.dtype

    def __hash__(self) -> int:
        return hash(self.dtype)

    def __repr__(self) -> str:
        return (f"finfo(resolution={self.resolution:g}, min={self.min:g}, max={self.max:g}, eps={self.eps:g}, "
                f"smallest_normal={self.smallest_normal:g}, tiny={self.tiny:g}, dtype={self.dtype})")


def _extension_limits(type: dtype) -> Any:
    type.np  # noqa: B018  raises where ml_dtypes is missing
    import ml_dtypes
    return ml_dtypes.finfo(type.np)  # type: ignore[no-untyped-call]


def _plain(type: Any) -> str:
    return repr(type)

settle("", globals(), ("dtype", "finfo", "iinfo", "can_cast", "get_default_dtype", "promote_types", "set_default_dtype"))
