"""Normalisation, losses and embeddings, compared with torch: values, gradients, second gradients where torch has them, errors."""

import pytest
import torch as pt
import torch.nn.functional as PF

import rushlight as rl
from tests.support.common import assert_same, assert_same_behaviour, both


def functional(m):
    return PF if m is pt else rl.nn.functional


def leaf(*shape):
    return pt.randn(shape, dtype=pt.float64, requires_grad=True)


def first_and_second(call, second=True):
    def run(m, *inputs):
        wanted = [t for t in inputs if isinstance(t, m.Tensor) and t.requires_grad]
        y = call(functional(m), *inputs)
        total = (y * y.detach().cos()).sum()
        plain = m.autograd.grad(total, wanted, retain_graph=True, allow_unused=True, materialize_grads=True)
        if not second:
            return y.detach(), plain
        graph = m.autograd.grad(total, wanted, create_graph=True, allow_unused=True, materialize_grads=True)
        squares = [(g * g).sum() for g in graph if g.requires_grad]
        twice = m.autograd.grad(sum(squares), wanted, allow_unused=True, materialize_grads=True) if squares else [m.zeros_like(t) for t in wanted]
        return y.detach(), plain, [g.detach() for g in graph], twice
    return run


NORMS = {
    "batch": (lambda F, x, w, b: F.batch_norm(x, None, None, w, b, True), ((4, 3, 2, 5), (3,), (3,)), True),
    "batch 2d": (lambda F, x, w, b: F.batch_norm(x, None, None, w, b, True), ((4, 3), (3,), (3,)), True),
    "batch plain": (lambda F, x: F.batch_norm(x, None, None, training=True), ((4, 3, 2),), True),
    "layer": (lambda F, x, w, b: F.layer_norm(x, (5,), w, b), ((4, 3, 5), (5,), (5,)), True),
    "layer 2d": (lambda F, x, w, b: F.layer_norm(x, (3, 5), w, b), ((4, 3, 5), (3, 5), (3, 5)), True),
    "layer plain": (lambda F, x: F.layer_norm(x, (5,)), ((4, 5),), True),
    "group": (lambda F, x, w, b: F.group_norm(x, 2, w, b), ((3, 4, 2, 3), (4,), (4,)), False),
    "group plain": (lambda F, x: F.group_norm(x, 4), ((3, 4, 2),), False),
    "instance": (lambda F, x, w, b: F.instance_norm(x, None, None, w, b), ((3, 4, 2, 3), (4,), (4,)), True),
    "rms": (lambda F, x, w: F.rms_norm(x, (5,), w), ((3, 5), (5,)), False),
    "local response": (lambda F, x: F.local_response_norm(x, 3, 0.1), ((2, 5, 3),), True),
    "normalize": (lambda F, x: F.normalize(x), ((4, 5),), True),
}


@pytest.mark.parametrize("name", NORMS)
def test_normalisation(name):
    pt.manual_seed(0)
    call, shapes, second = NORMS[name]
    assert_same_behaviour(first_and_second(call, second), *[leaf(*shape) for shape in shapes])


def test_second_gradient_where_torch_has_none():
    x, w, b = rl.randn(2, 4, 3, dtype=rl.float64, requires_grad=True), rl.ones(4, dtype=rl.float64, requires_grad=True), None
    assert rl.autograd.gradcheck(lambda x, w: rl.nn.functional.group_norm(x, 2, w, b), (x, w))
    assert rl.autograd.gradgradcheck(lambda x, w: rl.nn.functional.group_norm(x, 2, w, b), (x, w))


def test_running_statistics():
    def run(m, x):
        mean, var = m.zeros(3), m.ones(3)
        functional(m).batch_norm(x, mean, var, training=True)
        functional(m).batch_norm(x, mean, var, training=True, momentum=0.3)
        return mean, var, functional(m).batch_norm(x, mean, var)
    assert_same_behaviour(run, pt.randn(4, 3, 5))


