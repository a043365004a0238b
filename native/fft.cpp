// Fourier transforms of many lines at once, one line to a lane of a vector: Stockham's passes of radix 2 to 13, forward alone (an inverse transform has real
// and imaginary parts exchanged at both ends). Two real lines make one complex one. A long line is cut into a matrix, whose columns and rows are the lines
// (D. H. Bailey, "FFTs in external or hierarchical memory", 1990).
#include <algorithm>
#include <cmath>
#include <complex>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "function.h"
#include "pool.h"
#include "tile.h"
#include "vmath.h"

namespace rushlight {
namespace {

constexpr index_t MOST_LANED = 4096, LARGEST_RADIX = 13;
constexpr std::size_t MOST_PLANS = 64;
constexpr double TURN = 6.283185307179586476925;

template <typename T> using Complex = std::complex<T>;
template <typename T> using V = Vector<T>;
template <typename T> struct Lane {
    V<T> re, im;
};

// exp(-2 pi i k / n)
template <typename T> Complex<T> root(index_t k, index_t n) {
    const double angle = -TURN * static_cast<double>(k % n) / static_cast<double>(n);
    return {static_cast<T>(std::cos(angle)), static_cast<T>(std::sin(angle))};
}

// The passes of one length: each radix and, for the passes after it, its twiddles [(j - 1) * rest + i].
template <typename T> struct Plan {
    struct Pass {
        index_t radix, done, rest;
        std::vector<Complex<T>> twiddles, roots;
    };
    index_t n;
    std::vector<Pass> passes;

    explicit Plan(index_t length) : n(length) {
        index_t left = n, done = 1;
        for (const index_t radix : {4, 2, 3, 5, 7, 11, 13}) {
            while (left % radix == 0 && left > 1) {
                left /= radix;
                Pass pass{radix, done, n / (done * radix), {}, {}};
                for (index_t j = 1; j < radix; ++j) for (index_t i = 0; i < pass.rest; ++i) pass.twiddles.push_back(root<T>(j * done * i, n));
                for (index_t j = 0; j < radix; ++j) pass.roots.push_back(root<T>(j, radix));
                passes.push_back(std::move(pass));
                done *= radix;
            }
        }
    }
};

template <typename F> auto cached(index_t n, F make) {  // one of each kind and length, for all threads
    static std::mutex mutex;
    static std::map<index_t, decltype(make())> known;
    const std::lock_guard<std::mutex> lock(mutex);
    auto found = known.find(n);
    if (found == known.end()) {
        if (known.size() >= MOST_PLANS) known.clear();
        found = known.emplace(n, make()).first;
    }
    return found->second;
}
template <typename T> std::shared_ptr<const Plan<T>> plan_of(index_t n) {
    return cached(n, [n] { return std::make_shared<const Plan<T>>(n); });
}
template <typename T> std::shared_ptr<const std::vector<Complex<T>>> roots_of(index_t n) {  // exp(-2 pi i k / n) for all k < n
    return cached(n, [n] {
        auto table = std::make_shared<std::vector<Complex<T>>>(static_cast<std::size_t>(n));
        for (index_t k = 0; k < n; ++k) (*table)[static_cast<std::size_t>(k)] = root<T>(k, n);
        return std::shared_ptr<const std::vector<Complex<T>>>(table);
    });
}

template <typename T> std::shared_ptr<const std::vector<Complex<T>>> turns_of(index_t n, index_t rows) {  // of a line cut into so many rows: [k * columns + j]
    return cached(n, [n, rows] {
        auto table = std::make_shared<std::vector<Complex<T>>>(static_cast<std::size_t>(n));
        const index_t columns = n / rows;
        for (index_t k = 0; k < rows; ++k) for (index_t j = 0; j < columns; ++j) (*table)[static_cast<std::size_t>(k * columns + j)] = root<T>(k * j, n);
        return std::shared_ptr<const std::vector<Complex<T>>>(table);
    });
}

index_t without_small_factors(index_t n) {
    for (const index_t radix : {2, 3, 5, 7, 11, 13}) while (n > 1 && n % radix == 0) n /= radix;
    return n;
}

// The divisor of n next to its root, not above it.
index_t middle(index_t n) {
    index_t best = 1;
    for (index_t d = 1; d * d <= n; ++d) if (n % d == 0) best = d;
    return best;
}

// --- butterflies ----------------------------------------------------------------------------------------------------------------------------

template <typename T> RL_INLINE Lane<T> operator+(const Lane<T>& a, const Lane<T>& b) { return {a.re + b.re, a.im + b.im}; }
template <typename T> RL_INLINE Lane<T> operator-(const Lane<T>& a, const Lane<T>& b) { return {a.re - b.re, a.im - b.im}; }
template <typename T> RL_INLINE Lane<T> scaled(const Lane<T>& a, T s) { return {a.re * s, a.im * s}; }
template <typename T> RL_INLINE Lane<T> times(const Lane<T>& a, Complex<T> w) {
    const T r = w.real(), i = w.imag();
    return {a.re * r - a.im * i, a.re * i + a.im * r};
}
template <typename T> RL_INLINE Lane<T> minus_i(const Lane<T>& a) { return {a.im, -a.re}; }

template <typename T, int R> RL_INLINE void butterfly(Lane<T> (&x)[R]) {
    if constexpr (R == 2) {
        const Lane<T> a = x[0], b = x[1];
        x[0] = a + b;
        x[1] = a - b;
    } else if constexpr (R == 3) {
        const Lane<T> sum = x[1] + x[2], turn = minus_i(scaled(x[1] - x[2], T(0.866025403784438646763723170752936183)));
        const Lane<T> base = x[0] - scaled(sum, T(0.5));
        x[0] = x[0] + sum;
        x[1] = base + turn;
        x[2] = base - turn;
    } else if constexpr (R == 4) {
        const Lane<T> a = x[0] + x[2], b = x[0] - x[2], c = x[1] + x[3], d = minus_i(x[1] - x[3]);
        x[0] = a + c;
        x[1] = b + d;
        x[2] = a - c;
        x[3] = b - d;
    } else {
        static_assert(R == 5);
        constexpr T c1 = T(0.309016994374947424102293417182819), c2 = T(-0.809016994374947424102293417182819);
        constexpr T s1 = T(0.951056516295153572116439333379382), s2 = T(0.587785252292473129168705954639073);
        const Lane<T> a = x[1] + x[4], b = x[2] + x[3], c = x[1] - x[4], d = x[2] - x[3];
        const Lane<T> p = x[0] + scaled(a, c1) + scaled(b, c2), q = x[0] + scaled(a, c2) + scaled(b, c1);
        const Lane<T> u = minus_i(scaled(c, s1) + scaled(d, s2)), v = minus_i(scaled(c, s2) - scaled(d, s1));
        x[0] = x[0] + a + b;
        x[1] = p + u;
        x[2] = q + v;
        x[3] = q - v;
        x[4] = p - u;
    }
}

template <typename T, int R> void pass(const typename Plan<T>::Pass& p, const Lane<T>* from, Lane<T>* to) {
    const Complex<T>* w = p.twiddles.data();
    for (index_t k = 0; k < p.done; ++k) {
        for (index_t i = 0; i < p.rest; ++i) {
            Lane<T> x[R];
#pragma GCC unroll 8
            for (int j = 0; j < R; ++j) x[j] = from[i + p.rest * (j + R * k)];
            butterfly<T, R>(x);
            to[i + p.rest * k] = x[0];
#pragma GCC unroll 8
            for (int j = 1; j < R; ++j) to[i + p.rest * (k + p.done * j)] = i == 0 ? x[j] : times(x[j], w[(j - 1) * p.rest + i]);
        }
    }
}

template <typename T> void any_pass(const typename Plan<T>::Pass& p, const Lane<T>* from, Lane<T>* to) {
    const Complex<T>* w = p.twiddles.data();
    for (index_t k = 0; k < p.done; ++k) {
        for (index_t i = 0; i < p.rest; ++i) {
            for (index_t j = 0; j < p.radix; ++j) {
                Lane<T> sum = from[i + p.rest * p.radix * k];
                for (index_t l = 1; l < p.radix; ++l) sum = sum + times(from[i + p.rest * (l + p.radix * k)], p.roots[static_cast<std::size_t>(j * l % p.radix)]);
                to[i + p.rest * (k + p.done * j)] = i == 0 || j == 0 ? sum : times(sum, w[(j - 1) * p.rest + i]);
            }
        }
    }
}

// Transforms `a`; `b` is scratch of the same size. Returns where the result lies.
template <typename T> Lane<T>* transform(const Plan<T>& plan, Lane<T>* a, Lane<T>* b) {
    for (const auto& p : plan.passes) {
        switch (p.radix) {
            case 2: pass<T, 2>(p, a, b); break;
            case 3: pass<T, 3>(p, a, b); break;
            case 4: pass<T, 4>(p, a, b); break;
            case 5: pass<T, 5>(p, a, b); break;
            default: any_pass<T>(p, a, b);
        }
        std::swap(a, b);
    }
    return a;
}

// --- lines between memory and lanes ---------------------------------------------------------------------------------------------------------

// Lines of an array (outer, n, inner); those of a group lie side by side in memory (`together`) or anywhere.
struct Lines {
    index_t outer, n, inner;
    index_t count() const { return outer * inner; }
    index_t start(index_t line) const { return line / inner * n * inner + line % inner; }
    bool together(index_t line, index_t lanes) const { return line % inner + lanes <= inner; }
};

// Complex numbers side by side, and their real and imaginary parts in two vectors.
template <typename T> struct Interleaved {
    typename VectorOf<T>::index even, odd, low, high;
    Interleaved() {
        constexpr int L = LANES<T>;
        for (int j = 0; j < L; ++j) {
            even[j] = 2 * j;
            odd[j] = 2 * j + 1;
            low[j] = j / 2 + (j % 2) * L;
            high[j] = L / 2 + j / 2 + (j % 2) * L;
        }
    }
    RL_INLINE Lane<T> read(const T* p) const {
        const V<T> a = load(p), b = load(p + LANES<T>);
        return {__builtin_shuffle(a, b, even), __builtin_shuffle(a, b, odd)};
    }
    RL_INLINE void write(V<T> re, V<T> im, T* p) const {
        store(p, __builtin_shuffle(re, im, low));
        store(p + LANES<T>, __builtin_shuffle(re, im, high));
    }
};

// rows[r][k] = factor * from[k * step + r] for lanes rows of n numbers: blocks turned over their diagonals.
template <typename T> void write_rows(const T* from, index_t step, T* const* rows, int lanes, index_t n, T factor) {
    constexpr int L = LANES<T>;
    index_t k = 0;
    for (; k + L <= n; k += L) {
        V<T> v[L];
#pragma GCC unroll 16
        for (int i = 0; i < L; ++i) v[i] = load(from + (k + i) * step) * factor;
        transpose_block<T>(v);
        for (int r = 0; r < lanes; ++r) store(rows[r] + k, v[r]);
    }
    for (; k < n; ++k) for (int r = 0; r < lanes; ++r) rows[r][k] = from[k * step + r] * factor;
}

// The memory of lines first, first + 1, ... of an array whose numbers are `size` T.
template <typename T> struct Rows {  // T may be const
    T* at[LANES<std::remove_const_t<T>>];
    Rows(const Lines& q, T* from, index_t first, int lanes, index_t size) {
        for (int j = 0; j < lanes; ++j) at[j] = from + q.start(first + j) * size;
    }
};

// x[k] lane j = a number of line first + j; unused lanes are zero.
template <typename T> void read_complex(const Lines& q, const Complex<T>* from, index_t first, int lanes, bool exchange, Lane<T>* x) {
    if (q.inner == 1) {  // rows side by side are columns of real and imaginary parts in turn
        const Rows<const T> rows(q, reinterpret_cast<const T*>(from), first, lanes, 2);
        transpose_rows<T>(reinterpret_cast<T*>(x), LANES<T>, rows.at, lanes, 2 * q.n, true);
        if (exchange) for (index_t k = 0; k < q.n; ++k) std::swap(x[k].re, x[k].im);
        return;
    }
    if (lanes < LANES<T>) std::fill(x, x + q.n, Lane<T>{});
    const Interleaved<T> order;
    if (q.together(first, lanes)) {
        const T* base = reinterpret_cast<const T*>(from + q.start(first));
        for (index_t k = 0; k < q.n; ++k) {
            const T* p = base + 2 * k * q.inner;
            if (lanes == LANES<T>) {
                x[k] = order.read(p);
                continue;
            }
            for (int j = 0; j < lanes; ++j) {
                x[k].re[j] = p[2 * j];
                x[k].im[j] = p[2 * j + 1];
            }
        }
    } else {
        for (int j = 0; j < lanes; ++j) {
            const Complex<T>* p = from + q.start(first + j);
            T* to = reinterpret_cast<T*>(x) + j;
            for (index_t k = 0; k < q.n; ++k) {
                to[2 * LANES<T> * k] = p[k * q.inner].real();
                to[2 * LANES<T> * k + LANES<T>] = p[k * q.inner].imag();
            }
        }
    }
    if (exchange) for (index_t k = 0; k < q.n; ++k) std::swap(x[k].re, x[k].im);
}

template <typename T> void write_complex(const Lines& q, Lane<T>* x, index_t first, int lanes, bool exchange, T factor, Complex<T>* to) {
    if (q.inner == 1) {
        if (exchange) for (index_t k = 0; k < q.n; ++k) std::swap(x[k].re, x[k].im);
        const Rows<T> rows(q, reinterpret_cast<T*>(to), first, lanes, 2);
        return write_rows<T>(reinterpret_cast<const T*>(x), LANES<T>, rows.at, lanes, 2 * q.n, factor);
    }
    const Interleaved<T> order;
    if (q.together(first, lanes)) {
        for (index_t k = 0; k < q.n; ++k) {
            const V<T> re = (exchange ? x[k].im : x[k].re) * factor, im = (exchange ? x[k].re : x[k].im) * factor;
            T* p = reinterpret_cast<T*>(to + q.start(first)) + 2 * k * q.inner;
            if (lanes == LANES<T>) {
                order.write(re, im, p);
                continue;
            }
            for (int j = 0; j < lanes; ++j) {
                p[2 * j] = re[j];
                p[2 * j + 1] = im[j];
            }
        }
        return;
    }
    for (int j = 0; j < lanes; ++j) {
        const T *re = reinterpret_cast<const T*>(x) + j + (exchange ? LANES<T> : 0), *im = reinterpret_cast<const T*>(x) + j + (exchange ? 0 : LANES<T>);
        Complex<T>* p = to + q.start(first + j);
        for (index_t k = 0; k < q.n; ++k) p[k * q.inner] = {re[2 * LANES<T> * k] * factor, im[2 * LANES<T> * k] * factor};
    }
}

template <typename T> struct Buffers {  // of one thread
    Lane<T>*a, *b, *more;
    explicit Buffers(index_t n, index_t others = 0) {
        static thread_local Scratch scratch;
        a = scratch.get<Lane<T>>(2 * n + others);
        b = a + n;
        more = b + n;
    }
};

template <typename T, typename F> void each_group(index_t lines, index_t n, F f) {  // f(first line, how many)
    const index_t groups = (lines + LANES<T> - 1) / LANES<T>;
    parallel_for(groups, ELEMENTS_PER_THREAD / (n * LANES<T>) + 1, [&](index_t begin, index_t end) {
        for (index_t g = begin; g < end; ++g) f(g * LANES<T>, static_cast<int>(std::min<index_t>(LANES<T>, lines - g * LANES<T>)));
    });
}

// One line that lies together, cut into a matrix of `rows` rows. `to` may be `from`.
template <typename T> void long_line(index_t n, index_t rows, const Complex<T>* from, bool exchange, T factor, Complex<T>* to) {
    const index_t columns = n / rows;
    const auto down = plan_of<T>(rows), across = plan_of<T>(columns);
    const auto table = turns_of<T>(n, rows);
    const Interleaved<T> order;
    std::vector<Complex<T>> work(static_cast<std::size_t>(n));
    each_group<T>(columns, rows, [&](index_t first, int lanes) {
        const Lines q{1, rows, columns};
        Buffers<T> buffers(rows);
        read_complex(q, from, first, lanes, exchange, buffers.a);
        Lane<T>* x = transform(*down, buffers.a, buffers.b);
        for (index_t k = 1; k < rows; ++k) {
            const T* w = reinterpret_cast<const T*>(table->data() + k * columns + first);
            Lane<T> turn{};
            if (lanes == LANES<T>) {
                turn = order.read(w);
            } else {
                for (int j = 0; j < lanes; ++j) {
                    turn.re[j] = w[2 * j];
                    turn.im[j] = w[2 * j + 1];
                }
            }
            x[k] = {x[k].re * turn.re - x[k].im * turn.im, x[k].re * turn.im + x[k].im * turn.re};
        }
        write_complex(q, x, first, lanes, false, T(1), work.data());
    });
    each_group<T>(rows, columns, [&](index_t first, int lanes) {
        Buffers<T> buffers(columns);
        read_complex(Lines{rows, columns, 1}, work.data(), first, lanes, false, buffers.a);
        write_complex(Lines{1, columns, rows}, transform(*across, buffers.a, buffers.b), first, lanes, exchange, factor, to);
    });
}

// How a line is transformed: in lanes, or cut into so many rows.
struct Way {
    bool possible = false;
    index_t rows = 0;  // 0: in lanes

