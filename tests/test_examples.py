"""The examples, run as a user runs them; the digits against real PyTorch."""

import os
import re
import subprocess
import sys

import pytest

ROOT = os.path.join(os.path.dirname(__file__), "..")


def run(command, *args, **env):
    result = subprocess.run([sys.executable, *command, *args], cwd=ROOT, capture_output=True, text=True, timeout=900,
                            env={**os.environ, "OMP_NUM_THREADS": "1", **env})
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


RUSHLIGHT = ("-m", "rushlight", "run")


def losses(text):
    """Per epoch: training loss and accuracy, test loss and accuracy, as printed."""
    return re.findall(r"epoch +\d+  train loss ([\d.]+)  accuracy +([\d.]+)%   test loss ([\d.]+)  accuracy +([\d.]+)%", text)


def test_digits_in_two_processes_are_those_of_one():
    """Every process takes its share of each batch: the mean loss per epoch is the same."""
    alone = run(RUSHLIGHT, "examples/ddp_digits.py", "--epochs", "2", RANK="0", WORLD_SIZE="1", MASTER_ADDR="127.0.0.1", MASTER_PORT="0")
    both = run((*RUSHLIGHT, "--nproc", "2"), "examples/ddp_digits.py", "--epochs", "2")
    found = [[float(number) for number in re.findall(r"train loss ([\d.]+)", text)] for text in (alone, both)]
    assert len(found[0]) == len(found[1]) == 2 and all(abs(a - b) < 2e-3 for a, b in zip(*found)), found


def test_digits_like_pytorch(tmp_path):
    """The first epochs print the same losses, to 4 decimals, on both."""
    args = ("examples/digits.py", "--epochs", "3", "--quiet", "--output")
    ours = losses(run(RUSHLIGHT, *args, str(tmp_path / "ours")))
    theirs = losses(run((), *args, str(tmp_path / "theirs")))
    assert len(ours) == len(theirs) == 3
    for (loss, accuracy, test_loss, test_accuracy), expected in zip(ours, theirs):
        assert abs(float(loss) - float(expected[0])) <= 1.01e-4
        assert abs(float(test_loss) - float(expected[2])) <= 1.01e-4
        assert abs(float(accuracy) - float(expected[1])) < 0.1 and abs(float(test_accuracy) - float(expected[3])) < 0.3
    assert ours[0][0] == theirs[0][0]


def test_digits_reaches_its_accuracy_and_resumes(tmp_path):
    """The main job: at least 98.5 % on the test set, a picture, and a checkpoint from which a run goes on."""
    args = ("examples/digits.py", "--quiet", "--output", str(tmp_path))
    first = run(RUSHLIGHT, *args, "--epochs", "2")
    assert (tmp_path / "checkpoint.pt").exists()
    text = run(RUSHLIGHT, *args)
    assert "resumed from" in text and len(losses(first)) == 2 and len(losses(text)) == 18
    accuracy = float(re.search(r"test accuracy ([\d.]+)%", text).group(1))
    assert accuracy >= 98.5
    assert (tmp_path / "digits.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_copy_transformer():
    text = run(RUSHLIGHT, "examples/copy_transformer.py", "--max-steps", "1000")
    assert "without a mistake" in text
    source, copy = (line.split(":")[1].strip() for line in text.splitlines()[-2:])
    assert source == copy
