"""Pictures are well-formed SVG that stays within its frame."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree

import pytest

from cxredge import plots

SVG = "{http://www.w3.org/2000/svg}"
UNIT = plots.Axis("x", 0, 1)
HOSTILE = "<script>&\"'"


def parse(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


def rectangles(root: ElementTree.Element) -> list[dict[str, float]]:
    return [
        {k: float(r.get(k)) for k in ("x", "y", "width", "height")} for r in root.iter(f"{SVG}rect")
    ]


def inside(root: ElementTree.Element) -> bool:
    width, height = float(root.get("width")), float(root.get("height"))
    return all(
        r["x"] >= 0
        and r["x"] + r["width"] <= width + 0.1
        and r["y"] >= 0
        and r["y"] + r["height"] <= height + 0.1
        for r in rectangles(root)
    )


@pytest.mark.parametrize(
    "svg",
    [
        plots.line_chart(HOSTILE, UNIT, UNIT, [plots.Line(HOSTILE, [0, 1], [0, 1])], True),
        plots.histogram(HOSTILE, HOSTILE, [1.0, 2.0, 3.0], [plots.Line(HOSTILE, [2.0], [0])]),
        plots.heat_table(HOSTILE, [HOSTILE, "b"], [[1, 0], [2, 3]]),
        plots.stacked_bar(HOSTILE, [(HOSTILE, 1.0), ("b", 3.0)]),
    ],
)
def test_texts_are_escaped_and_nothing_leaves_the_frame(svg):
    root = parse(svg)
    assert root.find(f"{SVG}title").text == HOSTILE
    assert not list(root.iter(f"{SVG}script"))
    assert inside(root)


def test_stacked_bar_is_in_proportion():
    bars = rectangles(parse(plots.stacked_bar("t", [("a", 1.0), ("b", 3.0)])))[:2]
    assert bars[1]["width"] == pytest.approx(3 * bars[0]["width"], rel=0.01)
    assert bars[1]["x"] == pytest.approx(bars[0]["x"] + bars[0]["width"], abs=0.2)


def test_histogram_counts_what_is_beyond_in_the_last_bin():
    values = [1.0] * 50 + [2.0] * 30 + [1000.0] * 20
    squeezed = plots.histogram("t", "x", values, [])
    cut = plots.histogram("t", "x", values, [], most=3.0)
    heights = [r["height"] for r in rectangles(parse(cut)) if r["height"]]
    assert len(heights) == 3
    assert heights[0] == pytest.approx(2.5 * heights[-1], rel=0.02)
    assert len([r for r in rectangles(parse(squeezed)) if r["height"]]) == 2


@pytest.mark.parametrize("most", [math.inf, 0.5])
def test_histogram_of_one_value(most):
    assert inside(parse(plots.histogram("t", "x", [3.0], [], most)))


def test_long_names_are_cut_and_stand_upright():
    name = "a class with a name of very many words"
    picture = plots.heat_table("t", [name, "b"], [[1, 0], [0, 1]])
    assert name not in picture
    assert "rotate(-90" in picture.split("true class")[1]
    assert inside(parse(picture))


def test_dots_lie_on_their_curve():
    line = plots.Line("l", [0.25, 0.75], [0.5, 0.5], [plots.Dot(0.25, 0.5, 6)])
    root = parse(plots.line_chart("t", UNIT, UNIT, [line]))
    circle = root.find(f"{SVG}circle")
    points = root.find(f"{SVG}polyline").get("points")
    assert re.match(rf"{circle.get('cx')},{circle.get('cy')} ", points)
    assert circle.get("r") == "6.0"


def test_legend_takes_one_column_for_long_names():
    def height(name: str) -> float:
        lines = [plots.Line(name, [0, 1], [0, 1])] * 2
        return float(parse(plots.line_chart("t", UNIT, UNIT, lines)).get("height"))

    assert height("a rather long name of a class") > height("short")


def test_styles_reach_no_further_than_the_picture():
    style = parse(plots.stacked_bar("t", [("a", 1.0)])).find(f"{SVG}style").text
    assert all(rule.strip().startswith(".plot ") for rule in style.split("}") if rule)
