"""Process groups: which processes work together, on which engine, and what a call of theirs says when it fails."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from ..homes import settle
from . import rendezvous as meeting
from .engine import Call, Engine, Late, Mismatch, PeerGone, Solo
from .errors import DistBackendError
from .stores import HashStore, PrefixStore, Store, seconds
from .work import Message, Queue, Work

__all__ = ["Backend", "GroupMember", "ProcessGroup", "default_pg_timeout", "destroy_process_group", "get_backend", "get_backend_config",
           "get_default_backend_for_device", "get_global_rank", "get_group_rank", "get_node_local_rank", "get_pg_count",
           "get_process_group_ranks",
           "get_rank", "get_world_size", "group", "init_process_group", "is_initialized", "new_group", "new_subgroups",
           "new_subgroups_by_enumeration"]

default_pg_timeout = timedelta(minutes=30)
_KNOWN = ("gloo", "mpi", "nccl")


class Backend(str):
    """A backend's name, in lower case. "gloo" and "mpi" mean the same here: MPI where it is installed, else sockets on one machine."""

    UNDEFINED = "undefined"
    GLOO = "gloo"
    NCCL = "nccl"
    UCC = "ucc"
    MPI = "mpi"
    XCCL = "xccl"
    backend_list = ["undefined", "gloo", "nccl", "xccl", "ucc", "mpi", "fake"]
    default_device_backend_map = {"cpu": "gloo", "cuda": "nccl"}

    def __new__(cls, name: str) -> Backend:
        if not isinstance(name, str):
            raise ValueError(f"Backend constructor parameter must be string-ish, got {name!r}")
        return super().__new__(cls, name.lower())

    @classmethod
    def register_backend(cls, name: str, func: Any, extended_api: bool = False, devices: Any = None) -> None:
        """Other people's backends are not supported (NotImplementedError)."""
        raise NotImplementedError(f"Backend.register_backend({name!r}): rushlight's engines are MPI and sockets; others cannot be "
                                  "registered")


class _Group:
    """``torch.distributed.group``: WORLD is the default group, None before it is made."""

    NON_GROUP_MEMBER = -100

    @property
    def WORLD(self) -> Any:
        return _state.world

    @WORLD.setter
    def WORLD(self, value: Any) -> None:
        _state.world = value


group = _Group()
GroupMember = group


class ProcessGroup:
    """Some processes of the world. `ranks` are theirs in the world; `engine` carries the bytes."""

    def __init__(self, engine: Engine, ranks: Sequence[int], number: int, backend: str, timeout: timedelta, store: Store,
                 desc: str) -> None:
        self._engine, self._ranks, self._number, self._backend = engine, list(ranks), number, backend
        self._timeout, self._store = timeout, store
        self._places = {rank: i for i, rank in enumerate(self._ranks)}
        self._calls, self._queue, self._failed = 0, Queue(f"group {number}"), ""
        self.group_name, self.group_desc = str(number), desc
        self.bound_device_id: Any = None

    def rank(self) -> int:
        """This process's rank in the group."""
        return self._engine.rank

    def size(self) -> int:
        """How many processes the group has."""
        return self._engine.size

    def name(self) -> str:
        """The engine's name."""
        return self._engine.name

    @property
    def timeout(self) -> timedelta:
        """How long a call may take."""
        return self._timeout

    def _set_default_timeout(self, timeout: timedelta) -> None:
        seconds(timeout)
        self._timeout = timeout

    def get_group_store(self) -> Store:
        """The group's store."""
        return self._store

    def __repr__(self) -> str:
        return f"<ProcessGroup {self.group_name} of ranks {self._ranks} on {self._engine.name}>"

    def __reduce__(self) -> Any:
        raise TypeError("a ProcessGroup belongs to its process and cannot be pickled: make one in each process")

    # --- calls ----------------------------------------------------------------------------------------------------------------------------

    def _run(self, name: str, detail: str, act: Callable[[Engine, Call], None], async_op: bool, result: Any = None,
             timeout: float | None = None) -> Work | None:
        """Do one collective, now, or beside the program. All ranks have to say the same name and detail."""
        self._calls += 1
        limit = self._timeout.total_seconds() if timeout is None else timeout
        call = Call(name, f"{name} #{self._calls}" + (f" ({detail})" if detail else ""), self._calls, limit)
        if async_op or self._queue.pending:
            work = self._queue.put(Work(result), lambda: self._do(call, act))
            if async_op:
                return work
            work.wait()
            return None
        self._do(call, act)
        return None

    def _do(self, call: Call, act: Callable[[Engine, Call], None]) -> None:
        if self._failed:
            raise DistBackendError(f"{call.text}: the group does not work any more, because {self._failed}")
        try:
            act(self._engine, call)
        except (Late, PeerGone, Mismatch, DistBackendError) as error:
            raise self._explained(error, call.text, time.monotonic() - call.began) from None

    def _explained(self, error: BaseException, text: str, waited: float) -> BaseException:
        """An engine's error, with who waits where."""
        if not isinstance(error, (Late, PeerGone, Mismatch, DistBackendError)):
            return error
        _mark_failed()
        where = f"rank {self.rank()} of group {self.group_name} (ranks {self._ranks})"
        if isinstance(error, Late):
            message = f"{where} waited {waited:.1f} s in {text}: {self._who_waits(text, error.ranks)}"
        elif isinstance(error, PeerGone):
            message = f"Connection closed by peer: {where} is in {text}, but rank {self._ranks[error.rank]} has gone: {error.why}"
        else:
            message = f"{where}: {error}"
        self._failed = self._failed or f"a call failed before: {message}"
        return DistBackendError(message)

    def _who_waits(self, text: str, missing: Sequence[int]) -> str:
        """Where the others say they wait. They come to their timeouts at about the same time, so a moment is given to them."""
        try:
            store = PrefixStore("waits", self._store)
            store.set(str(self.rank()), text)
            end, others = time.monotonic() + min(2.0, 0.5 + 0.1 * self.size()), [i for i in range(self.size()) if i != self.rank()]
            while time.monotonic() < end and not store.check([str(i) for i in others]):
                time.sleep(0.05)
            said = [f"rank {self._ranks[i]} waits in {store.get(str(i)).decode()}" if store.check([str(i)]) else
                    f"rank {self._ranks[i]} is in no call of this group" for i in others]
            return "; ".join(said) + (f". Nothing came from ranks {[self._ranks[i] for i in missing]}" if missing else "")
        except Exception:
            missing = [self._ranks[i] for i in missing] or self._ranks
            return f"nothing came from ranks {missing}, and the store is gone as well (rank 0 has ended)"

    def _message(self, handle: Any, what: str, finish: Callable[[], None], result: Any) -> Message:
        return Message(handle, finish, lambda error, waited: self._explained(error, what, waited), self._timeout.total_seconds(),
                       lambda i: self._ranks[i], result)

    def _close(self) -> None:
        self._queue.end()
        self._engine.close()


