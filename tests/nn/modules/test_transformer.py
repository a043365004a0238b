"""Attention and Transformers: values, gradients, weights, masks, errors and printed forms against PyTorch's, live."""

import math
import warnings

import numpy as np
import pytest
import torch as pt

import rushlight as torch


def both(shape, rng, dtype=np.float64, grad=True):
    a = rng.standard_normal(shape).astype(dtype)
    return torch.tensor(a.copy()).requires_grad_(grad), pt.tensor(a).requires_grad_(grad)


def close(ours, theirs, tolerance=1e-9):
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=tolerance, atol=tolerance)


def masks(kind, rows, columns, rng):
    if kind == "bool":
        a = rng.random((rows, columns)) > 0.4
        a[:, 0] = True
        a[1] = False                                       # a row that sees nothing
        return torch.tensor(a), pt.tensor(a)
    if kind == "float":
        return both((2, 1, rows, columns), rng)
    if kind == "padding":
        a = np.zeros((2, 1, 1, columns))
        a[0, ..., -2:] = -math.inf
        return torch.tensor(a), pt.tensor(a)
    return None, None


@pytest.mark.parametrize("kind", ["none", "bool", "float", "padding", "causal"])
@pytest.mark.parametrize("shapes", [((2, 3, 4, 5), (2, 3, 6, 5), (2, 3, 6, 2)), ((2, 3, 6, 4), (2, 3, 6, 4), (2, 3, 6, 4)),
                                    ((2, 3, 4, 5), (1, 1, 6, 5), (2, 3, 6, 2))])
def test_scaled_dot_product(kind, shapes):
    rng = np.random.default_rng(0)
    pairs = [both(shape, rng) for shape in shapes]
    mask = masks(kind, shapes[0][-2], shapes[1][-2], rng)
    options = {"is_causal": True} if kind == "causal" else {}
    if kind == "float":
        options["scale"] = 0.3
    a = torch.nn.functional.scaled_dot_product_attention(*(x for x, _ in pairs), attn_mask=mask[0], **options)
    b = pt.nn.functional.scaled_dot_product_attention(*(y for _, y in pairs), attn_mask=mask[1], **options)
    close(a, b)
    g = rng.standard_normal(b.shape)
    a.backward(torch.tensor(g))
    b.backward(pt.tensor(g))
    for x, y in pairs + ([mask] if kind == "float" else []):
        close(x.grad, y.grad)


@pytest.mark.parametrize("kind", ["none", "bool", "float", "causal", "dropout"])
def test_scaled_dot_product_twice(kind):
    """Double backward against the derivative of PyTorch's own composition."""
    rng = np.random.default_rng(1)
    pairs = [both((2, 3, 4), rng), both((2, 5, 4), rng), both((2, 5, 3), rng)]
    a_mask = rng.random((3, 5)) > 0.3
    a_mask[:, 0] = True
    bias = both((3, 5), rng)
    results = []
    for side, m in ((0, torch), (1, pt)):
        q, k, v = (pair[side] for pair in pairs)
        if m is torch:
            options = {"attn_mask": {"bool": torch.tensor(a_mask), "float": bias[0]}.get(kind), "is_causal": kind == "causal"}
            torch.manual_seed(3)
            y = torch.nn.functional.scaled_dot_product_attention(q * k[:, :3].sin(), k, v, dropout_p=0.4 if kind == "dropout" else 0.0,
                                                                 **options)
        else:
            scores = (q * k[:, :3].sin()) @ k.transpose(-1, -2) / 2
            if kind == "bool":
                scores = scores.masked_fill(~pt.tensor(a_mask), -math.inf)
            elif kind == "float":
                scores = scores + bias[1]
            elif kind == "causal":
                scores = scores.masked_fill(pt.ones(3, 5).triu(1).bool(), -math.inf)
            pt.manual_seed(3)
            weights = scores.softmax(-1)
            y = (pt.nn.functional.dropout(weights, 0.4) if kind == "dropout" else weights) @ v
        inputs = [q, k, v, *([bias[side]] if kind == "float" else [])]
        first = m.autograd.grad((y ** 3).sum(), inputs, create_graph=True)
        second = m.autograd.grad(sum((g * g).sum() for g in first), inputs)
        results.append([y, *first, *second])
    for a, b in zip(*results, strict=True):
        close(a, b, 1e-8)


