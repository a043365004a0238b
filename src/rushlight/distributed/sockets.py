"""An engine of ours for the processes of one machine that no launcher started, where there is no MPI: a socket between every two of them.

A thread per peer reads what comes, straight into the memory that waits for it, so sending never deadlocks. Every message says in words
which call it
belongs to: a rank in another call is an error at once, as is one that has ended. Across machines MPI does this (``pip install
rushlight[distributed]``).
"""

from __future__ import annotations

import hmac
import socket
import struct
import threading
import time
from collections import defaultdict, deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from .engine import Call, Engine, Late, Mismatch, PeerGone, flat_bytes
from .errors import DistNetworkError
from .stores import Store, connect, read_exactly

__all__ = ["Mesh", "SocketEngine"]

_HEADER = struct.Struct("!IBqHQ")       # group, kind, tag or number, length of the text, bytes that follow
_COLLECTIVE, _DIRECT = 0, 1
_SMALL = 8192
Key = tuple[int, int, int, int]         # rank in the world, group, kind, tag


class Receive:
    """Memory that waits for a message."""

    __slots__ = ("mesh", "key", "array", "text", "error", "ready", "source")

    def __init__(self, mesh: Mesh, key: Key, array: Any, text: bytes) -> None:
        self.mesh, self.key, self.array, self.text, self.source = mesh, key, array, text, key[0]
        self.error: Exception | None = None
        self.ready = False

    def deliver(self, text: bytes, data: Any) -> None:
        """Take a message that is there."""
        self.error = self.unfit(text, len(data))
        if self.error is None:
            self.array[:] = np.frombuffer(data, np.uint8)

    def unfit(self, text: bytes, count: int) -> Exception | None:
        """Why a message is not the one that this waits for."""
        if text != self.text:
            return Mismatch(f"this rank is in {self.text.decode()}, rank {self.source} is in {text.decode(errors='replace')}")
        if count != self.array.size:
            return Mismatch(f"{self.text.decode() or 'recv'}: rank {self.source} sent {count} bytes, this rank expects {self.array.size}: "
                            "the "
                            "tensors differ in shape or dtype")
        return None

    def done(self) -> bool:
        return self.ready

    def wait(self, deadline: float) -> int:
        """Wait for the message; the rank (in the world) that sent it."""
        mesh = self.mesh
        with mesh.changed:
            while not self.ready:
                if self.source in mesh.gone:
                    raise PeerGone(self.source, mesh.gone[self.source])
                if not mesh.changed.wait(max(0.0, deadline - time.monotonic())) and time.monotonic() >= deadline:
                    mesh.forget(self)
                    raise Late([self.source])
        if self.error is not None:
            raise self.error
        return self.source


