"""Prediction rows: deciding precision, thresholds, cautions, failures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cxredge.backends.base import Outputs, Session, SessionSpec
from cxredge.backends.cascade import CascadeSession
from cxredge.bundle.bundle import Bundle, open_bundle
from cxredge.bundle.operating_point import OperatingPoint
from cxredge.data.images import load_grey
from cxredge.data.phantoms import render_phantom
from cxredge.errors import Caution, ImageError, ImageProblem
from cxredge.inference.answers import PredictionRow
from cxredge.inference.predictions_file import RowWriter
from cxredge.inference.rows import RowGroup, predict_one, rows_of
from cxredge.inference.tally import Tally
from cxredge.vocabulary import Precision
from tests.predictions import read_rows

SIZE, CLASSES = 64, 4


class Peak(Session):
    """Logit of the first class grows with the first row's brightness; or the last always wins."""

    def __init__(self, always_last: bool = False) -> None:
        self.spec = SessionSpec(SIZE, CLASSES, "test", 1, True, 4)
        self._always_last = always_last

    def run(self, images: np.ndarray) -> Outputs:
        logits = np.zeros((len(images), CLASSES), np.float32)
        if self._always_last:
            logits[:, -1] = 9
        else:
            logits[:, 0] = images[:, 0].mean(axis=1) / 10
        return Outputs(logits)

    def close(self) -> None:
        pass


@pytest.fixture
def opened(built: Path) -> Bundle:
    return replace(open_bundle(built), precision=Precision.INT8)


def bright(*brightness: int) -> list[np.ndarray]:
    """Return phantoms whose first row has a brightness: a flat picture is no X-ray."""
    pictures = [render_phantom("normal", 0, 0, SIZE).copy() for _ in brightness]
    for picture, value in zip(pictures, brightness, strict=True):
        picture[0] = value
    return pictures


def test_fp32_decides_near_ties_and_the_bundles_precision_the_others(opened: Bundle) -> None:
    session = CascadeSession(Peak(), Peak(always_last=True), 1.0)
    (group,) = rows_of(opened, session, iter(bright(0, 200, 5, 255)))
    classes = opened.card.classifier.classes
    assert [row.decided_by for row in group.rows] == ["fp32", "int8", "fp32", "int8"]
    assert [row.label for row in group.rows] == [classes[i] for i in (3, 0, 3, 0)]
    assert [row.status for row in group.rows] == ["ok"] * 4
    for row in group.rows:
        *_, second, first = sorted(row.probabilities.values())
        assert row.margin == pytest.approx(first - second, abs=2e-6)
    assert group.rows[0].margin == pytest.approx((np.e**9 - 1) / (np.e**9 + 3), abs=1e-6)
    assert group.rows[0] == predict_one(opened, session, bright(0)[0])