    template <typename T> static Way of(index_t n, index_t lines) {
        Way way;
        if (n < 2 || without_small_factors(n) != 1) return way;
        way.possible = true;
        if (n > MOST_LANED || (lines < LANES<T> / 2 && n >= 16 * LANES<T>)) {
            const index_t rows = middle(n);
            if (rows >= LANES<T> / 2 && n / rows <= MOST_LANED) way.rows = rows;
            else way.possible = n <= MOST_LANED;
        }
        return way;
    }
};

// All lines along one dimension of complex numbers. `to` may be `from`.
template <typename T> void complex_lines(const Lines& q, Way way, const Complex<T>* from, bool inverse, T factor, Complex<T>* to) {
    if (way.rows == 0) {
        const auto plan = plan_of<T>(q.n);
        each_group<T>(q.count(), q.n, [&](index_t first, int lanes) {
            Buffers<T> buffers(q.n);
            read_complex(q, from, first, lanes, inverse, buffers.a);
            write_complex(q, transform(*plan, buffers.a, buffers.b), first, lanes, inverse, factor, to);
        });
        return;
    }
    std::vector<Complex<T>> line(static_cast<std::size_t>(q.inner == 1 ? 0 : q.n));
    for (index_t i = 0; i < q.count(); ++i) {
        const index_t start = q.start(i);
        if (q.inner == 1) {
            long_line(q.n, way.rows, from + start, inverse, factor, to + start);
            continue;
        }
        for (index_t k = 0; k < q.n; ++k) line[static_cast<std::size_t>(k)] = from[start + k * q.inner];
        long_line(q.n, way.rows, line.data(), inverse, factor, line.data());
        for (index_t k = 0; k < q.n; ++k) to[start + k * q.inner] = line[static_cast<std::size_t>(k)];
    }
}

// --- real lines -----------------------------------------------------------------------------------------------------------------------------

// A group is of twice as many real lines: those of the second half are the imaginary parts.
template <typename T> void read_real(const Lines& q, const T* from, index_t first, int lanes, Lane<T>* x) {
    if (q.inner == 1) {
        for (int part = 0; part < 2; ++part) {
            const int here = std::max(0, std::min<int>(LANES<T>, lanes - part * LANES<T>));
            const Rows<const T> rows(q, from, first + part * LANES<T>, here, 1);
            transpose_rows<T>(reinterpret_cast<T*>(x) + part * LANES<T>, 2 * LANES<T>, rows.at, here, q.n, true);
        }
        return;
    }
    if (lanes < 2 * LANES<T>) std::fill(x, x + q.n, Lane<T>{});
    for (int j = 0; j < lanes; ++j) {
        const T* p = from + q.start(first + j);
        T* to = reinterpret_cast<T*>(x) + j;      // im lies behind re
        for (index_t k = 0; k < q.n; ++k) to[2 * LANES<T> * k] = p[k * q.inner];
    }
}

// The spectra of both halves: the even and the odd part of what was found.
template <typename T> void separate(index_t n, index_t terms, const Lane<T>* x, bool conjugate, T factor, Lane<T>* first, Lane<T>* second) {
    const T half = factor / 2, sign = conjugate ? -half : half;
    for (index_t k = 0; k < terms; ++k) {
        const Lane<T> a = x[k], b = x[k == 0 ? 0 : n - k];
        first[k] = {(a.re + b.re) * half, (a.im - b.im) * sign};
        second[k] = {(a.im + b.im) * half, (b.re - a.re) * sign};
    }
}

template <typename T> void real_lines(const Lines& q, const T* from, index_t terms, bool conjugate, T factor, Complex<T>* to) {
    const auto plan = plan_of<T>(q.n);
    const Lines out{q.outer, terms, q.inner};
    const index_t pairs = (q.count() + 2 * LANES<T> - 1) / (2 * LANES<T>);
    parallel_for(pairs, ELEMENTS_PER_THREAD / (q.n * LANES<T>) + 1, [&](index_t begin, index_t end) {
        for (index_t g = begin; g < end; ++g) {
            const index_t first = g * 2 * LANES<T>;
            const int lanes = static_cast<int>(std::min<index_t>(2 * LANES<T>, q.count() - first)), rest = lanes - LANES<T>;
            Buffers<T> buffers(q.n, 2 * terms);
            read_real(q, from, first, lanes, buffers.a);
            separate(q.n, terms, transform(*plan, buffers.a, buffers.b), conjugate, factor, buffers.more, buffers.more + terms);
            write_complex(out, buffers.more, first, std::min<int>(lanes, LANES<T>), false, T(1), to);
            if (rest > 0) write_complex(out, buffers.more + terms, first + LANES<T>, rest, false, T(1), to);
        }
    });
}

// A long real line of even length that lies together: its pairs are complex numbers.
template <typename T> void long_real_line(index_t n, index_t rows, const T* from, bool conjugate, T factor, Complex<T>* to) {
    const index_t h = n / 2;
    std::vector<Complex<T>> z(static_cast<std::size_t>(h) + 1);
    long_line(h, rows, reinterpret_cast<const Complex<T>*>(from), false, T(1), z.data());
    z[static_cast<std::size_t>(h)] = z[0];
    const auto table = roots_of<T>(n);
    const T half = factor / 2, sign = conjugate ? -half : half;
    const T *forward = reinterpret_cast<const T*>(z.data()), *turns = reinterpret_cast<const T*>(table->data());
    T* out = reinterpret_cast<T*>(to);
    for (index_t k = 0; k <= h; ++k) {
        const T *a = forward + 2 * k, *b = forward + 2 * (h - k);
        const T er = a[0] + b[0], ei = a[1] - b[1], dr = a[0] - b[0], di = a[1] + b[1], wr = turns[2 * k], wi = turns[2 * k + 1];
        out[2 * k] = (er + (wr * di + wi * dr)) * half;
        out[2 * k + 1] = (ei + (wi * di - wr * dr)) * sign;
    }
}

// What two half spectra (the second may be none) are the transform of; real and imaginary parts come exchanged, for the inverse.
template <typename T> void combine(index_t n, const Lane<T>* u, const Lane<T>* v, Lane<T>* x) {
    for (index_t k = 0; 2 * k <= n; ++k) {
        const bool real = k == 0 || 2 * k == n;
        const V<T> zero{}, ui = real ? zero : u[k].im, vi = real || v == nullptr ? zero : v[k].im, vr = v == nullptr ? zero : v[k].re;
        x[k] = {ui + vr, u[k].re - vi};
        if (!real) x[n - k] = {vr - ui, u[k].re + vi};
    }
}

template <typename T> void half_lines(const Lines& q, index_t n, const Complex<T>* from, T factor, T* to) {
    const auto plan = plan_of<T>(n);
    const Lines out{q.outer, n, q.inner};
    const index_t pairs = (q.count() + 2 * LANES<T> - 1) / (2 * LANES<T>);
    parallel_for(pairs, ELEMENTS_PER_THREAD / (n * LANES<T>) + 1, [&](index_t begin, index_t end) {
        for (index_t g = begin; g < end; ++g) {
            const index_t first = g * 2 * LANES<T>;
            const int lanes = static_cast<int>(std::min<index_t>(2 * LANES<T>, q.count() - first)), rest = lanes - LANES<T>;
            Buffers<T> buffers(n, 2 * q.n);
            read_complex(q, from, first, std::min<int>(lanes, LANES<T>), false, buffers.more);
            if (rest > 0) read_complex(q, from, first + LANES<T>, rest, false, buffers.more + q.n);
            combine(n, buffers.more, rest > 0 ? buffers.more + q.n : nullptr, buffers.a);
            const T* x = reinterpret_cast<const T*>(transform(*plan, buffers.a, buffers.b));
            for (int part = 0; part < (rest > 0 ? 2 : 1); ++part) {      // exchanged: the first half's numbers are the imaginary parts
                const T* p = x + (part == 0 ? LANES<T> : 0);
                const int here = part == 0 ? std::min<int>(lanes, LANES<T>) : rest;
                const Rows<T> rows(out, to, first + part * LANES<T>, here, 1);
                if (q.inner == 1) {
                    write_rows<T>(p, 2 * LANES<T>, rows.at, here, n, factor);
                    continue;
                }
                for (int j = 0; j < here; ++j) for (index_t k = 0; k < n; ++k) rows.at[j][k * q.inner] = p[2 * LANES<T> * k + j] * factor;
            }
        }
    });
}

template <typename T> void long_half_line(index_t n, index_t rows, const Complex<T>* from, T factor, T* to) {
    const index_t h = n / 2;
    std::vector<Complex<T>> z(static_cast<std::size_t>(h));
    const auto table = roots_of<T>(n);
    for (index_t k = 0; k < h; ++k) {
        Complex<T> a = from[k], b = from[h - k];
        if (k == 0) a = a.real(), b = b.real();
        const Complex<T> w = (*table)[static_cast<std::size_t>(k)];
        const T er = a.real() + b.real(), ei = a.imag() - b.imag(), dr = a.real() - b.real(), di = a.imag() + b.imag();
        const T odd_re = dr * w.real() + di * w.imag(), odd_im = di * w.real() - dr * w.imag();
        z[static_cast<std::size_t>(k)] = {er - odd_im, ei + odd_re};
    }
    long_line(h, rows, z.data(), true, factor, reinterpret_cast<Complex<T>*>(to));
}

// --- what Python calls ----------------------------------------------------------------------------------------------------------------------

constexpr int MOST_AXES = 16;
struct Axes {
    int count = 0, at[MOST_AXES];

