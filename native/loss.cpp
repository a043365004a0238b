// Losses, forward and backward in one pass each. Cross entropy of logits (n, classes, positions) keeps one number per position (the log of the sum of
// exponentials) for the backward pass; losses of a prediction against a target of its shape are a value and a slope per element.
#include <algorithm>
#include <cmath>
#include <vector>

#include "function.h"
#include "pool.h"
#include "vmath.h"

namespace rushlight {
namespace {

constexpr index_t GRAIN = 4096, BLOCK = 1024, TILE = 128;

// exp(x) for x <= 0: one factor of 2^k is enough, and what would be denormal is zero.
RL_INLINE float exp_down(float x) {
    using F = vmath::Format<float>;
    const float y = x < -87.0f ? -87.0f : x, shifted = y * 1.44269504088896340736f + F::magic, k = shifted - F::magic;
    const float r = (y - k * F::ln2_high) - k * F::ln2_low;
    const float p = (1.0f + vmath::exp_less_one(r)) * vmath::power_of_two(shifted);
    return x < -87.0f ? 0.0f : x != x ? x : p;
}
RL_INLINE double exp_down(double x) { return vmath::exp(x); }

// log(1 + e) for 0 <= e <= 1
template <typename T> RL_INLINE T log_of_one_and(T e) {
    const bool large = e > T(0.414213562373095);
    const T f = large ? (e - T(1)) * T(0.5) : e, k = large ? T(0.693147180559945309417) : T(0);
    return vmath::log_one_plus(f) + k;
}

// --- cross entropy ----------------------------------------------------------------------------------------------------------------------

// What a call is about. The target holds classes, or (probabilities) a share for each class.
template <typename T> struct Entropy {
    index_t outer = 0, classes = 0, inner = 0;
    const T *logits = nullptr, *weight = nullptr, *shares = nullptr;
    const std::int64_t* target = nullptr;
    long long ignored = 0;
    double smoothing = 0, all_weight = 0;

    bool counts(index_t place) const { return target == nullptr || target[place] != ignored; }
    T weight_of(index_t c) const { return weight == nullptr ? T(1) : weight[c]; }
    T share(index_t at) const { return shares[at] * static_cast<T>(1 - smoothing) + static_cast<T>(smoothing / static_cast<double>(classes)); }
    template <typename F> void each_tile(F f) const {  // f(matrix, first position, how many)
        const index_t tiles = (inner + TILE - 1) / TILE;
        parallel_for(outer * tiles, GRAIN / (classes * std::min(inner, TILE) + 1) + 1, [&](index_t begin, index_t end) {
            for (index_t task = begin; task < end; ++task) {
                const index_t first = task % tiles * TILE;
                f(task / tiles, first, std::min(TILE, inner - first));
            }
        });
    }
};

// Of a row: the log of the sum of exponentials.
template <typename T> T log_sum(const T* a, index_t n) {
    T top = a[0];
    int bad = 0;
#pragma omp simd reduction(max : top) reduction(| : bad)
    for (index_t j = 0; j < n; ++j) {
        top = a[j] > top ? a[j] : top;
        bad |= a[j] != a[j];
    }
    if (bad) return vmath::nan_value<T>();
    double sum = 0;
    for (index_t first = 0; first < n; first += BLOCK) {
        const index_t last = std::min(n, first + BLOCK);
        T block = 0;
#pragma omp simd reduction(+ : block)
        for (index_t j = first; j < last; ++j) block += exp_down(a[j] - top);
        sum += static_cast<double>(block);
    }
    return top + static_cast<T>(std::log(sum));
}

// For columns of (classes, inner): the same, side by side.
template <typename T> void log_sums(const T* a, index_t n, index_t step, index_t width, T* out) {
    T top[TILE], sum[TILE];
    for (index_t j = 0; j < width; ++j) {
        top[j] = a[j];
        sum[j] = 0;
    }
    for (index_t c = 1; c < n; ++c) {
#pragma omp simd
        for (index_t j = 0; j < width; ++j) top[j] = (a[c * step + j] > top[j]) | (a[c * step + j] != a[c * step + j]) ? a[c * step + j] : top[j];
    }
    for (index_t c = 0; c < n; ++c) {
#pragma omp simd
        for (index_t j = 0; j < width; ++j) sum[j] += exp_down(a[c * step + j] - top[j]);
    }
#pragma omp simd
    for (index_t j = 0; j < width; ++j) out[j] = top[j] + vmath::log(sum[j]);
}

// The part of the loss that comes from all classes: the sum of weight * share * (log - logit) of probabilities, or of weight * (log - logit) for
// smoothed classes.
template <typename T> double spread(const Entropy<T>& e, index_t from, T log) {
    double sum = 0;
    const T keep = static_cast<T>(1 - e.smoothing), even = static_cast<T>(e.smoothing / static_cast<double>(e.classes));
    const T *a = e.logits + from, *q = e.shares == nullptr ? nullptr : e.shares + from, *w = e.weight;
    for (index_t first = 0; first < e.classes; first += BLOCK) {
        const index_t last = std::min(e.classes, first + BLOCK), step = e.inner;
        T block = 0;
        if (step == 1 && w == nullptr && q != nullptr) {
#pragma omp simd reduction(+ : block)
            for (index_t c = first; c < last; ++c) block += (q[c] * keep + even) * (log - a[c]);
        } else if (step == 1 && q == nullptr) {
#pragma omp simd reduction(+ : block)
            for (index_t c = first; c < last; ++c) block += (w == nullptr ? T(1) : w[c]) * (log - a[c]);
        } else {
            for (index_t c = first; c < last; ++c) block += e.weight_of(c) * (q == nullptr ? T(1) : q[c * step] * keep + even) * (log - a[c * step]);
        }
        sum += static_cast<double>(block);
    }
    return sum;
}

template <typename T> void entropy_forward(const Entropy<T>& e, T* losses, T* logs) {
    e.each_tile([&](index_t o, index_t first, index_t width) {
        const index_t matrix = o * e.classes * e.inner + first, places = o * e.inner + first;
        if (e.inner == 1) logs[places] = log_sum(e.logits + matrix, e.classes);
        else log_sums(e.logits + matrix, e.classes, e.inner, width, logs + places);
        for (index_t j = 0; j < width; ++j) {
            const index_t place = places + j;
            double loss = 0;
            if (!e.counts(place)) {
                losses[place] = 0;
                continue;
            }
            if (e.target != nullptr) {
                const index_t t = e.target[place];
                loss = (1 - e.smoothing) * static_cast<double>(e.weight_of(t) * (logs[place] - e.logits[matrix + t * e.inner + j]));
            }
            if (e.target == nullptr) loss = spread(e, matrix + j, logs[place]);
            else if (e.smoothing != 0) loss += e.smoothing / static_cast<double>(e.classes) * spread(e, matrix + j, logs[place]);
            losses[place] = static_cast<T>(loss);
        }
    });
}

// g times softmax * (what the shares add up to) - share, where the share is of the target, or spread over the classes
template <typename T> void entropy_backward(const Entropy<T>& e, const T* gs, double g, const T* logs, T* out) {
    const double even = e.smoothing / static_cast<double>(e.classes);
    e.each_tile([&](index_t o, index_t first, index_t width) {
        const index_t matrix = o * e.classes * e.inner + first, places = o * e.inner + first;
        T up[TILE], sharp[TILE], total[TILE], log[TILE];
        for (index_t j = 0; j < width; ++j) {
            const index_t place = places + j;
            up[j] = e.counts(place) ? gs == nullptr ? static_cast<T>(g) : gs[place] : T(0);
            log[j] = e.counts(place) ? logs[place] : T(0);
            double sum = 0;
            if (e.target == nullptr && e.inner == 1 && e.weight == nullptr) {
                for (index_t begin = 0; begin < e.classes; begin += BLOCK) {
                    const index_t end = std::min(e.classes, begin + BLOCK);
                    const T* q = e.shares + matrix;
                    T block = 0;
#pragma omp simd reduction(+ : block)
                    for (index_t c = begin; c < end; ++c) block += q[c];
                    sum += static_cast<double>(block);
                }
                sum = sum * (1 - e.smoothing) + e.smoothing;
                sharp[j] = 0;
            } else if (e.target == nullptr) {
                for (index_t c = 0; c < e.classes; ++c) sum += static_cast<double>(e.weight_of(c) * e.share(matrix + c * e.inner + j));
                sharp[j] = 0;
            } else {
                const double w = e.counts(place) ? (1 - e.smoothing) * static_cast<double>(e.weight_of(e.target[place])) : 0;
                sharp[j] = static_cast<T>(w);
                sum = w + even * e.all_weight;
            }
            total[j] = static_cast<T>(sum);
        }
        if (e.inner == 1) {
            const T* a = e.logits + matrix;
            T* r = out + matrix;
            const T factor = total[0] * up[0], shift = log[0];
            if (!e.counts(places)) {
                std::fill(r, r + e.classes, T(0));
                return;
            }
#pragma omp simd
            for (index_t c = 0; c < e.classes; ++c) r[c] = exp_down(a[c] - shift) * factor;
            if (e.target == nullptr) {
                const T *q = e.shares + matrix, *w = e.weight, keep = static_cast<T>(1 - e.smoothing), rest = static_cast<T>(even), g0 = up[0];
#pragma omp simd
                for (index_t c = 0; c < e.classes; ++c) r[c] -= (w == nullptr ? T(1) : w[c]) * (q[c] * keep + rest) * g0;
            } else {
                const T *w = e.weight, rest = static_cast<T>(even) * up[0];
                if (even != 0) {
#pragma omp simd
                    for (index_t c = 0; c < e.classes; ++c) r[c] -= rest * (w == nullptr ? T(1) : w[c]);
                }
                r[e.target[places]] -= sharp[0] * up[0];
            }
            return;
        }
        for (index_t c = 0; c < e.classes; ++c) {
            const T* a = e.logits + matrix + c * e.inner;
            T* r = out + matrix + c * e.inner;
            const T share = static_cast<T>(even) * e.weight_of(c);
#pragma omp simd
            for (index_t j = 0; j < width; ++j) {
                const T p = exp_down(a[j] - log[j]) * total[j] - share;
                r[j] = up[j] == T(0) ? T(0) : p * up[j];
            }
            if (e.target == nullptr) {
                for (index_t j = 0; j < width; ++j) r[j] -= (e.weight_of(c) * e.share(matrix + c * e.inner + j) - share) * up[j];
            }
        }
        if (e.target != nullptr) {
            for (index_t j = 0; j < width; ++j) {
                if (e.counts(places + j)) out[matrix + e.target[places + j] * e.inner + j] -= sharp[j] * up[j];
            }
        }
    });
}

// The operands of a call, (logits, target, weight or None, ignored class, smoothing); `good` is false where they are for NumPy.
template <typename T> struct Operands {
    static constexpr int type = sizeof(T) == 4 ? NPY_FLOAT : NPY_DOUBLE;
    Contiguous x, t, w;
    Entropy<T> e;
    bool good = false;

    explicit Operands(PyObject* const* args)
        : x(args[0], type), t(args[1], float_type(args[1]) == type ? type : NPY_INT64), w(args[2], type) {
        if (!x || !t || PyArray_NDIM(x.get()) < 2 || x.size() == 0 || (args[2] != Py_None && !w)) return;
        const npy_intp* shape = PyArray_DIMS(x.get());
        e.outer = shape[0];
        e.classes = shape[1];
        e.inner = x.size() / (shape[0] * shape[1]);
        e.logits = x.template data<T>();
        e.weight = w.template data<T>();
        e.ignored = PyLong_AsLongLong(args[3]);
        e.smoothing = PyFloat_AsDouble(args[4]);
        if (PyErr_Occurred() || (e.weight != nullptr && w.size() != e.classes)) return;
        const bool classes = PyArray_TYPE(t.get()) == NPY_INT64;
        if (t.size() != e.outer * e.inner * (classes ? 1 : e.classes)) return;
        if (classes) e.target = t.template data<std::int64_t>();
        else e.shares = t.template data<T>();
        for (index_t c = 0; c < e.classes; ++c) e.all_weight += static_cast<double>(e.weight_of(c));
        good = true;
    }
};

// -> (losses, logs, sum of the losses, sum of the weights of the targets that count)
template <typename T> PyObject* forward(PyObject* const* args) {
    Operands<T> o(args);
    if (!o.good) return nullptr;
    const Entropy<T>& e = o.e;
    const npy_intp places = e.outer * e.inner;
    double weights = 0;
    for (index_t i = 0; i < places && e.target != nullptr; ++i) {
        if (!e.counts(i)) continue;
        if (e.target[i] < 0 || e.target[i] >= e.classes) return PyErr_Format(PyExc_IndexError, "Target %lld is out of bounds.", static_cast<long long>(e.target[i]));
        weights += static_cast<double>(e.weight_of(e.target[i]));
    }
    const npy_intp shape[2] = {static_cast<npy_intp>(e.outer), static_cast<npy_intp>(e.inner)};
    PyArrayObject *losses = new_array(2, shape, o.type), *logs = new_array(2, shape, o.type);
    if (losses == nullptr || logs == nullptr) {
        Py_XDECREF(losses);
        Py_XDECREF(logs);
        return nullptr;
    }
    double sum = 0;
    {
        WithoutGil release(o.x.size() > GRAIN * 4);
        entropy_forward(e, data_of<T>(losses), data_of<T>(logs));
        for (index_t i = 0; i < places; ++i) sum += static_cast<double>(data_of<T>(losses)[i]);
    }
    return Py_BuildValue("NNdd", losses, logs, sum, e.target == nullptr ? static_cast<double>(places) : weights);
}

// What arrives from above: one per position, or a number (0-dim) times a factor.
template <typename T> struct Upstream {
    Contiguous each;
    double one = 0;
    bool good = false;

    Upstream(PyObject* g, PyObject* factor, index_t places) : each(is_number(g) ? Py_None : g, Operands<T>::type) {
        if (is_number(g)) one = PyFloat_AsDouble(g) * PyFloat_AsDouble(factor);
        good = PyErr_Occurred() == nullptr && (is_number(g) || (each && each.size() == places));
    }
    static bool is_number(PyObject* g) { return PyFloat_Check(g) || (PyArray_CheckExact(g) && PyArray_NDIM(as_array(g)) == 0); }
};

// (the same operands, logs, g: 0-dim, or one per position, factor of a 0-dim one) -> the gradient of the logits
template <typename T> PyObject* backward(PyObject* const* args) {
    Operands<T> o(args);
    Contiguous logs(args[5], o.type);
    if (!o.good || !logs || logs.size() != o.e.outer * o.e.inner) return nullptr;
    const Upstream<T> up(args[6], args[7], logs.size());
    if (!up.good) return nullptr;
    PyArrayObject* out = new_like(o.x.get());
    if (out == nullptr) return nullptr;
    WithoutGil release(o.x.size() > GRAIN * 4);
    entropy_backward(o.e, up.each.template data<T>(), up.one, logs.data<T>(), data_of<T>(out));
    return reinterpret_cast<PyObject*>(out);
}

PyObject* cross_entropy(PyObject* const* args, Py_ssize_t count) {
    const int type = count == 5 ? float_type(args[0]) : -1;
    return type == NPY_FLOAT ? forward<float>(args) : type == NPY_DOUBLE ? forward<double>(args) : nullptr;
}

PyObject* cross_entropy_backward(PyObject* const* args, Py_ssize_t count) {
    const int type = count == 8 ? float_type(args[0]) : -1;
    return type == NPY_FLOAT ? backward<float>(args) : type == NPY_DOUBLE ? backward<double>(args) : nullptr;
}

// Negative log likelihood: -weight[target] * x[target] of log-probabilities.
template <typename T> PyObject* nll_of(PyObject* const* args) {
    Operands<T> o(args);
    if (!o.good || o.e.target == nullptr) return nullptr;
    const Entropy<T>& e = o.e;
    const npy_intp shape[2] = {static_cast<npy_intp>(e.outer), static_cast<npy_intp>(e.inner)};
    PyArrayObject* losses = new_array(2, shape, o.type);
    if (losses == nullptr) return nullptr;
    double sum = 0, weights = 0;
    for (index_t i = 0; i < e.outer * e.inner; ++i) {
        T& loss = data_of<T>(losses)[i];
        loss = 0;
        if (!e.counts(i)) continue;
        const std::int64_t t = e.target[i];
        if (t < 0 || t >= e.classes) {
            Py_DECREF(losses);
            return PyErr_Format(PyExc_IndexError, "Target %lld is out of bounds.", static_cast<long long>(t));
        }
        loss = -e.weight_of(t) * e.logits[(i / e.inner * e.classes + t) * e.inner + i % e.inner];
        sum += static_cast<double>(loss);
        weights += static_cast<double>(e.weight_of(t));
    }
    return Py_BuildValue("Ndd", losses, sum, weights);
}

template <typename T> PyObject* nll_backward_of(PyObject* const* args) {
    Operands<T> o(args);
    if (!o.good || o.e.target == nullptr) return nullptr;
    const Upstream<T> up(args[5], args[6], o.t.size());
    if (!up.good) return nullptr;
    const Entropy<T>& e = o.e;
    PyArrayObject* out = as_array(PyArray_Zeros(PyArray_NDIM(o.x.get()), PyArray_DIMS(o.x.get()), PyArray_DescrFromType(o.type), 0));
    if (out == nullptr) return nullptr;
    for (index_t i = 0; i < e.outer * e.inner; ++i) {
        const std::int64_t t = e.target[i];
        if (e.counts(i)) data_of<T>(out)[(i / e.inner * e.classes + t) * e.inner + i % e.inner] = -e.weight_of(t) * (up.each ? up.each.template data<T>()[i] : static_cast<T>(up.one));
    }
    return reinterpret_cast<PyObject*>(out);
}

// (x, target, weight or None, ignored class, 0.0) -> (losses, their sum, sum of the weights of the targets that count)
PyObject* nll(PyObject* const* args, Py_ssize_t count) {
    const int type = count == 5 ? float_type(args[0]) : -1;
    return type == NPY_FLOAT ? nll_of<float>(args) : type == NPY_DOUBLE ? nll_of<double>(args) : nullptr;
}

// (the same operands, g, factor) -> the gradient of x
PyObject* nll_backward(PyObject* const* args, Py_ssize_t count) {
    const int type = count == 7 ? float_type(args[0]) : -1;
    return type == NPY_FLOAT ? nll_backward_of<float>(args) : type == NPY_DOUBLE ? nll_backward_of<double>(args) : nullptr;
}

// --- losses of pairs --------------------------------------------------------------------------------------------------------------------

// Each has the value of the loss of x against t, and its slope in x; p is its parameter.
struct Square {
    template <typename T> RL_INLINE static T value(T x, T t, T) { return (x - t) * (x - t); }
    template <typename T> RL_INLINE static T slope(T x, T t, T) { return T(2) * (x - t); }
};
struct Size {
    template <typename T> RL_INLINE static T value(T x, T t, T) { return std::fabs(x - t); }
    template <typename T> RL_INLINE static T slope(T x, T t, T) { return x != x || t != t ? T(0) : T(x > t) - T(x < t); }
};
struct SmoothSize {  // from |d| = p on it is a line
    template <typename T> RL_INLINE static T value(T x, T t, T p) {
        const T d = std::fabs(x - t);
        return d < p ? d * d * (T(0.5) / p) : d - T(0.5) * p;
    }
    template <typename T> RL_INLINE static T slope(T x, T t, T p) {
        const T d = x - t;
        return std::fabs(d) < p ? d * (T(1) / p) : d != d ? d : T(d > T(0)) - T(d < T(0));
    }
};
struct Huber {
    template <typename T> RL_INLINE static T value(T x, T t, T p) {
        const T d = std::fabs(x - t);
        return d <= p ? T(0.5) * d * d : (d - T(0.5) * p) * p;
    }
    template <typename T> RL_INLINE static T slope(T x, T t, T p) {
        const T d = x - t;
        return d > p ? p : d < -p ? -p : d;
    }
};
struct Logistic {  // of logits x against probabilities t
    template <typename T> RL_INLINE static T value(T x, T t, T) {
        const T size = std::fabs(x), low = (size - x) * T(0.5), rest = log_of_one_and(exp_down(-size));
        return (T(1) - t) * x + (size == vmath::infinity<T>() ? (x > T(0) ? T(0) : size) : low + rest);
    }
    template <typename T> RL_INLINE static T slope(T x, T t, T) {
        const T e = exp_down(-std::fabs(x));
        return (x < T(0) ? e : T(1)) / (T(1) + e) - t;
    }
};
struct Divergence {  // of log-probabilities x from probabilities t
    template <typename T> RL_INLINE static T value(T x, T t, T) { return (t == T(0) ? T(0) : t * vmath::log(t)) - t * x; }
    template <typename T> RL_INLINE static T slope(T, T t, T) { return -t; }
};
struct LogDivergence {  // from log-probabilities t
    template <typename T> RL_INLINE static T value(T x, T t, T) { return vmath::exp(t) * (t - x); }
    template <typename T> RL_INLINE static T slope(T, T t, T) { return -vmath::exp(t); }
};

template <typename F, typename T> void values(const T* x, const T* t, T p, T* out, index_t n) {
    parallel_for(n, GRAIN, [=](index_t begin, index_t end) {
        const T *a = x, *b = t, q = p;
#pragma omp simd
        for (index_t i = begin; i < end; ++i) out[i] = F::value(a[i], b[i], q);
    });
}

template <typename F, typename T> double sum_of(const T* x, const T* t, T p, index_t n) {
    const index_t blocks = (n + BLOCK - 1) / BLOCK;
    std::vector<double> sums(static_cast<std::size_t>(blocks));
    parallel_for(blocks, GRAIN / BLOCK, [&](index_t begin, index_t end) {
        for (index_t block = begin; block < end; ++block) {
            const T *a = x + block * BLOCK, *b = t + block * BLOCK, q = p;
            const index_t count = std::min(BLOCK, n - block * BLOCK);
            T values[BLOCK], sum = 0;
#pragma omp simd
            for (index_t i = 0; i < count; ++i) values[i] = F::value(a[i], b[i], q);
#pragma omp simd reduction(+ : sum)
            for (index_t i = 0; i < count; ++i) sum += values[i];
            sums[block] = static_cast<double>(sum);
        }
    });
    double sum = 0;
    for (double each : sums) sum += each;
    return sum;
}

template <typename F, typename T> void slopes(const T* g, bool one, const T* x, const T* t, T p, T* out, index_t n) {
    const T only = *g;
    parallel_for(n, GRAIN, [=](index_t begin, index_t end) {
        const T *a = x, *b = t, q = p, factor = only;
        T* r = out;
        if (one) {
#pragma omp simd
            for (index_t i = begin; i < end; ++i) r[i] = factor * F::slope(a[i], b[i], q);
        } else {
            const T* up = g;
#pragma omp simd
            for (index_t i = begin; i < end; ++i) r[i] = up[i] * F::slope(a[i], b[i], q);
        }
    });
}

template <typename T> struct Pair {
    const char* name;
    void (*values)(const T*, const T*, T, T*, index_t);
    double (*sum)(const T*, const T*, T, index_t);
    void (*slopes)(const T*, bool, const T*, const T*, T, T*, index_t);
};
template <typename F, typename T> constexpr Pair<T> pair(const char* name) { return {name, values<F, T>, sum_of<F, T>, slopes<F, T>}; }
template <typename T> constexpr Pair<T> pairs[] = {
    pair<Square, T>("mse"),   pair<Size, T>("l1"),          pair<SmoothSize, T>("smooth_l1"), pair<Huber, T>("huber"), pair<Logistic, T>("logistic"),
    pair<Divergence, T>("kl"), pair<LogDivergence, T>("kl_log")};

template <typename T> const Pair<T>* find_pair(PyObject* name) {
    if (!PyUnicode_Check(name)) return nullptr;
    for (const Pair<T>& each : pairs<T>) {
        if (PyUnicode_CompareWithASCIIString(name, each.name) == 0) return &each;
    }
    return nullptr;
}

// (name, x, t, parameter, None or what the sum is multiplied by) -> the elements, or their sum
template <typename T> PyObject* pair_loss_of(PyObject* const* args) {
    constexpr int type = sizeof(T) == 4 ? NPY_FLOAT : NPY_DOUBLE;
    const Pair<T>* loss = find_pair<T>(args[0]);
    Contiguous x(args[1], type), t(args[2], type);
    if (loss == nullptr || !x || !t || !same_shape(x.get(), t.get())) return nullptr;
    const double p = PyFloat_AsDouble(args[3]), factor = args[4] == Py_None ? 0 : PyFloat_AsDouble(args[4]);
    if (PyErr_Occurred()) return nullptr;
    const index_t n = x.size();
    if (args[4] == Py_None) {
        PyArrayObject* out = new_like(x.get());
        if (out == nullptr) return nullptr;
        WithoutGil release(n > GRAIN);
        loss->values(x.data<T>(), t.data<T>(), static_cast<T>(p), data_of<T>(out), n);
        return reinterpret_cast<PyObject*>(out);
    }
    PyArrayObject* out = new_array(0, nullptr, type);
    if (out == nullptr) return nullptr;
    WithoutGil release(n > GRAIN);
    *data_of<T>(out) = static_cast<T>(loss->sum(x.data<T>(), t.data<T>(), static_cast<T>(p), n) * factor);
    return reinterpret_cast<PyObject*>(out);
}

PyObject* pair_loss(PyObject* const* args, Py_ssize_t count) {
    const int type = count == 5 ? float_type(args[1]) : -1;
    return type == NPY_FLOAT ? pair_loss_of<float>(args) : type == NPY_DOUBLE ? pair_loss_of<double>(args) : nullptr;
}

// (name, g: 0-dim or of x's shape, x, t, parameter) -> g * slope
template <typename T> PyObject* pair_slope_of(PyObject* const* args) {
    constexpr int type = sizeof(T) == 4 ? NPY_FLOAT : NPY_DOUBLE;
    const Pair<T>* loss = find_pair<T>(args[0]);
    Contiguous g(args[1], type), x(args[2], type), t(args[3], type);
    if (loss == nullptr || !g || !x || !t || !same_shape(x.get(), t.get()) || (PyArray_NDIM(g.get()) != 0 && !same_shape(g.get(), x.get()))) return nullptr;
    const double p = PyFloat_AsDouble(args[4]);
    if (PyErr_Occurred()) return nullptr;
    PyArrayObject* out = new_like(x.get());
    if (out == nullptr || x.size() == 0) return reinterpret_cast<PyObject*>(out);
    WithoutGil release(x.size() > GRAIN);
    loss->slopes(g.data<T>(), PyArray_NDIM(g.get()) == 0, x.data<T>(), t.data<T>(), static_cast<T>(p), data_of<T>(out), x.size());
    return reinterpret_cast<PyObject*>(out);
}

PyObject* pair_slope(PyObject* const* args, Py_ssize_t count) {
    const int type = count == 5 ? float_type(args[2]) : -1;
    return type == NPY_FLOAT ? pair_slope_of<float>(args) : type == NPY_DOUBLE ? pair_slope_of<double>(args) : nullptr;
}

}  // namespace

extern const NativeFunction loss_functions[] = {{"entropy", cross_entropy}, {"entropy_backward", cross_entropy_backward},
                                                {"nll", nll},                     {"nll_backward", nll_backward},
                                                {"pair_loss", pair_loss},         {"pair_slope", pair_slope},
                                                {nullptr, nullptr}};

}  // namespace rushlight
