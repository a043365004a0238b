// Products of float16 and bfloat16 matrices: sums in float, rounded once. Both sides are packed into panels (tile.h), as floats, or, where the
// processor has AVX512-BF16, as pairs of bfloat16 along the inner dimension, which vdpbf16ps multiplies two at a time. One side of few rows (a
// vector times a matrix) is not worth packing: the matrix is read as it lies.
#include "halves.h"

#include <algorithm>
#include <atomic>
#include <vector>

#include "loops.h"
#include "batch.h"
#include "pool.h"
#include "tile.h"

#if defined(__AVX512F__) && defined(__GNUC__)
#include <immintrin.h>
#define RL_BF16_PAIRS 1
#else
#define RL_BF16_PAIRS 0
#endif

namespace rushlight {
namespace {

constexpr int WIDE = COLUMNS<float>, L = LANES<float>;
constexpr float zero = 0.0f;

// Elements (i, k) of one side at data[i * row + k * inner]: i are the result's rows (or columns), k what is summed over.
struct Side {
    const std::uint16_t* data;
    index_t row, inner;
};

bool have_pairs() {
#if RL_BF16_PAIRS
    static const bool have = __builtin_cpu_supports("avx512bf16");
    return have;
#else
    return false;
#endif
}

// A panel's memory, in floats (a pair of bfloat16 is as large as one).
index_t panel_depth(index_t depth, bool pairs) { return pairs ? (depth + 1) / 2 : depth; }

struct Buffers {
    Scratch left, right, lines;
};
Buffers& buffers() {
    static thread_local Buffers memory;
    return memory;
}

// The rows [first, first + n) of a side, n <= LANES, as lines of floats or pairs that may be turned; nullptr where they lie so already.
void copy_lines(Type type, const Side& side, index_t first, int n, index_t depth, bool pairs, const float** lines) {
    const index_t size = panel_depth(depth, pairs);
    const bool in_place = pairs && side.inner == 1 && depth % 2 == 0 && side.row % 2 == 0 && reinterpret_cast<std::uintptr_t>(side.data + first * side.row) % 4 == 0;
    float* copy = in_place ? nullptr : buffers().lines.get<float>(size * L);
    for (int r = 0; r < n; ++r) {
        const std::uint16_t* from = side.data + (first + r) * side.row;
        if (in_place) {
            lines[r] = reinterpret_cast<const float*>(from);
            continue;
        }
        lines[r] = copy + r * size;
        if (pairs) {
            std::uint16_t* to = reinterpret_cast<std::uint16_t*>(copy + r * size);
            for (index_t k = 0; k < depth; ++k) to[k] = from[k * side.inner];
            if (depth % 2 != 0) to[depth] = 0;
        } else {
            load(type, F32, reinterpret_cast<const char*>(from), 2 * side.inner, copy + r * size, depth);
        }
    }
    for (int r = n; r < L; ++r) lines[r] = lines[0];
}

// Rows [first, first + n) of a side as a panel: depth x width, filled up with zeros. May write LANES elements behind its end.
void pack_lines(Type type, const Side& side, index_t first, int n, int width, index_t depth, bool pairs, float* to) {
    const index_t size = panel_depth(depth, pairs);
    for (int part = 0; part < width; part += L) {
        const float* lines[L];
        const int lanes = std::max(0, std::min(L, n - part));
        if (lanes > 0) {
            copy_lines(type, side, first + part, lanes, depth, pairs, lines);
            transpose_rows<float>(to + part, width, lines, lanes, size, width >= part + L || part == 0);
        } else {
            for (index_t k = 0; k < size; ++k) std::fill(to + k * width + part, to + k * width + std::min(part + L, width), 0.0f);
        }
    }
}

// The same of a side whose rows lie side by side, for one k (or two).
void pack_across(Type type, const std::uint16_t* low, const std::uint16_t* high, int n, int width, bool pairs, float* to) {
    if (!pairs) {
        load(type, F32, reinterpret_cast<const char*>(low), 2, to, n);
    } else {
        std::uint32_t* pair = reinterpret_cast<std::uint32_t*>(to);
        if (n == WIDE && high != nullptr) {
#pragma omp simd
            for (int j = 0; j < WIDE; ++j) pair[j] = low[j] | static_cast<std::uint32_t>(high[j]) << 16;
        } else {
            for (int j = 0; j < n; ++j) pair[j] = low[j] | (high == nullptr ? 0 : static_cast<std::uint32_t>(high[j]) << 16);
        }
    }
    std::fill(to + n, to + width, 0.0f);
}

// Rows [begin, end) of a side as panels of `panel` rows, one after the other; with `fill`, the last one has as many rows as the others.
void pack(Type type, const Side& side, index_t begin, index_t end, int panel, bool fill, index_t depth, bool pairs, float* to) {
    const index_t size = panel_depth(depth, pairs), each = pairs ? 2 : 1;
    const auto rows = [&](index_t r) { return static_cast<int>(std::min<index_t>(panel, end - r)); };
    const auto width = [&](index_t r) { return fill ? panel : rows(r); };
    if (side.row != 1) {
        for (index_t r = begin; r < end; r += panel) pack_lines(type, side, r, rows(r), width(r), depth, pairs, to + (r - begin) * size);
        return;
    }
    for (index_t k = 0; k < depth; k += each) {  // all panels in one go: memory is read in its order
        const std::uint16_t* low = side.data + k * side.inner;
        const std::uint16_t* high = pairs && k + 1 < depth ? low + side.inner : nullptr;
        for (index_t r = begin; r < end; r += panel) {
            pack_across(type, low + r, high == nullptr ? nullptr : high + r, rows(r), width(r), pairs, to + (r - begin) * size + k / each * width(r));
        }
    }
}

#if RL_BF16_PAIRS
// A tile of the result from panels of pairs, `bias` (or null) added to its rows: as bfloat16 to `out`, rows `step` apart, or as floats to z.
template <int R>
__attribute__((target("avx512bf16"))) void pair_tile(index_t depth, const float* a, const float* b, const float* bias, std::uint16_t* out, index_t step, float* z) {
    __m512 sum[R][2];
    const __m512 start0 = bias == nullptr ? _mm512_setzero_ps() : _mm512_loadu_ps(bias), start1 = bias == nullptr ? start0 : _mm512_loadu_ps(bias + L);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
        sum[r][0] = start0;
        sum[r][1] = start1;
    }
    for (index_t k = 0; k < depth; ++k) {
        const __m512bh b0 = (__m512bh)_mm512_loadu_ps(b), b1 = (__m512bh)_mm512_loadu_ps(b + L);
        _mm_prefetch(reinterpret_cast<const char*>(b + 16 * WIDE), _MM_HINT_T0);
        _mm_prefetch(reinterpret_cast<const char*>(b + 16 * WIDE + L), _MM_HINT_T0);
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
            const __m512bh x = (__m512bh)_mm512_set1_ps(a[r]);
            sum[r][0] = _mm512_dpbf16_ps(sum[r][0], x, b0);
            sum[r][1] = _mm512_dpbf16_ps(sum[r][1], x, b1);
        }
        a += R;
        b += WIDE;
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
        if (out != nullptr) {
            _mm512_storeu_si512(out + r * step, (__m512i)_mm512_cvtne2ps_pbh(sum[r][1], sum[r][0]));
        } else {
            _mm512_storeu_ps(z + r * WIDE, sum[r][0]);
            _mm512_storeu_ps(z + r * WIDE + L, sum[r][1]);
        }
    }
}

