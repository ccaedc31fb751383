"""The answer for one image: from the outputs of the network to a prediction row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from cxredge.backends.base import Maps, Outputs
from cxredge.bundle.bundle import Bundle
from cxredge.bundle.operating_point import OperatingPoint
from cxredge.data.images import LoadedImage
from cxredge.data.in_memory import ImageInput, name_of
from cxredge.errors import Caution, ImageError, ImageProblem, quoted
from cxredge.metrics.bootstrap import Bools
from cxredge.metrics.classification import Floats, softmax
from cxredge.metrics.conformal import prediction_set
from cxredge.metrics.maps import MapGrid
from cxredge.vocabulary import Precision

OK = "ok"
"""Status of an image with a prediction."""
UNFAMILIAR = ImageProblem.UNFAMILIAR.value
"""Status of an image that is too far from the training images for a prediction."""

_DECIMALS = 6
_JUST_UNFAMILIAR = 1 - 1e-6
_MAX_FAMILIARITY = 1000.0
"""Familiarity of an image that is as close as can be expressed."""


@dataclass(frozen=True)
class PredictionOptions:
    """Which images are answered.

    Attributes:
        any_view: Predict lateral and oblique views too, with a caution.
        answer_all: Predict unfamiliar images too, with a caution.
    """

    any_view: bool = False
    answer_all: bool = False


ANSWER_FAMILIAR = PredictionOptions()
"""The default: only familiar, frontal images are answered."""


@dataclass(frozen=True)
class PredictionRow:
    """Prediction of one image, or the reason why it has none.

    Attributes:
        path: The image's path; a description of an image in memory.
        status: ``ok``, or a value of :class:`cxredge.errors.ImageProblem`.
        label: The most probable class; empty without a prediction.
        probability: Its probability; None without a prediction.
        probabilities: Probability by class, rounded to 6 decimals; those of an unfamiliar image are
            kept. Empty if the network did not see the image.
        decided_by: Precision that decided: that of the bundle, or ``fp32`` for a near tie of a
            cascade; empty if the network did not see the image.
        margin: Probability of the label minus that of the second most probable class; None without
            a prediction or a second class.
        above_threshold: Classes whose probability reaches their operating threshold.
        caution_codes: Reasons to doubt the prediction.
        error: Reason for a missing prediction, else empty.
        prediction_set: Classes that cannot be excluded at the coverage of the bundle; empty without
            a prediction, or if the bundle has no prediction sets.
        familiarity: Largest distance of a familiar image divided by the distance of this one: an
            image below 1 is unfamiliar. None if the bundle does not measure it.
        maps: Class activation maps, float32 (classes, height, width); None if the bundle has none.
        map_grid: Where their cells lie in the picture; None if that is not known.
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
    prediction_set: tuple[str, ...] = ()
    familiarity: float | None = None
    maps: Maps | None = field(default=None, compare=False, repr=False)
    map_grid: MapGrid | None = field(default=None, compare=False, repr=False)

    @property
    def cautions(self) -> tuple[str, ...]:
        """Reasons to doubt the prediction, a sentence each."""
        return tuple(code.sentence for code in self.caution_codes)


def refused_images(bundle: Bundle, outputs: Outputs) -> Bools | None:
    """Return which images are refused as unfamiliar, bool (N,); None if the bundle refuses none.

    Args:
        bundle: The bundle that computed the outputs.
        outputs: Outputs of the images.
    """
    own = bundle.operating_point().refused(outputs.distances)
    by_fp32 = bundle.operating_point(Precision.FP32).refused(outputs.distances)
    if own is None or by_fp32 is None or outputs.decided_by_fp32 is None:
        return own
    found: Bools = np.where(outputs.decided_by_fp32, by_fp32, own)
    return found


