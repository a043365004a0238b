"""Packed sequences: batches of sequences of different lengths without padding, in time order."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Iterable
from typing import Any

from ...tensor import Tensor
from .._torch import torch

__all__ = ["PackedSequence", "invert_permutation", "pack_padded_sequence", "pad_packed_sequence", "pad_sequence", "unpad_sequence",
           "pack_sequence", "unpack_sequence"]

_Fields = namedtuple("_Fields", ["data", "batch_sizes", "sorted_indices", "unsorted_indices"])


class PackedSequence(_Fields):
    """What recurrent layers take for batches of unequal lengths; made by `pack_padded_sequence` or `pack_sequence`.

    data              (sum of lengths, *): all first steps, then all second steps, and so on
    batch_sizes       how many sequences have a step t, for each t (int64 on the CPU)
    sorted_indices    the order in which the sequences were put, longest first; None: as they came
    unsorted_indices  the way back
    """

    __slots__ = ()

    def __new__(cls, data: Tensor | tuple[Tensor, ...], batch_sizes: Tensor | None = None, sorted_indices: Tensor | None = None,
                unsorted_indices: Any = None) -> PackedSequence:
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        if batch_sizes is None:
            # The old form: one pair of data and batch_sizes.
            if not isinstance(data, (list, tuple)) or len(data) != 2:
                raise AssertionError("Expected data to be a list or tuple of length 2")
            data, batch_sizes = data
        elif batch_sizes.device.type != "cpu":
            raise ValueError("batch_sizes should always be on CPU. Instances of PackedSequence should never be created manually. They "
                             "should be instantiated by functions like pack_sequence and pack_padded_sequences in nn.utils.rnn. "
                             "https://pytorch.org/docs/stable/nn.html#torch.nn.utils.rnn.pack_sequence")
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """The data as by ``Tensor.to``; the indices follow it to another device. The same object if nothing changes."""
        data = self.data.to(*args, **kwargs)
        if data is self.data:
            return self
        device = data.device

        def move(t: Any) -> Any:
            return None if t is None else t.to(device)
        return type(self)(data, self.batch_sizes, move(self.sorted_indices), move(self.unsorted_indices))

    def pin_memory(self) -> PackedSequence:
        """In page-locked memory."""
        def pin(t: Any) -> Any:
            return None if t is None else t.pin_memory()
        return type(self)(self.data.pin_memory(), self.batch_sizes, pin(self.sorted_indices), pin(self.unsorted_indices))

    def cuda(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """On a GPU."""
        if args or kwargs.get("device") is not None:
            return self.to(*args, **kwargs)
        return self.to(device="cuda", **kwargs)

    def cpu(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """On the CPU."""
        return self.to(*args, device="cpu", **kwargs)

    def double(self) -> PackedSequence:
        """As float64."""
        return self.to(dtype=torch.double)

    def float(self) -> PackedSequence:
        """As float32."""
        return self.to(dtype=torch.float)

    def half(self) -> PackedSequence:
        """As float16."""
        return self.to(dtype=torch.half)

    def long(self) -> PackedSequence:
        """As int64."""
        return self.to(dtype=torch.long)

    def int(self) -> PackedSequence:
        """As int32."""
        return self.to(dtype=torch.int)

    def short(self) -> PackedSequence:
        """As int16."""
        return self.to(dtype=torch.short)

    def char(self) -> PackedSequence:
        """As int8."""
        return self.to(dtype=torch.int8)

    def byte(self) -> PackedSequence:
        """As uint8."""
        return self.to(dtype=torch.uint8)

    @property
    def is_cuda(self) -> bool:
        """Whether the data is on a GPU."""
        return self.data.is_cuda

    def is_pinned(self) -> bool:
        """Whether the data is page-locked."""
        return self.data.is_pinned()


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """The inverse of a permutation (int64)."""
    if permutation is None:
        return None
    output = torch.empty_like(permutation)
    return output.scatter_(0, permutation, torch.arange(0, permutation.numel(), device=permutation.device, dtype=permutation.dtype))


def _runs(batch_sizes: list[int]) -> Iterable[tuple[int, int, int]]:
    """(first step, end step, batch size) of the runs of equal batch sizes."""
    start = 0
    for t in range(1, len(batch_sizes) + 1):
        if t == len(batch_sizes) or batch_sizes[t] != batch_sizes[start]:
            yield start, t, batch_sizes[start]
            start = t


def pack_padded_sequence(input: Tensor, lengths: Tensor | list[int], batch_first: bool = False,
                         enforce_sorted: bool = True) -> PackedSequence:
    """Pack a padded batch (T, B, *), or (B, T, *) with batch_first.

    lengths         of the sequences, each at least 1
    enforce_sorted  they are given longest first (RuntimeError if not); else they are sorted here
    """
    if not isinstance(lengths, Tensor):
        lengths = torch.as_tensor(lengths, dtype=torch.int64, device="cpu")
    elif lengths.device.type == "cpu":
        lengths = lengths.to(dtype=torch.int64)
    sorted_indices = None
    if not enforce_sorted:
        lengths, order = torch.sort(lengths, descending=True)
        sorted_indices = order.to(input.device)
        input = input.index_select(0 if batch_first else 1, sorted_indices)
    if input.numel() == 0:
        raise RuntimeError("Cannot pack empty tensors.")
    if lengths.dim() != 1 or lengths.device.type != "cpu":
        raise RuntimeError(f"'lengths' argument should be a 1D CPU int64 tensor, but got {lengths.dim()}D {lengths.device} Long tensor")
    if batch_first:
        input = input.transpose(0, 1)
    data, batch_sizes = _pack(input, lengths.tolist())
    return PackedSequence(data, batch_sizes, sorted_indices, None)


def _pack(input: Tensor, lengths: list[int]) -> tuple[Tensor, Tensor]:
    batch = input.size(1)
    if len(lengths) != batch:
        raise RuntimeError(f"Expected `len(lengths)` to be equal to batch_size, but got {len(lengths)} (batch_size={batch})")
    if input.numel() == 0 or not lengths:
        raise RuntimeError("Cannot pack empty tensors.")
    if min(lengths) <= 0:
        raise RuntimeError("Length of all samples has to be greater than 0, but found an element in 'lengths' that is <= 0")
    if any(a < b for a, b in zip(lengths, lengths[1:], strict=False)):
        raise RuntimeError("`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. You can pass "
                           "`enforce_sorted=False` to pack_padded_sequence and/or pack_sequence to sidestep this requirement if you do "
                           "not need ONNX exportability.")
    if lengths[0] > input.size(0):
        raise RuntimeError(f"Expected all `lengths` to be at most the padded length {input.size(0)}, but got {lengths[0]}")
    sizes = []
    n = batch
    for t in range(lengths[0]):
        while lengths[n - 1] <= t:
            n -= 1
        sizes.append(n)
    rest = tuple(input.shape[2:])
    parts = [input[start:end, :n].reshape((end - start) * n, *rest) for start, end, n in _runs(sizes)]
    return (parts[0] if len(parts) == 1 else torch.cat(parts)), torch.tensor(sizes, dtype=torch.int64)


def pad_packed_sequence(sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0,
                        total_length: int | None = None) -> tuple[Tensor, Tensor]:
    """Undo `pack_padded_sequence`: (padded batch, lengths), in the original order; padded to total_length where that is given."""
    sizes = sequence.batch_sizes.tolist()
    longest = len(sizes)
    if total_length is not None:
        if total_length < longest:
            raise ValueError("Expected total_length to be at least the length of the longest sequence in input, but got "
                             f"total_length={total_length} and max sequence length being {longest}")
        longest = total_length
    padded = _pad(sequence.data, sizes, longest, padding_value)
    lengths = torch.tensor([sum(1 for size in sizes if size > i) for i in range(sizes[0])], dtype=torch.int64)
    if batch_first:
        padded = padded.transpose(0, 1)
    back = sequence.unsorted_indices
    if back is not None:
        return padded.index_select(0 if batch_first else 1, back), lengths[back.cpu()]
    return padded, lengths


def _pad(data: Tensor, sizes: list[int], steps: int, value: float) -> Tensor:
    """(steps, B, *) from packed data, run by run."""
    batch, rest = sizes[0], tuple(data.shape[1:])
    parts = []
    offset = 0
    for start, end, n in _runs(sizes):
        count = (end - start) * n
        part = data[offset:offset + count].reshape(end - start, n, *rest)
        offset += count
        if n < batch:
            part = torch.cat([part, data.new_full((end - start, batch - n, *rest), value)], 1)
        parts.append(part)
    if steps > len(sizes):
        parts.append(data.new_full((steps - len(sizes), batch, *rest), value))
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def pad_sequence(sequences: Tensor | list[Tensor], batch_first: bool = False, padding_value: float = 0.0,
                 padding_side: str = "right") -> Tensor:
    """Stack sequences (L_i, *) into (T, B, *), or (B, T, *) with batch_first, padded at the end (or at the start: 'left')."""
    if not isinstance(sequences, Iterable):
        raise RuntimeError(f"pad_sequence: Expected iterable for input sequences, but got arg of type: {type(sequences)}")
    if isinstance(sequences, Tensor):
        sequences = list(sequences.unbind(0))
    else:
        sequences = list(sequences)
    if not sequences:
        raise RuntimeError("received an empty list of sequences")
    if padding_side not in ("left", "right"):
        raise RuntimeError(f"Expected padding_side to be one of left or right, but got {padding_side}.")
    if any(not isinstance(s, Tensor) for s in sequences):
        raise TypeError("pad_sequence(): argument 'sequences' (position 1) must be tuple of Tensors")
    if sequences[0].dim() == 0:
        raise RuntimeError("pad_sequence: sequences must have at least one dimension, got a 0-dim tensor")
    longest = max(s.size(0) for s in sequences)
    rest = tuple(sequences[0].shape[1:])
    padded = []
    for s in sequences:
        if tuple(s.shape[1:]) != rest:
            raise RuntimeError(f"pad_sequence: all sequences must agree after the first dimension, got {tuple(sequences[0].shape)} and "
                               f"{tuple(s.shape)}")
        missing = longest - s.size(0)
        if missing:
            filler = sequences[0].new_full((missing, *rest), padding_value)
            s = torch.cat([s, filler] if padding_side == "right" else [filler, s])
        padded.append(s)
    return torch.stack(padded, 0 if batch_first else 1)


def unpad_sequence(padded_sequences: Tensor, lengths: Tensor, batch_first: bool = False) -> list[Tensor]:
    """The sequences of a padded batch, each cut to its length."""
    if not batch_first:
        padded_sequences = padded_sequences.transpose(0, 1)
    return [sequence[:int(length)] for sequence, length in zip(padded_sequences, lengths, strict=False)]


def pack_sequence(sequences: list[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Pack a list of sequences (L_i, *); see `pack_padded_sequence`."""
    lengths = torch.as_tensor([s.size(0) for s in sequences])
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The sequences of a packed batch, in their original order."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)
