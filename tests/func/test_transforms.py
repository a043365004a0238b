"""vmap and forward mode over the samples of PyTorch's op database.

vmap is compared with calling the op once per sample (values and gradients), forward mode with torch.func.jvp.
"""

import numpy as np
import pytest
import torch as pt

import rushlight as rl
from tests.conformance.left_out import GAUGE, TIES, UNDEFINED_VALUES
from tests.conformance.mirror import Copier, Missing
from tests.conformance.ops import OPS, ours_of
from tests.conformance.running import limited, quiet, seed

SAMPLES, BATCH = 1, 3

RANDOM = {"bernoulli", "normal", "rand", "randn", "randint", "rand_like", "randn_like", "randint_like", "multinomial", "uniform", "exponential",
          "cauchy", "geometric", "log_normal", "nn.functional.dropout", "nn.functional.dropout2d", "nn.functional.dropout3d",
          "nn.functional.alpha_dropout", "nn.functional.feature_alpha_dropout", "nn.functional.rrelu", "nn.functional.fractional_max_pool2d",
          "nn.functional.fractional_max_pool3d", "nn.functional.scaled_dot_product_attention", "nn.functional.multi_head_attention_forward",
          "svd_lowrank", "pca_lowrank", "torch.ops.aten._safe_softmax.default"}
# Results whose shape or type depends on the values, or that are no tensors.
NOT_FOR_VMAP = {"item", "nonzero", "argwhere", "unique", "unique_consecutive", "masked_select", "equal", "allclose", "is_set_to", "tensor_split",
                "to_sparse", "resize_", "resize_as_", "_unsafe_masked_index", "scatter", "as_strided_scatter", "repeat_interleave", "narrow"}
# Where tangents are a matter of convention: of inputs that are not symmetric, at ties, and for positions that are written twice.
NOT_FOR_JVP = {"linalg.cholesky", "linalg.cholesky_ex", "linalg.pinv", "linalg.slogdet", "linalg.vander", "index_fill", "nextafter", "cholesky",
               "cholesky_inverse", "cholesky_solve", "triangular_solve",
               "nn.functional.max_unpool1d", "nn.functional.max_unpool2d", "nn.functional.max_unpool3d", "std_mean", "var_mean", "linalg.norm",
               "logcumsumexp", "linalg.eigh", "linalg.lstsq", "linalg.qr", "qr",
               "nn.functional.linear_cross_entropy"}      # class weights have a derivative here, and none in PyTorch


def leaves(value, kind=rl.Tensor):
    if isinstance(value, kind):
        return [value]
    values = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [t for each in values for t in leaves(each, kind)]


def put(value, tensors, kind=rl.Tensor):
    """The nested value with its tensors replaced by the next ones of an iterator."""
    if isinstance(value, kind):
        return next(tensors)
    if isinstance(value, dict):
        return {key: put(each, tensors, kind) for key, each in value.items()}
    if type(value) in (list, tuple):
        return type(value)([put(each, tensors, kind) for each in value])
    return value