def test_scaled_dot_product_other_shapes():
    rng = np.random.default_rng(2)
    sdpa, theirs = torch.nn.functional.scaled_dot_product_attention, pt.nn.functional.scaled_dot_product_attention
    q, k = both((2, 8, 3, 4), rng), both((2, 2, 5, 4), rng)
    a, b = (f(x, y, y, enable_gqa=True) for f, x, y in ((sdpa, q[0], k[0]), (theirs, q[1], k[1])))
    close(a, b)
    (a * a).sum().backward()
    (b * b).sum().backward()
    close(q[0].grad, q[1].grad)
    close(k[0].grad, k[1].grad)
    x = both((3, 4), rng)
    close(sdpa(x[0], x[0], x[0]), theirs(x[1], x[1], x[1]))
    x = both((2, 2, 300, 8), rng, np.float32)
    close(sdpa(x[0], x[0], x[0], is_causal=True), theirs(x[1], x[1], x[1], is_causal=True), 1e-5)
    assert tuple(sdpa(torch.zeros(2, 0, 4), torch.zeros(2, 3, 4), torch.zeros(2, 3, 4)).shape) == (2, 0, 4)
    half = torch.randn(2, 5, 4)
    close(sdpa(half.half(), half.half(), half.half()).float(), sdpa(half, half, half), 5e-3)


def test_dropout_stream():
    ours, theirs = torch.nn.functional.scaled_dot_product_attention, pt.nn.functional.scaled_dot_product_attention
    rng = np.random.default_rng(4)
    x = both((2, 3, 7, 4), rng, np.float32)
    torch.manual_seed(0)
    pt.manual_seed(0)
    a, b = ours(x[0], x[0], x[0], dropout_p=0.3), theirs(x[1], x[1], x[1], dropout_p=0.3)
    close(a, b, 1e-5)
    (a * a).sum().backward()
    (b * b).sum().backward()
    close(x[0].grad, x[1].grad, 1e-4)


def outcome(make, m):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = make(m, m.zeros)
        except Exception as error:
            return type(error), str(error)
    return [str(w.message) for w in caught], tuple(result.shape) if hasattr(result, "shape") else None


def mha(m):
    return m.nn.MultiheadAttention(4, 2)


