"""The engine on MPI, through mpi4py: on the tensors' own memory, with calls that do not block, so that a deadline holds.

A launcher (mpiexec, Slurm) may have started the processes; else they find each other through the store and `pmi.py`, which MPICH
understands. Reductions
that MPI does not have (bfloat16, float16, bool) are made of messages, as all of them are in `engine.py`.
"""

from __future__ import annotations

import atexit
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from .engine import Call, Engine, Late, Mismatch, flat_bytes
from .errors import DistBackendError, DistNetworkError
from .reduce_op import ReduceOp
from .stores import Store

__all__ = ["MPIEngine", "importable", "launched", "load", "started"]

_NATIVE = frozenset("bBhHiIlLqQfdFD")          # dtype characters that MPI reduces by itself
_CHUNK = 1 << 30                                # messages of more elements go in parts
_LAUNCHERS = (("PMI_RANK", "PMI_SIZE"), ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"), ("PMIX_RANK", "OMPI_COMM_WORLD_SIZE"),
              ("SLURM_PROCID", "SLURM_NTASKS"))
failed = False          # a call has failed: processes are out of step, so nothing waits for the others at the end
world: str | None = None        # which world MPI was started for, and this process's place in it
order: list[int] | None = None
_server: Any = None


def importable() -> bool:
    """Whether mpi4py is installed (it is not loaded for the question)."""
    from importlib.util import find_spec
    return "mpi4py" in sys.modules or find_spec("mpi4py") is not None


def started() -> bool:
    """Whether MPI runs in this process."""
    module = sys.modules.get("mpi4py.MPI")
    return module is not None and module.Is_initialized() and not module.Is_finalized()


def launched() -> tuple[int, int] | None:
    """Rank and world size that MPI's launcher gave to this process; None where none started it."""
    for rank, size in _LAUNCHERS:
        if rank in os.environ and size in os.environ:
            return int(os.environ[rank]), int(os.environ[size])
    return None


def load() -> Any:
    """``mpi4py.MPI``, initialised for several threads; whoever initialised it ends it."""
    import mpi4py
    if "mpi4py.MPI" not in sys.modules:
        mpi4py.rc.initialize = mpi4py.rc.finalize = False
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise DistBackendError(f"mpi4py is installed, but finds no MPI library ({error}): pip install "
                               "'rushlight[distributed]' brings one") from error
    if not MPI.Is_initialized():
        MPI.Init_thread(MPI.THREAD_MULTIPLE)
        atexit.register(_end, MPI)
    if MPI.Query_thread() < MPI.THREAD_MULTIPLE:
        raise DistBackendError("MPI was initialised without MPI_THREAD_MULTIPLE, which torch.distributed needs: let init_process_group "
                               "initialise it, "
                               "or set mpi4py.rc.thread_level = 'multiple' before")
    MPI.COMM_WORLD.Set_errhandler(MPI.ERRORS_RETURN)
    return MPI


def _end(MPI: Any) -> None:
    """End MPI, if all others come to do so within seconds; nobody is waited for who may have failed."""
    if failed or MPI.Is_finalized() or getattr(sys, "last_value", None) is not None:
        return
    try:
        request, end = MPI.COMM_WORLD.Ibarrier(), time.monotonic() + 10.0
        while not request.Test():
            if time.monotonic() > end:
                return
            time.sleep(0.001)
        MPI.Finalize()
    except Exception:
        pass            # the process ends anyway


def join(store: Store, rank: int, size: int, timeout: float, host: str) -> Any:
    """Make MPI's world of processes that no launcher started: MPICH's way of finding each other, served by rank 0."""
    global _server, order, world
    import secrets
    import socket
    import subprocess
    if rank == 0:
        token = secrets.token_hex(16)
        program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "pmi.py")
        # A session of its own: Ctrl-C is for the ranks, which it has to outlive.
        _server = subprocess.Popen([sys.executable, "-S", "-E", program, str(size), host], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   text=True, start_new_session=True)
        _server.stdin.write(token + "\n")
        _server.stdin.flush()
        store.set("pmi", f"{host} {int(_server.stdout.readline())} {token}")
    where, port, token = store.get("pmi").decode().split()
    try:
        connection = socket.create_connection((where, int(port)), timeout=timeout)
    except OSError as error:
        raise DistNetworkError(f"rank {rank} cannot reach rank 0 at {where}:{port} ({error})") from None
    connection.settimeout(None)
    connection.sendall(token.encode() + b"\n")
    os.set_inheritable(connection.fileno(), False)
    ours = {"PMI_FD": str(connection.detach()), "PMI_RANK": str(rank), "PMI_SIZE": str(size)}
    os.environ.update(ours)
    try:
        MPI = load()
    finally:
        for name in ours:           # children are no members of this world
            os.environ.pop(name, None)
    if MPI.COMM_WORLD.size != size or MPI.COMM_WORLD.rank != rank:
        raise DistBackendError(f"MPI made a world of {MPI.COMM_WORLD.size} instead of {size}: this MPI is not MPICH's kind "
                               f"({MPI.Get_library_version().split(chr(10))[0].strip()}). pip install mpich, or start the program by this "
                               "MPI's mpiexec")
    world, order = token, [rank, size]
    return MPI


