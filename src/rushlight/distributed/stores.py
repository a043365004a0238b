"""Stores: the small tables of keys and values through which processes find each other.

`Table` is one in this process; a `HashStore` is that, a `TCPStore` serves one over sockets, a `FileStore` keeps one in a file. Nothing
that arrives is
unpickled: requests and answers are lists of byte strings.
"""

from __future__ import annotations

import errno
import os
import struct
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from datetime import timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..homes import settle
from .errors import DistNetworkError, DistStoreError, QueueEmptyError

if TYPE_CHECKING:
    import socket

__all__ = ["Store", "HashStore", "TCPStore", "FileStore", "PrefixStore"]

_FOREVER = timedelta(days=365)


def seconds(timeout: Any) -> float:
    """A timeout in seconds; TypeError for anything but a timedelta."""
    if not isinstance(timeout, timedelta):
        raise TypeError(f"timeout has to be a datetime.timedelta, not {type(timeout).__name__}")
    return timeout.total_seconds()


def _bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    raise TypeError(f"a store keeps str or bytes, not {type(value).__name__}")


def _late(keys: Sequence[str], timeout: float) -> DistStoreError:
    return DistStoreError(f"wait timeout after {timeout * 1000:.0f}ms, keys: {', '.join(keys)}: no process has set them. Is a rank "
                          "missing, or was "
                          "another address given to it?")


class Table:
    """Keys and values of one process, and threads that wait for them."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.queues: dict[str, deque[bytes]] = defaultdict(deque)
        self.changed = threading.Condition()

    def set(self, key: str, value: bytes) -> None:
        with self.changed:
            self.values[key] = value
            self.changed.notify_all()

    def get(self, key: str, timeout: float) -> bytes:
        with self.changed:
            if not self.changed.wait_for(lambda: key in self.values, timeout):
                raise _late([key], timeout)
            return self.values[key]

    def wait(self, keys: Sequence[str], timeout: float) -> None:
        with self.changed:
            if not self.changed.wait_for(lambda: all(key in self.values for key in keys), timeout):
                raise _late([key for key in keys if key not in self.values], timeout)

    def check(self, keys: Sequence[str]) -> bool:
        with self.changed:
            return all(key in self.values for key in keys)

    def add(self, key: str, amount: int) -> int:
        with self.changed:
            total = int(self.values.get(key, b"0")) + amount
            self.values[key] = str(total).encode()
            self.changed.notify_all()
            return total

    def append(self, key: str, value: bytes) -> None:
        with self.changed:
            self.values[key] = self.values.get(key, b"") + value
            self.changed.notify_all()

    def compare_set(self, key: str, expected: bytes, desired: bytes) -> bytes:
        with self.changed:
            old = self.values.get(key)
            if old == expected or (old is None and not expected):
                self.values[key] = desired
                self.changed.notify_all()
            return self.values.get(key, expected)

    def delete_key(self, key: str) -> bool:
        with self.changed:
            return self.values.pop(key, None) is not None

    def num_keys(self) -> int:
        return len(self.values)

    def list_keys(self) -> list[str]:
        with self.changed:
            return list(self.values)

    def queue_push(self, key: str, value: bytes) -> None:
        with self.changed:
            self.queues[key].append(value)
            self.changed.notify_all()

    def queue_pop(self, key: str, timeout: float) -> bytes:
        with self.changed:
            if not self.changed.wait_for(lambda: self.queues[key], timeout):
                raise QueueEmptyError(f"queue {key} is empty")
            return self.queues[key].popleft()

    def queue_len(self, key: str) -> int:
        with self.changed:
            return len(self.queues[key])


class Store:
    """Keys and values that several processes see. Values are str or bytes when set, bytes when read."""

    def __init__(self) -> None:
        self._timeout = timedelta(seconds=300)

    # What a store has to do. Times are in seconds here.

    def _do(self, name: str, *args: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has to say how {name} is done: subclass HashStore, FileStore, TCPStore or "
                                  "PrefixStore")

    @property
    def timeout(self) -> timedelta:
        """How long `get` and `wait` wait."""
        return self._timeout

    def set_timeout(self, timeout: timedelta) -> None:
        """Set how long `get` and `wait` wait."""
        seconds(timeout)
        self._timeout = timeout

    def set(self, key: str, value: Any) -> None:
        """Set a key's value (str or bytes)."""
        self._do("set", key, _bytes(value))

    def get(self, key: str) -> bytes:
        """A key's value, as soon as it is there; DistStoreError when it is not in time."""
        return self._do("get", key, seconds(self._timeout))

    def add(self, key: str, amount: int) -> int:
        """Add to a counter, which starts at 0; its new value."""
        return self._do("add", key, int(amount))

    def append(self, key: str, value: Any) -> None:
        """Put bytes behind a key's value."""
        self._do("append", key, _bytes(value))

    def check(self, keys: Sequence[str]) -> bool:
        """Whether all keys are there."""
        return self._do("check", list(keys))

    def wait(self, keys: Sequence[str], timeout: timedelta | None = None) -> None:
        """Wait until all keys are there; DistStoreError when they are not in time."""
        self._do("wait", list(keys), seconds(self._timeout if timeout is None else timeout))

    def compare_set(self, key: str, expected_value: Any, desired_value: Any) -> bytes:
        """Set a key whose value is the expected one (or "" and it is not there); the value it has then."""
        return self._do("compare_set", key, _bytes(expected_value), _bytes(desired_value))

    def delete_key(self, key: str) -> bool:
        """Forget a key; whether it was there."""
        return self._do("delete_key", key)

    def num_keys(self) -> int:
        """How many keys there are."""
        return self._do("num_keys")

    def list_keys(self) -> list[str]:
        """The keys."""
        return self._do("list_keys")

    def multi_get(self, keys: Sequence[str]) -> list[bytes]:
        """The values of several keys."""
        return [self.get(key) for key in keys]

    def multi_set(self, keys: Sequence[str], values: Sequence[Any]) -> None:
        """Set several keys."""
        for key, value in zip(keys, values, strict=True):
            self.set(key, value)

    def has_extended_api(self) -> bool:
        """Whether `append`, `multi_get` and `multi_set` are there: yes."""
        return True

    def queue_push(self, key: str, value: Any) -> None:
        """Put a value at a queue's end."""
        self._do("queue_push", key, _bytes(value))

    def queue_pop(self, key: str, block: bool = True) -> bytes:
        """Take a queue's first value; QueueEmptyError where there is none (in time)."""
        return self._do("queue_pop", key, seconds(self._timeout) if block else 0.0)

    def queue_len(self, key: str) -> int:
        """How many values a queue has."""
        return self._do("queue_len", key)

    def clone(self) -> Store:
        """Another object of the same store."""
        return self


