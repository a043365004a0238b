// Orders along a dimension: stable sorting (radix sort), the k first, and the element of a rank. Elements become unsigned keys of the same order
// (nan last, -0 equal to 0, inverted for descending order) that carry their places.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>
#include <vector>

#include "function.h"
#include "pool.h"
#include "rushlight.h"
#include "types.h"

namespace rushlight {
namespace {

// The unsigned key of an element.
inline std::uint32_t key_of(float x) {
    std::uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    if (x == 0.0f) bits = 0;
    const std::uint32_t key = bits ^ ((bits >> 31) != 0 ? 0xffffffffu : 0x80000000u);
    return x != x ? 0xffffffffu : key;
}
inline std::uint64_t key_of(double x) {
    std::uint64_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    if (x == 0.0) bits = 0;
    const std::uint64_t key = bits ^ ((bits >> 63) != 0 ? ~std::uint64_t(0) : std::uint64_t(1) << 63);
    return x != x ? ~std::uint64_t(0) : key;
}
inline std::uint32_t key_of(std::int8_t x) { return static_cast<std::uint32_t>(x) ^ 0x80000000u; }
inline std::uint32_t key_of(std::int16_t x) { return static_cast<std::uint32_t>(x) ^ 0x80000000u; }
inline std::uint32_t key_of(std::int32_t x) { return static_cast<std::uint32_t>(x) ^ 0x80000000u; }
inline std::uint64_t key_of(std::int64_t x) { return static_cast<std::uint64_t>(x) ^ (std::uint64_t(1) << 63); }
inline std::uint32_t key_of(std::uint8_t x) { return x; }
inline std::uint32_t key_of(bool x) { return x; }

// Key and place in one: of two equal keys the earlier place is the smaller item.
struct Wide {
    std::uint64_t key, place;
    bool operator<(const Wide& other) const { return key < other.key || (key == other.key && place < other.place); }
};
inline std::uint64_t item_of(std::uint32_t key, index_t place, bool descending) {
    return static_cast<std::uint64_t>(descending ? ~key : key) << 32 | static_cast<std::uint64_t>(place);
}
inline Wide item_of(std::uint64_t key, index_t place, bool descending) { return {descending ? ~key : key, static_cast<std::uint64_t>(place)}; }
inline std::int64_t place_of(std::uint64_t item) { return static_cast<std::int64_t>(item & 0xffffffffu); }
inline std::int64_t place_of(const Wide& item) { return static_cast<std::int64_t>(item.place); }
inline std::uint64_t digit_source(std::uint64_t item) { return item >> 32; }
inline std::uint64_t digit_source(const Wide& item) { return item.key; }

constexpr int DIGIT = 11, BUCKETS = 1 << DIGIT;
constexpr index_t RADIX_FROM = 400;  // fewer elements are compared

// Sorts items that stand in the order of their places.
template <typename Item> void sort_items(std::vector<Item>& items, std::vector<Item>& spare) {
    const index_t n = static_cast<index_t>(items.size());
    if (n < RADIX_FROM) {
        std::sort(items.begin(), items.end());
        return;
    }
    constexpr int digits = (sizeof(Item) == 8 ? 32 + DIGIT - 1 : 64 + DIGIT - 1) / DIGIT;
    std::vector<index_t> counts(static_cast<std::size_t>(digits * BUCKETS));
    for (const Item& item : items) {
        const std::uint64_t key = digit_source(item);
        for (int d = 0; d < digits; ++d) ++counts[d * BUCKETS + (key >> (d * DIGIT) & (BUCKETS - 1))];
    }
    spare.resize(items.size());
    for (int d = 0; d < digits; ++d) {
        index_t* count = counts.data() + d * BUCKETS;
        if (*std::max_element(count, count + BUCKETS) == n) continue;  // all alike
        index_t at = 0;
        for (int b = 0; b < BUCKETS; ++b) {
            const index_t here = count[b];
            count[b] = at;
            at += here;
        }
        for (const Item& item : items) spare[count[digit_source(item) >> (d * DIGIT) & (BUCKETS - 1)]++] = item;
        items.swap(spare);
    }
}

// Rows along a dimension of a and of the result: bytes between elements, and where rows begin.
struct Rows {
    int ndim = 0, dim = 0;
    index_t shape[MAX_DIMS], steps[MAX_DIMS], result_steps[MAX_DIMS];
    index_t count = 1, size = 0, step = 0, result_step = 0;
    const char* data = nullptr;
    std::int64_t* result = nullptr;

