"""torch.distributed.checkpoint: saved by two processes, loaded by three and by one; kills; PyTorch's error class."""

import os

import numpy as np
import pytest
import torch as T
import torch.distributed.checkpoint as T_dcp

import rushlight as rl
import rushlight.distributed.checkpoint as dcp
from rushlight.distributed.checkpoint.storage import FileSystemWriter
from tests.distributed import checkpoint_programs as programs
from tests.support.processes import finish, run, start


def test_saved_by_two_loaded_by_three(tmp_path):
    saved = run(programs.written, 2, str(tmp_path))
    loaded = run(programs.read, 3, str(tmp_path))
    for model, optimizer, rate in (saved[1], *loaded):
        assert rate == 0.05 and model.keys() == saved[0][0].keys() and optimizer.keys() == saved[0][1].keys()
        for name, value in saved[0][0].items():
            assert np.array_equal(model[name], value), name
        for name, state in saved[0][1].items():
            for key, value in state.items():
                assert np.array_equal(optimizer[name][key], value), (name, key)


def test_a_kill_leaves_the_old_checkpoint(tmp_path):
    ended = finish(*start(programs.killed, 2, str(tmp_path)))
    assert ended[1].code == -9 and ended[0].code == 0, ended[0].err
    state = {"x": rl.zeros(1000), "y": rl.zeros(1000)}
    dcp.load(state, checkpoint_id=tmp_path)
    assert state["x"].min() == state["y"].max() == 1


@pytest.mark.parametrize("step", ["write", "json", "replace", "unlink"])
def test_a_fault_at_any_step_leaves_the_old_or_the_new(tmp_path, step, monkeypatch):
    dcp.save({"x": rl.ones(4)}, checkpoint_id=tmp_path)

    def fails(*args, **kwargs):
        raise OSError("the disk is full")
    import rushlight.distributed.checkpoint.storage as storage
    target = {"write": (FileSystemWriter, "write"), "json": (storage.json, "dump"), "replace": (os, "replace"), "unlink": (storage.Path, "unlink")}[step]
    monkeypatch.setattr(*target, fails)
    with pytest.raises((OSError, dcp.CheckpointException)):
        dcp.save({"x": rl.ones(4) * 2}, checkpoint_id=tmp_path)
    monkeypatch.undo()
    state = {"x": rl.zeros(4)}
    dcp.load(state, checkpoint_id=tmp_path)
    assert state["x"].tolist() == [2 if step == "unlink" else 1] * 4
    dcp.save({"x": rl.ones(4) * 3}, checkpoint_id=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2                   # what the fault left has gone


def test_alone_and_wrong(tmp_path):
    net, optimizer = rl.nn.Linear(2, 2), None
    optimizer = rl.optim.Adam(net.parameters())
    net(rl.ones(1, 2)).sum().backward()
    optimizer.step()
    dcp.save({"net": net, "optimizer": optimizer, "step": 5}, checkpoint_id=tmp_path)
    other = rl.nn.Linear(2, 2)
    state = {"net": other, "step": 0}
    dcp.load(state, checkpoint_id=tmp_path)
    assert rl.equal(other.weight, net.weight) and state["step"] == 5 and state["net"] is other
    T_dcp.save({"x": T.ones(2)}, checkpoint_id=tmp_path / "theirs", no_dist=True)
    for torch, Exception_, where in ((rl, dcp.CheckpointException, tmp_path), (T, T_dcp.api.CheckpointException, tmp_path / "theirs")):
        for wrong in ({"zz": torch.zeros(1)}, {"x" if torch is T else "net.weight": torch.zeros(7)}):
            with pytest.raises(Exception_):
                torch.distributed.checkpoint.load(wrong, checkpoint_id=where, no_dist=True)
    with pytest.raises(dcp.CheckpointException, match="PyTorch wrote"):
        dcp.load({"x": rl.zeros(2)}, checkpoint_id=tmp_path / "theirs")
    with pytest.raises(ValueError, match="checkpoint_id"):
        dcp.save({})
    with pytest.raises(NotImplementedError, match="planner"):
        dcp.save({}, checkpoint_id=tmp_path, planner=1)
    with pytest.raises(dcp.CheckpointException, match="overwrite"):
        dcp.save({}, storage_writer=dcp.FileSystemWriter(tmp_path, overwrite=False))
