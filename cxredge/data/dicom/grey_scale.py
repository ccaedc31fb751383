"""Grey of stored values as DICOM defines it (PS3.3, C.11.1, C.11.2, C.7.6.3.1.2).

Modality LUT or rescale, then VOI LUT or window, then inversion. Stored values have at most 16 bits,
so all steps combine into one table with the grey of each possible value.

pydicom's ``apply_modality_lut`` and ``apply_voi_lut`` do not replace this module: they fail on
modality tables of 10 or 12 bits, wrap around in tables of 8 bits, and round some windows
differently.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]


class WindowShape(str, Enum):
    """Mapping of a window's values to grey: VOI LUT Function."""

    LINEAR = "LINEAR"
    LINEAR_EXACT = "LINEAR_EXACT"
    SIGMOID = "SIGMOID"


@dataclass(frozen=True)
class Window:
    """A window of values that is mapped to the range from black to white.

    Attributes:
        centre: Centre of the window.
        width: At least 1 for ``LINEAR``, more than 0 for the others.
        shape: Mapping; with ``LINEAR``, black and white are ``width - 1`` apart.
    """

    centre: float
    width: float
    shape: WindowShape = WindowShape.LINEAR

    def to_grey(self, values: Values) -> Values:
        """Return the grey of values, 0 to 1, as in PS3.3, C.11.2.1.2 and C.11.2.1.3."""
        if self.shape is WindowShape.SIGMOID:
            # Beyond 300 the result is exactly 0 or 1, and the exponential would overflow.
            exponent = np.clip(-4 * (values - self.centre) / self.width, -300, 300)
            return 1 / (1 + np.exp(exponent))
        centre, width = self.centre, self.width
        if self.shape is WindowShape.LINEAR:
            centre, width = centre - 0.5, width - 1
        if width == 0:
            return (values > centre).astype(np.float64)
        grey: Values = np.clip((values - centre) / width + 0.5, 0, 1)
        return grey


@dataclass(frozen=True)
class LookupTable:
    """A lookup table (LUT) in a header.

    Attributes:
        first: Value of the first entry. Lower values have the first entry too, values above the
            table the last.
        entries: float64 (n,), n at least 1.
        bits: Number of bits per entry.
    """

    first: int
    entries: Values
    bits: int

    def look_up(self, values: Values) -> Values:
        """Return the entries of values."""
        index = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1)
        found: Values = self.entries[index.astype(np.int64)]
        return found

    def to_grey(self, values: Values) -> Values:
        """Return the grey of values, 0 to 1."""
        grey: Values = np.clip(self.look_up(values) / (2**self.bits - 1), 0, 1)
        return grey


@dataclass(frozen=True)
class Rescale:
    """Modality value = ``slope`` * stored value + ``intercept``; slope is not 0."""

    slope: float = 1.0
    intercept: float = 0.0


@dataclass(frozen=True)
class GreyScale:
    """Mapping of stored values to grey.

    Attributes:
        bits: Number of stored bits, 1 to 16.
        signed: Whether stored values are two's complement.
        inverted: Whether the lowest value is white.
        modality: First step: stored value to modality value.
        voi: Second step: modality value to grey; None maps the whole range of modality values.
        padding: First and last value of the padding, which is shown black. Values that do not fit
            into the stored bits occur only in samples whose unused bits are not masked.
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
            uint8 (2 ** bits,), indexed by the stored bits as an unsigned number.
        """
        stored = np.arange(2**self.bits)
        if self.signed:
            stored[len(stored) // 2 :] -= len(stored)
        share = self._to_grey(stored.astype(np.float64))
        grey = np.rint(255 * (1 - share if self.inverted else share)).astype(np.uint8)
        if self.padding and not self.pads_unused_bits:
            grey[(stored >= self.padding[0]) & (stored <= self.padding[1])] = 0
        return grey

    @property
    def pads_unused_bits(self) -> bool:
        """Whether the padding has values that the stored bits cannot hold."""
        if self.padding is None:
            return False
        low = -(2 ** (self.bits - 1)) if self.signed else 0
        return self.padding[0] < low or self.padding[1] >= low + 2**self.bits

    def _to_grey(self, stored: Values) -> Values:
        if isinstance(self.modality, LookupTable):
            values = self.modality.look_up(stored)
            low, high = 0.0, float(2**self.modality.bits - 1)
        else:
            values = self.modality.slope * stored + self.modality.intercept
            low, high = float(values.min()), float(values.max())
        if self.voi is None:
            return np.clip((values - low) / (high - low), 0, 1)
        return self.voi.to_grey(values)