SAME = [
    lambda m, z: m.nn.functional.scaled_dot_product_attention(z(4), z(5, 4), z(5, 6)),
    lambda m, z: m.nn.functional.scaled_dot_product_attention(z(2, 3, 4), z(2, 5, 4).double(), z(2, 5, 6)),
    lambda m, z: m.nn.functional.scaled_dot_product_attention(z(2, 3, 4), z(2, 5, 4), z(2, 5, 6), attn_mask=z(3, 5).int()),
    lambda m, z: m.nn.functional.scaled_dot_product_attention(z(2, 3, 4), z(2, 5, 4), z(2, 5, 6), attn_mask=z(3, 5).bool(), is_causal=True),
    lambda m, z: m.nn.functional.scaled_dot_product_attention(z(2, 3, 4), z(2, 5, 4), z(2, 5, 6), dropout_p=2.0),
    lambda m, z: m.nn.functional.scaled_dot_product_attention(z(2, 3, 4), z(3, 5, 4), z(3, 5, 6)),
    lambda m, z: m.nn.MultiheadAttention(4, 3), lambda m, z: m.nn.MultiheadAttention(0, 1), lambda m, z: m.nn.MultiheadAttention(4, 0),
    lambda m, z: mha(m)(z(3, 2, 5), z(3, 2, 4), z(3, 2, 4)), lambda m, z: mha(m)(z(3, 2, 4), z(3, 2, 4), z(2, 2, 4)),
    lambda m, z: mha(m)(z(3, 4), z(3, 2, 4), z(3, 2, 4)), lambda m, z: mha(m)(z(1, 3, 2, 4), z(3, 2, 4), z(3, 2, 4)),
    lambda m, z: mha(m)(z(3, 2, 4), z(3, 4), z(3, 4)),
    lambda m, z: mha(m)(z(3, 2, 4), z(5, 2, 4), z(5, 2, 4), key_padding_mask=z(2, 4).bool()),
    lambda m, z: mha(m)(z(3, 2, 4), z(5, 2, 4), z(5, 2, 4), key_padding_mask=z(5).bool()),
    lambda m, z: mha(m)(z(3, 2, 4), z(5, 2, 4), z(5, 2, 4), key_padding_mask=z(2, 5).int()),
    lambda m, z: mha(m)(z(3, 2, 4), z(5, 2, 4), z(5, 2, 4), attn_mask=z(3, 4)),
    lambda m, z: mha(m)(z(3, 2, 4), z(5, 2, 4), z(5, 2, 4), attn_mask=z(2, 3, 5)),
    lambda m, z: mha(m)(z(3, 2, 4), z(5, 2, 4), z(5, 2, 4), attn_mask=z(3, 5).int()),
    lambda m, z: mha(m)(z(3, 2, 4), z(5, 2, 4), z(5, 2, 4), attn_mask=z(5)),
    lambda m, z: mha(m)(z(3, 2, 4), z(5, 2, 4), z(5, 2, 4), is_causal=True),
    lambda m, z: mha(m)(z(3, 2, 4), z(5, 2, 4), z(5, 2, 4), key_padding_mask=z(2, 5), attn_mask=z(3, 5).bool())[0],
    lambda m, z: mha(m)(z(3, 4), z(5, 4), z(5, 4), key_padding_mask=z(1, 5).bool()),
    lambda m, z: mha(m)(z(3, 4), z(5, 4), z(5, 4), attn_mask=z(3, 3, 5).bool()),
    lambda m, z: m.nn.MultiheadAttention(4, 2, kdim=3)(z(3, 2, 4), z(5, 2, 3), z(4, 2, 4)),
    lambda m, z: m.nn.TransformerEncoderLayer(8, 2, activation="x"),
    lambda m, z: m.nn.TransformerEncoder(m.nn.TransformerEncoderLayer(8, 2), 2),
    lambda m, z: m.nn.TransformerEncoder(m.nn.TransformerEncoderLayer(8, 2, batch_first=True, norm_first=True), 1),
    lambda m, z: m.nn.TransformerEncoder(m.nn.TransformerEncoderLayer(9, 3, batch_first=True), 1),
    lambda m, z: m.nn.TransformerEncoder(m.nn.TransformerEncoderLayer(8, 2, batch_first=True, bias=False), 1),
    lambda m, z: m.nn.TransformerEncoder(m.nn.TransformerEncoderLayer(8, 2, batch_first=True, activation=m.tanh), 1),
    lambda m, z: m.nn.TransformerEncoder(m.nn.TransformerEncoderLayer(8, 2, batch_first=True), 1),
    lambda m, z: m.nn.TransformerEncoder(m.nn.Linear(1, 1), 1),
    lambda m, z: m.nn.Transformer(8, 2, 1, 1, 16)(z(3, 2, 8), z(4, 3, 8)),
    lambda m, z: m.nn.Transformer(8, 2, 1, 1, 16)(z(3, 2, 7), z(4, 2, 8)),
    lambda m, z: m.nn.Transformer(8, 2, 1, 1, 16)(z(3, 2, 8), z(4, 8)), lambda m, z: m.nn.Transformer(8, 2, 1, 1, 16)(z(3, 8), z(4, 8)),
    lambda m, z: m.nn.TransformerEncoderLayer(8, 2)(z(3, 2, 8), src_mask=z(3, 3).int()),
    lambda m, z: m.nn.TransformerEncoderLayer(8, 2)(z(3, 2, 8), src_mask=z(3, 3), src_key_padding_mask=z(2, 3).bool()),
    lambda m, z: m.nn.TransformerEncoderLayer(8, 2)(z(3, 2, 8), is_causal=True),
]


@pytest.mark.parametrize("make", SAME)
def test_errors_and_warnings(make):
    assert outcome(make, torch) == outcome(make, pt)


@pytest.mark.parametrize("shapes", [((2, 3, 4), (2, 5, 3), (2, 5, 6)), ((2, 3, 4), (2, 5, 4), (2, 4, 6)),
                                    ((2, 8, 3, 4), (2, 2, 5, 4), (2, 2, 5, 4))])
