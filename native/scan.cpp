// Running sums, products and extremes along a dimension: lines that lie side by side go together.
#include <algorithm>
#include <cmath>

#include "function.h"
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

// The array of a call (a, dim, ...), C-contiguous, and its dimension; nothing is set where the twin has to look.
struct Operand {
    int type = -1, dim = 0;
    PyArrayObject* a = nullptr;

    Operand(PyObject* object, PyObject* dim_object) {
        if (!PyArray_CheckExact(object) || !PyLong_CheckExact(dim_object) || !PyArray_ISNOTSWAPPED(as_array(object))) return;
        const long along = PyLong_AsLong(dim_object);
        if (along == -1 && PyErr_Occurred()) PyErr_Clear();
        if (along < 0 || along >= PyArray_NDIM(as_array(object))) return;
        dim = static_cast<int>(along);
        type = PyArray_TYPE(as_array(object));
        if (with_one_of<float, double, std::int32_t, std::int64_t>(type, [](auto) {})) a = as_array(PyArray_FROM_OF(object, NPY_ARRAY_CARRAY_RO));
    }
    ~Operand() { Py_XDECREF(reinterpret_cast<PyObject*>(a)); }
    Operand(const Operand&) = delete;
    Operand& operator=(const Operand&) = delete;

    PyArrayObject* result(int of_type) const { return a == nullptr ? nullptr : new_array(PyArray_NDIM(a), PyArray_DIMS(a), of_type); }
    bool empty() const { return PyArray_SIZE(a) == 0; }
};

// Calls f with a number of the array's type.
template <typename F> void with_type(const Operand& operand, F f) { with_one_of<float, double, std::int32_t, std::int64_t>(operand.type, f); }

// ("add", "multiply" or "logaddexp", a, dim, backwards)
PyObject* running_(PyObject* const* args, Py_ssize_t count) {
    if (count != 4 || !PyUnicode_CheckExact(args[0])) return nullptr;
    const Operand operand(args[1], args[2]);
    const bool backwards = args[3] == Py_True, product = PyUnicode_CompareWithASCIIString(args[0], "multiply") == 0,
               sum = PyUnicode_CompareWithASCIIString(args[0], "add") == 0;
    const bool is_float = operand.type == NPY_FLOAT || operand.type == NPY_DOUBLE;
    if (!product && !sum && (PyUnicode_CompareWithASCIIString(args[0], "logaddexp") != 0 || backwards || !is_float)) return nullptr;
    PyArrayObject* out = operand.result(operand.type);
    if (out == nullptr || operand.empty()) return reinterpret_cast<PyObject*>(out);
    PyArrayObject* a = operand.a;
    const Shape shape(a, operand.dim);
    if (!product && !sum) {
        WithoutGil release(PyArray_SIZE(a) > 1024);
        operand.type == NPY_FLOAT ? running_log(shape, data_of<float>(a), data_of<float>(out)) : running_log(shape, data_of<double>(a), data_of<double>(out));
        return reinterpret_cast<PyObject*>(out);
    }
    WithoutGil release(PyArray_SIZE(a) > 16384);
    with_type(operand, [&](auto zero) {
        using T = decltype(zero);
        product ? running<T, true>(shape, data_of<T>(a), data_of<T>(out), backwards) : running<T, false>(shape, data_of<T>(a), data_of<T>(out), backwards);
    });
    return reinterpret_cast<PyObject*>(out);
}

// (a, dim, largest)
PyObject* running_extreme_(PyObject* const* args, Py_ssize_t count) {
    if (count != 3) return nullptr;
    const Operand operand(args[0], args[1]);
    PyArrayObject *out = operand.result(operand.type), *index = operand.result(NPY_INT64);
    if (out == nullptr || index == nullptr) {
        Py_XDECREF(out);
        Py_XDECREF(index);
        return nullptr;
    }
    if (!operand.empty()) {
        const bool largest = args[2] == Py_True;
        WithoutGil release(PyArray_SIZE(operand.a) > 16384);
        const Shape shape(operand.a, operand.dim);
        with_type(operand, [&](auto zero) {
            using T = decltype(zero);
            const T* from = data_of<T>(operand.a);
            std::int64_t* to = data_of<std::int64_t>(index);
            largest ? running_extreme<T, true>(shape, from, data_of<T>(out), to) : running_extreme<T, false>(shape, from, data_of<T>(out), to);
        });
    }
    return Py_BuildValue("(NN)", out, index);
}

}  // namespace

extern const NativeFunction scan_functions[] = {
    {"running", running_},
    {"running_extreme", running_extreme_},
    {nullptr, nullptr},
};

}  // namespace rushlight
