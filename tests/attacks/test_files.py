"""Files made to do harm: code, memory without end, time without end, errors of our insides. Each ends in a clear error, at once."""

import io
import os
import pickle
import random
import resource
import signal
import stat
import struct
import subprocess
import sys
import textwrap
import zipfile
from collections import OrderedDict

import pytest
import torch as pt

import rushlight as torch

REFUSED = (RuntimeError, pickle.UnpicklingError)
INT = struct.Struct("<I").pack


def archive_of(data, name="archive/data.pkl", compress=zipfile.ZIP_STORED, **records):
    """A file of torch.save's form with this pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compress) as archive:
        archive.writestr(name, data)
        for record, content in records.items():
            archive.writestr(f"archive/{record.replace('__', '/')}", content)
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def watchdog():
    """Nothing here may take longer than this; the memory that it may ask for is what is there now and 300 MB."""
    def late(*_):
        raise TimeoutError("a file kept the reader busy")
    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def refuse(content, load=torch.load, **options):
    before = peak()
    with pytest.raises(REFUSED) as raised:
        load(io.BytesIO(content), **options)
    assert len(str(raised.value)) < 5000
    assert peak() - before < 3 * len(content) + (100 << 20)
    return raised.value


NEST = b"\x80\x02N\x85q\x00" + b"".join(b"h" + bytes([i]) + b"h" + bytes([i]) + b"\x86q" + bytes([i + 1]) for i in range(60))   # 2**60 leaves
DEEP = b"\x80\x02N" + b"\x85" * 200_000
NEVER = {
    "bytearray of a size": b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b".",
    "long of a size": b"\x80\x02\x8b" + INT(1 << 30) + b"1.",
    "bytes of a size": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b".",
    "text of a size": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 40) + b".",
    "additems": b"\x80\x04\x8f(K\x01\x90.",
    "a frame of a size": b"\x80\x04\x95" + struct.pack("<Q", 1 << 40) + b"N.",
    "a million sets": b"\x80\x02]" + b"\x8f" * 1_000_000 + b".",
    "a million dicts": b"\x80\x02](" + b"}" * 3_000_000 + b"e.",
    "a nest as a persistent id": NEST + b"Q.",
    "a nest as a key": b"\x80\x02}" + NEST[2:] + b"Ns.",
    "a nest in a set": NEST + b"0cbuiltins\nset\n(" + b"h\x3c" + b"tR.",
    "a nest in a set's list": NEST + b"0cbuiltins\nset\n](" + b"h\x3ce\x85R.",
    "a nest in an OrderedDict": NEST + b"0ccollections\nOrderedDict\n](h\x3cN\x86e\x85R.",
    "a nest in a Counter": NEST + b"0ccollections\nCounter\n](h\x3ce\x85R.",
    "a nest as a layout": NEST + b"0ctorch.serialization\n_get_layout\nh\x3c\x85R.",
    "a nest as a device": NEST + b"0ctorch\ndevice\nh\x3c\x85R.",
    "a nest as a size": NEST + b"0ctorch\nSize\nh\x3c\x85R.",
    "a nest as an encoding": NEST + b"0c_codecs\nencode\nX\x01\x00\x00\x00ah\x3c\x86R.",
    "a nest as a number": NEST + b"0cbuiltins\ncomplex\nh\x3c\x85R.",
    "a nest as a class": NEST + b"0ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._utils\n_rebuild_parameter\nh\x3c)NtR.",
    "a nest as a sparse layout": NEST + b"0ctorch._utils\n_rebuild_sparse_tensor\nh\x3ch\x3c\x86R.",
    "a deep nest as a key": b"\x80\x02}" + DEEP[2:] + b"Ns.",
    "a call in a call": b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._tensor\n_rebuild_from_type_v2\nctorch\nTensor\n(ctorch\nTensor\nctorch\nTensor\n)NtNtR.",
    "a class called in a call": b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n(ctorch\nTensor\nctorch\nTensor\n(K\x03tNtR.",
    "os.system": b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00id\x85R.",
    "posix.system": b"\x80\x02cposix\nsystem\nX\x02\x00\x00\x00id\x85R.",
    "a dtype called": b"\x80\x02ctorch\nfloat32\n)R.",
    "state of a tensor class": b"\x80\x02ctorch\nTensor\n}X\x01\x00\x00\x00aK\x01sb.",
    "a size of strings": b"\x80\x02ctorch\nSize\nX\x02\x00\x00\x00ab\x85\x85R.",
    "nothing": b"",
    "a global without a name": b"\x80\x04\x93.",
}


@pytest.mark.parametrize("what", NEVER)
def test_pickles(what):
    refuse(archive_of(NEVER[what]))


@pytest.mark.parametrize("what", [what for what in NEVER if what not in ("nothing", "a million dicts")])
def test_pickles_of_the_old_format(what):
    magic, version = pickle.dumps(0x1950A86A20F9469CFC6C, 2), pickle.dumps(1001, 2)
    refuse(magic + version + pickle.dumps({}, 2) + NEVER[what])
    refuse(NEVER[what])


def test_a_deep_nest_is_read_or_refused():
    try:
        found = torch.load(io.BytesIO(archive_of(DEEP + b".")))
    except REFUSED:
        return
    assert isinstance(found, tuple)


# --- archives -------------------------------------------------------------------------------------------------------------------------

def saved(**options):
    buffer = io.BytesIO()
    pt.save([pt.arange(1000.0), pt.ones(4)], buffer, **options)
    return buffer.getvalue()


def test_records_that_lie_over_each_other():
    """Hundreds of entries of the directory that mean the same megabytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02N.")
        archive.writestr("archive/data/0", bytes(10 << 20))
        first = archive.getinfo("archive/data/0")
        for i in range(1, 300):
            info = zipfile.ZipInfo(f"archive/data/{i}")
            for name in ("header_offset", "CRC", "compress_size", "file_size"):
                setattr(info, name, getattr(first, name))
            archive.filelist.append(info)
            archive.NameToInfo[info.filename] = info
    assert "inside of another" in str(refuse(buffer.getvalue()))


