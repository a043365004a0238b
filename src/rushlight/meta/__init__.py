"""The device "meta": tensors with a shape, a dtype and strides, and no memory.

`array.py` has the class of their arrays, `functions.py` what NumPy's functions and ufuncs give for them, `kernels.py` the forms of the
kernels whose twins look at values or write into new memory, and `finding.py` makes the device known. Ops see none of it: they run as they
stand.
"""
