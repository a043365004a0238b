"""The zip archives of ``torch.save``: uncompressed records whose data begin at multiples of 64 bytes, and files that appear whole or
not."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from struct import error as struct_error
from typing import TYPE_CHECKING, Any, BinaryIO
from zlib import crc32

import numpy as np

if TYPE_CHECKING:
    from ..kind import Kind

__all__ = ["ArchiveReader", "ArchiveWriter", "whole_file"]

_ALIGNMENT = 64
_LOCAL_HEADER = 30          # bytes before the name
_ZIP64_FIELD = 20           # what zipfile adds to the header of a large record
_ZIP64_FROM = 1 << 30
_STORED, _DEFLATED = 0, 8
_ROOM = 64 << 20            # how much more than three times a file's size its packed records may hold
# What zipfile raises, beside BadZipFile, for directories with impossible entries.
_WHEN_DAMAGED = (ValueError, NotImplementedError, RuntimeError, OverflowError, EOFError, OSError, struct_error)


CHECKSUMS = [True]          # whether they are written (`set_crc32_options`)


class ArchiveWriter:
    """Writes records into a file-like object; close it (or use ``with``) to complete the archive."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        from zipfile import ZipFile
        self._zip, self._name = ZipFile(file if hasattr(file, "flush") else _Unbuffered(file), "w", allowZip64=True), name

    def write(self, record: str, data: Any) -> None:
        """Add a record: bytes or an array of uint8."""
        from zipfile import ZipInfo
        info = ZipInfo(f"{self._name}/{record}")
        info.file_size = len(data)
        large = info.file_size >= _ZIP64_FROM
        # A field without meaning fills the header up, so that the data can be mapped into memory as they are.
        begin = self._zip.start_dir + _LOCAL_HEADER + len(info.filename.encode()) + 4 + (_ZIP64_FIELD if large else 0)
        padding = -begin % _ALIGNMENT
        info.extra = b"FB" + padding.to_bytes(2, "little") + bytes(padding)
        with self._zip.open(info, "w", force_zip64=large) as entry:
            if CHECKSUMS[0]:
                entry.write(data)
            else:
                self._zip.fp.write(data)                    # type: ignore[union-attr]
                entry._file_size = info.file_size           # type: ignore[attr-defined]  # what `write` would count

    def __enter__(self) -> ArchiveWriter:
        return self

    def __exit__(self, kind: Kind, error: Any, trace: Any) -> None:
        self._zip.close()


class _Unbuffered:
    """A sink that has nothing but ``write``."""

    def __init__(self, file: BinaryIO) -> None:
        self.write = file.write

    def flush(self) -> None:
        """What was written has left already."""


class ArchiveReader:
    """Reads records from a file-like object that can seek. RuntimeError where the archive is damaged."""

    def __init__(self, file: BinaryIO) -> None:
        from zipfile import BadZipFile, ZipFile
        self._file = file
        try:
            self._zip = ZipFile(file)
        except (BadZipFile, *_WHEN_DAMAGED) as error:
            raise damaged(f"{error}; the end of the file is missing or overwritten") from None
        self._entries = {info.filename: info for info in self._zip.infolist()}
        self._check_sizes()
        pickles = [name for name in self._entries if name.rpartition("/")[2] == "data.pkl"]
        if not pickles:
            raise damaged("it has no record data.pkl, so torch.save did not write it")
        self._prefix = min(pickles, key=len)[:-len("data.pkl")]

    def _check_sizes(self) -> None:
        """Refuse records that lie over each other or claim more than the file can hold, before any memory is asked for."""
        size, packed, end = self._file.seek(0, os.SEEK_END), 0, 0
        for info in sorted(self._zip.infolist(), key=lambda info: info.header_offset):
            if info.compress_type not in (_STORED, _DEFLATED):
                raise damaged(f"the record {info.filename!r} is packed by a method that torch.save does not use")
            if info.compress_type == _STORED and info.file_size != info.compress_size:
                raise damaged(f"the record {info.filename!r} has two sizes")
            if info.header_offset < end:
                raise damaged(f"the record {info.filename!r} begins inside of another")
            end = info.header_offset + _LOCAL_HEADER + info.compress_size
            if end > size:
                raise damaged(f"the record {info.filename!r} ends after the file")
            packed += info.file_size if info.compress_type == _DEFLATED else 0
        if packed > 3 * size + _ROOM:
            raise damaged(f"its packed records would take {packed} bytes, out of {size}: unpack the archive and store it without "
                          "compression")

    def names(self) -> list[str]:
        """The names of all records."""
        return [name[len(self._prefix):] for name in self._entries if name.startswith(self._prefix)]

    def has(self, record: str) -> bool:
        """Whether there is a record of this name."""
        return self._prefix + record in self._entries

    def read(self, record: str) -> bytes:
        """A record as bytes."""
        return self.array(record).tobytes()

    def array(self, record: str) -> np.ndarray[Any, Any]:
        """A record as a new array of uint8."""
        info = self._info(record)
        if info.compress_type:
            return self._unpacked(record)
        begin = self.offset(record)
        self._file.seek(0, os.SEEK_END)
        if begin + info.file_size > self._file.tell():
            raise damaged(f"the record {record!r} ends before its {info.file_size} bytes are complete")
        self._file.seek(begin)
        content = np.empty(info.file_size, np.uint8)
        if _fill(self._file, content) != info.file_size:
            raise damaged(f"the record {record!r} ends before its {info.file_size} bytes are complete")
        if info.CRC and crc32(content) != info.CRC:        # 0: written without a checksum
            raise damaged(f"the checksum of the record {record!r} is wrong")
        return content

    def _unpacked(self, record: str) -> np.ndarray[Any, Any]:
        """A compressed record (archives that were packed anew)."""
        from zipfile import BadZipFile
        from zlib import error as BadData
        try:
            info = self._info(record)
            with self._zip.open(info) as entry:
                content = entry.read(info.file_size + 1)       # one more than it claims: zipfile compares the checksum at the end
            if len(content) != info.file_size:
                raise damaged(f"the record {record!r} has not the {info.file_size} bytes that it claims")
            return np.frombuffer(content, np.uint8).copy()
        except (BadZipFile, BadData, *_WHEN_DAMAGED) as error:
            raise damaged(f"the record {record!r} can't be unpacked ({error})") from None

    def mapped(self, record: str, memory: Any) -> np.ndarray[Any, Any]:
        """A record as an array over `memory`, the file mapped as a whole."""
        info = self._info(record)
        if info.compress_type:
            raise RuntimeError(f"mmap=True needs uncompressed records, and {record!r} is compressed: load it with mmap=False")
        begin = self.offset(record)
        if begin + info.file_size > len(memory):
            raise damaged(f"the record {record!r} ends before its {info.file_size} bytes are complete")
        return np.frombuffer(memory, np.uint8, info.file_size, begin)

    def offset(self, record: str) -> int:
        """Where the data of a record begin in the file."""
        begin = self._info(record).header_offset
        self._file.seek(max(begin, 0))
        header = self._file.read(_LOCAL_HEADER)
        if begin < 0 or len(header) != _LOCAL_HEADER or header[:4] != b"PK\x03\x04":
            raise damaged(f"the header of the record {record!r} is not where it should be")
        return begin + _LOCAL_HEADER + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")

    def _info(self, record: str) -> Any:
        try:
            return self._entries[self._prefix + record]
        except KeyError:
            raise damaged(f"the record {record!r} is missing") from None


