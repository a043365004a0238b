"""torch.distributions against PyTorch's: samples from one seed, densities, moments, gradients, divergences, transforms, errors."""

import copy
import inspect
import math
import pickle
import warnings

import numpy as np
import pytest
import torch as pt
import torch.distributions as theirs

import rushlight as rl
import rushlight.distributions as ours
from tests.support.common import assert_same, rng_state, to_numpy, to_rl

MODULES = (rl, pt)


def t(*values, dtype=pt.float64):
    return pt.tensor(values, dtype=dtype)


MATRIX = t([2.0, 0.3, 0.1], [0.3, 1.5, -0.2], [0.1, -0.2, 0.8])
BATCHED = pt.stack([MATRIX, MATRIX + pt.eye(3, dtype=pt.float64)])
P3, L3 = t([0.2, 0.5, 0.3], [0.7, 0.1, 0.2]), t([0.1, -0.4, 2.0], [1.0, 0.0, -1.0])

# class -> keyword arguments, several sets each
CASES = [
    ("Bernoulli", {"probs": t(0.2, 0.9, 0.5)}), ("Bernoulli", {"logits": t(-1.0, 2.0)}), ("Bernoulli", {"probs": 0.3}),
    ("Beta", {"concentration1": t(0.5, 3.0), "concentration0": t(1.5, 2.0)}), ("Beta", {"concentration1": 2.0, "concentration0": 3.0}),
    ("Binomial", {"total_count": 5, "probs": t(0.2, 0.9)}), ("Binomial", {"total_count": t(40.0, 3.0), "logits": t(0.3, -1.0)}),
    ("Categorical", {"probs": P3}), ("Categorical", {"logits": L3}), ("Categorical", {"probs": t(1.0, 3.0)}),
    ("Cauchy", {"loc": t(0.0, 1.0), "scale": t(1.0, 2.0)}), ("Chi2", {"df": t(1.0, 5.0)}),
    ("ContinuousBernoulli", {"probs": t(0.2, 0.5, 0.9)}), ("ContinuousBernoulli", {"logits": t(0.001, -2.0)}),
    ("Dirichlet", {"concentration": t([0.5, 1.5, 2.0], [3.0, 4.0, 0.2])}), ("Exponential", {"rate": t(0.5, 2.0)}),
    ("FisherSnedecor", {"df1": t(3.0, 1.0), "df2": t(6.0, 2.0)}), ("Gamma", {"concentration": t(0.5, 3.0), "rate": t(1.0, 2.0)}),
    ("GeneralizedPareto", {"loc": t(0.0, 1.0, 0.0).float(), "scale": t(1.0, 2.0, 1.0).float(), "concentration": t(0.3, -0.4, 0.0).float()}),
    ("Geometric", {"probs": t(0.3, 0.8)}), ("Geometric", {"logits": t(0.0, 1.0)}), ("Gumbel", {"loc": t(0.0, 1.0), "scale": t(1.0, 2.0)}),
    ("HalfCauchy", {"scale": t(1.0, 2.0)}), ("HalfNormal", {"scale": t(1.0, 2.0)}),
    ("InverseGamma", {"concentration": t(0.5, 3.0), "rate": t(1.0, 2.0)}), ("Kumaraswamy", {"concentration1": t(2.0, 0.5), "concentration0": t(3.0, 2.0)}),
    ("LKJCholesky", {"dim": 3, "concentration": t(0.5, 2.0)}), ("Laplace", {"loc": t(0.0, 1.0), "scale": t(1.0, 2.0)}),
    ("LogNormal", {"loc": t(0.0, 1.0), "scale": t(1.0, 0.5)}), ("LogisticNormal", {"loc": t([0.0, 1.0], [0.5, -1.0]), "scale": t([1.0, 2.0], [0.3, 0.7])}),
    ("LowRankMultivariateNormal", {"loc": t(0.0, 1.0, 2.0), "cov_factor": t([1.0, 0.5], [0.2, -1.0], [0.3, 0.1]), "cov_diag": t(1.0, 2.0, 0.5)}),
    ("LowRankMultivariateNormal", {"loc": pt.zeros(2, 3, dtype=pt.float64), "cov_factor": pt.ones(2, 3, 1, dtype=pt.float64), "cov_diag": t([1.0, 2.0, 0.5], [1.0, 1.0, 1.0])}),
    ("Multinomial", {"total_count": 6, "probs": P3}), ("Multinomial", {"total_count": 3, "logits": L3}),
    ("MultivariateNormal", {"loc": t(0.0, 1.0, 2.0), "covariance_matrix": MATRIX}), ("MultivariateNormal", {"loc": pt.zeros(2, 3, dtype=pt.float64), "covariance_matrix": MATRIX}),
    ("MultivariateNormal", {"loc": t(0.0, 1.0, 2.0), "precision_matrix": BATCHED}), ("MultivariateNormal", {"loc": t(0.0, 1.0, 2.0), "scale_tril": pt.linalg.cholesky(BATCHED)}),
    ("NegativeBinomial", {"total_count": t(5.0, 2.0), "probs": t(0.3, 0.6)}), ("NegativeBinomial", {"total_count": 3, "logits": t(0.3, -0.6)}),
    ("Normal", {"loc": t(0.0, 1.0), "scale": t(1.0, 2.0)}), ("Normal", {"loc": 0, "scale": 2}), ("Normal", {"loc": t([0.0], [1.0]), "scale": t(1.0, 2.0, 3.0)}),
    ("OneHotCategorical", {"probs": P3}), ("OneHotCategorical", {"logits": L3}), ("OneHotCategoricalStraightThrough", {"probs": P3}),
    ("Pareto", {"scale": t(1.0, 2.0), "alpha": t(1.0, 3.0)}), ("Poisson", {"rate": t(0.5, 20.0, 0.0)}),
    ("RelaxedBernoulli", {"temperature": t(0.7), "probs": t(0.2, 0.9)}), ("RelaxedOneHotCategorical", {"temperature": t(0.7), "logits": L3}),
    ("StudentT", {"df": t(1.0, 2.0, 5.0), "loc": t(0.0, 1.0, 2.0), "scale": t(1.0, 2.0, 3.0)}), ("StudentT", {"df": t(3.0)}),
    ("Uniform", {"low": t(0.0, -1.0), "high": t(1.0, 3.0)}), ("VonMises", {"loc": t(0.0, 1.0), "concentration": t(1.0, 4.0)}),
    ("Weibull", {"scale": t(1.0, 2.0), "concentration": t(2.0, 0.7)}), ("Wishart", {"df": t(4.0), "covariance_matrix": MATRIX}),
    ("Wishart", {"df": t(5.0, 6.0), "scale_tril": pt.linalg.cholesky(BATCHED)}), ("Wishart", {"df": t(5.0), "precision_matrix": MATRIX}),
]
IDS = [f"{name}-{'-'.join(options)}-{i}" for i, (name, options) in enumerate(CASES)]
EACH = pytest.mark.parametrize("name, options", CASES, ids=IDS)
# PyTorch's own approximations of pathwise derivatives are good to three digits.
LOOSE = {"Beta", "Chi2", "Dirichlet", "FisherSnedecor", "Gamma", "InverseGamma", "StudentT", "Wishart"}


