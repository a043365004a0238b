"""What a training step is made of on the device: linear layers, sums over rows, mixed operands, cross-entropy; against NumPy and the CPU."""

import numpy as np
import pytest

import rushlight as rl
from rushlight.kernels.cuda import columns, elementwise, linear
from tests.support import cuda_emulator, cuda_standin

TOLERANCE = {"float64": 1e-12, "float32": 1e-5, "float16": 4e-3, "bfloat16": 3e-2}


@pytest.fixture(autouse=True)
def cupy():
    with cuda_standin.cuda() as module:
        yield module


def values(*shape, seed=0, dtype="float32"):
    import ml_dtypes
    return np.random.default_rng(seed).normal(size=shape).astype(np.dtype(getattr(ml_dtypes, dtype, dtype)))


def close(a, b, dtype):
    np.testing.assert_allclose(np.asarray(a, np.float64), b, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("rows, inside, outside", [(5, 8, 16), (1, 8, 8), (3, 7, 5), (0, 4, 4), (4, 0, 4), (4, 4, 0)])
def test_linear(cupy, dtype, rows, inside, outside):
    """By cuBLASLt where everything lies on 16 bytes (new arrays do) and the dtype has an epilogue."""
    x, w, b = values(rows, inside, dtype=dtype), values(outside, inside, seed=1, dtype=dtype), values(outside, seed=2, dtype=dtype)
    expected = x.astype(np.float64) @ w.astype(np.float64).T + b.astype(np.float64)
    before = cuda_emulator.cublaslt.LAUNCHED
    close(linear.linear(cupy.asarray(x), cupy.asarray(w), cupy.asarray(b)).get(), expected, dtype)
    assert cuda_emulator.cublaslt.LAUNCHED - before <= (dtype != "float64" and expected.size > 0 and inside > 0)
    close(linear.linear(cupy.asarray(x), cupy.asarray(w), None).get(), expected - b.astype(np.float64), dtype)


def test_linear_where_cublaslt_declines(cupy, monkeypatch):
    x, w, b = cupy.asarray(values(4, 8)), cupy.asarray(values(16, 8, seed=1)), cupy.asarray(values(16, seed=2))
    expected = x.get() @ w.get().T + b.get()
    before = cuda_emulator.cublaslt.LAUNCHED
    np.testing.assert_allclose(linear.linear(x, w, b).get(), expected, rtol=1e-5)
    assert cuda_emulator.cublaslt.LAUNCHED == before + (not any(a.data.ptr & 15 for a in (x, w, b)))
    monkeypatch.setattr(cuda_emulator.cublaslt, "cublasLtMatmul", lambda *args: 15)
    np.testing.assert_allclose(linear.linear(x, w, b).get(), expected, rtol=1e-5)
    monkeypatch.setattr(cuda_emulator.cublaslt, "cublasLtMatmulAlgoGetHeuristic", lambda *args: 7)
    np.testing.assert_allclose(linear.linear(x[:3], w, b).get(), expected[:3], rtol=1e-5)
    slanted = cupy.asarray(values(8, 4)).T                                  # transposed in memory: not for this path
    np.testing.assert_allclose(linear.linear(slanted, w, b).get(), slanted.get() @ w.get().T + b.get(), rtol=1e-5)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("rows, n", [(1, 1), (3, 5), (200, 130), (1000, 8), (0, 4), (7, 256)])
def test_column_sums(cupy, dtype, rows, n):
    x = values(rows, n, dtype=dtype)
    ours = columns.column_sums(cupy.asarray(x))
    expected = x.astype(np.float64).sum(0)
    assert ours.dtype == x.dtype and ours.shape == (n,)
    np.testing.assert_allclose(ours.get().astype(np.float64), expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * 8)
    if rows > 3:
        np.testing.assert_allclose(columns.column_sums(cupy.asarray(x)[:, 1:][::2]).get().astype(np.float64), x.astype(np.float64)[::2, 1:].sum(0),
                                   rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * 8)


@pytest.mark.parametrize("shape", [(3, 8), (2, 3, 8), (8,)])
def test_the_layer(shape):
    results = []
    for device in ("cuda", "cpu"):
        x, w, b = (rl.tensor(values(*s, seed=i), device=device, requires_grad=True) for i, s in enumerate((shape, (6, 8), (6,))))
        y = rl.nn.functional.linear(x, w, b)
        (g,) = rl.autograd.grad((y * y).sum(), w, create_graph=True)
        (g * g).sum().backward()
        y = rl.nn.functional.linear(x, w, b)
        y.cos().sum().backward()
        results.append([each.detach().cpu().numpy() for each in (y, x.grad, w.grad, b.grad)] + [y.grad_fn.__class__.__name__])
    for a, b in zip(*results):
        if isinstance(a, str):
            assert a == b
        else:
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3)


