"""Stage "guide": the examples of the guide, in both languages; those marked for cuda run on the GPU."""

from __future__ import annotations

from .files import run_pytest
from .plan import Case, Context


def cases(context: Context) -> list[Case]:
    """One case per language."""
    return [Case(name, lambda context, name=name: run_pytest(context, ["tests/test_docs.py", "-k", key], device=False), quick="not" not in key)
            for name, key in (("docs/guide.md", "test_examples and guide and not zh"), ("docs/zh/guide.md", "test_examples and guide and zh"))]
