"""Raw CUDA kernels on the host: their source is compiled by g++ against cuda_emulator.h and run block by block. For tests only.

`RawKernel` takes CuPy's place. It checks what CuPy can't: that the arguments fit the parameters of the kernel in number, size and kind.
`cublas` is the part of cuBLAS that rushlight calls, computed by NumPy from the same pointers, strides and leading dimensions.
"""

import ctypes
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

import numpy as np

HEADER = pathlib.Path(__file__).parent / "cuda_emulator.h"
COMPILER = shutil.which("g++")
LAUNCHES = {}                     # kernel name -> how often it ran
_libraries = {}
_SIGNATURE = re.compile(r'extern\s+"C"\s+__global__\s+void\s+(?:__launch_bounds__\s*\([^)]*\)\s*)?(\w+)\s*\(([^)]*)\)')
_SIZES = {"float": "f4", "double": "f8", "int": "i4", "unsigned": "u4", "unsigned int": "u4", "long long": "i8", "unsigned long long": "u8",
          "bool": "?"}


class LaunchError(RuntimeError):
    """A kernel trapped (cudaErrorLaunchFailure), or threads waited for one another forever."""


def parameters(source):
    """name -> the parameter types of each kernel in a source."""
    found = {}
    for name, text in _SIGNATURE.findall(source):
        kinds = []
        for part in filter(None, (each.strip() for each in " ".join(text.split()).split(","))):
            words = part.replace("const ", "").replace("__restrict__", "").strip()
            kinds.append("pointer" if "*" in words else words.rsplit(" ", 1)[0].strip())
        found[name] = kinds
    return found


def library(source):
    """The shared library of a source, built once; kept on disk between runs."""
    if COMPILER is None:
        import pytest
        pytest.skip("running CUDA kernels on the host needs g++")
    text = f'#include <utility>\n#include "{HEADER}"\n{source}\n'
    for name in parameters(source):
        text += f'extern "C" int run_{name}(dim3 g, dim3 b, void** a, size_t s) {{ return emulate(g, b, [](void** p) {{ call({name}, p); }}, a, s); }}\n'
    key = hashlib.sha256((text + HEADER.read_text()).encode()).hexdigest()[:32]
    if key not in _libraries:
        folder = pathlib.Path(tempfile.gettempdir()) / f"rushlight-cuda-emulator-{os.getuid()}"
        folder.mkdir(exist_ok=True)
        path = folder / f"{key}.so"
        if not path.exists():
            unit = folder / f"{key}-{os.getpid()}.cpp"
            unit.write_text(text)
            done = subprocess.run([COMPILER, "-std=c++17", "-O1", "-fno-strict-aliasing", "-w", "-shared", "-fPIC", "-o", f"{unit}.so", str(unit)],
                                  capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"the kernel does not compile:\n{done.stderr[:4000]}\n{source}")
            os.replace(f"{unit}.so", path)
            unit.unlink()
        _libraries[key] = ctypes.CDLL(str(path))
    return _libraries[key]


class _Dim3(ctypes.Structure):
    _fields_ = [("x", ctypes.c_uint), ("y", ctypes.c_uint), ("z", ctypes.c_uint)]


