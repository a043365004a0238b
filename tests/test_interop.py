"""Memory shared with others: DLPack, NumPy's protocols, buffers, other processes, safetensors."""

import copy
import pickle
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch as pt

import rushlight as rl
from rushlight.utils import dlpack

DTYPES = "bool uint8 int8 int16 int32 int64 uint16 uint32 uint64 float16 bfloat16 float32 float64 complex64 complex128".split()


def run(tmp_path, text, timeout=120):
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent(text))
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, timeout=timeout, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- DLPack -------------------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("dtype", DTYPES)
def test_dlpack_with_pytorch(dtype):
    theirs = pt.tensor([[0, 1, 1], [1, 0, 1]]).to(getattr(pt, dtype)).T
    ours = rl.from_dlpack(theirs)
    assert str(ours.dtype) == str(theirs.dtype) and ours.tolist() == theirs.tolist() and ours.stride() == theirs.stride()
    ours[0, 0] = 1
    assert theirs[0, 0].item() == 1 and ours.data_ptr() == theirs.data_ptr()
    back = pt.from_dlpack(ours)
    assert back.data_ptr() == theirs.data_ptr() and back.dtype == theirs.dtype
    legacy = rl.from_dlpack(theirs.__dlpack__())
    legacy[2, 1] = 0
    assert not theirs[2, 1].item() and legacy.untyped_storage().nbytes() == theirs.numel() * theirs.element_size()
    for each in (pt.zeros(0, 3), pt.tensor(1.0)):
        assert rl.from_dlpack(each.to(getattr(pt, dtype))).shape == tuple(each.shape)
        assert pt.from_dlpack(rl.tensor(each.tolist()).reshape(each.shape).to(getattr(rl, dtype))).shape == each.shape


def test_dlpack_with_numpy():
    a = np.arange(6.0).reshape(2, 3)
    t = rl.from_dlpack(a)
    t[0, 0] = 9
    assert a[0, 0] == 9
    b = np.from_dlpack(t)
    b[1, 1] = 7
    assert t[1, 1] == 7 and a[1, 1] == 7
    c = rl.from_dlpack(a, copy=True)
    c[0, 0] = 1
    assert a[0, 0] == 9
    assert rl.from_dlpack(a, device="cpu").data_ptr() == a.ctypes.data


def test_dlpack_keeps_memory_alive():
    t = rl.from_dlpack(np.arange(100_000.0))
    u = np.from_dlpack(rl.arange(100_000.0, dtype=rl.float64))
    assert t.sum() == u.sum() == 99_999 * 50_000


def test_dlpack_arguments_and_errors():
    t = rl.ones(2)
    assert t.__dlpack_device__() == (1, 0) == pt.ones(2).__dlpack_device__() and repr(t.__dlpack_device__()) == repr(pt.ones(2).__dlpack_device__())
    for module in (rl, pt):
        x = module.ones(2)
        capsule = module.utils.dlpack.to_dlpack(x)
        module.from_dlpack(capsule)
        with pytest.raises(RuntimeError, match="consumed only once"):
            module.from_dlpack(capsule)
        with pytest.raises(BufferError, match="Can't export tensors that require gradient"):
            module.ones(2, requires_grad=True).__dlpack__()
        with pytest.raises(AssertionError, match="stream should be None on cpu"):
            x.__dlpack__(stream=1)
        with pytest.raises(RuntimeError):
            module.from_dlpack(3)
        assert '"dltensor_versioned"' in repr(x.__dlpack__(max_version=(1, 0)))
        copied = module.from_dlpack(x.__dlpack__(copy=True))
        copied[0] = 5
        assert x[0] == 1
    assert [each.name for each in dlpack.DLDeviceType] == [name for name in dir(pt.utils.dlpack.DLDeviceType) if name.startswith("kDL")] or \
        {each.name: int(each) for each in dlpack.DLDeviceType} == {each.name: int(each) for each in pt.utils.dlpack.DLDeviceType}


# --- NumPy's protocols and buffers ----------------------------------------------------------------------------------------------------------

