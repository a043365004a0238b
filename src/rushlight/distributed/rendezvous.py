"""``torch.distributed.rendezvous``: where the processes of a world meet: a store, the rank and the world's size, from an address."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlparse

from .stores import FileStore, Store, TCPStore

__all__ = ["register_rendezvous_handler", "rendezvous"]

_HANDLERS: dict[str, Callable[..., Iterator[tuple[Store, int, int]]]] = {}
_DEFAULT = timedelta(minutes=5)


def register_rendezvous_handler(scheme: str, handler: Callable[..., Iterator[tuple[Store, int, int]]]) -> None:
    """Have addresses of a scheme served by ``handler(url)``, which yields (store, rank, world size)."""
    if scheme in _HANDLERS:
        raise RuntimeError(f"Rendezvous handler for {scheme}:// already registered")
    _HANDLERS[scheme] = handler


def rendezvous(url: str, rank: int = -1, world_size: int = -1, **kwargs: Any) -> Iterator[tuple[Store, int, int]]:
    """(store, rank, world size) of an address: env://, tcp://host:port, file:///path, or a registered scheme."""
    if not isinstance(url, (str, bytes)):
        raise RuntimeError(f"`url` must be a string. {type(url)}: {url}")
    if not isinstance(rank, int):
        raise RuntimeError(f"`rank` must be an integer. {rank}")
    if not isinstance(world_size, int):
        raise RuntimeError(f"`world_size` must be an integer. {world_size}")
    parsed = urlparse(os.fsdecode(url))
    handler = _HANDLERS.get(parsed.scheme)
    if handler is None:
        raise RuntimeError(f"No rendezvous handler for {parsed.scheme}://")
    said = {name: values[-1] for name, values in parse_qs(parsed.query).items()}
    if rank != -1:
        said["rank"] = str(rank)
    if world_size != -1:
        said["world_size"] = str(world_size)
    return handler(parsed, said, **kwargs) if handler in _OWN else handler(parsed._replace(query="&".join(f"{k}={v}" for k,
                                                                                                          v in said.items())).geturl(),
                                                                          **kwargs)


def _wrong(text: str) -> ValueError:
    return ValueError("Error initializing torch.distributed using " + text)


def _needs(said: dict[str, str], scheme: str) -> tuple[int, int]:
    for name in ("rank", "world_size"):
        if name not in said:
            raise _wrong(f"{scheme}:// rendezvous: {name.replace('_', ' ')} parameter missing")
    return int(said["rank"]), int(said["world_size"])


def _in_range(rank: int, size: int) -> None:
    if size < 1 or not 0 <= rank < size:
        raise ValueError(f"rank has to be in 0 .. world_size - 1, but rank is {rank} and world_size {size}")


def _meet(host: str, port: int, rank: int, size: int, timeout: timedelta, agent: bool = False) -> Store:
    return TCPStore(host, port, size, rank == 0 and not agent, timeout, wait_for_workers=False, multi_tenant=True)


def _tcp(parsed: Any, said: dict[str, str], timeout: timedelta = _DEFAULT, **kwargs: Any) -> Iterator[tuple[Store, int, int]]:
    if parsed.port is None or not parsed.hostname:
        raise _wrong("tcp:// rendezvous: port number missing")
    rank, size = _needs(said, "tcp")
    _in_range(rank, size)
    yield _meet(parsed.hostname, parsed.port, rank, size, timeout), rank, size
    raise RuntimeError("Unable to perform re-rendezvous using tcp:// method")


def _file(parsed: Any, said: dict[str, str], **kwargs: Any) -> Iterator[tuple[Store, int, int]]:
    path = parsed.netloc + parsed.path
    if not path:
        raise _wrong("file:// rendezvous: path missing")
    rank, size = _needs(said, "file")
    _in_range(rank, size)
    yield FileStore(path, size), rank, size
    raise RuntimeError("Unable to perform rerendezvous using file:// method")


def from_environment(name: str) -> str:
    """An environment variable that env:// needs; ValueError where it is not set."""
    value = os.environ.get(name)
    if value is None:
        raise _wrong(f"env:// rendezvous: environment variable {name} expected, but not set: start the program with torchrun (or mpiexec), "
                     "or give "
                     "init_process_group a rank and a world_size")
    return value


def _env(parsed: Any, said: dict[str, str], timeout: timedelta = _DEFAULT, **kwargs: Any) -> Iterator[tuple[Store, int, int]]:
    rank = int(said["rank"] if "rank" in said else from_environment("RANK"))
    size = int(said["world_size"] if "world_size" in said else from_environment("WORLD_SIZE"))
    _in_range(rank, size)
    host, port = from_environment("MASTER_ADDR"), int(from_environment("MASTER_PORT"))
    agent = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    yield _meet(host, port, rank, size, timeout, agent), rank, size
    raise RuntimeError("Unable to perform re-rendezvous using env:// method")


_OWN = (_tcp, _file, _env)
for _scheme, _handler in (("tcp", _tcp), ("file", _file), ("env", _env)):
    register_rendezvous_handler(_scheme, _handler)
