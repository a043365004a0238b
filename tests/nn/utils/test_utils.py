"""nn.utils: clipping, vectors, packed sequences, parametrisations, pruning, weight and spectral norm, fusion, functional calls."""

from __future__ import annotations

import pytest
import torch as pt

import rushlight as rl
from tests.support.nn_compare import same

_SETUP = """
x = T.arange(24.).reshape(4, 3, 2)
ps = R.pack_padded_sequence(x, [4, 3, 1])
lin = lambda: nn.Linear(4, 3)
C = nn.modules.utils.consume_prefix_in_state_dict_if_present
class Sym(nn.Module):
    def forward(self, x): return x * 2
    def right_inverse(self, x): return x / 2
class Pair(nn.Module):
    def forward(self, a, b): return a + b
    def right_inverse(self, x): return x / 2, x / 2
def par(l=None, p=Sym):
    return Z.register_parametrization(l or lin(), 'weight', p())
def graded(m, x=None):
    m(T.ones(2, 4) if x is None else x).pow(2).sum().backward()
    return m
def do(f, m):
    r = f(m)
    return r, m, dict(m.state_dict()), [n for n, _ in m.named_parameters()]
"""

EXPRESSIONS = """
(m := graded(lin()), U.clip_grad_norm_(m.parameters(), 0.1), [p.grad for p in m.parameters()])[1:]
(m := graded(lin()), U.clip_grad_norm_(m.parameters(), 0.1, 'inf'), [p.grad for p in m.parameters()])[1:]
(m := graded(lin()), U.clip_grad_norm_(m.weight, 0.1, 1), [p.grad for p in m.parameters()])[1:]
(m := graded(lin()), U.clip_grad_norm_(list(m.parameters()), 1e6), [p.grad for p in m.parameters()])[1:]
(m := graded(lin()), U.clip_grad_value_(m.parameters(), 0.1), [p.grad for p in m.parameters()])[1:]
(m := graded(lin()), U.clip_grads_with_norm_(m.parameters(), 0.1, T.tensor(2.0)), [p.grad for p in m.parameters()])[1:]
U.clip_grad_norm_([], 1.)
U.clip_grad_norm_((p for p in []), 1.)
U.clip_grad_norm(lin().parameters(), 1.)
(m := graded(lin(), T.full((2, 4), float('inf'))), U.clip_grad_norm_(m.parameters(), 1., error_if_nonfinite=True))
U.get_total_norm([])
U.get_total_norm([T.ones(3), T.ones(2) * 2])
U.get_total_norm([T.ones(3), T.ones(2) * 2], 3.0)
U.get_total_norm(T.ones(3), float('inf'))
U.parameters_to_vector(lin().parameters())
U.parameters_to_vector([])
U.vector_to_parameters(3, [x])
U.vector_to_parameters(T.zeros(3), [x])
do(lambda m: U.vector_to_parameters(T.arange(15.), m.parameters()), lin())
R.pack_padded_sequence(x, [4, 3, 1])
R.pack_padded_sequence(x, [3, 3, 3])
R.pack_padded_sequence(x, [1, 3, 4])
R.pack_padded_sequence(x, [1, 3, 4], enforce_sorted=False)
R.pack_padded_sequence(x, [1, 3])
R.pack_padded_sequence(x, [1, 3, 0], enforce_sorted=False)
R.pack_padded_sequence(x, T.tensor([4, 3, 1]))
R.pack_padded_sequence(x, T.tensor([4., 3, 1]))
R.pack_padded_sequence(x, T.tensor([[4, 3, 1]]))
R.pack_padded_sequence(x, [3, 3, 2, 1], batch_first=True)
(y := x.clone().requires_grad_(), (R.pack_padded_sequence(y, [4, 3, 1]).data ** 2).sum().backward(), y.grad)[1:]
(y := x.clone().requires_grad_(), (R.pad_packed_sequence(R.pack_padded_sequence(y, [1, 3, 2], enforce_sorted=False))[0] ** 2).sum().backward(), y.grad)[1:]
R.pad_packed_sequence(ps)
R.pad_packed_sequence(R.pack_padded_sequence(x, [1, 3, 4], enforce_sorted=False))
R.pad_packed_sequence(ps, True, -1.)
R.pad_packed_sequence(ps, total_length=6)
R.pad_packed_sequence(ps, total_length=2)
R.pack_sequence([T.ones(3), T.ones(2)])
R.pack_sequence([T.ones(2), T.ones(3)])
R.pack_sequence([T.ones(2), T.ones(3)], enforce_sorted=False)
R.pad_sequence([T.ones(2), T.ones(3)])
R.pad_sequence([T.ones(2, 3), T.ones(3, 3)], batch_first=True, padding_value=2, padding_side='left')
R.pad_sequence([T.ones(2, 3), T.ones(3, 3)], padding_side='foo')
R.pad_sequence(3)
R.pad_sequence([])
R.pad_sequence(T.ones(2, 3))
R.unpad_sequence(x, T.tensor([4, 3, 1]))
R.unpack_sequence(ps)
R.unpack_sequence(R.pack_sequence([T.ones(2), T.zeros(3)], enforce_sorted=False))
ps.is_cuda, ps.is_pinned(), len(ps), ps[1], repr(ps)
ps.to(T.float64)
ps.double().data.dtype, ps.float() is ps, ps.long().data.dtype, ps.half().data.dtype, ps.int().data.dtype, ps.byte().data.dtype
ps.cpu() is ps, ps.to('cpu') is ps
R.PackedSequence(x[0])
R.PackedSequence((x[0], T.tensor([2, 1])))
R.PackedSequence(x[0], T.tensor([2, 1]), T.tensor([1, 0]))
R.invert_permutation(T.tensor([2, 0, 1]))
R.invert_permutation(None)
do(lambda m: P.l1_unstructured(m, 'weight', 2) and m.weight, lin())
do(lambda m: P.l1_unstructured(m, 'weight', 0.5) and m.weight, lin())
do(lambda m: P.random_unstructured(m, 'weight', 0.5) and m.weight, lin())
do(lambda m: P.random_structured(m, 'weight', 2, 1) and m.weight, lin())
do(lambda m: P.ln_structured(m, 'weight', 1, 2, 0) and m.weight, lin())
do(lambda m: P.ln_structured(m, 'weight', 0.5, float('inf'), -1) and m.weight, lin())
do(lambda m: P.identity(m, 'bias') and m.bias, lin())
do(lambda m: P.custom_from_mask(m, 'bias', T.tensor([0, 1, 0])) and m.bias, lin())
do(lambda m: P.l1_unstructured(P.ln_structured(m, 'weight', 1, 2, 0), 'weight', 2) and m.weight, lin())
do(lambda m: P.ln_structured(P.l1_unstructured(m, 'weight', 2), 'weight', 1, 2, 0) and m.weight, lin())
do(lambda m: P.l1_unstructured(P.l1_unstructured(m, 'weight', 2), 'weight', 3) and m.weight, lin())
do(lambda m: P.remove(P.l1_unstructured(m, 'weight', 2), 'weight') and m.weight, lin())
do(lambda m: P.l1_unstructured(m, 'weight', 2, T.arange(12.).reshape(3, 4)) and m.weight, lin())
do(lambda m: (graded(P.l1_unstructured(m, 'weight', 2)), m.weight_orig.grad), lin())
do(lambda m: P.global_unstructured([(m[0], 'weight'), (m[1], 'weight')], P.L1Unstructured, amount=0.4), nn.Sequential(lin(), nn.Linear(3, 2)))
P.l1_unstructured(lin(), 'weight', 20)
P.l1_unstructured(lin(), 'weight', 2.5)
P.l1_unstructured(lin(), 'weight', -1)
P.l1_unstructured(lin(), 'weight', 'a')
P.l1_unstructured(lin(), 'foo', 1)
P.ln_structured(lin(), 'weight', 1, 2, 5)
P.ln_structured(lin(), 'bias', 1, 2, 0)
P.random_structured(lin(), 'weight', 10, 0)
P.remove(lin(), 'weight')
P.is_pruned(lin()), P.is_pruned(P.identity(lin(), 'weight')), P.is_pruned(nn.Sequential(P.identity(lin(), 'weight')))
P.global_unstructured(3, P.L1Unstructured, amount=1)
P.global_unstructured([(lin(), 'weight')], P.RandomStructured, amount=1)
P.custom_from_mask(lin(), 'weight', T.zeros(2, 2))
P.L1Unstructured.apply(lin(), 'weight', 1, importance_scores=T.zeros(2))
P.L1Unstructured(1).prune(T.arange(4.) + 1)
P.L1Unstructured(1).compute_mask(T.arange(4.), T.ones(4))
par()
par().weight
list(par().state_dict())
do(lambda m: (m.weight, graded(m), m.parametrizations.weight.original.grad), par())
do(lambda m: (m.weight, graded(m), m.parametrizations.weight.original0.grad), par(p=Pair))
do(lambda m: setattr(m, 'weight', T.ones(3, 4)), par())
do(lambda m: setattr(m, 'weight', T.ones(3, 4)), par(p=Pair))
do(lambda m: par(m).weight, par())
Z.is_parametrized(par()), Z.is_parametrized(par(), 'weight'), Z.is_parametrized(par(), 'bias'), Z.is_parametrized(lin())
do(lambda m: Z.remove_parametrizations(m, 'weight').weight, par())
do(lambda m: Z.remove_parametrizations(m, 'weight', leave_parametrized=False).weight, par())
do(lambda m: Z.remove_parametrizations(m, 'weight').weight, par(p=Pair))
Z.remove_parametrizations(par(p=Pair), 'weight', leave_parametrized=False)
Z.remove_parametrizations(lin(), 'weight')
Z.register_parametrization(lin(), 'weight', 3)
Z.register_parametrization(lin(), 'foo', nn.ReLU())
Z.register_parametrization(lin(), 'weight', nn.Flatten(0))
Z.register_parametrization(lin(), 'weight', nn.Flatten(0), unsafe=True)
Z.type_before_parametrizations(par()).__name__, type(par()).__name__
setattr(par(), 'weight', 3)
Z.transfer_parametrizations_and_params(par(), lin())
Z.transfer_parametrizations_and_params(lin(), lin())
(m := par(), c := copy.deepcopy(m), c.weight - m.weight, c(T.ones(1, 4)))[2:]
pickle.dumps(par())
do(lambda m: [(y := m(T.ones(1, 4)), a is b) for a, b in [(m.weight, m.weight)]], par())
do(lambda m: (m.weight, graded(m), [p.grad for p in m.parameters()]), Y.weight_norm(lin()))
do(lambda m: (m.weight, graded(m), [p.grad for p in m.parameters()]), Y.weight_norm(lin(), dim=1))
do(lambda m: m.weight, Y.weight_norm(lin(), dim=None))
do(lambda m: m.weight, Y.weight_norm(nn.Conv2d(2, 3, 3)))
do(lambda m: (m.weight, graded(m), [p.grad for p in m.parameters()]), Y.spectral_norm(lin()))
do(lambda m: m.weight, Y.spectral_norm(nn.ConvTranspose2d(2, 3, 3)))
do(lambda m: m.weight, Y.spectral_norm(lin(), n_power_iterations=3).eval())
do(lambda m: m.bias, Y.spectral_norm(lin(), 'bias'))
Y.spectral_norm(lin(), n_power_iterations=0)
Y.spectral_norm(lin(), 'foo')
Y.weight_norm(lin(), 'foo')
Y.weight_norm(lin()).load_state_dict({'bias': T.zeros(3), 'weight_g': T.ones(3, 1), 'weight_v': T.ones(3, 4)})
Y.orthogonal(lin(), orthogonal_map='foo')
Y.orthogonal(lin(), 'foo')
Y.orthogonal(lin(), 'bias')
do(lambda m: (m(T.ones(1, 4)), graded(m), m.weight_g.grad), U.weight_norm(lin()))
do(lambda m: (m(T.ones(1, 4)), m.weight), U.weight_norm(lin(), dim=None))
do(lambda m: U.remove_weight_norm(m).weight, U.weight_norm(lin()))
U.weight_norm(lin(), 'foo')
U.weight_norm(U.weight_norm(lin()))
U.remove_weight_norm(lin())
do(lambda m: (m(T.ones(1, 4)), m(T.ones(1, 4)), graded(m), m.weight_orig.grad), U.spectral_norm(lin()))
do(lambda m: m.eval()(T.ones(1, 4)), U.spectral_norm(lin(), n_power_iterations=2))
do(lambda m: U.remove_spectral_norm(m).weight, U.spectral_norm(lin()))
U.spectral_norm(U.spectral_norm(lin()))
U.remove_spectral_norm(lin())
U.spectral_norm(lin(), n_power_iterations=0)
(m := U.spectral_norm(lin()), m.load_state_dict(m.state_dict()), m.state_dict()._metadata)[1:]
S._functional_call(lin(), {'weight': T.zeros(3, 4)}, (T.ones(2, 4),))
S._functional_call(lin(), {'weight': T.zeros(3, 4), 'foo': T.zeros(1)}, (T.ones(2, 4),))
S._functional_call(lin(), {'foo.bar': T.zeros(1)}, (T.ones(2, 4),))
S._functional_call(lin(), {'weight': T.zeros(3, 4), 'bias': T.zeros(3)}, T.ones(2, 4), strict=True)
S._functional_call(lin(), {'weight': T.zeros(3, 4)}, (T.ones(2, 4),), strict=True)
S._functional_call(lin(), {'weight': T.zeros(3, 4), 'z': T.zeros(1)}, (T.ones(2, 4),), strict=True)
S._functional_call(lin(), {'weight': 3}, (T.ones(2, 4),))
S.functional_call(lin(), {'weight': T.zeros(3, 4)}, T.ones(2, 4))
(m := nn.BatchNorm1d(2), b := {'running_mean': T.zeros(2)}, S._functional_call(m, b, T.ones(2, 2)), b, m.running_mean)[2:]
(m := lin(), w := T.ones(3, 4, requires_grad=True), S._functional_call(m, {'weight': w}, T.ones(2, 4)).sum().backward(), w.grad, m.weight.grad)[2:]
U.fuse_conv_bn_eval(nn.Conv2d(2, 3, 3).eval(), nn.BatchNorm2d(3).eval())(T.ones(1, 2, 4, 4))
U.fuse_conv_bn_eval(nn.ConvTranspose2d(2, 3, 3, bias=False).eval(), nn.BatchNorm2d(3).eval(), True)(T.ones(1, 2, 4, 4))
U.fuse_conv_bn_eval(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3).eval())
U.fuse_linear_bn_eval(lin().eval(), nn.BatchNorm1d(3).eval())(T.ones(1, 4))
(d := __import__('collections').OrderedDict({'module.a': 1, 'b': 2}), C(d, 'module.'), d)[1:]
nn.grad.conv2d_input((1, 2, 5, 5), T.ones(3, 2, 3, 3), T.ones(1, 3, 5, 5), padding=1)
nn.grad.conv1d_weight(T.ones(1, 4, 9), (6, 2, 3), T.ones(1, 6, 4), 2, groups=2)
U.skip_init(nn.ReLU)
U.skip_init(3)
U.skip_init(nn.Sequential)
""".strip().splitlines()


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_utils(expression: str) -> None:
    same(expression, _SETUP)


