"""What the processes of the tests of DistributedDataParallel do. `torch` is rushlight, or PyTorch where `oracle` is asked for."""

from datetime import timedelta

import numpy as np


def module(name):
    import importlib
    found = importlib.import_module("torch" if name == "oracle" else "rushlight")
    importlib.import_module(found.__name__ + ".distributed")
    importlib.import_module(found.__name__ + ".nn.parallel")
    found.distributed.init_process_group("gloo", timeout=timedelta(seconds=60))
    return found, found.distributed.get_rank(), found.distributed.get_world_size()


def model(torch, norm=False):
    """A small network, its weights from NumPy, so that both sides have the same."""
    layers = [torch.nn.Linear(6, 16), torch.nn.BatchNorm1d(16) if norm else torch.nn.Tanh(), torch.nn.Linear(16, 3)]
    net = torch.nn.Sequential(*layers)
    rng = np.random.default_rng(0)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.tensor(rng.normal(size=tuple(p.shape)).astype(np.float32)) * 0.3)
    return net


def data(torch, step):
    rng = np.random.default_rng(100 + step)
    return torch.tensor(rng.normal(size=(12, 6)).astype(np.float32)), torch.tensor(rng.integers(0, 3, 12))


def trained(torch, net, part, steps=4, accumulate=False):
    """Losses and final weights of a few steps, each on this process's part of the batch."""
    optimizer, losses = torch.optim.SGD(net.parameters(), lr=0.5, momentum=0.9), []
    for step in range(steps):
        x, y = (each[part] for each in data(torch, step))
        loss = torch.nn.functional.cross_entropy(net(x), y)
        if accumulate and step % 2 == 0:
            with net.no_sync():
                torch.nn.functional.cross_entropy(net(x), y).backward()
            losses.append(loss.item())
            continue
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses, [p.detach().numpy().copy() for p in net.parameters()]


def train(name, **how):
    torch, rank, size = module(name)
    net = model(torch)
    if rank:
        with torch.no_grad():
            for p in net.parameters():
                p.zero_()                       # the wrapper gives everybody rank 0's
    found = trained(torch, torch.nn.parallel.DistributedDataParallel(net, **how), slice(rank, None, size))
    torch.distributed.destroy_process_group()
    return found


def train_buckets(name):
    return train(name, bucket_cap_mb=0.0001, gradient_as_bucket_view=True)


def accumulate(name):
    torch, rank, size = module(name)
    net = torch.nn.parallel.DistributedDataParallel(model(torch))
    x, y = (each[rank::size] for each in data(torch, 0))
    with net.no_sync():
        torch.nn.functional.cross_entropy(net(x), y).backward()
    own = [p.grad.numpy().copy() for p in net.parameters()]
    torch.nn.functional.cross_entropy(net(x), y).backward()
    return own, [p.grad.numpy().copy() for p in net.parameters()]


class TwoWays:
    """A network that uses one of two layers."""

    @staticmethod
    def make(torch):
        class Net(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b, self.c = model(torch), model(torch), model(torch)

            def forward(self, x, way):
                return {"out": self.a(x) if way else self.b(x)}
        return Net()


def unused(name):
    """Ranks use different layers; one is used by nobody."""
    torch, rank, size = module(name)
    net = torch.nn.parallel.DistributedDataParallel(TwoWays.make(torch), find_unused_parameters=True)
    found = []
    for step in range(2):
        x, y = (each[rank::size] for each in data(torch, step))
        torch.nn.functional.cross_entropy(net(x, (rank + step) % 2)["out"], y).backward()
        found.append([None if p.grad is None else p.grad.numpy().copy() for p in net.parameters()])
    return found


def left_out(name):
    torch, rank, size = module(name)
    net = torch.nn.parallel.DistributedDataParallel(TwoWays.make(torch))
    x, y = (each[rank::size] for each in data(torch, 0))
    torch.nn.functional.cross_entropy(net(x, 1)["out"], y).backward()
    try:
        net(x, 1)
    except RuntimeError as error:
        return str(error)


def hooks(name):
    torch, rank, size = module(name)
    from importlib import import_module
    default = import_module(torch.__name__ + ".distributed.algorithms.ddp_comm_hooks.default_hooks")
    found = []
    for hook in (default.allreduce_hook, default.fp16_compress_hook, default.fp16_compress_wrapper(default.allreduce_hook)):
        net = torch.nn.parallel.DistributedDataParallel(model(torch))
        net.register_comm_hook(None, hook)
        found.append(trained(torch, net, slice(rank, None, size), 1)[1])
    return found


def buffers(name):
    """Batch norm's running statistics are rank 0's; SyncBatchNorm's are everybody's."""
    torch, rank, size = module(name)
    net = torch.nn.parallel.DistributedDataParallel(model(torch, norm=True))
    losses, weights = trained(torch, net, slice(rank, None, size), 3)
    net(data(torch, 5)[0][rank::size])
    return losses, weights, net.module[1].running_mean.numpy().copy() if rank == 0 else None


def sync_norm(name):
    torch, rank, size = module(name)
    net = torch.nn.parallel.DistributedDataParallel(torch.nn.SyncBatchNorm.convert_sync_batchnorm(model(torch, norm=True)))
    losses, weights = trained(torch, net, [slice(0, 4), slice(4, 12)][rank], 3)
    return weights, net.module[1].running_mean.numpy().copy(), net.module[1].running_var.numpy().copy()


def gradients(name):
    """Gradients of torch.distributed.nn by finite differences: the sum over all ranks of weighted outputs, against every rank's input."""
    torch, rank, size = module(name)
    import rushlight.distributed.nn as dnn
    double = torch.float64

    def outputs(x):
        yield dnn.all_reduce(x * x)
        yield from dnn.all_gather(x.sin())
        yield dnn.broadcast(x * 2, 1)
        yield dnn.reduce(x.exp(), 1) if rank == 1 else dnn.reduce(x.exp(), 1) * 0
        yield dnn.reduce_scatter(torch.zeros(3, dtype=double), [x * (i + 1) for i in range(size)])
        yield from dnn.all_to_all([torch.zeros(3, dtype=double)] * size, [x * x * (i + 1) for i in range(size)])
        yield dnn.all_to_all_single(torch.zeros(2 * size, dtype=double), torch.cat([x * x, x])[:2 * size])
        yield from dnn.gather(x.cos(), 0)
        yield dnn.scatter([x * (i + 2) for i in range(size)], 1)

    def total(x):
        return sum((out * torch.linspace(0.5, 1.5, out.numel(), dtype=double) * (i + 1 + rank)).sum() for i, out in enumerate(outputs(x)))
    start = torch.tensor([0.3, -0.7, 1.1], dtype=double) + rank
    x = start.clone().requires_grad_()
    total(x).backward()
    for r in range(size):
        for i in range(3):
            step = torch.zeros(3, dtype=double)
            step[i] = 1e-6 if r == rank else 0
            with torch.no_grad():
                difference = (total(start + step) - total(start - step)) / 2e-6
            torch.distributed.all_reduce(difference)
            if r == rank:
                assert abs(difference.item() - x.grad[i].item()) < 1e-6, (r, i, difference, x.grad)
    return True
