"""Convolution on the device: the kernels' own source, run by the emulator, against PyTorch on the CPU in float64."""

import numpy as np
import pytest
import torch

import rushlight as rl
from rushlight.kernels.cuda import conv, implicit_gemm
from tests.support import cuda_standin

# Rounding of the factors (half a unit in the last place of 11 or 8 bits) times a few, relative to the sums of magnitudes.
TOLERANCE = {"float64": 1e-13, "float32": 2e-6, "tf32": 1.5e-3, "float16": 1.5e-3, "bfloat16": 1.2e-2}


@pytest.fixture(autouse=True)
def cupy():
    with cuda_standin.cuda() as module:
        conv._tables.cache_clear()
        yield module


@pytest.fixture
def small_processors(monkeypatch):
    """As if there were one multiprocessor: large tiles are chosen for small results."""
    monkeypatch.setattr(conv, "_processors", lambda module, device: 1)


def numbers(dtype, *shape, seed=0):
    import ml_dtypes
    return np.random.default_rng(seed).normal(size=shape).astype(np.dtype(getattr(ml_dtypes, dtype, dtype)))


def exactly(x, w, g, bias, arguments):
    """Result and gradients by PyTorch, and the sums of magnitudes that errors are measured by."""
    stride, padding, dilation, groups = arguments
    run = (torch.conv1d, torch.conv2d, torch.conv3d)[len(stride) - 1]
    x, w, g = (torch.tensor(each.astype(np.float64)) for each in (x, w, g))
    both = []
    for f in (torch.clone, torch.abs):
        a, b = f(x.detach()).requires_grad_(), f(w.detach()).requires_grad_()
        y = run(a, b, None if bias is None else f(torch.tensor(bias.astype(np.float64))), stride, padding, dilation, groups)
        y.backward(f(g))
        both.append([t.detach().numpy() for t in (y, a.grad, b.grad)])
    return both


