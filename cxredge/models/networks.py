"""The networks themselves, from the libraries that keep them, with one kind of head."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import nn

from cxredge.errors import CxredgeError
from cxredge.models.weights import load_into, read_state_dict
from cxredge.models.zoo import find_network


class Classifier(nn.Module):
    """A backbone that maps images to pooled features, and a linear head.

    Args:
        backbone: Maps float32 (N, 3, H, W) to (N, features).
        features: Length of the feature vector.
        num_classes: Number of classes; 0 leaves the head out.
        dropout: Share of features dropped before the head while training.
    """

    def __init__(
        self, backbone: nn.Module, features: int, num_classes: int, dropout: float
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout)
        self.head = _even_head(features, num_classes) if num_classes else nn.Identity()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits, or features when there is no head."""
        logits: torch.Tensor = self.head(self.dropout(self.backbone(images)))
        return logits


def _even_head(features: int, num_classes: int) -> nn.Linear:
    """Return a head that starts with all classes equally likely, so that no step is spent on it."""
    head = nn.Linear(features, num_classes)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


def build(name: str, num_classes: int, weights: Path | str | None, dropout: float) -> Classifier:
    """Build a network; see :func:`cxredge.models.build_model`."""
    network = find_network(name)
    wanted = "none" if weights is None else str(weights)
    backbone = _BACKBONES[name](wanted == "imagenet")
    model = Classifier(backbone, network.features, num_classes, dropout)
    if wanted not in ("none", "imagenet"):
        load_into(model, read_state_dict(Path(wanted)), Path(wanted))
    return model


def _mobilenet_v1(imagenet: bool) -> nn.Module:
    import timm

    name = "mobilenetv1_100.ra4_e3600_r224_in1k" if imagenet else "mobilenetv1_100"
    backbone: nn.Module = _download(
        lambda: timm.create_model(name, pretrained=imagenet, num_classes=0)
    )
    return backbone


def _mobilenet_v2(imagenet: bool) -> nn.Module:
    from torchvision.models import MobileNet_V2_Weights, mobilenet_v2

    weights = MobileNet_V2_Weights.IMAGENET1K_V2 if imagenet else None
    backbone: nn.Module = _download(lambda: mobilenet_v2(weights=weights))
    backbone.classifier = nn.Identity()
    return backbone


_BACKBONES: Mapping[str, Callable[[bool], nn.Module]] = {
    "mobilenet_v1": _mobilenet_v1,
    "mobilenet_v2": _mobilenet_v2,
}


def _download(create: Callable[[], nn.Module]) -> nn.Module:
    try:
        return create()
    except (OSError, RuntimeError) as error:
        cause = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CxredgeError(
            f"The ImageNet weights could not be downloaded: {cause}",
            "Download them elsewhere and give the file: --weights FILE.safetensors "
            "(or --weights none).",
        ) from None
