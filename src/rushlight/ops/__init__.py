"""The ops, one module per family. Importing them registers their functions and methods."""

from . import arithmetic, complex_parts, convert, creation, elementwise, indexing, joining, rearrange, shape, slices

OP_MODULES = (arithmetic, complex_parts, convert, creation, elementwise, indexing, joining, rearrange, shape, slices)
