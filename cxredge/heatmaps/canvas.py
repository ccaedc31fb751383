"""A white picture on which text, bars and X-rays are placed."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cxredge.data.images import GreyImage
from cxredge.heatmaps.blend import blend
from cxredge.heatmaps.colours import Rgb

Colour = tuple[int, int, int]
INK: Colour = (28, 32, 38)
QUIET: Colour = (98, 106, 117)
FAINT: Colour = (224, 228, 233)
ACCENT: Colour = (33, 92, 152)
WARNING: Colour = (158, 62, 0)

_MID_GREY = 110
_TICKS = 4


class Canvas:
    """A picture under construction; coordinates are pixels from the upper left corner.

    Args:
        width: Width in pixels.
        height: Height in pixels.
    """

    def __init__(self, width: int, height: int) -> None:
        self.image = Image.new("RGB", (width, height), (255, 255, 255))
        self._draw = ImageDraw.Draw(self.image)

    def text(
        self,
        place: tuple[float, float],
        words: str,
        size: int = 15,
        colour: Colour = INK,
        anchor: str = "la",
        width: float | None = None,
    ) -> None:
        """Draw one line of text.

        Args:
            place: Where the anchor is.
            words: The text; what the font lacks is escaped.
            size: Height of the letters in pixels.
            colour: Colour of the letters.
            anchor: Anchor as in Pillow: ``la`` is left and top, ``rm`` right and middle.
            width: Width at which the text is cut off with dots.
        """
        shown = _printable(words)
        if width is not None:
            shown = _fitted(shown, size, width)
        self._draw.text(place, shown, colour, _font(size), anchor)

    def box(self, box: tuple[float, float, float, float], colour: Colour) -> None:
        """Fill a rectangle: left, top, right, bottom."""
        self._draw.rectangle((box[0], box[1], box[2] - 1, box[3] - 1), colour)

    def frame(self, box: tuple[float, float, float, float], colour: Colour) -> None:
        """Draw the outline of a rectangle: left, top, right, bottom."""
        self._draw.rectangle((box[0], box[1], box[2] - 1, box[3] - 1), outline=colour)

    def picture(self, place: tuple[int, int], pixels: GreyImage | Rgb) -> None:
        """Draw a picture, uint8 (H, W) or (H, W, 3), with its upper left corner at a place."""
        self.image.paste(Image.fromarray(pixels).convert("RGB"), place)

    def scale(self, place: tuple[int, int], height: int, limit: float) -> None:
        """Draw the scale of a heatmap: colours on mid-grey, and their values in logit units."""
        x, y = place
        grey = np.full((height, 16), _MID_GREY, np.uint8)
        rising = np.repeat(np.linspace(limit, 0, height, dtype=np.float32)[:, None], 16, axis=1)
        self.picture((x, y), blend(grey, rising, limit))
        for tick in range(_TICKS + 1):
            at = y + height - 1 - round((height - 1) * tick / _TICKS)
            self.box((x + 16, at, x + 21, at + 1), QUIET)
            value = f"{limit * tick / _TICKS:.3g}"
            self.text((x + 25, at), value, 13, QUIET, "lm")


def text_width(words: str, size: int) -> float:
    """Return the width of a line of text in pixels."""
    return float(_font(size).getlength(_printable(words)))


def lines_of(words: str, size: int, width: float) -> list[str]:
    """Break a text into lines of at most a width in pixels."""
    lines = [""]
    for word in words.split():
        longer = f"{lines[-1]} {word}".strip()
        if text_width(longer, size) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


@cache
def _font(size: int) -> Any:
    """Return Pillow's own font, which every installation has."""
    return ImageFont.load_default(size)


def _printable(words: str) -> str:
    """Escape what Pillow's own font cannot draw."""
    return words.encode("latin-1", "backslashreplace").decode("latin-1")


def _fitted(words: str, size: int, width: float) -> str:
    if text_width(words, size) <= width:
        return words
    while words and text_width(f"{words}...", size) > width:
        words = words[:-1]
    return f"{words}..."
