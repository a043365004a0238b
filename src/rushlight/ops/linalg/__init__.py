"""Linear algebra with batches and gradients: ``torch.linalg`` and what torch itself has of it.

LAPACK through NumPy (CuPy's solvers on CUDA); `kernels/lapack.py` has what NumPy lacks. One module per group:
common (checks), solving (inverse, systems, determinants), factors (Cholesky, QR, reflectors), lu (LU, LDL), spectral (SVD, eigenvalues,
pseudo-inverse, least squares), norms, products (powers, exponential, chains, tensors), lowrank (randomised SVD, LOBPCG).
"""

from . import common, factors, lowrank, lu, norms, products, solving, spectral

__all__ = ["common", "factors", "lowrank", "lu", "norms", "products", "solving", "spectral"]
