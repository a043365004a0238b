"""torchrun: processes get their places, and faults end the job within seconds, named, with no process left."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.processes import ROOT, free_port

PROGRAM = str(Path(__file__).with_name("launched.py"))


def begin(tmp_path, what, *options, size=2, module="rushlight.distributed.run"):
    env = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    env["PYTHONPATH"] = str(ROOT / "src")
    command = [sys.executable, "-m", module, f"--nproc_per_node={size}", *options, PROGRAM, what, str(tmp_path)]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path)


def launch(tmp_path, what, *options, **how):
    process = begin(tmp_path, what, *options, **how)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def nobody_left(tmp_path, size=2):
    for rank in range(size):
        pid = int((tmp_path / f"pid{rank}").read_text())
        end = time.monotonic() + 10
        while Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][:3]:
            assert time.monotonic() < end, f"rank {rank} still runs"
            time.sleep(0.05)


def test_places(tmp_path):
    code, out, err = launch(tmp_path, "good", "--standalone", "--tee", "3", size=3)
    assert code == 0, err
    lines = sorted(line for line in out.splitlines() if "rank" in line)
    assert lines == [f"[default{r}]:rank {r} of 3 sum 6.0 local {r} attempt 0" for r in range(3)]


@pytest.mark.parametrize("what, rank, texts", [("raise", 1, ("ValueError: this rank has had enough", "launched.py")),
                                               ("kill", 1, ("SIGKILL",)), ("exit", 0, ("exitcode 7",))])
def test_a_rank_that_fails_ends_the_job(tmp_path, what, rank, texts):
    code, out, err = launch(tmp_path, what, "--standalone")
    report = err[err.index("FAILED"):]
    assert code == 1 and f"Root Cause (first observed failure): rank {rank} " in report and all(text in report for text in texts), err
    assert f"ended because of it: ranks [{1 - rank}]" in report
    nobody_left(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupts_leave_no_process(tmp_path, number):
    process = begin(tmp_path, "wait", "--standalone")
    end = time.monotonic() + 100
    while not all((tmp_path / f"pid{r}").exists() and (tmp_path / f"pid{r}").read_text() for r in range(2)):
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == (-9 if number == signal.SIGKILL else 128 + number)
    nobody_left(tmp_path)


def test_restarts(tmp_path):
    code, out, err = launch(tmp_path, "once", "--standalone", "--max-restarts=1")
    assert code == 0 and "starting all processes anew" in err and len(re.findall("sum 3.0 local . attempt 1", out)) == 2, out + err


def test_two_machines(tmp_path):
    """Two launchers on this machine stand for two."""
    port = free_port()
    options = ["--nnodes=2", f"--master_port={port}"]
    second = begin(tmp_path, "good", *options, "--node-rank=1", size=1)
    code, out, err = launch(tmp_path, "good", *options, "--node_rank=0", size=2)
    other, _ = second.communicate(timeout=60)
    assert code == 0 and second.returncode == 0, err
    assert "rank 2 of 3 sum 6.0 local 0" in other and "rank 1 of 3 sum 6.0 local 1" in out


def test_wrong_options_and_the_short_form(tmp_path):
    from rushlight.cli import main as command
    from rushlight.distributed.run import main
    assert main(["--nproc-per-node=x", "p.py"]) == 2 and main(["--nnodes=1:4", "p.py"]) == 2 and main(["--standalone", "--nnodes=2",
                                                                                                       "p.py"]) == 2
    assert main(["--node-rank=3", "p.py"]) == 2 and main(["--rdzv-conf=color=red", "p.py"]) == 2 and command(["run", "--nproc", "x",
                                                                                                              "p.py"]) == 2
    with pytest.raises(SystemExit):
        main(["--no-such-option", "p.py"])
    done = subprocess.run([sys.executable, "-m", "rushlight", "run", "--nproc", "2", PROGRAM, "good", str(tmp_path)], capture_output=True,
                          text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, timeout=120)
    assert done.returncode == 0 and done.stdout.count("of 2 sum 3.0") == 2, done.stderr
