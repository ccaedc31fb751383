"""Settings of a training run."""

from __future__ import annotations

from dataclasses import dataclass

from cxredge.vocabulary import Augmentation, FeatureCache, TrainingPrecision

SEARCH = "search"
"""Value of ``freeze`` that selects the freeze point by a search."""


@dataclass(frozen=True)
class SearchConfig:
    """Settings of ``--freeze search``.

    Attributes:
        points: Number of block boundaries to try besides ``head`` and ``none``.
        epochs: Maximum number of epochs per trial.
    """

    points: int = 6
    epochs: int = 10


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
    epochs: int
    patience: int
    batch_size: int
    learning_rate: float
    backbone_rate: float
    weight_decay: float
    label_smoothing: float
    dropout: float
    average_decay: float
    augmentation: Augmentation
    balance: bool
    seed: int
    input_size: int
    mean: float
    std: float
    views: int = 8
    features: FeatureCache = FeatureCache.FP16
    search: SearchConfig | None = None


@dataclass(frozen=True)
class TrainingHardware:
    """Devices and precision, in Lightning Fabric's terms.

    Attributes:
        accelerator: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        devices: Number of devices; more than one trains data-parallel.
        precision: Number format of weights and activations.
        cache_limit_gb: Maximum size of cached features on disk, in gigabytes (1e9 bytes).
    """

    accelerator: str = "auto"
    devices: int = 1
    precision: TrainingPrecision = TrainingPrecision.FP32
    cache_limit_gb: float = 20.0
