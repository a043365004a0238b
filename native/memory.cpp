// Copies, conversions and fills at memory speed: any strides, any order of dimensions, on several threads. A copy is turned into rows along the
// result's memory; where the source runs along another dimension there, squares of both are turned round in the cache.
#include <algorithm>
#include <cstring>
#include <type_traits>

#include "elementwise.h"
#include "function.h"
#include "halves.h"
#include "objects.h"
#include "pool.h"

namespace rushlight {
namespace {

constexpr index_t SMALL = 16384;      // bytes that one thread copies alone, without letting go of the GIL
constexpr index_t GRAIN = 16384;      // elements per thread

// --- element types ----------------------------------------------------------------------------------------------------------------------

// How an element lies in memory, and the number that it is.
template <typename T> struct Plain {
    using Raw = T;
    static T number(T x) { return x; }
    template <typename N> static T raw(N x) {  // fractions are cut off by way of int64, which is what narrower integers wrap around from
        if constexpr (std::is_floating_point<N>::value && std::is_integral<T>::value) return static_cast<T>(static_cast<std::int64_t>(x));
        else return static_cast<T>(x);
    }
};
struct Half {
    using Raw = std::uint16_t;
    static float number(Raw x) { return from_half(x); }
    template <typename N> static Raw raw(N x) { return to_half(static_cast<float>(x)); }
};
struct Brain {
    using Raw = std::uint16_t;
    static float number(Raw x) { return from_bfloat16(x); }
    template <typename N> static Raw raw(N x) { return to_bfloat16(static_cast<float>(x)); }
};
struct Bool {
    using Raw = std::uint8_t;
    template <typename N> static Raw raw(N x) { return static_cast<Raw>(x != N(0)); }
};

// n elements from `from` to `to`, at steps in bytes
using Row = void (*)(const char* from, index_t from_step, char* to, index_t to_step, index_t n);

template <typename From, typename To> void row(const char* from, index_t from_step, char* to, index_t to_step, index_t n) {
    using A = typename From::Raw;
    using R = typename To::Raw;
    constexpr index_t in = sizeof(A), out = sizeof(R);
    const A* a = reinterpret_cast<const A*>(from);
    R* r = reinterpret_cast<R*>(to);
    const auto convert = [](A x) { return To::raw(From::number(x)); };
    if (from_step == in && to_step == out) {
        if constexpr (std::is_same<From, To>::value) {
            std::memcpy(to, from, static_cast<std::size_t>(n) * in);
        } else {
#pragma omp simd
            for (index_t i = 0; i < n; ++i) r[i] = convert(a[i]);
        }
    } else if (from_step == 0 && to_step == out) {
        const R value = convert(*a);
        for (index_t i = 0; i < n; ++i) r[i] = value;
    } else if (from_step == 2 * in && to_step == out) {
#pragma omp simd
        for (index_t i = 0; i < n; ++i) r[i] = convert(a[2 * i]);
    } else if (from_step == -in && to_step == out) {
#pragma omp simd
        for (index_t i = 0; i < n; ++i) r[i] = convert(a[-i]);
    } else {
        for (index_t i = 0; i < n; ++i) *reinterpret_cast<R*>(to + i * to_step) = convert(*reinterpret_cast<const A*>(from + i * from_step));
    }
}

struct Two {
    std::uint64_t a, b;
};

Row same_row(index_t size) {
    switch (size) {
        case 1: return row<Plain<std::uint8_t>, Plain<std::uint8_t>>;
        case 2: return row<Plain<std::uint16_t>, Plain<std::uint16_t>>;
        case 4: return row<Plain<std::uint32_t>, Plain<std::uint32_t>>;
        case 8: return row<Plain<std::uint64_t>, Plain<std::uint64_t>>;
        case 16: return row<Plain<Two>, Plain<Two>>;
        default: return nullptr;
    }
}

// A number per element type that is converted, or -1.
int code_of(PyArrayObject* array) {
    switch (PyArray_TYPE(array)) {
        case NPY_FLOAT: return 0;
        case NPY_DOUBLE: return 1;
        case NPY_INT64: return 2;
        case NPY_INT32: return 3;
        case NPY_INT16: return 4;
        case NPY_INT8: return 5;
        case NPY_UINT8: return 6;
        case NPY_BOOL: return 7;
        case NPY_HALF: return 8;
        default: return type_of(array) == BF16 ? 9 : -1;
    }
}

template <typename From> constexpr Row rows_from[] = {
    row<From, Plain<float>>, row<From, Plain<double>>, row<From, Plain<std::int64_t>>, row<From, Plain<std::int32_t>>, row<From, Plain<std::int16_t>>,
    row<From, Plain<std::int8_t>>, row<From, Plain<std::uint8_t>>, row<From, Bool>, row<From, Half>, row<From, Brain>};
constexpr const Row* conversions[] = {
    rows_from<Plain<float>>, rows_from<Plain<double>>, rows_from<Plain<std::int64_t>>, rows_from<Plain<std::int32_t>>, rows_from<Plain<std::int16_t>>,
    rows_from<Plain<std::int8_t>>, rows_from<Plain<std::uint8_t>>, rows_from<Plain<std::uint8_t>>, rows_from<Half>, rows_from<Brain>};  // bool is 0 or 1

bool plain(PyArrayObject* a) { return PyArray_ISBEHAVED_RO(a) && !PyDataType_REFCHK(PyArray_DESCR(a)); }

// What copies rows between arrays of these types; nullptr where that is for NumPy.
Row row_between(PyArrayObject* from, PyArrayObject* to) {
    if (!plain(from) || !plain(to)) return nullptr;
    if (PyArray_TYPE(from) == PyArray_TYPE(to)) return PyArray_ITEMSIZE(from) == PyArray_ITEMSIZE(to) ? same_row(PyArray_ITEMSIZE(from)) : nullptr;
    const int a = code_of(from), b = code_of(to);
    return a < 0 || b < 0 ? nullptr : conversions[a][b];
}

// --- copies -----------------------------------------------------------------------------------------------------------------------------

template <typename T, index_t SIDE> void turn_square(const T* from, index_t from_step, T* to, index_t to_step, index_t rows, index_t columns) {
    T square[SIDE][SIDE];
    if (rows == SIDE && columns == SIDE) {
        for (index_t j = 0; j < SIDE; ++j) std::memcpy(square[j], from + j * from_step, sizeof square[j]);
        for (index_t i = 0; i < SIDE; ++i) {
            T* line = to + i * to_step;
#pragma omp simd
            for (index_t j = 0; j < SIDE; ++j) line[j] = square[j][i];
        }
        return;
    }
    for (index_t i = 0; i < rows; ++i) {
        for (index_t j = 0; j < columns; ++j) to[i * to_step + j] = from[j * from_step + i];
    }
}

class Copy {
  public:
    // False where the values are no shape that broadcasts to the target.
    [[nodiscard]] bool prepare(PyArrayObject* target, PyArrayObject* values) {
        same_ = PyArray_TYPE(target) == PyArray_TYPE(values);
        return prepare(PyArray_BYTES(target), PyArray_NDIM(target), PyArray_DIMS(target), PyArray_STRIDES(target), PyArray_ITEMSIZE(target), values);
    }
    [[nodiscard]] bool prepare(char* to, int ndim, const npy_intp* sizes, const npy_intp* steps, index_t item, PyArrayObject* values) {
        const int extra = ndim - PyArray_NDIM(values);
        if (extra < 0 || ndim > MAX_DIMS) return false;
        to_ = to;
        from_ = PyArray_BYTES(values);
        item_ = item;
        total_ = 1;
        for (int i = 0; i < ndim; ++i) total_ *= sizes[i];
        index_t n[MAX_DIMS], t[MAX_DIMS], f[MAX_DIMS];
        int count = 0;
        for (int i = 0; i < ndim; ++i) {
            const index_t size = sizes[i], given = i < extra ? 1 : PyArray_DIM(values, i - extra);
            if (given != size && given != 1) return false;
            if (size == 1) continue;
            index_t ts = steps[i], fs = given == 1 ? 0 : PyArray_STRIDE(values, i - extra);
            if (ts < 0) {  // from the other end
                to_ += (size - 1) * ts;
                from_ += (size - 1) * fs;
                ts = -ts;
                fs = -fs;
            }
            int at = count++;
            for (; at > 0 && t[at - 1] < ts; --at) {
                n[at] = n[at - 1];
                t[at] = t[at - 1];
                f[at] = f[at - 1];
            }
            n[at] = size;
            t[at] = ts;
            f[at] = fs;
        }
        ndim_ = 0;
        for (int i = 0; i < count; ++i) {
            if (ndim_ > 0 && t_[ndim_ - 1] == t[i] * n[i] && f_[ndim_ - 1] == f[i] * n[i]) {
                n_[ndim_ - 1] *= n[i];
            } else {
                n_[ndim_++] = n[i];
            }
            t_[ndim_ - 1] = t[i];
            f_[ndim_ - 1] = f[i];
        }
        if (ndim_ == 0) {
            n_[0] = 1;
            t_[0] = item_;
            f_[0] = PyArray_ITEMSIZE(values);
            ndim_ = 1;
        }
        return true;
    }

