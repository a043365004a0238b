// Max and average pooling, forward and backward, over (N, C, *spatial): row by row, so that loops run over neighbouring windows.
#include <limits>
#include <vector>

#include "arguments.h"
#include "pool.h"

namespace rushlight {
namespace {

// A pooling of planes of `size` into windows `out`.
struct Pooling {
    index_t planes;
    Index3 size{1, 1, 1}, out{1, 1, 1}, kernel{1, 1, 1}, stride{1, 1, 1}, padding{0, 0, 0}, dilation{1, 1, 1};

    index_t in_positions() const { return size[0] * size[1] * size[2]; }
    index_t out_positions() const { return out[0] * out[1] * out[2]; }
    index_t grain() const { return std::max<index_t>(1, 16384 / (out_positions() * kernel[0] * kernel[1] * kernel[2] + in_positions() + 1)); }

    // For every row of windows f(row's first window, taps); taps(visit) calls visit(offset of window 0's element, first window, one past the last)
    // for each tap of the kernel, in order: windows for which the tap lies inside. Offsets are into the plane.
    template <typename F> void each_row(F f) const {
        for (index_t d = 0; d < out[0]; ++d) {
            for (index_t h = 0; h < out[1]; ++h) {
                f((d * out[1] + h) * out[2], [&](auto visit) {
                    for (index_t kd = 0; kd < kernel[0]; ++kd) {
                        const index_t at_d = d * stride[0] + kd * dilation[0] - padding[0];
                        if (at_d < 0 || at_d >= size[0]) continue;
                        for (index_t kh = 0; kh < kernel[1]; ++kh) {
                            const index_t at_h = h * stride[1] + kh * dilation[1] - padding[1];
                            if (at_h < 0 || at_h >= size[1]) continue;
                            for (index_t kw = 0; kw < kernel[2]; ++kw) {
                                const index_t shift = kw * dilation[2] - padding[2];
                                const index_t first = shift >= 0 ? 0 : (-shift + stride[2] - 1) / stride[2];
                                const index_t last = shift >= size[2] ? 0 : std::min(out[2], (size[2] - 1 - shift) / stride[2] + 1);
                                if (first < last) visit((at_d * size[1] + at_h) * size[2] + shift, first, last);
                            }
                        }
                    }
                });
            }
        }
    }
};

template <typename T> struct IndexOf;
template <> struct IndexOf<float> { using type = std::int32_t; };
template <> struct IndexOf<double> { using type = std::int64_t; };

// The loops know the usual strides.
template <typename F> inline void with_stride(index_t stride, F f) {
    if (stride == 1) {
        f(std::integral_constant<index_t, 1>());
    } else if (stride == 2) {
        f(std::integral_constant<index_t, 2>());
    } else {
        f(stride);
    }
}

template <typename T, typename S, typename I>
inline void best_of(const T* __restrict x, S stride, index_t first, index_t last, I place, T* __restrict best, I* __restrict at) {
#pragma omp simd
    for (index_t j = first; j < last; ++j) {
        const T value = x[j * stride];
        const bool take = (value > best[j]) | (value != value) | (at[j] < 0);
        best[j] = take ? value : best[j];
        at[j] = take ? place + static_cast<I>(j * stride) : at[j];
    }
}

// The largest element of every window of a row of them, and where in the plane it is (the first of equals, the last nan).
template <typename T, typename I, typename Taps> void best_row(const Pooling& p, const T* x, Taps taps, T* best, I* at) {
    std::fill(best, best + p.out[2], -std::numeric_limits<T>::infinity());
    std::fill(at, at + p.out[2], I(-1));
    taps([&](index_t offset, index_t first, index_t last) {
        with_stride(p.stride[2], [&](auto stride) { best_of(x + offset, stride, first, last, static_cast<I>(offset), best, at); });
    });
}

template <typename T> void max_forward(const Pooling& p, const T* x, T* y, std::int64_t* index) {
    using I = typename IndexOf<T>::type;
    parallel_for(p.planes, p.grain(), [&](index_t begin, index_t end) {
        std::vector<I> at(static_cast<std::size_t>(p.out[2]));
        for (index_t plane = begin; plane < end; ++plane) {
            const T* from = x + plane * p.in_positions();
            p.each_row([&](index_t row, auto taps) {
                T* to = y + plane * p.out_positions() + row;
                if (index != nullptr) {
                    best_row(p, from, taps, to, at.data());
                    std::copy(at.begin(), at.end(), index + plane * p.out_positions() + row);
                    return;
                }
                std::fill(to, to + p.out[2], -std::numeric_limits<T>::infinity());
                taps([&](index_t offset, index_t first, index_t last) {
                    with_stride(p.stride[2], [&](auto stride) {
                        const T* source = from + offset;
#pragma omp simd
                        for (index_t j = first; j < last; ++j) {
                            const T value = source[j * stride];
                            to[j] = (value > to[j]) | (value != value) ? value : to[j];
                        }
                    });
                });
            });
        }
    });
}

template <typename T> void max_gradient(const Pooling& p, const T* g, const T* x, T* gx) {
    using I = typename IndexOf<T>::type;
    parallel_for(p.planes, p.grain(), [&](index_t begin, index_t end) {
        std::vector<I> at(static_cast<std::size_t>(p.out[2]));
        std::vector<T> best(static_cast<std::size_t>(p.out[2]));
        std::fill(gx + begin * p.in_positions(), gx + end * p.in_positions(), T(0));
        for (index_t plane = begin; plane < end; ++plane) {
            T* to = gx + plane * p.in_positions();
            p.each_row([&](index_t row, auto taps) {
                best_row(p, x + plane * p.in_positions(), taps, best.data(), at.data());
                const T* from = g + plane * p.out_positions() + row;
                for (index_t j = 0; j < p.out[2]; ++j) {
                    if (at[j] >= 0) to[at[j]] += from[j];  // with dilation a window may miss a small input altogether
                }
            });
        }
    });
}

template <typename T> void window_sums(const Pooling& p, const T* x, T* y) {
    parallel_for(p.planes, p.grain(), [&](index_t begin, index_t end) {
        for (index_t plane = begin; plane < end; ++plane) {
            p.each_row([&](index_t row, auto taps) {
                T* to = y + plane * p.out_positions() + row;
                std::fill(to, to + p.out[2], T(0));
                taps([&](index_t offset, index_t first, index_t last) {
                    with_stride(p.stride[2], [&](auto stride) {
                        const T* from = x + plane * p.in_positions() + offset;
#pragma omp simd
                        for (index_t j = first; j < last; ++j) to[j] += from[j * stride];
                    });
                });
            });
        }
    });
}

template <typename T> void spread_sums(const Pooling& p, const T* g, T* gx) {
    parallel_for(p.planes, p.grain(), [&](index_t begin, index_t end) {
        std::fill(gx + begin * p.in_positions(), gx + end * p.in_positions(), T(0));
        for (index_t plane = begin; plane < end; ++plane) {
            p.each_row([&](index_t row, auto taps) {
                const T* from = g + plane * p.out_positions() + row;
                taps([&](index_t offset, index_t first, index_t last) {
                    with_stride(p.stride[2], [&](auto stride) {
                        T* to = gx + plane * p.in_positions() + offset;
#pragma omp simd
                        for (index_t j = first; j < last; ++j) to[j * stride] += from[j];
                    });
                });
            });
        }
    });
}

// --- Python ------------------------------------------------------------------------------------------------------------------------------

// What all functions share: an array (N, C, *spatial) of float32 or float64 and the window's sizes. `array` is a new reference.
struct Operand {
    PyArrayObject* array = nullptr;
    int ndim = 0, type = -1;
    Pooling p;

