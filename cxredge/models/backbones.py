"""Networks without a head, built by torchvision, timm or this package."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from cxredge.errors import CxredgeError
from cxredge.models.zoo import Network

_NASNET_URL = (
    "https://storage.googleapis.com/tensorflow/keras-applications/nasnet/NASNet-mobile-no-top.h5"
)
_HUB_FILE = "model.safetensors"
_HUB_TIMEOUT_S = 10
# The digest that Keras checks; it publishes MD5 only.
_NASNET_MD5 = "1ed92395b5b598bdda52abe5c0dbfd63"


def build_backbone(network: Network, imagenet: bool) -> nn.Module:
    """Build a network that maps float32 (N, 3, H, W) to pooled features (N, F).

    Args:
        network: Row of the zoo.
        imagenet: Whether to load the weights of the row, and download them if necessary.

    Raises:
        CxredgeError: The weights could not be downloaded.
    """
    library, _, weights = network.hub.partition(": ")
    if library == "torchvision":
        return _TORCHVISION[network.name](weights if imagenet else None)
    if library == "timm":
        return _timm(weights, imagenet)
    return _nasnet_mobile(imagenet)


def _timm(weights: str, imagenet: bool) -> nn.Module:
    import timm

    name = weights if imagenet else weights.partition(".")[0]
    if imagenet:
        found: Any = timm.get_pretrained_cfg(weights)
        _download(lambda: _reach_hub(found.hf_hub_id), weights)
    backbone: nn.Module = _download(
        lambda: timm.create_model(name, pretrained=imagenet, num_classes=0), weights
    )
    return backbone


def _reach_hub(repository: str) -> None:
    """Ask the hub once for weights that are not cached; a download would retry for a minute."""
    import huggingface_hub

    if isinstance(huggingface_hub.try_to_load_from_cache(repository, _HUB_FILE), str):
        return
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    url = huggingface_hub.hf_hub_url(repository, _HUB_FILE)
    huggingface_hub.get_hf_file_metadata(url, timeout=_HUB_TIMEOUT_S)


def _torchvision(builder: str, weights: str | None, **options: Any) -> nn.Module:
    from torchvision import models

    chosen = models.get_weight(weights) if weights else None
    backbone: nn.Module = _download(
        lambda: models.get_model(builder, weights=chosen, **options), str(weights)
    )
    return backbone


def _headless(builder: str) -> Callable[[str | None], nn.Module]:
    def build(weights: str | None) -> nn.Module:
        backbone = _torchvision(builder, weights)
        setattr(backbone, "fc" if hasattr(backbone, "fc") else "classifier", nn.Identity())
        return backbone

    return build


def _vgg19(weights: str | None) -> nn.Module:
    """Build VGG19 as in the paper: global average pooling, no dense layers."""
    backbone = _headless("vgg19")(weights)
    backbone.avgpool = nn.AdaptiveAvgPool2d(1)
    return backbone


def _inception_v3(weights: str | None) -> nn.Module:
    # torchvision builds the pretrained network with its auxiliary head, which is only useful for
    # training from scratch, and with a conversion from ImageNet's normalisation to the mean and
    # std of 0.5 that these weights expect. The zoo's table holds 0.5, so neither is needed.
    options = {} if weights else {"init_weights": False}
    backbone: Any = _torchvision("inception_v3", weights, **options)
    backbone.aux_logits = False
    backbone.AuxLogits = None
    backbone.transform_input = False
    backbone.dropout = nn.Identity()
    backbone.fc = nn.Identity()
    return cast(nn.Module, backbone)


_TORCHVISION: Mapping[str, Callable[[str | None], nn.Module]] = {
    "vgg19": _vgg19,
    "inception_v3": _inception_v3,
    **{
        name: _headless(name)
        for name in (
            "mobilenet_v2",
            "resnet50",
            "densenet121",
            "mobilenet_v3_small",
            "mobilenet_v3_large",
        )
    },
}


def _nasnet_mobile(imagenet: bool) -> nn.Module:
    from cxredge.models.keras_weights import load_keras_weights
    from cxredge.models.nasnet_mobile import NasnetMobile

    backbone = NasnetMobile()
    if imagenet:
        path = Path(torch.hub.get_dir()) / "checkpoints" / _NASNET_URL.rpartition("/")[2]
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            _download(lambda: torch.hub.download_url_to_file(_NASNET_URL, str(path)), path.name)
        if hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() != _NASNET_MD5:
            raise CxredgeError(
                f"{path} is not the file that Keras publishes.", "Delete it and try again."
            )
        load_keras_weights(backbone, path, "nasnet_mobile")
    return backbone


def _download(create: Callable[[], Any], weights: str) -> Any:
    """Call a function that may download weights.

    Raises:
        CxredgeError: It failed; the libraries raise their own exceptions and those of the network.
    """
    try:
        return create()
    except CxredgeError:
        raise
    except Exception as error:
        cause = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CxredgeError(
            f"The ImageNet weights {weights} could not be downloaded: {cause}",
            "Without a network: download them elsewhere and give the file, --weights "
            "FILE.safetensors, or train from scratch with --weights none.",
        ) from None
