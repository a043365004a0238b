"""Convolutions as matrix products whose second factor is gathered on the way into shared memory; no matrix of columns exists.

Chetlur et al., "cuDNN: Efficient primitives for deep learning", 2014. Images are packed first with their channels side by side, filled up
to 16 bytes (`pack`), so that an asynchronous copy of 16 bytes brings the channels of one position, and one test of bounds serves all of
them.

`gather`: out[row, position] = sum over taps and channels of weights[row, tap, channel] * source[position * step + offset(tap), channel].
That is the convolution, and also its input gradient: positions of one residue modulo the stride (a *phase*) meet the same taps, at fixed
offsets, so each phase is a convolution of its own, with step 1. `correlate`: the weight gradient, products of positions, in slices that are
added in order afterwards.

A block computes a tile; its warps tensor-core products of 16-bit elements or TF32 (METHOD 1 and 2), its threads plain ones in the
arithmetic type (0).
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from .source import Kernel
from .tensor_core import TENSOR_CORE

__all__ = ["Tile", "tiled", "TILES", "METHODS", "PACK", "PACK_WEIGHTS", "SUM_SLICES", "ELEMENTS"]

ELEMENTS = {"float16": 8, "bfloat16": 8, "float32": 4, "float64": 2}       # in 16 bytes: a chunk


class Tile(NamedTuple):
    """Rows and columns of the result that a block computes, those of one warp (of a thread: 1/16 of the block's, METHOD 0), threads, stages
    of copies."""

    rows: int
    columns: int
    warp_rows: int
    warp_columns: int
    threads: int
    stages: int

    @property
    def shared(self) -> int:
        """Bytes of shared memory: per stage both factors, at most 80 bytes per row of a tile of positions (64 and padding, `gather`)."""
        return self.stages * 80 * (self.rows + self.columns)

    def problem(self) -> str:
        """Why the texts can't have this tile with tensor cores; "" where they can."""
        rows, columns, warp_rows, warp_columns, threads, stages = self
        if min(self) <= 0 or warp_rows % 16 or warp_columns % 16 or rows % warp_rows or columns % warp_columns:
            return "a warp's part is made of 16x16, and a block's of warps' parts"
        if rows // warp_rows * (columns // warp_columns) * 32 != threads or threads > 1024:
            return "there are 32 threads per warp's part, and at most 1024"
        if rows * 4 % threads or columns * 4 % threads or any(threads % (each // chunk) for each in (rows, columns) for chunk in (4, 8)):
            return "threads share the copies of rows and of columns evenly"
        return "" if 2 <= stages <= 8 else "2 to 8 stages"

    def text(self, method: int) -> str:
        """What the kernels' texts call these numbers."""
        return (f"#define METHOD {method}\n#define BM {self.rows}\n#define BN {self.columns}\n#define WM {self.warp_rows}\n#define WN "
                f"{self.warp_columns}\n"
                f"#define THREADS {self.threads}\n#define STAGES {self.stages}\n")


_COMMON = TENSOR_CORE + r"""
#define CHUNK (16 / (int)sizeof(T))
#define BK (64 / (int)sizeof(T))
struct Divisor { unsigned multiplier; int shift, value; };      // Granlund and Montgomery 1994, for numbers below 2 ** 31
__device__ __forceinline__ int divided(int n, Divisor d) { return (int)((__umulhi(d.multiplier, (unsigned)n) + (unsigned)n) >> d.shift); }
struct __align__(16) Chunk { T v[CHUNK]; };
struct __align__(8) Pair { float a, b; };

#if METHOD == 0
#define TM (BM / 16)
#define TN (BN / 16)
typedef A Sums[TM][TN];
#else
#define TM (WM / 16)
#define TN (WN / 8)
typedef float Sums[TM][TN][4];
#if METHOD == 1
__device__ __forceinline__ void product(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) { mma<T>(d, a, b); }
#else
__device__ __forceinline__ void product(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) { mma_tf32(d, a, b); }
#endif
#endif
__device__ __forceinline__ void clear(Sums& sums) {
    for (int i = 0; i < (int)(sizeof(Sums) / sizeof(A)); i++) ((A*)&sums)[i] = (A)0;
}
"""

# Both tiles lie by rows of 64 bytes along the sum and 16 of padding, which keeps rows on different banks.
_GATHER = _COMMON + r"""
#define PITCH 80
#define A_ROWS (BM * 4 / THREADS)
#define B_ROWS (BN * 4 / THREADS)
struct Place { int at, z, y, x; };

__device__ __forceinline__ void multiply(Sums& sums, const unsigned char* as, const unsigned char* bs) {
#if METHOD == 0
    const unsigned char *a = as + threadIdx.x / 16 * PITCH, *b = bs + threadIdx.x % 16 * PITCH;
#pragma unroll 1
    for (int k = 0; k < 4; k++) {
        Chunk left[TM];
#pragma unroll
        for (int i = 0; i < TM; i++) left[i] = *(const Chunk*)(a + i * 16 * PITCH + k * 16);
#pragma unroll
        for (int j = 0; j < TN; j++) {
            Chunk right = *(const Chunk*)(b + j * 16 * PITCH + k * 16);
#pragma unroll
            for (int e = 0; e < CHUNK; e++)
#pragma unroll
                for (int i = 0; i < TM; i++) sums[i][j] += (A)load(left[i].v[e]) * (A)load(right.v[e]);
        }
    }
#else
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const unsigned char* a = as + (warp % (BM / WM) * WM + lane % 16) * PITCH + lane / 16 * 16;
    const unsigned char* b = bs + (warp / (BM / WM) * WN + lane % 8 + lane / 16 * 8) * PITCH + lane / 8 % 2 * 16;
#pragma unroll
    for (int k = 0; k < 2; k++) {
        unsigned left[TM][4];
#pragma unroll
        for (int i = 0; i < TM; i++) load4(left[i], a + i * 16 * PITCH + k * 32);
#pragma unroll
        for (int j = 0; j < TN; j += 2) {
            unsigned both[4];
            load4(both, b + j * 8 * PITCH + k * 32);
            unsigned first[2] = {both[0], both[1]}, second[2] = {both[2], both[3]};
#pragma unroll
            for (int i = 0; i < TM; i++) { product(sums[i][j], left[i], first); product(sums[i][j + 1], left[i], second); }
        }
    }
#endif
}

// phase: 16 numbers {first tap, end of taps, positions, where its first position lies in the result (3), its counts of positions (3), divisors' multipliers and shifts (6)}
extern "C" __global__ void __launch_bounds__(THREADS, 2) kernel(const T* __restrict__ source, const T* __restrict__ weights, const T* bias, T* __restrict__ out,
        const int4* __restrict__ taps, const int* __restrict__ phases, int rows, int groups, int chunks, int all_taps, int d0, int d1, int d2, int t0, int t1, int t2,
        int v0, int v1, int v2, int u1, int u2, int area) {
    DYNAMIC_SHARED(memory);
    int row_tiles = (rows + BM - 1) / BM, first_row = blockIdx.x % row_tiles * BM, first_column = blockIdx.x / row_tiles * BN;
    int group = blockIdx.z % groups;
    const int* phase = phases + blockIdx.z / groups * 16;
    int positions = phase[2];
    if (first_column >= positions) return;
    int tap = phase[0], end = phase[1];
    Divisor by0 = {(unsigned)phase[9], phase[10], phase[6]}, by1 = {(unsigned)phase[11], phase[12], phase[7]}, by2 = {(unsigned)phase[13], phase[14], phase[8]};

    // What this thread copies: chunk threadIdx.x % 4 of several rows of each tile.
    int line = threadIdx.x / 4, c = threadIdx.x % 4;
    Place places[B_ROWS];
#pragma unroll
    for (int i = 0; i < B_ROWS; i++) {
        int p = first_column + line + i * (THREADS / 4);
        int q = divided(p, by2), x = (p - q * by2.value) * t2;
        int r = divided(q, by1), y = (q - r * by1.value) * t1;
        int n = divided(r, by0), z = (r - n * by0.value) * t0;
        places[i] = {((n * d0 + z) * d1 + y) * d2 + x, p < positions ? z : -(1 << 30), y, x};
    }
    int row_step = all_taps * chunks, steps = ((end - tap) * chunks + 3) / 4;
    const Chunk* row = (const Chunk*)weights + (long long)(group * rows + first_row + line) * row_step;
    while (c >= chunks && tap < end) { c -= chunks; tap++; }

    auto fetch = [&](int stage) {
        unsigned char *as = memory + stage * PITCH * (BM + BN) + line * PITCH + threadIdx.x % 4 * 16, *bs = as + BM * PITCH;
        bool there = tap < end;
        int4 offset = {0, 0, 0, 0};
        if (there) offset = taps[tap];
#pragma unroll
        for (int i = 0; i < A_ROWS; i++) {
            int r = i * (THREADS / 4);
            bool valid = there && first_row + line + r < rows;
            copy16(as + r * PITCH, valid ? row + (long long)r * row_step + tap * chunks + c : (const Chunk*)weights, valid);
        }
#pragma unroll
        for (int i = 0; i < B_ROWS; i++) {
            bool valid = there && (unsigned)(places[i].z + offset.x) < (unsigned)d0 && (unsigned)(places[i].y + offset.y) < (unsigned)d1 &&
                         (unsigned)(places[i].x + offset.z) < (unsigned)d2;
            copy16(bs + i * (THREADS / 4) * PITCH, valid ? (const Chunk*)source + ((long long)(places[i].at + offset.w) * groups + group) * chunks + c : (const Chunk*)source, valid);
        }
        c += 4;
        while (c >= chunks && tap < end) { c -= chunks; tap++; }
    };
    Sums sums;
    clear(sums);
#pragma unroll
    for (int s = 0; s < STAGES - 1; s++) { if (s < steps) fetch(s); copies_commit(); }
    int reading = 0, writing = STAGES - 1;
    for (int step = 0; step < steps; step++) {
        copies_wait<STAGES - 2>();
        __syncthreads();                       // this stage is there for all, and nobody reads the one before any more
        if (step + STAGES - 1 < steps) fetch(writing);
        copies_commit();
        const unsigned char* as = memory + reading * PITCH * (BM + BN);
        multiply(sums, as, as + BM * PITCH);
        reading = reading + 1 == STAGES ? 0 : reading + 1;
        writing = writing + 1 == STAGES ? 0 : writing + 1;
    }

    long long image = (long long)groups * rows * area;
    auto target = [&](int p) {
        int q = divided(p, by2), x = (p - q * by2.value) * v2 + phase[5];
        int r = divided(q, by1), y = (q - r * by1.value) * v1 + phase[4];
        int n = divided(r, by0), z = (r - n * by0.value) * v0 + phase[3];
        return out + n * image + (long long)group * rows * area + ((long long)z * u1 + y) * u2 + x;
    };
#if METHOD == 0
#pragma unroll
    for (int j = 0; j < TN; j++) {
        int p = first_column + threadIdx.x % 16 + j * 16;
        if (p >= positions) continue;
        T* to = target(p);
#pragma unroll
        for (int i = 0; i < TM; i++) {
            int r = first_row + threadIdx.x / 16 + i * 16;
            if (r < rows) store(to + (long long)r * area, bias ? sums[i][j] + (A)load(bias[group * rows + r]) : sums[i][j]);
        }
    }
#else
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
    for (int j = 0; j < TN; j++) {
        int p = first_column + warp / (BM / WM) * WN + j * 8 + lane % 4 * 2;
        if (p >= positions) continue;
        T *to = target(p), *next = p + 1 < positions ? target(p + 1) : (T*)0;
        bool together = next == to + 1 && ((size_t)to % (2 * sizeof(T))) == 0 && area % 2 == 0;
#pragma unroll
        for (int i = 0; i < TM; i++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                int r = first_row + warp % (BM / WM) * WM + i * 16 + lane / 4 + half * 8;
                if (r >= rows) continue;
                float more = bias ? load(bias[group * rows + r]) : 0.0f, a = sums[i][j][half * 2] + more, b = sums[i][j][half * 2 + 1] + more;
                if (together) {
#if METHOD == 1
                    *(unsigned*)(to + (long long)r * area) = pack<T>(a, b);
#else
                    *(Pair*)(to + (long long)r * area) = {a, b};
#endif
                } else {
                    store(to + (long long)r * area, a);
                    if (next) store(next + (long long)r * area, b);
                }
            }
    }
#endif
}
"""

# Both tiles lie position by position, the channels side by side; the padding keeps what a warp reads at once on different banks.
_CORRELATE = _COMMON + r"""
#define PADDING (sizeof(T) == 2 ? 16 : 32)
#define A_PITCH (BM * (int)sizeof(T) + PADDING)
#define B_PITCH (BN * (int)sizeof(T) + PADDING)
#define A_LINE (BM / CHUNK)
#define B_LINE (BN / CHUNK)
struct __align__(sizeof(T) == 8 ? 16 : 4 * sizeof(T)) Four { T v[4]; };

__device__ __forceinline__ void multiply(Sums& sums, const unsigned char* as, const unsigned char* bs) {
#if METHOD == 0
    const unsigned char *a = as + threadIdx.x / 16 * 4 * sizeof(T), *b = bs + threadIdx.x % 16 * 4 * sizeof(T);
#pragma unroll
    for (int k = 0; k < BK; k++) {
        Four left[TM / 4], right[TN / 4];
#pragma unroll
        for (int i = 0; i < TM / 4; i++) left[i] = *(const Four*)(a + k * A_PITCH + i * 64 * sizeof(T));
#pragma unroll
        for (int j = 0; j < TN / 4; j++) right[j] = *(const Four*)(b + k * B_PITCH + j * 64 * sizeof(T));
#pragma unroll
        for (int i = 0; i < TM; i++)
#pragma unroll
            for (int j = 0; j < TN; j++) sums[i][j] += (A)load(left[i / 4].v[i % 4]) * (A)load(right[j / 4].v[j % 4]);
    }
#elif METHOD == 1
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const unsigned char* a = as + (lane % 8 + lane / 16 * 8) * A_PITCH + (warp % (BM / WM) * WM + lane / 8 % 2 * 8) * 2;
    const unsigned char* b = bs + lane % 16 * B_PITCH + (warp / (BM / WM) * WN + lane / 16 * 8) * 2;
#pragma unroll
    for (int k = 0; k < 2; k++) {
        unsigned left[TM][4];
#pragma unroll
        for (int i = 0; i < TM; i++) load4_transposed(left[i], a + k * 16 * A_PITCH + i * 32);
#pragma unroll
        for (int j = 0; j < TN; j += 2) {
            unsigned both[4];
            load4_transposed(both, b + k * 16 * B_PITCH + j * 16);
            unsigned first[2] = {both[0], both[1]}, second[2] = {both[2], both[3]};
#pragma unroll
            for (int i = 0; i < TM; i++) { product(sums[i][j], left[i], first); product(sums[i][j + 1], left[i], second); }
        }
    }
#else
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const unsigned char* a = as + lane % 4 * A_PITCH + (warp % (BM / WM) * WM + lane / 4) * 4;
    const unsigned char* b = bs + lane % 4 * B_PITCH + (warp / (BM / WM) * WN + lane / 4) * 4;
#pragma unroll
    for (int k = 0; k < 2; k++) {
        unsigned left[TM][4];
#pragma unroll
        for (int i = 0; i < TM; i++)
#pragma unroll
            for (int r = 0; r < 4; r++) left[i][r] = *(const unsigned*)(a + (k * 8 + r / 2 * 4) * A_PITCH + (i * 16 + r % 2 * 8) * 4);
#pragma unroll
        for (int j = 0; j < TN; j++) {
            unsigned right[2] = {*(const unsigned*)(b + k * 8 * B_PITCH + j * 32), *(const unsigned*)(b + (k * 8 + 4) * B_PITCH + j * 32)};
#pragma unroll
            for (int i = 0; i < TM; i++) product(sums[i][j], left[i], right);
        }
    }
#endif
}

// partial[slice, group, row, tap, channel] = sum over the slice's positions of g[position, row] * x[position * step + offset(tap), channel]
extern "C" __global__ void __launch_bounds__(THREADS, 2) kernel(const T* __restrict__ g, const T* __restrict__ x, A* __restrict__ partial, const int4* __restrict__ taps,
        const int* __restrict__ phase, int rows, int groups, int row_chunks, int chunks, int all_taps, int per_slice, int d0, int d1, int d2, int t0, int t1, int t2) {
    DYNAMIC_SHARED(memory);
    int row_tiles = (rows + BM - 1) / BM, first_row = blockIdx.x % row_tiles * BM, first_column = blockIdx.x / row_tiles * BN;
    int group = blockIdx.z, slice = blockIdx.y, positions = phase[2];
    Divisor by0 = {(unsigned)phase[9], phase[10], phase[6]}, by1 = {(unsigned)phase[11], phase[12], phase[7]}, by2 = {(unsigned)phase[13], phase[14], phase[8]};
    int first = slice * per_slice, last = min(first + per_slice, positions), steps = (last - first + BK - 1) / BK;

    int row_chunk = first_row / CHUNK + threadIdx.x % A_LINE, column_chunk = first_column / CHUNK + threadIdx.x % B_LINE;
    int tap = column_chunk / chunks, c = column_chunk - tap * chunks;
    bool row_there = row_chunk < row_chunks, column_there = tap < all_taps;
    int4 offset = {0, 0, 0, 0};
    if (column_there) offset = taps[tap];

    auto fetch = [&](int step, int stage) {
        unsigned char *as = memory + stage * BK * (A_PITCH + B_PITCH), *bs = as + BK * A_PITCH;
#pragma unroll
        for (int k = threadIdx.x / A_LINE; k < BK; k += THREADS / A_LINE) {
            int p = first + step * BK + k;
            bool valid = row_there && p < last;
            copy16(as + k * A_PITCH + threadIdx.x % A_LINE * 16, valid ? (const Chunk*)g + ((long long)p * groups + group) * row_chunks + row_chunk : (const Chunk*)g, valid);
        }
#pragma unroll
        for (int k = threadIdx.x / B_LINE; k < BK; k += THREADS / B_LINE) {
            int p = first + step * BK + k;
            int q = divided(p, by2), u = (p - q * by2.value) * t2 + offset.z;
            int r = divided(q, by1), v = (q - r * by1.value) * t1 + offset.y;
            int n = divided(r, by0), w = (r - n * by0.value) * t0 + offset.x;
            bool valid = column_there && p < last && (unsigned)w < (unsigned)d0 && (unsigned)v < (unsigned)d1 && (unsigned)u < (unsigned)d2;
            copy16(bs + k * B_PITCH + threadIdx.x % B_LINE * 16,
                   valid ? (const Chunk*)x + ((long long)(((n * d0 + w) * d1 + v) * d2 + u) * groups + group) * chunks + c : (const Chunk*)x, valid);
        }
    };
    Sums sums;
    clear(sums);
#pragma unroll
    for (int s = 0; s < STAGES - 1; s++) { if (s < steps) fetch(s, s); copies_commit(); }
    int reading = 0, writing = STAGES - 1;
    for (int step = 0; step < steps; step++) {
        copies_wait<STAGES - 2>();
        __syncthreads();
        if (step + STAGES - 1 < steps) fetch(step + STAGES - 1, writing);
        copies_commit();
        const unsigned char* as = memory + reading * BK * (A_PITCH + B_PITCH);
        multiply(sums, as, as + BK * A_PITCH);
        reading = reading + 1 == STAGES ? 0 : reading + 1;
        writing = writing + 1 == STAGES ? 0 : writing + 1;
    }

    int width = all_taps * chunks * CHUNK;
    A* to = partial + (long long)(slice * groups + group) * rows * width;
#if METHOD == 0
#pragma unroll
    for (int i = 0; i < TM; i++)
#pragma unroll
        for (int j = 0; j < TN; j++) {
            int r = first_row + i / 4 * 64 + threadIdx.x / 16 * 4 + i % 4, column = first_column + j / 4 * 64 + threadIdx.x % 16 * 4 + j % 4;
            if (r < rows && column < width) to[(long long)r * width + column] = sums[i][j];
        }
#else
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
    for (int i = 0; i < TM; i++)
#pragma unroll
        for (int j = 0; j < TN; j++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                int r = first_row + warp % (BM / WM) * WM + i * 16 + lane / 4 + half * 8, column = first_column + warp / (BM / WM) * WN + j * 8 + lane % 4 * 2;
                if (r < rows && column < width) *(Pair*)(to + (long long)r * width + column) = {sums[i][j][half * 2], sums[i][j][half * 2 + 1]};
            }
#endif
}
"""

_TENSOR = (Tile(128, 128, 64, 64, 128, 4), Tile(64, 128, 32, 64, 128, 4), Tile(64, 64, 32, 32, 128, 4))
_PLAIN = (Tile(128, 128, 0, 0, 256, 3), Tile(64, 64, 0, 0, 256, 3))
METHODS = {"plain": (0, _PLAIN, ("float32", "float64", "float16", "bfloat16")), "half": (1, _TENSOR, ("float16", "bfloat16")),
           "tf32": (2, _TENSOR, ("float32",))}

# method -> its tiles, the largest first. Large plain tiles are for float32: others would not fit the registers.
TILES: dict[str, tuple[Tile, ...]] = {method: tiles for method, (_, tiles, _) in METHODS.items()}
_TEXTS = {"gather": _GATHER, "correlate": _CORRELATE}


@cache
def tiled(name: str, method: str, tile: Tile) -> Kernel:
    """The kernel "gather" or "correlate" with this tile; ValueError where the texts do not allow it."""
    number, usual, dtypes = METHODS[method]
    if tile not in usual and (why := tile.problem()):
        raise ValueError(f"convolution: {tile} is no tile for tensor cores: {why}")
    end = "" if tile in usual else f"_{tile.warp_rows}x{tile.warp_columns}_{tile.stages}"
    some = ("float32",) if method == "plain" and tile.rows == 128 else dtypes
    return Kernel(f"conv_{name}_{method}_{tile.rows}x{tile.columns}{end}", tile.text(number) + _TEXTS[name], some, tile.shared)


for _method, _tiles in TILES.items():
    for _tile in _tiles:
        for _name in _TEXTS:
            tiled(_name, _method, _tile)

# (N, groups * channels, area) -> (N, area, groups, channels filled up to whole chunks). A block turns 32 channels of 64 positions around.
PACK = Kernel("conv_pack", TENSOR_CORE + r"""
#define CHUNK (16 / (int)sizeof(T))
struct __align__(16) Chunk { T v[CHUNK]; };
extern "C" __global__ void kernel(const T* __restrict__ x, T* __restrict__ packed, int groups, int channels, int chunks, int area, int round) {
    __shared__ T tile[32][64 + 4 / sizeof(T) % 4 + (sizeof(T) == 8)];
    int across = (area + 63) / 64, down = (chunks * CHUNK + 31) / 32;
    long long b = blockIdx.x;
    int first_p = (int)(b % across) * 64; b /= across;
    int first_c = (int)(b % down) * 32; b /= down;          // b: sample * groups + group
    const T* from = x + b * channels * area;
    for (int i = threadIdx.x; i < 32 * 64; i += blockDim.x) {
        int c = first_c + i / 64, p = first_p + i % 64;
        T v = {};
        if (c < channels && p < area) v = from[(long long)c * area + p];
        tile[i / 64][i % 64] = v;
    }
    __syncthreads();
    long long n = b / groups, group = b % groups;
    for (int i = threadIdx.x; i < 64 * (32 / CHUNK); i += blockDim.x) {
        int c = i % (32 / CHUNK), p = i / (32 / CHUNK);
        if (first_p + p >= area || first_c / CHUNK + c >= chunks) continue;
        Chunk chunk;
        for (int e = 0; e < CHUNK; e++) {
            chunk.v[e] = tile[c * CHUNK + e][p];
            if (sizeof(T) == 4 && round) store(&chunk.v[e], __uint_as_float(tf32((float)load(chunk.v[e]))));
        }
        ((Chunk*)packed)[((n * area + first_p + p) * groups + group) * chunks + first_c / CHUNK + c] = chunk;
    }
}
""")

# packed[group, row, tap, channel] = w[group * group_step + row * row_step + channel * channel_step + order[tap]]
PACK_WEIGHTS = Kernel("conv_pack_weights", TENSOR_CORE + r"""
extern "C" __global__ void kernel(const T* __restrict__ w, T* __restrict__ packed, const int* __restrict__ order, long long n, int rows, int channels, int filled, int taps,
                                  long long group_step, long long row_step, long long channel_step, int round) {
    long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (i >= n) return;
    long long q = i / filled;
    int c = (int)(i - q * filled), tap = (int)(q % taps);
    q /= taps;
    T v = {};
    if (c < channels) v = w[q / rows * group_step + q % rows * row_step + c * channel_step + order[tap]];
    if (sizeof(T) == 4 && round) store(&v, __uint_as_float(tf32((float)load(v))));
    packed[i] = v;
}
""")

# w[row, channel, tap] = sum over slices, in their order, of partial[slice, row, tap, channel]; row: group * rows + row.
SUM_SLICES = Kernel("conv_sum_slices", r"""
extern "C" __global__ void kernel(const A* __restrict__ partial, T* __restrict__ w, long long n, int slices, int channels, int filled, int taps) {
    long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (i >= n) return;
    long long q = i / filled;
    int c = (int)(i - q * filled);
    if (c >= channels) return;
    A sum = (A)0;
    for (int s = 0; s < slices; s++) sum += partial[s * n + i];
    store(w + (q / taps * channels + c) * taps + q % taps, sum);
}
""")
