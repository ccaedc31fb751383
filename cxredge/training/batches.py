"""Images on their way into a network."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from cxredge.data.images import GreyImage
from cxredge.metrics import classification as metrics
from cxredge.training.config import TrainConfig

EVALUATION_BATCH = 64


def scale_pixels(images: torch.Tensor) -> torch.Tensor:
    """Turn uint8 (N, H, W) into float32 (N, 1, H, W) in [0, 1]."""
    return images.unsqueeze(1).float() / 255


def normalise(images: torch.Tensor, mean: float, std: float) -> torch.Tensor:
    """Standardise grey (N, 1, H, W) in [0, 1] and repeat it to (N, 3, H, W), channels last."""
    colour = ((images - mean) / std).expand(-1, 3, -1, -1)
    # Convolutions of these networks run 1.2 to 2.5 times as fast on a CPU with channels last.
    return colour.contiguous(memory_format=torch.channels_last)


def grey_batches(pixels: GreyImage, device: torch.device) -> Iterator[torch.Tensor]:
    """Yield float32 batches (n, 1, S, S) in [0, 1] of uint8 images (N, S, S), in order."""
    for start in range(0, len(pixels), EVALUATION_BATCH):
        batch = torch.from_numpy(pixels[start : start + EVALUATION_BATCH])
        yield scale_pixels(batch.to(device))


@torch.no_grad()
def predict_logits(
    model: torch.nn.Module, pixels: GreyImage, config: TrainConfig, device: torch.device
) -> metrics.Floats:
    """Return float32 logits (N, classes) of uint8 images (N, S, S) in inference mode."""
    model.eval()
    logits = [
        model(normalise(batch, config.mean, config.std)).float().cpu()
        for batch in grey_batches(pixels, device)
    ]
    return torch.cat(logits).numpy()