    void run(Row copy) {
        if (total_ <= 0) return;
        WithoutGil release(total_ * item_ > SMALL);
        if (same_ && find_turn()) {
            switch (item_) {
                case 1: return turn<std::uint8_t, 32>();
                case 2: return turn<std::uint16_t, 32>();
                case 4: return turn<std::uint32_t, 16>();
                case 8: return turn<std::uint64_t, 8>();
                default: break;
            }
        }
        parallel_for(total_, total_ * item_ > SMALL ? GRAIN : total_, [&](index_t begin, index_t end) { rows(copy, begin, end); });
    }

  private:
    // Elements begin ... end in the order of the target's memory.
    void rows(Row copy, index_t begin, index_t end) const {
        const int last = ndim_ - 1;
        index_t at[MAX_DIMS], rest = begin;
        const char* from = from_;
        char* to = to_;
        for (int i = last; i >= 0; --i) {
            at[i] = i > 0 ? rest % n_[i] : rest;
            rest /= n_[i];
            from += at[i] * f_[i];
            to += at[i] * t_[i];
        }
        for (index_t done = begin; done < end;) {
            const index_t n = std::min(n_[last] - at[last], end - done);
            copy(from, f_[last], to, t_[last], n);
            done += n;
            if (done >= end) return;
            from -= at[last] * f_[last];
            to -= at[last] * t_[last];
            at[last] = 0;
            for (int i = last - 1; i >= 0; --i) {
                from += f_[i];
                to += t_[i];
                if (++at[i] < n_[i]) break;
                from -= n_[i] * f_[i];
                to -= n_[i] * t_[i];
                at[i] = 0;
            }
        }
    }

