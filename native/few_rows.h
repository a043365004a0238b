// Products of few rows with a matrix: every element of the matrix is used a few times only, so it is read where it lies and nothing is packed.
#pragma once

#include "rushlight.h"

namespace rushlight {

// c (m x n, row step ldc) = a b, or c += a b where `add`. a is m x k with row step lda; b is k x n with row step ldb, or (transposed) n x k.
// False, and nothing done, where packing pays: BLAS does it then.
bool few_rows(bool transposed_b, index_t m, index_t n, index_t k, const float* a, index_t lda, const float* b, index_t ldb, bool add, float* c, index_t ldc);
bool few_rows(bool transposed_b, index_t m, index_t n, index_t k, const double* a, index_t lda, const double* b, index_t ldb, bool add, double* c, index_t ldc);

}  // namespace rushlight