class RawKernel:
    """cupy.RawKernel."""

    def __init__(self, code, name, options=(), backend="nvrtc"):
        self.code, self.name, self.options = code, name, options
        self.kinds = parameters(code)[name]
        self.max_dynamic_shared_size_bytes = 48 << 10

    def compile(self, log_stream=None):
        library(self.code)

    def __call__(self, grid, block, args, *, shared_mem=0, stream=None):
        run = getattr(library(self.code), f"run_{self.name}")
        if len(args) != len(self.kinds):
            raise TypeError(f"{self.name}: {len(args)} arguments for {len(self.kinds)} parameters")
        grid, block = ((*grid, 1, 1)[:3], (*block, 1, 1)[:3])
        if not (0 < np.prod(block) <= 1024 and block[2] <= 64 and 0 < grid[0] < 1 << 31 and all(0 < n < 1 << 16 for n in grid[1:])):
            raise RuntimeError(f"CUDA_ERROR_INVALID_VALUE: grid {grid}, block {block}")
        if shared_mem > min(self.max_dynamic_shared_size_bytes, 99 << 10):      # what every GPU from sm_80 on has
            raise RuntimeError(f"CUDA_ERROR_INVALID_VALUE: {shared_mem} bytes of dynamic shared memory, {self.max_dynamic_shared_size_bytes} allowed")
        values = [self._value(arg, kind, number) for number, (arg, kind) in enumerate(zip(args, self.kinds))]
        pointers = (ctypes.c_void_p * max(len(values), 1))(*[ctypes.cast(ctypes.pointer(v), ctypes.c_void_p) for v in values])
        LAUNCHES[self.name] = LAUNCHES.get(self.name, 0) + 1

        def launch(kept=(args, values)):          # what the pointers point to lives as long as a graph that has the launch
            if run(_Dim3(*map(int, grid)), _Dim3(*map(int, block)), pointers, ctypes.c_size_t(shared_mem)):
                raise LaunchError(f"CUDA_ERROR_LAUNCH_FAILED: {self.name} trapped, or a barrier was not reached by all threads")
        launch()
        from tests.support.cuda_standin import taped
        taped(launch)

    def _value(self, arg, kind, number):
        from tests.support.cuda_standin import STATE, ndarray
        where = f"{self.name}, parameter {number} ({kind})"
        if kind == "pointer":
            if isinstance(arg, ndarray):
                if arg.device.id != STATE.device:
                    raise ValueError(f"{where}: array of another device")
                return ctypes.c_void_p(arg.data.ptr)
            if isinstance(arg, (int, np.uint64)):
                return ctypes.c_void_p(int(arg))
            raise TypeError(f"{where}: needs a device array, not {type(arg)}")
        wanted = np.dtype(_SIZES[kind])
        if isinstance(arg, (bool, float)) and not isinstance(arg, np.generic) or isinstance(arg, int) and wanted.itemsize != 8:
            raise TypeError(f"{where}: pass a NumPy scalar of the right size, not {type(arg)}")
        if isinstance(arg, int):
            arg = np.int64(arg)
        if np.dtype(type(arg)).itemsize != wanted.itemsize or (np.dtype(type(arg)).kind == "f") != (wanted.kind == "f"):
            raise TypeError(f"{where}: got {type(arg)}")
        return (ctypes.c_char * wanted.itemsize).from_buffer_copy(wanted.type(arg).tobytes())


class cublaslt:
    """cuBLASLt as far as rushlight calls it, by way of ctypes: products of which the epilogue adds a bias. Descriptors are numbers into `made`."""

    LAUNCHED = 0
    made = {}

    @classmethod
    def _make(cls, target, value):
        target._obj.value = number = max(cls.made, default=0) + 1
        cls.made[number] = value
        return 0

    @classmethod
    def cublasLtMatmulDescCreate(cls, target, compute, scale):
        return cls._make(target, {"compute": compute.value, "scale": scale.value})

    @classmethod
    def cublasLtMatmulDescSetAttribute(cls, product, attribute, value, size):
        assert size.value == ctypes.sizeof(value._obj) == {3: 4, 7: 4, 8: 8}[attribute.value]
        cls.made[product.value][attribute.value] = value._obj.value
        return 0

    @classmethod
    def cublasLtMatrixLayoutCreate(cls, target, kind, rows, columns, leading):
        return cls._make(target, (kind.value, rows.value, columns.value, leading.value))

    @classmethod
    def cublasLtMatmulPreferenceCreate(cls, target):
        return cls._make(target, {})

    @classmethod
    def cublasLtMatmulPreferenceSetAttribute(cls, preference, attribute, value, size):
        assert (attribute.value, size.value) == (1, 8)
        return 0

    @classmethod
    def _destroy(cls, made):
        del cls.made[made.value]
        return 0

    @classmethod
    def cublasLtMatmulAlgoGetHeuristic(cls, handle, product, a, b, c, d, preference, wanted, result, count):
        count._obj.value = 1
        result._obj.algo[0] = 7
        return 0

    @classmethod
    def cublasLtMatmul(cls, handle, product, alpha, a, a_layout, b, b_layout, beta, c, c_layout, d, d_layout, algo, workspace, size, stream):
        what, ((kind, k, n, lda), (_, k2, m, ldb), (_, n2, m2, ldd)) = cls.made[product.value], [cls.made[each.value] for each in (a_layout, b_layout, d_layout)]
        assert algo._obj[0] == 7 and (k, n, m) == (k2, n2, m2) and (what[3], what[7], what["scale"]) == (1, 4, 0) and not what[8] & 15
        cublas.gemmStridedBatchedEx(handle.value, 1, 0, n, m, k, ctypes.addressof(alpha._obj), a.value, kind, lda, 0, b.value, kind, ldb, 0,
                                    ctypes.addressof(beta._obj), d.value, kind, ldd, 0, 1, what["compute"], -1)
        result, bias = cublas.matrix(d.value, kind, n, m, ldd, 0, 0), cublas.matrix(what[8], kind, n, 1, n, 0, 0)

        def add():
            result[...] = (result.astype(np.float32) + bias.astype(np.float32)).astype(result.dtype)
        add()
        from tests.support.cuda_standin import taped
        taped(add)
        cls.LAUNCHED += 1
        return 0