    Rows(PyArrayObject* a, PyArrayObject* out, int along) : ndim(PyArray_NDIM(a)), dim(along) {
        for (int i = 0; i < ndim; ++i) {
            shape[i] = i == dim ? 1 : PyArray_DIM(a, i);
            steps[i] = PyArray_STRIDE(a, i);
            result_steps[i] = PyArray_STRIDE(out, i) / 8;
            count *= shape[i];
        }
        size = PyArray_DIM(a, dim);
        step = steps[dim];
        result_step = result_steps[dim];
        data = PyArray_BYTES(a);
        result = data_of<std::int64_t>(out);
    }
    void find(index_t row, const char** from, std::int64_t** to) const {
        *from = data;
        *to = result;
        for (int i = ndim - 1; i >= 0; --i) {
            const index_t at = row % shape[i];
            row /= shape[i];
            *from += at * steps[i];
            *to += at * result_steps[i];
        }
    }
};

template <typename T> using ItemOf = decltype(item_of(key_of(T()), 0, false));

template <typename T> void read_items(const char* from, index_t step, index_t n, bool descending, std::vector<ItemOf<T>>& items) {
    items.resize(static_cast<std::size_t>(n));
    for (index_t i = 0; i < n; ++i) items[i] = item_of(key_of(*reinterpret_cast<const T*>(from + i * step)), i, descending);
}

// The k smallest of few: a sorted list that most elements are compared with once.
template <typename T> void first_few(const char* from, index_t step, index_t n, index_t k, bool descending, std::vector<ItemOf<T>>& best) {
    best.clear();
    for (index_t i = 0; i < n; ++i) {
        constexpr index_t SOME = 64;
        if (step == index_t(sizeof(T)) && static_cast<index_t>(best.size()) == k && i + SOME <= n) {  // most elements are no better than the last: look at many at once
            const T* x = reinterpret_cast<const T*>(from) + i;
            const T last = *reinterpret_cast<const T*>(from + place_of(best.back()) * step);
            int hit = 0;
            if (descending) {
#pragma omp simd reduction(| : hit)
                for (index_t j = 0; j < SOME; ++j) hit |= !(x[j] <= last);
            } else {
#pragma omp simd reduction(| : hit)
                for (index_t j = 0; j < SOME; ++j) hit |= !(x[j] >= last);
            }
            if (!hit) {
                i += SOME - 1;
                continue;
            }
        }
        const auto item = item_of(key_of(*reinterpret_cast<const T*>(from + i * step)), i, descending);
        if (static_cast<index_t>(best.size()) == k) {
            if (!(item < best.back())) continue;
            best.pop_back();
        }
        best.insert(std::upper_bound(best.begin(), best.end(), item), item);
    }
}

constexpr index_t FEW = 64;

// The places of the first k elements in order.
template <typename T> void order_rows(const Rows& rows, index_t k, bool descending) {
    parallel_for(rows.count, std::max<index_t>(1, 4096 / (rows.size + 1)), [&](index_t begin, index_t end) {
        std::vector<ItemOf<T>> items, spare;
        for (index_t row = begin; row < end; ++row) {
            const char* from;
            std::int64_t* to;
            rows.find(row, &from, &to);
            if (k <= FEW && k * 4 <= rows.size) {
                first_few<T>(from, rows.step, rows.size, k, descending, items);
            } else {
                read_items<T>(from, rows.step, rows.size, descending, items);
                if (k < rows.size) {
                    std::nth_element(items.begin(), items.begin() + k, items.end());
                    std::sort(items.begin(), items.begin() + k);
                } else {
                    sort_items(items, spare);
                }
            }
            for (index_t i = 0; i < k; ++i) to[i * rows.result_step] = place_of(items[i]);
        }
    });
}

// The place of the element of each row's rank, which is what `result` holds before.
template <typename T> void select_rows(const Rows& rows) {
    parallel_for(rows.count, std::max<index_t>(1, 4096 / (rows.size + 1)), [&](index_t begin, index_t end) {
        std::vector<ItemOf<T>> items;
        for (index_t row = begin; row < end; ++row) {
            const char* from;
            std::int64_t* to;
            rows.find(row, &from, &to);
            read_items<T>(from, rows.step, rows.size, false, items);
            std::nth_element(items.begin(), items.begin() + *to, items.end());
            *to = place_of(items[*to]);
        }
    });
}

// The place of each row's lower median; nan is left out, or (not skip_nan) the first one is it.
template <typename T> void median_rows(const Rows& rows, bool skip_nan) {
    parallel_for(rows.count, std::max<index_t>(1, 4096 / (rows.size + 1)), [&](index_t begin, index_t end) {
        std::vector<ItemOf<T>> items;
        for (index_t row = begin; row < end; ++row) {
            const char* from;
            std::int64_t* to;
            rows.find(row, &from, &to);
            index_t bad = 0, first = -1;
            if constexpr (std::is_floating_point<T>::value) {
                for (index_t i = 0; i < rows.size; ++i) {
                    const T x = *reinterpret_cast<const T*>(from + i * rows.step);
                    if (x != x) {
                        if (bad++ == 0) first = i;
                    }
                }
            }
            if (bad > 0 && (!skip_nan || bad == rows.size)) {
                *to = first;
                continue;
            }
            read_items<T>(from, rows.step, rows.size, false, items);
            const auto middle = items.begin() + (rows.size - bad - 1) / 2;
            std::nth_element(items.begin(), middle, items.end());
            *to = place_of(*middle);
        }
    });
}

// The last place of each row's most frequent element, the smallest of several.
template <typename T> void mode_rows(const Rows& rows) {
    parallel_for(rows.count, std::max<index_t>(1, 4096 / (rows.size + 1)), [&](index_t begin, index_t end) {
        std::vector<ItemOf<T>> items, spare;
        for (index_t row = begin; row < end; ++row) {
            const char* from;
            std::int64_t* to;
            rows.find(row, &from, &to);
            read_items<T>(from, rows.step, rows.size, false, items);
            sort_items(items, spare);
            index_t most = 0;
            for (index_t i = 0; i < rows.size;) {
                index_t j = i + 1;
                while (j < rows.size && digit_source(items[j]) == digit_source(items[i])) ++j;
                if (j - i > most) {
                    most = j - i;
                    *to = place_of(items[j - 1]);
                }
                i = j;
            }
        }
    });
}

// Brings the element of rank k to its place by quickselect around the median of three. Which of equal elements comes there is part of what kthvalue returns.
template <typename T> void select_one(std::vector<T>& values, std::vector<std::int64_t>& places, index_t k) {
    const auto above = [](T x, T y) { return (x != x && y == y) || x > y; };  // nan is the largest
    const auto exchange = [&](index_t i, index_t j) {
        const T value = values[i];
        values[i] = values[j];
        values[j] = value;
        std::swap(places[i], places[j]);
    };
    index_t low = 0, high = static_cast<index_t>(values.size()) - 1;
    while (high > low) {
        if (high == low + 1) {
            if (above(values[low], values[high])) exchange(low, high);
            return;
        }
        exchange(low + (high - low) / 2, low + 1);
        if (above(values[low + 1], values[high])) exchange(low + 1, high);
        if (above(values[low], values[high])) exchange(low, high);
        if (above(values[low + 1], values[low])) exchange(low + 1, low);
        const T pivot = values[low];
        index_t i = low + 1, j = high;
        while (true) {
            do ++i;
            while (above(pivot, values[i]));
            do --j;
            while (above(values[j], pivot));
            if (j < i) break;
            exchange(i, j);
        }
        exchange(low, j);
        if (j <= k) low = i;
        if (j >= k) high = j - 1;
    }
}

template <typename T> void selected_rows(const Rows& rows, index_t k) {
    parallel_for(rows.count, std::max<index_t>(1, 4096 / (rows.size + 1)), [&](index_t begin, index_t end) {
        std::vector<T> values(rows.size);
        std::vector<std::int64_t> places(rows.size);
        for (index_t row = begin; row < end; ++row) {
            const char* from;
            std::int64_t* to;
            rows.find(row, &from, &to);
            for (index_t i = 0; i < rows.size; ++i) {
                values[i] = *reinterpret_cast<const T*>(from + i * rows.step);
                places[i] = i;
            }
            select_one(values, places, k);
            *to = places[k];
        }
    });
}

// Where each value belongs in the sorted run of its row: before equal ones, or (right) behind them. nan belongs at the end.
template <bool RIGHT, typename T> void search_part(const T* const* runs, index_t size, const T* values, int count, std::int64_t* out) {
    constexpr int SIDE = 8;  // searches that don't wait for one another
    const T* at[SIDE];
    for (int j = 0; j < count; ++j) at[j] = runs[j];
    const auto passes = [](T each, T value) { return RIGHT ? !(each > value) : !(each >= value); };
    index_t n = size;
    for (; n > 1; n -= n / 2) {
        const index_t half = n / 2;
        for (int j = 0; j < count; ++j) at[j] += half * static_cast<index_t>(passes(at[j][half - 1], values[j]));
    }
    for (int j = 0; j < count; ++j) out[j] = at[j] - runs[j] + (n == 1 && passes(*at[j], values[j]) ? 1 : 0);
}

template <typename T> void search_rows(const T* sorted, index_t size, index_t step, const T* values, index_t rows, index_t columns, bool right, std::int64_t* out) {
    parallel_for(rows * columns, 512, [&](index_t begin, index_t end) {
        const T* runs[8];
        for (index_t i = begin; i < end; i += 8) {
            const int count = static_cast<int>(std::min<index_t>(8, end - i));
            for (int j = 0; j < count; ++j) runs[j] = sorted + (step == 0 ? 0 : (i + j) / columns * step);
            right ? search_part<true>(runs, size, values + i, count, out + i) : search_part<false>(runs, size, values + i, count, out + i);
        }
    });
}

// Adds up the weights (or ones) of the values between each two neighbours of `edges`; the last bin holds its right edge.
template <typename T> void count_bins_of(const T* x, index_t n, const T* edges, index_t bins, const T* weights, double* counts) {
    const T low = edges[0], high = edges[bins], scale = static_cast<T>(bins) / (high - low);
    for (index_t i = 0; i < n; ++i) {
        const T value = x[i];
        if (!(value >= low && value <= high)) continue;
        index_t at = std::min<index_t>(bins - 1, std::max<index_t>(0, static_cast<index_t>((value - low) * scale)));  // where it is if they are equally wide
        if (!(edges[at] <= value && (value < edges[at + 1] || at == bins - 1))) {
            if (at > 0 && edges[at - 1] <= value && value < edges[at]) --at;
            else if (at + 2 <= bins && edges[at + 1] <= value && (value < edges[at + 2] || at + 2 == bins)) ++at;
            else at = std::min<index_t>(bins - 1, std::upper_bound(edges, edges + bins + 1, value) - edges - 1);
        }
        counts[at] += weights == nullptr ? 1.0 : static_cast<double>(weights[i]);
    }
}

// Calls f with a number of the array's type; false for other types.
template <typename F> bool with_type(int type, F f) {
    return with_one_of<float, double, std::int8_t, std::uint8_t, std::int16_t, std::int32_t, std::int64_t, bool>(type, f);
}

// Whether an array of a type that is sorted here has that dimension; no error is set where not: the twin looks, then.
bool check(PyObject* object, PyObject* dim_object, int* dim) {
    if (!PyArray_CheckExact(object) || !PyArray_ISBEHAVED_RO(as_array(object)) || !PyLong_CheckExact(dim_object)) return false;
    PyArrayObject* a = as_array(object);
    const long along = PyLong_AsLong(dim_object);
    if (along == -1 && PyErr_Occurred()) PyErr_Clear();
    if (along < 0 || along >= PyArray_NDIM(a) || PyArray_DIM(a, static_cast<int>(along)) >= std::numeric_limits<std::uint32_t>::max()) return false;
    *dim = static_cast<int>(along);
    return with_type(PyArray_TYPE(a), [](auto) {});
}

PyObject* order_of(PyArrayObject* a, int dim, index_t k, bool descending) {
    npy_intp shape[MAX_DIMS];
    std::copy(PyArray_DIMS(a), PyArray_DIMS(a) + PyArray_NDIM(a), shape);
    shape[dim] = k;
    PyArrayObject* out = new_array(PyArray_NDIM(a), shape, NPY_INT64);
    if (out == nullptr || PyArray_SIZE(out) == 0) return reinterpret_cast<PyObject*>(out);
    WithoutGil release(PyArray_SIZE(a) > 2000);
    const Rows rows(a, out, dim);
    with_type(PyArray_TYPE(a), [&](auto zero) { order_rows<decltype(zero)>(rows, k, descending); });
    return reinterpret_cast<PyObject*>(out);
}

// (a, dim, descending)
PyObject* order(PyObject* const* args, Py_ssize_t count) {
    int dim;
    if (count != 3 || !check(args[0], args[1], &dim)) return nullptr;
    return order_of(as_array(args[0]), dim, PyArray_DIM(as_array(args[0]), dim), args[2] == Py_True);
}

// (a, dim, k, descending)
PyObject* first(PyObject* const* args, Py_ssize_t count) {
    int dim;
    if (count != 4 || !check(args[0], args[1], &dim)) return nullptr;
    const Py_ssize_t k = PyLong_AsSsize_t(args[2]);
    if (k == -1 && PyErr_Occurred()) return nullptr;
    if (k < 0 || k > PyArray_DIM(as_array(args[0]), dim)) return PyErr_Format(PyExc_ValueError, "k is out of range");
    return order_of(as_array(args[0]), dim, k, args[3] == Py_True);
}

// (a, dim, ranks)
PyObject* at_rank(PyObject* const* args, Py_ssize_t count) {
    int dim;
    if (count != 3 || !check(args[0], args[1], &dim)) return nullptr;
    PyArrayObject* a = as_array(args[0]);
    if (!PyArray_CheckExact(args[2]) || PyArray_TYPE(as_array(args[2])) != NPY_INT64 || PyArray_NDIM(as_array(args[2])) != PyArray_NDIM(a)) return nullptr;
    PyArrayObject* out = as_array(PyArray_NewCopy(as_array(args[2]), NPY_CORDER));
    if (out == nullptr) return nullptr;
    bool good = true;
    for (int i = 0; i < PyArray_NDIM(a); ++i) good = good && PyArray_DIM(out, i) == (i == dim ? 1 : PyArray_DIM(a, i));
    for (index_t i = 0; i < PyArray_SIZE(out) && good; ++i) good = data_of<std::int64_t>(out)[i] >= 0 && data_of<std::int64_t>(out)[i] < PyArray_DIM(a, dim);
    if (!good) {
        Py_DECREF(out);
        return PyErr_Format(PyExc_ValueError, "a rank is out of range");
    }
    if (PyArray_SIZE(out) != 0) {
        WithoutGil release(PyArray_SIZE(a) > 2000);
        const Rows rows(a, out, dim);
        with_type(PyArray_TYPE(a), [&](auto zero) { select_rows<decltype(zero)>(rows); });
    }
    return reinterpret_cast<PyObject*>(out);
}

// What finds one place per row: a new array of places, of size 1 in the dimension.
template <typename F> PyObject* places_of_rows(PyObject* object, PyObject* dim_object, F f) {
    int dim;
    if (!check(object, dim_object, &dim)) return nullptr;
    PyArrayObject* a = as_array(object);
    if (PyArray_DIM(a, dim) == 0) return PyErr_Format(PyExc_ValueError, "the dimension is empty");
    npy_intp shape[MAX_DIMS];
    std::copy(PyArray_DIMS(a), PyArray_DIMS(a) + PyArray_NDIM(a), shape);
    shape[dim] = 1;
    PyArrayObject* out = new_array(PyArray_NDIM(a), shape, NPY_INT64);
    if (out == nullptr || PyArray_SIZE(out) == 0) return reinterpret_cast<PyObject*>(out);
    WithoutGil release(PyArray_SIZE(a) > 2000);
    const Rows rows(a, out, dim);
    with_type(PyArray_TYPE(a), [&](auto zero) { f(rows, zero); });
    return reinterpret_cast<PyObject*>(out);
}

// (a, dim, k)
PyObject* selected_places(PyObject* const* args, Py_ssize_t count) {
    if (count != 3) return nullptr;
    const Py_ssize_t k = PyLong_AsSsize_t(args[2]);
    if (k == -1 && PyErr_Occurred()) return nullptr;
    int dim;
    if (!check(args[0], args[1], &dim)) return nullptr;
    if (k < 0 || k >= PyArray_DIM(as_array(args[0]), dim)) return PyErr_Format(PyExc_ValueError, "k is out of range");
    return places_of_rows(args[0], args[1], [&](const Rows& rows, auto zero) { selected_rows<decltype(zero)>(rows, k); });
}

PyObject* median_places(PyObject* const* args, Py_ssize_t count) {
    if (count != 3) return nullptr;
    const bool skip_nan = args[2] == Py_True;
    return places_of_rows(args[0], args[1], [&](const Rows& rows, auto zero) { median_rows<decltype(zero)>(rows, skip_nan); });
}

PyObject* mode_places(PyObject* const* args, Py_ssize_t count) {
    if (count != 2) return nullptr;
    return places_of_rows(args[0], args[1], [](const Rows& rows, auto zero) { mode_rows<decltype(zero)>(rows); });
}

// (sorted, values, right): sorted (n) for all values, or (.., n) for values (.., m). nothing for what is not plain.
PyObject* search(PyObject* const* args, Py_ssize_t count) {
    if (count != 3 || !PyArray_CheckExact(args[0])) return nullptr;
    const int type = PyArray_TYPE(as_array(args[0]));
    const Contiguous sequence(args[0], type), asked(args[1], type);
    if (!sequence || !asked || type == NPY_BOOL) return nullptr;
    PyArrayObject *sorted = sequence.get(), *values = asked.get();
    const int ndim = PyArray_NDIM(sorted);
    if (ndim < 1) return nullptr;
    const index_t size = PyArray_DIM(sorted, ndim - 1), total = PyArray_SIZE(values);
    index_t rows = 1;
    if (ndim > 1) {
        if (PyArray_NDIM(values) != ndim) return nullptr;
        for (int i = 0; i < ndim - 1; ++i) {
            if (PyArray_DIM(values, i) != PyArray_DIM(sorted, i)) return nullptr;
            rows *= PyArray_DIM(sorted, i);
        }
    }
    PyArrayObject* out = new_array(PyArray_NDIM(values), PyArray_DIMS(values), NPY_INT64);
    if (out == nullptr || total == 0) return reinterpret_cast<PyObject*>(out);
    const bool right = args[2] == Py_True;
    bool known;
    {
        WithoutGil release(total > 512);
        known = with_type(PyArray_TYPE(sorted), [&](auto zero) {
            using T = decltype(zero);
            search_rows(data_of<T>(sorted), size, ndim > 1 ? size : 0, data_of<T>(values), rows, total / rows, right, data_of<std::int64_t>(out));
        });
    }
    if (known) return reinterpret_cast<PyObject*>(out);
    Py_DECREF(out);
    return nullptr;
}

// (a, low, size): how often low, low + 1, ..., low + size - 1 occur in int64 numbers that all lie there; nothing for what is not plain.
PyObject* count_each(PyObject* const* args, Py_ssize_t count) {
    if (count != 3 || !PyArray_CheckExact(args[0]) || PyArray_TYPE(as_array(args[0])) != NPY_INT64 || !contiguous(as_array(args[0]))) return nullptr;
    const long long low = PyLong_AsLongLong(args[1]);
    const npy_intp size = PyLong_AsSsize_t(args[2]);
    if (PyErr_Occurred()) return nullptr;
    if (size < 0) return nullptr;
    PyArrayObject* a = as_array(args[0]);
    PyArrayObject* out = as_array(PyArray_ZEROS(1, const_cast<npy_intp*>(&size), NPY_INT64, 0));
    if (out == nullptr) return nullptr;
    const std::int64_t* x = data_of<std::int64_t>(a);
    std::int64_t* counts = data_of<std::int64_t>(out);
    const index_t n = PyArray_SIZE(a);
    bool good = true;
    {
        WithoutGil release(n > 2000);
        // Two sets of counts: equal neighbours don't wait for one another.
        std::vector<std::int64_t> others(static_cast<std::size_t>(size));
        for (index_t i = 0; i < n && good; ++i) {
            const std::uint64_t at = static_cast<std::uint64_t>(x[i]) - static_cast<std::uint64_t>(low);
            good = at < static_cast<std::uint64_t>(size);
            if (good) ++((i & 1) != 0 ? others[at] : counts[at]);
        }
        for (index_t i = 0; i < size; ++i) counts[i] += others[i];
    }
    if (good) return reinterpret_cast<PyObject*>(out);
    Py_DECREF(out);
    return nullptr;
}

// (values, edges, weights or None): sums of weights between the edges, as float64; nothing for what is not plain.
PyObject* count_bins(PyObject* const* args, Py_ssize_t count) {
    const int type = count == 3 ? float_type(args[0]) : -1;
    const Contiguous values(args[0], type);
    if (type < 0 || !values || !PyArray_CheckExact(args[1]) || (args[2] != Py_None && !PyArray_CheckExact(args[2]))) return nullptr;
    PyArrayObject *x = values.get(), *edges = as_array(args[1]), *weights = args[2] == Py_None ? nullptr : as_array(args[2]);
    const npy_intp bins = PyArray_SIZE(edges) - 1;
    if (PyArray_TYPE(edges) != type || PyArray_NDIM(edges) != 1 || bins < 1 || !contiguous(edges) ||
        (weights != nullptr && (PyArray_TYPE(weights) != type || !contiguous(weights) || PyArray_SIZE(weights) != PyArray_SIZE(x)))) {
        return nullptr;
    }
    PyArrayObject* out = as_array(PyArray_ZEROS(1, const_cast<npy_intp*>(&bins), NPY_DOUBLE, 0));
    if (out == nullptr) return nullptr;
    WithoutGil release(PyArray_SIZE(x) > 2000);
    with_one_of<float, double>(type, [&](auto zero) {
        using T = decltype(zero);
        count_bins_of(data_of<T>(x), PyArray_SIZE(x), data_of<T>(edges), bins, weights == nullptr ? nullptr : data_of<T>(weights), data_of<double>(out));
    });
    return reinterpret_cast<PyObject*>(out);
}

}  // namespace

extern const NativeFunction sorting_functions[] = {
    {"order", order},
    {"first", first},
    {"at_rank", at_rank},
    {"selected_places", selected_places},
    {"median_places", median_places},
    {"mode_places", mode_places},
    {"search", search},
    {"count_each", count_each},
    {"count_bins", count_bins},
    {nullptr, nullptr},
};

}  // namespace rushlight