LOSSES = {
    "mse": lambda F, x, y: F.mse_loss(x, y), "mse sum": lambda F, x, y: F.mse_loss(x, y, reduction="sum"), "l1": lambda F, x, y: F.l1_loss(x, y),
    "smooth l1": lambda F, x, y: F.smooth_l1_loss(x, y, beta=0.5), "huber": lambda F, x, y: F.huber_loss(x, y, delta=0.7),
    "kl": lambda F, x, y: F.kl_div(x, y.exp(), reduction="batchmean"), "kl log": lambda F, x, y: F.kl_div(x, y, reduction="sum", log_target=True),
    "bce": lambda F, x, y: F.binary_cross_entropy(x.sigmoid(), y.sigmoid()),
    "bce logits": lambda F, x, y: F.binary_cross_entropy_with_logits(x, y.sigmoid(), reduction="none"),
    "bce weights": lambda F, x, y: F.binary_cross_entropy_with_logits(x, y.sigmoid(), x.detach().abs(), pos_weight=y.detach()[0].abs()),
    "poisson": lambda F, x, y: F.poisson_nll_loss(x, y.detach().abs() * 3, full=True),
    "gaussian": lambda F, x, y: F.gaussian_nll_loss(x, y, (x * x + 0.1), full=True),
    "cross entropy probabilities": lambda F, x, y: F.cross_entropy(x, y.softmax(1), label_smoothing=0.1),
    "cosine": lambda F, x, y: F.cosine_similarity(x, y), "distance": lambda F, x, y: F.pairwise_distance(x, y),
    "triplet": lambda F, x, y: F.triplet_margin_loss(x, y, x.flip(0), swap=True), "ranking": lambda F, x, y: F.margin_ranking_loss(x, y, y.detach().sign(), 0.1),
    "soft margin": lambda F, x, y: F.soft_margin_loss(x, y.detach().sign()), "hinge": lambda F, x, y: F.hinge_embedding_loss(x, y.detach().sign(), 0.3),
    "multilabel soft": lambda F, x, y: F.multilabel_soft_margin_loss(x, (y.detach() > 0).to(x.dtype)),
    "cosine embedding": lambda F, x, y: F.cosine_embedding_loss(x, y, y.detach()[:, 0].sign(), 0.1),
}
ONCE = {"poisson", "bce", "l1"}


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name):
    pt.manual_seed(0)
    assert_same_behaviour(first_and_second(LOSSES[name], name not in ONCE), leaf(4, 5), leaf(4, 5))


CLASSES = {
    "plain": {}, "sum": {"reduction": "sum"}, "none": {"reduction": "none"}, "ignore": {"ignore_index": 2}, "smoothing": {"label_smoothing": 0.2},
    "weight": {"weight": pt.tensor([1.0, 2, 0.5, 3, 1], dtype=pt.float64)},
    "all": {"weight": pt.tensor([1.0, 2, 0.5, 3, 1], dtype=pt.float64), "ignore_index": 2, "label_smoothing": 0.1},
}


@pytest.mark.parametrize("name", CLASSES)
def test_cross_entropy(name):
    from tests.support.common import to_rl
    pt.manual_seed(0)
    for x, t in ((leaf(6, 5), pt.tensor([0, 1, 2, 3, 4, 2])), (leaf(2, 5, 3), pt.tensor([[0, 1, 2], [4, 2, 2]])), (leaf(5), pt.tensor(3))):
        def call(F, x, t):
            options = CLASSES[name] if F is PF else to_rl(CLASSES[name])
            return F.cross_entropy(x, t, **options)
        assert_same_behaviour(first_and_second(call), x, t)
    y = pt.tensor([0, 1, 2, 3])
    for call in (lambda F, x, y: F.multi_margin_loss(x, y, 2), lambda F, x, y: F.nll_loss(x.log_softmax(1), y),
                 lambda F, x, y: F.multilabel_margin_loss(x, (y[:, None] + y[None]).clamp(-1, 4) - 1)):
        assert_same_behaviour(first_and_second(call, False), leaf(4, 5), y)


