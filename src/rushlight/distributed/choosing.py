"""Which engine a world runs on: MPI where every process has it, else sockets on one machine. The ranks agree about it through the store."""

from __future__ import annotations

import json
import os
import socket
from datetime import timedelta
from typing import Any

from . import mpi
from .engine import Engine, Solo
from .errors import DistBackendError
from .stores import HashStore, PrefixStore, Store, TCPStore

__all__ = ["engine_for", "launched_store"]


def engine_for(store: Store, rank: int, size: int, timeout: float, launched: Any) -> Engine:
    """The engine of a world of this size. RUSHLIGHT_DISTRIBUTED=mpi or sockets takes the choice."""
    if size == 1:
        return Solo()
    if launched is not None:
        return mpi.MPIEngine(launched, launched.COMM_WORLD.Dup(), _checked())
    wish = os.environ.get("RUSHLIGHT_DISTRIBUTED", "")
    if wish not in ("", "mpi", "sockets"):
        raise ValueError(f"RUSHLIGHT_DISTRIBUTED has to be mpi or sockets, not {wish!r}")
    kind = _agreed(store, rank, size, wish)
    if kind == "again":
        MPI = mpi.load()
        return mpi.MPIEngine(MPI, MPI.COMM_WORLD.Dup(), _checked())
    if kind == "mpi":
        MPI = mpi.join(PrefixStore("mpi", store), rank, size, timeout, _own_address(store))
        return mpi.MPIEngine(MPI, MPI.COMM_WORLD.Dup(), _checked())
    from .sockets import Mesh, SocketEngine
    return SocketEngine(Mesh(PrefixStore("sockets", store), rank, size, timeout), range(size), 0)


def _checked() -> bool:
    """Whether ranks compare which call they are in before each one. TORCH_DISTRIBUTED_DEBUG=OFF, if it says so, saves the few
    microseconds."""
    return os.environ.get("TORCH_DISTRIBUTED_DEBUG", "").upper() != "OFF"


def _agreed(store: Store, rank: int, size: int, wish: str) -> str:
    """"mpi", "again" (the MPI world of before serves) or "sockets", as rank 0 finds after all have said what they have."""
    own = {"wish": wish, "machine": _machine(), "mpi": mpi.importable(), "world": mpi.world if mpi.started() else None,
           "started": mpi.started(),
           "order": mpi.order if mpi.started() else None}
    store.set(f"has{rank}", json.dumps(own))
    if rank == 0:
        store.set("engine", _decided([json.loads(store.get(f"has{i}")) for i in range(size)]))
    found = store.get("engine").decode()
    if found.startswith("!"):
        raise DistBackendError(found[1:])
    return found


def _decided(ranks: list[dict[str, Any]]) -> str:
    wishes = {each["wish"] for each in ranks} - {""}
    if len(wishes) > 1:
        return f"!RUSHLIGHT_DISTRIBUTED differs among the ranks: {sorted(wishes)}"
    wish = next(iter(wishes), "")
    several = len({each["machine"] for each in ranks}) > 1
    if (wish == "mpi" or several) and wish != "sockets" and all(each["mpi"] for each in ranks):
        if not any(each["started"] for each in ranks):
            return "mpi"
        if all(each["world"] and each["world"] == ranks[0]["world"] and each["order"] == [i, len(ranks)] for i, each in enumerate(ranks)):
            return "again"
    if wish == "mpi":
        without = [i for i, each in enumerate(ranks) if not each["mpi"]]
        return f"!RUSHLIGHT_DISTRIBUTED=mpi, but ranks {without} have no mpi4py: pip install 'rushlight[distributed]'" if without else \
            ("!RUSHLIGHT_DISTRIBUTED=mpi, but MPI runs in these processes already, for another world; it can't be started twice: start new "
             "processes")
    if several:
        return ("!the ranks are on several machines, which needs MPI in all of them: pip install 'rushlight[distributed]' on each, and "
                "start the program "
                "with torchrun --nnodes (or mpiexec, or Slurm)")
    return "sockets"


def _machine() -> str:
    """Something that processes of one machine have in common."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = file.read().strip()
        return f"{boot} {os.readlink('/proc/self/ns/net')}"
    except OSError:
        return socket.gethostname()


def _own_address(store: Store) -> str:
    """This machine's address as the others can reach it."""
    while isinstance(store, PrefixStore):
        store = store.underlying_store
    return store._connection().getsockname()[0] if isinstance(store, TCPStore) else "127.0.0.1"


def launched_store(found: tuple[int, int], timeout: timedelta) -> tuple[Store, int, int, Any]:
    """A store for processes that MPI's launcher started: rank 0 serves it, and MPI tells the others where."""
    MPI = mpi.load()
    comm = MPI.COMM_WORLD
    rank, size = comm.rank, comm.size
    if size != found[1]:
        raise DistBackendError(f"the launcher started {found[1]} processes, but MPI makes a world of {size}: mpiexec belongs to another "
                               "MPI than the "
                               "one that mpi4py finds. Use the mpiexec of this environment, or torchrun")
    if size == 1:
        return HashStore(), 0, 1, MPI
    name, machines = MPI.Get_processor_name(), set(comm.allgather(_machine()))
    host = "127.0.0.1" if len(machines) == 1 else name
    store: Any = TCPStore(host, 0, is_master=True, timeout=timeout) if rank == 0 else None
    host, port = comm.bcast((host, store.port) if rank == 0 else None)
    return store or TCPStore(host, port, timeout=timeout), rank, size, MPI
