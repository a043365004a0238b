"""x w' + b in one launch: cuBLASLt's product with the bias in its epilogue. Where cuBLASLt has no such product, a product and a kernel."""

from __future__ import annotations

import ctypes
import threading
from ctypes import c_int, c_int64, c_size_t, c_uint64, c_void_p
from typing import TYPE_CHECKING, Any

import numpy as np

from . import driver
from .elementwise import FORMULAS
from .matmul import _TYPES, _arithmetic, _cublas, _layout, matmul

if TYPE_CHECKING:
    from .driver import CupyArray

__all__ = ["linear"]

# Of cublasLt.h: attributes of a product, its epilogue "add a bias", an attribute of preferences.
_TRANSA, _EPILOGUE, _BIAS_POINTER, _WITH_BIAS, _MAX_WORKSPACE = 3, 7, 8, 4, 1


class _Found(ctypes.Structure):
    """cublasLtMatmulHeuristicResult_t."""

    _fields_ = [("algo", c_uint64 * 8), ("workspace", c_size_t), ("state", c_int), ("waves", ctypes.c_float), ("reserved", c_int * 4)]


class _Local(threading.local):
    """Plans are changed while they are used, so each thread has its own."""

    def __init__(self) -> None:
        self.plans: dict[Any, Any] = {}
        self.workspaces: dict[Any, Any] = {}


_local = _Local()
_libraries: dict[Any, Any] = {}


def _library() -> ctypes.PyDLL | None:
    """cuBLASLt, which CuPy has loaded with cuBLAS; None where it is not found."""
    module = driver.needed()
    if module not in _libraries:
        found = getattr(module, "cublaslt_of_the_standin", None)
        if found is None:
            _cublas()
            for name in ("libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so.11"):
                try:
                    found = ctypes.PyDLL(name)
                    break
                except OSError:
                    continue
        _libraries[module] = found
    return _libraries[module]


class _Plan:
    """What cuBLASLt wants to know about a product, and the algorithm that it proposes; `good` is False where it has none."""

    def __init__(self, library: Any, handle: int, name: str, sizes: tuple[int, ...], bias: int, workspace: int) -> None:
        rows, columns, inner, x_leading, w_leading = sizes
        compute, self.one, self.zero = _arithmetic(_cublas(), name)
        kind, self.library, self.handle, self.good = _TYPES[name], library, c_void_p(handle), True
        self.product, preference, count = c_void_p(), c_void_p(), c_int()
        self._do("MatmulDescCreate", ctypes.byref(self.product), c_int(compute),
                 c_int(_TYPES["float64" if name == "float64" else "float32"]))
        self._set(_TRANSA, c_int(1))
        self._set(_EPILOGUE, c_int(_WITH_BIAS))
        self._set(_BIAS_POINTER, c_void_p(bias))           # how it is aligned counts for the choice
        # Rows one after the other are, for cuBLAS, columns: out' = w x'.
        self.w, self.x, self.out = (self._matrix(kind,
                                                 *each) for each in ((inner, columns, w_leading), (inner, rows, x_leading), (columns, rows, columns)))
        self._do("MatmulPreferenceCreate", ctypes.byref(preference))
        limit = c_uint64(workspace)
        self._do("MatmulPreferenceSetAttribute", preference, c_int(_MAX_WORKSPACE), ctypes.byref(limit), c_size_t(8))
        self.found = _Found()
        if self.good:
            self._do("MatmulAlgoGetHeuristic", self.handle, self.product, self.w, self.x, self.out, self.out, preference, c_int(1),
                     ctypes.byref(self.found), ctypes.byref(count))
            self.good = self.good and count.value == 1 and self.found.state == 0
        self._do("MatmulPreferenceDestroy", preference)

    def __del__(self) -> None:
        for name, made in (("MatmulDescDestroy", self.product), *[("MatrixLayoutDestroy", each) for each in (self.w, self.x, self.out)]):
            getattr(self.library, f"cublasLt{name}")(made)

    def _do(self, name: str, *args: Any) -> None:
        self.good = self.good and getattr(self.library, f"cublasLt{name}")(*args) == 0

    def _set(self, attribute: int, value: ctypes._SimpleCData[Any]) -> None:
        self._do("MatmulDescSetAttribute", self.product, c_int(attribute), ctypes.byref(value), c_size_t(ctypes.sizeof(value)))

    def _matrix(self, kind: int, rows: int, columns: int, leading: int) -> c_void_p:
        made = c_void_p()
        self._do("MatrixLayoutCreate", ctypes.byref(made), c_int(kind), c_uint64(rows), c_uint64(columns), c_int64(leading))
        return made

    def run(self, x: CupyArray, w: CupyArray, b: CupyArray, out: CupyArray, workspace: CupyArray, stream: int) -> bool:
        """Whether it was launched."""
        self._set(_BIAS_POINTER, c_void_p(b.data.ptr))
        self._do("Matmul", self.handle, self.product, ctypes.byref(self.one), c_void_p(w.data.ptr), self.w, c_void_p(x.data.ptr), self.x,
                 ctypes.byref(self.zero), c_void_p(out.data.ptr), self.out, c_void_p(out.data.ptr), self.out, ctypes.byref(self.found.algo),
                 c_void_p(workspace.data.ptr), c_size_t(workspace.nbytes), c_void_p(stream))
        return self.good


def _with_epilogue(x: CupyArray, w: CupyArray, b: CupyArray, out: CupyArray) -> bool:
    """Fill `out` by cuBLASLt; False where that can't be done."""
    library, name = _library(), x.dtype.name
    first, second = _layout(x), _layout(w)
    if library is None or name == "float64" or first is None or second is None or first[1] or second[1] or not b.flags.c_contiguous:
        return False
    if any(a.data.ptr & 15 for a in (x, w, b, out)) or x.shape[1] == 0:
        return False
    module = driver.needed()
    device = module.cuda.Device()
    handle, stream = device.cublas_handle, module.cuda.get_current_stream().ptr
    size = (32 if int(device.compute_capability) >= 90 else 4) << 20
    sizes = (*x.shape[:1], *w.shape, first[2], second[2])
    key = (module, handle, name, sizes, _arithmetic(_cublas(), name)[0])
    plan = _local.plans.get(key)
    if plan is None:
        if len(_local.plans) >= 1024:
            _local.plans.clear()
        plan = _local.plans[key] = _Plan(library, handle, name, sizes, b.data.ptr, size)
    if not plan.good:
        return False
    workspace = _local.workspaces.get((module, handle, stream))
    if workspace is None:
        workspace = _local.workspaces[module, handle, stream] = module.empty(size, np.uint8)
    return plan.run(x, w, b, out, workspace, stream)


def linear(x: CupyArray, w: CupyArray, b: CupyArray | None) -> CupyArray:
    """x w' + b of x (rows, inside), w (outside, inside) and b (outside) or None."""
    if b is None:
        return matmul(x, w.T)
    out = driver.needed().empty((x.shape[0], w.shape[0]), x.dtype)
    if not out.size:
        return out
    if not _with_epilogue(x, w, b, out):
        out = matmul(x, w.T)
        FORMULAS["add"](out, b, out=out)
    return out
