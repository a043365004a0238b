"""Attention by the device's tensor-core kernels, run on the host (cuda_emulator.py), against PyTorch's on the CPU in float64."""

import numpy as np
import pytest
import torch as pt

import rushlight as rl
from tests.support import cuda_standin
from tests.support.cuda_emulator import LAUNCHES

F, G = rl.nn.functional, pt.nn.functional
TOLERANCE = {"tf32": 4e-3, "float32": 2e-5, "float16": 4e-3, "bfloat16": 3e-2}


@pytest.fixture(autouse=True)
def cupy():
    with cuda_standin.cuda() as module:
        yield module
    rl.set_float32_matmul_precision("highest")


def pair(shape, dtype, seed, layout=None):
    """A leaf on both sides, of numbers that `dtype` can hold; `layout`: the order in which the dimensions lie in memory."""
    kind = getattr(rl, "float32" if dtype == "tf32" else dtype)
    order = layout or range(len(shape))
    values = np.random.default_rng(seed).standard_normal([shape[i] for i in order])
    ours = rl.tensor(values, dtype=kind, device="cuda").permute(*np.argsort(order).tolist()).requires_grad_()
    return ours, pt.from_numpy(ours.detach().cpu().double().numpy()).requires_grad_()


def close(a, b, dtype):
    b = b.detach().numpy()
    np.testing.assert_allclose(a.detach().cpu().double().numpy(), b, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * max(1.0, np.abs(b).max(initial=0)))


def check(dtype, shapes, mask=None, layout=None, kernel=True, **options):
    """Value and gradients; `kernel`: whether ours has to come from the kernels."""
    if dtype == "tf32":
        rl.set_float32_matmul_precision("high")
    tensors = [pair(shape, dtype, seed, layout) for seed, shape in enumerate(shapes)]
    (q, a), (k, b), (v, c) = tensors
    mine, other = (None, None) if mask is None else (rl.tensor(mask, device="cuda").to(rl.bool if mask.dtype == bool else q.dtype),
                                                     pt.from_numpy(mask if mask.dtype == bool else mask.astype(np.float64)))
    before = dict(LAUNCHES)
    y, expected = F.scaled_dot_product_attention(q, k, v, mine, **options), G.scaled_dot_product_attention(a, b, c, other, **options)
    assert y.dtype is q.dtype and tuple(y.shape) == tuple(expected.shape)
    close(y, expected, dtype)
    g, other_g = pair(expected.shape, dtype, 9)
    y.backward(g)
    expected.backward(other_g)
    for ours, theirs in tensors:
        close(ours.grad, theirs.grad, dtype)
    used = {name for name, count in LAUNCHES.items() if name.startswith("attention") and before.get(name) != count}
    assert len(used) == (3 if kernel else 0), used
    return y, used


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("size", [8, 32, 40, 64, 128])
@pytest.mark.parametrize("rows, columns, causal", [(70, 70, True), (33, 150, False)])
def test_head_sizes(dtype, size, rows, columns, causal):
    """More than one block of queries and one tile of keys, neither of them full."""
    _, used = check(dtype, [(1, 1, rows, size), (1, 1, columns, size), (1, 1, columns, size)], is_causal=causal)
    assert ("tf32" in "".join(used)) == (dtype == "tf32")


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("rows, columns, size, out_size, causal", [
    (1, 1, 16, 16, False), (1, 200, 16, 16, False), (130, 3, 16, 16, False), (5, 7, 3, 5, False), (129, 64, 16, 16, True), (20, 90, 16, 16, True),
    (9, 9, 1, 1, True), (12, 13, 24, 60, False), (12, 13, 60, 24, True)])
def test_odd_shapes(dtype, rows, columns, size, out_size, causal):
    """Rows that don't lie on 16 bytes, sizes of value and key that differ, one row, more queries than keys and the other way around."""
    check(dtype, [(1, 2, rows, size), (1, 2, columns, size), (1, 2, columns, out_size)], is_causal=causal, scale=0.3)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("shape", [(19, 21), (2, 1, 19, 21), (1, 3, 1, 21), (2, 3, 19, 1), (2, 3, 19, 21), (1, 21)])
@pytest.mark.parametrize("kind", ["bool", "number"])
def test_masks(dtype, shape, kind):
    """Masks are read where they lie; a row that may look nowhere gives zeros."""
    mask = np.random.default_rng(5).standard_normal(shape)
    if kind == "bool":
        mask = mask > -0.2
        if shape == (19, 21):
            mask[3] = False
    elif shape == (19, 21):
        mask[4] = -np.inf
    check(dtype, [(2, 3, 19, 16), (2, 3, 21, 16), (2, 3, 21, 16)], mask)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("heads, groups, causal", [(4, 2, True), (6, 1, False), (3, 3, True)])
