"""`Kind`: one interned object per (dtype, device). ``a._kind is b._kind`` is the whole fast-path test of a binary op."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import dtypes as _dtype
from .devices import CPU, array_module, device
from .dtypes import dtype
from .vocabulary import NumpyDtype

_Device = device          # the classes below have attributes of these names

__all__ = ["Kind", "NotBatched", "NotPlain", "OneByOne", "SparseKind", "kind_of", "sparse_kind", "cpu_kind"]


VMAP_FALLBACK = {"warn": False, "enabled": True}     # for ops without a batched form: say that they run sample by sample; let them


class NotBatched(RuntimeError):
    """Inside `vmap`, something can't be computed for all samples at once: the op is run sample by sample instead (func/fallback.py)."""


class NotPlain(NotBatched, TypeError):
    """A native kernel was given something else than plain arrays."""


class OneByOne(NotBatched):
    """A random op that can't draw for all samples in one go."""


class Kind:
    """A dtype on a device, with what the hot paths want to know about the pair ready as attributes.

    `fast` is true for float32 and float64 on the CPU: closed under arithmetic, computed in their own precision, and a Python number may
    be rounded to them before the arithmetic without changing the result. float16 and bfloat16 (`reduced`) compute in float32.
    """

    __slots__ = ("dtype", "device", "np", "xp", "is_floating", "is_complex", "reduced", "fast", "differentiable", "scalars",
                 "_bool", "_int64")

    dtype: _dtype.dtype
    device: _Device
    np: NumpyDtype
    xp: Any                          # the array module: numpy, on cuda a `Namespace`
    is_floating: bool
    is_complex: bool
    reduced: bool
    fast: bool
    differentiable: bool
    scalars: dict[Any, Any]          # numbers as 0-dim arrays, by value: kept by ops/promotion.py
    _bool: Kind
    _int64: Kind
    sparse = False

    def __repr__(self) -> str:
        return f"Kind({self.dtype}, {self.device})"

    @property
    def bool_(self) -> Kind:
        """bool on the same device."""
        try:
            return self._bool
        except AttributeError:
            self._bool = kind_of(_dtype.bool_, self.device)
            return self._bool

    @property
    def int64(self) -> Kind:
        """int64 on the same device."""
        try:
            return self._int64
        except AttributeError:
            self._int64 = kind_of(_dtype.int64, self.device)
            return self._int64

    @property
    def float_(self) -> Kind:
        """This kind where it is floating or complex, else the default float dtype on the same device."""
        if self.differentiable:
            return self
        return kind_of(_dtype.get_default_dtype(), self.device)

    def with_dtype(self, dtype: _dtype.dtype) -> Kind:
        """The kind of another dtype on this device."""
        return kind_of(dtype, self.device)


class SparseKind(Kind):
    """The kind of sparse tensors: never `fast`, never equal to a dense kind, so that they leave the fast path of every op. `dense` is
    the kind of their values."""

    __slots__ = ("dense",)
    dense: Kind
    sparse = True

    def __repr__(self) -> str:
        return f"SparseKind({self.dtype}, {self.device})"


_sparse_kinds: dict[Kind, SparseKind] = {}


def sparse_kind(dense: Kind) -> SparseKind:
    """The one SparseKind whose values are of kind `dense`."""
    found = _sparse_kinds.get(dense)
    if found is None:
        found = SparseKind()
        _fill(found, dense.dtype, dense.device)
        found.fast, found.dense = False, dense
        found = _sparse_kinds.setdefault(dense, found)
    return found


_kinds: dict[tuple[dtype, device], Kind] = {}


def kind_of(dtype: dtype, device: device = CPU) -> Kind:
    """The one Kind of this dtype on this (concrete) device."""
    found = _kinds.get((dtype, device))
    if found is None:
        known = _dtype.dtype_of(dtype)
        found = _kinds.setdefault((dtype, device), _make(dtype, device) if known is dtype else kind_of(known, device))
    return found


def _make(dtype: dtype, device: device) -> Kind:
    return _fill(Kind(), dtype, device)


def _fill(self: Kind, dtype: dtype, device: device) -> Kind:
    self.dtype, self.device, self.np = dtype, device, dtype.np
    self.xp = np if device is CPU else array_module(device)[0]
    self.is_floating, self.is_complex = dtype.is_floating_point, dtype.is_complex
    self.reduced = dtype in (_dtype.float16, _dtype.bfloat16)
    self.fast = device is CPU and dtype in (_dtype.float32, _dtype.float64)
    self.differentiable = self.is_floating or self.is_complex
    self.scalars = {}
    return self


def cpu_kind(array: np.ndarray[Any, Any]) -> Kind:
    """The kind of a NumPy array on the CPU; TypeError for types PyTorch does not have."""
    return kind_of(_dtype.from_numpy_dtype(array.dtype))