@pytest.mark.parametrize(("threshold", "above"), [(0.24, 4), (0.25, 4), (0.26, 0)])
def test_classes_at_or_above_their_threshold_are_listed(
    threshold: float, above: int, opened: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    classes = opened.card.classifier.classes
    point = OperatingPoint(dict.fromkeys(classes, threshold))
    monkeypatch.setattr(Bundle, "operating_point", lambda *_: point)
    row = predict_one(opened, Peak(), bright(0)[0])
    assert row.above_threshold == classes[:above]


def test_probabilities_are_by_class_and_rounded(opened: Bundle) -> None:
    row = predict_one(opened, Peak(), bright(33)[0])
    assert tuple(row.probabilities) == opened.card.classifier.classes
    assert row.probabilities[row.label] == row.probability == max(row.probabilities.values())
    assert all(round(value, 6) == value for value in row.probabilities.values())


def test_a_picture_that_cannot_be_an_x_ray_has_no_diagnosis(opened: Bundle) -> None:
    black, noise = np.zeros((SIZE, SIZE), np.uint8), np.random.default_rng(0).bytes(SIZE**2)
    given = [black, *bright(9), np.frombuffer(noise, np.uint8).reshape(SIZE, SIZE)]
    (group,) = rows_of(opened, Peak(), iter(given))
    assert [row.status for row in group.rows] == ["implausible", "ok", "implausible"]
    for row, reason in ((group.rows[0], "is black"), (group.rows[2], "is noise")):
        assert (row.label, row.probability, row.probabilities) == ("", None, {})
        assert reason in row.error
    with pytest.raises(ImageError) as caught:
        predict_one(opened, Peak(), black)
    assert caught.value.problem is ImageProblem.IMPLAUSIBLE


def test_images_that_fail_have_rows_in_their_place(
    opened: Bundle, phantoms: Path, tmp_path: Path
) -> None:
    good = sorted((phantoms / "images").rglob("*.*"))[:11]
    gone = tmp_path / "gone.png"
    given = [*good[:3], gone, *good[3:], np.zeros((3, 3), np.uint8)]
    rows = [row for group in rows_of(opened, Peak(), iter(given)) for row in group.rows]
    assert [row.path for row in rows] == [*map(str, given[:-1]), "array (3, 3) uint8"]
    assert {row.path: row.status for row in rows if row.status != "ok"} == {
        str(gone): "missing",
        "array (3, 3) uint8": "too_small",
    }
    assert rows[3] == PredictionRow(str(gone), "missing", error=f"{gone} does not exist.")
    top = [load_grey(path, SIZE)[0].mean() for path in good]
    seen = [row.probabilities[opened.card.classifier.classes[0]] for row in rows[:3] + rows[4:12]]
    assert np.argsort(top).tolist() == np.argsort(seen).tolist()


def test_cautions_are_sentences_and_codes_in_the_file(tmp_path: Path) -> None:
    codes = (Caution.BURNED_IN_TEXT, Caution.LATERAL)
    row = PredictionRow("a", "ok", "x", 1.0, {"x": 1.0}, caution_codes=codes)
    assert row.cautions == (
        "Text is burned into the pixels.",
        "The view is lateral; the network was trained on frontal X-rays.",
    )
    with RowWriter(tmp_path / "p.csv", ["x"], {}, resume=False) as writer:
        writer.append([row])
        writer.finish()
    (found,) = read_rows(tmp_path / "p.csv")
    assert found["error"] == "Predicted, but doubtful: burned_in_text, lateral."


def test_a_refused_xray_keeps_its_reason_beside_its_cautions(tmp_path: Path) -> None:
    reason = "a is unlike the training images."
    row = PredictionRow(
        "a", "unfamiliar", error=reason, caution_codes=(Caution.INVERTED, Caution.UPSIDE_DOWN)
    )
    with RowWriter(tmp_path / "p.csv", ["x"], {}, resume=False) as writer:
        writer.append([row])
        writer.finish()
    (found,) = read_rows(tmp_path / "p.csv")
    assert found["error"] == (
        f"{reason} The picture seems to be inverted: bone is darker than lung. The picture seems "
        "to be upside down."
    )
    new, earlier = Tally(), Tally()
    new.add(RowGroup([row], {}, [None]), 0)
    earlier.add_row(found)
    assert new.cautions == earlier.cautions == {}, "it was not predicted, with doubts or without"


def test_upside_down_and_inverted_xrays_have_a_caution(opened: Bundle) -> None:
    upright = render_phantom("normal", 500, 0, SIZE)
    pictures = [upright, upright[::-1], 255 - upright, 255 - upright[::-1]]
    (group,) = rows_of(opened, Peak(), iter([one.copy() for one in pictures]))
    assert [row.caution_codes for row in group.rows] == [
        (), (Caution.UPSIDE_DOWN,), (Caution.INVERTED,), (Caution.UPSIDE_DOWN, Caution.INVERTED),
    ]  # fmt: skip
    (group,) = rows_of(replace(opened, orientation=None), Peak(), iter([upright[::-1].copy()]))
    assert group.rows[0].caution_codes == ()


def test_every_caution_has_a_sentence() -> None:
    for caution in Caution:
        assert caution.sentence.endswith(".")


class Overflow(Peak):
    """Returns NaN or infinity for bright first rows, as FP16 does where a value overflows."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self._value = value

    def run(self, images: np.ndarray) -> Outputs:
        found = super().run(images)
        found.logits[images[:, 0].mean(axis=1) > 100, 2] = self._value
        return found


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_failed_rows(value: float, opened: Bundle) -> None:
    images = bright(0, 200, 5, 255)
    (group,) = rows_of(opened, Overflow(value), iter(images))
    assert [row.status for row in group.rows] == ["ok", "not_finite", "ok", "not_finite"]
    assert group.rows[1].error == (
        "array (64, 64) uint8 has no prediction: the network returned NaN or infinity (int8 on "
        f"{opened.backend})."
    )
    assert (group.rows[1].label, group.rows[1].probability) == ("", None)
    (alone,) = rows_of(opened, Peak(), iter(images[::2]))
    assert list(group.rows[::2]) == list(alone.rows)
    with pytest.raises(ImageError, match="NaN or infinity") as caught:
        predict_one(opened, Overflow(value), images[1])
    assert caught.value.problem is ImageProblem.NOT_FINITE
    assert f"cxredge verify {opened.path}" in caught.value.hint
