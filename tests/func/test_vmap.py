"""vmap: against torch, and against calling the function once per sample."""

import numpy as np
import pytest
import torch as pt

import rushlight as rl
from tests.support.common import assert_same, assert_same_behaviour, to_numpy, to_rl

pt.manual_seed(0)
X, Y, A = pt.randn(3, 4), pt.randn(3, 4), pt.randn(5, 4)
W, IMAGES = pt.randn(4, 2, 3, 3), pt.randn(3, 2, 5, 5)
SPD = (lambda m: m @ m.mT + pt.eye(3))(pt.randn(4, 3, 3))
INDEX = pt.tensor([0, 2, 3])


def both_same(function, *args):
    """``function(torch, *args)`` gives the same on both sides."""
    ours, theirs = function(rl, *to_rl(list(args))), function(pt, *args)
    assert_same(ours, theirs, rtol=1e-4, atol=1e-5)


FUNCTIONS = {
    "arithmetic": (lambda t, x, y: t.vmap(lambda a, b: a * b + 1)(x, y), X, Y),
    "dot": (lambda t, x, y: t.vmap(t.dot)(x, y), X, Y),
    "matrix_shared": (lambda t, x, a: t.vmap(t.mv, in_dims=(None, 0))(a, x), X, A),
    "linear": (lambda t, x, a: t.vmap(lambda v: t.nn.functional.linear(v, a))(x), X, A),
    "softmax": (lambda t, x: t.vmap(lambda v: t.softmax(v, 0))(x), X),
    "nested": (lambda t, x, y: t.vmap(t.vmap(lambda a, b: a * b, in_dims=(0, None)), in_dims=(None, 0))(x[0], y[0]), X, Y),
    "in_dims": (lambda t, x: t.vmap(lambda v: v.cumsum(0), in_dims=-1, out_dims=-1)(x), X),
    "pytree": (lambda t, x, y: t.vmap(lambda d, s: (d["a"] * s, [d["b"]]), in_dims=({"a": 0, "b": 1}, None), out_dims=(1, 0))(
        {"a": x, "b": y.t()}, 2.0), X, Y),
    "out_dims": (lambda t, x: t.vmap(lambda v: (v, v.sum()), out_dims=(-1, 0))(x), X),
    "unbatched_output": (lambda t, x: t.vmap(lambda v: (v, t.ones(2)), out_dims=(0, None))(x), X),
    "expanded_output": (lambda t, x: t.vmap(lambda v: t.ones(2))(x), X),
    "index": (lambda t, x: t.vmap(lambda v: v[1:3] * v[t.tensor([0, 2])])(x), X),
    "batched_index": (lambda t, x, i: t.vmap(lambda v, i: v[i])(x, i), X, INDEX),
    "gather": (lambda t, x, i: t.vmap(lambda v, i: v.gather(0, i))(x, i), X, pt.tensor([[0, 2], [1, 3], [3, 3]])),
    "sort": (lambda t, x: tuple(t.vmap(lambda v: v.sort(descending=True))(x)), X),
    "where": (lambda t, x: t.vmap(lambda v: t.where(v > 0, v, 0.0))(x), X),
    "embedding": (lambda t, a, i: t.vmap(lambda i: t.nn.functional.embedding(i, a))(i), A, pt.tensor([[0, 2], [3, 3]])),
    "cholesky": (lambda t, x: t.vmap(t.linalg.cholesky)(x), SPD),
    "conv": (lambda t, x, w: t.vmap(lambda v: t.nn.functional.conv2d(v, w, padding=1))(x), IMAGES.expand(2, 3, 2, 5, 5), W),
    "layer_norm": (lambda t, x: t.vmap(lambda v: t.nn.functional.layer_norm(v, (4,)))(x), X),
    "cross_entropy": (lambda t, x, i: t.vmap(lambda v, i: t.nn.functional.cross_entropy(v[None], i[None]))(x, i), X, INDEX),
    "inplace": (lambda t, x: t.vmap(lambda v: v.clone().add_(1).mul_(v))(x), X),
    "chunks": (lambda t, x, a: t.vmap(lambda v: a @ v, chunk_size=2)(x), X, A),
    "empty": (lambda t, x: t.vmap(lambda v: v + 1)(x[:0]), X),
    "kwargs": (lambda t, x, y: t.vmap(lambda v, *, w: v + w)(x, w=y[0]), X, Y),
    "bool": (lambda t, x: t.vmap(lambda v: (v > 0).any())(x), X),
    "complex": (lambda t, x: t.vmap(lambda v: t.fft.fft(v).abs())(x) if hasattr(t, "fft") else x, X),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name):
    both_same(*FUNCTIONS[name])