def test_shapes_that_do_not_fit(shapes):
    for m in (torch, pt):
        with pytest.raises(RuntimeError):
            m.nn.functional.scaled_dot_product_attention(*(m.zeros(shape) for shape in shapes))


def copied(make):
    """The same module on both sides, from the same seed: names, initial values and printed form are equal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(5)
        pt.manual_seed(5)
        ours, theirs = make(torch), make(pt)
    mine, other = ours.state_dict(), theirs.state_dict()
    assert list(mine) == list(other)
    for key in mine:
        np.testing.assert_allclose(mine[key].numpy(), other[key].numpy(), rtol=1e-6, atol=1e-7, err_msg=key)
    ours.load_state_dict({key: torch.tensor(value.numpy()) for key, value in other.items()})
    assert repr(ours) == repr(theirs)
    return ours, theirs


def compare(ours, theirs, inputs, tolerance=2e-5, **options):
    """Forward and backward with the same inputs (pairs) and options (pairs or plain)."""
    results = []
    for side, module in ((0, ours), (1, theirs)):
        def pick(v, side=side):
            return v[side] if isinstance(v, tuple) else v
        if side == 0:
            torch.manual_seed(7)
        else:
            pt.manual_seed(7)
        y = module(*(pick(v) for v in inputs), **{k: pick(v) for k, v in options.items()})
        results.append(y if isinstance(y, tuple) else (y,))
    loss, expected = 0, 0
    for a, b in zip(*results, strict=True):
        if b is None:
            assert a is None
            continue
        assert tuple(a.shape) == tuple(b.shape)
        close(a, b, tolerance)
        if not b.requires_grad:
            continue
        c = np.random.default_rng(9).standard_normal(b.shape).astype(np.float32)
        loss, expected = loss + (a * torch.tensor(c)).sum(), expected + (b * pt.tensor(c)).sum()
    if isinstance(expected, int):
        return
    loss.backward()
    expected.backward()
    for (key, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert (p.grad is None) == (q.grad is None), key
        if q.grad is not None:
            np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-3, atol=10 * tolerance, err_msg=key)
    for v in inputs:
        if isinstance(v, tuple) and v[1].requires_grad and v[1].is_leaf:
            np.testing.assert_allclose(v[0].grad.numpy(), v[1].grad.numpy(), rtol=1e-3, atol=10 * tolerance)


def pair(a):
    return torch.tensor(a.copy()), pt.tensor(a)


PADDING = np.array([[False, False, False, True, True], [False] * 5])
CAUSAL = np.triu(np.ones((5, 5), bool), 1)


@pytest.mark.parametrize("options", [{}, {"dropout": 0.3}, {"bias": False}, {"add_bias_kv": True},
                                     {"add_zero_attn": True, "batch_first": True},
                                     {"kdim": 6, "vdim": 10}, {"add_bias_kv": True, "add_zero_attn": True, "kdim": 3}])
@pytest.mark.parametrize("call", [{}, {"need_weights": False}, {"average_attn_weights": False, "key_padding_mask": pair(PADDING)},
                                  {"need_weights": False, "key_padding_mask": pair(PADDING), "attn_mask": pair(CAUSAL[:4])}])
def test_multihead_attention(options, call):
    ours, theirs = copied(lambda m: m.nn.MultiheadAttention(8, 2, **options))
    rng = np.random.default_rng(0)
    first = options.get("batch_first")
    q = both((2, 4, 8) if first else (4, 2, 8), rng, np.float32)
    k = both((2, 5, options.get("kdim", 8)) if first else (5, 2, options.get("kdim", 8)), rng, np.float32)
    v = both((2, 5, options.get("vdim", 8)) if first else (5, 2, options.get("vdim", 8)), rng, np.float32)
    compare(ours, theirs, [q, k, v], **call)


@pytest.mark.parametrize("call", [{}, {"need_weights": False}, {"attn_mask": pair(CAUSAL), "is_causal": True},
                                  {"attn_mask": pair(CAUSAL), "is_causal": True, "need_weights": False},
                                  {"attn_mask": pair(np.where(CAUSAL, -np.inf, 0.5).astype(np.float32))}])
def test_self_attention(call):
    ours, theirs = copied(lambda m: m.nn.MultiheadAttention(8, 4))
    rng = np.random.default_rng(0)
    for shape in ((5, 2, 8), (5, 8)):
        x = both(shape, rng, np.float32)
        ours.zero_grad()
        theirs.zero_grad()
        compare(ours, theirs, [x, x, x], **call)
    x, y = both((4, 2, 8), rng, np.float32), both((5, 2, 8), rng, np.float32)
    ours.zero_grad()
    theirs.zero_grad()
    compare(ours, theirs, [x, y, y])


LAYERS = [{}, {"batch_first": True}, {"norm_first": True}, {"activation": "gelu", "bias": False}, {"dropout": 0.0, "layer_norm_eps": 1e-3}]


@pytest.mark.parametrize("options", LAYERS)
def test_layers(options):
    rng = np.random.default_rng(0)
    turn = (lambda a: np.ascontiguousarray(a.swapaxes(0, 1))) if options.get("batch_first") else (lambda a: a)
    src, tgt = (tuple(t.requires_grad_() for t in pair(turn(rng.standard_normal((n, 2, 8)).astype(np.float32)))) for n in (5, 4))
    ours, theirs = copied(lambda m: m.nn.TransformerEncoderLayer(8, 2, 16, **options))
    compare(ours, theirs, [src], src_key_padding_mask=pair(PADDING))
    ours.zero_grad()
    theirs.zero_grad()
    compare(ours, theirs, [src], src_mask=pair(CAUSAL), is_causal=True)
    ours, theirs = copied(lambda m: m.nn.TransformerDecoderLayer(8, 2, 16, **options))
    compare(ours, theirs, [tgt, src], tgt_mask=pair(CAUSAL[:4, :4]), memory_key_padding_mask=pair(PADDING))


def test_encoder_in_evaluation():
    """Without gradients, PyTorch leaves padded places out and returns zeros there."""
    ours, theirs = copied(lambda m: m.nn.TransformerEncoder(m.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2, m.nn.LayerNorm(8)))
    ours.eval()
    theirs.eval()
    src = pair(np.random.default_rng(0).standard_normal((2, 5, 8)).astype(np.float32))
    for padding in (None, pair(PADDING), pair(PADDING[:, ::-1].copy())):
        with torch.no_grad():
            a = ours(src[0], src_key_padding_mask=None if padding is None else padding[0])
        with pt.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            b = theirs(src[1], src_key_padding_mask=None if padding is None else padding[1])
        close(a, b, 2e-5)
    compare(ours, theirs, [src], src_key_padding_mask=pair(PADDING))


@pytest.mark.parametrize("options", [{}, {"batch_first": True, "norm_first": True, "activation": "gelu"}])
def test_transformer(options):
    ours, theirs = copied(lambda m: m.nn.Transformer(8, 2, 2, 2, 16, dropout=0.2, **options))
    rng = np.random.default_rng(0)
    shape = (lambda n: (2, n, 8)) if options.get("batch_first") else (lambda n: (n, 2, 8))
    src, tgt = both(shape(5), rng, np.float32), both(shape(4), rng, np.float32)
    size = {"tgt_mask": (torch.nn.Transformer.generate_square_subsequent_mask(4), pt.nn.Transformer.generate_square_subsequent_mask(4))}
    compare(ours, theirs, [src, tgt], tolerance=1e-4, **size)
    assert np.array_equal(size["tgt_mask"][0].numpy(), size["tgt_mask"][1].numpy())
    ours.eval()
    theirs.eval()
    with torch.no_grad(), pt.no_grad():
        compare(ours, theirs, [src, tgt], tolerance=1e-4, src_mask=pair(CAUSAL), tgt_mask=pair(CAUSAL[:4, :4]),
                memory_mask=pair(CAUSAL[:4]))


def test_causal_mask_is_found():
    from rushlight.nn.modules.transformer import _is_causal
    mask = torch.nn.Transformer.generate_square_subsequent_mask(4)
    assert _is_causal(mask, None, 4) and not _is_causal(mask * 0, None, 4) and not _is_causal(mask, None, 5)
    assert _is_causal(torch.tensor(CAUSAL), None, 5) and not _is_causal(torch.tensor(~CAUSAL), None, 5)
    assert _is_causal(None, True, 3) and not _is_causal(None, None, 3)
