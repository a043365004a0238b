"""The arrays under tensors, as engines take them: NumPy's, contiguous, the tensor's own memory wherever that is possible."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..autograd.grad_mode import no_grad
from ..layout import SparseRefusal
from ..tensor import Tensor, wrap

__all__ = ["Outputs", "check_list", "check_same", "check_tensor", "described", "values"]


def check_tensor(value: Any, name: str) -> None:
    """TypeError for what is no tensor; NotImplementedError for a sparse one."""
    if not isinstance(value, Tensor):
        raise TypeError(f"Invalid function argument. Expected parameter `{name}` of type torch.Tensor\n             but got {type(value)} "
                        "instead.")
    if value._kind.sparse:
        raise NotImplementedError(f"`{name}` is sparse: torch.distributed takes dense tensors here; send x.indices() and x.values(), or "
                                  "x.to_dense()")
    if value.is_meta:
        raise RuntimeError(f"`{name}` is on the meta device: it has no values to send")


def check_list(value: Any, name: str) -> None:
    """TypeError for what is no list of tensors."""
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"Invalid function argument. Expected parameter `{name}` of type List[torch.Tensor]\n             but got "
                        f"{type(value)} instead.")
    for each in value:
        if not isinstance(each, Tensor):
            raise TypeError(f"Invalid function argument. Expected parameter `{name}` of type List[torch.Tensor]\n"
                            f"             but got {type(value)} with elements of type {[type(one) for one in value]}.")
        check_tensor(each, name)


def check_same(tensors: Sequence[Tensor], dtype: Any) -> None:
    """ValueError for tensors of another dtype."""
    for each in tensors:
        if each._kind.dtype is not dtype:
            raise ValueError(f"Invalid usage of tensors with different dtypes: found {dtype} and {each._kind.dtype}")


def described(tensor: Tensor) -> str:
    """A tensor's dtype and shape in a few letters: all ranks of a call have to say the same."""
    return f"{str(tensor._kind.dtype).rpartition('.')[2]} {list(tensor._a.shape)}"


def values(tensor: Tensor) -> Any:
    """An array of a tensor's values, to be read only."""
    array = tensor._a
    if array.__class__ is not np.ndarray:
        array = array.get()
    return array if array.flags.c_contiguous else np.ascontiguousarray(array)


class Outputs:
    """Arrays to be written, and how what is written gets into tensors whose memory they are not."""

    def __init__(self) -> None:
        self.copies: list[Callable[[], None]] = []

    def of(self, tensor: Tensor, read: bool = False) -> Any:
        """The array to write for a tensor. `read`: it begins with the tensor's values."""
        try:
            array = tensor._a
        except SparseRefusal:
            raise NotImplementedError("torch.distributed takes dense tensors only") from None
        if array.__class__ is np.ndarray and array.flags.c_contiguous and array.flags.writeable and not tensor.is_conj():
            return array
        own = np.array(values(tensor), order="C") if read else np.empty(array.shape, tensor._kind.np)
        self.copies.append(lambda: _write(tensor, own))
        return own

    def done(self) -> None:
        """Copy what was written elsewhere into the tensors."""
        for copy in self.copies:
            copy()


def _write(tensor: Tensor, array: Any) -> None:
    from ..kind import kind_of
    with no_grad():
        tensor.detach().copy_(wrap(array, kind_of(tensor._kind.dtype)))
