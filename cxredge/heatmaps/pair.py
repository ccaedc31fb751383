"""An X-ray beside its heatmap, with the scale: what ``predict --heatmaps`` writes."""

from __future__ import annotations

from PIL import Image

from cxredge.heatmaps.canvas import INK, QUIET, WARNING, Canvas
from cxredge.heatmaps.shown import RESEARCH_ONLY, SCALE, ShownXray, familiarity_words, percent

_SIDE = 448
_MARGIN = 16
_TOP = 66
_BOTTOM = 44
_SCALE = 78


def draw_pair(xray: ShownXray, name: str = "") -> Image.Image:
    """Draw an X-ray beside the map of a class.

    Args:
        xray: The X-ray; it must have maps.
        name: The class; the most probable one by default.

    Returns:
        An RGB picture about 1,000 pixels wide.
    """
    name = name or xray.first
    picture = xray.picture(_SIDE, _SIDE)
    height, width = picture.shape
    second = _MARGIN + max(width, 200) + _MARGIN
    total = max(second + width + _SCALE + _MARGIN, 640)
    canvas = Canvas(total, _TOP + height + _BOTTOM)
    _draw_title(canvas, xray, name, total - 2 * _MARGIN)
    limit = xray.limit_of((name,))
    canvas.picture((_MARGIN, _TOP), picture)
    canvas.picture((second, _TOP), xray.overlay(picture, name, limit))
    canvas.scale((second + width + 12, _TOP), height, limit)
    canvas.text((_MARGIN, _TOP + height + 8), SCALE, 13, QUIET)
    canvas.text((_MARGIN, _TOP + height + 25), RESEARCH_ONLY, 13, QUIET)
    return canvas.image


def _draw_title(canvas: Canvas, xray: ShownXray, name: str, width: float) -> None:
    probability = percent(xray.probabilities[name])
    if xray.answered:
        title, colour = f"{xray.label}, {percent(xray.probabilities[xray.label])}", INK
    else:
        title, colour = "Unfamiliar X-ray: no answer", WARNING
    canvas.text((_MARGIN, 12), title, 22, colour, width=width)
    parts = [f"Right: evidence for {name} ({probability})."]
    if xray.familiarity is not None:
        parts.append(familiarity_words(xray.familiarity))
    canvas.text((_MARGIN, 42), " ".join(parts), 14, QUIET, width=width)
