"""The ops, one module per family. Importing them registers their functions and methods."""

from . import (
    arithmetic, clamp, complex_parts, convert, creation, dropout, elementwise, indexing, inplace, joining, matmul, random, rearrange, reduction, sampling,
    scatter, selection, shape, slices,
)

OP_MODULES = (
    arithmetic, clamp, complex_parts, convert, creation, dropout, elementwise, indexing, inplace, joining, matmul, random, rearrange, reduction, sampling,
    scatter, selection, shape, slices,
)
