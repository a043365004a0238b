"""Collectives of Python objects: pickled, sent as bytes. Unpickling runs code, so the ranks have to trust each other, as everywhere
here."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..homes import settle
from ..kind import kind_of
from ..tensor import Tensor, wrap
from . import collectives, messages
from .collectives import member, root_of

__all__ = ["all_gather_object", "broadcast_object_list", "gather_object", "recv_object_list", "scatter_object_list", "send_object_list"]


def _tensor(array: Any) -> Tensor:
    from ..dtypes import from_numpy_dtype
    return wrap(array, kind_of(from_numpy_dtype(array.dtype)))


def _pickled(value: Any) -> Any:
    return np.frombuffer(bytearray(pickle.dumps(value)), np.uint8)


def _gathered_sizes(pg: Any, size: int) -> list[int]:
    sizes = np.zeros(pg.size(), np.int64)
    collectives.all_gather_into_tensor(_tensor(sizes), _tensor(np.array([size], np.int64)), pg)
    return sizes.tolist()


def all_gather_object(object_list: list[Any], obj: Any, group: Any = None) -> None:
    """Get the objects of all ranks into a list as long as the group, on all ranks."""
    pg = member(group, "all_gather_object")
    if pg is None:
        return
    if len(object_list) != pg.size():
        raise ValueError(f"all_gather_object: object_list has {len(object_list)} places for {pg.size()} ranks")
    data = _pickled(obj)
    sizes = _gathered_sizes(pg, data.size)
    parts = [_tensor(np.empty(size, np.uint8)) for size in sizes]
    collectives.all_gather(parts, _tensor(data), pg)
    for i, part in enumerate(parts):
        object_list[i] = pickle.loads(part._a.tobytes())


def gather_object(obj: Any, object_gather_list: list[Any] | None = None, dst: int | None = None, group: Any = None,
                  group_dst: int | None = None) -> None:
    """Get the objects of all ranks into a list on rank dst (0)."""
    pg = member(group, "gather_object")
    if pg is None:
        return
    root = root_of(pg, "dst", dst, group_dst, 0)
    if (pg.rank() == root) != bool(object_gather_list):
        raise ValueError("Argument ``object_gather_list`` must be specified on destination rank." if pg.rank() == root else
                         "Argument ``object_gather_list`` must NOT be specified on non-destination ranks.")
    data = _pickled(obj)
    largest = max(_gathered_sizes(pg, data.size))
    padded = np.zeros(largest + 8, np.uint8)
    padded[:8] = np.array([data.size], np.int64).view(np.uint8)
    padded[8:8 + data.size] = data
    if pg.rank() != root:
        collectives.gather(_tensor(padded), None, group=pg, group_dst=root)
        return
    assert object_gather_list is not None
    parts = [_tensor(np.empty_like(padded)) for _ in range(pg.size())]
    collectives.gather(_tensor(padded), parts, group=pg, group_dst=root)
    for i, part in enumerate(parts):
        size = int(part._a[:8].copy().view(np.int64)[0])
        object_gather_list[i] = pickle.loads(part._a[8:8 + size].tobytes())


def _packed(values: Sequence[Any]) -> tuple[Any, Any]:
    parts = [_pickled(value) for value in values]
    return np.array([part.size for part in parts], np.int64), np.concatenate([np.empty(0, np.uint8), *parts])


def _unpacked(values: list[Any], sizes: Any, data: Any) -> None:
    end = 0
    for i, size in enumerate(sizes.tolist()):
        values[i] = pickle.loads(data[end:end + size].tobytes())
        end += size


def broadcast_object_list(object_list: list[Any], src: int | None = None, group: Any = None, device: Any = None,
                          group_src: int | None = None) -> None:
    """Put rank src's (0) objects into the lists of all ranks, which are as long. `device` is not needed: objects go through the CPU."""
    pg = member(group, "broadcast_object_list")
    if pg is None:
        return
    root = root_of(pg, "src", src, group_src, 0)
    sizes, data = _packed(object_list) if pg.rank() == root else (np.empty(len(object_list), np.int64), None)
    collectives.broadcast(_tensor(sizes), group=pg, group_src=root)
    data = np.empty(int(sizes.sum()), np.uint8) if data is None else data
    collectives.broadcast(_tensor(data), group=pg, group_src=root)
    if pg.rank() != root:
        _unpacked(object_list, sizes, data)


def scatter_object_list(scatter_object_output_list: list[Any], scatter_object_input_list: Sequence[Any] | None = None,
                        src: int | None = None,
                        group: Any = None, group_src: int | None = None) -> None:
    """Give every rank its object of a list on rank src (0), as the first element of its output list."""
    pg = member(group, "scatter_object_list")
    if pg is None:
        return
    if not isinstance(scatter_object_output_list, list) or not scatter_object_output_list:
        raise ValueError("Expected argument scatter_object_output_list to be a list of size at least 1.")
    root = root_of(pg, "src", src, group_src, 0)
    limit = np.zeros(1, np.int64)
    parts: list[Any] | None = None
    if pg.rank() == root:
        if scatter_object_input_list is None or len(scatter_object_input_list) != pg.size():
            raise ValueError("source rank must provide non-None scatter_object_input_list with one object per rank")
        parts = [_pickled(value) for value in scatter_object_input_list]
        limit[0] = max(part.size for part in parts)
    collectives.broadcast(_tensor(limit), group=pg, group_src=root)
    out = np.empty(int(limit[0]), np.uint8)
    padded = None if parts is None else [_tensor(np.pad(part, (0, out.size - part.size))) for part in parts]
    collectives.scatter(_tensor(out), padded, group=pg, group_src=root)
    scatter_object_output_list[0] = pickle.loads(out.tobytes())     # a pickle ends where it says


def send_object_list(object_list: list[Any], dst: int | None = None, group: Any = None, device: Any = None, group_dst: int | None = None,
                     use_batch: bool = False) -> None:
    """Send objects to a rank."""
    sizes, data = _packed(object_list)
    messages.send(_tensor(sizes), dst, group, group_dst=group_dst)
    messages.send(_tensor(data), dst, group, group_dst=group_dst)


def recv_object_list(object_list: list[Any], src: int | None = None, group: Any = None, device: Any = None, group_src: int | None = None,
                     use_batch: bool = False) -> int:
    """Receive as many objects as the list has, from a rank (default: any); the rank that sent them."""
    sizes = np.empty(len(object_list), np.int64)
    source = messages.recv(_tensor(sizes), src, group, group_src=group_src)
    if source < 0:
        return source
    data = np.empty(int(sizes.sum()), np.uint8)
    messages.recv(_tensor(data), source, group)
    _unpacked(object_list, sizes, data)
    return source


settle("distributed.distributed_c10d", globals())