    // Whether the source runs along another dimension than the target; `along_` is that one.
    [[nodiscard]] bool find_turn() {
        const int last = ndim_ - 1;
        if (t_[last] != item_ || f_[last] == item_ || f_[last] == 0 || n_[last] < 4) return false;
        for (along_ = last - 1; along_ >= 0; --along_) {
            if ((f_[along_] == item_ || f_[along_] == -item_) && n_[along_] >= 4) break;
        }
        if (along_ < 0) return false;
        if (f_[along_] < 0) {  // walk both along it from the other end
            from_ += (n_[along_] - 1) * f_[along_];
            to_ += (n_[along_] - 1) * t_[along_];
            f_[along_] = -f_[along_];
            t_[along_] = -t_[along_];
        }
        return f_[last] % item_ == 0 && t_[along_] % item_ == 0;
    }

    template <typename T, index_t SIDE> void turn() const {
        const int last = ndim_ - 1;
        const index_t across = (n_[last] + SIDE - 1) / SIDE, down = (n_[along_] + SIDE - 1) / SIDE;
        index_t others = 1;
        for (int i = 0; i < last; ++i) if (i != along_) others *= n_[i];
        parallel_for(others * across, std::max<index_t>(1, GRAIN / (SIDE * n_[along_])), [&](index_t begin, index_t end) {
            for (index_t task = begin; task < end; ++task) {
                const index_t column = task % across * SIDE;
                index_t rest = task / across;
                const char* from = from_ + column * f_[last];
                char* to = to_ + column * t_[last];
                for (int i = last - 1; i >= 0; --i) {
                    if (i == along_) continue;
                    from += rest % n_[i] * f_[i];
                    to += rest % n_[i] * t_[i];
                    rest /= n_[i];
                }
                for (index_t r = 0; r < down; ++r) {
                    turn_square<T, SIDE>(reinterpret_cast<const T*>(from) + r * SIDE, f_[last] / item_,
                                         reinterpret_cast<T*>(to + r * SIDE * t_[along_]), t_[along_] / item_, std::min(SIDE, n_[along_] - r * SIDE),
                                         std::min(SIDE, n_[last] - column));
                }
            }
        });
    }

