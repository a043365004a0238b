"""torch.func: grad, vjp, jvp, Jacobians and their compositions, against torch."""

import pytest
import torch as pt

import rushlight as rl
from tests.support.common import assert_same, assert_same_behaviour, to_rl

pt.manual_seed(0)
X, Y, A = pt.randn(3, 4), pt.randn(3, 4), pt.randn(5, 4)
W, IMAGES, INDEX = pt.randn(4, 2, 3, 3), pt.randn(3, 2, 5, 5), pt.tensor([0, 2, 3])


def flat(value):
    """Dicts as lists."""
    if isinstance(value, dict):
        return [flat(each) for each in value.values()]
    return [flat(each) for each in value] if isinstance(value, (list, tuple)) else value


def f_of(t):
    return t.func


FUNCTIONS = {
    "grad": (lambda t, x: t.func.grad(lambda v: v.sin().sum())(x), X),
    "grad_argnums": (lambda t, x, y: t.func.grad(lambda a, b: (a * b).sum(), argnums=(1, 0))(x, y), X, Y),
    "grad_negative_argnum": (lambda t, x, y: t.func.grad(lambda a, b: (a * b * b).sum(), argnums=-1)(x, y), X, Y),
    "grad_pytree": (lambda t, x, y: t.func.grad(lambda d: (d["a"] * d["b"][0]).sum())({"a": x, "b": [y]}), X, Y),
    "grad_aux": (lambda t, x: t.func.grad(lambda v: ((v * v).sum(), {"out": v.exp()}), has_aux=True)(x), X),
    "grad_and_value": (lambda t, x: t.func.grad_and_value(lambda v: (v ** 3).sum())(x), X),
    "grad_unused": (lambda t, x, y: t.func.grad(lambda a, b: (a * a).sum(), argnums=1)(x, y), X, Y),
    "grad_of_grad": (lambda t, x: t.func.grad(lambda v: t.func.grad(lambda u: (u ** 3 * v).sum())(v).sum())(x), X),
    "per_sample": (lambda t, x, a: t.vmap(t.func.grad(lambda w, v: (t.nn.functional.linear(v, w) ** 2).sum()), in_dims=(None, 0))(a, x), X, A),
    "per_sample_conv": (lambda t, x, w: t.vmap(t.func.grad(lambda w, v: t.nn.functional.conv2d(v[None], w, padding=1).square().sum()),
                                               in_dims=(None, 0))(w, x), IMAGES, W),
    "per_sample_loss": (lambda t, x, i: t.vmap(t.func.grad(lambda v, i: t.nn.functional.cross_entropy(v[None], i[None])))(x, i), X, INDEX),
    "perturbations": (lambda t, x: t.func.grad(lambda v: v * t.func.grad(lambda u: u * v)(t.tensor(2.0)))(x[0, 0]), X),
    "perturbations_forward": (lambda t, x: t.func.jvp(lambda v: v * t.func.jvp(lambda u: u + v, (t.tensor(1.0),), (t.tensor(1.0),))[1],
                                                      (x[0, 0],), (t.tensor(1.0),)), X),
    "vjp": (lambda t, x, y: (lambda out, pull: (out, pull(y)))(*t.func.vjp(lambda v: v.sin(), x)), X, Y),
    "vjp_tree": (lambda t, x, y: (lambda out, pull: pull((y, {"s": t.tensor(2.0)})))(*t.func.vjp(lambda a, b: (a * b, {"s": a.sum()}), x, y)), X, Y),
    "vjp_aux": (lambda t, x, y: (lambda out, pull, aux: (out, pull(y), aux))(*t.func.vjp(lambda v: (v.sin(), v.cos()), x, has_aux=True)), X, Y),
    "jvp": (lambda t, x, y: t.func.jvp(lambda v: v.sin().cumsum(0), (x,), (y,)), X, Y),
    "jvp_two": (lambda t, x, y: t.func.jvp(lambda a, b: (a @ b.t(), a.sum()), (x, y), (y, x)), X, Y),
    "jvp_aux": (lambda t, x, y: t.func.jvp(lambda v: (v.sin(), v.cos()), (x,), (y,), has_aux=True), X, Y),
    "jvp_independent": (lambda t, x, y: t.func.jvp(lambda v: t.ones(2), (x,), (y,)), X, Y),
    "jvp_of_jvp": (lambda t, x, y: t.func.jvp(lambda v: t.func.jvp(lambda u: u.sin() * v, (v,), (y,))[1], (x,), (y,)), X, Y),
    "jvp_in_no_grad": (lambda t, x, y: t.func.jvp(lambda v: t.no_grad()(lambda u: u * u)(v), (x,), (y,)), X, Y),
    "hvp": (lambda t, x, y: t.func.jvp(t.func.grad(lambda v: (v ** 3).sum()), (x,), (y,))[1], X, Y),
    "grad_of_jvp": (lambda t, x, y: t.func.grad(lambda v: t.func.jvp(lambda u: u ** 3, (v,), (y,))[1].sum())(x), X, Y),
    "linearize": (lambda t, x, y: (lambda out, push: (out, push(y), push(2 * y)))(*t.func.linearize(lambda v: v.sin(), x)), X, Y),
    "jacrev": (lambda t, x, a: t.func.jacrev(lambda v: t.tanh(a @ v))(x[0]), X, A),
    "jacrev_chunks": (lambda t, x, a: t.func.jacrev(lambda v: t.tanh(a @ v), chunk_size=2)(x[0]), X, A),
    "jacrev_tree": (lambda t, x, y: t.func.jacrev(lambda a, b: {"p": a * b, "q": (a.sum(), b.exp())}, argnums=(0, 1))(x[0], y[0]), X, Y),
    "jacrev_aux": (lambda t, x: t.func.jacrev(lambda v: (v.sin(), v.sum()), has_aux=True)(x[0]), X),
    "jacfwd": (lambda t, x, a: t.func.jacfwd(lambda v: t.tanh(a @ v))(x[0]), X, A),
    "jacfwd_tree": (lambda t, x, y: t.func.jacfwd(lambda a, b: {"p": a * b, "q": (a.sum(), b.exp())}, argnums=(0, 1))(x[0], y[0]), X, Y),
    "jacfwd_aux": (lambda t, x: t.func.jacfwd(lambda v: (v.sin(), v.sum()), has_aux=True)(x[0]), X),
    "hessian": (lambda t, x: t.func.hessian(lambda v: (v.sin() * v.prod()).sum())(x[0]), X),
    "hessian_argnums": (lambda t, x, y: t.func.hessian(lambda a, b: (a * a * b).sum(), argnums=(0, 1))(x[0], y[0]), X, Y),
    "jacrev_jacfwd": (lambda t, x: t.func.jacrev(t.func.jacfwd(lambda v: v.sin() * v.sum()))(x[0]), X),
    "jacfwd_jacfwd": (lambda t, x: t.func.jacfwd(t.func.jacfwd(lambda v: v.sin() * v.sum()))(x[0]), X),
    "jacrev_jacrev": (lambda t, x: t.func.jacrev(t.func.jacrev(lambda v: v.sin() * v.sum()))(x[0]), X),
    "vmap_jacfwd": (lambda t, x: t.vmap(t.func.jacfwd(lambda v: v.sin() * v.sum()))(x), X),
    "vmap_jacrev": (lambda t, x: t.vmap(t.func.jacrev(lambda v: v.sin() * v.sum()))(x), X),
    "vmap_hessian": (lambda t, x: t.vmap(t.func.hessian(lambda v: (v.sin() * v.sum()).sum()))(x), X),
    "jacrev_vmap": (lambda t, x: t.func.jacrev(t.vmap(lambda v: v.sin() * v.sum()))(x), X),
    "jacfwd_vmap": (lambda t, x: t.func.jacfwd(t.vmap(lambda v: v.sin() * v.sum()))(x), X),
    "grad_vmap": (lambda t, x, a: t.func.grad(lambda w: t.vmap(lambda v: t.mv(w, v).sin().sum())(x).sum())(a), X, A),
    "vmap_grad_vmap": (lambda t, x, a: t.vmap(lambda c: t.func.grad(lambda w: t.vmap(lambda v: (t.mv(w, v) * c[0]).sin().sum())(x).sum())(a))(x), X, A),
    "vmap_jvp": (lambda t, x, y: t.vmap(lambda v, w: t.func.jvp(lambda u: u.prod() * u, (v,), (w,)))(x, y), X, Y),
    "grad_in_no_grad": (lambda t, x: t.no_grad()(lambda: t.func.grad(lambda v: (v * v).sum())(x))(), X),
    "functionalize": (lambda t, x: t.func.functionalize(lambda v: v.clone().mul_(2).view(-1))(x), X),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name):
    function, *args = FUNCTIONS[name]
    assert_same(flat(function(rl, *to_rl(list(args)))), flat(function(pt, *args)), rtol=1e-4, atol=1e-5)


