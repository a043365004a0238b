// NumPy's own BLAS, reached through the symbols of the library that NumPy has loaded: one BLAS in the process.
#pragma once

#include "rushlight.h"

namespace rushlight {

// c (m x n, row stride ldc) = alpha * op(a) op(b) + beta * c, row-major; op is the transpose where the flag says so. Single-threaded where
// the library can be told so (kernels split the work over the pool themselves). False where NumPy's BLAS was not found.
bool have_blas();
void gemm(bool transpose_a, bool transpose_b, index_t m, index_t n, index_t k, float alpha, const float* a, index_t lda, const float* b,
          index_t ldb, float beta, float* c, index_t ldc);
void gemm(bool transpose_a, bool transpose_b, index_t m, index_t n, index_t k, double alpha, const double* a, index_t lda, const double* b,
          index_t ldb, double beta, double* c, index_t ldc);

// A function of that library by its plain name ("cblas_strsm", "sgetrf_"), or nullptr; and whether its integers have 64 bits.
void* blas_symbol(const char* name);
bool blas_is_wide();

// While it lives, the BLAS library uses one thread per call (calls come from the pool's threads).
class SerialBlas {
  public:
    SerialBlas();
    ~SerialBlas();
    SerialBlas(const SerialBlas&) = delete;
    SerialBlas& operator=(const SerialBlas&) = delete;

  private:
    int threads_;
};

}  // namespace rushlight
