// Products of few rows with a matrix (inference of small batches, decoders, policies): see few_rows.h.
#include "few_rows.h"

#include <cstring>
#include <utility>

#include "tile.h"

namespace rushlight {
namespace {

// Registers allow R x DOTS sums of products, or R x DEPTH factors, beside what is being multiplied.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int MOST_ROWS = 6, SUMS = 24;
#else
constexpr int MOST_ROWS = 3, SUMS = 12;
#endif
constexpr int DOTS = 4, DEPTH = 4, MOST_VECTORS = 4;
constexpr index_t WIDTH = 1024;  // columns at a time: DEPTH rows of them stay in the first cache

// The first n elements of a vector, and zeros.
template <typename T> inline Vector<T> load_part(const T* p, index_t n) {
    Vector<T> v = {};
    std::memcpy(&v, p, static_cast<std::size_t>(n) * sizeof(T));
    return v;
}

// Lane j of the result is the sum of all lanes of v[j] (halves of pairs of vectors change places and are added).
template <typename T> inline Vector<T> sums_of_lanes(Vector<T> (&v)[LANES<T>]) {
    constexpr int L = LANES<T>;
#pragma GCC unroll 8
    for (int h = 1; h < L; h *= 2) {
        const Halves<T> halves(h);
#pragma GCC unroll 16
        for (int i = 0; i < L; i += 2 * h) v[i] = __builtin_shuffle(v[i], v[i + h], halves.low) + __builtin_shuffle(v[i], v[i + h], halves.high);
    }
    return v[0];
}

// c[r][j] = a[r] . b[j] for R rows of a and C rows of b.
template <typename T, int R, int C> void dots(index_t k, const T* a, index_t lda, const T* b, index_t ldb, bool add, T* c, index_t ldc) {
    constexpr int L = LANES<T>;
    Vector<T> sum[R * C] = {};
    const index_t whole = k / L * L;
    const auto step = [&](auto read, index_t i) __attribute__((always_inline)) {
        Vector<T> x[R];
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) x[r] = read(a + r * lda + i);
#pragma GCC unroll 16
        for (int j = 0; j < C; ++j) {
            const Vector<T> y = read(b + j * ldb + i);
#pragma GCC unroll 16
            for (int r = 0; r < R; ++r) sum[r * C + j] += x[r] * y;
        }
    };
    for (index_t i = 0; i < whole; i += L) step([](const T* p) { return load(p); }, i);
    if (whole < k) step([n = k - whole](const T* p) { return load_part(p, n); }, whole);
    T found[(R * C + L - 1) / L * L];
#pragma GCC unroll 16
    for (int start = 0; start < R * C; start += L) {
        Vector<T> part[L];
#pragma GCC unroll 16
        for (int i = 0; i < L; ++i) part[i] = start + i < R * C ? sum[start + i < R * C ? start + i : 0] : Vector<T>{};
        store(found + start, sums_of_lanes<T>(part));
    }
    for (int r = 0; r < R; ++r) {
        for (int j = 0; j < C; ++j) c[r * ldc + j] = add ? c[r * ldc + j] + found[r * C + j] : found[r * C + j];
    }
}

template <typename T> using Dots = void (*)(index_t k, const T* a, index_t lda, const T* b, index_t ldb, bool add, T* c, index_t ldc);

template <typename T, std::size_t... I> inline Dots<T> dots_of(int rows, int columns, std::index_sequence<I...>) {
    static constexpr Dots<T> table[] = {dots<T, static_cast<int>(I) / DOTS + 1, static_cast<int>(I) % DOTS + 1>...};
    return table[(rows - 1) * DOTS + columns - 1];
}

// Rows of a block when m rows are shared out evenly.
inline index_t block_rows(index_t m) {
    const index_t blocks = (m + MOST_ROWS - 1) / MOST_ROWS;
    return (m + blocks - 1) / blocks;
}

template <typename T> void rows_by_rows(index_t m, index_t n, index_t k, const T* a, index_t lda, const T* b, index_t ldb, bool add, T* c, index_t ldc) {
    const index_t most = block_rows(m);
    for (index_t j = 0; j < n; j += DOTS) {
        const int columns = static_cast<int>(n - j < DOTS ? n - j : DOTS);
        for (index_t r = 0; r < m; r += most) {
            const int rows = static_cast<int>(m - r < most ? m - r : most);
            dots_of<T>(rows, columns, std::make_index_sequence<MOST_ROWS * DOTS>())(k, a + r * lda, lda, b + j * ldb, ldb, add, c + r * ldc + j, ldc);
        }
    }
}

// c[i][j] = a[i] . b[j] for V vectors of rows of a, which lie packed (depth x V vectors), and R rows of b, of which the first `done` are not written.
template <typename T, int V> void turned(index_t k, const T* packed, index_t m, const T* b, index_t ldb, index_t done, bool add, T* c, index_t ldc) {
    constexpr int L = LANES<T>, R = SUMS / V;
    Vector<T> sum[R][V] = {};
    for (index_t i = 0; i < k; ++i) {
        Vector<T> x[V];
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) x[v] = load(packed + (i * V + v) * L);
#pragma GCC unroll 24
        for (int r = 0; r < R; ++r) {
            const T y = b[r * ldb + i];
#pragma GCC unroll 4
            for (int v = 0; v < V; ++v) sum[r][v] += y * x[v];
        }
    }
    T found[R][V * L];
#pragma GCC unroll 24
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) store(found[r] + v * L, sum[r][v]);
    }
    for (index_t i = 0; i < m; ++i) {
        for (index_t r = done; r < R; ++r) c[i * ldc + r] = add ? c[i * ldc + r] + found[r][i] : found[r][i];
    }
}

