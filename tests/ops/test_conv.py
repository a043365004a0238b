"""Convolutions, pooling, padding, resizing and sampling, compared with torch: values, gradients, second gradients, errors."""

import pytest
import torch as pt
import torch.nn.functional as PF

import rushlight as rl
from tests.support.common import assert_same, assert_same_behaviour, both


def leaf(*shape):
    return pt.randn(shape, dtype=pt.float64, requires_grad=True)


def functional(m):
    return PF if m is pt else rl.nn.functional


def run(call):
    def both_sides(m, *inputs):
        y = call(functional(m), *inputs)
        y, extra = y if isinstance(y, tuple) else (y, None)
        first = m.autograd.grad((y * y.detach().cos()).sum(), inputs, create_graph=True, allow_unused=True)
        squares = [(g * g).sum() for g in first if g is not None and g.requires_grad]
        second = m.autograd.grad(sum(squares), inputs, allow_unused=True, materialize_grads=True) if squares else \
            tuple(m.zeros_like(t) for t in inputs)
        return y, extra, [m.zeros_like(t) if g is None else g.detach() for g, t in zip(first, inputs)], second
    return both_sides


CONV = {
    "plain": {}, "stride": {"stride": 2}, "padding": {"padding": 1}, "uneven": {"padding": (1, 2), "stride": (2, 1)}, "dilation": {"dilation": 2},
    "same": {"padding": "same"}, "same dilated": {"padding": "same", "dilation": (2, 1)}, "valid": {"padding": "valid"},
}


@pytest.mark.parametrize("name", CONV)
def test_conv2d(name):
    pt.manual_seed(0)
    assert_same_behaviour(run(lambda F, x, w, b: F.conv2d(x, w, b, **CONV[name])), leaf(2, 4, 7, 6), leaf(6, 4, 3, 2), leaf(6))


@pytest.mark.parametrize("call, shapes", [
    (lambda F, x, w: F.conv2d(x, w, None, 1, 1, 1, 2), ((2, 4, 5, 5), (8, 2, 3, 3))),
    (lambda F, x, w: F.conv2d(x, w, None, 1, 1, 1, 4), ((2, 4, 5, 5), (8, 1, 3, 3))),
    (lambda F, x, w: F.conv2d(x, w, None, 2, 1, 1, 4), ((2, 4, 5, 5), (4, 1, 3, 3))),
    (lambda F, x, w, b: F.conv2d(x, w, b), ((2, 4, 5, 5), (3, 4, 1, 1), (3,))),
    (lambda F, x, w, b: F.conv2d(x, w, b, 2), ((2, 4, 5, 5), (3, 4, 1, 1), (3,))),
    (lambda F, x, w, b: F.conv2d(x, w, b, 1, 1), ((4, 12, 12), (3, 4, 3, 3), (3,))),
    (lambda F, x, w, b: F.conv1d(x, w, b, 2, 1), ((2, 4, 9), (3, 4, 3), (3,))),
    (lambda F, x, w, b: F.conv1d(x, w, b, 2, 1), ((4, 9), (3, 4, 3), (3,))),
    (lambda F, x, w, b: F.conv3d(x, w, b, (1, 2, 1), 1), ((2, 2, 4, 5, 4), (3, 2, 3, 2, 3), (3,))),
    (lambda F, x, w, b: F.conv_transpose2d(x, w, b), ((2, 4, 4, 5), (4, 3, 3, 2), (3,))),
    (lambda F, x, w, b: F.conv_transpose2d(x, w, b, 2, 1, 1), ((2, 4, 4, 5), (4, 3, 3, 2), (3,))),
    (lambda F, x, w, b: F.conv_transpose2d(x, w, b, 3, 1, 0, 1, 2), ((2, 4, 4, 5), (4, 3, 3, 2), (3,))),
    (lambda F, x, w, b: F.conv_transpose2d(x, w, b, 2, groups=2), ((2, 4, 4, 5), (4, 3, 3, 2), (6,))),
    (lambda F, x, w: F.conv_transpose1d(x, w, None, 2), ((2, 4, 5), (4, 3, 3))),
    (lambda F, x, w: F.conv_transpose3d(x, w, None, 2), ((1, 2, 3, 3, 2), (2, 3, 2, 2, 2))),
    (lambda F, x: F.unfold(x, (2, 3), 1, 1, 2), ((2, 3, 5, 6),)),
    (lambda F, x: F.fold(x, (4, 5), (2, 2)), ((2, 12, 12),)),
    (lambda F, x: F.pixel_shuffle(x, 2), ((2, 8, 3, 3),)),
    (lambda F, x: F.pixel_unshuffle(x, 2), ((2, 2, 4, 6),)),
    (lambda F, x: F.pad(x, (-1, 2, 1, -2), value=3.0), ((2, 3, 4, 5),)),
    (lambda F, x: F.affine_grid(x, (2, 3, 4, 5), True), ((2, 2, 3),)),
    (lambda F, x: F.affine_grid(x, (2, 3, 4, 5), False), ((2, 2, 3),)),
])
def test_others(call, shapes):
    pt.manual_seed(0)
    assert_same_behaviour(run(call), *[leaf(*shape) for shape in shapes])