using PairTile = void (*)(index_t depth, const float* a, const float* b, const float* bias, std::uint16_t* out, index_t step, float* z);
template <std::size_t... R> PairTile pair_tile_of(int rows, std::index_sequence<R...>) {
    static constexpr PairTile table[] = {pair_tile<static_cast<int>(R) + 1>...};
    return table[rows - 1];
}
#endif

// One matrix product: out (m x n, contiguous) = a b' (+ bias), a and b as sides.
struct Product {
    Type type;
    bool pairs;
    index_t m, n, depth;
    const float* bias;  // or null

    index_t size() const { return panel_depth(depth, pairs); }
    index_t blocks() const { return (n + WIDE - 1) / WIDE; }

    void pack_right(const Side& b, index_t begin, index_t end, float* right) const {
        pack(type, b, begin * WIDE, std::min(n, end * WIDE), WIDE, true, depth, pairs, right + begin * size() * WIDE);
    }
    // Rows [begin, end) of the result.
    void rows(const Side& a, const float* right, std::uint16_t* out, index_t begin, index_t end) const {
        const int panel = panel_rows(end - begin);
        float* left = buffers().left.get<float>((end - begin) * size() + 2 * L);
        pack(type, a, begin, end, panel, false, depth, pairs, left);
        alignas(64) float z[ROWS * WIDE];
        for (index_t block = 0; block < blocks(); ++block) {
            const index_t column = block * WIDE, width = std::min<index_t>(WIDE, n - column);
            for (index_t r = begin; r < end; r += panel) {
                const int count = static_cast<int>(std::min<index_t>(panel, end - r));
                const float *a_panel = left + (r - begin) * size(), *b_panel = right + block * size() * WIDE;
                const float* added = bias == nullptr ? nullptr : bias + column;
                std::uint16_t* to = out + r * n + column;
#if RL_BF16_PAIRS
                if (pairs) {
                    const bool whole = width == WIDE;
                    pair_tile_of(count, std::make_index_sequence<ROWS>())(size(), a_panel, b_panel, whole ? added : nullptr, whole ? to : nullptr, n, z);
                    if (whole) continue;
                } else
#endif
                    tile_for<float>(count)(size(), a_panel, b_panel, z, WIDE, nullptr, false);
                for (int i = 0; i < count; ++i) finish(z + i * WIDE, added, width, to + i * n);
            }
        }
    }
    void finish(float* z, const float* added, index_t width, std::uint16_t* to) const {
        if (added != nullptr) {
            for (index_t j = 0; j < width; ++j) z[j] += added[j];
        }
        if (width == WIDE && type == BF16) {  // the usual case as a loop of known length
#pragma omp simd
            for (int j = 0; j < WIDE; ++j) to[j] = to_bfloat16(z[j]);
        } else {
            store(F32, type, z, reinterpret_cast<char*>(to), 2, width);
        }
    }
};

