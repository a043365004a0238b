"""`rushlight compare`: one program on PyTorch and on rushlight."""

import math
import os
import subprocess
import sys

import pytest

from rushlight.cli import main
from rushlight.commands.compare import Agreement, Comparison, NoPyTorch, Row, agreement, compare, page, table

PROGRAM = """
import sys
import time
import torch
start = time.time()
torch.manual_seed(0)
layer = torch.nn.Linear(3, 2)
print("weights", layer.weight.tolist(), sys.argv[1:])
print(f"took {time.time() - start:.6f} s")
"""


@pytest.mark.parametrize("a, b, same", [
    ("loss 0.123456", "loss 0.123457", True), ("loss 0.1234", "loss 0.1244", False), ("loss 1", "lost 1", False), ("nan", "nan", True),
    ("nan", "1.0", False), ("inf", "inf", True), ("x 3.2 s, 40 MB", "x 9.9 s, 1 MB", True), ("3.2 seeds", "3.3 seeds", False),
    ("at 0x7f01", "at 0x7fff", True), ("tensor([1.,  2.])", "tensor([1., 2.])", True), ("a\nb", "a", False), ("12 it/s", "900 it/s", True),
    ("conv2d 1", "conv3d 1", False), ("-0.5", "0.5", False), ("1e-9", "2e-9", True)])
def test_agreement(a, b, same):
    assert (agreement(a, b).first == "") is same


def test_the_first_difference_is_shown():
    found = agreement("one 1.0\ntwo 2.0\nthree 3.0", "one 1.0\ntwo 2.5\nthree 4.0")
    assert found.first == "line 2:\n  PyTorch    two 2.0\n  rushlight  two 2.5" and found.numbers == 2 and math.isclose(found.largest, 0.25)


def test_a_program_on_both(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    found = compare(str(path), ["--x", "1"])
    assert found.statuses == (0, 0) and found.agreement == Agreement(7, 0.0, "") and found.torch.startswith("2.13")
    rows = {row.what: row for row in found.rows}
    assert set(rows) == {"time", "CPU time", "peak memory", "import", "installed size"}
    assert rows["installed size"].ratio < 0.5 and rows["peak memory"].ratio < 0.8
    text, html = table(found), page(found)
    assert "7 printed numbers agree" in text and "7 printed numbers agree" in html and "http" not in html


def test_a_side_that_fails(tmp_path):
    path = tmp_path / "program.py"
    path.write_text("import torch\ntorch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.quint8)\nprint(1)\n")
    done = subprocess.run([sys.executable, "-m", "rushlight", "compare", str(path)], capture_output=True, text=True)
    assert done.returncode == 1 and "on rushlight the script fails (exit status 1)" in done.stdout and "quantised" in done.stdout


def test_no_pytorch_to_compare_with(tmp_path):
    with pytest.raises(NoPyTorch, match="can't run"):
        compare(__file__, python=str(tmp_path / "python"))
    (tmp_path / "torch.py").write_text("raise ImportError('broken')")
    done = subprocess.run([sys.executable, "-m", "rushlight", "compare", __file__], capture_output=True, text=True, cwd=tmp_path,
                          env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"})
    assert done.returncode == 2 and "broken" in done.stderr and "--python" in done.stderr


@pytest.mark.parametrize("args, words", [([], "needs a script"), (["--runs", "x", "a"], "needs a number"), (["--runs", "0", "a"], "at least 1"),
                                         (["--what", "a"], "no option --what"), (["--html"], "needs a value"), (["/nope.py"], "no such file")])
def test_wrong_calls(args, words, capsys):
    assert main(["compare", *args]) == 2
    assert words in capsys.readouterr().err


def test_a_page_escapes_what_programs_print():
    found = Comparison("a<b>.py", "2.13", (1, 0), ("<script>", ""), Agreement(0, 0.0, ""), [Row("time", 2.0, 1.0, "s")])
    assert "<script>" not in page(found) and "a&lt;b&gt;.py" in page(found)
