// From an array's type number to C++: `with_one_of<float, double>(PyArray_TYPE(a), [&](auto zero) { using T = decltype(zero); ... })`.
#pragma once

#include <complex>

#include "rushlight.h"

namespace rushlight {

template <typename T> constexpr int TYPE_NUMBER = -1;
template <> constexpr int TYPE_NUMBER<float> = NPY_FLOAT;
template <> constexpr int TYPE_NUMBER<double> = NPY_DOUBLE;
template <> constexpr int TYPE_NUMBER<std::complex<float>> = NPY_CFLOAT;
template <> constexpr int TYPE_NUMBER<std::complex<double>> = NPY_CDOUBLE;
template <> constexpr int TYPE_NUMBER<bool> = NPY_BOOL;
template <> constexpr int TYPE_NUMBER<std::int8_t> = NPY_INT8;
template <> constexpr int TYPE_NUMBER<std::uint8_t> = NPY_UINT8;
template <> constexpr int TYPE_NUMBER<std::int16_t> = NPY_INT16;
template <> constexpr int TYPE_NUMBER<std::int32_t> = NPY_INT32;
template <> constexpr int TYPE_NUMBER<std::int64_t> = NPY_INT64;

// Calls f with a zero of the type that has this number; false, without a call, where none of them has.
template <typename... T, typename F> bool with_one_of(int type, F&& f) {
    return (... || (type == TYPE_NUMBER<T> && (f(T()), true)));
}

}  // namespace rushlight
