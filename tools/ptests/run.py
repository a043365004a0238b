"""PyTorch's own test files on PyTorch and on rushlight.

    python tools/ptests/run.py torch     TESTDIR OUT FILE...      # what PyTorch passes, one OUT/torch/FILE.json each
    python tools/ptests/run.py rushlight TESTDIR OUT FILE...      # of that, what rushlight passes
    python tools/ptests/run.py causes OUT [FILE...]               # failures by their texts
    python tools/ptests/run.py table OUT [--write PAGE]           # the share of every file

TESTDIR is the folder `test` of PyTorch's source. A file's tests are a sample in the order of a hash of their ids (with $PTESTS_SALT), at most --max of
them and --budget seconds; rushlight gets those that PyTorch passed. --wheel names PyTorch's installed package, whose `torch.testing._internal`
is used on rushlight's side, too.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
QUIET = 240                     # seconds without a sign of life before a file's process is ended
# What tests of PyTorch's inner architecture fail with here: a pattern of the reason, and what they are left out as.
ARCHITECTURE = {
    "PyTorch's compiler and its graphs": r"torch\.(_dynamo|_inductor|_export|export|_functorch|compile)|make_fx|FakeTensor|_prims\.",
    "TorchScript's insides": r"torch\.jit\.|_C'? has no attribute '_?(jit|Script|Graph)|_jit_|CompilationUnit|ScriptFunction",
    "the dispatcher's insides": r"_dispatch|DispatchKey|HigherOrderOperator|_C\._functorch\.|_make_wrapper_subclass|custom_op|torch\.library|FlopCounter",
    "private storage of the C++ library": r"_storage_address|_lazy_clone|_cow|_test_check_tensor|_select_conv_backend|_functions'|_set_sequence_nr",
    "quantisation": r"quantize|torch\.ao\b|qint",
    "libraries that a CPU build of PyTorch brings": r"mkldnn|kineto|\bitt\b",
}


def environment(options: Any, scratch: str, descriptor: int) -> dict[str, str]:
    """What the process of a file finds in its environment."""
    (Path(scratch) / "sitecustomize.py").write_text(f"import sys\nsys.path.append({str(HERE)!r})\nimport absent\nabsent.install()\n")
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    ours = {"PYTHONPATH": scratch + (os.pathsep + str(HERE.parent.parent / "src") if options.side == "rushlight" else ""),
            "PTESTS_WHEEL": options.wheel if options.side == "rushlight" else "", "PTESTS_DIR": str(options.tests), "PTESTS_EVENTS": str(descriptor),
            "PTESTS_SECONDS": str(options.seconds), "PTESTS_BUDGET": str(options.budget), "PTESTS_MAX": str(options.max)}
    return {**os.environ, **threads, **ours, "TMPDIR": scratch, "PYTHONDONTWRITEBYTECODE": "1", "CUDA_VISIBLE_DEVICES": "",
            "PYTORCH_TESTING_DEVICE_ONLY_FOR": "cpu", "PYTORCH_PRINT_REPRO_ON_FAILURE": "0"}


def listen(process: subprocess.Popen[bytes], source: Any) -> dict[str, Any]:
    """What a file's process says, until it is done or silent for too long."""
    record: dict[str, Any] = {"tests": {}, "absent": {}}
    current, beat = None, [time.monotonic()]

    def watch() -> None:
        while process.poll() is None and time.monotonic() - beat[0] < QUIET:
            time.sleep(0.5)
        try:
            os.killpg(process.pid, signal.SIGKILL)      # with the children that tests have left: they hold the pipe
        except ProcessLookupError:
            pass
    threading.Thread(target=watch, daemon=True).start()
    for line in source:
        event, beat[0] = json.loads(line), time.monotonic()
        if "id" in event:
            record["tests"][event.pop("id")] = event
        elif "done" in event:
            return record
        elif "start" in event:
            current = event["start"]
        else:
            record.update(event)
    record["load"] = f"the process ended in {current or 'no test'}"
    return record


def run_file(options: Any, file: str, keys: list[str] | None) -> dict[str, Any]:
    """One file in a process of its own."""
    began = time.monotonic()
    read, write = os.pipe()
    with tempfile.TemporaryDirectory(prefix="ptests") as scratch, open(options.place / "log" / f"{options.side}-{flat(file)}.log", "wb") as log:
        chosen = Path(scratch) / "keys.json"
        chosen.write_text(json.dumps(keys))
        arguments = [options.python, str(HERE / "worker.py"), file, "-" if keys is None else str(chosen)]
        process = subprocess.Popen(arguments, env=environment(options, scratch, write), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                   cwd=options.tests, start_new_session=True, pass_fds=(write,))
        os.close(write)
        with os.fdopen(read) as source:
            record = listen(process, source)
        process.wait()
    record["seconds"] = round(time.monotonic() - began, 1)
    return record


def flat(file: str) -> str:
    return file.replace("/", ".")


def read(options: Any, side: str, file: str) -> Any:
    """An earlier run's record of a file, or None."""
    place = options.place / side / f"{flat(file)}.json"
    return json.loads(place.read_text()) if place.exists() else None


def passed(record: Any) -> list[str]:
    """The tests that passed in a run."""
    return [key for key, test in record["tests"].items() if test["status"] == "pass"] if record else []


def run(options: Any) -> None:
    """Run files on one side."""
    for folder in ("log", options.side):
        (options.place / folder).mkdir(parents=True, exist_ok=True)

    def one(file: str) -> None:
        theirs = read(options, "torch", file) if options.side == "rushlight" else None
        keys = None if theirs is None else passed(theirs)
        if keys == []:
            return
        record = run_file(options, file, keys)
        (options.place / options.side / f"{flat(file)}.json").write_text(json.dumps(record, indent=0))
        counts = dict(collections.Counter(test["status"] for test in record["tests"].values()))
        print(f"{file:45} {record['seconds']:5.0f} s of {record.get('collected', 0):6} {counts} {record.get('load', '')[:200]}", flush=True)
    with ThreadPoolExecutor(options.n) as pool:
        list(pool.map(one, options.files))


