"""Targets of the training loss: the classes of the training images, and their weights."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from cxredge.training.config import TrainConfig


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


def build_targets(labels: torch.Tensor, sources: Sequence[str], config: TrainConfig) -> Targets:
    """Return the targets of all training images, with smoothed labels.

    Args:
        labels: int64 (N,), classes of the images.
        sources: Source of each image.
        config: Training settings. With ``balance`` every class has the same total weight, and with
            ``balance_sources`` also every source within a class. The mean weight is 1.
    """
    classes = int(labels.max()) + 1
    smoothing = config.label_smoothing
    exact = F.one_hot(labels, classes).float()
    probabilities = exact * (1 - smoothing) + smoothing / classes
    return Targets(probabilities, _weights(labels, sources, config))


def _weights(labels: torch.Tensor, sources: Sequence[str], config: TrainConfig) -> torch.Tensor:
    if not config.balance:
        return torch.ones(len(labels))
    groups = [
        (label, source if config.balance_sources else "")
        for label, source in zip(labels.tolist(), sources, strict=True)
    ]
    images = Counter(groups)
    parts: dict[int, int] = defaultdict(int)
    for label, _ in images:
        parts[label] += 1
    weights = torch.tensor([1 / (images[group] * parts[group[0]]) for group in groups])
    return weights / weights.mean()
