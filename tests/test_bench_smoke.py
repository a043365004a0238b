"""bench: one quick row for real, and the table, page and JSON from made-up results."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent


def bench(*args):
    return subprocess.run([sys.executable, "-m", "bench", *args], cwd=ROOT, capture_output=True, text=True, timeout=120,
                          env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"})


def test_a_quick_row():
    done = bench("--quick", "--rows", "chain,size")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert "PyTorch" in lines[0] and lines[1].startswith("chain of 20 small ops") and lines[2].startswith("installed size")


def test_wrong_rows():
    done = bench("--rows", "chain,nothing")
    assert done.returncode == 2 and "nothing" in done.stderr


def test_rows_are_those_of_the_design():
    from bench import workloads
    titles = [row.title for row in workloads.ROWS if row.budget is not None]
    titles += [workloads.IMPORT_TITLE, workloads.SIZE_TITLE, workloads.MEMORY_TITLE]
    assert len(titles) == 13
    assert len({row.name for row in workloads.ROWS}) == len(workloads.ROWS)


@pytest.mark.parametrize("name", ["ops", "tiny_mlp", "mlp", "lenet", "lstm", "gpt", "encoder", "adamw"])
def test_workloads_compute_the_same(name):
    import torch as pt

    import rushlight as torch
    from bench.workloads import ROWS
    row = next(row for row in ROWS if row.name == name)
    if row.unit == "ops":
        ours, theirs = row.setup(torch, "cpu"), row.setup(pt, "cpu")
        assert len(ours) == 35
        for key, op in ours.items():
            found, wanted = op(), theirs[key]()
            found, wanted = (found[0], wanted[0]) if isinstance(wanted, tuple) else (found, wanted)
            np.testing.assert_allclose(found.tolist(), wanted.tolist(), rtol=1e-5, atol=1e-6, err_msg=key)
        return
    values = [float(step().detach().double().sum()) for step in (row.setup(torch, "cpu"), row.setup(pt, "cpu"))]
    assert math.isclose(*values, rel_tol=1e-4), values


@pytest.mark.parametrize("family", ["elementwise", "rows", "layers", "indexing"])
def test_kernel_families_run_on_both(family):
    import torch as pt

    import rushlight as torch
    from bench.kernels import FAMILIES, table
    ours, theirs = FAMILIES[family](torch), FAMILIES[family](pt)
    assert list(ours) == list(theirs)
    for op in (*ours.values(), *theirs.values()):
        op()
    lines = table({name: {"rushlight": 2e-6, "numpy": 4e-6, "torch": 1e-6} for name in ours})
    assert lines[2].endswith("| 2 us | 0.50 | 2.00 |")


def test_table_page_and_json(tmp_path):
    from bench.__main__ import END, START, _has_place, _update, numbers, table
    from bench.measure import Options, Result
    results = [Result("a", "s", 0.5, (1e-6, 2e-6), 0.5, (30.0, 300.0), shares=(0.25, 0.125), limit="products"), Result("b", "MB", 0.1, (50.0, 100.0), 0.5),
               Result("c", "s", None, (2.0, 1.0), 2.0), Result("d", "s", 1.0, problem="rushlight: no such thing")]
    text = table(results, Options())
    assert "| a | 1 us | 2 us | 0.50 | 0.5 | yes | 30 / 300 MB | 25.0% / 12.5% of products |" in text
    assert "| b | 50 MB | 100 MB | 0.50 | 0.1 | no |  |  |" in text
    assert "| c | 2 s | 1 s | 2.00 |  |  |  |  |" in text and "not measured" in text
    page = tmp_path / "page.md"
    page.write_text("no place")
    assert not _has_place(page) and not _has_place(tmp_path / "missing.md")
    page.write_text(f"head\n{START}\nold\n{END}\ntail\n")
    assert _has_place(page)
    _update(page, results, Options())
    found = page.read_text()
    rows = json.loads(numbers(results, Options(), {"sizes": 1, "rows": []}))["rows"]
    assert [row["what"] for row in rows] == ["a", "b", "c"] and rows[0]["memory"] == [30.0, 300.0] and rows[0]["ratio"] == 0.5 and rows[1]["unit"] == "MB"
    assert found.startswith(f"head\n{START}\n| what |") and found.endswith(f"{END}\ntail\n") and "old" not in found


def test_requirements_are_followed():
    from bench.measure import _names, _with_requirements
    assert list(_names(["a>=1", "b (<2) ; python_version > '3'", "c; extra == 'dev'", "d[x]"])) == ["a", "b", "d"]
    assert {"torch", "sympy", "mpmath"} <= _with_requirements("torch")


def test_sizes():
    """Two sizes for real: every series has a ratio at each, and the page's numbers are of that form."""
    done = subprocess.run([sys.executable, "-m", "bench.sizes", "--rounds", "1", "16", "64"], cwd=ROOT, capture_output=True, text=True, timeout=120,
                          env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"})
    assert done.returncode == 0, done.stderr
    head, *lines = done.stdout.splitlines()
    assert head.split() == ["numbers", "16", "64"] and len(lines) == 3
    assert all(0.01 < float(ratio) < 5 for line in lines for ratio in line.split()[-2:])
    kept = json.loads((ROOT / "docs" / "bench.json").read_text())["sizes"]
    assert all(len(ratios) == len(kept["numbers"]) for ratios in kept["ratios"].values())
