"""Attention: `scaled_dot_product_attention` as one node, and `multi_head_attention_forward` around it."""

from __future__ import annotations

from math import inf, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from ..dtypes import bool_, float32
from ..kernels import attention as K
from ..kernels.shapes import broadcast_shapes
from ..tensor import Tensor, wrap
from ..vocabulary import Array, NumpyDtype
from .dropout import dropout
from .matmul import linear
from .public import functional
from .recompute import recomputed_grad, taken
from .record import record
from .registry import FUNCTIONS

if TYPE_CHECKING:
    from ..dtypes import dtype
    from ..kind import Kind

__all__ = ["scaled_dot_product_attention", "multi_head_attention_forward", "canonical_mask"]


def _check(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None, is_causal: bool, dropout_p: float) -> None:
    """Everything that can be wrong, before anything is computed."""
    q, k, v = query._a.shape, key._a.shape, value._a.shape
    if len(q) < 2 or len(k) < 2 or len(v) < 2:
        raise RuntimeError("Expected query, key, and value to all be  at least 2 dimensional, but got query.dim: "
                           f"{len(q)} key.dim: {len(k)} and value.dim: {len(v)} instead.")
    if not query._kind is key._kind is value._kind:
        names = [t.dtype.alias or t.dtype.name for t in (query, key, value)]
        if len(set(names)) > 1:
            raise RuntimeError("Expected query, key, and value to have the same dtype, but got "
                               f"query.dtype: {names[0]} key.dtype: {names[1]} and value.dtype: {names[2]} instead.")
        raise RuntimeError("Expected query, key, and value to have the same device type, but got "
                           f"query.device: {query.device} key.device: {key.device} and value.device: {value.device} instead.")
    if not query._kind.differentiable:
        raise RuntimeError(f"scaled_dot_product_attention needs floating-point tensors, got {query.dtype}")
    if attn_mask is not None:
        if is_causal:
            raise RuntimeError("_scaled_dot_product_attention: Explicit attn_mask should not be set when is_causal=True")
        if attn_mask.dtype not in (bool_, query.dtype) and attn_mask.dtype is not float32:
            raise RuntimeError("Expected attn_mask dtype to be bool or float or to match query dtype, but got attn_mask.dtype: "
                               f"{attn_mask.dtype.alias or attn_mask.dtype.name} and  query.dtype: "
                               f"{query.dtype.alias or query.dtype.name} instead.")
    if not 0.0 <= dropout_p <= 1.0:
        raise RuntimeError(f"dropout probability has to be between 0 and 1, but got {dropout_p:g}")
    if q[-1] != k[-1]:
        raise RuntimeError(f"query {list(query.shape)} and key {list(key.shape)} must have the same last dimension")
    if k[-2] != v[-2]:
        raise RuntimeError(f"key {list(key.shape)} and value {list(value.shape)} must have the same length (dimension -2)")


def _check_groups(query: Tensor, key: Tensor, value: Tensor) -> None:
    heads = query.size(-3)
    if heads % key.size(-3) or heads % value.size(-3):
        raise RuntimeError(f"Number of heads in key and value must divide the number of heads in query, got {heads}, {key.size(-3)} "
                           f"and {value.size(-3)}")


