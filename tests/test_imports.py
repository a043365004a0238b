"""Imports between rushlight's own modules: every name exists, nothing is imported in the middle of a module, the stairs go down."""

from importlib import import_module

import pytest

from tools.imports import imports, modules

FILES = modules()
FOUND = imports(FILES)


@pytest.mark.parametrize("module", sorted({each.module for each in FOUND}))
def test_every_imported_name_exists(module):
    """Also those that an import inside a function asks for, which nobody resolves before it runs."""
    there = import_module(module)
    missing = [str(each) for each in FOUND if each.module == module and each.name not in (None, "*") and not hasattr(there, each.name)]
    assert not missing
