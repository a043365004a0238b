"""What happens to a program from outside: killed while it saves, no room on the disk, interrupted, forked while it computes; and that nothing is kept."""

import gc
import io
import multiprocessing
import os
import random
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
import tracemalloc

import pytest

import rushlight as torch

_SAVE = """
    import sys
    import rushlight as torch
    path, n = sys.argv[1], 0
    print("ready", flush=True)
    while True:
        n += 1
        torch.save({"n": n, "x": torch.full((200_000,), float(n))}, path)
"""


def _program(text, *args):
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(text), *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_killed_while_it_saves(tmp_path):
    path, draw = tmp_path / "checkpoint.pt", random.Random(14)
    torch.save({"n": 0, "x": torch.zeros(200_000)}, path)
    for _ in range(4):
        program = _program(_SAVE, path)
        assert program.stdout.readline() == "ready\n"
        time.sleep(0.02 + 0.1 * draw.random())
        program.kill()
        program.communicate()
        found = torch.load(path)
        assert (found["x"] == found["n"]).all()
    torch.save({"n": -1, "x": torch.full((2,), -1.0)}, path)
    assert os.listdir(tmp_path) == ["checkpoint.pt"] and torch.load(path)["n"] == -1          # what killed saves leave is cleaned up


def test_no_room_on_the_disk(tmp_path):
    path = tmp_path / "checkpoint.pt"
    torch.save(torch.ones(3), path)
    program = _program("""
        import resource, signal, sys
        import rushlight as torch
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            torch.save(torch.zeros(1_000_000), sys.argv[1])
        except (OSError, RuntimeError) as error:
            print("refused", type(error).__name__)
    """, path)
    out, err = program.communicate(timeout=60)
    assert out.startswith("refused"), err
    assert torch.load(path).tolist() == [1, 1, 1] and os.listdir(tmp_path) == ["checkpoint.pt"]


@pytest.mark.parametrize("body", ["torch.ones(300, 300).matmul(torch.ones(300, 300))", "torch.randn(100_000).sort()",
                                  "model(torch.ones(64, 50)).sum().backward()"])
def test_interrupted(body):
    program = _program(f"""
        import signal
        import rushlight as torch
        signal.signal(signal.SIGINT, signal.default_int_handler)       # a shell starts what runs in the background without it
        model = torch.nn.Sequential(torch.nn.Linear(50, 50), torch.nn.ReLU(), torch.nn.Linear(50, 5))
        print("ready", flush=True)
        try:
            while True:
                {body}
        except KeyboardInterrupt:
            print("interrupted", torch.ones(3).sum().item())
    """)
    assert program.stdout.readline() == "ready\n"
    time.sleep(0.2)
    program.send_signal(signal.SIGINT)
    try:
        out, err = program.communicate(timeout=30)
    finally:
        program.kill()
    assert out == "interrupted 3.0\n", err


def _child(queue):
    queue.put(torch.ones(200, 200).matmul(torch.ones(200, 200)).sum().item())


def test_forked_under_load():
    stop = threading.Event()

    def load():
        while not stop.is_set():
            torch.ones(200, 200).matmul(torch.ones(200, 200)).exp()
    threads = [threading.Thread(target=load) for _ in range(2)]
    for each in threads:
        each.start()
    try:
        context = multiprocessing.get_context("fork")
        for _ in range(3):
            queue = context.SimpleQueue()
            child = context.Process(target=_child, args=(queue,))
            child.start()
            child.join(30)
            assert child.exitcode == 0 and queue.get() == 8e6
    finally:
        stop.set()
        for each in threads:
            each.join()


_LEAKS = {
    "training": lambda x: torch.nn.functional.linear(x, x).relu().sum().backward(),
    "a refused call": lambda x: pytest.raises(RuntimeError, torch.add, x, torch.ones(7)),
    "a wrong type": lambda x: pytest.raises(TypeError, torch.index_select, x, 0, "x"),
    "a view chain": lambda x: x.detach().clone().view(-1)[3:].add_(1),
    "a hook": lambda x: x.mul(2).register_hook(lambda g: None).remove(),
}


@pytest.mark.parametrize("what", _LEAKS)
def test_nothing_is_kept(what):
    x = torch.ones(100, 100, requires_grad=True)

    def some(n):
        for _ in range(n):
            _LEAKS[what](x)
            x.grad = None
        gc.collect()
        return len(gc.get_objects())
    some(20)
    before, memory = some(20), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert some(200) - before < 50
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 8000                # 200 of 40 kB would be as much


_LOADER = """
    import os, signal, sys, time
    import rushlight as torch
    import rushlight.utils.data as data
    signal.signal(signal.SIGINT, signal.default_int_handler)

    class Samples(data.Dataset):
        def __len__(self):
            return 1000

        def __getitem__(self, index):
            what = sys.argv[1]
            if index == 6 and what == "hangs":
                time.sleep(600)
            if index == 6 and what == "stops":
                os.kill(os.getpid(), signal.SIGSTOP)
            return torch.full((50_000,), float(index))

    loader = data.DataLoader(Samples(), batch_size=2, num_workers=2, timeout=2 if sys.argv[1] in ("hangs", "stops") else 0, persistent_workers=sys.argv[2] == "stay")
    batches = iter(loader)
    next(batches)
    print(*[process.pid for process in batches._pool.processes], flush=True)
    try:
        time.sleep(0.3)                      # the reader of the line above must not read on
        if sys.argv[1] == "breaks":
            raise KeyError("in the middle")
        if sys.argv[1] == "exits":
            sys.exit(3)
        for batch in batches:
            time.sleep(0.05)
    except BaseException as error:
        print(type(error).__name__, str(error)[:40], flush=True)
        raise
"""


