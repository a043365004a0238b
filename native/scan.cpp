// Running sums, products and extremes along a dimension: lines that lie side by side go together.
#include <algorithm>
#include <cmath>

#include "pool.h"
#include "rushlight.h"
#include "types.h"
#include "vmath.h"

namespace rushlight {
namespace {

constexpr index_t LINES = 64;  // that go together

// An array as (outer, size, inner).
struct Shape {
    index_t outer = 1, size = 1, inner = 1;

    Shape(PyArrayObject* a, int dim) {
        for (int i = 0; i < PyArray_NDIM(a); ++i) (i < dim ? outer : i == dim ? size : inner) *= PyArray_DIM(a, i);
    }
    // f(offset of the first element, how many lines) for parts of lines side by side
    template <typename F> void each_part(F f) const {
        const index_t parts = (inner + LINES - 1) / LINES;
        parallel_for(outer * parts, std::max<index_t>(1, 16384 / (size * std::min(inner, LINES) + 1)), [&](index_t begin, index_t end) {
            for (index_t i = begin; i < end; ++i) {
                const index_t first = i % parts * LINES;
                f(i / parts * size * inner + first, std::min(LINES, inner - first));
            }
        });
    }
};

// float32 adds up in float64, as PyTorch's CPU kernel does.
template <typename T> struct SumOf { using type = T; };
template <> struct SumOf<float> { using type = double; };

template <typename T, bool PRODUCT> void running(const Shape& shape, const T* x, T* y, bool backwards) {
    using Sum = typename SumOf<T>::type;
    const index_t step = backwards ? -shape.inner : shape.inner;
    shape.each_part([&](index_t at, index_t lines) {
        if (backwards) at += (shape.size - 1) * shape.inner;
        if (lines == 1) {
            Sum sum = PRODUCT ? Sum(1) : Sum(0);
            if (step == 1) {
                const T* from = x + at;
                T* to = y + at;
                for (index_t k = 0; k < shape.size; ++k) {
                    sum = PRODUCT ? sum * static_cast<Sum>(from[k]) : sum + static_cast<Sum>(from[k]);
                    to[k] = static_cast<T>(sum);
                }
                return;
            }
            for (index_t k = 0; k < shape.size; ++k) {
                const Sum value = static_cast<Sum>(x[at + k * step]);
                sum = PRODUCT ? sum * value : sum + value;
                y[at + k * step] = static_cast<T>(sum);
            }
            return;
        }
        Sum sums[LINES];
        std::fill(sums, sums + lines, PRODUCT ? Sum(1) : Sum(0));
        for (index_t k = 0; k < shape.size; ++k, at += step) {
#pragma omp simd
            for (index_t j = 0; j < lines; ++j) {
                const Sum value = static_cast<Sum>(x[at + j]);
                sums[j] = PRODUCT ? sums[j] * value : sums[j] + value;
                y[at + j] = static_cast<T>(sums[j]);
            }
        }
    });
}

// Of equal values the last counts; nan stays, once it has come.
template <typename T, bool LARGEST> void running_extreme(const Shape& shape, const T* x, T* y, std::int64_t* index) {
    shape.each_part([&](index_t at, index_t lines) {
        if (lines == 1) {  // a branch, which is seldom taken or always
            T best = x[at];
            std::int64_t place = 0;
            for (index_t k = 0; k < shape.size; ++k, at += shape.inner) {
                const T value = x[at];
                if ((LARGEST ? value >= best : value <= best) || value != value) {
                    best = value;
                    place = k;
                }
                y[at] = best;
                index[at] = place;
            }
            return;
        }
        T best[LINES];
        std::int64_t places[LINES];
        for (index_t j = 0; j < lines; ++j) {
            best[j] = x[at + j];
            places[j] = 0;
        }
        for (index_t k = 0; k < shape.size; ++k, at += shape.inner) {
            for (index_t j = 0; j < lines; ++j) {
                const T value = x[at + j];
                const bool wins = value != value || (best[j] == best[j] && (LARGEST ? value >= best[j] : value <= best[j]));
                best[j] = wins ? value : best[j];
                places[j] = wins ? k : places[j];
                y[at + j] = best[j];
                index[at + j] = places[j];
            }
        }
    });
}

// log(exp(a) + exp(b)) of doubles, without branches
RL_INLINE double log_add_exp(double a, double b) {
    const double high = a > b ? a : b, low = a > b ? b : a, e = vmath::exp(low - high);
    const bool large = e > 0.414213562373095, same = high == low;
    const double f = large ? (e - 1) * 0.5 : e, r = high + (vmath::log_one_plus(f) + (large ? 0.693147180559945309417 : 0.0));
    const double special = std::fabs(high) == vmath::infinity<double>() ? high : same ? high + 0.693147180559945309417 : r;
    return a != a ? a : b != b ? b : special;
}

// The running log of the sum of exponentials, computed in double.
template <typename T> void running_log(const Shape& shape, const T* x, T* y) {
    constexpr index_t SIDE = 16;
    if (shape.inner == 1) {  // some rows side by side
        parallel_for((shape.outer + SIDE - 1) / SIDE, std::max<index_t>(1, 1024 / (shape.size * SIDE) + 1), [&](index_t begin, index_t end) {
            for (index_t task = begin; task < end; ++task) {
                const index_t rows = std::min(SIDE, shape.outer - task * SIDE);
                const T* from = x + task * SIDE * shape.size;
                T* to = y + task * SIDE * shape.size;
                double sums[SIDE], values[SIDE] = {};
                for (index_t j = 0; j < SIDE; ++j) sums[j] = -vmath::infinity<double>();
                for (index_t k = 0; k < shape.size; ++k) {
                    for (index_t j = 0; j < rows; ++j) values[j] = static_cast<double>(from[j * shape.size + k]);
                    if (rows == 1) {
                        const double a = sums[0], b = values[0], high = a > b ? a : b, low = a > b ? b : a;  // one after the other: the C library is faster
                        const double r = std::fabs(high) == vmath::infinity<double>() ? high : high + std::log1p(std::exp(low - high));
                        sums[0] = a != a ? a : b != b ? b : r;
                    } else {
#pragma omp simd
                        for (index_t j = 0; j < SIDE; ++j) sums[j] = log_add_exp(sums[j], values[j]);
                    }
                    for (index_t j = 0; j < rows; ++j) to[j * shape.size + k] = static_cast<T>(sums[j]);
                }
            }
        });
        return;
    }
    shape.each_part([&](index_t at, index_t lines) {
        double sums[LINES];
        std::fill(sums, sums + lines, -vmath::infinity<double>());
        for (index_t k = 0; k < shape.size; ++k, at += shape.inner) {
#pragma omp simd
            for (index_t j = 0; j < lines; ++j) {
                sums[j] = log_add_exp(sums[j], static_cast<double>(x[at + j]));
                y[at + j] = static_cast<T>(sums[j]);
            }
        }
    });
}

// a contiguous (a new reference) and the dimension; nullptr with an error set
PyArrayObject* read(PyObject* const* args, Py_ssize_t count, Py_ssize_t wanted, int* dim, bool* product) {
    if (count != wanted) {
        PyErr_Format(PyExc_TypeError, "expected %zd arguments, got %zd", wanted, count);
        return nullptr;
    }
    const long along = PyLong_AsLong(args[1]);
    if (along == -1 && PyErr_Occurred()) return nullptr;
    if (!PyArray_Check(args[0]) || along < 0 || along >= PyArray_NDIM(as_array(args[0]))) {
        PyErr_SetString(PyExc_ValueError, "expected an array and one of its dimensions");
        return nullptr;
    }
    *dim = static_cast<int>(along);
    if (product != nullptr) {
        const int given = flag(args[2]);
        if (given < 0) return nullptr;
        *product = given == 1;
    }
    return as_array(PyArray_FROM_OF(args[0], NPY_ARRAY_CARRAY_RO));
}

// Calls f with a number of the array's type; false for other types.
template <typename F> bool with_type(PyArrayObject* a, F f) {
    return with_one_of<float, double, std::int32_t, std::int64_t>(PyArray_TYPE(a), f);
}

PyObject* running_(PyObject*, PyObject* const* args, Py_ssize_t count) {
    int dim;
    bool product;
    const int backwards = count == 4 ? flag(args[3]) : 0;
    if (backwards < 0) return nullptr;
    PyArrayObject* a = read(args, count, 4, &dim, &product);
    if (a == nullptr) return nullptr;
    PyArrayObject* out = new_array(PyArray_NDIM(a), PyArray_DIMS(a), PyArray_TYPE(a));
    bool known = out != nullptr;
    if (known && PyArray_SIZE(a) != 0) {
        WithoutGil release(PyArray_SIZE(a) > 16384);
        const Shape shape(a, dim);
        known = with_type(a, [&](auto zero) {
            using T = decltype(zero);
            product ? running<T, true>(shape, data_of<T>(a), data_of<T>(out), backwards) : running<T, false>(shape, data_of<T>(a), data_of<T>(out), backwards);
        });
        if (!known) PyErr_SetString(PyExc_TypeError, "this dtype is not supported");
    }
    Py_DECREF(a);
    if (!known) Py_CLEAR(out);
    return reinterpret_cast<PyObject*>(out);
}

PyObject* running_log_(PyObject*, PyObject* const* args, Py_ssize_t count) {
    int dim;
    PyArrayObject* a = read(args, count, 2, &dim, nullptr);
    if (a == nullptr) return nullptr;
    const int type = PyArray_TYPE(a);
    if (type != NPY_FLOAT && type != NPY_DOUBLE) {
        Py_DECREF(a);
        return PyErr_Format(PyExc_TypeError, "this dtype is not supported");
    }
    PyArrayObject* out = new_array(PyArray_NDIM(a), PyArray_DIMS(a), type);
    if (out != nullptr && PyArray_SIZE(a) != 0) {
        WithoutGil release(PyArray_SIZE(a) > 1024);
        const Shape shape(a, dim);
        type == NPY_FLOAT ? running_log(shape, data_of<float>(a), data_of<float>(out)) : running_log(shape, data_of<double>(a), data_of<double>(out));
    }
    Py_DECREF(a);
    return reinterpret_cast<PyObject*>(out);
}

PyObject* running_extreme_(PyObject*, PyObject* const* args, Py_ssize_t count) {
    int dim;
    bool largest;
    PyArrayObject* a = read(args, count, 3, &dim, &largest);
    if (a == nullptr) return nullptr;
    PyArrayObject* out = new_array(PyArray_NDIM(a), PyArray_DIMS(a), PyArray_TYPE(a));
    PyArrayObject* index = out == nullptr ? nullptr : new_array(PyArray_NDIM(a), PyArray_DIMS(a), NPY_INT64);
    bool known = index != nullptr;
    if (known && PyArray_SIZE(a) != 0) {
        WithoutGil release(PyArray_SIZE(a) > 16384);
        const Shape shape(a, dim);
        known = with_type(a, [&](auto zero) {
            using T = decltype(zero);
            std::int64_t* to = data_of<std::int64_t>(index);
            largest ? running_extreme<T, true>(shape, data_of<T>(a), data_of<T>(out), to) : running_extreme<T, false>(shape, data_of<T>(a), data_of<T>(out), to);
        });
        if (!known) PyErr_SetString(PyExc_TypeError, "this dtype is not supported");
    }
    Py_DECREF(a);
    if (known) return Py_BuildValue("(NN)", out, index);
    Py_XDECREF(out);
    Py_XDECREF(index);
    return nullptr;
}

PyMethodDef methods[] = {
    {"running", reinterpret_cast<PyCFunction>(running_), METH_FASTCALL,
     "running(a, dim, product, backwards): running sums or products of float32 (added up in float64), float64, int32 or int64."},
    {"running_log", reinterpret_cast<PyCFunction>(running_log_), METH_FASTCALL, "running_log(a, dim): the running log of the sum of exponentials of float32 or float64."},
    {"running_extreme", reinterpret_cast<PyCFunction>(running_extreme_), METH_FASTCALL,
     "running_extreme(a, dim, largest): (values, places) of the running maximum or minimum."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

int add_scan(PyObject* module) { return PyModule_AddFunctions(module, methods); }

}  // namespace rushlight
