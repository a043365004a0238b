// Small dense products in registers: what convolution, recurrent layers and attention are made of. An operand is packed into panels, so that
// the kernel reads it in order: `a` as depth x rows (rows <= ROWS), `b` as depth x COLUMNS; a tile of the result is rows x COLUMNS.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "rushlight.h"

namespace rushlight {

#if defined(__AVX512F__)
constexpr int VECTOR_BYTES = 64, ROWS = 12;
#elif defined(__AVX__)
constexpr int VECTOR_BYTES = 32, ROWS = 6;
#elif defined(__aarch64__)
constexpr int VECTOR_BYTES = 16, ROWS = 12;
#else
constexpr int VECTOR_BYTES = 16, ROWS = 6;
#endif

template <typename T> constexpr int LANES = VECTOR_BYTES / static_cast<int>(sizeof(T));
template <typename T> constexpr int COLUMNS = 2 * LANES<T>;

template <typename T> struct VectorOf;
template <> struct VectorOf<float> {
    typedef float type __attribute__((vector_size(VECTOR_BYTES), may_alias));
    typedef float loose __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));
    typedef std::int32_t index __attribute__((vector_size(VECTOR_BYTES)));
};
template <> struct VectorOf<double> {
    typedef double type __attribute__((vector_size(VECTOR_BYTES), may_alias));
    typedef double loose __attribute__((vector_size(VECTOR_BYTES), aligned(8), may_alias));
    typedef std::int64_t index __attribute__((vector_size(VECTOR_BYTES)));
};
template <typename T> using Vector = typename VectorOf<T>::type;

template <typename T> inline Vector<T> load(const T* p) { return *reinterpret_cast<const typename VectorOf<T>::loose*>(p); }
template <typename T> inline void store(T* p, Vector<T> v) { *reinterpret_cast<typename VectorOf<T>::loose*>(p) = v; }

// n elements from one place to another in whole vectors: up to LANES - 1 elements more are read and written.
template <typename T> inline void copy_vectors(T* to, const T* from, index_t n) {
    for (index_t i = 0; i < n; i += LANES<T>) store(to + i, load(from + i));
}

// Adds the registers' sums to what belongs to a tile (start[row] where given, and what c held if `add`) and writes it.
template <typename T, int R> __attribute__((always_inline)) inline void finish_tile(Vector<T> (&sum)[R][2], T* c, index_t ldc, const T* start, bool add) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
        T* row = c + r * ldc;
        if (start != nullptr) {
            sum[r][0] += start[r];
            sum[r][1] += start[r];
        }
        if (add) {
            sum[r][0] += load(row);
            sum[r][1] += load(row + LANES<T>);
        }
        store(row, sum[r][0]);
        store(row + LANES<T>, sum[r][1]);
    }
}

// c (rows x COLUMNS, row step ldc) = a b, plus start[row] where given, plus what c held if `add`.
template <typename T, int R> void tile(index_t depth, const T* a, const T* b, T* c, index_t ldc, const T* start, bool add) {
    Vector<T> sum[R][2] = {};
    for (index_t k = 0; k < depth; ++k) {
        const Vector<T> b0 = load(b), b1 = load(b + LANES<T>);
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
            sum[r][0] += a[r] * b0;
            sum[r][1] += a[r] * b1;
        }
        a += R;
        b += COLUMNS<T>;
    }
    finish_tile<T, R>(sum, c, ldc, start, add);
}

// The same for a right side that is not packed: row k is the vectors at low + offsets[k] and high + offsets[k].
template <typename T, int R>
void tile_at(index_t depth, const T* a, const T* low, const T* high, const index_t* offsets, T* c, index_t ldc, const T* start, bool add) {
    Vector<T> sum[R][2] = {};
    for (index_t k = 0; k < depth; ++k) {
        const Vector<T> b0 = load(low + offsets[k]), b1 = load(high + offsets[k]);
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
            sum[r][0] += a[r] * b0;
            sum[r][1] += a[r] * b1;
        }
        a += R;
    }
    finish_tile<T, R>(sum, c, ldc, start, add);
}

template <typename T> using Tile = void (*)(index_t depth, const T* a, const T* b, T* c, index_t ldc, const T* start, bool add);

template <typename T, std::size_t... R> inline Tile<T> tile_of(int rows, std::index_sequence<R...>) {
    static constexpr Tile<T> table[] = {tile<T, static_cast<int>(R) + 1>...};
    return table[rows - 1];
}
template <typename T> inline Tile<T> tile_for(int rows) { return tile_of<T>(rows, std::make_index_sequence<ROWS>()); }

template <typename T>
using TileAt = void (*)(index_t depth, const T* a, const T* low, const T* high, const index_t* offsets, T* c, index_t ldc, const T* start, bool add);

template <typename T, std::size_t... R> inline TileAt<T> tile_at_of(int rows, std::index_sequence<R...>) {
    static constexpr TileAt<T> table[] = {tile_at<T, static_cast<int>(R) + 1>...};
    return table[rows - 1];
}
template <typename T> inline TileAt<T> tile_at_for(int rows) { return tile_at_of<T>(rows, std::make_index_sequence<ROWS>()); }