// Rows of a up to V vectors, turned once; then every row of b is read in order, and each of its elements multiplies whole vectors.
template <typename T, int V> void packed_rows(index_t m, index_t n, index_t k, const T* a, index_t lda, const T* b, index_t ldb, bool add, T* c, index_t ldc) {
    constexpr int L = LANES<T>;
    constexpr index_t R = SUMS / V;
    static thread_local Scratch scratch;
    T* packed = scratch.get<T>(k * V * L + L);
    for (int v = 0; v < V; ++v) {
        const T* lines[L];
        const int rows = static_cast<int>(m - v * L < L ? m - v * L : L);
        for (int r = 0; r < L; ++r) lines[r] = a + (v * L + (r < rows ? r : 0)) * lda;
        transpose_rows<T>(packed + v * L, V * L, lines, L, k, false);
    }
    for (index_t j = 0; j < n; j += R) {
        const index_t start = n - j < R ? n - R : j;
        turned<T, V>(k, packed, m, b + start * ldb, ldb, j - start, add, c + start, ldc);
    }
}

template <typename T> void turned_rows(index_t m, index_t n, index_t k, const T* a, index_t lda, const T* b, index_t ldb, bool add, T* c, index_t ldc) {
    constexpr index_t L = LANES<T>;
    const index_t panels = (m + MOST_VECTORS * L - 1) / (MOST_VECTORS * L), most = ((m + panels - 1) / panels + L - 1) / L * L;
    for (index_t r = 0; r < m; r += most) {
        const index_t rows = m - r < most ? m - r : most;
        const T* x = a + r * lda;
        T* y = c + r * ldc;
        switch ((rows + L - 1) / L) {
            case 1: packed_rows<T, 1>(rows, n, k, x, lda, b, ldb, add, y, ldc); break;
            case 2: packed_rows<T, 2>(rows, n, k, x, lda, b, ldb, add, y, ldc); break;
            case 3: packed_rows<T, 3>(rows, n, k, x, lda, b, ldb, add, y, ldc); break;
            default: packed_rows<T, 4>(rows, n, k, x, lda, b, ldb, add, y, ldc); break;
        }
    }
}

