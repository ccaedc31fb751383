"""Assembly of a trainer from settings and images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from cxredge.data.images import GreyImage
from cxredge.data.loading import LabelledImages, load_labelled
from cxredge.data.manifest import Manifest, check_class_names
from cxredge.errors import CxredgeError
from cxredge.models import build_model
from cxredge.models.batch_norm import follow_batches, restore_statistics
from cxredge.models.freeze import freeze_blocks
from cxredge.models.zoo import find_network
from cxredge.progress import Progress
from cxredge.training.batches import LiveImages, grey_batches, normalise
from cxredge.training.config import TrainConfig, TrainingHardware
from cxredge.training.devices import open_devices
from cxredge.training.fit import Trainer
from cxredge.training.frozen_features import choose_source
from cxredge.training.performance import keep_depthwise_in_float32, keep_gradients_channels_last
from cxredge.vocabulary import CLASS_SPLITS, Split, TrainingPrecision

Images = Mapping[Split, LabelledImages]
"""Decoded images of a manifest by split."""

_STATISTICS_IMAGES = 512


def load_images(manifest: Manifest, input_size: int, progress: Progress) -> Images:
    """Decode all images of a manifest.

    Args:
        manifest: Images with train, val and test splits.
        input_size: Height and width in pixels.
        progress: Progress listener.

    Raises:
        CxredgeError: The name of a class has a separator of predictions, a class has no training
            images, or an image cannot be read.
    """
    check_class_names(manifest.classes, manifest.path)
    splits = {split: manifest.of(split) for split in CLASS_SPLITS}
    absent = set(manifest.classes) - {entry.label for entry in splits[Split.TRAIN]}
    if absent:
        raise CxredgeError(
            f"{manifest.path} has no training images of: {', '.join(sorted(absent))}.",
            "Its folders differ between splits: see the classes with cxredge data audit MANIFEST",
        )
    return {
        split: load_labelled(entries, manifest.classes, input_size, progress)
        for split, entries in splits.items()
    }


def assemble(
    config: TrainConfig,
    hardware: TrainingHardware,
    classes: int,
    images: Images,
    scratch: Path,
    progress: Progress,
) -> Trainer:
    """Build the network, freeze its blocks, and cache their features if the settings say so.

    Args:
        config: Training settings; ``freeze`` is not ``search``.
        hardware: Devices and precision.
        classes: Number of classes.
        images: Training and validation images.
        scratch: Folder for features; used for these settings, images and weights only.
        progress: Progress listener.

    Raises:
        CxredgeError: The weights do not fit the network.
    """
    fabric = open_devices(hardware)
    train, val = images[Split.TRAIN], images[Split.VAL]
    torch.manual_seed(config.seed)
    model = build_model(config.network, classes, config.weights, config.dropout)
    freeze_blocks(model, find_network(config.network), config.freeze)
    follow_batches(model)
    if config.weights != "none":
        _restore_statistics(model, train.pixels, config)
    if fabric.device.type == "cpu" and hardware.precision is TrainingPrecision.BF16_MIXED:
        keep_depthwise_in_float32(model)
    model.to(fabric.device).to(memory_format=torch.channels_last)
    keep_gradients_channels_last(model)
    live = LiveImages(model, config, fabric.device, train, val)
    source = choose_source(model, live, fabric, scratch, hardware.cache_limit_gb, progress)
    return Trainer(model, config, fabric, source)


def _restore_statistics(model: torch.nn.Module, pixels: GreyImage, config: TrainConfig) -> None:
    some = pixels[:: max(1, len(pixels) // _STATISTICS_IMAGES)]
    grey = grey_batches(some, torch.device("cpu"))
    restore_statistics(model, (normalise(batch, config.mean, config.std) for batch in grey))
