// Normalisation, forward and backward. Layer, group and instance norm normalise rows that lie behind one another; batch norm normalises
// channels of (N, C, spatial). Variances are those of a second pass over the centred values.
#include <cmath>
#include <vector>

#include "function.h"
#include "pool.h"
#include "reduce.h"

namespace rushlight {
namespace {

constexpr index_t GRAIN = 8192;

constexpr index_t BLOCK = 2048;  // longer sums are sums of blocks, in double

template <typename T> T sum_of(const T* a, index_t n) {
    double result = 0;
    for (index_t first = 0; first < n; first += BLOCK) {
        const index_t last = first + BLOCK < n ? first + BLOCK : n;
        T sum = 0;
#pragma omp simd reduction(+ : sum)
        for (index_t i = first; i < last; ++i) sum += a[i];
        result += sum;
    }
    return static_cast<T>(result);
}
template <typename T> void both_sums(const T* g, const T* x, T mean, index_t n, T* sum, T* product) {
    double sums = 0, products = 0;
    for (index_t first = 0; first < n; first += BLOCK) {
        const index_t last = first + BLOCK < n ? first + BLOCK : n;
        T s = 0, p = 0;
#pragma omp simd reduction(+ : s, p)
        for (index_t i = first; i < last; ++i) {
            s += g[i];
            p += g[i] * (x[i] - mean);
        }
        sums += s;
        products += p;
    }
    *sum = static_cast<T>(sums);
    *product = static_cast<T>(products);
}

// The affine parameters of element j of a row: entry (row % groups) * (n / spatial) + j / spatial.
struct Layout {
    index_t rows, n, groups, spatial;
    index_t per_row() const { return n / spatial; }
    index_t entries() const { return groups * per_row(); }
};

template <typename T> void forward_row(const T* x, T* y, const T* w, const T* b, T mean, T rstd, const Layout& at) {
    const T shift = -mean * rstd;
    if (w == nullptr && b == nullptr) {
#pragma omp simd
        for (index_t j = 0; j < at.n; ++j) y[j] = (x[j] - mean) * rstd;
    } else if (at.spatial == 1) {
        if (w != nullptr && b != nullptr) {
#pragma omp simd
            for (index_t j = 0; j < at.n; ++j) y[j] = (x[j] - mean) * rstd * w[j] + b[j];
        } else if (w != nullptr) {
#pragma omp simd
            for (index_t j = 0; j < at.n; ++j) y[j] = (x[j] - mean) * rstd * w[j];
        } else {
#pragma omp simd
            for (index_t j = 0; j < at.n; ++j) y[j] = (x[j] - mean) * rstd + b[j];
        }
    } else {
        for (index_t c = 0; c < at.per_row(); ++c, x += at.spatial, y += at.spatial) {
            const T scale = w == nullptr ? rstd : rstd * w[c], offset = (w == nullptr ? shift : shift * w[c]) + (b == nullptr ? T(0) : b[c]);
#pragma omp simd
            for (index_t j = 0; j < at.spatial; ++j) y[j] = x[j] * scale + offset;
        }
    }
}

template <typename T> void backward_row(const T* g, const T* x, T* r, const T* w, T* gw, T* gb, T mean, T rstd, const Layout& at) {
    T first = 0, second = 0;  // sums of g w and of g w (x - mean)
    if (at.spatial == 1) {
        if (gw != nullptr) {
#pragma omp simd
            for (index_t j = 0; j < at.n; ++j) gw[j] += g[j] * ((x[j] - mean) * rstd);
        }
        if (gb != nullptr) {
#pragma omp simd
            for (index_t j = 0; j < at.n; ++j) gb[j] += g[j];
        }
        if (r == nullptr) return;
        if (w == nullptr) {
            both_sums(g, x, mean, at.n, &first, &second);
        } else {
#pragma omp simd reduction(+ : first, second)
            for (index_t j = 0; j < at.n; ++j) {
                first += g[j] * w[j];
                second += g[j] * w[j] * (x[j] - mean);
            }
        }
    } else {
        for (index_t c = 0; c < at.per_row(); ++c) {
            T s, p;
            both_sums(g + c * at.spatial, x + c * at.spatial, mean, at.spatial, &s, &p);
            if (gw != nullptr) gw[c] += p * rstd;
            if (gb != nullptr) gb[c] += s;
            first += w == nullptr ? s : s * w[c];
            second += w == nullptr ? p : p * w[c];
        }
        if (r == nullptr) return;
    }
    const T a = first / at.n, b = second * rstd * rstd / at.n;  // gradient = rstd (g w - a - b (x - mean))
    if (at.spatial == 1 && w != nullptr) {
#pragma omp simd
        for (index_t j = 0; j < at.n; ++j) r[j] = rstd * (g[j] * w[j] - a - b * (x[j] - mean));
    } else {
        for (index_t c = 0; c < at.per_row(); ++c, g += at.spatial, x += at.spatial, r += at.spatial) {
            const T scale = w == nullptr ? T(1) : w[c];
#pragma omp simd
            for (index_t j = 0; j < at.spatial; ++j) r[j] = rstd * (g[j] * scale - a - b * (x[j] - mean));
        }
    }
}

// An optional array: None is fine, else it has to be plain and of `size` elements.
template <typename T> bool optional(PyObject* object, const Contiguous& array, index_t size) {
    return object == Py_None || (array && array.size() == size);
}

template <typename T> constexpr int number() { return sizeof(T) == 4 ? NPY_FLOAT : NPY_DOUBLE; }

PyObject* or_none(PyArrayObject* array) { return array == nullptr ? Py_NewRef(Py_None) : reinterpret_cast<PyObject*>(array); }

struct Numbers {
    double eps;
    Layout at;
    [[nodiscard]] bool read(PyObject* const* args) {
        eps = PyFloat_AsDouble(args[0]);
        at.rows = PyLong_AsSsize_t(args[1]);
        at.groups = PyLong_AsSsize_t(args[2]);
        at.spatial = PyLong_AsSsize_t(args[3]);
        return !PyErr_Occurred();
    }
};

// norm_rows(x, weight, bias, eps, rows, groups, spatial) -> (y, mean, variance)
template <typename T> PyObject* rows_forward(PyObject* const* args) {
    Contiguous x(args[0], number<T>()), w(args[1], number<T>()), b(args[2], number<T>());
    Numbers of;
    if (!of.read(args + 3)) return nullptr;
    Layout& at = of.at;
    if (!x || x.size() == 0) return nullptr;
    at.n = x.size() / at.rows;
    if (!optional<T>(args[1], w, at.entries()) || !optional<T>(args[2], b, at.entries())) return nullptr;
    const npy_intp rows = at.rows;
    PyArrayObject *y = new_like(x.get()), *mean = new_array(1, &rows, number<T>()), *variance = new_array(1, &rows, number<T>());
    if (y == nullptr || mean == nullptr || variance == nullptr) {
        Py_XDECREF(y);
        Py_XDECREF(mean);
        Py_XDECREF(variance);
        return nullptr;
    }
    {
        WithoutGil release(x.size() > GRAIN);
        parallel_for(at.rows, GRAIN / at.n + 1, [&](index_t begin, index_t end) {
            for (index_t row = begin; row < end; ++row) {
                const T* from = x.data<T>() + row * at.n;
                const T m = sum_of(from, at.n) / at.n, v = static_cast<T>(squares_around(from, m, at.n)) / at.n;
                data_of<T>(mean)[row] = m;
                data_of<T>(variance)[row] = v;
                const index_t entry = row % at.groups * at.per_row();
                forward_row(from, data_of<T>(y) + row * at.n, w ? w.data<T>() + entry : nullptr, b ? b.data<T>() + entry : nullptr, m,
                            T(1) / std::sqrt(v + T(of.eps)), at);
            }
        });
    }
    return Py_BuildValue("NNN", y, mean, variance);
}

// norm_rows_backward(g, x, weight, mean, variance, eps, rows, groups, spatial, want_x, want_w, want_b) -> (gx, gw, gb), None where not wanted
template <typename T> PyObject* rows_backward(PyObject* const* args) {
    Contiguous g(args[0], number<T>()), x(args[1], number<T>()), w(args[2], number<T>()), mean(args[3], number<T>()), variance(args[4], number<T>());
    Numbers of;
    if (!of.read(args + 5)) return nullptr;
    Layout& at = of.at;
    if (!g || !x || !mean || !variance || x.size() != g.size() || x.size() == 0) return nullptr;
    at.n = x.size() / at.rows;
    if (!optional<T>(args[2], w, at.entries())) return nullptr;
    const int want_x = flag(args[9]), want_w = flag(args[10]), want_b = flag(args[11]);
    if (want_x < 0 || want_w < 0 || want_b < 0) return nullptr;
    const npy_intp entries = at.entries();
    PyArrayObject* r = want_x ? new_like(x.get()) : nullptr;
    PyArrayObject* gw = want_w ? new_array(1, &entries, number<T>()) : nullptr;
    PyArrayObject* gb = want_b ? new_array(1, &entries, number<T>()) : nullptr;
    if ((want_x && r == nullptr) || (want_w && gw == nullptr) || (want_b && gb == nullptr)) {
        Py_XDECREF(r);
        Py_XDECREF(gw);
        Py_XDECREF(gb);
        return nullptr;
    }
    {
        // Parts of the rows add up their own sums, which are then added in order: the result does not depend on the threads.
        WithoutGil release(x.size() > GRAIN);
        const index_t length = 64 > GRAIN / at.n ? 64 : GRAIN / at.n, parts = (at.rows + length - 1) / length;
        std::vector<T> sums(static_cast<std::size_t>(want_w || want_b ? parts * entries * 2 : 0));
        parallel_for(parts, 1, [&](index_t begin, index_t end) {
            for (index_t part = begin; part < end; ++part) {
                T* own = sums.data() + part * entries * 2;
                const index_t last = (part + 1) * length < at.rows ? (part + 1) * length : at.rows;
                for (index_t row = part * length; row < last; ++row) {
                    const index_t entry = row % at.groups * at.per_row();
                    backward_row(g.data<T>() + row * at.n, x.data<T>() + row * at.n, want_x ? data_of<T>(r) + row * at.n : nullptr,
                                 w ? w.data<T>() + entry : nullptr, want_w ? own + entry : nullptr, want_b ? own + entries + entry : nullptr,
                                 mean.data<T>()[row], T(1) / std::sqrt(variance.data<T>()[row] + T(of.eps)), at);
                }
            }
        });
        for (index_t e = 0; e < entries; ++e) {
            T first = 0, second = 0;
            if (want_w || want_b) {
                for (index_t part = 0; part < parts; ++part) {
                    first += sums[part * entries * 2 + e];
                    second += sums[part * entries * 2 + entries + e];
                }
            }
            if (want_w) data_of<T>(gw)[e] = first;
            if (want_b) data_of<T>(gb)[e] = second;
        }
    }
    return Py_BuildValue("NNN", or_none(r), or_none(gw), or_none(gb));
}

// --- root mean square: y = x rstd w with rstd = 1 / sqrt(mean(x^2) + eps) -----------------------------------------------------------------

template <typename T> T root_of(const T* x, index_t n, double eps) {
    return T(1) / std::sqrt(static_cast<T>(squares_around(x, T(0), n)) / static_cast<T>(n) + static_cast<T>(eps));
}

// rms_norm(x, weight, eps, n) -> y, for rows of n elements
template <typename T> PyObject* rms_forward(PyObject* const* args) {
    Contiguous x(args[0], number<T>()), w(args[1], number<T>());
    const double eps = PyFloat_AsDouble(args[2]);
    const index_t n = PyLong_AsSsize_t(args[3]);
    if (PyErr_Occurred() || !x || n < 1 || x.size() == 0 || x.size() % n != 0 || !optional<T>(args[1], w, n)) return nullptr;
    PyArrayObject* y = new_like(x.get());
    if (y == nullptr) return nullptr;
    WithoutGil release(x.size() > GRAIN);
    parallel_for(x.size() / n, GRAIN / n + 1, [&](index_t begin, index_t end) {
        for (index_t row = begin; row < end; ++row) {
            const T* from = x.data<T>() + row * n;
            const T* scale = w.data<T>();
            T* to = data_of<T>(y) + row * n;
            const T rstd = root_of(from, n, eps);
            if (scale == nullptr) {
#pragma omp simd
                for (index_t j = 0; j < n; ++j) to[j] = from[j] * rstd;
            } else {
#pragma omp simd
                for (index_t j = 0; j < n; ++j) to[j] = from[j] * rstd * scale[j];
            }
        }
    });
    return reinterpret_cast<PyObject*>(y);
}

// rms_norm_backward(g, x, weight, eps, n) -> (gx, gw or None)
template <typename T> PyObject* rms_backward(PyObject* const* args) {
    Contiguous g(args[0], number<T>()), x(args[1], number<T>()), w(args[2], number<T>());
    const double eps = PyFloat_AsDouble(args[3]);
    const npy_intp n = PyLong_AsSsize_t(args[4]);
    if (PyErr_Occurred() || !g || !x || n < 1 || x.size() == 0 || x.size() % n != 0 || x.size() != g.size() || !optional<T>(args[2], w, n)) return nullptr;
    PyArrayObject *r = new_like(x.get()), *gw = w ? new_array(1, &n, number<T>()) : nullptr;
    if (r == nullptr || (w && gw == nullptr)) {
        Py_XDECREF(r);
        Py_XDECREF(gw);
        return nullptr;
    }
    {
        WithoutGil release(x.size() > GRAIN);
        const index_t rows = x.size() / n, length = 64 > GRAIN / n ? 64 : GRAIN / n, parts = (rows + length - 1) / length;
        std::vector<T> sums(static_cast<std::size_t>(w ? parts * n : 0));
        parallel_for(parts, 1, [&](index_t begin, index_t end) {
            for (index_t row = begin * length; row < end * length && row < rows; ++row) {
                const T *a = x.data<T>() + row * n, *b = g.data<T>() + row * n, *scale = w.data<T>();
                T* to = data_of<T>(r) + row * n;
                const T rstd = root_of(a, n, eps);
                T inner = 0;
                if (scale == nullptr) {
#pragma omp simd reduction(+ : inner)
                    for (index_t j = 0; j < n; ++j) inner += b[j] * a[j];
                } else {
                    T* own = sums.data() + row / length * n;
#pragma omp simd reduction(+ : inner)
                    for (index_t j = 0; j < n; ++j) {
                        own[j] += b[j] * a[j] * rstd;
                        inner += b[j] * scale[j] * a[j];
                    }
                }
                const T factor = inner * rstd * rstd / static_cast<T>(n);
                if (scale == nullptr) {
#pragma omp simd
                    for (index_t j = 0; j < n; ++j) to[j] = rstd * (b[j] - a[j] * factor);
                } else {
#pragma omp simd
                    for (index_t j = 0; j < n; ++j) to[j] = rstd * (b[j] * scale[j] - a[j] * factor);
                }
            }
        });
        for (index_t j = 0; w && j < n; ++j) {
            T sum = 0;
            for (index_t part = 0; part < parts; ++part) sum += sums[part * n + j];
            data_of<T>(gw)[j] = sum;
        }
    }
    return Py_BuildValue("NN", r, or_none(gw));
}

// --- batch norm: x is (images, channels, spatial) ---------------------------------------------------------------------------------------

constexpr index_t LANES = 16;  // channels at a time where there is no spatial extent

struct Batch {
    index_t images, channels, spatial;
    [[nodiscard]] bool read(PyArrayObject* x) {
        if (PyArray_NDIM(x) < 2 || PyArray_SIZE(x) == 0) return false;
        images = PyArray_DIM(x, 0);
        channels = PyArray_DIM(x, 1);
        spatial = PyArray_SIZE(x) / images / channels;
        return true;
    }
    template <typename F> void each(F&& f) const {  // f(first channel, last channel)
        if (spatial == 1) {
            parallel_for((channels + LANES - 1) / LANES, GRAIN / (images * LANES) + 1,
                         [&](index_t begin, index_t end) {
                             for (index_t i = begin; i < end; ++i) f(i * LANES, (i + 1) * LANES < channels ? (i + 1) * LANES : channels);
                         });
        } else {
            parallel_for(channels, GRAIN / (images * spatial) + 1, [&](index_t begin, index_t end) {
                for (index_t c = begin; c < end; ++c) f(c, c + 1);
            });
        }
    }
};

// Sums over one channel: image by image, so that long sums are sums of sums.
template <typename T, typename F> double channel_sum(const Batch& at, index_t channel, F&& segment) {
    double sum = 0;
    for (index_t i = 0; i < at.images; ++i) sum += segment((i * at.channels + channel) * at.spatial);
    return sum;
}

// batch_norm(x, weight, bias, eps) -> (y, mean, variance)
template <typename T> PyObject* batch_forward(PyObject* const* args) {
    Contiguous x(args[0], number<T>()), w(args[1], number<T>()), b(args[2], number<T>());
    const double eps = PyFloat_AsDouble(args[3]);
    if (PyErr_Occurred()) return nullptr;
    Batch at;
    if (!x || !at.read(x.get()) || !optional<T>(args[1], w, at.channels) || !optional<T>(args[2], b, at.channels)) return nullptr;
    const npy_intp channels = at.channels;
    PyArrayObject *y = new_like(x.get()), *mean = new_array(1, &channels, number<T>()), *variance = new_array(1, &channels, number<T>());
    if (y == nullptr || mean == nullptr || variance == nullptr) {
        Py_XDECREF(y);
        Py_XDECREF(mean);
        Py_XDECREF(variance);
        return nullptr;
    }
    const T* in = x.data<T>();
    T* out = data_of<T>(y);
    const double count = static_cast<double>(at.images * at.spatial);
    {
        WithoutGil release(x.size() > GRAIN);
        at.each([&](index_t first, index_t last) {
            double sums[LANES] = {}, squares[LANES] = {};
            T m[LANES], scale[LANES], offset[LANES];
            const index_t width = last - first;
            if (at.spatial == 1) {
                for (index_t i = 0; i < at.images; ++i) {
                    for (index_t c = 0; c < width; ++c) sums[c] += in[i * at.channels + first + c];
                }
                for (index_t c = 0; c < width; ++c) m[c] = static_cast<T>(sums[c] / count);
                for (index_t i = 0; i < at.images; ++i) {
                    for (index_t c = 0; c < width; ++c) {
                        const double d = in[i * at.channels + first + c] - m[c];
                        squares[c] += d * d;
                    }
                }
            } else {
                m[0] = static_cast<T>(channel_sum<T>(at, first, [&](index_t o) { return sum_of(in + o, at.spatial); }) / count);
                squares[0] = channel_sum<T>(at, first, [&](index_t o) { return static_cast<T>(squares_around(in + o, m[0], at.spatial)); });
            }
            for (index_t c = 0; c < width; ++c) {
                const T v = static_cast<T>(squares[c] / count);
                data_of<T>(mean)[first + c] = m[c];
                data_of<T>(variance)[first + c] = v;
                scale[c] = T(1) / std::sqrt(v + T(eps)) * (w ? w.data<T>()[first + c] : T(1));
                offset[c] = b ? b.data<T>()[first + c] : T(0);
            }
            for (index_t i = 0; i < at.images; ++i) {
                const index_t o = (i * at.channels + first) * at.spatial;
                if (at.spatial == 1) {
                    for (index_t c = 0; c < width; ++c) out[o + c] = (in[o + c] - m[c]) * scale[c] + offset[c];
                } else {
                    const T mm = m[0], s = scale[0], t = offset[0];
#pragma omp simd
                    for (index_t j = 0; j < at.spatial; ++j) out[o + j] = (in[o + j] - mm) * s + t;
                }
            }
        });
    }
    return Py_BuildValue("NNN", y, mean, variance);
}

// batch_norm_backward(g, x, weight, mean, variance, eps, want_x, want_w, want_b) -> (gx, gw, gb)
template <typename T> PyObject* batch_backward(PyObject* const* args) {
    Contiguous g(args[0], number<T>()), x(args[1], number<T>()), w(args[2], number<T>()), mean(args[3], number<T>()), variance(args[4], number<T>());
    const double eps = PyFloat_AsDouble(args[5]);
    if (PyErr_Occurred()) return nullptr;
    Batch at;
    if (!g || !x || !mean || !variance || !same_shape(g.get(), x.get()) || !at.read(x.get()) || !optional<T>(args[2], w, at.channels)) return nullptr;
    const int want_x = flag(args[6]), want_w = flag(args[7]), want_b = flag(args[8]);
    if (want_x < 0 || want_w < 0 || want_b < 0) return nullptr;
    const npy_intp channels = at.channels;
    PyArrayObject* r = want_x ? new_like(x.get()) : nullptr;
    PyArrayObject* gw = want_w ? new_array(1, &channels, number<T>()) : nullptr;
    PyArrayObject* gb = want_b ? new_array(1, &channels, number<T>()) : nullptr;
    if ((want_x && r == nullptr) || (want_w && gw == nullptr) || (want_b && gb == nullptr)) {
        Py_XDECREF(r);
        Py_XDECREF(gw);
        Py_XDECREF(gb);
        return nullptr;
    }
    const T *gs = g.data<T>(), *in = x.data<T>();
    const double count = static_cast<double>(at.images * at.spatial);
    {
        WithoutGil release(x.size() > GRAIN);
        at.each([&](index_t first, index_t last) {
            double sums[LANES] = {}, products[LANES] = {};
            T m[LANES], rstd[LANES], a[LANES], b[LANES], scale[LANES];
            const index_t width = last - first;
            for (index_t c = 0; c < width; ++c) {
                m[c] = mean.data<T>()[first + c];
                rstd[c] = T(1) / std::sqrt(variance.data<T>()[first + c] + T(eps));
            }
            for (index_t i = 0; i < at.images; ++i) {
                const index_t o = (i * at.channels + first) * at.spatial;
                if (at.spatial == 1) {
                    for (index_t c = 0; c < width; ++c) {
                        sums[c] += gs[o + c];
                        products[c] += gs[o + c] * (in[o + c] - m[c]);
                    }
                } else {
                    T s, p;
                    both_sums(gs + o, in + o, m[0], at.spatial, &s, &p);
                    sums[0] += s;
                    products[0] += p;
                }
            }
            for (index_t c = 0; c < width; ++c) {
                if (want_w) data_of<T>(gw)[first + c] = static_cast<T>(products[c] * rstd[c]);
                if (want_b) data_of<T>(gb)[first + c] = static_cast<T>(sums[c]);
                scale[c] = rstd[c] * (w ? w.data<T>()[first + c] : T(1));
                a[c] = static_cast<T>(sums[c] / count);
                b[c] = static_cast<T>(products[c] / count) * rstd[c] * rstd[c];
            }
            if (!want_x) return;
            T* out = data_of<T>(r);
            for (index_t i = 0; i < at.images; ++i) {
                const index_t o = (i * at.channels + first) * at.spatial;
                if (at.spatial == 1) {
                    for (index_t c = 0; c < width; ++c) out[o + c] = scale[c] * (gs[o + c] - a[c] - b[c] * (in[o + c] - m[c]));
                } else {
                    const T s = scale[0], aa = a[0], bb = b[0], mm = m[0];
#pragma omp simd
                    for (index_t j = 0; j < at.spatial; ++j) out[o + j] = s * (gs[o + j] - aa - bb * (in[o + j] - mm));
                }
            }
        });
    }
    return Py_BuildValue("NNN", or_none(r), or_none(gw), or_none(gb));
}

template <PyObject* (*single)(PyObject* const*), PyObject* (*twice)(PyObject* const*), int arguments>
PyObject* by_type(PyObject* const* args, Py_ssize_t count) {
    const int type = count == arguments ? float_type(args[0]) : -1;
    return type == NPY_FLOAT ? single(args) : type == NPY_DOUBLE ? twice(args) : nullptr;
}

}  // namespace

extern const NativeFunction norm_functions[] = {{"rows", by_type<rows_forward<float>, rows_forward<double>, 7>},
                                                {"rows_backward", by_type<rows_backward<float>, rows_backward<double>, 12>},
                                                {"batch", by_type<batch_forward<float>, batch_forward<double>, 4>},
                                                {"batch_backward", by_type<batch_backward<float>, batch_backward<double>, 9>},
                                                {"rms", by_type<rms_forward<float>, rms_forward<double>, 4>},
                                                {"rms_backward", by_type<rms_backward<float>, rms_backward<double>, 5>},
                                                {nullptr, nullptr}};

}  // namespace rushlight