def test_packed_records():
    content = archive_of(b"\x80\x02N.", compress=zipfile.ZIP_DEFLATED, data__0=bytes(300 << 20))
    assert len(content) < 1 << 20
    refuse(content)
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        refuse(archive_of(b"\x80\x02N.", compress=method))
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(saved())) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    packed.seek(0)
    assert torch.load(packed)[1].tolist() == [1, 1, 1, 1]          # what was packed anew in good faith is read


def test_a_packed_record_with_a_false_size():
    """The directory says 5 bytes where 50 million come out."""
    content = bytearray(archive_of(b"\x80\x02ctorch\nByteStorage\n0(X\x07\x00\x00\x00storagectorch\nByteStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x05tQ.",
                                   compress=zipfile.ZIP_DEFLATED, data__0=bytes(50 << 20)))
    at = content.rfind(struct.pack("<I", 50 << 20))
    content[at:at + 4] = struct.pack("<I", 5)
    refuse(bytes(content))


def test_sizes_of_the_old_format():
    """A storage of a petabyte in a file of a kilobyte, storages that the file does not hold, and content that nobody names."""
    good = saved(_use_new_zipfile_serialization=False)
    assert torch.load(io.BytesIO(good))[1].tolist() == [1, 1, 1, 1]
    assert good.count(b"M\xe8\x03") >= 1                 # 1000, the number of elements
    refuse(good.replace(b"M\xe8\x03N", b"\x8a\x07" + (1 << 50).to_bytes(7, "little") + b"N", 1))
    refuse(good[:-4100])
    keys = good.rindex(b"\x80\x02]")
    refuse(good[:keys] + pickle.dumps([], 2))
    refuse(good[:keys] + pickle.dumps(["1", "2"], 2) + good[keys + 60:])
    refuse(good[:keys] + pickle.dumps([[1]], 2))


def test_damage_from_fixed_seeds():
    """Two thousand files with a few bytes changed: the old value, or an error that is the reader's."""
    for seed, content in ((1, saved()), (2, saved(_use_new_zipfile_serialization=False))):
        generator = random.Random(seed)
        for _ in range(1000):
            changed = bytearray(content)
            for _ in range(generator.randint(1, 4)):
                way = generator.random()
                at = generator.randrange(len(changed) - 8)
                if way < 0.6:
                    changed[at] = generator.randrange(256)
                elif way < 0.8:
                    changed[at:at + 4] = struct.pack("<I", generator.choice([0, 1, 0x7FFFFFFF, 0xFFFFFFFF]))
                else:
                    del changed[at:at + generator.randint(1, 40)]
            try:
                torch.load(io.BytesIO(bytes(changed)))
            except (*REFUSED, EOFError):
                continue


# --- torch.jit.load ---------------------------------------------------------------------------------------------------------------------

FORMAT = {"format": "rushlight.jit 1", "extra": {}}


@pytest.mark.parametrize("named", [("os", "system"), ("builtins", "exec"), ("builtins", "eval"), ("subprocess", "run"), ("torch.hub", "load"), ("posix", "system"),
                                   ("rushlight.nn.functional", "_softmax"), (1, 2), "os.system", None])
