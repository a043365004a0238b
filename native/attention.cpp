// Scaled dot-product attention without the matrix of scores: blocks of keys pass by panels of queries (Dao et al., "FlashAttention", 2022; the
// running maximum is Milakov and Gimelshein's, 2018). Scores stand transposed, a row per key and COLUMNS queries side by side, so that the softmax
// is vertical, and the weights are at once the right side of the next product.
#include <cmath>
#include <limits>

#include "function.h"
#include "pool.h"
#include "tile.h"
#include "vmath.h"

namespace rushlight {
namespace {

constexpr index_t KEYS = 128;  // of a block: its scores stay in the first-level cache
constexpr int MAX_LEADING = 8;

// A (..., rows, width) array: one matrix for every index of the leading dimensions, the elements of a row side by side (or not: bias).
template <typename T> struct Matrices {
    T* data = nullptr;
    int leading = 0;
    index_t shape[MAX_LEADING], steps[MAX_LEADING], rows = 0, width = 0, row_step = 0, column_step = 1;

    void read(PyArrayObject* array) {
        leading = PyArray_NDIM(array) - 2;
        const index_t size = sizeof(T);
        for (int i = 0; i < leading; ++i) {
            shape[i] = PyArray_DIM(array, i);
            steps[i] = PyArray_STRIDE(array, i) / size;
        }
        data = static_cast<T*>(PyArray_DATA(array));
        rows = PyArray_DIM(array, leading);
        width = PyArray_DIM(array, leading + 1);
        row_step = PyArray_STRIDE(array, leading) / size;
        column_step = PyArray_STRIDE(array, leading + 1) / size;
    }
    T* matrix(index_t item) const {
        T* at = data;
        for (int i = leading - 1; i >= 0; --i) {
            at += item % shape[i] * steps[i];
            item /= shape[i];
        }
        return at;
    }
};

template <typename T> struct Problem {
    Matrices<T> q, k, v, bias, out, lse, g, dq, dk, dv;
    bool causal = false;
    T scale = T(1);
    index_t items = 1;

    index_t queries() const { return q.rows; }
    index_t keys() const { return k.rows; }
    index_t panels() const { return (queries() + COLUMNS<T> - 1) / COLUMNS<T>; }
    // How many keys a panel of queries can see.
    index_t visible(index_t panel) const { return causal ? std::min(keys(), (panel + 1) * COLUMNS<T>) : keys(); }
};

// The rows of all panels that `seen` of n rows touch.
inline index_t round_to_panels(index_t seen, int panel, index_t n) { return std::min(n, (seen + panel - 1) / panel * panel); }

// `to`: the matrix's rows [first, first + COLUMNS) turned, width x COLUMNS, times `factor`; rows that do not exist are zeros.
template <typename T> void turn_rows(const T* from, index_t row_step, index_t first, index_t rows, index_t width, T factor, T* to) {
    for (int half = 0; half < 2; ++half) {
        const index_t begin = first + half * LANES<T>;
        const int n = static_cast<int>(std::max<index_t>(0, std::min<index_t>(LANES<T>, rows - begin)));
        const T* lines[LANES<T>];
        for (int r = 0; r < LANES<T>; ++r) lines[r] = from + (r < n ? begin + r : 0) * row_step;
        transpose_rows<T>(to + half * LANES<T>, COLUMNS<T>, lines, n, width, true);
    }
    if (factor != T(1)) {
        for (index_t i = 0; i < width * COLUMNS<T>; ++i) to[i] *= factor;
    }
}

// Panels of rows [first, first + n) as the left side: width x panel each, one after the other.
template <typename T> void turn_panels(const T* from, index_t row_step, index_t first, index_t n, int panel, index_t width, T* to) {
    for (index_t r = 0; r < n; r += panel) {
        const int m = static_cast<int>(std::min<index_t>(panel, n - r));
        transpose_panel<T>(to, m, m, width, [&](int i) { return from + (first + r + i) * row_step; });
        to += m * width;
    }
}

// result (n x COLUMNS) = left panels * right (width x COLUMNS)
template <typename T> void multiply_panels(const T* left, index_t n, int panel, index_t width, const T* right, T* result) {
    for (index_t r = 0; r < n; r += panel) {
        const int m = static_cast<int>(std::min<index_t>(panel, n - r));
        tile_for<T>(m)(width, left, right, result + r * COLUMNS<T>, COLUMNS<T>, nullptr, false);
        left += m * width;
    }
}

// result (width x COLUMNS) += the rows' columns (rows[k * row_step + i]) * right (n x COLUMNS)
template <typename T> void add_columns(const T* rows, index_t row_step, index_t n, index_t width, const T* right, T* result, bool add) {
    const int panel = panel_rows(width);
    for (index_t i = 0; i < width; i += panel) {
        const int m = static_cast<int>(std::min<index_t>(panel, width - i));
        tile_steps_for<T, false>(m)(n, rows + i, row_step, right, COLUMNS<T>, result + i * COLUMNS<T>, COLUMNS<T>, add);
    }
}

// Adds the bias of keys [key, key + n) and hides what comes after a query.
template <typename T> void mask_scores(const Problem<T>& p, index_t item, index_t panel, index_t key, index_t n, T* scores) {
    constexpr int C = COLUMNS<T>, L = LANES<T>;
    const index_t query = panel * C;
    if (p.bias.data != nullptr) {
        const T* bias = p.bias.matrix(item);
        const index_t down = p.bias.row_step, across = p.bias.column_step;
        const index_t valid = std::min<index_t>(C, p.queries() - query);
        if (down == 0) {
            for (index_t k = 0; k < n; ++k) {
                const T b = bias[(key + k) * across];
                for (int j = 0; j < C; ++j) scores[k * C + j] += b;
            }
        } else if (across == 1) {
            alignas(64) T turned[L * L];
            for (index_t half = 0; half < C && half < valid; half += L) {
                const int lanes = static_cast<int>(std::min<index_t>(L, valid - half));
                const T* lines[L];
                for (index_t k = 0; k < n; k += L) {
                    const index_t part = std::min<index_t>(L, n - k);
                    for (int r = 0; r < L; ++r) lines[r] = bias + (query + half + std::min(r, lanes - 1)) * down + key + k;
                    transpose_rows<T>(turned, L, lines, lanes, part, true);
                    for (index_t i = 0; i < part; ++i) {
                        T* row = scores + (k + i) * C + half;
                        store(row, load(row) + load(turned + i * L));
                    }
                }
            }
        } else {
            for (index_t k = 0; k < n; ++k)
                for (index_t j = 0; j < valid; ++j) scores[k * C + j] += bias[(query + j) * down + (key + k) * across];
        }
    }
    if (p.causal) {
        for (index_t k = std::max<index_t>(0, query - key); k < n; ++k) {
            const index_t hidden = std::min<index_t>(C, key + k - query);
            for (index_t j = 0; j < hidden; ++j) scores[k * C + j] = -std::numeric_limits<T>::infinity();
        }
    }
}

// One panel's state of the softmax: the largest score so far (or 0 while there is none) and the sum of exponentials.
template <typename T> struct Running {
    alignas(64) T top[COLUMNS<T>], sum[COLUMNS<T>];
};

// Scores become exp(score - top); what was summed before is scaled down where the top has grown. False where nothing had to be.
template <typename T> bool exponentials(T* scores, index_t n, Running<T>* state, T* shrink, bool first) {
    constexpr int C = COLUMNS<T>;
    constexpr T LOW = -std::numeric_limits<T>::infinity();
    alignas(64) T top[C], sum[C];
    for (int j = 0; j < C; ++j) top[j] = first ? LOW : state->top[j];
    for (index_t k = 0; k < n; ++k) {
        const T* row = scores + k * C;
#pragma omp simd
        for (int j = 0; j < C; ++j) top[j] = row[j] > top[j] ? row[j] : top[j];
    }
    bool grown = false;
    for (int j = 0; j < C; ++j) {
        const T safe = top[j] == LOW ? T(0) : top[j];
        shrink[j] = first || state->top[j] == LOW ? T(0) : vmath::exp_or_zero(state->top[j] - safe);
        grown = grown || (!first && shrink[j] != T(1));
        state->top[j] = top[j];
        top[j] = safe;
        sum[j] = first ? T(0) : state->sum[j] * shrink[j];
    }
    for (index_t k = 0; k < n; ++k) {
        T* row = scores + k * C;
#pragma omp simd
        for (int j = 0; j < C; ++j) {
            row[j] = vmath::exp_or_zero(row[j] - top[j]);
            sum[j] += row[j];
        }
    }
    for (int j = 0; j < C; ++j) state->sum[j] = sum[j];
    return grown;
}

// Rows of a turned matrix (width x COLUMNS) times factor[column] to the rows [first, first + n) of `to`.
template <typename T> void write_rows(const T* turned, index_t width, const T* factor, T* to, index_t row_step, index_t first, index_t n) {
    constexpr int L = LANES<T>;
    for (index_t half = 0; half < n; half += L) {
        const Vector<T> scale = load(factor + half);
        index_t i = 0;
        for (; i + L <= width; i += L) {
            Vector<T> v[L];
#pragma GCC unroll 16
            for (int r = 0; r < L; ++r) v[r] = load(turned + (i + r) * COLUMNS<T> + half) * scale;
            transpose_block<T>(v);
            for (index_t j = 0; j < std::min<index_t>(L, n - half); ++j) store(to + (first + half + j) * row_step + i, v[j]);
        }
        for (; i < width; ++i)
            for (index_t j = 0; j < std::min<index_t>(L, n - half); ++j)
                to[(first + half + j) * row_step + i] = turned[i * COLUMNS<T> + half + j] * factor[half + j];
    }
}

struct Buffers {
    Scratch left, scores, others, queries, turned, results, gradients;
};
Buffers& buffers() {
    static thread_local Buffers memory;
    return memory;
}

// Panels [begin, end) of one item's queries.
template <typename T> void forward_panels(const Problem<T>& p, index_t item, index_t begin, index_t end) {
    constexpr int C = COLUMNS<T>;
    const index_t width = p.q.width, out_width = p.v.width, count = end - begin;
    Buffers& memory = buffers();
    T* left = memory.left.get<T>(KEYS * width + 2 * LANES<T>);
    T* scores = memory.scores.get<T>(KEYS * C);
    T* queries = memory.queries.get<T>(count * width * C + 2 * LANES<T>);
    T* results = memory.results.get<T>(count * out_width * C + 2 * LANES<T>);
    Running<T>* states = memory.others.get<Running<T>>(count);
    const T *k = p.k.matrix(item), *v = p.v.matrix(item);
    for (index_t i = 0; i < count; ++i) turn_rows(p.q.matrix(item), p.q.row_step, (begin + i) * C, p.queries(), width, p.scale, queries + i * width * C);
    alignas(64) T shrink[C];
    for (index_t key = 0; key < p.visible(end - 1); key += KEYS) {
        const index_t n = std::min(KEYS, p.visible(end - 1) - key);
        const int panel = panel_rows(n);
        turn_panels(k, p.k.row_step, key, n, panel, width, left);
        for (index_t i = 0; i < count; ++i) {
            const index_t seen = std::min(n, p.visible(begin + i) - key);
            if (seen <= 0) continue;
            T* result = results + i * out_width * C;
            multiply_panels(left, round_to_panels(seen, panel, n), panel, width, queries + i * width * C, scores);
            mask_scores(p, item, begin + i, key, seen, scores);
            if (exponentials(scores, seen, states + i, shrink, key == 0)) {
                for (index_t f = 0; f < out_width; ++f)
                    for (int j = 0; j < C; ++j) result[f * C + j] *= shrink[j];
            }
            add_columns(v + key * p.v.row_step, p.v.row_step, seen, out_width, scores, result, key != 0);
        }
    }
    for (index_t i = 0; i < count; ++i) {
        const index_t first = (begin + i) * C, n = std::min<index_t>(C, p.queries() - first);
        T* lse = p.lse.data + item * p.queries() + first;
        alignas(64) T inverse[C];
        for (int j = 0; j < C; ++j) inverse[j] = states[i].sum[j] != T(0) ? T(1) / states[i].sum[j] : T(0);
        for (index_t j = 0; j < n; ++j) {
            lse[j] = states[i].sum[j] != T(0) ? states[i].top[j] + std::log(states[i].sum[j]) : std::numeric_limits<T>::infinity();
        }
        write_rows(results + i * out_width * C, out_width, inverse, p.out.matrix(item), p.out.row_step, first, n);
    }
}

// Rows [first, first + n) of a matrix with zeros up to `padded` columns, times factor.
template <typename T> void copy_rows(const T* from, index_t row_step, index_t n, index_t width, index_t padded, T factor, T* to) {
    for (index_t i = 0; i < n; ++i, to += padded) {
        for (index_t j = 0; j < width; ++j) to[j] = from[i * row_step + j] * factor;
        for (index_t j = width; j < padded; ++j) to[j] = T(0);
    }
}

// result (n x padded) += columns of `left` (a tile's layout, n x COLUMNS, of which `depth` count) * rows (depth x padded)
template <typename T> void add_products(const T* left, index_t n, index_t depth, const T* rows, index_t padded, T* result, bool add) {
    const int panel = panel_rows(n);
    for (index_t i = 0; i < padded; i += COLUMNS<T>) {
        for (index_t r = 0; r < n; r += panel) {
            const int m = static_cast<int>(std::min<index_t>(panel, n - r));
            tile_steps_for<T, true>(m)(depth, left + r * COLUMNS<T>, 0, rows + i, padded, result + r * padded + i, padded, add);
        }
    }
}

template <typename T> void backward_item(const Problem<T>& p, index_t item) {
    constexpr int C = COLUMNS<T>;
    const index_t width = p.q.width, out_width = p.v.width, panels = p.panels(), queries = p.queries();
    const index_t padded = (width + C - 1) / C * C, out_padded = (out_width + C - 1) / C * C;
    Buffers& memory = buffers();
    T* left = memory.left.get<T>(KEYS * (width + out_width) + 4 * LANES<T>);
    T* left_v = left + KEYS * width + 2 * LANES<T>;
    T* scores = memory.scores.get<T>(2 * KEYS * C);
    T* slopes = scores + KEYS * C;
    // Queries and gradients, turned (panels of width x C) and as rows (padded).
    T* turned_q = memory.turned.get<T>(panels * C * (width + out_width + padded + out_padded) + 4 * LANES<T>);
    T *turned_g = turned_q + panels * C * width, *rows_q = turned_g + panels * C * out_width, *rows_g = rows_q + panels * C * padded;
    T* turned_dq = memory.results.get<T>(panels * C * width + 2 * LANES<T>);
    T* block = memory.gradients.get<T>(KEYS * (padded + out_padded));
    T* block_v = block + KEYS * padded;
    T *lse = memory.others.get<T>(2 * panels * C), *inner = lse + panels * C;
    const T *q = p.q.matrix(item), *k = p.k.matrix(item), *v = p.v.matrix(item), *g = p.g.matrix(item), *out = p.out.matrix(item);
    for (index_t i = 0; i < panels; ++i) {
        turn_rows(q, p.q.row_step, i * C, queries, width, p.scale, turned_q + i * C * width);
        turn_rows(g, p.g.row_step, i * C, queries, out_width, T(1), turned_g + i * C * out_width);
    }
    copy_rows(q, p.q.row_step, queries, width, padded, p.scale, rows_q);
    copy_rows(g, p.g.row_step, queries, out_width, out_padded, T(1), rows_g);
    for (index_t i = 0; i < panels * C; ++i) {
        lse[i] = i < queries ? p.lse.data[item * queries + i] : std::numeric_limits<T>::infinity();
        T sum = T(0);
        if (i < queries) {
            const T *a = g + i * p.g.row_step, *b = out + i * p.out.row_step;
#pragma omp simd reduction(+ : sum)
            for (index_t j = 0; j < out_width; ++j) sum += a[j] * b[j];
        }
        inner[i] = sum;
    }
    std::fill(turned_dq, turned_dq + panels * C * width, T(0));
    for (index_t key = 0; key < p.keys(); key += KEYS) {
        const index_t n = std::min(KEYS, p.keys() - key);
        const int panel = panel_rows(n);
        turn_panels(k, p.k.row_step, key, n, panel, width, left);
        turn_panels(v, p.v.row_step, key, n, panel, out_width, left_v);
        std::fill(block, block + KEYS * (padded + out_padded), T(0));
        for (index_t i = 0; i < panels; ++i) {
            const index_t seen = std::min(n, p.visible(i) - key), depth = std::min<index_t>(C, queries - i * C);
            if (seen <= 0) continue;
            const index_t computed = round_to_panels(seen, panel, n);
            multiply_panels(left, computed, panel, width, turned_q + i * C * width, scores);
            mask_scores(p, item, i, key, seen, scores);
            multiply_panels(left_v, computed, panel, out_width, turned_g + i * C * out_width, slopes);
            const T *shift = lse + i * C, *mean = inner + i * C;
            for (index_t r = 0; r < seen; ++r) {
                T *score = scores + r * C, *slope = slopes + r * C;
#pragma omp simd
                for (int j = 0; j < C; ++j) {
                    score[j] = vmath::exp_or_zero(score[j] - shift[j]);
                    slope[j] = score[j] * (slope[j] - mean[j]);
                }
            }
            add_products(scores, seen, depth, rows_g + i * C * out_padded, out_padded, block_v, true);
            add_products(slopes, seen, depth, rows_q + i * C * padded, padded, block, true);
            add_columns(k + key * p.k.row_step, p.k.row_step, seen, width, slopes, turned_dq + i * C * width, true);
        }
        T *dk = p.dk.matrix(item) + key * p.dk.row_step, *dv = p.dv.matrix(item) + key * p.dv.row_step;
        for (index_t r = 0; r < n; ++r) {
            std::copy(block + r * padded, block + r * padded + width, dk + r * p.dk.row_step);
            std::copy(block_v + r * out_padded, block_v + r * out_padded + out_width, dv + r * p.dv.row_step);
        }
    }
    alignas(64) T factor[C];
    for (int j = 0; j < C; ++j) factor[j] = p.scale;
    for (index_t i = 0; i < panels; ++i) {
        write_rows(turned_dq + i * C * width, width, factor, p.dq.matrix(item), p.dq.row_step, i * C, std::min<index_t>(C, queries - i * C));
    }
}

constexpr index_t PANELS_AT_ONCE = 6;  // of queries: the keys are packed anew for each such part

template <typename T> void run_forward(const Problem<T>& p) {
    const index_t parts = (p.panels() + PANELS_AT_ONCE - 1) / PANELS_AT_ONCE, step = (p.panels() + parts - 1) / parts;
    parallel_for(p.items * parts, 1, [&](index_t begin, index_t end) {
        for (index_t task = begin; task < end; ++task) {
            const index_t first = task % parts * step, last = std::min(p.panels(), first + step);
            if (first < last) forward_panels(p, task / parts, first, last);
        }
    });
}

template <typename T> void run_backward(const Problem<T>& p) {
    parallel_for(p.items, 1, [&](index_t begin, index_t end) {
        for (index_t item = begin; item < end; ++item) backward_item(p, item);
    });
}

// --- Python ------------------------------------------------------------------------------------------------------------------------------

// Arrays of one call: references are dropped at its end.
struct Arrays {
    PyArrayObject* kept[8] = {};
    int count = 0;
    ~Arrays() {
        for (int i = 0; i < count; ++i) Py_XDECREF(kept[i]);
    }
    // A new reference to an array of the wanted shape's rank and dtype whose rows' elements lie side by side, or nullptr with an error set.
    PyArrayObject* take(PyObject* object, int type, int ndim) {
        if (!PyArray_Check(object)) return refuse_operands("expected arrays"), nullptr;
        if (PyArray_TYPE(as_array(object)) != type || PyArray_NDIM(as_array(object)) != ndim) {
            PyErr_SetString(PyExc_ValueError, "operands differ in dtype or number of dimensions");
            return nullptr;
        }
        PyArrayObject* array = as_array(object);
        bool good = PyArray_ISBEHAVED_RO(array) && (PyArray_STRIDE(array, ndim - 1) == PyArray_ITEMSIZE(array) || PyArray_DIM(array, ndim - 1) == 1);
        for (int i = 0; i < ndim; ++i) good = good && PyArray_STRIDE(array, i) % PyArray_ITEMSIZE(array) == 0;
        if (good) {
            Py_INCREF(array);
        } else {
            array = as_array(PyArray_FROM_OF(object, NPY_ARRAY_CARRAY_RO));
        }
        return kept[count++] = array;
    }
};

bool same_leading(PyArrayObject* a, PyArrayObject* b, int leading) { return PyArray_CompareLists(PyArray_DIMS(a), PyArray_DIMS(b), leading); }

// A new (..., rows, width) array; of four dimensions, rows stand before the third (as PyTorch's results lie).
PyArrayObject* make(PyArrayObject* like, index_t rows, index_t width, int type) {
    const int ndim = PyArray_NDIM(like);
    npy_intp shape[MAX_LEADING + 2];
    for (int i = 0; i < ndim - 2; ++i) shape[i] = PyArray_DIM(like, i);
    shape[ndim - 2] = rows;
    shape[ndim - 1] = width;
    if (ndim != 4) return new_array(ndim, shape, type);
    std::swap(shape[1], shape[2]);
    PyArrayObject* array = new_array(4, shape, type);
    if (array == nullptr) return nullptr;
    PyObject* view = PyArray_SwapAxes(array, 1, 2);
    Py_DECREF(array);
    return as_array(view);
}

// q, k, v, bias, causal and scale from args; false with an error set.
template <typename T> [[nodiscard]] bool read_problem(PyObject* const* args, int type, int ndim, Arrays* arrays, Problem<T>* p, PyArrayObject** q, PyArrayObject** v) {
    PyArrayObject* k;
    if ((*q = arrays->take(args[0], type, ndim)) == nullptr || (k = arrays->take(args[1], type, ndim)) == nullptr ||
        (*v = arrays->take(args[2], type, ndim)) == nullptr) {
        return false;
    }
    p->q.read(*q);
    p->k.read(k);
    p->v.read(*v);
    bool good = same_leading(*q, k, ndim - 2) && same_leading(*q, *v, ndim - 2) && p->q.width == p->k.width && p->k.rows == p->v.rows;
    if (good && args[3] != Py_None) {
        PyArrayObject* bias = as_array(args[3]);
        good = PyArray_Check(args[3]) && PyArray_TYPE(bias) == type && PyArray_NDIM(bias) == ndim && same_leading(*q, bias, ndim - 2) &&
               PyArray_ISBEHAVED_RO(bias);
        for (int i = 0; good && i < ndim; ++i) good = PyArray_STRIDE(bias, i) % PyArray_ITEMSIZE(bias) == 0;
        if (good) {
            p->bias.read(bias);
            good = p->bias.rows == p->q.rows && p->bias.width == p->k.rows;
        }
    }
    if (!good) {
        PyErr_SetString(PyExc_ValueError, "q (..., L, E), k (..., S, E), v (..., S, F) and bias (..., L, S) have to have the same leading dimensions");
        return false;
    }
    p->causal = flag(args[4]) == 1;
    p->scale = static_cast<T>(PyFloat_AsDouble(args[5]));
    for (int i = 0; i < ndim - 2; ++i) p->items *= PyArray_DIM(*q, i);
    return !PyErr_Occurred();
}

template <typename T> PyObject* forward(PyObject* const* args, int type, int ndim) {
    Arrays arrays;
    Problem<T> p;
    PyArrayObject *q, *v;
    if (!read_problem(args, type, ndim, &arrays, &p, &q, &v)) return nullptr;
    PyArrayObject* out = make(q, p.q.rows, p.v.width, type);
    const npy_intp rows = p.items * p.q.rows;
    PyArrayObject* lse = out == nullptr ? nullptr : new_array(1, &rows, type);
    if (lse == nullptr) {
        Py_XDECREF(out);
        return nullptr;
    }
    p.out.read(out);
    p.lse.data = data_of<T>(lse);
    if (p.keys() == 0) {
        std::memset(PyArray_DATA(out), 0, static_cast<std::size_t>(rows * p.v.width) * sizeof(T));
        std::fill(p.lse.data, p.lse.data + rows, std::numeric_limits<T>::infinity());
    } else if (rows != 0) {
        WithoutGil release;
        run_forward(p);
    }
    return Py_BuildValue("(NN)", out, lse);
}

template <typename T> PyObject* backward(PyObject* const* args, int type, int ndim) {
    Arrays arrays;
    Problem<T> p;
    PyArrayObject *q, *v, *g, *out;
    if (!read_problem(args, type, ndim, &arrays, &p, &q, &v) || (g = arrays.take(args[6], type, ndim)) == nullptr ||
        (out = arrays.take(args[7], type, ndim)) == nullptr) {
        return nullptr;
    }
    p.g.read(g);
    p.out.read(out);
    PyArrayObject* lse = as_array(args[8]);
    if (!same_leading(q, g, ndim - 1) || !same_leading(q, out, ndim - 1) || p.g.width != p.v.width || p.out.width != p.v.width || !PyArray_Check(args[8]) ||
        PyArray_TYPE(lse) != type || !contiguous(lse) || PyArray_SIZE(lse) != p.items * p.q.rows) {
        PyErr_SetString(PyExc_ValueError, "the gradient or the result does not fit the operands");
        return nullptr;
    }
    p.lse.data = data_of<T>(lse);
    PyArrayObject* dq = make(q, p.q.rows, p.q.width, type);
    PyArrayObject* dk = make(q, p.k.rows, p.k.width, type);
    PyArrayObject* dv = make(q, p.k.rows, p.v.width, type);
    if (dq == nullptr || dk == nullptr || dv == nullptr) {
        Py_XDECREF(dq);
        Py_XDECREF(dk);
        Py_XDECREF(dv);
        return nullptr;
    }
    p.dq.read(dq);
    p.dk.read(dk);
    p.dv.read(dv);
    if (p.q.rows == 0 || p.keys() == 0) {
        for (PyArrayObject* each : {dq, dk, dv}) std::memset(PyArray_DATA(each), 0, static_cast<std::size_t>(PyArray_SIZE(each)) * sizeof(T));
    } else {
        WithoutGil release;
        run_backward(p);
    }
    return Py_BuildValue("(NNNO)", dq, dk, dv, Py_None);
}

// Whether q, k, v (and what is added to the scores, or None) are computed here: plain, of one type, and of the same leading dimensions.
bool ours(PyObject* const* operands, PyObject* bias) {
    const int type = float_type(operands[0]), ndim = type < 0 ? 0 : PyArray_NDIM(as_array(operands[0]));
    if (ndim < 2 || ndim > MAX_LEADING + 2) return false;
    PyArrayObject *q = as_array(operands[0]), *k = as_array(operands[1]), *v = as_array(operands[2]);
    for (PyObject* each : {operands[1], operands[2], bias == Py_None ? operands[0] : bias}) {
        if (float_type(each) != type || PyArray_NDIM(as_array(each)) != ndim || !same_leading(q, as_array(each), ndim - 2)) return false;
    }
    const bool fit = PyArray_DIM(q, ndim - 1) == PyArray_DIM(k, ndim - 1) && PyArray_DIM(k, ndim - 2) == PyArray_DIM(v, ndim - 2);
    return fit && PyArray_DIM(q, ndim - 2) > 2 &&  // few queries (decoding) fill no tile
           (bias == Py_None || (PyArray_DIM(as_array(bias), ndim - 2) == PyArray_DIM(q, ndim - 2) && PyArray_DIM(as_array(bias), ndim - 1) == PyArray_DIM(k, ndim - 2)));
}

// (q, k, v, bias, noise, causal, scale, of_bias) -> (softmax(scale q k' + bias) v, logarithms of the softmax's sums, flat)
PyObject* attention(PyObject* const* args, Py_ssize_t count) {
    if (count != 8 || args[4] != Py_None || args[7] != Py_False || !ours(args, args[3])) return nullptr;
    PyObject* const mine[] = {args[0], args[1], args[2], args[3], args[5], args[6]};
    const int type = PyArray_TYPE(as_array(args[0])), ndim = PyArray_NDIM(as_array(args[0]));
    return type == NPY_FLOAT ? forward<float>(mine, type, ndim) : forward<double>(mine, type, ndim);
}

// (g, q, k, v, bias, noise, causal, scale, of_bias, out, logarithms) -> (dq, dk, dv, None)
PyObject* attention_gradient(PyObject* const* args, Py_ssize_t count) {
    if (count != 11 || args[5] != Py_None || args[8] != Py_False || !ours(args + 1, args[4])) return nullptr;
    const int type = PyArray_TYPE(as_array(args[1])), ndim = PyArray_NDIM(as_array(args[1]));
    for (int i : {0, 9, 10}) {
        if (float_type(args[i]) != type) return nullptr;
    }
    PyObject* const mine[] = {args[1], args[2], args[3], args[4], args[6], args[7], args[0], args[9], args[10]};
    return type == NPY_FLOAT ? backward<float>(mine, type, ndim) : backward<double>(mine, type, ndim);
}

}  // namespace

extern const NativeFunction attention_functions[] = {{"attention", attention}, {"attention_gradient", attention_gradient}, {nullptr, nullptr}};

}  // namespace rushlight
