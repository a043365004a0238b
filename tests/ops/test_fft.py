"""torch.fft, stft/istft and window functions, compared with torch: values, dtypes, gradients, double gradients, errors."""

import pytest
import torch as pt

import rushlight as rl
from tests.support.common import assert_same, assert_same_behaviour, both

ONE = ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft")
MANY = ("fftn", "ifftn", "rfftn", "irfftn", "hfftn", "ihfftn", "fft2", "ifft2", "rfft2", "irfft2", "hfft2", "ihfft2")
REAL_ONLY = ("rfft", "ihfft", "rfftn", "rfft2", "ihfftn", "ihfft2")


def with_gradients(m, call, x):
    """The result, its gradient with a seed that depends on the result, and the gradient of that."""
    y = call(m, x)
    g, = m.autograd.grad((y * y.conj()).sum().real if y.is_complex() else (y * y * y).sum(), x, create_graph=True)
    again, = m.autograd.grad((g * g.conj()).sum().real if g.is_complex() else (g * g).sum(), x)
    return y, g, again


def sample(name, *shape):
    pt.manual_seed(0)
    return pt.randn(shape, dtype=pt.float64 if name in REAL_ONLY else pt.complex128, requires_grad=True)


@pytest.mark.parametrize("norm", [None, "backward", "ortho", "forward"])
@pytest.mark.parametrize("name", ONE)
def test_one_dimension(name, norm):
    for n, dim in ((None, -1), (3, 0), (8, 1), (7, -1)):
        assert_same_behaviour(lambda m, x: with_gradients(m, lambda m, x: getattr(m.fft, name)(x, n, dim, norm), x), sample(name, 4, 6))


@pytest.mark.parametrize("norm", [None, "ortho", "forward"])
@pytest.mark.parametrize("name", MANY)
def test_several_dimensions(name, norm):
    for s, dim in ((None, (0, 2)), ((3, 6), (-1, 0)), ((5, 2), (1, 2)), ((3, -1), (0, 1))):
        assert_same_behaviour(lambda m, x: with_gradients(m, lambda m, x: getattr(m.fft, name)(x, s, dim, norm), x), sample(name, 3, 4, 5))
    assert_same_behaviour(lambda m, x: getattr(m.fft, name)(x), sample(name, 3, 4, 5))


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "int64", "bool", "float16", "bfloat16"])
def test_dtypes(dtype):
    x = pt.arange(24).reshape(4, 6).to(getattr(pt, dtype)) if dtype != "bool" else pt.arange(24).reshape(4, 6) % 3 == 0
    for name in ONE + MANY:
        ours, theirs = both(lambda m, x: getattr(m.fft, name)(x), x)
        if isinstance(theirs, Exception):
            assert type(ours) is type(theirs)
        else:
            assert_same(ours, theirs, atol=2e-5)


@pytest.mark.parametrize("call", [
    lambda m, x: m.fft.fft(x, n=0), lambda m, x: m.fft.fft(x, dim=3), lambda m, x: m.fft.fft(x[0, 0]), lambda m, x: m.fft.fftn(x, s=(3, 3, 3)),
    lambda m, x: m.fft.fftn(x, s=(3, 3), dim=(0,)), lambda m, x: m.fft.fftn(x, dim=(0, 0)), lambda m, x: m.fft.fft(x, norm="x"),
    lambda m, x: m.fft.rfft(x + 0j), lambda m, x: m.fft.irfft(x[:, :1]), lambda m, x: m.fft.fft2(x[0]), lambda m, x: m.fft.irfftn(x, s=()),
    lambda m, x: m.fft.fftn(x, dim=()), lambda m, x: m.fft.fftn(x, s=(-2, 3)), lambda m, x: m.fft.fft(3), lambda m, x: m.fft.fft(x, out=m.empty(0)),
    lambda m, x: m.fft.fft(x, out=m.empty(0, dtype=m.complex64)), lambda m, x: m.fft.fftfreq(-5), lambda m, x: m.fft.fftfreq(5, dtype=m.int64),
    lambda m, x: m.fft.fftshift(x, dim=5), lambda m, x: m.fft.fft(x[:0], dim=0),
])
def test_bad_arguments(call):
    pt.manual_seed(0)
    assert_same_behaviour(call, pt.randn(4, 5))


