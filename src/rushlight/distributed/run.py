"""``torchrun``, ``python -m torch.distributed.run``: start a program in several processes, watch them, and end all when one fails.

Each process gets its place in its environment (RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT), which init_process_group reads. The
store through
which they find each other is served here, on the first machine. A process that raises, exits with an error or is killed ends the others
within seconds,
and the report at the end names it first, with its traceback.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NoReturn

from .stores import Store, TCPStore

__all__ = ["get_args_parser", "main", "run"]

_TAIL = 60              # lines of a process's errors that are kept for the report
_GRACE = 5.0            # seconds between SIGTERM and SIGKILL


def get_args_parser() -> argparse.ArgumentParser:
    """The command's options: torchrun's usual ones."""
    parser = argparse.ArgumentParser(prog="torchrun", description="Start a program in several processes.")

    def option(name: str, *others: str, **how: Any) -> None:
        names = [f"--{name}", *([f"--{name.replace('-', '_')}"] if "-" in name else []), *others]
        parser.add_argument(*names, **how)
    option("nnodes", default="1", help="number of machines")
    option("nproc-per-node", default="1", help="processes per machine: a number, cpu, gpu or auto")
    option("node-rank", type=int, default=0, help="this machine's number, 0 is the one with the store")
    option("rdzv-backend", default="static", help="static (the machine's number is given) or c10d (it is found)")
    option("rdzv-endpoint", default="", help="host:port of the first machine")
    option("rdzv-id", default="none", help="a name for the job")
    option("rdzv-conf", default="", help="key=value,...: timeout in seconds")
    option("standalone", action="store_true", help="one machine, on a free port")
    option("max-restarts", type=int, default=0, help="how often all processes are started anew after a failure")
    option("monitor-interval", type=float, default=0.1, help="seconds between looks at the processes")
    option("start-method", default="spawn", choices=["spawn"], help="processes are programs of their own")
    option("role", default="default", help="the name in the prefixes of lines")
    option("module", "-m", action="store_true", help="the program is a module")
    option("no-python", action="store_true", help="the program is no Python program")
    option("log-dir", default=None, help="where files with the processes' output are written")
    option("redirects", "-r", default="0", help="1, 2, 3: stdout, stderr, both go into files in the log directory")
    option("tee", "-t", default="0", help="1, 2, 3: stdout, stderr, both are shown with the rank before each line")
    option("local-addr", default=None, help="this machine's address")
    option("master-addr", default="127.0.0.1", help="the first machine's address (with --rdzv-backend static)")
    option("master-port", type=int, default=29500, help="its port")
    parser.add_argument("training_script", help="the program")
    parser.add_argument("training_script_args", nargs=argparse.REMAINDER, help="its arguments")
    return parser


class LaunchError(Exception):
    """A launch that cannot be: a wrong option."""


def _count(text: str) -> int:
    if text.isdigit() and int(text) > 0:
        return int(text)
    if text == "cpu":
        return os.cpu_count() or 1
    if text in ("gpu", "auto"):
        from .. import cuda
        if cuda.is_available():
            return cuda.device_count()
        if text == "gpu":
            raise LaunchError("--nproc-per-node=gpu: there is no GPU here; give a number")
        return os.cpu_count() or 1
    raise LaunchError(f"--nproc-per-node={text}: give a number, cpu, gpu or auto")


def _nodes(text: str) -> int:
    low, _, high = text.partition(":")
    if not low.isdigit() or (high and not high.isdigit()) or int(low) < 1:
        raise LaunchError(f"--nnodes={text}: give a number of machines")
    if high and high != low:
        raise LaunchError(f"--nnodes={text}: a changing number of machines is missing in rushlight; give one number, --nnodes={high}")
    return int(low)


class Job:
    """The processes of one machine, and the options that they were started with."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.nodes, self.here = _nodes(options.nnodes), _count(options.nproc_per_node)
        if options.rdzv_backend not in ("static", "c10d"):
            raise LaunchError(f"--rdzv-backend={options.rdzv_backend}: rushlight has static and c10d")
        if options.standalone and self.nodes > 1:
            raise LaunchError("--standalone is for one machine: leave out --nnodes, or give --rdzv-endpoint instead")
        host, _, port = options.rdzv_endpoint.rpartition(":") if ":" in options.rdzv_endpoint else (options.rdzv_endpoint, "", "")
        self.address = host or options.master_addr
        self.port = 0 if options.standalone else int(port) if port else options.master_port
        self.node, self.timeout = options.node_rank, 900.0
        for part in filter(None, options.rdzv_conf.split(",")):
            name, _, value = part.partition("=")
            if name not in ("timeout", "join_timeout", "read_timeout", "is_host"):
                raise LaunchError(f"--rdzv-conf: there is no {name}; rushlight has timeout")
            self.timeout = float(value) if name.endswith("timeout") else self.timeout
        if not 0 <= self.node < self.nodes:
            raise LaunchError(f"--node-rank={self.node} has to be in 0 .. nnodes - 1 = {self.nodes - 1}")
        self.logs = options.log_dir or (tempfile.mkdtemp(prefix="torchrun-") if options.redirects != "0" else None)
        self.errors = tempfile.mkdtemp(prefix="torchrun-errors-")
        self.tails: list[collections.deque[bytes]] = []
        self.processes: list[subprocess.Popen[bytes]] = []
        self.threads: list[threading.Thread] = []
        self.store: Store | None = None

    # --- starting -------------------------------------------------------------------------------------------------------------------------

    def meet(self) -> None:
        """Serve the store, or find it; with c10d the first machine to come to the endpoint's address serves."""
        limit = timedelta(seconds=self.timeout)
        serves = self.node == 0
        if self.options.rdzv_backend == "c10d" and self.nodes > 1:
            serves = self._is_here()
        store = None
        if serves:
            try:
                store = TCPStore(self.address, self.port, is_master=True, timeout=limit, wait_for_workers=False)
            except Exception:
                if self.options.rdzv_backend == "static" or self.nodes == 1:
                    raise
        self.store = store or TCPStore(self.address, self.port, timeout=limit, wait_for_workers=False)
        self.port = self.store.port
        if self.options.rdzv_backend == "c10d" and self.nodes > 1:
            self.node = self.store.add("nodes", 1) - 1
            if self.node >= self.nodes:
                raise LaunchError(f"more than --nnodes={self.nodes} machines have come to {self.address}:{self.port}")
        self.store.set(f"here{self.node}", str(self.here))
        self.store.wait([f"here{node}" for node in range(self.nodes)], limit)
        self.counts = [int(self.store.get(f"here{node}")) for node in range(self.nodes)]

    def _is_here(self) -> bool:
        import socket
        try:
            found = {each[4][0] for each in socket.getaddrinfo(self.address, None)}
            own = {"127.0.0.1", "::1", *(each[4][0] for each in socket.getaddrinfo(socket.gethostname(), None))}
        except OSError:
            return False
        return bool(found & own)

    def environment(self, local: int, attempt: int) -> dict[str, str]:
        """A process's place, in its environment."""
        first, world = sum(self.counts[:self.node]), sum(self.counts)
        own = {"RANK": first + local, "LOCAL_RANK": local, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": self.here, "GROUP_RANK": self.node,
               "GROUP_WORLD_SIZE": self.nodes, "ROLE_RANK": first + local, "ROLE_WORLD_SIZE": world, "ROLE_NAME": self.options.role,
               "MASTER_ADDR": self.address, "MASTER_PORT": self.port, "TORCHELASTIC_RESTART_COUNT": attempt,
               "TORCHELASTIC_MAX_RESTARTS": self.options.max_restarts, "TORCHELASTIC_RUN_ID": self.options.rdzv_id,
               "TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_ERROR_FILE": os.path.join(self.errors, f"{attempt}-{local}.json")}
        found = {**os.environ, **{name: str(value) for name, value in own.items()}}
        if self.here > 1:
            found.setdefault("OMP_NUM_THREADS", "1")        # processes share the cores
        return found

    def command(self) -> list[str]:
        """What each process runs: a Python program under `rushlight run`, so that torch means rushlight in it."""
        options = self.options
        if options.no_python:
            return [options.training_script, *options.training_script_args]
        module = ["-m"] if options.module else []
        return [sys.executable, "-u", "-m", "rushlight", "run", *module, options.training_script, *options.training_script_args]

    def start(self, attempt: int) -> None:
        """Start all processes of this machine."""
        self.processes, self.tails, self.threads = [], [], []
        for local in range(self.here):
            process = subprocess.Popen(self.command(), env=self.environment(local, attempt), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                       stdin=subprocess.DEVNULL if local else None,
                                       preexec_fn=_end_with_parent if sys.platform == "linux" else None)
            self.processes.append(process)
            self.tails.append(collections.deque(maxlen=_TAIL))
            for number, pipe in ((1, process.stdout), (2, process.stderr)):
                thread = threading.Thread(target=self._forward, args=(local, number, pipe, attempt), daemon=True)
                thread.start()
                self.threads.append(thread)

    def _forward(self, local: int, number: int, pipe: Any, attempt: int) -> None:
        """Pass on what a process writes: as it is, with a prefix before each line (--tee), or into a file (--redirects)."""
        here = (sys.stdout if number == 1 else sys.stderr).buffer
        tee, into = _asked(self.options.tee, local) & number, _asked(self.options.redirects, local) & number
        file = None
        if self.logs is not None and (into or tee):
            folder = os.path.join(self.logs, f"attempt_{attempt}", str(local))
            os.makedirs(folder, exist_ok=True)
            file = open(os.path.join(folder, "stdout.log" if number == 1 else "stderr.log"), "wb")  # noqa: SIM115
        prefix = f"[{self.options.role}{local}]:".encode() if tee else b""
        last = b""
        while data := (pipe.readline() if tee else pipe.read1(65536)):
            if number == 2:
                *lines, last = (last + data).split(b"\n")
                self.tails[local].extend(lines)
            if file is not None:
                file.write(data)
            if tee or not into:
                here.write(prefix + data)
                here.flush()
        if file is not None:
            file.close()

    # --- watching -------------------------------------------------------------------------------------------------------------------------

    def watch(self, attempt: int) -> list[int]:
        """Wait until all have ended well ([]), or one has not: the local ranks of those that failed, the first ones only."""
        told = f"failed{attempt}"
        looked = 0.0
        while True:
            codes = [process.poll() for process in self.processes]
            failed = [local for local, code in enumerate(codes) if code not in (None, 0)]
            if failed:
                if self.nodes > 1 and self.store is not None:
                    self.store.set(told, f"{self.node}:{failed[0]}")
                return failed
            if all(code == 0 for code in codes):
                return []
            if self.nodes > 1 and self.store is not None and time.monotonic() - looked > 1.0:
                looked = time.monotonic()
                if self.store.check([told]):
                    return [-1]             # on another machine
            time.sleep(self.options.monitor_interval)

    def end(self) -> None:
        """End all processes that still run: SIGTERM, and SIGKILL some seconds later."""
        running = [process for process in self.processes if process.poll() is None]
        for process in running:
            process.terminate()
        end = time.monotonic() + _GRACE
        for process in running:
            try:
                process.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for thread in self.threads:
            thread.join(1.0)

    def report(self, failed: Sequence[int], attempt: int) -> str:
        """Who failed first, and with what."""
        line = "=" * 60
        if list(failed) == [-1]:
            return f"{line}\n{self.options.training_script} FAILED on another machine; this one's processes were ended\n{line}"
        first = sum(self.counts[:self.node])
        text = [line, f"{self.options.training_script} FAILED"]
        for local in failed:
            process = self.processes[local]
            text += [f"Root Cause (first observed failure): rank {first + local} (local_rank {local}, pid {process.pid}) "
                     f"{_how(process.returncode)}"
                     if local == failed[0] else f"rank {first + local} (pid {process.pid}) {_how(process.returncode)} as well",
                     *([] if local != failed[0] else self._traceback(local, attempt))]
        others = [first + local for local in range(self.here) if local not in failed]
        text += [f"ended because of it: ranks {others}"] if others else []
        return "\n".join([*text, line])

    def _traceback(self, local: int, attempt: int) -> list[str]:
        try:
            with open(os.path.join(self.errors, f"{attempt}-{local}.json"), encoding="utf-8") as file:
                return json.load(file)["message"]["extraInfo"]["py_callstack"].splitlines()
        except (OSError, ValueError, KeyError):
            pass
        lines = [line.decode(errors="replace") for line in self.tails[local]]
        starts = [i for i, line in enumerate(lines) if line.startswith("Traceback")]
        return lines[starts[-1]:] if starts else lines[-10:]


