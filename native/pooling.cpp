// Max and average pooling, forward and backward, over (N, C, *spatial): row by row, so that loops run over neighbouring windows.
#include <limits>
#include <vector>

#include "arguments.h"
#include "function.h"
#include "pool.h"
#include "tile.h"

namespace rushlight {
namespace {

// A pooling of planes of `size` into windows `out`.
struct Pooling {
    index_t planes;
    Index3 size{1, 1, 1}, out{1, 1, 1}, kernel{1, 1, 1}, stride{1, 1, 1}, padding{0, 0, 0}, dilation{1, 1, 1};

    index_t in_positions() const { return size[0] * size[1] * size[2]; }
    index_t out_positions() const { return out[0] * out[1] * out[2]; }
    index_t grain() const { return std::max<index_t>(1, 16384 / (out_positions() * kernel[0] * kernel[1] * kernel[2] + in_positions() + 1)); }

    // For every row of windows f(row's first window, taps); taps(visit) calls visit(offset of window 0's element, first window, one past the last,
    // number) for each tap of the kernel, in order: windows for which the tap lies inside. Offsets are into the plane.
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
                                if (first < last) visit((at_d * size[1] + at_h) * size[2] + shift, first, last, static_cast<int>((kd * kernel[1] + kh) * kernel[2] + kw));
                            }
                        }
                    }
                });
            }
        }
    }
};

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

// LANES elements that lie `stride` apart.
template <typename T, typename S> inline Vector<T> load_apart(const T* x, S stride) {
    constexpr int L = LANES<T>;
    if (stride == 1) return load(x);
    Vector<T> v;
    if (stride == 2) {
        typename VectorOf<T>::index even;
        for (int i = 0; i < L; ++i) even[i] = 2 * i;
        return __builtin_shuffle(load(x), load(x + L), even);
    }
    for (int i = 0; i < L; ++i) v[i] = x[i * stride];
    return v;
}

// Which of the kernel's taps holds a window's maximum: small kernels need a byte. The highest number says that the window meets none.
template <typename Tap> constexpr Tap NO_TAP = std::numeric_limits<Tap>::max();

// The first n lanes to memory; whole vectors where there is room before `end`: what they write too much is written later.
template <typename E, typename V> inline void store_lanes(E* to, const V& v, index_t n, const E* end) {
    constexpr index_t L = static_cast<index_t>(sizeof(V) / sizeof(E));
    std::memcpy(static_cast<void*>(to), &v, (to + L <= end ? L : std::min(n, L)) * sizeof(E));
}

// The largest elements of the windows of one row [j, j + LANES), and the taps that hold them (the first of equals, the last nan).
template <typename T> struct Best {
    using Index = typename VectorOf<T>::index;
    Vector<T> value = Vector<T>{} - std::numeric_limits<T>::infinity();
    Index tap = Index{} - 1;

    void see(Vector<T> v, int number) {
        const Index take = (v > value) | (v != v) | (tap < 0);
        value = take ? v : value;
        tap = take ? Index{} + number : tap;
    }
    // The same for lanes [first, last) alone.
    template <typename S> void see_some(const T* x, S stride, index_t first, index_t last, int number) {
        for (index_t i = first; i < last; ++i) {
            const T v = x[i * stride];
            if (v > value[i] || v != v || tap[i] < 0) {
                value[i] = v;
                tap[i] = number;
            }
        }
    }
};

// All rows of windows of planes [begin, end).
template <typename T, typename Tap, typename S> void max_planes(const Pooling& p, S stride, const T* x, T* y, Tap* taps, index_t begin, index_t end) {
    constexpr index_t L = LANES<T>;
    typedef Tap Taps __attribute__((vector_size(sizeof(Tap) * LANES<T>)));
    const T *x_end = x + p.planes * p.in_positions(), *y_end = y + end * p.out_positions();
    const Tap* taps_end = taps + end * p.out_positions();
    for (index_t plane = begin; plane < end; ++plane) {
        const T* from = x + plane * p.in_positions();
        p.each_row([&](index_t row, auto each_tap) {
            const index_t place = plane * p.out_positions() + row;
            for (index_t j = 0; j < p.out[2]; j += L) {
                Best<T> best;
                const index_t n = std::min(L, p.out[2] - j);
                each_tap([&](index_t offset, index_t first, index_t last, int number) {
                    const T* source = from + offset + j * stride;
                    if (first <= j && last >= j + n && source + L * stride <= x_end) {
                        best.see(load_apart(source, stride), number);
                    } else {
                        best.see_some(source, stride, std::max<index_t>(0, first - j), std::min(n, last - j), number);
                    }
                });
                store_lanes(y + place + j, best.value, n, y_end);
                if (taps != nullptr) store_lanes(taps + place + j, __builtin_convertvector(best.tap & NO_TAP<Tap>, Taps), n, taps_end);
            }
        });
    }
}

