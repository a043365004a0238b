"""What the processes of the tests of DTensor do, in rushlight and in PyTorch: values, gradients and placements."""

from datetime import timedelta
from importlib import import_module

import numpy as np

# x is 4x6, cut along dimension 0, 1 or not at all; w 6x8, v 8x6, b 6, ids 4 of 8 classes
EXPRESSIONS = [
    "x + x", "x * 2 + 1", "x.exp() * b", "torch.relu(x - b)", "x @ w", "(x @ w) @ v", "x.t()", "x.sum()", "x.sum(0)", "x.mean(1, keepdim=True)", "x.mean()",
    "x.amax(1)", "F.softmax(x, 1)", "F.log_softmax(x, -1)", "F.layer_norm(x, (6,), b, b)", "F.linear(x, v, c)", "F.gelu(F.linear(x, v))",
    "x.view(4, 2, 3)", "x.reshape(24)", "x.unsqueeze(1)", "x.transpose(0, 1)", "x[:, 1:3]", "x[1]", "torch.cat([x, x], 1)", "x.view(4, 2, 3).permute(1, 0, 2)",
    "F.embedding(ids, v)", "F.cross_entropy(x, ids)", "F.mse_loss(x, x * 0.5)", "x.split(3, 1)[0]", "torch.where(x > 0, x, x * 0.1)", "x.expand(2, 4, 6)",
    "x.pow(2).sum().sqrt()", "x.clone().mul_(2)", "torch.stack([x, x])", "x / x.abs().sum(1, keepdim=True)", "x.argmax(1)", "torch.max(x, 1)[0]",
    "F.silu(x @ w).sum(-1)", "(x.sum(0) * 3 + b).tanh()", "torch.zeros_like(x)", "x.to(torch.float64)", "-x", "x.flatten()", "x.std()",
]
PLACED = {"S0": ("Shard(0)", "Replicate()"), "S1": ("Shard(1)", "Shard(0)"), "R": ("Replicate()", "Shard(1)"), "RR": ("Replicate()", "Replicate()")}


def begin(name):
    torch = import_module("torch" if name == "oracle" else "rushlight")
    for each in ("distributed", "distributed.device_mesh", "distributed.tensor", "distributed.tensor.parallel"):
        import_module(f"{torch.__name__}.{each}")
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo", timeout=timedelta(seconds=60))
    return torch, torch.distributed.get_rank(), torch.distributed.device_mesh.init_device_mesh("cpu", (2,))