class _Direct:
    """A message between two ranks that is under way."""

    def __init__(self, engine: MPIEngine, request: Any, other: Sequence[int], array: Any, receives: bool) -> None:
        self.engine, self.request, self.other, self.array, self.receives = engine, request, other, array, receives
        self.status = engine.MPI.Status()
        self.finished = False

    def done(self) -> bool:
        if not self.finished:
            self.finished = self.engine.guarded(lambda: self.request.Test(self.status))
        return self.finished

    def wait(self, deadline: float) -> int:
        if not self.finished:
            self.engine.wait([self.request], deadline, self.other, [self.status])
            self.finished = True
        if not self.receives:
            return self.other[0]
        source = self.status.Get_source()
        self.engine.fits("recv", self.status, source, self.array)
        return source


class MPIEngine(Engine):
    """A communicator. `checked`: whether ranks compare which call they are in, before they begin."""

    name = "mpi"

    def __init__(self, MPI: Any, comm: Any, checked: bool = True) -> None:
        self.MPI, self.comm, self.checked = MPI, comm, checked
        self.rank, self.size = comm.rank, comm.size
        self.direct = comm.Dup()
        for each in (comm, self.direct):
            each.Set_errhandler(MPI.ERRORS_RETURN)
        self._ops = {ReduceOp.SUM: MPI.SUM, ReduceOp.AVG: MPI.SUM, ReduceOp.PREMUL_SUM: MPI.SUM, ReduceOp.PRODUCT: MPI.PROD,
                     ReduceOp.MIN: MPI.MIN,
                     ReduceOp.MAX: MPI.MAX, ReduceOp.BAND: MPI.BAND, ReduceOp.BOR: MPI.BOR, ReduceOp.BXOR: MPI.BXOR}

    def subgroup(self, ranks: Sequence[int], number: int) -> Engine:
        group = self.comm.Get_group().Incl(list(ranks))
        try:
            return MPIEngine(self.MPI, self.comm.Create_group(group, number % 32000), self.checked)
        finally:
            group.Free()

    def guarded(self, act: Any) -> Any:
        """A call of MPI's, its errors as ours."""
        try:
            return act()
        except self.MPI.Exception as error:
            if error.Get_error_class() == self.MPI.ERR_TRUNCATE:
                raise Mismatch("a rank sent more than this rank expects: the tensors differ in shape or dtype, or the ranks are in "
                               "different calls") \
                    from None
            raise DistBackendError(f"MPI: {error}") from None

    def fits(self, what: str, status: Any, source: int, array: Any) -> None:
        """Mismatch where a message was shorter than the memory for it (a longer one is MPI's own error)."""
        count = status.Get_count(self.MPI.BYTE)
        if count != array.nbytes:
            raise Mismatch(f"{what}: rank {source} sent {count} bytes, this rank expects {array.nbytes}: the tensors differ in shape or "
                           "dtype")

    def wait(self, requests: Sequence[Any], deadline: float, others: Sequence[int], statuses: Any = None) -> None:
        """Until all requests are done. It asks often at first, and lets others have the core then."""
        Test, turns, pause = self.MPI.Request.Testall, 0, 0.0
        args = (requests,) if statuses is None else (requests, statuses)
        while not self.guarded(lambda: Test(*args)):
            turns += 1
            if turns > 20:
                if time.monotonic() > deadline:
                    raise Late(others)
                time.sleep(pause)
                pause = min(pause + 0.00001, 0.001) if turns > 40 else 0.0

    def _run(self, call: Call, begin: Any, *args: Any) -> None:
        self.wait([self.guarded(lambda: begin(*args))], call.deadline, [])

    def agree(self, call: Call) -> None:
        """Whether all ranks are in the same call; Mismatch on all of them otherwise."""
        if not self.checked or self.size == 1:
            return
        own = hash_of(call.text)
        extreme = np.array([own, -own], np.int64)
        self._run(call, self.comm.Iallreduce, self.MPI.IN_PLACE, extreme, self.MPI.MAX)
        if extreme[0] == -extreme[1]:
            return
        texts = np.zeros((self.size, 120), np.uint8)
        mine = np.frombuffer(call.text.encode()[:120].ljust(120), np.uint8)
        self._run(call, self.comm.Iallgather, mine, texts)
        said = [row.tobytes().decode(errors="replace").strip() for row in texts]
        raise Mismatch("the ranks are in different calls: " + "; ".join(f"rank {i} is in {text}" for i, text in enumerate(said)))

    def exchange(self, call: Call, sends: Sequence[tuple[int, Any]], receives: Sequence[tuple[int, Any]]) -> None:
        tag = call.number % 32000
        requests = [self.comm.Irecv(flat_bytes(array), source, tag) for source, array in receives]
        requests += [self.comm.Isend(flat_bytes(array), to, tag) for to, array in sends]
        statuses = [self.MPI.Status() for _ in requests]
        self.wait(requests, call.deadline, [source for source, _ in receives], statuses)
        for (source, array), status in zip(receives, statuses):
            self.fits(call.text, status, source, array)

    def isend(self, array: Any, to: int, tag: int, timeout: float) -> Any:
        data = flat_bytes(array)
        return _Direct(self, self.guarded(lambda: self.direct.Isend(data, to, tag)), [to], data, False)

    def irecv(self, array: Any, source: int | None, tag: int, timeout: float) -> Any:
        data = flat_bytes(array)
        found = self.MPI.ANY_SOURCE if source is None else source
        others = [rank for rank in range(self.size) if rank != self.rank] if source is None else [source]
        return _Direct(self, self.guarded(lambda: self.direct.Irecv(data, found, tag)), others, data, True)

    # --- MPI's own ------------------------------------------------------------------------------------------------------------------------

    def _native(self, array: Any) -> bool:
        return array.dtype.char in _NATIVE and array.dtype.isnative and 0 < array.size < _CHUNK

    def barrier(self, call: Call) -> None:
        self.agree(call)
        self._run(call, self.comm.Ibarrier)

    def broadcast(self, call: Call, array: Any, root: int) -> None:
        self.agree(call)
        if array.nbytes < _CHUNK:
            self._run(call, self.comm.Ibcast, flat_bytes(array), root)
        else:
            super().broadcast(call, array, root)

    def allreduce(self, call: Call, array: Any, op: int) -> None:
        self.agree(call)
        if self._native(array):
            self._run(call, self.comm.Iallreduce, self.MPI.IN_PLACE, array.reshape(-1), self._ops[ReduceOp(op)])
        else:
            super().allreduce(call, array, op)

    def reduce(self, call: Call, array: Any, op: int, root: int) -> None:
        self.agree(call)
        if not self._native(array):
            super().reduce(call, array, op, root)
        elif self.rank == root:
            self._run(call, self.comm.Ireduce, self.MPI.IN_PLACE, array.reshape(-1), self._ops[ReduceOp(op)], root)
        else:
            self._run(call, self.comm.Ireduce, array.reshape(-1), None, self._ops[ReduceOp(op)], root)

    def allgather(self, call: Call, array: Any, outs: Sequence[Any]) -> None:
        self.agree(call)
        whole = joined(outs)
        if whole is not None and 0 < whole.nbytes < _CHUNK:
            self._run(call, self.comm.Iallgather, flat_bytes(array), whole)
        else:
            super().allgather(call, array, outs)

    def gather(self, call: Call, array: Any, outs: Sequence[Any] | None, root: int) -> None:
        self.agree(call)
        super().gather(call, array, outs, root)

    def scatter(self, call: Call, out: Any, arrays: Sequence[Any] | None, root: int) -> None:
        self.agree(call)
        super().scatter(call, out, arrays, root)

    def alltoall(self, call: Call, arrays: Sequence[Any], outs: Sequence[Any]) -> None:
        self.agree(call)
        super().alltoall(call, arrays, outs)

    def reduce_scatter(self, call: Call, arrays: Sequence[Any], out: Any, op: int) -> None:
        self.agree(call)
        whole = joined(arrays)
        if whole is not None and self._native(out) and whole.nbytes < _CHUNK:
            self._run(call, self.comm.Ireduce_scatter_block, whole.view(out.dtype), out.reshape(-1), self._ops[ReduceOp(op)])
        else:
            super().reduce_scatter(call, arrays, out, op)

    def close(self) -> None:
        if failed or self.MPI.Is_finalized():
            return              # Free is collective
        self.direct.Free()
        self.comm.Free()


def joined(arrays: Sequence[Any]) -> Any:
    """One array of bytes over arrays of one size that lie behind each other in memory; None where they do not."""
    first = arrays[0]
    base, count = first.__array_interface__["data"][0], first.nbytes
    for i, array in enumerate(arrays):
        if array.nbytes != count or array.__array_interface__["data"][0] != base + i * count:
            return None
    total = count * len(arrays)
    return np.lib.stride_tricks.as_strided(flat_bytes(first), (total,), (1,)) if total else None


def hash_of(text: str) -> int:
    """A number for a text, the same in every process."""
    from zlib import adler32, crc32
    data = text.encode()
    return crc32(data) << 30 | adler32(data) & 0x3fffffff


