"""Reductions, cumulative ops, sorting and searching, compared with torch: values, dtypes, gradients, edge cases, errors."""

import pytest
import torch as pt

import rushlight as rl
from tests.support.common import PT_DTYPES, assert_same, assert_same_behaviour, both


def gradients(m, y, x):
    outputs = [v for v in (y if isinstance(y, tuple) else (y,)) if v.requires_grad]
    return m.autograd.grad([v.sum() for v in outputs], x) if outputs else None


CALLS = {
    "sum": lambda m, x: x.sum(), "sum dim": lambda m, x: x.sum(-1, keepdim=True), "sum dims": lambda m, x: x.sum((0, 1)),
    "sum none": lambda m, x: x.sum(()), "sum axis": lambda m, x: x.sum(axis=0, keepdims=True), "sum dtype": lambda m, x: x.sum(dtype=m.float32),
    "mean": lambda m, x: x.mean(), "mean dim": lambda m, x: x.mean(1), "mean dims": lambda m, x: x.mean((0, 1), keepdim=True),
    "nansum": lambda m, x: x.nansum(), "nanmean": lambda m, x: x.nanmean(0), "prod": lambda m, x: x.prod(), "prod dim": lambda m, x: x.prod(1),
    "max": lambda m, x: x.max(), "max dim": lambda m, x: tuple(x.max(1)), "min dim": lambda m, x: tuple(x.min(0, keepdim=True)),
    "max other": lambda m, x: m.max(x, m.zeros_like(x)), "amax": lambda m, x: x.amax((0, 1)), "amin": lambda m, x: x.amin(-1, True),
    "aminmax": lambda m, x: tuple(m.aminmax(x)), "argmax": lambda m, x: x.argmax(), "argmin": lambda m, x: x.argmin(1, keepdim=True),
    "any": lambda m, x: x.any(1), "all": lambda m, x: (x > 0).all(), "count_nonzero": lambda m, x: x.count_nonzero(0),
    "var": lambda m, x: x.var(1), "var biased": lambda m, x: x.var(unbiased=False), "std": lambda m, x: x.std(),
    "std dim": lambda m, x: x.std(0, False, True), "correction": lambda m, x: m.std(x, dim=1, correction=2), "std_mean": lambda m, x: m.std_mean(x, 0),
    "logsumexp": lambda m, x: x.logsumexp(1), "norm": lambda m, x: x.norm(), "norm 1": lambda m, x: x.norm(1, 0),
    "norm 3": lambda m, x: x.norm(3, dim=1), "norm inf": lambda m, x: m.norm(x, float("inf")), "norm 0": lambda m, x: x.detach().norm(0),
    "cumsum": lambda m, x: x.cumsum(1), "cumsum 0": lambda m, x: x.cumsum(0), "cumprod": lambda m, x: x.cumprod(1),
    "cummax": lambda m, x: tuple(x.cummax(1)), "cummin": lambda m, x: tuple(x.cummin(0)), "logcumsumexp": lambda m, x: x.logcumsumexp(1),
    "diff": lambda m, x: x.diff(), "diff 2": lambda m, x: x.diff(2, 0), "trapezoid": lambda m, x: m.trapezoid(x),
    "cumulative_trapezoid": lambda m, x: m.cumulative_trapezoid(x, dx=2.0),
    "sort": lambda m, x: tuple(x.sort()), "sort down": lambda m, x: tuple(x.sort(0, True)), "argsort": lambda m, x: x.argsort(1), "msort": lambda m, x: x.msort(),
    "median": lambda m, x: x.median(), "median dim": lambda m, x: tuple(x.median(1)), "nanmedian": lambda m, x: tuple(x.nanmedian(1)),
    "mode": lambda m, x: tuple(x.mode()), "quantile": lambda m, x: x.quantile(0.3),
    "quantiles": lambda m, x: x.quantile(m.tensor([0.1, 0.6], dtype=x.dtype), 1, True), "nanquantile": lambda m, x: x.nanquantile(0.6, 0),
    "quantile nearest": lambda m, x: x.quantile(0.4, 1, interpolation="nearest"),
    "isin": lambda m, x: m.isin(x, m.tensor([1.0, 2.0])), "allclose": lambda m, x: m.isclose(x, x * (1 + 1e-7)),
    "searchsorted": lambda m, x: m.searchsorted(m.tensor([-1.0, 0, 1], dtype=x.dtype), x.detach()),
    "bucketize": lambda m, x: m.bucketize(x.detach(), m.tensor([-1.0, 0, 1], dtype=x.dtype), right=True),
    "unique": lambda m, x: x.detach().unique(return_inverse=True, return_counts=True), "unique dim": lambda m, x: x.detach().unique(dim=0),
    "unique_consecutive": lambda m, x: x.detach().unique_consecutive(return_inverse=True, return_counts=True),
    "histc": lambda m, x: x.detach().nan_to_num(0, 1, 1).histc(5), "dist": lambda m, x: m.dist(x, x.detach() * 2),
}
NO_NAN = {"cumprod", "std", "std dim", "var", "var biased", "correction", "std_mean", "norm 0", "unique dim", "prod", "prod dim", "dist", "norm 3",
          "logcumsumexp", "norm", "norm 1", "norm inf"}


