// Sampling images and volumes (N, C, *size) at the points of grids. For a block of points the places and weights of the elements that they see (taps)
// are found first; then every channel is a sum over the taps.
#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "arguments.h"
#include "function.h"
#include "pool.h"

namespace rushlight {
namespace {

enum Mode { LINEAR, NEAREST, CUBIC };
enum Padding { ZEROS, BORDER, REFLECTION };

constexpr index_t BLOCK = 128;  // points at once
constexpr int MOST = 16;        // taps of a point

struct Sampling {
    int n = 2;  // spatial dimensions
    Mode mode = LINEAR;
    Padding padding = ZEROS;
    bool align = false;
    index_t images = 0, channels = 0, points = 0;
    Index3 size{1, 1, 1};

    index_t plane() const { return size[0] * size[1] * size[2]; }
    int taps() const { return mode == NEAREST ? 1 : mode == CUBIC ? 16 : 1 << n; }
};

// A coordinate and what its derivative is multiplied by.
template <typename T> struct Place {
    T at, slope;
};

template <typename T> inline Place<T> clamped(Place<T> p, index_t size) {
    const T last = static_cast<T>(size - 1);
    const bool low = !(p.at > T(0)), high = p.at >= last;  // nan is low
    return {low ? T(0) : high ? last : p.at, low || high ? T(0) : p.slope};
}

template <typename T> inline Place<T> reflected(Place<T> p, T low, T high) {
    const T span = high - low;
    const T sign = p.at < low ? T(-1) : T(1), away = std::fabs(p.at - low), flips = std::floor(away / span), rest = away - flips * span;
    const bool even = flips == 2 * std::floor(flips / 2);
    return {span == T(0) ? T(0) : even ? rest + low : span - rest + low, span == T(0) ? T(0) : even ? p.slope * sign : -p.slope * sign};
}

template <typename T> inline Place<T> inside(Padding padding, bool align, Place<T> p, index_t size) {
    if (padding == ZEROS) return p;
    if (padding == REFLECTION) p = align ? reflected(p, T(0), static_cast<T>(size - 1)) : reflected(p, T(-0.5), static_cast<T>(size) - T(0.5));
    return clamped(p, size);
}

// From [-1, 1] to pixels.
template <typename T> inline Place<T> pixels(bool align, T x, index_t size) {
    const T half = align ? static_cast<T>(size - 1) / 2 : static_cast<T>(size) / 2;
    return {align ? (x + 1) * half : ((x + 1) * static_cast<T>(size) - 1) / 2, half};
}

// Whether a coordinate lies near enough to count as an integer; nan does not.
template <typename T> inline bool countable(T x) { return x > T(-1e9) && x < T(1e9); }

// Keys' cubic convolution with A = -0.75: weights of four neighbours, and their derivatives by t.
template <typename T> void cubic(T t, T (&w)[4], T (&dw)[4]) {
    const T a = T(-0.75);
    for (int k = 0; k < 4; ++k) {
        const T side = k < 2 ? T(1) : T(-1), d = k < 2 ? t + T(1 - k) : T(k - 1) - t;
        if (k == 1 || k == 2) {
            w[k] = ((a + 2) * d - (a + 3)) * d * d + 1;
            dw[k] = side * (3 * (a + 2) * d - 2 * (a + 3)) * d;
        } else {
            w[k] = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a;
            dw[k] = side * ((3 * a * d - 10 * a) * d + 8 * a);
        }
    }
}

// The taps of a block of points. An offset of -1 lies outside. slope[axis][tap] is the weight's derivative by the grid's coordinate; x is axis 0.
template <typename T> struct Taps {
    std::int32_t offset[MOST][BLOCK];
    T weight[MOST][BLOCK];
    T slope[3][MOST][BLOCK];

    void find(const Sampling& s, const T* grid, index_t count, bool slopes) {
        if (s.mode == CUBIC) {
            for (index_t p = 0; p < count; ++p) find_cubic(s, grid + p * s.n, p, slopes);
        } else {
            find_near(s, grid, count, slopes);
        }
    }

  private:
    // Along one dimension, for all points: low and high element (-1: outside), their weights, and the derivative of the second weight.
    struct Lines {
        std::int32_t at[2][BLOCK];
        T weight[2][BLOCK], slope[BLOCK];
    };
    Lines lines_[3];  // 0 is the last dimension
    // Along one dimension, for one point in cubic mode.
    struct Line {
        index_t at[4];
        T w[4], dw[4];
    };

    // A coordinate that is no number (or infinite) lies outside; an image, as PyTorch has it, then shows nan and not zero.
    template <Padding PADDING, bool ALIGN, bool NEAR> static void find_lines(index_t size, const T* grid, int n, index_t count, Lines& lines) {
        const std::int32_t limit = static_cast<std::int32_t>(size);
#pragma omp simd
        for (index_t p = 0; p < count; ++p) {
            const Place<T> place = inside(PADDING, ALIGN, pixels(ALIGN, grid[p * n], size), size);
            const bool good = countable(place.at);
            const T x = good ? place.at : T(-3), low = NEAR ? std::rint(x) : std::floor(x);
            const T part = NEAR ? T(0) : good ? x - low : n == 2 ? place.at - place.at : T(0);
            const std::int32_t at = static_cast<std::int32_t>(low);
            lines.at[0][p] = (at >= 0) & (at < limit) ? at : -1;
            lines.at[1][p] = (at >= -1) & (at + 1 < limit) ? at + 1 : -1;
            lines.weight[0][p] = 1 - part;
            lines.weight[1][p] = part;
            lines.slope[p] = NEAR ? T(0) : place.slope;
        }
    }
    template <Padding PADDING> static void choose(const Sampling& s, index_t size, const T* grid, index_t count, Lines& lines) {
        if (s.mode == NEAREST) {
            s.align ? find_lines<PADDING, true, true>(size, grid, s.n, count, lines) : find_lines<PADDING, false, true>(size, grid, s.n, count, lines);
        } else {
            s.align ? find_lines<PADDING, true, false>(size, grid, s.n, count, lines) : find_lines<PADDING, false, false>(size, grid, s.n, count, lines);
        }
    }

    void find_near(const Sampling& s, const T* grid, index_t count, bool slopes) {
        for (int axis = 0; axis < s.n; ++axis) {
            const index_t size = s.size[2 - axis];
            if (s.padding == ZEROS) {
                choose<ZEROS>(s, size, grid + axis, count, lines_[axis]);
            } else if (s.padding == BORDER) {
                choose<BORDER>(s, size, grid + axis, count, lines_[axis]);
            } else {
                choose<REFLECTION>(s, size, grid + axis, count, lines_[axis]);
            }
        }
        const std::int32_t height = static_cast<std::int32_t>(s.size[1]), width = static_cast<std::int32_t>(s.size[2]);
        for (int tap = 0; tap < s.taps(); ++tap) {
            const int kw = tap % 2, kh = tap / 2 % 2, kd = tap / 4;
            const std::int32_t *at_w = lines_[0].at[kw], *at_h = lines_[1].at[kh], *at_d = lines_[2].at[kd];
            const T *w = lines_[0].weight[kw], *h = lines_[1].weight[kh], *d = lines_[2].weight[kd];
            if (s.n == 2) {
#pragma omp simd
                for (index_t p = 0; p < count; ++p) {
                    offset[tap][p] = (at_w[p] | at_h[p]) < 0 ? -1 : at_h[p] * width + at_w[p];
                    weight[tap][p] = w[p] * h[p];
                }
            } else {
#pragma omp simd
                for (index_t p = 0; p < count; ++p) {
                    offset[tap][p] = (at_w[p] | at_h[p] | at_d[p]) < 0 ? -1 : (at_d[p] * height + at_h[p]) * width + at_w[p];
                    weight[tap][p] = w[p] * h[p] * d[p];
                }
            }
            if (!slopes) continue;
            const T sign_w = kw ? T(1) : T(-1), sign_h = kh ? T(1) : T(-1), sign_d = kd ? T(1) : T(-1);
            const T *sw = lines_[0].slope, *sh = lines_[1].slope, *sd = lines_[2].slope;
#pragma omp simd
            for (index_t p = 0; p < count; ++p) {
                slope[0][tap][p] = sign_w * sw[p] * h[p];
                slope[1][tap][p] = sign_h * sh[p] * w[p];
            }
            if (s.n == 2) continue;
#pragma omp simd
            for (index_t p = 0; p < count; ++p) {
                slope[0][tap][p] *= d[p];
                slope[1][tap][p] *= d[p];
                slope[2][tap][p] = sign_d * sd[p] * w[p] * h[p];
            }
        }
    }

    void find_cubic(const Sampling& s, const T* grid, index_t p, bool slopes) {
        Line lines[2];
        for (int axis = 0; axis < 2; ++axis) {
            const index_t size = s.size[2 - axis];
            const Place<T> place = pixels(s.align, grid[axis], size);
            Line& line = lines[axis];
            if (!countable(place.at)) {
                const T no = place.at - place.at;  // nan unless it is only far away
                line = {{-1, -1, -1, -1}, {no, no, no, no}, {no, no, no, no}};
                continue;
            }
            const T low = std::floor(place.at);
            cubic(place.at - low, line.w, line.dw);
            for (int k = 0; k < 4; ++k) {
                line.dw[k] *= place.slope;
                const T at = inside(s.padding, s.align, Place<T>{low + static_cast<T>(k - 1), T(1)}, size).at;
                line.at[k] = at < 0 || at > static_cast<T>(size - 1) ? -1 : static_cast<index_t>(at);
            }
        }
        combine(s, lines, p, slopes);
    }

    void combine(const Sampling& s, const Line* lines, index_t p, bool slopes) {
        for (int h = 0, tap = 0; h < 4; ++h) {
            for (int w = 0; w < 4; ++w, ++tap) {
                const index_t at_h = lines[1].at[h], at_w = lines[0].at[w];
                offset[tap][p] = at_h < 0 || at_w < 0 ? -1 : static_cast<std::int32_t>(at_h * s.size[2] + at_w);
                weight[tap][p] = lines[1].w[h] * lines[0].w[w];
                if (!slopes) continue;
                slope[0][tap][p] = lines[1].w[h] * lines[0].dw[w];
                slope[1][tap][p] = lines[1].dw[h] * lines[0].w[w];
            }
        }
    }
};

// to = the first four taps
template <typename T> void add_four(const Taps<T>& taps, const T* __restrict x, T* __restrict to, index_t count) {
    const auto value = [&](int tap, index_t p) {
        const std::int32_t at = taps.offset[tap][p];
        return taps.weight[tap][p] * (at < 0 ? T(0) : x[std::max(at, 0)]);
    };
#pragma omp simd
    for (index_t p = 0; p < count; ++p) to[p] = (value(0, p) + value(1, p)) + (value(2, p) + value(3, p));
}

template <typename T> void sample(const Sampling& s, const T* x, const T* grid, T* y) {
    const index_t blocks = (s.points + BLOCK - 1) / BLOCK;
    parallel_for(s.images * blocks, std::max<index_t>(1, 8192 / (BLOCK * s.taps() * (s.channels + 4)) + 1), [&](index_t begin, index_t end) {
        const auto taps = std::make_unique<Taps<T>>();
        for (index_t task = begin; task < end; ++task) {
            const index_t image = task / blocks, first = task % blocks * BLOCK, count = std::min(BLOCK, s.points - first);
            taps->find(s, grid + (image * s.points + first) * s.n, count, false);
            for (index_t c = 0; c < s.channels; ++c) {
                const T* __restrict from = x + (image * s.channels + c) * s.plane();
                T* __restrict to = y + (image * s.channels + c) * s.points + first;
                int t = 0;
                if (s.taps() >= 4) {
                    add_four(*taps, from, to, count);
                    t = 4;
                } else {
                    std::fill(to, to + count, T(0));
                }
                for (; t < s.taps(); ++t) {
                    const std::int32_t* at = taps->offset[t];
                    const T* w = taps->weight[t];
#pragma omp simd
                    for (index_t p = 0; p < count; ++p) to[p] += w[p] * (at[p] < 0 ? T(0) : from[std::max(at[p], 0)]);
                }
            }
        }
    });
}

// Every channel belongs to one thread, which adds its points' gradients in order.
template <typename T> void input_gradient(const Sampling& s, const T* g, const T* grid, T* dx) {
    const index_t parts = s.images >= thread_count() ? 1 : std::max<index_t>(1, std::min<index_t>(s.channels, thread_count()));
    const index_t part = (s.channels + parts - 1) / parts;
    const index_t grain = std::max<index_t>(1, 16384 / (s.points * s.taps() * part + 1));
    parallel_for(s.images * parts, grain, [&](index_t begin, index_t end) {
        const auto taps = std::make_unique<Taps<T>>();
        for (index_t task = begin; task < end; ++task) {
            const index_t image = task / parts, low = task % parts * part, high = std::min(s.channels, low + part);
            if (low >= high) continue;
            std::fill(dx + (image * s.channels + low) * s.plane(), dx + (image * s.channels + high) * s.plane(), T(0));
            for (index_t first = 0; first < s.points; first += BLOCK) {
                const index_t count = std::min(BLOCK, s.points - first);
                taps->find(s, grid + (image * s.points + first) * s.n, count, false);
                for (index_t c = low; c < high; ++c) {
                    T* to = dx + (image * s.channels + c) * s.plane();
                    const T* from = g + (image * s.channels + c) * s.points + first;
                    for (int t = 0; t < s.taps(); ++t) {
                        const std::int32_t* at = taps->offset[t];
                        const T* w = taps->weight[t];
                        for (index_t p = 0; p < count; ++p) {
                            if (at[p] >= 0) to[at[p]] += w[p] * from[p];
                        }
                    }
                }
            }
        }
    });
}

template <typename T> void grid_gradient(const Sampling& s, const T* g, const T* x, const T* grid, T* dgrid) {
    const index_t blocks = (s.points + BLOCK - 1) / BLOCK;
    parallel_for(s.images * blocks, std::max<index_t>(1, 8192 / (BLOCK * s.taps() * (s.channels + 4)) + 1), [&](index_t begin, index_t end) {
        const auto taps = std::make_unique<Taps<T>>();
        T seen[BLOCK], sums[3][BLOCK];
        for (index_t task = begin; task < end; ++task) {
            const index_t image = task / blocks, first = task % blocks * BLOCK, count = std::min(BLOCK, s.points - first);
            taps->find(s, grid + (image * s.points + first) * s.n, count, true);
            for (auto& sum : sums) std::fill(sum, sum + count, T(0));
            for (int t = 0; t < s.taps(); ++t) {
                const std::int32_t* at = taps->offset[t];
                std::fill(seen, seen + count, T(0));
                for (index_t c = 0; c < s.channels; ++c) {
                    const T* __restrict from = x + (image * s.channels + c) * s.plane();
                    const T* __restrict up = g + (image * s.channels + c) * s.points + first;
#pragma omp simd
                    for (index_t p = 0; p < count; ++p) seen[p] += at[p] < 0 ? T(0) : up[p] * from[std::max(at[p], 0)];
                }
                for (int axis = 0; axis < s.n; ++axis) {
                    const T* slope = taps->slope[axis][t];
#pragma omp simd
                    for (index_t p = 0; p < count; ++p) sums[axis][p] += slope[p] * seen[p];
                }
            }
            T* to = dgrid + (image * s.points + first) * s.n;
            for (index_t p = 0; p < count; ++p)
                for (int axis = 0; axis < s.n; ++axis) to[p * s.n + axis] = sums[axis][p];
        }
    });
}

// --- Python ------------------------------------------------------------------------------------------------------------------------------

// x (N, C, *size) and grid (N, *out, n) of one dtype, made contiguous (new references), and mode, padding, align.
struct Operands {
    PyArrayObject *x = nullptr, *grid = nullptr;
    int type = -1;
    Sampling s;

