"""What the trained part of a network is fed: images, or features of the frozen part."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import torch

from cxredge.data.labelled import LabelledImages
from cxredge.models.networks import Classifier
from cxredge.training.augment import augment, draw_view, view_of
from cxredge.training.batches import EVALUATION_BATCH, normalise, scale_pixels
from cxredge.training.config import TrainConfig
from cxredge.vocabulary import Augmentation

Inputs = tuple[torch.Tensor, ...]
"""The arguments of the trained network, each with the images of a batch first."""


class Source(Protocol):
    """Where a trainer gets its batches from.

    Attributes:
        network: What is trained on these inputs; returns logits.
        train_labels: int64 (N,), classes of the training images.
        val_labels: int64 (M,), classes of the validation images.
    """

    network: torch.nn.Module
    train_labels: torch.Tensor
    val_labels: torch.Tensor

    def training(self, rows: torch.Tensor, epoch: int) -> Inputs:
        """Return training images, int64 indices (n,), as this epoch (from 1) sees them."""
        ...

    def validation(self) -> Iterator[Inputs]:
        """Yield batches of the validation images, in order and unvaried."""
        ...

    def facts(self) -> dict[str, Any]:
        """Return what the run's card says about this source."""
        ...


class LiveImages:
    """The images themselves, through the whole network at every step.

    Args:
        model: The network.
        config: The settings.
        device: Where the network computes.
        train: Training images.
        val: Validation images.
    """

    def __init__(
        self,
        model: Classifier,
        config: TrainConfig,
        device: torch.device,
        train: LabelledImages,
        val: LabelledImages,
    ) -> None:
        self.network: torch.nn.Module = model
        self.config = config
        self.train_labels = torch.from_numpy(train.labels)
        self.val_labels = torch.from_numpy(val.labels)
        self._train = torch.from_numpy(train.pixels)
        self._val = torch.from_numpy(val.pixels)
        self._device = device

    def training(self, rows: torch.Tensor, epoch: int) -> Inputs:
        """Return float32 images (n, 3, S, S), varied as wanted; see :class:`Source`."""
        images = scale_pixels(self._train[rows].to(self._device))
        if self.config.augmentation is Augmentation.LIGHT:
            view = view_of(epoch, self.config.views)
            images = augment(images, draw_view(self.config.seed, rows, view))
        return (normalise(images, self.config.mean, self.config.std),)

    def validation(self) -> Iterator[Inputs]:
        """Yield float32 images (n, 3, S, S); see :class:`Source`."""
        for pixels in torch.split(self._val, EVALUATION_BATCH):
            images = scale_pixels(pixels.to(self._device))
            yield (normalise(images, self.config.mean, self.config.std),)

    def facts(self) -> dict[str, Any]:
        """Return that nothing is cached."""
        return {"cached": False}