@pytest.mark.parametrize("shape", [(4, 4), (5, 3), (3, 5)])
@pytest.mark.parametrize("orthogonal_map", ["matrix_exp", "cayley", "householder"])
def test_orthogonal(shape: tuple[int, int], orthogonal_map: str) -> None:
    m = rl.nn.Linear(*shape)
    m.double()
    before = m.weight.detach().clone()
    rl.nn.utils.parametrizations.orthogonal(m, orthogonal_map=orthogonal_map)
    q = m.weight
    tall = q if q.shape[0] >= q.shape[1] else q.T
    assert (tall.T @ tall - rl.eye(tall.shape[1], dtype=rl.float64)).abs().max() < 1e-8
    assert q.shape == before.shape
    q.sum().backward()
    assert m.parametrizations.weight.original.grad is not None
    with rl.no_grad():
        m.weight = rl.nn.init.orthogonal_(rl.empty(*before.shape, dtype=rl.float64))


@pytest.mark.parametrize("orthogonal_map", ["matrix_exp", "cayley", "householder"])
def test_orthogonal_equals_torch(orthogonal_map: str) -> None:
    """Away from the identity, without a base."""
    setup = f"""
m = nn.Module()
m.weight = nn.Parameter(I.orthogonal_(T.empty(4, 4, dtype=T.float64)))
Y.orthogonal(m, orthogonal_map={orthogonal_map!r})
with T.no_grad(): m.parametrizations.weight.original.add_(T.randn(4, 4, dtype=T.float64).tril(-1))
m.weight.pow(3).sum().backward()
"""
    same("m.weight, m.parametrizations.weight.original.grad", setup)


def test_packing_too_long_is_refused() -> None:
    with pytest.raises(RuntimeError, match="at most the padded length 4"):
        rl.nn.utils.rnn.pack_padded_sequence(rl.zeros(4, 3, 2), [5, 3, 1])


def test_skip_init() -> None:
    state = rl.get_rng_state()
    m = rl.nn.utils.skip_init(rl.nn.Linear, 2, 3)
    assert (rl.get_rng_state() == state).all()
    assert repr(m) == "Linear(in_features=2, out_features=3, bias=True)"
    assert m.weight.shape == (3, 2) and m.weight.device.type == "cpu" and m.weight.requires_grad


def test_all_names() -> None:
    for ours, theirs in ((rl.nn.utils, pt.nn.utils), (rl.nn.utils.rnn, pt.nn.utils.rnn), (rl.nn.utils.parametrize, pt.nn.utils.parametrize),
                         (rl.nn.utils.parametrizations, pt.nn.utils.parametrizations)):
        assert not [name for name in theirs.__all__ if not hasattr(ours, name)]