    ~Operands() {
        Py_XDECREF(x);
        Py_XDECREF(grid);
    }
    // False for what is not computed here, perhaps with an error set.
    [[nodiscard]] bool read(PyObject* const* args) {
        type = float_type(args[0]);
        if (type < 0 || float_type(args[1]) != type) return false;
        PyArrayObject *a = as_array(args[0]), *b = as_array(args[1]);
        s.n = PyArray_NDIM(a) - 2;
        if (s.n != 2 && s.n != 3) return false;
        const long mode = PyLong_AsLong(args[2]), padding = PyLong_AsLong(args[3]);
        const int align = flag(args[4]);
        if (PyErr_Occurred()) return false;
        bool good = PyArray_NDIM(b) == s.n + 2 && PyArray_DIM(a, 0) == PyArray_DIM(b, 0) && PyArray_DIM(b, s.n + 1) == s.n;
        good = good && mode >= 0 && mode <= (s.n == 2 ? 2 : 1) && padding >= 0 && padding <= 2;
        s.mode = static_cast<Mode>(mode);
        s.padding = static_cast<Padding>(padding);
        s.align = align != 0;
        s.images = PyArray_DIM(a, 0);
        s.channels = PyArray_DIM(a, 1);
        s.points = 1;
        for (int i = 0; good && i < s.n; ++i) {
            s.size[3 - s.n + i] = PyArray_DIM(a, 2 + i);
            s.points *= PyArray_DIM(b, 1 + i);
        }
        if (!good || s.plane() < 1 || s.plane() > std::numeric_limits<std::int32_t>::max()) return false;
        x = as_array(PyArray_FROM_OF(args[0], NPY_ARRAY_CARRAY_RO));
        grid = as_array(PyArray_FROM_OF(args[1], NPY_ARRAY_CARRAY_RO));
        return x != nullptr && grid != nullptr;
    }
};

// (x, grid, mode, padding, align): modes and paddings as numbers, see kernels/grid_sample.py
PyObject* grid_sample(PyObject* const* args, Py_ssize_t count) {
    Operands in;
    if (count != 5 || !in.read(args)) return nullptr;
    npy_intp shape[5] = {in.s.images, in.s.channels};
    for (int i = 0; i < in.s.n; ++i) shape[2 + i] = PyArray_DIM(in.grid, 1 + i);
    PyArrayObject* out = new_array(in.s.n + 2, shape, in.type);
    if (out != nullptr && PyArray_SIZE(out) != 0) {
        WithoutGil release;
        if (in.type == NPY_FLOAT) {
            sample(in.s, data_of<float>(in.x), data_of<float>(in.grid), data_of<float>(out));
        } else {
            sample(in.s, data_of<double>(in.x), data_of<double>(in.grid), data_of<double>(out));
        }
    }
    return reinterpret_cast<PyObject*>(out);
}

template <typename T> void compute_gradients(const Operands& in, PyArrayObject* g, PyArrayObject* dx, PyArrayObject* dgrid) {
    WithoutGil release;
    if (dx != nullptr && PyArray_SIZE(dx) != 0) input_gradient(in.s, data_of<T>(g), data_of<T>(in.grid), data_of<T>(dx));
    if (dgrid != nullptr && PyArray_SIZE(dgrid) != 0) grid_gradient(in.s, data_of<T>(g), data_of<T>(in.x), data_of<T>(in.grid), data_of<T>(dgrid));
}

// (g, x, grid, mode, padding, align, of_x, of_grid): both gradients, None for those not asked for
PyObject* grid_sample_gradients(PyObject* const* args, Py_ssize_t count) {
    Operands in;
    if (count != 8 || !in.read(args + 1)) return nullptr;
    const int need_x = flag(args[6]), need_grid = flag(args[7]);
    if (need_x < 0 || need_grid < 0) return nullptr;
    if (float_type(args[0]) != in.type || PyArray_NDIM(as_array(args[0])) != in.s.n + 2 ||
        PyArray_SIZE(as_array(args[0])) != in.s.images * in.s.channels * in.s.points) {
        return nullptr;
    }
    PyArrayObject* g = as_array(PyArray_FROM_OF(args[0], NPY_ARRAY_CARRAY_RO));
    PyArrayObject* dx = g != nullptr && need_x ? new_array(in.s.n + 2, PyArray_DIMS(in.x), in.type) : nullptr;
    PyArrayObject* dgrid = g != nullptr && need_grid ? new_array(in.s.n + 2, PyArray_DIMS(in.grid), in.type) : nullptr;
    PyObject* result = nullptr;
    if (g != nullptr && (dx != nullptr || !need_x) && (dgrid != nullptr || !need_grid)) {
        if (in.type == NPY_FLOAT) {
            compute_gradients<float>(in, g, dx, dgrid);
        } else {
            compute_gradients<double>(in, g, dx, dgrid);
        }
        result = Py_BuildValue("(OO)", need_x ? reinterpret_cast<PyObject*>(dx) : Py_None, need_grid ? reinterpret_cast<PyObject*>(dgrid) : Py_None);
    }
    Py_XDECREF(g);
    Py_XDECREF(dx);
    Py_XDECREF(dgrid);
    return result;
}

}  // namespace

extern const NativeFunction grid_sample_functions[] = {
    {"grid_sample", grid_sample}, {"grid_sample_gradients", grid_sample_gradients}, {nullptr, nullptr}};

}  // namespace rushlight
