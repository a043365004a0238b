// Convolution with one kernel per channel: too little to multiply for a matrix product, so every output is a sum over the taps in registers.
#include "conv.h"
#include "pool.h"

namespace rushlight {
namespace {

constexpr index_t COLUMNS_AT_ONCE = 1024;
constexpr int AT_ONCE = 6;  // independent sums, which hide the time that one addition takes

template <typename T> index_t place(const Index3& grid, const Target<T>& target, index_t position) {
    const index_t w = position % grid[2], h = position / grid[2] % grid[1], d = position / (grid[1] * grid[2]);
    return (target.origin[0] + d * target.scale[0]) * target.plane + (target.origin[1] + h * target.scale[1]) * target.line + target.origin[2] +
           w * target.scale[2];
}

// All channels of all images as the channels of one image.
View as_channels(View view) {
    view.channels = view.images * (view.image / view.channel);
    view.images = 1;
    return view;
}

// target = sum over taps of weight[channel * taps + tap.at] * data, for every channel of every image.
template <typename T> void sum_taps(const View& images_view, const T* data, const T* weight, index_t kernel, const T* bias, const Target<T>& target) {
    const View view = as_channels(images_view);
    const index_t channels = images_view.image / images_view.channel, positions = view.positions();
    const T* end = data + view.channels * view.channel;
    const index_t taps = static_cast<index_t>(view.taps.size());
    const bool plain = target.scale == Index3{1, 1, 1} && target.origin == Index3{0, 0, 0} && positions == target.row_step;
    const index_t grain = std::max<index_t>(1, 32768 / (positions * taps + 1));
    parallel_for(view.channels, grain, [&](index_t begin, index_t stop) {
        Windows<T> windows(view, data, end);
        std::vector<T> w(static_cast<std::size_t>(taps));
        for (index_t first = 0; first < positions; first += COLUMNS_AT_ONCE) {
            windows.choose(first, std::min(positions, first + COLUMNS_AT_ONCE), false);
            for (index_t task = begin; task < stop; ++task) {
                const index_t channel = task % channels;
                for (index_t t = 0; t < taps; ++t) w[t] = weight[channel * kernel + view.taps[t].at];
                const T start = bias == nullptr ? T(0) : bias[channel];
                T* plane = target.data + task / channels * target.image_step + channel * target.row_step;
                windows.fill(task, task + 1);
                const auto& pieces = windows.pieces();
                const index_t n = static_cast<index_t>(pieces.size());
                for (index_t i = 0; i < n; i += AT_ONCE) {
                    const T* sources[AT_ONCE];
                    Vector<T> sums[AT_ONCE];
                    for (int j = 0; j < AT_ONCE; ++j) {
                        sources[j] = windows.source(std::min(i + j, n - 1), task);
                        sums[j] = Vector<T>{} + start;
                    }
                    for (index_t t = 0; t < taps; ++t) {
                        const index_t offset = windows.tap_offsets()[t];
#pragma GCC unroll 8
                        for (int j = 0; j < AT_ONCE; ++j) sums[j] += w[t] * load(sources[j] + offset);
                    }
                    for (index_t j = i; j < std::min(n, i + AT_ONCE); ++j) {
                        const index_t position = first + pieces[j].to;
                        if (plain && pieces[j].count == LANES<T>) {
                            store(plane + position, sums[j - i]);
                        } else if (plain) {
                            std::memcpy(static_cast<void*>(plane + position), &sums[j - i], static_cast<std::size_t>(pieces[j].count) * sizeof(T));
                        } else {
                            for (index_t l = 0; l < pieces[j].count; ++l) plane[place(view.grid, target, position + l)] = sums[j - i][l];
                        }
                    }
                }
            }
        }
    });
}

}  // namespace

template <typename T> void depthwise_forward(const Convolution& c, const T* x, const T* w, const T* bias, T* y) {
    const index_t out = c.out_positions();
    sum_taps<T>(forward_view(c), x, w, c.taps(), bias, {y, c.outputs * out, out, c.out[1] * c.out[2], c.out[2]});
}

template <typename T> void depthwise_input_gradient(const Convolution& c, const T* g, const T* w, T* dx) {
    each_phase(c, dx, [&](const View& view, const Target<T>& target) {
        sum_taps<T>(view, g, w, c.taps(), static_cast<const T*>(nullptr), target);
        return true;
    });
}

template <typename T> void depthwise_weight_gradient(const Convolution& c, const T* x, const T* g, T* dw) {
    constexpr int L = LANES<T>;
    using Mask = typename VectorOf<T>::index;
    const View view = as_channels(forward_view(c));
    const index_t taps = c.taps(), in = c.in_positions(), out = c.out_positions();
    parallel_for(c.inputs, std::max<index_t>(1, 32768 / (out * taps * c.images + 1)), [&](index_t begin, index_t stop) {
        Windows<T> windows(view, x, x + c.images * c.inputs * in);
        Vector<T>* sums = reinterpret_cast<Vector<T>*>(workspace().left.get<T>(taps * L));
        for (index_t channel = begin; channel < stop; ++channel) std::fill(dw + channel * taps, dw + (channel + 1) * taps, T(0));
        for (index_t first = 0; first < out; first += COLUMNS_AT_ONCE) {
            windows.choose(first, std::min(out, first + COLUMNS_AT_ONCE), false);
            const auto& pieces = windows.pieces();
            const index_t n = static_cast<index_t>(pieces.size());
            T* gradient = workspace().right.get<T>(n * L);  // in whole vectors, a piece filled up with zeros
            for (index_t channel = begin; channel < stop; ++channel) {
                for (index_t t = 0; t < taps; ++t) sums[t] = Vector<T>{};
                for (index_t image = 0; image < c.images; ++image) {
                    const T* plane = g + (image * c.outputs + channel) * out + first;
                    for (index_t i = 0; i < n; ++i) {
                        store(gradient + i * L, Vector<T>{});
                        std::memcpy(static_cast<void*>(gradient + i * L), plane + pieces[i].to, static_cast<std::size_t>(pieces[i].count) * sizeof(T));
                    }
                    const index_t seen_channel = image * c.inputs + channel;
                    windows.fill(seen_channel, seen_channel + 1);
                    for (index_t t = 0; t < taps; ++t) {
                        const index_t offset = windows.tap_offsets()[t];
                        const auto product = [&](index_t i) {
                            Vector<T> seen = load(windows.source(i, seen_channel) + offset);
                            if (pieces[i].count < L) {  // what lies behind the piece may be nan
                                Mask lane;
                                for (int l = 0; l < L; ++l) lane[l] = l < pieces[i].count ? -1 : 0;
                                seen = lane != 0 ? seen : Vector<T>{};
                            }
                            return load(gradient + i * L) * seen;
                        };
                        Vector<T> sum[4] = {};
                        index_t i = 0;
                        for (; i + 4 <= n; i += 4) {
#pragma GCC unroll 4
                            for (int j = 0; j < 4; ++j) sum[j] += product(i + j);
                        }
                        for (; i < n; ++i) sum[0] += product(i);
                        sums[t] += (sum[0] + sum[1]) + (sum[2] + sum[3]);
                    }
                }
                for (index_t t = 0; t < taps; ++t)
                    for (int i = 0; i < L; ++i) dw[channel * taps + t] += sums[t][i];
            }
        }
    });
}

template void depthwise_forward<float>(const Convolution&, const float*, const float*, const float*, float*);
template void depthwise_forward<double>(const Convolution&, const double*, const double*, const double*, double*);
template void depthwise_input_gradient<float>(const Convolution&, const float*, const float*, float*);
template void depthwise_input_gradient<double>(const Convolution&, const double*, const double*, double*);
template void depthwise_weight_gradient<float>(const Convolution&, const float*, const float*, float*);
template void depthwise_weight_gradient<double>(const Convolution&, const double*, const double*, double*);

}  // namespace rushlight
