"""What stands below an error that nobody caught, by whichever way it is shown."""

import subprocess
import sys
import textwrap
import types

import pytest

from rushlight import uncaught
from tests.support.common import rl

PLAIN = {"RUSHLIGHT_LANG": "en"}


def shown(program, **environment):
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True,
                          env={**__import__("os").environ, **PLAIN, **environment})
    return done.returncode, done.stderr


def test_a_thread():
    status, text = shown("""
        import threading
        import rushlight as torch
        thread = threading.Thread(target=lambda: torch.ones(2) + torch.ones(3))
        thread.start()
        thread.join()
    """)
    assert status == 0 and text.count("add(input: 2 float32, other: 3 float32)") == 1


def test_the_programs_own_hook_is_left_alone():
    """Whether it is set before the import, and is then called, or after it, and then has the error as it is."""
    own = "import sys\nsys.excepthook = lambda kind, error, trace: print('mine:', error, len(getattr(error, '__notes__', ())), file=sys.stderr)\n"
    fails = "torch.ones(2)[5]"
    before, after = shown(f"{own}import rushlight as torch\n{fails}"), shown(f"import rushlight as torch\n{own}{fails}")
    message = "mine: index 5 is out of bounds for dimension 0 with size 2"
    assert before == (1, f"{message} 1\n") and after == (1, f"{message} 0\n")


def test_errors_that_have_no_lesson_are_as_ever():
    for raises in ("raise ValueError('x')", "raise SystemExit('x')", "raise KeyboardInterrupt", "1 / 0"):
        program = "import sys\n{}\n" + raises
        assert shown(program.format("import rushlight"))[1] == shown(program.format("pass"))[1]


def test_no_notes_where_none_are_wanted():
    status, text = shown("import rushlight as torch\ntorch.ones(2) + torch.ones(3)", RUSHLIGHT_LANG="none")
    assert status == 1 and text.endswith("at non-singleton dimension 0\n")


def test_a_lesson_comes_once():
    with pytest.raises(RuntimeError) as caught:
        rl.ones(2) + rl.ones(3)
    uncaught.teach(caught.value)
    uncaught.teach(caught.value)
    assert len(caught.value.__notes__) == 1


def test_ipython(monkeypatch):
    """A shell gets a handler for errors that shows them as ever; one that has such a handler already keeps it."""
    class Shell:
        custom_exceptions = ()
        shown = None

        def set_custom_exc(self, kinds, handler):
            self.custom_exceptions, self.handler = kinds, handler

        def showtraceback(self, what, tb_offset, running_compiled_code):
            self.shown = what

    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(uncaught.threading, "excepthook", uncaught.threading.excepthook)
    shell, taken = Shell(), types.SimpleNamespace(custom_exceptions=(OSError,))
    for each in (shell, taken):
        monkeypatch.setattr("builtins.get_ipython", lambda each=each: each, raising=False)
        uncaught.install()
    with pytest.raises(IndexError) as caught:
        rl.ones(2)[5]
    shell.handler(shell, IndexError, caught.value, caught.tb)
    assert shell.shown[1] is caught.value and caught.value.__notes__