def _grouped(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Key and value with their heads repeated to the query's number (grouped-query attention)."""
    _check_groups(query, key, value)
    heads = query.size(-3)
    return tuple(t if t.size(-3) == heads else t.repeat_interleave(heads // t.size(-3),
                                                                   -3) for t in (key, value))    # type: ignore[return-value]


def _leading(query: Tensor, key: Tensor, value: Tensor, grouped: bool) -> tuple[int, ...]:
    """The common leading dimensions; grouped: key and value have those of the query in the place of their heads."""
    first, *others = (t._a.shape[:-2] for t in (query, key, value))
    if grouped:
        others = [(*each[:-1], first[-1]) for each in others]
    if others[0] == first and others[1] == first:
        return first
    try:
        return broadcast_shapes(first, *others)
    except ValueError:
        for other in (key, value):
            for a, b, dim in zip(query.shape[-3::-1], other.shape[-3::-1], range(min(query.dim(), other.dim()) - 3, -1, -1), strict=False):
                if a != b and 1 not in (a, b):
                    raise RuntimeError(f"The size of tensor a ({a}) must match the size of tensor b ({b}) at non-singleton dimension {dim}") from None
        raise RuntimeError(f"query {list(query.shape)}, key {list(key.shape)} and value {list(value.shape)} do not broadcast") from None


def _check_mask(shape: tuple[int, ...], scores: tuple[int, ...]) -> None:
    """RuntimeError where a mask of this shape does not go with the scores."""
    if shape == scores[len(scores) - len(shape):]:
        return
    try:
        if broadcast_shapes(shape, scores)[-2:] == scores[-2:]:
            return
    except ValueError:
        pass
    raise RuntimeError(f"attn_mask of size {list(shape)} does not broadcast to the scores, {list(scores)}") from None


@functional(guard=True)
def scaled_dot_product_attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
                                 is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False) -> Tensor:
    """softmax(scale * query key' + mask) value, with the softmax over the keys (Vaswani et al., 2017).

    query      (..., L, E)
    key        (..., S, E)
    value      (..., S, F); the result is (..., L, F)
    attn_mask  broadcasts to (..., L, S): bool, True where a query may look, or a number to add to the scores
    dropout_p  applied to the weights, whenever it is not zero
    is_causal  query i sees keys 0..i
    scale      default 1 / sqrt(E)
    enable_gqa key and value may have fewer heads (dimension -3), each of which serves several heads of the query
    Rows in which everything is masked give zeros.
    """
    _check(query, key, value, attn_mask, is_causal, dropout_p)
    if scale is None:
        scale = 1.0 / sqrt(query.shape[-1]) if query.shape[-1] else 1.0
    if hasattr(attn_mask, "_materialize"):                # a causal bias has no device of its own
        attn_mask = attn_mask._materialize(query.device)  # type: ignore[union-attr]
    if enable_gqa:
        _check_groups(query, key, value)
    leading = _leading(query, key, value, enable_gqa)
    if attn_mask is not None:
        _check_mask(attn_mask._a.shape, (*leading, query._a.shape[-2], key._a.shape[-2]))
    found = None if query._kind.is_complex else _by_kernel(query, key, value, attn_mask, float(dropout_p), is_causal, float(scale))
    if found is not None:
        return found
    if enable_gqa:
        key, value = _grouped(query, key, value)
    return _composed(query, key, value, attn_mask, dropout_p, is_causal, scale)


def _by_kernel(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout_p: float, causal: bool,
               scale: float) -> Tensor | None:
    """One node, on arrays; None for arrays that the kernels don't take."""
    kind = query._kind
    of_mask = mask is not None and mask._node is not None
    computed = kind.with_dtype(float32) if kind.reduced else kind
    noise = (lambda weights: _noise(weights, dropout_p, computed)) if dropout_p else None
    found = K.attention(query._a, key._a, value._a, None if mask is None else mask._a, noise, bool(causal), scale, of_mask)
    if found is NotImplemented:
        return None
    result, *kept = found
    out = wrap(result, kind)
    inputs = (query, key, value, mask) if of_mask else (query, key, value)
    if all(t._node is None for t in inputs):
        return out
    count = len(inputs)

    def array_grad(g: Array, *saved: Any) -> tuple[Any, ...]:
        bias = saved[3] if of_mask else saved[-1] if mask is not None else None
        results = saved[count:] if of_mask or mask is None else saved[count:-1]
        return taken(K.attention_gradient(g, *saved[:3], bias, None, bool(causal), scale, of_mask, *results))[:count]

    def grad(g: Any, *saved: Any) -> tuple[Any, ...]:
        given = saved[3] if of_mask else saved[-1] if mask is not None else None
        noise = saved[count + 3] if dropout_p else None

        def again(q: Tensor, k: Tensor, v: Tensor, m: Tensor | None = None) -> tuple[Tensor]:
            heads = [t.size(-3) if t.dim() > 2 else 1 for t in (q, k, v)]
            if heads[1] not in (1, heads[0]) or heads[2] not in (1, heads[0]):
                k, v = _grouped(q, k, v)
            return (_composed(q, k, v, given if m is None else m, noise, causal, scale),)
        return recomputed_grad(again, saved[:count], (g,))
    # A mask without gradient is saved last.
    last = () if mask is None or of_mask else (mask,)
    return record(out, _NODES[kind.device.type == "cpu"], inputs, grad, (*inputs, out, *(wrap(each, computed) for each in kept), *last),
                  array_grad)


_NODES = ("ScaledDotProductFlashAttentionBackward0", "ScaledDotProductFlashAttentionForCpuBackward0")


def _noise(weights: Any, p: float, kind: Kind) -> Any:
    """What dropout multiplies the weights by, from the generator's stream in the weights' shape."""
    return dropout(wrap(np.ones(weights.shape, weights.dtype), kind), p, True)._a


