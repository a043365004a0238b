"""Pictures by themselves: where the boxes of a graph stand, and charts."""

import re
from xml.etree import ElementTree

import pytest

from rushlight.notebook.svg import Box, bars, curves, graph

SVG = "{http://www.w3.org/2000/svg}"


def boxes(picture):
    """(x, y, width, height) of each box, in the order in which they were given."""
    return [tuple(float(each.get(name)) for name in ("x", "y", "width", "height")) for each in ElementTree.fromstring(str(picture)).iter(SVG + "rect")]


def test_boxes_stand_below_what_they_take_from_and_apart():
    """A line that skips layers bends around the boxes between."""
    given = [Box(["a"], []), Box(["b", "long " * 8], [(0, "2 × 3")]), Box(["c"], [(1, "")]), Box(["d"], [(0, ""), (2, "")]), Box(["e"], [(0, "")])]
    picture = graph(given, "title")
    places = boxes(picture)
    assert len(places) == 5
    for place, box in enumerate(given):
        for source, _ in box.sources:
            assert places[source][1] + places[source][3] < places[place][1]
    for i, (x, y, w, h) in enumerate(places):
        for u, v, s, t in places[i + 1:]:
            assert x + w <= u or u + s <= x or y + h <= v or v + t <= y
    width, height = map(int, re.search(r'viewBox="0 0 (\d+) (\d+)"', str(picture)).groups())
    assert all(0 <= x and x + w <= width and 0 <= y and y + h <= height for x, y, w, h in places)


def test_the_empty_graph():
    assert "<svg" in str(graph([], "nothing"))


def test_bars():
    root = ElementTree.fromstring(str(bars([("fast", 0.5), ("slow", 2.0)], "ratio", mark=1.0, mark_text="even", unit="×")))
    fast, slow = root.iter(SVG + "rect")
    assert float(slow.get("width")) == pytest.approx(4 * float(fast.get("width")), abs=0.2) and fast.get("fill") != slow.get("fill")
    assert {"0.5×", "2×", "even", "ratio"} <= {each.text for each in root.iter(SVG + "text")}
    with pytest.raises(ValueError, match="no row"):
        bars([], "x")


def test_points():
    root = ElementTree.fromstring(str(curves({"a": [1, 2, 3]}, points=[10, 20, 40])))
    assert "40" in {each.text for each in root.iter(SVG + "text")}
    with pytest.raises(ValueError, match="needs 2 values"):
        curves({"a": [1, 2, 3]}, points=[1, 2])


def test_named_places_and_a_mark():
    """The names stand instead of round numbers, and the axis reaches the mark."""
    text = str(curves({"a": [0.2, 0.4, 0.5]}, names=["16", "64", "1k"], mark=1.0, logarithmic=True))
    assert ">1k<" in text and ">64<" in text and ">1.5<" not in text and text.count("stroke-dasharray") == 1
    y = float(text.split('stroke-dasharray')[0].rpartition("M62.0 ")[2].partition("H")[0])
    assert y == 30.0                                     # the top of the chart: nothing is above the mark
    assert all(f">{tick}<" in text for tick in ("0.2", "0.5", "1")) and ">0.398<" not in text
    many = str(curves({"a": [1e-6, 1.0]}, logarithmic=True))
    assert ">0.001<" in many and ">0.002<" not in many and ">1e-06<" in many
    with pytest.raises(ValueError):
        curves({"a": [1, 2, 3]}, names=["only", "two"])
