"""From stored values to grey as DICOM defines it (PS3.3, C.11.1, C.11.2, C.7.6.3.1.2).

Modality LUT or rescale, then VOI LUT or window, then inversion. As a stored value has 16 bits at
most, all of it is one table: what each value that can be stored looks like.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]


class WindowShape(str, Enum):
    """How a window maps values to grey; VOI LUT Function."""

    LINEAR = "LINEAR"
    LINEAR_EXACT = "LINEAR_EXACT"
    SIGMOID = "SIGMOID"


@dataclass(frozen=True)
class Window:
    """A window of values that is spread from black to white.

    Attributes:
        centre: Its middle.
        width: At least 1 for ``LINEAR``, more than 0 for the others.
        shape: ``LINEAR`` counts whole values, so that black and white are ``width - 1`` apart.
    """

    centre: float
    width: float
    shape: WindowShape = WindowShape.LINEAR

    def shown(self, values: Values) -> Values:
        """Return the grey of values, 0 to 1; the formulas of PS3.3, C.11.2.1.2 and C.11.2.1.3."""
        if self.shape is WindowShape.SIGMOID:
            # Beyond 300 the result is 0 or 1 to the last bit, and the exponential would overflow.
            exponent = np.clip(-4 * (values - self.centre) / self.width, -300, 300)
            return 1 / (1 + np.exp(exponent))
        centre, width = self.centre, self.width
        if self.shape is WindowShape.LINEAR:
            centre, width = centre - 0.5, width - 1
        if width == 0:
            return (values > centre).astype(np.float64)
        shown: Values = np.clip((values - centre) / width + 0.5, 0, 1)
        return shown


@dataclass(frozen=True)
class LookupTable:
    """A table in a header.

    Attributes:
        first: The value of the first entry; values below have it too, values above the last.
        entries: float64 (n,), n at least 1.
        bits: Of each entry.
    """

    first: int
    entries: Values
    bits: int

    def looked_up(self, values: Values) -> Values:
        """Return the entries of values."""
        index = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1)
        found: Values = self.entries[index.astype(np.int64)]
        return found

    def shown(self, values: Values) -> Values:
        """Return the grey of values, 0 to 1."""
        shown: Values = np.clip(self.looked_up(values) / (2**self.bits - 1), 0, 1)
        return shown


@dataclass(frozen=True)
class Rescale:
    """Modality values are ``slope`` times the stored value plus ``intercept``; slope is not 0."""

    slope: float = 1.0
    intercept: float = 0.0


@dataclass(frozen=True)
class GreyScale:
    """What a header says of the meaning of stored values.

    Attributes:
        bits: Stored, 1 to 16.
        signed: Whether stored values are two's complement.
        inverted: Whether the least value is white.
        modality: What comes first.
        voi: What comes then; None spreads the whole range of the modality's values.
        padding: Stored values from the first to the second are no part of the picture: black.
    """

    bits: int
    signed: bool = False
    inverted: bool = False
    modality: Rescale | LookupTable = Rescale()
    voi: Window | LookupTable | None = None
    padding: tuple[int, int] | None = None

    def table(self) -> npt.NDArray[np.uint8]:
        """Return the grey of each stored value, 0 is black.

        Returns:
            uint8 (2 ** bits,), by the stored bits read as an unsigned number.
        """
        stored = np.arange(2**self.bits)
        if self.signed:
            stored[len(stored) // 2 :] -= len(stored)
        shown = self._shown(stored.astype(np.float64))
        grey = np.rint(255 * (1 - shown if self.inverted else shown)).astype(np.uint8)
        if self.padding:
            grey[(stored >= self.padding[0]) & (stored <= self.padding[1])] = 0
        return grey

    def _shown(self, stored: Values) -> Values:
        if isinstance(self.modality, LookupTable):
            values = self.modality.looked_up(stored)
            low, high = 0.0, float(2**self.modality.bits - 1)
        else:
            values = self.modality.slope * stored + self.modality.intercept
            low, high = float(values.min()), float(values.max())
        if self.voi is None:
            return np.clip((values - low) / (high - low), 0, 1)
        return self.voi.shown(values)