template <typename T, typename Tap> void max_forward(const Pooling& p, const T* x, T* y, Tap* taps) {
    parallel_for(p.planes, p.grain(), [&](index_t begin, index_t end) {
        with_stride(p.stride[2], [&](auto stride) { max_planes(p, stride, x, y, taps, begin, end); });
    });
}

// Where every tap's element lies from a window's first one.
inline std::vector<index_t> tap_offsets(const Pooling& p) {
    std::vector<index_t> offsets;
    for (index_t d = 0; d < p.kernel[0]; ++d)
        for (index_t h = 0; h < p.kernel[1]; ++h)
            for (index_t w = 0; w < p.kernel[2]; ++w)
                offsets.push_back((d * p.dilation[0] * p.size[1] + h * p.dilation[1]) * p.size[2] + w * p.dilation[2]);
    return offsets;
}

// Calls f(window, the place of its maximum in the plane) for all windows of a plane that have one.
template <typename Tap, typename F> inline void each_maximum(const Pooling& p, const std::vector<index_t>& offsets, const Tap* taps, F f) {
    index_t window = 0;
    for (index_t d = 0; d < p.out[0]; ++d) {
        for (index_t h = 0; h < p.out[1]; ++h) {
            index_t at = ((d * p.stride[0] - p.padding[0]) * p.size[1] + h * p.stride[1] - p.padding[1]) * p.size[2] - p.padding[2];
            for (index_t w = 0; w < p.out[2]; ++w, ++window, at += p.stride[2]) {
                if (taps[window] != NO_TAP<Tap>) f(window, at + offsets[taps[window]]);
            }
        }
    }
}

template <typename Tap> void max_places(const Pooling& p, const Tap* taps, std::int64_t* index) {
    const std::vector<index_t> offsets = tap_offsets(p);
    parallel_for(p.planes, p.grain(), [&](index_t begin, index_t end) {
        for (index_t plane = begin; plane < end; ++plane) {
            std::int64_t* to = index + plane * p.out_positions();
            std::fill(to, to + p.out_positions(), std::int64_t(0));
            each_maximum(p, offsets, taps + plane * p.out_positions(), [&](index_t window, index_t at) { to[window] = at; });
        }
    });
}

// The gradient of windows of two columns side by side that share nothing: rows of zeros and gradients, in vectors and in order.
template <typename T, typename Tap>
void spread_pairs(const Pooling& p, const T* g, const Tap* taps, const index_t plane, const T* g_end, T* gx, const T* gx_end) {
    constexpr index_t L = LANES<T>;
    using Index = typename VectorOf<T>::index;
    typedef Tap Taps __attribute__((vector_size(sizeof(Tap) * LANES<T>)));
    Index low, high;
    for (int i = 0; i < L; ++i) {
        low[i] = i / 2 + i % 2 * static_cast<int>(L);
        high[i] = low[i] + L / 2;
    }
    T* to = gx + plane * p.in_positions();
    for (index_t at_d = 0; at_d < p.size[0]; ++at_d) {
        const index_t d = at_d / p.stride[0], kd = at_d % p.stride[0];
        for (index_t at_h = 0; at_h < p.size[1]; ++at_h, to += p.size[2]) {
            const index_t h = at_h / p.stride[1], kh = at_h % p.stride[1], place = plane * p.out_positions() + (d * p.out[1] + h) * p.out[2];
            index_t done = 0;
            for (index_t j = 0; d < p.out[0] && h < p.out[1] && j < p.out[2]; j += L) {
                const index_t n = std::min(L, p.out[2] - j);
                const int number = static_cast<int>((kd * p.kernel[1] + kh) * 2);
                T* pair = to + 2 * j;
                if (g + place + j + L <= g_end && pair + 2 * L <= gx_end) {
                    Taps bytes;
                    std::memcpy(&bytes, taps + place + j, sizeof(bytes));
                    const Index at = __builtin_convertvector(bytes, Index);
                    const Vector<T> v = load(g + place + j), zero{};
                    const Vector<T> left = at == number ? v : zero, right = at == number + 1 ? v : zero;
                    store(pair, __builtin_shuffle(left, right, low));
                    store(pair + L, __builtin_shuffle(left, right, high));
                } else {
                    for (index_t i = 0; i < n; ++i) {
                        pair[2 * i] = taps[place + j + i] == number ? g[place + j + i] : T(0);
                        pair[2 * i + 1] = taps[place + j + i] == number + 1 ? g[place + j + i] : T(0);
                    }
                }
                done = 2 * (j + n);
            }
            std::fill(to + done, to + p.size[2], T(0));
        }
    }
}

