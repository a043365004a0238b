"""Tests lie as the source does: each module has its test file, or a line of layout.txt says which file tests it and why."""

from fnmatch import fnmatch
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SOURCE = HERE.parent / "src" / "rushlight"
ROWS = [tuple(part.strip() for part in line.split("|")) for line in (HERE / "layout.txt").read_text().splitlines() if line and line[0] != "#"]
MODULES = sorted(path.relative_to(SOURCE) for path in SOURCE.rglob("*.py"))


def namesake(module):
    """The test file that a module has by its place and name; a package's own is named after the folder."""
    return HERE / module.parent / f"test_{module.parent.name if module.stem == '__init__' else module.stem}.py"


def patterns(row):
    return row[0].split()


@pytest.mark.parametrize("folder", sorted({str(module.parent) for module in MODULES}))
def test_every_module_has_its_tests(folder):
    missing = [str(module) for module in MODULES if str(module.parent) == folder and not namesake(module).exists()
               and not any(fnmatch(str(module), pattern) for row in ROWS for pattern in patterns(row))]
    assert not missing, f"write {[str(namesake(Path(each)).relative_to(HERE.parent)) for each in missing]}, or name the file in tests/layout.txt"


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_the_table_is_true(row):
    """Every pattern stands for a module, and the file is there."""
    _, file, reason = row
    assert (HERE.parent / file).exists() and reason
    idle = [pattern for pattern in patterns(row) if not any(fnmatch(str(module), pattern) for module in MODULES)]
    assert not idle, f"no module is called {idle}"


def test_the_tour_passes_every_folder():
    """CONTRIBUTING.md's tour of the files names every folder of the source."""
    guide = (HERE.parent / "CONTRIBUTING.md").read_text()
    tour = guide[guide.index("## A tour"):guide.index("## Releasing")]
    folders = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert [each for each in sorted(folders) if f"`{each}/`" not in tour and f"`src/rushlight/{each}/`" not in tour] == []
