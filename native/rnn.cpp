// The loops over time of LSTM, GRU and RNN layers. A thread takes some sequences of the batch through all steps, so that threads never wait for
// each other; the recurrent weight is packed once, and a step is one small product per block of units and what follows it in registers. An LSTM's
// product with the input can be part of the same small product: its gates are then written once, after all. Few sequences go another way: step by
// step, the units shared out between the threads, with the weight as it lies. Layouts and names are those of kernels/rnn.py: packed sequences,
// gates in the order i, f, g, o (LSTM) and r, z, n (GRU).
#include <algorithm>
#include <initializer_list>

#include "arguments.h"
#include "function.h"
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
    T *c, *flat;       // LSTM: the cells and their tanh; without `flat`, c is the cells of the moment, (batch, units), and gates need not stay
    T* hidden;         // GRU: W_hn h + b_hn
    const T* b_hn;     // GRU: or null
    const T *x, *w_ih, *bias;  // LSTM, or null: the input whose product belongs to the loop (N, inputs), its weight, and the biases' sum
    index_t inputs;            // of x; 0 where `gates` hold that product already

    index_t first(index_t step) const { return steps[2 * step]; }
    index_t rows(index_t step) const { return steps[2 * step + 1] - steps[2 * step]; }
    // What sequence r had before a step: its row of the step before, or the initial state.
    const T* before(const T* values, const T* start, index_t step, index_t r) const {
        return step > 0 && r < rows(step - 1) ? values + (first(step - 1) + r) * units : start + r * units;
    }
};

// Blocks of COLUMNS units; a tail is filled up with zeros.
template <typename T> index_t blocks_of(index_t units) { return (units + COLUMNS<T> - 1) / COLUMNS<T>; }

// Rows [first, first + COLUMNS) of a weight, of which those before `end` exist, turned: depth x COLUMNS.
template <typename T> void turn_weight(const T* w, index_t first, index_t end, index_t depth, T* to) {
    for (int half = 0; half < 2; ++half) {
        const index_t row = first + half * LANES<T>;
        const int n = static_cast<int>(std::max<index_t>(0, std::min<index_t>(LANES<T>, end - row)));
        const T* lines[LANES<T>];
        for (int r = 0; r < LANES<T>; ++r) lines[r] = w + (r < n ? row + r : first) * depth;
        transpose_rows<T>(to + half * LANES<T>, COLUMNS<T>, lines, n, depth, true);
    }
}

