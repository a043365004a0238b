"""The few lines of MPI's process management interface (PMI-1) with which MPICH's processes find each other, so that no launcher has to
start them.

Run as a program of its own (``python pmi.py SIZE HOST``, a token on its input) it prints its port, serves one world, and ends with the last
of its processes. MPICH says goodbye in an exit handler of C's, behind everything that Python does at the end, and crashes where nobody
answers: so the end of the input, which is that of the process that started this one, only means that nobody new is waited for.
It imports nothing of this package: it has to be quick to start.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import selectors
import socket
import sys

_ANSWERS = {
    "init": "cmd=response_to_init rc=0 pmi_version=1 pmi_subversion=1",
    "get_maxes": "cmd=maxes rc=0 kvsname_max=256 keylen_max=256 vallen_max=4096",
    "get_appnum": "cmd=appnum rc=0 appnum=0",
    "finalize": "cmd=finalize_ack rc=0",
}


class World:
    """The keys that the processes of one world tell each other, and their barrier."""

    def __init__(self, size: int, token: str) -> None:
        self.size, self.token = size, token.encode()
        # MPICH names the processes' shared memory after it: two worlds of one name on a machine write into one memory.
        self.name = "rushlight_" + hashlib.sha256(self.token).hexdigest()[:16]
        self.keys: dict[str, str] = {}
        self.waiting: list[socket.socket] = []
        self.known: set[socket.socket] = set()

    def line(self, connection: socket.socket, text: bytes) -> bool:
        """Answer one line of a process; False where it is none of ours."""
        if connection not in self.known:
            if not hmac.compare_digest(text.strip(), self.token):
                return False
            self.known.add(connection)
            return True
        said = dict(part.split("=", 1) for part in text.decode(errors="replace").split() if "=" in part)
        if said.get("cmd") == "barrier_in":
            self.barrier(connection)
        else:
            connection.sendall(self.answer(said).encode() + b"\n")
        return True

    def answer(self, said: dict[str, str]) -> str:
        """What a request other than the barrier is answered."""
        command, key = said.get("cmd", ""), said.get("key", "")
        if command in _ANSWERS:
            return _ANSWERS[command]
        if command == "get_my_kvsname":
            return f"cmd=my_kvsname rc=0 kvsname={self.name}"
        if command == "get_universe_size":
            return f"cmd=universe_size rc=0 size={self.size}"
        if command == "put":
            self.keys[key] = said.get("value", "")
            return "cmd=put_result rc=0 msg=success"
        if command == "get":
            value = self.keys.get(key)
            if value is None:
                return f"cmd=get_result rc=-1 msg=key_{key}_not_found value=unknown"
            return f"cmd=get_result rc=0 msg=success value={value}"
        return f"cmd={command}_response rc=-1"

    def barrier(self, connection: socket.socket) -> None:
        """Let everybody go on when all have come."""
        self.waiting.append(connection)
        if len(self.waiting) == self.size:
            waiting, self.waiting = self.waiting, []
            for each in waiting:
                each.sendall(b"cmd=barrier_out rc=0\n")


def serve(world: World, listener: socket.socket, parent: int | None) -> None:
    """Until all processes have gone; without the parent, until those that are here have."""
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    if parent is not None:
        selector.register(parent, selectors.EVENT_READ)
    parts: dict[socket.socket, bytes] = {}
    came = 0
    while True:
        for key, _ in selector.select():
            if key.fileobj is listener:
                connection, _ = listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                selector.register(connection, selectors.EVENT_READ)
                parts[connection] = b""
                continue
            if key.fileobj == parent:
                selector.unregister(parent)
                selector.unregister(listener)
                listener.close()
                if not parts:
                    return
                continue
            connection = key.fileobj  # type: ignore[assignment]
            try:
                data = connection.recv(65536)
                *lines, parts[connection] = (parts[connection] + data).split(b"\n")
                good = bool(data) and all(list(map(functools.partial(world.line, connection), lines)))
            except OSError:
                good = False
            if not good:
                selector.unregister(connection)
                connection.close()
                del parts[connection]
                came += connection in world.known
                if came == world.size or (not parts and listener.fileno() < 0):
                    return


def main() -> None:
    """The program."""
    size, host, token = int(sys.argv[1]), sys.argv[2], sys.stdin.readline().strip()
    listener = socket.create_server((host, 0), backlog=1024)
    print(listener.getsockname()[1], flush=True)
    serve(World(size, token), listener, sys.stdin.fileno())


if __name__ == "__main__":
    main()