class HashStore(Store):
    """A store inside this process, for threads and worlds of one."""

    def __init__(self) -> None:
        super().__init__()
        self._table = Table()

    def _do(self, name: str, *args: Any) -> Any:
        return getattr(self._table, name)(*args)


class PrefixStore(Store):
    """Another store, with a prefix before every key."""

    def __init__(self, prefix: str, store: Store) -> None:
        super().__init__()
        if not isinstance(store, Store):
            raise TypeError(f"PrefixStore needs a Store, not {type(store).__name__}")
        self.prefix, self._store = prefix, store

    @property
    def underlying_store(self) -> Store:
        """The store whose keys get the prefix."""
        return self._store

    @property
    def timeout(self) -> timedelta:
        """That of the store below."""
        return self._store.timeout

    def set_timeout(self, timeout: timedelta) -> None:
        """Set that of the store below."""
        self._store.set_timeout(timeout)

    def _under(self, key: Any) -> Any:
        return [self._under(each) for each in key] if isinstance(key, list) else f"{self.prefix}/{key}"

    def get(self, key: str) -> bytes:
        """A key's value, as soon as it is there."""
        return self._store.get(self._under(key))

    def wait(self, keys: Sequence[str], timeout: timedelta | None = None) -> None:
        """Wait until all keys are there."""
        self._store.wait(self._under(list(keys)), *(() if timeout is None else (timeout,)))

    def _do(self, name: str, *args: Any) -> Any:
        if name in ("num_keys", "list_keys"):
            return self._store._do(name)
        return self._store._do(name, self._under(args[0]), *args[1:])

    def clone(self) -> Store:
        """Another object of the same store."""
        return PrefixStore(self.prefix, self._store.clone())


