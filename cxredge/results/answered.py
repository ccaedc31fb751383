"""What a bundle answers and refuses, and how right its answers are by group."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cxredge.artifacts.records import Count, Share

Interval = tuple[float, float]
PartialInterval = tuple[float | None, float | None]


@dataclass(frozen=True, kw_only=True)
class Refusals:
    """Images of a class or a source, and how many are refused.

    Attributes:
        images: Number of images.
        refused: Number of images that are refused as unfamiliar.
    """

    images: Count
    refused: Count


@dataclass(frozen=True, kw_only=True)
class Answered:
    """The images of a split that are answered, and those that are refused as unfamiliar.

    Attributes:
        refused: Number of refused images.
        refused_ci95: Wilson's 95% interval of their share.
        refused_fp32: Number of images that FP32 refuses.
        alike: Number of images that are refused or answered as in FP32.
        alike_ci95: Wilson's 95% interval of their share.
        right: Number of answered images whose most probable class is their label.
        accuracy_answered: Their share of the answered images; None if none is answered.
        accuracy_answered_ci95: Wilson's 95% interval.
        by_class: Images and refusals by class.
        by_source: Images and refusals by source.
    """

    refused: Count
    refused_ci95: Interval
    refused_fp32: Count
    alike: Count
    alike_ci95: Interval
    right: Count
    accuracy_answered: Share | None
    accuracy_answered_ci95: Interval | None
    by_class: Mapping[str, Refusals]
    by_source: Mapping[str, Refusals]


@dataclass(frozen=True, kw_only=True)
class WithinSource:
    """How well a class is told from other images of its own source, which the source cannot tell.

    Attributes:
        source: The source.
        class_name: The class.
        against: ``other classes``, or the kind of the controls that the class is told from.
        images: Number of images of the class.
        others: Number of the other images.
        auroc: Area under the ROC curve of the probability of the class.
        auroc_ci95: 95% interval of a bootstrap over patients.
    """

    source: str
    class_name: str
    against: str
    images: Count
    others: Count
    auroc: Share
    auroc_ci95: PartialInterval


@dataclass(frozen=True, kw_only=True)
class Group:
    """Images of a split that share a property, such as a source or an age band.

    Attributes:
        images: Number of images.
        patients: Number of patients.
        classes: Number of images by class.
        right: Number of images whose most probable class is their label.
        accuracy: Their share.
        accuracy_ci95: Wilson's 95% interval.
        refused: Number of images that are refused as unfamiliar.
    """

    images: Count
    patients: Count
    classes: Mapping[str, Count]
    right: Count
    accuracy: Share
    accuracy_ci95: Interval
    refused: Count


@dataclass(frozen=True, kw_only=True)
class CalledBySource:
    """What the images of one class and source are called, also those that are refused.

    Attributes:
        class_name: True class.
        source: Source of the images.
        called: Number of images by most probable class.
    """

    class_name: str
    source: str
    called: Mapping[str, Count]


def several_sources(found: Sequence[CalledBySource]) -> list[CalledBySource]:
    """Return the rows of those classes that have more than one source."""
    rows = Counter(one.class_name for one in found)
    return [one for one in found if rows[one.class_name] > 1]


Groups = Mapping[str, Mapping[str, Group]]
"""Groups by property (``source``, ``sex``, ``age``, ``view``) and value; a property that no image
states is left out."""
