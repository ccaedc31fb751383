"""Number types with a range; it is checked where a file is read."""

from __future__ import annotations

from typing import Annotated

import msgspec

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
"""A share or a probability, in [0, 1]."""
Count = Annotated[int, msgspec.Meta(ge=0)]
"""A number of things."""
Positive = Annotated[float, msgspec.Meta(gt=0)]
"""A positive number."""
