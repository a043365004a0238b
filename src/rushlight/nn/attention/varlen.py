"""``torch.nn.attention.varlen``: attention over sequences of different lengths that lie one after the other in one tensor."""

from __future__ import annotations

from typing import Any

from ...tensor import Tensor
from .._torch import torch

__all__ = ["varlen_attn"]


def varlen_attn(query: Tensor, key: Tensor, value: Tensor, cu_seq_q: Tensor, cu_seq_k: Tensor, max_q: int, max_k: int, *,
                is_causal: bool = False, scale: float | None = None, **options: Any) -> Tensor:
    """Attention within each sequence: tensors (tokens, heads, E), and where the sequences begin and end (cumulative lengths, from 0)."""
    if options:
        raise NotImplementedError(f"varlen_attn({', '.join(options)}=...): only is_causal and scale are supported")
    starts_q, starts_k = cu_seq_q.tolist(), cu_seq_k.tolist()
    if len(starts_q) != len(starts_k):
        raise RuntimeError(f"cu_seq_q and cu_seq_k must have one length, got {len(starts_q)} and {len(starts_k)}")
    parts = []
    for i in range(len(starts_q) - 1):
        q, k, v = (t[a[i]:a[i + 1]].transpose(0, 1) for t, a in ((query, starts_q), (key, starts_k), (value, starts_k)))
        mask = torch.ones(q.size(1), k.size(1), dtype=torch.bool, device=q.device).tril(k.size(1) - q.size(1)) if is_causal else None
        parts.append(torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale).transpose(0, 1))
    return torch.cat(parts) if parts else query.new_zeros((0, query.size(1), value.size(-1)))