def _causal(rows: int, columns: int, like: Array, dtype: NumpyDtype) -> Array:
    """What hides key j from query i < j."""
    hidden = np.arange(columns, like=like) > np.arange(rows, like=like)[:, None]
    bias = np.zeros(hidden.shape, dtype, like=like)
    bias[hidden] = -inf
    return bias


def _composed(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: float, causal: bool, scale: float) -> Tensor:
    """The same out of plain ops. `dropout` is a probability, a noise tensor to multiply by, or None."""
    scores = (query * scale).matmul(key.transpose(-2, -1))
    bias: Any = None
    if causal:
        bias = wrap(_causal(query.shape[-2], key.shape[-2], query._a, query._kind.np), query._kind)
    elif mask is not None:
        bias = FUNCTIONS["zeros_like"](mask, dtype=query.dtype).masked_fill(~mask, -inf) if mask.dtype is bool_ else mask
    if bias is not None:
        scores = scores + bias
        dead = (scores == -inf).all(-1, keepdim=True)
        scores = scores.masked_fill(dead, 0.0)
    weights = scores.softmax(-1)
    if bias is not None:
        weights = weights.masked_fill(dead, 0.0)
    if isinstance(dropout, Tensor):
        weights = weights * dropout
    elif dropout:
        weights = FUNCTIONS["dropout"](weights, dropout, True)
    return weights.matmul(value)


# --- multi-head attention ----------------------------------------------------------------------------------------------------------------

def canonical_mask(mask: Tensor | None, mask_name: str, other_type: Any, other_name: str, target_type: dtype,
                   check_other: bool = True) -> Tensor | None:
    """A mask of True where nothing may be seen, as numbers to add to the scores. AssertionError for other than bool and floating types."""
    if mask is None:
        return None
    if mask.dtype is not bool_ and not mask.is_floating_point():
        raise AssertionError(f"only bool and floating types of {mask_name} are supported")
    if check_other and other_type is not None and mask.dtype is not other_type:
        import warnings
        warnings.warn(f"Support for mismatched {mask_name} and {other_name} is deprecated. Use same type for both instead.", UserWarning,
                      stacklevel=3)
    if mask.is_floating_point():
        return mask
    return FUNCTIONS["zeros_like"](mask, dtype=target_type).masked_fill(mask, -inf)


def _check_shapes(query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Any, attn_mask: Any, heads: int) -> bool:
    """AssertionError where the numbers of dimensions don't go together; whether the input is a batch."""
    dims = query.dim()
    if dims not in (2, 3):
        raise AssertionError(f"query should be unbatched 2D or batched 3D tensor but received {dims}-D query tensor")
    batched = dims == 3
    what = f"For {'batched' if batched else 'unbatched'} ({dims}-D) `query`, expected"
    if key.dim() != dims or value.dim() != dims:
        raise AssertionError(f"{what} `key` and `value` to be {dims}-D but found {key.dim()}-D and {value.dim()}-D tensors respectively")
    if key_padding_mask is not None and key_padding_mask.dim() != dims - 1:
        raise AssertionError(f"{what} `key_padding_mask` to be `None` or {dims - 1}-D but found {key_padding_mask.dim()}-D tensor instead")
    if attn_mask is not None:
        if attn_mask.dim() not in (2, 3):
            raise AssertionError(f"{what} `attn_mask` to be `None`, 2-D or 3-D but found {attn_mask.dim()}-D tensor instead")
        expected = (heads, query.shape[0], key.shape[0])
        if not batched and attn_mask.dim() == 3 and tuple(attn_mask.shape) != expected:
            raise AssertionError(f"Expected `attn_mask` shape to be {expected} but got {attn_mask.shape}")
    return batched


def _projected(query: Tensor, key: Tensor, value: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, ...]:
    """Query, key and value through one stacked weight (3E, E): one product where they are the same tensor."""
    if key is value:
        if query is key:
            return linear(query, weight, bias).chunk(3, -1)
        size = query.size(-1)
        q_bias, kv_bias = (None, None) if bias is None else bias.split([size, 2 * size])
        q_weight, kv_weight = weight.split([size, 2 * size])
        return linear(query, q_weight, q_bias), *linear(key, kv_weight, kv_bias).chunk(2, -1)
    biases = (None, None, None) if bias is None else bias.chunk(3)
    return tuple(linear(x, w, b) for x, w, b in zip((query, key, value), weight.chunk(3), biases, strict=True))


