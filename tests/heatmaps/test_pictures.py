"""The pictures of a prediction: what they say and show, whatever the classes and the X-ray."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from cxredge.heatmaps import canvas as canvas_module
from cxredge.heatmaps.canvas import Canvas
from cxredge.heatmaps.pair import draw_pair
from cxredge.heatmaps.sheet import MAX_MAPS, WIDTH, draw_sheet, shown_maps
from cxredge.heatmaps.shown import ShownXray

PROBABILITIES = {"bacterial": 0.1, "covid19": 0.7, "viral": 0.2}


def xray(**changes: object) -> ShownXray:
    maps = np.zeros((3, 7, 7), np.float32)
    maps[1, 1, 5] = 3.7
    maps[2] -= 1
    pixels = np.tile(np.arange(64, dtype=np.uint8) * 3, (64, 1))
    usual = ShownXray(pixels, (64, 64), PROBABILITIES, maps, None, "covid19", ("covid19",), 1.3)
    return replace(usual, **changes)  # type: ignore[arg-type]


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Receives every text that is drawn."""
    seen: list[str] = []
    draw = Canvas.text

    def listen(self: Canvas, place: tuple[float, float], text: str, *more: object, **named: object):
        seen.append(text)
        draw(self, place, text, *more, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Canvas, "text", listen)
    return seen


def test_a_pair_states_class_probability_scale_and_purpose(words: list[str]) -> None:
    picture = draw_pair(xray())
    said = " ".join(words)
    for expected in ("covid19, 70.0%", "Familiarity 1.30", "logit units", "Research use only"):
        assert expected in said
    assert {"0", "1", "2", "3", "4"} <= set(words)
    assert 900 < picture.width < 1100


def test_the_map_is_where_the_evidence_is() -> None:
    picture = np.asarray(draw_pair(xray())).astype(int)
    coloured = np.ptp(picture, axis=2) > 60
    coloured[:, 960:] = False  # the scale
    rows, columns = np.nonzero(coloured)
    assert 66 + 448 * 0.05 < rows.mean() < 66 + 448 * 0.4
    assert 480 + 448 * 0.6 < columns.mean() < 480 + 448 * 0.95
    assert draw_pair(xray(), "viral").tobytes() != draw_pair(xray()).tobytes()


@pytest.mark.parametrize("draw", [draw_pair, draw_sheet])
def test_an_unfamiliar_xray_is_said_to_have_no_answer(draw, words: list[str]) -> None:
    draw(xray(label="", prediction_set=(), familiarity=0.61))
    said = " ".join(words)
    assert "Unfamiliar X-ray: no answer" in said
    assert "unlike the training images" in said
    assert "covid19, 70.0%" not in said


def test_a_sheet_shows_all_that_is_known(words: list[str]) -> None:
    picture = draw_sheet(xray(prediction_set=("covid19", "viral"), cautions=("A caution.",)))
    assert picture.width == WIDTH
    for expected in (
        "covid19, 70.0%", "Evidence for covid19", "Evidence for viral", "20.0%", "A caution.",
        "Prediction set, the classes that cannot be excluded: covid19, viral.",
    ):  # fmt: skip
        assert expected in words
    assert "Evidence for bacterial" not in words


def test_a_sheet_without_maps_set_and_familiarity_shows_what_there_is(words: list[str]) -> None:
    draw_sheet(xray(maps=None, prediction_set=(), familiarity=None))
    said = " ".join(words)
    assert "built without them, or its network cannot have any" in said
    assert "covid19, 70.0%" in said
    for absent in ("Evidence", "Familiarity", "Prediction set"):
        assert absent not in said


@pytest.mark.parametrize("sides", [(64, 64), (30, 900), (900, 30)])
def test_xrays_keep_their_proportions(sides: tuple[int, int]) -> None:
    for draw in (draw_pair, draw_sheet):
        picture = draw(xray(sides=sides))
        assert picture.width <= 1100
        assert picture.height < 1000
    tall, wide = xray(sides=sides).picture(300, 300).shape
    assert abs(tall / wide - sides[0] / sides[1]) < 0.1 * sides[0] / sides[1]


def test_many_classes_with_long_names_in_other_scripts_fit(words: list[str]) -> None:
    names: Sequence[str] = [f"肺炎 {'very long class name ' * 5}{n}" for n in range(12)]
    probabilities = {name: 0.3 - 0.02 * n for n, name in enumerate(names)}
    many = xray(
        probabilities=probabilities, maps=np.ones((12, 3, 3), np.float32), label=names[0],
        prediction_set=tuple(names),
    )  # fmt: skip
    assert len(shown_maps(many)) == MAX_MAPS
    assert draw_sheet(many).width == WIDTH
    assert draw_pair(many).width < 1100
    assert any("7 more classes" in one for one in words)


def test_text_is_cut_off_or_broken_where_it_does_not_fit() -> None:
    cut = canvas_module._fitted("a word and another one", 15, 80)
    assert cut.endswith("...")
    assert canvas_module.text_width(cut, 15) <= 80
    lines = canvas_module.lines_of("one two three four five", 15, 60)
    assert " ".join(lines) == "one two three four five"
    assert all(canvas_module.text_width(line, 15) <= 60 for line in lines)


def test_places_are_named_and_a_class_without_evidence_has_none() -> None:
    assert xray().places() == {"covid19": "upper right of the picture"}
    assert xray(maps=None).places() == {}
