"""torch.save/load: files go both ways between rushlight and PyTorch; what is not data is refused; damage is noticed."""

import contextlib
import copy
import io
import math
import os
import pickle
import zipfile
from collections import Counter, OrderedDict, defaultdict

import numpy as np
import pytest
import torch as pt

import rushlight as torch
from rushlight import serialization as S
from rushlight.nn.parameter import Parameter

DTYPES = ["float32", "float64", "float16", "bfloat16", "int8", "int16", "int32", "int64", "uint8", "bool", "complex64", "complex128",
          "uint16", "uint32", "uint64", "float8_e4m3fn", "float8_e5m2"]


def bytes_of(save, obj, **options):
    buffer = io.BytesIO()
    save(obj, buffer, **options)
    return buffer.getvalue()


def theirs_to_ours(obj, load=None, **options):
    return S.load(io.BytesIO(bytes_of(pt.save, obj, **options)), **(load or {}))


def ours_to_theirs(obj, load=None, **options):
    return pt.load(io.BytesIO(bytes_of(S.save, obj, **options)), **(load or {}))


def roundtrip(obj, load=None, **options):
    return S.load(io.BytesIO(bytes_of(S.save, obj, **options)), **(load or {}))


def same(ours, theirs):
    """Equal in structure, values, dtype, geometry, and kind of tensor."""
    if isinstance(theirs, pt.Tensor):
        assert isinstance(ours, torch.Tensor)
        assert repr(ours) == repr(theirs)
        assert (tuple(ours.shape), str(ours.dtype), ours.requires_grad) == (tuple(theirs.shape), str(theirs.dtype), theirs.requires_grad)
        if theirs.numel():
            assert ours.stride() == theirs.stride() and ours.storage_offset() == theirs.storage_offset()
            assert ours.untyped_storage().tolist() == theirs.untyped_storage().tolist()
        assert isinstance(ours, Parameter) == isinstance(theirs, pt.nn.Parameter)
    elif isinstance(theirs, dict):
        assert type(ours) is type(theirs) and list(ours) == list(theirs)
        for key in theirs:
            same(ours[key], theirs[key])
        assert getattr(ours, "_metadata", None) == getattr(theirs, "_metadata", None)
    elif isinstance(theirs, (list, tuple)) and not isinstance(theirs, pt.Size):
        assert type(ours) is type(theirs) and len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            same(a, b)
    elif isinstance(theirs, (pt.Size, pt.dtype, pt.device, pt.layout)):
        assert repr(ours) == repr(theirs) and type(ours).__name__ == type(theirs).__name__
    else:
        assert ours == theirs and type(ours) is type(theirs)


def samples():
    made = {}
    for name in DTYPES:
        dtype = getattr(pt, name)
        made[name] = (pt.arange(24) % 3 - 1).to(dtype).view(2, 3, 4) if name != "bool" else (pt.arange(24) % 3 > 0).view(2, 3, 4)
    x = pt.arange(24.)
    shared = pt.arange(6.)
    state = OrderedDict([("w", pt.ones(2, 2)), ("b", pt.zeros(2))])
    state._metadata = OrderedDict([("", {"version": 1}), ("bn", {"version": 2})])
    made.update({
        "scalar": pt.tensor(3.5), "empty": pt.zeros(0), "empty2": pt.ones(0, 3, dtype=pt.int64), "transposed": x.view(4, 6).t(),
        "slice": x[3:9:2], "inner": x.view(2, 3, 4)[:, 1:, ::2], "expanded": pt.ones(1, 3).expand(4, 3), "leaf": pt.ones(2, requires_grad=True),
        "nan": pt.tensor([math.nan, math.inf, -math.inf, -0.0]), "parameter": pt.nn.Parameter(pt.ones(2, 3)),
        "frozen": pt.nn.Parameter(pt.ones(2), requires_grad=False), "nonleaf": pt.ones(2, requires_grad=True) * 2,
        "plain": [1, -5, 2 ** 70, 1.5, None, True, "ü", b"bytes", (1, (2,)), {"k": [1]}, 1 + 2j, {3}, bytearray(b"x"), Counter("aab"), ()],
        "ours": [pt.Size([1, 2]), pt.float16, pt.bool, pt.device("cpu"), pt.device("cuda", 1), pt.strided],
        "shared": [shared, shared[2:], shared.view(2, 3).t(), shared], "state": state,
        "optimizer": {"state": {0: {"step": pt.tensor(3.), "exp_avg": pt.ones(2)}}, "param_groups": [{"lr": 1e-3, "params": [0]}]},
        "conj": pt.tensor([1 + 2j, 3j]).conj().clone(),
    })
    return made


SAMPLES = samples()