def test_grouped_heads(dtype, heads, groups, causal):
    check(dtype, [(2, heads, 40, 16), (2, groups, 40, 16), (2, groups, 40, 16)], is_causal=causal, enable_gqa=True)
    check(dtype, [(heads, 20, 16), (groups, 20, 16), (groups, 20, 16)], is_causal=causal, enable_gqa=True)


def test_grouped_heads_that_differ():
    check("float32", [(2, 4, 9, 16), (2, 2, 9, 16), (2, 1, 9, 16)], kernel=False, enable_gqa=True)
    with pytest.raises(RuntimeError, match="must divide the number of heads"):
        F.scaled_dot_product_attention(*[rl.zeros(1, heads, 4, 8, device="cuda") for heads in (4, 3, 3)], enable_gqa=True)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_leading_dimensions(dtype):
    check(dtype, [(7, 16), (9, 16), (9, 16)])
    check(dtype, [(3, 7, 16), (3, 9, 16), (3, 9, 16)], is_causal=True)
    check(dtype, [(2, 2, 3, 7, 16), (2, 2, 3, 9, 16), (2, 2, 3, 9, 16)])
    check(dtype, [(2, 3, 7, 16), (1, 3, 9, 16), (2, 1, 9, 16)])         # broadcast: strides of 0, gradients summed
    check(dtype, [(2, 3, 7, 16), (3, 9, 16), (9, 16)])


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_a_projection_is_read_and_written_where_it_lies(cupy, dtype):
    """Queries, keys and values are slices of one product; the result lies so that joining the heads is a view, as PyTorch's does."""
    kind = getattr(rl, dtype)
    x = rl.tensor(np.random.default_rng(0).standard_normal((2, 20, 3 * 4 * 16)), dtype=kind, device="cuda")
    parts = [part.view(2, 20, 4, 16).transpose(1, 2) for part in x.split(64, 2)]
    copies = [part.contiguous() for part in parts]
    y, plain = F.scaled_dot_product_attention(*parts, is_causal=True), F.scaled_dot_product_attention(*copies, is_causal=True)
    assert y.transpose(1, 2).is_contiguous() and plain.is_contiguous()
    assert rl.equal(y, plain)


def test_results_repeat():
    results = []
    for _ in range(2):
        q, k, v = [pair((1, 2, 90, 32), "bfloat16", seed)[0] for seed in range(3)]
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        y.sum().backward()
        results.append([each.detach().float().cpu().numpy() for each in (y, q.grad, k.grad, v.grad)])
    for a, b in zip(*results):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("shapes", [[(0, 2, 5, 8)] * 3, [(1, 2, 0, 8), (1, 2, 5, 8), (1, 2, 5, 8)], [(1, 2, 5, 8), (1, 2, 0, 8), (1, 2, 0, 8)]])
def test_empty(shapes):
    check("float32", shapes, kernel=False)


def test_beyond_the_kernels():
    """Larger heads and float64 go through plain ops."""
    check("float32", [(1, 1, 5, 256), (1, 1, 6, 256), (1, 1, 6, 256)], kernel=False)
    q = rl.randn(1, 1, 5, 8, dtype=rl.float64, device="cuda")
    other = pt.from_numpy(q.cpu().numpy())
    np.testing.assert_allclose(F.scaled_dot_product_attention(q, q, q).cpu().numpy(), G.scaled_dot_product_attention(other, other, other).numpy())


def test_nan_stays_nan():
    q, k, v = (rl.randn(1, 1, 5, 16, device="cuda") for _ in range(3))
    q[0, 0, 2, 3] = float("nan")
    y = F.scaled_dot_product_attention(q, k, v).isnan().cpu().numpy()
    assert y[0, 0, 2].all() and not np.delete(y, 2, axis=2).any()


def test_second_gradients():
    (q, a), (k, b), (v, c) = (pair((1, 2, 6, 8), "float32", seed) for seed in range(3))
    mask = np.random.default_rng(3).standard_normal((6, 6)) > -0.5
    y = F.scaled_dot_product_attention(q, k, v, rl.tensor(mask, device="cuda"))
    with pt.nn.attention.sdpa_kernel(pt.nn.attention.SDPBackend.MATH):
        expected = G.scaled_dot_product_attention(a, b, c, pt.from_numpy(mask))
    (g,) = rl.autograd.grad((y * y).sum(), q, create_graph=True)
    (other_g,) = pt.autograd.grad((expected * expected).sum(), a, create_graph=True)
    close(g, other_g, "float32")
    (g * g).sum().backward()
    (other_g * other_g).sum().backward()
    close(k.grad, b.grad, "float32")
