"""From images to prediction rows: one row per image, in input order."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np

from cxredge.backends.base import Session, available_cores
from cxredge.bundle.bundle import Bundle
from cxredge.data.images import LoadedImage, load_xray
from cxredge.data.in_memory import ImageInput, name_of
from cxredge.errors import Caution, ImageError, ImageProblem, quoted
from cxredge.inference.pipeline import Group, infer_images
from cxredge.metrics.classification import Floats, softmax
from cxredge.vocabulary import Precision

OK = "ok"
"""Status of an image with a prediction."""

_DECIMALS = 6


@dataclass(frozen=True)
class PredictionRow:
    """Prediction of one image, or the reason why it has none.

    Attributes:
        path: The image's path; a description of an image in memory.
        status: ``ok``, or a value of :class:`cxredge.errors.ImageProblem`.
        label: The most probable class; empty without a prediction.
        probability: Its probability; None without a prediction.
        probabilities: Probability by class, rounded to 6 decimals; empty without a prediction.
        decided_by: Precision that decided: that of the bundle, or ``fp32`` for a near tie of a
            cascade; empty without a prediction.
        margin: Probability of the label minus that of the second most probable class; None without
            a prediction or a second class.
        above_threshold: Classes whose probability reaches their operating threshold.
        caution_codes: Reasons to doubt the prediction.
        error: Reason for a missing prediction, else empty.
    """

    path: str
    status: str
    label: str = ""
    probability: float | None = None
    probabilities: Mapping[str, float] = field(default_factory=dict)
    decided_by: str = ""
    margin: float | None = None
    above_threshold: tuple[str, ...] = ()
    caution_codes: tuple[Caution, ...] = ()
    error: str = ""

    @property
    def cautions(self) -> tuple[str, ...]:
        """Reasons to doubt the prediction, a sentence each."""
        return tuple(code.sentence for code in self.caution_codes)


@dataclass(frozen=True)
class RowGroup:
    """Rows of consecutive images, and the time that they took.

    Attributes:
        rows: One per image, in input order.
        seconds: Wall seconds by stage: ``read``, ``decode``, ``preprocess``, ``infer``.
    """

    rows: Sequence[PredictionRow]
    seconds: Mapping[str, float]


def rows_of(
    bundle: Bundle, session: Session, images: Iterator[ImageInput], any_view: bool = False
) -> Generator[RowGroup, None, None]:
    """Predict images on all cores, a bounded number ahead of the consumer.

    Close the generator if it is not exhausted; work in progress is then finished.

    Args:
        bundle: The bundle that the session was opened from.
        session: Used by this generator alone until it ends, unless it is concurrent.
        images: Consumed in the caller's thread.
        any_view: Predict lateral and oblique views too, with a caution.

    Yields:
        Groups of rows in input order: whole batches of the session, then the remainder.
    """
    with closing(infer_images(session, images, available_cores(), any_view)) as groups:
        for group in groups:
            yield RowGroup(_rows(bundle, group), group.seconds)


def predict_one(
    bundle: Bundle, session: Session, image: ImageInput, any_view: bool = False
) -> PredictionRow:
    """Predict one image in the caller's thread.

    Args:
        bundle: The bundle that the session was opened from.
        session: Runs the network.
        image: The image.
        any_view: Predict a lateral or oblique view too, with a caution.

    Raises:
        ImageError: The image cannot be used; ``problem`` says why.
    """
    loaded = load_xray(image, session.spec.size, any_view=any_view)
    found = session.infer_decided(loaded.pixels[None])
    if not np.isfinite(found.logits).all():
        raise _not_finite(bundle, image)
    return _row(bundle, image, loaded, softmax(found.logits)[0], bool(found.decided_by_fp32[0]))


def _rows(bundle: Bundle, group: Group) -> list[PredictionRow]:
    logits = np.stack(group.logits) if group.logits else np.empty((0, 1), np.float32)
    finite = np.atleast_1d(np.isfinite(logits).all(axis=1))
    probabilities = softmax(np.where(finite[:, None], logits, 0))
    predicted = zip(finite, probabilities, group.decided_by_fp32, strict=True)
    rows = []
    for source, loaded in zip(group.sources, group.loaded, strict=True):
        if isinstance(loaded, ImageError):
            rows.append(_failed(source, loaded))
            continue
        is_finite, found, by_fp32 = next(predicted)
        if is_finite:
            rows.append(_row(bundle, source, loaded, found, by_fp32))
        else:
            rows.append(_failed(source, _not_finite(bundle, source)))
    return rows


def _failed(source: ImageInput, problem: ImageError) -> PredictionRow:
    return PredictionRow(name_of(source), problem.problem.value, error=problem.message)


def _not_finite(bundle: Bundle, source: ImageInput) -> ImageError:
    """Return the error for an image whose logits are NaN or infinite."""
    return ImageError(
        ImageProblem.NOT_FINITE,
        f"{name_of(source)} has no prediction: the network returned NaN or infinity "
        f"({bundle.precision.value} on {bundle.backend}).",
        f"Check the bundle: cxredge verify {quoted(bundle.path)}",
    )


def _row(
    bundle: Bundle, source: ImageInput, image: LoadedImage, found: Floats, by_fp32: bool
) -> PredictionRow:
    classes, best = bundle.card.classifier.classes, int(found.argmax())
    thresholds = bundle.thresholds
    # Thresholds are compared before rounding, as in an evaluation.
    by_class = dict(zip(classes, found.tolist(), strict=True))
    rounded = {name: round(p, _DECIMALS) for name, p in by_class.items()}
    return PredictionRow(
        name_of(source),
        OK,
        label=classes[best],
        probability=rounded[classes[best]],
        probabilities=rounded,
        decided_by=(Precision.FP32 if by_fp32 else bundle.precision).value,
        margin=_margin(found),
        above_threshold=tuple(name for name, p in by_class.items() if p >= thresholds[name]),
        caution_codes=image.cautions,
    )


def _margin(probabilities: Floats) -> float | None:
    """Return the difference of the two largest probabilities; None with a single class."""
    if len(probabilities) < 2:
        return None
    second, first = np.sort(probabilities)[-2:]
    return round(float(first - second), _DECIMALS)
