"""Classifiers: a backbone with a linear head, and its weights from a file."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from cxredge.models.backbones import build_backbone
from cxredge.models.keras_geometry import match_keras_geometry, needs_keras_geometry
from cxredge.models.keras_weights import load_keras_weights
from cxredge.models.weights import load_into, read_state_dict
from cxredge.models.xrayvision import from_xrayvision, is_xrayvision
from cxredge.models.zoo import find_network


class Classifier(nn.Module):
    """A backbone that maps images to pooled features, and a linear head.

    Args:
        backbone: Maps float32 (N, 3, H, W) to (N, features).
        features: Length of the feature vector.
        num_classes: Number of classes; 0 for no head.
        dropout: Share of features dropped before the head while training.
    """

    def __init__(
        self, backbone: nn.Module, features: int, num_classes: int, dropout: float
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout)
        self.head = _zero_head(features, num_classes) if num_classes else nn.Identity()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits, or features if there is no head."""
        logits: torch.Tensor = self.head(self.dropout(self.backbone(images)))
        return logits


def _zero_head(features: int, num_classes: int) -> nn.Linear:
    """Return a head of zeros, so that training starts with all classes equally likely."""
    head = nn.Linear(features, num_classes)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


def build(name: str, num_classes: int, weights: Path | str | None, dropout: float) -> Classifier:
    """Build a network; see :func:`cxredge.models.build_model`."""
    network = find_network(name)
    wanted = "none" if weights is None else str(weights)
    backbone = build_backbone(network, wanted == "imagenet")
    model = Classifier(backbone, network.features, num_classes, dropout)
    if wanted not in ("none", "imagenet"):
        _load(model, Path(wanted), name)
    return model


def geometry(model: Classifier) -> str:
    """Return the origin of a network's padding and stride: ``library``, or ``keras``."""
    return "keras" if needs_keras_geometry(model.state_dict()) else "library"


def _load(model: Classifier, path: Path, name: str) -> None:
    if path.suffix in (".h5", ".hdf5"):
        match_keras_geometry(model.backbone, name)
        load_keras_weights(model.backbone, path, name)
        return
    state = read_state_dict(path)
    if is_xrayvision(state):
        state = from_xrayvision(state, name)
    if needs_keras_geometry(state):
        match_keras_geometry(model.backbone, name)
    load_into(model, state, path)
