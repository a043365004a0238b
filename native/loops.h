// The loops that programs and eager ops are made of: one op on a block of elements, in vector code.
#pragma once

#include <type_traits>

#include "rushlight.h"

namespace rushlight {

// Element types. A program computes in one of the first four (bool: in bytes); the half types are only loaded and stored.
enum Type : std::uint8_t { F32, F64, I64, I32, BOOL, COMPUTED, BF16 = COMPUTED, F16, NO_TYPE };

Type type_of(PyArrayObject* array);
inline index_t size_of(Type type) {
    constexpr index_t sizes[] = {4, 8, 8, 4, 1, 2, 2, 0};
    return sizes[type];
}

// out[i] = f(a[i], b[i], c[i]) for n elements. Bit k of `scalar` is set where operand k is one element for all. `out` may be an operand.
using Loop = void (*)(const void* a, const void* b, const void* c, void* out, index_t n, unsigned scalar);

struct Loops {
    const char* name;
    int operands;
    int cost;                 // how many simple operations it is worth
    Loop same[COMPUTED];      // results of the operands' type; nullptr: not for this type
    Loop flag[COMPUTED];      // results in bytes, 0 or 1: comparisons and questions
    bool only_bool() const { return flag[BOOL] != nullptr && flag[F32] == nullptr; }  // on floats it works inside programs alone
    bool question() const { return flag[F32] != nullptr || flag[BOOL] != nullptr; }
};

const Loops* find_op(const char* name);

extern const Loops arithmetic_ops[], math_ops[];  // each ends with an entry without name

// Conversions at a block's ends.
void load(Type from, Type to, const char* data, index_t step, void* out, index_t n);   // step in bytes; 0: one element for all
void store(Type from, Type to, const void* block, char* data, index_t step, index_t n);
bool loads(Type from, Type to);
bool stores(Type from, Type to);

// A result as what is stored. A question's answer is chosen, not converted: that is one instruction in vector code, where a conversion is many.
template <typename R, typename V> inline R stored(V value) {
    if constexpr (std::is_same<V, bool>::value) return value ? R(1) : R(0);
    else return static_cast<R>(value);
}

// Makes loops from a functor with a static `apply`.
template <typename T, typename R, typename F> void unary_loop(const void* a_, const void*, const void*, void* out_, index_t n, unsigned) {
    const T* a = static_cast<const T*>(a_);
    R* out = static_cast<R*>(out_);
#pragma omp simd
    for (index_t i = 0; i < n; ++i) out[i] = stored<R>(F::apply(a[i]));
}

template <typename T, typename R, typename F> void binary_loop(const void* a_, const void* b_, const void*, void* out_, index_t n, unsigned scalar) {
    const T* a = static_cast<const T*>(a_);
    const T* b = static_cast<const T*>(b_);
    R* out = static_cast<R*>(out_);
    if (scalar == 0) {
#pragma omp simd
        for (index_t i = 0; i < n; ++i) out[i] = stored<R>(F::apply(a[i], b[i]));
    } else if (scalar == 2) {
        const T y = *b;
#pragma omp simd
        for (index_t i = 0; i < n; ++i) out[i] = stored<R>(F::apply(a[i], y));
    } else if (scalar == 1) {
        const T x = *a;
#pragma omp simd
        for (index_t i = 0; i < n; ++i) out[i] = stored<R>(F::apply(x, b[i]));
    } else {
        const R r = stored<R>(F::apply(*a, *b));
        for (index_t i = 0; i < n; ++i) out[i] = r;
    }
}

template <typename T, bool A, bool B, bool C, typename F> void ternary_mode(const T* a, const T* b, const T* c, T* out, index_t n) {
    const T x = *a, y = *b, z = *c;
#pragma omp simd
    for (index_t i = 0; i < n; ++i) out[i] = F::apply(A ? x : a[i], B ? y : b[i], C ? z : c[i]);
}

template <typename T, typename F> void ternary_loop(const void* a_, const void* b_, const void* c_, void* out_, index_t n, unsigned scalar) {
    if (n == 0) return;
    const T *a = static_cast<const T*>(a_), *b = static_cast<const T*>(b_), *c = static_cast<const T*>(c_);
    T* out = static_cast<T*>(out_);
    switch (scalar) {
        case 0: return ternary_mode<T, false, false, false, F>(a, b, c, out, n);
        case 1: return ternary_mode<T, true, false, false, F>(a, b, c, out, n);
        case 2: return ternary_mode<T, false, true, false, F>(a, b, c, out, n);
        case 3: return ternary_mode<T, true, true, false, F>(a, b, c, out, n);
        case 4: return ternary_mode<T, false, false, true, F>(a, b, c, out, n);
        case 5: return ternary_mode<T, true, false, true, F>(a, b, c, out, n);
        case 6: return ternary_mode<T, false, true, true, F>(a, b, c, out, n);
        default: return ternary_mode<T, true, true, true, F>(a, b, c, out, n);
    }
}

}  // namespace rushlight
