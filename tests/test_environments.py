"""Environments that a test can have in a moment: modules that are missing, threads that can't start, odd paths, a tree that can't be written to.
The dear ones (interpreters, wheels, the oldest NumPy) are `make environments`."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SMOKE = ROOT / "tests" / "support" / "smoke.py"


def smoke(*blocked, source=ROOT / "src", native="0", **options):
    done = subprocess.run([sys.executable, str(SMOKE), *blocked], capture_output=True, text=True, timeout=200,
                          env={**os.environ, "PYTHONPATH": str(source), "RUSHLIGHT_NATIVE": native}, **options)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_a_browsers_python():
    """No processes, no ctypes, no sockets, and no thread can be started: the same numbers come out."""
    assert smoke("threads", "multiprocessing", "_multiprocessing", "ctypes", "_ctypes", "_posixshmem", "socket", "ssl") == smoke()


def test_a_path_with_spaces_and_chinese_that_can_not_be_written_to(tmp_path):
    folder = tmp_path / "目录 with spaces"
    shutil.copytree(ROOT / "src", folder, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        assert smoke(source=folder, cwd=folder).startswith("losses")
    finally:
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o755)


def environments():
    spec = importlib.util.spec_from_file_location("environments", ROOT / "tools" / "environments.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_interpreters_that_are_not_here_are_told(capsys, monkeypatch):
    tool = environments()
    assert tool.interpreter("9.9") is None
    assert Path(tool.interpreter(f"{sys.version_info[0]}.{sys.version_info[1]}")).exists()
    monkeypatch.setattr(tool, "PYTHONS", ("9.9",))
    assert [tool.tell(name, work) for name, work in tool.interpreters(Path("unused"))] == [None]
    assert capsys.readouterr().out == "not here  Python 9.9: no such interpreter, neither on the path nor in ~/.pyenv\n"


def test_failures_are_told_in_one_line(capsys):
    tool = environments()

    def wrong():
        raise tool.Wrong("first\nsecond")
    assert tool.tell("a wheel", wrong) is False and tool.tell("another", lambda: "fine") is True
    assert capsys.readouterr().out == "FAILED    a wheel: first | second\nok        another: fine\n"
    with pytest.raises(tool.Wrong, match="exit code 3"):
        tool.run([sys.executable, "-c", "import sys; sys.exit(3)"])
