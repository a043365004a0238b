"""bench.ops: every op of the registry has a case, both sides run the cases, and the page and JSON from made-up times."""

import fnmatch
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch as pt

import rushlight as torch
from bench import ops
from rushlight.ops import deferred
from rushlight.ops.registry import OPS

pytestmark = pytest.mark.filterwarnings("ignore")
ROOT = Path(__file__).resolve().parent.parent
CASE, SETTING = ops.Case("unary", "torch.exp(u) | 1"), ops.Setting("small", "float32", "contiguous", "forward")


def test_every_op_of_the_registry_is_measured_or_left_out():
    deferred.load_all()
    names = set().union(*[ops.named(case.expression) for case in (*ops.elementwise(), *ops.table())])
    covered = {op.name for op in OPS.values() if any(place.rpartition(".")[2] in names for place in op.places)}
    patterns = ops.left_out()
    missing = [name for name in OPS if name not in covered and not any(fnmatch.fnmatchcase(name, each) for each in patterns)]
    assert missing == [] and len(covered) > 500


@pytest.mark.parametrize("group", sorted({case.group for case in (*ops.elementwise(), *ops.table())}))
def test_both_sides_run_the_cases(group):
    for case in ops.chosen(group, ""):
        for function, reset in (ops.prepare(each, case, SETTING) for each in (torch, pt)):
            reset()
            function()


def test_inputs_are_equal_and_lie_as_asked():
    for dtype, layout in (("float32", "contiguous"), ("bfloat16", "strided"), ("float64", "strided")):
        setting = SETTING._replace(dtype=dtype, layout=layout)
        for name in ("x", "image", "i", "mask"):
            array = ops._array(name, CASE, "small")
            ours, theirs = (ops._tensor(each, array, setting) for each in (torch, pt))
            assert ours.tolist() == theirs.tolist() and str(ours.dtype) == str(theirs.dtype)
            assert ours.stride() == theirs.stride() and ours.is_contiguous() == (layout == "contiguous")


def test_gradients_are_those_of_both_sides():
    setting = SETTING._replace(way="both ways")
    case = ops.Case("activation", "F.softmax(x * y, 1)")
    results = [ops.prepare(each, case, setting)[0]() for each in (torch, pt)]
    assert len(results[0]) == len(results[1]) == 2
    assert torch.allclose(results[0][0], torch.from_numpy(results[1][0].numpy()), atol=1e-6)
    assert ops.prepare(torch, ops.Case("sorting", "x.argsort(1)"), setting) is None


def test_what_changes_its_input_begins_afresh():
    function, reset = ops.prepare(torch, ops.Case("inplace", "z.mul_(0.5)"), SETTING)
    first = function().tolist()
    assert function().tolist() != first
    reset()
    assert function().tolist() == first


def test_names_groups_and_settings_are_chosen():
    assert {case.group for case in ops.chosen("fft,norm", "")} == {"fft", "norm"}
    assert {case.expression for case in ops.chosen("", "pdist")} == {case.expression for case in ops.table() if "pdist" in case.expression}
    few = {each.expression for each in ops.chosen("fft", "rfft*")}
    assert "torch.fft.rfft2(x)" in few and "torch.fft.fft(signal)" not in few


def test_tables_and_numbers(tmp_path):
    other = ops.Case("fft", "torch.fft.fft(c)")
    found = [(CASE, SETTING, 2e-6, 1e-6), (CASE, SETTING._replace(size="large"), 5e-6, 1e-5), (other, SETTING, 1e-6, 2e-6)]
    lines = ops.summary(found)
    assert lines[2:] == ["| fft | 1 | 0.50 | 0 | 0.50 | `torch.fft.fft(c)`, small, float32, contiguous, forward |",
                         "| unary | 2 | 1.00 | 1 | 2.00 | `torch.exp(u) \\| 1`, small, float32, contiguous, forward |"]
    assert ops.slower(found)[2:] == ["| 2.00 | `torch.exp(u) \\| 1` | small, float32, contiguous, forward | 2 us | 1 us | 1 of 2 |"]
    page, file = tmp_path / "page.md", tmp_path / "numbers.json"
    page.write_text(f"head\n{ops.START}\nold\n{ops.END}\ntail\n")
    ops.write(found, page, file, "Made up.")
    text = page.read_text()
    assert text.startswith(f"head\n{ops.START}\nMade up.\n") and text.endswith(f"{ops.END}\ntail\n") and "old" not in text
    before = json.loads(file.read_text())
    assert before["fft | torch.fft.fft(c) | small float32 contiguous forward"] == 0.5
    slower_now = {name: ratio * 2.5 for name, ratio in before.items()}
    assert len(ops.grown(before, slower_now, 4 / 3)) == 3 and ops.grown(before, before, 4 / 3) == []


def test_a_run_of_one_op():
    done = subprocess.run([sys.executable, "-m", "bench.ops", "--names", "cumsum", "--sizes", "small", "--seconds", "0.001"], cwd=ROOT,
                          capture_output=True, text=True, timeout=300, env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert "x.cumsum(0)  small, float32, contiguous, both ways" in done.stdout and "| scan | 5 |" in done.stdout