def _end_with_parent() -> None:
    """Linux: the process is killed when the launcher dies, however that happens."""
    import ctypes
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _asked(text: str, local: int) -> int:
    """--tee and --redirects: one number, or rank:number,..."""
    if ":" not in text:
        return int(text)
    return next((int(what) for rank, _, what in (part.partition(":") for part in text.split(",")) if int(rank) == local), 0)


def _how(code: int) -> str:
    if code >= 0:
        return f"exitcode {code}"
    try:
        return f"exitcode {code}: Signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"exitcode {code}"


def _interrupted(number: int, frame: Any) -> NoReturn:
    raise SystemExit(128 + number)


def run(options: argparse.Namespace) -> int:
    """Start the job that the options describe, and wait for it; 0, or 1 where a process failed."""
    job = Job(options)
    before = {number: signal.signal(number, _interrupted) for number in (signal.SIGINT, signal.SIGTERM)} \
        if threading.current_thread() is threading.main_thread() else {}
    try:
        job.meet()
        for attempt in range(options.max_restarts + 1):
            job.start(attempt)
            failed = job.watch(attempt)
            if not failed:
                job.end()
                return 0
            job.end()
            left = options.max_restarts - attempt
            print(job.report(failed, attempt) + (f"\nstarting all processes anew, {left} restarts left" if left else ""), file=sys.stderr,
                  flush=True)
        return 1
    finally:
        for number in before:
            signal.signal(number, signal.SIG_IGN)           # a second Ctrl-C must not keep processes alive
        job.end()
        _remove(job.errors)
        for number, handler in before.items():
            signal.signal(number, handler)


def _remove(folder: str) -> None:
    import shutil
    shutil.rmtree(folder, ignore_errors=True)


def main(args: Sequence[str] | None = None) -> int:
    """The command."""
    options = get_args_parser().parse_args(args)
    try:
        return run(options)
    except LaunchError as error:
        print(f"torchrun: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
