// The gradients of `linear` on arrays.
#pragma once

#include "objects.h"

namespace rushlight {

// Whether nodes of this class are those of `linear`'s fast path.
bool is_linear_node(PyTypeObject* type);

// Those of input, weight and bias, None where `next` (three edges) wants none: 1; 0 where these arrays are for the Python formula; -1: error.
int linear_gradients(PyObject* next, PyArrayObject* g, PyArrayObject* x, PyArrayObject* w, PyObject** out);

}  // namespace rushlight
