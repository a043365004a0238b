"""How sparse tensors look as text: their parts, then size, number of elements, and what a dense tensor shows too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..printing import _contents, _is_default_dtype, _options
from ..vocabulary import Array
from .patterns import Coo

if TYPE_CHECKING:
    from ..sparse.tensor import SparseTensor

__all__ = ["sparse_repr"]


def _part(name: str, array: Array, indent: int) -> str:
    prefix = f"{name}=tensor("
    empty = f", size={tuple(array.shape)}" if array.size == 0 else ""
    return prefix + _contents(array, indent + len(prefix)) + empty + ")"


def sparse_repr(t: SparseTensor) -> str:
    """What ``repr(t)`` and ``print(t)`` show of a sparse tensor."""
    p, prefix = t.pattern, "tensor("
    indent = len(prefix)
    if isinstance(p, Coo):
        parts = [("indices", p.indices)]
    else:
        parts = [("ccol_indices", p.crow), ("row_indices", p.col)] if p.by_column else [("crow_indices", p.crow), ("col_indices", p.col)]
    text = prefix + (",\n" + " " * indent).join(_part(name, array, indent) for name, array in (*parts, ("values", t.stored)))
    suffixes = [f"size={tuple(p.shape)}", f"nnz={p.nnz}"]
    if not _is_default_dtype(t.dtype):
        suffixes.append(f"dtype={t.dtype}")
    suffixes.append(f"layout={p.layout}")
    node = t.grad_fn
    if node is not None:
        suffixes.append(f"grad_fn=<{node.name()}>")
    elif t.requires_grad:
        suffixes.append("requires_grad=True")
    column = len(text) - text.rfind("\n") + 1
    new_line = isinstance(p, Coo)
    for suffix in suffixes:
        if new_line or column + len(suffix) + 2 > _options["linewidth"]:
            text += ",\n" + " " * indent + suffix
            column, new_line = indent + len(suffix), False
        else:
            text += ", " + suffix
            column += len(suffix) + 2
    return text + ")"