template <typename T, typename Tap> void max_gradient(const Pooling& p, const T* g, const Tap* taps, T* gx) {
    const std::vector<index_t> offsets = tap_offsets(p);
    const bool pairs = p.kernel[2] == 2 && p.kernel == p.stride && p.padding == Index3{0, 0, 0} && p.dilation == Index3{1, 1, 1} && p.out[2] * 2 <= p.size[2];
    parallel_for(p.planes, p.grain(), [&](index_t begin, index_t end) {
        for (index_t plane = begin; plane < end; ++plane) {
            if (pairs) {
                spread_pairs(p, g, taps, plane, g + p.planes * p.out_positions(), gx, gx + end * p.in_positions());
                continue;
            }
            T* to = gx + plane * p.in_positions();
            std::fill(to, to + p.in_positions(), T(0));
            const T* from = g + plane * p.out_positions();
            each_maximum(p, offsets, taps + plane * p.out_positions(), [&](index_t window, index_t at) { to[at] += from[window]; });
        }
    });
}

template <typename T> void window_sums(const Pooling& p, const T* x, T* y) {
    parallel_for(p.planes, p.grain(), [&](index_t begin, index_t end) {
        for (index_t plane = begin; plane < end; ++plane) {
            p.each_row([&](index_t row, auto taps) {
                T* to = y + plane * p.out_positions() + row;
                std::fill(to, to + p.out[2], T(0));
                taps([&](index_t offset, index_t first, index_t last, int) {
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
                taps([&](index_t offset, index_t first, index_t last, int) {
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
    [[nodiscard]] bool read(PyObject* object, PyObject* const* sizes, bool with_dilation) {
        if (!PyArray_Check(object)) {
            return false;
        }
        type = PyArray_TYPE(as_array(object));
        ndim = PyArray_NDIM(as_array(object)) - 2;
        if ((type != NPY_FLOAT && type != NPY_DOUBLE) || ndim < 1 || ndim > 3) {
            return false;
        }
        if (!read_window(sizes, with_dilation)) return false;
        array = as_array(PyArray_FROM_OF(object, NPY_ARRAY_CARRAY_RO));
        if (array == nullptr) return false;
        p.planes = PyArray_DIM(array, 0) * PyArray_DIM(array, 1);
        return true;
    }
    [[nodiscard]] bool read_window(PyObject* const* sizes, bool with_dilation) {
        return read_sizes(sizes[0], ndim, &p.kernel, 1) && read_sizes(sizes[1], ndim, &p.stride, 1) && read_sizes(sizes[2], ndim, &p.padding, 0) &&
               (!with_dilation || read_sizes(sizes[3], ndim, &p.dilation, 1));
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
    [[nodiscard]] bool check_windows() const {
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

int taps_type(const Pooling& p) { return p.kernel[0] * p.kernel[1] * p.kernel[2] < 255 ? NPY_UINT8 : NPY_INT32; }

// Calls f with the taps' data in its type.
template <typename F> void with_taps(PyArrayObject* taps, F f) {
    if (PyArray_TYPE(taps) == NPY_UINT8) {
        f(data_of<std::uint8_t>(taps));
    } else {
        f(data_of<std::int32_t>(taps));
    }
}

// (x, out, kernel, stride, padding, dilation): the maxima, and if wanted which tap of the kernel holds each
template <bool wanted> PyObject* max_pool(PyObject* const* args, Py_ssize_t count) {
    if (count != 6) return nullptr;
    Operand in;
    if (!in.read(args[0], args + 2, true) || !read_sizes(args[1], in.ndim, &in.p.out, 0)) return nullptr;
    in.p.size = in.spatial(in.array);
    if (!in.check_windows()) return nullptr;
    PyArrayObject* out = in.result(in.p.out, in.type);
    PyArrayObject* taps = wanted ? in.result(in.p.out, taps_type(in.p)) : nullptr;
    if (out == nullptr || (wanted && taps == nullptr)) {
        Py_XDECREF(out);
        return nullptr;
    }
    if (PyArray_SIZE(out) != 0) {
        WithoutGil release;
        const auto run = [&](auto* to) {
            if (in.type == NPY_FLOAT) {
                max_forward(in.p, data_of<float>(in.array), data_of<float>(out), to);
            } else {
                max_forward(in.p, data_of<double>(in.array), data_of<double>(out), to);
            }
        };
        if (wanted) {
            with_taps(taps, run);
        } else {
            run(static_cast<std::int32_t*>(nullptr));
        }
    }
    return wanted ? Py_BuildValue("(NN)", out, taps) : reinterpret_cast<PyObject*>(out);
}

// The taps of a pooling whose windows and input's size are known; false with an error set where they do not fit. `taps` is a new reference.
[[nodiscard]] bool read_taps(PyObject* object, const Operand& in, PyArrayObject** taps) {
    if (!PyArray_CheckExact(object)) return false;  // for the twin
    const bool fits = PyArray_TYPE(as_array(object)) == taps_type(in.p) && PyArray_NDIM(as_array(object)) == in.ndim + 2 &&
                      in.spatial(as_array(object)) == in.p.out && PyArray_DIM(as_array(object), 0) * PyArray_DIM(as_array(object), 1) == in.p.planes;
    if (!fits) {
        PyErr_SetString(PyExc_ValueError, "the taps do not fit");
        return false;
    }
    *taps = as_array(PyArray_FROM_OF(object, NPY_ARRAY_CARRAY_RO));
    return *taps != nullptr;
}

// (taps, size, kernel, stride, padding, dilation): their flat places in the plane (int64)
PyObject* max_pool_places(PyObject* const* args, Py_ssize_t count) {
    if (count != 6 || !PyArray_CheckExact(args[0]) || PyArray_NDIM(as_array(args[0])) < 3 || PyArray_NDIM(as_array(args[0])) > 5) {
        return nullptr;
    }
    Operand in;
    in.ndim = PyArray_NDIM(as_array(args[0])) - 2;
    in.p.planes = PyArray_DIM(as_array(args[0]), 0) * PyArray_DIM(as_array(args[0]), 1);
    in.p.out = in.spatial(as_array(args[0]));
    if (!read_sizes(args[1], in.ndim, &in.p.size, 0) || !in.read_window(args + 2, true) || !read_taps(args[0], in, &in.array) || !in.check_windows()) return nullptr;
    PyArrayObject* out = in.result(in.p.out, NPY_INT64);
    if (out != nullptr && PyArray_SIZE(out) != 0) {
        WithoutGil release;
        with_taps(in.array, [&](auto* taps) { max_places(in.p, taps, data_of<std::int64_t>(out)); });
    }
    return reinterpret_cast<PyObject*>(out);
}

// (g, taps, size, kernel, stride, padding, dilation)
PyObject* max_pool_gradient(PyObject* const* args, Py_ssize_t count) {
    if (count != 7) return nullptr;
    Operand in;
    if (!in.read(args[0], args + 3, true) || !read_sizes(args[2], in.ndim, &in.p.size, 0)) return nullptr;
    in.p.out = in.spatial(in.array);
    PyArrayObject* taps = nullptr;
    if (!in.check_windows() || !read_taps(args[1], in, &taps)) return nullptr;
    PyArrayObject* out = in.result(in.p.size, in.type);
    if (out != nullptr && PyArray_SIZE(out) != 0) {
        WithoutGil release;
        with_taps(taps, [&](auto* at) {
            if (in.type == NPY_FLOAT) {
                max_gradient(in.p, data_of<float>(in.array), at, data_of<float>(out));
            } else {
                max_gradient(in.p, data_of<double>(in.array), at, data_of<double>(out));
            }
        });
    }
    Py_DECREF(taps);
    return reinterpret_cast<PyObject*>(out);
}

// (x, out, kernel, stride, padding)
PyObject* sum_pool(PyObject* const* args, Py_ssize_t count) {
    if (count != 5) return nullptr;
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

// (g, size, kernel, stride, padding)
PyObject* sum_pool_gradient(PyObject* const* args, Py_ssize_t count) {
    if (count != 5) return nullptr;
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

}  // namespace

extern const NativeFunction pooling_functions[] = {
    {"max_forward", max_pool<false>},
    {"max_with_taps", max_pool<true>},
    {"max_places", max_pool_places},
    {"max_gradient", max_pool_gradient},
    {"average", sum_pool},
    {"average_gradient", sum_pool_gradient},
    {nullptr, nullptr},
};

}  // namespace rushlight