def test_functions_that_a_file_names(named, tmp_path):
    torch.save({**FORMAT, "function": named}, tmp_path / "f.pt")
    with pytest.raises(RuntimeError):
        torch.jit.load(tmp_path / "f.pt")


@pytest.mark.parametrize("name", ["antigravity.Module", "this.d", "torch.nn.functional._softmax", "rushlight.__main__.main", "torch.__main__.main", "os.system",
                                  "builtins.exec", "tests.attacks.loud.Loud"])
def test_globals_that_a_file_names(name, tmp_path):
    module, _, last = name.rpartition(".")
    data = b"\x80\x02}X\x06\x00\x00\x00formatX\x0f\x00\x00\x00rushlight.jit 1s" + b"X\x06\x00\x00\x00module" + f"c{module}\n{last}\n".encode() + b"s."
    before = set(sys.modules)
    with pytest.raises(RuntimeError):
        torch.jit.load(io.BytesIO(archive_of(data)))
    assert not {"antigravity", "this", "rushlight.__main__"} & (set(sys.modules) - before)


class Counted(torch.nn.Module):
    """A Module whose making would be noticed."""
    made = []

    def __init__(self, *args):
        self.made.append(args)
        super().__init__()


def test_classes_are_not_called(tmp_path):
    class Called:
        def __reduce__(self):
            return Counted, ("argument of the file",)

    torch.save({**FORMAT, "module": Called()}, tmp_path / "m.pt")
    with pytest.raises(RuntimeError, match="not called"):
        torch.jit.load(tmp_path / "m.pt")
    assert not Counted.made
    torch.jit.save(torch.jit.script(torch.nn.Sequential(OrderedDict(a=torch.nn.Linear(2, 3), b=torch.nn.ReLU()))), tmp_path / "good.pt")
    assert torch.jit.load(tmp_path / "good.pt")(torch.ones(1, 2)).shape == (1, 3)


# --- saving -----------------------------------------------------------------------------------------------------------------------------

def test_killed_saves_leave_the_old_file_and_nothing_for_long(tmp_path):
    path = tmp_path / "model.pt"
    torch.save([1], path)
    program = textwrap.dedent(f"""
        import os, signal, rushlight as torch
        from rushlight import serialization
        write = serialization.ArchiveWriter.write
        def killed(self, record, data):
            write(self, record, data)
            if record.startswith("data/"):
                os.kill(os.getpid(), signal.SIGKILL)
        serialization.ArchiveWriter.write = killed
        torch.save(torch.ones(1000), {str(path)!r})
    """)
    assert subprocess.run([sys.executable, "-c", program]).returncode == -signal.SIGKILL
    assert torch.load(path) == [1] and len(os.listdir(tmp_path)) == 2
    (tmp_path / ".model.pt.0123456789ab.tmp").write_bytes(b"left by an older version")
    (tmp_path / ".other.pt.0123456789ab.tmp").write_bytes(b"not ours")
    torch.save([2], path)
    assert torch.load(path) == [2] and sorted(os.listdir(tmp_path)) == [".other.pt.0123456789ab.tmp", "model.pt"]


def test_links_and_modes(tmp_path):
    (tmp_path / "dangling.pt").symlink_to(tmp_path / "nowhere" / "x.pt")
    with pytest.raises(RuntimeError, match="nowhere"):
        torch.save(1, tmp_path / "dangling.pt")
    torch.save([1], tmp_path / "a.pt")
    os.chmod(tmp_path / "a.pt", 0o600)
    torch.save([2], tmp_path / "a.pt")
    assert stat.S_IMODE(os.stat(tmp_path / "a.pt").st_mode) == 0o600


def test_a_file_that_may_not_be_written(tmp_path, monkeypatch):
    torch.save([1], tmp_path / "a.pt")
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode, **options: str(path) != str(tmp_path / "a.pt") and access(path, mode, **options))   # root may everything
    with pytest.raises(RuntimeError, match="may not be written"):
        torch.save([2], tmp_path / "a.pt")
    assert torch.load(tmp_path / "a.pt") == [1]


def test_the_error_files_of_processes_are_private(monkeypatch, tmp_path):
    import tempfile

    from rushlight import multiprocessing as mp
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    context = mp.start_processes(divide, nprocs=1, join=False, start_method="fork")
    folder, = os.listdir(tmp_path)
    assert stat.S_IMODE(os.stat(tmp_path / folder).st_mode) == 0o700
    with pytest.raises(mp.ProcessRaisedException, match="ZeroDivisionError"):
        while not context.join():
            continue


def divide(index):
    return 1 // index
