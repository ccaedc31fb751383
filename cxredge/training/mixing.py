"""Mixing of training images in pairs: mixup and CutMix.

Both keep a network from being sure of single features: between two images, its answer shall change
in proportion. mixup averages all pixels (Zhang et al., "mixup: Beyond Empirical Risk Minimization",
ICLR 2018); CutMix pastes a rectangle (Yun et al., "CutMix: Regularization Strategy to Train Strong
Classifiers with Localizable Features", ICCV 2019).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from cxredge.training.config import TrainConfig
from cxredge.training.targets import Targets

_STREAM = 2
"""Separates these random numbers from those of the augmentation."""


@dataclass(frozen=True)
class Mixture:
    """The pairs of a batch, and how they are mixed.

    Attributes:
        partners: int64 (N,), index in the batch of each image's partner.
        share: Share of the image itself, in [0, 1]; the rest is its partner's.
        corner: Top left corner of the pasted rectangle, as shares of the height and width left
            free; None if all pixels are averaged.
    """

    partners: torch.Tensor
    share: float
    corner: tuple[float, float] | None = None

    def images(self, own: torch.Tensor, partners: torch.Tensor) -> torch.Tensor:
        """Return the mixture of two batches, float32 (n, C, H, W) each."""
        if self.corner is None:
            return own * self.share + partners * (1 - self.share)
        height, width = own.shape[2:]
        side = (1 - self.share) ** 0.5
        rows, columns = round(height * side), round(width * side)
        top = round(self.corner[0] * (height - rows))
        left = round(self.corner[1] * (width - columns))
        pasted = np.s_[:, :, top : top + rows, left : left + columns]
        mixed = own.clone()
        mixed[pasted] = partners[pasted]
        return mixed

    def targets(self, batch: Targets) -> Targets:
        """Return the mixed targets of the whole batch."""
        other = batch.of(self.partners)
        return Targets(
            batch.probabilities * self.share + other.probabilities * (1 - self.share),
            batch.weights * self.share + other.weights * (1 - self.share),
        )


def draw_mixture(config: TrainConfig, epoch: int, step: int, images: int) -> Mixture | None:
    """Draw how the images of a batch are mixed; None if the settings mix none.

    The share follows Beta(a, a) with a from ``mixup`` or ``cutmix``; with both, each is used for
    half of the batches, as in timm. It depends on seed, epoch and step only.

    Args:
        config: Training settings.
        epoch: Number of the epoch, from 1.
        step: Number of the step in the epoch, from 0.
        images: Number of images of the whole batch.
    """
    if not config.is_mixing:
        return None
    rng = np.random.default_rng((config.seed, epoch, step, _STREAM))
    partners = torch.from_numpy(rng.permutation(images))
    if config.cutmix and (not config.mixup or rng.random() < 0.5):
        share, corner = rng.beta(config.cutmix, config.cutmix), rng.random(2)
        return Mixture(partners, float(share), (float(corner[0]), float(corner[1])))
    return Mixture(partners, float(rng.beta(config.mixup, config.mixup)))
