"""The notes below common errors: the error keeps its words, the note names the call with its shapes and says what to do, in two languages."""

import re
import subprocess
import sys

import pytest

from rushlight.commands.lessons import LESSONS, language, lesson
from tests.support.common import rl
from tests.test_mistakes import MISTAKES, helpers

NAMES = {"torch": rl, "nn": rl.nn, "F": rl.nn.functional}


def raised(expression):
    """The error of an expression of tests/mistakes.txt; None where this list needs more than torch, nn and F."""
    try:
        eval(expression, {**NAMES, **helpers(rl), "io": __import__("io"), "np": __import__("numpy")})
    except Exception as error:
        return error
    return None


def test_the_call_with_its_shapes():
    error = raised("nn.Linear(3,4)(torch.randn(2,5))")
    assert lesson(error, "en").splitlines()[:2] == ["Linear(in_features=3, out_features=4, bias=True)",
                                                    "linear(input: 2 x 5 float32, weight: 4 x 3 float32, bias: 4 float32)"]
    assert "in_features is 3" in lesson(error, "en") and "in_features 是 3" in lesson(error, "zh") and lesson(error, "none") == ""
    assert lesson(ValueError("something else"), "en") == ""


@pytest.mark.filterwarnings("ignore")
def test_many_mistakes_have_a_lesson():
    """More than a hundred of the listed mistakes, in both languages, with all groups filled in."""
    told = [note for expression in MISTAKES for error in [raised(expression)] if error is not None for note in [lesson(error, "en")] if note]
    assert len(told) >= 100
    assert not [note for note in told if re.search(r"\{\d\}", note)]


@pytest.mark.parametrize("pattern, english, chinese", LESSONS, ids=[each[0][:30] for each in LESSONS])
def test_every_lesson(pattern, english, chinese):
    """The pattern has the groups that the texts ask for; the Chinese one is Chinese."""
    groups = re.compile(pattern).groups
    for text in (english, chinese):
        assert all(int(each) <= groups for each in re.findall(r"\{(\d)\}", text))
    assert re.search("[\u4e00-\u9fff]", chinese) and not re.search("[\u4e00-\u9fff]", english)


@pytest.mark.parametrize("environment, expected", [
    ({"RUSHLIGHT_LANG": "zh"}, "zh"), ({"RUSHLIGHT_LANG": "none", "LANG": "zh_CN.UTF-8"}, "none"), ({"LANG": "zh_CN.UTF-8"}, "zh"),
    ({"LC_ALL": "C", "LANG": "zh_CN.UTF-8"}, "en"), ({"RUSHLIGHT_LANG": "en", "LANG": "zh_CN.UTF-8"}, "en"), ({}, "en")])
def test_language(monkeypatch, environment, expected):
    for name in ("RUSHLIGHT_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert language() == expected


def test_a_program_that_fails(tmp_path):
    """PyTorch's words come first, the lesson after them, once."""
    program = tmp_path / "program.py"
    program.write_text("import torch\ntorch.nn.Linear(3, 4)(torch.randn(2, 5))\n")
    done = subprocess.run([sys.executable, "-m", "rushlight", "run", str(program)], capture_output=True, text=True,
                          env={**__import__("os").environ, "RUSHLIGHT_LANG": "zh", "PYTHONIOENCODING": "utf-8"}, encoding="utf-8")
    words = done.stderr.index("mat1 and mat2 shapes cannot be multiplied (2x5 and 3x4)\n")
    assert done.returncode == 1 and done.stderr.count("内侧两个维度必须相等") == 1 and done.stderr.index("内侧两个维度") > words
