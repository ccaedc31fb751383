"""Where in the pictures the evidence for decisions lies."""

from __future__ import annotations

from dataclasses import dataclass

from cxredge.artifacts.records import Count, Share

Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class BorderEvidence:
    """Share of the positive evidence for the decided class in the border of the picture.

    Attributes:
        label: True class of the images.
        source: Source of the images.
        images: Number of images that have positive evidence.
        share: Mean share of the evidence in the border.
        share_ci95: 95% interval of a bootstrap over patients.
        uniform: Share of a uniform map: that of the picture that is border.
    """

    label: str
    source: str
    images: Count
    share: Share
    share_ci95: Interval
    uniform: Share