@pytest.mark.parametrize("name", SAMPLES)
def test_both_ways(name):
    theirs = SAMPLES[name]
    ours = theirs_to_ours(theirs)
    same(ours, pt.load(io.BytesIO(bytes_of(pt.save, theirs))))
    same(roundtrip(ours), pt.load(io.BytesIO(bytes_of(pt.save, theirs))))
    same(ours, ours_to_theirs(ours))


@pytest.mark.parametrize("name", ["float32", "bfloat16", "complex64", "bool", "shared", "state", "parameter", "plain", "inner"])
@pytest.mark.parametrize("weights_only", [True, False])
def test_old_format_both_ways(name, weights_only):
    theirs, load = SAMPLES[name], {"weights_only": weights_only}
    ours = theirs_to_ours(theirs, load, _use_new_zipfile_serialization=False)
    same(ours, pt.load(io.BytesIO(bytes_of(pt.save, theirs))))
    same(ours, ours_to_theirs(ours, load, _use_new_zipfile_serialization=False))
    same(roundtrip(ours, load, _use_new_zipfile_serialization=False), theirs)


def test_old_format_without_a_storage_class():
    """PyTorch writes uint16 in the old format but can't read it back."""
    theirs = SAMPLES["uint16"]
    ours = theirs_to_ours(theirs, _use_new_zipfile_serialization=False)
    same(ours, theirs)
    same(roundtrip(ours, _use_new_zipfile_serialization=False), theirs)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_protocols(protocol):
    ours = theirs_to_ours([SAMPLES["float32"], SAMPLES["optimizer"]], {"weights_only": protocol < 4}, pickle_protocol=protocol)
    same(ours, [SAMPLES["float32"], SAMPLES["optimizer"]])
    same(roundtrip(ours, pickle_protocol=protocol), [SAMPLES["float32"], SAMPLES["optimizer"]])
    same(ours, ours_to_theirs(ours, {"weights_only": False}, pickle_protocol=protocol))


def test_shared_memory_stays_shared():
    base, tail, transposed, again = theirs_to_ours(SAMPLES["shared"])
    assert base is again and base.untyped_storage() is tail.untyped_storage() is transposed.untyped_storage()
    back = ours_to_theirs([base, tail, transposed, again])
    back[1][0] = 77.
    assert back[0][2] == 77. and back[2][2, 0] == 77. and back[0] is back[3]
    tail._a[0] = 55.
    assert base._a[2] == 55.


def test_one_storage_with_two_dtypes_is_refused():
    x = theirs_to_ours(pt.arange(4))
    other = torch.Tensor._make_subclass(torch.Tensor, x)
    from rushlight.kind import kind_of
    from rushlight.tensor import wrap
    other = wrap(x._a.view(np.int32), kind_of(torch.int32))
    with pytest.raises(RuntimeError, match="view the same data as different types"):
        S.save([x, other], io.BytesIO())


def test_arrays_that_strides_cannot_describe():
    from rushlight.kind import kind_of
    from rushlight.tensor import wrap
    x = wrap(np.arange(6.)[::-1], kind_of(torch.float64))
    assert ours_to_theirs(x).tolist() == [5., 4., 3., 2., 1., 0.]
    record = np.zeros(3, [("a", "u1"), ("b", "<f4")])
    record["b"] = [1, 2, 3]
    y = wrap(record["b"], kind_of(torch.float32))
    assert ours_to_theirs([y])[0].tolist() == [1., 2., 3.] and copy.deepcopy(y).tolist() == [1., 2., 3.]
    assert pickle.loads(pickle.dumps(y)).tolist() == [1., 2., 3.]


def test_lazy_conjugation_and_negation_are_applied():
    x = pt.tensor([1 + 2j, 3 - 1j])
    assert theirs_to_ours(x.conj()).tolist() == x.conj().tolist()
    assert theirs_to_ours(x.conj().imag).tolist() == x.conj().imag.tolist()


def test_paths_and_pathlike(tmp_path):
    ours = theirs_to_ours(SAMPLES["state"])
    S.save(ours, tmp_path / "model.pt")
    same(ours, pt.load(tmp_path / "model.pt"))
    same(ours, pt.load(str(tmp_path / "model.pt"), mmap=True))
    assert sorted(os.listdir(tmp_path)) == ["model.pt"]
    with zipfile.ZipFile(tmp_path / "model.pt") as archive:
        assert archive.testzip() is None and "model/data.pkl" in archive.namelist() and archive.read("model/version") == b"3\n"
        assert all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())
    with open(tmp_path / "model.pt", "rb") as file:
        reader = S.ArchiveReader(file)
        assert reader.offset("data/0") % 64 == 0 and reader.offset("data/1") % 64 == 0


