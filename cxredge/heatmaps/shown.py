"""What a picture shows of one X-ray, and its parts that all pictures share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from cxredge.data.images import GreyImage
from cxredge.heatmaps.blend import Map, blend, upper_end
from cxredge.heatmaps.colours import Rgb
from cxredge.metrics.maps import MapGrid

RESEARCH_ONLY = "Research use only. Not a medical device; not for diagnosis."
SCALE = "Colours: evidence in logit units. No colour: no evidence for the class (0 or below)."
_ROWS, _COLUMNS, _THIRD = ("upper", "middle", "lower"), ("left", "centre", "right"), 20


@dataclass(frozen=True)
class ShownXray:
    """An X-ray with its prediction.

    Attributes:
        pixels: uint8 (S, S), the picture that the network received, or a larger square of it.
        sides: Height and width of the X-ray before it was resized to a square.
        probabilities: Probability by class.
        maps: float32 (classes, h, w), class activation maps; None if the bundle has none.
        grid: Where the cells of the maps lie in the picture.
        label: The most probable class of an X-ray that was answered, else empty.
        prediction_set: Classes that cannot be excluded.
        familiarity: At least 1 for a familiar X-ray; None if it is not measured.
        cautions: Reasons to doubt the prediction, a sentence each.
    """

    pixels: GreyImage
    sides: tuple[int, int]
    probabilities: Mapping[str, float]
    maps: Map | None = None
    grid: MapGrid | None = None
    label: str = ""
    prediction_set: tuple[str, ...] = ()
    familiarity: float | None = None
    cautions: tuple[str, ...] = field(default=())

    @property
    def first(self) -> str:
        """The most probable class, whether or not the X-ray was answered."""
        return max(self.probabilities, key=lambda name: self.probabilities[name])

    @property
    def answered(self) -> bool:
        """Whether the X-ray has a label."""
        return bool(self.label)

    def map_of(self, name: str) -> Map:
        """Return the map of a class, float32 (h, w); what is not finite is no evidence."""
        if self.maps is None:
            raise ValueError("There are no maps.")
        found: Map = self.maps[list(self.probabilities).index(name)]
        return np.where(np.isfinite(found), found, np.float32(0))

    def limit_of(self, names: tuple[str, ...]) -> float:
        """Return the upper end of the scale that the maps of these classes share."""
        return upper_end(max(float(self.map_of(name).max()) for name in names))

    def picture(self, width: int, height: int) -> GreyImage:
        """Return the X-ray, uint8, in its own proportions within a width and a height."""
        tall, wide = self.sides
        factor = min(width / wide, height / tall)
        size = (max(1, round(wide * factor)), max(1, round(tall * factor)))
        resized = Image.fromarray(self.pixels).resize(size, Image.Resampling.BICUBIC)
        return np.array(resized, np.uint8)

    def overlay(self, picture: GreyImage, name: str, limit: float) -> Rgb:
        """Return the X-ray with the map of a class on it, uint8 (H, W, 3)."""
        return blend(picture, self._upsampled(name, *picture.shape), limit)

    def places(self) -> dict[str, str]:
        """Return where in the picture the evidence for each class is strongest, in words.

        Left and right are those of the picture. A class without evidence is left out.
        """
        found = {}
        for name in self.probabilities if self.maps is not None else ():
            values = self._upsampled(name, 3 * _THIRD, 3 * _THIRD)
            row, column = divmod(int(values.argmax()), 3 * _THIRD)
            if values.max() > 0:
                found[name] = f"{_ROWS[row // _THIRD]} {_COLUMNS[column // _THIRD]} of the picture"
        return found

    def _upsampled(self, name: str, height: int, width: int) -> Map:
        found = self.map_of(name)
        grid = self.grid or MapGrid.even(1, found.shape[0])
        return grid.upsample(found, height, width).astype(np.float32)


def percent(probability: float) -> str:
    """Return a probability as a percentage."""
    return f"{100 * probability:.1f}%"


def familiarity_words(found: float) -> str:
    """Return a familiarity in words."""
    kind = "like the training images" if found >= 1 else "unlike the training images"
    return f"Familiarity {found:.2f}: {kind} (1 or more is answered)."
