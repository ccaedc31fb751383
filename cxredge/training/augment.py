"""Light augmentation of grey batches: what another exposure of the same chest would change."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

MAX_ROTATION_DEGREES = 7.0
MAX_SHIFT = 0.05
MAX_ZOOM = 0.1
MAX_CONTRAST = 0.2
MAX_BRIGHTNESS = 0.1


def augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Rotate, shift, zoom and re-expose each image a little.

    Images are never mirrored: the heart would change sides.

    Args:
        images: float32 (N, 1, H, W) in [0, 1].
        generator: Source of randomness on the CPU; same state, same result.

    Returns:
        New float32 (N, 1, H, W) in [0, 1]; edges are repeated where the image was moved in.
    """
    count = len(images)

    def uniform(limit: float) -> torch.Tensor:
        return (torch.rand(count, generator=generator) * 2 - 1) * limit

    angle = uniform(math.radians(MAX_ROTATION_DEGREES))
    zoom = 1 + uniform(MAX_ZOOM)
    cosine, sine = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    rows = [cosine, -sine, uniform(2 * MAX_SHIFT), sine, cosine, uniform(2 * MAX_SHIFT)]
    affine = torch.stack(rows, dim=1).view(count, 2, 3).to(images.device)
    grid = F.affine_grid(affine, list(images.shape), align_corners=False)
    moved = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    contrast = (1 + uniform(MAX_CONTRAST)).view(-1, 1, 1, 1).to(images.device)
    brightness = uniform(MAX_BRIGHTNESS).view(-1, 1, 1, 1).to(images.device)
    return ((moved - 0.5) * contrast + 0.5 + brightness).clamp(0, 1)
