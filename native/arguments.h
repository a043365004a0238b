// Reading what Python passes to kernels.
#pragma once

#include <array>

#include "rushlight.h"

namespace rushlight {

using Index3 = std::array<index_t, 3>;  // depth, height, width; a 1d or 2d image has ones in front

// A tuple of `ndim` integers into the last places of `sizes`; false with an error set where it is something else or less than `least`.
[[nodiscard]] inline bool read_sizes(PyObject* tuple, int ndim, Index3* sizes, index_t least) {
    if (!PyTuple_Check(tuple) || PyTuple_GET_SIZE(tuple) != ndim) {
        PyErr_Format(PyExc_ValueError, "expected a tuple of %d integers", ndim);
        return false;
    }
    for (int i = 0; i < ndim; ++i) {
        const Py_ssize_t value = PyLong_AsSsize_t(PyTuple_GET_ITEM(tuple, i));
        if (value == -1 && PyErr_Occurred()) return false;
        if (value < least) {
            PyErr_Format(PyExc_ValueError, "%zd is less than %zd", value, least);
            return false;
        }
        (*sizes)[3 - ndim + i] = value;
    }
    return true;
}

// Takes contiguous arrays of one dtype, checking their sizes; the first error stays set.
struct Reader {
    int type;
    bool good = true;

    template <typename T> T* take(PyObject* object, index_t size, const char* name, bool optional = false) {
        if (optional && object == Py_None) return nullptr;
        if (!PyArray_Check(object) || PyArray_TYPE(as_array(object)) != type || !contiguous(as_array(object)) || PyArray_SIZE(as_array(object)) != size) {
            if (good) PyErr_Format(PyExc_ValueError, "%s: expected a contiguous array of %zd elements of the other operands' dtype", name, size);
            good = false;
            return nullptr;
        }
        return data_of<T>(as_array(object));
    }
};

}  // namespace rushlight