# --- over sockets -------------------------------------------------------------------------------------------------------------------------

_NUMBER = struct.Struct("!q")
_TIME = struct.Struct("!d")


def _network() -> Any:
    """The module socket: a third of the time that importing torch.distributed would take."""
    return import_module("socket")


def read_exactly(connection: socket.socket, count: int) -> bytes:
    """So many bytes of a connection; ConnectionError where it ends before."""
    parts = bytearray(count)
    view, have = memoryview(parts), 0
    while have < count:
        got = connection.recv_into(view[have:])
        if not got:
            raise ConnectionError("the connection was closed by the other side")
        have += got
    return bytes(parts)


def send_parts(connection: socket.socket, parts: Sequence[bytes]) -> None:
    """Send a list of byte strings."""
    connection.sendall(b"".join([_NUMBER.pack(len(parts)), *(piece for part in parts for piece in (_NUMBER.pack(len(part)), part))]))


def read_parts(connection: socket.socket) -> list[bytes]:
    """The list of byte strings that `send_parts` sent; ValueError for what cannot be one."""
    count = _NUMBER.unpack(read_exactly(connection, 8))[0]
    if not 0 <= count <= 1 << 20:
        raise ValueError("this is no message of a store")
    parts = []
    for _ in range(count):
        size = _NUMBER.unpack(read_exactly(connection, 8))[0]
        if not 0 <= size <= 1 << 31:
            raise ValueError("this is no message of a store")
        parts.append(read_exactly(connection, size))
    return parts


def _text(value: bytes) -> str:
    return value.decode(errors="surrogateescape")


def _number(value: bytes) -> int:
    return _NUMBER.unpack(value)[0]


def _time(value: bytes) -> float:
    return _TIME.unpack(value)[0]


def _keys(value: bytes) -> list[str]:
    return _text(value).split("\0") if value else []


def _plain(value: bytes) -> bytes:
    return value


def _coded(value: Any) -> bytes:
    """An argument or a result as bytes."""
    if value is None:
        return b""
    if isinstance(value, str):
        return value.encode(errors="surrogateescape")
    if isinstance(value, list):
        return "\0".join(value).encode(errors="surrogateescape")
    if isinstance(value, int):
        return _NUMBER.pack(value)
    return _TIME.pack(value) if isinstance(value, float) else value


_REQUESTS: dict[str, tuple[tuple[Callable[[bytes], Any], ...], Callable[[bytes], Any]]] = {
    "set": ((_text, _plain), lambda _: None), "get": ((_text, _time), _plain), "add": ((_text, _number), _number),
    "append": ((_text, _plain), lambda _: None), "check": ((_keys,), lambda b: bool(_number(b))), "wait": ((_keys, _time), lambda _: None),
    "compare_set": ((_text, _plain, _plain), _plain), "delete_key": ((_text,), lambda b: bool(_number(b))), "num_keys": ((), _number),
    "list_keys": ((), _keys), "queue_push": ((_text, _plain), lambda _: None), "queue_pop": ((_text, _time), _plain),
    "queue_len": ((_text,), _number),
}
_ERRORS: dict[bytes, type[Exception]] = {b"late": DistStoreError, b"empty": QueueEmptyError}