    ~Operand() { Py_XDECREF(array); }

    // sizes: kernel, stride, padding and, if with_dilation, dilation.
    bool read(PyObject* object, PyObject* const* sizes, bool with_dilation) {
        if (!PyArray_Check(object)) {
            PyErr_SetString(PyExc_TypeError, "expected an array");
            return false;
        }
        type = PyArray_TYPE(as_array(object));
        ndim = PyArray_NDIM(as_array(object)) - 2;
        if ((type != NPY_FLOAT && type != NPY_DOUBLE) || ndim < 1 || ndim > 3) {
            PyErr_SetString(PyExc_TypeError, "expected float32 or float64 of three to five dimensions");
            return false;
        }
        if (!read_sizes(sizes[0], ndim, &p.kernel, 1) || !read_sizes(sizes[1], ndim, &p.stride, 1) || !read_sizes(sizes[2], ndim, &p.padding, 0) ||
            (with_dilation && !read_sizes(sizes[3], ndim, &p.dilation, 1))) {
            return false;
        }
        array = as_array(PyArray_FROM_OF(object, NPY_ARRAY_CARRAY_RO));
        if (array == nullptr) return false;
        p.planes = PyArray_DIM(array, 0) * PyArray_DIM(array, 1);
        return true;
    }
    Index3 spatial(PyArrayObject* of) const {
        Index3 sizes{1, 1, 1};
        for (int i = 0; i < ndim; ++i) sizes[3 - ndim + i] = PyArray_DIM(of, 2 + i);
        return sizes;
    }
    PyArrayObject* result(const Index3& sizes, int of_type) const {
        npy_intp shape[5] = {PyArray_DIM(array, 0), PyArray_DIM(array, 1)};
        for (int i = 0; i < ndim; ++i) shape[2 + i] = sizes[3 - ndim + i];
        return new_array(ndim + 2, shape, of_type);
    }
    // The last window begins before the input's end.
    bool check_windows() const {
        for (int i = 0; i < 3; ++i) {
            const index_t last = (p.out[i] - 1) * p.stride[i] - p.padding[i];
            if (p.out[i] > 0 && (p.size[i] < 1 || last >= p.size[i])) {
                PyErr_SetString(PyExc_ValueError, "a window lies outside of the input");
                return false;
            }
        }
        return true;
    }
};

PyObject* wrong_count(Py_ssize_t wanted, Py_ssize_t count) { return PyErr_Format(PyExc_TypeError, "expected %zd arguments, got %zd", wanted, count); }

PyObject* max_pool(PyObject*, PyObject* const* args, Py_ssize_t count) {
    if (count != 7) return wrong_count(7, count);
    Operand in;
    if (!in.read(args[0], args + 2, true) || !read_sizes(args[1], in.ndim, &in.p.out, 0)) return nullptr;
    in.p.size = in.spatial(in.array);
    if (!in.check_windows()) return nullptr;
    const int indices = PyObject_IsTrue(args[6]);
    if (indices < 0) return nullptr;
    PyArrayObject* out = in.result(in.p.out, in.type);
    PyArrayObject* index = indices ? in.result(in.p.out, NPY_INT64) : nullptr;
    if (out == nullptr || (indices && index == nullptr)) {
        Py_XDECREF(out);
        return nullptr;
    }
    if (PyArray_SIZE(out) != 0) {
        WithoutGil release;
        std::int64_t* places = indices ? data_of<std::int64_t>(index) : nullptr;
        if (in.type == NPY_FLOAT) {
            max_forward(in.p, data_of<float>(in.array), data_of<float>(out), places);
        } else {
            max_forward(in.p, data_of<double>(in.array), data_of<double>(out), places);
        }
    }
    return indices ? Py_BuildValue("(NN)", out, index) : reinterpret_cast<PyObject*>(out);
}

PyObject* max_pool_gradient(PyObject*, PyObject* const* args, Py_ssize_t count) {
    if (count != 6) return wrong_count(6, count);
    Operand in;
    if (!in.read(args[1], args + 2, true)) return nullptr;
    if (!PyArray_Check(args[0]) || PyArray_TYPE(as_array(args[0])) != in.type || PyArray_NDIM(as_array(args[0])) != in.ndim + 2 ||
        PyArray_DIM(as_array(args[0]), 0) * PyArray_DIM(as_array(args[0]), 1) != in.p.planes) {
        PyErr_SetString(PyExc_ValueError, "the gradient does not fit");
        return nullptr;
    }
    PyArrayObject* g = as_array(PyArray_FROM_OF(args[0], NPY_ARRAY_CARRAY_RO));
    if (g == nullptr) return nullptr;
    in.p.size = in.spatial(in.array);
    in.p.out = in.spatial(g);
    PyArrayObject* out = in.check_windows() ? in.result(in.p.size, in.type) : nullptr;
    if (out != nullptr && PyArray_SIZE(out) != 0) {
        WithoutGil release;
        if (in.type == NPY_FLOAT) {
            max_gradient(in.p, data_of<float>(g), data_of<float>(in.array), data_of<float>(out));
        } else {
            max_gradient(in.p, data_of<double>(g), data_of<double>(in.array), data_of<double>(out));
        }
    }
    Py_DECREF(g);
    return reinterpret_cast<PyObject*>(out);
}

PyObject* sum_pool(PyObject*, PyObject* const* args, Py_ssize_t count) {
    if (count != 5) return wrong_count(5, count);
    Operand in;
    if (!in.read(args[0], args + 2, false) || !read_sizes(args[1], in.ndim, &in.p.out, 0)) return nullptr;
    in.p.size = in.spatial(in.array);
    PyArrayObject* out = in.result(in.p.out, in.type);
    if (out != nullptr && PyArray_SIZE(out) != 0) {
        WithoutGil release;
        if (in.type == NPY_FLOAT) {
            window_sums(in.p, data_of<float>(in.array), data_of<float>(out));
        } else {
            window_sums(in.p, data_of<double>(in.array), data_of<double>(out));
        }
    }
    return reinterpret_cast<PyObject*>(out);
}

PyObject* sum_pool_gradient(PyObject*, PyObject* const* args, Py_ssize_t count) {
    if (count != 5) return wrong_count(5, count);
    Operand in;
    if (!in.read(args[0], args + 2, false) || !read_sizes(args[1], in.ndim, &in.p.size, 0)) return nullptr;
    in.p.out = in.spatial(in.array);
    PyArrayObject* out = in.result(in.p.size, in.type);
    if (out != nullptr && PyArray_SIZE(out) != 0) {
        WithoutGil release;
        if (in.type == NPY_FLOAT) {
            spread_sums(in.p, data_of<float>(in.array), data_of<float>(out));
        } else {
            spread_sums(in.p, data_of<double>(in.array), data_of<double>(out));
        }
    }
    return reinterpret_cast<PyObject*>(out);
}

PyMethodDef methods[] = {
    {"max_pool", reinterpret_cast<PyCFunction>(max_pool), METH_FASTCALL,
     "max_pool(x, out, kernel, stride, padding, dilation, indices): the maxima, and if asked for their flat places (int64)."},
    {"max_pool_gradient", reinterpret_cast<PyCFunction>(max_pool_gradient), METH_FASTCALL, "max_pool_gradient(g, x, kernel, stride, padding, dilation)"},
    {"sum_pool", reinterpret_cast<PyCFunction>(sum_pool), METH_FASTCALL, "sum_pool(x, out, kernel, stride, padding)"},
    {"sum_pool_gradient", reinterpret_cast<PyCFunction>(sum_pool_gradient), METH_FASTCALL, "sum_pool_gradient(g, size, kernel, stride, padding)"},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

int add_pooling(PyObject* module) { return PyModule_AddFunctions(module, methods); }

}  // namespace rushlight
