"""`rushlight completion`: the shells that are here complete the command's names, its options and files."""

import shutil
import subprocess

import pytest

from rushlight.cli import _COMMANDS, USAGE
from rushlight.commands.completion import FOLLOWS, SHELLS, script


def completed(line, folder):
    """What bash offers for the last word of a line."""
    words = line.split(" ")
    program = (script("bash", _COMMANDS) + f"\nCOMP_WORDS=({' '.join(repr(word) for word in words)})\nCOMP_CWORD={len(words) - 1}\n_rushlight\n"
               'printf "%s\\n" "${COMPREPLY[@]}"')
    return subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True, cwd=folder).stdout.split()


def test_bash(tmp_path):
    assert completed("rushlight ch", tmp_path) == ["check"] and set(_COMMANDS) <= set(completed("rushlight ", tmp_path))
    assert completed("rushlight compare --r", tmp_path) == ["--runs", "--rtol"]
    assert completed("rushlight completion ", tmp_path) == list(SHELLS)
    assert completed("rushlight check src/", tmp_path) == [] == completed("rushlight run ", tmp_path)           # files, by the shell


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_can_read_it(shell, tmp_path):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed here")
    path = tmp_path / "completion"
    path.write_text(script(shell, _COMMANDS))
    done = subprocess.run([shell, "-n" if shell != "fish" else "--no-execute", str(path)], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr


def test_fish(tmp_path):
    if shutil.which("fish") is None:
        pytest.skip("fish is not installed here")
    asked = script("fish", _COMMANDS) + "\ncomplete -C 'rushlight comp'\ncomplete -C 'rushlight compare --r'"
    done = subprocess.run(["fish", "--no-config", "-c", asked], capture_output=True, text=True, env={**__import__("os").environ, "HOME": str(tmp_path)})
    assert {"compare", "completion", "--runs", "--rtol"} <= set(done.stdout.split())


def test_every_option_of_the_usage_is_completed():
    """And none that is not there."""
    offered = {word for words in FOLLOWS.values() for word in words if word.startswith("--")}
    said = {word.strip("[](),") for word in USAGE.split() if word.strip("[](").startswith("--")} - {"--version", "--help"}
    assert offered == said
