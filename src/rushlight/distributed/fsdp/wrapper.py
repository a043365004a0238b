"""`FullyShardedDataParallel`: the wrapper of FSDP's first version, on the same groups as `fully_shard`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import rushlight as torch

from ...autograd.grad_mode import no_grad
from ...homes import settle
from .. import collectives
from ..device_mesh import DeviceMesh
from ..groups import default_group
from ..tensor import DTensor, distribute_tensor
from .full import FSDPModule, fully_shard
from .group import MixedPrecisionPolicy

__all__ = [
    "FullStateDictConfig",
    "FullyShardedDataParallel",
    "MixedPrecision",
    "ShardedStateDictConfig",
    "ShardingStrategy",
    "StateDictType",
]


class ShardingStrategy(Enum):
    """What is shared out: all; gradients and the optimizer's state; nothing."""

    FULL_SHARD = auto()
    SHARD_GRAD_OP = auto()
    NO_SHARD = auto()
    HYBRID_SHARD = auto()
    _HYBRID_SHARD_ZERO2 = auto()


class StateDictType(Enum):
    """What state_dict gives: whole tensors, or DTensors."""

    FULL_STATE_DICT = auto()
    LOCAL_STATE_DICT = auto()
    SHARDED_STATE_DICT = auto()


@dataclass
class MixedPrecision:
    """The dtypes of gathered parameters and inputs, and of gradients on their way."""

    param_dtype: Any = None
    reduce_dtype: Any = None
    buffer_dtype: Any = None
    keep_low_precision_grads: bool = False
    cast_forward_inputs: bool = False
    cast_root_forward_inputs: bool = True


@dataclass
class FullStateDictConfig:
    """rank0_only: the other processes get an empty dictionary. (Everything is on the CPU.)"""

    offload_to_cpu: bool = False
    rank0_only: bool = False


@dataclass
class ShardedStateDictConfig:
    """Nothing to choose."""

    offload_to_cpu: bool = False


_MISSING = {"cpu_offload": None, "param_init_fn": None, "ignored_modules": None}


