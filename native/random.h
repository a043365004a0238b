// mt19937 (Matsumoto and Nishimura, 1998).
#pragma once

#include "rushlight.h"

namespace rushlight {

constexpr int MT_STATE = 624;

// The next state of 624 words, and the words that a state gives.
void mt_twist(std::uint32_t* key);
void mt_temper(const std::uint32_t* key, std::uint32_t* out);

// The array, if it is a contiguous one of this type; else nullptr, without an error.
PyArrayObject* array_of(PyObject* object, int type);

}  // namespace rushlight
