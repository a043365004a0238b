"""The native lattices of connectionist temporal classification against the twin, and against PyTorch."""

import numpy as np
import pytest
import torch as pt

import rushlight as rl
from rushlight.kernels import ctc as kernels
from rushlight.kernels import native
from tests.support.common import assert_same_behaviour

native_only = pytest.mark.skipif(native.library is None, reason=f"no native library ({native.why_not})")


def drawn(steps, n, classes, most, dtype, sharp):
    rng = np.random.default_rng(steps + classes)
    x = rng.standard_normal((steps, n, classes)) * sharp
    logs = (x - np.logaddexp.reduce(x, 2, keepdims=True)).astype(dtype)
    counts = rng.integers(0, most + 1, n)
    return logs, rng.integers(1, classes, counts.sum()), rng.integers(0, steps + 1, n), counts


@native_only
@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("sharp", [1.0, 300.0])
@pytest.mark.parametrize("sizes", [(1, 1, 2, 1), (12, 9, 3, 4), (40, 5, 30, 12), (7, 3, 5, 0)], ids=str)
def test_as_the_twin(sizes, sharp, dtype):
    logs, labels, steps, counts = drawn(*sizes, dtype, sharp)
    for blank in (0, logs.shape[2] - 1):
        got, want = (each(logs, labels, steps, counts, blank, True) for each in (kernels.ctc, kernels.ctc.fallback))
        tolerance = {"rtol": 1e-5, "atol": 2e-6} if dtype == "f4" else {"rtol": 1e-11, "atol": 1e-11}
        for ours, twin in zip(got, want, strict=True):
            assert ours.dtype == twin.dtype
            np.testing.assert_allclose(ours, twin, **tolerance)
        losses, nothing = kernels.ctc(logs, labels, steps, counts, blank, False)
        np.testing.assert_array_equal(losses, got[0])
        assert nothing is None


@native_only
def test_what_can_not_be():
    logs = np.log(np.array([[[0.5, 0.5, 0.0]], [[0.25, 0.25, 0.5]]]) + 0.0, where=[[[True, True, False]], [[True] * 3]], out=np.full((2, 1, 3), -np.inf))
    for labels in ([2], [1], [1, 1], [1, 2], []):
        args = logs, np.array(labels, np.int64), np.array([2]), np.array([len(labels)]), 0, True
        got, want = kernels.ctc(*args), kernels.ctc.fallback(*args)
        np.testing.assert_allclose(got[0], want[0], rtol=1e-12)
        np.testing.assert_allclose(got[1], want[1], atol=1e-12)
    with pytest.raises(IndexError):
        kernels.ctc(logs, np.array([7]), np.array([2]), np.array([1]), 0, True)


@pytest.mark.parametrize("dtype", [pt.float32, pt.float64])
def test_as_pytorch(dtype):
    pt.manual_seed(0)
    x, labels = pt.randn(30, 4, 9, dtype=dtype, requires_grad=True), pt.randint(1, 9, (4, 6))
    for options in ({"reduction": "none"}, {"reduction": "sum", "zero_infinity": True}, {"blank": 8}):
        def call(m, x, labels):
            F = pt.nn.functional if m is pt else rl.nn.functional
            loss = F.ctc_loss(x.log_softmax(2), labels.clamp(max=7), (30, 25, 5, 3), (6, 4, 2, 6), **options)
            return (loss, m.autograd.grad(loss.nan_to_num(posinf=0.0).sum(), x)) if dtype is pt.float64 else loss
        assert_same_behaviour(call, x, labels)