@pytest.mark.parametrize("n", [1, 2, 5, 8, 0])
def test_frequencies_and_shifts(n):
    for name in ("fftfreq", "rfftfreq"):
        assert_same_behaviour(lambda m: getattr(m.fft, name)(n, 0.5, dtype=m.float64, requires_grad=True))
        assert_same_behaviour(lambda m: getattr(m.fft, name)(n))
    for name in ("fftshift", "ifftshift"):
        for dim in (None, 0, (1,)):
            assert_same_behaviour(lambda m, x: getattr(m.fft, name)(x, dim), pt.randn(n, 3, requires_grad=True))


OLD = ("hann_window", "hamming_window", "blackman_window", "bartlett_window", "kaiser_window")


@pytest.mark.parametrize("name", OLD)
def test_old_windows(name):
    for n in (0, 1, 2, 7, 10):
        for periodic in (True, False):
            for dtype in ("float32", "float64", "float16", "bfloat16"):
                # PyTorch computes in the dtype itself; we round once.
                atol = {"float16": 2e-3, "bfloat16": 2e-2}.get(dtype, 1e-6)
                assert_same(getattr(rl, name)(n, periodic, dtype=getattr(rl, dtype)), getattr(pt, name)(n, periodic, dtype=getattr(pt, dtype)), atol=atol)
    assert_same_behaviour(lambda m: getattr(m, name)(-1))
    assert_same_behaviour(lambda m: getattr(m, name)(4, dtype=m.int64))
    assert_same_behaviour(lambda m: getattr(m, name)(4, dtype=m.complex64))
    assert_same_behaviour(lambda m: getattr(m, name)(4, requires_grad=True))


SIGNAL = {"bartlett": {}, "blackman": {}, "cosine": {}, "exponential": {"tau": 2.0}, "gaussian": {"std": 1.5}, "general_cosine": {"a": (0.4, 0.3, 0.2)},
          "general_hamming": {"alpha": 0.6}, "hamming": {}, "hann": {}, "kaiser": {"beta": 5.0}, "nuttall": {}}


@pytest.mark.parametrize("name", SIGNAL)
def test_signal_windows(name):
    for n in (0, 1, 2, 7, 10):
        for sym in (True, False):
            assert_same_behaviour(lambda m: getattr(m.signal.windows, name)(n, sym=sym, dtype=m.float64, **SIGNAL[name]))
            assert_same_behaviour(lambda m: getattr(m.signal.windows, name)(n, sym=sym, requires_grad=True, **SIGNAL[name]))
    for bad in ({"M": -1}, {"M": 3, "dtype": "float16"}, {"M": 3, "dtype": "int64"}):
        assert_same_behaviour(lambda m: getattr(m.signal.windows, name)(
            bad["M"], dtype=getattr(m, bad["dtype"]) if "dtype" in bad else None, **SIGNAL[name]), text=True)


@pytest.mark.parametrize("call", [
    lambda w: w.exponential(5, center=1), lambda w: w.exponential(5, center=1.0, sym=False), lambda w: w.exponential(5, tau=-1), lambda w: w.gaussian(5, std=0),
    lambda w: w.kaiser(5, beta=-1), lambda w: w.general_cosine(5, a=[]), lambda w: w.general_cosine(5, a=0.3),
])
def test_signal_window_arguments(call):
    assert_same_behaviour(lambda m: call(m.signal.windows), text=True)


STFT = [{}, {"hop_length": 5}, {"center": False}, {"normalized": True}, {"onesided": False}, {"win_length": 12}, {"pad_mode": "constant"},
        {"win_length": 9, "center": False, "align_to_window": True}]


