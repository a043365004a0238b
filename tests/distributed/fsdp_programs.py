"""What the processes of the tests of FSDP do, in rushlight and in PyTorch."""

from datetime import timedelta
from importlib import import_module

import numpy as np


def begin(name):
    torch = import_module("torch" if name == "oracle" else "rushlight")
    for each in ("distributed", "distributed.device_mesh", "distributed.tensor", "distributed.fsdp", "distributed.fsdp.wrap"):
        import_module(f"{torch.__name__}.{each}")
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo", timeout=timedelta(seconds=60))
    return torch, torch.distributed.get_rank(), torch.distributed.get_world_size()


def model(torch):
    """Three layers of odd sizes, one with a frozen parameter and one that is used twice."""
    class Layer(torch.nn.Module):
        def __init__(self, n, m):
            super().__init__()
            self.linear, self.norm = torch.nn.Linear(n, m), torch.nn.LayerNorm(m)

        def forward(self, x):
            return torch.tanh(self.norm(self.linear(x)))

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.head = Layer(5, 7), Layer(7, 7), torch.nn.Linear(7, 3)

        def forward(self, x):
            return self.head(self.second(self.second(self.first(x))))
    net = Net()
    with torch.no_grad():
        for i, p in enumerate(net.parameters()):
            p.copy_(torch.tensor(np.random.default_rng(i).normal(size=tuple(p.shape)).astype(np.float32)) * 0.5)
    net.first.norm.bias.requires_grad_(False)
    return net


def batch(torch, step):
    rng = np.random.default_rng(50 + step)
    return torch.tensor(rng.normal(size=(8, 5)).astype(np.float32)), torch.tensor(rng.integers(0, 3, 8))


def whole(torch, tensors):
    return [(t.full_tensor() if hasattr(t, "full_tensor") else t).detach().float().numpy().copy() for t in tensors]


def steps(torch, net, part, optimizer, count=3, clip=True):
    losses = []
    for step in range(count):
        x, y = (each[part] for each in batch(torch, step))
        loss = torch.nn.functional.cross_entropy(net(x).float(), y)
        optimizer.zero_grad()
        loss.backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(net.parameters(), 0.5)
        optimizer.step()
        losses.append(loss.item())
    return losses


def sharded(name):
    """fully_shard: three steps of AdamW; in bfloat16; accumulated gradients; state dicts."""
    torch, rank, size = begin(name)
    F, found, part = torch.distributed.fsdp, {}, slice(rank, None, size)
    for key, how in (("plain", {}), ("bf16", {"mp_policy": F.MixedPrecisionPolicy(torch.bfloat16, torch.float32)}), ("kept", {"reshard_after_forward": False})):
        net = model(torch)
        for layer in (net.first, net.second):
            F.fully_shard(layer, **how)
        F.fully_shard(net, **how)
        optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=0.05, foreach=False)
        losses = steps(torch, net, part, optimizer, clip=key != "bf16")
        found[key] = losses, whole(torch, net.parameters())
    found["kinds"] = [(type(p).__name__, tuple(p.to_local().shape), p.requires_grad, tuple(map(str, p.placements))) for p in net.parameters()]
    found["state"] = {k: (tuple(v.shape), type(v).__name__) for k, v in net.state_dict().items()}
    found["class"] = type(net).__name__
    optimizer.zero_grad()
    net.set_requires_gradient_sync(False)
    x, y = (each[part] for each in batch(torch, 7))
    torch.nn.functional.cross_entropy(net(x), y).backward()
    net.set_requires_gradient_sync(True)
    torch.nn.functional.cross_entropy(net(x * 2), y).backward()
    found["accumulated"] = whole(torch, [p.grad for p in net.parameters() if p.grad is not None])
    with torch.no_grad():
        found["eval"] = net(x).numpy().copy()
    return found


def wrapper(name):
    """FullyShardedDataParallel with a policy: three steps, the whole state."""
    torch, rank, size = begin(name)
    F = torch.distributed.fsdp
    net = model(torch)
    net.first.norm.bias.requires_grad_(True)
    layer = type(net.first)
    how = {"device_id": torch.device("cpu")} if name == "oracle" else {}
    made = F.FullyShardedDataParallel(net, auto_wrap_policy=F.wrap.ModuleWrapPolicy({layer}), use_orig_params=True, **how)
    optimizer = torch.optim.SGD(made.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for step in range(3):
        x, y = (each[rank::size] for each in batch(torch, step))
        loss = torch.nn.functional.cross_entropy(made(x), y)
        optimizer.zero_grad()
        loss.backward()
        losses.append(made.clip_grad_norm_(0.5).item())
        optimizer.step()
        losses.append(loss.item())
    state = made.state_dict()
    found = losses, {k: v.numpy().copy() for k, v in state.items()}
    made.load_state_dict({k: v * 2 for k, v in state.items()})
    return (*found, {k: v.numpy().copy() for k, v in made.state_dict().items()})


def everything(name):
    """All of them in one world."""
    return {"sharded": sharded(name), "wrapper": wrapper(name)}


def memory():
    """(held after a step of Adam, most during it) of a model of 16 layers of 256 x 256, by itself and shared out."""
    import gc
    import tracemalloc
    torch, rank, size = begin("rushlight")
    F, found = torch.distributed.fsdp, []
    def steps(net, shares):
        if shares:
            for layer in net:
                F.fully_shard(layer)
            F.fully_shard(net)
        optimizer = torch.optim.Adam(net.parameters())
        for step in range(3):
            if step == 2:
                gc.collect()
                tracemalloc.reset_peak()
            net(torch.ones(2, net[0].in_features)).sum().backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=step < 2)
        gc.collect()
        return net, optimizer
    for shares in (False, True):
        steps(torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)), shares)          # loads what is loaded at first use
        gc.collect()
        tracemalloc.start()
        kept = steps(torch.nn.Sequential(*[torch.nn.Linear(256, 256) for _ in range(16)]), shares)
        found.append(tracemalloc.get_traced_memory())
        tracemalloc.stop()
        del kept
        gc.collect()
    return found