def check(cupy, dtype, n, c, o, size, kernel, stride, padding, dilation, groups, bias=True, layout=None):
    monitored = "float32" if dtype == "tf32" else dtype
    x, w, b = numbers(monitored, n, c, *size), numbers(monitored, o, c // groups, *kernel, seed=1), numbers(monitored, o, seed=2) if bias else None
    out = conv._output(size, kernel, stride, padding, dilation)
    g = numbers(monitored, n, o, *out, seed=3)
    arguments = stride, padding, dilation, groups
    expected, magnitude = exactly(x, w, g, b, arguments)
    on_device = [cupy.asarray(each) for each in (x, w, g)]
    if layout == "last":
        on_device = [cupy.asarray(np.ascontiguousarray(np.moveaxis(each, 1, -1))).transpose(0, -1, *range(1, each.ndim - 1)) for each in (x, w, g)]
    elif layout == "step":
        on_device = [cupy.asarray(np.repeat(each, 2, -1))[..., ::2] for each in (x, w, g)]
    dx, dw, dg = on_device
    previous, rl.backends.cudnn.allow_tf32 = rl.backends.cudnn.allow_tf32, dtype == "tf32"
    try:
        y = conv.forward(dx, dw, *arguments, None if b is None else cupy.asarray(b))
        gx, gw = conv.gradients(dg, dx, dw, *arguments)
        alone = conv.input_gradient(dg, dw, size, *arguments), conv.weight_gradient(dx, dg, kernel, *arguments)
    finally:
        rl.backends.cudnn.allow_tf32 = previous
    for ours, wanted, scale, name in zip((y, gx, gw), expected, magnitude, ("result", "input gradient", "weight gradient")):
        assert ours.shape == wanted.shape and ours.dtype == x.dtype and ours.flags.c_contiguous
        error = np.abs(ours.get().astype(np.float64) - wanted)
        assert (error <= TOLERANCE[dtype] * scale).all(), f"{name}: {(error / np.maximum(scale, 1e-30)).max():.2e} of {TOLERANCE[dtype]:.1e}"
    for a, b in zip((gx, gw), alone):
        np.testing.assert_array_equal(a.get(), b.get())


SHAPES = {
    "1d": (2, 5, 7, (9,), (3,), (1,), (1,), (1,), 1),
    "1d strided": (1, 3, 4, (17,), (5,), (3,), (2,), (2,), 1),
    "3x3": (2, 9, 10, (6, 5), (3, 3), (1, 1), (1, 1), (1, 1), 1),
    "3x3 stride 2": (2, 4, 6, (7, 6), (3, 3), (2, 2), (1, 1), (1, 1), 1),
    "odd": (3, 3, 5, (7, 9), (3, 2), (2, 1), (1, 0), (1, 2), 1),
    "1x1 stride 2": (2, 6, 5, (5, 4), (1, 1), (2, 2), (0, 0), (1, 1), 1),
    "1x1": (2, 6, 5, (5, 4), (1, 1), (1, 1), (0, 0), (1, 1), 1),
    "one pixel": (2, 6, 5, (2, 2), (2, 2), (1, 1), (0, 0), (1, 1), 1),
    "groups": (2, 6, 9, (5, 4), (3, 3), (1, 2), (1, 1), (1, 1), 3),
    "groups of 1x1": (2, 4, 4, (5, 4), (1, 1), (1, 1), (0, 0), (1, 1), 2),
    "stride above kernel": (1, 3, 4, (9, 8), (2, 2), (3, 4), (0, 1), (1, 1), 1),
    "dilated and strided": (1, 2, 3, (11, 12), (3, 3), (2, 4), (3, 2), (3, 2), 1),
    "3d": (1, 3, 4, (4, 5, 4), (2, 3, 2), (1, 2, 1), (1, 1, 0), (1, 1, 2), 1),
    "padding beyond the kernel": (1, 2, 2, (3, 3), (2, 2), (1, 1), (4, 3), (1, 1), 1),
}


@pytest.mark.parametrize("dtype", ["float32", "tf32", "float16", "bfloat16", "float64"])
@pytest.mark.parametrize("name", SHAPES)
def test_shapes(cupy, dtype, name):
    check(cupy, dtype, *SHAPES[name])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
@pytest.mark.parametrize("shape", [(2, 4, 4, (6, 5), (3, 3), (1, 1), (1, 1), (1, 1), 4), (2, 3, 6, (7, 6), (3, 3), (2, 2), (1, 1), (1, 1), 3),
                                   (1, 2, 4, (5, 6, 4), (2, 3, 4), (1, 2, 1), (0, 1, 2), (1, 1, 1), 2), (3, 2, 2, (20,), (5,), (1,), (4,), (2,), 2)])
def test_depthwise(cupy, dtype, shape):
    check(cupy, dtype, *shape)


@pytest.mark.parametrize("method", ["float32", "tf32", "bfloat16"])
@pytest.mark.parametrize("o", [40, 70])
def test_large_tiles(cupy, small_processors, method, o):
    """More rows and columns than one tile holds, several steps of the sum, of every size of tile."""
    check(cupy, method, 2, 20, o, (12, 12), (2, 3), (1, 1), (1, 1), (1, 1), 1, bias=o == 40)


def test_every_tile_is_chosen_somewhere():
    for method, tiles in implicit_gemm.TILES.items():
        found = {conv._tile(method, "float32" if method != "half" else "float16", rows, columns, 1, 2) for rows in (16, 64, 256) for columns in (64, 512)}
        assert found == set(tiles)
    assert conv._tile("plain", "float64", 256, 4096, 1, 1) is implicit_gemm.TILES["plain"][-1]


@pytest.mark.parametrize("method", ["tf32", "float16"])
def test_slices_of_the_weight_gradient(cupy, method):
    """Enough positions for several slices; the same bits in every run."""
    check(cupy, method, 2, 3, 4, (26, 25), (3, 3), (1, 1), (1, 1), (1, 1), 1)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("layout", ["last", "step"])
def test_layouts(cupy, dtype, layout):
    check(cupy, dtype, 2, 16, 8, (5, 4), (3, 3), (1, 1), (1, 1), (1, 1), 2, layout=layout)


def test_channels_last_is_not_copied(cupy):
    x = cupy.zeros((2, 3, 3, 16), np.float16).transpose(0, 3, 1, 2)
    assert conv._packed(x, 1, "half") is x and conv._packed(x, 2, "half") is x and conv._packed(x, 4, "half") is not x
    assert conv._packed(x.astype(np.float32), 1, "tf32") is not x


@pytest.mark.parametrize("n, c, o", [(0, 3, 4), (2, 3, 0), (2, 0, 4)])
def test_empty(cupy, n, c, o):
    x, w, bias = (cupy.asarray(numbers("float32", *shape)) for shape in ((n, c, 5, 4), (o, c, 3, 3), (o,)))
    y = conv.forward(x, w, (1, 1), (1, 1), (1, 1), 1, bias)
    assert y.shape == (n, o, 5, 4)
    np.testing.assert_array_equal(y.get(), np.broadcast_to(bias.get()[:, None, None], y.shape))
    gx, gw = conv.gradients(y, x, w, (1, 1), (1, 1), (1, 1), 1)
    assert gx.shape == x.shape and gw.shape == w.shape and not gx.get().any() and not gw.get().any()


def test_divisors():
    n = np.concatenate([np.arange(3000), (1 << 31) - 1 - np.arange(3000), np.random.default_rng(0).integers(0, 1 << 31, 3000)]).astype(np.uint64)
    for d in [*range(1, 300), 3136, 50176, 65535, 65536, 65537, (1 << 31) - 1]:
        multiplier, shift = conv._divisor(d)
        assert multiplier < 1 << 32
        np.testing.assert_array_equal((((n * np.uint64(multiplier)) >> np.uint64(32)) + n) >> np.uint64(shift), n // np.uint64(d))


def test_too_many_positions(cupy):
    with pytest.raises(NotImplementedError, match="split the batch"):
        conv._tables(cupy, 0, conv._geometry((1 << 20, 1, 50, 50), (3, 3), (1, 1), (1, 1), (1, 1), (50, 50)), False)


def test_old_gpus_compute_without_tensor_cores(cupy, monkeypatch):
    monkeypatch.setattr(conv, "available", lambda: False)
    for dtype in ("float16", "bfloat16", "float32"):
        check(cupy, dtype, *SHAPES["3x3 stride 2"])


def test_tf32_follows_the_setting(cupy):
    assert rl.backends.cudnn.allow_tf32 and conv._method("float32") == "tf32" and conv._method("float64") == "plain"
    with rl.backends.cudnn.flags(allow_tf32=False):
        assert conv._method("float32") == "plain" and conv._method("bfloat16") == "half"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_layers_train(cupy, dtype):
    """Modules and gradients through the public functions, transposed convolution and double backward among them."""
    with rl.backends.cudnn.flags(allow_tf32=False):
        results = []
        for T, device in ((rl, "cuda"), (torch, "cpu")):
            kind = getattr(T, dtype)
            x, w, b, v = (T.tensor(numbers("float32", *shape, seed=i)).to(device, kind).requires_grad_()
                          for i, shape in enumerate(((2, 4, 5, 5), (6, 4, 3, 3), (6,), (6, 3, 2, 2))))
            y = T.nn.functional.conv_transpose2d(T.conv2d(x, w, b, stride=2, padding=1), v, stride=2)
            gx, = T.autograd.grad((y * y).sum(), x, create_graph=True)
            (y.sum() + (gx * gx).sum()).backward()
            results.append([t.detach().to("cpu", T.float32).numpy() for t in (y, gx, x.grad, w.grad, b.grad, v.grad)])
    for ours, wanted in zip(*results):
        np.testing.assert_allclose(ours, wanted, rtol=1e-4 if dtype == "float32" else 5e-2, atol=(1e-5 if dtype == "float32" else 5e-2) * np.abs(wanted).max())