def test_file_objects(tmp_path):
    class OnlyWrite:
        def __init__(self):
            self.parts = []

        def write(self, data):
            self.parts.append(bytes(data))
            return len(data)

    sink = OnlyWrite()
    S.save([torch.float32, theirs_to_ours(pt.ones(3))], sink)
    assert pt.load(io.BytesIO(b"".join(sink.parts)))[1].tolist() == [1., 1., 1.]
    with open(tmp_path / "x", "w+b") as file:
        S.save(theirs_to_ours(pt.ones(3)), file)
        file.seek(0)
        assert S.load(file).tolist() == [1., 1., 1.]
    for bad in (5, None, object()):
        with pytest.raises(AttributeError, match="write"):
            S.save(1, bad)
        with pytest.raises(AttributeError, match="seek"):
            S.load(bad)


def test_compressed_and_unchecked_archives():
    raw = bytes_of(pt.save, SAMPLES["shared"])
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(raw)) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    packed.seek(0)
    same(S.load(packed), SAMPLES["shared"])
    pt.serialization.set_crc32_options(False)
    try:
        same(theirs_to_ours(SAMPLES["state"]), SAMPLES["state"])
    finally:
        pt.serialization.set_crc32_options(True)


def test_mmap(tmp_path):
    path = tmp_path / "big.pt"
    pt.save([pt.arange(1000.), pt.ones(3, dtype=pt.bfloat16)], path)
    a, b = S.load(path, mmap=True)
    assert a.tolist() == list(range(1000)) and b.tolist() == [1., 1., 1.] and len(a.untyped_storage()) == 4000
    a._a[0] = 5
    assert S.load(path)[0]._a[0] == 0                     # private by default
    with S.set_default_mmap_options(S.MAP_SHARED):
        S.load(path, mmap=True)[0]._a[0] = 6
    assert S.load(path, mmap=True)[0]._a[0] == 6 and S.get_default_mmap_options() == S.MAP_PRIVATE
    with pytest.raises(ValueError, match="path"):
        S.load(io.BytesIO(path.read_bytes()), mmap=True)
    S.save(a, path, _use_new_zipfile_serialization=False)
    with pytest.raises(RuntimeError, match="mmap"):
        S.load(path, mmap=True)


