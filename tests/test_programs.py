"""Whole programs as people write them, run by PyTorch and by ``rushlight run``: the same text, with numbers equal to four decimals."""

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = sorted(Path(__file__).with_name("programs").glob("*.py"))
NUMBER = re.compile(r"[-+]?(?:\d+\.\d*(?:e[-+]?\d+)?|\.\d+|\d+e[-+]?\d+|\binf\b|\bnan\b)")

# All programs in one process, since importing torch takes longer than most of them.
DRIVER = """
import contextlib, io, json, os, runpy, sys
out = {}
for path in sys.argv[1:]:
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        runpy.run_path(path, run_name="__main__")
    out[path] = text.getvalue()
print(json.dumps(out))
"""


@pytest.fixture(scope="module")
def theirs():
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", DRIVER, *map(str, PROGRAMS)], capture_output=True, text=True, timeout=300)
    assert not done.returncode, done.stderr
    return json.loads(done.stdout)


def assert_same_text(ours, theirs):
    """Equal texts but for the last digit of numbers (which sums in another order change) and the spaces that align them."""
    ours, theirs = ours.splitlines(), theirs.splitlines()
    for line, (a, b) in enumerate(zip(ours, theirs, strict=False), 1):
        if a == b:
            continue
        where = f"line {line}:\nours   {a}\ntheirs {b}"
        assert re.sub(r"\s+", " ", NUMBER.sub("#", a)) == re.sub(r"\s+", " ", NUMBER.sub("#", b)), where
        for x, y in zip(map(float, NUMBER.findall(a)), map(float, NUMBER.findall(b)), strict=True):
            assert math.isclose(x, y, rel_tol=1e-3, abs_tol=2e-4) or (x != x and y != y), where
    assert len(ours) == len(theirs)


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_program(path, theirs):
    done = subprocess.run([sys.executable, "-m", "rushlight", "run", str(path)], capture_output=True, text=True, timeout=120)
    assert not done.returncode, done.stderr
    assert_same_text(done.stdout, theirs[str(path)])


def test_the_comparison_sees_differences():
    assert_same_text("loss 0.12345 a", "loss 0.12344 a")
    for other in ("loss 0.1254 a", "loss 0.12345 b", "loss 0.12345 a\nmore", "loss 1 a"):
        with pytest.raises(AssertionError):
            assert_same_text("loss 0.12345 a", other)
