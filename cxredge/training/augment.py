"""Augmentation of grey batches by geometry and exposure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
import torch.nn.functional as F

from cxredge.vocabulary import Geometry

_DRAWS = 6


@dataclass(frozen=True)
class Ranges:
    """Largest changes of an image.

    Attributes:
        rotation_degrees: Rotation to either side.
        shift: Shift as a share of the image's side.
        zoom: Change of size as a share.
        contrast: Change of contrast as a share.
        brightness: Change of brightness as a share of the grey-value range.
    """

    rotation_degrees: float
    shift: float
    zoom: float
    contrast: float
    brightness: float


RANGES: Mapping[Geometry, Ranges] = MappingProxyType(
    {
        # As between two exposures of one chest.
        Geometry.LIGHT: Ranges(7.0, 0.05, 0.1, 0.2, 0.1),
        # As between positionings and machines.
        Geometry.STRONG: Ranges(15.0, 0.1, 0.2, 0.4, 0.2),
    }
)


def view_of(epoch: int, views: int) -> int:
    """Return the number of the view that an epoch uses.

    Args:
        epoch: Number of the epoch, from 1.
        views: Number of views per image, used in turn; 0 for a new one every epoch.
    """
    return (epoch - 1) % views if views else epoch - 1


def draw_view(seed: int, rows: torch.Tensor, view: int) -> torch.Tensor:
    """Draw the augmentation parameters of a view.

    They depend on seed, image and view only, not on the order of images or their batch, so that
    views can be computed in advance.

    Args:
        seed: The run's seed, at least 0.
        rows: int64 (N,), indices of images.
        view: Number of the view.

    Returns:
        float32 (N, 6), uniformly distributed in [-1, 1).
    """
    draws = [
        np.random.default_rng((seed, view, row)).uniform(-1, 1, _DRAWS) for row in rows.tolist()
    ]
    return torch.from_numpy(np.stack(draws)).float()


def augment(images: torch.Tensor, draws: torch.Tensor, ranges: Ranges) -> torch.Tensor:
    """Rotate, zoom and shift each image, and vary contrast and brightness.

    Images are never mirrored: the heart would change sides.

    Args:
        images: float32 (N, 1, H, W) in [0, 1].
        draws: float32 (N, 6) in [-1, 1): rotation, zoom, two shifts, contrast and brightness,
            each as a share of its maximum.
        ranges: The maxima.

    Returns:
        New float32 (N, 1, H, W) in [0, 1]; pixels outside the image repeat its border.
    """
    turn, grow, across, down, contrast, brightness = draws.to(images.device).unbind(1)
    angle, zoom = turn * math.radians(ranges.rotation_degrees), 1 + grow * ranges.zoom
    cosine, sine = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    across, down = across * 2 * ranges.shift, down * 2 * ranges.shift
    affine = torch.stack([cosine, -sine, across, sine, cosine, down], dim=1).view(-1, 2, 3)
    grid = F.affine_grid(affine, list(images.shape), align_corners=False)
    moved = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    contrast = (1 + contrast * ranges.contrast).view(-1, 1, 1, 1)
    brightness = (brightness * ranges.brightness).view(-1, 1, 1, 1)
    return ((moved - 0.5) * contrast + 0.5 + brightness).clamp(0, 1)
