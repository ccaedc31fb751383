"""Pictures of predictions: X-rays with their heatmaps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from PIL import Image

from cxredge.backends.base import Session
from cxredge.bundle.bundle import Bundle
from cxredge.data.images import LoadedImage, load_xray
from cxredge.data.in_memory import ImageInput
from cxredge.errors import CxredgeError
from cxredge.heatmaps.pair import draw_pair
from cxredge.heatmaps.sheet import draw_sheet
from cxredge.heatmaps.shown import ShownXray
from cxredge.inference.answers import ANSWER_FAMILIAR, PredictionOptions, PredictionRow
from cxredge.inference.rows import predict_one

_SIDE = 512
"""Side of a picture that is loaded to be shown, not to be inferred."""


def overlay(
    image: ImageInput, row: PredictionRow, class_name: str = "", *, any_view: bool = True
) -> Image.Image:
    """Return a picture of an X-ray beside the heatmap of a class, with its scale.

    Args:
        image: The image that was predicted; see :meth:`cxredge.Model.predict`.
        row: Its prediction, by a bundle that returns heatmaps.
        class_name: The class; the most probable one by default.
        any_view: Load a lateral or oblique view too.

    Raises:
        CxredgeError: The prediction has no maps, or there is no such class.
        ImageError: The image cannot be used.
    """
    if row.maps is None:
        raise CxredgeError(
            f"The prediction of {row.path} has no heatmaps: {row.error or 'the bundle has none'}.",
            "Build the bundle with --heatmaps, and predict an image that can be read.",
        )
    if class_name and class_name not in row.probabilities:
        raise CxredgeError(
            f"Unknown class '{class_name}'.", f"Choose from: {', '.join(row.probabilities)}"
        )
    return draw_pair(shown(row, load_xray(image, _SIDE, any_view=any_view)), class_name)


def shown(row: PredictionRow, image: LoadedImage) -> ShownXray:
    """Return what a picture shows of a prediction.

    Args:
        row: The prediction.
        image: The decoded image, in any size.
    """
    return ShownXray(
        pixels=image.pixels,
        sides=image.sides,
        probabilities=row.probabilities,
        maps=row.maps,
        grid=row.map_grid,
        label=row.label,
        prediction_set=row.prediction_set,
        familiarity=row.familiarity,
        cautions=row.cautions,
    )


@dataclass(frozen=True)
class Sheet:
    """The prediction of one X-ray, and a picture of all that is known of it.

    Attributes:
        row: The prediction.
        picture: An RGB picture.
        places: Where in the picture the evidence for a class is strongest, in words; without the
            classes that have none.
    """

    row: PredictionRow
    picture: Image.Image
    places: Mapping[str, str]


def draw_prediction(
    bundle: Bundle,
    session: Session,
    image: ImageInput,
    options: PredictionOptions = ANSWER_FAMILIAR,
) -> Sheet:
    """Predict one X-ray and draw it with its maps, probabilities, set and familiarity.

    Args:
        bundle: The bundle that the session was opened from.
        session: Runs the network.
        image: The image.
        options: Which images are answered.

    Raises:
        ImageError: The image cannot be used.
    """
    row = predict_one(bundle, session, image, options)
    seen = shown(row, load_xray(image, _SIDE, any_view=options.any_view))
    return Sheet(row, draw_sheet(seen), seen.places())


def check_has_maps(bundle: Bundle, session: Session) -> None:
    """Raise CxredgeError if a bundle returns no class activation maps."""
    if session.spec.map_sides is None:
        raise CxredgeError(
            f"{bundle.path} returns no heatmaps: its networks were built without them.",
            "Build it with --heatmaps.",
        )
