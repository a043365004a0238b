// Convolution as a matrix product whose right side is never stored: y = w * windows(x), and the gradient of the input likewise.
#include "conv.h"
#include "function.h"
#include "pool.h"

namespace rushlight {
namespace {

// Where in the target the chosen columns of every slot of the panels go.
template <typename T> class Places {
  public:
    void choose(const View& view, const Target<T>& target, index_t first, const Windows<T>& windows) {
        const Index3& grid = view.grid;
        offsets_.assign(static_cast<std::size_t>(windows.panels() * COLUMNS<T>), -1);
        index_t image = first / view.positions(), p = first % view.positions();
        index_t w = p % grid[2], h = p / grid[2] % grid[1], d = p / (grid[1] * grid[2]);
        for (const auto& piece : windows.pieces()) {
            for (index_t slot = piece.to; slot < piece.to + piece.count; ++slot) {
                offsets_[slot] = image * target.image_step + (target.origin[0] + d * target.scale[0]) * target.plane +
                                 (target.origin[1] + h * target.scale[1]) * target.line + target.origin[2] + w * target.scale[2];
                if (++w < grid[2]) continue;
                w = 0;
                if (++h < grid[1]) continue;
                h = 0;
                if (++d < grid[0]) continue;
                d = 0;
                ++image;
            }
        }
    }
    const index_t* of(index_t panel) const { return offsets_.data() + panel * COLUMNS<T>; }

  private:
    std::vector<index_t> offsets_;
};

// Whether n slots are all used and their places lie side by side (they only grow).
inline bool adjacent(const index_t* offsets, index_t n) { return offsets[0] >= 0 && offsets[n - 1] - offsets[0] == n - 1; }

// Writes a tile to places that do not all lie side by side.
template <typename T> void scatter_tile(const T* tile, int rows, T* data, index_t row_step, const index_t* offsets, bool add) {
    for (index_t j = 0; j < COLUMNS<T>;) {
        if (offsets[j] < 0) {
            ++j;
            continue;
        }
        index_t n = 1;
        while (j + n < COLUMNS<T> && n < LANES<T> && offsets[j + n] == offsets[j] + n) ++n;
        for (int r = 0; r < rows; ++r) {
            T* to = data + r * row_step + offsets[j];
            const T* from = tile + r * COLUMNS<T> + j;
            if (n == LANES<T>) {
                store(to, add ? load(to) + load(from) : load(from));
            } else if (add) {
                for (index_t i = 0; i < n; ++i) to[i] += from[i];
            } else {
                for (index_t i = 0; i < n; ++i) to[i] = from[i];
            }
        }
        j += n;
    }
}

// One group's operands.
template <typename T> struct Group {
    const T* data;
    Weight<T> weight;
    const T* bias;
    Target<T> target;
};

// target = weight * windows(data) for every group; `group_of(i)` says where its operands are. `data_end` ends the memory of all groups' data.
template <typename T, typename F> bool multiply(const View& view, index_t groups, index_t rows, const T* data_end, F group_of) {
    const index_t columns = view.columns(), depth = view.depth();
    const index_t depth_blocks = (depth + DEPTH - 1) / DEPTH, depth_step = (depth + depth_blocks - 1) / depth_blocks;
    const int panel = panel_rows(rows);
    const index_t threads = thread_count();
    const bool loose = Windows<T>::loose_pays(view);
    // Few columns: rows are shared out among the threads, so that the weight is packed once.
    index_t row_parts = 1, block = round_up(std::min(BLOCK_COLUMNS<T>, (columns + threads - 1) / threads), COLUMNS<T>);
    if (groups == 1 && rows >= 2 * columns) {
        row_parts = std::min<index_t>(threads, (rows + panel - 1) / panel);
        block = round_up(std::min(BLOCK_COLUMNS<T>, columns), COLUMNS<T>);
    }
    const index_t row_step = round_up((rows + row_parts - 1) / row_parts, panel);
    row_parts = (rows + row_step - 1) / row_step;
    const index_t column_blocks = (columns + block - 1) / block;
    const index_t packed_block = rows * depth_step + LANES<T>, packed_group = packed_block * depth_blocks;
    const bool prepack = column_blocks > 1;
    PyArrayObject* memory = nullptr;
    if (prepack) {
        const npy_intp size = groups * packed_group * static_cast<npy_intp>(sizeof(T));
        memory = new_array(1, &size, NPY_UINT8);
        if (memory == nullptr) return false;
    }
    T* packed = prepack ? data_of<T>(memory) : nullptr;
    {
        WithoutGil release(2.0 * double(groups) * double(rows) * double(columns) * double(depth) > WORK_WITH_GIL);
        if (prepack) {
            parallel_for(groups * depth_blocks, 1, [&](index_t begin, index_t end) {
                for (index_t i = begin; i < end; ++i) {
                    const index_t k = i % depth_blocks * depth_step;
                    pack_weight(group_of(i / depth_blocks).weight, view.taps, 0, rows, panel, k, std::min(depth_step, depth - k), packed + i * packed_block);
                }
            });
        }
        parallel_for(groups * row_parts * column_blocks, 1, [&](index_t begin, index_t end) {
            Places<T> places;
            alignas(64) T tile_memory[ROWS * COLUMNS<T>];
            index_t row_offsets[DEPTH];
            const index_t strip = panel * 40;
            for (index_t task = begin; task < end; ++task) {
                const index_t group_index = task / (row_parts * column_blocks), part = task / column_blocks % row_parts;
                const index_t first_column = task % column_blocks * block, last_column = std::min(columns, first_column + block);
                const index_t first_row = part * row_step, last_row = std::min(rows, first_row + row_step);
                const Group<T> group = group_of(group_index);
                Windows<T> windows(view, group.data, data_end);
                windows.choose(first_column, last_column, loose);
                places.choose(view, group.target, first_column, windows);
                T* right = workspace().right.get<T>(Windows<T>::panel_size(depth_step));
                T* left = prepack ? nullptr : workspace().left.get<T>(strip * depth_step + LANES<T>);
                for (index_t k = 0; k < depth; k += depth_step) {
                    const index_t n = std::min(depth_step, depth - k);
                    for (index_t row = first_row; row < last_row; row += strip) {
                        const index_t strip_end = std::min(last_row, row + strip);
                        const T* a = packed + group_index * packed_group + k / depth_step * packed_block + row * n;
                        if (!prepack) {
                            pack_weight(group.weight, view.taps, row, strip_end - row, panel, k, n, left);
                            a = left;
                        }
                        for (index_t j = 0; j < windows.panels(); ++j) {  // a panel stays in the first-level cache, the strip in the second
                            const T *low = nullptr, *high = nullptr;
                            const bool found = loose && windows.find_columns(j, k, n, &low, &high, row_offsets);
                            if (!found) windows.pack_columns(j, k, n, right);
                            const index_t* offsets = places.of(j);
                            const bool whole = adjacent(offsets, COLUMNS<T>);
                            const T* ai = a;
                            for (index_t r = row; r < strip_end; r += panel) {
                                const int m = static_cast<int>(std::min<index_t>(panel, strip_end - r));
                                T* target = group.target.data + r * group.target.row_step;
                                T* to = whole ? target + *offsets : tile_memory;
                                const index_t step = whole ? group.target.row_step : COLUMNS<T>;
                                const T* start = k == 0 && group.bias != nullptr ? group.bias + r : nullptr;
                                if (found) {
                                    tile_at_for<T>(m)(n, ai, low, high, row_offsets, to, step, start, whole && k != 0);
                                } else {
                                    tile_for<T>(m)(n, ai, right, to, step, start, whole && k != 0);
                                }
                                if (!whole) scatter_tile(tile_memory, m, target, group.target.row_step, offsets, k != 0);
                                ai += n * m;
                            }
                        }
                    }
                }
            }
        });
    }
    Py_XDECREF(memory);
    return true;
}

template <typename T> bool forward(const Convolution& c, const T* x, const T* w, const T* bias, T* y) {
    if (c.depthwise()) {
        WithoutGil release(c.work() > WORK_WITH_GIL);
        depthwise_forward(c, x, w, bias, y);
        return true;
    }
    if (winograd_pays<T>(c)) return winograd_forward(c, x, w, bias, y);
    const index_t in = c.in_positions(), out = c.out_positions(), m = c.out_channels(), depth = c.in_channels() * c.taps();
    return multiply<T>(forward_view(c), c.groups, m, x + c.images * c.inputs * in, [&](index_t i) {
        return Group<T>{x + i * c.in_channels() * in, {w + i * m * depth, depth, c.taps()}, bias == nullptr ? nullptr : bias + i * m,
                        {y + i * m * out, c.outputs * out, out, c.out[1] * c.out[2], c.out[2]}};
    });
}

template <typename T> bool input_gradient(const Convolution& c, const T* g, const T* w, T* dx) {
    const index_t in = c.in_positions(), out = c.out_positions(), m = c.in_channels(), taps = c.taps();
    if (c.depthwise()) {
        WithoutGil release(c.work() > WORK_WITH_GIL);
        depthwise_input_gradient(c, g, w, dx);
        return true;
    }
    if (winograd_pays<T>(c)) return winograd_input_gradient(c, g, w, dx);
    return each_phase(c, dx, [&](const View& view, const Target<T>& target) {
        return multiply<T>(view, c.groups, m, g + c.images * c.outputs * out, [&](index_t i) {
            Target<T> to = target;
            to.data += i * m * in;
            return Group<T>{g + i * c.out_channels() * out, {w + i * c.out_channels() * m * taps, taps, m * taps}, nullptr, to};
        });
    });
}

// --- Python ------------------------------------------------------------------------------------------------------------------------------

// Two operands of one floating dtype, contiguous (new references), and the options that end the arguments.
class Operands {
  public:
    Operands(PyObject* const* args, Py_ssize_t count, Py_ssize_t options) {
        if (count < options + 4 || !PyArray_CheckExact(args[0]) || !PyArray_CheckExact(args[1])) return;  // for the twin
        type = PyArray_TYPE(as_array(args[0]));
        const int ndim = PyArray_NDIM(as_array(args[0]));
        if ((type != NPY_FLOAT && type != NPY_DOUBLE) || PyArray_TYPE(as_array(args[1])) != type || ndim < 3 || ndim > 5 ||
            PyArray_NDIM(as_array(args[1])) != ndim) {
            return;
        }
        c.ndim = ndim - 2;
        c.groups = PyLong_AsSsize_t(args[options + 3]);
        if (PyErr_Occurred() || !read_sizes(args[options], c.ndim, &c.stride, 1) || !read_sizes(args[options + 1], c.ndim, &c.padding, 0) ||
            !read_sizes(args[options + 2], c.ndim, &c.dilation, 1)) {
            return;
        }
        a = as_array(PyArray_FROM_OF(args[0], NPY_ARRAY_CARRAY_RO));
        b = as_array(PyArray_FROM_OF(args[1], NPY_ARRAY_CARRAY_RO));
    }
    ~Operands() {
        Py_XDECREF(a);
        Py_XDECREF(b);
    }
    Operands(const Operands&) = delete;
    Operands& operator=(const Operands&) = delete;