def values(torch, seed, *shape):
    return torch.tensor(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def tensors(torch, mesh, how):
    """Leaves of the expressions, plain (how None) or placed."""
    leaves = {"x": values(torch, 0, 4, 6), "w": values(torch, 1, 6, 8), "v": values(torch, 2, 8, 6), "b": values(torch, 3, 6), "c": values(torch, 4, 8)}
    ids = torch.tensor([1, 5, 0, 3])
    if how is None:
        return {k: t.requires_grad_() for k, t in leaves.items()}, ids
    D = torch.distributed.tensor
    x, w = (eval(text, vars(D)) for text in PLACED[how])
    places = {"x": x, "w": w, "v": w, "b": D.Replicate(), "c": D.Shard(0) if repr(w).startswith("Shard(dim=1") else D.Replicate()}
    return ({k: D.distribute_tensor(t, mesh, [places[k]]).requires_grad_() for k, t in leaves.items()},
            D.distribute_tensor(ids, mesh, [x if how == "S0" else D.Replicate()]))


def expressions(name):
    """Per expression and placement: the whole result, its placements, the whole gradients."""
    torch, rank, mesh = begin(name)
    found = {}
    for how in PLACED:
        for text in EXPRESSIONS:
            try:
                leaves, ids = tensors(torch, mesh, how)
                out = eval(text, {**leaves, "ids": ids, "torch": torch, "F": torch.nn.functional})
                kinds, shape = [str(p) for p in out.placements], tuple(out.shape)
                grads = {}
                whole = out.full_tensor()
                if out.requires_grad:
                    (whole * values(torch, 9, *whole.shape)).sum().backward()
                    grads = {k: t.grad.full_tensor().numpy() for k, t in leaves.items() if t.grad is not None}
                found[how, text] = kinds, shape, whole.detach().numpy(), grads
            except Exception as error:
                found[how, text] = f"{type(error).__name__}: {error}"
    return found


def moves(name):
    """redistribute, from_local, to_local, uneven parts, two dimensions, errors."""
    torch, rank, mesh = begin(name)
    D = torch.distributed.tensor
    S, R, P = D.Shard, D.Replicate, D.Partial
    found = {}
    x = values(torch, 5, 5, 3)
    d = D.distribute_tensor(x, mesh, [S(0)])
    found["local"] = d.to_local().numpy()
    found["uneven"] = d.redistribute(placements=[S(1)]).to_local().numpy()
    found["whole"] = d.full_tensor().numpy()
    local = values(torch, 6 + rank, 4, 2).requires_grad_()
    w = values(torch, 8, 4, 2)
    for key, source, to in (("PS", P(), S(0)), ("PR", P(), R()), ("SR", S(1), R()), ("RS", R(), S(1)), ("SS", S(0), S(1)), ("avg", P("avg"), R())):
        local.grad = None
        out = D.DTensor.from_local(local, mesh, [source]).redistribute(placements=[to])
        (out.to_local() * (rank + 1)).sum().backward()
        found[key] = out.detach().to_local().numpy(), tuple(out.shape), local.grad.numpy().copy()
    m = D.distribute_tensor(w, mesh, [S(0)]).requires_grad_()
    (m.to_local(grad_placements=[S(0)]) * 3).sum().backward()
    found["grad"] = m.grad.to_local().numpy(), repr(m.grad.placements)
    found["says"] = [repr(p) for p in (S(1), R(), P(), P("avg"))] + [str(p) for p in (S(1), R(), P())]
    found["is"] = [isinstance(torch.nn.Parameter(m), torch.nn.Parameter), m.is_leaf, m.requires_grad, m.numel(), m.stride(), m.dim(), m.size(0)]
    found["made"] = [t.to_local().shape for t in (D.zeros(5, 3, device_mesh=mesh, placements=[S(0)]), D.ones((4, 2), device_mesh=mesh, placements=[S(1)]))]
    found["errors"] = []
    for text in ("m + w", "D.distribute_tensor(w, mesh, [S(2)])", "D.distribute_tensor(w, mesh, [S(0), S(1)])", "m.redistribute(placements=[P()])",
                 "D.DTensor.from_local(m, mesh, [S(0)])", "D.distribute_tensor(m, mesh, [R()])", "m.numpy()"):
        try:
            found["errors"].append((text, repr(eval(text, {"m": m, "w": w, "D": D, "S": S, "R": R, "P": P, "mesh": mesh}))[:10]))
        except Exception as error:
            found["errors"].append((text, type(error).__name__))
    return found


def grids():
    """A mesh of 2 x 2: every placement to every other, also of one dimension cut twice and unevenly; gradients."""
    torch, rank, _ = begin("rushlight")
    D = torch.distributed.tensor
    mesh = D.init_device_mesh("cpu", (2, 2), mesh_dim_names=("dp", "tp"))
    x, w = values(torch, 1, 7, 5), values(torch, 2, 7, 5)
    kinds = [D.Shard(0), D.Shard(1), D.Replicate()]
    pairs = [(a, b) for a in kinds for b in kinds]
    for source in pairs:
        d = D.distribute_tensor(x, mesh, source).requires_grad_()
        assert torch.equal(d.full_tensor(), x), source
        for to in pairs:
            moved = d.redistribute(placements=to)
            assert moved.to_local().shape == D.distribute_tensor(x, mesh, to).to_local().shape and torch.equal(moved.full_tensor(), x), (source, to)
        d.grad = None
        ((d * 2).redistribute(placements=(D.Shard(1), D.Replicate())).full_tensor() * w).sum().backward()
        assert torch.equal(d.grad.full_tensor(), w * 2), source
    a, b = D.distribute_tensor(x, mesh, [D.Shard(0), D.Replicate()]), D.distribute_tensor(w.t().contiguous(), mesh, [D.Replicate(), D.Shard(1)])
    found = a @ b
    assert found.placements == (D.Shard(0), D.Shard(1)) and torch.allclose(found.full_tensor(), x @ w.t(), atol=1e-5)
    return True


class Block:
    """A small transformer block."""

    @staticmethod
    def make(torch):
        class Net(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.embed, self.norm = torch.nn.Embedding(10, 8), torch.nn.LayerNorm(8)
                self.up, self.down, self.head = torch.nn.Linear(8, 16), torch.nn.Linear(16, 8), torch.nn.Linear(8, 10)

            def forward(self, ids):
                x = self.embed(ids)
                return self.head(x + self.down(torch.nn.functional.gelu(self.up(self.norm(x)))))
        net = Net()
        with torch.no_grad():
            for i, p in enumerate(net.parameters()):
                p.copy_(values(torch, 20 + i, *p.shape) * 0.3)
        return net


def parallel(name):
    """Tensor parallelism, without and with parts of sequences between the layers: losses and weights after three steps of AdamW."""
    torch, rank, mesh = begin(name)
    D, P = torch.distributed.tensor, torch.distributed.tensor.parallel
    plans = {
        "tensor": {"embed": P.RowwiseParallel(input_layouts=D.Replicate()), "up": P.ColwiseParallel(), "down": P.RowwiseParallel(),
                   "head": P.ColwiseParallel(output_layouts=D.Replicate())},
        "sequence": {"embed": P.RowwiseParallel(input_layouts=D.Replicate(), output_layouts=D.Shard(1), use_local_output=False),
                     "norm": P.SequenceParallel(), "up": P.ColwiseParallel(input_layouts=D.Shard(1)),
                     "down": P.RowwiseParallel(output_layouts=D.Shard(1), use_local_output=False),
                     "head": P.ColwiseParallel(input_layouts=D.Shard(1), output_layouts=D.Replicate())},
        "none": None}
    found = {}
    for key, plan in plans.items():
        net = Block.make(torch)
        if plan:
            P.parallelize_module(net, mesh, plan)
        optimizer = torch.optim.AdamW(net.parameters(), lr=0.05, foreach=False)
        losses = []
        for step in range(3):
            ids = torch.tensor(np.random.default_rng(step).integers(0, 10, (2, 4)))
            loss = torch.nn.functional.cross_entropy(net(ids).reshape(-1, 10), ids.reshape(-1))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        found[key] = losses, [(p.full_tensor() if isinstance(p, D.DTensor) else p).detach().numpy() for p in net.parameters()]
    return found


def everything(name):
    """All of them in one world."""
    return {"expressions": expressions(name), "moves": moves(name), "parallel": parallel(name)}
