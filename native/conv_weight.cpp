// The gradient of a convolution's weight: dw = g * windows(x)', summed over all positions of all images.
#include "conv.h"
#include "pool.h"

namespace rushlight {
namespace {

// Rows [row, row + rows) of g (channels x positions of each image) at columns [first, first + count) as panels of count x panel_rows.
template <typename T> void pack_gradient(const T* g, index_t image_step, index_t positions, index_t row, index_t rows, int panel, index_t first,
                                         index_t count, T* to) {
    for (index_t done = 0; done < rows; done += panel) {
        const int n = static_cast<int>(std::min<index_t>(panel, rows - done));
        for (index_t column = 0; column < count;) {
            const index_t image = (first + column) / positions, p = (first + column) % positions;
            const index_t length = std::min(count - column, positions - p);
            transpose_panel<T>(to + column * n, n, n, length, [&](int r) { return g + image * image_step + (row + done + r) * positions + p; });
            column += length;
        }
        to += count * n;
    }
}

template <typename T> struct Job {
    const Convolution& c;
    const View& view;
    const T *x, *x_end, *g;
    int panel;
    index_t rows;

    // dw[.., first..last] (row step `step`) = the sum over columns [begin, end) of the positions.
    void run(index_t begin, index_t end, index_t first, index_t last, T* dw, index_t step) const {
        const index_t positions = c.out_positions(), last_channel = (last - 1) / static_cast<index_t>(view.taps.size()) + 1;
        T* right = workspace().right.get<T>(Windows<T>::panel_size(DEPTH));
        T* left = workspace().left.get<T>(rows * DEPTH + 2 * LANES<T>);
        alignas(64) T tile_memory[ROWS * COLUMNS<T>];
        Windows<T> windows(view, x, x_end);
        const index_t blocks = (end - begin + DEPTH - 1) / DEPTH, block = round_up((end - begin + blocks - 1) / blocks, LANES<T>);
        for (index_t k = begin; k < end; k += block) {
            const index_t n = std::min(block, end - k);
            windows.choose(k, k + n, false);
            pack_gradient(g, c.outputs * positions, positions, 0, rows, panel, k, n, left);
            for (index_t column = first; column < last; column += COLUMNS<T>) {
                const index_t width = std::min<index_t>(COLUMNS<T>, last - column);
                windows.pack_rows(column, width, last_channel, right);
                const T* a = left;
                for (index_t r = 0; r < rows; r += panel) {
                    const int m = static_cast<int>(std::min<index_t>(panel, rows - r));
                    T* to = dw + r * step + column;
                    if (width == COLUMNS<T>) {
                        tile_for<T>(m)(n, a, right, to, step, nullptr, k != begin);
                    } else {
                        tile_for<T>(m)(n, a, right, tile_memory, COLUMNS<T>, nullptr, false);
                        for (int i = 0; i < m; ++i)
                            for (index_t l = 0; l < width; ++l) to[i * step + l] = tile_memory[i * COLUMNS<T> + l] + (k == begin ? T(0) : to[i * step + l]);
                    }
                    a += n * m;
                }
            }
        }
    }
};

}  // namespace

template <typename T> void weight_gradient(const Convolution& c, const T* x, const T* g, T* dw) {
    const View view = forward_view(c);
    const index_t in = c.in_positions(), out = c.out_positions(), rows = c.out_channels(), columns = view.depth(), depth = view.columns();
    const T* x_end = x + c.images * c.inputs * in;
    const index_t threads = thread_count();
    const auto job = [&](index_t group) {
        return Job<T>{c, view, x + group * c.in_channels() * in, x_end, g + group * rows * out, panel_rows(rows), rows};
    };
    // Columns of dw are shared out among the threads; where there are few, the positions are, and partial sums are added up.
    const index_t most = BLOCK_COLUMNS<T> * 3;
    index_t block = round_up(std::min(most, (columns + threads - 1) / threads), COLUMNS<T>);
    if (columns <= COLUMNS<T> * threads || rows * 8 <= columns) block = std::min(most, round_up(columns, COLUMNS<T>));
    const index_t blocks = (columns + block - 1) / block;
    index_t parts = blocks * c.groups >= threads ? 1 : std::min(threads, (depth + DEPTH - 1) / DEPTH);
    const index_t part = round_up((depth + parts - 1) / parts, LANES<T>);
    parts = (depth + part - 1) / part;
    std::vector<T> partial(static_cast<std::size_t>((parts - 1) * c.groups * rows * columns));
    parallel_for(c.groups * blocks * parts, 1, [&](index_t begin, index_t end) {
        for (index_t task = begin; task < end; ++task) {
            const index_t group = task / (blocks * parts), first = task / parts % blocks * block, p = task % parts;
            T* to = (p == 0 ? dw : partial.data() + (p - 1) * c.groups * rows * columns) + group * rows * columns;
            job(group).run(p * part, std::min(depth, (p + 1) * part), first, std::min(columns, first + block), to, columns);
        }
    });
    const index_t total = c.groups * rows * columns;
    for (index_t p = 1; p < parts; ++p) {
        const T* from = partial.data() + (p - 1) * total;
        for (index_t i = 0; i < total; ++i) dw[i] += from[i];
    }
}

template void weight_gradient<float>(const Convolution&, const float*, const float*, float*);
template void weight_gradient<double>(const Convolution&, const double*, const double*, double*);

}  // namespace rushlight
