// Reductions of float arrays along any axes. Long sums are sums of short ones, carried on in double; they are cut in the same places
// whatever the number of threads, so the result does not depend on it.
#include "reduce.h"

#include <cmath>
#include <vector>

#include "function.h"
#include "pool.h"
#include "vmath.h"

namespace rushlight {
namespace {

constexpr int MAX_NDIM = 32;
constexpr index_t BLOCK = 1024;      // elements that are added up in the array's own precision
constexpr index_t PART = 32768;      // elements per task
constexpr index_t WIDTH = 256;       // columns at a time
constexpr index_t HEIGHT = 64;       // rows that are added up in the array's own precision

// The array as up to three groups of dimensions that are all kept or all reduced, and the result's shape.
struct Groups {
    int count = 0;
    index_t size[3] = {1, 1, 1};
    bool reduced[3] = {};
    int out_ndim = 0;
    npy_intp out_shape[MAX_NDIM];
    index_t length = 1, total = 1;  // elements per result, and altogether

    // False where this is not a shape that the kernels know (no error set), or the axes are no axes.
    bool find(PyArrayObject* a, PyObject* axis, bool keep) {
        const int ndim = PyArray_NDIM(a);
        if (ndim > MAX_NDIM) return false;
        bool chosen[MAX_NDIM] = {};
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
        for (int i = 0; i < ndim; ++i) {
            const index_t n = PyArray_DIM(a, i);
            if (chosen[i]) length *= n;
            if (!chosen[i] || keep) out_shape[out_ndim++] = chosen[i] ? 1 : n;
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

struct Sum {
    using Carry = double;
    template <typename T> static T nothing() { return 0; }
    template <typename T> static T step(T so_far, T x) { return so_far + x; }
    template <typename T> static double run(const T* x, index_t n) {
        T sum = 0;
#pragma omp simd reduction(+ : sum)
        for (index_t i = 0; i < n; ++i) sum += x[i];
        return sum;
    }
    static double join(double a, double b) { return a + b; }
};

struct SquareSum : Sum {
    template <typename T> static T step(T so_far, T x) { return so_far + x * x; }
    template <typename T> static double run(const T* x, index_t n) {
        T sum = 0;
#pragma omp simd reduction(+ : sum)
        for (index_t i = 0; i < n; ++i) sum += x[i] * x[i];
        return sum;
    }
};

struct Product {
    template <typename T> static T nothing() { return 1; }
    template <typename T> static T step(T so_far, T x) { return so_far * x; }
    template <typename T> static double run(const T* x, index_t n) {
        T product = 1;
#pragma omp simd reduction(* : product)
        for (index_t i = 0; i < n; ++i) product *= x[i];
        return product;
    }
    static double join(double a, double b) { return a * b; }
};

// nan wins over everything.
struct Maximum {
    template <typename T> static T nothing() { return -HUGE_VAL; }
    template <typename T> static T step(T so_far, T x) { return (x > so_far) | (x != x) ? x : so_far; }
    template <typename T> static double run(const T* x, index_t n) {
        T top = x[0];
        int bad = 0;
#pragma omp simd reduction(max : top) reduction(| : bad)
        for (index_t i = 0; i < n; ++i) {
            top = x[i] > top ? x[i] : top;
            bad |= x[i] != x[i];
        }
        return bad ? NAN : top;
    }
    static double join(double a, double b) { return step(a, b); }
};
struct Minimum {
    template <typename T> static T nothing() { return HUGE_VAL; }
    template <typename T> static T step(T so_far, T x) { return (x < so_far) | (x != x) ? x : so_far; }
    template <typename T> static double run(const T* x, index_t n) {
        T low = x[0];
        int bad = 0;
#pragma omp simd reduction(min : low) reduction(| : bad)
        for (index_t i = 0; i < n; ++i) {
            low = x[i] < low ? x[i] : low;
            bad |= x[i] != x[i];
        }
        return bad ? NAN : low;
    }
    static double join(double a, double b) { return step(a, b); }
};

// Elements that lie behind one another.
template <typename F, typename T> double reduce_run(const T* x, index_t n) {
    if (n <= BLOCK) return F::run(x, n);
    double result = F::template nothing<double>();
    for (index_t i = 0; i < n; i += BLOCK) result = F::join(result, F::run(x + i, n - i < BLOCK ? n - i : BLOCK));
    return result;
}

// One result from a long run, part by part.
template <typename F, typename T> double reduce_all(const T* x, index_t n) {
    if (n <= PART) return reduce_run<F>(x, n);
    const index_t parts = (n + PART - 1) / PART;
    std::vector<double> results(parts);
    parallel_for(parts, 1, [&](index_t begin, index_t end) {
        for (index_t part = begin; part < end; ++part) results[part] = reduce_run<F>(x + part * PART, n - part * PART < PART ? n - part * PART : PART);
    });
    double result = results[0];
    for (index_t part = 1; part < parts; ++part) result = F::join(result, results[part]);
    return result;
}

// `rows` rows of a matrix, `width` (at most WIDTH) of its columns.
template <typename F, typename T> void reduce_columns(const T* x, index_t rows, index_t stride, index_t width, double* result) {
    T block[WIDTH];
    for (index_t c = 0; c < width; ++c) result[c] = F::template nothing<double>();
    for (index_t row = 0; row < rows; row += HEIGHT) {
        const index_t last = row + HEIGHT < rows ? row + HEIGHT : rows;
        for (index_t c = 0; c < width; ++c) block[c] = F::template nothing<T>();
        for (index_t i = row; i < last; ++i) {
            const T* from = x + i * stride;
#pragma omp simd
            for (index_t c = 0; c < width; ++c) block[c] = F::step(block[c], from[c]);
        }
        for (index_t c = 0; c < width; ++c) result[c] = F::join(result[c], static_cast<double>(block[c]));
    }
}

// outer matrices of (n, inner), reduced along n
template <typename F, typename T> void reduce_middle(const T* x, T* out, index_t outer, index_t n, index_t inner) {
    const index_t tiles = (inner + WIDTH - 1) / WIDTH, wide = inner < WIDTH ? inner : WIDTH;
    const index_t height = PART / wide < 256 ? 256 : PART / wide, parts = outer * tiles >= 16 ? 1 : (n + height - 1) / height;
    std::vector<double> partial(parts > 1 ? outer * inner * parts : 0);
    parallel_for(outer * tiles * parts, PART / (wide * (parts > 1 ? height : n)) + 1, [&](index_t begin, index_t end) {
        for (index_t task = begin; task < end; ++task) {
            const index_t part = task % parts, tile = task / parts % tiles, o = task / parts / tiles, first = tile * WIDTH;
            const index_t width = inner - first < WIDTH ? inner - first : WIDTH;
            const index_t row = parts > 1 ? part * height : 0, rows = parts > 1 && n - row > height ? height : n - row;
            double result[WIDTH];
            reduce_columns<F>(x + (o * n + row) * inner + first, rows, inner, width, result);
            for (index_t c = 0; c < width; ++c) {
                if (parts > 1) partial[(part * outer + o) * inner + first + c] = result[c];
                else out[o * inner + first + c] = static_cast<T>(result[c]);
            }
        }
    });
    if (parts == 1) return;
    for (index_t i = 0; i < outer * inner; ++i) {
        double result = partial[i];
        for (index_t part = 1; part < parts; ++part) result = F::join(result, partial[part * outer * inner + i]);
        out[i] = static_cast<T>(result);
    }
}

template <typename F, typename T> void reduce(const T* x, T* out, const Groups& of) {
    const index_t* s = of.size;
    if (of.length == 1) {
        for (index_t i = 0; i < of.total; ++i) out[i] = F::step(F::template nothing<T>(), x[i]);
    } else if (of.length == of.total) {
        *out = static_cast<T>(reduce_all<F>(x, of.total));
    } else if (of.count == 2 && of.reduced[1]) {
        if (s[0] < 4) {
            for (index_t i = 0; i < s[0]; ++i) out[i] = static_cast<T>(reduce_all<F>(x + i * s[1], s[1]));
            return;
        }
        parallel_for(s[0], PART / 2 / s[1] + 1, [&](index_t begin, index_t end) {
            for (index_t i = begin; i < end; ++i) out[i] = static_cast<T>(reduce_run<F>(x + i * s[1], s[1]));
        });
    } else if (of.count == 2) {
        reduce_middle<F>(x, out, 1, s[0], s[1]);
    } else if (of.reduced[1]) {
        reduce_middle<F>(x, out, s[0], s[1], s[2]);
    } else {
        parallel_for(s[1], PART / 2 / (s[0] * s[2]) + 1, [&](index_t begin, index_t end) {
            for (index_t k = begin; k < end; ++k) {
                double result = F::template nothing<double>();
                for (index_t i = 0; i < s[0]; ++i) result = F::join(result, reduce_run<F>(x + (i * s[1] + k) * s[2], s[2]));
                out[k] = static_cast<T>(result);
            }
        });
    }
}

enum After { AS_IT_IS, MEAN, ROOT };

template <typename F, typename T, After after> PyObject* run(PyArrayObject* a, const Groups& of) {
    PyArrayObject* out = new_array(of.out_ndim, of.out_shape, PyArray_TYPE(a));
    if (out == nullptr) return nullptr;
    T* r = data_of<T>(out);
    WithoutGil release(of.total > PART);
    reduce<F>(data_of<T>(a), r, of);
    const index_t results = of.total / of.length;
    if (after == MEAN) for (index_t i = 0; i < results; ++i) r[i] = r[i] / static_cast<T>(of.length);
    if (after == ROOT) for (index_t i = 0; i < results; ++i) r[i] = std::sqrt(r[i]);
    return reinterpret_cast<PyObject*>(out);
}

// (array, axis: None, an int or a tuple of them, keepdims), as ufunc.reduce has them
template <typename F, After after = AS_IT_IS> PyObject* reduction(PyObject* const* args, Py_ssize_t count) {
    const int type = count == 3 ? float_type(args[0]) : -1;
    if (type == -1 || !PyArray_ISNOTSWAPPED(as_array(args[0]))) return nullptr;
    PyArrayObject* a = as_array(args[0]);
    Groups of;
    if (!of.find(a, args[1], PyObject_IsTrue(args[2]) == 1)) return nullptr;
    if (!contiguous(a)) {
        // All of a transposed array is as good as all of the array; other strided arrays NumPy reduces without a copy.
        if (of.length != of.total || !PyArray_IS_F_CONTIGUOUS(a) || !PyArray_ISALIGNED(a)) return nullptr;
    }
    PyObject* result = type == NPY_FLOAT ? run<F, float, after>(a, of) : run<F, double, after>(a, of);
    return result;
}

// --- variance and logsumexp -------------------------------------------------------------------------------------------------------------

template <typename T> double squares_around(const T* x, T mean, index_t n) {
    double result = 0;
    for (index_t i = 0; i < n; i += BLOCK) {
        const index_t last = i + BLOCK < n ? i + BLOCK : n;
        T sum = 0;
#pragma omp simd reduction(+ : sum)
        for (index_t j = i; j < last; ++j) sum += (x[j] - mean) * (x[j] - mean);
        result += sum;
    }
    return result;
}

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

// Whether each result comes from elements that lie behind one another.
bool by_rows(const Groups& of) { return of.count == 1 ? of.reduced[0] : of.count == 2 && of.reduced[1]; }

template <typename T> PyObject* variance_of(PyArrayObject* a, const Groups& of, double freedom) {
    const bool rows = by_rows(of);
    if (!rows && !(of.count == 2 && of.reduced[0])) return nullptr;
    PyArrayObject *variance = new_array(of.out_ndim, of.out_shape, PyArray_TYPE(a)), *mean = new_array(of.out_ndim, of.out_shape, PyArray_TYPE(a));
    if (variance == nullptr || mean == nullptr) {
        Py_XDECREF(variance);
        Py_XDECREF(mean);
        return nullptr;
    }
    const T* x = data_of<T>(a);
    T *v = data_of<T>(variance), *m = data_of<T>(mean);
    {
        WithoutGil release(of.total > PART);
        if (rows) {
            parallel_for(of.total / of.length, PART / 4 / of.length + 1, [&](index_t begin, index_t end) {
                for (index_t i = begin; i < end; ++i) {
                    const T* row = x + i * of.length;
                    m[i] = static_cast<T>(reduce_run<Sum>(row, of.length) / static_cast<double>(of.length));
                    v[i] = static_cast<T>(squares_around(row, m[i], of.length) / freedom);
                }
            });
        } else {
            const index_t width = of.size[1];
            parallel_for((width + WIDTH - 1) / WIDTH, 1, [&](index_t begin, index_t end) {
                for (index_t tile = begin; tile < end; ++tile) {
                    const index_t first = tile * WIDTH;
                    variance_columns(x + first, of.size[0], width, width - first < WIDTH ? width - first : WIDTH, freedom, v + first, m + first);
                }
            });
        }
    }
    return Py_BuildValue("NN", variance, mean);
}

// (array, axis, keepdims, freedom) -> (sum of squares around the mean / freedom, mean)
PyObject* variance(PyObject* const* args, Py_ssize_t count) {
    const int type = count == 4 ? float_type(args[0]) : -1;
    Groups of;
    if (type == -1 || !contiguous(as_array(args[0])) || !PyArray_ISNOTSWAPPED(as_array(args[0])) ||
        !of.find(as_array(args[0]), args[1], PyObject_IsTrue(args[2]) == 1)) {
        return nullptr;
    }
    const double freedom = PyFloat_AsDouble(args[3]);
    if (PyErr_Occurred()) return nullptr;
    return type == NPY_FLOAT ? variance_of<float>(as_array(args[0]), of, freedom) : variance_of<double>(as_array(args[0]), of, freedom);
}

template <typename T> PyObject* logsumexp_rows(PyArrayObject* a, const Groups& of) {
    PyArrayObject* out = new_array(of.out_ndim, of.out_shape, PyArray_TYPE(a));
    if (out == nullptr) return nullptr;
    WithoutGil release(of.total > PART);
    parallel_for(of.total / of.length, PART / 8 / of.length + 1, [&](index_t begin, index_t end) {
        for (index_t i = begin; i < end; ++i) data_of<T>(out)[i] = logsumexp_of(data_of<T>(a) + i * of.length, of.length);
    });
    return reinterpret_cast<PyObject*>(out);
}

// (array, axis, keepdims)
PyObject* logsumexp(PyObject* const* args, Py_ssize_t count) {
    const int type = count == 3 ? float_type(args[0]) : -1;
    Groups of;
    if (type == -1 || !contiguous(as_array(args[0])) || !PyArray_ISNOTSWAPPED(as_array(args[0])) ||
        !of.find(as_array(args[0]), args[1], PyObject_IsTrue(args[2]) == 1) || !by_rows(of)) {
        return nullptr;
    }
    return type == NPY_FLOAT ? logsumexp_rows<float>(as_array(args[0]), of) : logsumexp_rows<double>(as_array(args[0]), of);
}

// --- extremes with their places ---------------------------------------------------------------------------------------------------------

template <bool largest, typename T> index_t place(const T* x, index_t n, index_t step) {
    if (step == 1) {
        const T extreme = static_cast<T>(largest ? reduce_run<Maximum>(x, n) : reduce_run<Minimum>(x, n));
        index_t i = 0;
        if (extreme != extreme) while (x[i] == x[i]) ++i;
        else while (x[i] != extreme) ++i;
        return i;
    }
    T best = x[0];
    index_t at = 0;
    for (index_t i = 1; i < n; ++i) {
        const T each = x[i * step];
        if (best != best) break;
        if ((largest ? each > best : each < best) || each != each) {
            best = each;
            at = i;
        }
    }
    return at;
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
        WithoutGil release(of.total > PART);
        parallel_for(axis.outer * axis.inner, PART / 2 / axis.n + 1, [&](index_t begin, index_t end) {
            for (index_t i = begin; i < end; ++i) {
                const T* from = x + i / axis.inner * axis.n * axis.inner + i % axis.inner;
                const index_t at = place<largest>(from, axis.n, axis.inner);
                data_of<T>(values)[i] = from[at * axis.inner];
                data_of<std::int64_t>(places)[i] = at;
            }
        });
    }
    return Py_BuildValue("NN", values, places);
}

template <bool largest> PyObject* extremes(PyObject* const* args, Py_ssize_t count) {
    const int type = count == 3 ? float_type(args[0]) : -1;
    if (type == -1) return nullptr;
    Contiguous a(args[0], type);
    Axis axis;
    Groups of;
    if (!a || !axis.find(a.get(), args[1]) || PyArray_SIZE(a.get()) == 0 || !of.find(a.get(), args[1], PyObject_IsTrue(args[2]) == 1)) return nullptr;
    return type == NPY_FLOAT ? along<largest, float>(a.get(), axis, of) : along<largest, double>(a.get(), axis, of);
}

}  // namespace

void sum_rows(const float* x, float* out, index_t rows, index_t columns) { reduce_middle<Sum>(x, out, 1, rows, columns); }
void sum_rows(const double* x, double* out, index_t rows, index_t columns) { reduce_middle<Sum>(x, out, 1, rows, columns); }

extern const NativeFunction reduce_functions[] = {
    {"sum", reduction<Sum>},          {"mean", reduction<Sum, MEAN>},   {"prod", reduction<Product>},
    {"amax", reduction<Maximum>},     {"amin", reduction<Minimum>},     {"square_sum", reduction<SquareSum>},
    {"norm", reduction<SquareSum, ROOT>}, {"max_along", extremes<true>}, {"min_along", extremes<false>},
    {"variance", variance},           {"logsumexp", logsumexp},
    {nullptr, nullptr},
};

}  // namespace rushlight
