"""Fragments of tensor cores: loaded from plain matrices in every way there is, multiplied by the emulator, compared with the plain product.

The layouts stand here a third time, as the PTX ISA words them (`documented`), apart from the kernels' text and the emulator's.
"""

import numpy as np
import pytest

from rushlight.kernels.cuda.source import Kernel
from rushlight.kernels.cuda.tensor_core import TENSOR_CORE, available
from tests.cuda.test_kernels import NVRTC, compile_for
from tests.support import cuda_standin

SIXTEEN = ("float16", "bfloat16")


@pytest.fixture(autouse=True)
def cupy():
    with cuda_standin.cuda() as module:
        yield module


def numbers(*shape, seed, dtype):
    import ml_dtypes
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    return np.random.default_rng(seed).integers(-9, 10, shape).astype(kind)      # products and sums of these are exact


def documented(dtype, which):
    """(lane, register, half) -> (row, column) of the element there."""
    table = {}
    for lane in range(32):
        group, member = lane >> 2, lane % 4
        if which == "d":
            for i in range(4):
                table[lane, i, 0] = (group if i < 2 else group + 8, member * 2 + (i & 1))
        elif dtype == "float32":
            for i in range(4 if which == "a" else 2):
                table[lane, i, 0] = ((group if i in (0, 2) else group + 8, member if i < 2 else member + 4) if which == "a" else
                                     (member if i == 0 else member + 4, group))
        elif which == "a":
            for i in range(8):
                table[lane, i // 2, i % 2] = (group if i < 2 or 4 <= i < 6 else group + 8, member * 2 + (i & 1) + (0 if i < 4 else 8))
        else:
            for i in range(4):
                table[lane, i // 2, i % 2] = (member * 2 + (i & 1) + (0 if i < 2 else 8), group)
    return table


_GIVEN = Kernel("tensor_core_given", TENSOR_CORE + r"""
template <class E> struct Call { static __device__ void run(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) { mma<E>(d, a, b); } };
template <> struct Call<float> { static __device__ void run(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) { mma_tf32(d, a, b); } };
extern "C" __global__ void kernel(const unsigned* a, const unsigned* b, float* d) {
    int t = threadIdx.x;
    unsigned left[4], right[2];
    float sum[4];
    for (int i = 0; i < 4; i++) { left[i] = a[t * 4 + i]; sum[i] = d[t * 4 + i]; }
    for (int i = 0; i < 2; i++) right[i] = b[t * 2 + i];
    Call<T>::run(sum, left, right);
    for (int i = 0; i < 4; i++) d[t * 4 + i] = sum[i];
}
""", ("float16", "bfloat16", "float32"))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_layouts_are_the_documented_ones(cupy, dtype):
    """Two warps get fragments that the test has laid out; the product and what was in d before come back in the documented layout of d."""
    k = 8 if dtype == "float32" else 16
    a, b, d = numbers(2, 16, k, seed=0, dtype=dtype), numbers(2, k, 8, seed=1, dtype=dtype), numbers(2, 16, 8, seed=2, dtype="float32")
    unit = np.uint32 if dtype == "float32" else np.uint16
    left, right, sums = np.zeros((2, 32, 4, 4 // unit().nbytes), unit), np.zeros((2, 32, 2, 4 // unit().nbytes), unit), np.zeros((2, 32, 4), np.float32)
    for matrix, which, target in ((a, "a", left), (b, "b", right)):
        table = documented(dtype, which)
        assert sorted(table.values()) == sorted(np.ndindex(matrix.shape[1:]))       # every element once
        for (lane, register, half), place in table.items():
            target[:, lane, register, half] = matrix[(slice(None), *place)].view(unit)
    for (lane, register, _), place in documented(dtype, "d").items():
        sums[:, lane, register] = d[(slice(None), *place)]
    result = cupy.asarray(sums)
    _GIVEN(dtype)((1,), (64,), (cupy.asarray(left), cupy.asarray(right), result))
    wanted = d + a.astype(np.float32) @ b.astype(np.float32)
    for (lane, register, _), place in documented(dtype, "d").items():
        np.testing.assert_array_equal(result.get()[:, lane, register], wanted[(slice(None), *place)])


# a (16 x 32) and b (32 x 16) go through shared memory by asynchronous copies, b by rows or by columns, a[1:] shows that row addresses count.
_LOADED = Kernel("tensor_core_loaded", TENSOR_CORE + r"""
extern "C" __global__ void kernel(const T* a, const T* b, float* d, int by_columns) {
    DYNAMIC_SHARED(memory);
    T (*as)[40] = (T (*)[40])memory, (*bs)[40] = (T (*)[40])(memory + 16 * 40 * sizeof(T));     // rows of 80 bytes
    int lane = threadIdx.x, rows = by_columns ? 16 : 32, columns = by_columns ? 32 : 16;
    for (int i = lane; i < 16 * 4; i += 32) copy16(&as[i / 4][i % 4 * 8], a + i * 8);
    copies_commit();
    for (int i = lane; i < rows * columns / 8; i += 32) copy16(&bs[i * 8 / columns][i * 8 % columns], b + i * 8);
    copies_commit();
    copies_wait<1>();
    __syncwarp();
    unsigned left[2][4], right[4];
    for (int k = 0; k < 2; k++) load4(left[k], &as[lane % 16][k * 16 + lane / 16 * 8]);
    copies_wait<0>();
    __syncwarp();
    for (int n = 0; n < 16; n += 8) {
        float sum[4] = {0, 0, 0, 0};
        if (by_columns) load4(right, &bs[n + lane % 8][lane / 8 * 8]);
        else load4_transposed(right, &bs[lane][n]);
        for (int k = 0; k < 2; k++) { unsigned half[2] = {right[k * 2], right[k * 2 + 1]}; mma<T>(sum, left[k], half); }
        for (int i = 0; i < 4; i++) d[(lane / 4 + i / 2 * 8) * 16 + n + lane % 4 * 2 + i % 2] = sum[i];
    }
}
""", SIXTEEN)


@pytest.mark.parametrize("dtype", SIXTEEN)
@pytest.mark.parametrize("by_columns", [False, True])
def test_matrices_of_shared_memory(cupy, dtype, by_columns):
    a, b = numbers(16, 32, seed=0, dtype=dtype), numbers(32, 16, seed=1, dtype=dtype)
    d = cupy.zeros((16, 16), np.float32)
    _LOADED(dtype)((1,), (32,), (cupy.asarray(a), cupy.asarray(np.ascontiguousarray(b.T if by_columns else b)), d, np.int32(by_columns)),
                   shared_mem=(16 + 32) * 80)
    np.testing.assert_array_equal(d.get(), a.astype(np.float32) @ b.astype(np.float32))


# tf32: a by rows through load4 (which sees 8 x 4 matrices of 32 bits), b by columns.
_TF32 = Kernel("tensor_core_tf32", TENSOR_CORE + r"""
extern "C" __global__ void kernel(const T* a, const T* b, float* d) {
    __shared__ __align__(16) unsigned as[16][12], bs[8][12];
    int lane = threadIdx.x;
    for (int i = lane; i < 128; i += 32) as[i / 8][i % 8] = tf32(a[i]);
    for (int i = lane; i < 64; i += 32) bs[i % 8][i / 8] = tf32(b[i]);
    __syncwarp();
    unsigned left[4], right[4];
    float sum[4] = {0, 0, 0, 0};
    load4(left, &as[lane % 16][lane / 16 * 4]);
    load4(right, &bs[lane % 8][lane / 8 % 2 * 4]);
    unsigned two[2] = {right[0], right[1]};
    mma_tf32(sum, left, two);
    for (int i = 0; i < 4; i++) d[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = sum[i];
}
""", ("float32",))


def rounded(a):
    """To 10 bits after the point, ties away from zero."""
    mantissa, exponent = np.frexp(a.astype(np.float64))
    return np.ldexp(np.copysign(np.floor(np.abs(mantissa) * 2048 + 0.5), mantissa) / 2048, exponent)


def test_tf32(cupy):
    a, b = np.random.default_rng(0).normal(size=(16, 8)).astype(np.float32), np.random.default_rng(1).normal(size=(8, 8)).astype(np.float32)
    d = cupy.zeros((16, 8), np.float32)
    _TF32("float32")((1,), (32,), (cupy.asarray(a), cupy.asarray(b), d))
    np.testing.assert_allclose(d.get(), rounded(a) @ rounded(b), rtol=1e-5, atol=1e-6)
    assert np.abs(d.get() - a.astype(np.float64) @ b).max() > 1e-5


# Copies that are not valid write zeros; reading before the wait finds what was there.
_COPIES = Kernel("tensor_core_copies", TENSOR_CORE + r"""
extern "C" __global__ void kernel(const float* a, float* early, float* late) {
    __shared__ __align__(16) float s[8];
    if (threadIdx.x < 8) s[threadIdx.x] = -1;
    __syncwarp();
    if (threadIdx.x == 0) { copy16(s, a); copy4(s + 4, a + 4); copy4(s + 5, a + 5, false); }
    copies_commit();
    if (threadIdx.x < 8) early[threadIdx.x] = s[threadIdx.x];
    __syncwarp();
    copies_wait<0>();
    __syncwarp();
    if (threadIdx.x < 8) late[threadIdx.x] = s[threadIdx.x];
}
""", ("float32",))


def test_copies(cupy):
    a, early, late = cupy.asarray(np.arange(8, dtype=np.float32)), cupy.zeros(8, np.float32), cupy.zeros(8, np.float32)
    _COPIES("float32")((1,), (32,), (a, early, late))
    assert early.get().tolist() == [-1] * 8 and late.get().tolist() == [0, 1, 2, 3, 4, 0, -1, -1]


_PACK = Kernel("tensor_core_pack", TENSOR_CORE + r"""
extern "C" __global__ void kernel(const float* a, unsigned* r) { r[threadIdx.x] = pack<T>(a[threadIdx.x * 2], a[threadIdx.x * 2 + 1]); }
""", SIXTEEN)


@pytest.mark.parametrize("dtype", SIXTEEN)
def test_pack(cupy, dtype):
    import ml_dtypes
    a, r = np.random.default_rng(0).normal(size=64).astype(np.float32), cupy.zeros(32, np.uint32)
    _PACK(dtype)((1,), (32,), (cupy.asarray(a), r))
    np.testing.assert_array_equal(r.get().view(np.uint16), a.astype(getattr(ml_dtypes, dtype, dtype)).view(np.uint16))


def test_launch_wants_no_more_shared_memory_than_there_is(cupy):
    with pytest.raises(RuntimeError, match="shared memory"):
        _LOADED("float16")((1,), (32,), (np.uint64(0), np.uint64(0), np.uint64(0), np.int32(0)), shared_mem=50 << 10)


def test_available(cupy):
    assert available()


@pytest.mark.skipif(NVRTC is None, reason="NVRTC is not installed: pip install nvidia-cuda-nvrtc-cu12")
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_compiles(architecture):
    for kernel in (_GIVEN, _LOADED, _TF32, _COPIES, _PACK):
        for dtype in kernel.dtypes:
            compile_for(kernel.source(dtype), kernel.entry(dtype), architecture)
