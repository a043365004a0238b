// Reading and writing by index arrays: gather, scatter, scatter_add along a dimension, and rows that are added up by number.
#include <algorithm>
#include <atomic>
#include <complex>
#include <cstring>
#include <type_traits>
#include <vector>

#include "function.h"
#include "pool.h"
#include "rushlight.h"
#include "types.h"

namespace rushlight {
namespace {


// The elements of an index array, line by line along its last dimension, and where the lines begin in two more arrays.
struct Lines {
    int ndim = 0, dim = 0;
    index_t shape[MAX_DIMS], index_steps[MAX_DIMS], data_steps[MAX_DIMS], value_steps[MAX_DIMS];
    index_t lines = 1, length = 1, size = 0, step = 0;  // size and step of the data along `dim`
    const char* index = nullptr;
    char *data = nullptr, *values = nullptr;

    void prepare(PyArrayObject* of_index, PyArrayObject* of_data, PyArrayObject* of_values, int along) {
        ndim = PyArray_NDIM(of_index);
        dim = along;
        for (int i = 0; i < ndim; ++i) {
            shape[i] = PyArray_DIM(of_index, i);
            index_steps[i] = PyArray_STRIDE(of_index, i);
            data_steps[i] = i == dim ? 0 : PyArray_STRIDE(of_data, i);
            value_steps[i] = PyArray_NDIM(of_values) == 0 ? 0 : PyArray_STRIDE(of_values, i);
            if (i < ndim - 1) lines *= shape[i];
        }
        length = shape[ndim - 1];
        size = PyArray_DIM(of_data, dim);
        step = PyArray_STRIDE(of_data, dim);
        index = PyArray_BYTES(of_index);
        data = PyArray_BYTES(of_data);
        values = PyArray_BYTES(of_values);
    }

    // f(index, data, values) with the beginnings of one line
    template <typename F> void at(index_t line, F f) const {
        index_t i = 0, d = 0, v = 0;
        for (int k = ndim - 2; k >= 0; --k) {
            const index_t place = line % shape[k];
            line /= shape[k];
            i += place * index_steps[k];
            d += place * data_steps[k];
            v += place * value_steps[k];
        }
        f(index + i, data + d, values + v);
    }