    // Fills in sizes; false with an error set where they disagree. x, w or y may be unknown.
    bool fit(PyArrayObject* x, PyArrayObject* w, PyArrayObject* y) {
        const int front = 3 - c.ndim;
        c.images = PyArray_DIM(x != nullptr ? x : y, 0);
        if (x != nullptr) c.inputs = PyArray_DIM(x, 1);
        if (y != nullptr) c.outputs = PyArray_DIM(y, 1);
        if (w != nullptr) {
            c.outputs = PyArray_DIM(w, 0);
            c.inputs = PyArray_DIM(w, 1) * c.groups;
        }
        for (int i = 0; i < c.ndim; ++i) {
            if (x != nullptr) c.size[front + i] = PyArray_DIM(x, 2 + i);
            if (w != nullptr) c.kernel[front + i] = PyArray_DIM(w, 2 + i);
            if (y != nullptr) c.out[front + i] = PyArray_DIM(y, 2 + i);
        }
        bool good = c.groups > 0 && c.outputs % c.groups == 0 && c.inputs % c.groups == 0;
        good = good && (x == nullptr || (c.images == PyArray_DIM(x, 0) && c.inputs == PyArray_DIM(x, 1)));
        good = good && (y == nullptr || (c.images == PyArray_DIM(y, 0) && c.outputs == PyArray_DIM(y, 1)));
        for (int i = 0; i < 3 && good; ++i) {
            const index_t span = c.size[i] + 2 * c.padding[i] - c.dilation[i] * (c.kernel[i] - 1) - 1;
            good = c.kernel[i] > 0 && span >= 0;
            if (y == nullptr) c.out[i] = span / c.stride[i] + 1;
            good = good && c.out[i] == span / c.stride[i] + 1;
        }
        if (!good) PyErr_SetString(PyExc_ValueError, "the shapes do not fit each other");
        return good;
    }

