"""Targets of the training loss: the classes of the training images, and their weights."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from cxredge.data.loading import LabelledImages
from cxredge.training.config import TrainConfig
from cxredge.vocabulary import BalanceBy


@dataclass(frozen=True)
class Targets:
    """Targets of some training images.

    Attributes:
        probabilities: float32 (N, classes), the distribution that the network shall return.
        weights: float32 (N,), weight of each image in the loss.
    """

    probabilities: torch.Tensor
    weights: torch.Tensor

    def of(self, rows: torch.Tensor | slice) -> Targets:
        """Return the targets of some of the images."""
        return Targets(self.probabilities[rows], self.weights[rows])

    def to(self, device: torch.device) -> Targets:
        """Return the targets on a device."""
        return Targets(self.probabilities.to(device), self.weights.to(device))


def build_targets(images: LabelledImages, config: TrainConfig) -> Targets:
    """Return the targets of all training images, with smoothed labels.

    With ``balance`` every class has the same total weight; ``balance_by`` decides how it is shared
    among its images. The mean weight is 1.

    Args:
        images: The training images.
        config: Training settings.
    """
    labels = torch.from_numpy(images.labels)
    classes = int(labels.max()) + 1
    smoothing = config.label_smoothing
    exact = F.one_hot(labels, classes).float()
    probabilities = exact * (1 - smoothing) + smoothing / classes
    return Targets(probabilities, _weights(images, labels, config))


def _weights(images: LabelledImages, labels: torch.Tensor, config: TrainConfig) -> torch.Tensor:
    if not config.balance:
        return torch.ones(len(labels))
    by_source = config.balance_by is BalanceBy.SOURCE
    return _equal_weights([
        (label, source if by_source else "")
        for label, source in zip(labels.tolist(), images.sources, strict=True)
    ])  # fmt: skip


def _equal_weights(groups: Sequence[tuple[int, str]]) -> torch.Tensor:
    """Return weights that are equal for each class, and for each group of a class."""
    images = Counter(groups)
    parts: dict[int, int] = defaultdict(int)
    for label, _ in images:
        parts[label] += 1
    weights = torch.tensor([1 / (images[group] * parts[group[0]]) for group in groups])
    return weights / weights.mean()
