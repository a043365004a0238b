"""Imports between rushlight's own modules: every name exists, and the stairs go down."""

import subprocess
import sys
from importlib import import_module

import pytest

from rushlight import services
from tools.imports import arrows, imports, inside_functions, knots, modules

FILES = modules()
FOUND = imports(FILES)


@pytest.mark.parametrize("module", sorted({each.module for each in FOUND}))
def test_every_imported_name_exists(module):
    """Also those that an import inside a function asks for, which nobody resolves before it runs."""
    there = import_module(module)
    missing = [str(each) for each in FOUND if each.module == module and each.name not in (None, "*") and not hasattr(there, each.name)]
    assert not missing


def test_the_knots_are_small():
    """No more than 12 files lead to one another by imports, wherever these stand."""
    assert max(map(len, knots(arrows(FOUND)))) <= 12


def test_imports_inside_functions_are_few():
    """They stand only where a load is deferred on purpose (python tools/imports.py lists them)."""
    assert len(inside_functions(FOUND)) < 120


def test_every_service_is_given():
    """Each function that lower floors ask for is there once its provider is imported."""
    for service in services.SERVICES:
        import_module(f"rushlight.{service.provider}")
        assert callable(service.function), service.provider


def test_each_module_can_be_the_first():
    """After ``import rushlight``, any module can be imported next: no import at a module's top hangs on another having come first."""
    program = FIRST.format(modules=[name for name in FILES if not name.startswith(ABSENT)])
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


ABSENT = ("rushlight.__main__", "rushlight.utils.tensorboard", "rushlight.utils._cxx_pytree")      # runs the program; need a package
FIRST = """
import importlib, os, sys
import rushlight
for name in {modules}:
    if name not in sys.modules:
        child = os.fork()
        if not child:
            try:
                importlib.import_module(name)
            except BaseException as error:
                print(name, repr(error), file=sys.stderr, flush=True)
                os._exit(1)
            os._exit(0)
        if os.waitpid(child, 0)[1]:
            sys.exit(1)
"""
