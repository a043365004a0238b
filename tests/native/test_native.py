"""The native library against NumPy: every kernel, both ways round. Without the library there is nothing to compare."""

import subprocess
import sys

import numpy as np
import pytest
import torch

import rushlight
from rushlight.kernels import native
from rushlight.kernels.columns import column_sums
from rushlight.kernels.linear import linear

needs_library = pytest.mark.skipif(native.library is None, reason=f"no native library ({native.why_not})")
SHAPES = [(), (0,), (1,), (7,), (64,), (3, 5), (4, 1, 6), (70001,), (300, 301)]


@needs_library
@pytest.mark.parametrize("dtype", ["f4", "f8", "i8", "f2"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", ["add", "subtract", "multiply", "divide"])
def test_binary(name, shape, dtype):
    rng = np.random.default_rng(0)
    ufunc = getattr(np, name)
    kernel = native.elementwise(ufunc)
    a = np.asarray(rng.integers(1, 50, shape), dtype)
    b = np.asarray(rng.integers(1, 50, shape), dtype)
    number = np.asarray(3, dtype)
    pairs = [(a, b), (a, number), (number, b), (a.T, b.T), (a[..., None], b[..., None])]
    if a.ndim and a.size:
        pairs += [(a[::2], b[::2]), (a, b[:1]), (a[::-1], b)]
    for x, y in pairs:
        got, want = np.asarray(kernel(x, y)), np.asarray(ufunc(x, y))
        assert got.dtype == want.dtype and got.shape == want.shape
        np.testing.assert_array_equal(got, want)


@needs_library
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("a, b", [((3, 4), (4, 5)), ((1, 4), (4, 1)), ((129, 65), (65, 200)), ((700, 30), (30, 20)), ((2, 3, 4), (4, 5)),
                                  ((2, 3, 4), (2, 4, 5)), ((5, 1, 3, 4), (6, 4, 2)), ((0, 4), (4, 5)), ((3, 0), (0, 5)), ((4,), (4, 5)),
                                  ((16, 4, 40, 32), (16, 4, 32, 40))], ids=str)
def test_matmul(a, b, dtype):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal(a).astype(dtype), rng.standard_normal(b).astype(dtype)
    tolerance = 1e-4 if dtype == "f4" else 1e-12
    swap = (lambda t: np.ascontiguousarray(t.swapaxes(-1, -2)).swapaxes(-1, -2) if t.ndim > 1 else t)
    wide = np.zeros((*y.shape[:-1], y.shape[-1] * 2), dtype)
    wide[..., ::2] = y
    for left, right in [(x, y), (swap(x), y), (x, swap(y)), (swap(x), swap(y)), (x, wide[..., ::2]), (x[::-1], y)]:
        np.testing.assert_allclose(native.matmul(left, right), np.matmul(left, right), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("n, inside, outside", [(1, 3, 2), (32, 64, 64), (200, 300, 100), (0, 3, 2), (3, 0, 2), (5, 4, 0)])
def test_linear(n, inside, outside, dtype):
    rng = np.random.default_rng(0)
    x, w, b = (rng.standard_normal(s).astype(dtype) for s in ((n, inside), (outside, inside), (outside,)))
    tolerance = 1e-4 if dtype == "f4" else 1e-12
    for left, right, bias in ((x, w, b), (np.asfortranarray(x), np.asfortranarray(w), b), (x[::-1], w, np.repeat(b, 2)[::2])):
        got = linear(left, right, bias)
        assert got.dtype == dtype
        np.testing.assert_allclose(got, left @ right.T + bias, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("n", [0, 1, 16, 17, 300])
def test_column_sums(n, dtype):
    rows = np.random.default_rng(0).standard_normal((n, 5)).astype(dtype)
    got = column_sums(rows)
    assert got.dtype == dtype
    np.testing.assert_allclose(got, rows.astype("f8").sum(0), rtol=2e-3 if dtype == "f2" else 1e-4, atol=2e-2 if dtype == "f2" else 1e-5)


@needs_library
def test_matmul_refuses_what_numpy_refuses():
    with pytest.raises(ValueError):
        native.matmul(np.ones((2, 3)), np.ones((2, 3)))


@needs_library
def test_allocator_reuses_and_forgets_memory():
    library = native.library
    library.empty_cache()
    for _ in range(3):
        block = np.empty(3_000_000, "u1")
        del block
    before = library.memory_stats()
    assert before["cached_bytes"] >= 3_000_000
    np.empty(3_000_000, "u1")
    assert library.memory_stats()["hits"] > before["hits"]
    assert not np.zeros(3_000_000, "u1").any()
    library.empty_cache()
    assert library.memory_stats()["cached_bytes"] == 0
    limit = library.memory_stats()["limit_bytes"]
    library.set_cache_limit(1_000_000)
    try:
        np.empty(3_000_000, "u1")
        assert library.memory_stats()["cached_bytes"] <= 1_000_000
    finally:
        library.set_cache_limit(limit)
    grown = np.arange(100_000)
    grown.resize(200_000, refcheck=False)
    assert grown[99_999] == 99_999 and not grown[100_000:].any()


@needs_library
def test_memory_statistics():
    import rushlight as torch
    torch.cpu.empty_cache()
    torch.cpu.reset_peak_memory_stats()
    before = torch.cpu.memory_allocated()
    block = torch.empty(1_000_000)
    assert before + 4_000_000 <= torch.cpu.memory_allocated() <= torch.cpu.max_memory_allocated() <= before + 4_600_000
    del block
    assert torch.cpu.memory_allocated() == before and torch.cpu.memory_reserved() >= before + 4_000_000
    torch.cpu.empty_cache()
    assert torch.cpu.memory_stats()["cached_bytes"] == 0
    with pytest.raises(ValueError):
        torch.cpu.set_cache_limit(-1)


def test_switched_off():
    code = "from rushlight.kernels import native; import rushlight as t; assert native.library is None; print((t.ones(3) + 1).tolist(), native.describe())"
    done = subprocess.run([sys.executable, "-c", code], env={**__import__("os").environ, "RUSHLIGHT_NATIVE": "0"}, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("[2.0, 2.0, 2.0] none (switched off")


@needs_library
def test_ops_look_like_functions():
    import copy
    import pickle

    import rushlight as torch
    assert torch.exp.__name__ == "exp" and torch.exp.__doc__ and callable(torch.exp.__wrapped__)
    assert copy.deepcopy(torch.exp) is torch.exp
    assert torch.Tensor.exp(torch.zeros(2)).tolist() == [1.0, 1.0] and torch.zeros(2).exp.__self__.shape == (2,)
    assert pickle.loads(pickle.dumps(torch.ones(2))).tolist() == [1.0, 1.0]


@needs_library
def test_fast_path_agrees_with_its_closure():
    """The same graph, saved values, versions and errors through the C++ fast path and through the Python closure."""
    import rushlight as torch
    a = torch.rand(3, 4, requires_grad=True)
    row = torch.rand(4, requires_grad=True)
    for op in (torch.mul, torch.true_divide, torch.Tensor.__add__, torch.fmod):
        for x, y in ((a, a), (a, row), (row, a), (a.detach(), row), (a, 2.0), (a, torch.tensor(2.0))):
            got, want = op(x, y), op.__wrapped__(x, y)
            assert got.tolist() == want.tolist() and type(got._node) is type(want._node)
            assert got._node.fix == want._node.fix and got._node.version == want._node.version and got._node.next == want._node.next
            assert [s is t for s, t in zip(got._node.saved, want._node.saved, strict=True)].count(False) == 0
    for op in (torch.exp, torch.sin, torch.neg):
        got, want = op(a), op.__wrapped__(a)
        assert type(got._node) is type(want._node) and got._node.next == want._node.next
    y = a.exp()
    z = y * 2
    y.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()
    with pytest.raises(RuntimeError, match="must match the size"):
        a + torch.rand(3)


GRAPHS = {
    "chain": lambda t, x, w: ((x * w + x).tanh() - w).sum(),
    "broadcast": lambda t, x, w: ((x + w[0]) * 2 / (w + 3)).mean(),
    "several outputs": lambda t, x, w: sum((part * (i + 1.0)).sum() for i, part in enumerate((x * w).split(1))),
    "max with indices": lambda t, x, w: (x * w).max(1).values.sum() + x.max(),
    "views and in-place": lambda t, x, w: (lambda y: (y[1:].mul_(2), y.sum())[1])(x * w),
    "a leaf twice": lambda t, x, w: (x * x).sum() + x.sum(),
    "matmul": lambda t, x, w: (x @ w.t()).relu().sum(),
    "large": lambda t, x, w: (x.repeat(300, 30) * 2 + x.repeat(300, 30)).square().sum(),
}


@needs_library
@pytest.mark.parametrize("name", GRAPHS)
def test_native_backward_agrees_with_the_engine(name, monkeypatch):
    """The same gradients through native/backward.cpp and through autograd/engine.py, the first time and added up, kept and freed."""
    import rushlight as torch
    from rushlight.autograd import engine
    found = []
    for by_native in (True, False):
        if not by_native:
            monkeypatch.setattr(engine, "_native_backward", lambda roots, retain: False)
        torch.manual_seed(0)
        x, w = torch.randn(3, 4, requires_grad=True), torch.randn(3, 4, requires_grad=True)
        for _ in range(2):
            loss = GRAPHS[name](torch, x, w)
            loss.backward(retain_graph=True)
            loss.backward()
            with pytest.raises(RuntimeError, match="second time"):
                loss.backward()
        found.append((x.grad, w.grad, x.grad._version))
    assert torch.equal(found[0][0], found[1][0]) and found[0][2] == found[1][2]
    assert (found[0][1] is None and found[1][1] is None) or torch.equal(found[0][1], found[1][1])


@needs_library
def test_native_backward_leaves_the_unusual_to_the_engine():
    import rushlight as torch
    x = torch.randn(3, requires_grad=True)
    seen = []
    x.register_hook(lambda g: seen.append(g.tolist()))
    y = x * 2
    y.retain_grad()
    y.sum().backward()
    assert seen == [[2.0, 2.0, 2.0]] and y.grad.tolist() == [1.0, 1.0, 1.0]
    y = torch.ones(3, requires_grad=True)
    gradient = torch.ones(3)
    (y + 0).backward(gradient)
    y.grad.add_(1)
    assert gradient.tolist() == [1.0, 1.0, 1.0]


def _linear_case(t, shape, out, bias, turned, frozen):
    """F.linear with a gradient through it, on either side; the arrays are the same."""
    rng = np.random.default_rng(3)
    x = t.tensor(rng.standard_normal(shape).astype("f4"), requires_grad=frozen != "x")
    w = t.tensor(rng.standard_normal((shape[-1], out) if turned else (out, shape[-1])).astype("f4"), requires_grad=frozen != "w")
    b = t.tensor(rng.standard_normal(out).astype("f4"), requires_grad=frozen != "b") if bias else None
    y = t.nn.functional.linear(x * 1, w.t() if turned else w, b)
    y.square().sum().backward()
    return type(y.grad_fn).__name__, [y.detach(), x.grad, w.grad, None if b is None else b.grad]


@pytest.mark.parametrize("shape", [(3, 4), (1, 1), (200, 30), (2, 3, 4), (2, 1, 3, 5), (0, 4), (4,)], ids=str)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("frozen", ["", "x", "w", "b"])
@pytest.mark.parametrize("turned", [False, True])
def test_linear_with_its_gradients(shape, bias, frozen, turned):
    name, ours = _linear_case(rushlight, shape, 7, bias, turned, frozen)
    want_name, theirs = _linear_case(torch, shape, 7, bias, turned, frozen)
    assert name == want_name or len(shape) != 2
    for a, b in zip(ours, theirs, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert tuple(a.shape) == tuple(b.shape)
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=2e-4, atol=2e-4)


def test_linear_keeps_the_graphs_promises():
    layer = rushlight.nn.Linear(4, 3)
    x = rushlight.randn(5, 4, requires_grad=True)
    y = layer(x)
    assert type(y) is rushlight.Tensor
    with rushlight.no_grad():
        layer.weight.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
    y = layer(x)
    y.sum().backward()
    with pytest.raises(RuntimeError, match="second time"):
        y.sum().backward()
    (first,) = rushlight.autograd.grad(layer(x).pow(2).sum(), x, create_graph=True)
    (second,) = rushlight.autograd.grad(first.sum(), layer.weight)
    assert second.abs().sum() > 0
    seen = []
    y = layer(x)
    y.grad_fn.register_hook(lambda inputs, outputs: seen.append([each is not None for each in inputs]))
    y.sum().backward()
    assert seen == [[True, True, True]]


@needs_library
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("k, n", [(1, 1), (7, 300), (300, 7), (513, 1030), (64, 5000)])
def test_one_row(k, n, dtype):
    rng = np.random.default_rng(0)
    x, m = rng.standard_normal((3, 1, k)).astype(dtype), rng.standard_normal((3, k, n)).astype(dtype)
    tolerance = 1e-4 if dtype == "f4" else 1e-11
    turned = np.ascontiguousarray(m.swapaxes(1, 2)).swapaxes(1, 2)
    for left, right in ((x, m), (x, turned), (x[0], m[0]), (x[0], turned[0]), (x, m[:1]), (x[:1], m), (x[:, :, ::-1], m), (x, m[:, ::-1])):
        np.testing.assert_allclose(native.matmul(left, right), np.matmul(left, right), rtol=tolerance, atol=tolerance)
    bias = rng.standard_normal(n).astype(dtype)
    np.testing.assert_allclose(linear(x[0], turned[0].T, bias), x[0] @ m[0] + bias, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"])
def test_products_of_integers_wrap_around(dtype):
    rng = np.random.default_rng(0)
    for left, right in (((3, 4), (4, 5)), ((1, 7), (7, 1)), ((2, 3, 4), (4, 5)), ((2, 1, 3, 4), (5, 4, 2)), ((33, 65), (65, 17)), ((0, 3), (3, 2))):
        a, b = (rng.integers(-2 ** 62, 2 ** 62, shape).astype(dtype) for shape in (left, right))
        for x, y in ((a, b), (np.asfortranarray(a), np.asfortranarray(b)), (a[..., ::-1], b[..., ::-1, :]), (a[..., :1, :], b[..., :1])):
            np.testing.assert_array_equal(native.matmul(x, y), np.matmul(x, y))