@pytest.mark.parametrize("options", STFT, ids=str)
@pytest.mark.parametrize("dtype", [pt.float64, pt.complex128])
def test_stft(options, dtype):
    def run(m, x, window):
        y = m.stft(x, 16, window=window, return_complex=True, **options)
        g = m.autograd.grad((y * y.conj()).real.sum(), (x, window), create_graph=True)
        return y, g, m.autograd.grad((g[0] * g[0].conj()).real.sum(), (x, window))
    pt.manual_seed(0)
    window = pt.rand(options.get("win_length", 16), dtype=pt.float64, requires_grad=True)
    for shape in ((50,), (2, 50)):
        assert_same_behaviour(run, pt.randn(shape, dtype=dtype, requires_grad=True), window)
    assert_same_behaviour(lambda m, x: m.stft(x, 16, return_complex=False), pt.randn(50))
    assert_same_behaviour(lambda m, x: x.stft(16, return_complex=True), pt.randn(50))


@pytest.mark.parametrize("options", [{}, {"hop_length": 5}, {"normalized": True}, {"onesided": False}, {"length": 40}, {"length": 64},
                                     {"win_length": 12}, {"center": False}, {"onesided": False, "return_complex": True}], ids=str)
def test_istft(options):
    def run(m, x, window):
        y = m.istft(x, 16, window=window, **options)
        g = m.autograd.grad((y * y.conj()).real.sum(), (x, window), create_graph=True)
        return y, g, m.autograd.grad((g[0] * g[0].conj()).real.sum(), (x, window))
    pt.manual_seed(0)
    window = (pt.rand(options.get("win_length", 16), dtype=pt.float64) + 0.5).requires_grad_()
    for shape in ((), (2,)):
        rows = 9 if options.get("onesided", True) else 16
        assert_same_behaviour(run, pt.randn(*shape, rows, 12, dtype=pt.complex128, requires_grad=True), window)


def test_gradients_of_real_signals_do_not_warn():
    import warnings
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x = rl.randn(6, requires_grad=True)
        rl.fft.fft(x).abs().sum().backward()
        assert x.grad.dtype is rl.float32


def test_round_trip():
    x = rl.randn(3, 400, dtype=rl.float64)
    window = rl.hann_window(64, dtype=rl.float64)
    assert rl.allclose(rl.istft(rl.stft(x, 64, window=window, return_complex=True), 64, window=window, length=400), x)


@pytest.mark.parametrize("call", [
    lambda m, x, s: m.stft(x, 16), lambda m, x, s: m.stft(x, 100, return_complex=True), lambda m, x, s: m.stft(x, 100, center=False, return_complex=True),
    lambda m, x, s: m.stft(x, 16, 0, return_complex=True), lambda m, x, s: m.stft(x, 16, win_length=20, return_complex=True),
    lambda m, x, s: m.stft(x, 16, window=m.ones(20), return_complex=True), lambda m, x, s: m.stft(x.long(), 16, return_complex=True),
    lambda m, x, s: m.stft(x + 0j, 16, onesided=True), lambda m, x, s: m.stft(x[None], 16, return_complex=True), lambda m, x, s: m.istft(s.real, 16),
    lambda m, x, s: m.istft(s, 18), lambda m, x, s: m.istft(s, 16, 20), lambda m, x, s: m.istft(s, 16, 16, window=m.hann_window(16), center=False),
    lambda m, x, s: m.istft(s, 16, win_length=20), lambda m, x, s: m.istft(s, 16, window=m.ones(20)), lambda m, x, s: m.istft(s[..., :0], 16),
    lambda m, x, s: m.istft(s, 16, return_complex=True), lambda m, x, s: m.istft(s[0, 0], 16), lambda m, x, s: m.istft(s, 16, onesided=False),
    lambda m, x, s: m.istft(s, 16, window=m.ones(16) + 0j),
])
def test_stft_errors(call):
    x = pt.randn(2, 50)
    ours, theirs = both(call, x, pt.stft(x, 16, window=pt.hann_window(16), return_complex=True))
    assert isinstance(theirs, Exception) and type(ours) is type(theirs), (ours, theirs)
