"""The words of annotations: what functions hand to each other, named by what it means.

Nothing here runs; importing it costs nothing beside NumPy. Words in quotes name classes of higher floors, which only checkers look up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import EllipsisType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from .autograd.graph import Node, Port
    from .devices import device
    from .dtypes import dtype
    from .generator import Generator
    from .layout import layout, memory_format
    from .tensor import Tensor

__all__ = ["Array", "Arrays", "ArrayGrads", "ArrayOrNone", "Axes", "Device", "Dims", "Dtype", "Edge", "Function", "GeneratorLike", "Grad",
           "Grads", "Index", "Layout", "MemoryFormat", "Number", "NumpyDtype", "NumpyDtypeLike", "Operand", "PerDim", "Scalar", "Shape",
           "Tensors"]

# --- numbers and sizes
Number: TypeAlias = int | float
Scalar: TypeAlias = bool | int | float | complex             # what may stand in a tensor's place in arithmetic
Shape: TypeAlias = tuple[int, ...]
PerDim: TypeAlias = int | Sequence[int]                       # one for all dimensions, or one each: kernel sizes, strides, paddings
Dims: TypeAlias = int | Sequence[int] | None                 # dimensions as a caller of torch gives them; None: all
Axes: TypeAlias = int | tuple[int, ...] | None               # the same for NumPy

# --- arrays. One with ndarray's interface: NumPy's, a GPU's DeviceArray, vmap's BatchedArray. The last two are no subclasses, they take
# part in NumPy's protocols; what code may ask of an array is what ndarray has, so that is what checkers are told.
Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Arrays: TypeAlias = Sequence[Array]
# None where the mode has no such array, which its code knows (typeshed's "Any trick")
ArrayOrNone: TypeAlias = Array | Any
ArrayGrads: TypeAlias = tuple[Array | None, ...]             # one gradient per input; None where none flows
NumpyDtype: TypeAlias = np.dtype[Any]
NumpyDtypeLike: TypeAlias = np.dtype[Any] | type | str       # what NumPy makes a dtype of

# --- tensors
Grad: TypeAlias = "Tensor | None"
Grads: TypeAlias = "tuple[Tensor | None, ...]"
Tensors: TypeAlias = "Sequence[Tensor]"
Operand: TypeAlias = "Tensor | bool | int | float | complex"
Index: TypeAlias = "int | slice | EllipsisType | None | Tensor | Array | Sequence[Any] | tuple[Any, ...]"      # what stands in t[...]
Edge: TypeAlias = "Node | Port | None"                       # where a gradient goes

# --- what creation functions take, as a caller of torch writes it
Dtype: TypeAlias = "dtype | None"
Device: TypeAlias = "device | str | int | None"
Layout: TypeAlias = "layout | None"
MemoryFormat: TypeAlias = "memory_format | None"
GeneratorLike: TypeAlias = "Generator | None"

Function: TypeAlias = Callable[..., Any]                     # any function, where its arguments are the caller's business
