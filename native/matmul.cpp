// matmul(a, b): matrices and batches of them through NumPy's BLAS, without copies of transposed operands, split over the library's own pool.
#include "matmul.h"

#include "blas.h"

#include <cstring>
#include <utility>

#include "batch.h"
#include "few_rows.h"
#include "function.h"
#include "pool.h"

namespace rushlight {
namespace {

// The last two dimensions of an array as BLAS sees them.
struct Matrix {
    index_t rows, columns, leading;
    bool transposed;

    void transpose() {
        std::swap(rows, columns);
        transposed = !transposed;
    }
};

bool as_matrix(PyArrayObject* array, Matrix* matrix) {
    const int ndim = PyArray_NDIM(array);
    const index_t size = PyArray_ITEMSIZE(array);
    const index_t rows = PyArray_DIM(array, ndim - 2), columns = PyArray_DIM(array, ndim - 1);
    index_t row = PyArray_STRIDE(array, ndim - 2), column = PyArray_STRIDE(array, ndim - 1);
    if (row % size != 0 || column % size != 0 || row < 0 || column < 0) return false;
    row /= size;
    column /= size;
    matrix->rows = rows;
    matrix->columns = columns;
    if ((column == 1 || columns == 1) && (row >= columns || rows == 1)) {
        matrix->transposed = false;
        matrix->leading = rows == 1 ? columns : row;
        return true;
    }
    if ((row == 1 || rows == 1) && (column >= rows || columns == 1)) {
        matrix->transposed = true;
        matrix->leading = columns == 1 ? rows : column;
        return true;
    }
    return false;
}

// y[first..last) = x b (beta 0), or y += x b (beta 1), for one row x: a matrix is read once, so nothing of it is worth packing.
template <typename T> void row_product(const T* x, const T* b, index_t step, bool transposed, index_t k, index_t first, index_t last, T beta, T* y) {
    constexpr index_t WIDTH = 256;
    if (transposed) {
        for (index_t j = first; j < last; ++j) {
            const T* row = b + j * step;
            T sum = 0;
#pragma omp simd reduction(+ : sum)
            for (index_t i = 0; i < k; ++i) sum += x[i] * row[i];
            y[j] = beta == T(0) ? sum : y[j] + sum;
        }
        return;
    }
    T sums[WIDTH];
    for (index_t start = first; start < last; start += WIDTH) {
        const index_t n = last - start < WIDTH ? last - start : WIDTH;
        for (index_t c = 0; c < n; ++c) sums[c] = beta == T(0) ? T(0) : y[start + c];
        for (index_t i = 0; i < k; ++i) {
            const T *row = b + i * step + start, factor = x[i];
#pragma omp simd
            for (index_t c = 0; c < n; ++c) sums[c] += factor * row[c];
        }
        for (index_t c = 0; c < n; ++c) y[start + c] = sums[c];
    }
}

template <typename T> void multiply_row(const char* a, const char* b, T* out, const Matrix& ma, const Matrix& mb, const Batch& batch, T beta) {
    constexpr index_t PER_TASK = 32768;  // elements of the matrix
    const index_t k = ma.columns, n = mb.columns;
    index_t tile = (PER_TASK / k + 64) / 64 * 64;
    if (tile > n) tile = n;
    const index_t tiles = (n + tile - 1) / tile;
    WithoutGil release(n * k * batch.count > PER_TASK);
    parallel_for(batch.count * tiles, PER_TASK / (tile * k) + 1, [&](index_t begin, index_t end) {
        for (index_t task = begin; task < end; ++task) {
            const index_t item = task / tiles, first = task % tiles * tile, last = first + tile < n ? first + tile : n;
            index_t oa, ob;
            batch.offsets(item, &oa, &ob);
            row_product(reinterpret_cast<const T*>(a + oa), reinterpret_cast<const T*>(b + ob), mb.leading, mb.transposed, k, first, last, beta, out + item * n);
        }
    });
}

// c = a b (beta 0), or c += a b (beta 1): few rows where the matrix lies, others by BLAS.
template <typename T>
void block(const Matrix& ma, const Matrix& mb, index_t m, index_t n, const T* a, const T* b, T beta, T* c, index_t ldc) {
    const index_t k = ma.columns;
    if (!ma.transposed && few_rows(mb.transposed, m, n, k, a, ma.leading, b, mb.leading, beta != T(0), c, ldc)) return;
    gemm(ma.transposed, mb.transposed, m, n, k, T(1), a, ma.leading, b, mb.leading, beta, c, ldc);
}

// out = a b (beta 0), or out += a b (beta 1)
template <typename T> void multiply(PyArrayObject* a, PyArrayObject* b, PyArrayObject* out, const Matrix& ma, const Matrix& mb, const Batch& batch, T beta = T(0)) {
    const index_t m = ma.rows, k = ma.columns, n = mb.columns;
    const char *pa = PyArray_BYTES(a), *pb = PyArray_BYTES(b);
    T* po = data_of<T>(out);
    if (m == 1 && !ma.transposed) return multiply_row(pa, pb, po, ma, mb, batch, beta);
    const double work = double(m) * double(n) * double(k) * double(batch.count);
    const int most = work / WORK_PER_THREAD >= thread_count() ? thread_count() : static_cast<int>(work / WORK_PER_THREAD);
    if (most <= 1) {
        for (index_t item = 0; item < batch.count; ++item) {
            index_t oa, ob;
            batch.offsets(item, &oa, &ob);
            block(ma, mb, m, n, reinterpret_cast<const T*>(pa + oa), reinterpret_cast<const T*>(pb + ob), beta, po + item * m * n, n);
        }
        return;
    }
    WithoutGil release;
    SerialBlas serial;
    // Few large matrices are cut into strips of rows or columns, whichever are more.
    const index_t strips = batch.count >= most ? 1 : (most + batch.count - 1) / batch.count;
    const bool by_rows = m >= n;
    const index_t length = by_rows ? m : n;
    index_t strip = (length + strips - 1) / strips;
    strip = (strip + 15) / 16 * 16;
    parallel_for(batch.count * strips, 1, [&](index_t begin, index_t end) {
        for (index_t task = begin; task < end; ++task) {
            const index_t item = task / strips, first = task % strips * strip;
            if (first >= length) continue;
            const index_t size = first + strip > length ? length - first : strip;
            index_t oa, ob;
            batch.offsets(item, &oa, &ob);
            const T *xa = reinterpret_cast<const T*>(pa + oa), *xb = reinterpret_cast<const T*>(pb + ob);
            T* xo = po + item * m * n;
            if (by_rows) block(ma, mb, size, n, xa + (ma.transposed ? first : first * ma.leading), xb, beta, xo + first * n, n);
            else block(ma, mb, m, size, xa, xb + (mb.transposed ? first * mb.leading : first), beta, xo + first, n);
        }
    });
}

PyObject* numpy_matmul = nullptr;  // for what BLAS can't take as it is, and for errors

// Every row of out becomes the bias; then out += x w'.
template <typename T> void linear_into(PyArrayObject* x, PyArrayObject* w, PyArrayObject* bias, PyArrayObject* out, const Matrix& mx, const Matrix& mw) {
    const T* b = data_of<T>(bias);
    T* y = data_of<T>(out);
    for (index_t i = 0; i < mx.rows; ++i) std::memcpy(y + i * mw.columns, b, sizeof(T) * mw.columns);
    multiply<T>(x, w, out, mx, mw, Batch(), T(1));
}

bool is_float(int type) { return type == NPY_FLOAT || type == NPY_DOUBLE; }

PyObject* matmul(PyObject*, PyObject* const* args, Py_ssize_t count) {
    if (count == 2 && PyArray_CheckExact(args[0]) && PyArray_CheckExact(args[1])) {
        PyArrayObject *a = as_array(args[0]), *b = as_array(args[1]);
        PyObject* out = PyTypeNum_ISINTEGER(PyArray_TYPE(a)) ? integer_product(a, b) : PyArray_ITEMSIZE(a) == 2 ? half_product(a, b, nullptr) : product(a, b);
        if (out != nullptr || PyErr_Occurred()) return out;
    }
    return PyObject_Vectorcall(numpy_matmul, args, count, nullptr);
}

// (x, w, bias): x w' + bias of two matrices and a vector, where BLAS (or for halves, a kernel of ours) can take them as they are
PyObject* linear(PyObject* const* args, Py_ssize_t count) {
    if (count != 3) return nullptr;
    for (int i = 0; i < 3; ++i) {
        if (!PyArray_CheckExact(args[i])) return nullptr;
    }
    PyArrayObject *x = as_array(args[0]), *w = as_array(args[1]), *bias = as_array(args[2]);
    PyObject* out;
    if (PyArray_ITEMSIZE(x) == 2 && PyArray_NDIM(w) == 2) {
        PyObject* turned = PyArray_Transpose(w, nullptr);
        if (turned == nullptr) return nullptr;
        out = half_product(x, as_array(turned), bias);
        Py_DECREF(turned);
    } else {
        out = product_plus(x, w, bias);
    }
    return out;
}

PyMethodDef methods[] = {
    {"matmul", reinterpret_cast<PyCFunction>(matmul), METH_FASTCALL,
     "matmul(a, b): numpy.matmul, with float32 and float64 arrays of two or more dimensions going to BLAS as they are, on the library's threads; "
     "float16 and bfloat16 by kernels of ours, with sums in float."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

extern const NativeFunction linear_functions[] = {{"linear", linear}, {nullptr, nullptr}};

PyObject* product(PyArrayObject* a, PyArrayObject* b, bool transpose_b) {
    const int type = PyArray_TYPE(a);
    Matrix ma, mb;
    Batch batch;
    if (!is_float(type) || PyArray_TYPE(b) != type || PyArray_NDIM(a) < 2 || PyArray_NDIM(b) < 2 || !have_blas() || !PyArray_ISBEHAVED_RO(a) ||
        !PyArray_ISBEHAVED_RO(b) || !as_matrix(a, &ma) || !as_matrix(b, &mb)) {
        return nullptr;
    }
    if (transpose_b) mb.transpose();
    if (ma.columns != mb.rows || ma.columns == 0 || ma.rows == 0 || mb.columns == 0 || !batch.prepare(a, b)) return nullptr;
    batch.shape[batch.ndim] = ma.rows;
    batch.shape[batch.ndim + 1] = mb.columns;
    PyArrayObject* out = new_array(batch.ndim + 2, batch.shape, type);
    if (out == nullptr) return nullptr;
    if (batch.ndim > 0 && PyArray_NDIM(b) == 2 && contiguous(a)) {  // one tall product instead of many small ones
        ma.rows *= batch.count;
        batch.ndim = 0;
        batch.count = 1;
        ma.leading = ma.columns;
        ma.transposed = false;
    }
    if (type == NPY_FLOAT) {
        multiply<float>(a, b, out, ma, mb, batch);
    } else {
        multiply<double>(a, b, out, ma, mb, batch);
    }
    return reinterpret_cast<PyObject*>(out);
}

PyObject* product_plus(PyArrayObject* x, PyArrayObject* w, PyArrayObject* bias) {
    const int type = PyArray_TYPE(x);
    Matrix mx, mw;
    if (!is_float(type) || PyArray_TYPE(w) != type || PyArray_TYPE(bias) != type || PyArray_NDIM(x) != 2 || PyArray_NDIM(w) != 2 ||
        PyArray_NDIM(bias) != 1 || !have_blas() || !PyArray_ISBEHAVED_RO(x) || !PyArray_ISBEHAVED_RO(w) || !contiguous(bias) ||
        !as_matrix(x, &mx) || !as_matrix(w, &mw) || mx.columns != mw.columns || mx.columns == 0 || mx.rows == 0 || mw.rows == 0 ||
        PyArray_DIM(bias, 0) != mw.rows) {
        return nullptr;
    }
    mw.transpose();
    const npy_intp shape[2] = {mx.rows, mw.columns};
    PyArrayObject* out = new_array(2, shape, type);
    if (out == nullptr) return nullptr;
    if (type == NPY_FLOAT) {
        linear_into<float>(x, w, bias, out, mx, mw);
    } else {
        linear_into<double>(x, w, bias, out, mx, mw);
    }
    return reinterpret_cast<PyObject*>(out);
}

PyObject* transposed_product(PyArrayObject* a, PyArrayObject* b) {
    PyObject* turned = PyArray_Transpose(a, nullptr);
    if (turned == nullptr) return nullptr;
    PyObject* out = product(as_array(turned), b, false);
    Py_DECREF(turned);
    return out;
}

int add_matmul(PyObject* module) {
    PyObject* numpy = PyImport_ImportModule("numpy");
    if (numpy == nullptr) return -1;
    numpy_matmul = PyObject_GetAttrString(numpy, "matmul");
    Py_DECREF(numpy);
    return numpy_matmul == nullptr ? -1 : PyModule_AddFunctions(module, methods);
}

}  // namespace rushlight
