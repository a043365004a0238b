// What turns random words into numbers: normal numbers by blocks, permutations, and the C library's functions, which PyTorch's scalar kernels call
// and NumPy replaces by its own on some processors. kernels/random_normal.py explains the formulas and rounds in the same way.
#include "random.h"

#include <cmath>
#include <cstring>

#include "function.h"
#include "pool.h"

namespace rushlight {
namespace {

constexpr int MIDDLE = 397;

inline std::uint32_t twisted(std::uint32_t a, std::uint32_t b, std::uint32_t far) {
    const std::uint32_t y = (a & 0x80000000u) | (b & 0x7fffffffu);
    return far ^ (y >> 1) ^ ((0u - (y & 1u)) & 0x9908b0dfu);
}

}  // namespace

// The next state. What a word depends on lies 227 words back or further on, so that vectors are in order.
void mt_twist(std::uint32_t* key) {
#pragma GCC ivdep
    for (int i = 0; i < MT_STATE - MIDDLE; ++i) key[i] = twisted(key[i], key[i + 1], key[i + MIDDLE]);
#pragma GCC ivdep
    for (int i = MT_STATE - MIDDLE; i < MT_STATE - 1; ++i) key[i] = twisted(key[i], key[i + 1], key[i + MIDDLE - MT_STATE]);
    key[MT_STATE - 1] = twisted(key[MT_STATE - 1], key[0], key[MIDDLE - 1]);
}

void mt_temper(const std::uint32_t* key, std::uint32_t* out) {
#pragma omp simd
    for (int i = 0; i < MT_STATE; ++i) {
        std::uint32_t y = key[i];
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c5680u;
        y ^= (y << 15) & 0xefc60000u;
        out[i] = y ^ (y >> 18);
    }
}

PyArrayObject* array_of(PyObject* object, int type) {
    PyArrayObject* a = as_array(object);
    return PyArray_Check(object) && PyArray_TYPE(a) == type && contiguous(a) ? a : nullptr;
}

namespace {

constexpr index_t GRAIN = 4096;

#if defined(__FMA__) || defined(__aarch64__)
#define RUSHLIGHT_NORMAL_BLOCKS 1

inline float madd(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
inline std::int32_t bits_of(float x) {
    std::int32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    return bits;
}
inline float float_of(std::int32_t bits) {
    float x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
}

// log of numbers in (0, 1], after Moshier's logf (Cephes)
inline float log_of(float u) {
    constexpr std::int32_t one = 0x3f800000, sqrt_half = 0x3f3504f3;
    std::int32_t bits = bits_of(u) + (one - sqrt_half);
    const float e = static_cast<float>((bits >> 23) - 127);
    const float x = float_of((bits & 0x7fffff) + sqrt_half) - 1.0f, z = x * x;
    float p = 7.0376836292e-2f;
    p = madd(p, x, -1.1514610310e-1f);
    p = madd(p, x, 1.1676998740e-1f);
    p = madd(p, x, -1.2420140846e-1f);
    p = madd(p, x, 1.4249322787e-1f);
    p = madd(p, x, -1.6668057665e-1f);
    p = madd(p, x, 2.0000714765e-1f);
    p = madd(p, x, -2.4999993993e-1f);
    p = madd(p, x, 3.3333331174e-1f);
    float y = madd(p * x, z, e * -2.12194440e-4f);
    y = madd(z, -0.5f, y);
    return madd(e, 0.693359375f, x + y);
}

// sine and cosine of angles in [0, 2 pi], after Moshier's sinf and cosf (Cephes)
inline void sin_cos_of(float theta, float* sine, float* cosine) {
    const std::int32_t octant = (static_cast<std::int32_t>(theta * 1.27323954473516f) + 1) & -2;
    const float j = static_cast<float>(octant);
    float x = madd(j, -0.78515625f, theta);
    x = madd(j, -2.4187564849853515625e-4f, x);
    x = madd(j, -3.77489497744594108e-8f, x);
    const float z = x * x;
    float c = madd(2.443315711809948e-5f, z, -1.388731625493765e-3f);
    c = madd(c, z, 4.166664568298827e-2f) * z;
    c = madd(c, z, z * -0.5f) + 1.0f;
    float s = madd(-1.9515295891e-4f, z, 8.3321608736e-3f);
    s = madd(s, z, -1.6666654611e-1f) * z;
    s = madd(s, x, x);
    const bool swapped = (octant & 2) != 0;
    const std::int32_t first = bits_of(swapped ? c : s), second = bits_of(swapped ? s : c);
    *sine = float_of(first ^ ((octant & 4) << 29));
    *cosine = float_of(second ^ (((octant + 2) & 4) << 29));
}

void normal_blocks(const std::uint32_t* words, index_t blocks, float* out) {
    parallel_for(blocks, GRAIN / 16, [&](index_t begin, index_t end) {
        for (index_t block = begin; block < end; ++block) {
            const std::uint32_t* from = words + block * 16;
            float* to = out + block * 16;
#pragma omp simd
            for (int i = 0; i < 8; ++i) {
                const float u = static_cast<float>((1 << 24) - static_cast<std::int32_t>(from[i] & 0xffffff)) * 0x1p-24f;
                const float radius = std::sqrt(log_of(u) * -2.0f);
                const float theta = static_cast<float>(static_cast<std::int32_t>(from[i + 8] & 0xffffff)) * 0x1p-24f * 6.28318530717958647692f;
                float s, c;
                sin_cos_of(theta, &s, &c);
                to[i] = radius * c;
                to[i + 8] = radius * s;
            }
        }
    });
}

PyObject* normal_blocks_(PyObject*, PyObject* const* args, Py_ssize_t count) {
    PyArrayObject *words = count == 2 ? as_array(args[0]) : nullptr, *out = count == 2 ? as_array(args[1]) : nullptr;
    if (count != 2 || !PyArray_Check(args[0]) || !PyArray_Check(args[1]) || PyArray_TYPE(words) != NPY_UINT32 || PyArray_TYPE(out) != NPY_FLOAT ||
        !contiguous(words) || !contiguous(out) || PyArray_SIZE(words) != PyArray_SIZE(out) || PyArray_SIZE(out) % 16 != 0) {
        return PyErr_Format(PyExc_ValueError, "expected as many words (uint32) as numbers (float32), in blocks of 16");
    }
    {
        WithoutGil release(PyArray_SIZE(out) > GRAIN);
        normal_blocks(data_of<std::uint32_t>(words), PyArray_SIZE(out) / 16, data_of<float>(out));
    }
    Py_RETURN_NONE;
}
#endif

// --- mt19937 ---------------------------------------------------------------------------------------------------------------------------

constexpr int STATE = MT_STATE;

PyObject* mt_seed(PyObject*, PyObject* const* args, Py_ssize_t count) {
    PyArrayObject* key = count == 2 ? array_of(args[0], NPY_UINT32) : nullptr;
    if (key == nullptr || PyArray_SIZE(key) != STATE) return PyErr_Format(PyExc_ValueError, "expected a state of 624 words (uint32) and a seed");
    const unsigned long seed = PyLong_AsUnsignedLong(args[1]);
    if (PyErr_Occurred()) return nullptr;
    std::uint32_t* k = data_of<std::uint32_t>(key);
    k[0] = static_cast<std::uint32_t>(seed);
    for (int i = 1; i < STATE; ++i) k[i] = 1812433253u * (k[i - 1] ^ (k[i - 1] >> 30)) + static_cast<std::uint32_t>(i);
    Py_RETURN_NONE;
}

PyObject* mt_words(PyObject*, PyObject* const* args, Py_ssize_t count) {
    PyArrayObject *key = count == 3 ? array_of(args[0], NPY_UINT32) : nullptr, *out = count == 3 ? array_of(args[1], NPY_UINT32) : nullptr;
    if (key == nullptr || out == nullptr || PyArray_SIZE(key) != STATE || PyArray_SIZE(out) % STATE != 0) {
        return PyErr_Format(PyExc_ValueError, "expected a state of 624 words, and room for a multiple of 624 words (uint32)");
    }
    bool keep = args[2] == Py_True;
    std::uint32_t *k = data_of<std::uint32_t>(key), *to = data_of<std::uint32_t>(out);
    const index_t n = PyArray_SIZE(out);
    WithoutGil release(n > GRAIN * 4);
    for (index_t at = 0; at < n; at += STATE) {
        if (!keep) mt_twist(k);
        keep = false;
        mt_temper(k, to + at);
    }
    Py_RETURN_NONE;
}

// --- numbers from words -----------------------------------------------------------------------------------------------------------------

inline float unit(std::uint32_t word) { return static_cast<float>(static_cast<std::int32_t>(word & 0xffffffu)) * 0x1p-24f; }
inline double unit(std::uint32_t high, std::uint32_t low) {
    return static_cast<double>(static_cast<std::int32_t>(high & 0x1fffffu)) * 0x1p-21 + static_cast<double>(low) * 0x1p-53;
}

// (words, low, high): float32 numbers of [low, high) from a word each; what rounds up to high becomes low.
PyObject* uniform_numbers(PyObject* const* args, Py_ssize_t count) {
    PyArrayObject* words = count == 3 ? array_of(args[0], NPY_UINT32) : nullptr;
    if (words == nullptr) return nullptr;
    const float low = static_cast<float>(PyFloat_AsDouble(args[1])), high = static_cast<float>(PyFloat_AsDouble(args[2]));
    if (PyErr_Occurred()) return nullptr;
    PyArrayObject* out = new_array(PyArray_NDIM(words), PyArray_DIMS(words), NPY_FLOAT);
    if (out == nullptr) return nullptr;
    const std::uint32_t* w = data_of<std::uint32_t>(words);
    float* r = data_of<float>(out);
    const double first = low, range = high - low;
    const bool plain = low == 0.0f && high == 1.0f;
    WithoutGil release(PyArray_SIZE(out) > GRAIN * 4);
    parallel_for(PyArray_SIZE(out), GRAIN * 4, [&](index_t begin, index_t end) {
        if (plain) {
#pragma omp simd
            for (index_t i = begin; i < end; ++i) r[i] = unit(w[i]);
        } else {
#pragma omp simd
            for (index_t i = begin; i < end; ++i) {
                const float x = static_cast<float>(static_cast<double>(unit(w[i])) * range + first);
                r[i] = x == high ? low : x;
            }
        }
    });
    return reinterpret_cast<PyObject*>(out);
}

// (words): float64 numbers of [0, 1) from two words each.
PyObject* doubles(PyObject* const* args, Py_ssize_t count) {
    PyArrayObject* words = count == 1 ? array_of(args[0], NPY_UINT32) : nullptr;
    if (words == nullptr) return nullptr;
    const npy_intp n = PyArray_SIZE(words) / 2;
    PyArrayObject* out = new_array(1, &n, NPY_DOUBLE);
    if (out == nullptr) return nullptr;
    const std::uint32_t* w = data_of<std::uint32_t>(words);
    double* r = data_of<double>(out);
    WithoutGil release(n > GRAIN * 4);
    parallel_for(n, GRAIN * 4, [&](index_t begin, index_t end) {
#pragma omp simd
        for (index_t i = begin; i < end; ++i) r[i] = unit(w[2 * i], w[2 * i + 1]);
    });
    return reinterpret_cast<PyObject*>(out);
}

// (words, p): for a number p, whether the doubles of two words each lie below it; for float32 numbers, whether the units of a word each do.
PyObject* below(PyObject* const* args, Py_ssize_t count) {
    PyArrayObject* words = count == 2 ? array_of(args[0], NPY_UINT32) : nullptr;
    if (words == nullptr) return nullptr;
    PyArrayObject* each = PyFloat_Check(args[1]) ? nullptr : array_of(args[1], NPY_FLOAT);
    if (each == nullptr && !PyFloat_Check(args[1])) return nullptr;
    const double p = each == nullptr ? PyFloat_AsDouble(args[1]) : 0;
    if (PyErr_Occurred()) return nullptr;
    const npy_intp n = each == nullptr ? PyArray_SIZE(words) / 2 : PyArray_SIZE(words);
    if (each != nullptr && PyArray_SIZE(each) != n) return PyErr_Format(PyExc_ValueError, "expected as many chances as words");
    PyArrayObject* out = new_array(1, &n, NPY_BOOL);
    if (out == nullptr) return nullptr;
    const std::uint32_t* w = data_of<std::uint32_t>(words);
    const float* chances = each == nullptr ? nullptr : data_of<float>(each);
    std::uint8_t* r = data_of<std::uint8_t>(out);
    WithoutGil release(n > GRAIN * 4);
    parallel_for(n, GRAIN * 4, [&](index_t begin, index_t end) {
        if (chances == nullptr) {
#pragma omp simd
            for (index_t i = begin; i < end; ++i) r[i] = unit(w[2 * i], w[2 * i + 1]) < p;
        } else {
#pragma omp simd
            for (index_t i = begin; i < end; ++i) r[i] = unit(w[i]) < chances[i];
        }
    });
    return reinterpret_cast<PyObject*>(out);
}

// normal_pairs(words): float64 normal numbers in pairs, each pair from four words, by the C library's functions.
PyObject* normal_pairs(PyObject*, PyObject* object) {
    PyArrayObject* words = array_of(object, NPY_UINT32);
    if (words == nullptr || PyArray_SIZE(words) % 4 != 0) return PyErr_Format(PyExc_ValueError, "expected words (uint32), four per pair");
    const npy_intp n = PyArray_SIZE(words) / 2;
    PyArrayObject* out = new_array(1, &n, NPY_DOUBLE);
    if (out == nullptr) return nullptr;
    const std::uint32_t* w = data_of<std::uint32_t>(words);
    double* r = data_of<double>(out);
    WithoutGil release(n > 256);
    parallel_for(n / 2, 256, [&](index_t begin, index_t end) {
        for (index_t i = begin; i < end; ++i) {
            const double turn = unit(w[4 * i], w[4 * i + 1]), size = unit(w[4 * i + 2], w[4 * i + 3]);
            const double radius = std::sqrt(-2.0 * std::log1p(-size)), angle = 2.0 * 3.14159265358979323846 * turn;
            r[2 * i] = radius * std::cos(angle);
            r[2 * i + 1] = radius * std::sin(angle);
        }
    });
    return reinterpret_cast<PyObject*>(out);
}

// (words, span, low): low + word % span as int64, for spans below 2**28.
PyObject* remainders(PyObject* const* args, Py_ssize_t count) {
    PyArrayObject* words = count == 3 ? array_of(args[0], NPY_UINT32) : nullptr;
    if (words == nullptr) return nullptr;
    const long long span = PyLong_AsLongLong(args[1]), low = PyLong_AsLongLong(args[2]);
    if (PyErr_Occurred()) return nullptr;
    if (span < 1 || span >= 1 << 28) return PyErr_Format(PyExc_ValueError, "the span has to be between 1 and 2**28 - 1");
    PyArrayObject* out = new_array(PyArray_NDIM(words), PyArray_DIMS(words), NPY_INT64);
    if (out == nullptr) return nullptr;
    const std::uint32_t* w = data_of<std::uint32_t>(words);
    std::int64_t* r = data_of<std::int64_t>(out);
    const double inverse = 1.0 / static_cast<double>(span);
    const std::int64_t divisor = span, first = low;
    WithoutGil release(PyArray_SIZE(out) > GRAIN * 4);
    parallel_for(PyArray_SIZE(out), GRAIN * 4, [&](index_t begin, index_t end) {
#pragma omp simd
        for (index_t i = begin; i < end; ++i) {
            const std::int64_t word = w[i], quotient = static_cast<std::int64_t>(static_cast<double>(word) * inverse);  // right, or off by one
            std::int64_t rest = word - quotient * divisor;
            rest = rest < 0 ? rest + divisor : rest;
            r[i] = (rest >= divisor ? rest - divisor : rest) + first;
        }
    });
    return reinterpret_cast<PyObject*>(out);
}

// The place i of 0..n-1 changes with place i + word % (n - i), for every word.
template <typename Word> void follow_swaps(const Word* words, index_t n, std::int64_t* places) {
    for (index_t i = 0; i < n; ++i) places[i] = i;
    for (index_t i = 0; i + 1 < n; ++i) std::swap(places[i], places[i + static_cast<index_t>(words[i] % static_cast<Word>(n - i))]);
}

// (words): the numbers 0 ... n - 1, of which place i has changed with place i + words[i] % (n - i); n is one more than the words.
PyObject* swapped(PyObject* const* args, Py_ssize_t count) {
    if (count != 1 || !PyArray_CheckExact(args[0])) return nullptr;
    PyArrayObject* words = as_array(args[0]);
    if ((PyArray_TYPE(words) != NPY_UINT32 && PyArray_TYPE(words) != NPY_UINT64) || !contiguous(words) || PyArray_NDIM(words) != 1) return nullptr;
    const npy_intp n = PyArray_SIZE(words) + 1;
    PyArrayObject* out = new_array(1, &n, NPY_INT64);
    if (out == nullptr) return nullptr;
    if (PyArray_TYPE(words) == NPY_UINT32) {
        follow_swaps(data_of<std::uint32_t>(words), n, data_of<std::int64_t>(out));
    } else {
        follow_swaps(data_of<std::uint64_t>(words), n, data_of<std::int64_t>(out));
    }
    return reinterpret_cast<PyObject*>(out);
}

// The C library's function of every element of a float64 array, as a new array.
template <typename F> PyArrayObject* each_by(PyArrayObject* x, F function) {
    PyArrayObject* out = new_array(PyArray_NDIM(x), PyArray_DIMS(x), NPY_DOUBLE);
    if (out == nullptr) return nullptr;
    WithoutGil release(PyArray_SIZE(x) > GRAIN);
    const double* from = data_of<double>(x);
    double* to = data_of<double>(out);
    parallel_for(PyArray_SIZE(x), GRAIN, [&](index_t begin, index_t end) {
        for (index_t i = begin; i < end; ++i) to[i] = function(from[i]);
    });
    return out;
}

using Function = double (*)(double);

template <Function F> PyObject* by_the_c_library(PyObject* const* args, Py_ssize_t count) {
    if (count != 1) return nullptr;
    const Contiguous x(args[0], NPY_DOUBLE);
    return x ? reinterpret_cast<PyObject*>(each_by(x.get(), F)) : nullptr;
}

PyObject* cos_sin(PyObject* const* args, Py_ssize_t count) {
    if (count != 1) return nullptr;
    const Contiguous x(args[0], NPY_DOUBLE);
    PyArrayObject* cosines = x ? each_by(x.get(), static_cast<Function>(std::cos)) : nullptr;
    return cosines == nullptr ? nullptr : Py_BuildValue("(NN)", cosines, each_by(x.get(), static_cast<Function>(std::sin)));
}

PyMethodDef methods[] = {
#if defined(RUSHLIGHT_NORMAL_BLOCKS)
    {"normal_blocks", reinterpret_cast<PyCFunction>(normal_blocks_), METH_FASTCALL,
     "normal_blocks(words, out): unit normal float32 numbers from blocks of 16 words, as PyTorch's CPU kernel makes them."},
#endif
    {"mt_seed", reinterpret_cast<PyCFunction>(mt_seed), METH_FASTCALL, "mt_seed(state, seed): the 624 words that mt19937 starts with for a seed."},
    {"mt_words", reinterpret_cast<PyCFunction>(mt_words), METH_FASTCALL,
     "mt_words(state, out, keep): mt19937's words in blocks of 624; keep: the first block is that of the state as it is."},
    {"normal_pairs", normal_pairs, METH_O, "normal_pairs(words): float64 normal numbers in pairs, each pair from four words."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

extern const NativeFunction random_fill_functions[] = {
    {"uniform_numbers", uniform_numbers}, {"doubles", doubles}, {"below", below}, {"remainders", remainders}, {"swapped", swapped}, {nullptr, nullptr}};

extern const NativeFunction libm_functions[] = {
    {"log", by_the_c_library<std::log>}, {"log1p", by_the_c_library<std::log1p>}, {"exp", by_the_c_library<std::exp>},
    {"tan", by_the_c_library<std::tan>}, {"cos_sin", cos_sin}, {nullptr, nullptr}};

int add_random(PyObject* module) { return PyModule_AddFunctions(module, methods); }

}  // namespace rushlight