def test_other_byte_order():
    raw = bytes_of(pt.save, pt.tensor([1., 2.]))
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(raw)) as source, zipfile.ZipFile(buffer, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            if name.endswith("byteorder"):
                data = b"big"
            if name.endswith("data/0"):
                data = np.frombuffer(data, "<f4").astype(">f4").tobytes()
            target.writestr(name, data)
    buffer.seek(0)
    assert S.load(buffer).tolist() == [1., 2.]


# --- where to ------------------------------------------------------------------------------------------------------------------------

def on_cuda(obj):
    """A file as a machine with a GPU would write it."""
    raw = bytes_of(pt.save, obj)
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(raw)) as source, zipfile.ZipFile(buffer, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            target.writestr(name, data.replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0") if name.endswith(".pkl") else data)
    return buffer.getvalue()


def test_map_location():
    raw = on_cuda([pt.ones(2), pt.zeros(3)])
    for place in ("cpu", torch.device("cpu"), {"cuda:0": "cpu"}, lambda storage, location: storage):
        assert [t.tolist() for t in S.load(io.BytesIO(raw), map_location=place)] == [[1., 1.], [0., 0., 0.]]
    seen = []
    S.load(io.BytesIO(raw), map_location=lambda storage, location: seen.append((type(storage).__name__, len(storage), location)) or storage)
    assert seen == [("UntypedStorage", 8, "cuda:0"), ("UntypedStorage", 12, "cuda:0")]
    with pytest.raises(RuntimeError, match="don't know how to restore data location of torch.storage.UntypedStorage"):
        S.load(io.BytesIO(raw), map_location="foo")
    with pytest.raises(TypeError):
        S.load(io.BytesIO(raw), map_location=5)

    def failing(storage, location):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        S.load(io.BytesIO(raw), map_location=failing)


def test_cuda_file_without_cuda():
    cuda = getattr(torch, "cuda", None)
    if cuda is not None and cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(RuntimeError, match="Attempting to deserialize object on a CUDA device.*map_location"):
        S.load(io.BytesIO(on_cuda(pt.ones(2))))


def test_register_package(monkeypatch):
    from rushlight.serialization import locations
    monkeypatch.setattr(locations, "_packages", list(locations._packages))
    S.register_package(5, lambda storage: None, lambda storage, location: storage if location == "moon" else None)
    assert S.load(io.BytesIO(on_cuda(pt.ones(2))), map_location="moon").tolist() == [1., 1.]


# --- nothing but data ----------------------------------------------------------------------------------------------------------------

class Settings:
    def __init__(self, value=1):
        self.value = value

    def __eq__(self, other):
        return type(other) is Settings and self.value == other.value

    __hash__ = None


class Call:
    """Pickles as a call."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


REFUSED = {"frozenset": frozenset([1]), "defaultdict": defaultdict(list), "range": range(3), "Ellipsis": ..., "slice": slice(1), "int": int,
           "len": len, "Settings": Settings(), "system": Call(os.system, "echo refused"), "eval": Call(eval, "1+1"),
           "getattr": Call(getattr, "a", "upper"), "array": np.ones(2), "Linear": pt.nn.Linear, "exec": Call(exec, "x=1")}


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, old):
    raw = bytes_of(pt.save, {"a": [REFUSED[name]]}, _use_new_zipfile_serialization=not old)
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed") as ours:
        S.load(io.BytesIO(raw))
    assert name in str(ours.value) or name in ("array", "system")
    with pytest.raises(pickle.UnpicklingError):
        pt.load(io.BytesIO(raw))


def test_allowing_what_was_refused():
    raw = bytes_of(pt.save, [Settings(3), defaultdict(list, a=[1])])
    with pytest.raises(pickle.UnpicklingError, match=r"add_safe_globals\(\[.*test_serialization.Settings\]\)"):
        S.load(io.BytesIO(raw))
    assert S.get_unsafe_globals_in_checkpoint(io.BytesIO(raw)) == [f"{__name__}.Settings", "collections.defaultdict", "builtins.list"]
    with S.safe_globals([Settings, defaultdict, list]):
        assert S.load(io.BytesIO(raw)) == [Settings(3), defaultdict(list, a=[1])]
        assert S.get_safe_globals() == [Settings, defaultdict, list]
    assert S.get_safe_globals() == []
    S.add_safe_globals([(Settings, f"{__name__}.Settings"), (defaultdict, "collections.defaultdict"), list])
    try:
        assert S.load(io.BytesIO(raw))[0].value == 3
    finally:
        S.clear_safe_globals()
    with pytest.raises(pickle.UnpicklingError):
        S.load(io.BytesIO(raw))
    with pytest.raises(TypeError):
        S.add_safe_globals([5])
    assert S.load(io.BytesIO(raw), weights_only=False) == [Settings(3), defaultdict(list, a=[1])]
    assert roundtrip([Settings(4)], {"weights_only": False}) == [Settings(4)]


def archive_of(data):
    """An archive around a hand-made pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        target.writestr("archive/data.pkl", data)
        target.writestr("archive/version", "3\n")
    buffer.seek(0)
    return buffer


CRAFTED = {
    "state of a class": b"\x80\x02ctorch\nTensor\n}X\x03\x00\x00\x00addK\x01sb.",
    "state of a dtype": b"\x80\x02ctorch\nfloat32\nN}X\x08\x00\x00\x00itemsizeK\x01s\x86b.",
    "state of a function": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x01\x00\x00\x00xK\x01sb.",
    "special attribute": b"\x80\x02ccollections\nOrderedDict\n)R}X\x0c\x00\x00\x00__setstate__ctorch\nFloatStorage\nsb.",
    "call of a storage class": b"\x80\x02ctorch\nFloatStorage\nJ\xff\xff\xff\x7f\x85R.",
    "call of Tensor": b"\x80\x02ctorch\nTensor\nJ\xff\xff\xff\x7f\x85R.",
    "inner call of Tensor": b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n(ctorch\nTensor\nctorch\nTensor\nK\x02\x85NtR.",
    "instance of Tensor": b"\x80\x02ctorch\nTensor\nK\x02\x85\x81.",
    "append to a class": b"\x80\x02ctorch\nTensor\nK\x02a.",
    "item of a class": b"\x80\x02ctorch\nTensor\nK\x02K\x03s.",
    "codec": b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R.",
    "length of a bytearray": b"\x80\x02c__builtin__\nbytearray\nJ\xff\xff\xff\x7f\x85R.",
    "old opcode": b"\x80\x02I5\n.",
    "extension": b"\x80\x02\x82\x01.",
    "instance opcode": b"\x80\x02(i__main__\nFoo\n.",
    "foreign persistent id": b"\x80\x02X\x03\x00\x00\x00abcQ.",
    "cut": b"\x80\x02]q\x00(K\x01",
    "empty": b"",
    "underflow": b"\x80\x02R.",
    "unknown memo": b"\x80\x02h\x05.",
    "tuple of a missing storage class": b"\x80\x02(X\x07\x00\x00\x00storagectorch\nfloat32\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01tQ.",
}


@pytest.mark.parametrize("name", CRAFTED)
def test_crafted_pickles(name):
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        S.load(archive_of(CRAFTED[name]))


def test_geometry_outside_the_storage():
    raw = bytes_of(pt.save, pt.arange(4.))
    for old, new in ((b"K\x04\x85q", b"K\x09\x85q"), (b"K\x00K\x04\x85q", b"K\x07K\x04\x85q")):
        buffer = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(raw)) as source, zipfile.ZipFile(buffer, "w") as target:
            for name in source.namelist():
                data = source.read(name)
                assert not name.endswith(".pkl") or old in data
                target.writestr(name, data.replace(old, new))
        buffer.seek(0)
        with pytest.raises(RuntimeError, match="out of bounds"):
            S.load(buffer)


# --- damage --------------------------------------------------------------------------------------------------------------------------

def test_every_truncation_is_noticed():
    raw = bytes_of(S.save, theirs_to_ours([pt.arange(40.), pt.ones(3)]))
    for end in [*range(0, len(raw), 37), len(raw) - 1]:
        with pytest.raises((RuntimeError, EOFError, pickle.UnpicklingError)):
            S.load(io.BytesIO(raw[:end]))
    with pytest.raises(RuntimeError, match="failed reading zip archive"):
        S.load(io.BytesIO(raw[:len(raw) // 2]))
    old = bytes_of(S.save, theirs_to_ours([pt.arange(40.), pt.ones(3)]), _use_new_zipfile_serialization=False)
    for end in [*range(0, len(old), 17), len(old) - 1]:
        with pytest.raises((RuntimeError, EOFError, pickle.UnpicklingError)):
            S.load(io.BytesIO(old[:end]))


def test_changed_bytes_are_noticed():
    raw = bytearray(bytes_of(S.save, theirs_to_ours(pt.arange(40.))))
    at = raw.index(np.arange(40., dtype=np.float32).tobytes())
    raw[at + 10] ^= 1
    with pytest.raises(RuntimeError, match="checksum"):
        S.load(io.BytesIO(raw))


def test_random_damage_never_loads_something_else():
    import random
    random.seed(0)
    obj = {"a": pt.arange(6.).view(2, 3), "l": [1, 2.5, "x", (None, True)], "p": pt.nn.Parameter(pt.ones(2))}
    raw = bytes_of(pt.save, obj)
    expected = repr(S.load(io.BytesIO(raw)))
    for _ in range(400):
        changed = bytearray(raw)
        changed[random.randrange(len(changed))] = random.randrange(256)
        try:
            found = S.load(io.BytesIO(changed))
        except (RuntimeError, EOFError, pickle.UnpicklingError):
            continue
        assert repr(found) == expected                    # it hit what nothing depends on: padding, dates
    with zipfile.ZipFile(io.BytesIO(raw)) as source:
        data = source.read("archive/data.pkl")
    for _ in range(400):
        changed = bytearray(data)
        changed[random.randrange(len(changed))] = random.randrange(256)
        with contextlib.suppress(RuntimeError, pickle.UnpicklingError):
            S.load(archive_of(bytes(changed)))


@pytest.mark.parametrize("content", [b"hello world" * 10, b"\x80\x02hello", b"PK", b"PK\x03\x04 no archive", b"\x00" * 100])
@pytest.mark.parametrize("weights_only", [True, False])
def test_other_files(content, weights_only):
    with pytest.raises((RuntimeError, pickle.UnpicklingError, EOFError)):
        S.load(io.BytesIO(content), weights_only=weights_only)


def test_missing_and_wrong_places(tmp_path):
    with pytest.raises(EOFError):
        S.load(io.BytesIO())
    with pytest.raises(FileNotFoundError):
        S.load(tmp_path / "nope.pt")
    with pytest.raises(IsADirectoryError):
        S.load(tmp_path)
    with pytest.raises(RuntimeError, match="Parent directory .* does not exist"):
        S.save(1, tmp_path / "nope" / "x.pt")
    with pytest.raises(RuntimeError, match="directory"):
        S.save(1, tmp_path)
    with pytest.raises(RuntimeError, match="pickle_module"):
        S.load(io.BytesIO(bytes_of(S.save, 1)), weights_only=True, pickle_module=pickle)
    with pytest.raises(NotImplementedError, match="pickle_module"):
        S.save(1, tmp_path / "x", pickle_module=copy)


def test_saving_is_all_or_nothing(tmp_path, monkeypatch):
    path = tmp_path / "model.pt"
    S.save([1], path)
    os.chmod(path, 0o640)
    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
        S.save([theirs_to_ours(pt.ones(3)), lambda: 1], path)
    assert S.load(path) == [1]

    def full(self, record, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(S.ArchiveWriter, "write", full)
    with pytest.raises(OSError, match="No space left"):
        S.save([2], path)
    monkeypatch.undo()
    assert S.load(path) == [1] and os.listdir(tmp_path) == ["model.pt"]
    (tmp_path / "link.pt").symlink_to(path)
    S.save([3], tmp_path / "link.pt")
    assert S.load(path) == [3] and (tmp_path / "link.pt").is_symlink() and path.stat().st_mode & 0o777 == 0o640
    S.save([3], os.devnull)
    assert os.path.exists(os.devnull)


def test_environment(monkeypatch):
    raw = bytes_of(S.save, [Settings(1)])
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    assert S.load(io.BytesIO(raw)) == [Settings(1)]
    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")
    with pytest.raises(RuntimeError, match="Only one of"):
        S.load(io.BytesIO(raw))
    monkeypatch.delenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD")
    with pytest.raises(pickle.UnpicklingError):
        S.load(io.BytesIO(raw), weights_only=False)


# --- attributes, subclasses, copies --------------------------------------------------------------------------------------------------

class Ours(torch.Tensor):
    pass


class Theirs(pt.Tensor):
    pass


def test_attributes_and_subclasses():
    theirs = pt.ones(2)
    theirs.note = {"a": 1}
    ours = theirs_to_ours(theirs)
    assert ours.note == {"a": 1} and ours_to_theirs(ours).note == {"a": 1} and roundtrip(ours).note == {"a": 1}
    theirs = pt.nn.Parameter(pt.ones(2))
    theirs.note = 3
    ours = theirs_to_ours(theirs)
    assert isinstance(ours, Parameter) and ours.note == 3 and ours_to_theirs(ours).note == 3
    made = theirs_to_ours(pt.ones(2)).as_subclass(Ours)
    made.note = 4
    again = roundtrip(made, {"weights_only": False})
    assert type(again) is Ours and again.note == 4
    with pytest.raises(pickle.UnpicklingError, match="Ours"):
        roundtrip(made)
    with S.safe_globals([Ours]):
        assert type(roundtrip(made)) is Ours
    assert type(pickle.loads(pickle.dumps(made))) is Ours and type(copy.deepcopy(made)) is Ours and copy.deepcopy(made).note == 4


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickle(protocol):
    for name in ("float32", "bfloat16", "uint16", "transposed", "scalar", "empty2", "parameter", "leaf", "bool", "ours"):
        ours = theirs_to_ours(SAMPLES[name])
        same(pickle.loads(pickle.dumps(ours, protocol)), SAMPLES[name])
    base, tail, *_ = pickle.loads(pickle.dumps(theirs_to_ours(SAMPLES["shared"]), protocol))
    base._a[2] = 99.
    assert tail.tolist()[0] == 2.       # each tensor brings its memory, as in PyTorch's; torch.save keeps what is shared


def test_deepcopy():
    for name in ("float32", "bfloat16", "transposed", "scalar", "empty2", "parameter", "leaf", "state", "ours", "expanded"):
        same(copy.deepcopy(theirs_to_ours(SAMPLES[name])), copy.deepcopy(SAMPLES[name]))
    base, tail, _, again = copy.deepcopy(theirs_to_ours(SAMPLES["shared"]))
    base._a[2] = 99.
    assert tail.tolist()[0] == 99. and base is again
    leaf = theirs_to_ours(SAMPLES["leaf"])
    leaf.grad, leaf.note = theirs_to_ours(pt.tensor([3., 4.])), [1]
    twin = copy.deepcopy(leaf)
    assert twin.grad.tolist() == [3., 4.] and twin.grad is not leaf.grad and twin.note == [1] and twin.note is not leaf.note
    with pytest.raises(RuntimeError, match="Only Tensors created explicitly by the user"):
        copy.deepcopy(leaf * 2)
    assert pickle.loads(pickle.dumps(leaf * 2)).is_leaf


# --- modules and optimizers ----------------------------------------------------------------------------------------------------------

def test_whole_modules_both_ways():
    nn = pytest.importorskip("rushlight.nn")
    theirs = pt.nn.Sequential(OrderedDict(a=pt.nn.Linear(3, 4), n=pt.nn.BatchNorm1d(4), r=pt.nn.ReLU(), d=pt.nn.Dropout(0.25))).eval()
    ours = theirs_to_ours(theirs, {"weights_only": False})
    assert type(ours) is nn.Sequential and repr(ours) == repr(theirs) and not ours.training
    same(ours.state_dict(), theirs.state_dict())
    x = pt.randn(5, 3)
    np.testing.assert_allclose(ours(theirs_to_ours(x)).detach().numpy(), theirs(x).detach().numpy(), rtol=1e-5, atol=1e-6)
    back = ours_to_theirs(ours, {"weights_only": False})
    assert type(back) is pt.nn.Sequential and repr(back) == repr(theirs)
    assert pt.equal(back(x), theirs(x))
    with pytest.raises(pickle.UnpicklingError, match=r"torch.nn.modules.container.Sequential"):
        theirs_to_ours(theirs)
    kinds = [nn.Sequential, nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Dropout, set]
    with S.safe_globals(kinds):
        assert repr(theirs_to_ours(theirs)) == repr(theirs)


def test_training_goes_on_from_a_checkpoint_on_either_side():
    nn = pytest.importorskip("rushlight.nn")
    optim = pytest.importorskip("rushlight.optim")
    pt.manual_seed(0)
    x = pt.randn(8, 3)
    model = pt.nn.Linear(3, 2)
    optimizer = pt.optim.Adam(model.parameters(), lr=0.1)

    def step(model, optimizer, x):
        optimizer.zero_grad()
        loss = (model(x) ** 2).mean()
        loss.backward()
        optimizer.step()
        return loss.item()

    for _ in range(3):
        step(model, optimizer, x)
    checkpoint = theirs_to_ours({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3})
    ours = nn.Linear(3, 2)
    ours.load_state_dict(checkpoint["model"])
    our_optimizer = optim.Adam(ours.parameters(), lr=0.5)
    our_optimizer.load_state_dict(checkpoint["optimizer"])
    ox = theirs_to_ours(x)
    for _ in range(3):
        assert math.isclose(step(ours, our_optimizer, ox), step(model, optimizer, x), rel_tol=1e-5)
    back = ours_to_theirs({"model": ours.state_dict(), "optimizer": our_optimizer.state_dict()})
    model.load_state_dict(back["model"])
    optimizer.load_state_dict(back["optimizer"])
    assert math.isclose(step(ours, our_optimizer, ox), step(model, optimizer, x), rel_tol=1e-5)


# --- storages ------------------------------------------------------------------------------------------------------------------------

def test_untyped_storages():
    x, y = pt.arange(6.).view(2, 3), theirs_to_ours(pt.arange(6.).view(2, 3))
    theirs, ours = x.untyped_storage(), y.untyped_storage()
    assert repr(ours) == repr(theirs) and (len(ours), ours.nbytes(), ours.size()) == (24, 24, 24)
    assert ours is y.untyped_storage() and ours.data_ptr() == y.data_ptr() and ours.tolist() == theirs.tolist()
    assert (ours[6], ours[-1], ours[4:8].tolist(), ours.device.type) == (128, 64, [0, 0, 128, 63], "cpu")
    with pytest.raises(IndexError):
        ours[99]
    with pytest.raises(RuntimeError, match="not resizable"):
        ours.resize_(48)
    assert ours.resize_(24) is ours
    own = S.UntypedStorage(4)
    own.fill_(7)
    own.resize_(6)
    assert own.tolist()[:4] == [7] * 4 and len(own) == 6
    ours.copy_(S.storage_of(np.zeros(6, np.float32)))
    assert y.tolist() == [[0., 0., 0.], [0., 0., 0.]]
    ours[3] = 64
    assert y._a[0, 0] == 2.
    assert S.UntypedStorage([1, 2]).clone().tolist() == [1, 2]
    with pytest.raises(RuntimeError):
        S.UntypedStorage(-1)


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
def test_typed_storages():
    from rushlight.storage import LEGACY_STORAGES, TypedStorage
    for name in ("float32", "bfloat16", "int64", "bool"):
        x = pt.tensor([1, 0, 3]).to(getattr(pt, name))
        theirs, ours = x.storage(), theirs_to_ours(x).storage()
        assert repr(ours) == repr(theirs) and ours.tolist() == theirs.tolist() and ours.type() == theirs.type()
        assert (ours[2], len(ours), ours.element_size(), ours.nbytes()) == (theirs[2], 3, theirs.element_size(), theirs.nbytes())
        assert repr(ours.double()) == repr(theirs.double())
    made = torch.FloatStorage([1, 2])
    assert torch.FloatStorage is LEGACY_STORAGES["FloatStorage"] and repr(torch.FloatStorage) == repr(pt.FloatStorage)
    assert type(made) is TypedStorage and isinstance(made, LEGACY_STORAGES["FloatStorage"]) and not isinstance(made, LEGACY_STORAGES["IntStorage"])
    made[0] = 5
    assert made.tolist() == [5., 2.] and copy.deepcopy(made).tolist() == [5., 2.] and pickle.loads(pickle.dumps(made)).tolist() == [5., 2.]
    assert ours_to_theirs(made, {"weights_only": True}).tolist() == [5., 2.]


def test_parameter_class_may_be_named():
    """A Parameter with a __torch_function__ subclass' marks is pickled with its class."""
    assert S.get_unsafe_globals_in_checkpoint(io.BytesIO(bytes_of(pt.save, [pt.nn.Parameter, pt.Tensor, pt.ones(1)]))) == []
    assert theirs_to_ours([pt.nn.Parameter, pt.Tensor]) == [Parameter, torch.Tensor]


def test_generators_and_lazy_parameters():
    from rushlight.generator import Generator
    from rushlight.nn.parameter import UninitializedParameter
    theirs = pt.Generator().manual_seed(3)
    pt.rand(5, generator=theirs)
    ours = theirs_to_ours(theirs, {"weights_only": False})
    assert type(ours) is Generator and ours.get_state().tolist() == theirs.get_state().tolist()
    back = ours_to_theirs(ours, {"weights_only": False})
    assert pt.equal(pt.rand(5, generator=back), pt.rand(5, generator=theirs))
    assert pickle.loads(pickle.dumps(ours)).get_state().tolist() == ours.get_state().tolist()
    lazy = UninitializedParameter(dtype=torch.float64)
    assert type(ours_to_theirs(lazy, {"weights_only": False})) is pt.nn.UninitializedParameter
    assert type(roundtrip(lazy, {"weights_only": False})) is UninitializedParameter
    assert type(theirs_to_ours(pt.nn.UninitializedParameter(), {"weights_only": False})) is UninitializedParameter


def test_numpy_scalars_need_permission():
    raw = bytes_of(pt.save, {"accuracy": np.float64(0.5)})
    with pytest.raises(pickle.UnpicklingError, match="multiarray.scalar"):
        S.load(io.BytesIO(raw))
    with S.safe_globals([np._core.multiarray.scalar, np.dtype, np.dtypes.Float64DType]):
        assert S.load(io.BytesIO(raw)) == {"accuracy": 0.5}


def test_names_of_classes():
    from importlib import import_module

    from rushlight.serialization import names
    seen = 0
    for space in ("torch", "torch.nn", "torch.nn.parameter", "torch.optim", "torch.optim.lr_scheduler", "torch.utils.data", "torch.nn.utils.rnn",
                  "torch.distributions", "torch.distributions.transforms", "torch.amp", "torch.utils.hooks", "torch.masked"):
        theirs = import_module(space)
        ours = import_module("rushlight" + space[len("torch"):])
        for name in [name for name in dir(theirs) if isinstance(getattr(theirs, name), type) and not name.startswith("_")]:
            module = getattr(theirs, name).__module__
            found = getattr(ours, name, None)
            if not module.startswith("torch") or not isinstance(found, type) or module.startswith(("torch.jit", "torch.cuda")):
                continue
            if name.endswith("Storage") or "LinearCrossEntropy" in name or name in ("ScriptModule", "Future"):      # (one class, not two)
                continue
            assert names.torch_name(found) == (module, getattr(theirs, name).__qualname__), name
            assert names.our_object(module, name) is found
            seen += 1
    assert seen > 300
    with pytest.raises(AttributeError, match="torch.nowhere.Nothing"):
        names.our_object("torch.nowhere", "Nothing")
    assert names.torch_name(Settings) is None and names.torch_name(len) is None


@pytest.mark.parametrize("make", [lambda m: m.eye(3).to_sparse(), lambda m: m.eye(3).to_sparse_csr(), lambda m: m.eye(3).to_sparse_csc()])
@pytest.mark.parametrize("careful", [True, False])
def test_sparse_tensors_in_the_old_format(make, careful):
    """There the contents of the indices follow after the objects."""
    for module in (torch, pt):
        data = bytes_of(module.save, {"a": make(module), "b": module.ones(2)}, _use_new_zipfile_serialization=False)
        loaded = torch.load(io.BytesIO(data), weights_only=careful)
        assert str(loaded["a"].layout) == str(make(pt).layout) and loaded["a"].to_dense().tolist() == pt.eye(3).tolist()
        assert loaded["b"].tolist() == [1, 1]


def test_sparse_tensors_in_the_old_format_are_checked():
    data = bytes_of(torch.save, torch.eye(3).to_sparse(), _use_new_zipfile_serialization=False)
    at = data.index(np.array([0, 1, 2, 0, 1, 2], np.int64).tobytes())
    with pytest.raises(RuntimeError, match="size is inconsistent with indices"):
        torch.load(io.BytesIO(data[:at] + np.int64(7).tobytes() + data[at + 8:]))
    assert torch.load(io.BytesIO(data)).to_dense().tolist() == torch.eye(3).tolist()


def test_old_files_read_as_bytes():
    data = bytes_of(pt.save, [b"text", pt.ones(2)], _use_new_zipfile_serialization=False, pickle_protocol=2)
    data = data.replace(b"X\x07\x00\x00\x00storage", b"U\x07storage").replace(b"X\x03\x00\x00\x00cpu", b"U\x03cpu")       # as Python 2 wrote them
    for module in (pt, torch):
        loaded = module.load(io.BytesIO(data), encoding="bytes")
        assert loaded[0] == b"text" and loaded[1].tolist() == [1, 1]


def test_files_without_checksums():
    for module in (pt, torch):
        assert module.serialization.get_crc32_options() is True
        module.serialization.set_crc32_options(False)
        try:
            data = bytes_of(module.save, {"a": module.arange(5.)})
        finally:
            module.serialization.set_crc32_options(True)
        assert zipfile.ZipFile(io.BytesIO(data)).testzip() is not None
        for reader in (pt, torch):
            assert reader.load(io.BytesIO(data))["a"].tolist() == [0, 1, 2, 3, 4]
