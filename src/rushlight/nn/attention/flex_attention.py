"""``torch.nn.attention.flex_attention``: attention whose scores a function changes, and whose mask a function gives.

The functions are called once, with tensors of indices that broadcast against the scores (B, H, L, S); what they compute has to be
elementwise, as PyTorch's documentation asks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from ...tensor import Tensor
from ...vocabulary import Device
from .._torch import torch

__all__ = ["BlockMask", "flex_attention", "AuxOutput", "AuxRequest", "create_block_mask", "create_mask", "or_masks", "and_masks",
           "noop_mask"]

_DEFAULT_SPARSE_BLOCK_SIZE = 128
Mask = Callable[[Any, Any, Any, Any], Any]


class AuxRequest(NamedTuple):
    """What `flex_attention` shall return beside its result."""

    lse: bool = False
    max_scores: bool = False


class AuxOutput(NamedTuple):
    """What `flex_attention` was asked for: logarithms of the sums of exponentials, and the largest scores, of each query."""

    lse: Tensor | None = None
    max_scores: Tensor | None = None


def noop_mask(batch: Any, head: Any, token_q: Any, token_kv: Any) -> Any:
    """The mask of no mask: True."""
    return torch.ones((), dtype=torch.bool, device=batch.device)


def or_masks(*mask_mods: Mask) -> Mask:
    """A mask that is True where one of these is."""
    if not all(callable(each) for each in mask_mods):
        raise RuntimeError(f"All inputs should be callable mask_mods: {mask_mods}")

    def mask(b: Any, h: Any, q: Any, kv: Any) -> Any:
        result = b.new_zeros((), dtype=torch.bool)
        for each in mask_mods:
            result = result | each(b, h, q, kv)
        return result
    return mask


def and_masks(*mask_mods: Mask) -> Mask:
    """A mask that is True where all of these are."""
    if not all(callable(each) for each in mask_mods):
        raise RuntimeError(f"All inputs should be callable mask_mods: {mask_mods}")

    def mask(b: Any, h: Any, q: Any, kv: Any) -> Any:
        result = b.new_ones((), dtype=torch.bool)
        for each in mask_mods:
            result = result & each(b, h, q, kv)
        return result
    return mask


def _indices(shape: tuple[int, ...], device: Device) -> list[Tensor]:
    """The indices of each dimension, as tensors that broadcast to the shape."""
    return [torch.arange(size, device=device).view([-1 if i == dim else 1 for i in range(4)]) for dim, size in enumerate(shape)]


def create_mask(mod_fn: Any, B: int | None, H: int | None, Q_LEN: int, KV_LEN: int, device: Device = None) -> Tensor:
    """The bool tensor (B, H, Q_LEN, KV_LEN) of a mask function (of four index arguments), or of where a score function (of five) gives
    anything but -inf. None for B or H means 1."""
    import inspect
    shape = (B or 1, H or 1, Q_LEN, KV_LEN)
    indices = _indices(shape, device)
    if len(inspect.signature(mod_fn).parameters) == 5:
        return torch.where(mod_fn(torch.zeros(shape, device=device), *indices).isneginf(), False, True).expand(shape)
    return mod_fn(*indices).to(torch.bool).expand(shape).contiguous()


class BlockMask:
    """A mask function with its shape, and which blocks of BLOCK_SIZE queries and keys it leaves empty or full."""

    def __init__(self, mask_mod: Mask, seq_lengths: tuple[int, int], dense: Tensor, block_size: tuple[int, int]) -> None:
        self.mask_mod, self.seq_lengths, self.BLOCK_SIZE, self._dense = mask_mod, seq_lengths, block_size, dense
        rows, columns = (math.ceil(n / size) for n, size in zip(seq_lengths, block_size, strict=True))
        padding = columns * block_size[1] - seq_lengths[1], rows * block_size[0] - seq_lengths[0]
        blocks = torch.nn.functional.pad(dense.to(torch.int64), (0, padding[0], 0, padding[1]))
        counts = blocks.view(*dense.shape[:2], rows, block_size[0], columns, block_size[1]).sum((3, 5))
        full = counts == block_size[0] * block_size[1]
        self.kv_num_blocks, self.kv_indices = self._ordered((counts > 0) & ~full)
        self.full_kv_num_blocks, self.full_kv_indices = self._ordered(full)
        self._any = counts > 0

    @staticmethod
    def _ordered(chosen: Tensor) -> tuple[Tensor, Tensor]:
        """(how many columns of each row are chosen, the columns with the chosen ones first)."""
        return chosen.sum(-1).to(torch.int32), chosen.to(torch.int32).argsort(dim=-1, descending=True, stable=True).to(torch.int32)

    @property
    def shape(self) -> tuple[int, ...]:
        """(B, H, queries, keys)."""
        return (*self._dense.shape[:2], *self.seq_lengths)

    def numel(self) -> int:
        """The number of scores."""
        return math.prod(self.shape)

    def to_dense(self) -> Tensor:
        """1 for blocks that are not empty (B, H, rows, columns)."""
        return self._any.to(torch.int32)

    def sparsity(self) -> float:
        """The share of empty blocks in percent."""
        return 100 * (1 - self._any.double().mean().item())

    def to(self, device: Device) -> BlockMask:
        """The same on another device."""
        return BlockMask(self.mask_mod, self.seq_lengths, self._dense.to(device), self.BLOCK_SIZE)

    def __repr__(self) -> str:
        return f"BlockMask(shape={self.shape}, sparsity={self.sparsity():.2f}%)"


def create_block_mask(mask_mod: Mask, B: int | None, H: int | None, Q_LEN: int, KV_LEN: int, device: Device = None,
                      BLOCK_SIZE: int | tuple[int, int] = _DEFAULT_SPARSE_BLOCK_SIZE, **options: Any) -> BlockMask:
    """A `BlockMask` from a mask function ``(batch, head, query, key) -> bool``."""
    if options.keys() - {"_compile", "separate_full_blocks"}:
        raise TypeError(f"create_block_mask() got unexpected keyword arguments: {', '.join(options)}")
    size = (BLOCK_SIZE, BLOCK_SIZE) if isinstance(BLOCK_SIZE, int) else BLOCK_SIZE
    return BlockMask(mask_mod, (Q_LEN, KV_LEN), create_mask(mask_mod, B, H, Q_LEN, KV_LEN, device), size)


def flex_attention(query: Tensor, key: Tensor, value: Tensor, score_mod: Any = None, block_mask: BlockMask | None = None,
                   scale: float | None = None, enable_gqa: bool = False, return_lse: bool = False, kernel_options: Any = None, *,
                   return_aux: AuxRequest | None = None) -> Any:
    """softmax(score_mod(scale query key^T)) value, with the scores that the mask leaves.

    query       (B, H, L, E); key (B, Hkv, S, E); value (B, Hkv, S, F); the result is (B, H, L, F)
    score_mod   ``(score, batch, head, query index, key index) -> score``
    block_mask  from `create_block_mask`
    scale       default 1 / sqrt(E)
    enable_gqa  fewer heads of keys and values, each of which serves several of the query's
    return_lse  also the logarithm of the sum of exponentials of each query; return_aux asks for more
    """
    if query.dim() != 4 or key.dim() != 4 or value.dim() != 4:
        raise ValueError("Expected query, key, and value to be 4D tensors, but got "
                         f"query.dim(): {query.dim()}, key.dim(): {key.dim()} and value.dim(): {value.dim()}.")
    if return_lse and return_aux is not None:
        raise ValueError("Cannot specify both return_lse and return_aux. return_lse is deprecated, please use return_aux instead.")
    if query.size(1) != key.size(1):
        if not enable_gqa:
            raise ValueError(f"Expect query and key/value to have the same number of heads but got Hq={query.size(1)} and "
                             f"Hkv={key.size(1)}. Try setting enable_gqa=True for GQA.")
        key, value = (t.repeat_interleave(query.size(1) // key.size(1), 1) for t in (key, value))
    shape = (query.size(0), query.size(1), query.size(2), key.size(2))
    wide = torch.float64 if query.dtype is torch.float64 else torch.float32
    scores = (query.to(wide) @ key.to(wide).mT) * (1 / math.sqrt(query.size(-1)) if scale is None else scale)
    if score_mod is not None:
        scores = score_mod(scores, *_indices(shape, query.device)).to(wide).expand(shape)
    if block_mask is not None:
        if block_mask.seq_lengths != shape[2:]:
            raise ValueError(f"block_mask was created for block_mask.shape={block_mask.shape} but got q_len={shape[2]} and "
                             f"kv_len={shape[3]}. As the block mask was created for another length than you're using it for, you likely "
                             "need to create a new block mask.")
        scores = scores.masked_fill(~block_mask._dense.to(query.device), -math.inf)
    lse = torch.logsumexp(scores, -1)
    empty = lse.isneginf().unsqueeze(-1)                      # nothing is left for such queries: their result is 0
    weights = torch.exp(scores - lse.unsqueeze(-1)).masked_fill(empty, 0.0)
    result = (weights @ value.to(wide)).to(query.dtype)
    if return_aux is not None:
        return result, AuxOutput(lse if return_aux.lse else None, scores.amax(-1) if return_aux.max_scores else None)
    return (result, lse) if return_lse else result