POOL = [{"kernel_size": 2}, {"kernel_size": 3, "stride": 2, "padding": 1}, {"kernel_size": 3, "stride": 2, "ceil_mode": True},
        {"kernel_size": 2, "stride": 1, "ceil_mode": True}]


@pytest.mark.parametrize("options", POOL)
@pytest.mark.parametrize("n, shape", [(1, (2, 3, 9)), (2, (2, 3, 7, 8)), (3, (1, 2, 5, 4, 6)), (2, (3, 7, 8))])
def test_pooling(n, shape, options):
    pt.manual_seed(0)
    for call in (lambda F, x: getattr(F, f"max_pool{n}d")(x, **options), lambda F, x: getattr(F, f"max_pool{n}d")(x, return_indices=True, **options),
                 lambda F, x: getattr(F, f"avg_pool{n}d")(x, **options),
                 lambda F, x: getattr(F, f"avg_pool{n}d")(x, count_include_pad=False, **options)):
        assert_same_behaviour(run(call), leaf(*shape))


@pytest.mark.parametrize("n, shape", [(1, (2, 3, 9)), (2, (2, 3, 7, 8)), (3, (1, 2, 5, 4, 6))])
def test_adaptive_pooling(n, shape):
    pt.manual_seed(0)
    for size in (1, 2, 3):
        assert_same_behaviour(run(lambda F, x: getattr(F, f"adaptive_avg_pool{n}d")(x, size)), leaf(*shape))
        assert_same_behaviour(run(lambda F, x: getattr(F, f"adaptive_max_pool{n}d")(x, size, return_indices=True)), leaf(*shape))


def test_more_pooling():
    pt.manual_seed(0)
    for call in (lambda F, x: F.max_pool2d(x, 2, 1, 0, 2), lambda F, x: F.avg_pool2d(x, 2, divisor_override=3),
                 lambda F, x: F.lp_pool2d(x * x + 0.1, 2, 2), lambda F, x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2)):
        assert_same_behaviour(run(call), leaf(2, 3, 6, 8))
    ties = pt.tensor([[[1.0, 1, 2, 2], [1, 1, float("nan"), 2]]], requires_grad=True)
    assert_same_behaviour(lambda m, x: (lambda y: (y, m.autograd.grad(y.sum(), x)))(functional(m).max_pool2d(x, 2)), ties)


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
def test_pad(mode):
    assert_same_behaviour(run(lambda F, x: F.pad(x, (1, 2, 2, 1), mode)), leaf(2, 3, 4, 5))


@pytest.mark.parametrize("mode, shape, align", [("nearest", (2, 2, 5, 4), None), ("nearest-exact", (2, 2, 5, 4), None), ("area", (2, 2, 6, 4), None),
                                                ("bilinear", (2, 2, 5, 4), False), ("bilinear", (2, 2, 5, 4), True), ("bicubic", (2, 2, 5, 4), False),
                                                ("bicubic", (2, 2, 5, 4), True), ("linear", (2, 2, 5), False), ("trilinear", (1, 2, 3, 4, 2), True)])
def test_interpolate(mode, shape, align):
    for options in ({"scale_factor": 2}, {"scale_factor": 1.7}, {"scale_factor": 0.6}, {"size": 3}):
        assert_same_behaviour(run(lambda F, x: F.interpolate(x, mode=mode, align_corners=align, **options)), leaf(*shape))


@pytest.mark.parametrize("align", [True, False])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_grid_sample(mode, padding, align):
    pt.manual_seed(0)
    x, grid = leaf(2, 3, 4, 5), leaf(2, 3, 3, 2)

    def call(m, x, grid):
        y = functional(m).grid_sample(x, grid, mode, padding, align)
        return y, m.autograd.grad((y * y).sum(), (x, grid), allow_unused=True, materialize_grads=True)
    assert_same_behaviour(call, x, grid)


