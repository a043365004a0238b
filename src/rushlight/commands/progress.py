"""How far long work has come, on a terminal: a bar of rich or of tqdm where one of them is installed, plain lines where neither is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import TypeVar

__all__ = ["track"]

Step = TypeVar("Step")


def track(steps: Sequence[Step], say: Callable[[Step], str]) -> Iterator[Step]:
    """Go through the steps, saying of each what it is; nothing is said where stderr is no terminal, or of a single step."""
    if len(steps) < 2 or not sys.stderr.isatty():
        yield from steps
    elif find_spec("rich") is not None:
        yield from _rich(steps, say)
    elif find_spec("tqdm") is not None:
        yield from _tqdm(steps, say)
    else:
        for at, step in enumerate(steps, 1):
            print(f"{at} of {len(steps)}: {say(step)}", file=sys.stderr, flush=True)
            yield step


def _rich(steps: Sequence[Step], say: Callable[[Step], str]) -> Iterator[Step]:
    console = import_module("rich.console").Console(stderr=True)
    with import_module("rich.progress").Progress(console=console, transient=True) as shown:
        task = shown.add_task("", total=len(steps))
        for step in steps:
            shown.update(task, description=say(step))
            yield step
            shown.advance(task)


def _tqdm(steps: Sequence[Step], say: Callable[[Step], str]) -> Iterator[Step]:
    with import_module("tqdm").tqdm(total=len(steps), leave=False, file=sys.stderr) as shown:
        for step in steps:
            shown.set_description(say(step))
            yield step
            shown.update()
