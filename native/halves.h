// float16 and bfloat16 as bits: widened to float, and rounded back to nearest, ties to even.
#pragma once

#include "vmath.h"

namespace rushlight {

inline float from_bfloat16(std::uint16_t h) { return vmath::from_bits<float>(static_cast<std::uint32_t>(h) << 16); }
inline std::uint16_t to_bfloat16(float x) {
    const std::uint32_t bits = vmath::bits_of(x);
    const std::uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return static_cast<std::uint16_t>(x != x ? ((bits >> 16) & 0x8000u) | 0x7fc0u : rounded);
}
inline float from_half(std::uint16_t h) {
    const std::uint32_t size = (h & 0x7fffu) << 13, sign = (h & 0x8000u) << 16;
    const std::uint32_t bits = size >= 0x0f800000u ? size | 0x7f800000u : vmath::bits_of(vmath::from_bits<float>(size) * 5.192296858534828e33f);  // 2^112
    return vmath::from_bits<float>(bits | sign);
}
inline std::uint16_t to_half(float x) {
    const std::uint32_t bits = vmath::bits_of(x), size = bits & 0x7fffffffu, sign = (bits >> 16) & 0x8000u;
    const std::uint32_t special = size > 0x7f800000u ? 0x7e00u : 0x7c00u;
    const std::uint32_t small = vmath::bits_of(vmath::from_bits<float>(size) + 0.5f) - 0x3f000000u;
    const std::uint32_t normal = (size - (112u << 23) + 0xfffu + ((size >> 13) & 1u)) >> 13;
    return static_cast<std::uint16_t>((size >= 0x47800000u ? special : size < 0x38800000u ? small : normal) | sign);
}

}  // namespace rushlight
