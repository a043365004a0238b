"""Stage "rehearsal" (``--stages rehearsal``): made-up cases that fail in every way a case can, to see that the report survives. No GPU is asked."""

from __future__ import annotations

import os
import time
from typing import Any

from .plan import Case, Context, Failed, Skipped


def cases(context: Context) -> list[Case]:
    """Each kind of ending, with a good case behind the worst."""
    return [Case("passes", lambda context: {"figure": 0.5}, quick=True), Case("fails", _fails, quick=True), Case("raises", lambda context: {"figure": 1 // 0}, quick=True),
            Case("skips", _skips, quick=True), Case("dies", lambda context: os._exit(7), quick=True), Case("hangs", _hangs, quick=True),
            Case("passes behind all that", lambda context: {}, quick=True)]


def _fails(context: Context) -> dict[str, Any]:
    raise Failed("3 is not 4", {"found": 3})


def _skips(context: Context) -> dict[str, Any]:
    raise Skipped("on purpose")


def _hangs(context: Context) -> dict[str, Any]:
    time.sleep(3600)
    return {}
