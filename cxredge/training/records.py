"""Typed records of a training run: its epochs, and the facts on its card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxredge.artifacts import records
from cxredge.artifacts.card import Card


@dataclass(frozen=True)
class Epoch:
    """One row of the training history.

    Attributes:
        epoch: Number of the epoch, from 1.
        learning_rate: Learning rate of the head at the last step.
        train_loss: Mean cross-entropy of the training images.
        val_loss: Mean cross-entropy of the validation images.
        val_accuracy: Validation accuracy, in [0, 1].
        seconds: Duration of training and validation.
    """

    epoch: int
    learning_rate: float
    train_loss: float
    val_loss: float
    val_accuracy: float
    seconds: float


def best_epoch(history: Sequence[Epoch]) -> int:
    """Return the number of the best epoch, or 0 if there is none.

    The best epoch has the highest validation accuracy, the criterion of the paper; ties go to the
    lowest validation loss.
    """
    if not history:
        return 0
    return max(history, key=lambda e: (e.val_accuracy, -e.val_loss)).epoch


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
    trainable: records.Count
    epochs: records.Count
    seconds: float
    accuracy: records.Share
    loss: float


@dataclass(frozen=True)
class FeatureFacts:
    """Use of cached features in a training run.

    Attributes:
        cached: Whether frozen blocks ran once per view instead of at every step. The other
            attributes are None if not.
        precision: Number format on disk.
        views: Number of views per training image.
        shapes: Shape of each cached tensor, without the batch dimension.
        bytes: Size of all features on disk.
        seconds: Time spent on computing features.
    """

    cached: bool
    precision: str | None = None
    views: records.Count | None = None
    shapes: tuple[tuple[int, ...], ...] | None = None
    bytes: records.Count | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class ValidationMetrics:
    """Metrics of the best epoch on the validation images.

    Attributes:
        accuracy: Share of correct decisions, in [0, 1].
        loss: Mean cross-entropy.
    """

    accuracy: records.Share
    loss: float


@dataclass(frozen=True)
class HeldOutMetrics:
    """Metrics of the best weights on the test images.

    Attributes:
        accuracy: Share of correct decisions, in [0, 1].
        ci95: Wilson's 95% confidence interval of the accuracy.
        macro_f1: Unweighted mean of the classes' F1 scores.
        confusion: Number of images by true class (rows) and predicted class (columns).
    """

    accuracy: records.Share
    ci95: tuple[float, float]
    macro_f1: float
    confusion: tuple[tuple[records.Count, ...], ...]


@dataclass(frozen=True)
class RunFacts:
    """Facts on a run's card.

    Attributes:
        freeze: ``paper``, ``none``, ``head`` or the first trained block.
        search: Freeze points tried by ``--freeze search``; None without a search.
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
    search: tuple[FreezeCandidate, ...] | None
    trainable: records.Count
    geometry: str
    best_epoch: records.Count
    epochs: records.Count
    seconds_per_epoch: float
    seconds: float
    features: FeatureFacts
    validation: ValidationMetrics
    test: HeldOutMetrics
    images: Mapping[str, records.Count]

    def to_json(self) -> dict[str, Any]:
        """Return the facts as JSON values, without the keys whose value is None."""
        values: dict[str, Any] = _without_none(records.to_json(self))
        return values


@dataclass(frozen=True)
class TrainingResult:
    """A finished run.

    Attributes:
        card: Card of the run.
        facts: Typed facts of the card.
    """

    card: Card
    facts: RunFacts


def read_run_facts(card: Card, run: Path) -> RunFacts:
    """Validate the facts on a run's card.

    Raises:
        ArtifactError: A fact is missing or has a wrong value.
    """
    values = {"search": None, **card.facts}
    return records.from_json(values, RunFacts, run, f"Delete {run} and train again.")


def _without_none(value: Any) -> Any:
    """Return JSON values without keys whose value is None, and sequences as lists."""
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [_without_none(item) for item in value]
    return value