def _lives(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("stay", ["stay", "go"])
@pytest.mark.parametrize("what, told", [("hangs", "RuntimeError DataLoader timed out after 2"), ("stops", "RuntimeError DataLoader timed out after 2"),
                                        ("breaks", "KeyError 'in the middle'"), ("exits", "SystemExit 3"), ("interrupted", "KeyboardInterrupt")])
def test_a_program_with_workers_ends_and_leaves_none(what, told, stay):
    """Workers that hang or stand still, an error in the loop, an exit, Ctrl-C: the error is the program's own, and no worker outlives it."""
    program = _program(_LOADER, what, stay)
    pids = [int(word) for word in program.stdout.readline().split()]
    assert len(pids) == 2
    if what == "interrupted":
        time.sleep(0.2)
        program.send_signal(signal.SIGINT)
    try:
        out, err = program.communicate(timeout=60)
        end = time.monotonic() + 20
        while any(map(_lives, pids)) and time.monotonic() < end:
            time.sleep(0.05)
        left = [pid for pid in pids if _lives(pid)]
    finally:
        program.kill()
        for pid in pids:
            if _lives(pid):
                os.kill(pid, signal.SIGKILL)
    assert out.startswith(told), (out, err)
    assert program.returncode != 0 and not left


class _Failing(torch.autograd.Function):
    """Forward as it is, backward an error."""

    @staticmethod
    def forward(ctx, x):
        ctx.kept = torch.ones(100)
        ctx.save_for_backward(x)
        return x * 2

    @staticmethod
    def backward(ctx, g):
        raise ValueError("in backward")


def _step(x):
    model = torch.nn.Sequential(torch.nn.Linear(100, 20), torch.nn.BatchNorm1d(20), torch.nn.ReLU(), torch.nn.Linear(20, 3))
    optimizer = torch.optim.Adam(model.parameters())
    torch.nn.functional.cross_entropy(model(x.detach()), torch.zeros(100, dtype=torch.int64)).backward()
    optimizer.step()
    optimizer.zero_grad()


def _saved_and_loaded(x):
    buffer = io.BytesIO()
    torch.save({"x": x.detach(), "state": torch.nn.Linear(3, 3).state_dict()}, buffer)
    buffer.seek(0)
    torch.load(buffer)
    pytest.raises(RuntimeError, torch.load, io.BytesIO(buffer.getvalue()[:-200]))


def _hooked(x):
    layer = torch.nn.Linear(100, 2)
    layer.register_forward_hook(lambda module, given, result: result * 2)
    layer.register_full_backward_hook(lambda module, given, got: None)
    y = layer(x)
    y.register_hook(lambda g: g * 2)
    y.sum().backward()


def _mapped(x):
    torch.func.vmap(torch.func.grad(lambda row: (row * row).sum()))(x.detach())
    torch.func.jvp(torch.sin, (x.detach(),), (x.detach(),))


def _second_order(x):
    y = (x * x * x).sum()
    g, = torch.autograd.grad(y, x, create_graph=True)
    g.sum().backward()


_LONGER_LEAKS = {
    "a backward pass that fails": lambda x: pytest.raises(ValueError, _Failing.apply(x).sum().backward),
    "a graph freed twice": lambda x: pytest.raises(RuntimeError, lambda y: (y.backward(), y.backward()), x.exp().sum()),
    "steps of an optimizer": _step,
    "saving and loading": _saved_and_loaded,
    "hooks on modules": _hooked,
    "transforms": _mapped,
    "second derivatives": _second_order,
    "an op that is written into": lambda x: pytest.raises(RuntimeError, lambda y: (y.add_(1), y.sum().backward()), (x * 1).sigmoid()),
    "an error inside no_grad": lambda x: pytest.raises(RuntimeError, torch.no_grad()(lambda: x @ torch.ones(7, 7))),
}


@pytest.mark.parametrize("what", _LONGER_LEAKS)
def test_neither_objects_nor_memory_grow(what):
    """Thirty times as often, as many objects, and as much memory of Python's and NumPy's allocators."""
    x = torch.ones(100, 100, requires_grad=True)

    def some(n):
        for _ in range(n):
            _LONGER_LEAKS[what](x)
            x.grad = None
        gc.collect()
        return len(gc.get_objects()), tracemalloc.get_traced_memory()[0]
    tracemalloc.start()
    try:
        some(5)
        objects, memory = some(5)
        more, grown = some(30)
    finally:
        tracemalloc.stop()
    assert more - objects < 30 and grown - memory < 60_000                   # one array of x's size, kept each time, would be 1,200,000
