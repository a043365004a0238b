// Doors to kernels (kernels/door.py): a callable that computes what it can here, asks the classes of other arrays, and leaves the rest to a NumPy twin.
#pragma once

#include "rushlight.h"

namespace rushlight {

// Computes, or returns nullptr: with a Python error set, or without one where the arguments are for the twin.
using Native = PyObject* (*)(PyObject* const* args, Py_ssize_t count);

struct NativeFunction {
    const char* name;
    Native call;
};

// The kernels of kernels/<name>.py, under their names there; each table ends with an entry without name.
extern const NativeFunction softmax_functions[], norm_functions[], reduce_functions[], loss_functions[], memory_functions[],
    lapack_functions[], conv_functions[], pooling_functions[], resample_functions[], sorting_functions[], scan_functions[], indexing_functions[],
    attention_functions[], rnn_functions[], grid_sample_functions[], random_fill_functions[], libm_functions[], linear_functions[];

// An argument as a C-contiguous array of a type; holds a reference, to a copy where need be. Null for what is no plain array of that type.
class Contiguous {
  public:
    Contiguous(PyObject* object, int type) {
        if (!PyArray_CheckExact(object) || PyArray_TYPE(as_array(object)) != type || !PyArray_ISNOTSWAPPED(as_array(object))) return;
        if (contiguous(as_array(object))) array_ = as_array(Py_NewRef(object));
        else array_ = as_array(PyArray_NewCopy(as_array(object), NPY_CORDER));
    }
    ~Contiguous() { Py_XDECREF(reinterpret_cast<PyObject*>(array_)); }
    Contiguous(const Contiguous&) = delete;
    Contiguous& operator=(const Contiguous&) = delete;
    explicit operator bool() const { return array_ != nullptr; }
    PyArrayObject* get() const { return array_; }
    template <typename T> T* data() const { return array_ == nullptr ? nullptr : data_of<T>(array_); }
    index_t size() const { return PyArray_SIZE(array_); }

  private:
    PyArrayObject* array_ = nullptr;
};

inline int float_type(PyObject* object) {  // NPY_FLOAT or NPY_DOUBLE, or -1
    if (!PyArray_CheckExact(object)) return -1;
    const int type = PyArray_TYPE(as_array(object));
    return type == NPY_FLOAT || type == NPY_DOUBLE ? type : -1;
}

inline PyArrayObject* new_like(PyArrayObject* array) { return new_array(PyArray_NDIM(array), PyArray_DIMS(array), PyArray_TYPE(array)); }

// The sizes before, at, and after an axis (which may count from the end); false for an axis out of range or no integer.
struct Axis {
    index_t outer = 1, n = 1, inner = 1;
    [[nodiscard]] bool find(PyArrayObject* array, PyObject* axis) {
        long at = PyLong_AsLong(axis);
        if (at == -1 && PyErr_Occurred()) {
            PyErr_Clear();
            return false;
        }
        const int ndim = PyArray_NDIM(array);
        if (at < 0) at += ndim;
        if (at < 0 || at >= ndim) return false;
        for (int i = 0; i < ndim; ++i) (i < at ? outer : i == at ? n : inner) *= PyArray_DIM(array, i);
        return true;
    }
};

}  // namespace rushlight
