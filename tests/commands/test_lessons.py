"""The notes below common errors: the error keeps its words, the note names the call with its shapes and says what to do, in two languages."""

import re
import subprocess
import sys

import pytest

from rushlight.commands.advice import LESSONS
from rushlight.commands.lessons import language, lesson
from tests.support.common import rl
from tests.test_mistakes import MISTAKES, NAMES


def raised(expression):
    """The error of an expression of tests/mistakes.txt; None where there is none."""
    try:
        eval(expression, dict(NAMES["rl"]))
    except Exception as error:
        return error
    return None


def test_the_call_with_its_shapes():
    error = raised("nn.Linear(3,4)(torch.randn(2,5))")
    assert lesson(error, "en").splitlines()[:2] == ["Linear(in_features=3, out_features=4, bias=True)",
                                                    "linear(input: 2 x 5 float32, weight: 4 x 3 float32, bias: 4 float32)"]
    assert "in_features is 3" in lesson(error, "en") and "in_features 是 3" in lesson(error, "zh") and lesson(error, "none") == ""
    assert lesson(ValueError("something else"), "en") == ""


@pytest.mark.parametrize("expression, call", [
    ("torch.randn(2) + torch.randn(3)", "add(input: 2 float32, other: 3 float32)"),
    ("torch.randn(2).add_(torch.randn(3, 2))", "add_(self: 2 float32, other: 3 x 2 float32)"),
    ("-torch.tensor([True])", "neg(input: 1 bool)"),
    ("torch.tril(torch.randn(3))", "tril(input: 3 float32)"),
    ("torch.randn(4).narrow(0, 3, 2)", "narrow(input: 4 float32)"),
    ("torch.zeros(3).scatter_add_(0, torch.tensor([0, 1]), torch.ones(1))", "scatter_add(input: 3 float32, index: 2 int64, src: 1 float32)"),
    ("torch.linalg.solve(torch.randn(2, 2), torch.randn(3))", "solve(A: 2 x 2 float32, B: 3 float32)")])
def test_the_call_has_its_public_name(expression, call):
    """Also of ops that a factory makes; and without a lesson the call is all that is said."""
    assert lesson(raised(expression), "en").splitlines()[0] == call


def test_what_a_program_raises_itself_gets_no_note():
    class Own(rl.nn.Module):
        def forward(self, x):
            raise ValueError("not my kind of input")
    with pytest.raises(ValueError) as caught:
        Own()(rl.ones(2))
    assert lesson(caught.value, "en") == ""


@pytest.mark.filterwarnings("ignore")
def test_the_listed_mistakes_have_lessons():
    """Two of three say what to do, by more than a hundred different lessons, each with all that its text takes from the message."""
    errors = [error for expression in MISTAKES for error in [raised(expression)] if error is not None]
    found = [next(((each, match) for each in LESSONS for match in [re.search(each[0], str(error))] if match), None) for error in errors]
    told = [each for each in found if each is not None]
    assert len(told) >= 330
    assert len({lesson[0] for lesson, _ in told}) > 100
    for (_, english, chinese), match in told:
        assert all(match[int(group)] for text in (english, chinese) for group in re.findall(r"\{(\d)\}", text)), match
    noted = [error for error, each in zip(errors, found, strict=True) if each is None and lesson(error, "en")]
    assert noted and "(" in lesson(noted[0], "en")          # no lesson, and yet the call with its shapes


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


@pytest.mark.parametrize("imports, command", [("import torch", ("-m", "rushlight", "run")), ("import rushlight as torch", ())], ids=["run", "plain"])
def test_a_program_that_fails(tmp_path, imports, command):
    """PyTorch's words come first, the lesson after them, once, whatever started the program."""
    program = tmp_path / "program.py"
    program.write_text(f"{imports}\ntorch.nn.Linear(3, 4)(torch.randn(2, 5))\n")
    done = subprocess.run([sys.executable, *command, str(program)], capture_output=True, text=True,
                          env={**__import__("os").environ, "RUSHLIGHT_LANG": "zh", "PYTHONIOENCODING": "utf-8"}, encoding="utf-8")
    words = done.stderr.index("mat1 and mat2 shapes cannot be multiplied (2x5 and 3x4)\n")
    assert done.returncode == 1 and done.stderr.count("内侧两个维度必须相等") == 1 and done.stderr.index("内侧两个维度") > words
