"""Number types with a range, which is checked where a file is read, and two numbers as text."""

from __future__ import annotations

from typing import Annotated

import msgspec

_MAX_DECIMALS = 13

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
"""A share or a probability, in [0, 1]."""
Difference = Annotated[float, msgspec.Meta(ge=-1, le=1)]
"""A difference of two shares, in [-1, 1]."""
Threshold = Annotated[float, msgspec.Meta(ge=0, le=1.001)]
"""A threshold of a probability; just above 1 if no image is to reach it."""
Count = Annotated[int, msgspec.Meta(ge=0)]
"""A number of things."""
Positive = Annotated[float, msgspec.Meta(gt=0)]
"""A positive number."""
NonNegative = Annotated[float, msgspec.Meta(ge=0)]
"""A number that is not negative: a duration, a size, an error."""
Threads = Annotated[int, msgspec.Meta(ge=0, le=1024)]
"""Number of threads or concurrent inferences; more would exhaust a machine."""
Batch = Annotated[int, msgspec.Meta(ge=1, le=128)]
"""Number of images per inference."""


def as_different_texts(
    one: float | None, other: float | None, decimals: int = 4
) -> tuple[str, str]:
    """Return two numbers that differ, with as many decimals as tell them apart.

    Args:
        one: A number; None is called missing.
        other: Another number.
        decimals: Minimum number of decimals.
    """
    if one is None or other is None:
        texts = ["missing" if value is None else f"{value:.{decimals}f}" for value in (one, other)]
        return texts[0], texts[1]
    for count in range(decimals, _MAX_DECIMALS):
        texts = [f"{value:.{count}f}" for value in (one, other)]
        if texts[0] != texts[1]:
            return texts[0], texts[1]
    return repr(one), repr(other)
