// What LAPACK has and NumPy does not call: LU, triangular systems, Cholesky that says where it failed, LDL. Through the OpenBLAS that NumPy has loaded.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <complex>
#include <string>
#include <vector>

#include "batch.h"
#include "blas.h"
#include "function.h"
#include "pool.h"
#include "types.h"

namespace rushlight {
namespace {

template <typename T> constexpr char LETTER = '?';
template <> constexpr char LETTER<float> = 's';
template <> constexpr char LETTER<double> = 'd';
template <> constexpr char LETTER<std::complex<float>> = 'c';
template <> constexpr char LETTER<std::complex<double>> = 'z';

// LAPACK's subroutine for a type ("getrf": sgetrf, dgetrf, ...), or nullptr where NumPy's library has none. Fortran passes everything by address.
template <typename T> void* routine(const char* name) { return blas_symbol((LETTER<T> + std::string(name) + "_").c_str()); }

template <typename T> struct IsComplex : std::false_type {};
template <typename T> struct IsComplex<std::complex<T>> : std::true_type {};

// Calls f with a zero of the matrices' type and one of LAPACK's integers; false for other arrays.
template <typename F> bool with_matrices(PyObject* a, F&& f) {
    if (!PyArray_CheckExact(a) || PyArray_NDIM(as_array(a)) < 2 || !PyArray_ISNOTSWAPPED(as_array(a))) return false;
    return with_one_of<float, double, std::complex<float>, std::complex<double>>(PyArray_TYPE(as_array(a)), [&](auto zero) {
        if (blas_is_wide()) f(zero, std::int64_t());
        else f(zero, std::int32_t());
    });
}

// Stacks of matrices: how many, and how large each is.
struct Stack {
    index_t count = 1, rows, columns;
    explicit Stack(PyArrayObject* a) : rows(PyArray_DIM(a, PyArray_NDIM(a) - 2)), columns(PyArray_DIM(a, PyArray_NDIM(a) - 1)) {
        for (int i = 0; i < PyArray_NDIM(a) - 2; ++i) count *= PyArray_DIM(a, i);
    }
    index_t size() const { return rows * columns; }
};

template <typename T> void transpose(const T* from, T* to, index_t rows, index_t columns) {
    constexpr index_t TILE = 32;
    for (index_t i0 = 0; i0 < rows; i0 += TILE) {
        for (index_t j0 = 0; j0 < columns; j0 += TILE) {
            for (index_t i = i0; i < std::min(i0 + TILE, rows); ++i) {
                for (index_t j = j0; j < std::min(j0 + TILE, columns); ++j) to[j * rows + i] = from[i * columns + j];
            }
        }
    }
}

// Calls f(first, last) on ranges of a stack's matrices: one matrix has the threads of the BLAS library, several have one each.
template <typename F> void over_matrices(index_t count, double work, F&& f) {
    WithoutGil release(work * static_cast<double>(count) > WORK_PER_THREAD / 8);
    if (count == 1) {
        f(index_t(0), index_t(1));
        return;
    }
    SerialBlas serial;
    parallel_for(count, static_cast<index_t>(WORK_PER_THREAD / (work + 1)) + 1, f);
}

// An array of the batch's shape and, if `last` is not negative, one more dimension.
PyArrayObject* for_each_matrix(PyArrayObject* a, index_t last) {
    const int ndim = PyArray_NDIM(a);
    std::vector<npy_intp> shape(PyArray_DIMS(a), PyArray_DIMS(a) + ndim - 2);
    if (last >= 0) shape.push_back(last);
    return new_array(static_cast<int>(shape.size()), shape.data(), NPY_INT32);
}

// Results that are dropped together where one of them could not be made.
PyObject* tuple_of(PyArrayObject* a, PyArrayObject* b, PyArrayObject* c) {
    if (a == nullptr || b == nullptr || c == nullptr) {
        Py_XDECREF(a);
        Py_XDECREF(b);
        Py_XDECREF(c);
        return nullptr;
    }
    return Py_BuildValue("NNN", a, b, c);
}

// --- LU ---------------------------------------------------------------------------------------------------------------------------------

template <typename T, typename Int> PyObject* lu_factor_of(PyObject* object) {
    using Call = void (*)(const Int* m, const Int* n, T* a, const Int* lda, Int* pivots, Int* info);
    const Call getrf = reinterpret_cast<Call>(routine<T>("getrf"));
    Contiguous a(object, TYPE_NUMBER<T>);
    if (getrf == nullptr || !a) return nullptr;
    const Stack stack(a.get());
    const index_t k = std::min(stack.rows, stack.columns);
    PyArrayObject *x = new_like(a.get()), *pivots = for_each_matrix(a.get(), k), *info = for_each_matrix(a.get(), -1);
    PyObject* result = tuple_of(x, pivots, info);
    if (result == nullptr) return nullptr;
    const T* from = a.data<T>();
    T* to = data_of<T>(x);
    std::int32_t *p = data_of<std::int32_t>(pivots), *codes = data_of<std::int32_t>(info);
    over_matrices(stack.count, static_cast<double>(k) * static_cast<double>(stack.size()), [&](index_t first, index_t last) {
        std::vector<T> columns(stack.size());
        std::vector<Int> places(k);
        const Int m = static_cast<Int>(stack.rows), n = static_cast<Int>(stack.columns), lda = std::max<Int>(m, 1);
        for (index_t i = first; i < last; ++i) {
            Int code = 0;
            transpose(from + i * stack.size(), columns.data(), stack.rows, stack.columns);
            if (k > 0) getrf(&m, &n, columns.data(), &lda, places.data(), &code);
            transpose(columns.data(), to + i * stack.size(), stack.columns, stack.rows);
            std::copy(places.begin(), places.end(), p + i * k);
            codes[i] = static_cast<std::int32_t>(code);
        }
    });
    return result;
}

// (A) -> (L and U in one matrix, pivots, info)
PyObject* lu_factor(PyObject* const* args, Py_ssize_t count) {
    PyObject* result = nullptr;
    if (count == 1) with_matrices(args[0], [&](auto zero, auto integer) { result = lu_factor_of<decltype(zero), decltype(integer)>(args[0]); });
    return result;
}

// --- triangular systems -----------------------------------------------------------------------------------------------------------------

enum { ROW_MAJOR = 101, NO_TRANSPOSE = 111, TRANSPOSE = 112, UPPER = 121, LOWER = 122, NOT_UNIT = 131, UNIT = 132, LEFT = 141 };

// Matrices that lie in memory by rows, or (transposed) by columns, with no gap within a row; null for others.
template <typename T> bool by_columns(PyArrayObject* a) {
    const int ndim = PyArray_NDIM(a);
    return PyArray_STRIDE(a, ndim - 2) == sizeof(T) && PyArray_STRIDE(a, ndim - 1) == static_cast<npy_intp>(sizeof(T)) * PyArray_DIM(a, ndim - 2);
}

template <typename T, typename Int> struct TriangularCall {
    using Scalar = std::conditional_t<IsComplex<T>::value, const void*, T>;
    using Type = void (*)(int layout, int side, int uplo, int transpose, int diagonal, Int m, Int n, Scalar alpha, const T* a, Int lda, T* b, Int ldb);
};

// A triangle whose systems are solved by halves: what is between the halves is a product of matrices, in which BLAS is many times as fast as in solving.
template <typename T, typename Int> struct Triangle {
    typename TriangularCall<T, Int>::Type trsm;
    bool turned, upper, unit;
    Int step, columns;

    static constexpr index_t SMALL = 32;

    // b (n x columns) becomes the solution of a x = b; a is n x n, its rows (or columns, if turned) `step` apart.
    void solve(const T* a, index_t n, T* b) const {
        if constexpr (!IsComplex<T>::value) {
            if (n > SMALL) {
                const index_t half = n / 2 / 16 * 16 > 0 ? n / 2 / 16 * 16 : n / 2, rest = n - half;
                const T* second = a + half * step + half;
                const T* between = upper == turned ? a + half * step : a + half;  // rows below the diagonal, or columns right of it, where they lie
                if (upper) {
                    solve(second, rest, b + half * columns);
                    subtract(half, rest, between, b + half * columns, b);
                    solve(a, half, b);
                } else {
                    solve(a, half, b);
                    subtract(rest, half, between, b, b + half * columns);
                    solve(second, rest, b + half * columns);
                }
                return;
            }
            solve_rows(a, n, b);
        } else {
            const T one = 1;
            trsm(ROW_MAJOR, LEFT, upper != turned ? UPPER : LOWER, turned ? TRANSPOSE : NO_TRANSPOSE, unit ? UNIT : NOT_UNIT, static_cast<Int>(n), columns, &one, a,
                 step, b, columns);
        }
    }

    // Row by row, on columns that stay in the first cache.
    void solve_rows(const T* a, index_t n, T* b) const {
        constexpr index_t WIDTH = 64;
        for (index_t start = 0; start < columns; start += WIDTH) {
            const index_t width = std::min<index_t>(WIDTH, columns - start);
            for (index_t k = 0; k < n; ++k) {
                const index_t i = upper ? n - 1 - k : k;
                T sum[WIDTH];
                T* row = b + i * columns + start;
                std::copy(row, row + width, sum);
                for (index_t j = upper ? i + 1 : 0; j < (upper ? n : i); ++j) {
                    const T factor = at(a, i, j);
                    const T* other = b + j * columns + start;
#pragma omp simd
                    for (index_t c = 0; c < width; ++c) sum[c] -= factor * other[c];
                }
                const T divisor = unit ? T(1) : at(a, i, i);
#pragma omp simd
                for (index_t c = 0; c < width; ++c) row[c] = sum[c] / divisor;
            }
        }
    }

    T at(const T* a, index_t i, index_t j) const { return turned ? a[i + j * step] : a[i * step + j]; }

    void subtract(index_t rows, index_t depth, const T* a, const T* x, T* b) const {
        gemm(turned, false, rows, columns, depth, T(-1), a, step, x, columns, T(1), b, columns);
    }
};

template <typename T, typename Int> typename TriangularCall<T, Int>::Type triangular_routine() {
    return reinterpret_cast<typename TriangularCall<T, Int>::Type>(blas_symbol((std::string("cblas_") + LETTER<T> + "trsm").c_str()));
}

// Whether b is the right side of systems a x = b: matrices of this type, of as many rows.
template <typename T> bool is_right_side(PyArrayObject* a, PyArrayObject* b) {
    const int na = PyArray_NDIM(a), nb = PyArray_NDIM(b);
    if (nb < 2 || PyArray_TYPE(b) != TYPE_NUMBER<T> || !PyArray_ISNOTSWAPPED(b)) return false;
    const index_t n = PyArray_DIM(a, na - 1);
    return PyArray_DIM(a, na - 2) == n && PyArray_DIM(b, nb - 2) == n;
}

// Room for the solutions of systems with a common batch; nullptr without an error where the batches of a and b don't fit.
template <typename T> PyArrayObject* room_for(PyArrayObject* a, PyArrayObject* b, Batch* batch) {
    if (!batch->prepare(a, b)) return nullptr;
    for (int i = 0; i < 2; ++i) batch->shape[batch->ndim + i] = PyArray_DIM(b, PyArray_NDIM(b) - 2 + i);
    return new_array(batch->ndim + 2, batch->shape, TYPE_NUMBER<T>);
}

template <typename T, typename Int> PyObject* solve_triangular_of(PyArrayObject* a_, PyArrayObject* b, bool upper, bool unit) {
    const auto trsm = triangular_routine<T, Int>();
    if (trsm == nullptr || !is_right_side<T>(a_, b)) return nullptr;
    const index_t n = PyArray_DIM(a_, PyArray_NDIM(a_) - 1), columns = PyArray_DIM(b, PyArray_NDIM(b) - 1);
    const bool turned = n > 1 && by_columns<T>(a_) && PyArray_ISALIGNED(a_);
    PyArrayObject* a = turned ? as_array(Py_NewRef(a_)) : as_array(PyArray_FromArray(a_, nullptr, NPY_ARRAY_CARRAY_RO));
    if (a == nullptr) return nullptr;
    Batch batch;
    PyArrayObject* x = room_for<T>(a, b, &batch);
    if (x != nullptr && PyArray_CopyInto(x, b) < 0) Py_CLEAR(x);
    if (x != nullptr && n > 0 && columns > 0) {
        const char* from = static_cast<const char*>(PyArray_DATA(a));
        T* to = data_of<T>(x);
        const Triangle<T, Int> triangle = {trsm, turned, upper, unit, static_cast<Int>(n), static_cast<Int>(columns)};
        over_matrices(batch.count, static_cast<double>(n) * static_cast<double>(n * columns), [&](index_t first, index_t last) {
            for (index_t i = first; i < last; ++i) {
                index_t at, unused;
                batch.offsets(i, &at, &unused);
                triangle.solve(reinterpret_cast<const T*>(from + at), n, to + i * n * columns);
            }
        });
    }
    Py_DECREF(a);
    return reinterpret_cast<PyObject*>(x);
}

// (A, B, upper, unit) -> X with A X = B
PyObject* solve_triangular(PyObject* const* args, Py_ssize_t count) {
    if ((count != 3 && count != 4) || !PyArray_CheckExact(args[1])) return nullptr;
    const int upper = flag(args[2]), unit = count == 4 ? flag(args[3]) : 0;
    if (upper < 0 || unit < 0) return nullptr;
    PyObject* result = nullptr;
    with_matrices(args[0], [&](auto zero, auto integer) {
        result = solve_triangular_of<decltype(zero), decltype(integer)>(as_array(args[0]), as_array(args[1]), upper, unit);
    });
    return result;
}

// --- systems ----------------------------------------------------------------------------------------------------------------------------

// X with A X = B, or the inverse where there is no B; nullptr without an error where a matrix is singular.
template <typename T, typename Int> PyObject* solve_of(PyArrayObject* a_, PyArrayObject* b) {
    using Factor = void (*)(const Int* m, const Int* n, T* a, const Int* lda, Int* pivots, Int* info);
    const Factor getrf = reinterpret_cast<Factor>(routine<T>("getrf"));
    const auto trsm = triangular_routine<T, Int>();
    const bool inverse = b == nullptr;
    if (inverse) b = a_;  // of its shape
    if (getrf == nullptr || trsm == nullptr || !is_right_side<T>(a_, b) || PyArray_SIZE(a_) == 0 || PyArray_SIZE(b) == 0) return nullptr;
    const index_t n = PyArray_DIM(a_, PyArray_NDIM(a_) - 1), columns = PyArray_DIM(b, PyArray_NDIM(b) - 1);
    PyArrayObject* a = as_array(PyArray_FromArray(a_, nullptr, NPY_ARRAY_CARRAY_RO));
    if (a == nullptr) return nullptr;
    Batch batch;
    PyArrayObject* x = room_for<T>(a, b, &batch);
    if (x != nullptr && !inverse && PyArray_CopyInto(x, b) < 0) Py_CLEAR(x);
    std::atomic<bool> singular{false};
    if (x != nullptr) {
        const char* from = PyArray_BYTES(a);
        T* to = data_of<T>(x);
        over_matrices(batch.count, static_cast<double>(n) * static_cast<double>(n * (n + columns)), [&](index_t first, index_t last) {
            std::vector<T> factors(n * n);
            std::vector<Int> pivots(n);
            const Int size = static_cast<Int>(n);
            const Triangle<T, Int> lower = {trsm, true, false, true, size, static_cast<Int>(columns)}, upper = {trsm, true, true, false, size, static_cast<Int>(columns)};
            for (index_t i = first; i < last; ++i) {
                index_t at, unused;
                batch.offsets(i, &at, &unused);
                Int code = 0;
                transpose(reinterpret_cast<const T*>(from + at), factors.data(), n, n);
                getrf(&size, &size, factors.data(), &size, pivots.data(), &code);
                if (code != 0) singular = true;
                if (singular) return;
                T* r = to + i * n * columns;
                if (inverse) {
                    std::fill(r, r + n * n, T(0));
                    for (index_t k = 0; k < n; ++k) r[k * n + k] = T(1);
                }
                for (index_t k = 0; k < n; ++k) {
                    const index_t other = static_cast<index_t>(pivots[k]) - 1;
                    if (other != k) std::swap_ranges(r + k * columns, r + (k + 1) * columns, r + other * columns);
                }
                lower.solve(factors.data(), n, r);
                upper.solve(factors.data(), n, r);
            }
        });
    }
    if (singular) Py_CLEAR(x);
    Py_DECREF(a);
    return reinterpret_cast<PyObject*>(x);
}

// (A, B) -> X with A X = B
PyObject* solve(PyObject* const* args, Py_ssize_t count) {
    PyObject* result = nullptr;
    if (count == 2 && PyArray_CheckExact(args[1])) {
        with_matrices(args[0], [&](auto zero, auto integer) { result = solve_of<decltype(zero), decltype(integer)>(as_array(args[0]), as_array(args[1])); });
    }
    return result;
}

// (A) -> its inverse
PyObject* inverse(PyObject* const* args, Py_ssize_t count) {
    PyObject* result = nullptr;
    if (count == 1) with_matrices(args[0], [&](auto zero, auto integer) { result = solve_of<decltype(zero), decltype(integer)>(as_array(args[0]), nullptr); });
    return result;
}

// --- Cholesky ---------------------------------------------------------------------------------------------------------------------------

template <typename T, typename Int> PyObject* cholesky_of(PyObject* object) {
    using Call = void (*)(const char* uplo, const Int* n, T* a, const Int* lda, Int* info, std::size_t uplo_length);
    const Call potrf = reinterpret_cast<Call>(routine<T>("potrf"));
    Contiguous a(object, TYPE_NUMBER<T>);
    if (potrf == nullptr || !a) return nullptr;
    const Stack stack(a.get());
    if (stack.rows != stack.columns) return nullptr;
    PyArrayObject *x = new_like(a.get()), *info = for_each_matrix(a.get(), -1);
    if (x == nullptr || info == nullptr) {
        Py_XDECREF(x);
        Py_XDECREF(info);
        return nullptr;
    }
    const T* from = a.data<T>();
    T* to = data_of<T>(x);
    std::int32_t* codes = data_of<std::int32_t>(info);
    const index_t n = stack.rows;
    over_matrices(stack.count, static_cast<double>(n) * static_cast<double>(stack.size()) / 3, [&](index_t first, index_t last) {
        const Int size = static_cast<Int>(n), lda = std::max<Int>(size, 1);
        for (index_t i = first; i < last; ++i) {
            T* m = to + i * stack.size();
            std::copy(from + i * stack.size(), from + (i + 1) * stack.size(), m);
            Int code = 0;
            // By rows, the lower triangle of A is by columns the upper one of its transpose, whose U is our L transposed.
            if (n > 0) potrf("U", &size, m, &lda, &code, 1);
            for (index_t row = 0; row < n; ++row) {
                const T pivot = m[row * n + row];
                if (code == 0 && pivot != pivot) code = static_cast<Int>(row + 1);  // nan, which OpenBLAS lets pass
                std::fill(m + row * n + row + 1, m + (row + 1) * n, T(0));
            }
            codes[i] = static_cast<std::int32_t>(code);
        }
    });
    return Py_BuildValue("NN", x, info);
}

// (A) -> (L, info)
PyObject* cholesky(PyObject* const* args, Py_ssize_t count) {
    PyObject* result = nullptr;
    if (count == 1) with_matrices(args[0], [&](auto zero, auto integer) { result = cholesky_of<decltype(zero), decltype(integer)>(args[0]); });
    return result;
}

// --- LDL --------------------------------------------------------------------------------------------------------------------------------

template <typename T, typename Int> PyObject* ldl_factor_of(PyObject* object, bool hermitian) {
    using Call = void (*)(const char* uplo, const Int* n, T* a, const Int* lda, Int* pivots, T* work, const Int* lwork, Int* info, std::size_t uplo_length);
    const Call factor = reinterpret_cast<Call>(routine<T>(hermitian && IsComplex<T>::value ? "hetrf" : "sytrf"));
    Contiguous a(object, TYPE_NUMBER<T>);
    if (factor == nullptr || !a) return nullptr;
    const Stack stack(a.get());
    if (stack.rows != stack.columns) return nullptr;
    const index_t n = stack.rows;
    PyArrayObject *x = new_like(a.get()), *pivots = for_each_matrix(a.get(), n), *info = for_each_matrix(a.get(), -1);
    PyObject* result = tuple_of(x, pivots, info);
    if (result == nullptr) return nullptr;
    const T* from = a.data<T>();
    T* to = data_of<T>(x);
    std::int32_t *p = data_of<std::int32_t>(pivots), *codes = data_of<std::int32_t>(info);
    over_matrices(stack.count, static_cast<double>(n) * static_cast<double>(stack.size()) / 3, [&](index_t first, index_t last) {
        constexpr index_t BLOCK = 64;  // columns that the blocked algorithm takes at a time
        std::vector<T> columns(stack.size()), work(n * BLOCK + 1);
        std::vector<Int> places(n);
        const Int size = static_cast<Int>(n), lda = std::max<Int>(size, 1), lwork = static_cast<Int>(work.size());
        for (index_t i = first; i < last; ++i) {
            Int code = 0;
            transpose(from + i * stack.size(), columns.data(), n, n);
            if (n > 0) factor("L", &size, columns.data(), &lda, places.data(), work.data(), &lwork, &code, 1);
            T* m = to + i * stack.size();
            transpose(columns.data(), m, n, n);
            for (index_t row = 0; row < n; ++row) std::fill(m + row * n + row + 1, m + (row + 1) * n, T(0));
            std::copy(places.begin(), places.end(), p + i * n);
            codes[i] = static_cast<std::int32_t>(code);
        }
    });
    return result;
}

// (A, hermitian) -> (L and D in one matrix, pivots, info)
PyObject* ldl_factor(PyObject* const* args, Py_ssize_t count) {
    if (count != 2) return nullptr;
    const int hermitian = flag(args[1]);
    PyObject* result = nullptr;
    if (hermitian >= 0) {
        with_matrices(args[0], [&](auto zero, auto integer) { result = ldl_factor_of<decltype(zero), decltype(integer)>(args[0], hermitian); });
    }
    return result;
}

// --- least squares ----------------------------------------------------------------------------------------------------------------------

template <typename T> struct RealOf { using type = T; };
template <typename T> struct RealOf<std::complex<T>> { using type = T; };

template <typename T> bool finite(const Contiguous& a) {
    const T* x = a.data<T>();
    return std::all_of(x, x + a.size(), [](T each) { return std::isfinite(std::abs(each)); });
}

// A's columns are exchanged, and those that depend on others within rcond do not count (LAPACK's gelsy).
template <typename T, typename Int> PyObject* least_squares_of(PyObject* object_a, PyObject* object_b, double rcond_) {
    using R = typename RealOf<T>::type;
    using Call = void (*)(const Int* m, const Int* n, const Int* columns, T* a, const Int* lda, T* b, const Int* ldb, Int* places, const R* rcond, Int* rank,
                          T* work, const Int* lwork, Int* info);
    using ComplexCall = void (*)(const Int* m, const Int* n, const Int* columns, T* a, const Int* lda, T* b, const Int* ldb, Int* places, const R* rcond,
                                 Int* rank, T* work, const Int* lwork, R* real_work, Int* info);
    const auto gelsy = reinterpret_cast<std::conditional_t<IsComplex<T>::value, ComplexCall, Call>>(routine<T>("gelsy"));
    Contiguous a(object_a, TYPE_NUMBER<T>), b(object_b, TYPE_NUMBER<T>);
    if (gelsy == nullptr || !a || !b || PyArray_NDIM(b.get()) < 2 || !finite<T>(a) || !finite<T>(b)) return nullptr;
    const Stack of_a(a.get()), of_b(b.get());
    const index_t m = of_a.rows, n = of_a.columns, columns = of_b.columns, most = std::max(m, n), least = std::min(m, n);
    Batch batch;
    if (of_b.rows != m || m * n * columns == 0 || !batch.prepare(a.get(), b.get()) || batch.count == 0) return nullptr;
    batch.shape[batch.ndim] = n;
    batch.shape[batch.ndim + 1] = columns;
    PyArrayObject *x = new_array(batch.ndim + 2, batch.shape, TYPE_NUMBER<T>), *ranks = new_array(batch.ndim, batch.shape, NPY_INT64);
    if (x == nullptr || ranks == nullptr) {
        Py_XDECREF(x);
        Py_XDECREF(ranks);
        return nullptr;
    }
    T* to = data_of<T>(x);
    std::int64_t* r = data_of<std::int64_t>(ranks);
    over_matrices(batch.count, static_cast<double>(least) * static_cast<double>(m * n), [&](index_t first, index_t last) {
        constexpr index_t BLOCK = 64;
        std::vector<T> left(m * n), right(most * columns), work(std::max(least + 2 * n + BLOCK * (n + 1), 2 * least + BLOCK * columns));
        std::vector<R> real_work(IsComplex<T>::value ? 2 * n : 0);
        std::vector<Int> places(n);
        const Int rows = static_cast<Int>(m), unknowns = static_cast<Int>(n), sides = static_cast<Int>(columns), ldb = static_cast<Int>(most),
                  lwork = static_cast<Int>(work.size());
        const R rcond = static_cast<R>(rcond_);
        for (index_t i = first; i < last; ++i) {
            index_t at_a, at_b;
            batch.offsets(i, &at_a, &at_b);
            const T* from = reinterpret_cast<const T*>(reinterpret_cast<const char*>(a.template data<T>()) + at_a);
            const T* side = reinterpret_cast<const T*>(reinterpret_cast<const char*>(b.template data<T>()) + at_b);
            transpose(from, left.data(), m, n);
            for (index_t c = 0; c < columns; ++c) {
                for (index_t row = 0; row < m; ++row) right[c * most + row] = side[row * columns + c];
            }
            std::fill(places.begin(), places.end(), Int(0));
            Int rank = 0, info = 0;
            if constexpr (IsComplex<T>::value) {
                gelsy(&rows, &unknowns, &sides, left.data(), &rows, right.data(), &ldb, places.data(), &rcond, &rank, work.data(), &lwork, real_work.data(), &info);
            } else {
                gelsy(&rows, &unknowns, &sides, left.data(), &rows, right.data(), &ldb, places.data(), &rcond, &rank, work.data(), &lwork, &info);
            }
            r[i] = rank;
            T* out = to + i * n * columns;
            for (index_t row = 0; row < n; ++row) {
                for (index_t c = 0; c < columns; ++c) out[row * columns + c] = right[c * most + row];
            }
        }
    });
    return Py_BuildValue("NN", x, ranks);
}

// (A, B, rcond) -> (X, ranks)
PyObject* least_squares(PyObject* const* args, Py_ssize_t count) {
    if (count != 3 || !PyFloat_Check(args[2])) return nullptr;
    PyObject* result = nullptr;
    with_matrices(args[0], [&](auto zero, auto integer) {
        result = least_squares_of<decltype(zero), decltype(integer)>(args[0], args[1], PyFloat_AS_DOUBLE(args[2]));
    });
    return result;
}

}  // namespace

extern const NativeFunction lapack_functions[] = {
    {"lu_factor", lu_factor},
    {"solve_triangular", solve_triangular},
    {"solve", solve},
    {"inverse", inverse},
    {"cholesky", cholesky},
    {"ldl_factor", ldl_factor},
    {"least_squares", least_squares},
    {nullptr, nullptr},
};

}  // namespace rushlight
