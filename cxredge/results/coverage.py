"""Coverage and size of prediction sets on labelled images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cxredge.artifacts.records import Count, NonNegative, Share

Interval = tuple[float, float]
"""Bounds of Wilson's 95% interval."""


@dataclass(frozen=True, kw_only=True)
class SetCounts:
    """Prediction sets of answered images; shares are None without images.

    Attributes:
        images: Number of answered images.
        covered: Number of sets that contain the class of their image.
        single: Number of sets with one class.
        classes_in_sets: Number of classes in all sets together.
        coverage: Share of the sets that contain the class of their image.
        coverage_ci95: Its interval.
        single_share: Share of the sets with one class.
        single_share_ci95: Its interval.
        mean_size: Mean number of classes in a set.
    """

    images: Count
    covered: Count
    single: Count
    classes_in_sets: Count
    coverage: Share | None
    coverage_ci95: Interval | None
    single_share: Share | None
    single_share_ci95: Interval | None
    mean_size: NonNegative | None


@dataclass(frozen=True, kw_only=True)
class SetCoverage(SetCounts):
    """Prediction sets of all answered images, and of those of each class.

    Attributes:
        target: Coverage that the sets were derived for on validation images.
        by_class: The same for the images of each class.
    """

    target: Share
    by_class: Mapping[str, SetCounts]
