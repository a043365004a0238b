// 3x3 convolutions with stride 1 after Winograd: F(4x4, 3x3) computes a tile of 4x4 outputs from 36 products in place of 144 (Lavin and Gray, "Fast
// Algorithms for Convolutional Neural Networks", 2016). COLUMNS tiles lie side by side in all steps: the
// windows of 6x6 elements come from Windows, which sees the tiles as columns with a step of 4.
#include "conv.h"
#include "pool.h"

namespace rushlight {
namespace {

constexpr int SIDE = 6, POINTS = SIDE * SIDE, TILE = 4;

// Interpolation at 0, +-A, +-B and infinity. The usual points, 1 and 2, round four times as badly.
constexpr float A = 0.625f, B = 1.5f, A2 = A * A, B2 = B * B;

// One dimension of the transforms, on vectors: data 6 -> 6, weights 3 -> 6, results 6 -> 4.
template <typename V> inline void transform_data(const V (&d)[6], V (&r)[6]) {
    const V a = d[4] - B2 * d[2], b = A * d[3] - (A * B2) * d[1], c = d[4] - A2 * d[2], e = B * d[3] - (B * A2) * d[1];
    r[0] = (A2 * B2) * d[0] - (A2 + B2) * d[2] + d[4];
    r[1] = a + b;
    r[2] = a - b;
    r[3] = c + e;
    r[4] = c - e;
    r[5] = (A2 * B2) * d[1] - (A2 + B2) * d[3] + d[5];
}
template <typename V> inline void transform_weight(const V (&g)[3], V (&r)[6]) {
    constexpr float at_a = 1 / (2 * A2 * (A2 - B2)), at_b = 1 / (2 * B2 * (B2 - A2));
    const V a = at_a * g[0] + (at_a * A2) * g[2], b = (at_a * A) * g[1], c = at_b * g[0] + (at_b * B2) * g[2], e = (at_b * B) * g[1];
    r[0] = (1 / (A2 * B2)) * g[0];
    r[1] = a + b;
    r[2] = a - b;
    r[3] = c + e;
    r[4] = c - e;
    r[5] = g[2];
}
template <typename V> inline void transform_result(const V (&m)[6], V (&r)[4]) {
    const V a = m[1] + m[2], b = m[1] - m[2], c = m[3] + m[4], e = m[3] - m[4];
    r[0] = m[0] + a + c;
    r[1] = A * b + B * e;
    r[2] = A2 * a + B2 * c;
    r[3] = (A2 * A) * b + (B2 * B) * e + m[5];
}

// windows (POINTS x COLUMNS) to points, which lie `step` apart
void transform_windows(const float* windows, float* to, index_t step) {
    using V = Vector<float>;
    constexpr int C = COLUMNS<float>, L = LANES<float>;
    for (int half = 0; half < C; half += L) {
        V rows[SIDE][SIDE];
        for (int i = 0; i < SIDE; ++i) {
            V d[SIDE];
            for (int j = 0; j < SIDE; ++j) d[j] = load(windows + (j * SIDE + i) * C + half);
            V r[SIDE];
            transform_data(d, r);
            for (int j = 0; j < SIDE; ++j) rows[j][i] = r[j];
        }
        for (int j = 0; j < SIDE; ++j) {
            V r[SIDE];
            transform_data(rows[j], r);
            for (int i = 0; i < SIDE; ++i) store(to + (j * SIDE + i) * step + half, r[i]);
        }
    }
}

// A panel of the weight (channels x 9 x rows) to points of channels x rows each, `step` apart. Writes whole vectors.
void transform_panel(const float* panel, index_t channels, int rows, float* to, index_t step) {
    using V = Vector<float>;
    for (index_t channel = 0; channel < channels; ++channel, panel += 9 * rows, to += rows) {
        V lines[SIDE][3];
        for (int i = 0; i < 3; ++i) {
            const V g[3] = {load(panel + i * rows), load(panel + (3 + i) * rows), load(panel + (6 + i) * rows)};
            V r[SIDE];
            transform_weight(g, r);
            for (int j = 0; j < SIDE; ++j) lines[j][i] = r[j];
        }
        for (int j = 0; j < SIDE; ++j) {
            V r[SIDE];
            transform_weight(lines[j], r);
            for (int i = 0; i < SIDE; ++i) store(to + (j * SIDE + i) * step, r[i]);
        }
    }
}

// Where the tiles' outputs go.
struct Plane {
    float* data;
    index_t image_step, height, width, across, per_image;  // tiles of a row and of an image
};

// The points of one output channel (`step` apart) to 4x4 outputs of tiles [first, first + n).
void write_tiles(const float* points, index_t step, float bias, const Plane& plane, index_t first, index_t n) {
    using V = Vector<float>;
    constexpr int C = COLUMNS<float>, L = LANES<float>;
    alignas(64) float outputs[TILE * TILE * C];
    for (int half = 0; half < C; half += L) {
        V rows[TILE][SIDE];
        for (int i = 0; i < SIDE; ++i) {
            V m[SIDE];
            for (int j = 0; j < SIDE; ++j) m[j] = load(points + (j * SIDE + i) * step + half);
            V r[TILE];
            transform_result(m, r);
            for (int j = 0; j < TILE; ++j) rows[j][i] = r[j];
        }
        for (int j = 0; j < TILE; ++j) {
            V r[TILE];
            transform_result(rows[j], r);
            for (int i = 0; i < TILE; ++i) store(outputs + (j * TILE + i) * C + half, r[i] + bias);
        }
    }
    alignas(64) float turned[C * TILE * TILE + LANES<float>];  // a tile's outputs side by side
    for (int part = 0; part < TILE * TILE; part += L) {
        const float* lines[L];
        const int lanes = std::min(L, TILE * TILE - part);
        for (int r = 0; r < L; ++r) lines[r] = outputs + (part + std::min(r, lanes - 1)) * C;
        transpose_rows<float>(turned + part, TILE * TILE, lines, lanes, n, lanes == L);
    }
    for (index_t t = 0; t < n; ++t) {
        const index_t image = (first + t) / plane.per_image, place = (first + t) % plane.per_image;
        const index_t y = place / plane.across * TILE, x = place % plane.across * TILE;
        float* to = plane.data + image * plane.image_step + y * plane.width + x;
        const float* from = turned + t * TILE * TILE;
        const index_t height = std::min<index_t>(TILE, plane.height - y), width = std::min<index_t>(TILE, plane.width - x);
        if (height == TILE && width == TILE) {
            for (int i = 0; i < TILE; ++i) std::memcpy(to + i * plane.width, from + i * TILE, TILE * sizeof(float));
        } else {
            for (index_t i = 0; i < height; ++i) std::copy(from + i * TILE, from + i * TILE + width, to + i * plane.width);
        }
    }
}

// y (images, rows, height, width) = the correlation of data (images, channels, *size), `pad` zeros around it, with the 3x3 weight.
bool convolve(index_t images, index_t channels, index_t rows, const Index3& size, index_t height, index_t width, index_t pad_y, index_t pad_x,
              const float* data, const Weight<float>& weight, const std::vector<Tap>& taps, const float* bias, float* y) {
    constexpr int C = COLUMNS<float>;
    const index_t down = (height + TILE - 1) / TILE, across = (width + TILE - 1) / TILE, in = size[1] * size[2];
    View view{size, {1, down, across}, {1, TILE, TILE}, {}, images, channels, channels * in, in};
    for (index_t i = 0; i < POINTS; ++i) view.taps.push_back({{0, i / SIDE - pad_y, i % SIDE - pad_x}, i});
    const int panel = panel_rows(rows);
    const index_t panels = (rows + panel - 1) / panel, tiles = view.columns();
    const index_t point_step = rows * channels + LANES<float>;
    const npy_intp memory_size = POINTS * point_step * static_cast<npy_intp>(sizeof(float));
    PyArrayObject* memory = new_array(1, &memory_size, NPY_UINT8);
    if (memory == nullptr) return false;
    float* packed = data_of<float>(memory);
    {
        WithoutGil release;
        // Parts of neighbouring panels: a panel's last vectors spill into the next one, which has to be written later.
        const index_t parts = std::min<index_t>(thread_count(), panels), part = (panels + parts - 1) / parts;
        const auto pack = [&](index_t first, index_t last) {
            for (index_t i = first; i < last; ++i) {
                const index_t row = i * panel;
                const int m = static_cast<int>(std::min<index_t>(panel, rows - row));
                float* plain = workspace().left.get<float>(channels * 9 * panel + 2 * LANES<float>);
                pack_weight(weight, taps, row, m, m, 0, channels * 9, plain);
                if (i + 1 < last || last == panels) {
                    transform_panel(plain, channels, m, packed + row * channels, point_step);
                    continue;
                }
                float* apart = workspace().right.get<float>(POINTS * (channels * panel + LANES<float>));  // the next panel is another thread's
                transform_panel(plain, channels, m, apart, channels * panel + LANES<float>);
                for (int p = 0; p < POINTS; ++p) {
                    std::copy(apart + p * (channels * panel + LANES<float>), apart + p * (channels * panel + LANES<float>) + channels * m,
                              packed + p * point_step + row * channels);
                }
            }
        };
        parallel_for(parts, 1, [&](index_t begin, index_t end) {
            for (index_t i = begin; i < end; ++i) pack(i * part, std::min(panels, (i + 1) * part));
        });
        parallel_for((tiles + C - 1) / C, 1, [&](index_t begin, index_t end) {
            const index_t strip = 2;  // panels whose points stay in the cache
            float* windows_memory = workspace().left.get<float>(Windows<float>::panel_size(POINTS));
            float* points = workspace().right.get<float>(POINTS * C * (channels + strip * panel));
            float* results = points + POINTS * C * channels;
            Windows<float> windows(view, data, data + images * channels * in);
            const Plane plane{y, rows * height * width, height, width, across, down * across};
            for (index_t task = begin; task < end; ++task) {
                const index_t first = task * C, n = std::min<index_t>(C, tiles - first);
                windows.choose(first, first + n, false);
                for (index_t channel = 0; channel < channels; ++channel) {
                    windows.fill(channel, channels);
                    windows.pack_columns(0, channel * POINTS, POINTS, windows_memory);
                    transform_windows(windows_memory, points + channel * C, channels * C);
                }
                for (index_t i = 0; i < panels; i += strip) {
                    const index_t row = i * panel, count = std::min<index_t>(strip * panel, rows - row);
                    for (index_t p = 0; p < POINTS; ++p) {
                        for (index_t r = 0; r < count; r += panel) {
                            const int m = static_cast<int>(std::min<index_t>(panel, count - r));
                            tile_for<float>(m)(channels, packed + p * point_step + (row + r) * channels, points + p * channels * C,
                                               results + (p * count + r) * C, C, nullptr, false);
                        }
                    }
                    for (index_t r = 0; r < count; ++r) {
                        Plane channel = plane;
                        channel.data += (row + r) * height * width;
                        write_tiles(results + r * C, count * C, bias == nullptr ? 0.0f : bias[row + r], channel, first, n);
                    }
                }
            }
        });
    }
    Py_DECREF(memory);
    return true;
}

}  // namespace

template <> bool winograd_pays<float>(const Convolution& c) {
    if (LANES<float> < ROWS || c.groups != 1 || c.kernel != Index3{1, 3, 3} || c.stride != Index3{1, 1, 1} || c.dilation != Index3{1, 1, 1} || c.size[0] != 1 ||
        c.padding[0] != 0 || c.padding[1] > 2 || c.padding[2] > 2) {
        return false;
    }
    // The larger of both images: forward and gradient of one layer go the same way.
    const index_t tiles = c.images * ((c.out[1] + TILE - 1) / TILE) * ((c.out[2] + TILE - 1) / TILE);
    const bool filled = tiles * TILE * TILE * 2 <= c.images * c.out_positions() * 3;
    return filled && tiles >= 64 && c.inputs >= 32 && c.outputs >= 32 && c.inputs <= 1024 && c.outputs <= 1024;
}
template <> bool winograd_pays<double>(const Convolution&) { return false; }  // there accuracy is what counts

template <> bool winograd_forward<float>(const Convolution& c, const float* x, const float* w, const float* bias, float* y) {
    std::vector<Tap> taps;
    for (index_t i = 0; i < 9; ++i) taps.push_back({{0, 0, 0}, i});
    return convolve(c.images, c.inputs, c.outputs, c.size, c.out[1], c.out[2], c.padding[1], c.padding[2], x, {w, c.inputs * 9, 9}, taps, bias, y);
}

template <> bool winograd_input_gradient<float>(const Convolution& c, const float* g, const float* w, float* dx) {
    std::vector<Tap> taps;  // the kernel turned round
    for (index_t i = 0; i < 9; ++i) taps.push_back({{0, 0, 0}, 8 - i});
    return convolve(c.images, c.outputs, c.inputs, c.out, c.size[1], c.size[2], 2 - c.padding[1], 2 - c.padding[2], g, {w, 9, c.inputs * 9}, taps, nullptr,
                    dx);
}

template <> bool winograd_forward<double>(const Convolution&, const double*, const double*, const double*, double*) { return false; }
template <> bool winograd_input_gradient<double>(const Convolution&, const double*, const double*, double*) { return false; }

}  // namespace rushlight
