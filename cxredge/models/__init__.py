"""The networks: one table (`zoo`), their builders, block freezing and weights.

Importing this package does not import torch; calling :func:`build_model` does.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cxredge.models.networks import Classifier

__all__ = ["build_model"]


def build_model(
    name: str, num_classes: int, weights: Path | str | None = None, dropout: float = 0.0
) -> Classifier:
    """Build a network of the zoo.

    Args:
        name: A name from ``cxredge models``.
        num_classes: Size of the new head; 0 for pooled features without a head.
        weights: ``None`` or ``"none"`` for random ones, ``"imagenet"`` to download them, a
            ``.safetensors`` or ``.pth`` file with a state dict of the backbone or of a whole run,
            or Keras' own ``.h5`` for ``mobilenet_v1``, ``nasnet_mobile`` and ``resnet50_v2``.
            With those, padding and stride are Keras' too, and a state dict of the network says so:
            built from that, they are again.
        dropout: Share of features dropped before the head while training, in [0, 1).

    Returns:
        A module in training mode that maps float32 (N, 3, H, W) to float32 logits
        (N, num_classes), or to features (N, F) when ``num_classes`` is 0.

    Raises:
        CxredgeError: Unknown name, weights that do not fit, or torch is not installed.
    """
    from cxredge.models import networks

    return networks.build(name, num_classes, weights, dropout)
