"""Result of ``cxredge evaluate``: metrics of a bundle on labelled images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from cxredge.artifacts.records import (
    UNSET,
    Count,
    Difference,
    Sha256,
    Share,
    Threshold,
    UnsetType,
)
from cxredge.artifacts.training_images import SeenCounts
from cxredge.backends.base import CascadeCounts
from cxredge.metrics.classification import ReliabilityBin
from cxredge.metrics.controls import Controls
from cxredge.metrics.maps import MapFidelity
from cxredge.results.answered import Answered, CalledBySource, Groups, WithinSource
from cxredge.results.coverage import SetCoverage
from cxredge.results.map_evidence import BorderEvidence
from cxredge.vocabulary import Precision, Split

Interval = tuple[float, float]
"""Bounds of a 95% interval."""
PartialInterval = tuple[float | None, float | None]
"""Bounds of a 95% interval; None if a bootstrap draw had no defined value."""


@dataclass(frozen=True, kw_only=True)
class ClassMetrics:
    """Metrics of one class against the others; None if no image defines them.

    Attributes:
        images: Number of images of the class.
        threshold: Operating threshold of its probability.
        auroc: Area under the ROC curve.
        auroc_ci95: 95% interval of a bootstrap over patients.
        sensitivity: Sensitivity at the operating threshold.
        sensitivity_ci95: Wilson's 95% interval.
        specificity: Specificity at the operating threshold.
        specificity_ci95: Wilson's 95% interval.
        recall: Share of its images for which it is the most probable class.
        recall_ci95: Wilson's 95% interval.
    """

    images: Count
    threshold: Threshold
    auroc: Share | None
    auroc_ci95: PartialInterval
    sensitivity: Share | None
    sensitivity_ci95: Interval | None
    specificity: Share | None
    specificity_ci95: Interval | None
    recall: Share | None
    recall_ci95: Interval | None


@dataclass(frozen=True, kw_only=True)
class ChangedDecision:
    """An image that the bundle classifies differently from FP32.

    File names may name patients, so that a result does not hold them.

    Attributes:
        index: Index among the images of the split, from 0, in the order of the manifest; UNSET in
            results of older versions.
        label: Its true class.
        fp32: The class that FP32 predicts.
        now: The class that the bundle predicts.
        probability_fp32: Probability of ``fp32`` in FP32.
        probability_now: Probability of ``now`` in the bundle.
    """

    index: Count | UnsetType = UNSET
    label: str
    fp32: str
    now: str
    probability_fp32: Share
    probability_now: Share


@dataclass(frozen=True, kw_only=True)
class RocCurve:
    """ROC curve of one class against the others; both sequences have the same length."""

    false_positive_rate: tuple[Share, ...]
    true_positive_rate: tuple[Share, ...]

    def __post_init__(self) -> None:
        lengths = len(self.false_positive_rate), len(self.true_positive_rate)
        if lengths[0] != lengths[1]:
            raise ValueError(
                f"Expected rates of the same length, got {lengths[0]} and {lengths[1]}"
            )


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Metrics of a bundle on one split of a manifest.

    Intervals are 95% intervals: Wilson's for shares of images, a bootstrap over patients for the
    others.

    Attributes:
        schema: Format of the file.
        bundle_sha256: SHA-256 of the bundle's card.
        manifest_sha256: SHA-256 of the manifest.
        network: Name in the zoo.
        precision: Precision that was evaluated.
        backend: Runtime.
        cascade: Number of near ties that FP32 decided; None without a cascade.
        split: Split of the manifest.
        images: Number of images.
        patients: Number of patients.
        classes: Class names in the order of the logits.
        accuracy: Share of images whose most probable class is their label.
        accuracy_ci95: Its interval.
        macro_f1: Mean F1 of the classes that have images.
        macro_f1_ci95: Its interval.
        auroc: Mean one-against-rest AUROC of the classes; None if undefined.
        auroc_ci95: Its interval.
        calibration_error: Expected calibration error over ten bins.
        calibration_error_ci95: Its interval.
        by_class: Metrics by class.
        sensitivity: Sensitivity by class, as in ``by_class``.
        confusion: Number of images by true class (rows) and predicted class (columns).
        agreement_fp32: Share of images classified as in FP32.
        agreement_fp32_ci95: Its interval.
        accuracy_fp32: Accuracy of FP32 on the same images.
        accuracy_difference_fp32: Accuracy minus that of FP32.
        accuracy_difference_fp32_ci95: Its interval, paired.
        flipped: Images classified differently from FP32.
        reliability: Bins of the reliability diagram.
        roc: ROC curve by class.
        images_without_patient: Number of images whose patient is not known: each counts as a
            patient of its own; None in results of earlier versions.
        seen: Number of images and patients that the network was trained on; None if the bundle does
            not list them.
        warnings: Warnings of the data audit.
        answered: What is answered and what refused as unfamiliar; None if the bundle refuses none,
            and in results of earlier versions.
        by: Accuracy by source, sex, age band and view, of all images, also refused ones; empty in
            results of earlier versions.
        called_by_source: What the images of each class and source are called; empty in results of
            earlier versions.
        auroc_within_source: How well classes are told from other images of their own source.
        controls: What the bundle calls images that show none of the classes, by kind.
        controls_fp32: What FP32 calls them.
        coverage: Prediction sets of the answered images; None if the bundle has none, and in
            results of earlier versions.
        border_evidence: Share of the evidence for the decided class in the border of the picture,
            by class and source; empty without heatmaps, and in results of earlier versions.
        heatmaps_fp32: Agreement of the heatmaps with FP32's; None in the same cases.
        content_sha256: SHA-256 of the other keys; UNSET in results of older versions.
    """

    schema: Literal["cxredge.evaluation/1"] = "cxredge.evaluation/1"
    bundle_sha256: Sha256
    manifest_sha256: Sha256
    network: str
    precision: Precision
    backend: str
    cascade: CascadeCounts | None = None
    split: Split
    images: Count
    patients: Count
    classes: tuple[str, ...]
    accuracy: Share
    accuracy_ci95: Interval
    macro_f1: Share | None
    macro_f1_ci95: PartialInterval
    auroc: Share | None
    auroc_ci95: PartialInterval
    calibration_error: Share | None
    calibration_error_ci95: PartialInterval
    by_class: Mapping[str, ClassMetrics]
    sensitivity: Mapping[str, Share | None]
    confusion: tuple[tuple[Count, ...], ...]
    agreement_fp32: Share
    agreement_fp32_ci95: Interval
    accuracy_fp32: Share
    accuracy_difference_fp32: Difference
    accuracy_difference_fp32_ci95: PartialInterval
    flipped: tuple[ChangedDecision, ...]
    reliability: tuple[ReliabilityBin, ...]
    roc: Mapping[str, RocCurve]
    images_without_patient: Count | None = None
    seen: SeenCounts | None = None
    warnings: tuple[str, ...] = ()
    answered: Answered | None = None
    by: Groups = field(default_factory=dict)
    called_by_source: tuple[CalledBySource, ...] = ()
    auroc_within_source: tuple[WithinSource, ...] = ()
    controls: Controls = field(default_factory=dict)
    controls_fp32: Controls = field(default_factory=dict)
    coverage: SetCoverage | None = None
    border_evidence: tuple[BorderEvidence, ...] = ()
    heatmaps_fp32: MapFidelity | None = None
    content_sha256: Sha256 | UnsetType = UNSET
