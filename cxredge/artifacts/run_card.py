"""The card of a training run: settings and results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from cxredge.artifacts.card import ArtifactKind, Card
from cxredge.artifacts.records import UNSET, Count, Positive, Share, UnsetType
from cxredge.vocabulary import Augmentation, FeatureCache, Split, TrainingPrecision


@dataclass(frozen=True)
class SearchConfig:
    """Settings of ``--freeze search``.

    Attributes:
        points: Number of block boundaries to try besides ``head`` and ``none``.
        epochs: Maximum number of epochs per trial.
    """

    points: Count = 6
    epochs: Count = 10


@dataclass(frozen=True)
class TrainConfig:
    """All settings that affect the result of a training run.

    Attributes:
        network: Name in the zoo.
        weights: ``imagenet``, ``none`` or a file.
        freeze: ``paper``, ``none``, ``head``, ``search`` or the first block to train.
        epochs: Maximum number of epochs.
        patience: Number of epochs without a better validation result before stopping.
        batch_size: Images per step.
        learning_rate: Peak learning rate of the head.
        backbone_rate: Peak learning rate of the backbone, as a share of ``learning_rate``.
        weight_decay: AdamW's decoupled weight decay.
        label_smoothing: Share of the target spread over all classes.
        dropout: Share of features dropped before the head.
        average_decay: Decay per step of the moving average of the weights; 0 for none.
        augmentation: Strength of the augmentation.
        balance: Whether the loss gives every class the same weight.
        seed: The same seed, machine and versions give the same result.
        input_size: Height and width in pixels.
        mean: Mean grey value, in [0, 1], that the weights expect.
        std: Standard deviation of grey values that the weights expect.
        views: Number of augmented views per image, used in turn by the epochs; 0 draws a new one
            every epoch, which rules out cached features.
        features: Number format of cached features of frozen blocks.
        search: Settings of the search if ``freeze`` is ``search``.
    """

    network: str
    weights: str
    freeze: str
    epochs: Count
    patience: Count
    batch_size: Count
    learning_rate: float
    backbone_rate: float
    weight_decay: float
    label_smoothing: Share
    dropout: Share
    average_decay: Share
    augmentation: Augmentation
    balance: bool
    seed: int
    input_size: Count
    mean: float
    std: Positive
    views: Count = 8
    features: FeatureCache = FeatureCache.FP16
    search: SearchConfig | None = None


@dataclass(frozen=True)
class TrainedOn:
    """Hardware settings that decide the result; terms of Lightning Fabric.

    Attributes:
        accelerator: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        devices: Number of devices; more than one trains data-parallel.
        precision: Number format of weights and activations.
    """

    accelerator: str = "auto"
    devices: Count = 1
    precision: TrainingPrecision = TrainingPrecision.FP32


@dataclass(frozen=True, kw_only=True)
class RunConfig(TrainConfig):
    """Configuration of a run.

    ``weights`` is ``file`` for any file: its SHA-256 is among the parents.

    Attributes:
        hardware: Hardware settings.
    """

    hardware: TrainedOn


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
    seconds: float
    accuracy: Share
    loss: float


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
    seconds: float | UnsetType = UNSET


@dataclass(frozen=True)
class ValidationMetrics:
    """Metrics of the best epoch on the validation images.

    Attributes:
        accuracy: Share of correct decisions, in [0, 1].
        loss: Mean cross-entropy.
    """

    accuracy: Share
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
    seconds_per_epoch: float
    seconds: float
    features: FeatureFacts
    validation: ValidationMetrics
    test: HeldOutMetrics
    images: Mapping[Split, Count]


@dataclass(frozen=True)
class RunCard(Card[RunConfig, RunFacts]):
    """The card of a training run."""

    kind: ClassVar[ArtifactKind] = ArtifactKind.RUN


@dataclass(frozen=True, kw_only=True)
class TrainingSummary(RunConfig):
    """Settings and results of a run as the card of a bundle repeats them.

    Attributes:
        best_epoch: Epoch whose weights were kept, from 1.
        trainable: Number of trainable weights before the head.
        validation_accuracy: Accuracy of that epoch on validation images.
    """

    best_epoch: Count
    trainable: Count
    validation_accuracy: Share