def _fill(file: BinaryIO, content: np.ndarray[Any, Any]) -> int:
    """Read into an array until it is full or the file ends; the number of bytes read."""
    view, done = memoryview(content), 0
    readinto = getattr(file, "readinto", None)
    while done < len(view):
        if readinto is not None:
            count = readinto(view[done:])
        else:
            part = file.read(len(view) - done)
            count = len(part)
            view[done:done + count] = part
        if not count:
            break
        done += count
    return done


def damaged(why: str) -> RuntimeError:
    """The error for files that are not (or no longer) what `save` wrote."""
    return RuntimeError(f"PytorchStreamReader failed reading zip archive: {why}. The file is probably damaged: saved or transferred "
                        "incompletely, or changed afterwards.")


@contextmanager
def whole_file(path: str) -> Iterator[BinaryIO]:
    """A file for writing that takes the place of `path` only when all of it is written: until then the old content stays.

    The new content goes to a file beside it, reaches the disk, and then is renamed: the name means a new file, so other hard links keep the
    old content, and the owner is who saves. Pipes and devices are written directly, as are files in a directory where none can be made.
    What a save that was killed left beside the file goes with the next one. A file that may not be written is refused.
    """
    target = os.path.realpath(path)
    if os.path.isdir(target):
        raise RuntimeError(f"can't save to {path!r}: it is a directory")
    parent = os.path.dirname(target)
    if not os.path.isdir(parent):
        raise RuntimeError(f"Parent directory {parent if os.path.islink(path) else os.path.dirname(path) or parent} does not exist.")
    exists = os.path.exists(target)
    if exists and not os.access(target, os.W_OK):
        raise RuntimeError(f"File {path} cannot be opened: it may not be written.")
    if exists and (not os.path.isfile(target) or not os.access(parent, os.W_OK)):
        with open(target, "wb") as file:
            yield file
        return
    _clean(parent, os.path.basename(target))
    beside = os.path.join(parent, f".{os.path.basename(target)[:200]}.{os.urandom(6).hex()}.{os.getpid()}.tmp")
    try:
        with open(beside, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if exists:
            os.chmod(beside, os.stat(target).st_mode & 0o7777)
        os.replace(beside, target)
        _sync_directory(parent)
    except BaseException:
        if os.path.exists(beside):
            os.unlink(beside)
        raise


def _clean(parent: str, name: str) -> None:
    """Remove what killed saves to this name have left: files whose process is no more."""
    pattern = re.compile(re.escape(f".{name[:200]}.") + r"[0-9a-f]{12}(?:\.(\d+))?\.tmp")
    for each in os.listdir(parent):
        found = pattern.fullmatch(each)
        if found and not (found[1] and _runs(int(found[1]))):
            with suppress(OSError):
                os.unlink(os.path.join(parent, each))


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True          # another user's
    return True


def _sync_directory(path: str) -> None:
    """Make a rename in the directory last, where directories can be opened."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        with suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)