class _State:
    """What this process knows of groups."""

    def __init__(self) -> None:
        self.world: ProcessGroup | None = None
        self.groups: list[ProcessGroup] = []
        self.made = 0           # groups of the world, on every rank the same number
        self.begun = 0          # worlds that this process was in
        self.closing: list[Callable[[], None]] = []


_state = _State()


def _mark_failed() -> None:
    from sys import modules

    from ..homes import place
    mpi: Any = modules.get(place("distributed.mpi"))
    if mpi is not None:
        mpi.failed = True


def is_initialized() -> bool:
    """Whether there is a default group."""
    return _state.world is not None


def default_group() -> ProcessGroup:
    """The default group; ValueError before init_process_group."""
    if _state.world is None:
        raise ValueError("Default process group has not been initialized, please make sure to call init_process_group.")
    return _state.world


_get_default_group = default_group


def the_group(which: Any) -> ProcessGroup | None:
    """The group of an argument `group` (None: the default one); None where this process is no member."""
    if which is None or which is group:
        return default_group()
    if which == group.NON_GROUP_MEMBER:
        return None
    if not isinstance(which, ProcessGroup):
        raise TypeError(f"group has to be a ProcessGroup (new_group makes one), not {type(which).__name__}")
    if which not in _state.groups:
        raise ValueError("The given group has been destroyed, or belongs to another world")
    return which


# --- the world ----------------------------------------------------------------------------------------------------------------------------


def init_process_group(backend: str | None = None, init_method: str | None = None, timeout: timedelta | None = None, world_size: int = -1,
                       rank: int = -1, store: Store | None = None, group_name: str = "", pg_options: Any = None,
                       device_id: Any = None) -> None:
    """Make the default group of all processes of the world. All of them call this.

    backend      "gloo" or "mpi" (the same engines), "nccl" for CUDA, None to choose
    init_method  "env://" (the default: what torchrun sets), "tcp://host:port", "file:///path"
    store        instead of init_method, with rank and world_size
    timeout      how long any call may wait (30 minutes)
    """
    if _state.world is not None:
        raise ValueError("trying to initialize the default process group twice!")
    if timeout is not None and not isinstance(timeout, timedelta):
        raise TypeError(f"Expected timeout argument to be of type datetime.timedelta, got {timeout}")
    if store is not None and init_method is not None:
        raise AssertionError("Cannot specify both init_method and store.")
    timeout = default_pg_timeout if timeout is None else timeout
    name = _backend(backend, device_id)
    launched = None
    if store is None:
        store, rank, world_size, launched = _meet(name, init_method, rank, world_size, timeout)
    elif world_size < 1 or rank < 0:
        raise AssertionError(f"{'world_size must be positive' if world_size < 1 else 'rank must be non-negative'} if using store")
    if not 0 <= rank < world_size:
        raise ValueError(f"rank has to be in 0 .. world_size - 1, but rank is {rank} and world_size {world_size}")
    _state.begun += 1
    store.set_timeout(timeout)
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")     # torchrun's store has the keys of the attempts before
    store = PrefixStore(f"{group_name}world{_state.begun}.{attempt}", store)
    from .choosing import engine_for
    engine = engine_for(store, rank, world_size, timeout.total_seconds(), launched)
    _state.made = 0
    world = ProcessGroup(engine, range(world_size), 0, name, timeout, PrefixStore("0", store), "default_pg")
    world.bound_device_id = device_id
    _state.world, _state.groups = world, [world]