def samples_of(op):
    with quiet():
        seed()
        samples = list(op.sample_inputs("cpu", pt.float64, requires_grad=False))
    step = max(1, len(samples) // SAMPLES)
    return samples[step // 2::step][:SAMPLES]


def array(t):
    return t.detach().cpu()._a


OURS = {name: op for name, op in OPS.items() if op.supports_dtype(pt.float64, "cpu")}


@pytest.mark.parametrize("name", [name for name, op in OURS.items() if op.name not in NOT_FOR_VMAP | RANDOM | UNDEFINED_VALUES])
def test_vmap(name):
    op = OURS[name]
    try:
        function = ours_of(op)
    except Missing:
        pytest.skip("rushlight has no such op")
    for sample in samples_of(op):
        if sample.kwargs.get("sparse"):
            continue           # sparse gradients are not batched
        with quiet(), limited():
            check_vmap(op, function, sample)


def check_vmap(op, function, sample):
    copy = Copier(True, False)
    given = [copy(sample.input), copy(tuple(sample.args)), copy(dict(sample.kwargs))]
    tensors = leaves(given)

    def call(*new):
        x, args, kwargs = put(given, iter([t.clone() for t in new]))
        return function(x, *args, **kwargs)

    def varied(i):
        return [t * (1 + 0.01 * i) if t.dtype.is_floating_point else t.clone() for t in tensors]
    try:
        expected = [call(*varied(i)) for i in range(BATCH)]
    except Exception:  # noqa: BLE001
        return
    if not tensors or any(not isinstance(each, rl.Tensor) for each in (expected[0] if isinstance(expected[0], (list, tuple)) else [expected[0]])):
        return
    batch = [rl.stack(column).requires_grad_(column[0]._kind.differentiable) for column in zip(*[varied(i) for i in range(BATCH)])]
    alone = [t.detach().clone().requires_grad_(t.requires_grad) for t in batch]
    together = leaves(rl.vmap(call)(*batch))
    rows = [leaves(call(*[t[i] for t in alone])) for i in range(BATCH)]
    stacked = [rl.stack(column) for column in zip(*rows)]
    assert len(together) == len(stacked)
    for ours, wanted in zip(together, stacked):
        assert ours.dtype is wanted.dtype
        np.testing.assert_allclose(array(ours), array(wanted), rtol=1e-7, atol=1e-9)
    pairs = [(a, b) for a, b in zip(together, stacked) if b.requires_grad]
    if not op.supports_autograd or not pairs:
        return
    weights = [rl.ones_like(a.detach()) for a, _ in pairs]
    inputs = [(a, b) for a, b in zip(batch, alone) if a.requires_grad]
    try:
        wanted = rl.autograd.grad([b for _, b in pairs], [b for _, b in inputs], weights, allow_unused=True, materialize_grads=True)
    except (RuntimeError, NotImplementedError):
        return           # the op itself has no gradient for this sample
    found = rl.autograd.grad([a for a, _ in pairs], [a for a, _ in inputs], weights, allow_unused=True, materialize_grads=True)
    for ours, theirs in zip(found, wanted):
        np.testing.assert_allclose(array(ours), array(theirs), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", [name for name, op in OURS.items() if op.supports_forward_ad and op.name not in NOT_FOR_JVP | RANDOM
                                  | UNDEFINED_VALUES | GAUGE | set(TIES)])
def test_jvp(name):
    op = OURS[name]
    try:
        function = ours_of(op)
    except Missing:
        pytest.skip("rushlight has no such op")
    for sample in samples_of(op):
        with quiet(), limited():
            check_jvp(op, function, sample)


def check_jvp(op, function, sample):
    results = []
    for side, f, kind, module in ((False, op.op, pt.Tensor, pt), (True, function, rl.Tensor, rl)):
        copy = Copier(side, False)
        given = [copy(sample.input), copy(tuple(sample.args)), copy(dict(sample.kwargs))]
        tensors = leaves(given, kind)
        at = [i for i, t in enumerate(tensors) if t.dtype.is_floating_point]
        rng = np.random.default_rng(0)
        tangents = tuple(module.tensor(rng.standard_normal(tuple(tensors[i].shape))) for i in at)

        def call(*new, given=given, tensors=tensors, at=at, f=f, kind=kind):
            now = [t.clone() for t in tensors]
            for i, t in zip(at, new):
                now[i] = t.clone()
            x, args, kwargs = put(given, iter(now), kind)
            return tuple(t for t in leaves(f(x, *args, **kwargs), kind) if t.dtype.is_floating_point or t.dtype.is_complex)
        if not at:
            return
        try:
            results.append(module.func.jvp(call, tuple(tensors[i] for i in at), tangents))
        except Exception:
            if side:
                raise
            return           # PyTorch has none for this sample
    (_, theirs), (_, ours) = results
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(array(a), b.detach().resolve_conj().resolve_neg().numpy(force=True), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("case", [
    lambda t, x: t.func.jvp(lambda v: v.mul_(3).sin_(), (x,), (t.ones(3) * 2,)),
    lambda t, x: (t.func.jacfwd(lambda v: v.mul_(2).exp())(x),),
    lambda t, x: (t.func.vmap(t.func.jacfwd(lambda v: v.square_()))(x.reshape(3, 1)),),
])
def test_forward_mode_over_changes_of_the_input(case):
    found = []
    for t in (pt, rl):
        x = t.tensor([1.0, 2.0, 3.0])
        found.append([*[each.tolist() for each in case(t, x)], x.tolist()])
    np.testing.assert_allclose(np.concatenate([np.ravel(each) for each in found[1]]), np.concatenate([np.ravel(each) for each in found[0]]), rtol=1e-6)


def test_forward_mode_over_a_product_with_itself_in_place():
    """d(v * v) = 2 v dv. (PyTorch 2.13 takes the changed value for one of the two.)"""
    x = rl.tensor([1.0, 2.0, 3.0])
    value, tangent = rl.func.jvp(lambda v: v.mul_(v), (x,), (rl.ones(3),))
    assert value.tolist() == x.tolist() == [1, 4, 9] and tangent.tolist() == [2, 4, 6]
