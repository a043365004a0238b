"""fully_shard and FullyShardedDataParallel in two processes, against PyTorch's on gloo; memory in four."""

import functools

import numpy as np
import pytest

import rushlight as rl
import rushlight.distributed as dist
from rushlight.distributed import fsdp
from rushlight.distributed.fsdp import wrap
from tests.distributed import fsdp_programs as programs
from tests.support.processes import both_sides, run


@pytest.fixture(scope="module")
def both():
    """What both sides return, rank by rank: all programs in one world each, both worlds at the same time."""
    return both_sides(programs.everything)


def close(a, b, tolerance):
    for one, other in zip(a, b, strict=True):
        assert one.shape == other.shape and np.allclose(one, other, rtol=tolerance, atol=tolerance), np.abs(one - other).max()


def test_fully_shard(both):
    for ours, theirs in both("sharded"):
        for key, tolerance in (("plain", 1e-4), ("kept", 1e-4), ("bf16", 2e-2)):
            assert np.allclose(ours[key][0], theirs[key][0], atol=tolerance)
            close(ours[key][1], theirs[key][1], tolerance)
        close(ours["accumulated"], theirs["accumulated"], 1e-4)
        close([ours["eval"]], [theirs["eval"]], 1e-4)
        assert all(ours[key] == theirs[key] for key in ("kinds", "state", "class"))


def test_wrapper(both):
    for ours, theirs in both("wrapper"):
        assert np.allclose(ours[0], theirs[0], atol=1e-4)
        for i in (1, 2):
            assert ours[i].keys() == theirs[i].keys()
            close(ours[i].values(), theirs[i].values(), 1e-4)


def test_memory_is_shared_out():
    for (held, most), (own, peak) in run(programs.memory, 4):
        layer = 257 * 256 * 4
        assert held > 16 * 4 * layer                                # parameters, gradients, two moments
        assert own < 0.27 * held, own / held
        # Two layers whole, their messages, a gradient; without the native library the optimizer's scratch.
        assert peak < own + 9 * layer < 0.45 * most, (peak, own, most)


@pytest.fixture
def alone():
    dist.init_process_group("gloo", rank=0, world_size=1, store=dist.HashStore())
    yield
    dist.destroy_process_group()


def test_checkpointed_and_unused_layers(alone):
    """Layers that run again in backward, and layers that do not run at all."""
    class Net(rl.nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.idle = rl.nn.Linear(3, 3), rl.nn.Linear(3, 3), rl.nn.Linear(3, 3)

        def forward(self, x):
            return self.b(rl.utils.checkpoint.checkpoint(self.a, x, use_reentrant=False))
    rl.manual_seed(0)
    net = Net()
    x = rl.ones(2, 3)
    net(x).sum().backward()
    expected = {name: p.grad for name, p in net.named_parameters()}
    net.zero_grad()
    fsdp.fully_shard(net.a)
    fsdp.fully_shard(net)
    net(x).sum().backward()
    for name, p in net.named_parameters():
        if "idle" not in name:
            assert rl.equal(p.grad.full_tensor(), expected[name]), name
    assert net._fsdp_group.whole is net.a._fsdp_group.whole is False
    handle = net.a.unshard(async_op=True)
    handle.wait()
    assert net.a.weight.shape == (3, 3) and type(net.a.weight) is rl.nn.Parameter
    net.a.reshard()
    with fsdp.FullyShardedDataParallel.summon_full_params(net), rl.no_grad():
        net.a.weight.fill_(2)
    assert net.a.weight.full_tensor().min() == 2


def test_wrong_arguments(alone):
    linear = rl.nn.Linear(2, 2)
    with pytest.raises(NotImplementedError, match="shard_placement_fn"):
        fsdp.fully_shard(linear, shard_placement_fn=lambda p: None)
    with pytest.raises(ValueError, match="containers"):
        fsdp.fully_shard(rl.nn.ModuleList([linear]))
    with pytest.raises(NotImplementedError, match="NO_SHARD"):
        fsdp.FullyShardedDataParallel(linear, sharding_strategy=fsdp.ShardingStrategy.NO_SHARD)
    assert fsdp.fully_shard(linear) is linear and isinstance(linear, fsdp.FSDPModule)
    with pytest.raises(AssertionError, match="twice"):
        fsdp.fully_shard(linear)
    made = fsdp.FullyShardedDataParallel(rl.nn.Sequential(rl.nn.Linear(2, 2), rl.nn.ReLU()),
                                         auto_wrap_policy=functools.partial(wrap.size_based_auto_wrap_policy, min_num_params=4))
    assert isinstance(made.module[0], fsdp.FSDPModule) and not isinstance(made.module[1], fsdp.FSDPModule)
    with fsdp.FullyShardedDataParallel.state_dict_type(made, fsdp.StateDictType.SHARDED_STATE_DICT):
        assert all(type(v).__name__ == "DTensor" for v in made.state_dict().values())


def test_old_places():
    """Where accelerate and others import from."""
    from rushlight.distributed import tensor
    from rushlight.distributed._composable.fsdp import fully_shard
    from rushlight.distributed._tensor import DTensor
    from rushlight.distributed.fsdp.fully_sharded_data_parallel import BackwardPrefetch, FullyShardedDataParallel
    assert DTensor is tensor.DTensor and fully_shard is fsdp.fully_shard and FullyShardedDataParallel is fsdp.FullyShardedDataParallel
    assert BackwardPrefetch.BACKWARD_PRE
