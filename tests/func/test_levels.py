"""Several vmaps and plain code in one graph, writes inside vmap, nested indices, fused ops under Jacobians: values against torch."""

import warnings

import numpy as np
import pytest
import torch as pt

import rushlight as rl
from tests.support.common import to_rl

pt.manual_seed(0)
X, INDEX, MASK = pt.randn(3, 4), pt.tensor([[0, 2], [1, 1], [3, 0]]), pt.randn(3, 4) > 0


def leaf(t, *shape):
    return t.ones(*shape, requires_grad=True)


def gradient(w, loss):
    loss.backward()
    return w.grad


def beside(t, x, *sizes):
    """Two vmaps of other sizes and a plain term, all of one leaf."""
    w = leaf(t, 4)
    f = t.vmap(lambda v: (w * v).sum())
    return gradient(w, f(x).sum() + f(x[:2]).sum() + (w * w).sum())


def through(inside):
    """The gradient of what all samples share, beside a plain term."""
    def run(t, x, *shape):
        w = leaf(t, *(shape or (4,)))
        return gradient(w, t.vmap(lambda v: inside(t, v, w))(x).sin().sum() + (w * w).sum())
    return run


def written(change):
    """What a function leaves in a tensor that it made from its sample."""
    def run(t, x):
        def f(v):
            z = v.new_zeros(4)
            change(t, z, v)
            return z
        return t.vmap(f)(x)
    return run


def set_item(z, index, value):
    z[index] = value
    return z


def nested(f):
    """Each row of x with each row of indices (or masks)."""
    return lambda t, x, i: t.vmap(t.vmap(lambda v, k: f(t, v, k), (None, 0)), (0, None))(x, i)


def retained(t, x):
    w = leaf(t, 4)
    v = w * 2
    v.retain_grad()
    (t.vmap(lambda row: (row * v).sum())(x).sum() + (v * v).sum()).backward()
    return v.grad, w.grad


def hooked(t, x):
    w = leaf(t, 4)
    w.register_hook(lambda g: g * 2)
    return gradient(w, t.vmap(lambda v: (v * w).sum())(x).sum() + (w * w).sum())


def second(t, x):
    w = leaf(t, 4)
    g, = t.autograd.grad(t.vmap(lambda v: (v * w * w).sum())(x).sum() + (w ** 3).sum(), w, create_graph=True)
    return gradient(w, (g * g).sum())


def checkpointed(t, x):
    w = leaf(t, 4)
    once = t.utils.checkpoint.checkpoint(lambda w: t.vmap(lambda v: (v * w * w).sum())(x).sum(), w, use_reentrant=False)
    return gradient(w, once + (w ** 3).sum())


def batched_cotangents(t, x):
    w = leaf(t, 4)
    y = w.sin() * x[0]
    g, = t.autograd.grad(y, w, t.stack([x[1], x[2], x[0]]), is_grads_batched=True, create_graph=True)
    return gradient(w, (g * g).sum() + y.sum())


def jacobians(t, x):
    w = leaf(t, 4)
    return gradient(w, sum(t.func.jacrev(lambda v: w * w * v)(row).sum() for row in x))


def vectorized(t, x):
    w = leaf(t, 4)
    return gradient(w, sum(t.autograd.functional.jacobian(lambda v: w * w * v, row, create_graph=True, vectorize=True).sum() for row in x))


def ensemble(t, x):
    models = [t.nn.Linear(4, 2) for _ in range(3)]
    for i, m in enumerate(models):
        with t.no_grad():
            m.weight.copy_(t.arange(8).reshape(2, 4) * 0.1 * (i + 1))
            m.bias.zero_()
    params, _ = t.func.stack_module_state(models)
    t.vmap(lambda p, v: t.func.functional_call(models[0], p, (v,)), (0, None))(params, x).sin().sum().backward()
    return [p.grad for p in params.values()]