def _backend(backend: str | None, device_id: Any) -> str:
    """The backend's name; AssertionError for one that is not known."""
    if backend is None:
        return "undefined"
    names = {part.rpartition(":")[2] for part in Backend(backend).split(",")}
    unknown = names - set(_KNOWN)
    if unknown:
        raise AssertionError(f"Unknown backend type {sorted(unknown)[0]}: rushlight has gloo, mpi and nccl")
    if "nccl" in names:
        from .. import cuda
        if not cuda.is_available():
            raise ValueError("ProcessGroupNCCL is only supported with GPUs, no GPUs found! Use backend='gloo'.")
        warnings.warn("backend 'nccl': rushlight has no NCCL yet; tensors on CUDA go through the CPU's memory, by MPI or sockets: the "
                      "values are right, "
                      "the speed is not NCCL's", stacklevel=3)
    return str(Backend(backend))


def _meet(name: str, init_method: str | None, rank: int, size: int, timeout: timedelta) -> tuple[Store, int, int, Any]:
    """(store, rank, world size, MPI's ranks if its launcher started us)."""
    from . import mpi
    found = mpi.launched() if init_method in (None, "env://") and rank < 0 and mpi.importable() else None
    if found is not None and ("RANK" not in os.environ or (int(os.environ["RANK"]), int(os.environ.get("WORLD_SIZE", -1))) == found):
        from .choosing import launched_store
        return launched_store(found, timeout)
    if name == "mpi" and init_method is None and rank < 0 and size < 0 and "RANK" not in os.environ:
        return HashStore(), 0, 1, None              # as MPI does for a process that nobody launched
    if rank == 0 and size == 1 and init_method is None and "MASTER_PORT" not in os.environ:
        return HashStore(), 0, 1, None
    store, rank, size = next(iter(meeting.rendezvous("env://" if init_method is None else init_method, rank, size, timeout=timeout)))
    return store, rank, size, None


def destroy_process_group(group: Any = None) -> None:
    """Let a group go; the default one takes all others with it, and init_process_group may be called again."""
    if group == GroupMember.NON_GROUP_MEMBER:
        return
    found = default_group() if group is None else group
    if found not in _state.groups:
        raise ValueError("Invalid process group specified")
    going = list(_state.groups) if found is _state.world else [found]
    for each in reversed(going):
        _state.groups.remove(each)
        each._close()
    if found is _state.world:
        _state.world = None
        for act in _state.closing:
            act()
        _state.closing.clear()


# --- groups of it -------------------------------------------------------------------------------------------------------------------------


def new_group(ranks: Sequence[int] | None = None, timeout: timedelta | None = None, backend: str | None = None, pg_options: Any = None,
              use_local_synchronization: bool = False, group_desc: str | None = None, device_id: Any = None) -> Any:
    """A group of some ranks of the world. All processes call this, in one order; those that are no members get
    GroupMember.NON_GROUP_MEMBER."""
    world = default_group()
    members = list(range(world.size())) if ranks is None else sorted(ranks)
    if len(members) > world.size():
        raise ValueError("the new group's world size should be less or equal to the world size set by init_process_group")
    if any(not isinstance(r, int) or not 0 <= r < world.size() for r in members):
        raise ValueError("The new group's rank should be within the world_size set by init_process_group")
    if len(set(members)) != len(members):
        raise ValueError(f"new_group: a rank is named twice in {members}")
    name = world._backend if backend is None else _backend(backend, device_id)
    limit = world._timeout if timeout is None else timeout
    seconds(limit)
    if use_local_synchronization:
        from zlib import crc32
        number = 1 << 20 | crc32(f"{members} {group_desc}".encode()) & 0xfffff           # only members call: no common count
        while any(each._number == number for each in _state.groups):
            number += 1 << 20
    else:
        _state.made += 1
        number = _state.made
    if world.rank() not in members:
        return group.NON_GROUP_MEMBER
    engine = Solo() if len(members) == 1 else world._engine.subgroup(members, number)
    made = ProcessGroup(engine, members, number, name, limit, PrefixStore(str(number), world._store), group_desc or "undefined")
    _state.groups.append(made)
    return made


