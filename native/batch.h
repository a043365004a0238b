// What the products of float and of half matrices share: batch dimensions and thresholds.
#pragma once

#include "rushlight.h"

namespace rushlight {

constexpr int MAX_BATCH = 8;

// The batch dimensions of the product of two arrays of matrices: sizes, and the byte steps of both operands (0 where one is broadcast).
struct Batch {
    int ndim = 0;
    npy_intp shape[MAX_BATCH + 2];
    index_t step_a[MAX_BATCH], step_b[MAX_BATCH];
    index_t count = 1;

    [[nodiscard]] bool prepare(PyArrayObject* a, PyArrayObject* b) {
        const int na = PyArray_NDIM(a) > 2 ? PyArray_NDIM(a) - 2 : 0, nb = PyArray_NDIM(b) > 2 ? PyArray_NDIM(b) - 2 : 0;
        ndim = na > nb ? na : nb;
        if (ndim > MAX_BATCH) return false;
        for (int i = 0; i < ndim; ++i) {
            const int ia = i - (ndim - na), ib = i - (ndim - nb);
            const index_t da = ia < 0 ? 1 : PyArray_DIM(a, ia), db = ib < 0 ? 1 : PyArray_DIM(b, ib);
            if (da != db && da != 1 && db != 1) return false;
            shape[i] = da == 1 ? db : da;
            step_a[i] = ia < 0 || da == 1 ? 0 : PyArray_STRIDE(a, ia);
            step_b[i] = ib < 0 || db == 1 ? 0 : PyArray_STRIDE(b, ib);
            count *= shape[i];
        }
        return true;
    }

    void offsets(index_t item, index_t* a, index_t* b) const {
        *a = *b = 0;
        for (int i = ndim - 1; i >= 0; --i) {
            const index_t at = item % shape[i];
            item /= shape[i];
            *a += at * step_a[i];
            *b += at * step_b[i];
        }
    }
};

// From how many multiplications on a second thread pays.
constexpr double WORK_PER_THREAD = 48.0 * 48.0 * 48.0;

// numpy.matmul of float16 or bfloat16 arrays, plus a vector (or nullptr) to every row before the result is rounded; nullptr without an error
// for other arrays and where shapes do not fit.
PyObject* half_product(PyArrayObject* a, PyArrayObject* b, PyArrayObject* bias);

}  // namespace rushlight
