"""DeviceMesh, functional collectives, Join, ZeroRedundancyOptimizer and PowerSGD in two processes, against PyTorch's on gloo."""

import numpy as np
import pytest

import rushlight as rl
import rushlight.distributed as dist
from rushlight.distributed.algorithms.ddp_comm_hooks.powerSGD_hook import PowerSGDState
from rushlight.distributed.algorithms.join import Join
from tests.distributed import mesh_programs as programs
from tests.support.processes import both_sides


@pytest.fixture(scope="module")
def both():
    """What both sides return, rank by rank: all programs in one world each, both worlds at the same time."""
    return both_sides(programs.everything)


def close(a, b, tolerance=1e-5):
    assert len(a) == len(b)
    for one, other in zip(a, b):
        assert one.shape == other.shape and np.allclose(one, other, rtol=tolerance, atol=tolerance), np.abs(one - other).max()


def test_meshes_and_functional_collectives(both):
    for ours, theirs in both("mesh"):
        close(ours.pop("functional"), theirs.pop("functional"))
        for text in programs._NO_CALL:
            assert ours.pop(text) == "RuntimeError" and theirs.pop(text)
        assert ours == theirs


def test_uneven_inputs(both):
    for ours, theirs in both("joined"):
        close(ours[0], theirs[0])
        close(ours[1], theirs[1])
        assert ours[2] == theirs[2] == "RuntimeError"


def test_zero(both):
    for rank, (ours, theirs) in enumerate(both("zero")):
        close(ours[0], theirs[0])
        assert ours[2:] == theirs[2:]
        if rank == 0:
            assert ours[1][0] == theirs[1][0] and ours[1][2] == theirs[1][2]
            for a, b in zip(ours[1][1], theirs[1][1], strict=True):
                close(a, b)


def test_power(both):
    for ours, theirs in both("power"):
        for a, b in zip(ours, theirs, strict=True):
            close(a[1], b[1], 1e-4)
            assert np.allclose(a[0], b[0], atol=1e-4) and a[2:] == b[2:]


def test_wrong_arguments():
    dist.init_process_group("gloo", rank=0, world_size=1, store=dist.HashStore())
    try:
        weight = rl.ones(2, requires_grad=True)
        Zero = dist.optim.ZeroRedundancyOptimizer
        with pytest.raises(NotImplementedError, match="overlap_with_ddp"):
            Zero([weight], rl.optim.SGD, overlap_with_ddp=True, lr=1)
        with pytest.raises(TypeError):
            Zero(weight, rl.optim.SGD, lr=1)
        with pytest.raises(ValueError):
            Zero([], rl.optim.SGD, lr=1)
        with pytest.raises(ValueError):
            Join([])
        with pytest.raises(ValueError, match="start_powerSGD_iter"):
            PowerSGDState(None, start_powerSGD_iter=1)
        with pytest.raises(ValueError, match="ascend"):
            dist.DeviceMesh("cpu", [[0, 0]])
        with pytest.raises(ValueError, match="reduce_op"):
            dist._functional_collectives.all_reduce(weight, "mean", dist.group.WORLD)
    finally:
        dist.destroy_process_group()