ERRORS = {
    "grad_vector": lambda t, x: t.func.grad(lambda v: v)(x),
    "grad_number": lambda t, x: t.func.grad(lambda v: 1.0)(x),
    "grad_aux_number": lambda t, x: t.func.grad(lambda v: (v.sum(), 1), has_aux=True)(x),
    "grad_no_tensor": lambda t, x: t.func.grad(lambda v: v.sum())(3.0),
    "grad_argnum": lambda t, x: t.func.grad(lambda v: v.sum(), argnums=2)(x),
    "grad_int": lambda t, x: t.func.grad(lambda v: v.sum())(t.arange(3)),
    "vjp_shape": lambda t, x: t.func.vjp(lambda v: v, x)[1](t.ones(2)),
    "vjp_structure": lambda t, x: t.func.vjp(lambda v: (v, v), x)[1](x),
    "jvp_tuple": lambda t, x: t.func.jvp(lambda v: v, x, x),
    "jvp_shape": lambda t, x: t.func.jvp(lambda v: v, (x,), (t.ones(2),)),
    "jvp_output": lambda t, x: t.func.jvp(lambda v: 3, (x,), (x,)),
    "jvp_int": lambda t, x: t.func.jvp(lambda v: v * 2, (t.arange(3),), (t.arange(3),)),
    "jacrev_output": lambda t, x: t.func.jacrev(lambda v: 3)(x),
    "jacrev_argnum": lambda t, x: t.func.jacrev(lambda v: v, argnums=1)(x),
    "functionalize": lambda t, x: t.func.functionalize(lambda v: v, remove="all")(x),
    "functional_call_keys": lambda t, x: t.func.functional_call(t.nn.Linear(2, 2), ({"weight": x}, {"weight": x}), x),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    assert_same_behaviour(ERRORS[name], X)


def test_results_belong_to_the_callers_graph():
    for t in (rl, pt):
        x = t.ones(3)
        assert not t.func.grad(lambda v: (v * v).sum())(x).requires_grad
        w = t.ones(3, requires_grad=True)
        g = t.func.grad(lambda v: (v * v * w).sum())(x)
        assert g.requires_grad
        g.sum().backward()
        assert w.grad.tolist() == [2.0, 2.0, 2.0]
        y = t.ones(3, requires_grad=True)
        t.func.jvp(lambda v: v ** 3, (y,), (x,))[1].sum().backward()
        assert y.grad.tolist() == [6.0, 6.0, 6.0]
        with t.no_grad():
            assert not t.func.grad(lambda v: (v * w).sum())(y).requires_grad


def test_stack_module_state_checks():
    for t in (rl, pt):
        with pytest.raises(RuntimeError, match="at least one model"):
            t.func.stack_module_state([])
        with pytest.raises(RuntimeError, match="same class"):
            t.func.stack_module_state([t.nn.Linear(2, 2), t.nn.ReLU()])


def test_replace_all_batch_norm_modules():
    for t in (rl, pt):
        model = t.nn.Sequential(t.nn.BatchNorm1d(3))
        assert t.func.replace_all_batch_norm_modules_(model) is model
        assert model[0].running_mean is None and not model[0].track_running_stats


REARRANGED = ["b h w c -> b h w c", "b h w c -> (b h) w c", "b h w c -> h (b w) c", "b h w c -> b (c h w)", "b (h1 h) (w1 w) c -> (b h1 w1) h w c",
              "b ... c -> c (...) b", "... c -> c ...", "b h w (c 1) -> b c h w 1"]


@pytest.mark.parametrize("pattern", REARRANGED)
def test_rearrange(pattern):
    x = pt.arange(2 * 4 * 6 * 3).reshape(2, 4, 6, 3)
    lengths = {"h1": 2, "w1": 3} if "h1" in pattern else {}
    assert_same(rl.func.rearrange(to_rl(x), pattern, **lengths), pt.func.rearrange(x, pattern, **lengths))


def test_rearrange_a_list_and_errors():
    parts = [pt.ones(2, 3), pt.zeros(2, 3)]
    assert_same(rl.func.rearrange([to_rl(t) for t in parts], "n a b -> a (n b)"), pt.func.rearrange(parts, "n a b -> a (n b)"))
    for pattern, lengths in (("a b", {}), ("a b -> a", {}), ("a a -> a", {}), ("a (b -> a b", {}), ("a (b c) -> a b c", {}), ("a b c -> a b c", {}),
                             ("a (b c) -> a b c", {"b": 2}), ("a b -> b a", {"z": 1})):
        with pytest.raises(ValueError):
            rl.func.rearrange(rl.ones(2, 3), pattern, **lengths)


def test_debug_unwrap():
    for t in (rl, pt):
        seen = []
        t.vmap(lambda v: (seen.append(t.func.debug_unwrap(v)), v)[1])(t.ones(2, 3))
        assert tuple(seen[0].shape) == (2, 3)