    bool in_range() const {
        std::atomic<bool> good{true};
        parallel_for(lines, std::max<index_t>(1, 65536 / (length + 1)), [&](index_t begin, index_t end) {
            std::uint64_t largest = 0;
            for (index_t line = begin; line < end; ++line) {
                at(line, [&](const char* from, char*, char*) {
                    if (index_steps[ndim - 1] == 8) {
                        const std::uint64_t* numbers = reinterpret_cast<const std::uint64_t*>(from);
                        for (index_t j = 0; j < length; ++j) largest = std::max(largest, numbers[j]);
                    } else {
                        for (index_t j = 0; j < length; ++j) largest = std::max(largest, *reinterpret_cast<const std::uint64_t*>(from + j * index_steps[ndim - 1]));
                    }
                });
            }
            if (largest >= static_cast<std::uint64_t>(size)) good = false;
        });
        return good;
    }
};

template <typename T> void gather_part(const Lines& l, index_t line, index_t begin, index_t end) {
    const index_t across = l.data_steps[l.ndim - 1], index_step = l.index_steps[l.ndim - 1], value_step = l.value_steps[l.ndim - 1], step = l.step;
    l.at(line, [&](const char* index, char* data, char* values) {
        for (index_t j = begin; j < end; ++j) {
            const std::int64_t i = *reinterpret_cast<const std::int64_t*>(index + j * index_step);
            *reinterpret_cast<T*>(values + j * value_step) = *reinterpret_cast<const T*>(data + j * across + i * step);
        }
    });
}

enum How { ASSIGN, ADD, MULTIPLY, MAXIMUM, MINIMUM };

template <typename T> constexpr bool is_integer = std::is_integral<T>::value;
template <typename T> using Unsigned = std::make_unsigned_t<T>;

// What a value does to the one that is there. Integers wrap around; nan wins over everything.
template <typename T, How HOW> inline T combined(T there, T value) {
    if constexpr (HOW == ASSIGN) {
        return value;
    } else if constexpr (HOW == ADD) {
        if constexpr (is_integer<T>) return static_cast<T>(Unsigned<T>(there) + Unsigned<T>(value));
        else return there + value;
    } else if constexpr (HOW == MULTIPLY) {
        if constexpr (is_integer<T>) return static_cast<T>(std::uint64_t(there) * std::uint64_t(value));
        else return there * value;
    } else if constexpr (HOW == MAXIMUM) {
        return there != there || there >= value ? there : value;
    } else {
        return there != there || there <= value ? there : value;
    }
}

template <typename T, How HOW> void scatter_part(const Lines& l, index_t line, index_t begin, index_t end) {
    const index_t across = l.data_steps[l.ndim - 1], index_step = l.index_steps[l.ndim - 1], value_step = l.value_steps[l.ndim - 1], step = l.step;
    l.at(line, [&](const char* index, char* data, char* values) {
        for (index_t j = begin; j < end; ++j) {
            const std::int64_t i = *reinterpret_cast<const std::int64_t*>(index + j * index_step);
            T* place = reinterpret_cast<T*>(data + j * across + i * step);
            *place = combined<T, HOW>(*place, *reinterpret_cast<const T*>(values + j * value_step));
        }
    });
}

using Part = void (*)(const Lines&, index_t, index_t, index_t);

struct Two {
    std::uint64_t a, b;
};

template <template <typename> class Holder> Part by_size(index_t size) {
    switch (size) {
        case 1: return Holder<std::uint8_t>::part;
        case 2: return Holder<std::uint16_t>::part;
        case 4: return Holder<std::uint32_t>::part;
        case 8: return Holder<std::uint64_t>::part;
        case 16: return Holder<Two>::part;
        default: return nullptr;
    }
}
template <typename T> struct Gather { static constexpr Part part = gather_part<T>; };
template <typename T> struct Assign { static constexpr Part part = scatter_part<T, ASSIGN>; };

template <How HOW> Part combiner(int type) {
    switch (type) {
        case NPY_FLOAT: return scatter_part<float, HOW>;
        case NPY_DOUBLE: return scatter_part<double, HOW>;
        case NPY_INT8: return scatter_part<std::int8_t, HOW>;
        case NPY_UINT8: return scatter_part<std::uint8_t, HOW>;
        case NPY_INT16: return scatter_part<std::int16_t, HOW>;
        case NPY_INT32: return scatter_part<std::int32_t, HOW>;
        case NPY_INT64: return scatter_part<std::int64_t, HOW>;
        default: break;
    }
    if constexpr (HOW == ADD) {
        if (type == NPY_CFLOAT) return scatter_part<std::complex<float>, HOW>;
        if (type == NPY_CDOUBLE) return scatter_part<std::complex<double>, HOW>;
    }
    return nullptr;
}

Part part_for(PyArrayObject* target, long how) {
    switch (how) {
        case ASSIGN: return by_size<Assign>(PyArray_ITEMSIZE(target));
        case ADD: return combiner<ADD>(PyArray_TYPE(target));
        case MULTIPLY: return combiner<MULTIPLY>(PyArray_TYPE(target));
        case MAXIMUM: return combiner<MAXIMUM>(PyArray_TYPE(target));
        case MINIMUM: return combiner<MINIMUM>(PyArray_TYPE(target));
        default: return nullptr;
    }
}

constexpr index_t GRAIN = 16384;

// Lines are shared out among the threads where no two of them write to one place, else the places along a line are.
void run(const Lines& l, Part part, bool lines_are_free) {
    if (lines_are_free && l.lines > 1) {
        parallel_for(l.lines, std::max<index_t>(1, GRAIN / (l.length + 1)), [&](index_t begin, index_t end) {
            for (index_t line = begin; line < end; ++line) part(l, line, 0, l.length);
        });
    } else if (!lines_are_free && l.ndim - 1 == l.dim) {  // one line that writes where it likes
        for (index_t line = 0; line < l.lines; ++line) part(l, line, 0, l.length);
    } else {
        parallel_for(l.length, std::max<index_t>(1, GRAIN / (l.lines + 1)), [&](index_t begin, index_t end) {
            for (index_t line = 0; line < l.lines; ++line) part(l, line, begin, end);
        });
    }
}

// Whether a and an int64 index are what gather and scatter take, and no larger beside `dim`; without errors. Puts a dimension that counts from the end right.
bool fits(PyObject* data, PyObject* dim_object, PyObject* index, int* dim) {
    if (!PyArray_CheckExact(data) || !PyArray_CheckExact(index) || !PyLong_CheckExact(dim_object)) return false;
    long along = PyLong_AsLong(dim_object);
    if (along == -1 && PyErr_Occurred()) {
        PyErr_Clear();
        return false;
    }
    PyArrayObject *a = as_array(data), *i = as_array(index);
    const int ndim = PyArray_NDIM(a);
    if (along < 0) along += ndim;
    if (along < 0 || along >= ndim || ndim > MAX_DIMS || PyArray_NDIM(i) != ndim || PyArray_TYPE(i) != NPY_INT64 ||
        !PyArray_ISBEHAVED_RO(a) || !PyArray_ISBEHAVED_RO(i) || PyDataType_REFCHK(PyArray_DESCR(a))) {
        return false;
    }
    for (int d = 0; d < ndim; ++d) {
        if (d != along && PyArray_DIM(i, d) > PyArray_DIM(a, d)) return false;
    }
    *dim = static_cast<int>(along);
    return true;
}


PyObject* out_of_range(int dim, PyArrayObject* a) {
    return PyErr_Format(PyExc_IndexError, "an index is out of bounds for dimension %d with size %zd", dim, PyArray_DIM(a, dim));
}

// Gathers; nothing, and `good` false, where an index is out of range.
PyObject* gather_of(PyArrayObject* a, int dim, PyArrayObject* index, Part part, bool* good) {
    PyArray_Descr* type = PyArray_DESCR(a);
    Py_INCREF(type);
    PyArrayObject* out = as_array(PyArray_NewFromDescr(&PyArray_Type, type, PyArray_NDIM(index), PyArray_DIMS(index), nullptr, nullptr, 0, nullptr));
    if (out == nullptr || PyArray_SIZE(index) == 0) return reinterpret_cast<PyObject*>(out);
    {
        WithoutGil release(PyArray_SIZE(index) > GRAIN);
        Lines lines;
        lines.prepare(index, a, out, dim);
        *good = lines.in_range();
        if (*good) run(lines, part, true);
    }
    if (!*good) Py_CLEAR(out);
    return reinterpret_cast<PyObject*>(out);
}

// (a, dim, index)
PyObject* gather(PyObject* const* args, Py_ssize_t count) {
    int dim;
    if (count != 3 || !fits(args[0], args[1], args[2], &dim)) return nullptr;
    PyArrayObject* a = as_array(args[0]);
    Part part = by_size<Gather>(PyArray_ITEMSIZE(a));
    if (part == nullptr) return nullptr;
    bool good = true;
    PyObject* result = gather_of(a, dim, as_array(args[2]), part, &good);
    return good ? result : out_of_range(dim, a);
}

// What `scatter` and `scatter_into` do with (target, dim, index, values): Py_None; nothing without an error for what is not plain.
PyObject* scatter_of(PyObject* const* args, long how) {
    int dim;
    if (!fits(args[0], args[1], args[2], &dim) || !PyArray_CheckExact(args[3])) return nullptr;
    PyArrayObject *target = as_array(args[0]), *index = as_array(args[2]), *values = as_array(args[3]);
    if (PyArray_TYPE(values) != PyArray_TYPE(target) || !PyArray_ISBEHAVED_RO(values) || !PyArray_ISBEHAVED(target) ||
        (PyArray_NDIM(values) != 0 && !same_shape(values, index))) {
        return nullptr;
    }
    Part part = part_for(target, how);
    if (part == nullptr) return nullptr;
    bool good = true;
    if (PyArray_SIZE(index) != 0) {
        WithoutGil release(PyArray_SIZE(index) > GRAIN);
        Lines lines;
        lines.prepare(index, target, values, dim);
        good = lines.in_range();
        if (good) run(lines, part, dim == lines.ndim - 1 && lines.lines > 1);
    }
    return good ? Py_NewRef(Py_None) : out_of_range(dim, target);
}

PyObject* scatter(PyObject* const* args, Py_ssize_t count) { return count == 4 ? scatter_of(args, ASSIGN) : nullptr; }

// (target, dim, index, values, how): places may repeat; True.
PyObject* scatter_into(PyObject* const* args, Py_ssize_t count) {
    if (count != 5 || !PyUnicode_CheckExact(args[4]) || !PyArray_CheckExact(args[3]) || PyArray_NDIM(as_array(args[3])) == 0) return nullptr;
    static const char* const names[] = {"add", "multiply", "maximum", "minimum"};
    for (long i = 0; i < 4; ++i) {
        if (PyUnicode_CompareWithASCIIString(args[4], names[i]) != 0) continue;
        PyObject* done = scatter_of(args, ADD + i);
        if (done == nullptr) return nullptr;
        Py_DECREF(done);
        Py_RETURN_TRUE;
    }
    return nullptr;
}

// target[rows[i]] += values[i]: a thread adds what belongs to its own rows, in order, so that sums do not depend on the number of threads.
template <typename T> void add_rows_of(char* target_, index_t count, index_t width, const std::int64_t* rows, index_t n, const char* values_, index_t step) {
    T* target = reinterpret_cast<T*>(target_);
    const index_t threads = width >= 8 && n * width > 4 * GRAIN ? thread_count() : 1, part = (count + threads - 1) / threads;
    parallel_for(threads, 1, [&](index_t begin, index_t end) {
        const index_t low = begin * part, high = std::min(count, end * part);
        for (index_t i = 0; i < n; ++i) {
            const index_t row = rows[i] < 0 ? rows[i] + count : rows[i];
            if (row < low || row >= high) continue;
            T* to = target + row * width;
            const T* from = reinterpret_cast<const T*>(values_ + i * step);
#pragma omp simd
            for (index_t j = 0; j < width; ++j) to[j] = static_cast<T>(to[j] + from[j]);
        }
    });
}

PyObject* add_rows(PyObject* const* args, Py_ssize_t count) {
    if (count != 3 || !PyArray_CheckExact(args[0]) || !PyArray_CheckExact(args[1]) || !PyArray_CheckExact(args[2])) return nullptr;
    PyArrayObject *target = as_array(args[0]), *rows = as_array(args[1]);
    const int ndim = PyArray_NDIM(target), type = PyArray_TYPE(target);
    if ((ndim != 1 && ndim != 2) || PyArray_NDIM(rows) != 1 || PyArray_TYPE(rows) != NPY_INT64 || !contiguous(rows) || !contiguous(target) || !PyArray_ISBEHAVED(target) ||
        !with_one_of<float, double, std::int32_t, std::int64_t>(type, [](auto) {})) {
        return nullptr;
    }
    const Contiguous added(args[2], type);  // (a copy of the gradient of a sum, for example)
    PyArrayObject* values = added.get();
    if (!added || PyArray_NDIM(values) != ndim || PyArray_DIM(values, 0) != PyArray_DIM(rows, 0) || (ndim == 2 && PyArray_DIM(values, 1) != PyArray_DIM(target, 1))) return nullptr;
    const index_t n = PyArray_DIM(rows, 0), size = PyArray_DIM(target, 0), width = ndim == 2 ? PyArray_DIM(target, 1) : 1;
    const std::int64_t* numbers = data_of<std::int64_t>(rows);
    for (index_t i = 0; i < n; ++i) {
        if (numbers[i] < -size || numbers[i] >= size) return PyErr_Format(PyExc_IndexError, "row %lld is out of bounds for %zd rows", (long long)numbers[i], size);
    }
    const auto call = [&](auto zero) {
        WithoutGil release(n * width > GRAIN);
        add_rows_of<decltype(zero)>(PyArray_BYTES(target), size, width, numbers, n, PyArray_BYTES(values), PyArray_STRIDE(values, 0));
    };
    with_one_of<float, double, std::int32_t, std::int64_t>(type, call);
    return Py_NewRef(args[0]);
}

// (a, dim, index): what `gather` gives, for an index that is in range.
PyObject* gathered(PyObject* const* args, Py_ssize_t count) {
    int dim;
    if (count != 3 || !fits(args[0], args[1], args[2], &dim) || PyArray_SIZE(as_array(args[2])) == 0) return nullptr;
    Part part = by_size<Gather>(PyArray_ITEMSIZE(as_array(args[0])));
    bool good = true;
    return part == nullptr ? nullptr : gather_of(as_array(args[0]), dim, as_array(args[2]), part, &good);
}

// (a, dim, index, values, how): a copy of a with the values scattered into it; nothing for everything that has to be looked at more closely.
PyObject* scattered(PyObject* const* args, Py_ssize_t count) {
    int dim;
    if (count != 5 || !fits(args[0], args[1], args[2], &dim) || PyArray_SIZE(as_array(args[2])) == 0 || !PyArray_CheckExact(args[3])) return nullptr;
    PyArrayObject *a = as_array(args[0]), *index = as_array(args[2]), *values = as_array(args[3]);
    const long how = PyLong_AsLong(args[4]);
    if (how == -1 && PyErr_Occurred()) return nullptr;
    Part part = part_for(a, how);
    if (part == nullptr || PyArray_TYPE(values) != PyArray_TYPE(a) || !PyArray_ISBEHAVED_RO(values) || PyArray_NDIM(values) != PyArray_NDIM(index)) return nullptr;
    for (int d = 0; d < PyArray_NDIM(index); ++d) {
        if (PyArray_DIM(index, d) > PyArray_DIM(values, d)) return nullptr;
    }
    PyArrayObject* out = as_array(PyArray_NewCopy(a, NPY_CORDER));
    if (out == nullptr) return nullptr;
    bool good;
    {
        WithoutGil release(PyArray_SIZE(index) > GRAIN);
        Lines lines;
        lines.prepare(index, out, values, dim);
        good = lines.in_range();
        if (good) run(lines, part, dim == lines.ndim - 1 && lines.lines > 1);
    }
    if (good) return reinterpret_cast<PyObject*>(out);
    Py_DECREF(out);
    return nullptr;
}

// --- slices -----------------------------------------------------------------------------------------------------------------------------

// (outer, size, inner) around a dimension of a contiguous array
struct Slices {
    index_t outer = 1, size = 1, inner = 1;
    Slices(PyArrayObject* a, int dim) {
        for (int i = 0; i < PyArray_NDIM(a); ++i) (i < dim ? outer : i == dim ? size : inner) *= PyArray_DIM(a, i);
    }
};

bool vector_in_range(const std::int64_t* index, index_t n, index_t size) {
    std::uint64_t largest = 0;
    for (index_t i = 0; i < n; ++i) largest = std::max(largest, static_cast<std::uint64_t>(index[i]));
    return n == 0 || largest < static_cast<std::uint64_t>(size);
}

template <typename T> void take_elements(const T* a, const Slices& s, const std::int64_t* index, index_t n, T* out) {
    parallel_for(s.outer * n, GRAIN, [&](index_t begin, index_t end) {
        for (index_t at = begin; at < end;) {
            const index_t o = at / n, first = at % n, count = std::min(n - first, end - at);
            const T* from = a + o * s.size;
            for (index_t j = 0; j < count; ++j) out[at + j] = from[index[first + j]];
            at += count;
        }
    });
}

// (a, dim, index): the slices of a dimension that an int64 vector names; nothing for what is not plain, or out of range.
PyObject* take_slices(PyObject* const* args, Py_ssize_t count) {
    if (count != 3 || !PyArray_CheckExact(args[0]) || !PyArray_CheckExact(args[2]) || !PyLong_CheckExact(args[1])) return nullptr;
    PyArrayObject *a = as_array(args[0]), *index = as_array(args[2]);
    const int ndim = PyArray_NDIM(a), more = PyArray_NDIM(index);
    long dim = PyLong_AsLong(args[1]);
    if (dim == -1 && PyErr_Occurred()) return nullptr;
    if (dim < 0) dim += ndim;
    if (dim < 0 || dim >= ndim || ndim + more - 1 > MAX_DIMS || PyArray_TYPE(index) != NPY_INT64 || !contiguous(index) || !contiguous(a) ||
        PyDataType_REFCHK(PyArray_DESCR(a))) {
        return nullptr;
    }
    const Slices s(a, static_cast<int>(dim));
    const index_t n = PyArray_SIZE(index), item = PyArray_ITEMSIZE(a);
    const std::int64_t* numbers = data_of<std::int64_t>(index);
    if (!vector_in_range(numbers, n, s.size)) return nullptr;
    npy_intp shape[MAX_DIMS];
    int d = 0;
    for (int i = 0; i < dim; ++i) shape[d++] = PyArray_DIM(a, i);
    for (int i = 0; i < more; ++i) shape[d++] = PyArray_DIM(index, i);
    for (int i = static_cast<int>(dim) + 1; i < ndim; ++i) shape[d++] = PyArray_DIM(a, i);
    PyArray_Descr* type = PyArray_DESCR(a);
    Py_INCREF(type);
    PyArrayObject* out = as_array(PyArray_NewFromDescr(&PyArray_Type, type, d, shape, nullptr, nullptr, 0, nullptr));
    if (out == nullptr) return nullptr;
    const index_t bytes = s.inner * item;
    WithoutGil release(s.outer * n * s.inner > GRAIN);
    if (s.inner == 1 && item == 4) {
        take_elements(data_of<std::uint32_t>(a), s, numbers, n, data_of<std::uint32_t>(out));
    } else if (s.inner == 1 && item == 8) {
        take_elements(data_of<std::uint64_t>(a), s, numbers, n, data_of<std::uint64_t>(out));
    } else {
        parallel_for(s.outer * n, std::max<index_t>(1, GRAIN * 4 / (bytes + 1)), [&](index_t begin, index_t end) {
            index_t o = begin / n, i = begin % n;
            for (index_t at = begin; at < end; ++at) {
                std::memcpy(PyArray_BYTES(out) + at * bytes, PyArray_BYTES(a) + (o * s.size + numbers[i]) * bytes, static_cast<std::size_t>(bytes));
                if (++i == n) {
                    i = 0;
                    ++o;
                }
            }
        });
    }
    return reinterpret_cast<PyObject*>(out);
}

// (target, dim, index, values): target[.., index[i], ..] += values[.., i, ..] in place; nothing for what is not plain. The index is in range.
PyObject* add_slices(PyObject* const* args, Py_ssize_t count) {
    if (count != 4 || !PyArray_CheckExact(args[0]) || !PyArray_CheckExact(args[2]) || !PyArray_CheckExact(args[3])) return nullptr;
    PyArrayObject *target = as_array(args[0]), *index = as_array(args[2]), *values = as_array(args[3]);
    const long dim = PyLong_AsLong(args[1]);
    if (dim == -1 && PyErr_Occurred()) return nullptr;
    if (dim < 0 || dim >= PyArray_NDIM(target) || PyArray_NDIM(values) != PyArray_NDIM(target) || !contiguous(target) || !contiguous(values) || !contiguous(index) ||
        !PyArray_ISWRITEABLE(target) || PyArray_TYPE(index) != NPY_INT64 || PyArray_TYPE(values) != PyArray_TYPE(target) ||
        PyArray_DIM(values, static_cast<int>(dim)) != PyArray_SIZE(index)) {
        return nullptr;
    }
    const Slices s(target, static_cast<int>(dim)), v(values, static_cast<int>(dim));
    const std::int64_t* numbers = data_of<std::int64_t>(index);
    const index_t n = PyArray_SIZE(index);
    if (s.outer != v.outer || s.inner != v.inner || !vector_in_range(numbers, n, s.size)) return nullptr;
    const auto call = [&](auto zero) {
        using T = decltype(zero);
        WithoutGil release(s.outer * n * s.inner > GRAIN);
        T* to = data_of<T>(target);
        const T* from = data_of<T>(values);
        parallel_for(s.outer, std::max<index_t>(1, GRAIN / (n * s.inner + 1)), [&](index_t begin, index_t end) {
            for (index_t o = begin; o < end; ++o) {
                for (index_t i = 0; i < n; ++i) {
                    T* place = to + (o * s.size + numbers[i]) * s.inner;
                    const T* value = from + (o * n + i) * s.inner;
                    for (index_t j = 0; j < s.inner; ++j) place[j] = combined<T, ADD>(place[j], value[j]);
                }
            }
        });
    };
    return with_one_of<float, double, std::int32_t, std::int64_t>(PyArray_TYPE(target), call) ? Py_NewRef(Py_True) : nullptr;
}

// --- masks ------------------------------------------------------------------------------------------------------------------------------

constexpr index_t MASK_PART = 16384;

// Where each part of a mask begins in what it selects; the last entry is how much that is.
std::vector<index_t> begins(const std::uint8_t* mask, index_t n) {
    const index_t parts = (n + MASK_PART - 1) / MASK_PART;
    std::vector<index_t> starts(static_cast<std::size_t>(parts + 1));
    parallel_for(parts, 1, [&](index_t begin, index_t end) {
        for (index_t part = begin; part < end; ++part) {
            const index_t last = std::min(n, (part + 1) * MASK_PART);
            std::uint32_t sum = 0;
            for (index_t i = part * MASK_PART; i < last; ++i) sum += mask[i] != 0;
            starts[part + 1] = static_cast<index_t>(sum);
        }
    });
    for (index_t part = 0; part < parts; ++part) starts[part + 1] += starts[part];
    return starts;
}

// f(first element, end, where its first selected one goes)
template <typename F> void each_part(const std::vector<index_t>& starts, index_t n, F f) {
    parallel_for(static_cast<index_t>(starts.size()) - 1, 1, [&](index_t begin, index_t end) {
        for (index_t part = begin; part < end; ++part) f(part * MASK_PART, std::min(n, (part + 1) * MASK_PART), starts[part], starts[part + 1]);
    });
}

// Without branches: every element is written, and the place moves on where it counts. The last one of a part is not written behind its end.
template <typename T> void select_part(const T* a, const std::uint8_t* mask, index_t begin, index_t end, T* out, index_t count) {
    index_t at = 0;
    for (index_t i = begin; i < end && at < count; ++i) {
        out[at] = a[i];
        at += mask[i] != 0;
    }
}

template <typename T> void fill_part(const T* source, const std::uint8_t* mask, index_t begin, index_t end, T* out, index_t count) {
    index_t at = 0;
    for (index_t i = begin; i < end && at < count; ++i) {
        out[i] = mask[i] != 0 ? source[at] : out[i];
        at += mask[i] != 0;
    }
}

bool is_mask(PyObject* mask, PyObject* of) {
    return PyArray_CheckExact(mask) && PyArray_CheckExact(of) && PyArray_TYPE(as_array(mask)) == NPY_BOOL && contiguous(as_array(mask)) && contiguous(as_array(of)) &&
           same_shape(as_array(mask), as_array(of)) && !PyDataType_REFCHK(PyArray_DESCR(as_array(of)));
}

// Calls f with a number as large as the elements; false for other sizes.
template <typename F> bool with_size(index_t size, F f) {
    switch (size) {
        case 1: f(std::uint8_t()); return true;
        case 2: f(std::uint16_t()); return true;
        case 4: f(std::uint32_t()); return true;
        case 8: f(std::uint64_t()); return true;
        default: return false;
    }
}

// (a, mask): the elements where the mask holds; nothing for what is not plain.
PyObject* select_masked(PyObject* const* args, Py_ssize_t count) {
    if (count != 2 || !is_mask(args[1], args[0])) return nullptr;
    PyArrayObject* a = as_array(args[0]);
    const index_t n = PyArray_SIZE(a);
    const std::uint8_t* mask = data_of<std::uint8_t>(as_array(args[1]));
    if (PyArray_ITEMSIZE(a) > 8) return nullptr;
    const std::vector<index_t> starts = begins(mask, n);
    const npy_intp total = starts.back();
    PyArray_Descr* type = PyArray_DESCR(a);
    Py_INCREF(type);
    PyArrayObject* out = as_array(PyArray_NewFromDescr(&PyArray_Type, type, 1, &total, nullptr, nullptr, 0, nullptr));
    if (out == nullptr) return nullptr;
    WithoutGil release(n > GRAIN);
    with_size(PyArray_ITEMSIZE(a), [&](auto zero) {
        using T = decltype(zero);
        each_part(starts, n, [&](index_t begin, index_t end, index_t at, index_t last) { select_part(data_of<T>(a), mask, begin, end, data_of<T>(out) + at, last - at); });
    });
    return reinterpret_cast<PyObject*>(out);
}

// (target, mask, source): the source's elements, in order, where the mask holds, in place. Nothing for what is not plain, and where the source is too short.
PyObject* fill_masked(PyObject* const* args, Py_ssize_t count) {
    if (count != 3 || !is_mask(args[1], args[0]) || !PyArray_CheckExact(args[2])) return nullptr;
    PyArrayObject *target = as_array(args[0]), *source = as_array(args[2]);
    const index_t n = PyArray_SIZE(target);
    const std::uint8_t* mask = data_of<std::uint8_t>(as_array(args[1]));
    if (PyArray_ITEMSIZE(target) > 8 || PyArray_TYPE(source) != PyArray_TYPE(target) || !contiguous(source) || !PyArray_ISWRITEABLE(target)) return nullptr;
    const std::vector<index_t> starts = begins(mask, n);
    if (starts.back() > PyArray_SIZE(source)) return nullptr;
    {
        WithoutGil release(n > GRAIN);
        with_size(PyArray_ITEMSIZE(target), [&](auto zero) {
            using T = decltype(zero);
            each_part(starts, n, [&](index_t begin, index_t end, index_t at, index_t last) { fill_part(data_of<T>(source) + at, mask, begin, end, data_of<T>(target), last - at); });
        });
    }
    Py_RETURN_TRUE;
}

// (mask): the positions where it holds, a row per dimension; nothing for what is not plain.
PyObject* positions(PyObject* const* args, Py_ssize_t count) {
    PyObject* object = count == 1 ? args[0] : Py_None;
    if (!PyArray_CheckExact(object) || PyArray_TYPE(as_array(object)) != NPY_BOOL || !contiguous(as_array(object)) || PyArray_NDIM(as_array(object)) == 0) return nullptr;
    PyArrayObject* a = as_array(object);
    const int ndim = PyArray_NDIM(a);
    const index_t n = PyArray_SIZE(a);
    const std::uint8_t* mask = data_of<std::uint8_t>(a);
    const std::vector<index_t> starts = begins(mask, n);
    const index_t total = starts.back();
    const npy_intp shape[2] = {ndim, static_cast<npy_intp>(total)};
    PyArrayObject* out = new_array(2, shape, NPY_INT64);
    if (out == nullptr) return nullptr;
    WithoutGil release(n > GRAIN);
    std::int64_t* result = data_of<std::int64_t>(out);
    each_part(starts, n, [&](index_t begin, index_t end, index_t at, index_t last) {
        std::int64_t* to = result + at;
        const index_t count = last - at;
        index_t k = 0;
        if (ndim == 1) {
            for (index_t i = begin; i < end && k < count; ++i) {
                to[k] = i;
                k += mask[i] != 0;
            }
            return;
        }
        index_t place[MAX_DIMS], rest = begin;
        for (int d = ndim - 1; d >= 0; --d) {
            place[d] = rest % PyArray_DIM(a, d);
            rest /= PyArray_DIM(a, d);
        }
        const index_t row = PyArray_DIM(a, ndim - 1);
        for (index_t i = begin; i < end && k < count;) {
            const index_t stop = std::min(end, i + row - place[ndim - 1]), first = i - place[ndim - 1];
            for (; i < stop && k < count; ++i) {
                for (int d = 0; d < ndim - 1; ++d) to[d * total + k] = place[d];
                to[(ndim - 1) * total + k] = i - first;
                k += mask[i] != 0;
            }
            place[ndim - 1] = 0;
            for (int d = ndim - 2; d >= 0; --d) {
                if (++place[d] < PyArray_DIM(a, d)) break;
                place[d] = 0;
            }
        }
    });
    return reinterpret_cast<PyObject*>(out);
}

// --- bags -------------------------------------------------------------------------------------------------------------------------------

// Sums (or means, or maxima with their rows) of bags of rows of a matrix: bag b has the rows index[starts[b]] ... index[starts[b + 1] - 1].
template <typename T> void fill_bags(const T* rows, index_t width, const std::int64_t* index, index_t n, const std::int64_t* starts, index_t bags, int mode, T* out,
                                     std::int64_t* places) {
    parallel_for(bags, std::max<index_t>(1, GRAIN / ((n / bags + 1) * width + 1)), [&](index_t begin, index_t end) {
        for (index_t bag = begin; bag < end; ++bag) {
            const index_t first = starts[bag], last = bag + 1 < bags ? starts[bag + 1] : n;
            T* r = out + bag * width;
            std::fill(r, r + width, T(0));
            if (mode == 2) {
                std::int64_t* place = places + bag * width;
                std::fill(place, place + width, -1);
                for (index_t i = first; i < last; ++i) {
                    const T* row = rows + index[i] * width;
                    for (index_t j = 0; j < width; ++j) {
                        if (i > first && !(row[j] > r[j] || (row[j] != row[j] && r[j] == r[j]))) continue;
                        r[j] = row[j];
                        place[j] = index[i];
                    }
                }
                continue;
            }
            for (index_t i = first; i < last; ++i) {
                const T* row = rows + index[i] * width;
#pragma omp simd
                for (index_t j = 0; j < width; ++j) r[j] += row[j];
            }
            if (mode == 1 && last > first) {
                const T count = static_cast<T>(last - first);
                for (index_t j = 0; j < width; ++j) r[j] /= count;
            }
        }
    });
}

// (matrix, index, starts, mode: 0 sum, 1 mean, 2 max) -> (bags, rows of the maxima or None); nothing for what is not plain, or out of range.
PyObject* bags(PyObject* const* args, Py_ssize_t count) {
    if (count != 4 || !PyArray_CheckExact(args[0]) || !PyArray_CheckExact(args[1]) || !PyArray_CheckExact(args[2])) return nullptr;
    PyArrayObject *a = as_array(args[0]), *index = as_array(args[1]), *starts = as_array(args[2]);
    const long mode = PyLong_AsLong(args[3]);
    if (mode == -1 && PyErr_Occurred()) return nullptr;
    const int type = PyArray_TYPE(a);
    if ((type != NPY_FLOAT && type != NPY_DOUBLE) || PyArray_NDIM(a) != 2 || PyArray_NDIM(index) != 1 || PyArray_NDIM(starts) != 1 || PyArray_TYPE(index) != NPY_INT64 ||
        PyArray_TYPE(starts) != NPY_INT64 || !contiguous(a) || !contiguous(index) || !contiguous(starts) || PyArray_SIZE(starts) == 0) {
        return nullptr;
    }
    const index_t n = PyArray_SIZE(index), width = PyArray_DIM(a, 1), total = PyArray_SIZE(starts);
    const std::int64_t *numbers = data_of<std::int64_t>(index), *begin = data_of<std::int64_t>(starts);
    bool good = vector_in_range(numbers, n, PyArray_DIM(a, 0)) && begin[0] >= 0 && begin[total - 1] <= n;
    for (index_t b = 1; b < total && good; ++b) good = begin[b - 1] <= begin[b];
    if (!good) return nullptr;
    const npy_intp shape[2] = {static_cast<npy_intp>(total), static_cast<npy_intp>(width)};
    PyArrayObject *out = new_array(2, shape, type), *places = mode == 2 ? new_array(2, shape, NPY_INT64) : as_array(Py_NewRef(Py_None));
    if (out == nullptr || places == nullptr) {
        Py_XDECREF(out);
        Py_XDECREF(places);
        return nullptr;
    }
    {
        WithoutGil release(n * width > GRAIN);
        std::int64_t* at = mode == 2 ? data_of<std::int64_t>(places) : nullptr;
        if (type == NPY_FLOAT) fill_bags(data_of<float>(a), width, numbers, n, begin, total, static_cast<int>(mode), data_of<float>(out), at);
        else fill_bags(data_of<double>(a), width, numbers, n, begin, total, static_cast<int>(mode), data_of<double>(out), at);
    }
    return Py_BuildValue("NN", out, places);
}

}  // namespace

extern const NativeFunction indexing_functions[] = {
    {"gather", gather},
    {"gathered", gathered},
    {"scatter", scatter},
    {"scattered", scattered},
    {"scatter_into", scatter_into},
    {"take_slices", take_slices},
    {"add_rows", add_rows},
    {"add_slices", add_slices},
    {"select_masked", select_masked},
    {"fill_masked", fill_masked},
    {"positions", positions},
    {"bags", bags},
    {nullptr, nullptr},
};

}  // namespace rushlight
