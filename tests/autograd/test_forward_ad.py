"""Forward mode: dual tensors, custom jvp and vmap rules, gradcheck's forward checks, vectorised Jacobians; against torch."""

import pytest
import torch as pt

import rushlight as rl
from tests.support.common import assert_same, to_rl

pt.manual_seed(0)
X, Y = pt.randn(3, 4), pt.randn(3, 4)


def parts(t, function, *pairs):
    """(value, tangent) of a function of dual tensors."""
    ad = t.autograd.forward_ad
    with ad.dual_level():
        out = ad.unpack_dual(function(*[ad.make_dual(x, v) for x, v in pairs]))
        return out.primal, out.tangent


CASES = {
    "sin": lambda t, x: x.sin(),
    "matmul": lambda t, x: x @ x.t(),
    "views": lambda t, x: x.t()[1:].reshape(-1).unsqueeze(0),
    "inplace": lambda t, x: x.clone().mul_(2).add_(x),
    "setitem": lambda t, x: (lambda z: (z.__setitem__((slice(None), 0), x[:, 1] * 3), z)[1])(t.zeros(3, 4)),
    "softmax": lambda t, x: t.nn.functional.log_softmax(x, -1).exp(),
    "reduction": lambda t, x: x.std(0) + x.amax(),
    "no_grad": lambda t, x: t.no_grad()(lambda: (x * 2).exp())(),
    "conv": lambda t, x: t.nn.functional.conv1d(x[None], t.ones(2, 3, 2), padding=1),
    "sort": lambda t, x: x.sort(0).values.cumprod(0),
    "cat": lambda t, x: t.cat([x, x.flip(0)]).index_select(0, t.tensor([0, 5])),
}


@pytest.mark.parametrize("name", CASES)
def test_dual_tensors(name):
    function = CASES[name]
    ours, theirs = (parts(t, lambda x: function(t, x), (x, v)) for t, x, v in ((rl, to_rl(X), to_rl(Y)), (pt, X, Y)))
    assert_same(ours, theirs, rtol=1e-4, atol=1e-5)


def test_what_has_no_tangent():
    for t in (rl, pt):
        ad = t.autograd.forward_ad
        x = t.ones(3)
        assert ad.unpack_dual(x).tangent is None and ad.unpack_dual(x).primal is x
        with ad.dual_level():
            dual = ad.make_dual(x, x)
            assert ad.unpack_dual(x * 2).tangent is None
            assert ad.unpack_dual(dual.detach()).tangent is None
            assert ad.unpack_dual(dual > 0).tangent is None
        assert ad.unpack_dual(dual).tangent is None


def test_errors():
    for t in (rl, pt):
        ad = t.autograd.forward_ad
        x = t.ones(3)
        with pytest.raises(RuntimeError, match="no level exists"):
            ad.make_dual(x, x)
        with ad.dual_level():
            with pytest.raises(ValueError, match="floating point or complex"):
                ad.make_dual(t.arange(3), x)
            with pytest.raises(RuntimeError, match="different size"):
                ad.make_dual(x, t.ones(2))
            with pytest.raises(RuntimeError, match="Nested forward mode"):
                ad.enter_dual_level()
            with pytest.raises(RuntimeError, match="already has a forward gradient"):
                ad.make_dual(ad.make_dual(x, x), x)
        with pytest.raises(RuntimeError, match="not the last one"):
            ad.exit_dual_level(level=3)


def test_reverse_over_forward_and_forward_over_reverse():
    for t in (rl, pt):
        ad = t.autograd.forward_ad
        x, v = t.tensor([1.0, 2.0], requires_grad=True), t.tensor([1.0, 0.5])
        with ad.dual_level():
            tangent = ad.unpack_dual(ad.make_dual(x, v) ** 3).tangent
            tangent.sum().backward()
        assert x.grad.tolist() == [6.0, 6.0]
        z = t.tensor([1.0, 2.0], requires_grad=True)
        with ad.dual_level():
            dual = ad.make_dual(z, v)
            (g,) = t.autograd.grad((dual ** 3).sum(), dual)
            assert ad.unpack_dual(g).tangent.tolist() == [6.0, 6.0]


def power(t, **attributes):
    """A custom function x ** n whose jvp says 10 times the truth, to see that it is used."""
    class Power(t.autograd.Function):
        @staticmethod
        def forward(x, n):
            return x ** n

        @staticmethod
        def setup_context(ctx, inputs, output):
            x, ctx.n = inputs
            ctx.save_for_backward(x)
            ctx.save_for_forward(x)

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return g * ctx.n * x ** (ctx.n - 1), None

        @staticmethod
        def jvp(ctx, x_t, n_t):
            assert n_t is None
            (x,) = ctx.saved_tensors
            return 10 * x_t * ctx.n * x ** (ctx.n - 1)
    for name, value in attributes.items():
        setattr(Power, name, value)
    return Power


def test_custom_jvp():
    results = []
    for t, x, v in ((rl, to_rl(X), to_rl(Y)), (pt, X, Y)):
        f = power(t)
        results.append([*t.func.jvp(lambda x: f.apply(x.sin(), 3).cos(), (x,), (v,)), *parts(t, lambda x: f.apply(x, 2), (x, v)),
                        t.func.grad(lambda x: f.apply(x, 3).sum())(x)])
    assert_same(*results, rtol=1e-4, atol=1e-5)


