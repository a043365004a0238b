"""Sparse gradients of embeddings, and the optimisers that take them, against PyTorch."""

import pytest
import torch as pt

from tests.support.common import rl


def embedding_gradient(torch, cls, options, *args):
    torch.manual_seed(0)
    module = getattr(torch.nn, cls)(6, 3, sparse=True, **options)
    for _ in range(2):
        module(*[torch.tensor(a) for a in args]).square().sum().backward()
    g = module.weight.grad
    return str(g.layout), tuple(g.shape), g.sparse_dim(), g.dense_dim(), pt.tensor(g.coalesce().to_dense().tolist())


@pytest.mark.parametrize("cls, options, args", [
    ("Embedding", {}, ([[1, 2, 1], [4, 0, 5]],)), ("Embedding", {"padding_idx": 1}, ([[1, 2, 1], [4, 0, 5]],)), ("Embedding", {}, ([3],)),
    ("Embedding", {"max_norm": 1.0}, ([3, 1, 3],)), ("EmbeddingBag", {"mode": "sum"}, ([[1, 2], [1, 4]],)), ("EmbeddingBag", {}, ([[1, 2], [1, 4]],)),
    ("EmbeddingBag", {"mode": "mean", "padding_idx": 2}, ([[1, 2], [1, 4]],)), ("EmbeddingBag", {"mode": "sum"}, ([1, 2, 1, 4, 5], [0, 2, 2])),
], ids=str)
def test_embedding_gradient(cls, options, args):
    ours, theirs = embedding_gradient(rl, cls, options, *args), embedding_gradient(pt, cls, options, *args)
    assert ours[:4] == theirs[:4]
    pt.testing.assert_close(ours[4], theirs[4])


def test_embedding_refusals():
    with pytest.raises(ValueError, match="max mode does not support sparse"):
        rl.nn.EmbeddingBag(5, 2, sparse=True, mode="max")(rl.tensor([[1]]))
    with pytest.raises(RuntimeError, match="scale_grad_by_freq not supported with sparse"):
        rl.nn.Embedding(5, 2, sparse=True, scale_grad_by_freq=True)(rl.tensor([1])).sum().backward()


def train(torch, name, options, mixed, steps=5):
    torch.manual_seed(1)
    table, layer = torch.nn.Embedding(10, 4, sparse=True), torch.nn.Linear(4, 2)
    params = [*table.parameters(), *layer.parameters()] if mixed else list(table.parameters())
    optimizer = getattr(torch.optim, name)(params, **options)
    losses = []
    for step in range(steps):
        optimizer.zero_grad()
        loss = layer(table(torch.tensor([[step % 10, 3, 3], [7, step % 3, 9]]))).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(round(loss.item(), 5))
    state = optimizer.state_dict()["state"]
    shown = {key: {k: v if not hasattr(v, "to_dense") else pt.tensor(v.to_dense().tolist()) for k, v in value.items()} for key, value in state.items()}
    return losses, pt.tensor(table.weight.detach().tolist()), shown


@pytest.mark.parametrize("name, options, mixed", [
    ("SGD", {"lr": 0.5}, True), ("SGD", {"lr": 0.5, "momentum": 0.9}, True), ("SGD", {"lr": 0.5, "momentum": 0.9, "nesterov": True}, False),
    ("SGD", {"lr": 0.1, "maximize": True}, False), ("SGD", {"lr": 0.5, "momentum": 0.9, "dampening": 0.3}, False), ("Adagrad", {"lr": 0.5}, True),
    ("Adagrad", {"lr": 0.5, "lr_decay": 0.1, "initial_accumulator_value": 0.2}, False), ("SparseAdam", {"lr": 0.1}, False),
    ("SparseAdam", {"lr": 0.1, "betas": (0.5, 0.9), "eps": 1e-3, "maximize": True}, False)], ids=str)
