// What the files of convolution share: the arguments, and views for the three products (see window.h).
#pragma once

#include "window.h"

namespace rushlight {

// A convolution of x (images, inputs, *size) with w (outputs, inputs / groups, *kernel) to y (images, outputs, *out), all of three dimensions.
struct Convolution {
    int ndim = 0;  // spatial dimensions of the arrays
    index_t images = 0, inputs = 0, outputs = 0, groups = 1;
    Index3 size{1, 1, 1}, kernel{1, 1, 1}, out{1, 1, 1}, stride{1, 1, 1}, padding{0, 0, 0}, dilation{1, 1, 1};

    index_t in_channels() const { return inputs / groups; }
    index_t out_channels() const { return outputs / groups; }
    index_t taps() const { return kernel[0] * kernel[1] * kernel[2]; }
    index_t in_positions() const { return size[0] * size[1] * size[2]; }
    index_t out_positions() const { return out[0] * out[1] * out[2]; }
    double work() const { return 2.0 * double(images) * double(out_positions()) * double(outputs) * double(in_channels()) * double(taps()); }
    bool depthwise() const { return groups > 1 && groups == inputs && outputs == inputs; }
};

// The view of x that y and the weight's gradient see.
inline View forward_view(const Convolution& c) {
    View view{c.size, c.out, c.stride, {}, c.images, c.in_channels(), c.inputs * c.in_positions(), c.in_positions()};
    for (index_t d = 0; d < c.kernel[0]; ++d)
        for (index_t h = 0; h < c.kernel[1]; ++h)
            for (index_t w = 0; w < c.kernel[2]; ++w)
                view.taps.push_back({{d * c.dilation[0] - c.padding[0], h * c.dilation[1] - c.padding[1], w * c.dilation[2] - c.padding[2]},
                                     (d * c.kernel[1] + h) * c.kernel[2] + w});
    return view;
}

// Where results go: row r of column (image, d, h, w) is data[image * image_step + r * row_step + (origin + position * scale) . (plane, line, 1)].
template <typename T> struct Target {
    T* data;
    index_t image_step, row_step, plane, line;
    Index3 origin{0, 0, 0}, scale{1, 1, 1};
};

// The gradient of the input, in parts: every residue of a position modulo the strides sees the kernel's taps that meet it, which is a
// convolution of g with stride 1. f(view of g, target in dx) says whether it went well.
template <typename T, typename F> bool each_phase(const Convolution& c, T* dx, F f) {
    const index_t in = c.in_positions(), out = c.out_positions();
    if (c.stride[0] > c.kernel[0] || c.stride[1] > c.kernel[1] || c.stride[2] > c.kernel[2] || c.dilation != Index3{1, 1, 1}) {
        std::memset(static_cast<void*>(dx), 0, static_cast<std::size_t>(c.images * c.inputs * in) * sizeof(T));  // some are met by no tap
    }
    Index3 phase;
    for (phase[0] = 0; phase[0] < std::min(c.stride[0], c.size[0]); ++phase[0]) {
        for (phase[1] = 0; phase[1] < std::min(c.stride[1], c.size[1]); ++phase[1]) {
            for (phase[2] = 0; phase[2] < std::min(c.stride[2], c.size[2]); ++phase[2]) {
                View view{c.out, {}, {1, 1, 1}, {}, c.images, c.out_channels(), c.outputs * out, out};
                for (int i = 0; i < 3; ++i) view.grid[i] = (c.size[i] - phase[i] + c.stride[i] - 1) / c.stride[i];
                for (index_t at = 0; at < c.taps(); ++at) {
                    const Index3 k{at / (c.kernel[1] * c.kernel[2]), at / c.kernel[2] % c.kernel[1], at % c.kernel[2]};
                    Tap tap{{}, at};
                    bool meets = true;
                    for (int i = 0; i < 3; ++i) {
                        const index_t place = phase[i] + c.padding[i] - k[i] * c.dilation[i];
                        meets = meets && place % c.stride[i] == 0;
                        tap.offset[i] = place / c.stride[i];
                    }
                    if (meets) view.taps.push_back(tap);
                }
                if (view.taps.empty()) continue;
                if (!f(view, Target<T>{dx, c.inputs * in, in, c.size[1] * c.size[2], c.size[2], phase, c.stride})) return false;
            }
        }
    }
    return true;
}

constexpr double WORK_WITH_GIL = 2e5;  // so few operations are done before another thread could take over

// Blocks of the products: a panel of DEPTH rows stays in the first-level cache; the columns of a task.
constexpr index_t DEPTH = 256;
template <typename T> constexpr index_t BLOCK_COLUMNS = 1024 / static_cast<index_t>(sizeof(T));

inline index_t round_up(index_t n, index_t step) { return (n + step - 1) / step * step; }

// The left side: element (row, channel, tap) of the weight is data[row * row_step + channel * channel_step + tap.at].
template <typename T> struct Weight {
    const T* data;
    index_t row_step, channel_step;
};

// Rows [row, row + rows) and depth [k, k + depth) of the weight as panels of depth x panel_rows, one after the other.
template <typename T>
inline void pack_weight(const Weight<T>& w, const std::vector<Tap>& taps, index_t row, index_t rows, int panel, index_t k, index_t depth,
                                       T* to) {
    const index_t n_taps = static_cast<index_t>(taps.size());
    bool in_order = w.channel_step == n_taps;
    for (index_t t = 0; t < n_taps && in_order; ++t) in_order = taps[t].at == t;
    for (index_t first = 0; first < rows; first += panel) {
        const int n = static_cast<int>(std::min<index_t>(panel, rows - first));
        if (in_order) {
            transpose_panel<T>(to, n, n, depth, [&](int r) { return w.data + (row + first + r) * w.row_step + k; });
        } else {
            index_t channel = k / n_taps, t = k % n_taps;
            for (index_t i = 0; i < depth; ++i) {
                const T* from = w.data + channel * w.channel_step + taps[t].at + (row + first) * w.row_step;
                for (int r = 0; r < n; ++r) to[i * n + r] = from[r * w.row_step];
                if (++t == n_taps) {
                    t = 0;
                    ++channel;
                }
            }
        }
        to += depth * n;
    }
}

// Whether a convolution is one of 3x3 with stride 1 that Winograd's algorithm computes faster.
template <typename T> bool winograd_pays(const Convolution& c);
template <typename T> bool winograd_forward(const Convolution& c, const T* x, const T* w, const T* bias, T* y);
template <typename T> bool winograd_input_gradient(const Convolution& c, const T* g, const T* w, T* dx);

// Gradient of the weight into dw (outputs, inputs / groups, *kernel), contiguous.
template <typename T> void weight_gradient(const Convolution& c, const T* x, const T* g, T* dw);

// One kernel per channel.
template <typename T> void depthwise_forward(const Convolution& c, const T* x, const T* w, const T* bias, T* y);
template <typename T> void depthwise_input_gradient(const Convolution& c, const T* g, const T* w, T* dx);
template <typename T> void depthwise_weight_gradient(const Convolution& c, const T* x, const T* g, T* dw);

}  // namespace rushlight
