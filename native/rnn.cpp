// The loops over time of LSTM, GRU and RNN layers. A thread takes some sequences of the batch through all steps, so that threads never wait for
// each other; the recurrent weight is packed once, and a step is one small product per block of units and what follows it in registers.
// Layouts and names are those of kernels/rnn.py: packed sequences, gates in the order o, i, f, g (LSTM) and r, z, n (GRU).
#include "arguments.h"
#include "pool.h"
#include "tile.h"
#include "vmath.h"

namespace rushlight {
namespace {

enum Mode { LSTM = 0, GRU = 1, RNN_TANH = 2, RNN_RELU = 3 };
constexpr int GATES[] = {4, 3, 1, 1};

template <typename T> struct Layer {
    const std::int64_t* steps;  // (first row, one past the last) of each, in order of processing
    index_t count, units, batch;
    const T* w;  // (gates * units, units)
    const T *h0, *c0;
    T *gates, *y;      // (N, gates * units), (N, units)
    T *c, *flat;       // LSTM: the cells and their tanh
    T* hidden;         // GRU: W_hn h + b_hn
    const T* b_hn;     // GRU: or null

    index_t first(index_t step) const { return steps[2 * step]; }
    index_t rows(index_t step) const { return steps[2 * step + 1] - steps[2 * step]; }
    // What sequence r had before a step: its row of the step before, or the initial state.
    const T* before(const T* values, const T* start, index_t step, index_t r) const {
        return step > 0 && r < rows(step - 1) ? values + (first(step - 1) + r) * units : start + r * units;
    }
};

// Blocks of COLUMNS units; a tail is filled up with zeros.
template <typename T> index_t blocks_of(index_t units) { return (units + COLUMNS<T> - 1) / COLUMNS<T>; }

// The right side of h W': a panel of depth `units` for every block of units and gate.
template <typename T> void pack_forward(const Layer<T>& layer, int gates, T* to) {
    const index_t units = layer.units;
    for (index_t block = 0; block < blocks_of<T>(units); ++block) {
        for (int gate = 0; gate < gates; ++gate) {
            for (int half = 0; half < 2; ++half) {
                const index_t unit = block * COLUMNS<T> + half * LANES<T>;
                const int n = static_cast<int>(std::max<index_t>(0, std::min<index_t>(LANES<T>, units - unit)));
                const T* lines[LANES<T>];
                for (int r = 0; r < LANES<T>; ++r) lines[r] = layer.w + (gate * units + (r < n ? unit + r : 0)) * units;
                transpose_rows<T>(to + half * LANES<T>, COLUMNS<T>, lines, n, units, true);
            }
            to += units * COLUMNS<T>;
        }
    }
}

// The right side of dz W: a panel of depth gates * units for every block of units.
template <typename T> void pack_backward(const Layer<T>& layer, int gates, T* to) {
    const index_t units = layer.units;
    for (index_t block = 0; block < blocks_of<T>(units); ++block) {
        const index_t unit = block * COLUMNS<T>, n = std::min<index_t>(COLUMNS<T>, units - unit);
        for (index_t k = 0; k < gates * units; ++k, to += COLUMNS<T>) {
            std::copy(layer.w + k * units + unit, layer.w + k * units + unit + n, to);
            std::fill(to + n, to + COLUMNS<T>, T(0));
        }
    }
}

// One row's block of units: z are the products h W' of each gate, COLUMNS * ROWS apart.
template <typename T> void lstm_row(const Layer<T>& layer, index_t row, const T* before, index_t unit, index_t n, const T* z) {
    constexpr index_t NEXT = COLUMNS<T> * ROWS;
    const index_t units = layer.units;
    T *o = layer.gates + row * 4 * units + unit, *i = o + units, *f = i + units, *g = f + units;
    T *c = layer.c + row * units + unit, *flat = layer.flat + row * units + unit, *y = layer.y + row * units + unit;
    before += unit;
#pragma omp simd
    for (index_t j = 0; j < n; ++j) {
        o[j] = vmath::sigmoid(o[j] + z[j]);
        i[j] = vmath::sigmoid(i[j] + z[j + NEXT]);
        f[j] = vmath::sigmoid(f[j] + z[j + 2 * NEXT]);
        g[j] = vmath::tanh(g[j] + z[j + 3 * NEXT]);
        c[j] = f[j] * before[j] + i[j] * g[j];
        flat[j] = vmath::tanh(c[j]);
        y[j] = o[j] * flat[j];
    }
}

template <typename T> void gru_row(const Layer<T>& layer, index_t row, const T* before, index_t unit, index_t n, const T* part) {
    constexpr index_t NEXT = COLUMNS<T> * ROWS;
    const index_t units = layer.units;
    T *r = layer.gates + row * 3 * units + unit, *z = r + units, *g = z + units;
    T *h = layer.hidden + row * units + unit, *y = layer.y + row * units + unit;
    const T* bias = layer.b_hn == nullptr ? nullptr : layer.b_hn + unit;
    before += unit;
#pragma omp simd
    for (index_t j = 0; j < n; ++j) h[j] = part[j + 2 * NEXT] + (bias == nullptr ? T(0) : bias[j]);
#pragma omp simd
    for (index_t j = 0; j < n; ++j) {
        r[j] = vmath::sigmoid(r[j] + part[j]);
        z[j] = vmath::sigmoid(z[j] + part[j + NEXT]);
        g[j] = vmath::tanh(g[j] + r[j] * h[j]);
        y[j] = g[j] + z[j] * (before[j] - g[j]);
    }
}

template <typename T> void rnn_row(const Layer<T>& layer, index_t row, index_t unit, index_t n, const T* z, bool relu) {
    T* y = layer.y + row * layer.units + unit;
    if (relu) {
#pragma omp simd
        for (index_t j = 0; j < n; ++j) {
            const T x = y[j] + z[j];
            y[j] = x > T(0) ? x : x != x ? x : T(0);
        }
    } else {
#pragma omp simd
        for (index_t j = 0; j < n; ++j) y[j] = vmath::tanh(y[j] + z[j]);
    }
}

// Sequences [begin, end) through all steps.
template <typename T, int MODE> void forward_rows(const Layer<T>& layer, const T* right, index_t begin, index_t end) {
    constexpr int gates = GATES[MODE];
    const index_t units = layer.units, panel_size = units * COLUMNS<T>;
    Scratch memory;
    T* left = memory.get<T>((end - begin) * units + 2 * LANES<T>);
    alignas(64) T z[gates * ROWS * COLUMNS<T>];
    for (index_t step = 0; step < layer.count; ++step) {
        const index_t last = std::min(end, layer.rows(step)), n = last - begin;
        if (n <= 0) continue;
        const int panel = panel_rows(n);
        for (index_t r = begin; r < last; r += panel) {
            const int m = static_cast<int>(std::min<index_t>(panel, last - r));
            transpose_panel<T>(left + (r - begin) * units, m, m, units, [&](int i) { return layer.before(layer.y, layer.h0, step, r + i); });
        }
        for (index_t block = 0; block < blocks_of<T>(units); ++block) {
            const index_t unit = block * COLUMNS<T>, width = std::min<index_t>(COLUMNS<T>, units - unit);
            for (index_t r = begin; r < last; r += panel) {
                const int m = static_cast<int>(std::min<index_t>(panel, last - r));
                for (int gate = 0; gate < gates; ++gate) {
                    tile_for<T>(m)(units, left + (r - begin) * units, right + (block * gates + gate) * panel_size, z + gate * ROWS * COLUMNS<T>,
                                   COLUMNS<T>, nullptr, false);
                }
                for (int i = 0; i < m; ++i) {
                    const index_t row = layer.first(step) + r + i;
                    const T* part = z + i * COLUMNS<T>;
                    if (MODE == LSTM) {
                        lstm_row(layer, row, layer.before(layer.c, layer.c0, step, r + i), unit, width, part);
                    } else if (MODE == GRU) {
                        gru_row(layer, row, layer.before(layer.y, layer.h0, step, r + i), unit, width, part);
                    } else {
                        rnn_row(layer, row, unit, width, part, MODE == RNN_RELU);
                    }
                }
            }
        }
    }
}

// The gradients that flow back: of y (or null), and carried from step to step; results: of the gates' sums, and GRU's of n's input part.
template <typename T> struct Backward {
    const T* gy;
    T *carry, *carry_c, *dz, *dn;
};

template <typename T> void lstm_back(const Layer<T>& layer, const Backward<T>& back, index_t step, index_t r) {
    const index_t units = layer.units, row = layer.first(step) + r;
    const T *o = layer.gates + row * 4 * units, *i = o + units, *f = i + units, *g = f + units, *flat = layer.flat + row * units;
    const T *before = layer.before(layer.c, layer.c0, step, r), *gy = back.gy == nullptr ? nullptr : back.gy + row * units;
    T *dh = back.carry + r * units, *dc = back.carry_c + r * units;
    T *d_o = back.dz + row * 4 * units, *d_i = d_o + units, *d_f = d_i + units, *d_g = d_f + units;
    if (gy != nullptr) {
#pragma omp simd
        for (index_t j = 0; j < units; ++j) dh[j] += gy[j];
    }
#pragma omp simd
    for (index_t j = 0; j < units; ++j) {
        const T d = dc[j] + dh[j] * o[j] * (T(1) - flat[j] * flat[j]);
        d_o[j] = dh[j] * flat[j] * o[j] * (T(1) - o[j]);
        d_i[j] = d * g[j] * i[j] * (T(1) - i[j]);
        d_f[j] = d * before[j] * f[j] * (T(1) - f[j]);
        d_g[j] = d * i[j] * (T(1) - g[j] * g[j]);
        dc[j] = d * f[j];
    }
}

template <typename T> void gru_back(const Layer<T>& layer, const Backward<T>& back, index_t step, index_t r_) {
    const index_t units = layer.units, row = layer.first(step) + r_;
    const T *r = layer.gates + row * 3 * units, *z = r + units, *n = z + units, *hidden = layer.hidden + row * units;
    const T *before = layer.before(layer.y, layer.h0, step, r_), *gy = back.gy == nullptr ? nullptr : back.gy + row * units;
    T *dh = back.carry + r_ * units, *dn = back.dn + row * units, *d_r = back.dz + row * 3 * units, *d_z = d_r + units, *d_h = d_z + units;
    if (gy != nullptr) {
#pragma omp simd
        for (index_t j = 0; j < units; ++j) dh[j] += gy[j];
    }
#pragma omp simd
    for (index_t j = 0; j < units; ++j) {
        const T d = dh[j] * (T(1) - z[j]) * (T(1) - n[j] * n[j]);
        dn[j] = d;
        d_r[j] = d * hidden[j] * r[j] * (T(1) - r[j]);
        d_z[j] = dh[j] * (before[j] - n[j]) * z[j] * (T(1) - z[j]);
        d_h[j] = d * r[j];
        dh[j] *= z[j];
    }
}

template <typename T> void rnn_back(const Layer<T>& layer, const Backward<T>& back, index_t step, index_t r, bool relu) {
    const index_t units = layer.units, row = layer.first(step) + r;
    const T *y = layer.y + row * units, *gy = back.gy == nullptr ? nullptr : back.gy + row * units, *dh = back.carry + r * units;
    T* dz = back.dz + row * units;
#pragma omp simd
    for (index_t j = 0; j < units; ++j) {
        const T g = dh[j] + (gy == nullptr ? T(0) : gy[j]);
        dz[j] = relu ? (y[j] > T(0) ? g : g * T(0)) : g * (T(1) - y[j] * y[j]);
    }
}

template <typename T, int MODE> void backward_rows(const Layer<T>& layer, const Backward<T>& back, const T* right, index_t begin, index_t end) {
    constexpr int gates = GATES[MODE];
    const index_t units = layer.units, depth = gates * units;
    Scratch memory;
    T* left = memory.get<T>((end - begin) * depth + 2 * LANES<T>);
    alignas(64) T z[ROWS * COLUMNS<T>];
    for (index_t step = layer.count - 1; step >= 0; --step) {
        const index_t last = std::min(end, layer.rows(step)), n = last - begin;
        if (n <= 0) continue;
        for (index_t r = begin; r < last; ++r) {
            if (MODE == LSTM) {
                lstm_back(layer, back, step, r);
            } else if (MODE == GRU) {
                gru_back(layer, back, step, r);
            } else {
                rnn_back(layer, back, step, r, MODE == RNN_RELU);
            }
        }
        const int panel = panel_rows(n);
        for (index_t r = begin; r < last; r += panel) {
            const int m = static_cast<int>(std::min<index_t>(panel, last - r));
            transpose_panel<T>(left + (r - begin) * depth, m, m, depth, [&](int i) { return back.dz + (layer.first(step) + r + i) * depth; });
        }
        for (index_t block = 0; block < blocks_of<T>(units); ++block) {
            const index_t unit = block * COLUMNS<T>, width = std::min<index_t>(COLUMNS<T>, units - unit);
            for (index_t r = begin; r < last; r += panel) {
                const int m = static_cast<int>(std::min<index_t>(panel, last - r));
                tile_for<T>(m)(depth, left + (r - begin) * depth, right + block * depth * COLUMNS<T>, z, COLUMNS<T>, nullptr, false);
                for (int i = 0; i < m; ++i) {
                    T* dh = back.carry + (r + i) * units + unit;
                    for (index_t j = 0; j < width; ++j) dh[j] = z[i * COLUMNS<T> + j] + (MODE == GRU ? dh[j] : T(0));
                }
            }
        }
    }
}

// Sequences are shared out in parts of at least four: fewer would read the weight from memory more often than it is worth.
template <typename F> void share_out(index_t batch, F f) {
    const index_t parts = std::max<index_t>(1, std::min<index_t>(thread_count(), batch / 4)), part = (batch + parts - 1) / parts;
    parallel_for(parts, 1, [&](index_t begin, index_t end) {
        for (index_t i = begin; i < end; ++i) f(i * part, std::min(batch, (i + 1) * part));
    });
}

template <typename T, int MODE> void run_forward(const Layer<T>& layer, T* right) {
    pack_forward(layer, GATES[MODE], right);
    share_out(layer.batch, [&](index_t begin, index_t end) { forward_rows<T, MODE>(layer, right, begin, end); });
}

template <typename T, int MODE> void run_backward(const Layer<T>& layer, const Backward<T>& back, T* right) {
    pack_backward(layer, GATES[MODE], right);
    share_out(layer.batch, [&](index_t begin, index_t end) { backward_rows<T, MODE>(layer, back, right, begin, end); });
}

// --- Python ------------------------------------------------------------------------------------------------------------------------------

// What forward and backward share: mode, steps, w_hh, h0, c0, gates, y, c, flat, hidden.
constexpr Py_ssize_t SHARED = 10;

template <typename T> bool read_layer(PyObject* const* args, int mode, Reader* reader, Layer<T>* layer) {
    PyArrayObject *steps = as_array(args[1]), *y = as_array(args[6]), *h0 = as_array(args[3]);
    if (!PyArray_Check(args[1]) || PyArray_TYPE(steps) != NPY_INT64 || !contiguous(steps) || PyArray_NDIM(steps) != 2 || PyArray_DIM(steps, 1) != 2 ||
        PyArray_NDIM(y) != 2 || !PyArray_Check(args[3]) || PyArray_NDIM(h0) != 2) {
        PyErr_SetString(PyExc_ValueError, "steps: an int64 array (n, 2); y, h0: matrices");
        return false;
    }
    const index_t rows = PyArray_DIM(y, 0), units = PyArray_DIM(y, 1), batch = PyArray_DIM(h0, 0);
    *layer = Layer<T>{data_of<std::int64_t>(steps), PyArray_DIM(steps, 0), units, batch, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr,
                      nullptr, nullptr};
    for (index_t i = 0; i < layer->count; ++i) {
        if (layer->first(i) < 0 || layer->rows(i) < 0 || layer->rows(i) > batch || layer->first(i) + layer->rows(i) > rows) {
            PyErr_SetString(PyExc_ValueError, "steps: a step reaches over the rows");
            return false;
        }
    }
    const int gates = GATES[mode];
    layer->w = reader->take<T>(args[2], gates * units * units, "w_hh");
    layer->h0 = reader->take<T>(args[3], batch * units, "h0");
    layer->c0 = reader->take<T>(args[4], batch * units, "c0", mode != LSTM);
    layer->gates = reader->take<T>(args[5], rows * gates * units, "gates", mode >= RNN_TANH);
    layer->y = reader->take<T>(args[6], rows * units, "y");
    layer->c = reader->take<T>(args[7], rows * units, "c", mode != LSTM);
    layer->flat = reader->take<T>(args[8], rows * units, "flat", mode != LSTM);
    layer->hidden = reader->take<T>(args[9], rows * units, "hidden", mode != GRU);
    return reader->good;
}

template <typename T> T* panels(const Layer<T>& layer, int mode, PyArrayObject** memory) {
    const npy_intp size = blocks_of<T>(layer.units) * COLUMNS<T> * layer.units * GATES[mode] * static_cast<npy_intp>(sizeof(T));
    *memory = new_array(1, &size, NPY_UINT8);
    return *memory == nullptr ? nullptr : data_of<T>(*memory);
}

template <typename T> bool forward(PyObject* const* args, int mode, Reader* reader) {
    Layer<T> layer;
    if (!read_layer(args, mode, reader, &layer)) return false;
    layer.b_hn = reader->take<T>(args[SHARED], layer.units, "b_hn", true);
    if (!reader->good) return false;
    PyArrayObject* memory;
    T* right = panels(layer, mode, &memory);
    if (right == nullptr) return false;
    {
        WithoutGil release;
        switch (mode) {
            case LSTM: run_forward<T, LSTM>(layer, right); break;
            case GRU: run_forward<T, GRU>(layer, right); break;
            case RNN_TANH: run_forward<T, RNN_TANH>(layer, right); break;
            default: run_forward<T, RNN_RELU>(layer, right);
        }
    }
    Py_DECREF(memory);
    return true;
}

template <typename T> bool backward(PyObject* const* args, int mode, Reader* reader) {
    Layer<T> layer;
    if (!read_layer(args, mode, reader, &layer)) return false;
    const index_t all = PyArray_SIZE(as_array(args[6])), states = layer.batch * layer.units;
    const Backward<T> back{reader->take<T>(args[SHARED], all, "gy", true), reader->take<T>(args[SHARED + 1], states, "carry"),
                           reader->take<T>(args[SHARED + 2], states, "carry_c", mode != LSTM),
                           reader->take<T>(args[SHARED + 3], all * GATES[mode], "dz"), reader->take<T>(args[SHARED + 4], all, "dn", mode != GRU)};
    if (!reader->good) return false;
    PyArrayObject* memory;
    T* right = panels(layer, mode, &memory);
    if (right == nullptr) return false;
    {
        WithoutGil release;
        switch (mode) {
            case LSTM: run_backward<T, LSTM>(layer, back, right); break;
            case GRU: run_backward<T, GRU>(layer, back, right); break;
            case RNN_TANH: run_backward<T, RNN_TANH>(layer, back, right); break;
            default: run_backward<T, RNN_RELU>(layer, back, right);
        }
    }
    Py_DECREF(memory);
    return true;
}

PyObject* call(PyObject* const* args, Py_ssize_t count, Py_ssize_t wanted, bool is_forward) {
    if (count != wanted) return PyErr_Format(PyExc_TypeError, "expected %zd arguments, got %zd", wanted, count);
    const long mode = PyLong_AsLong(args[0]);
    if (mode == -1 && PyErr_Occurred()) return nullptr;
    if (mode < LSTM || mode > RNN_RELU || !PyArray_Check(args[6])) {
        PyErr_SetString(PyExc_ValueError, "mode: 0 LSTM, 1 GRU, 2 RNN with tanh, 3 RNN with relu; y: an array");
        return nullptr;
    }
    Reader reader{PyArray_TYPE(as_array(args[6]))};
    bool done;
    if (reader.type == NPY_FLOAT) {
        done = is_forward ? forward<float>(args, mode, &reader) : backward<float>(args, mode, &reader);
    } else if (reader.type == NPY_DOUBLE) {
        done = is_forward ? forward<double>(args, mode, &reader) : backward<double>(args, mode, &reader);
    } else {
        PyErr_SetString(PyExc_TypeError, "expected float32 or float64");
        return nullptr;
    }
    if (!done) return nullptr;
    Py_RETURN_NONE;
}

PyObject* rnn_forward(PyObject*, PyObject* const* args, Py_ssize_t count) { return call(args, count, SHARED + 1, true); }
PyObject* rnn_backward(PyObject*, PyObject* const* args, Py_ssize_t count) { return call(args, count, SHARED + 5, false); }

PyMethodDef methods[] = {
    {"rnn_forward", reinterpret_cast<PyCFunction>(rnn_forward), METH_FASTCALL,
     "rnn_forward(mode, steps, w_hh, h0, c0, gates, y, c, flat, hidden, b_hn): fills y, c, flat, hidden; gates hold the input's part before and the "
     "gates after. For an RNN y takes the place of gates."},
    {"rnn_backward", reinterpret_cast<PyCFunction>(rnn_backward), METH_FASTCALL,
     "rnn_backward(mode, steps, w_hh, h0, c0, gates, y, c, flat, hidden, gy, carry, carry_c, dz, dn): fills dz and dn; carry and carry_c hold the "
     "gradients of the final states before and of the initial ones after."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

int add_rnn(PyObject* module) { return PyModule_AddFunctions(module, methods); }

}  // namespace rushlight
