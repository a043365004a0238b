"""`rushlight doctor` and `rushlight info`."""

import os
import subprocess
import sys

from rushlight.commands.doctor import Finding, examine, report
from rushlight.commands.info import facts


def doctor(**settings):
    env = {**os.environ, **settings}
    return subprocess.run([sys.executable, "-m", "rushlight", "doctor"], capture_output=True, text=True, env=env)


def test_what_is_looked_at():
    found = {each.what: each for each in examine()}
    assert {"native kernels", "BLAS", "threads", "compiled files", "Python", "import torch", "GPU"} <= set(found)
    assert found["import torch"].state == "note" and "PyTorch 2.13" in found["import torch"].text
    assert all(each.mend for each in found.values() if each.state in ("slow", "wrong"))


def test_kernels_that_are_switched_off():
    done = doctor(RUSHLIGHT_NATIVE="0")
    assert done.returncode == 1 and "switched off by RUSHLIGHT_NATIVE=0" in done.stdout and "-> unset RUSHLIGHT_NATIVE" in done.stdout


def test_more_threads_than_cpus():
    """The library may be told more threads than the process has CPUs."""
    code = "import rushlight as t, os; t.set_num_threads(4 * os.cpu_count()); from rushlight.commands.doctor import _threads; print(*_threads())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "state='slow'" in done.stdout and "OMP_NUM_THREADS=" in done.stdout, done.stderr


def test_report():
    assert report([Finding("a", "good", "fine")]) == ("good   a                fine\nnothing is wrong", 0)
    text, status = report([Finding("a", "slow", "so", "do this"), Finding("b", "note", "x", "y")])
    assert status == 1 and text.splitlines()[1].strip() == "-> do this" and text.endswith("1 thing to mend")


def test_facts():
    assert [name for name, _ in facts()][:2] == ["rushlight", "as torch"]