constexpr index_t STRIP = 8 * ROWS;  // rows whose left panels stay in the second-level cache

void multiply_one(const Product& p, const Side& a, const Side& b, std::uint16_t* out) {
    float* right = buffers().right.get<float>(p.blocks() * p.size() * WIDE + 2 * L);
    p.pack_right(b, 0, p.blocks(), right);
    for (index_t r = 0; r < p.m; r += STRIP) p.rows(a, right, out, r, std::min(p.m, r + STRIP));
}

// The same on all threads.
void multiply_shared(const Product& p, const Side& a, const Side& b, std::uint16_t* out) {
    float* right = buffers().right.get<float>(p.blocks() * p.size() * WIDE + 2 * L);
    parallel_for(p.blocks(), 1 + 16384 / (p.depth * WIDE), [&](index_t begin, index_t end) { p.pack_right(b, begin, end, right); });
    // Many small strips, taken one by one: a thread that comes late does not keep the others waiting.
    const index_t threads = thread_count(), strip = std::min(STRIP, std::max<index_t>(2, p.m / (threads * 16 * ROWS)) * ROWS);
    std::atomic<index_t> next{0};
    parallel_for(threads, 1, [&](index_t, index_t) {
        for (index_t r = next.fetch_add(strip); r < p.m; r = next.fetch_add(strip)) p.rows(a, right, out, r, std::min(p.m, r + strip));
    });
}

// --- few rows ----------------------------------------------------------------------------------------------------------------------------

constexpr index_t FEW = 3;

