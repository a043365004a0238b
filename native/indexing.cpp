// Reading and writing by index arrays: gather, scatter, scatter_add along a dimension, and rows that are added up by number.
#include <algorithm>
#include <atomic>
#include <complex>

#include "pool.h"
#include "rushlight.h"

namespace rushlight {
namespace {

constexpr int MAX_DIMS = 32;

// The elements of an index array, line by line along its last dimension, and where the lines begin in two more arrays.
struct Lines {
    int ndim = 0, dim = 0;
    index_t shape[MAX_DIMS], index_steps[MAX_DIMS], data_steps[MAX_DIMS], value_steps[MAX_DIMS];
    index_t lines = 1, length = 1, size = 0, step = 0;  // size and step of the data along `dim`
    const char* index = nullptr;
    char *data = nullptr, *values = nullptr;

    void prepare(PyArrayObject* of_index, PyArrayObject* of_data, PyArrayObject* of_values, int along) {
        ndim = PyArray_NDIM(of_index);
        dim = along;
        for (int i = 0; i < ndim; ++i) {
            shape[i] = PyArray_DIM(of_index, i);
            index_steps[i] = PyArray_STRIDE(of_index, i);
            data_steps[i] = i == dim ? 0 : PyArray_STRIDE(of_data, i);
            value_steps[i] = PyArray_NDIM(of_values) == 0 ? 0 : PyArray_STRIDE(of_values, i);
            if (i < ndim - 1) lines *= shape[i];
        }
        length = shape[ndim - 1];
        size = PyArray_DIM(of_data, dim);
        step = PyArray_STRIDE(of_data, dim);
        index = PyArray_BYTES(of_index);
        data = PyArray_BYTES(of_data);
        values = PyArray_BYTES(of_values);
    }

    // f(index, data, values) with the beginnings of one line
    template <typename F> void at(index_t line, F f) const {
        index_t i = 0, d = 0, v = 0;
        for (int k = ndim - 2; k >= 0; --k) {
            const index_t place = line % shape[k];
            line /= shape[k];
            i += place * index_steps[k];
            d += place * data_steps[k];
            v += place * value_steps[k];
        }
        f(index + i, data + d, values + v);
    }

