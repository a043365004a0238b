// Sums for other kernels.
#pragma once

#include "rushlight.h"

namespace rushlight {

// out[c] = sum of x[r][c] over the rows of a contiguous matrix; any number of threads gives the same result.
void sum_rows(const float* x, float* out, index_t rows, index_t columns);
void sum_rows(const double* x, double* out, index_t rows, index_t columns);

}  // namespace rushlight
