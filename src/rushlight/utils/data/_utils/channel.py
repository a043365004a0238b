"""`Channel`: objects between two processes, over one duplex pipe.

A message is a pickle with its large buffers (the memory of tensors and arrays) kept outside of it. A small message goes through the pipe. A
large one is written to an anonymous file in memory, whose descriptor is passed through the pipe: the sender never waits for the
receiver, so a worker goes on with its next batch, and when a process dies the kernel frees the memory. Where descriptors can't be passed
(Windows), large messages go through the pipe as well.
"""

from __future__ import annotations

import io
import os
import pickle
import struct
import tempfile
from multiprocessing import reduction
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from ....kind import cpu_kind
from ....tensor import Tensor, wrap
from ....vocabulary import Array

__all__ = ["Channel"]

_CAN_PASS_FILES = hasattr(reduction, "recv_handle") and os.name == "posix"
_COUNT = struct.Struct("!?I")  # in a file of its own?, how many parts follow
_SIZE = struct.Struct("!Q")


class Channel:
    """One end. `limit` is the size in bytes up to which a message goes through the pipe itself."""

    def __init__(self, connection: Connection, limit: int = 4096) -> None:
        self.connection = connection
        self.limit = limit

    def fileno(self) -> int:
        """For ``multiprocessing.connection.wait``."""
        return self.connection.fileno()

    def poll(self, timeout: float = 0.0) -> bool:
        """Whether something can be received (a message, or the other end's death)."""
        return self.connection.poll(timeout)

    def close(self) -> None:
        """Close this end."""
        self.connection.close()

    def send(self, value: str | tuple[Any, ...]) -> None:
        """Send an object. Nothing has been sent when it raises because the object can't be pickled."""
        parts = _dumps(value)
        sizes = [part.nbytes for part in parts]
        outside = _CAN_PASS_FILES and sum(sizes) > self.limit
        header = _COUNT.pack(outside, len(parts)) + b"".join(map(_SIZE.pack, sizes))
        if not outside:
            self.connection.send_bytes(b"".join([header, *parts]))
            return
        file = _anonymous_file()
        try:
            for part in parts:
                _write(file, part)
            self.connection.send_bytes(header)
            reduction.send_handle(self.connection, file, None)
        finally:
            os.close(file)

    def receive(self) -> tuple[Any, ...]:
        """The next object; waits for it. EOFError or OSError where the other end is gone."""
        message = bytearray(self.connection.recv_bytes())
        outside, count = _COUNT.unpack_from(message)
        start = _COUNT.size + count * _SIZE.size
        sizes = [size for (size,) in _SIZE.iter_unpack(message[_COUNT.size:start])]
        parts = self._receive_file(sizes) if outside else _cut(memoryview(message)[start:], sizes)
        return pickle.loads(parts[0], buffers=parts[1:])

    def _receive_file(self, sizes: list[int]) -> list[Any]:
        file = reduction.recv_handle(self.connection)
        try:
            parts, offset = [], 0
            for size in sizes:
                part = np.empty(size, np.uint8)
                _read(file, memoryview(part), offset)
                parts.append(part)
                offset += size
            return parts
        finally:
            os.close(file)


def _dumps(value: str | tuple[Any, ...]) -> list[memoryview]:
    stream, buffers = io.BytesIO(), []
    pickler = reduction.ForkingPickler(stream, 5, True, buffers.append)
    pickler.dispatch_table[Tensor] = _reduce_tensor
    pickler.dump(value)
    return [stream.getbuffer(), *[buffer.raw() for buffer in buffers]]


def _reduce_tensor(tensor: Tensor) -> Any:
    """A tensor by its elements alone. (Its own reduction takes the whole storage along, which for a row of a dataset can be gigabytes.)"""
    if tensor.requires_grad and not tensor.is_leaf:
        raise RuntimeError("a tensor with a gradient history can't go to another process, because the graph stays here: send "
                           "tensor.detach()")
    if tensor.__dict__ or tensor._kind.device.type != "cpu" or not tensor._kind.np.isbuiltin:
        return tensor.__reduce_ex__(5)
    return _rebuild_tensor, (tensor._a, tensor.requires_grad)


def _rebuild_tensor(array: Array, requires_grad: bool) -> Tensor:
    tensor = wrap(array, cpu_kind(array))
    return tensor.requires_grad_() if requires_grad else tensor


def _cut(body: memoryview, sizes: list[int]) -> list[memoryview]:
    parts, offset = [], 0
    for size in sizes:
        parts.append(body[offset:offset + size])
        offset += size
    return parts


def _anonymous_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("rushlight-batch")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _write(file: int, part: memoryview) -> None:
    done = 0
    while done < part.nbytes:
        done += os.write(file, part[done:done + (1 << 30)])


def _read(file: int, part: memoryview, offset: int) -> None:
    done = 0
    while done < part.nbytes:
        count = os.preadv(file, [part[done:done + (1 << 30)]], offset + done)
        if not count:
            raise EOFError("a batch from a worker process ended early")
        done += count