    bool in_range() const {
        std::atomic<bool> good{true};
        parallel_for(lines, std::max<index_t>(1, 65536 / (length + 1)), [&](index_t begin, index_t end) {
            std::uint64_t largest = 0;
            for (index_t line = begin; line < end; ++line) {
                at(line, [&](const char* from, char*, char*) {
                    if (index_steps[ndim - 1] == 8) {
                        const std::uint64_t* numbers = reinterpret_cast<const std::uint64_t*>(from);
                        for (index_t j = 0; j < length; ++j) largest = std::max(largest, numbers[j]);
                    } else {
                        for (index_t j = 0; j < length; ++j) largest = std::max(largest, *reinterpret_cast<const std::uint64_t*>(from + j * index_steps[ndim - 1]));
                    }
                });
            }
            if (largest >= static_cast<std::uint64_t>(size)) good = false;
        });
        return good;
    }
};

template <typename T> void gather_part(const Lines& l, index_t line, index_t begin, index_t end) {
    const index_t across = l.data_steps[l.ndim - 1], index_step = l.index_steps[l.ndim - 1], value_step = l.value_steps[l.ndim - 1], step = l.step;
    l.at(line, [&](const char* index, char* data, char* values) {
        for (index_t j = begin; j < end; ++j) {
            const std::int64_t i = *reinterpret_cast<const std::int64_t*>(index + j * index_step);
            *reinterpret_cast<T*>(values + j * value_step) = *reinterpret_cast<const T*>(data + j * across + i * step);
        }
    });
}

template <typename T, bool ADD> void scatter_part(const Lines& l, index_t line, index_t begin, index_t end) {
    const index_t across = l.data_steps[l.ndim - 1], index_step = l.index_steps[l.ndim - 1], value_step = l.value_steps[l.ndim - 1], step = l.step;
    l.at(line, [&](const char* index, char* data, char* values) {
        for (index_t j = begin; j < end; ++j) {
            const std::int64_t i = *reinterpret_cast<const std::int64_t*>(index + j * index_step);
            T* place = reinterpret_cast<T*>(data + j * across + i * step);
            const T value = *reinterpret_cast<const T*>(values + j * value_step);
            if constexpr (ADD) {
                *place = static_cast<T>(*place + value);
            } else {
                *place = value;
            }
        }
    });
}

using Part = void (*)(const Lines&, index_t, index_t, index_t);

struct Two {
    std::uint64_t a, b;
};

template <template <typename> class Holder> Part by_size(index_t size) {
    switch (size) {
        case 1: return Holder<std::uint8_t>::part;
        case 2: return Holder<std::uint16_t>::part;
        case 4: return Holder<std::uint32_t>::part;
        case 8: return Holder<std::uint64_t>::part;
        case 16: return Holder<Two>::part;
        default: return nullptr;
    }
}
template <typename T> struct Gather { static constexpr Part part = gather_part<T>; };
template <typename T> struct Assign { static constexpr Part part = scatter_part<T, false>; };

Part adder(int type) {
    switch (type) {
        case NPY_FLOAT: return scatter_part<float, true>;
        case NPY_DOUBLE: return scatter_part<double, true>;
        case NPY_CFLOAT: return scatter_part<std::complex<float>, true>;
        case NPY_CDOUBLE: return scatter_part<std::complex<double>, true>;
        case NPY_INT8: return scatter_part<std::int8_t, true>;
        case NPY_UINT8: return scatter_part<std::uint8_t, true>;
        case NPY_INT16: return scatter_part<std::int16_t, true>;
        case NPY_INT32: return scatter_part<std::int32_t, true>;
        case NPY_INT64: return scatter_part<std::int64_t, true>;
        default: return nullptr;
    }
}

constexpr index_t GRAIN = 16384;

// Lines are shared out among the threads where no two of them write to one place, else the places along a line are.
void run(const Lines& l, Part part, bool lines_are_free) {
    if (lines_are_free && l.lines > 1) {
        parallel_for(l.lines, std::max<index_t>(1, GRAIN / (l.length + 1)), [&](index_t begin, index_t end) {
            for (index_t line = begin; line < end; ++line) part(l, line, 0, l.length);
        });
    } else if (!lines_are_free && l.ndim - 1 == l.dim) {  // one line that writes where it likes
        for (index_t line = 0; line < l.lines; ++line) part(l, line, 0, l.length);
    } else {
        parallel_for(l.length, std::max<index_t>(1, GRAIN / (l.lines + 1)), [&](index_t begin, index_t end) {
            for (index_t line = 0; line < l.lines; ++line) part(l, line, begin, end);
        });
    }
}

// Arrays of the call that fit together: data and index of equal rank, index int64 and no larger than data beside `dim`.
bool check(PyObject* data, PyObject* dim_object, PyObject* index, int* dim) {
    if (!PyArray_Check(data) || !PyArray_Check(index)) {
        PyErr_SetString(PyExc_TypeError, "expected arrays");
        return false;
    }
    const long along = PyLong_AsLong(dim_object);
    if (along == -1 && PyErr_Occurred()) return false;
    PyArrayObject *a = as_array(data), *i = as_array(index);
    const int ndim = PyArray_NDIM(a);
    bool good = ndim > 0 && ndim <= MAX_DIMS && PyArray_NDIM(i) == ndim && along >= 0 && along < ndim && PyArray_TYPE(i) == NPY_INT64 &&
                PyArray_ISBEHAVED_RO(a) && PyArray_ISBEHAVED_RO(i) && !PyDataType_REFCHK(PyArray_DESCR(a));
    for (int d = 0; d < ndim && good; ++d) good = d == along || PyArray_DIM(i, d) <= PyArray_DIM(a, d);
    if (!good) PyErr_SetString(PyExc_ValueError, "data and an int64 index of its rank, no larger beside `dim`, are needed");
    *dim = static_cast<int>(along);
    return good;
}

PyObject* gather(PyObject*, PyObject* const* args, Py_ssize_t count) {
    if (count != 3) return PyErr_Format(PyExc_TypeError, "expected 3 arguments, got %zd", count);
    int dim;
    if (!check(args[0], args[1], args[2], &dim)) return nullptr;
    PyArrayObject *a = as_array(args[0]), *index = as_array(args[2]);
    Part part = by_size<Gather>(PyArray_ITEMSIZE(a));
    if (part == nullptr) return PyErr_Format(PyExc_TypeError, "elements of this size are not supported");
    PyArray_Descr* type = PyArray_DESCR(a);
    Py_INCREF(type);
    PyArrayObject* out = as_array(PyArray_NewFromDescr(&PyArray_Type, type, PyArray_NDIM(index), PyArray_DIMS(index), nullptr, nullptr, 0, nullptr));
    if (out == nullptr || PyArray_SIZE(index) == 0) return reinterpret_cast<PyObject*>(out);
    bool good;
    {
        WithoutGil release(PyArray_SIZE(index) > GRAIN);
        Lines lines;
        lines.prepare(index, a, out, dim);
        good = lines.in_range();
        if (good) run(lines, part, true);
    }
    if (good) return reinterpret_cast<PyObject*>(out);
    Py_DECREF(out);
    Py_RETURN_NONE;
}

PyObject* scatter(PyObject*, PyObject* const* args, Py_ssize_t count) {
    if (count != 5) return PyErr_Format(PyExc_TypeError, "expected 5 arguments, got %zd", count);
    int dim;
    if (!check(args[0], args[1], args[2], &dim)) return nullptr;
    const int add = PyObject_IsTrue(args[4]);
    PyArrayObject *target = as_array(args[0]), *index = as_array(args[2]), *values = as_array(args[3]);
    if (!PyArray_Check(args[3]) || PyArray_TYPE(values) != PyArray_TYPE(target) || !PyArray_ISBEHAVED_RO(values) || !PyArray_ISBEHAVED(target) ||
        (PyArray_NDIM(values) != 0 && !same_shape(values, index))) {
        return PyErr_Format(PyExc_ValueError, "values have to be of the target's dtype and the index's shape");
    }
    Part part = add ? adder(PyArray_TYPE(target)) : by_size<Assign>(PyArray_ITEMSIZE(target));
    if (part == nullptr) return PyErr_Format(PyExc_TypeError, "this dtype is not supported");
    if (PyArray_SIZE(index) == 0) Py_RETURN_TRUE;
    bool good;
    {
        WithoutGil release(PyArray_SIZE(index) > GRAIN);
        Lines lines;
        lines.prepare(index, target, values, dim);
        good = lines.in_range();
        if (good) run(lines, part, dim == lines.ndim - 1 && lines.lines > 1);
    }
    return PyBool_FromLong(good);
}

// target[rows[i]] += values[i]: a thread adds what belongs to its own rows, in order, so that sums do not depend on the number of threads.
template <typename T> void add_rows_of(char* target_, index_t count, index_t width, const std::int64_t* rows, index_t n, const char* values_, index_t step) {
    T* target = reinterpret_cast<T*>(target_);
    const index_t threads = n * width > 4 * GRAIN ? thread_count() : 1, part = (count + threads - 1) / threads;
    parallel_for(threads, 1, [&](index_t begin, index_t end) {
        const index_t low = begin * part, high = std::min(count, end * part);
        for (index_t i = 0; i < n; ++i) {
            const index_t row = rows[i] < 0 ? rows[i] + count : rows[i];
            if (row < low || row >= high) continue;
            T* to = target + row * width;
            const T* from = reinterpret_cast<const T*>(values_ + i * step);
#pragma omp simd
            for (index_t j = 0; j < width; ++j) to[j] = static_cast<T>(to[j] + from[j]);
        }
    });
}

PyObject* add_rows(PyObject*, PyObject* const* args, Py_ssize_t count) {
    if (count != 3) return PyErr_Format(PyExc_TypeError, "expected 3 arguments, got %zd", count);
    if (!PyArray_Check(args[0]) || !PyArray_Check(args[1]) || !PyArray_Check(args[2])) return PyErr_Format(PyExc_TypeError, "expected arrays");
    PyArrayObject *target = as_array(args[0]), *rows = as_array(args[1]), *values = as_array(args[2]);
    const int ndim = PyArray_NDIM(target);
    if ((ndim != 1 && ndim != 2) || PyArray_NDIM(values) != ndim || PyArray_NDIM(rows) != 1 || PyArray_TYPE(rows) != NPY_INT64 || !contiguous(rows) ||
        PyArray_TYPE(values) != PyArray_TYPE(target) || !contiguous(target) || !PyArray_ISBEHAVED(target) || !PyArray_ISBEHAVED_RO(values) ||
        PyArray_DIM(values, 0) != PyArray_DIM(rows, 0) || (ndim == 2 && PyArray_DIM(values, 1) != PyArray_DIM(target, 1)) ||
        (ndim == 2 && PyArray_DIM(values, 1) > 1 && PyArray_STRIDE(values, 1) != PyArray_ITEMSIZE(values))) {
        Py_RETURN_FALSE;
    }
    const index_t n = PyArray_DIM(rows, 0), size = PyArray_DIM(target, 0), width = ndim == 2 ? PyArray_DIM(target, 1) : 1;
    const std::int64_t* numbers = data_of<std::int64_t>(rows);
    for (index_t i = 0; i < n; ++i) {
        if (numbers[i] < -size || numbers[i] >= size) return PyErr_Format(PyExc_IndexError, "row %lld is out of bounds for %zd rows", (long long)numbers[i], size);
    }
    const auto call = [&](auto zero) {
        WithoutGil release(n * width > GRAIN);
        add_rows_of<decltype(zero)>(PyArray_BYTES(target), size, width, numbers, n, PyArray_BYTES(values), PyArray_STRIDE(values, 0));
    };
    switch (PyArray_TYPE(target)) {
        case NPY_FLOAT: call(0.0f); break;
        case NPY_DOUBLE: call(0.0); break;
        case NPY_INT32: call(std::int32_t(0)); break;
        case NPY_INT64: call(std::int64_t(0)); break;
        default: Py_RETURN_FALSE;
    }
    Py_RETURN_TRUE;
}

PyMethodDef methods[] = {
    {"gather", reinterpret_cast<PyCFunction>(gather), METH_FASTCALL,
     "gather(a, dim, index): out[.., i, ..] = a[.., index[.., i, ..], ..]; None where an index is out of range."},
    {"scatter", reinterpret_cast<PyCFunction>(scatter), METH_FASTCALL,
     "scatter(target, dim, index, values, add): the opposite, in place; False (and nothing written) where an index is out of range."},
    {"add_rows", reinterpret_cast<PyCFunction>(add_rows), METH_FASTCALL,
     "add_rows(target, rows, values): target[rows[i]] += values[i] in place; False where the arrays are not of the supported kind."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

int add_indexing(PyObject* module) { return PyModule_AddFunctions(module, methods); }

}  // namespace rushlight