def test_training(name, options, mixed):
    (losses, weight, state), (their_losses, their_weight, their_state) = train(rl, name, options, mixed), train(pt, name, options, mixed)
    assert losses == pytest.approx(their_losses, abs=2e-5)
    pt.testing.assert_close(weight, their_weight)
    assert state.keys() == their_state.keys()
    for key, values in state.items():
        assert values.keys() == their_state[key].keys()
        for k, v in values.items():
            pt.testing.assert_close(v, their_state[key][k], msg=f"{key} {k}", check_dtype=False)


@pytest.mark.parametrize("name", ["Adam", "AdamW", "RMSprop", "Adadelta", "Adamax", "NAdam", "RAdam", "ASGD", "Rprop"])
def test_optimizers_that_refuse(name):
    def run(torch):
        torch.manual_seed(0)
        table = torch.nn.Embedding(5, 2, sparse=True)
        before = table.weight.tolist()
        optimizer = getattr(torch.optim, name)(table.parameters())
        table(torch.tensor([1, 2])).sum().backward()
        with pytest.raises(RuntimeError) as error:
            optimizer.step()
        return str(error.value), table.weight.tolist() == before
    assert run(rl) == run(pt)


@pytest.mark.parametrize("run", [
    lambda torch: torch.optim.SparseAdam([torch.zeros(2)], lr=-1), lambda torch: torch.optim.SparseAdam([torch.zeros(2)], betas=(1.0, 0.9)),
    lambda torch: torch.optim.SparseAdam([torch.zeros(2)], eps=0), lambda torch: torch.optim.SparseAdam([torch.eye(2).to_sparse().requires_grad_()]),
    lambda torch: step_with_dense_gradient(torch), lambda torch: torch.optim.SparseAdam([])])
def test_sparse_adam_errors(run):
    with pytest.raises(Exception) as theirs:  # noqa: PT011, B017
        run(pt)
    with pytest.raises(theirs.type) as ours:
        run(rl)
    assert str(ours.value) == str(theirs.value)


def step_with_dense_gradient(torch):
    layer = torch.nn.Linear(2, 2)
    optimizer = torch.optim.SparseAdam(layer.parameters())
    layer(torch.ones(2)).sum().backward()
    optimizer.step()


@pytest.mark.parametrize("options", [{"weight_decay": 0.1}])
@pytest.mark.parametrize("name", ["SGD", "Adagrad"])
def test_weight_decay_is_refused(name, options):
    def run(torch):
        table = torch.nn.Embedding(5, 2, sparse=True)
        table(torch.tensor([1, 2])).sum().backward()
        getattr(torch.optim, name)(table.parameters(), lr=0.1, **options).step()
    for torch in (pt, rl):
        with pytest.raises(RuntimeError):
            run(torch)


def test_zero_grad_keeps_a_sparse_gradient():
    def run(torch):
        table = torch.nn.Embedding(5, 2, sparse=True)
        optimizer = torch.optim.SGD(table.parameters(), lr=0.1)
        table(torch.tensor([1, 2])).sum().backward()
        optimizer.zero_grad(set_to_none=False)
        return str(table.weight.grad.layout), table.weight.grad._nnz(), table.weight.grad.to_dense().tolist()
    assert run(rl) == run(pt)


def test_checkpoint_of_sparse_adam(tmp_path):
    table = rl.nn.Embedding(5, 2, sparse=True)
    optimizer = rl.optim.SparseAdam(table.parameters(), lr=0.1)
    table(rl.tensor([1, 2])).sum().backward()
    optimizer.step()
    rl.save(optimizer.state_dict(), tmp_path / "o.pt")
    other = pt.nn.Embedding(5, 2, sparse=True)
    theirs = pt.optim.SparseAdam(other.parameters(), lr=0.1)
    theirs.load_state_dict(pt.load(tmp_path / "o.pt"))
    assert theirs.state_dict()["state"][0]["exp_avg"].tolist() == optimizer.state_dict()["state"][0]["exp_avg"].tolist()
