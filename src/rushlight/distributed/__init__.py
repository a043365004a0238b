"""``torch.distributed``: programs of several processes, on MPI (``pip install rushlight[distributed]``) or, on one machine, on sockets.

Importing it loads no MPI; `init_process_group` does. What is missing yet can be imported as far as libraries do, and says so when it is
used.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

from ..unsupported import attribute_of
from .collectives import (all_gather, all_gather_coalesced, all_gather_into_tensor, all_gather_single, all_reduce, all_reduce_coalesced,
                          all_to_all, all_to_all_single, barrier, broadcast, gather, monitored_barrier, reduce, reduce_scatter,
                          reduce_scatter_single, reduce_scatter_tensor, scatter)
from .collectives import make_premul_sum as _make_nccl_premul_sum
from .errors import DistBackendError, DistError, DistNetworkError, DistStoreError, QueueEmptyError
from .groups import (Backend, GroupMember, ProcessGroup, default_pg_timeout, destroy_process_group, get_backend, get_backend_config,
                     get_default_backend_for_device, get_global_rank, get_group_rank, get_node_local_rank, get_pg_count,
                     get_process_group_ranks, get_rank, get_world_size, group, init_process_group, is_initialized, new_group, new_subgroups,
                     new_subgroups_by_enumeration)
from .messages import P2POp, batch_isend_irecv, irecv, isend, recv, send
from .objects import all_gather_object, broadcast_object_list, gather_object, recv_object_list, scatter_object_list, send_object_list
from .reduce_op import ReduceOp, reduce_op
from .rendezvous import register_rendezvous_handler, rendezvous
from .stores import FileStore, HashStore, PrefixStore, Store, TCPStore
from .work import Work

__all__ = ["Backend", "DistBackendError", "DistError", "DistNetworkError", "DistStoreError", "FileStore", "GroupMember", "HashStore",
           "P2POp", "PrefixStore", "ProcessGroup", "QueueEmptyError", "ReduceOp", "Store", "TCPStore", "Work", "all_gather",
           "all_gather_coalesced", "all_gather_into_tensor", "all_gather_object", "all_gather_single", "all_reduce", "all_reduce_coalesced",
           "all_to_all", "all_to_all_single", "barrier", "batch_isend_irecv", "broadcast", "broadcast_object_list", "default_pg_timeout",
           "destroy_process_group", "gather", "gather_object", "get_backend", "get_backend_config", "get_default_backend_for_device",
           "get_global_rank", "get_group_rank", "get_node_local_rank", "get_pg_count", "get_process_group_ranks", "get_rank",
           "get_world_size", "group", "init_process_group", "irecv", "is_available", "is_backend_available", "is_gloo_available",
           "is_initialized", "is_mpi_available", "is_nccl_available", "is_torchelastic_launched", "is_ucc_available", "is_xccl_available",
           "isend", "monitored_barrier", "new_group", "new_subgroups", "new_subgroups_by_enumeration", "recv", "recv_object_list", "reduce",
           "reduce_op", "reduce_scatter", "reduce_scatter_single", "reduce_scatter_tensor", "register_rendezvous_handler", "rendezvous",
           "scatter", "scatter_object_list", "send", "send_object_list", "supports_complex"]

_INSTEAD = "all that is there is listed in docs/distributed.md; collectives, DistributedDataParallel and torchrun are"


def is_available() -> bool:
    """Whether processes can work together: yes."""
    return True


def is_gloo_available() -> bool:
    """Whether init_process_group takes "gloo": yes; it means the same as "mpi" here."""
    return True


def is_mpi_available() -> bool:
    """Whether mpi4py is installed."""
    from .mpi import importable
    return importable()


def is_nccl_available() -> bool:
    """Whether collectives of CUDA tensors go over NCCL: not yet."""
    return False


def is_ucc_available() -> bool:
    """Whether there is a UCC backend: no."""
    return False


def is_xccl_available() -> bool:
    """Whether there is an XCCL backend: no."""
    return False


def is_backend_available(backend: str) -> bool:
    """Whether init_process_group takes this backend."""
    found = {"gloo": is_gloo_available, "mpi": is_mpi_available, "nccl": is_nccl_available}.get(backend.lower())
    return found is not None and found()


def is_torchelastic_launched() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def supports_complex(reduceOp: Any) -> bool:
    """Whether a reduction is defined for complex numbers."""
    return reduceOp not in (ReduceOp.MAX, ReduceOp.MIN, ReduceOp.PRODUCT, ReduceOp.BAND, ReduceOp.BOR, ReduceOp.BXOR)


_MODULES = ("nn", "rpc", "distributed_c10d", "run", "launch", "elastic", "algorithms", "optim", "utils", "device_mesh",
            "tensor", "fsdp", "checkpoint", "constants", "_functional_collectives")
_others = attribute_of("distributed", _INSTEAD)


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module("." + name, __name__)
    if name in ("DeviceMesh", "init_device_mesh"):
        return getattr(import_module(".device_mesh", __name__), name)
    return _others(name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


