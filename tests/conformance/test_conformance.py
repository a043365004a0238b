"""Holds the line: a case that agreed when line.json was written must still agree. ``python -m tests.conformance --write`` moves the line.

A few samples per op and dtype run here; CONFORMANCE_FULL=1 runs all.
"""

import os

import pytest

from . import names, suite
from .report import known_failures

LIMIT = None if os.environ.get("CONFORMANCE_FULL") else suite.QUICK


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("task", suite.everything(), ids=lambda task: "-".join(task).replace(" ", "-"))
def test_agrees_with_pytorch_where_it_did(task):
    known = known_failures(task)
    new = []
    for where, text in suite.run_one(task, LIMIT).failures:
        group, index = where.rsplit(" ", 1)[0].rsplit(" ", 1)
        if (group, int(index)) not in known:
            new.append(f"{where}: {text}")
    assert not new, "\n".join(new[:10])


@pytest.mark.parametrize("namespace", names.NAMESPACES)
def test_no_name_got_lost(namespace):
    lacking, _ = names.missing(namespace)
    lost = set(lacking) - set(names.known_missing().get(namespace, ()))
    assert not lost, f"{namespace} lacks {sorted(lost)}"
