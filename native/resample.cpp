// Resizing planes (N, C, *spatial): along every dimension a result is a weighted sum of a few picked elements. Interpolation of all modes, adaptive
// averages, and the gradients of both are such tables (kernels/resample.py). Rows are added up first, whole, then their elements are picked.
#include <cmath>
#include <vector>

#include "arguments.h"
#include "function.h"
#include "pool.h"

namespace rushlight {
namespace {

// One dimension: result i is the sum over t < taps of weight[t * out + i] * x[index[t * out + i]]; an index below zero adds nothing.
template <typename T> struct Axis {
    index_t in = 1, out = 1, taps = 0;  // taps 0: the dimension stays as it is
    const std::int32_t* index = nullptr;
    const T* weight = nullptr;  // nullptr: all ones
    bool holes = false;

    bool same(index_t i, index_t j) const { return taps == 0 ? i == j : taps == 1 && weight == nullptr && index[i] == index[j]; }
    index_t at(index_t i, index_t tap) const { return taps == 0 ? i : index[tap * out + i]; }
    T factor(index_t i, index_t tap) const { return weight == nullptr ? T(1) : weight[tap * out + i]; }
    index_t count() const { return std::max<index_t>(1, taps); }
    bool picks() const { return taps == 0 || (taps == 1 && weight == nullptr && !holes); }  // elements as they are
};

template <typename T> struct Source {
    const T* row;
    T weight;
};

// to = the weighted sum of rows
template <typename T> void add_rows(const std::vector<Source<T>>& sources, T* __restrict to, index_t n) {
    std::size_t i = 0;
    if (sources.size() % 2 == 1) {
        const T *a = sources[0].row, wa = sources[0].weight;
#pragma omp simd
        for (index_t j = 0; j < n; ++j) to[j] = wa * a[j];
        i = 1;
    } else if (sources.empty()) {
        std::fill(to, to + n, T(0));
    }
    for (; i < sources.size(); i += 2) {
        const T *a = sources[i].row, *b = sources[i + 1].row, wa = sources[i].weight, wb = sources[i + 1].weight;
        if (i == 0) {
#pragma omp simd
            for (index_t j = 0; j < n; ++j) to[j] = wa * a[j] + wb * b[j];
        } else {
#pragma omp simd
            for (index_t j = 0; j < n; ++j) to[j] += wa * a[j] + wb * b[j];
        }
    }
}

// One row's elements picked and added up.
template <typename T> void pick(const Axis<T>& axis, const T* __restrict x, T* __restrict to) {
    const index_t n = axis.out;
    const std::int32_t* index = axis.index;
    const T* weight = axis.weight;
    if (axis.holes) {
        std::fill(to, to + n, T(0));
        for (index_t t = 0; t < axis.taps; ++t, index += n) {
            const T* w = weight == nullptr ? nullptr : weight + t * n;
            if (weight == nullptr) {
#pragma omp simd
                for (index_t j = 0; j < n; ++j) to[j] += index[j] < 0 ? T(0) : x[std::max(index[j], 0)];
            } else {
#pragma omp simd
                for (index_t j = 0; j < n; ++j) to[j] += index[j] < 0 ? T(0) : w[j] * x[std::max(index[j], 0)];
            }
        }
    } else if (weight == nullptr && axis.taps == 1) {
#pragma omp simd
        for (index_t j = 0; j < n; ++j) to[j] = x[index[j]];
    } else if (weight != nullptr && axis.taps == 2) {
#pragma omp simd
        for (index_t j = 0; j < n; ++j) to[j] = weight[j] * x[index[j]] + weight[n + j] * x[index[n + j]];
    } else if (weight != nullptr && axis.taps == 4) {
#pragma omp simd
        for (index_t j = 0; j < n; ++j) {
            to[j] = (weight[j] * x[index[j]] + weight[n + j] * x[index[n + j]]) +
                    (weight[2 * n + j] * x[index[2 * n + j]] + weight[3 * n + j] * x[index[3 * n + j]]);
        }
    } else {
        std::fill(to, to + n, T(0));
        for (index_t t = 0; t < axis.taps; ++t, index += n) {
            if (weight == nullptr) {
#pragma omp simd
                for (index_t j = 0; j < n; ++j) to[j] += x[index[j]];
            } else {
                const T* w = weight + t * n;
#pragma omp simd
                for (index_t j = 0; j < n; ++j) to[j] += w[j] * x[index[j]];
            }
        }
    }
}

template <typename T> void resample_planes(index_t planes, const Axis<T> (&axes)[3], const T* x, T* y) {
    const Axis<T>&depth = axes[0], &height = axes[1], &width = axes[2];
    const index_t rows = depth.out * height.out, work = width.in * depth.count() * height.count() + width.out * width.count() * 2;
    parallel_for(planes * rows, std::max<index_t>(1, 32768 / (work + 1)), [&](index_t begin, index_t end) {
        std::vector<T> sum(static_cast<std::size_t>(width.in));
        std::vector<Source<T>> sources;
        for (index_t r = begin; r < end; ++r) {
            const index_t plane = r / rows, d = r % rows / height.out, h = r % height.out;
            const T* from = x + plane * depth.in * height.in * width.in;
            T* to = y + r * width.out;
            if (r > begin && h > 0 && height.same(h - 1, h)) {
                std::copy(to - width.out, to, to);
                continue;
            }
            sources.clear();
            for (index_t a = 0; a < depth.count(); ++a) {
                for (index_t b = 0; b < height.count(); ++b) {
                    const index_t at_d = depth.at(d, a), at_h = height.at(h, b);
                    if (at_d >= 0 && at_h >= 0) sources.push_back({from + (at_d * height.in + at_h) * width.in, depth.factor(d, a) * height.factor(h, b)});
                }
            }
            const T* row = sum.data();
            if (depth.picks() && height.picks()) {
                row = sources[0].row;
            } else {
                add_rows(sources, width.taps == 0 ? to : sum.data(), width.in);
                if (width.taps == 0) continue;
            }
            if (width.taps == 0) {
                std::copy(row, row + width.in, to);
            } else {
                pick(width, row, to);
            }
        }
    });
}

// --- Python ------------------------------------------------------------------------------------------------------------------------------

// None or an object with `index` and `weight` (or None); the arrays stay the caller's.
template <typename T> [[nodiscard]] bool read_axis(PyObject* table, int type, index_t in, Axis<T>* axis) {
    axis->in = axis->out = in;
    if (table == Py_None) return true;
    PyObject *index = PyObject_GetAttrString(table, "index"), *weight = index == nullptr ? nullptr : PyObject_GetAttrString(table, "weight");
    Py_XDECREF(index);  // the table holds them
    Py_XDECREF(weight);
    if (weight == nullptr) return false;
    const bool good = PyArray_Check(index) && PyArray_TYPE(as_array(index)) == NPY_INT32 && PyArray_NDIM(as_array(index)) == 2 &&
                      contiguous(as_array(index)) && PyArray_DIM(as_array(index), 0) > 0;
    const bool weighs = weight != Py_None;
    if (!good || (weighs && (!PyArray_Check(weight) || PyArray_TYPE(as_array(weight)) != type || !contiguous(as_array(weight)) ||
                             !same_shape(as_array(weight), as_array(index))))) {
        PyErr_SetString(PyExc_ValueError, "a table is (int32 (taps, out), weights of the input's dtype or None), both contiguous");
        return false;
    }
    axis->taps = PyArray_DIM(as_array(index), 0);
    axis->out = PyArray_DIM(as_array(index), 1);
    axis->index = data_of<std::int32_t>(as_array(index));
    axis->weight = weighs ? data_of<T>(as_array(weight)) : nullptr;
    std::int32_t low = 0, high = -1;
    for (index_t i = 0; i < axis->taps * axis->out; ++i) {
        low = std::min(low, axis->index[i]);
        high = std::max(high, axis->index[i]);
    }
    axis->holes = low < 0;
    if (high >= in) {
        PyErr_SetString(PyExc_ValueError, "a table picks an element outside of the input");
        return false;
    }
    return true;
}

template <typename T> PyObject* resample_as(PyArrayObject* x, PyObject* tables) {
    const int n = PyArray_NDIM(x) - 2;
    Axis<T> axes[3];
    npy_intp shape[5] = {PyArray_DIM(x, 0), PyArray_DIM(x, 1)};
    for (int i = 0; i < n; ++i) {
        Axis<T>& axis = axes[3 - n + i];
        if (!read_axis(PyTuple_GET_ITEM(tables, i), PyArray_TYPE(x), PyArray_DIM(x, 2 + i), &axis)) return nullptr;
        shape[2 + i] = axis.out;
    }
    PyArrayObject* out = new_array(n + 2, shape, PyArray_TYPE(x));
    if (out != nullptr && PyArray_SIZE(out) != 0) {
        WithoutGil release(PyArray_SIZE(out) > 20000);
        resample_planes(shape[0] * shape[1], axes, data_of<T>(x), data_of<T>(out));
    }
    return reinterpret_cast<PyObject*>(out);
}

PyObject* resample(PyObject* const* args, Py_ssize_t count) {
    if (count != 2) return nullptr;
    const int type = PyArray_CheckExact(args[0]) ? PyArray_TYPE(as_array(args[0])) : -1, ndim = type < 0 ? 0 : PyArray_NDIM(as_array(args[0]));
    if ((type != NPY_FLOAT && type != NPY_DOUBLE) || ndim < 3 || ndim > 5 || !PyTuple_Check(args[1]) || PyTuple_GET_SIZE(args[1]) != ndim - 2) {
        return nullptr;
    }
    PyArrayObject* x = as_array(PyArray_FROM_OF(args[0], NPY_ARRAY_CARRAY_RO));
    if (x == nullptr) return nullptr;
    PyObject* out = type == NPY_FLOAT ? resample_as<float>(x, args[1]) : resample_as<double>(x, args[1]);
    Py_DECREF(x);
    return out;
}

}  // namespace

extern const NativeFunction resample_functions[] = {
    {"resample", resample},
    {nullptr, nullptr},
};

}  // namespace rushlight