    PyArrayObject* result(index_t n, index_t channels, const Index3& sizes) const {
        npy_intp shape[5] = {n, channels};
        for (int i = 0; i < c.ndim; ++i) shape[2 + i] = sizes[3 - c.ndim + i];
        return new_array(c.ndim + 2, shape, type);
    }

    bool ready() const { return a != nullptr && b != nullptr; }

    Convolution c;
    int type = -1;
    PyArrayObject *a = nullptr, *b = nullptr;
};

bool empty(PyArrayObject* array) { return PyArray_SIZE(array) == 0; }

PyObject* finish(PyArrayObject* out, bool done) {
    if (!done) Py_CLEAR(out);
    return reinterpret_cast<PyObject*>(out);
}

// (x, w, stride, padding, dilation, groups, bias or None)
PyObject* conv_forward(PyObject* const* args, Py_ssize_t count) {
    Operands in(args, count, 2);
    if (!in.ready() || !in.fit(in.a, in.b, nullptr)) return nullptr;
    PyArrayObject* bias = nullptr;
    if (count > 6 && args[6] != Py_None) {
        bias = as_array(args[6]);
        if (!PyArray_CheckExact(args[6]) || PyArray_TYPE(bias) != in.type) return nullptr;
        if (PyArray_NDIM(bias) != 1 || PyArray_SIZE(bias) != in.c.outputs) {
            PyErr_SetString(PyExc_ValueError, "the bias does not fit");
            return nullptr;
        }
        bias = as_array(PyArray_FROM_OF(args[6], NPY_ARRAY_CARRAY_RO));
        if (bias == nullptr) return nullptr;
    }
    PyArrayObject* out = in.result(in.c.images, in.c.outputs, in.c.out);
    bool done = out != nullptr;
    if (done && !empty(out)) {
        if (in.c.in_channels() == 0) {
            std::memset(PyArray_DATA(out), 0, PyArray_NBYTES(out));
        } else if (in.type == NPY_FLOAT) {
            done = forward(in.c, data_of<float>(in.a), data_of<float>(in.b), bias == nullptr ? nullptr : data_of<float>(bias), data_of<float>(out));
        } else {
            done = forward(in.c, data_of<double>(in.a), data_of<double>(in.b), bias == nullptr ? nullptr : data_of<double>(bias), data_of<double>(out));
        }
    }
    Py_XDECREF(bias);
    return finish(out, done);
}

// (g, w, size, stride, padding, dilation, groups)
PyObject* conv_input_gradient(PyObject* const* args, Py_ssize_t count) {
    Operands in(args, count, 3);
    if (!in.ready() || !read_sizes(args[2], in.c.ndim, &in.c.size, 0) || !in.fit(nullptr, in.b, in.a)) return nullptr;
    PyArrayObject* out = in.result(in.c.images, in.c.inputs, in.c.size);
    bool done = out != nullptr;
    if (done && !empty(out)) {
        if (empty(in.a)) {
            std::memset(PyArray_DATA(out), 0, PyArray_NBYTES(out));
        } else if (in.type == NPY_FLOAT) {
            done = input_gradient(in.c, data_of<float>(in.a), data_of<float>(in.b), data_of<float>(out));
        } else {
            done = input_gradient(in.c, data_of<double>(in.a), data_of<double>(in.b), data_of<double>(out));
        }
    }
    return finish(out, done);
}

template <typename T> void compute_weight_gradient(const Convolution& c, PyArrayObject* x, PyArrayObject* g, PyArrayObject* out) {
    WithoutGil release(c.work() > WORK_WITH_GIL);
    if (c.depthwise()) {
        depthwise_weight_gradient(c, data_of<T>(x), data_of<T>(g), data_of<T>(out));
    } else {
        weight_gradient(c, data_of<T>(x), data_of<T>(g), data_of<T>(out));
    }
}

// (x, g, kernel, stride, padding, dilation, groups)
PyObject* conv_weight_gradient(PyObject* const* args, Py_ssize_t count) {
    Operands in(args, count, 3);
    if (!in.ready() || !read_sizes(args[2], in.c.ndim, &in.c.kernel, 1) || !in.fit(in.a, nullptr, in.b)) return nullptr;
    PyArrayObject* out = in.result(in.c.outputs, in.c.in_channels(), in.c.kernel);
    if (out == nullptr || empty(out)) return reinterpret_cast<PyObject*>(out);
    if (empty(in.a) || empty(in.b)) {
        std::memset(PyArray_DATA(out), 0, PyArray_NBYTES(out));
    } else if (in.type == NPY_FLOAT) {
        compute_weight_gradient<float>(in.c, in.a, in.b, out);
    } else {
        compute_weight_gradient<double>(in.c, in.a, in.b, out);
    }
    return reinterpret_cast<PyObject*>(out);
}

}  // namespace

extern const NativeFunction conv_functions[] = {
    {"forward", conv_forward},
    {"input_gradient", conv_input_gradient},
    {"weight_gradient", conv_weight_gradient},
    {nullptr, nullptr},
};

}  // namespace rushlight