@pytest.mark.parametrize("name", CALLS)
def test_values_and_gradients(name):
    pt.manual_seed(0)
    plain = pt.randn(3, 4, dtype=pt.float64, requires_grad=True)
    ties = pt.tensor([[0.0, 2, 0], [1, 1, 3]], dtype=pt.float64, requires_grad=True)
    odd = pt.tensor([[1.0, float("nan"), 0, 2], [2, 2, 1, 1], [5, float("inf"), -1, 3]], dtype=pt.float64, requires_grad=True)
    inputs = [plain, ties, plain.detach().t().requires_grad_()] + ([odd] if name not in NO_NAN else [])
    for x in inputs:
        assert_same_behaviour(lambda m, x: (lambda y: (y, gradients(m, y, x)))(CALLS[name](m, x)), x)


@pytest.mark.parametrize("name", ["sum", "mean", "prod", "prod dim", "max", "max dim", "amax", "var", "std", "logsumexp", "norm", "norm 3", "cumsum",
                                  "cumprod", "sort", "median dim", "logcumsumexp"])
def test_second_gradients(name):
    def run(m, x):
        y = CALLS[name](m, x)
        y = y[0] if isinstance(y, tuple) else y
        g, = m.autograd.grad((y * y).sum(), x, create_graph=True)
        return g, m.autograd.grad((g * g).sum(), x)
    assert_same_behaviour(run, (pt.rand(3, 4, dtype=pt.float64) + 0.1).requires_grad_())


@pytest.mark.parametrize("dtype", PT_DTYPES)
@pytest.mark.parametrize("name", ["sum", "sum dim", "mean", "prod", "max dim", "amax", "argmax", "any", "all", "var", "cumsum", "cumprod", "cummax",
                                  "sort", "count_nonzero", "norm", "logsumexp", "median dim"])
def test_dtypes(name, dtype):
    x = pt.tensor([[1, 0, 3, 2], [2, 1, 0, 4]]).to(PT_DTYPES[dtype])
    ours, theirs = both(CALLS[name], x)
    if isinstance(theirs, Exception):
        assert isinstance(ours, Exception), f"{theirs!r} expected"
    else:
        assert_same(ours, theirs)


@pytest.mark.parametrize("name", CALLS)
def test_empty_and_zero_dim(name):
    for x in (pt.zeros(0, 3), pt.zeros(3, 0), pt.tensor(2.5)):
        ours, theirs = both(CALLS[name], x)
        if isinstance(theirs, Exception):
            assert isinstance(ours, Exception), f"{tuple(x.shape)}: {theirs!r} expected, got {ours}"
        elif isinstance(ours, Exception):
            raise AssertionError(f"{tuple(x.shape)}: {ours!r} instead of {theirs}") from ours
        else:
            assert_same(ours, theirs, what=str(tuple(x.shape)))


@pytest.mark.parametrize("call", [
    lambda m, x: x.sum(5), lambda m, x: x.sum((0, 0)), lambda m, x: x.sum("a"), lambda m, x: x.mean(-3), lambda m, x: x.long().mean(),
    lambda m, x: x.max(7), lambda m, x: x.max("a"), lambda m, x: x.argmax(3), lambda m, x: x.topk(9), lambda m, x: x.kthvalue(0),
    lambda m, x: x.quantile(2.0), lambda m, x: x.long().var(), lambda m, x: x.cumsum(2), lambda m, x: x.sort(4), lambda m, x: m.sum(3),
    lambda m, x: m.bincount(m.tensor([-1])), lambda m, x: m.bincount(x), lambda m, x: m.histc(x, -1), lambda m, x: m.norm(x, "abc"),
    lambda m, x: m.searchsorted(x, m.ones(5, 2)), lambda m, x: m.cat([x.sum()]),
])
def test_errors(call):
    ours, theirs = both(call, pt.randn(2, 3))
    assert isinstance(theirs, Exception)
    assert isinstance(ours, type(theirs)), f"{ours!r} instead of {theirs!r}"


def test_topk_and_kthvalue():
    pt.manual_seed(1)
    x = pt.randperm(60).view(3, 20).double().requires_grad_()
    for call in (lambda m, x: tuple(x.topk(4)), lambda m, x: tuple(x.topk(2, 0, False)), lambda m, x: tuple(x.kthvalue(3)),
                 lambda m, x: tuple(m.kthvalue(x, 2, 0, True))):
        assert_same_behaviour(lambda m, x: (lambda y: (y, gradients(m, y, x)))(call(m, x)), x)


def test_large_sums_are_accurate():
    x = pt.rand(200_000, 3) + 100
    exact = x.double().sum(0)
    ours = rl.from_numpy(x.numpy()).sum(0)
    assert abs(ours.double().numpy() - exact.numpy()).max() < 0.5 * abs(exact).max() * 1e-6


def test_return_types_print():
    for call in (lambda m: m.tensor([[1.0, 2.0]]).max(1), lambda m: m.tensor([3, 1, 2]).sort(), lambda m: m.tensor([3.0, 1, 2]).topk(2)):
        assert str(call(rl)) == str(call(pt))
        assert type(call(rl)).__name__ == type(call(pt)).__name__
        values, indices = call(rl)
        assert call(rl).values.tolist() == values.tolist() and call(rl).indices.tolist() == indices.tolist()


def test_bincount_histogram():
    x = pt.tensor([1, 3, 1, 0, 5])
    assert_same_behaviour(lambda m, x: (m.bincount(x), m.bincount(x, minlength=9), m.bincount(x, x.float())), x)
    y = pt.tensor([0.1, 0.5, 0.9, 0.2])
    assert_same_behaviour(lambda m, y: tuple(m.histogram(y, 4, range=(0.0, 1.0))), y)