def assert_near(a, b, rtol=1e-7, atol=1e-9, what=""):
    """With these tolerances where the numbers are float64, else with the usual ones."""
    double = isinstance(b, pt.Tensor) and b.dtype == pt.float64
    assert_same(a, b, **({"rtol": rtol, "atol": atol} if double else {}), what=what)


def pair(name, options, **more):
    """The distribution on both sides, with leaves as parameters that require grad."""
    def leaf(value):
        return value.clone().requires_grad_() if isinstance(value, pt.Tensor) and value.is_floating_point() else value
    mine = {key: leaf(value) for key, value in options.items()}
    return getattr(ours, name)(**to_rl(mine), **more), getattr(theirs, name)(**mine, **more), mine


def parameters(d, options):
    """The leaves of a distribution that `pair` made: what its attributes were computed from."""
    return {key: value for key, value in options.items() if isinstance(value, (pt.Tensor, rl.Tensor)) and value.requires_grad}


def outcome(function):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return function()
        except (NotImplementedError, AttributeError, ValueError, RuntimeError) as error:
            return type(error)


@EACH
@pytest.mark.parametrize("shape", [(), (3,), (2, 20)])
def test_samples(name, options, shape):
    a, b, _ = pair(name, options)
    results = []
    for m, d in ((rl, a), (pt, b)):
        m.manual_seed(11)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            results.append((d.sample(m.Size(shape)), rng_state(m)))
    assert_near(results[0][0], results[1][0])
    assert np.array_equal(results[0][1], results[1][1])


