"""What the processes of the tests of checkpoints do."""

import os
import signal
from pathlib import Path

import numpy as np

import rushlight as torch
import rushlight.distributed as dist
import rushlight.distributed.checkpoint as dcp
from rushlight.distributed.checkpoint import state_dict as states
from rushlight.distributed.fsdp import fully_shard
from rushlight.distributed.tensor import Replicate, Shard, distribute_tensor, zeros
from tests.distributed.fsdp_programs import begin, model, steps


def trained(mesh_first):
    """A model of FSDP and its optimizer, before and after two steps."""
    rank, size = dist.get_rank(), dist.get_world_size()
    net = model(torch)
    fully_shard(net.first)
    fully_shard(net)
    optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=0.05)
    if mesh_first:
        steps(torch, net, slice(rank, None, size), optimizer, 2)
    return net, optimizer


def whole(net, optimizer):
    full = states.StateDictOptions(full_state_dict=True)
    model_state, optimizer_state = states.get_state_dict(net, optimizer, options=full)
    return ({k: v.numpy().copy() for k, v in model_state.items()},
            {k: {n: np.array(v) for n, v in s.items()} for k, s in optimizer_state["state"].items()}, optimizer_state["param_groups"][0]["lr"])


def written(folder):
    """Save, also beside the program and over the checkpoint of before; load into others' places."""
    begin("rushlight")
    rank, size = dist.get_rank(), dist.get_world_size()
    mesh = dist.init_device_mesh("cpu", (size,))
    x = torch.arange(35.).reshape(7, 5)
    d = distribute_tensor(x, mesh, [Shard(0)])
    state = {"x": d, "plain": x.to(torch.bfloat16), "deep": {"list": [torch.ones(2), "text"], "n": 3}, "r": distribute_tensor(x, mesh, [Replicate()]),
             "scalar": torch.tensor(2.5), "empty": torch.zeros(0, 3)}
    dcp.save({"x": d * 0}, checkpoint_id=folder)
    dcp.save(state, checkpoint_id=folder)
    assert sorted(each.name for each in Path(folder).iterdir())[0] == ".metadata" and len(list(Path(folder).glob("*.distcp"))) == size
    other = {"x": zeros(7, 5, device_mesh=mesh, placements=[Shard(1)]), "plain": torch.zeros(7, 5), "deep": {"list": [torch.zeros(2), ""], "n": 0},
             "r": zeros(7, 5, device_mesh=mesh, placements=[Shard(0)]), "scalar": torch.tensor(0.), "empty": torch.zeros(0, 3)}
    dcp.load(other, checkpoint_id=folder)
    assert torch.equal(other["x"].full_tensor(), x) and torch.equal(other["plain"], x) and torch.equal(other["r"].full_tensor(), x)
    assert other["deep"]["list"][1] == "text" and other["deep"]["n"] == 3 and other["deep"]["list"][0].tolist() == [1, 1] and other["scalar"] == 2.5
    errors = []
    for wrong in ({"zz": torch.zeros(1)}, {"x": torch.zeros(3)}, {"deep": torch.zeros(1)}):
        try:
            dcp.load(wrong if rank else {}, checkpoint_id=folder)
        except dcp.CheckpointException as error:
            errors.append(sorted(error.failures))
    assert errors == [[1]] * 3, errors
    net, optimizer = trained(True)
    model_state, optimizer_state = states.get_state_dict(net, optimizer)
    future = dcp.async_save({"model": model_state, "optimizer": optimizer_state}, checkpoint_id=folder + "/fsdp")
    before = whole(net, optimizer)
    steps(torch, net, slice(rank, None, size), optimizer, 1)            # the values change, and the group is used, while it writes
    future.result(60)
    return before


def read(folder):
    """Load what other processes saved."""
    begin("rushlight")
    net, optimizer = trained(False)
    model_state, optimizer_state = states.get_state_dict(net, optimizer)
    both = {"model": model_state, "optimizer": optimizer_state}
    dcp.load(both, checkpoint_id=folder + "/fsdp")
    states.set_state_dict(net, optimizer, model_state_dict=both["model"], optim_state_dict=both["optimizer"])
    return whole(net, optimizer)


def killed(folder):
    """Rank 1 is killed in the middle of its second save."""
    begin("rushlight")
    x = torch.full((1000,), 1.)
    dcp.save({"x": x, "y": x}, checkpoint_id=folder)
    if dist.get_rank() == 1:
        write = dcp.FileSystemWriter.write

        def dies(self, name, items):
            write(self, name, items[:1])
            os.kill(os.getpid(), signal.SIGKILL)
        dcp.FileSystemWriter.write = dies
    dist.group.WORLD._store.set_timeout(__import__("datetime").timedelta(seconds=2))
    try:
        dcp.save({"x": x * 2, "y": x * 2}, checkpoint_id=folder)
    except Exception as error:
        return type(error).__name__