// The same for operands that lie otherwise: row k of b is at b + k * b_step; element (r, k) of a is a[r * COLUMNS + k] (ROW_MAJOR: a tile's own
// layout) or a[r + k * a_step].
template <typename T, int R, bool ROW_MAJOR>
void tile_steps(index_t depth, const T* a, index_t a_step, const T* b, index_t b_step, T* c, index_t ldc, bool add) {
    Vector<T> sum[R][2] = {};
    for (index_t k = 0; k < depth; ++k) {
        const Vector<T> b0 = load(b), b1 = load(b + LANES<T>);
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
            const T x = a[ROW_MAJOR ? r * COLUMNS<T> : r];
            sum[r][0] += x * b0;
            sum[r][1] += x * b1;
        }
        a += ROW_MAJOR ? 1 : a_step;
        b += b_step;
    }
    finish_tile<T, R>(sum, c, ldc, nullptr, add);
}

template <typename T> using TileSteps = void (*)(index_t depth, const T* a, index_t a_step, const T* b, index_t b_step, T* c, index_t ldc, bool add);

template <typename T, bool ROW_MAJOR, std::size_t... R> inline TileSteps<T> tile_steps_of(int rows, std::index_sequence<R...>) {
    static constexpr TileSteps<T> table[] = {tile_steps<T, static_cast<int>(R) + 1, ROW_MAJOR>...};
    return table[rows - 1];
}
template <typename T, bool ROW_MAJOR> inline TileSteps<T> tile_steps_for(int rows) {
    return tile_steps_of<T, ROW_MAJOR>(rows, std::make_index_sequence<ROWS>());
}

// Rows of a panel when `rows` rows are shared out evenly.
inline int panel_rows(index_t rows) {
    if (rows <= 0) return 1;
    const index_t panels = (rows + ROWS - 1) / ROWS;
    return static_cast<int>((rows + panels - 1) / panels);
}

// Of two vectors, the lanes that come first in pairs of runs of h lanes, side by side, and those that come second: indices for a shuffle.
template <typename T> struct Halves {
    typename VectorOf<T>::index low, high;

    __attribute__((always_inline)) explicit Halves(int h) {
        constexpr int L = LANES<T>;
        for (int j = 0; j < L; ++j) {
            low[j] = (j & h) == 0 ? j : L + j - h;
            high[j] = (j & h) == 0 ? j + h : L + j;
        }
    }
};

// A block of LANES x LANES elements, turned over its diagonal (Eklundh: halves of halves change places).
template <typename T> inline void transpose_block(Vector<T> (&v)[LANES<T>]) {
    constexpr int L = LANES<T>;
#pragma GCC unroll 8
    for (int h = 1; h < L; h *= 2) {
        const Halves<T> halves(h);
#pragma GCC unroll 16
        for (int i = 0; i < L; ++i) {
            if ((i & h) != 0) continue;
            const Vector<T> a = v[i], b = v[i | h];
            v[i] = __builtin_shuffle(a, b, halves.low);
            v[i | h] = __builtin_shuffle(a, b, halves.high);
        }
    }
}

// to[k * step + r] = from[r][k] for r < rows (<= LANES) and k < n. With `spill`, whole vectors are written, in order of k: up to LANES - 1
// elements more than asked for.
template <typename T> inline void transpose_rows(T* to, index_t step, const T* const* from, int rows, index_t n, bool spill) {
    constexpr int L = LANES<T>;
    index_t k = 0;
    for (; k + L <= n; k += L) {
        Vector<T> v[L];
#pragma GCC unroll 16
        for (int r = 0; r < L; ++r) v[r] = r < rows ? load(from[r] + k) : Vector<T>{};
        transpose_block<T>(v);
        if (spill) {
#pragma GCC unroll 16
            for (int r = 0; r < L; ++r) store(to + (k + r) * step, v[r]);
        } else {
            for (int r = 0; r < L; ++r) std::memcpy(static_cast<void*>(to + (k + r) * step), &v[r], static_cast<std::size_t>(rows) * sizeof(T));
        }
    }
    for (; k < n; ++k) {
        for (int r = 0; r < rows; ++r) to[k * step + r] = from[r][k];
        if (spill) {
            for (int r = rows; r < L; ++r) to[k * step + r] = T(0);
        }
    }
}

// The same for rows that may be more than LANES, one after the other in to[k * rows + r]; line(r) is row r's memory. Spills behind the end only.
template <typename T, typename F> inline void transpose_panel(T* to, index_t step, int rows, index_t n, F line) {
    for (int part = 0; part < rows; part += LANES<T>) {
        const T* lines[LANES<T>];
        const int lanes = std::min(LANES<T>, rows - part);
        for (int r = 0; r < LANES<T>; ++r) lines[r] = line(part + std::min(r, lanes - 1));
        transpose_rows<T>(to + part, step, lines, lanes, n, part == 0);
    }
}

// Memory of one thread that keeps its size from call to call.
class Scratch {
  public:
    ~Scratch() { std::free(data_); }
    template <typename T> T* get(index_t count) {
        const std::size_t bytes = (static_cast<std::size_t>(count) * sizeof(T) + 127) / 64 * 64;
        if (bytes > size_) {
            std::free(data_);
            data_ = std::aligned_alloc(64, bytes);
            if (data_ == nullptr) std::abort();
            size_ = bytes;
        }
        return static_cast<T*>(data_);
    }

  private:
    void* data_ = nullptr;
    std::size_t size_ = 0;
};

}  // namespace rushlight