@EACH
def test_rsample_gradients(name, options):
    a, b, given = pair(name, options)
    assert a.has_rsample == b.has_rsample
    if not b.has_rsample:
        assert outcome(lambda: a.rsample()) is outcome(lambda: b.rsample()) is NotImplementedError
        return
    mine = to_rl(given)
    a = getattr(ours, name)(**mine)
    grads = []
    for m, d, values in ((rl, a, mine), (pt, b, given)):
        m.manual_seed(3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            x = d.rsample((4,))
        leaves = [v for v in values.values() if isinstance(v, m.Tensor)]
        if not leaves:
            return
        if m is pt and name == "Wishart":
            return                       # PyTorch changes in place what its own gradient needs
        grads.append(m.autograd.grad((x * x.detach().cos()).sum(), leaves, allow_unused=True))
    tolerance = {"rtol": 3e-3, "atol": 3e-3} if name in LOOSE else {"rtol": 1e-6, "atol": 1e-8}
    assert_same(grads[0], grads[1], **tolerance)


PROPERTIES = ("batch_shape", "event_shape", "mean", "mode", "variance", "stddev", "has_enumerate_support", "param_shape")


@EACH
def test_properties_and_entropy(name, options):
    a, b, _ = pair(name, options)
    for each in PROPERTIES:
        if not hasattr(type(b), each):
            continue
        x, y = outcome(lambda: getattr(a, each)), outcome(lambda: getattr(b, each))
        assert_same(x, y, what=each)
    x, y = outcome(a.entropy), outcome(b.entropy)
    assert_same(x, y, rtol=1e-7, what="entropy")
    assert repr(a) == repr(b)
    assert repr(outcome(lambda: a.support)) == repr(outcome(lambda: b.support))
    for expand in (True, False):
        assert_same(outcome(lambda: a.enumerate_support(expand)), outcome(lambda: b.enumerate_support(expand)))


@EACH
def test_densities(name, options):
    a, b, given = pair(name, options)
    mine = to_rl(given)
    a = getattr(ours, name)(**mine)
    pt.manual_seed(5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = b.sample((4,)).detach()
    if value.is_floating_point() and name in ("Normal", "Laplace", "Gamma", "Beta"):
        value.requires_grad_()
    x = to_rl(value)
    first, second = a.log_prob(x), b.log_prob(value)
    assert_near(first, second)
    leaves = [v for v in given.values() if isinstance(v, pt.Tensor)]
    if leaves and second.requires_grad:
        extra = [value] if value.requires_grad else []
        theirs_ = pt.autograd.grad(second.sum(), [*leaves, *extra], allow_unused=True)
        ours_ = rl.autograd.grad(first.sum(), [*[v for v in mine.values() if isinstance(v, rl.Tensor)], *([x] if extra else [])], allow_unused=True)
        if "scale_tril" in options:          # what is above the diagonal does not matter, nor does its gradient
            ours_, theirs_ = [[g if g is None or g.ndim < 2 else g.tril() for g in each] for each in (ours_, theirs_)]
        assert_same(ours_, theirs_, rtol=1e-6, atol=1e-8)
    assert_near(outcome(lambda: a.cdf(x)), outcome(lambda: b.cdf(value)))
    u = pt.linspace(0.05, 0.95, 4, dtype=pt.float64).reshape(4, *(1,) * len(b.batch_shape + b.event_shape))
    assert_near(outcome(lambda: a.icdf(to_rl(u))), outcome(lambda: b.icdf(u)), 1e-6, 1e-8)


@EACH
def test_expand_copy_pickle(name, options):
    a, b, _ = pair(name, {key: value for key, value in options.items()})
    shape = (3, 2, *b.batch_shape)
    x, y = a.expand(shape), b.expand(shape)
    assert x.batch_shape == y.batch_shape and x.event_shape == y.event_shape and type(x).__name__ == name
    assert_same(outcome(lambda: x.mean), outcome(lambda: y.mean))
    assert_same(outcome(lambda: x.variance), outcome(lambda: y.variance), rtol=1e-7)
    results = []
    for m, d in ((rl, x), (pt, y)):
        m.manual_seed(2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            results.append(d.sample())
    assert_near(results[0], results[1])
    assert_near(x.log_prob(results[0]), y.log_prob(results[1]))
    plain = getattr(ours, name)(**to_rl(options, requires_grad=False))
    plain.log_prob(results[0])
    for again in (copy.deepcopy(plain), pickle.loads(pickle.dumps(plain))):
        assert repr(again) == repr(plain)
        assert rl.equal(again.log_prob(results[0]), plain.log_prob(results[0]))


BAD = [("Normal", {"loc": 0.0, "scale": -1.0}), ("Normal", {"loc": float("nan"), "scale": 1.0}), ("Bernoulli", {"probs": 1.5}), ("Bernoulli", {}),
       ("Bernoulli", {"probs": 0.5, "logits": 0.0}), ("Categorical", {"probs": t(-1.0, 2.0)}), ("Categorical", {"probs": pt.tensor(0.5)}),
       ("Uniform", {"low": 1.0, "high": 0.0}), ("Gamma", {"concentration": 0.0, "rate": 1.0}), ("Dirichlet", {"concentration": t(0.0, 1.0)}),
       ("Dirichlet", {"concentration": pt.tensor(1.0)}), ("MultivariateNormal", {"loc": t(0.0, 0.0)}), ("Geometric", {"probs": 0.0}),
       ("MultivariateNormal", {"loc": t(0.0, 0.0), "covariance_matrix": t([1.0, 2.0], [2.0, 1.0])}), ("LKJCholesky", {"dim": 1}),
       ("MultivariateNormal", {"loc": pt.tensor(0.0), "covariance_matrix": pt.eye(2)}), ("Wishart", {"df": t(1.0), "covariance_matrix": MATRIX}),
       ("Binomial", {"total_count": -1, "probs": 0.5}), ("Multinomial", {"total_count": 2, "probs": t(-0.5, 1.5)}), ("Poisson", {"rate": -1.0}),
       ("LowRankMultivariateNormal", {"loc": t(0.0, 0.0), "cov_factor": pt.ones(3, 1), "cov_diag": t(1.0, 1.0)}), ("Normal", {"loc": "a", "scale": 1.0})]


@pytest.mark.parametrize("name, options", BAD, ids=str)
def test_bad_parameters(name, options):
    errors = []
    for module, values in ((ours, to_rl(options)), (theirs, options)):
        with pytest.raises((ValueError, NotImplementedError, AssertionError)) as caught:
            getattr(module, name)(**values)
        errors.append(caught)
    assert errors[0].type is errors[1].type
    assert str(errors[0].value) == str(errors[1].value)


def test_bad_values():
    cases = [("Normal", (0.0, 1.0), t(float("nan"))), ("Bernoulli", (0.5,), t(0.3)), ("Beta", (1.0, 1.0), t(1.5)), ("Poisson", (1.0,), t(0.5)),
             ("Categorical", (t(0.5, 0.5),), t(2.0)), ("Normal", (t(0.0, 1.0), t(1.0, 1.0)), t(1.0, 2.0, 3.0)), ("Dirichlet", (t(1.0, 1.0),), t(0.3, 0.3)),
             ("Dirichlet", (t(1.0, 1.0),), t(0.3, 0.3, 0.4)), ("Uniform", (0.0, 1.0), t(2.0)), ("OneHotCategorical", (t(0.5, 0.5),), t(1.0, 1.0))]
    for name, args, value in cases:
        texts = []
        for module, convert in ((ours, to_rl), (theirs, lambda v: v)):
            with pytest.raises(ValueError) as caught:
                getattr(module, name)(*convert(list(args))).log_prob(convert(value))
            texts.append(str(caught.value))
            getattr(module, name)(*convert(list(args)), validate_args=False)
        assert texts[0] == texts[1]
    with pytest.raises(ValueError, match="must be a Tensor"):
        ours.Normal(0.0, 1.0).log_prob(1.0)


def test_validation_can_be_switched_off():
    try:
        ours.Distribution.set_default_validate_args(False)
        ours.Normal(0.0, -1.0)
    finally:
        ours.Distribution.set_default_validate_args(True)
    with pytest.raises(ValueError):
        ours.Normal(0.0, -1.0)
    with pytest.raises(ValueError):
        ours.Distribution.set_default_validate_args("yes")


# --- divergences --------------------------------------------------------------------------------------------------------------------------

def kl_pairs():
    from torch.distributions.kl import _KL_REGISTRY
    return sorted({(p.__name__, q.__name__) for p, q in _KL_REGISTRY})


def examples(name):
    return [options for each, options in CASES if each == name and any(isinstance(value, pt.Tensor) for value in options.values())][:2]


def test_all_pairs_are_there():
    from rushlight.distributions.kl import _KL_REGISTRY
    assert sorted({(p.__name__, q.__name__) for p, q in _KL_REGISTRY}) == kl_pairs()


@pytest.mark.parametrize("p, q", [each for each in kl_pairs() if examples(each[0]) and examples(each[1])], ids=str)
def test_kl(p, q):
    compared = 0
    for first in examples(p):
        for second in examples(q):
            a, b, given = pair(p, first)
            a = getattr(ours, p)(**(mine := to_rl(given)))
            c, d, _ = pair(q, second)
            x, y = outcome(lambda: ours.kl_divergence(a, c)), outcome(lambda: theirs.kl_divergence(b, d))
            if isinstance(y, type) or isinstance(x, type):
                assert x is y
                continue
            assert_near(x.detach(), y.detach(), 1e-7, 1e-8)
            compared += 1
            leaves = [v for v in given.values() if isinstance(v, pt.Tensor)]
            if leaves and y.requires_grad and bool(y.isfinite().all()):
                expected = outcome(lambda: pt.autograd.grad(y.sum(), leaves, allow_unused=True))
                if expected is not RuntimeError:          # PyTorch changes masks in place that its own gradients need
                    assert_same(rl.autograd.grad(x.sum(), [v for v in mine.values() if isinstance(v, rl.Tensor)], allow_unused=True),
                                expected, rtol=1e-6, atol=1e-8)
    assert compared or (p, q) == ("Binomial", "Binomial")


def test_kl_of_families():
    for D, m in ((ours, rl), (theirs, pt)):
        a, b = D.Independent(D.Normal(m.zeros(2, 3), m.ones(2, 3)), 1), D.Independent(D.Normal(m.ones(2, 3), m.ones(2, 3) * 2), 1)
        assert D.kl_divergence(a, b).shape == (2,)
        assert D.kl_divergence(D.LogNormal(m.zeros(2), m.ones(2)), D.LogNormal(m.ones(2), m.ones(2))).tolist() == [0.5, 0.5]
        chi = D.kl_divergence(D.Chi2(m.tensor(3.0)), D.Chi2(m.tensor(5.0)))
        assert abs(chi.item() - 0.3690) < 1e-3
        with pytest.raises(NotImplementedError, match="No KL"):
            D.kl_divergence(D.Normal(0.0, 1.0), D.Cauchy(0.0, 1.0))
        with pytest.raises(NotImplementedError):
            D.kl_divergence(D.Independent(D.Normal(m.zeros(2), m.ones(2)), 1), D.Independent(D.Normal(m.zeros(2), m.ones(2)), 0))
    with pytest.raises(TypeError):
        ours.register_kl(3, ours.Normal)


def test_registering_a_divergence():
    class Mine(ours.Normal):
        pass

    @ours.register_kl(Mine, ours.Normal)
    def kl(p, q):
        return "mine"
    assert ours.kl_divergence(Mine(0.0, 1.0), ours.Normal(0.0, 1.0)) == "mine"
    assert ours.kl_divergence(ours.Normal(0.0, 1.0), Mine(0.0, 1.0)) == 0

    @ours.register_kl(ours.Normal, Mine)
    def other(p, q):
        return "other"
    with pytest.warns(RuntimeWarning, match="Ambiguous"):
        assert ours.kl_divergence(Mine(0.0, 1.0), Mine(0.0, 1.0)) == "mine"
    from rushlight.distributions import kl as module
    del module._KL_REGISTRY[Mine, ours.Normal], module._KL_REGISTRY[ours.Normal, Mine]
    module._found.clear()


# --- composed -----------------------------------------------------------------------------------------------------------------------------

def compare_composed(make, shape=(3,)):
    results = []
    for D, m in ((ours, rl), (theirs, pt)):
        m.manual_seed(4)
        d = make(D, m)
        x = d.sample(shape)
        results.append([d.batch_shape, d.event_shape, x, d.log_prob(x), outcome(lambda d=d: d.mean), outcome(lambda d=d: d.variance),
                        outcome(lambda d=d, x=x: d.cdf(x)), repr(d) if "Transformed" not in repr(d) else None,
                        d.expand((2, *d.batch_shape)).batch_shape, repr(d.support)])
    assert_same(results[0], results[1], rtol=1e-5, atol=1e-6)


COMPOSED = {
    "mixture": lambda D, m: D.MixtureSameFamily(D.Categorical(m.tensor([0.3, 0.7])), D.Normal(m.tensor([0.0, 3.0]), m.tensor([1.0, 0.5]))),
    "batch of mixtures": lambda D, m: D.MixtureSameFamily(D.Categorical(m.ones(4, 2)), D.Normal(m.zeros(4, 2), m.ones(4, 2))),
    "mixture of vectors": lambda D, m: D.MixtureSameFamily(D.Categorical(m.tensor([0.3, 0.7])), D.Independent(D.Normal(m.zeros(2, 3), m.ones(2, 3)), 1)),
    "mixture of matrices": lambda D, m: D.MixtureSameFamily(D.Categorical(m.ones(2)), D.MultivariateNormal(m.zeros(2, 3), m.eye(3))),
    "independent": lambda D, m: D.Independent(D.Normal(m.zeros(4, 3), m.ones(3)), 1),
    "independent of none": lambda D, m: D.Independent(D.Normal(m.zeros(4, 3), m.ones(3)), 0),
    "transformed": lambda D, m: D.TransformedDistribution(D.Uniform(m.zeros(2), m.ones(2)), [D.SigmoidTransform().inv, D.AffineTransform(m.tensor([1.0, 2.0]), 2.0)]),
    "decreasing": lambda D, m: D.TransformedDistribution(D.Normal(m.zeros(2), m.ones(2)), D.AffineTransform(0.0, -2.0)),
    "to the simplex": lambda D, m: D.TransformedDistribution(D.Normal(m.zeros(2, 3), m.ones(3)), D.StickBreakingTransform()),
    "to correlation factors": lambda D, m: D.TransformedDistribution(D.Normal(m.zeros(3), m.ones(3)), D.CorrCholeskyTransform()),
    "no transform": lambda D, m: D.TransformedDistribution(D.Normal(m.zeros(3), m.ones(3)), []),
    "reshaped": lambda D, m: D.TransformedDistribution(D.Independent(D.Normal(m.zeros(4), m.ones(4)), 1), D.ReshapeTransform((4,), (2, 2))),
    "broadcast by a transform": lambda D, m: D.TransformedDistribution(D.Normal(0.0, 1.0), D.AffineTransform(m.zeros(3), m.ones(3))),
}


@pytest.mark.parametrize("name", COMPOSED)
def test_composed(name):
    compare_composed(COMPOSED[name])
    compare_composed(COMPOSED[name], ())


def test_composed_errors():
    for D, m in ((ours, rl), (theirs, pt)):
        normal = D.Normal(m.zeros(2), m.ones(2))
        for make, text in ((lambda: D.Independent(normal, 2), "Expected reinterpreted_batch_ndims"), (lambda: D.TransformedDistribution(normal, 3), "transforms must be"),
                           (lambda: D.TransformedDistribution(normal, [3]), "transforms must be"), (lambda: D.MixtureSameFamily(normal, normal), "Categorical"),
                           (lambda: D.MixtureSameFamily(D.Categorical(m.ones(3)), normal), "does not equal"),
                           (lambda: D.MixtureSameFamily(D.Categorical(m.ones(2)), 3), "Component"),
                           (lambda: D.TransformedDistribution(D.Normal(0.0, 1.0), D.StickBreakingTransform()), "at least 1")):
            with pytest.raises(ValueError, match=text):
                make()

        class Own(D.Normal):
            def __init__(self):
                super().__init__(0.0, 1.0)
        with pytest.raises(NotImplementedError, match="custom"):
            Own().expand((2,))
        with pytest.raises(NotImplementedError):
            D.Distribution(validate_args=False).sample()
        with pytest.warns(FutureWarning):
            assert normal.sample_n(3).shape == (3, 2)


def test_users_own_distribution():
    for D, m in ((ours, rl), (theirs, pt)):
        class Delta(D.Distribution):
            arg_constraints = {"v": D.constraints.real}
            support = D.constraints.real
            has_rsample = True

            def __init__(self, v, validate_args=None):
                self.v = v
                super().__init__(v.shape, validate_args=validate_args)

            def expand(self, batch_shape, _instance=None):
                new = self._get_checked_instance(Delta, _instance)
                new.v = self.v.expand(batch_shape)
                super(Delta, new).__init__(m.Size(batch_shape), validate_args=False)
                return new

            def rsample(self, sample_shape=m.Size()):
                return self.v.expand(self._extended_shape(sample_shape))

            def log_prob(self, value):
                return (value == self.v).to(self.v).log()

        d = D.Independent(Delta(m.ones(2, 3)), 1).expand((4, 2))
        assert d.sample((5,)).shape == (5, 4, 2, 3) and d.log_prob(m.ones(3)).tolist() == [[0.0, 0.0]] * 4
        assert repr(Delta(m.ones(2))) == "Delta(v: torch.Size([2]))"


# --- transforms ---------------------------------------------------------------------------------------------------------------------------

TRANSFORMS = {
    "abs": (lambda D, m: D.AbsTransform(), t(-1.0, 2.0)), "affine": (lambda D, m: D.AffineTransform(1.0, -2.0), t(-1.0, 2.0)),
    "affine of vectors": (lambda D, m: D.AffineTransform(m.ones(2).double(), m.tensor([2.0, -3.0]).double(), event_dim=1), t([-1.0, 2.0], [0.3, 0.1])),
    "exp": (lambda D, m: D.ExpTransform(), t(-1.0, 2.0)), "exp inverse": (lambda D, m: D.ExpTransform().inv, t(1.0, 2.0)),
    "power": (lambda D, m: D.PowerTransform(m.tensor([2.0, -1.5]).double()), t(1.5, 2.0)), "sigmoid": (lambda D, m: D.SigmoidTransform(), t(-1.0, 2.0)),
    "softplus": (lambda D, m: D.SoftplusTransform(), t(-1.0, 2.0)), "tanh": (lambda D, m: D.TanhTransform(), t(-1.0, 2.0)),
    "softmax": (lambda D, m: D.SoftmaxTransform(), L3), "stick breaking": (lambda D, m: D.StickBreakingTransform(), L3),
    "lower cholesky": (lambda D, m: D.LowerCholeskyTransform(), MATRIX), "positive definite": (lambda D, m: D.PositiveDefiniteTransform(), MATRIX),
    "correlation": (lambda D, m: D.CorrCholeskyTransform(), L3), "reshape": (lambda D, m: D.ReshapeTransform((3,), (1, 3)), L3),
    "compose": (lambda D, m: D.ComposeTransform([D.ExpTransform(), D.AffineTransform(1.0, 2.0)]), t(-1.0, 2.0)),
    "compose to vectors": (lambda D, m: D.ComposeTransform([D.AffineTransform(0.0, 2.0), D.StickBreakingTransform()]), L3),
    "identity": (lambda D, m: D.identity_transform, t(1.0, 2.0)), "independent": (lambda D, m: D.IndependentTransform(D.ExpTransform(), 1), L3),
    "cat": (lambda D, m: D.CatTransform([D.ExpTransform(), D.TanhTransform()], dim=-1, lengths=[1, 2]), L3),
    "stack": (lambda D, m: D.StackTransform([D.ExpTransform(), D.TanhTransform()], dim=0), L3),
    "cdf": (lambda D, m: D.CumulativeDistributionTransform(D.Normal(m.zeros(()).double(), m.ones(()).double())), t(-1.0, 2.0)),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms(name):
    make, x = TRANSFORMS[name]
    results = []
    for D, m, value in ((ours, rl, to_rl(x)), (theirs, pt, x)):
        f = make(D, m)
        y = f(value)
        results.append([y, f.inv(y), outcome(lambda f=f, v=value, y=y: f.log_abs_det_jacobian(v, y)),
                        outcome(lambda f=f, v=value, y=y: f.inv.log_abs_det_jacobian(y, v)), repr(f), repr(f.inv), repr(f.domain), repr(f.codomain),
                        f.bijective, outcome(lambda f=f: f.sign), f.domain.event_dim, f.codomain.event_dim, f.forward_shape(value.shape),
                        f.inverse_shape(y.shape), f == make(D, m), f.inv == make(D, m).inv, f.inv.inv is f, f.inv.bijective])
        g = outcome(lambda f=f: f.with_cache(1))
        if not isinstance(g, type):
            y = g(value)
            assert name == "identity" or "compose" in name or g.inv(y) is value
    assert_same(results[0], results[1])


def test_transform_errors():
    for D, m in ((ours, rl), (theirs, pt)):
        for make in (lambda: D.ExpTransform(cache_size=2), lambda: D.ReshapeTransform((3,), (2,)), lambda: D.StickBreakingTransform().forward_shape(()),
                     lambda: D.CorrCholeskyTransform().forward_shape((4,)), lambda: D.CorrCholeskyTransform().inverse_shape((3, 2)),
                     lambda: D.ReshapeTransform((3,), (1, 3)).forward_shape((2,)), lambda: D.IndependentTransform(D.ExpTransform(), 1)(m.tensor(1.0))):
            with pytest.raises(ValueError):
                make()
        with pytest.raises(AssertionError):
            D.CatTransform([3])
        with pytest.raises(AssertionError):
            D.StackTransform([D.ExpTransform()])(m.ones(3))
        with pytest.raises(NotImplementedError):
            D.Transform()(m.ones(2))


# --- constraints --------------------------------------------------------------------------------------------------------------------------

CONSTRAINTS = {
    "boolean": lambda c, m: c.boolean, "one_hot": lambda c, m: c.one_hot, "nonnegative_integer": lambda c, m: c.nonnegative_integer,
    "positive_integer": lambda c, m: c.positive_integer, "integer_interval": lambda c, m: c.integer_interval(-1, 2), "real": lambda c, m: c.real,
    "real_vector": lambda c, m: c.real_vector, "positive": lambda c, m: c.positive, "nonnegative": lambda c, m: c.nonnegative,
    "greater_than": lambda c, m: c.greater_than(1), "greater_than_eq": lambda c, m: c.greater_than_eq(1), "less_than": lambda c, m: c.less_than(1),
    "multinomial": lambda c, m: c.multinomial(3), "unit_interval": lambda c, m: c.unit_interval, "interval": lambda c, m: c.interval(-1, 1),
    "half_open_interval": lambda c, m: c.half_open_interval(0, 2), "simplex": lambda c, m: c.simplex, "lower_triangular": lambda c, m: c.lower_triangular,
    "lower_cholesky": lambda c, m: c.lower_cholesky, "corr_cholesky": lambda c, m: c.corr_cholesky, "square": lambda c, m: c.square,
    "symmetric": lambda c, m: c.symmetric, "positive_semidefinite": lambda c, m: c.positive_semidefinite, "positive_definite": lambda c, m: c.positive_definite,
    "independent": lambda c, m: c.independent(c.positive, 1), "cat": lambda c, m: c.cat([c.positive, c.real], dim=-1, lengths=[1, 1]),
    "stack": lambda c, m: c.stack([c.positive, c.real], dim=-1), "mixture": lambda c, m: c.MixtureSameFamilyConstraint(c.positive),
}
VALUES = [t([0.0, 1.0], [2.0, 0.5]), t([1.0, 0.0], [0.0, 1.0]), t([1.0, 0.0], [0.6, 0.8]), t([2.0, 0.5], [0.5, 1.0]), t([1.0, 2.0], [2.0, 1.0]),
          t([0.25, 0.75], [0.5, 0.5]), t([-1.0, float("nan")], [float("inf"), 3.0])]


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_constraints(name):
    make = CONSTRAINTS[name]
    a, b = make(ours.constraints, rl), make(theirs.constraints, pt)
    assert a.event_dim == b.event_dim and a.is_discrete == b.is_discrete and (repr(a) == repr(b) or name in ("cat", "stack", "multinomial"))
    for value in VALUES:
        if name in ("positive_semidefinite", "positive_definite") and not bool(value.isfinite().all()):
            continue
        assert_same(a.check(to_rl(value)), b.check(value), what=str(value))
    for registry in ("biject_to", "transform_to"):
        x, y = outcome(lambda: getattr(ours, registry)(a)), outcome(lambda: getattr(theirs, registry)(b))
        assert x is y if isinstance(y, type) else repr(x) == repr(y)
        if not isinstance(y, type):
            shape = y.inverse_shape(pt.Size((4, 4)))
            noise = pt.linspace(-1, 1, math.prod(shape), dtype=pt.float64).reshape(shape)
            if name not in ("cat", "stack"):
                assert_same(x(to_rl(noise)), y(noise))
                assert bool(a.check(x(to_rl(noise))).all())


def test_dependent_constraints():
    for D in (ours, theirs):
        c = D.constraints
        assert c.is_dependent(c.dependent) and c.is_dependent(D.Uniform.support) and not c.is_dependent(c.real)
        assert D.Uniform.support.event_dim == 0 and D.Uniform.support.is_discrete is False
        assert c.dependent(is_discrete=True, event_dim=1).event_dim == 1
        with pytest.raises(NotImplementedError):
            c.dependent.event_dim  # noqa: B018
        with pytest.raises(ValueError):
            c.dependent.check(1)
        with pytest.raises(NotImplementedError, match="Cannot transform"):
            D.biject_to(c.boolean)
        with pytest.raises(TypeError):
            D.biject_to.register(3, lambda x: x)


# --- ops ----------------------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sampling_ops(dtype):
    calls = {
        **{f"gamma {a}": (lambda m, a=a: m._standard_gamma(m.full((60,), a, dtype=getattr(m, dtype)))) for a in (0.01, 0.4, 1.0, 2.5, 30.0, 1e5)},
        **{f"dirichlet {a}": (lambda m, a=a: m._sample_dirichlet(m.tensor([a] * 20, dtype=getattr(m, dtype)))) for a in ((0.1, 0.1), (1.0, 2.0, 3.0), (50.0, 0.2))},
        **{f"binomial {n} {p}": (lambda m, n=n, p=p: m.binomial(m.full((60,), n, dtype=getattr(m, dtype)), m.full((60,), p, dtype=getattr(m, dtype))))
           for n, p in ((10.0, 0.3), (10.0, 0.7), (1000.0, 0.4), (1000.0, 0.95), (5.0, 0.0), (5.0, 1.0), (0.0, 0.5))},
        "poisson": lambda m: m.poisson(m.tensor([0.0, 0.5, 9.0, 30.0, 1e4] * 10, dtype=getattr(m, dtype))),
    }
    for name, call in calls.items():
        results = []
        for m in MODULES:
            m.manual_seed(9)
            results.append((call(m), rng_state(m)))
        assert to_numpy(results[0][0]).tolist() == to_numpy(results[1][0]).tolist(), name
        assert np.array_equal(results[0][1], results[1][1]), name


def test_gradients_against_numerical_ones():
    """Where PyTorch's approximation is the weaker side: move the shape parameter, keep the probability (SciPy's inverse)."""
    special = pytest.importorskip("scipy.special")
    for a in (0.05, 0.7, 1.0, 3.0, 40.0, 3000.0, 1e6):
        for p in (0.001, 0.1, 0.5, 0.9, 0.9999):
            step = a * 1e-4
            numeric = (special.gammaincinv(a + step, p) - special.gammaincinv(a - step, p)) / (2 * step)
            x = special.gammaincinv(a, p)
            if x < 1e-250:
                continue
            exact = rl._standard_gamma_grad(rl.tensor([a], dtype=rl.float64), rl.tensor([x], dtype=rl.float64)).item()
            assert exact == pytest.approx(numeric, rel=2e-5)
    for a, b in ((0.3, 0.4), (2.0, 5.0), (60.0, 3.0), (500.0, 700.0)):
        for p in (0.01, 0.4, 0.99):
            step = a * 1e-4
            numeric = (special.betaincinv(a + step, b, p) - special.betaincinv(a - step, b, p)) / (2 * step)
            x = special.betaincinv(a, b, p)
            values = [rl.tensor([v], dtype=rl.float64) for v in (x, a, a + b)]
            assert rl._dirichlet_grad(*values).item() * (1 - x) == pytest.approx(numeric, rel=2e-5)


def test_op_errors():
    for m in MODULES:
        with pytest.raises(NotImplementedError):
            m._standard_gamma(m.ones(2, dtype=m.int64))
        with pytest.raises(ValueError, match="floating-point"):
            m.binomial(m.ones(2, dtype=m.int64), m.ones(2))
        a = m.ones(2, requires_grad=True)
        g, = m.autograd.grad(m._standard_gamma(a).sum(), a, create_graph=True)
        with pytest.raises((RuntimeError, NotImplementedError), match="not implemented"):
            g.sum().backward()


def test_names_and_signatures():
    missing = [name for name in theirs.__all__ if not hasattr(ours, name)]
    assert not missing
    for name in theirs.__all__:
        first, second = getattr(ours, name), getattr(theirs, name)
        if inspect.isclass(second):
            assert list(inspect.signature(first.__init__).parameters) == list(inspect.signature(second.__init__).parameters), name
            assert [base.__name__ for base in second.__mro__ if base.__module__.startswith("torch.distributions")] == \
                [base.__name__ for base in first.__mro__ if base.__module__.startswith("rushlight.distributions")
                 and not base.__name__.startswith("_") and base.__module__ != "rushlight.distributions.parameters"], name