@functional
def multi_head_attention_forward(
        query: Tensor, key: Tensor, value: Tensor, embed_dim_to_check: int, num_heads: int, in_proj_weight: Tensor | None,
        in_proj_bias: Tensor | None, bias_k: Tensor | None, bias_v: Tensor | None, add_zero_attn: bool, dropout_p: float,
        out_proj_weight: Tensor, out_proj_bias: Tensor | None, training: bool = True, key_padding_mask: Tensor | None = None,
        need_weights: bool = True, attn_mask: Tensor | None = None, use_separate_proj_weight: bool = False,
        q_proj_weight: Tensor | None = None, k_proj_weight: Tensor | None = None, v_proj_weight: Tensor | None = None,
        static_k: Tensor | None = None, static_v: Tensor | None = None, average_attn_weights: bool = True,
        is_causal: bool = False) -> tuple[Tensor, Tensor | None]:
    """Multi-head attention over projected query (L, N, E), key (S, N, K) and value (S, N, V), or the same without N.

    key_padding_mask  (N, S): True (or -inf) at keys that nobody may see
    attn_mask         (L, S) or (N * num_heads, L, S): True where a query may not look, or numbers to add
    is_causal         a hint that attn_mask is the causal mask
    static_k, static_v  (N * num_heads, S, E / num_heads): used in place of the projected key and value
    Returns (output (L, N, E), weights): the weights (N, L, S), averaged over the heads unless average_attn_weights is False, or None
    without need_weights.
    """
    batched = _check_shapes(query, key, value, key_padding_mask, attn_mask, num_heads)
    if not batched:
        query, key, value = _unbatch(query, key, value)
        if key_padding_mask is not None:
            key_padding_mask = key_padding_mask.unsqueeze(0)
    length, batch, embed_dim = query.shape
    mask_type = None if attn_mask is None else attn_mask.dtype
    key_padding_mask = canonical_mask(key_padding_mask, "key_padding_mask", mask_type, "attn_mask", query.dtype)
    if is_causal and attn_mask is None:
        raise RuntimeError("Need attn_mask if specifying the is_causal hint. You may use the Transformer module method "
                           "`generate_square_subsequent_mask` to create this mask.")
    if is_causal and key_padding_mask is None and not need_weights:
        attn_mask = None
    else:
        attn_mask = canonical_mask(attn_mask, "attn_mask", None, "", query.dtype, False)
        is_causal = is_causal and key_padding_mask is None
    _check_sizes(query, key, value, embed_dim_to_check, num_heads, use_separate_proj_weight)
    q, k, v = _project(query, key, value, in_proj_weight, in_proj_bias, use_separate_proj_weight,
                       (q_proj_weight, k_proj_weight, v_proj_weight))
    attn_mask = _mask_4d(attn_mask, batch, num_heads, length, key.shape[0])
    cat, pad = FUNCTIONS["cat"], _pad_one
    if bias_k is not None and bias_v is not None:
        if static_k is not None or static_v is not None:
            raise AssertionError("bias cannot be added to static key or value")
        k, v = cat([k, bias_k.expand(1, batch, embed_dim)]), cat([v, bias_v.expand(1, batch, embed_dim)])
        attn_mask, key_padding_mask = pad(attn_mask), pad(key_padding_mask)
    elif (bias_k is None) != (bias_v is None):
        raise AssertionError("bias_k and bias_v must be given together")
    q, k, v = (_heads(t, num_heads) for t in (q, k, v))
    k, v = _static(k, static_k, "static_k", batch, num_heads), _static(v, static_v, "static_v", batch, num_heads)
    if add_zero_attn:
        zeros = FUNCTIONS["zeros"]((batch, num_heads, 1, q.shape[-1]), dtype=k.dtype, device=k.device)
        k, v = cat([k, zeros], 2), cat([v, zeros], 2)
        attn_mask, key_padding_mask = pad(attn_mask), pad(key_padding_mask)
    attn_mask = _merged(attn_mask, key_padding_mask, batch, k.shape[2])
    output, weights = _attend(q, k, v, attn_mask, dropout_p if training else 0.0, need_weights, is_causal)
    output = output.permute(2, 0, 1, 3).reshape(length, batch, embed_dim)
    output = linear(output, out_proj_weight, out_proj_bias)
    if weights is not None and average_attn_weights:
        weights = weights.mean(1)
    if not batched:
        output = output.squeeze(1)
        weights = None if weights is None else weights.squeeze(0)
    return output, weights


