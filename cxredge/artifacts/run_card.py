"""The card of a training run: settings and results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from cxredge.artifacts.card import ArtifactKind, Card
from cxredge.artifacts.records import UNSET, Count, NonNegative, Share, UnsetType
from cxredge.artifacts.run_config import RunConfig
from cxredge.metrics.number_types import as_different_texts
from cxredge.vocabulary import FeatureCache, Split

_ROUNDING = 1e-4


@dataclass(frozen=True)
class FreezeCandidate:
    """Cost and validation result of training from one freeze point.

    Attributes:
        freeze: ``head``, ``none`` or the first trained block.
        trainable: Number of trainable weights before the head.
        epochs: Number of epochs until the patience or the limit was reached.
        seconds: Duration of these epochs and of computing frozen features.
        accuracy: Validation accuracy of the best epoch, in [0, 1].
        loss: Validation loss of the best epoch.
    """

    freeze: str
    trainable: Count
    epochs: Count
    seconds: NonNegative
    accuracy: Share
    loss: NonNegative


@dataclass(frozen=True)
class FeatureFacts:
    """Use of cached features in a training run.

    Attributes:
        cached: Whether frozen blocks ran once per view instead of at every step. The other
            attributes are UNSET if not.
        precision: Number format on disk.
        views: Number of views per training image.
        shapes: Shape of each cached tensor, without the batch dimension.
        bytes: Size of all features on disk.
        seconds: Time spent on computing features.
    """

    cached: bool
    precision: FeatureCache | UnsetType = UNSET
    views: Count | UnsetType = UNSET
    shapes: tuple[tuple[int, ...], ...] | UnsetType = UNSET
    bytes: Count | UnsetType = UNSET
    seconds: NonNegative | UnsetType = UNSET


@dataclass(frozen=True)
class ValidationMetrics:
    """Metrics of the best epoch on the validation images.

    Attributes:
        accuracy: Share of correct decisions, in [0, 1].
        loss: Mean cross-entropy.
    """

    accuracy: Share
    loss: NonNegative


@dataclass(frozen=True)
class HeldOutMetrics:
    """Metrics of the best weights on the test images.

    Attributes:
        accuracy: Share of correct decisions, in [0, 1].
        ci95: Wilson's 95% confidence interval of the accuracy.
        macro_f1: Unweighted mean of the classes' F1 scores.
        confusion: Number of images by true class (rows) and predicted class (columns).
    """

    accuracy: Share
    ci95: tuple[Share, Share]
    macro_f1: Share
    confusion: tuple[tuple[Count, ...], ...]


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """Facts on a run's card.

    Attributes:
        freeze: ``paper``, ``none``, ``head`` or the first trained block.
        search: Freeze points tried by ``--freeze search``; UNSET without a search.
        trainable: Number of trainable weights before the head.
        geometry: Padding and stride of the network: ``library`` or ``keras``.
        best_epoch: Number of the epoch whose weights were kept.
        epochs: Number of epochs trained.
        seconds_per_epoch: Median duration of an epoch.
        seconds: Duration of all epochs and of computing frozen features.
        features: Use of cached features.
        validation: Validation metrics of the best epoch.
        test: Test metrics of the best epoch.
        images: Number of images by split.
    """

    freeze: str
    search: tuple[FreezeCandidate, ...] | UnsetType = UNSET
    trainable: Count
    geometry: str
    best_epoch: Count
    epochs: Count
    seconds_per_epoch: NonNegative
    seconds: NonNegative
    features: FeatureFacts
    validation: ValidationMetrics
    test: HeldOutMetrics
    images: Mapping[Split, Count]


@dataclass(frozen=True)
class RunCard(Card[RunConfig, RunFacts]):
    """The card of a training run."""

    kind: ClassVar[ArtifactKind] = ArtifactKind.RUN

    def contradictions(self) -> Iterator[str]:
        """Yield what contradicts itself in the test metrics, a clause each."""
        test = self.facts.test
        images = sum(map(sum, test.confusion))
        right = sum(row[index] for index, row in enumerate(test.confusion) if index < len(row))
        if images and abs(test.accuracy - right / images) > _ROUNDING:
            stated, computed = as_different_texts(test.accuracy, right / images)
            yield f"the test accuracy is {stated}, but its confusion matrix gives {computed}"