def answer_of(
    bundle: Bundle,
    source: ImageInput,
    image: LoadedImage,
    outputs: Outputs,
    index: int,
    options: PredictionOptions,
) -> PredictionRow:
    """Return the answer for one image of a batch.

    Args:
        bundle: The bundle that computed the outputs.
        source: The image's origin.
        image: The decoded image.
        outputs: Outputs of the batch.
        index: Index of the image in the batch.
        options: Which images are answered.

    Raises:
        ImageError: The network returned NaN or infinity.
    """
    by_fp32 = outputs.decided_by_fp32 is not None and bool(outputs.decided_by_fp32[index])
    precision = Precision.FP32 if by_fp32 else bundle.precision
    logits = outputs.logits[index : index + 1]
    distance = None if outputs.distances is None else float(outputs.distances[index])
    if not (np.isfinite(logits).all() and np.isfinite(distance or 0.0)):
        raise _not_finite(bundle, source)
    point, probabilities = bundle.operating_point(precision), softmax(logits)[0]
    familiarity = _familiarity(distance, point)
    seen = PredictionRow(
        name_of(source),
        OK,
        probabilities=_by_class(bundle, probabilities),
        familiarity=familiarity,
        decided_by=precision.value,
        caution_codes=(*image.cautions, *_cautions_of(bundle, image)),
        maps=None if outputs.maps is None else outputs.maps[index],
        map_grid=bundle.card.facts.map_grid,
    )
    if familiarity is None or familiarity >= 1:
        return _answered(seen, bundle, point, probabilities)
    if options.answer_all:
        doubted = replace(seen, caution_codes=(*seen.caution_codes, Caution.UNFAMILIAR))
        return _answered(doubted, bundle, point, probabilities)
    return replace(
        seen,
        status=UNFAMILIAR,
        error=f"{name_of(source)} is unlike the training images: familiarity {familiarity:.2f}, "
        "at least 1 is answered.",
    )


def _cautions_of(bundle: Bundle, image: LoadedImage) -> tuple[Caution, ...]:
    """Return what the bundle's templates say of the way an X-ray is shown."""
    if bundle.orientation is None:
        return ()
    found = bundle.orientation.judge(image.pixels)
    said = {Caution.UPSIDE_DOWN: found.upside_down, Caution.INVERTED: found.inverted}
    return tuple(caution for caution, is_so in said.items() if is_so)


def _answered(
    seen: PredictionRow, bundle: Bundle, point: OperatingPoint, probabilities: Floats
) -> PredictionRow:
    """Return the row with its label."""
    classes = bundle.card.classifier.classes
    label = classes[int(probabilities.argmax())]
    # Limits are compared before rounding, as in an evaluation.
    by_class = dict(zip(classes, probabilities.tolist(), strict=True))
    return replace(
        seen,
        label=label,
        probability=seen.probabilities[label],
        prediction_set=prediction_set(by_class, point.set_levels),
        margin=_margin(probabilities),
        above_threshold=tuple(n for n, p in by_class.items() if p >= point.thresholds[n]),
    )


def _by_class(bundle: Bundle, probabilities: Floats) -> Mapping[str, float]:
    named = zip(bundle.card.classifier.classes, probabilities.tolist(), strict=True)
    return {name: round(p, _DECIMALS) for name, p in named}


def _familiarity(distance: float | None, point: OperatingPoint) -> float | None:
    """Return the familiarity; its rounding never crosses the limit."""
    if distance is None or point.max_distance is None:
        return None
    if distance <= point.max_distance / _MAX_FAMILIARITY:
        return _MAX_FAMILIARITY
    found = round(point.max_distance / distance, _DECIMALS)
    return max(found, 1.0) if distance <= point.max_distance else min(found, _JUST_UNFAMILIAR)


def _margin(probabilities: Floats) -> float | None:
    """Return the difference of the two largest probabilities; None with a single class."""
    if len(probabilities) < 2:
        return None
    second, first = np.sort(probabilities)[-2:]
    return round(float(first - second), _DECIMALS)


def _not_finite(bundle: Bundle, source: ImageInput) -> ImageError:
    """Return the error for an image whose outputs are NaN or infinite."""
    return ImageError(
        ImageProblem.NOT_FINITE,
        f"{name_of(source)} has no prediction: the network returned NaN or infinity "
        f"({bundle.precision.value} on {bundle.backend}).",
        f"Check the bundle: cxredge verify {quoted(bundle.path)}",
    )