def test_an_array_of_a_tensor_has_a_shape_of_its_own():
    """Who sets the shape or the dtype of the array that he got does not reshape the tensor, nor the other way round."""
    t = rl.zeros(4)
    for array in (t.numpy(), np.asarray(t), np.from_dlpack(t)):
        array.shape = (2, 2)
        assert t.shape == (4,)
    array[1, 1] = 3
    assert t[3] == 3
    given = np.zeros(4)
    for made in (rl.from_numpy(given), rl.as_tensor(given), rl.frombuffer(given, dtype=rl.float64)):
        given.shape = (2, 2)
        assert made.shape == (4,)
        given.shape = (4,)


def test_numpy_functions_return_tensors():
    for module in (rl, pt):
        t = module.tensor([0.0, 1.0])
        assert isinstance(np.sin(t), module.Tensor) and np.sin(t).tolist() == np.sin(np.array([0, 1], np.float32)).tolist()
        assert np.greater(t, 0).dtype is module.uint8
        assert isinstance(np.add(np.ones(2), t), module.Tensor)
        assert np.asarray(t).ctypes.data == t.data_ptr()
        assert np.asarray(t, dtype=np.float64).dtype == np.float64
        assert bytes(module.tensor([1, 2], dtype=module.uint8)) == b"\x01\x02"
        with pytest.raises(RuntimeError, match="requires grad"):
            np.asarray(module.ones(2, requires_grad=True))
        with pytest.raises(TypeError):
            memoryview(t)
        assert not hasattr(t, "__array_interface__")


def test_buffers():
    memory = bytearray(range(8))
    for module in (rl, pt):
        t = module.frombuffer(memory, dtype=module.int16, offset=2, count=2)
        t[0] = 5
        assert memory[2] == 5 and t.tolist()[0] == 5
        for wrong in ({"offset": 9}, {"count": 9}, {"offset": 1}, {"count": 0}):
            with pytest.raises(ValueError):
                module.frombuffer(memory, dtype=module.int16, **wrong)
        a = np.arange(3.0)
        shared = module.from_numpy(a)
        shared += 1
        assert a.tolist() == [1, 2, 3]
        with pytest.raises(TypeError):
            module.from_numpy([1])


# --- pickles and copies ---------------------------------------------------------------------------------------------------------------------

def test_pickle_and_deepcopy():
    base = rl.arange(6.0)
    values = {"t": base, "view": base[2:4], "p": rl.nn.Parameter(rl.ones(2)), "m": rl.nn.Linear(2, 2), "g": rl.ones(2, requires_grad=True),
              "b": rl.ones(2, dtype=rl.bfloat16), "z": rl.zeros(0, 3), "d": rl.float32, "dev": rl.device("cpu"), "size": base.shape}
    for copied, again in ((True, copy.deepcopy(values)), (False, pickle.loads(pickle.dumps(values)))):
        assert rl.equal(again["t"], base) and again["g"].requires_grad and isinstance(again["p"], rl.nn.Parameter)
        again["t"][2] = 77
        assert again["view"].tolist() == ([77, 3] if copied else [2, 3]) and base[2] == 2        # plain pickles have a storage for each tensor, as PyTorch's do
        assert again["d"] is rl.float32 and again["dev"] == rl.device("cpu") and again["size"] == rl.Size([6])
        assert rl.equal(again["m"].weight, values["m"].weight) and again["b"].dtype is rl.bfloat16 and again["z"].shape == (0, 3)
    with pytest.raises(RuntimeError):
        copy.deepcopy(rl.ones(2, requires_grad=True) * 2)


# --- other processes ------------------------------------------------------------------------------------------------------------------------

