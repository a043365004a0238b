// p-norm distances between rows, and their gradients: one row against many columns of the turned matrix at a time, so that vectors run over the pairs.
#include <algorithm>
#include <cmath>
#include <type_traits>
#include <vector>

#include "function.h"
#include "pool.h"
#include "vmath.h"

namespace rushlight {
namespace {

constexpr index_t BLOCK = 512, GRAIN = 8192;

// A norm: what a difference adds to a sum, what the sum becomes, and the slope by a difference given the distance's share (see `share`).
template <typename T> struct Count {
    static T add(T sum, T d, T) { return sum + (d != T(0) ? T(1) : T(0)); }
    static T finish(T sum, T) { return sum; }
    static T share(T, T, T) { return T(0); }
    static T slope(T, T, T, T) { return T(0); }
};
template <typename T> struct Size {
    static T add(T sum, T d, T) { return sum + std::fabs(d); }
    static T finish(T sum, T) { return sum; }
    static T share(T g, T, T) { return g; }
    static T slope(T d, T share, T, T) { return d == T(0) ? T(0) : (d == d ? vmath::with_sign(T(1), d) : d) * share; }
};
template <typename T> struct Euclid {
    static T add(T sum, T d, T) { return sum + d * d; }
    static T finish(T sum, T) { return std::sqrt(sum); }
    static T share(T g, T r, T) { return r == T(0) ? T(0) : g / r; }
    static T slope(T d, T share, T, T) { return d * share; }
};
template <typename T> struct Largest {
    static T add(T sum, T d, T) { const T size = std::fabs(d); return (size > sum) | (size != size) ? size : sum; }
    static T finish(T sum, T) { return sum; }
    static T share(T g, T, T) { return g; }
    static T slope(T d, T share, T r, T) { return d != d ? d : (std::fabs(d) == r) & (d != T(0)) ? vmath::with_sign(T(1), d) * share : T(0); }
};
template <typename T> RL_INLINE T power(T x, T p) {  // of x >= 0
    if constexpr (sizeof(T) == 4) return vmath::pow(x, p);
    else return std::pow(x, p);
}
template <typename T> struct Cube {
    static T add(T sum, T d, T) { return sum + d * d * std::fabs(d); }
    static T finish(T sum, T) { return std::cbrt(sum); }
    static T share(T g, T r, T) { return r == T(0) ? T(0) : g / (r * r); }
    static T slope(T d, T share, T, T) { return d * std::fabs(d) * share; }
};
template <typename T> struct Power {
    static T add(T sum, T d, T p) { return sum + power(std::fabs(d), p); }
    static T finish(T sum, T p) { return power(sum, T(1) / p); }
    static T share(T g, T r, T p) { return r == T(0) ? T(0) : g / power(r, p - T(1)); }
    static T slope(T d, T share, T, T p) { return d == T(0) ? T(0) : vmath::with_sign(power(std::fabs(d), p - T(1)), d) * share; }
};
template <template <typename> class N> struct Is {};

// rows of n x m (row k of m, columns side by side): to[k * n + j] = from[j * m + k]
template <typename T> std::vector<T> turned(const T* from, index_t n, index_t m) {
    std::vector<T> to(static_cast<std::size_t>(n * m));
    for (index_t first = 0; first < n; first += 64) {
        const index_t last = std::min(n, first + 64);
        for (index_t k = 0; k < m; ++k) for (index_t j = first; j < last; ++j) to[static_cast<std::size_t>(k * n + j)] = from[j * m + k];
    }
    return to;
}

// out[j] for j in [0, count): the distance of row x (m numbers) to column j of `columns`, whose rows are `step` apart.
template <template <typename> class N, typename T> void row_distances(const T* x, const T* columns, index_t step, index_t count, index_t m, T p, T* out) {
    for (index_t first = 0; first < count; first += BLOCK) {
        const index_t n = std::min(BLOCK, count - first);
        T* sum = out + first;
        std::fill(sum, sum + n, T(0));
        index_t k = 0;
        for (; k + 4 <= m; k += 4) {  // four at a time: the sums are read and written less often
            const T *a = columns + k * step + first, *b = a + step, *c = b + step, *d = c + step;
            const T x0 = x[k], x1 = x[k + 1], x2 = x[k + 2], x3 = x[k + 3];
#pragma omp simd
            for (index_t j = 0; j < n; ++j) {
                sum[j] = N<T>::add(N<T>::add(N<T>::add(N<T>::add(sum[j], x0 - a[j], p), x1 - b[j], p), x2 - c[j], p), x3 - d[j], p);
            }
        }
        for (; k < m; ++k) {
            const T* a = columns + k * step + first;
            const T x0 = x[k];
#pragma omp simd
            for (index_t j = 0; j < n; ++j) sum[j] = N<T>::add(sum[j], x0 - a[j], p);
        }
#pragma omp simd
        for (index_t j = 0; j < n; ++j) sum[j] = N<T>::finish(sum[j], p);
    }
}

// The slopes by one number x of a row against that of n others: their sum; they are taken from `others`.
template <template <typename> class N, typename T> T row_slopes(T x, const T* column, const T* share, const T* far, T p, index_t n, T* others) {
    T sum = 0;
#pragma omp simd reduction(+ : sum)
    for (index_t j = 0; j < n; ++j) {
        const T slope = N<T>::slope(x - column[j], share[j], far[j], p);
        sum += slope;
        others[j] -= slope;
    }
    return sum;
}

// Where the pairs (i, j > i) of n rows begin.
inline index_t pair_start(index_t i, index_t n) { return i * n - i * (i + 1) / 2; }

template <typename T> struct Between {  // a: batch x rows x m, b: batch x columns x m
    const T *a, *b;
    index_t batch, rows, columns, m;
    T p;

    template <template <typename> class N> void distances(Is<N>, T* out) const {
        for (index_t i = 0; i < batch; ++i) {
            const std::vector<T> turn = turned(b + i * columns * m, columns, m);
            parallel_for(rows, GRAIN / (columns * m + 1) + 1, [&](index_t begin, index_t end) {
                for (index_t r = begin; r < end; ++r) {
                    row_distances<N, T>(a + (i * rows + r) * m, turn.data(), columns, columns, m, p, out + (i * rows + r) * columns);
                }
            });
        }
    }
    // the gradients of a and b
    template <template <typename> class N> void slopes(Is<N>, const T* g, const T* distance, T* of_a, T* of_b) const {
        for (index_t i = 0; i < batch; ++i) {
            const std::vector<T> turn = turned(b + i * columns * m, columns, m);
            std::vector<T> sums(static_cast<std::size_t>(columns * m), T(0));
            parallel_for(m, GRAIN / (rows * columns + 1) + 1, [&](index_t begin, index_t end) {  // apart by k, so that each sum is one thread's
                std::vector<T> shares(static_cast<std::size_t>(columns));
                for (index_t r = i * rows; r < (i + 1) * rows; ++r) {
                    const T *up = g + r * columns, *far = distance + r * columns;
                    T* share = shares.data();
#pragma omp simd
                    for (index_t j = 0; j < columns; ++j) share[j] = N<T>::share(up[j], far[j], p);
                    for (index_t k = begin; k < end; ++k) {
                        const index_t at = k * columns;
                        of_a[r * m + k] = row_slopes<N>(a[r * m + k], turn.data() + at, share, far, p, columns, sums.data() + at);
                    }
                }
            });
            for (index_t j = 0; j < columns; ++j) for (index_t k = 0; k < m; ++k) of_b[(i * columns + j) * m + k] = sums[static_cast<std::size_t>(k * columns + j)];
        }
    }
};

template <typename T> struct Pairs {  // of the rows of a: n x m
    const T* a;
    index_t n, m;
    T p;

    template <template <typename> class N> void distances(Is<N>, T* out) const {
        const std::vector<T> turn = turned(a, n, m);
        parallel_for(n, GRAIN / (n * m + 1) + 1, [&](index_t begin, index_t end) {
            for (index_t i = begin; i < end; ++i) row_distances<N, T>(a + i * m, turn.data() + i + 1, n, n - i - 1, m, p, out + pair_start(i, n));
        });
    }
    template <template <typename> class N> void slopes(Is<N>, const T* g, const T* distance, T* out) const {
        const std::vector<T> turn = turned(a, n, m);
        std::vector<T> sums(static_cast<std::size_t>(n * m), T(0));
        parallel_for(m, GRAIN / (n * n / 2 + 1) + 1, [&](index_t begin, index_t end) {  // columns apart, so that both rows of a pair are one thread's
            std::vector<T> shares(static_cast<std::size_t>(n));
            for (index_t i = 0; i < n; ++i) {
                const index_t count = n - i - 1, start = pair_start(i, n);
                const T *up = g + start, *far = distance + start;
                T* share = shares.data();
#pragma omp simd
                for (index_t j = 0; j < count; ++j) share[j] = N<T>::share(up[j], far[j], p);
                for (index_t k = begin; k < end; ++k) {
                    const index_t at = k * n + i;
                    sums[static_cast<std::size_t>(at)] +=
                        row_slopes<N>(turn[static_cast<std::size_t>(at)], turn.data() + at + 1, share, far, p, count, sums.data() + at + 1);
                }
            }
        });
        for (index_t i = 0; i < n; ++i) for (index_t k = 0; k < m; ++k) out[i * m + k] = sums[static_cast<std::size_t>(k * n + i)];
    }
};

// f(Is<N>()) for the norm of this order
template <typename F> void with_norm(double p, F f) {
    if (p == 0) f(Is<Count>());
    else if (p == 1) f(Is<Size>());
    else if (p == 2) f(Is<Euclid>());
    else if (p == 3) f(Is<Cube>());
    else if (std::isinf(p)) f(Is<Largest>());
    else f(Is<Power>());
}

bool read_order(PyObject* object, double* p) {
    *p = PyFloat_AsDouble(object);
    if (*p == -1.0 && PyErr_Occurred()) PyErr_Clear();
    return *p >= 0;
}

// The operands of `between`: matrices with equal batch dimensions.
template <typename T> bool read_between(PyArrayObject* a, PyArrayObject* b, double p, Between<T>* q) {
    const int ndim = PyArray_NDIM(a);
    if (ndim < 2 || PyArray_NDIM(b) != ndim || !PyArray_CompareLists(PyArray_DIMS(a), PyArray_DIMS(b), ndim - 2) || PyArray_DIM(a, ndim - 1) != PyArray_DIM(b, ndim - 1)) return false;
    index_t batch = 1;
    for (int i = 0; i < ndim - 2; ++i) batch *= PyArray_DIM(a, i);
    *q = {data_of<T>(a), data_of<T>(b), batch, PyArray_DIM(a, ndim - 2), PyArray_DIM(b, ndim - 2), PyArray_DIM(a, ndim - 1), static_cast<T>(p)};
    return true;
}

// (a, b, p) -> distances
template <typename T> PyObject* between_of(PyObject* const* args, int type) {
    Contiguous a(args[0], type), b(args[1], type);
    Between<T> q;
    double p;
    if (!a || !b || !read_order(args[2], &p) || !read_between(a.get(), b.get(), p, &q)) return nullptr;
    npy_intp shape[MAX_DIMS];
    const int ndim = PyArray_NDIM(a.get());
    std::copy_n(PyArray_DIMS(a.get()), ndim, shape);
    shape[ndim - 1] = q.columns;
    PyArrayObject* out = new_array(ndim, shape, type);
    if (out == nullptr) return nullptr;
    WithoutGil release;
    with_norm(p, [&](auto norm) { q.distances(norm, data_of<T>(out)); });
    return reinterpret_cast<PyObject*>(out);
}

// (g, a, b, p, distances) -> the gradients of a and b
template <typename T> PyObject* between_slope_of(PyObject* const* args, int type) {
    Contiguous g(args[0], type), a(args[1], type), b(args[2], type), r(args[4], type);
    Between<T> q;
    double p;
    if (!g || !a || !b || !r || !read_order(args[3], &p) || !read_between(a.get(), b.get(), p, &q)) return nullptr;
    if (!same_shape(g.get(), r.get()) || g.size() != q.batch * q.rows * q.columns) return nullptr;
    PyArrayObject *of_a = new_like(a.get()), *of_b = of_a == nullptr ? nullptr : new_like(b.get());
    if (of_b == nullptr) {
        Py_XDECREF(of_a);
        return nullptr;
    }
    {
        WithoutGil release;
        with_norm(p, [&](auto norm) { q.slopes(norm, g.data<T>(), r.data<T>(), data_of<T>(of_a), data_of<T>(of_b)); });
    }
    return Py_BuildValue("(NN)", of_a, of_b);
}

// (a, p) -> distances of all pairs of rows
template <typename T> PyObject* pairs_of(PyObject* const* args, int type) {
    Contiguous a(args[0], type);
    double p;
    if (!a || PyArray_NDIM(a.get()) != 2 || !read_order(args[1], &p)) return nullptr;
    const Pairs<T> q{a.data<T>(), PyArray_DIM(a.get(), 0), PyArray_DIM(a.get(), 1), static_cast<T>(p)};
    const npy_intp shape = q.n * (q.n - 1) / 2;
    PyArrayObject* out = new_array(1, &shape, type);
    if (out == nullptr) return nullptr;
    WithoutGil release;
    with_norm(p, [&](auto norm) { q.distances(norm, data_of<T>(out)); });
    return reinterpret_cast<PyObject*>(out);
}

// (g, a, p, distances) -> the gradient of a
template <typename T> PyObject* pairs_slope_of(PyObject* const* args, int type) {
    Contiguous g(args[0], type), a(args[1], type), r(args[3], type);
    double p;
    if (!g || !a || !r || PyArray_NDIM(a.get()) != 2 || !read_order(args[2], &p)) return nullptr;
    const Pairs<T> q{a.data<T>(), PyArray_DIM(a.get(), 0), PyArray_DIM(a.get(), 1), static_cast<T>(p)};
    if (g.size() != q.n * (q.n - 1) / 2 || r.size() != g.size()) return nullptr;
    PyArrayObject* out = new_like(a.get());
    if (out == nullptr) return nullptr;
    WithoutGil release;
    with_norm(p, [&](auto norm) { q.slopes(norm, g.data<T>(), r.data<T>(), data_of<T>(out)); });
    return reinterpret_cast<PyObject*>(out);
}

#define RUSHLIGHT_FLOATS(name, count_, at)                                                         \
    PyObject* name(PyObject* const* args, Py_ssize_t count) {                                      \
        const int type = count == count_ ? float_type(args[at]) : -1;                              \
        return type == NPY_FLOAT ? name##_of<float>(args, type) : type == NPY_DOUBLE ? name##_of<double>(args, type) : nullptr; \
    }
RUSHLIGHT_FLOATS(between, 3, 0)
RUSHLIGHT_FLOATS(between_slope, 5, 1)
RUSHLIGHT_FLOATS(pairs, 2, 0)
RUSHLIGHT_FLOATS(pairs_slope, 4, 1)

}  // namespace

extern const NativeFunction distance_functions[] = {
    {"between", between}, {"between_slope", between_slope}, {"pairs", pairs}, {"pairs_slope", pairs_slope}, {nullptr, nullptr}};

}  // namespace rushlight
