"""The files of a checkpoint: ``.metadata``, a JSON text that names every chunk of every tensor, and per process a file of their bytes.

A save writes new files under new names; the last step replaces ``.metadata``, in one move, and only then the old files go. So whoever is
killed at any moment leaves the old checkpoint or the new one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

import rushlight as torch

from ...homes import settle
from ...kind import kind_of
from ...tensor import wrap

__all__ = ["FileSystemReader", "FileSystemWriter"]

_VERSION = "rushlight 1"


def region(shape: Sequence[int], at: Sequence[int], size: Sequence[int], other: Sequence[int], extent: Sequence[int]) -> Any:
    """Where two boxes meet: (slices of the first, slices of the second); None where they do not."""
    begins = [max(a, b) for a, b in zip(at, other, strict=True)]
    ends = [min(a + n, b + m) for a, n, b, m in zip(at, size, other, extent, strict=True)]
    if any(e <= b for b, e in zip(begins, ends, strict=True)):
        return None
    return (
        tuple(slice(b - a, e - a) for a, b, e in zip(at, begins, ends, strict=True)),
        tuple(slice(b - a, e - a) for a, b, e in zip(other, begins, ends, strict=True)),
    )


class FileSystemWriter:
    """Writes a checkpoint into a folder."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        single_file_per_rank: bool = True,
        sync_files: bool = True,
        thread_count: int = 1,
        per_thread_copy_ahead: int = 10_000_000,
        cache_staged_state_dict: bool = False,
        overwrite: bool = True,
    ) -> None:
        self.path, self.sync_files, self.overwrite = Path(path), sync_files, overwrite

    def begin(self) -> None:
        """Make the folder; CheckpointException where there is a checkpoint that may not be replaced."""
        self.path.mkdir(parents=True, exist_ok=True)
        if not self.overwrite and (self.path / ".metadata").exists():
            raise RuntimeError(f"{self.path} holds a checkpoint, and overwrite=False")

    def write(self, name: str, items: Sequence[tuple[dict[str, Any], Any]]) -> list[dict[str, Any]]:
        """Write one process's chunks (arrays, or bytes); the entries with their places in the file."""
        found, at = [], 0
        with open(self.path / name, "wb") as file:
            for entry, value in items:
                data = value if isinstance(value, bytes) else np.ascontiguousarray(value).reshape(-1).view(np.uint8).data
                file.write(data)
                length = len(data)
                found.append({**entry, "file": name, "at": at, "length": length})
                at += length
            if self.sync_files:
                file.flush()
                os.fsync(file.fileno())
        return found

    def commit(self, metadata: dict[str, Any]) -> None:
        """Make what has been written the checkpoint, and let the files of the one before go."""
        files = {entry["file"] for entry in metadata["entries"]}
        new = self.path / f".metadata.{metadata['save']}"
        with open(new, "w", encoding="utf-8") as file:
            json.dump({"version": _VERSION, **metadata}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, self.path / ".metadata")
        folder = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        for each in self.path.iterdir():
            if (each.name.endswith(".distcp") and each.name not in files) or each.name.startswith(".metadata."):
                each.unlink(missing_ok=True)


class FileSystemReader:
    """Reads a checkpoint from a folder."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._entries: dict[str, list[dict[str, Any]]] | None = None

    def entries(self) -> dict[str, list[dict[str, Any]]]:
        """The chunks, by name."""
        if self._entries is None:
            data = (self.path / ".metadata").read_bytes()
            try:
                found = json.loads(data)
            except (UnicodeDecodeError, ValueError):
                raise RuntimeError(
                    f"{self.path} holds a checkpoint that PyTorch wrote, which rushlight cannot read: turn it into a file with "
                    "torch.distributed.checkpoint.format_utils.dcp_to_torch_save there"
                ) from None
            if found.get("version") != _VERSION:
                raise RuntimeError(f"{self.path} holds a checkpoint of the form {found.get('version')!r}, not {_VERSION!r}")
            self._entries = {}
            for entry in found["entries"]:
                self._entries.setdefault(entry["name"], []).append(entry)
        return self._entries

    def names(self) -> list[str]:
        """What the checkpoint holds."""
        return list(self.entries())

    def _bytes(self, entry: dict[str, Any]) -> bytes:
        with open(self.path / entry["file"], "rb") as file:
            file.seek(entry["at"])
            data = file.read(entry["length"])
        if len(data) != entry["length"]:
            raise RuntimeError(f"{self.path / entry['file']} is too short: it should have {entry['length']} bytes at {entry['at']}")
        return data

    def read_object(self, name: str) -> Any:
        """A value that is no tensor."""
        entry = self._of(name, None)[0]
        return torch.load(BytesIO(self._bytes(entry)), weights_only=True)

    def _of(self, name: str, shape: Sequence[int] | None) -> list[dict[str, Any]]:
        found = self.entries().get(name)
        if found is None:
            raise RuntimeError(f"Missing key in checkpoint state_dict: {name}.")
        if ("shape" in found[0]) != (shape is not None):
            raise RuntimeError(f"{name} is {'a tensor' if 'shape' in found[0] else 'no tensor'} in the checkpoint")
        if shape is not None and found[0]["shape"] != list(shape):
            raise ValueError(f"Size mismatch between saved {found[0]['shape']} and current: {list(shape)} for {name}")
        return found

    def read_tensor(self, name: str, local: Any, shape: Sequence[int], at: Sequence[int]) -> None:
        """Fill a local tensor, which is the part of the whole of this shape that begins at `at`."""
        filled = 0
        for entry in self._of(name, shape):
            both = region(shape, at, local.shape, entry["offset"], entry["size"])
            if both is None:
                continue
            kind = kind_of(getattr(torch, entry["dtype"]))
            chunk = np.frombuffer(self._bytes(entry), kind.np).reshape(entry["size"])[both[1]]
            part = local[both[0]] if both[0] else local
            part.copy_(wrap(np.array(chunk), kind))
            filled += chunk.size
        if filled != local.numel():
            raise RuntimeError(f"{name}: the checkpoint has {filled} of the {local.numel()} elements that this process asks for")


def writer_of(checkpoint_id: Any, given: Any) -> FileSystemWriter:
    """The writer given, or one for the folder."""
    if given is None and checkpoint_id is None:
        raise ValueError("Must specify either checkpoint_id or storage_writer")
    if given is not None and not isinstance(given, FileSystemWriter):
        raise NotImplementedError(f"storage_writer has to be a FileSystemWriter, not {type(given).__name__}")
    return FileSystemWriter(checkpoint_id) if given is None else given


def reader_of(checkpoint_id: Any, given: Any) -> FileSystemReader:
    """The reader given, or one for the folder."""
    if given is None and checkpoint_id is None:
        raise ValueError("Must specify either checkpoint_id or storage_reader")
    if given is not None and not isinstance(given, FileSystemReader):
        raise NotImplementedError(f"storage_reader has to be a FileSystemReader, not {type(given).__name__}")
    return FileSystemReader(checkpoint_id) if given is None else given


settle("distributed.checkpoint.filesystem", globals())
