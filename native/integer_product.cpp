// Products of integer matrices, which BLAS does not have. Sums wrap around as PyTorch's do.
#include <cstring>

#include "batch.h"
#include "matmul.h"
#include "pool.h"

namespace rushlight {
namespace {

constexpr index_t DEPTH = 4;  // rows of b at a time: c is read and written once for all of them

// c (n numbers) = the sum of a[i] times row i of b (k x n).
template <typename U> void row_times_matrix(const U* a, const U* b, index_t k, index_t n, U* c) {
    std::memset(c, 0, sizeof(U) * static_cast<std::size_t>(n));
    index_t i = 0;
    for (; i + DEPTH <= k; i += DEPTH) {
        const U x0 = a[i], x1 = a[i + 1], x2 = a[i + 2], x3 = a[i + 3];
        const U *b0 = b + i * n, *b1 = b0 + n, *b2 = b1 + n, *b3 = b2 + n;
#pragma omp simd
        for (index_t j = 0; j < n; ++j) c[j] = static_cast<U>(c[j] + x0 * b0[j] + x1 * b1[j] + x2 * b2[j] + x3 * b3[j]);
    }
    for (; i < k; ++i) {
#pragma omp simd
        for (index_t j = 0; j < n; ++j) c[j] = static_cast<U>(c[j] + a[i] * b[i * n + j]);
    }
}

template <typename U> void multiply(const char* a, const char* b, U* c, const Batch& batch, index_t m, index_t k, index_t n) {
    WithoutGil release(batch.count * m * k * n > ELEMENTS_PER_THREAD);
    parallel_for(batch.count * m, ELEMENTS_PER_THREAD / (k * n + 1) + 1, [&](index_t begin, index_t end) {
        for (index_t row = begin; row < end; ++row) {
            index_t oa, ob;
            batch.offsets(row / m, &oa, &ob);
            row_times_matrix(reinterpret_cast<const U*>(a + oa) + row % m * k, reinterpret_cast<const U*>(b + ob), k, n, c + row * n);
        }
    });
}

bool is_integer(int type) { return PyTypeNum_ISINTEGER(type); }

// The last two dimensions lie behind one another.
bool has_rows(PyArrayObject* a) {
    const int ndim = PyArray_NDIM(a);
    const index_t size = PyArray_ITEMSIZE(a), columns = PyArray_DIM(a, ndim - 1);
    return (PyArray_STRIDE(a, ndim - 1) == size || columns == 1) && (PyArray_STRIDE(a, ndim - 2) == size * columns || PyArray_DIM(a, ndim - 2) == 1);
}

// The array, or a copy in C order where its matrices lie otherwise (new reference).
PyArrayObject* in_rows(PyArrayObject* a) {
    if (has_rows(a)) return as_array(Py_NewRef(reinterpret_cast<PyObject*>(a)));
    return as_array(PyArray_NewCopy(a, NPY_CORDER));
}

}  // namespace

PyObject* integer_product(PyArrayObject* a, PyArrayObject* b) {
    const int type = PyArray_TYPE(a), na = PyArray_NDIM(a), nb = PyArray_NDIM(b);
    if (!is_integer(type) || PyArray_TYPE(b) != type || na < 2 || nb < 2 || PyArray_DIM(a, na - 1) != PyArray_DIM(b, nb - 2) || !PyArray_ISBEHAVED_RO(a) ||
        !PyArray_ISBEHAVED_RO(b) || PyArray_SIZE(a) == 0 || PyArray_SIZE(b) == 0) {
        return nullptr;
    }
    Batch batch;
    if (!Batch().prepare(a, b)) return nullptr;
    PyArrayObject *x = in_rows(a), *y = x == nullptr ? nullptr : in_rows(b), *out = nullptr;
    if (y != nullptr && batch.prepare(x, y)) {
        const index_t m = PyArray_DIM(a, na - 2), k = PyArray_DIM(a, na - 1), n = PyArray_DIM(b, nb - 1);
        batch.shape[batch.ndim] = m;
        batch.shape[batch.ndim + 1] = n;
        out = new_array(batch.ndim + 2, batch.shape, type);
        if (out != nullptr) {
            const char *px = PyArray_BYTES(x), *py = PyArray_BYTES(y);
            switch (PyArray_ITEMSIZE(a)) {
                case 1: multiply(px, py, data_of<std::uint8_t>(out), batch, m, k, n); break;
                case 2: multiply(px, py, data_of<std::uint16_t>(out), batch, m, k, n); break;
                case 4: multiply(px, py, data_of<std::uint32_t>(out), batch, m, k, n); break;
                default: multiply(px, py, data_of<std::uint64_t>(out), batch, m, k, n); break;
            }
        }
    }
    Py_XDECREF(reinterpret_cast<PyObject*>(x));
    Py_XDECREF(reinterpret_cast<PyObject*>(y));
    return reinterpret_cast<PyObject*>(out);
}

}  // namespace rushlight
