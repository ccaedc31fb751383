"""One X-ray on one page: picture, maps, probabilities, prediction set and familiarity."""

from __future__ import annotations

from PIL import Image

from cxredge.heatmaps.canvas import (
    ACCENT,
    FAINT,
    INK,
    QUIET,
    WARNING,
    Canvas,
    lines_of,
    text_width,
)
from cxredge.heatmaps.shown import RESEARCH_ONLY, SCALE, ShownXray, familiarity_words, percent

WIDTH = 1000
MAX_MAPS = 5
"""Largest number of classes whose maps are shown."""

_MARGIN = 24
_GAP = 14
_SCALE = 64
_HEADER = 92
_CAPTION = 26
_LINE = 20
_BAR = 26
_PER_ROW = 3
_NO_MAPS = "No heatmap: this bundle was built without them, or its network cannot have any."


def shown_maps(xray: ShownXray) -> tuple[str, ...]:
    """Return the classes whose maps are shown: the most probable one, and others in the set."""
    if xray.maps is None:
        return ()
    others = [name for name in xray.prediction_set if name != xray.first]
    others.sort(key=lambda name: -xray.probabilities[name])
    return (xray.first, *others)[:MAX_MAPS]


def draw_sheet(xray: ShownXray) -> Image.Image:
    """Draw an X-ray with everything that is known of it, an RGB picture 1,000 pixels wide."""
    panels, notes = _Panels(xray), _notes(xray)
    height = _HEADER + panels.height + _bars_height(xray) + len(notes) * _LINE + 2 * _MARGIN
    canvas = Canvas(WIDTH, height)
    _draw_header(canvas, xray)
    panels.draw(canvas, _HEADER)
    below = _HEADER + panels.height
    _draw_bars(canvas, xray, below)
    below += _bars_height(xray) + 8
    for number, line in enumerate(notes):
        canvas.text((_MARGIN, below + number * _LINE), line, 14, QUIET)
    return canvas.image


class _Panels:
    """The X-ray and its maps, in rows of at most three."""

    def __init__(self, xray: ShownXray) -> None:
        self._xray, self._names = xray, shown_maps(xray)
        across = min(1 + max(1, len(self._names)), _PER_ROW)
        room = WIDTH - 2 * _MARGIN - _SCALE - (across - 1) * _GAP
        self._side, self._across = room // across, across
        self._picture = xray.picture(self._side, 460)
        self._rows = -(-(1 + len(self._names)) // across)

    @property
    def _row_height(self) -> int:
        return int(self._picture.shape[0]) + _CAPTION + _GAP

    @property
    def height(self) -> int:
        """Height in pixels."""
        return self._rows * self._row_height

    def draw(self, canvas: Canvas, top: int) -> None:
        """Draw all panels below a height."""
        height, width = self._picture.shape
        for number, name in enumerate(("", *self._names)):
            row, column = divmod(number, self._across)
            x = _MARGIN + column * (self._side + _GAP)
            y = top + row * self._row_height
            caption = f"Evidence for {name}" if name else "X-ray"
            canvas.text((x, y + 2), caption, 15, INK, width=self._side)
            shown = self._picture
            if name:
                canvas.picture((x, y + _CAPTION), self._xray.overlay(shown, name, self._limit))
            else:
                canvas.picture((x, y + _CAPTION), shown)
        if self._names:
            last = min(len(self._names), self._across - 1)
            right = _MARGIN + last * (self._side + _GAP) + width + 10
            canvas.scale((right, top + _CAPTION), height, self._limit)
        else:
            for line, words in enumerate(lines_of(_NO_MAPS, 15, self._side)):
                place = (_MARGIN + self._side + _GAP, top + _CAPTION + line * _LINE)
                canvas.text(place, words, 15, QUIET)

    @property
    def _limit(self) -> float:
        return self._xray.limit_of(self._names)


def _draw_header(canvas: Canvas, xray: ShownXray) -> None:
    if xray.answered:
        title, colour = f"{xray.label}, {percent(xray.probabilities[xray.label])}", INK
    else:
        title, colour = "Unfamiliar X-ray: no answer", WARNING
    canvas.text((_MARGIN, 18), title, 30, colour, width=WIDTH - 2 * _MARGIN)
    if xray.familiarity is not None:
        colour = QUIET if xray.familiarity >= 1 else WARNING
        canvas.text((_MARGIN, 60), familiarity_words(xray.familiarity), 16, colour)


def _bars_height(xray: ShownXray) -> int:
    return len(xray.probabilities) * _BAR + 40


def _draw_bars(canvas: Canvas, xray: ShownXray, top: int) -> None:
    """Draw the probabilities as bars; classes in the set are marked."""
    names = sorted(xray.probabilities, key=lambda name: -xray.probabilities[name])
    heading = "Probabilities"
    if xray.prediction_set:
        heading += "; dark: in the prediction set"
    canvas.text((_MARGIN, top + 6), heading, 15, INK)
    label = min(max(text_width(name, 15) for name in names) + 16, 320)
    left, right = _MARGIN + label, WIDTH - _MARGIN - 70
    for number, name in enumerate(names):
        y = top + 34 + number * _BAR
        share = xray.probabilities[name]
        inside = name in xray.prediction_set
        middle = y + (_BAR - 8) / 2
        canvas.text((_MARGIN, middle), name, 15, INK, "lm", width=label - 8)
        canvas.box((left, y, right, y + _BAR - 8), FAINT)
        colour = ACCENT if inside or not xray.prediction_set else (150, 172, 196)
        canvas.box((left, y, left + max(1, share * (right - left)), y + _BAR - 8), colour)
        canvas.text((WIDTH - _MARGIN, middle), percent(share), 15, INK, "rm")


def _notes(xray: ShownXray) -> list[str]:
    words = list(xray.cautions)
    if xray.prediction_set:
        named = ", ".join(xray.prediction_set)
        words.insert(0, f"Prediction set, the classes that cannot be excluded: {named}.")
    if xray.maps is not None:
        words.append(SCALE)
    left_out = len(xray.prediction_set) - MAX_MAPS
    if xray.maps is not None and left_out > 0:
        words.append(f"The maps of {left_out} more classes of the set are not shown.")
    words.append(RESEARCH_ONLY)
    return [line for each in words for line in lines_of(each, 14, WIDTH - 2 * _MARGIN)]
