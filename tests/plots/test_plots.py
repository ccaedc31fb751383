"""Charts are well-formed SVG within their frame."""

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
        plots.estimate_chart(HOSTILE, HOSTILE, [plots.Estimate(HOSTILE, HOSTILE, 1.0, (0, 2))]),
    ],
)
def test_texts_are_escaped_and_shapes_stay_within_the_frame(svg):
    root = parse(svg)
    assert root.find(f"{SVG}title").text == HOSTILE
    assert not list(root.iter(f"{SVG}script"))
    assert inside(root)


def test_widths_of_a_stacked_bar_are_proportional():
    bars = rectangles(parse(plots.stacked_bar("t", [("a", 1.0), ("b", 3.0)])))[:2]
    assert bars[1]["width"] == pytest.approx(3 * bars[0]["width"], rel=0.01)
    assert bars[1]["x"] == pytest.approx(bars[0]["x"] + bars[0]["width"], abs=0.2)


def test_last_bin_of_a_histogram_counts_larger_values():
    values = [1.0] * 50 + [2.0] * 30 + [1000.0] * 20
    compressed = plots.histogram("t", "x", values, [])
    cut = plots.histogram("t", "x", values, [], most=3.0)
    heights = [r["height"] for r in rectangles(parse(cut)) if r["height"]]
    assert len(heights) == 3
    assert heights[0] == pytest.approx(2.5 * heights[-1], rel=0.02)
    assert len([r for r in rectangles(parse(compressed)) if r["height"]]) == 2


@pytest.mark.parametrize("most", [math.inf, 0.5])
def test_histogram_of_one_value(most):
    assert inside(parse(plots.histogram("t", "x", [3.0], [], most)))


def test_long_names_are_truncated_and_vertical():
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


def test_legend_has_one_column_for_long_names():
    def height(name: str) -> float:
        lines = [plots.Line(name, [0, 1], [0, 1])] * 2
        return float(parse(plots.line_chart("t", UNIT, UNIT, lines)).get("height"))

    assert height("a rather long name of a class") > height("short")


def test_styles_apply_only_to_the_chart():
    style = parse(plots.stacked_bar("t", [("a", 1.0)])).find(f"{SVG}style").text
    assert all(rule.strip().startswith(".plot ") for rule in style.split("}") if rule)


def estimates(*values: float, **more) -> str:
    rows = [plots.Estimate(f"row {v}", f"{v} ms", v, **more) for v in values]
    return plots.estimate_chart("t", "ms", rows)


def test_linear_axis_of_estimates_starts_at_zero():
    dots = [float(c.get("cx")) for c in parse(estimates(1, 2, 4)).iter(f"{SVG}circle")]
    assert dots[1] - dots[0] == pytest.approx((dots[2] - dots[1]) / 2, abs=0.2)
    assert dots[2] - dots[0] == pytest.approx(3 * (dots[1] - dots[0]), abs=0.3)


def test_axis_of_a_wide_range_of_estimates_is_logarithmic():
    dots = [float(c.get("cx")) for c in parse(estimates(1, 10, 100)).iter(f"{SVG}circle")]
    assert dots[1] - dots[0] == pytest.approx(dots[2] - dots[1], abs=0.2)


def test_interval_and_marks_of_estimates_are_within_the_frame():
    root = parse(estimates(5, ci95=(4, 6), marks=(9,)))
    thick = [line for line in root.iter(f"{SVG}line") if line.get("stroke-width") == "6"]
    value, ring = sorted(float(c.get("cx")) for c in root.iter(f"{SVG}circle"))
    assert float(thick[0].get("x1")) < value < float(thick[0].get("x2")) < ring
    assert ring <= float(root.get("width"))


def test_estimates_of_zero_without_intervals_are_drawn():
    assert len(list(parse(estimates(0, 0)).iter(f"{SVG}circle"))) == 2


def test_points_at_the_same_position_are_drawn_once():
    line = plots.Line("l", [0.5] * 5000 + [0.6], [0.5] * 5000 + [0.6])
    assert len(plots.line_chart("t", UNIT, UNIT, [line])) < 5000


def test_eight_series_differ_in_colour_and_dashes():
    lines = [plots.Line(str(n), [0, 1], [0, n / 8]) for n in range(8)]
    drawn = list(parse(plots.line_chart("t", UNIT, UNIT, lines)).iter(f"{SVG}polyline"))
    looks = {(line.get("stroke"), line.get("stroke-dasharray")) for line in drawn}
    assert len(looks) == 8
    assert len({line.get("stroke-dasharray") for line in drawn}) == 4


def test_wide_characters_are_truncated_earlier():
    picture = plots.heat_table("t", ["肺炎" * 12, "b"], [[1, 0], [0, 1]])
    assert "肺炎" * 12 not in picture
    assert "肺炎肺炎" in picture


def test_long_names_of_estimates_are_wrapped():
    name = "single-stream, from file to class, INT8, a processor with a rather long name, 16 cores"
    root = parse(plots.estimate_chart("t", "ms", [plots.Estimate(name, "12.3 ms", 12.3)]))
    texts = [text.text for text in root.iter(f"{SVG}text")]
    start = next(i for i, text in enumerate(texts) if text.startswith("single-stream"))
    assert " ".join(texts[start : start + 2]) == name
