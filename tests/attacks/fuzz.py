"""Random calls on both sides, in workers with a watchdog and a memory limit: ``python -m tests.attacks.fuzz --seed 1 --calls 3000``.

What is reported: crash, hang, different (another result), internal (an error of our insides), class (an error of another class), accepted (PyTorch refuses
it), refused (PyTorch takes it), unsupported (refused, with a text that says so), missing (no such name here).
"""

import argparse
import collections
import os
import pickle
import re
import select
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from .generate import calls

SECONDS = 20
KINDS = ("crash", "hang", "different", "internal", "class", "accepted", "refused", "unsupported", "missing")
_LINE = struct.Struct("<Q")
_INSIDE = ("AttributeError", "KeyError", "UnboundLocalError", "AssertionError", "ZeroDivisionError", "RecursionError", "SystemError", "StopIteration", "NameError",
           "UFuncTypeError", "AxisError", "LinAlgError", "BufferError", "OverflowError")
_TEXTS = re.compile(r"numpy|ufunc|operands could not|is out of bounds for (axis|array)|'_a'|'_kind'|'_node'|ndarray|cannot reshape array|setting an array element|"
                    r"has no attribute|unsupported operand|Maximum allowed dimension|array is too|arrays? must|zip\(\) argument|not enough values to unpack")
# Results that are not unique, whose values rounding decides, or that PyTorch draws from MKL's generators (bernoulli with a number): only dtypes and shapes are compared.
_SHAPES_ONLY = re.compile(r"\.(svd|linalg_svd|eig|eigh|eigvals|qr|lu|lu_factor|lu_factor_ex|linalg_lu|svd_lowrank|pca_lowrank|ldl_factor|ldl_factor_ex|lstsq|"
                          r"ldl_solve|cholesky_ex|inv_ex|lu_solve|lu_unpack|matrix_exp|linalg_matrix_exp|triangular_solve|as_strided_?|as_strided_copy|bernoulli_?|(feature_)?(alpha_)?dropout[123]?d?_?|rrelu_?|rrelu_with_noise_?)\(")


class Worker:
    """One side in a process of its own, started anew where it died."""

    def __init__(self, side, environment):
        self.side, self.environment, self.process = side, environment, None

    def ask(self, call):
        """The call's outcome; ("crash", how) or ("hang",) where there is none."""
        if self.process is None:
            self.errors = tempfile.TemporaryFile()
            self.process = subprocess.Popen([sys.executable, "-m", "tests.attacks.outcomes", self.side], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                            stderr=self.errors, env={**os.environ, **self.environment}, cwd=Path(__file__).parents[2])
        self.process.stdin.write(call.encode() + b"\n")
        self.process.stdin.flush()
        deadline = time.monotonic() + SECONDS + (60 if not hasattr(self, "warm") else 0)
        head = self._read(_LINE.size, deadline)
        data = head if head.__class__ is tuple else self._read(_LINE.unpack(head)[0], deadline)
        if data.__class__ is tuple:
            return data
        self.warm = True
        return pickle.loads(data)

    def _read(self, size, deadline):
        data = b""
        while len(data) < size:
            ready, _, _ = select.select([self.process.stdout], [], [], max(deadline - time.monotonic(), 0))
            piece = os.read(self.process.stdout.fileno(), size - len(data)) if ready else None
            if not piece:
                if ready:
                    self.process.wait()
                self.errors.seek(0)
                what = ("crash", f"exit {self.process.returncode}: {self.errors.read()[-500:].decode(errors='replace')}") if ready else ("hang", f"{SECONDS} s")
                self.close()
                return what
            data += piece
        return data

    def close(self):
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process.stdin.close()
            self.process.stdout.close()
            self.process = None
            self.__dict__.pop("warm", None)


