"""A recorded run as a picture: one box for each innermost module and for each function between modules, with the shapes at the lines."""

from __future__ import annotations

from ..vocabulary import Shape
from .recording import Recording, Scope, Step
from .svg import Box, Picture, graph

__all__ = ["draw"]

_LONGEST = 46


def draw(recording: Recording, title: str) -> Picture:
    """The picture of a recording."""
    boxes: list[Box] = []
    at: dict[int, int] = {}                          # step -> its box
    shapes: list[list[Shape]] = []                   # of what each box gives
    running: tuple[Scope, int] | None = None         # the innermost module that is being drawn, and its box
    whole = _leaves(recording)
    for number, step in enumerate(recording.steps):
        if step.kind == "parameter":
            continue
        sources = [(at[source], recording.steps[source].shapes) for source in step.sources if source in at]
        leaf = next((scope for scope in step.scopes if scope.path in whole), None)
        if leaf is not None and running is not None and running[0] is leaf and (not sources or any(box == running[1] for box, _ in sources)):
            place = running[1]
        else:
            place = len(boxes)
            boxes.append(_box(step, leaf))
            shapes.append([])
            running = None if leaf is None else (leaf, place)
        at[number] = place
        known = {source for source, _ in boxes[place].sources}
        for source, given in sources:
            if source != place and source not in known:
                known.add(source)
                boxes[place].sources.append((source, _shown(given)))
        shapes[place] = step.shapes
    return graph(boxes, title)


def _leaves(recording: Recording) -> set[str]:
    """The paths of the modules that are drawn whole: those in which no other module ran."""
    ran = {scope.path for step in recording.steps if step.kind == "function" for scope in step.scopes}
    return {path for path in ran if path and not any(other != path and other.startswith(path + ".") for other in ran)}


def _box(step: Step, leaf: Scope | None) -> Box:
    if leaf is not None:
        return Box([leaf.kind, _short(leaf.path), *([_short(leaf.details)] if leaf.details else [])], [], 1)
    if step.kind == "function":
        return Box([step.name], [], 2)
    return Box([step.name, _shown(step.shapes)], [], None if step.kind == "input" else 0)


def _short(words: str) -> str:
    return words if len(words) <= _LONGEST else words[:_LONGEST - 1] + "…"


def _shown(shapes: list[Shape]) -> str:
    """Shapes as people write them: 8 x 3 x 32 x 32; a scalar for none."""
    return ", ".join(" × ".join(map(str, shape)) or "scalar" for shape in shapes[:3]) + (", …" if len(shapes) > 3 else "")
