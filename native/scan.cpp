// Running sums, products and extremes along a dimension: lines that lie side by side go together.
#include <algorithm>

#include "pool.h"
#include "rushlight.h"

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

template <typename T, bool PRODUCT> void running(const Shape& shape, const T* x, T* y) {
    using Sum = typename SumOf<T>::type;
    shape.each_part([&](index_t at, index_t lines) {
        if (lines == 1) {
            Sum sum = PRODUCT ? Sum(1) : Sum(0);
            for (index_t k = 0; k < shape.size; ++k) {
                const Sum value = static_cast<Sum>(x[at + k * shape.inner]);
                sum = PRODUCT ? sum * value : sum + value;
                y[at + k * shape.inner] = static_cast<T>(sum);
            }
            return;
        }
        Sum sums[LINES];
        std::fill(sums, sums + lines, PRODUCT ? Sum(1) : Sum(0));
        for (index_t k = 0; k < shape.size; ++k, at += shape.inner) {
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

// a contiguous (a new reference) and the dimension; nullptr with an error set
PyArrayObject* read(PyObject* const* args, Py_ssize_t count, int* dim, bool* flag) {
    if (count != 3) {
        PyErr_Format(PyExc_TypeError, "expected 3 arguments, got %zd", count);
        return nullptr;
    }
    const long along = PyLong_AsLong(args[1]);
    if (along == -1 && PyErr_Occurred()) return nullptr;
    if (!PyArray_Check(args[0]) || along < 0 || along >= PyArray_NDIM(as_array(args[0]))) {
        PyErr_SetString(PyExc_ValueError, "expected an array and one of its dimensions");
        return nullptr;
    }
    *dim = static_cast<int>(along);
    *flag = PyObject_IsTrue(args[2]) == 1;
    return as_array(PyArray_FROM_OF(args[0], NPY_ARRAY_CARRAY_RO));
}

// Calls f with a number of the array's type; false for other types.
template <typename F> bool with_type(PyArrayObject* a, F f) {
    switch (PyArray_TYPE(a)) {
        case NPY_FLOAT: f(0.0f); return true;
        case NPY_DOUBLE: f(0.0); return true;
        case NPY_INT32: f(std::int32_t(0)); return true;
        case NPY_INT64: f(std::int64_t(0)); return true;
        default: return false;
    }
}

PyObject* running_(PyObject*, PyObject* const* args, Py_ssize_t count) {
    int dim;
    bool product;
    PyArrayObject* a = read(args, count, &dim, &product);
    if (a == nullptr) return nullptr;
    PyArrayObject* out = new_array(PyArray_NDIM(a), PyArray_DIMS(a), PyArray_TYPE(a));
    bool known = out != nullptr;
    if (known && PyArray_SIZE(a) != 0) {
        WithoutGil release(PyArray_SIZE(a) > 16384);
        const Shape shape(a, dim);
        known = with_type(a, [&](auto zero) {
            using T = decltype(zero);
            product ? running<T, true>(shape, data_of<T>(a), data_of<T>(out)) : running<T, false>(shape, data_of<T>(a), data_of<T>(out));
        });
        if (!known) PyErr_SetString(PyExc_TypeError, "this dtype is not supported");
    }
    Py_DECREF(a);
    if (!known) Py_CLEAR(out);
    return reinterpret_cast<PyObject*>(out);
}

PyObject* running_extreme_(PyObject*, PyObject* const* args, Py_ssize_t count) {
    int dim;
    bool largest;
    PyArrayObject* a = read(args, count, &dim, &largest);
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
     "running(a, dim, product): running sums or products of float32 (added up in float64), float64, int32 or int64."},
    {"running_extreme", reinterpret_cast<PyCFunction>(running_extreme_), METH_FASTCALL,
     "running_extreme(a, dim, largest): (values, places) of the running maximum or minimum."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

int add_scan(PyObject* module) { return PyModule_AddFunctions(module, methods); }

}  // namespace rushlight
