// Softmax and log_softmax along any axis, forward and backward.
#include <cmath>

#include "function.h"
#include "pool.h"
#include "vmath.h"

namespace rushlight {
namespace {

constexpr index_t SHORT = 64;    // rows shorter than this go through exp together
constexpr index_t TILE = 1024;   // elements at a time then
constexpr index_t GRAIN = 4096;  // elements per thread

template <typename T> T largest(const T* a, index_t n) {
    T top = a[0];
#pragma omp simd reduction(max : top)
    for (index_t i = 0; i < n; ++i) top = a[i] > top ? a[i] : top;
    return top;
}

// Long sums are sums of blocks, in double: f(first, last) gives a block's. Blocks are short enough for a loop that is no vector loop.
constexpr index_t SUMMED = 256;
template <typename T, typename F> T in_blocks(index_t n, F&& f) {
    if (n <= SUMMED) return f(index_t(0), n);
    double sum = 0;
    for (index_t i = 0; i < n; i += SUMMED) sum += f(i, i + SUMMED < n ? i + SUMMED : n);
    return static_cast<T>(sum);
}

template <typename T> T total(const T* a, index_t n) {
    return in_blocks<T>(n, [a](index_t first, index_t last) {
        T sum = 0;
#pragma omp simd reduction(+ : sum)
        for (index_t i = first; i < last; ++i) sum += a[i];
        return sum;
    });
}

// r = exp(a - top), returns its sum
template <typename T> T exponentials(const T* a, T top, T* r, index_t n) {
    return in_blocks<T>(n, [=](index_t first, index_t last) {
        T sum = 0;
#pragma omp simd reduction(+ : sum)
        for (index_t i = first; i < last; ++i) {
            const T e = vmath::exp(a[i] - top);
            r[i] = e;
            sum += e;
        }
        return sum;
    });
}
template <typename T> T sum_of_exponentials(const T* a, T top, index_t n) {
    return in_blocks<T>(n, [=](index_t first, index_t last) {
        T sum = 0;
#pragma omp simd reduction(+ : sum)
        for (index_t i = first; i < last; ++i) sum += vmath::exp(a[i] - top);
        return sum;
    });
}

template <typename T> void exp_all(const T* a, T* r, index_t n) {
#pragma omp simd
    for (index_t i = 0; i < n; ++i) r[i] = vmath::exp(a[i]);
}

// Rows that lie behind one another.
template <typename T> void softmax_rows(const T* a, T* r, index_t rows, index_t n, bool logarithm) {
    if (n < SHORT) {
        T block[TILE];
        const index_t most = TILE / n;
        for (index_t row = 0; row < rows; row += most) {
            const index_t count = rows - row < most ? rows - row : most;
            for (index_t i = 0; i < count; ++i) {
                const T* x = a + (row + i) * n;
                T* y = r + (row + i) * n;
                const T top = largest(x, n);
                for (index_t j = 0; j < n; ++j) y[j] = x[j] - top;
            }
            T* y = r + row * n;
            exp_all(y, logarithm ? block : y, count * n);
            for (index_t i = 0; i < count; ++i, y += n) {
                if (logarithm) {
                    const T shift = std::log(total(block + i * n, n));
                    for (index_t j = 0; j < n; ++j) y[j] -= shift;
                } else {
                    const T scale = T(1) / total(y, n);
                    for (index_t j = 0; j < n; ++j) y[j] *= scale;
                }
            }
        }
        return;
    }
    for (index_t row = 0; row < rows; ++row, a += n, r += n) {
        const T top = largest(a, n);
        if (logarithm) {
            const T shift = std::log(sum_of_exponentials(a, top, n));
#pragma omp simd
            for (index_t j = 0; j < n; ++j) r[j] = (a[j] - top) - shift;
        } else {
            const T scale = T(1) / exponentials(a, top, r, n);
#pragma omp simd
            for (index_t j = 0; j < n; ++j) r[j] *= scale;
        }
    }
}

// Columns: n elements that lie `inner` apart; `width` neighbouring columns at a time.
template <typename T> void softmax_columns(const T* a, T* r, index_t n, index_t inner, index_t width, bool logarithm) {
    constexpr index_t WIDTH = 64;
    for (index_t first = 0; first < width; first += WIDTH) {
        const index_t w = width - first < WIDTH ? width - first : WIDTH;
        T top[WIDTH], scale[WIDTH];
        double sum[WIDTH];
        for (index_t c = 0; c < w; ++c) {
            top[c] = a[first + c];
            sum[c] = 0;
        }
        for (index_t j = 1; j < n; ++j) {
            const T* x = a + first + j * inner;
#pragma omp simd
            for (index_t c = 0; c < w; ++c) top[c] = x[c] > top[c] ? x[c] : top[c];
        }
        for (index_t start = 0; start < n; start += SUMMED) {  // as above: sums of blocks, in double
            T part[WIDTH] = {};
            for (index_t j = start; j < n && j < start + SUMMED; ++j) {
                const T* x = a + first + j * inner;
                T* y = r + first + j * inner;
                if (logarithm) {
#pragma omp simd
                    for (index_t c = 0; c < w; ++c) {
                        y[c] = x[c] - top[c];
                        part[c] += vmath::exp(x[c] - top[c]);
                    }
                } else {
#pragma omp simd
                    for (index_t c = 0; c < w; ++c) {
                        const T e = vmath::exp(x[c] - top[c]);
                        y[c] = e;
                        part[c] += e;
                    }
                }
            }
            for (index_t c = 0; c < w; ++c) sum[c] += part[c];
        }
        for (index_t c = 0; c < w; ++c) scale[c] = static_cast<T>(logarithm ? std::log(sum[c]) : 1.0 / sum[c]);
        for (index_t j = 0; j < n; ++j) {
            T* y = r + first + j * inner;
            if (logarithm) {
#pragma omp simd
                for (index_t c = 0; c < w; ++c) y[c] -= scale[c];
            } else {
#pragma omp simd
                for (index_t c = 0; c < w; ++c) y[c] *= scale[c];
            }
        }
    }
}

template <typename T> void backward_rows(const T* g, const T* y, T* r, index_t rows, index_t n, bool logarithm) {
    for (index_t row = 0; row < rows; ++row, g += n, y += n, r += n) {
        T sum = 0;
        if (logarithm) {
            sum = total(g, n);
#pragma omp simd
            for (index_t j = 0; j < n; ++j) r[j] = g[j] - vmath::exp(y[j]) * sum;
        } else {
#pragma omp simd reduction(+ : sum)
            for (index_t j = 0; j < n; ++j) sum += g[j] * y[j];
#pragma omp simd
            for (index_t j = 0; j < n; ++j) r[j] = y[j] * (g[j] - sum);
        }
    }
}

template <typename T> void backward_columns(const T* g, const T* y, T* r, index_t n, index_t inner, index_t width, bool logarithm) {
    constexpr index_t WIDTH = 64;
    for (index_t first = 0; first < width; first += WIDTH) {
        const index_t w = width - first < WIDTH ? width - first : WIDTH;
        double sums[WIDTH] = {};
        T sum[WIDTH];
        for (index_t start = 0; start < n; start += SUMMED) {
            T part[WIDTH] = {};
            for (index_t j = start; j < n && j < start + SUMMED; ++j) {
                const index_t at = first + j * inner;
                if (logarithm) {
#pragma omp simd
                    for (index_t c = 0; c < w; ++c) part[c] += g[at + c];
                } else {
#pragma omp simd
                    for (index_t c = 0; c < w; ++c) part[c] += g[at + c] * y[at + c];
                }
            }
            for (index_t c = 0; c < w; ++c) sums[c] += part[c];
        }
        for (index_t c = 0; c < w; ++c) sum[c] = static_cast<T>(sums[c]);
        for (index_t j = 0; j < n; ++j) {
            const index_t at = first + j * inner;
            if (logarithm) {
#pragma omp simd
                for (index_t c = 0; c < w; ++c) r[at + c] = g[at + c] - vmath::exp(y[at + c]) * sum[c];
            } else {
#pragma omp simd
                for (index_t c = 0; c < w; ++c) r[at + c] = y[at + c] * (g[at + c] - sum[c]);
            }
        }
    }
}

// Calls rows(first, count) or columns(offset, width) on all of it, split over the threads.
template <typename Rows, typename Columns> void over(const Axis& axis, Rows&& rows, Columns&& columns) {
    const index_t all = axis.outer * axis.n * axis.inner;
    WithoutGil release(all > GRAIN * 4);
    if (axis.inner == 1) {
        parallel_for(axis.outer, GRAIN / axis.n + 1, [&](index_t begin, index_t end) { rows(begin, end - begin); });
        return;
    }
    parallel_for(axis.outer * axis.inner, GRAIN / axis.n + 1, [&](index_t begin, index_t end) {
        for (index_t at = begin; at < end;) {
            const index_t o = at / axis.inner, first = at % axis.inner;
            const index_t width = axis.inner - first < end - at ? axis.inner - first : end - at;
            columns(o * axis.n * axis.inner + first, width);
            at += width;
        }
    });
}

template <typename T> PyObject* forward(PyObject* const* args, bool logarithm) {
    Contiguous a(args[0], sizeof(T) == 4 ? NPY_FLOAT : NPY_DOUBLE);
    Axis axis;
    if (!a || !axis.find(a.get(), args[1])) return nullptr;
    PyArrayObject* out = new_like(a.get());
    if (out == nullptr || PyArray_SIZE(out) == 0) return reinterpret_cast<PyObject*>(out);
    const T* x = a.data<T>();
    T* r = data_of<T>(out);
    over(axis, [&](index_t row, index_t count) { softmax_rows(x + row * axis.n, r + row * axis.n, count, axis.n, logarithm); },
         [&](index_t at, index_t width) { softmax_columns(x + at, r + at, axis.n, axis.inner, width, logarithm); });
    return reinterpret_cast<PyObject*>(out);
}

template <typename T> PyObject* backward(PyObject* const* args, bool logarithm) {
    constexpr int type = sizeof(T) == 4 ? NPY_FLOAT : NPY_DOUBLE;
    if (float_type(args[1]) != type || !same_shape(as_array(args[0]), as_array(args[1]))) return nullptr;
    Contiguous g(args[0], type), y(args[1], type);
    Axis axis;
    if (!g || !y || !axis.find(y.get(), args[2])) return nullptr;
    PyArrayObject* out = new_like(y.get());
    if (out == nullptr || PyArray_SIZE(out) == 0) return reinterpret_cast<PyObject*>(out);
    const T *gs = g.data<T>(), *ys = y.data<T>();
    T* r = data_of<T>(out);
    over(axis, [&](index_t row, index_t count) {
            backward_rows(gs + row * axis.n, ys + row * axis.n, r + row * axis.n, count, axis.n, logarithm);
        }, [&](index_t at, index_t width) { backward_columns(gs + at, ys + at, r + at, axis.n, axis.inner, width, logarithm); });
    return reinterpret_cast<PyObject*>(out);
}

template <bool logarithm> PyObject* softmax(PyObject* const* args, Py_ssize_t count) {
    const int type = count == 2 ? float_type(args[0]) : -1;
    return type == NPY_FLOAT ? forward<float>(args, logarithm) : type == NPY_DOUBLE ? forward<double>(args, logarithm) : nullptr;
}

template <bool logarithm> PyObject* softmax_backward(PyObject* const* args, Py_ssize_t count) {
    const int type = count == 3 ? float_type(args[0]) : -1;
    return type == NPY_FLOAT ? backward<float>(args, logarithm) : type == NPY_DOUBLE ? backward<double>(args, logarithm) : nullptr;
}

}  // namespace

extern const NativeFunction softmax_functions[] = {{"softmax", softmax<false>},
                                                   {"log_softmax", softmax<true>},
                                                   {"softmax_backward", softmax_backward<false>},
                                                   {"log_softmax_backward", softmax_backward<true>},
                                                   {nullptr, nullptr}};

}  // namespace rushlight
