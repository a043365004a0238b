// Cross entropy of rows of logits against classes: forward keeps one number per row, backward makes the gradient in one pass.
#include <cmath>

#include "function.h"
#include "pool.h"
#include "vmath.h"

namespace rushlight {
namespace {

constexpr index_t GRAIN = 4096;

// (sum of the losses, number of rows that count, log of the sum of exponentials per row)
template <typename T> PyObject* forward(PyObject* const* args) {
    constexpr int type = sizeof(T) == 4 ? NPY_FLOAT : NPY_DOUBLE;
    Contiguous x(args[0], type), t(args[1], NPY_INT64);
    if (!x || !t || PyArray_NDIM(x.get()) != 2 || PyArray_NDIM(t.get()) != 1 || PyArray_DIM(x.get(), 0) != t.size()) return nullptr;
    const long long ignored = PyLong_AsLongLong(args[2]);
    if (ignored == -1 && PyErr_Occurred()) return nullptr;
    const npy_intp rows = t.size();
    const index_t classes = PyArray_DIM(x.get(), 1);
    const std::int64_t* target = t.data<std::int64_t>();
    index_t counted = 0;
    for (index_t i = 0; i < rows; ++i) {
        if (target[i] == ignored) continue;
        if (target[i] < 0 || target[i] >= classes) return PyErr_Format(PyExc_IndexError, "Target %lld is out of bounds.", static_cast<long long>(target[i]));
        ++counted;
    }
    PyArrayObject* logs = new_array(1, &rows, type);
    if (logs == nullptr) return nullptr;
    const T* logits = x.data<T>();
    T* log = data_of<T>(logs);
    {
        WithoutGil release(rows * classes > GRAIN * 4);
        parallel_for(rows, GRAIN / (classes + 1) + 1, [&](index_t begin, index_t end) {
            for (index_t i = begin; i < end; ++i) {
                const T* a = logits + i * classes;
                T top = a[0];
#pragma omp simd reduction(max : top)
                for (index_t j = 0; j < classes; ++j) top = a[j] > top ? a[j] : top;
                double sum = 0;
                for (index_t first = 0; first < classes; first += 1024) {
                    const index_t last = first + 1024 < classes ? first + 1024 : classes;
                    T block = 0;
#pragma omp simd reduction(+ : block)
                    for (index_t j = first; j < last; ++j) block += vmath::exp(a[j] - top);
                    sum += block;
                }
                log[i] = top + static_cast<T>(std::log(sum));
            }
        });
    }
    double sum = 0;
    for (index_t i = 0; i < rows; ++i) {
        if (target[i] != ignored) sum += static_cast<double>(log[i]) - static_cast<double>(logits[i * classes + target[i]]);
    }
    return Py_BuildValue("dnN", sum, static_cast<Py_ssize_t>(counted), logs);
}

// (softmax(x) - one) * g, zero in the rows that do not count
template <typename T> PyObject* backward(PyObject* const* args) {
    constexpr int type = sizeof(T) == 4 ? NPY_FLOAT : NPY_DOUBLE;
    Contiguous x(args[1], type), t(args[2], NPY_INT64), logs(args[3], type);
    if (!x || !t || !logs) return nullptr;
    const double g = PyFloat_AsDouble(args[0]);
    const long long ignored = PyLong_AsLongLong(args[4]);
    if (PyErr_Occurred()) return nullptr;
    PyArrayObject* out = new_like(x.get());
    if (out == nullptr) return nullptr;
    const index_t rows = t.size(), classes = PyArray_DIM(x.get(), 1);
    const std::int64_t* target = t.data<std::int64_t>();
    const T *logits = x.data<T>(), *log = logs.data<T>();
    T* result = data_of<T>(out);
    const T scale = static_cast<T>(g);
    WithoutGil release(rows * classes > GRAIN * 4);
    parallel_for(rows, GRAIN / (classes + 1) + 1, [&](index_t begin, index_t end) {
        for (index_t i = begin; i < end; ++i) {
            const T* a = logits + i * classes;
            T* r = result + i * classes;
            const T shift = log[i], factor = target[i] == ignored ? T(0) : scale;
            if (target[i] == ignored) {
                for (index_t j = 0; j < classes; ++j) r[j] = 0;
                continue;
            }
#pragma omp simd
            for (index_t j = 0; j < classes; ++j) r[j] = vmath::exp(a[j] - shift) * factor;
            r[target[i]] -= factor;
        }
    });
    return reinterpret_cast<PyObject*>(out);
}

PyObject* cross_entropy(PyObject* const* args, Py_ssize_t count) {
    const int type = count == 3 ? float_type(args[0]) : -1;
    return type == NPY_FLOAT ? forward<float>(args) : type == NPY_DOUBLE ? forward<double>(args) : nullptr;
}

PyObject* cross_entropy_backward(PyObject* const* args, Py_ssize_t count) {
    const int type = count == 5 ? float_type(args[1]) : -1;
    return type == NPY_FLOAT ? backward<float>(args) : type == NPY_DOUBLE ? backward<double>(args) : nullptr;
}

}  // namespace

extern const NativeFunction loss_functions[] = {{"cross_entropy", cross_entropy}, {"cross_entropy_backward", cross_entropy_backward}, {nullptr, nullptr}};

}  // namespace rushlight
