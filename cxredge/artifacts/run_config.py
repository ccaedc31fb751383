"""Settings of a training run, which its card and the card of a bundle share."""

from __future__ import annotations

from dataclasses import dataclass

from cxredge.artifacts.records import Count, NonNegative, Positive, Share
from cxredge.vocabulary import Augmentation, BalanceBy, FeatureCache, Geometry, TrainingPrecision


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
        batch_size: Images per step, over all devices.
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
        balance_by: What has the same weight in the loss, with ``balance``.
        geometry: Range of the augmentation's rotation, shift, zoom and exposure.
        mixup: Parameter of mixup's Beta distribution; 0 for none.
        cutmix: Parameter of CutMix's Beta distribution; 0 for none.
        teachers: Folders of the teachers' runs; a card has the names of their networks instead.
        teacher_share: Share of the teachers' answers in the targets of the loss.
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
    balance_by: BalanceBy = BalanceBy.CLASS
    geometry: Geometry = Geometry.LIGHT
    mixup: NonNegative = 0.0
    cutmix: NonNegative = 0.0
    teachers: tuple[str, ...] = ()
    teacher_share: Share = 0.5

    @property
    def is_mixing(self) -> bool:
        """Whether training images are mixed in pairs."""
        return self.mixup > 0 or self.cutmix > 0


@dataclass(frozen=True)
class TrainedOn:
    """Hardware settings that decide the result; terms of Lightning Fabric.

    Attributes:
        accelerator: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        devices: Number of devices of all nodes; more than one trains data-parallel.
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