class Mesh:
    """The sockets between all processes of a world."""

    def __init__(self, store: Store, rank: int, size: int, timeout: float) -> None:
        self.rank, self.size = rank, size
        self.peers: list[socket.socket | None] = [None] * size
        self.locks = [threading.Lock() for _ in range(size)]
        self.changed = threading.Condition()
        self.inbox: dict[Key, deque[tuple[bytes, Any]]] = defaultdict(deque)
        self.posted: dict[Key, deque[Receive]] = defaultdict(deque)
        self.gone: dict[int, str] = {}
        self._connect(store, timeout)
        for peer in range(size):
            if peer != rank:
                threading.Thread(target=self._read, args=(peer,), name=f"from rank {peer}", daemon=True).start()

    def _connect(self, store: Store, timeout: float) -> None:
        """Every rank listens; the higher one of two connects, and shows that it has the store's secret."""
        if self.rank == 0:
            import secrets
            store.set("secret", secrets.token_hex(16))
        secret = store.get("secret")
        listener = socket.create_server(("127.0.0.1", 0), backlog=self.size)
        listener.settimeout(timeout)
        store.set(f"port{self.rank}", str(listener.getsockname()[1]))
        for peer in range(self.rank):
            connection = connect("127.0.0.1", int(store.get(f"port{peer}")), timeout)
            connection.sendall(secret + struct.pack("!I", self.rank))
            self._keep(peer, connection, timeout)
        missing = set(range(self.rank + 1, self.size))
        while missing:
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                raise DistNetworkError(f"rank {self.rank} waited {timeout:.0f} s for ranks {sorted(missing)} to connect: they have not "
                                       "started, "
                                       "or have ended") from None
            connection.settimeout(10.0)
            try:
                hello = read_exactly(connection, len(secret) + 4)
            except OSError:
                connection.close()
                continue
            peer = struct.unpack("!I", hello[-4:])[0]
            if not hmac.compare_digest(hello[:-4], secret) or peer not in missing:
                connection.close()          # a stranger
                continue
            self._keep(peer, connection, timeout)
            missing.remove(peer)
        listener.close()

    def _keep(self, peer: int, connection: socket.socket, timeout: float) -> None:
        connection.settimeout(None)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        whole = int(max(timeout, 1.0))
        # a peer that has stopped reads nothing
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", whole, 0))
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            connection.setsockopt(socket.SOL_SOCKET, option, 1 << 20)
        self.peers[peer] = connection

    def send(self, peer: int, group: int, kind: int, tag: int, text: bytes, array: Any) -> None:
        """Send the bytes of an array; PeerGone where nobody takes them."""
        connection, data = self.peers[peer], memoryview(array)
        header = _HEADER.pack(group, kind, tag, len(text), len(data)) + text
        try:
            with self.locks[peer]:
                if len(data) <= _SMALL:
                    connection.sendall(header + bytes(data))  # type: ignore[union-attr]
                else:
                    connection.sendall(header)  # type: ignore[union-attr]
                    connection.sendall(data)  # type: ignore[union-attr]
        except BlockingIOError:
            raise Late([peer]) from None
        except (OSError, AttributeError) as error:
            raise PeerGone(peer, self.gone.get(peer, f"its connection broke ({error})")) from None

    def post(self, receive: Receive) -> Receive:
        """Have the next message of its key go to a receive."""
        with self.changed:
            waiting = self.inbox.get(receive.key)
            if waiting:
                receive.deliver(*waiting.popleft())
                receive.ready = True
                if not waiting:
                    del self.inbox[receive.key]
            else:
                self.posted[receive.key].append(receive)
        return receive

    def forget(self, receive: Receive) -> None:
        """A receive whose owner waits no longer."""
        if receive in self.posted.get(receive.key, ()):
            self.posted[receive.key].remove(receive)

    def _read(self, peer: int) -> None:
        connection = self.peers[peer]
        assert connection is not None
        why = "it has ended, or was killed"
        try:
            while True:
                group, kind, tag, length, count = _HEADER.unpack(read_exactly(connection, _HEADER.size))
                text = read_exactly(connection, length) if length else b""
                self._message(connection, (peer, group, kind, tag), text, count)
        except (OSError, ValueError) as error:
            if not isinstance(error, ConnectionError):
                why = f"its connection broke ({error})"
        with self.changed:
            self.gone[peer] = why
            self.changed.notify_all()
        connection.close()

    def _message(self, connection: socket.socket, key: Key, text: bytes, count: int) -> None:
        with self.changed:
            receive = self._taken(key)
        if receive is not None:
            receive.error = receive.unfit(text, count)
            if receive.error is None:
                _read_into(connection, memoryview(receive.array))
            else:
                read_exactly(connection, count)
            with self.changed:
                receive.ready = True
                self.changed.notify_all()
            return
        data = read_exactly(connection, count) if count else b""
        with self.changed:
            receive = self._taken(key)                  # it may have come meanwhile
            if receive is None:
                self.inbox[key].append((text, data))
            else:
                receive.deliver(text, data)
                receive.ready = True
            self.changed.notify_all()

    def _taken(self, key: Key) -> Receive | None:
        waiting = self.posted.get(key)
        if not waiting:
            return None
        receive = waiting.popleft()
        if not waiting:
            del self.posted[key]
        return receive

    def take_any(self, sources: Sequence[int], group: int, tag: int, array: Any, deadline: float) -> int:
        """Receive from whichever of the ranks sends first; which one it was."""
        keys = [(source, group, _DIRECT, tag) for source in sources]
        with self.changed:
            while True:
                for key in keys:
                    if self.inbox.get(key):
                        break
                else:
                    if all(source in self.gone for source in sources):
                        raise PeerGone(sources[0], "all other ranks have ended")
                    if not self.changed.wait(max(0.0, deadline - time.monotonic())) and time.monotonic() >= deadline:
                        raise Late(sources)
                    continue
                receive = Receive(self, key, array, b"")
                receive.deliver(*self.inbox[key].popleft())
                break
        if receive.error is not None:
            raise receive.error
        return key[0]

    def close(self) -> None:
        """Say to all peers that nothing more comes. What was sent still arrives, and a reader closes its socket when its peer has said
        so, too."""
        for connection in self.peers:
            if connection is not None:
                try:
                    connection.shutdown(socket.SHUT_WR)
                except OSError:
                    pass            # the peer was quicker


