"""What the processes of the tests of meshes, functional collectives, Join, ZeRO and PowerSGD do, in rushlight and in PyTorch."""

import pickle
from datetime import timedelta
from importlib import import_module

import numpy as np

from tests.distributed import ddp_programs


def begin(name):
    torch = import_module("torch" if name == "oracle" else "rushlight")
    for each in ("distributed", "distributed.device_mesh", "distributed._functional_collectives", "distributed.algorithms.join",
                 "distributed.optim", "distributed.algorithms.ddp_comm_hooks.powerSGD_hook", "nn.parallel"):
        import_module(f"{torch.__name__}.{each}")
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo", timeout=timedelta(seconds=60))
    return torch, torch.distributed.get_rank(), torch.distributed.get_world_size()


ASKED = ["m", "m['dp']", "m['tp']", "m['dp', 'tp'] == m", "m['tp'].mesh.tolist()", "m['dp'].mesh.tolist()", "m.get_coordinate()",
         "m.get_local_rank('tp')", "m.get_local_rank(0)", "m.get_rank()", "m.size()", "m.size(0)", "m.shape", "m.ndim", "m.mesh.dtype",
         "m.get_group('dp').size()", "m['tp'].get_group().rank()", "len(m.get_all_groups())", "m['tp'].get_coordinate()",
         "m == init_device_mesh('cpu', (2, 1), mesh_dim_names=('dp', 'tp'))", "hash(m) == hash(m['dp', 'tp'])", "m == m['dp']",
         "DeviceMesh('cpu', [0, 1])", "init_device_mesh('cpu', (2,))", "DeviceMesh('cpu', [[0], [1]]).get_group(0).size()",
         "m['x']", "m.get_group()", "m.get_local_rank()", "m.get_group('zz')", "m.get_group(5)", "init_device_mesh('cpu', (3,))",
         "init_device_mesh('cpu', (2, 1), mesh_dim_names=('a',))", "init_device_mesh('cpu', (2, 1), mesh_dim_names=('a', 'a'))",
         "init_device_mesh('cpu:0', (2,))", "init_device_mesh('cpu', (2, 1))['dp']", "m[0]", "m._flatten('all')", "m['all']", "m['dp', 'x']"]
_NO_CALL = ("init_device_mesh('cpu', (3,))",)       # PyTorch's says nothing where a process is outside of a mesh


def mesh(name):
    """What a mesh says, or the classes of the errors."""
    torch, rank, size = begin(name)
    where = {"m": torch.distributed.device_mesh.init_device_mesh("cpu", (2, 1), mesh_dim_names=("dp", "tp")),
             "init_device_mesh": torch.distributed.device_mesh.init_device_mesh, "DeviceMesh": torch.distributed.device_mesh.DeviceMesh}
    found = {}
    for text in ASKED:
        try:
            found[text] = repr(eval(text, where)).replace("rushlight", "torch")
        except Exception as error:
            found[text] = type(error).__name__
    found["functional"] = functional(torch, rank, size, where["m"])
    return found


def functional(torch, rank, size, m):
    F = torch.distributed._functional_collectives
    x = torch.arange(8.).reshape(4, 2) + rank
    found = [F.all_reduce(x, "sum", m["dp"]), F.all_reduce(x, "max", [0, 1]), F.all_gather_tensor(x, 0, (m, 0)), F.all_gather_tensor(x, 1, m["dp"]),
             F.reduce_scatter_tensor(x, "sum", 0, (m, "dp") if torch.__name__ == "rushlight" else (m, 0)), F.reduce_scatter_tensor(x, "avg", 1, m["dp"]),
             F.broadcast(x, 1, m["dp"]), F.permute_tensor(x[:, 1].contiguous(), [1, 0], m["dp"]),
             F.all_to_all_single(x, None, None, m["dp"]),
             *F.all_reduce_coalesced([x, x + 1], "sum", m["dp"])]
    y = x.clone().requires_grad_()
    w = torch.arange(16.).reshape(8, 2) + rank
    (F.all_gather_tensor_autograd(y, 0, m["dp"]) * w).sum().backward()
    z = x.clone().requires_grad_()
    (F.reduce_scatter_tensor_autograd(z * z, "sum", 0, m["dp"]) * w[:2]).sum().backward()
    u = x.clone().requires_grad_()
    (F.all_to_all_single_autograd(u * u, [2, 2], [2, 2], m["dp"]) * w[:4]).sum().backward()
    return [np.asarray(F.wait_tensor(each).detach().numpy()) for each in (*found, y.grad, z.grad, u.grad)]


