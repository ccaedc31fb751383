"""The settings of one fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass

from cxredge.vocabulary import Augmentation, FeatureCache, TrainingPrecision

SEARCH = "search"
"""The freeze point that is found by trying."""


@dataclass(frozen=True)
class Search:
    """How ``--freeze search`` looks for the freeze point.

    Attributes:
        points: Block boundaries to try, next to ``head`` and ``none``.
        epochs: Most epochs of each trial.
    """

    points: int = 6
    epochs: int = 10


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides the result of a training run, next to the images.

    Attributes:
        network: Name in the zoo.
        weights: ``imagenet``, ``none`` or a file.
        freeze: ``paper``, ``none``, ``head``, ``search`` or the first block to train.
        epochs: Most epochs to run.
        patience: Epochs without a better validation result before stopping.
        batch_size: Images a step.
        learning_rate: Peak of the schedule, for the head.
        backbone_rate: Peak of the schedule for the backbone, as a share of ``learning_rate``.
        weight_decay: AdamW's decoupled weight decay.
        label_smoothing: Share of the target spread over all classes.
        dropout: Share of features dropped before the head.
        average_decay: Decay of the moving average of the weights, a step; 0 for none.
        augmentation: How far images are varied.
        balance: Weight the loss so that every class counts the same.
        seed: Same seed, machine and versions, same result.
        input_size: Height and width in pixels.
        mean: Mean grey value, in [0, 1], that the weights expect.
        std: Standard deviation that they expect.
        views: Varied views of each image, used in turn by the epochs; 0 draws a fresh one every
            epoch, so that features of frozen blocks cannot be kept.
        features: Number format in which features of frozen blocks are kept.
        search: How to search the freeze point, when ``freeze`` is ``search``.
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
    search: Search | None = None


@dataclass(frozen=True)
class Hardware:
    """Where to train; Lightning Fabric's terms.

    Attributes:
        accelerator: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        devices: Number of devices; more than one trains data-parallel.
        precision: Number format of weights and activations.
        cache_limit_gb: Most gigabytes (1e9 bytes) of features on disk.
    """

    accelerator: str = "auto"
    devices: int = 1
    precision: TrainingPrecision = TrainingPrecision.FP32
    cache_limit_gb: float = 20.0