def _read_into(connection: socket.socket, view: memoryview) -> None:
    have, count = 0, len(view)
    while have < count:
        got = connection.recv_into(view[have:])
        if not got:
            raise ConnectionError("the connection was closed by the other side")
        have += got


class _Sent:
    """A message that is on its way: nothing to wait for."""

    def done(self) -> bool:
        return True

    def wait(self, deadline: float) -> int:
        return -1


class _FromAny:
    """A message that any rank may send."""

    def __init__(self, engine: SocketEngine, tag: int, array: Any) -> None:
        self.engine, self.tag, self.array = engine, tag, array
        self.source: int | None = None

    def done(self) -> bool:
        if self.source is None:
            try:
                self.wait(0.0)
            except Late:
                return False
        return True

    def wait(self, deadline: float) -> int:
        if self.source is None:
            engine = self.engine
            sources = [rank for rank in engine.ranks if rank != engine.mesh.rank]
            self.source = engine.mesh.take_any(sources, engine.group, self.tag, self.array, deadline)
        return self.engine.ranks.index(self.source)


class _From:
    """A message of one rank; the sender is given by its rank in the group."""

    def __init__(self, engine: SocketEngine, receive: Receive) -> None:
        self.engine, self.receive = engine, receive

    def done(self) -> bool:
        return self.receive.done()

    def wait(self, deadline: float) -> int:
        return self.engine.ranks.index(self.engine.ours(lambda: self.receive.wait(deadline)))


class SocketEngine(Engine):
    """Some of a mesh's processes. `ranks` are those in the world, in the group's order."""

    name = "sockets"

    def __init__(self, mesh: Mesh, ranks: Sequence[int], group: int) -> None:
        self.mesh, self.ranks, self.group = mesh, list(ranks), group
        self.rank, self.size = self.ranks.index(mesh.rank), len(self.ranks)

    def subgroup(self, ranks: Sequence[int], number: int) -> Engine:
        return SocketEngine(self.mesh, [self.ranks[i] for i in ranks], number)

    def ours(self, act: Any) -> Any:
        """What the mesh does, its ranks in errors as the group counts them."""
        try:
            return act()
        except Late as error:
            raise Late([self.ranks.index(rank) for rank in error.ranks]) from None
        except PeerGone as error:
            raise PeerGone(self.ranks.index(error.rank), error.why) from None

    def exchange(self, call: Call, sends: Sequence[tuple[int, Any]], receives: Sequence[tuple[int, Any]]) -> None:
        self.ours(lambda: self._exchange(call, sends, receives))

    def _exchange(self, call: Call, sends: Sequence[tuple[int, Any]], receives: Sequence[tuple[int, Any]]) -> None:
        mesh, text, ranks = self.mesh, call.text.encode(), self.ranks
        posted = [mesh.post(Receive(mesh, (ranks[source], self.group, _COLLECTIVE, call.number), flat_bytes(array), text))
                  for source, array in receives]
        try:
            for to, array in sends:
                mesh.send(ranks[to], self.group, _COLLECTIVE, call.number, text, flat_bytes(array))
            late = []
            for receive in posted:
                try:
                    receive.wait(call.deadline)
                except Late as error:
                    late += error.ranks
            if late:
                raise Late(late)
        finally:
            with mesh.changed:
                for receive in posted:
                    if not receive.ready:
                        mesh.forget(receive)

    def isend(self, array: Any, to: int, tag: int, timeout: float) -> Any:
        self.ours(lambda: self.mesh.send(self.ranks[to], self.group, _DIRECT, tag, b"", flat_bytes(array)))
        return _Sent()

    def irecv(self, array: Any, source: int | None, tag: int, timeout: float) -> Any:
        if source is None:
            return _FromAny(self, tag, flat_bytes(array))
        key = (self.ranks[source], self.group, _DIRECT, tag)
        return _From(self, self.mesh.post(Receive(self.mesh, key, flat_bytes(array), b"")))

    def close(self) -> None:
        if len(self.ranks) == self.mesh.size:
            self.mesh.close()