template <typename F> void dots(F widen, const Side& b, index_t first, index_t count, const float* x, index_t depth, float* z) {
    const std::uint16_t* at = b.data + first * b.row;
    index_t j = 0;
    for (; j + 4 <= count; j += 4, at += 4 * b.row) {
        const std::uint16_t *b0 = at, *b1 = at + b.row, *b2 = b1 + b.row, *b3 = b2 + b.row;
        float s0 = 0, s1 = 0, s2 = 0, s3 = 0;
#pragma omp simd reduction(+ : s0, s1, s2, s3)
        for (index_t k = 0; k < depth; ++k) {
            s0 += x[k] * widen(b0[k]);
            s1 += x[k] * widen(b1[k]);
            s2 += x[k] * widen(b2[k]);
            s3 += x[k] * widen(b3[k]);
        }
        z[j] = s0, z[j + 1] = s1, z[j + 2] = s2, z[j + 3] = s3;
    }
    for (; j < count; ++j, at += b.row) {
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (index_t k = 0; k < depth; ++k) sum += x[k] * widen(at[k]);
        z[j] = sum;
    }
}

template <typename F> void sums_of_rows(F widen, const Side& b, index_t first, index_t count, const float* x, index_t depth, float* z) {
    constexpr index_t BLOCK = 4 * L;
    for (index_t j = 0; j < count; j += BLOCK) {
        const index_t width = std::min(BLOCK, count - j);
        alignas(64) float sum[BLOCK] = {};
        const std::uint16_t* at = b.data + (first + j);
        if (width == BLOCK) {
            Vector<float> s[4] = {};
            for (index_t k = 0; k < depth; ++k, at += b.inner) {
                alignas(64) float row[BLOCK];
#pragma omp simd
                for (index_t i = 0; i < BLOCK; ++i) row[i] = widen(at[i]);
                for (int i = 0; i < 4; ++i) s[i] += x[k] * rushlight::load(row + i * L);
            }
            for (int i = 0; i < 4; ++i) rushlight::store(sum + i * L, s[i]);
        } else {
            for (index_t k = 0; k < depth; ++k, at += b.inner)
                for (index_t i = 0; i < width; ++i) sum[i] += x[k] * widen(at[i]);
        }
        std::copy(sum, sum + width, z + j);
    }
}

template <typename F> void few_columns(F widen, const Side& b, index_t first, index_t count, const float* x, index_t depth, float* z) {
    if (b.inner == 1) return dots(widen, b, first, count, x, depth, z);
    if (b.row == 1) return sums_of_rows(widen, b, first, count, x, depth, z);
    for (index_t j = 0; j < count; ++j) {
        float sum = 0;
        for (index_t k = 0; k < depth; ++k) sum += x[k] * widen(b.data[(first + j) * b.row + k * b.inner]);
        z[j] = sum;
    }
}

void multiply_few(const Product& p, const Side& a, const Side& b, std::uint16_t* out) {
    std::vector<float> x(static_cast<std::size_t>(p.m * p.depth));
    for (index_t i = 0; i < p.m; ++i) load(p.type, F32, reinterpret_cast<const char*>(a.data + i * a.row), 2 * a.inner, x.data() + i * p.depth, p.depth);
    constexpr index_t BLOCK = 8 * L;
    parallel_for((p.n + BLOCK - 1) / BLOCK, 1 + 32768 / (BLOCK * p.depth), [&](index_t begin, index_t end) {
        alignas(64) float z[BLOCK];
        for (index_t first = begin * BLOCK; first < std::min(p.n, end * BLOCK); first += BLOCK) {
            const index_t count = std::min(BLOCK, p.n - first);
            for (index_t i = 0; i < p.m; ++i) {
                if (p.type == BF16) {
                    few_columns([](std::uint16_t h) { return from_bfloat16(h); }, b, first, count, x.data() + i * p.depth, p.depth, z);
                } else {
                    few_columns([](std::uint16_t h) { return from_half(h); }, b, first, count, x.data() + i * p.depth, p.depth, z);
                }
                p.finish(z, p.bias == nullptr ? nullptr : p.bias + first, count, out + i * p.n + first);
            }
        }
    });
}

// An operand's last two dimensions (a vector is one row of the left side, or one column of the right) as a side.
Side side_of(PyArrayObject* array, bool right, index_t* rows, index_t* depth) {
    const int ndim = PyArray_NDIM(array);
    const int inner = ndim == 1 ? 0 : right ? ndim - 2 : ndim - 1, row = right ? ndim - 1 : ndim - 2;
    *depth = PyArray_DIM(array, inner);
    *rows = ndim == 1 ? 1 : PyArray_DIM(array, row);
    const index_t row_step = ndim == 1 || *rows == 1 ? *depth : PyArray_STRIDE(array, row) / 2;
    return {data_of<std::uint16_t>(array), row_step, *depth == 1 ? 1 : PyArray_STRIDE(array, inner) / 2};
}

}  // namespace

