"""`rushlight check`: the names of torch in a program, by reading it."""

import json
import subprocess
import sys

import pytest

from rushlight.commands.check import Unreadable, check, report, status_of

PROGRAM = '''
import torch
import torch.nn as nn
from torch.nn import functional as F
from torch.ao.quantization import quantize_dynamic as small
import numpy as np

try:
    from torch.export import export
except (ImportError, AttributeError):
    export = None

relu = F.relu

def step(x):
    torch = x.torch_like
    return relu(nn.Lineer(3, 4)(x)), np.relux(x)

if hasattr(torch, "quantize_per_tensor"):
    q = torch.quantize_per_tensor
fast = torch.compile(step)
'''


def found(tmp_path, text):
    path = tmp_path / "program.py"
    path.write_text(text, encoding="utf-8")
    return {(use.line, use.name): use for use in check([str(path)])}


def test_every_use_has_its_line_and_what_is_here(tmp_path):
    uses = found(tmp_path, PROGRAM)
    assert {key: use.status for key, use in uses.items()} == {
        (3, "nn"): "there", (4, "nn.functional"): "there", (5, "ao.quantization.quantize_dynamic"): "missing",
        (9, "export.export"): "there", (13, "nn.functional.relu"): "there", (17, "nn.Lineer"): "unknown",
        (20, "quantize_per_tensor"): "missing", (21, "compile"): "partly"}
    assert [key for key, use in uses.items() if use.guarded] == [(9, "export.export"), (20, "quantize_per_tensor")]
    assert "torch.nn.Linear" in uses[17, "nn.Lineer"].instead and "quantis" in uses[5, "ao.quantization.quantize_dynamic"].instead


def test_what_is_here_is_there():
    for name in ("nn.Linear", "nn.Linear.forward", "Tensor.add_", "float32.itemsize", "utils.data.DataLoader", "optim.lr_scheduler.StepLR",
                 "cuda.is_available", "linalg.svd", "distributions.Normal", "jit.script", "special.erf"):
        assert status_of(name)[0] in ("there", "partly"), name


def test_no_program_is_run(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "bad.py").write_text("import torch, sys\nopen('ran', 'w')\nsys.exit(3)\ntorch.zeros(1)\n")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "no.py").write_text("import torch; torch.nothing\n")
    done = subprocess.run([sys.executable, "-m", "rushlight", "check", "."], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and "1 names of torch" in done.stdout and not (tmp_path / "ran").exists()


def test_exit_status_and_json(tmp_path):
    path = tmp_path / "a.py"
    path.write_text("import torch\ntorch.quantize_per_tensor(1)\n")
    text, status = report(check([str(path)]), as_json=True)
    assert status == 1
    assert json.loads(text) == {"ok": False, "uses": [{"file": str(path), "line": 2, "name": "quantize_per_tensor", "status": "missing",
                                                       "instead": status_of("quantize_per_tensor")[1], "guarded": False}]}
    path.write_text("import torch\nif hasattr(torch, 'x'):\n    torch.quantize_per_tensor(1)\n")
    assert report(check([str(path)]))[1] == 0
    path.write_text("print('no torch')\n")
    assert report(check([str(path)])) == ("nothing of torch is used", 0)


@pytest.mark.parametrize("content, words", [(b"def f(:\n", "line 1"), (b"\xff\xfe\x00", "can't read"), (b"# coding: nonsense\n", "nonsense"),
                                            (None, "no such file")])
def test_what_is_no_program(tmp_path, content, words):
    path = tmp_path / "a.py"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Unreadable, match=words):
        check([str(path)])