CASES = {
    "beside": (beside, X), "hooked": (hooked, X), "retained": (retained, X), "second": (second, X), "checkpointed": (checkpointed, X),
    "batched_cotangents": (batched_cotangents, X), "jacobians": (jacobians, X), "vectorized": (vectorized, X), "ensemble": (ensemble, X),
    "cat": (through(lambda t, v, w: t.cat([w, v])), X), "stack": (through(lambda t, v, w: t.stack([w, v, w * v])), X),
    "in_place": (through(lambda t, v, w: v.clone().mul_(w).add_(w)), X),
    "set_item": (through(lambda t, v, w: set_item(v.clone(), slice(1, 3), w[:2] * w[2:])), X),
    "layer_norm": (through(lambda t, v, w: t.nn.functional.layer_norm(v, (4,), w, w)), X),
    "jvp": (through(lambda t, v, w: t.func.jvp(lambda u: (u * w).sin(), (v,), (w * v,))[1]), X),
    "new_zeros": (written(lambda t, z, v: set_item(z, 0, v.sum())), X), "view": (written(lambda t, z, v: z[1:3].copy_(v[:2])), X),
    "copy_": (written(lambda t, z, v: z.copy_(v)), X), "row": (written(lambda t, z, v: set_item(z, slice(0, 2), v[2:])), X),
    "empty_like": (lambda t, x: t.vmap(lambda v: t.empty_like(v).copy_(v * 2))(x), X),
    "full": (lambda t, x: t.vmap(lambda v: set_item(v.new_full((2, 2), 3.0), 1, v[:2]))(x), X),
    "strided": (lambda t, x: t.vmap(lambda v: set_item(set_item(v.new_empty_strided((2, 3), (3, 1)), 0, v.sum()), 1, 1.0))(x), X),
    "index": (nested(lambda t, v, i: v[i]), X, INDEX), "index_put": (nested(lambda t, v, i: v.clone().index_put((i,), v.sum())), X, INDEX),
    "gather": (nested(lambda t, v, i: v.gather(0, i)), X, INDEX), "scatter": (nested(lambda t, v, i: v.scatter_add(0, i, v[:2])), X, INDEX),
    "masked_fill": (nested(lambda t, v, m: v.masked_fill(m, 0.0)), X, MASK), "where": (nested(lambda t, v, m: t.where(m, v, v * 2)), X, MASK),
    "put": (lambda t, x: t.vmap(t.vmap(lambda v, s: v.put(t.tensor([0, 2]), s), (None, 0)), (0, None))(x, x[:, :2]), X),
    "grad_index": (nested(lambda t, v, i: t.func.grad(lambda u: u[i].sin().sum())(v)), X, INDEX),
    "hessian_index": (nested(lambda t, v, i: t.func.hessian(lambda u: (u[i] ** 3).prod())(v)), X, INDEX),
    "vmap_jacfwd": (lambda t, x: t.vmap(t.func.jacfwd(lambda v: (v ** 4).sum()))(x), X),
    "vmap_hessian": (lambda t, x: t.vmap(t.func.hessian(lambda v: v[0] * v[1] * v[3]))(x), X),
}


def leaves(value):
    return [t for each in value for t in leaves(each)] if isinstance(value, (list, tuple)) else [value.detach().numpy()]


def compare(function, *args):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for ours, theirs in zip(leaves(function(rl, *to_rl(list(args)))), leaves(function(pt, *args)), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_values(name):
    compare(*CASES[name])


# Fused ops, whose array gradients have no batched form: (function, shape).
FUSED = {
    "layer_norm": (lambda t, x: t.nn.functional.layer_norm(x, (4,), x[0], x[1]), (2, 4)),
    "batch_norm": (lambda t, x: t.nn.functional.batch_norm(x, None, None, training=True), (3, 4)),
    "group_norm": (lambda t, x: t.nn.functional.group_norm(x, 2), (2, 4, 3)),
    "attention": (lambda t, x: t.nn.functional.scaled_dot_product_attention(x, x * 2, x + 1, is_causal=True), (1, 2, 3, 4)),
    "bilinear": (lambda t, x: t.nn.functional.interpolate(x, scale_factor=2, mode="bilinear"), (1, 1, 2, 3)),
    "reflect": (lambda t, x: t.nn.functional.pad(x, (1, 1), mode="reflect"), (1, 2, 3)),
    "conv": (lambda t, x: t.nn.functional.conv1d(x[None], x[:, None, :2] * x[0, 0], groups=2), (2, 4)),
    "lstm_cell": (lambda t, x: t.cat(t.lstm_cell(x[:1], (x[1:2], x[2:3]), x.tile(4, 1), x.tile(4, 1) * 0.5)), (3, 3)),
    "gru_cell": (lambda t, x: t.gru_cell(x[:1], x[1:2], x.tile(3, 1), x.tile(3, 1) * 0.5), (3, 3)),
    "rnn_cell": (lambda t, x: t.rnn_tanh_cell(x[:1], x[1:2], x, x * 0.5), (3, 3)),
}


@pytest.mark.parametrize("name", FUSED)
def test_jacobians_of_fused_ops(name):
    f, shape = FUSED[name]
    compare(lambda t, x: t.func.jacrev(lambda v: f(t, v))(x), pt.randn(shape))
    compare(lambda t, x: t.vmap(t.func.jacrev(lambda v: f(t, v)))(t.stack([x, x * 1.1])), pt.randn(shape))
    x = rl.randn(shape)
    rows = rl.autograd.functional.jacobian(lambda v: f(rl, v), x)         # PyTorch has no forward mode for some of them
    np.testing.assert_allclose(rl.func.jacfwd(lambda v: f(rl, v))(x).numpy(), rows.numpy(), rtol=1e-3, atol=1e-4)


def test_a_tensor_from_outside_refuses_values_of_samples():
    for t in (rl, pt):
        shared = t.zeros(2)
        for write in (lambda v, z: set_item(z, 0, v.sum()), lambda v, z: z.copy_(v), lambda v, z: z.index_fill_(0, t.tensor([0]), v.sum())):
            with pytest.raises(RuntimeError) as error:
                t.vmap(lambda v, write=write, shared=shared: write(v, shared))(t.ones(3, 2))
            assert type(error.value) is RuntimeError
        assert shared.tolist() == [0.0, 0.0]


def test_roll_of_numbers():
    x = rl.arange(3.0)
    assert rl.vmap(lambda v: v.roll(1))(x).tolist() == x.tolist()        # PyTorch rolls the batch