ERRORS = {
    "item": lambda t, x: t.vmap(lambda v: v.sum().item())(x),
    "if": lambda t, x: t.vmap(lambda v: v if v.sum() > 0 else -v)(x),
    "shared_write": lambda t, x: t.vmap(lambda v: t.zeros(4).add_(v))(x),
    "no_tensor_output": lambda t, x: t.vmap(lambda v: 3)(x),
    "batched_for_none": lambda t, x: t.vmap(lambda v: v, out_dims=None)(x),
    "out_dim_range": lambda t, x: t.vmap(lambda v: v, out_dims=3)(x),
    "sizes": lambda t, x: t.vmap(lambda v, w: v)(x, x[:2]),
    "number": lambda t, x: t.vmap(lambda v, w: v)(x, 2),
    "no_inputs": lambda t, x: t.vmap(lambda v: v)(),
    "in_dims_none": lambda t, x: t.vmap(lambda v: v, in_dims=None)(x),
    "in_dims_range": lambda t, x: t.vmap(lambda v: v, in_dims=2)(x),
    "in_dims_structure": lambda t, x: t.vmap(lambda v: v, in_dims=(0, 0))(x),
    "random": lambda t, x: t.vmap(lambda v: t.randn(3))(x),
    "dropout": lambda t, x: t.vmap(lambda v: t.nn.functional.dropout(v))(x),
    "randomness": lambda t, x: t.vmap(lambda v: v, randomness="some")(x),
    "chunk_size": lambda t, x: t.vmap(lambda v: v, chunk_size=0)(x),
    "random_in_shared": lambda t, x: t.vmap(lambda v: t.zeros(3).normal_(), randomness="different")(x),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    assert_same_behaviour(ERRORS[name], X)


@pytest.mark.parametrize("randomness", ["same", "different"])
@pytest.mark.parametrize("name", ["randn", "rand", "dropout", "normal_", "bernoulli", "randint"])
def test_random_streams(name, randomness):
    inside = {"randn": lambda t, v: t.randn(3), "rand": lambda t, v: t.rand(2, 2), "dropout": lambda t, v: t.nn.functional.dropout(v, 0.5),
              "normal_": lambda t, v: v.clone().normal_(), "bernoulli": lambda t, v: t.bernoulli(t.full((5,), 0.5)),
              "randint": lambda t, v: t.randint(0, 9, (4,))}[name]

    def function(t, x):
        t.manual_seed(3)
        return t.vmap(lambda v: v.sum() * 0 + inside(t, v), randomness=randomness)(x)
    both_same(function, X)


def test_randperm_differs_by_sample():
    rl.manual_seed(0)
    rows = rl.vmap(lambda v: v.long() * 0 + rl.randperm(20), randomness="different")(rl.zeros(3, 1))
    assert (rows.sort(1).values == rl.arange(20)).all() and not (rows[0] == rows[1]).all()
    same = rl.vmap(lambda v: v.long() * 0 + rl.randperm(20), randomness="same")(rl.zeros(3, 1))
    assert (same[0] == same[1]).all()


def test_gradients_through_vmap_reach_shared_and_mapped_tensors():
    def function(t, x, a):
        x.requires_grad_(), a.requires_grad_()
        out = t.vmap(lambda v: (a @ v).sin() * v.sum())(x)
        return t.autograd.grad(out.square().sum(), (x, a))
    both_same(function, X.clone(), A.clone())


def test_backward_into_leaves_and_twice():
    x, w = to_rl(X).requires_grad_(), to_rl(A).requires_grad_()
    xp, wp = X.clone().requires_grad_(), A.clone().requires_grad_()
    for t, x_, w_ in ((rl, x, w), (pt, xp, wp)):
        for _ in range(2):
            t.vmap(lambda v: t.nn.functional.linear(v, w_).exp())(x_).sum().backward()
    assert_same(x.grad, xp.grad, rtol=1e-4)
    assert_same(w.grad, wp.grad, rtol=1e-4)


def test_modules_and_ensembles():
    models = [pt.nn.Sequential(pt.nn.Linear(4, 5), pt.nn.Tanh(), pt.nn.Linear(5, 2)) for _ in range(3)]
    ours = []
    for model in models:
        mine = rl.nn.Sequential(rl.nn.Linear(4, 5), rl.nn.Tanh(), rl.nn.Linear(5, 2))
        mine.load_state_dict({k: to_rl(v) for k, v in model.state_dict().items()})
        ours.append(mine)

    def run(t, models, x):
        params, buffers = t.func.stack_module_state(models)
        assert all(p.requires_grad for p in params.values()) and not buffers
        return t.vmap(lambda p, b, x: t.func.functional_call(models[0], (p, b), (x,)), in_dims=(0, 0, None))(params, buffers, x)
    assert_same(run(rl, ours, to_rl(X)).detach(), run(pt, models, X).detach(), rtol=1e-4, atol=1e-5)


def test_lstm_and_transformer_layers_run_under_vmap():
    pt.manual_seed(0)
    for make, x in ((lambda t: t.nn.LSTM(4, 3), pt.randn(2, 5, 1, 4)), (lambda t: t.nn.TransformerEncoderLayer(4, 2, 8, 0.0), pt.randn(2, 5, 3, 4))):
        theirs, ours = make(pt).eval(), make(rl).eval()
        ours.load_state_dict({k: to_rl(v) for k, v in theirs.state_dict().items()})
        batch = to_rl(x)
        out = rl.vmap(lambda v: (lambda r: r[0] if isinstance(r, tuple) else r)(ours(v)))(batch)
        want = rl.stack([(lambda r: r[0] if isinstance(r, tuple) else r)(ours(v)) for v in batch])
        np.testing.assert_allclose(to_numpy(out), to_numpy(want), rtol=1e-5, atol=1e-6)


def test_print_shows_a_sample():
    shown = []
    rl.vmap(lambda v: (shown.append(repr(v)), v)[1])(to_rl(X))
    assert shown[0].startswith("BatchedTensor(lvl=") and "tensor(" in shown[0]


@pytest.mark.parametrize("function", [lambda t, v: t.nn.functional.scaled_dot_product_attention(v, v, v, dropout_p=0.5),
                                      lambda t, v: t.nn.functional.dropout2d(v[None]), lambda t, v: v.exponential_(), lambda t, v: t.randperm(3)])
def test_random_ops_are_refused_in_the_fallback_too(function):
    rl.overrides.watch()
    for t in (rl, pt):
        with pytest.raises(RuntimeError, match="randomness error mode"):
            t.vmap(lambda v: function(t, v))(t.ones(2, 2, 4, 8))


def test_values_written_through_views():
    def function(t, x):
        def inner(v):
            v = v.clone()
            v[1:].mul_(2)
            v.t()[0] = 5.0
            v.diagonal().fill_(-1)
            v.view(-1).as_strided((2,), (3,), 1).add_(10)
            v.select(0, 1).copy_(v[0])
            return v
        return t.vmap(inner)(x)
    both_same(function, pt.randn(2, 3, 3))


def test_indices_of_all_kinds():
    x, i, mask = pt.randn(3, 4, 5, 6), pt.randint(0, 4, (3, 2)), pt.tensor([True, False, True, True])

    def function(t, x, i, mask):
        return [t.vmap(f)(x, i) for f in (
            lambda v, i: v[i], lambda v, i: v[:, i], lambda v, i: v[i, :, i], lambda v, i: v[i[:, None], i], lambda v, i: v[..., i],
            lambda v, i: v[0, :, i], lambda v, i: v[mask], lambda v, i: v[mask, 1:3], lambda v, i: v[None, i, 1], lambda v, i: v[t.tensor([0, 1]), :, t.tensor([2, 3])],
            lambda v, i: v[-1, 2:, ::2], lambda v, i: v.index_select(0, i), lambda v, i: v.take(i), lambda v, i: t.index_put(v, (i,), v[0] * 0 + 1))]
    both_same(function, x, i, mask)


SET = [lambda t, v, i: (0, 3.0), lambda t, v, i: (i, 3.0), lambda t, v, i: ((slice(None), i), v[:, :2] * 2), lambda t, v, i: ((i, i), v[0, :2] * 1),
       lambda t, v, i: (v > 0, 0.0), lambda t, v, i: (t.tensor([1, 2]), -v[:2]), lambda t, v, i: ((i, slice(None), i), -v[:2, :, 0])]


@pytest.mark.parametrize("make", SET)
def test_setitem_of_all_kinds(make):
    x, i = pt.randn(3, 4, 5, 4), pt.tensor([[0, 2], [1, 3], [3, 0]])

    def inner(t, v, i):
        v = v.clone()
        key, value = make(t, v, i)
        v[key] = value
        return v
    # PyTorch has no vmap of some of these: one sample after the other.
    assert_same(rl.vmap(lambda v, i: inner(rl, v, i))(to_rl(x), to_rl(i)), pt.stack([inner(pt, v, k) for v, k in zip(x, i)]))


def test_overlapping_writes_are_refused():
    with pytest.raises(RuntimeError, match="single memory location"):
        rl.vmap(lambda v: (lambda w: w[1:].add_(w[:-1]))(v.clone()))(rl.ones(2, 5))


def test_gradients_by_sample_of_ops_without_a_batched_form():
    def function(t, x, w):
        loss = lambda w, v: t.nn.functional.ctc_loss((v @ w).log_softmax(-1)[:, None], t.tensor([[1, 2]]), t.tensor([4]), t.tensor([2]))
        return t.vmap(t.func.grad(loss), in_dims=(None, 0))(w, x)
    x, w = pt.randn(2, 4, 3), pt.randn(3, 3)
    ours = function(rl, *to_rl([x, w]))
    theirs = pt.stack([pt.func.grad(lambda w, v=v: pt.nn.functional.ctc_loss((v @ w).log_softmax(-1)[:, None], pt.tensor([[1, 2]]), pt.tensor([4]),
                                                                             pt.tensor([2])))(w) for v in x])
    assert_same(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_function_runs_once_even_where_an_op_has_no_batched_form():
    """In a fresh process, in which nothing has been intercepted yet."""
    program = """
import rushlight as torch
from rushlight import overrides
calls = []
def f(v):
    calls.append(1)
    return v.mul_(2).histc(4)
x = torch.ones(3, 4)
torch.vmap(f)(x)
assert len(calls) == 1 and (x == 2).all(), (calls, x)
assert overrides.watching()
"""
    import subprocess
    import sys
    subprocess.run([sys.executable, "-c", program], check=True)


def test_functions_that_need_no_fallback_leave_no_doors():
    program = """
import rushlight as torch
from rushlight import overrides
x = torch.ones(3, 4)
for _ in range(2):
    assert torch.vmap(lambda v: (v * 2).sum())(x).tolist() == [8.0, 8.0, 8.0]
    assert not overrides.watching()
assert torch.func.hessian(lambda v: (v ** 3).sum())(x[0]).trace() == 24 and not overrides.watching()
def f(v, change):
    if change:
        v.mul_(2)
        return v.histc(4)
    return v + 1
torch.vmap(lambda v: f(v, False))(x)
later = lambda v, change: torch.vmap(lambda v: f(v, change[0]))(v)
later(x, [False])
try:
    later(x, [True])
except RuntimeError as error:
    assert "in place" in str(error)
else:
    raise AssertionError("run twice on changed inputs")
"""
    import subprocess
    import sys
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("case", [
    lambda t, x: t.func.vmap(lambda v: (v, "a"), out_dims=(0, None))(x),
    lambda t, x: t.func.vmap(lambda v: (None, 1.5), out_dims=(None, None))(x),
    lambda t, x: t.func.vmap(lambda v: (v, 1), out_dims=(0, 0))(x),
    lambda t, x: t.func.vmap(lambda v: v, out_dims=[0])(x),
    lambda t, x: t.func.vmap(t.mul, [0, 0])(x, x),
    lambda t, x: t.func.vmap(lambda v: v[0] + v[1], in_dims=[0, 0])([x, x]),
])
def test_what_dimensions_and_outputs_may_be(case):
    found = []
    for t in (pt, rl):
        try:
            result = case(t, t.ones(3))
            found.append([each.tolist() if hasattr(each, "tolist") else each for each in result])
        except ValueError as error:
            found.append(str(error).rpartition("):")[2][:60])
    assert found[0] == found[1]


@pytest.mark.parametrize("randomness", ["same", "different"])
@pytest.mark.parametrize("dim", [0, 1, 2])
def test_random_numbers_like_a_sample_of_any_layout(dim, randomness):
    x = rl.zeros(3, 4, 5)
    found = rl.func.vmap(lambda v: rl.rand_like(v) + rl.randn_like(v, memory_format=rl.contiguous_format), dim, randomness=randomness)(x)
    assert found.shape == x.movedim(dim, 0).shape
    assert rl.equal(found[0], found[1]) is (randomness == "same")
    generator = rl.Generator()
    assert generator.set_state(generator.get_state()) is generator
