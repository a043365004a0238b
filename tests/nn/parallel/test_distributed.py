"""DistributedDataParallel in two processes: against one process on the joined batch, and against PyTorch's."""

import numpy as np
import pytest
import torch as T

import rushlight as rl
from tests.distributed import ddp_programs as programs
from tests.support.processes import run


def close(a, b, tolerance=1e-5):
    assert len(a) == len(b)
    for one, other in zip(a, b):
        assert (one is None) == (other is None)
        assert one is None or np.allclose(one, other, rtol=tolerance, atol=tolerance), np.abs(one - other).max()


@pytest.mark.parametrize("program", [programs.train, programs.train_buckets])
def test_two_processes_are_one_on_the_joined_batch(program):
    (losses0, weights0), (losses1, weights1) = run(program, 2, "rushlight")
    losses, weights = programs.trained(rl, programs.model(rl), slice(None))
    close(weights0, weights1, 0)
    close(weights0, weights)
    close([np.mean(pair) for pair in zip(losses0, losses1)], losses)


def both(program):
    return run(program, 2, "rushlight"), run(program, 2, "oracle")


def test_accumulating_and_hooks_are_pytorchs():
    for ours, theirs in zip(*both(programs.accumulate)):
        close(ours[0], theirs[0])
        close(ours[1], theirs[1])
    for ours, theirs in zip(*both(programs.hooks)):
        for i, (a, b) in enumerate(zip(ours, theirs)):
            close(a, b, 1e-5 if i == 0 else 5e-3)


def test_unused_parameters():
    for ours, theirs in zip(*both(programs.unused)):
        for a, b in zip(ours, theirs):
            close(a, b)
    assert all("find_unused_parameters=True" in text and "b.0.weight" in text for text in run(programs.left_out, 2, "rushlight"))


def test_buffers_and_sync_batch_norm():
    for ours, theirs in zip(*both(programs.buffers)):
        close(ours[0], theirs[0])
        close(ours[1], theirs[1])
        assert ours[2] is None or np.allclose(ours[2], theirs[2], atol=1e-6)
    weights, mean, var = run(programs.sync_norm, 2, "rushlight")[0]
    net = programs.model(rl, norm=True)                          # one process: the mean of the parts' losses, of 4 and of 8
    optimizer = rl.optim.SGD(net.parameters(), lr=0.5, momentum=0.9)
    for step in range(3):
        x, y = programs.data(rl, step)
        out = net(x)
        loss = (rl.nn.functional.cross_entropy(out[:4], y[:4]) + rl.nn.functional.cross_entropy(out[4:], y[4:])) / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    close(weights, [p.detach().numpy() for p in net.parameters()], 1e-4)
    assert np.allclose(mean, net[1].running_mean.numpy(), atol=1e-6) and np.allclose(var, net[1].running_var.numpy(), atol=1e-5)


def test_gradients_of_collectives():
    assert run(programs.gradients, 2, "rushlight") == [True, True]


def test_one_process_and_wrong_arguments():
    rl.distributed.init_process_group("gloo", rank=0, world_size=1, store=rl.distributed.HashStore())
    try:
        DDP = rl.nn.parallel.DistributedDataParallel
        net = DDP(rl.nn.Linear(2, 1))
        net(rl.ones(1, 2)).sum().backward()
        assert net.module.weight.grad.tolist() == [[1, 1]] and list(net.state_dict()) == ["module.weight", "module.bias"]
        with pytest.raises(RuntimeError, match="doesn't have any parameters"):
            DDP(rl.nn.ReLU())
        with pytest.raises(ValueError, match="device_ids"):
            DDP(rl.nn.Linear(2, 1), device_ids=[0])
        with pytest.raises(NotImplementedError, match="mixed_precision"):
            DDP(rl.nn.Linear(2, 1), mixed_precision=object())
        with pytest.raises(TypeError, match="callable"):
            net.register_comm_hook(None, 3)
        assert T.nn.parallel.DistributedDataParallel.__name__ == DDP.__name__ and DDP.__module__ == "rushlight.nn.parallel.distributed"
    finally:
        rl.distributed.destroy_process_group()
    with pytest.raises(ValueError, match="Default process group has not been initialized"):
        rl.nn.parallel.DistributedDataParallel(rl.nn.Linear(2, 1))