    [[nodiscard]] bool read(PyObject* tuple, int ndim) {
        if (!PyTuple_Check(tuple) || PyTuple_GET_SIZE(tuple) < 1 || PyTuple_GET_SIZE(tuple) > MOST_AXES) return false;
        for (count = 0; count < PyTuple_GET_SIZE(tuple); ++count) {
            const long axis = PyLong_AsLong(PyTuple_GET_ITEM(tuple, count));
            if (axis == -1 && PyErr_Occurred()) PyErr_Clear();
            at[count] = static_cast<int>(axis < 0 ? axis + ndim : axis);
            if (at[count] < 0 || at[count] >= ndim) return false;
        }
        return true;
    }
};

Lines lines_of(int ndim, const npy_intp* shape, int axis) {
    Lines q{1, shape[axis], 1};
    for (int i = 0; i < axis; ++i) q.outer *= shape[i];
    for (int i = axis + 1; i < ndim; ++i) q.inner *= shape[i];
    return q;
}

// What the sums over n terms are multiplied by.
bool read_factor(PyObject* scaling, double n, double* factor) {
    if (!PyUnicode_Check(scaling)) return false;
    *factor = PyUnicode_CompareWithASCIIString(scaling, "none") == 0 ? 1 : PyUnicode_CompareWithASCIIString(scaling, "root") == 0 ? 1 / std::sqrt(n) : 1 / n;
    return true;
}

template <typename T> constexpr int COMPLEX_TYPE = sizeof(T) == 4 ? NPY_CFLOAT : NPY_CDOUBLE;
template <typename T> constexpr int REAL_TYPE = sizeof(T) == 4 ? NPY_FLOAT : NPY_DOUBLE;

double terms(const Axes& axes, const npy_intp* shape) {
    double n = 1;
    for (int i = 0; i < axes.count; ++i) n *= static_cast<double>(shape[axes.at[i]]);
    return n;
}

template <typename T> bool ways_of(const Axes& axes, int first, int end, int ndim, const npy_intp* shape, Way* ways) {
    for (int i = first; i < end; ++i) {
        const Lines q = lines_of(ndim, shape, axes.at[i]);
        if (q.count() == 0) return false;
        ways[i] = q.n == 1 ? Way{true, 0} : Way::of<T>(q.n, q.count());
        if (!ways[i].possible) return false;
    }
    return true;
}

// (complex array, dimensions, scaling, forward)
template <typename T> PyObject* complex_transform_of(PyObject* const* args) {
    Contiguous a(args[0], COMPLEX_TYPE<T>);
    if (!a) return nullptr;
    const int ndim = PyArray_NDIM(a.get());
    Axes axes;
    Way ways[MOST_AXES];
    double factor;
    if (!axes.read(args[1], ndim) || !ways_of<T>(axes, 0, axes.count, ndim, PyArray_DIMS(a.get()), ways)) return nullptr;
    if (!read_factor(args[2], terms(axes, PyArray_DIMS(a.get())), &factor)) return nullptr;
    const bool inverse = args[3] != Py_True;
    PyArrayObject* out = new_like(a.get());
    if (out == nullptr) return nullptr;
    WithoutGil release(a.size() > 4096);
    const Complex<T>* from = a.data<Complex<T>>();
    for (int i = 0; i < axes.count; ++i) {
        const Lines q = lines_of(ndim, PyArray_DIMS(out), axes.at[i]);
        complex_lines<T>(q, ways[i], from, inverse, i == 0 ? static_cast<T>(factor) : T(1), data_of<Complex<T>>(out));
        from = data_of<Complex<T>>(out);
    }
    return reinterpret_cast<PyObject*>(out);
}

PyObject* complex_transform(PyObject* const* args, Py_ssize_t count) {
    if (count != 4 || !PyArray_CheckExact(args[0])) return nullptr;
    const int type = PyArray_TYPE(as_array(args[0]));
    return type == NPY_CFLOAT ? complex_transform_of<float>(args) : type == NPY_CDOUBLE ? complex_transform_of<double>(args) : nullptr;
}

// (real array, dimensions, scaling, forward, whether all terms of the last dimension are wanted)
template <typename T> PyObject* real_transform_of(PyObject* const* args) {
    Contiguous a(args[0], REAL_TYPE<T>);
    if (!a) return nullptr;
    const int ndim = PyArray_NDIM(a.get());
    Axes axes;
    Way ways[MOST_AXES];
    double factor;
    if (!axes.read(args[1], ndim)) return nullptr;
    npy_intp shape[MAX_DIMS];
    std::copy_n(PyArray_DIMS(a.get()), ndim, shape);
    const int last = axes.at[axes.count - 1];
    const Lines q = lines_of(ndim, shape, last);
    const bool all = flag(args[4]) == 1, conjugate = args[3] != Py_True;
    Way way = Way::of<T>(q.n, q.count());
    if (way.possible && way.rows != 0) {
        way = q.n % 2 == 0 && q.inner == 1 ? Way::of<T>(q.n / 2, 1) : Way();
        way.possible = way.possible && way.rows != 0;
    }
    shape[last] = all ? q.n : q.n / 2 + 1;
    if (!way.possible || a.size() == 0 || !ways_of<T>(axes, 0, axes.count - 1, ndim, shape, ways)) return nullptr;
    if (!read_factor(args[2], terms(axes, PyArray_DIMS(a.get())), &factor)) return nullptr;
    PyArrayObject* out = new_array(ndim, shape, COMPLEX_TYPE<T>);
    if (out == nullptr) return nullptr;
    WithoutGil release(a.size() > 4096);
    Complex<T>* to = data_of<Complex<T>>(out);
    if (way.rows == 0) {
        real_lines<T>(q, a.data<T>(), shape[last], conjugate, static_cast<T>(factor), to);
    } else {
        for (index_t i = 0; i < q.outer; ++i) {
            Complex<T>* line = to + i * shape[last];
            long_real_line<T>(q.n, way.rows, a.data<T>() + i * q.n, conjugate, static_cast<T>(factor), line);
            for (index_t k = 1; all && 2 * k < q.n; ++k) line[q.n - k] = std::conj(line[k]);
        }
    }
    for (int i = 0; i < axes.count - 1; ++i) complex_lines<T>(lines_of(ndim, shape, axes.at[i]), ways[i], to, conjugate, T(1), to);
    return reinterpret_cast<PyObject*>(out);
}

PyObject* real_transform(PyObject* const* args, Py_ssize_t count) {
    const int type = count == 5 ? float_type(args[0]) : -1;
    return type == NPY_FLOAT ? real_transform_of<float>(args) : type == NPY_DOUBLE ? real_transform_of<double>(args) : nullptr;
}

// (half spectra, dimensions, scaling, how many real numbers the last dimension has): the inverse transform
template <typename T> PyObject* half_transform_of(PyObject* const* args) {
    Contiguous a(args[0], COMPLEX_TYPE<T>);
    if (!a) return nullptr;
    const int ndim = PyArray_NDIM(a.get());
    Axes axes;
    Way ways[MOST_AXES];
    double factor;
    const index_t n = PyLong_AsSsize_t(args[3]);
    if (!axes.read(args[1], ndim) || PyErr_Occurred()) return nullptr;
    const int last = axes.at[axes.count - 1];
    const Lines q = lines_of(ndim, PyArray_DIMS(a.get()), last);
    Way way = Way::of<T>(n, q.count());
    if (way.possible && way.rows != 0) {
        way = n % 2 == 0 && q.inner == 1 ? Way::of<T>(n / 2, 1) : Way();
        way.possible = way.possible && way.rows != 0;
    }
    if (!way.possible || q.n != n / 2 + 1 || a.size() == 0 || !ways_of<T>(axes, 0, axes.count - 1, ndim, PyArray_DIMS(a.get()), ways)) return nullptr;
    npy_intp shape[MAX_DIMS];
    std::copy_n(PyArray_DIMS(a.get()), ndim, shape);
    shape[last] = n;
    if (!read_factor(args[2], terms(axes, shape), &factor)) return nullptr;
    PyArrayObject* out = new_array(ndim, shape, REAL_TYPE<T>);
    if (out == nullptr) return nullptr;
    WithoutGil release(a.size() > 4096);
    const Complex<T>* from = a.data<Complex<T>>();
    std::vector<Complex<T>> work(axes.count > 1 ? static_cast<std::size_t>(a.size()) : 0);
    for (int i = 0; i < axes.count - 1; ++i) {
        complex_lines<T>(lines_of(ndim, PyArray_DIMS(a.get()), axes.at[i]), ways[i], from, true, T(1), work.data());
        from = work.data();
    }
    if (way.rows == 0) {
        half_lines<T>(q, n, from, static_cast<T>(factor), data_of<T>(out));
    } else {
        for (index_t i = 0; i < q.outer; ++i) long_half_line<T>(n, way.rows, from + i * q.n, static_cast<T>(factor), data_of<T>(out) + i * n);
    }
    return reinterpret_cast<PyObject*>(out);
}

PyObject* half_transform(PyObject* const* args, Py_ssize_t count) {
    if (count != 4 || !PyArray_CheckExact(args[0])) return nullptr;
    const int type = PyArray_TYPE(as_array(args[0]));
    return type == NPY_CFLOAT ? half_transform_of<float>(args) : type == NPY_CDOUBLE ? half_transform_of<double>(args) : nullptr;
}

}  // namespace

extern const NativeFunction fft_functions[] = {
    {"complex_transform", complex_transform}, {"real_transform", real_transform}, {"half_transform", half_transform}, {nullptr, nullptr}};

}  // namespace rushlight
