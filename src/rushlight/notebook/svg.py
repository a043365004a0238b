"""Pictures as SVG text: graphs in layers, curves and bars. Nothing but strings; whatever is written into them is escaped.

The pictures take the colour of the text around them, so that they are readable on light and dark pages.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Box", "Picture", "bars", "curves", "graph"]

COLOURS = ("#d9480f", "#1c7ed6", "#2f9e44", "#9c36b5", "#e8a200", "#0c8599")
_ALONE = "<style>svg{color:#222;background:#fff}@media(prefers-color-scheme:dark){svg{color:#ddd;background:#1b1b1b}}</style>"
_FONT = "font-family=\"system-ui,sans-serif\" fill=\"currentColor\""


class Picture:
    """An SVG picture. Notebooks show it; ``save(path)`` writes it as a file that stands alone, ``str(picture)`` is its text."""

    def __init__(self, width: float, height: float, title: str, parts: Sequence[str]) -> None:
        self._size, self._title, self._parts = (math.ceil(width), math.ceil(height)), title, list(parts)

    def _text(self, style: str) -> str:
        width, height = self._size
        return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
                f'style="max-width:100%;height:auto" aria-label="{escape(self._title)}">{style}<title>{escape(self._title)}</title>'
                + "".join(self._parts) + "</svg>")

    def __str__(self) -> str:
        return self._text("")

    def __repr__(self) -> str:
        return f"<picture of {self._title}, {self._size[0]} x {self._size[1]}: .save(path) writes it>"

    def _repr_html_(self) -> str:
        return f'<div style="overflow-x:auto">{self}</div>'

    def alone(self) -> str:
        """The text with a background of its own, light or dark as the reader's system is."""
        return self._text(_ALONE)

    def save(self, path: str) -> None:
        """Write the picture as an SVG file that stands alone."""
        with open(path, "w", encoding="utf-8") as file:
            file.write(self.alone())


