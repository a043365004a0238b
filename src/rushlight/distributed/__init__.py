"""``torch.distributed``: absent, as in a PyTorch that was built without it. `is_available` and its like say so.

Its common names can be imported, because many libraries do that at their top and ask `is_available` later; using one raises.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from ..unsupported import absent_class, attribute_of, not_supported

__all__ = ["is_available", "is_initialized", "is_mpi_available", "is_nccl_available", "is_gloo_available", "is_ucc_available",
           "is_xccl_available", "is_torchelastic_launched", "ReduceOp", "reduce_op", "GroupMember", "group"]

_INSTEAD = ("it trains in one process; torch.multiprocessing shares tensors between processes, and torch.distributed.is_available() is "
            "False, so that code can ask first")


def _never(name: str, what: str) -> Any:
    def answer() -> bool:
        return False
    answer.__name__ = answer.__qualname__ = name
    answer.__doc__ = f"{what}: no."
    return answer


is_available = _never("is_available", "Whether processes can work together")
is_initialized = _never("is_initialized", "Whether a process group has been made")
is_mpi_available = _never("is_mpi_available", "Whether there is an MPI backend")
is_nccl_available = _never("is_nccl_available", "Whether there is an NCCL backend")
is_gloo_available = _never("is_gloo_available", "Whether there is a Gloo backend")
is_ucc_available = _never("is_ucc_available", "Whether there is a UCC backend")
is_xccl_available = _never("is_xccl_available", "Whether there is an XCCL backend")
is_torchelastic_launched = _never("is_torchelastic_launched", "Whether torchrun started this process")


class ReduceOp(IntEnum):
    """How values of several processes are put together. A name only, for defaults of functions."""

    SUM = 0
    AVG = 1
    PRODUCT = 2
    MIN = 3
    MAX = 4
    BAND = 5
    BOR = 6
    BXOR = 7
    PREMUL_SUM = 8


reduce_op = ReduceOp


class GroupMember:
    """The groups that a process is in: none."""

    WORLD = None
    NON_GROUP_MEMBER = -100


group = GroupMember

_FUNCTIONS = ["init_process_group", "destroy_process_group", "get_rank", "get_world_size", "get_backend", "new_group", "new_subgroups",
              "barrier", "monitored_barrier", "all_reduce", "all_reduce_coalesced", "all_gather", "all_gather_coalesced",
              "all_gather_object", "all_gather_into_tensor", "all_to_all", "all_to_all_single", "broadcast", "broadcast_object_list",
              "gather", "gather_object", "scatter", "scatter_object_list", "reduce", "reduce_scatter", "reduce_scatter_tensor", "send",
              "recv", "isend", "irecv", "batch_isend_irecv", "send_object_list", "recv_object_list", "get_process_group_ranks",
              "get_group_rank", "get_global_rank", "get_node_local_rank", "init_device_mesh"]
_CLASSES = ["ProcessGroup", "Backend", "Store", "TCPStore", "FileStore", "HashStore", "PrefixStore", "Work", "P2POp", "DeviceMesh"]


globals().update({name: not_supported(f"distributed.{name}", _INSTEAD) for name in _FUNCTIONS})
globals().update({name: absent_class(f"distributed.{name}", _INSTEAD) for name in _CLASSES})

_others = attribute_of("distributed", _INSTEAD)


def __getattr__(name: str) -> Any:
    if name == "nn":
        from importlib import import_module
        return import_module(".nn", __name__)
    return _others(name)