for _name in ("MatmulDescDestroy", "MatrixLayoutDestroy", "MatmulPreferenceDestroy"):
    setattr(cublaslt, f"cublasLt{_name}", cublaslt._destroy)


class cublas:
    """cupy_backends.cuda.libs.cublas, as far as rushlight calls it."""

    CUBLAS_OP_N, CUBLAS_OP_T = 0, 1
    CUBLAS_COMPUTE_32F, CUBLAS_COMPUTE_32F_FAST_TF32, CUBLAS_COMPUTE_64F = 68, 77, 70
    CUBLAS_GEMM_DEFAULT = -1
    CALLS = []

    @staticmethod
    def matrix(pointer, type_, rows, columns, leading, number, stride):
        """Matrix `number` of a batch, as an array on its memory."""
        if leading < max(1, rows):
            raise ValueError(f"CUBLAS_STATUS_INVALID_VALUE: leading dimension {leading} for {rows} rows")
        dtype = {0: np.dtype("f4"), 1: np.dtype("f8"), 2: np.dtype("f2")}.get(type_)
        if dtype is None:
            import ml_dtypes
            dtype = np.dtype(ml_dtypes.bfloat16)
        count = leading * (columns - 1) + rows
        raw = (ctypes.c_char * (count * dtype.itemsize)).from_address(pointer + number * stride * dtype.itemsize)
        flat = np.frombuffer(raw, dtype)
        return np.lib.stride_tricks.as_strided(flat, (rows, columns), (dtype.itemsize, leading * dtype.itemsize))

    @staticmethod
    def gemmStridedBatchedEx(handle, transa, transb, m, n, k, alpha, A, Atype, lda, strideA, B, Btype, ldb, strideB, beta, C, Ctype, ldc,
                             strideC, batchCount, computeType, algo):
        """C = alpha op(A) op(B) + beta C for each matrix of the batch; all matrices lie column by column."""
        cublas.CALLS.append((Atype, computeType))
        scalar = ctypes.c_double if computeType == cublas.CUBLAS_COMPUTE_64F else ctypes.c_float
        alpha, beta = scalar.from_address(alpha).value, scalar.from_address(beta).value

        matrix = cublas.matrix

        def multiply():
            for i in range(batchCount):
                one(i)

        def one(i):
            a = matrix(A, Atype, *((m, k) if transa == 0 else (k, m)), lda, i, strideA)
            b = matrix(B, Btype, *((k, n) if transb == 0 else (n, k)), ldb, i, strideB)
            c = matrix(C, Ctype, m, n, ldc, i, strideC)
            wide = np.float64 if scalar is ctypes.c_double else np.float32
            product = alpha * ((a.T if transa else a).astype(wide) @ (b.T if transb else b).astype(wide))
            c[...] = (product + beta * c.astype(wide) if beta else product).astype(c.dtype)
        multiply()
        from tests.support.cuda_standin import taped
        taped(multiply)