def judge(call, theirs, ours):
    """(what is wrong, details), or None."""
    if theirs[0] in ("crash", "hang") or theirs[0] == "error" and ("INTERNAL ASSERT" in theirs[2] or "Could not run" in theirs[2] or "allocate" in theirs[2]):
        return (ours[0], ours[1]) if ours[0] in ("crash", "hang") else None
    if ours[0] in ("crash", "hang"):
        return ours[0], ours[1]
    if ours[0] == "error":
        names, text, where = ours[1:]
        if "is not supported by rushlight" in text or names[0] == "NotSupported":
            if theirs[0] == "value":
                return ("missing" if "has no attribute" in text else "unsupported"), text
            return None
        same = theirs[0] == "error" and theirs[1][0].lstrip("_") in names
        if not same and names[0] in _INSIDE or _TEXTS.search(text) and not (theirs[0] == "error" and _TEXTS.search(theirs[2])):
            return "internal", f"{names[0]} at {where}: {text[:300]} || {_short(theirs)}"
        if theirs[0] == "value":
            return "refused", f"{names[0]} at {where}: {text[:300]} || {_short(theirs)}"
        return None if same else ("class", f"{names[0]} at {where}: {text[:200]} || {_short(theirs)}")
    if theirs[0] == "error":
        return "accepted", f"{_short(ours)} || {_short(theirs)}"
    what = _differs(theirs[1], ours[1], bool(_SHAPES_ONLY.search(call)), "'large'" in call or "'extreme'" in call)
    return None if what is None else ("different", f"{what}: {_short(ours)} || {_short(theirs)}")


def _short(outcome):
    return f"{outcome[1][0]}: {outcome[2][:300]}" if outcome[0] == "error" else repr(outcome[1])[:200]


_TOLERANCES = {"float32": 2e-4, "complex64": 2e-4, "float64": 1e-7, "complex128": 1e-7, "float16": 2e-2, "bfloat16": 1e-1}


def _differs(theirs, ours, shapes_only, rough):
    """What is another, or None."""
    if isinstance(theirs, tuple) and isinstance(ours, tuple) and theirs[0] == ours[0] == "tensor":
        if theirs[1:3] != ours[1:3]:
            return f"dtype, shape {ours[1:3]} for {theirs[1:3]}"
        if shapes_only or theirs[3] is None or ours[3] is None:
            return None
        return _values_differ(theirs[3], ours[3], _TOLERANCES.get(theirs[1], 0), rough)
    if isinstance(theirs, list) and isinstance(ours, list):
        if len(theirs) != len(ours):
            return f"{len(ours)} results for {len(theirs)}"
        return next((found for a, b in zip(theirs, ours, strict=True) if (found := _differs(a, b, shapes_only, rough))), None)
    if isinstance(theirs, (float, complex)) and isinstance(ours, (float, complex)):
        return None if shapes_only else _values_differ(np.asarray(theirs), np.asarray(ours), 1e-5, rough)
    if isinstance(theirs, tuple) and theirs[0] == "object":
        return None
    return None if type(theirs) is type(ours) and theirs == ours else "another value"


def _values_differ(a, b, tolerance, rough):
    if not tolerance:
        return None if (a == b).all() else "integers"
    with np.errstate(all="ignore"):
        finite = np.isfinite(a) & np.isfinite(b)
        same = (a == b) | (np.isnan(a) & np.isnan(b)) | (~np.isfinite(a) & ~np.isfinite(b) & (np.iscomplexobj(a) | rough))
        scale = np.abs(a[finite]).max(initial=0)
        same |= finite & (np.abs(a - b) <= tolerance * np.abs(a) + tolerance * 0.1 + (tolerance * scale if scale > 10 or rough else tolerance * scale * 0.1))
    return None if same.all() else "values"


def run(texts, environment=None, workers=None):
    """[(what is wrong, call, details), ...] of these calls."""
    sides = workers or (Worker("torch", {"LD_PRELOAD": ""}), Worker("rushlight", environment or {}))
    found = []
    try:
        for call in texts:
            theirs, ours = [each.ask(call) for each in sides]
            what = judge(call, theirs, ours)
            if what is not None:
                found.append((what[0], call, what[1]))
    finally:
        for each in sides:
            each.close()
    return found


def main(argv=None):
    """Run calls, print what is wrong by kind, and the mechanisms that are wrong most often."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--calls", type=int, default=3000)
    parser.add_argument("--output", help="a file for all that was found, a line each")
    options = parser.parse_args(argv)
    found = run(calls(options.seed, options.calls))
    counts = collections.Counter(kind for kind, _, _ in found)
    if options.output:
        Path(options.output).write_text("".join(f"{kind}\t{call}\t{' '.join(details.split())}\n" for kind, call, details in found))
    else:
        for kind, call, details in found:
            print(f"{kind}: {call}\n    {' '.join(details.split())}")
    print(f"seed {options.seed}, {options.calls} calls: " + ", ".join(f"{counts[kind]} {kind}" for kind in KINDS))
    return 1 if counts["crash"] or counts["hang"] else 0


if __name__ == "__main__":
    sys.exit(main())