PROGRAM = """
    import os, sys, time
    import {module} as torch
    import {module}.multiprocessing as mp

    def child(tasks, results):
        while (x := tasks.get()) is not None:
            x.detach().add_(1)
            results.put(x.is_shared())
            del x
        results.put([torch.arange(3.0), torch.nn.Parameter(torch.ones(2))])
        tasks.get()

    def mark(i, t):
        t[i] = i + 1

    def bad(i):
        if i == 1:
            raise ValueError("no good")
        time.sleep(60)

    def ends(i):
        os._exit(3)

    def main(method):
        context = mp.get_context(method)
        tasks, results = context.Queue(), context.Queue()
        process = context.Process(target=child, args=(tasks, results))
        process.start()
        t = torch.zeros(4).share_memory_()
        transposed = torch.zeros(2, 3).T
        for x in (t, t[1:], torch.zeros(3), transposed, torch.zeros(2, dtype=torch.bfloat16), torch.ones(2, requires_grad=True)):
            tasks.put(x)
            assert results.get()
            if x is not transposed:
                print(x.tolist(), x.is_shared())
        tasks.put(None)
        a, p = results.get()
        print(a, p)
        tasks.put(1)
        process.join()
        try:
            mp.reducer.ForkingPickler.dumps(torch.ones(2, requires_grad=True) * 2)
        except RuntimeError as error:
            print(error)
        except AttributeError:
            import multiprocessing.reduction as reduction
            try:
                reduction.ForkingPickler.dumps(torch.ones(2, requires_grad=True) * 2)
            except RuntimeError as error:
                print(error)

    if __name__ == "__main__":
        for method in ("fork", "spawn"):
            main(method)
        t = torch.zeros(3).share_memory_()
        mp.spawn(mark, (t,), nprocs=3)
        print(t)
        context = mp.start_processes(mark, (t,), nprocs=2, join=False, start_method="fork")
        print(len(context.pids()))
        while not context.join():
            pass
        try:
            mp.spawn(bad, nprocs=2)
        except mp.ProcessRaisedException as error:
            print(error.error_index, str(error).splitlines()[2], str(error).splitlines()[-1])
        try:
            mp.spawn(ends, nprocs=1)
        except mp.ProcessExitedException as error:
            print(error, error.exit_code)
        print(mp.get_sharing_strategy(), mp.cpu_count() > 0)
    """


def test_processes_share_tensors_as_with_pytorch(tmp_path):
    ours, theirs = (run(tmp_path, PROGRAM.format(module=module)) for module in ("rushlight", "torch"))
    assert ours == theirs


def test_shared_copies():
    t = rl.arange(3.0)
    assert not t.is_shared() and t.share_memory_() is t and t.is_shared() and t.tolist() == [0, 1, 2]
    assert t.share_memory_().data_ptr() == t.data_ptr()
    with pytest.raises(NotImplementedError, match="view"):
        rl.arange(4.0)[1:].share_memory_()
    module = rl.nn.Linear(2, 2).share_memory()
    assert module.weight.is_shared()
    import rushlight.multiprocessing as mp
    assert mp.get_all_sharing_strategies() == {"file_descriptor"}
    with pytest.raises(NotImplementedError, match="file_descriptor"):
        mp.set_sharing_strategy("file_system")


# --- safetensors ------------------------------------------------------------------------------------------------------------------------------

