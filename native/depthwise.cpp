// Convolution with one kernel per channel: too little to multiply for a matrix product, so every output is a sum over the taps in registers.
#include "conv.h"
#include "pool.h"

namespace rushlight {
namespace {

constexpr index_t COLUMNS_AT_ONCE = 1024;

// target = sum over taps of weight[channel * taps + tap.at] * data, for every channel of every image.
template <typename T> void sum_taps(const View& view, const T* data, const T* weight, index_t kernel, const T* bias, const Target<T>& target) {
    constexpr int L = LANES<T>;
    const index_t channels = view.channel == 0 ? 0 : view.image / view.channel, positions = view.positions();
    const T* end = data + view.images * view.image;
    const index_t taps = static_cast<index_t>(view.taps.size());
    const Index3& grid = view.grid;
    const bool plain = target.scale == Index3{1, 1, 1} && target.origin == Index3{0, 0, 0} && positions == target.row_step;
    const index_t grain = std::max<index_t>(1, 32768 / (positions * taps + 1));
    parallel_for(view.images * channels, grain, [&](index_t begin, index_t stop) {
        Windows<T> windows(view, data, end);
        std::vector<T> w(static_cast<std::size_t>(taps));
        for (index_t first = 0; first < positions; first += COLUMNS_AT_ONCE) {
            windows.choose(first, std::min(positions, first + COLUMNS_AT_ONCE));
            for (index_t task = begin; task < stop; ++task) {
                const index_t channel = task % channels;
                for (index_t t = 0; t < taps; ++t) w[t] = weight[channel * kernel + view.taps[t].at];
                const T start = bias == nullptr ? T(0) : bias[channel];
                T* plane = target.data + task / channels * target.image_step + channel * target.row_step;
                windows.each_run(task / channels * (view.image / view.channel) + channel, [&](index_t column, const T* source, const index_t* offsets, index_t n) {
                    Vector<T> low = Vector<T>{} + start, high = low;
                    for (index_t t = 0; t < taps; ++t) {
                        const T* from = source + offsets[t];
                        low += w[t] * load(from);
                        if (n > L) high += w[t] * load(from + L);
                    }
                    alignas(64) T sums[2 * L];
                    store(sums, low);
                    store(sums + L, high);
                    const index_t position = first + column;
                    if (plain) {
                        std::memcpy(static_cast<void*>(plane + position), sums, static_cast<std::size_t>(n) * sizeof(T));
                        return;
                    }
                    for (index_t i = 0; i < n; ++i) {
                        const index_t p = position + i;
                        const index_t d = p / (grid[1] * grid[2]), h = p / grid[2] % grid[1], x = p % grid[2];
                        plane[(target.origin[0] + d * target.scale[0]) * target.plane + (target.origin[1] + h * target.scale[1]) * target.line +
                              target.origin[2] + x * target.scale[2]] = sums[i];
                    }
                });
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
    const View view = forward_view(c);
    const index_t taps = c.taps(), in = c.in_positions(), out = c.out_positions();
    parallel_for(c.inputs, std::max<index_t>(1, 32768 / (out * taps * c.images + 1)), [&](index_t begin, index_t stop) {
        Windows<T> windows(view, x, x + c.images * c.inputs * in);
        T* sums = workspace().left.get<T>(taps * L);
        for (index_t channel = begin; channel < stop; ++channel) std::fill(dw + channel * taps, dw + (channel + 1) * taps, T(0));
        for (index_t first = 0; first < out; first += COLUMNS_AT_ONCE) {
            windows.choose(first, std::min(out, first + COLUMNS_AT_ONCE));
            for (index_t channel = begin; channel < stop; ++channel) {
                std::fill(sums, sums + taps * L, T(0));
                for (index_t image = 0; image < c.images; ++image) {
                    const T* plane = g + (image * c.outputs + channel) * out + first;
                    windows.each_run(image * c.inputs + channel, [&](index_t column, const T* source, const index_t* offsets, index_t n) {
                        const T* from = plane + column;
                        for (index_t t = 0; t < taps; ++t) {
                            const T* seen = source + offsets[t];
                            index_t i = 0;
                            Vector<T> sum = load(sums + t * L);
                            for (; i + L <= n; i += L) sum += load(from + i) * load(seen + i);
                            store(sums + t * L, sum);
                            for (; i < n; ++i) sums[t * L] += from[i] * seen[i];
                        }
                    });
                }
                for (index_t t = 0; t < taps; ++t)
                    for (int i = 0; i < L; ++i) dw[channel * taps + t] += sums[t * L + i];
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