def _text(x: float, y: float, words: str, size: int = 12, anchor: str = "middle", more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" {_FONT}{more}>{escape(words)}</text>'


def _width(words: str, size: int = 12) -> float:
    """About how wide a text is: wide characters (Chinese) count twice."""
    return sum(1.0 if ord(letter) > 0x2E7F else 0.6 for letter in words) * size


# --- graphs -----------------------------------------------------------------------------------------------------------------------------

@dataclass
class Box:
    """A node: what is written in it (the first line is bold), its colour (an index of COLOURS, or None), and the boxes that it takes from,
    each with what is written at the line."""

    lines: list[str]
    sources: list[tuple[int, str]]
    colour: int | None = None


_GAP, _LINE, _BETWEEN = 26.0, 16.0, 46.0


def graph(boxes: Sequence[Box], title: str) -> Picture:
    """Boxes in layers from top to bottom, each below all that it takes from; a line that passes layers goes around their boxes."""
    layers, chains = _layers(boxes)
    widths = {place: _box_width(boxes[place]) if place < len(boxes) else 8.0 for layer in layers for place in layer}
    _order(layers, chains)
    across = {layer_number: sum(widths[place] + _GAP for place in layer) for layer_number, layer in enumerate(layers)}
    total = max([*across.values(), _width(title)]) + _GAP
    x, y, reach = {}, {}, {}                         # the middle of each place, and how far its layer reaches up and down
    top = _GAP / 2
    for number, layer in enumerate(layers):
        tall = max((_box_height(boxes[place]) for place in layer if place < len(boxes)), default=_LINE)
        left = (total - across[number] + _GAP) / 2
        for place in layer:
            x[place], y[place], reach[place] = left + widths[place] / 2, top + tall / 2, tall / 2
            left += widths[place] + _GAP
        top += tall + _BETWEEN
    leaving = Counter(chain[0] for chain, _ in chains)
    parts = [_edge(boxes, chain, label, x, y, reach, leaving[chain[0]]) for chain, label in chains]
    parts += [_box(box, x[place], y[place], widths[place]) for place, box in enumerate(boxes)]
    return Picture(total, top - _BETWEEN + _GAP, title, parts)


def _box_width(box: Box) -> float:
    return max(_width(line) for line in box.lines) + 24


def _box_height(box: Box) -> float:
    return len(box.lines) * _LINE + 12


def _layers(boxes: Sequence[Box]) -> tuple[list[list[int]], list[tuple[list[int], str]]]:
    """The places in each layer, and each line as the places that it goes through: numbers from len(boxes) on are bends."""
    depth: list[int] = []
    for box in boxes:
        depth.append(1 + max((depth[source] for source, _ in box.sources), default=-1))
    layers: list[list[int]] = [[] for _ in range(max(depth, default=-1) + 1)]
    for place, level in enumerate(depth):
        layers[level].append(place)
    chains, bend = [], len(boxes)
    for place, box in enumerate(boxes):
        for source, label in box.sources:
            chain = [source]
            for level in range(depth[source] + 1, depth[place]):
                layers[level].append(bend)
                chain.append(bend)
                bend += 1
            chains.append(([*chain, place], label))
    return layers, chains


def _order(layers: list[list[int]], chains: list[tuple[list[int], str]]) -> None:
    """Put each place of a layer near the middle of its neighbours above, then below, so that few lines cross."""
    above: dict[int, list[int]] = {}
    below: dict[int, list[int]] = {}
    for chain, _ in chains:
        for one, next_one in zip(chain, chain[1:]):
            above.setdefault(next_one, []).append(one)
            below.setdefault(one, []).append(next_one)
    for _ in range(4):
        for neighbours, pairs in ((above, list(zip(layers, layers[1:]))), (below, list(zip(layers[::-1], layers[-2::-1])))):
            for fixed, moved in pairs:
                at = {place: number / max(len(fixed) - 1, 1) for number, place in enumerate(fixed)}
                now = {place: number / max(len(moved) - 1, 1) for number, place in enumerate(moved)}
                near = {place: [at[each] for each in neighbours.get(place, ()) if each in at] for place in moved}
                moved.sort(key=lambda place: sum(near[place]) / len(near[place]) if near[place] else now[place])  # noqa: B023


def _edge(boxes: Sequence[Box], chain: list[int], label: str, x: Mapping[int, float], y: Mapping[int, float],
          reach: Mapping[int, float], leaving: int) -> str:
    first, last = chain[0], chain[-1]
    points = [(x[first], y[first] + _box_height(boxes[first]) / 2),
              *((x[bend], y[bend] + side * reach[bend]) for bend in chain[1:-1] for side in (-1, 1)),
              (x[last], y[last] - _box_height(boxes[last]) / 2 - 6)]
    path = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    for (x0, y0), (x1, y1) in zip(points, points[1:]):
        half = (y0 + y1) / 2
        path += f"C{x0:.1f} {half:.1f} {x1:.1f} {half:.1f} {x1:.1f} {y1:.1f}"
    tip_x, tip_y = points[-1]
    tip = f"M{tip_x - 4:.1f} {tip_y - 1:.1f}L{tip_x:.1f} {tip_y + 6:.1f}L{tip_x + 4:.1f} {tip_y - 1:.1f}Z"
    line = (f'<path d="{path}" fill="none" stroke="currentColor" stroke-opacity=".55"/>'
            f'<path d="{tip}" fill="currentColor" fill-opacity=".7"/>')
    (x0, y0), (x1, y1) = points[:2]
    if leaving > 2:                                  # many lines leave here: each says what it is where it arrives
        middle = (x1 + 6, y1 - 2)
    else:                                            # beside the line, not on it
        middle = ((x0 + x1) / 2 + 5, (y0 + y1) / 2 + (3 if abs(x0 - x1) < 20 else 14 if x1 < x0 else -6))
    return line + (_text(*middle, label, 10, "start", ' fill-opacity=".75"') if label else "")


def _box(box: Box, x: float, y: float, width: float) -> str:
    height = _box_height(box)
    colour = "currentColor" if box.colour is None else COLOURS[box.colour % len(COLOURS)]
    shape = (f'<rect x="{x - width / 2:.1f}" y="{y - height / 2:.1f}" width="{width:.1f}" height="{height:.1f}" rx="6" fill="{colour}" '
             f'fill-opacity=".13" stroke="{colour}"/>')
    first = y - height / 2 + 6 + _LINE * 0.75
    return shape + _text(x, first, box.lines[0], 12, more=' font-weight="600"') + "".join(
        _text(x, first + number * _LINE, line, 10) for number, line in enumerate(box.lines) if number)


# --- charts -----------------------------------------------------------------------------------------------------------------------------

def curves(series: Mapping[str, Sequence[float]], title: str = "", *, points: Sequence[float] | None = None, logarithmic: bool = False,
           names: Sequence[str] | None = None, mark: float | None = None, width: int = 560, height: int = 260) -> Picture:
    """Curves over their index, or over `points`; values that are not finite (or not positive, on a logarithmic axis) leave a gap.

    names  what is written below each place instead of round numbers
    mark   a value at which a dashed line goes across, such as 1.0 for "as fast as"

    Raises ValueError where there is nothing to draw, or a series has another length than `points`.
    """
    good = {name: [value if math.isfinite(value) and (value > 0 or not logarithmic) else math.nan for value in map(float, values)]
            for name, values in series.items()}
    finite = [value for values in good.values() for value in values if not math.isnan(value)]
    if not finite:
        raise ValueError("there is no finite number to draw")
    longest = max(len(values) for values in good.values())
    at = [float(each) for each in points] if points is not None else [float(each) for each in range(longest)]
    if points is not None and any(len(values) != len(at) for values in good.values()):
        raise ValueError(f"each series needs {len(at)} values, one for each of the points")
    change = math.log10 if logarithmic else float
    finite += [mark] if mark is not None else []
    low, high = change(min(finite)), change(max(finite))
    if high == low:
        low, high = low - 0.5, high + 0.5
    left, right, top, bottom = 62.0, width - 14.0, 30.0, height - 46.0
    across, start = (at[-1] - at[0]) or 1.0, at[0]

    def place(where: float, value: float) -> str:
        return f"{left + (where - start) / across * (right - left):.1f} {bottom - (change(value) - low) / (high - low) * (bottom - top):.1f}"

    parts = [_text(width / 2, 18, title, 13, more=' font-weight="600"')] if title else []
    for level in _powers(low, high) if logarithmic else _ticks(low, high):
        y = bottom - (bottom - top) * (level - low) / (high - low)
        parts.append(f'<path d="M{left} {y:.1f}H{right}" stroke="currentColor" stroke-opacity=".15"/>')
        parts.append(_text(left - 6, y + 4, f"{10 ** level if logarithmic else level:.3g}", 10, "end"))
    written = {tick: f"{tick:.6g}" for tick in _ticks(start, start + across)} if names is None else dict(zip(at, names, strict=True))
    for tick, words in written.items():
        parts.append(_text(left + (tick - start) / across * (right - left), bottom + 16, words, 10))
    if mark is not None:
        y = bottom - (change(mark) - low) / (high - low) * (bottom - top)
        parts.append(f'<path d="M{left} {y:.1f}H{right}" stroke="currentColor" stroke-dasharray="4 3" stroke-opacity=".7"/>')
    x = left
    for number, (name, values) in enumerate(good.items()):
        colour, path, pen_down = COLOURS[number % len(COLOURS)], "", False
        for where, value in zip(at, values):
            path += "" if math.isnan(value) else f"{'L' if pen_down else 'M'}{place(where, value)}"
            pen_down = not math.isnan(value)
        parts.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2" stroke-linecap="round"/>')
        parts.append(f'<rect x="{x:.1f}" y="{height - 18}" width="12" height="4" fill="{colour}"/>')
        parts.append(_text(x + 17, height - 12, name, 11, "start"))
        x += _width(name, 11) + 40
    return Picture(max(width, x), height, title or ", ".join(good), parts)


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers between the two, three to seven of them."""
    rough = (high - low) / 5
    step = 10.0 ** math.floor(math.log10(rough))
    step *= next(times for times in (1, 2, 5, 10) if times * step >= rough)
    return [step * number for number in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _powers(low: float, high: float) -> list[float]:
    """The same on a logarithmic axis: logarithms of 1, 2 and 5 in each decade, of 1 alone where there are many."""
    decades = range(math.floor(low), math.ceil(high) + 1)
    found = [math.log10(times) + decade for decade in decades for times in ((1, 2, 5) if high - low < 2.5 else (1,))]
    found = [level for level in found if low - 1e-9 <= level <= high + 1e-9]
    return found if len(found) > 1 else _ticks(low, high)


def bars(rows: Sequence[tuple[str, float]], title: str, *, mark: float | None = None, mark_text: str = "", unit: str = "",
         width: int = 720) -> Picture:
    """One bar per row, its number at the end; `mark` draws a line over all of them, such as 1.0 for "as fast as"."""
    if not rows:
        raise ValueError("there is no row to draw")
    label = min(max(_width(name, 11) for name, _ in rows) + 12, width * 0.55)
    left, right = label, width - 60.0
    most = max([value for _, value in rows] + ([mark] if mark is not None else [])) or 1.0
    parts = [_text(width / 2, 18, title, 13, more=' font-weight="600"')]
    bottom = 36.0 + 22 * len(rows)
    for number, (name, value) in enumerate(rows):
        y = 36.0 + 22 * number
        colour = COLOURS[0] if mark is None or value <= mark else COLOURS[4]
        parts.append(_text(left - 8, y + 12, name, 11, "end"))
        wide = max(value / most, 0) * (right - left)
        parts.append(f'<rect x="{left:.1f}" y="{y}" width="{wide:.1f}" height="15" rx="3" fill="{colour}"/>')
        parts.append(_text(left + value / most * (right - left) + 5, y + 12, f"{value:.3g}{unit}", 11, "start"))
    if mark is not None:
        x = left + mark / most * (right - left)
        parts.append(f'<path d="M{x:.1f} 30V{bottom + 4}" stroke="currentColor" stroke-dasharray="4 3" stroke-opacity=".7"/>')
        parts.append(_text(x, bottom + 18, mark_text, 11))
    return Picture(width, bottom + (26 if mark is not None else 8), title, parts)
