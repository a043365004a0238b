"""Run a function of a test module in several processes at once, each with RANK, WORLD_SIZE and a common store's address in its environment.

``run(function, 3)`` imports the function's module by its name in three new processes and calls it; what it returns (pickled) comes back, in
the order
of ranks. A process that raises makes the test fail with its traceback.
"""

import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


class Ended:
    """How a process ended: its exit code, what it printed, what its function returned."""

    def __init__(self, code, err, value):
        self.code, self.err, self.value = code, err, value


def start(function, size, *args, env=None):
    """The processes, begun, and the folder of their results."""
    folder = tempfile.mkdtemp()
    port = str(free_port())
    begun = []
    for rank in range(size):
        own = {**os.environ, "RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1",
               "MASTER_PORT": port,
               "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", **(env or {})}
        program = [sys.executable, "-m", "tests.support.processes", function.__module__, function.__qualname__, folder, *args]
        with open(f"{folder}/err{rank}", "wb") as err:
            begun.append(subprocess.Popen(program, env=own, cwd=ROOT, stderr=err, stdout=err, start_new_session=True))
    return begun, folder


def finish(begun, folder, timeout=120):
    """Wait for the processes; those that do not end are killed."""
    end = time.monotonic() + timeout
    found = []
    for rank, process in enumerate(begun):
        try:
            code = process.wait(max(0.1, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            code = "hung"
            process.wait()
        result = Path(f"{folder}/value{rank}")
        found.append(Ended(code, Path(f"{folder}/err{rank}").read_text(errors="replace"),
                           pickle.loads(result.read_bytes()) if result.exists() else None))
    return found


def run(function, size, *args, env=None, timeout=120):
    """What the function returns in each of the processes."""
    ended = finish(*start(function, size, *args, env=env), timeout=timeout)
    wrong = [f"--- rank {rank}: {each.code}\n{each.err}" for rank, each in enumerate(ended) if each.code != 0]
    assert not wrong, "\n".join(wrong)
    return [each.value for each in ended]


def both_sides(function, size=2):
    """What a function of the side's name ("rushlight", "oracle") returns in processes of each, both worlds at the same time: from a key of its
    dictionary to pairs (ours, theirs), rank by rank."""
    begun = [start(function, size, side) for side in ("rushlight", "oracle")]
    found = [finish(*each) for each in begun]
    wrong = [each.err for side in found for each in side if each.code != 0]
    assert not wrong, "\n".join(wrong)
    return lambda name: [(ours.value[name], theirs.value[name]) for ours, theirs in zip(*found, strict=True)]


def free_port():
    import socket
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


if __name__ == "__main__":
    module, name, folder, *args = sys.argv[1:]
    value = getattr(import_module(module), name)(*args)
    Path(f"{folder}/value{os.environ['RANK']}").write_bytes(pickle.dumps(value))
