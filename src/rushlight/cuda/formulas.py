"""Kernels and formulas on the device's arrays: the door to ``kernels/cuda``, formulas traced into kernels, and what runs over many tensors
at once."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from ..homes import place
from ..kernels.cuda import driver, multi_tensor, optimizer
from ..kernels.cuda.elementwise import FORMULAS, formula_of
from ..kernels.door import join
from ..kernels.native import ELEMENTWISE, RUNNERS, written
from ..vocabulary import Array, Function
from .array import DeviceArray, box, call_cupy, guarded, is_batched, raw
from .ufuncs import KERNELS

__all__ = ["Elementwise", "find_kernel", "over_tensors", "run_formula", "run_kernel", "step"]


def kernel_on_arrays(function: Function) -> Function:
    """A function of cupy arrays as one of DeviceArrays; out of memory becomes PyTorch's error. It steps aside for vmap's arrays."""
    def call(*args: Any, **kwargs: Any) -> Any:
        for each in args:
            if is_batched(each.__class__):
                return NotImplemented
        values = raw(args)
        if driver.several:
            first = next((each for each in values if each.__class__ is driver.array_class), None)
            if first is not None:
                return box(guarded(first, lambda: call_cupy(function, *values, **kwargs)))
        return box(call_cupy(function, *values, **kwargs))
    return call


def find_kernel(family: str, name: str) -> Function | None:
    """``kernels/cuda/<family>.py: <name>`` on DeviceArrays; None where there is none: then NumPy's functions find their way by their
    arguments."""
    path = place(f"kernels.cuda.{family}")
    module = import_module(path) if find_spec(path) is not None else None
    return kernel_on_arrays(getattr(module, name)) if name in getattr(module, "__all__", ()) else None


join(DeviceArray, find_kernel)


def _written(function: Function) -> Any:
    """The Python function of a kernel or fused formula, if it is always the same one (a closure is made anew by each call); else None."""
    inner = written(function)
    return inner if hasattr(inner, "__code__") and not inner.__closure__ else None


_formulas: dict[Any, Any] = {}      # function -> its Formula, or None where it has none


def run_formula(function: Function, operands: tuple[Any, ...], name: str = "formula") -> Any:
    """A function of arrays as one kernel, whose formula is traced at first use; as it is where that can't be. name: what a profile
    shows."""
    try:
        formula = _formulas[function]
    except KeyError:
        formula = _formulas[function] = formula_of(function, len(operands), name)
    return run_kernel(formula, function, operands)


def run_kernel(formula: Any, function: Function, operands: tuple[Any, ...]) -> Any:
    """The formula's kernel, or the function where the operands are none for it: halves in float32."""
    if formula is not None:
        values = []
        first = None
        for each in operands:
            if each.__class__ is DeviceArray:
                first = each.c
                values.append(first)
            elif each.__class__ is float or each.__class__ is int:
                values.append(each)
            elif is_batched(each.__class__):
                return function(*operands)
            else:
                values.append(raw(each))
        r = guarded(first, call_cupy, formula, *values) if driver.several else call_cupy(formula, *values)
        if r is not NotImplemented:
            return box(r)
    halves = [each for each in operands if each.__class__ is DeviceArray and each.dtype.name in ("float16", "bfloat16")]
    if not halves:
        return function(*operands)
    wide = [each.astype(np.float32) if each.__class__ is DeviceArray and each.dtype == halves[0].dtype else each for each in operands]
    r = function(*wide)
    narrow = halves[0].dtype
    return tuple([each if each is None else each.astype(narrow) for each in r]) if r.__class__ is tuple else r.astype(narrow)


def over_tensors(name: str, tensors: Any, *more: Any) -> Any:
    """``multi_tensor.<name>`` over all tensors in one launch; NotImplemented where they are not of one dtype on one GPU, without gaps."""
    arrays = [t._a.c for t in tensors if t._a.__class__ is DeviceArray]
    if len(arrays) != len(tensors) or not arrays or not multi_tensor.fit(arrays):
        return NotImplemented
    r = guarded(arrays[0], call_cupy, getattr(multi_tensor, name), arrays, *raw(list(more)))
    if name != "norm":
        for t in tensors:
            t._ver += 1
    return box(r)


def step(recording: Any, h: Any, keep: float, rows: list[tuple[Any, ...]], name: str) -> bool:
    """One kernel that steps all parameters of a dtype, in place: see kernels/cuda/optimizer.py. False where it can't."""
    return optimizer.step(recording, h, keep, [raw(row) for row in rows], name)


class Elementwise:
    """Elementwise ops of floating dtypes as one kernel each, where there is one."""

    @staticmethod
    def forward(name: str, function: Function) -> Function:
        """How the elementwise op `name`, or "" for a formula, is computed here."""
        kernel = FORMULAS.get(name)
        if kernel is None:
            inner = _written(function)
            return _widened(function) if inner is None else lambda *operands: run_formula(inner, operands)

        def run(a: DeviceArray) -> Array:
            r = guarded(a.c, kernel, a.c) if driver.several else call_cupy(kernel, a.c)
            return box(r) if r is not NotImplemented else _widened(function)(a)
        return run

    @staticmethod
    def gradient(name: str, function: Function) -> Function:
        """How the gradient of the op `name`, a formula, is computed here."""
        inner, label = _written(function), f"{name}_gradient".replace(".", "_") if name else "formula"
        return lambda *operands: run_formula(inner, operands, label) if inner is not None else run_kernel(None, function, operands)

    @staticmethod
    def rounds_once(ufunc: Function, a: Any, b: Any) -> bool:
        """Whether a ufunc has a kernel that rounds once, for two arrays of 16 bits, or for one of them and one of float32."""
        if getattr(ufunc, "__name__", "") not in KERNELS:
            return False
        if a.dtype == b.dtype:
            return a.dtype.name in ("float16", "bfloat16")
        return {each.dtype.name for each in (a, b) if each.__class__ is DeviceArray and each.ndim} in _MIXTURES


def _widened(function: Function) -> Any:
    """A NumPy expression on an array of a dtype that is computed in float32."""
    return lambda a, *numbers: function(a.astype(np.float32) if a.dtype.itemsize == 2 else a, *numbers)


_MIXTURES = ({"float32", "float16"}, {"float32", "bfloat16"})
RUNNERS[DeviceArray] = run_formula
ELEMENTWISE[DeviceArray] = Elementwise()