PyObject* half_product(PyArrayObject* a, PyArrayObject* b, PyArrayObject* bias) {
    const int na = PyArray_NDIM(a), nb = PyArray_NDIM(b);
    Product p{type_of(a), false, 0, 0, 0, nullptr};
    if ((p.type != BF16 && p.type != F16) || type_of(b) != p.type || na == 0 || nb == 0 || na > MAX_BATCH + 2 || nb > MAX_BATCH + 2 ||
        !PyArray_ISBEHAVED_RO(a) || !PyArray_ISBEHAVED_RO(b)) {
        return nullptr;
    }
    index_t depth;
    Side left = side_of(a, false, &p.m, &p.depth), right = side_of(b, true, &p.n, &depth);
    Batch batch;
    if (depth != p.depth || !batch.prepare(a, b)) return nullptr;
    if (bias != nullptr && (type_of(bias) != p.type || !PyArray_ISBEHAVED_RO(bias) || PyArray_NDIM(bias) != 1 || PyArray_DIM(bias, 0) != p.n)) return nullptr;
    p.pairs = p.type == BF16 && have_pairs();
    int ndim = batch.ndim;
    if (na > 1) batch.shape[ndim++] = p.m;
    if (nb > 1) batch.shape[ndim++] = p.n;
    Py_INCREF(PyArray_DESCR(a));
    PyArrayObject* result = as_array(PyArray_NewFromDescr(&PyArray_Type, PyArray_DESCR(a), ndim, batch.shape, nullptr, nullptr, 0, nullptr));
    if (result == nullptr) return nullptr;
    std::uint16_t* out = data_of<std::uint16_t>(result);
    const double work = double(p.m) * double(p.n) * double(p.depth) * double(batch.count);
    std::vector<float> wide;
    if (bias != nullptr) {
        wide.resize(static_cast<std::size_t>(p.n));
        load(p.type, F32, static_cast<const char*>(PyArray_DATA(bias)), PyArray_STRIDE(bias, 0), wide.data(), p.n);
        p.bias = wide.data();
    }
    if (p.m == 0 || p.n == 0 || batch.count == 0) return reinterpret_cast<PyObject*>(result);
    if (p.depth == 0) {
        for (index_t i = 0; i < batch.count * p.m; ++i)
            for (index_t j = 0; j < p.n; ++j) store(F32, p.type, p.bias == nullptr ? &zero : p.bias + j, reinterpret_cast<char*>(out + i * p.n + j), 2, 1);
        return reinterpret_cast<PyObject*>(result);
    }
    if (p.n == 1 && p.m > 1 && bias == nullptr) {  // a matrix times a vector: the vector times the matrix turned
        std::swap(left, right);
        std::swap(p.m, p.n);
        std::swap(batch.step_a, batch.step_b);
    }
    WithoutGil release(work > 1e5);
    const auto each = [&](index_t item, auto multiply) {
        index_t at_a, at_b;
        batch.offsets(item, &at_a, &at_b);
        Side x = left, y = right;
        x.data += at_a / 2;
        y.data += at_b / 2;
        multiply(p, x, y, out + item * p.m * p.n);
    };
    if (p.m <= FEW) {
        for (index_t item = 0; item < batch.count; ++item) each(item, multiply_few);
    } else if (batch.count >= thread_count() || work < WORK_PER_THREAD) {
        const index_t grain = 1 + static_cast<index_t>(WORK_PER_THREAD * double(batch.count) / work);
        parallel_for(batch.count, grain, [&](index_t begin, index_t end) {
            for (index_t item = begin; item < end; ++item) each(item, multiply_one);
        });
    } else {
        for (index_t item = 0; item < batch.count; ++item) each(item, multiply_shared);
    }
    return reinterpret_cast<PyObject*>(result);
}

}  // namespace rushlight