def _unbatch(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A batch of one; tensors that were the same stay the same."""
    q = query.unsqueeze(1)
    k = q if key is query else key.unsqueeze(1)
    return q, k, k if value is key else value.unsqueeze(1)


def _check_sizes(query: Tensor, key: Tensor, value: Tensor, embed_dim_to_check: int, heads: int, separate: bool) -> None:
    embed_dim = query.shape[-1]
    if embed_dim != embed_dim_to_check:
        raise AssertionError(f"was expecting embedding dimension of {embed_dim_to_check}, but got {embed_dim}")
    if embed_dim % heads:
        raise AssertionError(f"embed_dim {embed_dim} not divisible by num_heads {heads}")
    if separate:
        if key.shape[:2] != value.shape[:2]:
            raise AssertionError(f"key's sequence and batch dims {key.shape[:2]} do not match value's {value.shape[:2]}")
    elif key.shape != value.shape:
        raise AssertionError(f"key shape {key.shape} does not match value shape {value.shape}")
    if key.shape[1] != query.shape[1]:
        raise RuntimeError(f"query {list(query.shape)} and key {list(key.shape)} have different batch sizes (dimension 1)")


def _project(query: Tensor, key: Tensor, value: Tensor, weight: Tensor, bias: Tensor, separate: bool,
             weights: tuple[Any, ...]) -> tuple[Tensor, ...]:
    if not separate:
        if weight is None:
            raise AssertionError("use_separate_proj_weight is False but in_proj_weight is None")
        return _projected(query, key, value, weight, bias)
    for name, each in zip("qkv", weights, strict=True):
        if each is None:
            raise AssertionError(f"use_separate_proj_weight is True but {name}_proj_weight is None")
    biases = (None, None, None) if bias is None else bias.chunk(3)
    return tuple(linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True))


def _mask_4d(mask: Tensor | None, batch: int, heads: int, rows: int, columns: int) -> Tensor | None:
    """(L, S) as it is; (N * heads, L, S) as (N, heads, L, S). RuntimeError for other sizes."""
    if mask is None:
        return None
    wanted = (rows, columns) if mask.dim() == 2 else (batch * heads, rows, columns)
    if tuple(mask.shape) != wanted:
        raise RuntimeError(f"The shape of the {mask.dim()}D attn_mask is {mask.shape}, but should be {wanted}.")
    return mask if mask.dim() == 2 else mask.view(batch, heads, rows, columns)


def _pad_one(mask: Tensor | None) -> Tensor | None:
    """One more column, which everyone may see."""
    if mask is None:
        return None
    zeros = FUNCTIONS["zeros"]((*mask.shape[:-1], 1), dtype=mask.dtype, device=mask.device)
    return FUNCTIONS["cat"]([mask, zeros], -1)


def _heads(t: Tensor, heads: int) -> Tensor:
    """(T, N, E) as (N, heads, T, E / heads)."""
    length, batch, size = t.shape
    return t.unflatten(-1, (heads, size // heads)).permute(1, 2, 0, 3)


def _static(t: Tensor, given: Tensor | None, name: str, batch: int, heads: int) -> Tensor:
    if given is None:
        return t
    if given.size(0) != batch * heads:
        raise AssertionError(f"expecting {name}.size(0) of {batch * heads}, but got {given.size(0)}")
    if given.size(2) != t.size(3):
        raise AssertionError(f"expecting {name}.size(2) of {t.size(3)}, but got {given.size(2)}")
    return given.view(batch, heads, given.size(1), given.size(2))


def _merged(mask: Tensor | None, padding: Tensor | None, batch: int, columns: int) -> Tensor | None:
    """Attention mask and padding mask as one."""
    if padding is None:
        return mask
    if padding.shape[0] != batch:
        raise AssertionError(f"Expected key_padded_mask.shape[0] to be {batch}, but got {padding.shape[0]}")
    if padding.shape[1] != columns:
        raise AssertionError(f"Expected key_padded_mask.shape[1] to be {columns}, but got {padding.shape[1]}")
    padding = padding.view(batch, 1, 1, columns)
    return padding if mask is None else mask + padding


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout_p: float, need_weights: bool,
            is_causal: bool) -> tuple[Tensor, Tensor | None]:
    """(output (N, heads, L, D), weights (N, heads, L, S) or None)."""
    if not need_weights:
        return scaled_dot_product_attention(q, k, v, mask, dropout_p, is_causal), None
    scores = (q * sqrt(1.0 / q.shape[-1])).matmul(k.transpose(-2, -1))
    weights = (scores if mask is None else scores + mask).softmax(-1)
    if dropout_p > 0.0:
        weights = FUNCTIONS["dropout"](weights, dropout_p, True)
    return weights.matmul(v), weights
