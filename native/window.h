// What a convolution reads of its input: for every output position (a column) and every (channel, kernel tap) one element, zero outside of the
// image. Windows packs blocks of this matrix; it exists only in blocks, never whole.
#pragma once

#include <algorithm>
#include <vector>

#include "arguments.h"
#include "tile.h"

namespace rushlight {

struct Tap {
    Index3 offset;  // added to position * step
    index_t at;     // the place in the weight's flat kernel
};

// Columns are the positions of `grid` in `images` images, one after the other; column p of an image looks at p * step + tap.offset of each of
// `channels` channels of `size`, which lie `channel` elements apart and the images `image` elements apart.
struct View {
    Index3 size, grid, step;
    std::vector<Tap> taps;
    index_t images, channels, image, channel;

    index_t positions() const { return grid[0] * grid[1] * grid[2]; }
    index_t columns() const { return images * positions(); }
    index_t depth() const { return channels * static_cast<index_t>(taps.size()); }
};

// Buffers of one thread.
struct Workspace {
    Scratch slab, lines, left, right;
};
inline Workspace& workspace() {
    static thread_local Workspace memory;
    return memory;
}

template <typename T> class Windows {
  public:
    // data_end: where the memory ends that data lies in (whole vectors are read).
    Windows(const View& view, const T* data, const T* data_end) : view_(view), data_(data), end_(data_end), memory_(workspace()) { prepare_taps(); }

    // Chooses columns [begin, end); the pack functions work on those.
    void choose(index_t begin, index_t end) {
        count_ = end - begin;
        segments_.clear();
        runs_.clear();
        const index_t positions = view_.positions();
        index_t slab = 0;
        for (index_t column = begin; column < end;) {
            const index_t image = column / positions, first = column % positions;
            const index_t n = std::min(end - column, positions - first);
            add_segment(image, first, first + n, column - begin, &slab);
            column += n;
        }
        slab_ = memory_.slab.get<T>(slab + 2 * LANES<T>);
    }

    // Elements that a buffer for pack_columns needs.
    static index_t panel_size(index_t depth) { return (depth * COLUMNS<T> + LANES<T> + 15) / 16 * 16; }

    // Rows [k, k + depth) of the chosen columns as panels of depth x COLUMNS, panel_size(depth) apart.
    void pack_columns(index_t k, index_t depth, T* to) {
        const index_t taps = static_cast<index_t>(view_.taps.size()), panel = panel_size(depth);
        for (index_t row = 0; row < depth;) {
            const index_t channel = (k + row) / taps, first = (k + row) % taps;
            const index_t n = std::min(taps - first, depth - row);
            fill(channel);
            for (index_t t = first; t < first + n; ++t, ++row) {
                T* place = to + row * COLUMNS<T>;
                for (const Run& run : runs_) {
                    const Segment& segment = segments_[run.segment];
                    copy_vectors(place + run.panel * panel + run.to, segment.source + segment.tap_offset[t] + run.from, run.count);
                }
            }
        }
    }

    // The transpose: columns become the depth. Rows [k, k + rows) of the matrix as panels of (chosen columns) x COLUMNS.
    void pack_rows(index_t k, index_t rows, T* to) {
        constexpr int L = LANES<T>;
        const index_t taps = static_cast<index_t>(view_.taps.size()), panel = panel_size(count_);
        const index_t length = count_ + 2 * L;
        T* lines = memory_.lines.get<T>(length * L);
        index_t filled = -1;
        for (index_t row = 0; row < rows; row += L) {
            const int n = static_cast<int>(std::min<index_t>(L, rows - row));
            const T* pointers[L];
            for (int i = 0; i < n; ++i) {
                const index_t channel = (k + row + i) / taps, t = (k + row + i) % taps;
                if (channel != filled) fill(channel);
                filled = channel;
                T* line = lines + i * length;
                pointers[i] = line;
                for (const Run& run : runs_) {
                    const Segment& segment = segments_[run.segment];
                    copy_vectors(line + run.panel * COLUMNS<T> + run.to, segment.source + segment.tap_offset[t] + run.from, run.count);
                }
            }
            for (int i = n; i < L; ++i) pointers[i] = lines;
            transpose_rows<T>(to + row / COLUMNS<T> * panel + row % COLUMNS<T>, COLUMNS<T>, pointers, n, count_, true);
        }
        if ((rows + L - 1) / L % 2 == 1) {  // an unused second half
            T* half = to + rows / COLUMNS<T> * panel + L;
            for (index_t i = 0; i < count_; ++i) store(half + i * COLUMNS<T>, Vector<T>{});
        }
    }

    // Calls visit(column, source, tap_offsets, count) for stretches of the chosen columns (counted from the first chosen one) in a channel: tap t's
    // elements are source[tap_offsets[t] ...]; whole vectors may be read.
    template <typename F> void each_run(index_t channel, F visit) {
        fill(channel);
        for (const Run& run : runs_) {
            const Segment& segment = segments_[run.segment];
            visit(run.panel * COLUMNS<T> + run.to, segment.source + run.from, segment.tap_offset.data(), run.count);
        }
    }

  private:
    // A stretch of columns in one row of one image and one panel: their elements lie side by side.
    struct Run {
        index_t segment, panel, to, from, count;
    };
    // The chosen columns of one image, and the box of the image that they see: the low corner and the extent in input coordinates.
    struct Segment {
        index_t image;
        Index3 low, extent;
        index_t plane, line, phase;  // steps of the slab (or of the image, where that is read as it is)
        bool direct;                 // the image is read as it is: nothing of the box lies outside
        index_t slab;                // where its room in the slab begins
        const T* source;
        std::vector<index_t> tap_offset;

        index_t span() const { return (extent[0] - 1) * plane + (extent[1] - 1) * line + extent[2]; }
    };

    void prepare_taps() {
        for (int i = 0; i < 3; ++i) {
            lowest_[i] = highest_[i] = view_.taps.empty() ? 0 : view_.taps[0].offset[i];
            for (const Tap& tap : view_.taps) {
                lowest_[i] = std::min(lowest_[i], tap.offset[i]);
                highest_[i] = std::max(highest_[i], tap.offset[i]);
            }
            needed_[i].assign(view_.step[i], 0);
            for (const Tap& tap : view_.taps) needed_[i][(tap.offset[i] - lowest_[i]) % view_.step[i]] = 1;
        }
    }

    void add_segment(index_t image, index_t first, index_t last, index_t column, index_t* slab) {
        const Index3& grid = view_.grid;
        const Index3& step = view_.step;
        Index3 low_position{first / (grid[1] * grid[2]), 0, 0}, high_position{(last - 1) / (grid[1] * grid[2]), grid[1] - 1, grid[2] - 1};
        if (low_position[0] == high_position[0]) {
            low_position[1] = first / grid[2] % grid[1];
            high_position[1] = (last - 1) / grid[2] % grid[1];
            if (low_position[1] == high_position[1]) {
                low_position[2] = first % grid[2];
                high_position[2] = (last - 1) % grid[2];
            }
        }
        Segment segment;
        segment.image = image;
        bool inside = step[2] == 1;
        for (int i = 0; i < 3; ++i) {
            segment.low[i] = low_position[i] * step[i] + lowest_[i];
            segment.extent[i] = high_position[i] * step[i] + highest_[i] + 1 - segment.low[i];
            inside = inside && segment.low[i] >= 0 && segment.low[i] + segment.extent[i] <= view_.size[i];
        }
        if (inside) {
            segment.phase = 0;
            segment.line = view_.size[2];
            segment.plane = view_.size[1] * view_.size[2];
        } else {
            segment.phase = (segment.extent[2] + step[2] - 1) / step[2];
            segment.line = segment.phase * step[2];
            segment.plane = segment.line * segment.extent[1];
        }
        segment.direct = inside;
        segment.slab = *slab;
        *slab += inside ? segment.span() + LANES<T> : segment.plane * segment.extent[0];
        for (const Tap& tap : view_.taps) {
            const index_t across = tap.offset[2] - lowest_[2];
            segment.tap_offset.push_back((tap.offset[0] - lowest_[0]) * segment.plane + (tap.offset[1] - lowest_[1]) * segment.line +
                                         across % step[2] * segment.phase + across / step[2]);
        }
        const index_t index = static_cast<index_t>(segments_.size());
        for (index_t position = first; position < last;) {
            const index_t w = position % grid[2], h = position / grid[2] % grid[1], d = position / (grid[1] * grid[2]);
            const index_t from = (d - low_position[0]) * step[0] * segment.plane + (h - low_position[1]) * step[1] * segment.line + w - low_position[2];
            const index_t to = column % COLUMNS<T>;
            index_t n = std::min(last - position, COLUMNS<T> - to);
            // Rows that follow each other without a gap are one.
            const bool seamless = inside && grid[2] == view_.size[2] && step[1] == 1 && (grid[1] == view_.size[1] || low_position[0] == high_position[0]);
            if (!seamless) n = std::min(n, grid[2] - w);
            runs_.push_back({index, column / COLUMNS<T>, to, from, n});
            position += n;
            column += n;
        }
        segments_.push_back(std::move(segment));
    }

    // Makes the chosen part of a channel readable: every segment's source.
    void fill(index_t channel) {
        for (Segment& segment : segments_) {
            const T* from = data_ + segment.image * view_.image + channel * view_.channel;
            if (segment.direct) {
                segment.source = from + segment.low[0] * segment.plane + segment.low[1] * segment.line + segment.low[2];
                const index_t span = segment.span();
                if (segment.source + span + LANES<T> > end_) {  // too near to the end of the memory for whole vectors
                    std::memcpy(static_cast<void*>(slab_ + segment.slab), segment.source, static_cast<std::size_t>(span) * sizeof(T));
                    segment.source = slab_ + segment.slab;
                }
                continue;
            }
            T* to = slab_ + segment.slab;
            segment.source = to;
            for (index_t d = 0; d < segment.extent[0]; ++d) {
                if (!needed_[0][d % view_.step[0]]) continue;
                const index_t at_d = segment.low[0] + d;
                for (index_t h = 0; h < segment.extent[1]; ++h) {
                    if (!needed_[1][h % view_.step[1]]) continue;
                    const index_t at_h = segment.low[1] + h;
                    T* line = to + d * segment.plane + h * segment.line;
                    const bool outside = at_d < 0 || at_d >= view_.size[0] || at_h < 0 || at_h >= view_.size[1];
                    fill_line(line, outside ? nullptr : from + (at_d * view_.size[1] + at_h) * view_.size[2], segment);
                }
            }
        }
    }

    // One row of a slab: its elements with zeros left and right, sorted by what is left when the step divides them.
    void fill_line(T* line, const T* from, const Segment& segment) {
        const index_t step = view_.step[2], low = segment.low[2], width = view_.size[2];
        if (from == nullptr) {
            std::memset(static_cast<void*>(line), 0, static_cast<std::size_t>(segment.line) * sizeof(T));
            return;
        }
        const index_t begin = std::min(segment.extent[2], std::max<index_t>(0, -low)), end = std::max(begin, std::min(segment.extent[2], width - low));
        if (step == 1) {
            for (index_t i = 0; i < begin; ++i) line[i] = T(0);
            std::memcpy(static_cast<void*>(line + begin), from + low + begin, static_cast<std::size_t>(end - begin) * sizeof(T));
            for (index_t i = end; i < segment.extent[2]; ++i) line[i] = T(0);
            return;
        }
        for (index_t phase = 0; phase < step; ++phase) {
            if (!needed_[2][phase]) continue;
            T* part = line + phase * segment.phase;
            for (index_t i = 0; i < segment.phase; ++i) {
                const index_t at = i * step + phase;
                part[i] = at >= begin && at < end ? from[low + at] : T(0);
            }
        }
    }

    const View& view_;
    const T *data_, *end_;
    Index3 lowest_, highest_;
    std::vector<char> needed_[3];
    index_t count_ = 0;
    T* slab_ = nullptr;
    std::vector<Segment> segments_;
    std::vector<Run> runs_;
    Workspace& memory_;
};

}  // namespace rushlight