def test_custom_vmap():
    results = []
    for t, x in ((rl, to_rl(X)), (pt, X)):
        seen = []

        def rule(info, in_dims, x, n, t=t, seen=seen):
            seen.append((info.batch_size, info.randomness, n, in_dims[1]))
            return x ** n + 1, in_dims[0]
        own, generated = power(t, vmap=staticmethod(rule)), power(t, generate_vmap_rule=True)
        results.append([t.vmap(lambda v: own.apply(v, 2), in_dims=1)(x), t.vmap(lambda v: generated.apply(v, 2))(x),
                        t.vmap(t.func.grad(lambda v: generated.apply(v, 3).sum()))(x)])
        assert seen == [(4, "error", 2, None)]
        with pytest.raises(RuntimeError, match="does not have vmap support"):
            t.vmap(lambda v: power(t).apply(v, 2))(x)
        with pytest.raises(RuntimeError, match="both generate_vmap_rule=True"):
            t.vmap(lambda v: power(t, generate_vmap_rule=True, vmap=staticmethod(rule)).apply(v, 2))(x)
        with pytest.raises(RuntimeError, match="two returns"):
            t.vmap(lambda v: power(t, vmap=staticmethod(lambda info, dims, x, n: x)).apply(v, 2))(x)
    assert_same(*results, rtol=1e-4, atol=1e-5)


def test_functional_jacobians():
    x, y = X[0].double(), Y[0].double()

    def function(a, b):
        return a.sin() * b.sum(), (a * b).sum()
    scalar = lambda a, b: (a ** 2 * b).sum()
    for options in ({"vectorize": True}, {"vectorize": True, "strategy": "forward-mode"}, {}):
        assert_same(rl.autograd.functional.jacobian(function, (to_rl(x), to_rl(y)), **options),
                    pt.autograd.functional.jacobian(function, (x, y), **options))
        hessian = {"strategy": "outer_jacobian_strategy"}
        options = {hessian.get(key, key): value for key, value in options.items()}
        theirs = pt.autograd.functional.hessian(scalar, (x, y), **options)
        assert_same(rl.autograd.functional.hessian(scalar, (to_rl(x), to_rl(y)), **options), [[each.detach() for each in row] for row in theirs])
    for t in (rl, pt):
        v = t.ones(2)
        with pytest.raises(NotImplementedError):
            t.autograd.functional.jacobian(t.sin, v, strategy="forward-mode")
        with pytest.raises(NotImplementedError):
            t.autograd.functional.jacobian(t.sin, v, strategy="forward-mode", vectorize=True, create_graph=True)
        with pytest.raises(RuntimeError):
            t.autograd.functional.jacobian(t.sin, v, vectorize=True, strict=True)


def test_batched_gradients():
    def function(t, x, rows):
        x = x.clone().requires_grad_()
        y = (x.cumsum(0) @ x.t()).sin()
        return t.autograd.grad(y, x, rows, is_grads_batched=True)
    rows = pt.randn(5, 3, 3)
    assert_same(function(rl, to_rl(X), to_rl(rows)), function(pt, X, rows), rtol=1e-4, atol=1e-5)


def test_gradcheck_forward():
    x = rl.rand(3, dtype=rl.float64, requires_grad=True)
    check = {"check_forward_ad": True, "check_batched_grad": True, "check_batched_forward_grad": True}
    assert rl.autograd.gradcheck(lambda v: v.sin() * v.sum(), x, **check)
    assert rl.autograd.gradgradcheck(lambda v: v.sin() * v.sum(), x, check_fwd_over_rev=True)
    z = rl.randn(3, dtype=rl.complex128, requires_grad=True)
    for function in (lambda v: v.sin() * v.sum(), lambda v: v.abs(), lambda v: v.conj() * v):
        assert rl.autograd.gradcheck(function, z, check_forward_ad=True)
    wrong = power(rl)
    assert rl.autograd.gradcheck(lambda v: wrong.apply(v, 2), x)
    with pytest.raises(RuntimeError, match="forward mode"):
        rl.autograd.gradcheck(lambda v: wrong.apply(v, 2), x, check_forward_ad=True)
    with pytest.raises(ValueError):
        rl.autograd.gradcheck(lambda v: v * 2, x, check_batched_forward_grad=True)


def test_levels_inside_no_grad_and_as_decorators():
    for t in (rl, pt):
        ad = t.autograd.forward_ad
        x = t.ones(2)
        with t.no_grad(), ad.dual_level():
            parts = ad.unpack_dual(ad.make_dual(x, x) ** 2)
            assert parts.tangent.tolist() == [2.0, 2.0] and not parts.tangent.requires_grad

        @ad.dual_level()
        def function():
            return ad.unpack_dual(ad.make_dual(x, x) * 3).tangent
        assert function().tolist() == [3.0, 3.0]
        with pytest.raises(RuntimeError):
            ad.make_dual(x, x)
        weight = t.ones(2, requires_grad=True)
        with ad.dual_level():
            dual = ad.make_dual(x, x)
            assert ad.unpack_dual(t.nn.functional.relu(dual * weight)).tangent.requires_grad


@pytest.mark.parametrize("m", [pt, rl], ids=["pytorch", "rushlight"])
def test_the_tangent_that_was_given(m):
    fwAD = m.autograd.forward_ad
    assert fwAD._current_level == -1
    with fwAD.dual_level():
        tangent = m.ones(2)
        dual = fwAD.make_dual(m.zeros(2), tangent)
        assert fwAD.unpack_dual(dual).tangent is tangent and fwAD._current_level == 0
        dual *= 2
        assert fwAD.unpack_dual(dual).tangent.tolist() == [2.0, 2.0]
