"""Batches for training, validation and prediction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch

from cxredge.artifacts.run_card import FeatureFacts
from cxredge.backends.base import available_cores
from cxredge.data.images import GreyImage
from cxredge.data.loading import LabelledImages
from cxredge.metrics import classification as metrics
from cxredge.models.networks import Classifier
from cxredge.training.augment import RANGES, augment, draw_view, view_of
from cxredge.training.config import TrainConfig
from cxredge.training.ranks import Ranks
from cxredge.training.vary_processing import vary_processing
from cxredge.vocabulary import Augmentation

EVALUATION_BATCH = 64

Inputs = tuple[torch.Tensor, ...]
"""Arguments of the trained network; the first dimension of each is the batch."""


@dataclass(frozen=True)
class Share:
    """The batches of a sequence that one process computes: every ``step``-th from ``first``."""

    first: int = 0
    step: int = 1


WHOLE = Share()


def gather_batches(ranks: Ranks, mine: Iterable[torch.Tensor]) -> torch.Tensor:
    """Return the rows of all batches, of which every process has computed its :class:`Share`.

    Every process returns the same rows in the same order, each once.
    """
    parts = ranks.together(lambda: list(mine))
    batches = [part[turn] for turn in range(len(parts[0])) for part in parts if turn < len(part)]
    return torch.cat(batches)


def scale_pixels(images: torch.Tensor) -> torch.Tensor:
    """Convert uint8 (N, H, W) to float32 (N, 1, H, W) in [0, 1]."""
    return images.unsqueeze(1).float() / 255


def normalise(images: torch.Tensor, mean: float, std: float) -> torch.Tensor:
    """Standardise grey (N, 1, H, W) in [0, 1] and repeat it to (N, 3, H, W), channels last."""
    colour = ((images - mean) / std).expand(-1, 3, -1, -1)
    # Convolutions of these networks run 1.2 to 2.5 times as fast on a CPU with channels last.
    return colour.contiguous(memory_format=torch.channels_last)


def grey_batches(
    pixels: GreyImage, device: torch.device, share: Share = WHOLE
) -> Iterator[torch.Tensor]:
    """Yield float32 batches (n, 1, S, S) in [0, 1] of uint8 images (N, S, S), in order."""
    first, step = share.first * EVALUATION_BATCH, share.step * EVALUATION_BATCH
    for start in range(first, len(pixels), step):
        batch = torch.from_numpy(pixels[start : start + EVALUATION_BATCH])
        yield scale_pixels(batch.to(device))


@torch.no_grad()
def predict_logits(
    model: torch.nn.Module, pixels: GreyImage, config: TrainConfig, ranks: Ranks
) -> metrics.Floats:
    """Return float32 logits (N, classes) of uint8 images (N, S, S), computed in inference mode."""
    model.eval()
    share = Share(ranks.rank, ranks.size)
    logits = (
        model(normalise(batch, config.mean, config.std)).float().cpu()
        for batch in grey_batches(pixels, ranks.fabric.device, share)
    )
    return gather_batches(ranks, logits).numpy()


class BatchSource(Protocol):
    """Source of a trainer's batches: images, or features of the frozen blocks.

    Attributes:
        network: Network or part of it that is trained on these inputs; returns logits.
        train_labels: int64 (N,), classes of the training images.
        val_labels: int64 (M,), classes of the validation images.
    """

    network: torch.nn.Module
    train_labels: torch.Tensor
    val_labels: torch.Tensor

    def training(self, rows: torch.Tensor, epoch: int) -> Inputs:
        """Return the inputs of training images for one epoch.

        Args:
            rows: int64 (n,), indices of the images.
            epoch: Number of the epoch, from 1; decides the augmentation.
        """
        ...

    def validation(self, share: Share = WHOLE) -> Iterator[Inputs]:
        """Yield batches of the validation images, in order and without augmentation."""
        ...

    def facts(self) -> FeatureFacts:
        """Return how features are cached, for the run's card."""
        ...


class LiveImages:
    """Batch source that runs images through the whole network at every step.

    Args:
        model: The network.
        config: Training settings.
        device: Device of the network.
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
        """Return float32 images (n, 3, S, S), augmented; see :class:`BatchSource`."""
        config, view = self.config, view_of(epoch, self.config.views)
        pixels = self._train[rows]
        if config.augmentation is Augmentation.SOURCES:
            pixels = self._vary(pixels, rows, view)
        images = scale_pixels(pixels.to(self._device))
        if config.augmentation is not Augmentation.NONE:
            draws = draw_view(config.seed, rows, view)
            images = augment(images, draws, RANGES[config.geometry])
        return (normalise(images, self.config.mean, self.config.std),)

    def validation(self, share: Share = WHOLE) -> Iterator[Inputs]:
        """Yield float32 images (n, 3, S, S); see :class:`BatchSource`."""
        for pixels in torch.split(self._val, EVALUATION_BATCH)[share.first :: share.step]:
            images = scale_pixels(pixels.to(self._device))
            yield (normalise(images, self.config.mean, self.config.std),)

    def _vary(self, pixels: torch.Tensor, rows: torch.Tensor, view: int) -> torch.Tensor:
        """Process each of uint8 (n, S, S) images in its own random way, on all cores."""
        seed = self.config.seed
        varied = self._pool.map(
            lambda image, row: vary_processing(image, seed, view, row),
            pixels.numpy(),
            rows.tolist(),
        )
        return torch.from_numpy(np.stack(list(varied)))

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        """Threads that process images; Pillow leaves Python's lock to others."""
        return ThreadPoolExecutor(available_cores())

    def facts(self) -> FeatureFacts:
        """Return that no features are cached."""
        return FeatureFacts(cached=False)
