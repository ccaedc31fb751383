"""Number types with a range; it is checked where a file is read."""

from __future__ import annotations

from typing import Annotated

import msgspec

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