class Server:
    """A table, served on a port. One thread per connection; all of them end with the process."""

    def __init__(self, host: str, port: int, listener: socket.socket | None = None) -> None:
        self.table = Table()
        if listener is None:
            try:
                listener = _network().create_server(("", port), backlog=1024)
            except OSError as error:
                raise _no_port(port, error) from None
        self.listener = listener
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, name="store", daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return          # closed
            connection.setsockopt(_network().IPPROTO_TCP, _network().TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(connection,), name="store's client", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                while True:
                    name, *values = read_parts(connection)
                    send_parts(connection, self._answer(name.decode(errors="replace"), values))
            except (OSError, ValueError, struct.error):
                return          # gone, or somebody who speaks another language

    def _answer(self, name: str, values: list[bytes]) -> list[bytes]:
        readers, _ = _REQUESTS.get(name, ((), None))
        try:
            if name not in _REQUESTS or len(readers) != len(values):
                raise ValueError(f"a store has no request {name!r} of {len(values)} values")
            return [b"ok", _coded(getattr(self.table, name)(*(read(value) for read, value in zip(readers, values, strict=True))))]
        except QueueEmptyError as error:
            return [b"empty", str(error).encode()]
        except DistStoreError as error:
            return [b"late", str(error).encode()]
        except Exception as error:
            return [b"wrong", f"{type(error).__name__}: {error}".encode()]

    def close(self) -> None:
        """Take no more connections."""
        self.listener.close()


def _no_port(port: int, error: OSError) -> DistNetworkError:
    what = "is in use by another program: choose another MASTER_PORT (0 lets the system choose, `torchrun --standalone` does)" \
        if error.errno == errno.EADDRINUSE else f"can't be opened: {error.strerror}"
    name = errno.errorcode.get(error.errno or 0, "error")
    return DistNetworkError(f"The server socket has failed to listen on any local network address. port {port} {what} ({name})")


class TCPStore(Store):
    """A store that one process (is_master) serves and all connect to. Every thread has a connection of its own, so a waiting one holds up
    no other.

    port         0: the system chooses, see `.port`
    world_size   with wait_for_workers: how many have to have connected before the master goes on
    use_libuv    PyTorch's choice of event loop: either means the same here
    """

    def __init__(self, host_name: str, port: int, world_size: int | None = None, is_master: bool = False,
                 timeout: timedelta = timedelta(seconds=300),
                 wait_for_workers: bool = True, multi_tenant: bool = False, master_listen_fd: int | None = None,
                 use_libuv: bool = True) -> None:
        super().__init__()
        self.set_timeout(timeout)
        if not 0 <= port <= 65535:
            raise ValueError(f"port has to be in 0 .. 65535, not {port}")
        self.host, self._connections, self._process = host_name, threading.local(), os.getpid()
        self._server = None
        if is_master:
            self._server = _serve(host_name, port, multi_tenant, master_listen_fd)
            port = self._server.port
        self.port = port
        self._connection()
        if wait_for_workers and world_size is not None and world_size > 1:
            self._wait_for_workers(world_size, is_master)

    def _wait_for_workers(self, world_size: int, is_master: bool) -> None:
        here = self.add("workers", 1)
        end = time.monotonic() + seconds(self._timeout)
        while is_master and here < world_size:
            if time.monotonic() > end:
                raise DistStoreError(f"Timed out after {seconds(self._timeout):.0f} seconds waiting for clients. {here}/{world_size} "
                                     "clients joined: "
                                     "the others were not started, or were given another address.")
            time.sleep(0.01)
            here = self.add("workers", 0)

    def _connection(self) -> socket.socket:
        found = getattr(self._connections, "socket", None)
        if found is None or self._process != os.getpid():
            if self._process != os.getpid():        # a forked child must not speak through its parent's
                self._connections, self._process = threading.local(), os.getpid()
            found = self._connections.socket = connect(self.host, self.port, seconds(self._timeout))
        return found

    def _do(self, name: str, *args: Any) -> Any:
        connection = self._connection()
        wait = args[-1] if name in ("get", "wait", "queue_pop") else 0.0
        connection.settimeout(wait + 60.0)
        try:
            send_parts(connection, [name.encode(), *map(_coded, args)])
            status, value = read_parts(connection)
        except (OSError, ValueError) as error:
            self._connections.socket = None
            raise DistNetworkError(f"the store at {self.host}:{self.port} is gone ({error}): the process that "
                                   "served it has ended") from None
        if status != b"ok":
            raise _ERRORS.get(status, RuntimeError)(value.decode(errors="replace"))
        return _REQUESTS[name][1](value)

    def clone(self) -> Store:
        """Another object of the same store."""
        return TCPStore(self.host, self.port, timeout=self._timeout, wait_for_workers=False)


_SERVERS: dict[int, Server] = {}       # of this process, for several stores on one port (multi_tenant)


def _serve(host: str, port: int, multi_tenant: bool, listen_fd: int | None) -> Server:
    found = _SERVERS.get(port) if multi_tenant and port else None
    if found is None:
        found = Server(host, port, None if listen_fd is None else _network().socket(fileno=listen_fd))
        if multi_tenant:
            _SERVERS[found.port] = found
    return found


def connect(host: str, port: int, timeout: float) -> socket.socket:
    """A connection, tried again until the timeout because the other side may start later; DistNetworkError then."""
    end, pause = time.monotonic() + timeout, 0.005
    while True:
        try:
            connection = _network().create_connection((host, port), timeout=max(0.1, min(10.0, end - time.monotonic())))
            connection.setsockopt(_network().IPPROTO_TCP, _network().TCP_NODELAY, 1)
            return connection
        except OSError as error:
            if time.monotonic() + pause > end:
                raise DistNetworkError(f"The client socket has timed out after {timeout * 1000:.0f}ms while trying to connect to ({host}, "
                                       f"{port}): "
                                       f"{error}. Does rank 0 run, and is this its MASTER_ADDR and MASTER_PORT?") from None
            time.sleep(pause)
            pause = min(pause * 1.5, 0.25)


# --- in a file ----------------------------------------------------------------------------------------------------------------------------


class FileStore(Store):
    """A store in a file that all processes see. Every change is one record behind the others, under a lock; the file is never shortened.

    world_size  how many processes use it: the last one that lets go removes the file. -1: nobody does
    """

    def __init__(self, file_name: str, world_size: int = -1) -> None:
        super().__init__()
        self.path, self._world_size = os.fspath(file_name), world_size
        self._read, self._table = 0, Table()
        self._lock = threading.Lock()
        self._users("+1")

    def _users(self, change: str) -> None:
        self._changed("add", "\0users", int(change))

    def __del__(self) -> None:
        try:
            self._users("-1")
            left = int(self._table.values.get("\0users", b"0"))
            if self._world_size > 0 and left <= 0:
                os.unlink(self.path)
        except Exception:
            pass                # the file is gone already, or Python ends

    def _changed(self, name: str, *args: Any) -> Any:
        """Do something to the table as it is now, and write it behind the others."""
        import fcntl
        with self._lock, open(self.path, "a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            self._catch_up(file)
            result = getattr(self._table, name)(*args)
            record = [name.encode(), *map(_coded, args)]
            file.write(b"".join([_NUMBER.pack(len(record)), *(piece for part in record for piece in (_NUMBER.pack(len(part)), part))]))
            file.flush()
            self._read = file.tell()
        return result

    def _catch_up(self, file: Any) -> None:
        file.seek(self._read)
        data, at = file.read(), 0
        while at < len(data):
            count, at = _NUMBER.unpack_from(data, at)[0], at + 8
            parts = []
            for _ in range(count):
                size = _NUMBER.unpack_from(data, at)[0]
                parts.append(data[at + 8:at + 8 + size])
                at += 8 + size
            name = parts[0].decode()
            getattr(self._table, name)(*(read(value) for read, value in zip(_REQUESTS[name][0], parts[1:], strict=True)))
        self._read += len(data)

    def _look(self) -> None:
        import fcntl
        with self._lock, open(self.path, "a+b") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            self._catch_up(file)

    def _do(self, name: str, *args: Any) -> Any:
        if name in ("get", "wait", "queue_pop"):
            return self._waited(name, *args)
        if name in ("check", "num_keys", "list_keys", "queue_len"):
            self._look()
            found = getattr(self._table, name)(*args)
            if name == "num_keys":
                return found - 1                # the count of users is ours
            return [key for key in found if key[:1] != "\0"] if name == "list_keys" else found
        return self._changed(name, *args)

    def _waited(self, name: str, key: Any, timeout: float) -> Any:
        end, pause = time.monotonic() + timeout, 0.001
        while True:
            try:
                if name == "queue_pop":
                    return self._changed(name, key, 0.0)
                self._look()
                return getattr(self._table, name)(key, 0.0)
            except DistStoreError as error:
                if time.monotonic() > end:
                    keys = key if isinstance(key, list) else [key]
                    raise error if name == "queue_pop" else _late(keys, timeout) from None
            time.sleep(pause)
            pause = min(pause * 1.5, 0.05)


settle("distributed", globals())