def test_safetensors_under_compat(tmp_path):
    pytest.importorskip("safetensors")
    from safetensors.torch import load_file, save_file
    theirs = {"a": pt.arange(6.0).reshape(2, 3), "b": pt.tensor([1.5, 2.5], dtype=pt.bfloat16), "i": pt.tensor([1, -2], dtype=pt.int8)}
    save_file(theirs, tmp_path / "theirs.safetensors")
    assert run(tmp_path, """
        import rushlight.compat
        rushlight.compat.install()
        import torch
        from safetensors import safe_open
        from safetensors.torch import load, load_file, load_model, save, save_file, save_model
        assert torch.__name__ == "torch" and "rushlight" in torch.__file__
        read = load_file("theirs.safetensors")
        assert read["a"].tolist() == [[0, 1, 2], [3, 4, 5]] and read["b"].dtype is torch.bfloat16 and read["i"].tolist() == [1, -2]
        tensors = {str(d): torch.tensor([0, 1, 1]).to(d) for d in (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64,
                                                                   torch.float16, torch.bfloat16, torch.float32, torch.float64)}
        tensors["empty"], tensors["grad"] = torch.zeros(0, 3), torch.nn.Parameter(torch.ones(2))
        save_file(tensors, "ours.safetensors", metadata={"who": "rushlight"})
        for again in (load_file("ours.safetensors"), load(save(tensors))):
            for name, t in tensors.items():
                assert torch.equal(again[name], t) and again[name].dtype is t.dtype, name
        with safe_open("ours.safetensors", "pt", device="cpu") as f:
            assert f.metadata() == {"who": "rushlight"} and f.get_slice("torch.float32")[1:].tolist() == [1, 1]
        tied = torch.nn.Sequential(torch.nn.Linear(2, 2))
        tied.append(tied[0])
        save_model(tied, "model.safetensors")
        other = torch.nn.Sequential(torch.nn.Linear(2, 2))
        other.append(other[0])
        print(load_model(other, "model.safetensors"), torch.equal(tied[0].weight, other[1].weight))
        try:
            save_file({"a": tensors["torch.float32"], "b": tensors["torch.float32"][1:]}, "x.safetensors")
        except RuntimeError as error:
            print("share memory" in str(error))
        """) == "(set(), []) True\nTrue\n"
    again = load_file(tmp_path / "ours.safetensors")
    assert again["torch.bfloat16"].dtype == pt.bfloat16 and again["grad"].tolist() == [1, 1] and again["empty"].shape == (0, 3)


@pytest.mark.parametrize("find", [lambda t: t.tensor([1 + 1j]).conj(), lambda t: t.eye(2).to_sparse(), lambda t: t.ones(2, requires_grad=True)])
def test_what_dlpack_can_not_say_is_refused(find):
    for module in (pt, rl):
        with pytest.raises(BufferError, match="conjugate bit|torch.strided|require gradient"):
            find(module).__dlpack__()


def test_lists_of_arrays_are_warned_of():
    for module in (pt, rl):
        module.set_warn_always(True)
        try:
            with pytest.warns(UserWarning, match="list of numpy.ndarrays is extremely slow"):
                module.tensor([np.ones(2), np.ones(2)])
        finally:
            module.set_warn_always(False)


ASARRAY = {
    "leaf": lambda t: t.asarray(t.ones(2, requires_grad=True)), "detached": lambda t: t.asarray(t.ones(2, requires_grad=True), requires_grad=False),
    "kept": lambda t: t.asarray(t.ones(2, requires_grad=True) * 2, requires_grad=True), "copy": lambda t: t.asarray(t.ones(2, requires_grad=True), copy=True),
    "copy, detached": lambda t: t.asarray(t.ones(2, requires_grad=True) * 2, copy=True, requires_grad=False),
    "list": lambda t: t.asarray([1.], requires_grad=True), "converted": lambda t: t.asarray(t.ones(2, requires_grad=True) * 2, dtype=t.float64),
    "capsule": lambda t: t.asarray(t.utils.dlpack.to_dlpack(t.ones(2)), dtype=t.float64, copy=True),
    "buffer": lambda t: t.asarray(memoryview(bytearray(8)), dtype=t.int32, copy=False), "bytes": lambda t: t.asarray(bytearray(8)),
    "no alias": lambda t: t.asarray([1.], copy=False), "no alias of others": lambda t: t.asarray(t.ones(2), dtype=t.int32, copy=False),
}


@pytest.mark.parametrize("name", ASARRAY)
def test_asarray(name):
    found = []
    for module in (rl, pt):
        try:
            r = ASARRAY[name](module)
            found.append((r.tolist(), str(r.dtype), r.requires_grad, r.is_leaf, str(r.grad_fn).partition(" ")[0].replace("ToCopy", "Clone")))
        except ValueError as error:
            found.append(type(error))
    assert found[0] == found[1]


def test_read_only_buffers_are_warned_of():
    for module in (pt, rl):
        module.set_warn_always(True)
        try:
            with pytest.warns(UserWarning, match="given buffer is not writable"):
                module.frombuffer(bytes(8), dtype=module.float32)
        finally:
            module.set_warn_always(False)
