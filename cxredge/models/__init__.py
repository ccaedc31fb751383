"""Networks: the zoo's table, builders, block freezing and weights.

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
        num_classes: Number of outputs of the new head; 0 returns pooled features without a head.
        weights: ``None`` or ``"none"`` for random weights, ``"imagenet"`` to download them, a
            ``.safetensors`` or ``.pth`` file with a state dict of the backbone or of a run, or a
            Keras ``.h5`` file for ``mobilenet_v1``, ``nasnet_mobile`` and ``resnet50_v2``. Keras
            weights also select the padding and stride of Keras; a state dict saved from such a
            network records this, so that it is built in the same way again.
        dropout: Share of features dropped before the head while training, in [0, 1).

    Returns:
        A module in training mode that maps float32 (N, 3, H, W) to float32 logits
        (N, num_classes), or to features (N, F) if ``num_classes`` is 0.

    Raises:
        CxredgeError: The name is unknown, the weights do not fit, or torch is not installed.
    """
    from cxredge.models import networks

    return networks.build(name, num_classes, weights, dropout)