def outcomes(options: Any, file: str) -> dict[str, dict[str, Any]]:
    """What became on rushlight of the tests of a file that PyTorch passes; empty where it was not run."""
    theirs, ours = passed(read(options, "torch", file)), read(options, "rushlight", file)
    if ours is None:
        return {}
    unloaded = {"status": "load", "reason": "the file does not load: " + ours.get("load", "")}
    return {key: ours["tests"].get(key, unloaded) for key in theirs if key in ours["tests"] or "load" in ours}


def cause(test: dict[str, Any]) -> str:
    """A failure's text without its particulars."""
    text = re.sub(r"0x[0-9a-f]+", "0x", test["reason"].split("\n")[0])
    return f"{test['status']}: " + re.sub(r"\d+", "N", text)[:170]


def causes(options: Any) -> None:
    """Print failures by cause, most frequent first."""
    found, good, total = collections.defaultdict(list), 0, 0
    for file in options.files or sorted(p.name[:-5] for p in (options.place / "rushlight").glob("*.json")):
        tests = outcomes(options, file)
        good, total = good + sum(test["status"] == "pass" for test in tests.values()), total + len(tests)
        for key, test in tests.items():
            if test["status"] != "pass":
                found[cause(test)].append(f"{file}::{key}")
    for text, keys in sorted(found.items(), key=lambda item: -len(item[1])):
        print(f"{len(keys):5} {text}    ({len({key.split('::')[0] for key in keys})} files; {keys[0]})")
    print(f"{good} of {total}: {100 * good / max(total, 1):.1f} %")


def left_out(test: dict[str, Any]) -> str:
    """Why a test that does not pass says nothing about PyTorch's API; "" where it does."""
    if test["status"] in ("absent", "skip", "xfail"):
        return "not run on this side"
    if test["status"] == "load":            # a whole file is never left out: it is one name that it lacks
        return ""
    return next((name for name, pattern in ARCHITECTURE.items() if re.search(pattern, test["reason"])), "")


def table(options: Any) -> None:
    """Print (or write to a page) what passes, file by file."""
    lines, totals, reasons = [], [0, 0, 0], collections.Counter()
    for place in sorted((options.place / "rushlight").glob("*.json")):
        tests = outcomes(options, place.stem)
        if not tests:
            continue
        without = collections.Counter(left_out(test) for test in tests.values() if test["status"] != "pass")
        without.pop("", None)
        numbers = [len(tests), sum(test["status"] == "pass" for test in tests.values()), without.total()]
        totals, reasons = [a + b for a, b in zip(totals, numbers, strict=True)], reasons + without
        why = "; ".join(f"{name} {count}" for name, count in without.most_common())
        lines.append(f"| {place.stem} | {numbers[0]} | {numbers[1]} | {share(*numbers[:2])} | {numbers[2] or ''} | {why} |")
    text = PAGE.format(passes=totals[1], compared=totals[0], all=share(*totals[:2]), rest=share(totals[0] - totals[2], totals[1]), files=len(lines),
                       rows="\n".join(lines), reasons=";\n".join(f"{name} {count}" for name, count in reasons.most_common()))
    if options.write:
        Path(options.write).write_text(text)
    else:
        print(text)


def share(compared: int, passes: int) -> str:
    return f"{100 * passes / compared:.1f} %" if compared else "-"


PAGE = """# PyTorch's own tests

`make ptests` obtains PyTorch 2.6's test files (the newest that a package registry has; they stay outside of the repository), runs a sample of each on
PyTorch 2.13, and what passes there on rushlight. The sample is the first tests in the order of a hash of their names that fit into the budget of seconds;
every test runs in a process of its own (`PTESTS_SALT` picks others). What failed among these was looked at, and much of it mended, before they were
counted: another sample passes less. This page is written by `tools/ptests/run.py table`.

Of {compared} sampled tests in {files} files that PyTorch 2.13 passes, rushlight passes {passes}: **{all}**; **{rest}** without those left out for
reasons of architecture:
{reasons}.
(A test is left out by the text of its failure; `tools/ptests/run.py` has the patterns.)

| file | PyTorch passes | rushlight passes | share | left out | why |
| --- | ---: | ---: | ---: | ---: | --- |
{rows}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="side", required=True)
    for side in ("torch", "rushlight"):
        command = commands.add_parser(side)
        command.add_argument("tests", type=Path, help="the folder `test` of PyTorch's source")
        command.add_argument("place", type=Path, help="where the records go")
        command.add_argument("files", nargs="+")
        command.add_argument("--python", default=sys.executable, help="that side's interpreter")
        command.add_argument("--wheel", default="", help="PyTorch's installed package (rushlight's side)")
        command.add_argument("--seconds", type=int, default=60, help="per test")
        command.add_argument("--budget", type=float, default=90, help="seconds per file")
        command.add_argument("--max", type=int, default=400, help="tests per file")
        command.add_argument("-n", type=int, default=1, help="files at a time")
    command = commands.add_parser("causes")
    command.add_argument("place", type=Path)
    command.add_argument("files", nargs="*")
    command = commands.add_parser("table")
    command.add_argument("place", type=Path)
    command.add_argument("--write", help="a page to write it to")
    options = parser.parse_args()
    {"causes": causes, "table": table}.get(options.side, run)(options)


if __name__ == "__main__":
    main()
