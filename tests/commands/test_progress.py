"""Long work says how far it has come, on a terminal."""

import io
import sys

import pytest

from rushlight.commands import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def installed(monkeypatch):
    """A terminal as stderr, and which packages are found."""
    def choose(*names):
        monkeypatch.setattr(progress, "find_spec", lambda name: name in names or None)
        monkeypatch.setattr(sys, "stderr", Terminal())
    return choose


def test_plain_lines(installed):
    installed()
    assert list(progress.track(["a", "b"], str.upper)) == ["a", "b"]
    assert sys.stderr.getvalue() == "1 of 2: A\n2 of 2: B\n"


@pytest.mark.parametrize("package", ["rich", "tqdm"])
def test_bars(installed, package):
    pytest.importorskip(package)
    installed(package)
    assert list(progress.track(["a", "b"], lambda each: f"step {each}")) == ["a", "b"]
    assert "step b" in sys.stderr.getvalue() and "1 of 2" not in sys.stderr.getvalue()


def test_nothing_where_nobody_looks(installed, monkeypatch):
    installed()
    assert list(progress.track(["a"], str)) == ["a"] and not sys.stderr.getvalue()
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert list(progress.track(["a", "b"], str)) == ["a", "b"] and not sys.stderr.getvalue()
