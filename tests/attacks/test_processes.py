"""What happens to a program from outside: killed while it saves, no room on the disk, interrupted, forked while it computes; and that nothing is kept."""

import gc
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