    int ndim_ = 0, along_ = -1;
    index_t n_[MAX_DIMS], t_[MAX_DIMS], f_[MAX_DIMS];  // sizes and steps (in bytes), by the target's steps
    index_t item_ = 0, total_ = 0;
    bool same_ = true;  // both are of one type
    char* to_ = nullptr;
    const char* from_ = nullptr;
};

bool large(PyArrayObject* a) { return PyArray_NBYTES(a) > SMALL; }

// The array's values in `out` (a new reference that is handed on).
PyObject* copied_into(PyArrayObject* out, PyArrayObject* a, Row copy) {
    if (out == nullptr) return nullptr;
    Copy plan;
    if (!plan.prepare(out, a)) {
        Py_DECREF(out);
        return nullptr;
    }
    plan.run(copy);
    return reinterpret_cast<PyObject*>(out);
}

// (array) -> a copy in C order
PyObject* copied(PyObject* const* args, Py_ssize_t count) {
    if (count != 1 || !PyArray_CheckExact(args[0])) return nullptr;
    PyArrayObject* a = as_array(args[0]);
    Row copy = large(a) ? row_between(a, a) : nullptr;
    if (copy == nullptr) return PyArray_NewCopy(a, NPY_CORDER);
    return copied_into(as_array(PyArray_NewLikeArray(a, NPY_CORDER, nullptr, 0)), a, copy);
}

}  // namespace

PyObject* copy_in_order(PyArrayObject* a) {
    PyObject* const args[] = {reinterpret_cast<PyObject*>(a)};
    PyObject* result = copied(args, 1);
    return result != nullptr || PyErr_Occurred() ? result : PyArray_NewCopy(a, NPY_CORDER);
}

namespace {

// (array) -> a copy in the array's own order of dimensions
PyObject* copied_like(PyObject* const* args, Py_ssize_t count) {
    if (count != 1 || !PyArray_CheckExact(args[0])) return nullptr;
    PyArrayObject* a = as_array(args[0]);
    Row copy = large(a) ? row_between(a, a) : nullptr;
    if (copy == nullptr) return PyArray_NewCopy(a, NPY_KEEPORDER);
    return copied_into(as_array(PyArray_NewLikeArray(a, NPY_KEEPORDER, nullptr, 0)), a, copy);
}

// (array, NumPy dtype) -> converted, in the array's order of dimensions
PyObject* converted(PyObject* const* args, Py_ssize_t count) {
    if (count != 2 || !PyArray_CheckExact(args[0]) || !PyArray_DescrCheck(args[1])) return nullptr;
    PyArrayObject* a = as_array(args[0]);
    PyArray_Descr* type = reinterpret_cast<PyArray_Descr*>(args[1]);
    if (code_of(a) < 0 || !plain(a)) return nullptr;
    Py_INCREF(type);
    PyArrayObject* out = as_array(PyArray_NewLikeArray(a, NPY_KEEPORDER, type, 0));
    if (out == nullptr) return nullptr;
    Row copy = row_between(a, out);
    if (copy != nullptr) return copied_into(out, a, copy);
    Py_DECREF(out);
    return nullptr;
}

// (target, values): target[...] = values
PyObject* assign(PyObject* const* args, Py_ssize_t count) {
    if (count != 2 || !PyArray_CheckExact(args[0]) || !PyArray_CheckExact(args[1])) return nullptr;
    PyArrayObject *target = as_array(args[0]), *values = as_array(args[1]);
    if (!PyArray_ISWRITEABLE(target)) return nullptr;
    Row copy = row_between(values, target);
    Copy plan;
    if (copy == nullptr || !plan.prepare(target, values) || (PyArray_SIZE(target) > 0 && overlap(target, values))) return nullptr;
    plan.run(copy);
    Py_RETURN_NONE;
}

// Whether the dimensions lie in memory in their own order, largest steps first.
bool in_order(PyArrayObject* a) {
    index_t before = PTRDIFF_MAX;
    for (int i = 0; i < PyArray_NDIM(a); ++i) {
        const index_t step = PyArray_STRIDE(a, i);
        if (PyArray_DIM(a, i) == 1) continue;
        if (step > before || step <= 0) return false;
        before = step;
    }
    return true;
}

// Arrays of one type, joined along `axis`, or (is_new) along a new one there. `get(i)` is the i-th, or null. Null, perhaps without an error set,
// where they don't fit.
template <typename F> PyObject* join(Py_ssize_t count, index_t axis, bool is_new, F get) {
    PyArrayObject* first = count > 0 ? get(0) : nullptr;
    if (first == nullptr) return nullptr;
    const int inner = PyArray_NDIM(first), ndim = inner + (is_new ? 1 : 0);
    if (axis < 0) axis += ndim;
    Row copy = row_between(first, first);
    if (copy == nullptr || axis < 0 || axis >= ndim || ndim > MAX_DIMS) return nullptr;
    npy_intp sizes[MAX_DIMS], steps[MAX_DIMS];
    for (int i = 0; i < inner; ++i) sizes[is_new && i >= axis ? i + 1 : i] = PyArray_DIM(first, i);
    sizes[axis] = 0;
    for (Py_ssize_t k = 0; k < count; ++k) {
        PyArrayObject* each = get(k);
        if (each == nullptr || PyArray_NDIM(each) != inner || PyArray_TYPE(each) != PyArray_TYPE(first) || !plain(each) || !in_order(each)) return nullptr;
        for (int i = 0; i < inner; ++i) {
            const int at = is_new && i >= axis ? i + 1 : i;
            if (at != axis && PyArray_DIM(each, i) != sizes[at]) return nullptr;
        }
        sizes[axis] += is_new ? 1 : PyArray_DIM(each, static_cast<int>(axis));
    }
    PyArray_Descr* type = PyArray_DESCR(first);
    Py_INCREF(type);
    PyArrayObject* out = as_array(PyArray_NewFromDescr(&PyArray_Type, type, ndim, sizes, nullptr, nullptr, 0, nullptr));
    if (out == nullptr) return nullptr;
    char* to = PyArray_BYTES(out);
    for (int i = 0, at = 0; i < ndim; ++i) {
        if (!(is_new && i == axis)) steps[at++] = PyArray_STRIDE(out, i);
    }
    for (Py_ssize_t k = 0; k < count; ++k) {
        PyArrayObject* each = get(k);
        Copy plan;
        if (!plan.prepare(to, inner, PyArray_DIMS(each), steps, PyArray_ITEMSIZE(out), each)) {
            Py_DECREF(out);
            return nullptr;
        }
        plan.run(copy);
        to += PyArray_STRIDE(out, static_cast<int>(axis)) * (is_new ? 1 : PyArray_DIM(each, static_cast<int>(axis)));
    }
    return reinterpret_cast<PyObject*>(out);
}

// (list of arrays, axis, whether the axis is a new one)
PyObject* joined(PyObject* const* args, Py_ssize_t count) {
    if (count != 3 || !PyList_CheckExact(args[0])) return nullptr;
    const index_t axis = PyLong_AsSsize_t(args[1]);
    if (axis == -1 && PyErr_Occurred()) return nullptr;
    return join(PyList_GET_SIZE(args[0]), axis, args[2] == Py_True, [&](Py_ssize_t i) {
        PyObject* each = PyList_GET_ITEM(args[0], i);
        return PyArray_CheckExact(each) ? as_array(each) : nullptr;
    });
}

// join_tensors(list or tuple, dim, new): the joined tensor, without history; None where anything is not plain.
PyObject* join_tensors(PyObject*, PyObject* const* args, Py_ssize_t count) {
    if (count != 3 || layout.tensor == nullptr || (!PyList_CheckExact(args[0]) && !PyTuple_CheckExact(args[0])) || !PyLong_CheckExact(args[1])) Py_RETURN_NONE;
    const index_t axis = PyLong_AsSsize_t(args[1]);
    if (axis == -1 && PyErr_Occurred()) return nullptr;
    PyObject* const* tensors = PySequence_Fast_ITEMS(args[0]);
    const Py_ssize_t n = PySequence_Fast_GET_SIZE(args[0]);
    PyObject* kind = n > 0 && is_tensor(tensors[0]) ? slot(tensors[0], layout.kind) : nullptr;
    PyObject* result = join(n, axis, args[2] == Py_True, [&](Py_ssize_t i) -> PyArrayObject* {
        PyObject* each = tensors[i];
        if (!is_tensor(each) || slot(each, layout.kind) != kind) return nullptr;
        PyObject* array = slot(each, layout.array);
        return PyArray_CheckExact(array) ? as_array(array) : nullptr;
    });
    if (result != nullptr) return make_tensor(result, kind);
    if (PyErr_Occurred()) return nullptr;
    Py_RETURN_NONE;
}

PyMethodDef methods[] = {
    {"join_tensors", reinterpret_cast<PyCFunction>(join_tensors), METH_FASTCALL,
     "join_tensors(tensors, dim, new): plain tensors joined along a dimension or (new) a new one, without history; None for others."},
    {nullptr, nullptr, 0, nullptr},
};

// (array, diagonal, whether the part above it is kept): the triangle of each matrix, zeros elsewhere
PyObject* triangle(PyObject* const* args, Py_ssize_t count) {
    if (count != 3 || !PyArray_CheckExact(args[0]) || !PyLong_CheckExact(args[1])) return nullptr;
    PyArrayObject* a = as_array(args[0]);
    const int ndim = PyArray_NDIM(a);
    if (ndim < 2 || !contiguous(a) || !plain(a)) return nullptr;
    int over;
    const long long diagonal = PyLong_AsLongLongAndOverflow(args[1], &over);
    if (over != 0) return nullptr;
    PyArrayObject* out = as_array(PyArray_NewLikeArray(a, NPY_CORDER, nullptr, 0));
    if (out == nullptr) return nullptr;
    const index_t rows = PyArray_DIM(a, ndim - 2), columns = PyArray_DIM(a, ndim - 1), item = PyArray_ITEMSIZE(a);
    if (PyArray_SIZE(a) == 0) return reinterpret_cast<PyObject*>(out);
    const bool upper = args[2] == Py_True;
    const char* from = PyArray_BYTES(a);
    char* to = PyArray_BYTES(out);
    WithoutGil release(large(a));
    parallel_for(PyArray_SIZE(a) / columns, std::max<index_t>(1, GRAIN / columns), [&](index_t begin, index_t end) {
        for (index_t row = begin; row < end; ++row) {
            const long long edge = static_cast<long long>(row % rows) + diagonal + (upper ? 0 : 1);  // the first column of the upper part
            const std::size_t left = static_cast<std::size_t>(std::min<long long>(std::max<long long>(edge, 0), columns) * item);
            const std::size_t right = static_cast<std::size_t>(columns * item) - left;
            const char* source = from + row * columns * item;
            char* target = to + row * columns * item;
            if (upper) {
                std::memset(target, 0, left);
                std::memcpy(target + left, source + left, right);
            } else {
                std::memcpy(target, source, left);
                std::memset(target + left, 0, right);
            }
        }
    });
    return reinterpret_cast<PyObject*>(out);
}

// --- fills ------------------------------------------------------------------------------------------------------------------------------

template <typename T> void repeat(char* to, index_t n) {
    T* r = reinterpret_cast<T*>(to);
    const T value = *r;
    parallel_for(n, GRAIN * 2, [&](index_t begin, index_t end) {
        for (index_t i = begin; i < end; ++i) r[i] = value;
    });
}

// With gaps, or dimensions in another order: one element is copied everywhere.
PyObject* fill_strided(PyArrayObject* target, PyObject* value) {
    PyArray_Descr* type = PyArray_DESCR(target);
    Py_INCREF(type);
    PyArrayObject* one = as_array(PyArray_NewFromDescr(&PyArray_Type, type, 0, nullptr, nullptr, nullptr, 0, nullptr));
    if (one == nullptr) return nullptr;
    PyObject* result = nullptr;
    if (PyArray_CopyObject(one, value) == 0) {
        Row copy = row_between(one, target);
        Copy plan;
        if (copy != nullptr && plan.prepare(target, one)) {
            plan.run(copy);
            result = Py_NewRef(Py_None);
        }
    }
    Py_DECREF(one);
    return result;
}

// (target, value): target[...] = value for one value
PyObject* fill(PyObject* const* args, Py_ssize_t count) {
    if (count != 2 || !PyArray_CheckExact(args[0])) return nullptr;
    PyArrayObject* target = as_array(args[0]);
    if (!large(target) || !plain(target) || !PyArray_ISWRITEABLE(target)) return nullptr;
    if (!PyArray_IS_C_CONTIGUOUS(target) && !PyArray_IS_F_CONTIGUOUS(target)) return fill_strided(target, args[1]);
    PyArray_Descr* type = PyArray_DESCR(target);
    Py_INCREF(type);
    PyArrayObject* first = as_array(PyArray_NewFromDescr(&PyArray_Type, type, 0, nullptr, nullptr, PyArray_DATA(target), NPY_ARRAY_CARRAY, nullptr));
    if (first == nullptr) return nullptr;
    const int failed = PyArray_CopyObject(first, args[1]);
    Py_DECREF(first);
    if (failed < 0) return nullptr;
    char* to = PyArray_BYTES(target);
    const index_t n = PyArray_SIZE(target);
    WithoutGil release;
    switch (PyArray_ITEMSIZE(target)) {
        case 1: repeat<std::uint8_t>(to, n); break;
        case 2: repeat<std::uint16_t>(to, n); break;
        case 4: repeat<std::uint32_t>(to, n); break;
        case 8: repeat<std::uint64_t>(to, n); break;
        default: repeat<Two>(to, n); break;
    }
    return Py_NewRef(Py_None);
}

// out[i] = first + i * by, rounded once
template <typename T, typename Wide> void line(char* out, Wide first, Wide by, index_t n) {
    T* r = reinterpret_cast<T*>(out);
    parallel_for(n, GRAIN, [&](index_t begin, index_t end) {
#pragma omp simd
        for (index_t i = begin; i < end; ++i) r[i] = static_cast<T>(first + static_cast<Wide>(i) * by);
    });
}

// A row without gaps of one of the types that fills compute; null for others.
PyArrayObject* row_to_fill(PyObject* object) {
    if (!PyArray_CheckExact(object)) return nullptr;
    PyArrayObject* a = as_array(object);
    const int type = PyArray_TYPE(a);
    const bool known = type == NPY_INT64 || type == NPY_INT32 || type == NPY_FLOAT || type == NPY_DOUBLE;
    return known && PyArray_NDIM(a) == 1 && contiguous(a) && plain(a) && PyArray_ISWRITEABLE(a) ? a : nullptr;
}

// (target, first, step): target[i] = first + i * step
PyObject* affine(PyObject* const* args, Py_ssize_t count) {
    PyArrayObject* target = count == 3 ? row_to_fill(args[0]) : nullptr;
    if (target == nullptr) return nullptr;
    const int number = PyArray_TYPE(target);
    const npy_intp n = PyArray_DIM(target, 0);
    if (number == NPY_INT64 || number == NPY_INT32) {
        if (!PyLong_CheckExact(args[1]) || !PyLong_CheckExact(args[2])) return nullptr;
        int over[2];
        const std::int64_t first = PyLong_AsLongLongAndOverflow(args[1], &over[0]), by = PyLong_AsLongLongAndOverflow(args[2], &over[1]);
        std::int64_t end;
        if (over[0] != 0 || over[1] != 0 || __builtin_mul_overflow(by, n, &end) || __builtin_add_overflow(first, end, &end)) return nullptr;
        WithoutGil release(n > GRAIN);
        number == NPY_INT64 ? line<std::int64_t>(PyArray_BYTES(target), first, by, n) : line<std::int32_t>(PyArray_BYTES(target), first, by, n);
    } else {
        const double first = PyFloat_AsDouble(args[1]), by = PyFloat_AsDouble(args[2]);
        if (PyErr_Occurred()) return nullptr;
        WithoutGil release(n > GRAIN);
        number == NPY_FLOAT ? line<float>(PyArray_BYTES(target), first, by, n) : line<double>(PyArray_BYTES(target), first, by, n);
    }
    return Py_NewRef(Py_None);
}

// Computed from both ends, with a multiply-add of one rounding (float: in double).
template <typename T> void between_ends(T* r, double start, double end, index_t n) {
    const T low = static_cast<T>(start), high = static_cast<T>(end), step = (high - low) / static_cast<T>(n > 1 ? n - 1 : 1);
    const double a = low, b = high, d = step;
    parallel_for(n, GRAIN, [&](index_t begin, index_t end) {
        const index_t middle = std::min(std::max(begin, n / 2), end);
#pragma omp simd
        for (index_t i = begin; i < middle; ++i) r[i] = static_cast<T>(a + d * static_cast<double>(i));
#pragma omp simd
        for (index_t i = middle; i < end; ++i) r[i] = static_cast<T>(b - d * static_cast<double>(n - 1 - i));
    });
}

// (target, start, end): evenly spaced numbers, both ends included
PyObject* between(PyObject* const* args, Py_ssize_t count) {
    PyArrayObject* target = count == 3 ? row_to_fill(args[0]) : nullptr;
    if (target == nullptr || (PyArray_TYPE(target) != NPY_FLOAT && PyArray_TYPE(target) != NPY_DOUBLE)) return nullptr;
    const double start = PyFloat_AsDouble(args[1]), end = PyFloat_AsDouble(args[2]);
    if (PyErr_Occurred()) return nullptr;
    const index_t n = PyArray_DIM(target, 0);
    WithoutGil release(n > GRAIN);
    PyArray_TYPE(target) == NPY_FLOAT ? between_ends(data_of<float>(target), start, end, n) : between_ends(data_of<double>(target), start, end, n);
    return Py_NewRef(Py_None);
}

}  // namespace

extern const NativeFunction memory_functions[] = {{"copied", copied}, {"copied_like", copied_like}, {"converted", converted}, {"assign", assign},
                                                  {"fill", fill},     {"affine", affine},           {"between", between},           {"joined", joined},             {"triangle", triangle},
                                                  {nullptr, nullptr}};

int add_memory(PyObject* module) { return PyModule_AddFunctions(module, methods); }

}  // namespace rushlight
