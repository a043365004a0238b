// Sums for other kernels.
#pragma once

#include "rushlight.h"

namespace rushlight {

// out[c] = sum of x[r][c] over the rows of a contiguous matrix; any number of threads gives the same result.
void sum_rows(const float* x, float* out, index_t rows, index_t columns);
void sum_rows(const double* x, double* out, index_t rows, index_t columns);

// The sum of (x[i] - mean)^2: blocks in T, their sum in double.
template <typename T> double squares_around(const T* x, T mean, index_t n) {
    constexpr index_t BLOCK = 1024;
    double result = 0;
    for (index_t i = 0; i < n; i += BLOCK) {
        const index_t last = i + BLOCK < n ? i + BLOCK : n;
        T sum = 0;
#pragma omp simd reduction(+ : sum)
        for (index_t j = i; j < last; ++j) sum += (x[j] - mean) * (x[j] - mean);
        result += sum;
    }
    return result;
}

}  // namespace rushlight