// c[r] += the sum of a[r][i] b[i] over D rows of b, n columns of them; without `add`, c is not read.
template <typename T, int R, int D> void panel(index_t n, const T* a, index_t lda, const T* b, index_t ldb, bool add, T* c, index_t ldc) {
    constexpr int L = LANES<T>;
    T factor[R][D];
    for (int r = 0; r < R; ++r) {
        for (int i = 0; i < D; ++i) factor[r][i] = a[r * lda + i];
    }
    index_t j = 0;
    for (; j + L <= n; j += L) {
        Vector<T> row[D];
#pragma GCC unroll 16
        for (int i = 0; i < D; ++i) row[i] = load(b + i * ldb + j);
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
            Vector<T> sum = factor[r][0] * row[0];
            if (add) sum += load(c + r * ldc + j);
#pragma GCC unroll 16
            for (int i = 1; i < D; ++i) sum += factor[r][i] * row[i];
            store(c + r * ldc + j, sum);
        }
    }
    for (; j < n; ++j) {
        for (int r = 0; r < R; ++r) {
            T sum = add ? c[r * ldc + j] : T(0);
            for (int i = 0; i < D; ++i) sum += factor[r][i] * b[i * ldb + j];
            c[r * ldc + j] = sum;
        }
    }
}

template <typename T> using Panel = void (*)(index_t n, const T* a, index_t lda, const T* b, index_t ldb, bool add, T* c, index_t ldc);

template <typename T, std::size_t... I> inline Panel<T> panel_of(int rows, int depth, std::index_sequence<I...>) {
    static constexpr Panel<T> table[] = {panel<T, static_cast<int>(I) / DEPTH + 1, static_cast<int>(I) % DEPTH + 1>...};
    return table[(rows - 1) * DEPTH + depth - 1];
}

template <typename T> void rows_by_columns(index_t m, index_t n, index_t k, const T* a, index_t lda, const T* b, index_t ldb, bool add, T* c, index_t ldc) {
    const index_t most = block_rows(m);
    for (index_t j = 0; j < n; j += WIDTH) {
        const index_t width = n - j < WIDTH ? n - j : WIDTH;
        for (index_t i = 0; i < k; i += DEPTH) {
            const int depth = static_cast<int>(k - i < DEPTH ? k - i : DEPTH);
            for (index_t r = 0; r < m; r += most) {
                const int rows = static_cast<int>(m - r < most ? m - r : most);
                panel_of<T>(rows, depth, std::make_index_sequence<MOST_ROWS * DEPTH>())(width, a + r * lda + i, lda, b + i * ldb + j, ldb, add || i > 0,
                                                                                        c + r * ldc + j, ldc);
            }
        }
    }
}

// Measured against OpenBLAS, which packs both sides but for products of up to a million multiplications: there it is hard to beat, unless the matrix
// is transposed and no longer small.
template <typename T> bool product(bool transposed_b, index_t m, index_t n, index_t k, const T* a, index_t lda, const T* b, index_t ldb, bool add, T* c, index_t ldc) {
    constexpr index_t MOST_TURNED = 128, SMALL_MATRIX = 1 << 16;
    constexpr double SMALL_PRODUCT = 1e6;
    const bool small = double(m) * double(n) * double(k) <= SMALL_PRODUCT;
    if (transposed_b) {
        if (k < 64 || (small && (m < 4 || n * k <= SMALL_MATRIX)) || (m > MOST_TURNED && n >= SUMS)) return false;
        if (m <= 20 || n < SUMS) rows_by_rows(m, n, k, a, lda, b, ldb, add, c, ldc);
        else turned_rows(m, n, k, a, lda, b, ldb, add, c, ldc);
        return true;
    }
    if (small || m > 12 || n < 64) return false;
    rows_by_columns(m, n, k, a, lda, b, ldb, add, c, ldc);
    return true;
}

}  // namespace

bool few_rows(bool transposed_b, index_t m, index_t n, index_t k, const float* a, index_t lda, const float* b, index_t ldb, bool add, float* c, index_t ldc) {
    return product(transposed_b, m, n, k, a, lda, b, ldb, add, c, ldc);
}

bool few_rows(bool transposed_b, index_t m, index_t n, index_t k, const double* a, index_t lda, const double* b, index_t ldb, bool add, double* c, index_t ldc) {
    return product(transposed_b, m, n, k, a, lda, b, ldb, add, c, ldc);
}

}  // namespace rushlight