def test_ctc():
    pt.manual_seed(0)
    x, t = leaf(7, 3, 5), pt.tensor([[1, 2, 2], [3, 1, 4], [2, 4, 1]])
    for reduction in ("mean", "sum", "none"):
        assert_same_behaviour(lambda m, x, t: (lambda y: (y, m.autograd.grad(y.sum(), x)))(functional(m).ctc_loss(
            x.log_softmax(2), t, m.tensor([7, 6, 7]), m.tensor([3, 2, 3]), reduction=reduction)), x, t)


@pytest.mark.parametrize("options", [{}, {"padding_idx": 1}, {"scale_grad_by_freq": True}, {"padding_idx": -1}])
def test_embedding(options):
    pt.manual_seed(0)
    index = pt.tensor([[0, 1, 1], [3, 0, 2]])
    assert_same_behaviour(first_and_second(lambda F, w, i: F.embedding(i, w, **options), not options.get("scale_grad_by_freq")), leaf(4, 3), index)


def test_embedding_bag_and_one_hot():
    pt.manual_seed(0)
    flat, offsets, square = pt.tensor([0, 1, 1, 3, 0, 2]), pt.tensor([0, 2, 2]), pt.tensor([[0, 1, 1], [3, 0, 2]])
    for mode in ("sum", "mean", "max"):
        assert_same_behaviour(first_and_second(lambda F, w, i, o: F.embedding_bag(i, w, o, mode=mode), False), leaf(4, 3), flat, offsets)
        assert_same_behaviour(first_and_second(lambda F, w, i: F.embedding_bag(i, w, mode=mode, padding_idx=1), False), leaf(4, 3), square)
    assert_same_behaviour(lambda m, i: (functional(m).one_hot(i), functional(m).one_hot(i, 6)), square)
    assert_same_behaviour(first_and_second(lambda F, a, b, w, c: F.bilinear(a, b, w, c)), leaf(2, 3), leaf(2, 4), leaf(5, 3, 4), leaf(5))


@pytest.mark.parametrize("call", [
    lambda F, x, t: F.cross_entropy(x, t + 9), lambda F, x, t: F.cross_entropy(x, t[:2]), lambda F, x, t: F.cross_entropy(x, t.float()),
    lambda F, x, t: F.cross_entropy(x, t, label_smoothing=2.0), lambda F, x, t: F.cross_entropy(x, t, reduction="most"), lambda F, x, t: F.nll_loss(x, t, x[0, :2]),
    lambda F, x, t: F.binary_cross_entropy(x * 9, x), lambda F, x, t: F.binary_cross_entropy(x.sigmoid(), x[:2].sigmoid()),
    lambda F, x, t: F.binary_cross_entropy_with_logits(x, x[:2]), lambda F, x, t: F.huber_loss(x, x, delta=-1.0),
    lambda F, x, t: F.embedding(t + 9, x), lambda F, x, t: F.embedding(t.float(), x), lambda F, x, t: F.layer_norm(x, (4,)),
    lambda F, x, t: F.group_norm(x, 2), lambda F, x, t: F.batch_norm(x, x[0, :2], x[0, :2]), lambda F, x, t: F.batch_norm(x[:1], None, None, training=True),
    lambda F, x, t: F.one_hot(t - 1), lambda F, x, t: F.one_hot(x), lambda F, x, t: F.triplet_margin_loss(x, x, x, margin=-1), lambda F, x, t: F.gaussian_nll_loss(x, x, -1.0),
])
def test_errors(call):
    ours, theirs = both(lambda m, x, t: call(functional(m), x, t), pt.randn(4, 5), pt.tensor([0, 1, 2, 3]))
    assert isinstance(theirs, Exception), theirs
    assert isinstance(ours, type(theirs)), f"{ours!r} instead of {theirs!r}"


def test_size_average():
    with pytest.warns(UserWarning, match="please use reduction='sum' instead"):
        ours = rl.nn.KLDivLoss(size_average=False)
    x, y = pt.randn(3, 4).log_softmax(1), pt.rand(3, 4)
    assert ours.reduction == "sum"
    assert_same(ours(rl.from_numpy(x.numpy()), rl.from_numpy(y.numpy())), PF.kl_div(x, y, reduction="sum"))