def joined(name):
    """Rank 0 has 2 batches, rank 1 has 5; BatchNorm's buffers travel, too."""
    torch, rank, size = begin(name)
    found = []
    for how in ({}, {"divide_by_initial_world_size": False}):
        net = torch.nn.parallel.DistributedDataParallel(ddp_programs.model(torch, norm=True), **({"bucket_cap_mb": 0.0001} if how else {}))
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        with net.join(**how):
            for step in range(2 + 3 * rank):
                x, y = ddp_programs.data(torch, step + 10 * rank)
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(net(x), y).backward()
                optimizer.step()
        found.append([p.detach().numpy().copy() for p in [*net.parameters(), *net.buffers()]])
    net = torch.nn.parallel.DistributedDataParallel(ddp_programs.model(torch))
    try:
        with net.join(throw_on_early_termination=True):
            for step in range(1 + rank):
                net(ddp_programs.data(torch, step)[0]).sum().backward()
        found.append("no error")
    except RuntimeError:
        found.append("RuntimeError")
    return found


def zero(name):
    """ZeroRedundancyOptimizer with two groups of parameters, a scheduler, and a state that goes to a plain Adam."""
    torch, rank, size = begin(name)
    net = ddp_programs.model(torch)
    ddp = torch.nn.parallel.DistributedDataParallel(net)
    parameters = list(net.parameters())
    made = torch.distributed.optim.ZeroRedundancyOptimizer([{"params": parameters[:2], "lr": 0.05}, {"params": parameters[2:]}],
                                                           torch.optim.Adam, lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(made, 2, 0.5)
    for step in range(3):
        x, y = (each[rank::size] for each in ddp_programs.data(torch, step))
        made.zero_grad()
        torch.nn.functional.cross_entropy(ddp(x), y).backward()
        made.step()
        scheduler.step()
    try:
        made.state_dict()
        early = "no error"
    except RuntimeError:
        early = "RuntimeError"
    held = sum(t.numel() for state in made.optim.state.values() for t in state.values())
    made.consolidate_state_dict(0)
    whole = made.state_dict() if rank == 0 else None
    if whole is not None:
        whole = pickle.loads(pickle.dumps(whole))           # PyTorch's load empties it
        shown = ([{k: v for k, v in g.items() if k in ("lr", "params", "betas")} for g in whole["param_groups"]],
                 [[np.asarray(v) for v in s.values()] for s in whole["state"].values()])
        again = torch.optim.Adam([{"params": parameters[:2], "lr": 0.05}, {"params": parameters[2:]}], lr=0.1)
        again.load_state_dict(whole)
        made.load_state_dict(whole)
        whole = (*shown, [len(s) for s in made.optim.state.values()])
    return [p.detach().numpy().copy() for p in parameters], whole, early, held


def power(name):
    """PowerSGD of rank 1, then of rank 3, against PyTorch's numbers."""
    torch, rank, size = begin(name)
    hook = import_module(torch.__name__ + ".distributed.algorithms.ddp_comm_hooks.powerSGD_hook")
    found = []
    for columns, how in ((1, {}), (3, {"warm_start": False, "orthogonalization_epsilon": 1e-8})):
        net = torch.nn.Sequential(torch.nn.Linear(6, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3))
        net.load_state_dict(ddp_programs.model(torch).state_dict())
        ddp = torch.nn.parallel.DistributedDataParallel(net)
        state = hook.PowerSGDState(None, matrix_approximation_rank=columns, start_powerSGD_iter=2, min_compression_rate=1, **how)
        ddp.register_comm_hook(state, hook.powerSGD_hook)
        losses, weights = ddp_programs.trained(torch, ddp, slice(rank, None, size), 5)
        found.append((losses, weights, state.iter, state.compression_stats()[1:]))
    return found


def everything(name):
    """All of them in one world."""
    return {program.__name__: program(name) for program in (mesh, joined, zero, power)}
