"""Examples beside their heatmaps: X-rays that are answered right, answered wrong, and refused."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
from PIL import Image

from cxredge.backends.base import Outputs, Session
from cxredge.bundle.bundle import Bundle, read_golden
from cxredge.bundle.layout import GOLDEN_NAME
from cxredge.data.images import LoadedImage, load_xray
from cxredge.errors import CxredgeError, ImageError, quoted
from cxredge.inference.answers import ANSWER_FAMILIAR, PredictionRow, answer_of
from cxredge.inference.pictures import shown
from cxredge.report import numbers
from cxredge.report.blocks import Block, Example, Examples, Missing, Section, Sentences
from cxredge.report.example_files import Candidate, candidates
from cxredge.report.reported_bundle import ReportedBundle
from cxredge.report.xrays import png
from cxredge.vocabulary import Precision

PER_OUTCOME = 3
MAX_SEEN = 300
"""Largest number of X-rays of a folder that are predicted to find examples."""

_OUTCOMES = ("right", "wrong", "refused", "answered")
_SIDE = 160
_COLOURS = 128


@dataclass(frozen=True)
class _Runner:
    """Runs a bundle on this machine.

    Attributes:
        session: The open session; None if this machine runs no model of the bundle.
        serves: Whether it runs the precision that serves.
    """

    session: Session | None
    serves: bool


@dataclass(frozen=True)
class _Seen:
    """An X-ray with its answer."""

    candidate: Candidate
    image: LoadedImage
    row: PredictionRow

    @property
    def outcome(self) -> str:
        if not self.row.label:
            return "refused"
        if not self.candidate.truth:
            return "answered"
        return "right" if self.row.label == self.candidate.truth else "wrong"


def examples_section(reported: ReportedBundle, pictures: bool, source: Path | None) -> Section:
    """Show three X-rays of each outcome with their heatmaps.

    Args:
        reported: The bundle.
        pictures: Whether to show the X-rays; without, the section only says so.
        source: Manifest or folder to choose from, besides the golden images; None for none.
    """
    title, bundle = "Examples", reported.bundle
    if bundle is None:
        return Section(title, (Missing("Examples", "cxredge report BUNDLE --out report.html"),))
    if not pictures:
        line = "The X-rays were left out of this report (--no-images)."
        return Section(title, (Sentences("", (line,)),))
    runner = _open(bundle)
    try:
        seen = _examples(bundle, runner, source)
    finally:
        if runner.session is not None:
            runner.session.close()
    if not seen:
        line = "The golden images were deleted from this bundle; give others: --examples MANIFEST."
        return Section(title, (Sentences("", (line,)),))
    blocks: list[Block] = [Examples("", tuple(map(_example, seen)), _note(seen, runner, source))]
    if missing := _missing(reported, seen, source):
        blocks.append(missing)
    return Section(title, tuple(blocks))


def _open(bundle: Bundle) -> _Runner:
    """Open the precision that serves, else FP32 in ONNX Runtime, else nothing."""
    for precision in (None, Precision.FP32):
        try:
            session = bundle.open(precision)
        except (CxredgeError, ImportError):
            continue
        return _Runner(session, precision is None or precision is bundle.precision)
    return _Runner(None, serves=False)


def _examples(bundle: Bundle, runner: _Runner, source: Path | None) -> list[_Seen]:
    """Return up to three X-rays of each outcome, those of the golden images first."""
    kept: list[_Seen] = []
    for seen in chain(_golden(bundle, runner), _given(bundle, runner, source, kept)):
        is_new = all(not np.array_equal(seen.image.pixels, one.image.pixels) for one in kept)
        if is_new and sum(_alike(seen, one) for one in kept) < PER_OUTCOME:
            kept.append(seen)
    found: list[_Seen] = []
    for outcome in _OUTCOMES:
        found += _varied([one for one in kept if one.outcome == outcome])[:PER_OUTCOME]
    return found


def _alike(one: _Seen, other: _Seen) -> bool:
    """Return whether two X-rays have the same outcome and the same class or kind of control."""
    return (one.outcome, one.candidate.shown) == (other.outcome, other.candidate.shown)


def _varied(seen: Sequence[_Seen]) -> list[_Seen]:
    """Return X-rays of one outcome, from each class and kind in turn.

    A control that is answered is wrong, too, but those of the classes come first.
    """
    turns: Counter[str] = Counter()
    keys = []
    for one in seen:
        keys.append(
            (one.outcome == "wrong" and one.candidate.is_control, turns[one.candidate.shown])
        )
        turns[one.candidate.shown] += 1
    order = sorted(range(len(seen)), key=keys.__getitem__)
    return [seen[index] for index in order]


def _golden(bundle: Bundle, runner: _Runner) -> Iterator[_Seen]:
    if not (bundle.path / GOLDEN_NAME).exists():
        return
    golden, classes = read_golden(bundle), bundle.card.classifier.classes
    outputs = golden.expected(bundle.precision, bundle.backend)
    if runner.session is not None:
        here = Outputs.joined([runner.session.run(pixels[None]) for pixels in golden.pixels])
        outputs = here if runner.serves else replace(outputs, maps=here.maps)
    for index, (pixels, label) in enumerate(zip(golden.pixels, golden.labels, strict=True)):
        image = LoadedImage(pixels, sides=pixels.shape)
        try:
            row = answer_of(bundle, pixels, image, outputs, index, ANSWER_FAMILIAR)
        except ImageError:  # The network returned NaN or infinity.
            continue
        yield _Seen(Candidate(pixels, classes[int(label)], classes[int(label)]), image, row)


def _given(
    bundle: Bundle, runner: _Runner, source: Path | None, kept: Sequence[_Seen]
) -> Iterator[_Seen]:
    """Yield X-rays of a manifest or folder until there are three right, wrong and refused ones."""
    if source is None or runner.session is None or not runner.serves:
        return
    size = bundle.card.classifier.input_size
    found = candidates(source, bundle.card.classifier.classes)
    for candidate in found[:MAX_SEEN]:
        counts = Counter(
            one.outcome for one in kept if one.outcome != "wrong" or not one.candidate.is_control
        )
        if all(counts[outcome] >= PER_OUTCOME for outcome in _OUTCOMES[:3]):
            return
        try:
            image = load_xray(candidate.image, size)
            outputs = runner.session.run(image.pixels[None])
            row = answer_of(bundle, candidate.image, image, outputs, 0, ANSWER_FAMILIAR)
        except ImageError:
            continue
        yield _Seen(candidate, image, row)


def _example(seen: _Seen) -> Example:
    row = seen.row
    first = max(row.probabilities, key=lambda name: row.probabilities[name])
    details = []
    if row.prediction_set:
        details.append(f"set: {', '.join(row.prediction_set)}")
    if row.familiarity is not None:
        details.append(f"familiarity {row.familiarity:.2f}")
    heatmap = ""
    if row.maps is not None:
        xray = shown(row, seen.image)
        limit = xray.limit_of((first,))
        details.append(f"heatmap: {first}, 0 to {limit:g}")
        heatmap = _colour_png(xray.overlay(seen.image.pixels, first, limit))
    return Example(
        png=png(seen.image.pixels, _SIDE),
        heatmap_png=heatmap,
        outcome=seen.outcome,
        truth=seen.candidate.shown or "not stated",
        predicted=first,
        probability=numbers.share(row.probabilities[first]),
        details="; ".join(details),
    )


def _colour_png(pixels: np.ndarray) -> str:
    """Return uint8 (H, W, 3) pixels as a PNG with a palette in base64."""
    picture = Image.fromarray(pixels)
    picture.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    picture.quantize(_COLOURS, dither=Image.Dither.NONE).save(stream, format="PNG", optimize=True)
    return base64.b64encode(stream.getvalue()).decode("ascii")


def _note(seen: Sequence[_Seen], runner: _Runner, source: Path | None) -> str:
    origin = "the bundle's golden images" + (" and those of --examples" if source else "")
    words = (
        f"From {origin}, as the network receives them, each class in turn: at most {PER_OUTCOME} "
        f"right, {PER_OUTCOME} wrong and {PER_OUTCOME} refused; these numbers say nothing of the "
        "accuracy. They are X-rays of the data set: treat this page like them."
    )
    if any(one.row.maps is not None for one in seen):
        words += (
            " Heatmap: evidence for the most probable class in logit units, from dark violet over "
            "red to light yellow; no colour: no evidence."
        )
        if not runner.serves:
            words += " This machine does not run the engine: the heatmaps are those of FP32."
    elif runner.session is None:
        words += " No heatmaps: this machine runs no model of the bundle."
    if source is not None and not runner.serves:
        words += " Those of --examples were left out: this machine does not run the engine."
    return words


def _missing(reported: ReportedBundle, seen: Sequence[_Seen], source: Path | None) -> Block | None:
    counts = Counter(one.outcome for one in seen)
    lacking = [outcome for outcome in _OUTCOMES[:3] if counts[outcome] < PER_OUTCOME]
    if not lacking:
        return None
    found = ", ".join(f"{counts[outcome]} {outcome}" for outcome in lacking)
    if source is not None:
        return Sentences("", (f"No more were found: {found}.",))
    command = f"cxredge report {quoted(reported.name)} --examples MANIFEST --out report.html"
    words = f"The golden images hold only {found}. For more: {command}"
    return Sentences("", (words,))