// The right side of (x h) (W_ih W_hh)': a panel of depth `inputs + units` for every block of units and gate.
template <typename T> void pack_forward(const Layer<T>& layer, int gates, T* to) {
    const index_t units = layer.units, panels = blocks_of<T>(units) * gates;
    parallel_for(panels, 8, [&](index_t begin, index_t end) {
        for (index_t i = begin; i < end; ++i) {
            const index_t block = i / gates, gate = i % gates, first = gate * units + block * COLUMNS<T>;
            T* panel = to + i * (layer.inputs + units) * COLUMNS<T>;
            if (layer.inputs > 0) turn_weight(layer.w_ih, first, (gate + 1) * units, layer.inputs, panel);
            turn_weight(layer.w, first, (gate + 1) * units, units, panel + layer.inputs * COLUMNS<T>);
        }
    });
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

// One row's block of units: z are the products h W' of each gate, COLUMNS * ROWS apart; `from` is what is added to them.
template <typename T, bool KEEP> void lstm_units(const Layer<T>& layer, index_t row, const T* from, const T* before, T* now, index_t unit, index_t n, const T* z) {
    constexpr index_t NEXT = COLUMNS<T> * ROWS;
    const index_t units = layer.units;
    T *y = layer.y + row * units + unit, *flat = KEEP ? layer.flat + row * units + unit : y, *i = KEEP ? layer.gates + row * 4 * units + unit : y;
    T *f = KEEP ? i + units : y, *g = KEEP ? f + units : y, *o = KEEP ? g + units : y;
    from += unit;
#pragma omp simd
    for (index_t j = 0; j < n; ++j) {
        const T in = vmath::gate(from[j] + z[j]), forget = vmath::gate(from[j + units] + z[j + NEXT]);
        const T next = vmath::gate_tanh(from[j + 2 * units] + z[j + 2 * NEXT]), out = vmath::gate(from[j + 3 * units] + z[j + 3 * NEXT]);
        const T c = forget * before[j] + in * next, t = vmath::gate_tanh(c);
        now[j] = c;
        y[j] = out * t;
        if (KEEP) {
            i[j] = in;
            f[j] = forget;
            g[j] = next;
            o[j] = out;
            flat[j] = t;
        }
    }
}

// The block of sequence r's row at a step.
template <typename T> void lstm_row(const Layer<T>& layer, index_t step, index_t r, index_t unit, index_t n, const T* z) {
    const index_t units = layer.units, row = layer.first(step) + r;
    const T* from = layer.inputs > 0 ? layer.bias : layer.gates + row * 4 * units;
    if (layer.flat != nullptr) {
        lstm_units<T, true>(layer, row, from, layer.before(layer.c, layer.c0, step, r) + unit, layer.c + row * units + unit, unit, n, z);
    } else {
        T* c = layer.c + r * units + unit;
        lstm_units<T, false>(layer, row, from, c, c, unit, n, z);
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
        r[j] = vmath::gate(r[j] + part[j]);
        z[j] = vmath::gate(z[j] + part[j + NEXT]);
        g[j] = vmath::gate_tanh(g[j] + r[j] * h[j]);
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
        for (index_t j = 0; j < n; ++j) y[j] = vmath::gate_tanh(y[j] + z[j]);
    }
}

template <typename T, int MODE> void forward_row(const Layer<T>& layer, index_t step, index_t r, index_t unit, index_t n, const T* z) {
    if (MODE == LSTM) {
        lstm_row(layer, step, r, unit, n, z);
    } else if (MODE == GRU) {
        gru_row(layer, layer.first(step) + r, layer.before(layer.y, layer.h0, step, r), unit, n, z);
    } else {
        rnn_row(layer, layer.first(step) + r, unit, n, z, MODE == RNN_RELU);
    }
}

// Sequences [begin, end) through all steps.
template <typename T, int MODE> void forward_rows(const Layer<T>& layer, const T* right, index_t begin, index_t end) {
    constexpr int gates = GATES[MODE];
    const index_t units = layer.units, inputs = layer.inputs, depth = inputs + units, panel_size = depth * COLUMNS<T>;
    Scratch memory;
    T* left = memory.get<T>((end - begin) * depth + 2 * LANES<T>);
    alignas(64) T z[gates * ROWS * COLUMNS<T>];
    for (index_t step = 0; step < layer.count; ++step) {
        const index_t last = std::min(end, layer.rows(step)), n = last - begin;
        if (n <= 0) continue;
        const int panel = panel_rows(n);
        for (index_t r = begin; r < last; r += panel) {
            const int m = static_cast<int>(std::min<index_t>(panel, last - r));
            T* to = left + (r - begin) * depth;
            if (inputs > 0) transpose_panel<T>(to, m, m, inputs, [&](int i) { return layer.x + (layer.first(step) + r + i) * inputs; });
            transpose_panel<T>(to + m * inputs, m, m, units, [&](int i) { return layer.before(layer.y, layer.h0, step, r + i); });
        }
        for (index_t block = 0; block < blocks_of<T>(units); ++block) {
            const index_t unit = block * COLUMNS<T>, width = std::min<index_t>(COLUMNS<T>, units - unit);
            for (index_t r = begin; r < last; r += panel) {
                const int m = static_cast<int>(std::min<index_t>(panel, last - r));
                for (int gate = 0; gate < gates; ++gate) {
                    tile_for<T>(m)(depth, left + (r - begin) * depth, right + (block * gates + gate) * panel_size, z + gate * ROWS * COLUMNS<T>,
                                   COLUMNS<T>, nullptr, false);
                }
                for (int i = 0; i < m; ++i) forward_row<T, MODE>(layer, step, r + i, unit, width, z + i * COLUMNS<T>);
            }
        }
    }
}

// A matrix (N, units), or (steps, batch, units) with steps of one length; its rows may lie anywhere.
template <typename T> struct Rows {
    const T* data = nullptr;
    index_t per_step = 1, step = 0, row = 0;

    const T* at(index_t i) const { return per_step == 1 ? data + i * step : data + i / per_step * step + i % per_step * row; }
    [[nodiscard]] bool read(PyObject* object, const Reader& reader, index_t rows, index_t units) {
        if (object == Py_None) return true;
        PyArrayObject* array = as_array(object);
        const index_t size = sizeof(T);
        if (!PyArray_Check(object) || PyArray_TYPE(array) != reader.type || !PyArray_ISBEHAVED_RO(array)) return false;
        const int ndim = PyArray_NDIM(array);
        if ((ndim != 2 && ndim != 3) || PyArray_SIZE(array) != rows * units || PyArray_DIM(array, ndim - 1) != units) return false;
        for (int i = 0; i < ndim - 1; ++i)
            if (PyArray_STRIDE(array, i) % size != 0) return false;
        if (units > 1 && PyArray_STRIDE(array, ndim - 1) != size) return false;
        data = data_of<T>(array);
        step = PyArray_STRIDE(array, 0) / size;
        per_step = ndim == 3 ? std::max<index_t>(1, PyArray_DIM(array, 1)) : 1;
        row = ndim == 3 ? PyArray_STRIDE(array, 1) / size : 0;
        return true;
    }
};

// The gradients that flow back: of y (or null), and carried from step to step; results: of the gates' sums, GRU's of n's input part, and (or
// null) the biases' as a row per part of the batch.
template <typename T> struct Backward {
    Rows<T> gy;
    T *carry, *carry_c, *dz, *dn, *db;
};

// Units [unit, unit + n) of sequence r at a step.
template <typename T> void lstm_back(const Layer<T>& layer, const Backward<T>& back, index_t step, index_t r, index_t unit, index_t n) {
    const index_t units = layer.units, row = layer.first(step) + r;
    const T *i = layer.gates + row * 4 * units + unit, *f = i + units, *g = f + units, *o = g + units, *flat = layer.flat + row * units + unit;
    const T* before = layer.before(layer.c, layer.c0, step, r) + unit;
    T *dh = back.carry + r * units + unit, *dc = back.carry_c + r * units + unit;
    T *d_i = back.dz + row * 4 * units + unit, *d_f = d_i + units, *d_g = d_f + units, *d_o = d_g + units;
#pragma omp simd
    for (index_t j = 0; j < n; ++j) {
        const T d = dc[j] + dh[j] * o[j] * (T(1) - flat[j] * flat[j]);
        d_i[j] = d * g[j] * i[j] * (T(1) - i[j]);
        d_f[j] = d * before[j] * f[j] * (T(1) - f[j]);
        d_g[j] = d * i[j] * (T(1) - g[j] * g[j]);
        d_o[j] = dh[j] * flat[j] * o[j] * (T(1) - o[j]);
        dc[j] = d * f[j];
    }
}

template <typename T> void gru_back(const Layer<T>& layer, const Backward<T>& back, index_t step, index_t r_, index_t unit, index_t count) {
    const index_t units = layer.units, row = layer.first(step) + r_;
    const T *r = layer.gates + row * 3 * units + unit, *z = r + units, *n = z + units, *hidden = layer.hidden + row * units + unit;
    const T* before = layer.before(layer.y, layer.h0, step, r_) + unit;
    T *dh = back.carry + r_ * units + unit, *dn = back.dn + row * units + unit;
    T *d_r = back.dz + row * 3 * units + unit, *d_z = d_r + units, *d_h = d_z + units;
#pragma omp simd
    for (index_t j = 0; j < count; ++j) {
        const T d = dh[j] * (T(1) - z[j]) * (T(1) - n[j] * n[j]);
        dn[j] = d;
        d_r[j] = d * hidden[j] * r[j] * (T(1) - r[j]);
        d_z[j] = dh[j] * (before[j] - n[j]) * z[j] * (T(1) - z[j]);
        d_h[j] = d * r[j];
        dh[j] *= z[j];
    }
}

template <typename T> void rnn_back(const Layer<T>& layer, const Backward<T>& back, index_t step, index_t r, index_t unit, index_t n, bool relu) {
    const index_t at = (layer.first(step) + r) * layer.units + unit;
    const T *y = layer.y + at, *dh = back.carry + r * layer.units + unit;
    T* dz = back.dz + at;
#pragma omp simd
    for (index_t j = 0; j < n; ++j) dz[j] = relu ? (y[j] > T(0) ? dh[j] : dh[j] * T(0)) : dh[j] * (T(1) - y[j] * y[j]);
}

template <typename T, int MODE> void backward_row(const Layer<T>& layer, const Backward<T>& back, index_t step, index_t r, index_t unit, index_t n, T* db) {
    const index_t units = layer.units, row = layer.first(step) + r;
    if (back.gy.data != nullptr) {
        const T* gy = back.gy.at(row) + unit;
        T* dh = back.carry + r * units + unit;
#pragma omp simd
        for (index_t j = 0; j < n; ++j) dh[j] += gy[j];
    }
    if (MODE == LSTM) {
        lstm_back(layer, back, step, r, unit, n);
    } else if (MODE == GRU) {
        gru_back(layer, back, step, r, unit, n);
    } else {
        rnn_back(layer, back, step, r, unit, n, MODE == RNN_RELU);
    }
    if (db == nullptr) return;
    for (int gate = 0; gate < GATES[MODE]; ++gate) {
        const T* dz = back.dz + (row * GATES[MODE] + gate) * units + unit;
        T* sum = db + gate * units + unit;
#pragma omp simd
        for (index_t j = 0; j < n; ++j) sum[j] += dz[j];
    }
}

template <typename T, int MODE> void backward_rows(const Layer<T>& layer, const Backward<T>& back, const T* right, index_t begin, index_t end, T* db) {
    constexpr int gates = GATES[MODE];
    const index_t units = layer.units, depth = gates * units;
    Scratch memory;
    T* left = memory.get<T>((end - begin) * depth + 2 * LANES<T>);
    alignas(64) T z[ROWS * COLUMNS<T>];
    for (index_t step = layer.count - 1; step >= 0; --step) {
        const index_t last = std::min(end, layer.rows(step)), n = last - begin;
        if (n <= 0) continue;
        for (index_t r = begin; r < last; ++r) backward_row<T, MODE>(layer, back, step, r, 0, units, db);
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

// --- few sequences -----------------------------------------------------------------------------------------------------------------------

// Packing would cost more than the products, and too few sequences are there for every thread: the units of a step are shared out instead.
inline bool few(index_t batch, index_t units) { return batch < 8 && units >= 64; }

// z[j] = row j of w (n of LANES; `step` apart) times h
template <typename T> void dots(const T* w, index_t step, int n, index_t depth, const T* h, T* z) {
    constexpr int L = LANES<T>;
    const T* lines[L];
    for (int j = 0; j < L; ++j) lines[j] = w + std::min(j, n - 1) * step;
    Vector<T> sum[L] = {};
    index_t k = 0;
    for (; k + L <= depth; k += L) {
        const Vector<T> x = load(h + k);
#pragma GCC unroll 16
        for (int j = 0; j < L; ++j) sum[j] += load(lines[j] + k) * x;
    }
    transpose_block<T>(sum);
    for (int width = L / 2; width > 0; width /= 2)
        for (int j = 0; j < width; ++j) sum[j] += sum[j + width];
    for (; k < depth; ++k)
        for (int j = 0; j < L; ++j) sum[0][j] += lines[j][k] * h[k];
    store(z, sum[0]);
}

// Elements of the weight that a thread should have to read in a step.
constexpr index_t WEIGHTS_PER_THREAD = 65536;

template <typename T, int MODE> void forward_few(const Layer<T>& layer) {
    constexpr int gates = GATES[MODE], L = LANES<T>;
    const index_t units = layer.units, blocks = (units + L - 1) / L, grain = WEIGHTS_PER_THREAD / (gates * L * units) + 1;
    for (index_t step = 0; step < layer.count; ++step) {
        parallel_for(blocks, grain, [&](index_t begin, index_t end) {
            alignas(64) T z[gates * ROWS * COLUMNS<T>];
            for (index_t unit = begin * L; unit < std::min(units, end * L); unit += L) {
                const int n = static_cast<int>(std::min<index_t>(L, units - unit));
                for (index_t r = 0; r < layer.rows(step); ++r) {
                    const T* h = layer.before(layer.y, layer.h0, step, r);
                    for (int gate = 0; gate < gates; ++gate) dots(layer.w + (gate * units + unit) * units, units, n, units, h, z + gate * ROWS * COLUMNS<T>);
                    forward_row<T, MODE>(layer, step, r, unit, n, z);
                }
            }
        });
    }
}

// to[j] = sum of x[k] w[k][j] for n <= 4 COLUMNS columns
template <typename T> void weighted_rows(const T* w, index_t step, index_t depth, const T* x, index_t n, T* to) {
    constexpr int L = LANES<T>;
    if (n == 8 * L) {
        Vector<T> sum[8] = {};
        for (index_t k = 0; k < depth; ++k, w += step) {
#pragma GCC unroll 8
            for (int i = 0; i < 8; ++i) sum[i] += load(w + i * L) * x[k];
        }
        for (int i = 0; i < 8; ++i) store(to + i * L, sum[i]);
        return;
    }
    for (index_t j = 0; j < n; ++j) to[j] = T(0);
    for (index_t k = 0; k < depth; ++k, w += step) {
        const T scale = x[k];
#pragma omp simd
        for (index_t j = 0; j < n; ++j) to[j] += scale * w[j];
    }
}

template <typename T, int MODE> void backward_few(const Layer<T>& layer, const Backward<T>& back) {
    constexpr int gates = GATES[MODE];
    constexpr index_t BLOCK = 8 * LANES<T>;
    const index_t units = layer.units, depth = gates * units, blocks = (units + BLOCK - 1) / BLOCK, grain = WEIGHTS_PER_THREAD / (BLOCK * depth) + 1;
    // What comes out of a step later on, then the step itself: one stretch of work for a block of units.
    for (index_t step = layer.count; step >= 0; --step) {
        parallel_for(blocks, grain, [&](index_t begin, index_t end) {
            alignas(64) T product[BLOCK];
            for (index_t unit = begin * BLOCK; unit < std::min(units, end * BLOCK); unit += BLOCK) {
                const index_t n = std::min(BLOCK, units - unit);
                for (index_t r = 0; step < layer.count && r < layer.rows(step); ++r) {
                    weighted_rows(layer.w + unit, units, depth, back.dz + (layer.first(step) + r) * depth, n, product);
                    T* dh = back.carry + r * units + unit;
                    for (index_t j = 0; j < n; ++j) dh[j] = product[j] + (MODE == GRU ? dh[j] : T(0));
                }
                for (index_t r = 0; step > 0 && r < layer.rows(step - 1); ++r) backward_row<T, MODE>(layer, back, step - 1, r, unit, n, back.db);
            }
        });
    }
}

// --- the whole batch ---------------------------------------------------------------------------------------------------------------------

// Sequences are shared out in parts of at least four: fewer would read the weight from memory more often than it is worth.
inline index_t parts_of(index_t batch) { return std::max<index_t>(1, std::min<index_t>(thread_count(), batch / 4)); }

template <typename F> void share_out(index_t batch, F f) {
    const index_t parts = parts_of(batch), size = (batch + parts - 1) / parts;
    parallel_for(parts, 1, [&](index_t begin, index_t end) {
        for (index_t i = begin; i < end; ++i) f(i, std::min(batch, i * size), std::min(batch, (i + 1) * size));
    });
}

template <typename T, int MODE> void run_forward(const Layer<T>& layer, T* right) {
    if (few(layer.batch, layer.units) && layer.inputs == 0) return forward_few<T, MODE>(layer);
    pack_forward(layer, GATES[MODE], right);
    share_out(layer.batch, [&](index_t, index_t begin, index_t end) { forward_rows<T, MODE>(layer, right, begin, end); });
}

template <typename T, int MODE> void run_backward(const Layer<T>& layer, const Backward<T>& back, T* right) {
    if (few(layer.batch, layer.units)) return backward_few<T, MODE>(layer, back);
    pack_backward(layer, GATES[MODE], right);
    const index_t depth = GATES[MODE] * layer.units, parts = parts_of(layer.batch);
    Scratch memory;
    T* sums = back.db == nullptr ? nullptr : memory.get<T>(parts * depth);
    if (sums != nullptr) std::fill(sums, sums + parts * depth, T(0));
    share_out(layer.batch, [&](index_t part, index_t begin, index_t end) {
        backward_rows<T, MODE>(layer, back, right, begin, end, sums == nullptr ? nullptr : sums + part * depth);
    });
    for (index_t part = 0; sums != nullptr && part < parts; ++part)
        for (index_t j = 0; j < depth; ++j) back.db[j] += sums[part * depth + j];
}

// --- Python ------------------------------------------------------------------------------------------------------------------------------

// What forward and backward share: mode, steps, w_hh, h0, c0, gates, y, c, flat, hidden.
constexpr Py_ssize_t SHARED = 10;

template <typename T> [[nodiscard]] bool read_layer(PyObject* const* args, int mode, Reader* reader, Layer<T>* layer) {
    PyArrayObject *steps = as_array(args[1]), *y = as_array(args[6]), *h0 = as_array(args[3]);
    if (!PyArray_Check(args[1]) || PyArray_TYPE(steps) != NPY_INT64 || !contiguous(steps) || PyArray_NDIM(steps) != 2 || PyArray_DIM(steps, 1) != 2 ||
        PyArray_NDIM(y) != 2 || !PyArray_Check(args[3]) || PyArray_NDIM(h0) != 2) {
        PyErr_SetString(PyExc_ValueError, "steps: an int64 array (n, 2); y, h0: matrices");
        return false;
    }
    const index_t rows = PyArray_DIM(y, 0), units = PyArray_DIM(y, 1), batch = PyArray_DIM(h0, 0);
    *layer = Layer<T>();
    layer->steps = data_of<std::int64_t>(steps);
    layer->count = PyArray_DIM(steps, 0);
    layer->units = units;
    layer->batch = batch;
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
    layer->gates = reader->take<T>(args[5], rows * gates * units, "gates", mode != GRU);
    layer->y = reader->take<T>(args[6], rows * units, "y");
    layer->flat = reader->take<T>(args[8], rows * units, "flat", true);
    layer->c = reader->take<T>(args[7], (layer->flat == nullptr ? batch : rows) * units, "c", mode != LSTM);
    layer->hidden = reader->take<T>(args[9], rows * units, "hidden", mode != GRU);
    return reader->good;
}

template <typename T> T* panels(const Layer<T>& layer, int mode, PyArrayObject** memory) {
    const bool packed = !few(layer.batch, layer.units) || layer.inputs > 0;
    const npy_intp size = packed ? blocks_of<T>(layer.units) * COLUMNS<T> * (layer.inputs + layer.units) * GATES[mode] * static_cast<npy_intp>(sizeof(T)) : 0;
    *memory = new_array(1, &size, NPY_UINT8);
    return *memory == nullptr ? nullptr : data_of<T>(*memory);
}

template <typename T> bool forward(PyObject* const* args, int mode, Reader* reader) {
    Layer<T> layer;
    if (!read_layer(args, mode, reader, &layer)) return false;
    layer.b_hn = reader->take<T>(args[SHARED], layer.units, "b_hn", true);
    if (reader->good && mode == LSTM && args[SHARED + 1] != Py_None) {
        const index_t rows = PyArray_DIM(as_array(args[6]), 0);
        layer.inputs = PyArray_Check(args[SHARED + 2]) && PyArray_NDIM(as_array(args[SHARED + 2])) == 2 ? PyArray_DIM(as_array(args[SHARED + 2]), 1) : 0;
        layer.x = reader->take<T>(args[SHARED + 1], rows * layer.inputs, "x");
        layer.w_ih = reader->take<T>(args[SHARED + 2], 4 * layer.units * layer.inputs, "w_ih");
        layer.bias = reader->take<T>(args[SHARED + 3], 4 * layer.units, "bias");
    }
    if (reader->good && mode <= GRU && (layer.gates == nullptr) != (layer.inputs > 0 && layer.flat == nullptr)) {
        PyErr_SetString(PyExc_ValueError, "gates may be missing only where x is given and nothing is kept");
        return false;
    }
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
    Backward<T> back{Rows<T>(), reader->take<T>(args[SHARED + 1], states, "carry"),
                           reader->take<T>(args[SHARED + 2], states, "carry_c", mode != LSTM),
                           reader->take<T>(args[SHARED + 3], all * GATES[mode], "dz"), reader->take<T>(args[SHARED + 4], all, "dn", mode != GRU),
                           reader->take<T>(args[SHARED + 5], GATES[mode] * layer.units, "db", true)};
    if (reader->good && !back.gy.read(args[SHARED], *reader, PyArray_DIM(as_array(args[6]), 0), layer.units)) {
        PyErr_SetString(PyExc_ValueError, "gy: (N, H) or (T, B, H) of the other operands' dtype, with rows in one piece");
        return false;
    }
    if (reader->good && mode == LSTM && (layer.gates == nullptr || layer.flat == nullptr)) {
        PyErr_SetString(PyExc_ValueError, "gates, flat: what forward has kept");
        return false;
    }
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

// The operands of a loop, which its functions take by place. Steps come as a list, and what is only read may lie with gaps: both are copied here.
class Given {
  public:
    // False for what is not computed here, perhaps with an error set; `kept` are the places that results are written to, `rows` one of which only the
    // rows have to be without gaps.
    [[nodiscard]] bool read(PyObject* const* args, Py_ssize_t count, std::initializer_list<int> kept, int rows = -1) {
        const long mode = PyLong_Check(args[0]) ? PyLong_AsLong(args[0]) : -1;
        if (mode < LSTM || mode > RNN_RELU || (type = float_type(args[6])) < 0 || !PyList_Check(args[1]) || PyList_GET_SIZE(args[1]) == 0) return false;
        this->mode = static_cast<int>(mode);
        std::copy(args, args + count, items);
        items[1] = add(PyArray_FROM_OTF(args[1], NPY_INT64, NPY_ARRAY_CARRAY_RO));
        if (items[1] == nullptr) return false;
        for (Py_ssize_t i = 2; i < count; ++i) {
            if (args[i] == Py_None) continue;
            if (float_type(args[i]) != type) return false;
            PyArrayObject* a = as_array(args[i]);
            const int ndim = PyArray_NDIM(a);
            if (contiguous(a) || std::find(kept.begin(), kept.end(), i) != kept.end()) continue;
            if (i == rows && ndim > 0 && PyArray_STRIDE(a, ndim - 1) == PyArray_ITEMSIZE(a)) continue;
            if ((items[i] = add(PyArray_NewCopy(a, NPY_CORDER))) == nullptr) return false;
        }
        return true;
    }
    ~Given() {
        for (int i = 0; i < made_; ++i) Py_XDECREF(own_[i]);
    }
    PyObject* items[16];
    int mode = 0, type = -1;

  private:
    PyObject* add(PyObject* object) { return own_[made_++] = object; }
    PyObject* own_[16] = {};
    int made_ = 0;
};

// (mode, steps, w_hh, h0, c0, gates, y, c, flat, hidden, b_hn, x, w_ih, bias): fills y, c, flat, hidden; see kernels/rnn.py
PyObject* loop(PyObject* const* args, Py_ssize_t count) {
    Given given;
    if (count != SHARED + 4 || !given.read(args, count, {5, 6, 7, 8, 9})) return nullptr;
    Reader reader{given.type};
    if (!(given.type == NPY_FLOAT ? forward<float>(given.items, given.mode, &reader) : forward<double>(given.items, given.mode, &reader))) return nullptr;
    return Py_NewRef(Py_None);
}

// (mode, steps, w_hh, h0, c0, gates, y, c, flat, hidden, gy, carry, carry_c, dz, dn, db): fills dz and dn, and adds the sum of dz's rows to db
PyObject* loop_gradient(PyObject* const* args, Py_ssize_t count) {
    Given given;
    if (count != SHARED + 6 || !given.read(args, count, {5, 6, 7, 8, 9, 11, 12, 13, 14, 15}, SHARED)) return nullptr;
    Reader reader{given.type};
    if (!(given.type == NPY_FLOAT ? backward<float>(given.items, given.mode, &reader) : backward<double>(given.items, given.mode, &reader))) return nullptr;
    return Py_NewRef(Py_None);
}

}  // namespace

extern const NativeFunction rnn_functions[] = {{"loop", loop}, {"loop_gradient", loop_gradient}, {nullptr, nullptr}};

}  // namespace rushlight
