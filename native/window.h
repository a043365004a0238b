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
    Scratch slab, left, right;
};
inline Workspace& workspace() {
    static thread_local Workspace memory;
    return memory;
}

template <typename T> class Windows {
  public:
    // A stretch of at most LANES columns in one row of one image: their elements lie side by side. `to` is its place among the panels' slots.
    struct Piece {
        index_t segment, to, from, count;
    };

    // data_end: where the memory ends that data lies in (whole vectors are read).
    Windows(const View& view, const T* data, const T* data_end) : view_(view), data_(data), end_(data_end), memory_(workspace()) { prepare_taps(); }

    // Whether columns take few more slots when every row of a grid begins a vector of its own: nothing has to be packed then.
    static bool loose_pays(const View& view) {
        const index_t width = view.grid[2];
        return view.positions() == width || (width + LANES<T> - 1) / LANES<T> * LANES<T> * 3 <= width * 4;
    }

    // Chooses columns [begin, end) and gives them slots in panels: one after the other, or (loose) every piece in a vector of its own.
    void choose(index_t begin, index_t end, bool loose) {
        loose_ = loose;
        segments_.clear();
        pieces_.clear();
        const index_t positions = view_.positions();
        for (index_t column = begin; column < end;) {
            const index_t image = column / positions, first = column % positions;
            const index_t n = std::min(end - column, positions - first);
            add_segment(image, first, first + n);
            column += n;
        }
        lay_out();
        slots_ = 0;
        for (const Segment& segment : segments_) slots_ = add_pieces(segment, slots_);
        panel_pieces_.clear();
        for (std::size_t i = 0; i < pieces_.size(); ++i) {
            if (pieces_[i].to % COLUMNS<T> == 0) panel_pieces_.push_back(i);
        }
        panel_pieces_.push_back(pieces_.size());
        sources_.resize(pieces_.size());
        filled_ = filled_end_ = -1;
    }

    index_t panels() const { return (slots_ + COLUMNS<T> - 1) / COLUMNS<T>; }

    // Elements that a buffer for a panel of this depth needs.
    static index_t panel_size(index_t depth) { return depth * COLUMNS<T> + 2 * LANES<T>; }

    // Rows [k, k + depth) of one panel of the chosen columns, as depth x COLUMNS. Rows of many channels are asked for panel by panel.
    void pack_columns(index_t panel, index_t k, index_t depth, T* to) {
        const index_t taps = static_cast<index_t>(view_.taps.size()), last = (k + depth - 1) / taps + 1;
        index_t channel = k / taps, tap = k % taps;
        const Piece *begin = pieces_.data() + panel_pieces_[panel], *end = pieces_.data() + panel_pieces_[panel + 1];
        for (index_t row = 0; row < depth; ++channel, tap = 0) {
            fill(channel, last);
            const index_t base = (channel - filled_) * channel_step_;
            const T* const* sources = sources_.data() + panel_pieces_[panel];
            for (; tap < taps && row < depth; ++tap, ++row, to += COLUMNS<T>) {
                const index_t offset = base + tap_offsets_[tap];
                // Whole vectors are written, in order: what one writes too much, the next one covers.
                for (const Piece* piece = begin; piece < end; ++piece) store(to + piece->to % COLUMNS<T>, load(sources[piece - begin] + offset));
            }
        }
    }

    // For loose columns in place of packing: row i of [k, k + depth) of a panel is in the vectors at low + offsets[i] and high + offsets[i]. False
    // where the channels are too many to be readable at once.
    bool find_columns(index_t panel, index_t k, index_t depth, const T** low, const T** high, index_t* offsets) {
        const index_t taps = static_cast<index_t>(view_.taps.size()), last = (k + depth - 1) / taps + 1;
        index_t channel = k / taps, tap = k % taps;
        fill(channel, last);
        if (!loose_ || filled_end_ < last) return false;
        const std::size_t first = panel_pieces_[panel];
        *low = sources_[first];
        *high = sources_[std::min(first + 1, panel_pieces_[panel + 1] - 1)];
        for (index_t row = 0; row < depth; ++channel, tap = 0) {
            const index_t base = (channel - filled_) * channel_step_;
            for (; tap < taps && row < depth; ++tap, ++row) offsets[row] = base + tap_offsets_[tap];
        }
        return true;
    }

    // The transpose: columns (chosen without loose) become the depth. Rows [k, k + rows) of the matrix, at most COLUMNS, as columns x COLUMNS.
    // `last` is the end of the channels that will be asked for.
    void pack_rows(index_t k, index_t rows, index_t last, T* to) {
        constexpr int L = LANES<T>;
        const index_t taps = static_cast<index_t>(view_.taps.size());
        for (index_t row = 0; row < COLUMNS<T>; row += L, to += L) {
            const int n = static_cast<int>(std::max<index_t>(0, std::min<index_t>(L, rows - row)));
            for (index_t i = 0; n == 0 && i < slots_; ++i) store(to + i * COLUMNS<T>, Vector<T>{});
            for (int done = 0; done < n;) {
                // As many rows as are readable at once; nearly always all.
                fill((k + row + done) / taps, last);
                index_t offsets[L] = {};
                int ready = done;
                for (; ready < n && (k + row + ready) / taps < filled_end_; ++ready) {
                    offsets[ready] = ((k + row + ready) / taps - filled_) * channel_step_ + tap_offsets_[(k + row + ready) % taps];
                }
                for (std::size_t i = 0; i < pieces_.size(); ++i) {
                    Vector<T> v[L];
#pragma GCC unroll 16
                    for (int r = 0; r < L; ++r) v[r] = r >= done && r < ready ? load(sources_[i] + offsets[r]) : Vector<T>{};
                    transpose_block<T>(v);
                    T* place = to + pieces_[i].to * COLUMNS<T>;
                    for (index_t j = 0; j < pieces_[i].count; ++j) {
                        store(place + j * COLUMNS<T>, done == 0 ? v[j] : v[j] + load(place + j * COLUMNS<T>));
                    }
                }
                done = ready;
            }
        }
    }

    // Makes the chosen part of a channel readable, and of the ones up to `last` while there is room.
    void fill(index_t channel, index_t last) {
        if (channel >= filled_ && channel < filled_end_) return;
        filled_ = channel;
        filled_end_ = direct_ ? view_.channels : std::min(last, channel + std::max<index_t>(1, SLAB_SIZE / channel_step_));
        if (!direct_) slab_ = memory_.slab.get<T>((filled_end_ - filled_) * channel_step_ + 2 * LANES<T>);
        for (index_t c = filled_; c < filled_end_ && !direct_; ++c) {
            for (const Segment& segment : segments_) {
                fill_slab(segment, data_ + segment.image * view_.image + c * view_.channel, slab_ + (c - filled_) * channel_step_ + segment.room);
            }
        }
        for (std::size_t i = 0; i < pieces_.size(); ++i) {
            const Segment& segment = segments_[pieces_[i].segment];
            sources_[i] = pieces_[i].from + (direct_ ? data_ + segment.image * view_.image + channel * view_.channel + corner(segment) : slab_ + segment.room);
        }
    }

    // The chosen columns in pieces. Tap t's elements of piece i are at source(i, channel) + tap_offsets()[t]; whole vectors may be read.
    const std::vector<Piece>& pieces() const { return pieces_; }
    const T* source(index_t piece, index_t channel) const { return sources_[piece] + (channel - filled_) * channel_step_; }
    const index_t* tap_offsets() const { return tap_offsets_.data(); }

  private:
    static constexpr index_t SLAB_SIZE = (index_t(1) << 20) / static_cast<index_t>(sizeof(T));

    // The chosen columns [first, last) of one image, and the box of the image that they see: the low corner and the extent in input coordinates.
    struct Segment {
        index_t image, first, last;
        Index3 low_position, low, extent;
        index_t room;  // where its room in a channel's slab begins
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

    void add_segment(index_t image, index_t first, index_t last) {
        const Index3 &grid = view_.grid, &step = view_.step;
        Index3 low{first / (grid[1] * grid[2]), 0, 0}, high{(last - 1) / (grid[1] * grid[2]), grid[1] - 1, grid[2] - 1};
        if (low[0] == high[0]) {
            low[1] = first / grid[2] % grid[1];
            high[1] = (last - 1) / grid[2] % grid[1];
            if (low[1] == high[1]) {
                low[2] = first % grid[2];
                high[2] = (last - 1) % grid[2];
            }
        }
        Segment segment{image, first, last, low, {}, {}, 0};
        for (int i = 0; i < 3; ++i) {
            segment.low[i] = low[i] * step[i] + lowest_[i];
            segment.extent[i] = high[i] * step[i] + highest_[i] + 1 - segment.low[i];
        }
        segments_.push_back(segment);
    }

    // How the boxes lie in memory: as they are in the images where nothing of them lies outside, else in slabs of one size, whose rows are
    // sorted by what is left when the step divides the place: neighbouring columns are neighbours then.
    void lay_out() {
        const Index3& step = view_.step;
        direct_ = step[2] == 1;
        Index3 extent{1, 1, 1};
        for (const Segment& segment : segments_) {
            for (int i = 0; i < 3; ++i) {
                extent[i] = std::max(extent[i], segment.extent[i]);
                direct_ = direct_ && segment.low[i] >= 0 && segment.low[i] + segment.extent[i] <= view_.size[i];
            }
        }
        if (direct_) {  // not so near to the end of the memory that a whole vector would reach over it
            line_ = view_.size[2];
            plane_ = view_.size[1] * line_;
            for (const Segment& segment : segments_) {
                const T* from = data_ + segment.image * view_.image + (view_.channels - 1) * view_.channel + corner(segment);
                direct_ = direct_ && from + span(segment) + LANES<T> <= end_;
            }
        }
        phase_ = (extent[2] + step[2] - 1) / step[2];
        line_ = direct_ ? view_.size[2] : phase_ * step[2];
        plane_ = line_ * (direct_ ? view_.size[1] : extent[1]);
        channel_step_ = direct_ ? view_.channel : 0;
        for (Segment& segment : segments_) {
            segment.room = channel_step_;
            if (!direct_) channel_step_ += plane_ * extent[0];
        }
        tap_offsets_.clear();
        for (const Tap& tap : view_.taps) {
            const index_t across = tap.offset[2] - lowest_[2];
            tap_offsets_.push_back((tap.offset[0] - lowest_[0]) * plane_ + (tap.offset[1] - lowest_[1]) * line_ + across % step[2] * phase_ +
                                   across / step[2]);
        }
    }

    index_t span(const Segment& segment) const { return (segment.extent[0] - 1) * plane_ + (segment.extent[1] - 1) * line_ + segment.extent[2]; }

    index_t corner(const Segment& segment) const { return segment.low[0] * plane_ + segment.low[1] * line_ + segment.low[2]; }

    index_t add_pieces(const Segment& segment, index_t slot) {
        const Index3 &grid = view_.grid, &step = view_.step;
        const Index3& low = segment.low_position;
        // Rows that follow each other without a gap are one.
        const bool seamless = direct_ && grid[2] == view_.size[2] && step[1] == 1 && step[0] == 1 && (grid[1] == view_.size[1] || grid[0] == 1);
        for (index_t position = segment.first; position < segment.last;) {
            const index_t w = position % grid[2], h = position / grid[2] % grid[1], d = position / (grid[1] * grid[2]);
            const index_t from = (d - low[0]) * step[0] * plane_ + (h - low[1]) * step[1] * line_ + w - low[2];
            index_t n = std::min<index_t>(segment.last - position, loose_ ? LANES<T> : std::min<index_t>(LANES<T>, COLUMNS<T> - slot % COLUMNS<T>));
            if (!seamless) n = std::min(n, grid[2] - w);
            pieces_.push_back({&segment - segments_.data(), slot, from, n});
            position += n;
            slot += loose_ ? LANES<T> : n;
        }
        return slot;
    }

    void fill_slab(const Segment& segment, const T* from, T* to) const {
        for (index_t d = 0; d < segment.extent[0]; ++d) {
            if (!needed_[0][d % view_.step[0]]) continue;
            const index_t at_d = segment.low[0] + d;
            for (index_t h = 0; h < segment.extent[1]; ++h) {
                if (!needed_[1][h % view_.step[1]]) continue;
                const index_t at_h = segment.low[1] + h;
                const bool outside = at_d < 0 || at_d >= view_.size[0] || at_h < 0 || at_h >= view_.size[1];
                fill_line(to + d * plane_ + h * line_, outside ? nullptr : from + (at_d * view_.size[1] + at_h) * view_.size[2], segment);
            }
        }
    }

    // One row of a slab: its elements with zeros left and right. Whole vectors are written, from left to right, and may reach into the next row,
    // which is written later.
    void fill_line(T* line, const T* from, const Segment& segment) const {
        const index_t step = view_.step[2], low = segment.low[2], width = view_.size[2], extent = segment.extent[2];
        if (from == nullptr) {
            fill_zeros(line, line + line_);
            return;
        }
        const index_t begin = std::min(extent, std::max<index_t>(0, -low)), end = std::max(begin, std::min(extent, width - low));
        if (step == 1) {
            fill_zeros(line, line + begin);
            if (from + low + end + LANES<T> <= end_) {
                copy_vectors(line + begin, from + low + begin, end - begin);
            } else {
                std::copy(from + low + begin, from + low + end, line + begin);
            }
            fill_zeros(line + end, line + extent);
            return;
        }
        for (index_t phase = 0; phase < step; ++phase) {
            if (!needed_[2][phase]) continue;
            T* part = line + phase * phase_;
            const index_t first = begin <= phase ? 0 : (begin - phase + step - 1) / step;
            const index_t last = std::max(first, end <= phase ? 0 : std::min(phase_, (end - phase + step - 1) / step));
            const T* source = from + low + phase;
            for (index_t i = 0; i < first; ++i) part[i] = T(0);
            if (step == 2) {
                for (index_t i = first; i < last; ++i) part[i] = source[i * 2];
            } else {
                for (index_t i = first; i < last; ++i) part[i] = source[i * step];
            }
            for (index_t i = last; i < phase_; ++i) part[i] = T(0);
        }
    }

    static void fill_zeros(T* from, T* to) {
        for (; from < to; from += LANES<T>) store(from, Vector<T>{});
    }

    const View& view_;
    const T *data_, *end_;
    Index3 lowest_, highest_;
    std::vector<char> needed_[3];
    index_t slots_ = 0, plane_ = 0, line_ = 0, phase_ = 0, channel_step_ = 0, filled_ = -1, filled_end_ = -1;
    bool direct_ = false, loose_ = false;
    T* slab_ = nullptr;
    std::vector<Segment> segments_;
    std::vector<Piece> pieces_;
    std::vector<const T*> sources_;
    std::vector<index_t> tap_offsets_;
    std::vector<std::size_t> panel_pieces_;
    Workspace& memory_;
};

}  // namespace rushlight
