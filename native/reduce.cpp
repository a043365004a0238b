// Reductions of arrays along any axes. Long sums of floats are sums of short ones, carried on in double; they are cut in the same places
// whatever the number of threads, so the result does not depend on it.
#include "reduce.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>
#include <vector>

#include "function.h"
#include "pool.h"
#include "types.h"
#include "vmath.h"

namespace rushlight {
namespace {

constexpr index_t BLOCK = 1024;      // elements that are added up in the array's own precision
constexpr index_t PART = 32768;      // elements per task
constexpr index_t WIDTH = 256;       // columns at a time
constexpr index_t HEIGHT = 64;       // rows that are added up in the array's own precision

// The array, in the order of its memory, as up to three groups of dimensions that are all kept or all reduced, and the result's shape.
struct Groups {
    int count = 0;
    index_t size[3] = {1, 1, 1};
    bool reduced[3] = {};
    int out_ndim = 0;
    npy_intp out_shape[MAX_DIMS];
    index_t length = 1, total = 1;  // elements per result, and altogether
    bool permuted = false;          // the kept dimensions have another order in memory:
    int kept = 0, rank[MAX_DIMS];   // how many there are, and which of them lies where in memory, outermost first
    npy_intp kept_shape[MAX_DIMS];  // their sizes in memory's order

    // The array that the kernels write to, and the result made of it (takes the reference).
    PyArrayObject* new_out(int type) const { return permuted ? new_array(kept, kept_shape, type) : new_array(out_ndim, out_shape, type); }
    PyObject* in_order(PyArrayObject* out) const {
        if (!permuted || out == nullptr) return reinterpret_cast<PyObject*>(out);
        npy_intp place[MAX_DIMS];
        for (int i = 0; i < kept; ++i) place[rank[i]] = i;
        PyArray_Dims axes = {place, kept}, shape = {const_cast<npy_intp*>(out_shape), out_ndim};
        PyObject* turned = PyArray_Transpose(out, &axes);
        PyObject* copy = turned == nullptr ? nullptr : PyArray_NewCopy(as_array(turned), NPY_CORDER);
        PyObject* result = copy == nullptr ? nullptr : PyArray_Newshape(as_array(copy), &shape, NPY_CORDER);
        Py_DECREF(reinterpret_cast<PyObject*>(out));
        Py_XDECREF(turned);
        Py_XDECREF(copy);
        return result;
    }

    // False where this is not a shape that the kernels know (no error set), or the axes are no axes.
    [[nodiscard]] bool find(PyArrayObject* a, PyObject* axis, bool keep) {
        const int ndim = PyArray_NDIM(a);
        if (ndim > MAX_DIMS) return false;
        bool chosen[MAX_DIMS] = {};
        if (axis == Py_None) {
            for (int i = 0; i < ndim; ++i) chosen[i] = true;
        } else if (PyTuple_Check(axis)) {
            for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(axis); ++i) {
                if (!choose(PyTuple_GET_ITEM(axis, i), ndim, chosen)) return false;
            }
        } else if (!choose(axis, ndim, chosen)) {
            return false;
        }
        total = PyArray_SIZE(a);
        int order[MAX_DIMS];
        if (!memory_order(a, order)) return false;
        for (int i = 0; i < ndim; ++i) {
            if (chosen[i]) length *= PyArray_DIM(a, i);
            if (!chosen[i] || keep) out_shape[out_ndim++] = chosen[i] ? 1 : PyArray_DIM(a, i);
        }
        int last = 0;
        for (int at = 0; at < ndim; ++at) {
            const int i = order[at];
            const index_t n = PyArray_DIM(a, i);
            if (!chosen[i]) {
                int before = 0;
                for (int k = 0; k < i; ++k) before += !chosen[k];
                permuted = permuted || (n > 1 && kept > 0 && before < last);
                if (n > 1) last = before;
                rank[kept] = before;
                kept_shape[kept++] = n;
            }
            if (n == 1) continue;
            if (count > 0 && reduced[count - 1] == chosen[i]) {
                size[count - 1] *= n;
            } else {
                if (count == 3) return false;
                reduced[count] = chosen[i];
                size[count++] = n;
            }
        }
        return total > 0;
    }