@pytest.mark.parametrize("call", [
    lambda F, x, w: F.conv2d(x, w[:, :2]), lambda F, x, w: F.conv2d(x[0, 0], w), lambda F, x, w: F.conv2d(x, w, stride=0),
    lambda F, x, w: F.conv2d(x, w, padding="wrong"), lambda F, x, w: F.conv2d(x, w, padding="same", stride=2), lambda F, x, w: F.conv2d(x, w.double()),
    lambda F, x, w: F.conv2d(x, w, padding=-1), lambda F, x, w: F.conv2d(x[..., :1], w), lambda F, x, w: F.conv2d(x, w, w[0]),
    lambda F, x, w: F.conv2d(x, w, groups=3), lambda F, x, w: F.max_pool2d(x, 9), lambda F, x, w: F.max_pool2d(x, 2, 0),
    lambda F, x, w: F.max_pool2d(x, 2, padding=2), lambda F, x, w: F.avg_pool2d(x, 2, padding=2), lambda F, x, w: F.avg_pool2d(x, 2, divisor_override=0),
    lambda F, x, w: F.interpolate(x), lambda F, x, w: F.interpolate(x, 2, 2), lambda F, x, w: F.interpolate(x, 2, mode="linear"),
    lambda F, x, w: F.interpolate(x, 2, mode="nearest", align_corners=True), lambda F, x, w: F.pad(x, (1,)), lambda F, x, w: F.pad(x, (9, 9), "reflect"),
    lambda F, x, w: F.pad(x, (1, 1), "what"), lambda F, x, w: F.pixel_shuffle(x, 3), lambda F, x, w: F.fold(x[0], (3, 3), 2),
    lambda F, x, w: F.conv_transpose2d(x, w), lambda F, x, w: F.grid_sample(x, x), lambda F, x, w: F.conv2d(3, w),
])
def test_errors(call):
    ours, theirs = both(lambda m, x, w: call(functional(m), x, w), pt.randn(2, 4, 5, 6), pt.randn(6, 4, 3, 3))
    assert isinstance(theirs, Exception), theirs
    assert isinstance(ours, type(theirs)), f"{ours!r} instead of {theirs!r}"


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_dtypes(dtype):
    d = getattr(pt, dtype)
    x, w = pt.randn(2, 4, 6, 6).to(d), pt.randn(3, 4, 3, 3).to(d)
    tolerance = {"float32": 1e-5, "float16": 1e-2, "bfloat16": 1e-1}[dtype]
    for call in (lambda F, x, w: F.conv2d(x, w), lambda F, x, w: F.avg_pool2d(x, 2), lambda F, x, w: F.max_pool2d(x, 2)):
        ours, theirs = both(lambda m, x, w: call(functional(m), x, w), x, w)
        assert_same(ours, theirs, rtol=tolerance, atol=tolerance)


LAST = {"whole": lambda m, t: t, "a part": lambda m, t: t[:, :, 2:-2, 1:-1], "every other": lambda m, t: t[:, :, ::2, ::2],
        "one image, indexed": lambda m, t: t[:1].contiguous(memory_format=m.channels_last)[0][None],
        "one image's part": lambda m, t: t[:1, :, 2:-2, 2:-2], "plain": lambda m, t: t.contiguous()[:, :, ::2]}
OVER_IMAGES = {
    "bilinear": lambda m, t: m.nn.functional.interpolate(t, size=(5, 6), mode="bilinear"),
    "bicubic": lambda m, t: m.nn.functional.interpolate(t, size=(5, 6), mode="bicubic", antialias=True),
    "nearest": lambda m, t: m.nn.functional.interpolate(t, size=(5, 6)),
    "max_pool": lambda m, t: m.nn.functional.max_pool2d(t.float(), 2, 1, 1),
    "avg_pool": lambda m, t: m.nn.functional.avg_pool2d(t.float(), 2),
    "adaptive_avg": lambda m, t: m.nn.functional.adaptive_avg_pool2d(t.float(), (3, 2)),
    "adaptive_max": lambda m, t: m.nn.functional.adaptive_max_pool2d(t.float(), (5, 2), return_indices=True)[1],
    "conv": lambda m, t: m.nn.functional.conv2d(t.float(), m.ones(2, 3, 3, 3)),
    "pad": lambda m, t: m.nn.functional.pad(t.float(), (1, 1, 1, 1), "reflect"),
}


@pytest.mark.cpu_only          # the kernels of a GPU have layouts of their own
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@pytest.mark.parametrize("images", LAST)
@pytest.mark.parametrize("op", OVER_IMAGES)
def test_channels_stay_where_they_are_in_memory(op, images, dtype):
    found = []
    for m in (pt, rl):
        t = (m.arange(2 * 3 * 16 * 16).reshape(2, 3, 16, 16) * 7 % 251).to(getattr(m, dtype)).contiguous(memory_format=m.channels_last)
        y = OVER_IMAGES[op](m, LAST[images](m, t))
        found.append((tuple(y.shape), y.stride()))
    assert found[1] == found[0]
