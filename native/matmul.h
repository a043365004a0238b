// Products of float32 and float64 arrays by BLAS. Each returns a new array, or nullptr: with an error set where there was no memory, without
// one where BLAS can't take the arrays as they are (the caller then asks NumPy).
#pragma once

#include "rushlight.h"

namespace rushlight {

// a b, or a b' (of the last two dimensions); the other dimensions broadcast.
PyObject* product(PyArrayObject* a, PyArrayObject* b, bool transpose_b = false);

// The same of integers, without BLAS.
PyObject* integer_product(PyArrayObject* a, PyArrayObject* b);

// a' b of matrices
PyObject* transposed_product(PyArrayObject* a, PyArrayObject* b);

// x w' + bias of matrices (n, in), (out, in) and a vector (out)
PyObject* product_plus(PyArrayObject* x, PyArrayObject* w, PyArrayObject* bias);

}  // namespace rushlight