def new_subgroups(group_size: int | None = None, group: Any = None, timeout: timedelta | None = None, backend: str | None = None,
                  pg_options: Any = None, group_desc: str | None = None) -> tuple[Any, list[Any]]:
    """Groups of `group_size` consecutive ranks each (default: a machine's): (this rank's, all of them)."""
    size = int(os.environ.get("LOCAL_WORLD_SIZE", 0)) or get_world_size() if group_size is None else group_size
    world = get_world_size()
    if size <= 0:
        raise ValueError(f"The arg 'group_size' ({size}) must be positive")
    if world < size:
        raise ValueError(f"The arg 'group_size' ({size}) must not exceed the world size ({world})")
    if world % size:
        raise ValueError(f"The world size ({world}) must be divisible by '{size}'")
    return new_subgroups_by_enumeration([list(range(i, i + size)) for i in range(0, world, size)], timeout, backend, pg_options, group_desc)


def new_subgroups_by_enumeration(ranks_per_subgroup_list: Sequence[Sequence[int]], timeout: timedelta | None = None,
                                 backend: str | None = None,
                                 pg_options: Any = None, group_desc: str | None = None) -> tuple[Any, list[Any]]:
    """Groups of these ranks: (this rank's, all of them)."""
    if not ranks_per_subgroup_list:
        raise ValueError("The arg 'ranks_per_subgroup_list' cannot be empty")
    flat = [rank for ranks in ranks_per_subgroup_list for rank in ranks]
    if len(set(flat)) != len(flat):
        raise ValueError("a rank is in two of the subgroups")
    groups = [new_group(ranks, timeout, backend, pg_options, group_desc=group_desc) for ranks in ranks_per_subgroup_list]
    return next((each for each in groups if each != group.NON_GROUP_MEMBER), None), groups


# --- questions ----------------------------------------------------------------------------------------------------------------------------


def get_rank(group: Any = None) -> int:
    """This process's rank in a group; -1 where it is no member."""
    found = the_group(group)
    return -1 if found is None else found.rank()


def get_world_size(group: Any = None) -> int:
    """How many processes a group has; -1 where this is no member."""
    found = the_group(group)
    return -1 if found is None else found.size()


def get_backend(group: Any = None) -> Any:
    """The backend that a group was made with."""
    found = the_group(group)
    if found is None:
        raise ValueError("Invalid process group specified")
    return Backend(found._backend)


def get_backend_config(group: Any = None) -> str:
    """Which backend serves which device."""
    name = str(get_backend(group))
    return name if ":" in name else "cpu:gloo" if name == "undefined" else f"cpu:{name},cuda:{name}" if name != "nccl" else "cuda:nccl"


def get_default_backend_for_device(device: Any) -> str:
    """The backend that serves a device's tensors."""
    kind = device if isinstance(device, str) else device.type
    return Backend.default_device_backend_map[kind.partition(":")[0]]


def get_process_group_ranks(group: Any) -> list[int]:
    """The ranks in the world of a group's processes."""
    found = the_group(group)
    return [] if found is None else list(found._ranks)


def get_group_rank(group: Any, global_rank: int) -> int:
    """The rank in a group of a rank in the world; ValueError where it is no member."""
    found = the_group(group)
    if found is None or global_rank not in found._places:
        raise ValueError(f"Global rank {global_rank} is not part of group {group}")
    return found._places[global_rank]


def get_global_rank(group: Any, group_rank: int) -> int:
    """The rank in the world of a rank in a group; ValueError where there is none."""
    found = the_group(group)
    if found is None or not 0 <= group_rank < found.size():
        raise ValueError(f"Group rank {group_rank} is not part of group {group}")
    return found._ranks[group_rank]


def get_node_local_rank(fallback_rank: int | None = None) -> int:
    """The rank among this machine's processes, which torchrun sets (LOCAL_RANK)."""
    if "LOCAL_RANK" in os.environ:
        return int(os.environ["LOCAL_RANK"])
    if fallback_rank is not None:
        return int(fallback_rank)
    raise RuntimeError("LOCAL_RANK is not in the environment. Consider passing fallback_rank to allow `get_node_local_rank` to work, "
                       "assuming you are not "
                       "running in a multi-device context and want the code to run locally instead.")


def get_pg_count() -> int:
    """How many groups this process is in."""
    return len(_state.groups)


settle("distributed", globals(), ["ProcessGroup"])
settle("distributed.distributed_c10d", globals(), [name for name in __all__ if name != "ProcessGroup"])
