"""Test settings: the oracle and NumPy's BLAS get one thread each, because pytest-xdist runs a test process per core."""

import os
import sys

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
sys.path.insert(0, os.path.dirname(__file__))
