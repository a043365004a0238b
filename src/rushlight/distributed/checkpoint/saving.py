"""``save``, ``async_save`` and ``load``: each process writes and reads its own parts."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from io import BytesIO
from typing import Any

import numpy as np

import rushlight as torch

from ...homes import settle
from ...tensor import Tensor
from .. import objects
from ..groups import default_group, is_initialized, the_group
from ..memory import values
from ..stores import PrefixStore
from ..tensor import DTensor
from ..tensor.moving import offset
from .errors import CheckpointException
from .storage import FileSystemWriter, reader_of, writer_of

__all__ = ["async_save", "load", "load_state_dict", "save", "save_state_dict"]


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any, Any, Any]]:
    """(name, container, key, value) of all that is in nested dictionaries and lists."""
    items: Any = value.items() if isinstance(value, dict) else enumerate(value)
    for key, each in items:
        path = f"{name}.{key}" if name else str(key)
        if isinstance(each, (dict, list)) and each:
            yield from _flat(each, path)
        else:
            yield path, value, key, each


def _states(state_dict: dict[str, Any]) -> dict[str, Any]:
    """The same with the states of those that have one (modules, optimizers) in their place."""
    return {
        key: value.state_dict() if hasattr(value, "state_dict") and hasattr(value, "load_state_dict") else value
        for key, value in state_dict.items()
    }


def _place(value: Any) -> tuple[Any, list[int], list[int]]:
    """(local tensor, where it begins, shape of the whole)."""
    if isinstance(value, DTensor):
        spec = value._spec
        return value._local_tensor, list(offset(spec.shape, spec.mesh, spec.placements)), list(spec.shape)
    return value, [0] * value.dim(), list(value.shape)


class _Processes:
    """Those that save together. What has to be told after planning goes through the store, beside whatever the program sends meanwhile."""

    def __init__(self, group: Any, alone: bool) -> None:
        self.group = None if alone or not is_initialized() else default_group() if group is None else the_group(group)
        self.rank, self.size = (0, 1) if self.group is None else (self.group.rank(), self.group.size())

    def all_told(self, value: Any) -> list[Any]:
        if self.group is None or self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        objects.all_gather_object(found, value, self.group)
        return found

    def store(self, save: str) -> Any:
        return None if self.group is None or self.size == 1 else PrefixStore(f"checkpoint{save}", self.group._store)

    def check(self, error: BaseException | None) -> None:
        """CheckpointException in all processes where one has failed."""
        said = self.all_told(None if error is None else f"{type(error).__name__}: {error}")
        failures: dict[int, BaseException | str] = {rank: text for rank, text in enumerate(said) if text is not None}
        if error is not None:
            failures[self.rank] = error
        if failures:
            raise CheckpointException("CheckpointException", failures) from error


def _mine(processes: _Processes, items: list[tuple[dict[str, Any], Any]]) -> tuple[str, list[tuple[dict[str, Any], Any]]]:
    """(the save's name, those of the items that this process writes): of what several have, the one writes that has least to do."""
    own = [(entry["name"], tuple(entry.get("offset", ())), int(np.prod(entry.get("size", [1])))) for entry, _ in items]
    told = processes.all_told((secrets.token_hex(8), own))
    load, owner = [0] * processes.size, {}
    holders: dict[Any, list[int]] = {}
    for rank, (_, theirs) in enumerate(told):
        for name, at, size in theirs:
            holders.setdefault((name, at, size), []).append(rank)
    for key, ranks in holders.items():
        owner[key] = min(ranks, key=load.__getitem__)
        load[owner[key]] += key[2]
    return told[0][0], [item for item, key in zip(items, own, strict=True) if owner[key] == processes.rank]


def _planned(state_dict: dict[str, Any]) -> list[tuple[dict[str, Any], Any]]:
    items: list[tuple[dict[str, Any], Any]] = []
    for name, _, _, value in _flat(_states(state_dict)):
        if isinstance(value, Tensor):
            local, at, shape = _place(value)
            if local.numel() or not shape or 0 in shape:
                entry = {
                    "name": name,
                    "offset": at,
                    "size": list(local.shape),
                    "shape": shape,
                    "dtype": str(local.dtype).rpartition(".")[2],
                }
                items.append((entry, values(local.detach())))
        else:
            buffer = BytesIO()
            torch.save(value, buffer)
            items.append(({"name": name}, buffer.getvalue()))
    return items


def _written(writer: FileSystemWriter, processes: _Processes, save: str, items: list[tuple[dict[str, Any], Any]]) -> dict[str, Any]:
    """Write, tell rank 0, and have it commit when all have written. It uses the store only."""
    store, error, entries = processes.store(save), None, []
    try:
        entries = writer.write(f"__{processes.rank}_{save}.distcp", items)
    except OSError as raised:
        error = raised
    if store is not None:
        store.set(str(processes.rank), json.dumps({"error": None if error is None else str(error), "entries": entries}))
    if processes.rank == 0:
        told = (
            [json.loads(store.get(str(rank))) for rank in range(processes.size)]
            if store is not None
            else [{"error": None if error is None else str(error), "entries": entries}]
        )
        failures: dict[int, BaseException | str] = {rank: each["error"] for rank, each in enumerate(told) if each["error"]}
        if not failures:
            writer.commit({"save": save, "entries": [entry for each in told for entry in each["entries"]]})
        if store is not None:
            store.set("done", json.dumps(failures))
    else:
        failures = {int(rank): text for rank, text in json.loads(store.get("done")).items()}
    if failures:
        raise CheckpointException("CheckpointException", failures) from error
    return {"save": save, "path": str(writer.path)}


def _begun(
    state_dict: dict[str, Any], checkpoint_id: Any, storage_writer: Any, planner: Any, group: Any, no_dist: bool, copy: bool
) -> Any:
    if planner is not None:
        raise NotImplementedError("a planner is not supported: change the state_dict before it is saved")
    writer, processes = writer_of(checkpoint_id, storage_writer), _Processes(group, no_dist)
    error: BaseException | None = None
    try:
        writer.begin()
    except (OSError, RuntimeError) as raised:
        error = raised
    processes.check(error)
    save, items = _mine(processes, _planned(state_dict))
    if copy:
        items = [(entry, value if isinstance(value, bytes) else np.array(value)) for entry, value in items]
    return writer, processes, save, items


def save(
    state_dict: dict[str, Any],
    *,
    checkpoint_id: str | os.PathLike[str] | None = None,
    storage_writer: Any = None,
    planner: Any = None,
    process_group: Any = None,
    no_dist: bool = False,
    use_collectives: bool = True,
) -> dict[str, Any]:
    """Save nested dictionaries of tensors, DTensors and other values into a folder; all processes call this.

    Every process writes its parts; what several have is written once. Until all have written, the folder's old checkpoint counts.
    """
    return _written(*_begun(state_dict, checkpoint_id, storage_writer, planner, process_group, no_dist, False))


def async_save(
    state_dict: dict[str, Any],
    *,
    checkpoint_id: str | os.PathLike[str] | None = None,
    storage_writer: Any = None,
    planner: Any = None,
    process_group: Any = None,
    async_checkpointer_type: Any = None,
    async_stager: Any = None,
    no_dist: bool = False,
    use_collectives: bool = True,
) -> Future[dict[str, Any]]:
    """`save` beside the program: the values are copied before this returns, and may change then. A Future."""
    if async_stager is not None or getattr(async_checkpointer_type, "name", "THREAD") != "THREAD":
        raise NotImplementedError("async_save writes in a thread, from a copy: leave async_stager and async_checkpointer_type out")
    begun = _begun(state_dict, checkpoint_id, storage_writer, planner, process_group, no_dist, True)
    executor = ThreadPoolExecutor(1, "checkpoint")
    future = executor.submit(_written, *begun)
    executor.shutdown(wait=False)
    return future


def load(
    state_dict: dict[str, Any],
    *,
    checkpoint_id: str | os.PathLike[str] | None = None,
    storage_reader: Any = None,
    planner: Any = None,
    process_group: Any = None,
    no_dist: bool = False,
) -> None:
    """Fill the tensors of a state_dict, in place, from a folder, and put its other values into it. The processes may be others than those
    that saved, and the tensors lie otherwise. CheckpointException in all processes where one fails."""
    if planner is not None:
        raise NotImplementedError("a planner is not supported: give a state_dict of what is to be loaded")
    reader, processes = reader_of(checkpoint_id, storage_reader), _Processes(process_group, no_dist)
    states, error = _states(state_dict), None
    try:
        with torch.no_grad():
            for name, container, key, value in list(_flat(states)):
                if isinstance(value, Tensor):
                    local, at, shape = _place(value)
                    reader.read_tensor(name, local.detach(), shape, at)
                else:
                    container[key] = reader.read_object(name)
    except Exception as raised:
        error = raised
    processes.check(error)
    for key, value in state_dict.items():
        if states[key] is not value and hasattr(value, "load_state_dict"):
            value.load_state_dict(states[key])
        elif not isinstance(value, Tensor):
            state_dict[key] = states[key]


save_state_dict, load_state_dict = save, load

settle("distributed.checkpoint", globals())
