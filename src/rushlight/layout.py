"""Memory layouts and formats: names that PyTorch's functions take and print."""

from __future__ import annotations

from .homes import settle

__all__ = ["layout", "memory_format", "strided", "sparse_coo", "sparse_csr", "sparse_csc", "sparse_bsr", "sparse_bsc", "contiguous_format",
           "channels_last", "channels_last_3d", "preserve_format", "jagged", "qscheme", "per_tensor_affine", "per_tensor_symmetric",
           "per_channel_affine", "per_channel_symmetric", "per_channel_affine_float_qparams"]


class SparseRefusal(NotImplementedError):
    """A dense op was given a sparse tensor. The ops that have a sparse form catch this and call it (see `sparse/tensor.py`)."""


class _Named:
    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return "torch." + self.name

    def __reduce__(self) -> str:
        return self.name


class layout(_Named):
    """``torch.strided``, the layout of dense tensors, and the sparse ones."""


class memory_format(_Named):
    """How a dense tensor's dimensions lie in memory."""


class qscheme(_Named):
    """How quantised values stand for real ones. (There are no quantised tensors here; programs compare and print these.)"""


per_tensor_affine, per_tensor_symmetric = qscheme("per_tensor_affine"), qscheme("per_tensor_symmetric")
per_channel_affine, per_channel_symmetric = qscheme("per_channel_affine"), qscheme("per_channel_symmetric")
per_channel_affine_float_qparams = qscheme("per_channel_affine_float_qparams")
jagged = layout("jagged")
strided = layout("strided")
sparse_coo = layout("sparse_coo")
sparse_csr = layout("sparse_csr")
sparse_csc = layout("sparse_csc")
sparse_bsr = layout("sparse_bsr")
sparse_bsc = layout("sparse_bsc")
contiguous_format = memory_format("contiguous_format")
channels_last = memory_format("channels_last")
channels_last_3d = memory_format("channels_last_3d")
preserve_format = memory_format("preserve_format")

settle("", globals(), ("layout", "memory_format", "qscheme"))