@pytest.mark.standin
def test_a_leaf_takes_the_gradient_over_that_nobody_else_holds():
    w = rl.tensor(values(4, 8), device="cuda", requires_grad=True)
    x = rl.tensor(values(3, 8), device="cuda")
    out = rl.nn.functional.linear(x, w).sum()
    copies = []
    original = cuda_standin.ndarray.copy
    cuda_standin.ndarray.copy = lambda self, *args: (copies.append(self.shape), original(self, *args))[1]
    try:
        out.backward()
    finally:
        cuda_standin.ndarray.copy = original
    assert not copies and w.grad.is_contiguous()
    # One that is held elsewhere is copied: here the incoming gradient itself.
    v = rl.tensor(values(3), device="cuda", requires_grad=True)
    g = rl.ones(3, device="cuda")
    v.view(3).backward(g)
    g += 1
    assert v.grad.tolist() == [1, 1, 1]
    u = rl.tensor(values(3), device="cuda", requires_grad=True)
    (u + v).sum().backward()
    u.grad += 1
    assert v.grad.tolist() == [2, 2, 2] and u.grad.tolist() == [2, 2, 2]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_mixed_operands(cupy, dtype):
    """float32 beside 16 bits, in one kernel; the wider dtype comes out."""
    a, b = values(6, 8), values(6, 8, seed=1, dtype=dtype)
    add, less = elementwise.FORMULAS["add"], elementwise.FORMULAS["less"]
    x, y = cupy.asarray(a), cupy.asarray(b)
    wide = b.astype(np.float32)
    for ours, expected in ((add(x, y), a + wide), (add(y, x), wide + a), (add(x.T, y.T), (a + wide).T), (add(x, y[:, :1]), a + wide[:, :1]),
                           (add(x[1], y), a[1] + wide), (add(x[:, 1:], y[:, 1:]), a[:, 1:] + wide[:, 1:]), (less(x, y), a < wide)):
        assert ours.dtype == expected.dtype
        np.testing.assert_array_equal(ours.get(), expected)
    assert add(x.T, y.T).strides == x.T.strides
    before = dict(cuda_emulator.LAUNCHES)
    p, q = rl.tensor(a, device="cuda", requires_grad=True), rl.tensor(b.astype(np.float32), device="cuda").to(getattr(rl, dtype)).requires_grad_()
    r = p + q
    assert r.dtype is rl.float32 and sum(cuda_emulator.LAUNCHES.values()) == sum(before.values()) + 1
    r.sum().backward()
    assert p.grad.dtype is rl.float32 and q.grad.dtype is getattr(rl, dtype)
    assert add(x, cupy.asarray(a.astype(np.float64))) is NotImplemented


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("rows, classes, ignored", [(1, 3, -100), (70, 40, 2), (3, 5, 1), (2, 1, 0)])
def test_cross_entropy(dtype, rows, classes, ignored):
    """The mean, the gradient, also where rows, or all of them, don't count; with float32 results of 16-bit logits as under autocast."""
    targets = np.arange(rows) % classes
    x = values(rows, classes, dtype=dtype)
    results = []
    for device in ("cpu", "cuda"):
        logits = rl.tensor(x.astype(np.float64), device=device).to(rl.float64 if device == "cpu" else getattr(rl, dtype)).requires_grad_()
        t = rl.tensor(targets, device=device)
        loss = rl.nn.functional.cross_entropy(logits, t, ignore_index=ignored)
        loss.backward()
        results.append((loss.item(), logits.grad.cpu().double().numpy()))
        if device == "cuda" and dtype in ("float16", "bfloat16"):
            logits.grad = None
            with rl.autocast("cuda", dtype=getattr(rl, dtype)):
                wide = rl.nn.functional.cross_entropy(logits, t, ignore_index=ignored)
            assert wide.dtype is rl.float32
            np.testing.assert_allclose(wide.item(), results[0][0], rtol=2e-6)
            (g,) = rl.autograd.grad(wide, logits, create_graph=True)
            assert g.dtype is getattr(rl, dtype)
            wide.backward()
            np.testing.assert_array_equal(logits.grad.cpu().float().numpy(), results[1][1].astype(np.float32))
            close(g.detach().cpu().double().numpy(), results[0][1], dtype)
    np.testing.assert_allclose(results[1][0], results[0][0], rtol=TOLERANCE[dtype])
    close(results[1][1], results[0][1], dtype)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_halves_on_the_device(dtype):
    """Native products of halves are the CPU's; the device has its own."""
    x, w, b = (rl.tensor(values(*s, seed=i), device="cuda").to(getattr(rl, dtype)).requires_grad_() for i, s in enumerate(((20, 8), (6, 8), (6,))))
    rl.nn.functional.linear(x, w, b).sum().backward()
    close(b.grad.cpu().float().numpy(), np.full(6, 20.0), dtype)
    other = rl.addmm(b, x, w.t())
    close(other.detach().cpu().float().numpy(), (x.float() @ w.float().t() + b.float()).detach().cpu().numpy(), dtype)
    other.sum().backward()
    close(b.grad.cpu().float().numpy(), np.full(6, 40.0), dtype)