  private:
    // The dimensions from the largest step to the smallest; false where there are gaps.
    static bool memory_order(PyArrayObject* a, int* order) {
        const int ndim = PyArray_NDIM(a);
        if (!PyArray_ISALIGNED(a)) return false;
        for (int i = 0; i < ndim; ++i) order[i] = i;
        if (PyArray_IS_C_CONTIGUOUS(a)) return true;
        int count = 0, ones = ndim;
        for (int i = 0; i < ndim; ++i) {
            if (PyArray_DIM(a, i) == 1) {
                order[--ones] = i;
                continue;
            }
            int at = count++;
            for (; at > 0 && PyArray_STRIDE(a, order[at - 1]) < PyArray_STRIDE(a, i); --at) order[at] = order[at - 1];
            order[at] = i;
        }
        index_t expected = PyArray_ITEMSIZE(a);
        for (int at = count - 1; at >= 0; --at) {
            if (PyArray_STRIDE(a, order[at]) != expected) return false;
            expected *= PyArray_DIM(a, order[at]);
        }
        return true;
    }
    static bool choose(PyObject* value, int ndim, bool* chosen) {
        long at = PyLong_AsLong(value);
        if (at == -1 && PyErr_Occurred()) {
            PyErr_Clear();
            return false;
        }
        if (at < 0) at += ndim;
        if (at < 0 || at >= ndim || chosen[at]) return false;
        return chosen[at] = true;
    }
};

// What a reduction does: from elements T to numbers Part<T> that are put together within a block, to Whole<T> in which blocks are joined.
template <typename T> constexpr bool is_float = std::is_floating_point<T>::value;
template <typename T> using Wide = std::conditional_t<is_float<T>, double, std::int64_t>;
template <typename T> using Short = std::conditional_t<is_float<T>, T, std::conditional_t<sizeof(T) <= 2, std::int32_t, std::int64_t>>;

struct Sum {
    template <typename T> using Part = Short<T>;
    template <typename T> using Whole = Wide<T>;
    template <typename P> static P nothing() { return 0; }
    template <typename P, typename T> static P step(P so_far, T x) { return join(so_far, static_cast<P>(x)); }
    template <typename W> static W join(W a, W b) {
        if constexpr (std::is_same<W, std::int64_t>::value) return static_cast<W>(static_cast<std::uint64_t>(a) + static_cast<std::uint64_t>(b));  // wraps around
        else return a + b;
    }
    static constexpr bool done(double) { return false; }
};
struct NanSum : Sum {
    template <typename P, typename T> static P step(P so_far, T x) { return so_far + (x != x ? T(0) : x); }
};
struct SquareSum : Sum {
    template <typename P, typename T> static P step(P so_far, T x) { return so_far + x * x; }
};
struct SizeSum : Sum {
    template <typename P, typename T> static P step(P so_far, T x) { return so_far + std::fabs(x); }
};
struct Count : Sum {  // of what is not zero
    template <typename T> using Part = std::conditional_t<sizeof(T) == 8, std::int64_t, std::int32_t>;
    template <typename T> using Whole = std::int64_t;
    template <typename P, typename T> static P step(P so_far, T x) { return so_far + (x != T(0)); }
};

struct Product {
    template <typename T> using Part = std::conditional_t<is_float<T>, T, std::int64_t>;
    template <typename T> using Whole = Wide<T>;
    template <typename P> static P nothing() { return 1; }
    template <typename P, typename T> static P step(P so_far, T x) { return join(so_far, static_cast<P>(x)); }
    template <typename W> static W join(W a, W b) {
        if constexpr (std::is_same<W, std::int64_t>::value) return static_cast<W>(static_cast<std::uint64_t>(a) * static_cast<std::uint64_t>(b));
        else return a * b;
    }
    static constexpr bool done(double) { return false; }
};

// nan wins over everything.
template <bool LARGEST> struct Extreme {
    template <typename T> using Part = T;
    template <typename T> using Whole = T;
    template <typename P> static P nothing() {
        if constexpr (is_float<P>) return static_cast<P>(LARGEST ? -HUGE_VAL : HUGE_VAL);
        else return LARGEST ? std::numeric_limits<P>::min() : std::numeric_limits<P>::max();
    }
    template <typename P> static P step(P so_far, P x) { return (LARGEST ? x > so_far : x < so_far) | (x != x) ? x : so_far; }
    template <typename P> static P join(P a, P b) { return step(a, b); }
    static constexpr bool done(double) { return false; }
};
using Maximum = Extreme<true>;
using Minimum = Extreme<false>;

template <bool ANY> struct Truth {
    template <typename T> using Part = std::conditional_t<sizeof(T) == 1, std::uint8_t, std::conditional_t<sizeof(T) == 2, std::uint16_t,
                                                          std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>>>;
    template <typename T> using Whole = Part<T>;
    template <typename P> static P nothing() { return ANY ? 0 : 1; }
    template <typename P, typename T> static P step(P so_far, T x) { return join(so_far, static_cast<P>(x != T(0))); }
    template <typename W> static W join(W a, W b) { return static_cast<W>(ANY ? a | b : a & b); }
    template <typename W> static bool done(W so_far) { return ANY ? so_far != 0 : so_far == 0; }
};

template <typename F, typename T> using PartOf = typename F::template Part<T>;
template <typename F, typename T> using WholeOf = typename F::template Whole<T>;

// At most a block of elements that lie behind one another, in chains that don't wait for one another.
template <typename F, typename T> WholeOf<F, T> run_of(const T* x, index_t n) {
    using P = PartOf<F, T>;
    constexpr int LANES = sizeof(T) == 1 ? 64 : 256 / sizeof(P), FEW = LANES / 4;
    P result = F::template nothing<P>();
    index_t i = 0;
    int bad = 0;
    if (n >= FEW) {
        P lanes[LANES];
        for (int k = 0; k < LANES; ++k) lanes[k] = F::template nothing<P>();
        const auto steps = [&](auto width) {
            for (; i + width() <= n; i += width()) {
                if constexpr (is_float<P> && (std::is_same<F, Maximum>::value || std::is_same<F, Minimum>::value)) {
#pragma omp simd reduction(| : bad)
                    for (int k = 0; k < width(); ++k) {
                        const P each = x[i + k];
                        lanes[k] = (std::is_same<F, Maximum>::value ? each > lanes[k] : each < lanes[k]) ? each : lanes[k];
                        bad |= each != each;
                    }
                } else {
#pragma omp simd
                    for (int k = 0; k < width(); ++k) lanes[k] = F::step(lanes[k], x[i + k]);
                }
            }
        };
        steps(std::integral_constant<int, LANES>());
        steps(std::integral_constant<int, FEW>());
        for (int half = LANES / 2; half > 0; half /= 2) {
            for (int k = 0; k < half; ++k) lanes[k] = F::join(lanes[k], lanes[k + half]);
        }
        result = lanes[0];
    }
    for (; i < n; ++i) result = F::step(result, x[i]);
    if constexpr (is_float<P>) {
        if (bad) return std::numeric_limits<P>::quiet_NaN();
    }
    return result;
}

// Elements that lie behind one another.
template <typename F, typename T> WholeOf<F, T> reduce_run(const T* x, index_t n) {
    using W = WholeOf<F, T>;
    if (n <= BLOCK) return run_of<F>(x, n);
    W result = F::template nothing<W>();
    for (index_t i = 0; i < n && !F::done(result); i += BLOCK) result = F::join(result, run_of<F>(x + i, n - i < BLOCK ? n - i : BLOCK));
    return result;
}

// One result from a long run, part by part.
template <typename F, typename T> WholeOf<F, T> reduce_all(const T* x, index_t n) {
    using W = WholeOf<F, T>;
    if (n <= PART) return reduce_run<F>(x, n);
    const index_t parts = (n + PART - 1) / PART;
    std::vector<W> results(parts);
    parallel_for(parts, 1, [&](index_t begin, index_t end) {
        for (index_t part = begin; part < end; ++part) results[part] = reduce_run<F>(x + part * PART, n - part * PART < PART ? n - part * PART : PART);
    });
    W result = results[0];
    for (index_t part = 1; part < parts; ++part) result = F::join(result, results[part]);
    return result;
}

// `rows` rows of a matrix, `width` (at most WIDTH) of its columns.
template <typename F, typename T> void reduce_columns(const T* x, index_t rows, index_t stride, index_t width, WholeOf<F, T>* result) {
    using P = PartOf<F, T>;
    using W = WholeOf<F, T>;
    const index_t together = stride == width ? WIDTH / 2 / width : 1;
    if (together > 1 && rows >= 2 * together) {  // narrow rows that lie behind one another: several are one
        W wide[WIDTH];
        const index_t some = rows / together;
        reduce_columns<F>(x, some, stride * together, width * together, wide);
        reduce_columns<F>(x + some * together * stride, rows - some * together, stride, width, result);
        for (index_t k = 0; k < together; ++k) {
            for (index_t c = 0; c < width; ++c) result[c] = F::join(result[c], wide[k * width + c]);
        }
        return;
    }
    P block[WIDTH];
    for (index_t c = 0; c < width; ++c) result[c] = F::template nothing<W>();
    for (index_t row = 0; row < rows; row += HEIGHT) {
        const index_t last = row + HEIGHT < rows ? row + HEIGHT : rows;
        for (index_t c = 0; c < width; ++c) block[c] = F::template nothing<P>();
        for (index_t i = row; i < last; ++i) {
            const T* from = x + i * stride;
#pragma omp simd
            for (index_t c = 0; c < width; ++c) block[c] = F::step(block[c], from[c]);
        }
        for (index_t c = 0; c < width; ++c) result[c] = F::join(result[c], static_cast<W>(block[c]));
    }
}

// outer matrices of (n, inner), reduced along n
template <typename F, typename T, typename R> void reduce_middle(const T* x, R* out, index_t outer, index_t n, index_t inner) {
    using W = WholeOf<F, T>;
    const index_t tiles = (inner + WIDTH - 1) / WIDTH, wide = inner < WIDTH ? inner : WIDTH;
    const index_t height = PART / wide < 256 ? 256 : PART / wide, parts = outer * tiles >= 16 ? 1 : (n + height - 1) / height;
    std::vector<W> partial(parts > 1 ? outer * inner * parts : 0);
    parallel_for(outer * tiles * parts, PART / (wide * (parts > 1 ? height : n)) + 1, [&](index_t begin, index_t end) {
        for (index_t task = begin; task < end; ++task) {
            const index_t part = task % parts, tile = task / parts % tiles, o = task / parts / tiles, first = tile * WIDTH;
            const index_t width = inner - first < WIDTH ? inner - first : WIDTH;
            const index_t row = parts > 1 ? part * height : 0, rows = parts > 1 && n - row > height ? height : n - row;
            W result[WIDTH];
            reduce_columns<F>(x + (o * n + row) * inner + first, rows, inner, width, result);
            for (index_t c = 0; c < width; ++c) {
                if (parts > 1) partial[(part * outer + o) * inner + first + c] = result[c];
                else out[o * inner + first + c] = static_cast<R>(result[c]);
            }
        }
    });
    if (parts == 1) return;
    for (index_t i = 0; i < outer * inner; ++i) {
        W result = partial[i];
        for (index_t part = 1; part < parts; ++part) result = F::join(result, partial[part * outer * inner + i]);
        out[i] = static_cast<R>(result);
    }
}

template <typename F, typename T, typename R> void reduce(const T* x, R* out, const Groups& of) {
    using W = WholeOf<F, T>;
    const index_t* s = of.size;
    if (of.length == 1) {
        for (index_t i = 0; i < of.total; ++i) out[i] = static_cast<R>(F::step(F::template nothing<PartOf<F, T>>(), x[i]));
    } else if (of.length == of.total) {
        *out = static_cast<R>(reduce_all<F>(x, of.total));
    } else if (of.count == 2 && of.reduced[1]) {
        if (s[0] < 4) {
            for (index_t i = 0; i < s[0]; ++i) out[i] = static_cast<R>(reduce_all<F>(x + i * s[1], s[1]));
            return;
        }
        parallel_for(s[0], PART / 2 / s[1] + 1, [&](index_t begin, index_t end) {
            for (index_t i = begin; i < end; ++i) out[i] = static_cast<R>(reduce_run<F>(x + i * s[1], s[1]));
        });
    } else if (of.count == 2) {
        reduce_middle<F>(x, out, 1, s[0], s[1]);
    } else if (of.reduced[1]) {
        reduce_middle<F>(x, out, s[0], s[1], s[2]);
    } else {
        parallel_for(s[1], PART / 2 / (s[0] * s[2]) + 1, [&](index_t begin, index_t end) {
            for (index_t k = begin; k < end; ++k) {
                W result = F::template nothing<W>();
                for (index_t i = 0; i < s[0] && !F::done(result); ++i) result = F::join(result, reduce_run<F>(x + (i * s[1] + k) * s[2], s[2]));
                out[k] = static_cast<R>(result);
            }
        });
    }
}

// Calls f with a number of the array's type; false for types that are not reduced here.
template <typename F> bool with_float(PyArrayObject* a, F f) {
    return with_one_of<float, double>(PyArray_TYPE(a), f);
}
template <typename F> bool with_number(PyArrayObject* a, F f) {
    const int type = PyArray_TYPE(a) == NPY_BOOL ? NPY_UINT8 : PyArray_TYPE(a);  // bool is read as bytes
    return with_one_of<std::int64_t, std::int32_t, std::int16_t, std::int8_t, std::uint8_t, float, double>(type, f);
}

enum After { AS_IT_IS, MEAN, ROOT };
enum Result { SAME_TYPE, INT64, BOOLEAN };  // INT64: of integers; floats stay what they are

template <typename F, typename T, typename R> PyObject* run(PyArrayObject* a, const Groups& of, int type, After after = AS_IT_IS) {
    PyArrayObject* out = of.new_out(type);
    if (out == nullptr) return nullptr;
    R* r = data_of<R>(out);
    {
        WithoutGil release(of.total > PART);
        reduce<F>(data_of<T>(a), r, of);
        if constexpr (is_float<R>) {
            const index_t results = of.total / of.length;
            if (after == MEAN) for (index_t i = 0; i < results; ++i) r[i] = r[i] / static_cast<R>(of.length);
            if (after == ROOT) for (index_t i = 0; i < results; ++i) r[i] = std::sqrt(r[i]);
        }
    }
    return of.in_order(out);
}

// What a call asks for: an array, axis (None, an int or a tuple of them), keepdims, as ufunc.reduce has them. False for what NumPy does.
[[nodiscard]] bool read(PyObject* const* args, Py_ssize_t count, Py_ssize_t wanted, Groups* of) {
    if (count != wanted || !PyArray_CheckExact(args[0]) || !PyArray_ISNOTSWAPPED(as_array(args[0]))) return false;
    const int keep = flag(args[2]);
    return keep >= 0 && of->find(as_array(args[0]), args[1], keep == 1);
}

template <typename F, After after = AS_IT_IS> PyObject* reduction(PyObject* const* args, Py_ssize_t count) {
    Groups of;
    PyObject* result = nullptr;
    if (!read(args, count, 3, &of)) return nullptr;
    PyArrayObject* a = as_array(args[0]);
    with_float(a, [&](auto zero) { result = run<F, decltype(zero), decltype(zero)>(a, of, PyArray_TYPE(a), after); });
    return result;
}

// The same for integers and bool as well.
template <typename F, Result as> PyObject* number_reduction(PyObject* const* args, Py_ssize_t count) {
    Groups of;
    PyObject* result = nullptr;
    if (!read(args, count, 3, &of)) return nullptr;
    PyArrayObject* a = as_array(args[0]);
    with_number(a, [&](auto zero) {
        using T = decltype(zero);
        if constexpr (as == BOOLEAN) result = run<F, T, std::uint8_t>(a, of, NPY_BOOL);
        else if constexpr (as == SAME_TYPE || (is_float<T> && !std::is_same<F, Count>::value)) result = run<F, T, T>(a, of, PyArray_TYPE(a));
        else result = run<F, T, std::int64_t>(a, of, NPY_INT64);
    });
    return result;
}

// --- variance and logsumexp -------------------------------------------------------------------------------------------------------------

template <typename T> void variance_columns(const T* x, index_t rows, index_t stride, index_t width, double freedom, T* variance, T* mean) {
    double sums[WIDTH], squares[WIDTH] = {};
    reduce_columns<Sum>(x, rows, stride, width, sums);
    for (index_t c = 0; c < width; ++c) mean[c] = static_cast<T>(sums[c] / static_cast<double>(rows));
    for (index_t i = 0; i < rows; ++i) {
#pragma omp simd
        for (index_t c = 0; c < width; ++c) {
            const double d = x[i * stride + c] - mean[c];
            squares[c] += d * d;
        }
    }
    for (index_t c = 0; c < width; ++c) variance[c] = static_cast<T>(squares[c] / freedom);
}

template <typename T> T logsumexp_of(const T* x, index_t n) {
    const T top = static_cast<T>(reduce_run<Maximum>(x, n)), shift = std::fabs(top) < vmath::infinity<T>() ? top : T(0);
    double sum = 0;
    for (index_t i = 0; i < n; i += BLOCK) {
        const index_t last = i + BLOCK < n ? i + BLOCK : n;
        T part = 0;
#pragma omp simd reduction(+ : part)
        for (index_t j = i; j < last; ++j) part += vmath::exp(x[j] - shift);
        sum += part;
    }
    return static_cast<T>(std::log(sum)) + shift;
}

// Where the elements of a result lie: behind one another (ROWS: `outer` runs of n), in columns of `outer` matrices of (n, inner), or in `outer`
// runs of `inner` for each of n results (SCATTERED).
struct Places {
    index_t outer = 1, n = 1, inner = 1;
    enum { ROWS, COLUMNS, SCATTERED } way = ROWS;
    explicit Places(const Groups& of) {
        const index_t* s = of.size;
        if (of.count == 3) {
            way = of.reduced[1] ? COLUMNS : SCATTERED;
            outer = s[0];
            n = s[1];
            inner = s[2];
        } else if (of.count == 2 && of.reduced[0]) {
            way = COLUMNS;
            n = s[0];
            inner = s[1];
        } else {
            n = of.length;
            outer = of.total / of.length;
        }
    }
    // f(matrix, first column, how many) for tiles of columns
    template <typename F> void each_tile(F f) const {
        const index_t tiles = (inner + WIDTH - 1) / WIDTH;
        parallel_for(outer * tiles, PART / 4 / (n * std::min(inner, WIDTH)) + 1, [&](index_t begin, index_t end) {
            for (index_t task = begin; task < end; ++task) {
                const index_t first = task % tiles * WIDTH;
                f(task / tiles, first, std::min(WIDTH, inner - first));
            }
        });
    }
};

template <typename T> PyObject* variance_of(PyArrayObject* a, const Groups& of, double freedom) {
    PyArrayObject *variance = of.new_out(PyArray_TYPE(a)), *mean = of.new_out(PyArray_TYPE(a));
    if (variance == nullptr || mean == nullptr) {
        Py_XDECREF(variance);
        Py_XDECREF(mean);
        return nullptr;
    }
    const T* x = data_of<T>(a);
    T *v = data_of<T>(variance), *m = data_of<T>(mean);
    const Places p(of);
    {
        WithoutGil release(of.total > PART);
        if (p.way == Places::ROWS) {
            parallel_for(p.outer, PART / 4 / p.n + 1, [&](index_t begin, index_t end) {
                for (index_t i = begin; i < end; ++i) {
                    const T* row = x + i * p.n;
                    m[i] = static_cast<T>(reduce_run<Sum>(row, p.n) / static_cast<double>(p.n));
                    v[i] = static_cast<T>(squares_around(row, m[i], p.n) / freedom);
                }
            });
        } else if (p.way == Places::COLUMNS) {
            p.each_tile([&](index_t o, index_t first, index_t width) {
                const index_t at = o * p.inner + first;
                variance_columns(x + o * p.n * p.inner + first, p.n, p.inner, width, freedom, v + at, m + at);
            });
        } else {
            parallel_for(p.n, PART / 4 / (p.outer * p.inner) + 1, [&](index_t begin, index_t end) {
                for (index_t k = begin; k < end; ++k) {
                    double sum = 0, squares = 0;
                    for (index_t o = 0; o < p.outer; ++o) sum += reduce_run<Sum>(x + (o * p.n + k) * p.inner, p.inner);
                    m[k] = static_cast<T>(sum / static_cast<double>(of.length));
                    for (index_t o = 0; o < p.outer; ++o) squares += squares_around(x + (o * p.n + k) * p.inner, m[k], p.inner);
                    v[k] = static_cast<T>(squares / freedom);
                }
            });
        }
    }
    return Py_BuildValue("NN", of.in_order(variance), of.in_order(mean));
}

// (array, axis, keepdims, freedom) -> (sum of squares around the mean / freedom, mean)
PyObject* variance(PyObject* const* args, Py_ssize_t count) {
    Groups of;
    if (!read(args, count, 4, &of)) return nullptr;
    const double freedom = PyFloat_AsDouble(args[3]);
    if (PyErr_Occurred()) return nullptr;
    PyObject* result = nullptr;
    with_float(as_array(args[0]), [&](auto zero) { result = variance_of<decltype(zero)>(as_array(args[0]), of, freedom); });
    return result;
}

template <typename T> void logsumexp_columns(const T* x, index_t rows, index_t stride, index_t width, T* out) {
    T top[WIDTH], block[WIDTH];
    double sums[WIDTH] = {};
    reduce_columns<Maximum>(x, rows, stride, width, top);
    for (index_t c = 0; c < width; ++c) top[c] = std::fabs(top[c]) < vmath::infinity<T>() ? top[c] : T(0);
    for (index_t row = 0; row < rows; row += HEIGHT) {
        for (index_t c = 0; c < width; ++c) block[c] = 0;
        for (index_t i = row; i < std::min(rows, row + HEIGHT); ++i) {
            const T* from = x + i * stride;
#pragma omp simd
            for (index_t c = 0; c < width; ++c) block[c] += vmath::exp(from[c] - top[c]);
        }
        for (index_t c = 0; c < width; ++c) sums[c] += static_cast<double>(block[c]);
    }
    for (index_t c = 0; c < width; ++c) out[c] = static_cast<T>(std::log(sums[c])) + top[c];
}

template <typename T> PyObject* logsumexp_all(PyArrayObject* a, const Groups& of) {
    const Places p(of);
    if (p.way == Places::SCATTERED) return nullptr;
    PyArrayObject* out = of.new_out(PyArray_TYPE(a));
    if (out == nullptr) return nullptr;
    const T* x = data_of<T>(a);
    T* r = data_of<T>(out);
    {
        WithoutGil release(of.total > PART);
        if (p.way == Places::ROWS) {
            parallel_for(p.outer, PART / 8 / p.n + 1, [&](index_t begin, index_t end) {
                for (index_t i = begin; i < end; ++i) r[i] = logsumexp_of(x + i * p.n, p.n);
            });
        } else {
            p.each_tile([&](index_t o, index_t first, index_t width) { logsumexp_columns(x + o * p.n * p.inner + first, p.n, p.inner, width, r + o * p.inner + first); });
        }
    }
    return of.in_order(out);
}

// (array, axis, keepdims)
PyObject* logsumexp(PyObject* const* args, Py_ssize_t count) {
    Groups of;
    if (!read(args, count, 3, &of)) return nullptr;
    PyObject* result = nullptr;
    with_float(as_array(args[0]), [&](auto zero) { result = logsumexp_all<decltype(zero)>(as_array(args[0]), of); });
    return result;
}

// --- extremes with their places ---------------------------------------------------------------------------------------------------------

template <bool largest, typename T> index_t place(const T* x, index_t n) {
    const T extreme = reduce_run<Extreme<largest>>(x, n);
    index_t i = 0;
    if (extreme != extreme) while (x[i] == x[i]) ++i;
    else while (x[i] != extreme) ++i;
    return i;
}

// The same for columns of a matrix, side by side.
template <bool largest, typename T> void places_of_columns(const T* x, index_t rows, index_t stride, index_t width, T* best, std::int64_t* at) {
    using Number = std::conditional_t<sizeof(T) <= 4, std::int32_t, std::int64_t>;  // of as many lanes as the elements
    Number place[WIDTH] = {};
    T value[WIDTH];
    for (index_t c = 0; c < width; ++c) value[c] = x[c];
    for (index_t i = 1; i < rows; ++i) {
        const T* from = x + i * stride;
        const Number number = static_cast<Number>(i);
#pragma omp simd
        for (index_t c = 0; c < width; ++c) {
            const T each = from[c], so_far = value[c];
            const bool wins = ((largest ? each > so_far : each < so_far) | (each != each)) & (so_far == so_far);
            value[c] = wins ? each : so_far;
            place[c] = wins ? number : place[c];
        }
    }
    for (index_t c = 0; c < width; ++c) {
        best[c] = value[c];
        at[c] = place[c];
    }
}

// (array, axis, keepdims) -> (extremes along the axis, where the first of each is)
template <bool largest, typename T> PyObject* along(PyArrayObject* a, const Axis& axis, const Groups& of) {
    PyArrayObject *values = new_array(of.out_ndim, of.out_shape, PyArray_TYPE(a)), *places = new_array(of.out_ndim, of.out_shape, NPY_INT64);
    if (values == nullptr || places == nullptr) {
        Py_XDECREF(values);
        Py_XDECREF(places);
        return nullptr;
    }
    {
        const T* x = data_of<T>(a);
        T* v = data_of<T>(values);
        std::int64_t* p = data_of<std::int64_t>(places);
        WithoutGil release(of.total > PART);
        if (axis.inner == 1) {
            parallel_for(axis.outer, PART / 2 / axis.n + 1, [&](index_t begin, index_t end) {
                for (index_t i = begin; i < end; ++i) {
                    p[i] = place<largest>(x + i * axis.n, axis.n);
                    v[i] = x[i * axis.n + p[i]];
                }
            });
        } else {
            const index_t tiles = (axis.inner + WIDTH - 1) / WIDTH;
            parallel_for(axis.outer * tiles, PART / 2 / (axis.n * std::min(axis.inner, WIDTH)) + 1, [&](index_t begin, index_t end) {
                for (index_t task = begin; task < end; ++task) {
                    const index_t o = task / tiles, first = task % tiles * WIDTH, result = o * axis.inner + first;
                    places_of_columns<largest>(x + o * axis.n * axis.inner + first, axis.n, axis.inner, std::min(WIDTH, axis.inner - first), v + result, p + result);
                }
            });
        }
    }
    return Py_BuildValue("NN", values, places);
}

template <bool largest> PyObject* extremes(PyObject* const* args, Py_ssize_t count) {
    if (count != 3 || !PyArray_CheckExact(args[0])) return nullptr;
    Contiguous a(args[0], PyArray_TYPE(as_array(args[0])));
    Axis axis;
    Groups of;
    const int keep = flag(args[2]);
    if (keep < 0 || !a || !axis.find(a.get(), args[1]) || !of.find(a.get(), args[1], keep == 1) || axis.n > INT32_MAX) return nullptr;
    if (axis.inner == 1 && axis.n >= 128 && PyArray_SIZE(a.get()) >= 16384) return nullptr;  // NumPy's search along long rows is the faster one
    PyObject* result = nullptr;
    with_number(a.get(), [&](auto zero) { result = along<largest, decltype(zero)>(a.get(), axis, of); });
    return result;
}

}  // namespace

void sum_rows(const float* x, float* out, index_t rows, index_t columns) { reduce_middle<Sum>(x, out, 1, rows, columns); }
void sum_rows(const double* x, double* out, index_t rows, index_t columns) { reduce_middle<Sum>(x, out, 1, rows, columns); }

extern const NativeFunction reduce_functions[] = {
    {"sum", number_reduction<Sum, INT64>},
    {"prod", number_reduction<Product, INT64>},
    {"amax", number_reduction<Maximum, SAME_TYPE>},
    {"amin", number_reduction<Minimum, SAME_TYPE>},
    {"any", number_reduction<Truth<true>, BOOLEAN>},
    {"all", number_reduction<Truth<false>, BOOLEAN>},
    {"count_nonzero", number_reduction<Count, INT64>},
    {"mean", reduction<Sum, MEAN>},
    {"nansum", reduction<NanSum>},
    {"size_sum", reduction<SizeSum>},
    {"norm", reduction<SquareSum, ROOT>},
    {"max_along", extremes<true>},
    {"min_along", extremes<false>},
    {"variance", variance},
    {"logsumexp", logsumexp},
    {nullptr, nullptr},
};

}  // namespace rushlight
