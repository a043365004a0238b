"""One of PyTorch's test files, run in this interpreter: ``python worker.py SIDE FILE KEYS``; says a line of JSON per event on the descriptor PTESTS_EVENTS.

Every test runs in a fork of the loaded file, so that a crash, a hang or state left behind costs one test. SIDE is ``torch`` or ``rushlight``;
KEYS a file of the ids to run, or ``-``: a sample in the order of a hash of the ids. See `run.py`, which starts this and reads what it says.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import resource
import signal
import sys
import time
import traceback
import unittest
import zlib
from collections.abc import Iterator
from typing import Any, NoReturn

import absent

GRACE = 10                       # seconds beyond a test's own time before it is killed


class TooLong(BaseException):
    """Raised in a test whose time is over."""


class Outcome(unittest.TestResult):
    """The first thing that went wrong in a test, or that nothing did."""

    def __init__(self) -> None:
        super().__init__()
        self.status, self.reason, self.places = "pass", "", ""

    def bad(self, status: str, error: BaseException) -> None:
        if self.status in ("pass", "skip"):
            self.status = "timeout" if isinstance(error, TooLong) else status
            self.places = places(error)
            while error.__cause__ is not None:              # the utilities wrap what a sample raised
                error = error.__cause__
            self.reason = f"{type(error).__name__}: {error}"[:1500]

    def addError(self, test: Any, err: Any) -> None:
        self.bad("error", err[1])

    def addFailure(self, test: Any, err: Any) -> None:
        self.bad("fail", err[1])

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
        if err is not None:
            self.bad("error", err[1])

    def addSkip(self, test: Any, reason: str) -> None:
        if self.status == "pass":
            self.status, self.reason = "skip", str(reason)[:300]

    def addExpectedFailure(self, test: Any, err: Any) -> None:
        self.status = "xfail"

    def addUnexpectedSuccess(self, test: Any) -> None:
        self.bad("fail", AssertionError("unexpected success"))


def places(error: BaseException) -> str:
    """Where an error came from, innermost last."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.endswith(("/unittest/case.py", "worker.py"))]
    return "\n".join(f"{os.path.basename(f.filename)}:{f.lineno} {f.line}" for f in frames[-8:])


def attempt(test: unittest.TestCase, seconds: int) -> Outcome:
    """Run one test in this process."""
    outcome = Outcome()

    def ring(*_: Any) -> NoReturn:
        signal.alarm(5)                                     # and again, where something has swallowed it
        raise TooLong(f"over {seconds} s")
    signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        unittest.TestSuite([test]).run(outcome)
    except BaseException as error:                          # noqa: BLE001  (SystemExit, TooLong, pytest's outcomes)
        if type(error).__name__ == "Skipped":
            outcome.addSkip(test, str(error))
        else:
            outcome.bad("error", error)
    signal.alarm(0)
    return outcome


def load(file: str) -> dict[str, unittest.TestCase]:
    """The tests of a file by id."""
    sys.path[:0] = [os.path.dirname(os.path.abspath(file)), os.getcwd()]
    sys.argv = [file]
    module = importlib.import_module(os.path.basename(file)[:-3])
    utilities: Any = sys.modules.get("torch.testing._internal.common_utils")
    if utilities is not None:
        utilities.parse_cmd_line_args()
        warm = type("Warm", (utilities.TestCase,), {"test": lambda self: self.assertEqual(1, 1)})
        attempt(warm("test"), 100)                          # what is imported late is imported here, once
    suite = unittest.defaultTestLoader.loadTestsFromModule(module)
    return {name_of(test): test for test in flat(suite)}


def name_of(test: Any) -> str:
    """A test's id. (An enumeration's member in it is a number on one side and a name on the other.)"""
    return f"{type(test).__name__}.{test._testMethodName}".replace("fused_kernel_1_", "fused_kernel0_")


def flat(suite: Any) -> Iterator[Any]:
    for test in suite:
        yield from flat(test) if isinstance(test, unittest.TestSuite) else (test,)


def sample(tests: dict[str, Any], keys: str) -> list[str]:
    """The ids to run, in order."""
    if keys != "-":
        with open(keys) as source:
            return list(json.load(source))
    salt = os.environ.get("PTESTS_SALT", "")
    return sorted((key for key in tests if not re.search("(?i)cuda|_mps|_xpu|_hpu", key)), key=lambda key: (zlib.crc32((salt + key).encode()), key))


class Worker:
    """Runs tests in forks, and says what becomes of them."""

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds
        self.events = os.fdopen(int(os.environ["PTESTS_EVENTS"]), "w", buffering=1)

    def say(self, **event: Any) -> None:
        self.events.write(json.dumps(event) + "\n")
        self.events.flush()

    def one(self, key: str, test: unittest.TestCase) -> None:
        """One test in a fork of this process."""
        start = time.monotonic()
        self.say(start=key)
        child = os.fork()
        if child == 0:
            os.setpgid(0, 0)
            outcome = attempt(test, self.seconds)
            self.say(id=key, status=outcome.status, reason=outcome.reason, places=outcome.places, seconds=round(time.monotonic() - start, 2))
            os._exit(0)
        status, hung = self.wait(child)
        if hung or status:
            code = os.waitstatus_to_exitcode(status)
            self.say(id=key, status="hang" if hung else "crash", reason=f"killed after {self.seconds + GRACE} s" if hung else f"exit code {code}")

    def wait(self, child: int) -> tuple[int, bool]:
        """A fork's exit status, and whether it had to be killed; what it left running is ended."""
        end, pause, hung, ended, status = time.monotonic() + self.seconds + GRACE, 0.001, False, 0, 0
        while not ended:
            time.sleep(pause)
            pause = min(0.05, pause * 1.5)
            if time.monotonic() > end and not hung:
                os.kill(child, signal.SIGKILL)
                hung = True
            ended, status = os.waitpid(child, os.WNOHANG)
        try:
            os.killpg(child, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
        return status, hung

    def run(self, file: str, keys: str) -> None:
        """A file's tests, within PTESTS_BUDGET seconds and PTESTS_MAX tests."""
        try:
            tests = load(file)
        except BaseException as error:                      # noqa: BLE001
            self.say(load=f"{type(error).__name__}: {error}"[:1500], places=places(error), absent=absent.asked())
            return
        self.say(collected=len(tests), absent=absent.asked())
        end = time.monotonic() + float(os.environ["PTESTS_BUDGET"])
        for key in sample(tests, keys)[:int(os.environ["PTESTS_MAX"])]:
            if time.monotonic() > end:
                break
            if key in tests:
                self.one(key, tests[key])
            else:
                self.say(id=key, status="absent", reason="not generated on this side")


def main(file: str, keys: str) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    worker = Worker(int(os.environ["PTESTS_SECONDS"]))
    worker.run(file, keys)
    worker.say(done=True)
    os._exit(0)                                             # threads and children of tests stay behind


if __name__ == "__main__":
    main(*sys.argv[1:])