class FullyShardedDataParallel(torch.nn.Module):
    """Wraps a module as ``.module``, whose parameters are shared out. They are DTensors, as with ``use_orig_params=True``.

    sharding_strategy   FULL_SHARD, or SHARD_GRAD_OP, which keeps the whole parameters between forward and backward
    auto_wrap_policy    which submodules are gathered by themselves: ``policy(module=, recurse=, nonwrapped_numel=)``, or a ModuleWrapPolicy
    mixed_precision     other dtypes for computing and for gradients
    sync_module_states  all processes begin with the first one's values (they always do here)
    """

    def __init__(
        self,
        module: Any,
        process_group: Any = None,
        sharding_strategy: ShardingStrategy | None = None,
        cpu_offload: Any = None,
        auto_wrap_policy: Any = None,
        backward_prefetch: Any = None,
        mixed_precision: MixedPrecision | None = None,
        ignored_modules: Any = None,
        param_init_fn: Any = None,
        device_id: Any = None,
        sync_module_states: bool = False,
        forward_prefetch: bool = False,
        limit_all_gathers: bool = True,
        use_orig_params: bool = False,
        ignored_states: Any = None,
        device_mesh: DeviceMesh | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("cpu_offload", cpu_offload), ("param_init_fn", param_init_fn), ("ignored_modules", ignored_modules)):
            if value is not None:
                raise NotImplementedError(f"FullyShardedDataParallel({name}=...) is missing in rushlight: leave it out")
        strategy = ShardingStrategy.FULL_SHARD if sharding_strategy is None else sharding_strategy
        if strategy not in (ShardingStrategy.FULL_SHARD, ShardingStrategy.SHARD_GRAD_OP):
            raise NotImplementedError(
                f"FullyShardedDataParallel(sharding_strategy={strategy}): use DistributedDataParallel for copies, and "
                "fully_shard with a mesh of two dimensions for copies of shards"
            )
        self.sharding_strategy, self.mixed_precision = strategy, mixed_precision or MixedPrecision()
        if device_mesh is None:
            group = default_group() if process_group is None else process_group
            device_mesh = DeviceMesh.from_group(group, "cpu")
        precision = self.mixed_precision
        how = {
            "mesh": device_mesh,
            "reshard_after_forward": strategy is ShardingStrategy.FULL_SHARD,
            "ignored_params": ignored_states,
            "mp_policy": MixedPrecisionPolicy(precision.param_dtype, precision.reduce_dtype),
        }
        if auto_wrap_policy is not None:
            for child in _chosen(module, auto_wrap_policy):
                fully_shard(child, **how)
        self.module = module if isinstance(module, FSDPModule) else fully_shard(module, **how)
        self.process_group = device_mesh.get_group(device_mesh.ndim - 1)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The module's forward."""
        return self.module(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.module, name)

    # --- gradients ------------------------------------------------------------------------------------------------------------------------

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """Within it gradients only add up in this process, whole."""
        self.module.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            self.module.set_requires_gradient_sync(True)

    def clip_grad_norm_(self, max_norm: float, norm_type: float = 2.0) -> Any:
        """Scale all gradients so that their norm, over all processes, is at most this."""
        with no_grad():
            locals_ = [p.grad.to_local() for p in self.parameters() if p.grad is not None]
            infinite = norm_type == float("inf")
            each = [t.abs().max() if infinite else t.abs().pow(norm_type).sum() for t in locals_ if t.numel()]
            total = torch.stack(each).max() if infinite and each else sum(each, torch.zeros(()))
            collectives.all_reduce(
                total, torch.distributed.ReduceOp.MAX if infinite else torch.distributed.ReduceOp.SUM, self.process_group
            )
            total = total if infinite else total.pow(1 / norm_type)
            factor = torch.clamp(max_norm / (total + 1e-6), max=1.0)
            for t in locals_:
                t.mul_(factor)
            return total

    # --- whole parameters -----------------------------------------------------------------------------------------------------------------

    @staticmethod
    @contextmanager
    def summon_full_params(
        module: Any,
        recurse: bool = True,
        writeback: bool = True,
        rank0_only: bool = False,
        offload_to_cpu: bool = False,
        with_grads: bool = False,
    ) -> Iterator[None]:
        """Within it the parameters are whole; with `writeback` what is written to them stays."""
        if with_grads or rank0_only:
            raise NotImplementedError("summon_full_params(with_grads=True) and rank0_only=True are missing: use param.grad.full_tensor()")
        groups = [each._fsdp_group for each in module.modules() if isinstance(each, FSDPModule)]
        for group in groups:
            group.unshard()
        try:
            yield
        finally:
            for group in groups:
                if writeback:
                    with no_grad():
                        for each in group.parameters:
                            mine = distribute_tensor(each.full.detach(), group.mesh, each.sharded.placements, src_data_rank=None)
                            each.sharded._local_tensor.copy_(mine._local_tensor)
                group.reshard()

    _kind_of_state: StateDictType = StateDictType.FULL_STATE_DICT
    _config: Any = None

    @staticmethod
    def set_state_dict_type(
        module: Any, state_dict_type: StateDictType, state_dict_config: Any = None, optim_state_dict_config: Any = None
    ) -> Any:
        """Choose what state_dict gives and load_state_dict takes."""
        if state_dict_type is StateDictType.LOCAL_STATE_DICT:
            raise NotImplementedError("LOCAL_STATE_DICT is missing: use SHARDED_STATE_DICT")
        before = None
        for each in module.modules():
            if isinstance(each, FullyShardedDataParallel):
                before = before or (each._kind_of_state, each._config)
                each._kind_of_state, each._config = state_dict_type, state_dict_config
        return before

    @staticmethod
    @contextmanager
    def state_dict_type(
        module: Any, state_dict_type: StateDictType, state_dict_config: Any = None, optim_state_dict_config: Any = None
    ) -> Iterator[None]:
        """`set_state_dict_type` for a while."""
        before = FullyShardedDataParallel.set_state_dict_type(module, state_dict_type, state_dict_config)
        try:
            yield
        finally:
            if before is not None:
                FullyShardedDataParallel.set_state_dict_type(module, *before)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """The module's state: whole tensors, or DTensors; all processes call this."""
        found = self.module.state_dict(*args, **kwargs)
        if self._kind_of_state is StateDictType.FULL_STATE_DICT:
            for key, value in found.items():
                if isinstance(value, DTensor):
                    found[key] = value.full_tensor()
            if getattr(self._config, "rank0_only", False) and self.process_group.rank():
                found.clear()
        return found

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        """Load whole tensors, of which each process takes its part, or DTensors."""
        own = self.module.state_dict()
        given = {
            key: distribute_tensor(value.detach(), own[key].device_mesh, own[key].placements, src_data_rank=None)
            if isinstance(own.get(key), DTensor) and not isinstance(value, DTensor)
            else value
            for key, value in state_dict.items()
        }
        return self.module.load_state_dict(given, strict, assign)


def _chosen(module: Any, policy: Any) -> Iterator[Any]:
    """The submodules that a policy takes, those inside first."""
    classes = getattr(policy, "_module_classes", None)
    for child in module.children():
        yield from _chosen(child, policy)
        if isinstance(child, FSDPModule) or not any(True for _ in child.parameters()):
            continue
        count = sum(p.numel() for p in child.parameters())
        if isinstance(child, tuple(classes)) if classes else _asked(policy, child, count):
            yield child


def _asked(policy: Callable[..., bool], module: Any, count: int) -> bool:
    return bool(policy(module=module, recurse=False, nonwrapped_numel=count))


settle("distributed.fsdp", globals())
