"""Assembly of a trainer from settings and images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from cxredge.data.images import GreyImage
from cxredge.data.loading import Decode, LabelledImages, load_labelled, load_pixels
from cxredge.data.manifest import Entry, Manifest, check_class_names
from cxredge.errors import CxredgeError
from cxredge.models import build_model
from cxredge.models.batch_norm import follow_batches, restore_statistics
from cxredge.models.freeze import freeze_blocks
from cxredge.models.synchronised_norm import synchronise_batch_norm
from cxredge.models.zoo import find_network
from cxredge.progress import Progress
from cxredge.training.batches import LiveImages, grey_batches, normalise
from cxredge.training.config import TrainConfig, TrainingHardware
from cxredge.training.fit import Trainer
from cxredge.training.frozen_features import choose_source
from cxredge.training.performance import keep_depthwise_in_float32, keep_gradients_channels_last
from cxredge.training.ranks import Ranks, open_ranks
from cxredge.training.shared_batch import SharedBatch, share_dropout
from cxredge.training.targets import build_targets
from cxredge.training.teacher import Teacher
from cxredge.vocabulary import CLASS_SPLITS, Split, TrainingPrecision

Images = Mapping[Split, LabelledImages]
"""Decoded images of a manifest by split."""

_STATISTICS_IMAGES = 512
_DECODED_AT_ONCE = 64
"""Number of images that a process decodes before it sends them to the others."""


def load_images(
    manifest: Manifest, input_size: int, progress: Progress, ranks: Ranks | None = None
) -> Images:
    """Decode all images of a manifest; each process its share, which it sends to the others.

    Args:
        manifest: Images with train, val and test splits.
        input_size: Height and width in pixels.
        progress: Progress listener.
        ranks: Processes of the training; None for one.

    Raises:
        CxredgeError: The name of a class has a separator of predictions, a class has no training
            images, or an image cannot be read.
    """
    ranks = ranks or Ranks(TrainingHardware())
    ranks.together(lambda: _check_classes(manifest))
    decode = load_pixels if ranks.size == 1 else _decode_together(ranks)
    return {
        split: load_labelled(manifest.of(split), manifest.classes, input_size, progress, decode)
        for split in CLASS_SPLITS
    }


def _check_classes(manifest: Manifest) -> None:
    check_class_names(manifest.classes, manifest.path)
    absent = set(manifest.classes) - {entry.label for entry in manifest.of(Split.TRAIN)}
    if absent:
        raise CxredgeError(
            f"{manifest.path} has no training images of: {', '.join(sorted(absent))}.",
            "Its folders differ between splits: see the classes with cxredge data audit MANIFEST",
        )


def _decode_together(ranks: Ranks) -> Decode:
    """Return a function as :func:`load_pixels` of which each process decodes a share."""

    def decode(entries: Sequence[Entry], size: int, on_image: Callable[[], None]) -> GreyImage:
        pixels = np.empty((len(entries), size, size), dtype=np.uint8)
        at_once = _DECODED_AT_ONCE * ranks.size
        for start in range(0, len(entries), at_once):
            own = ranks.part(entries[start : start + at_once])
            decoded = np.concatenate(ranks.together(partial(load_pixels, own, size)))
            pixels[start : start + len(decoded)] = decoded
            for _ in decoded:
                on_image()
        return pixels

    return decode


def assemble(
    config: TrainConfig,
    hardware: TrainingHardware,
    classes: int,
    images: Images,
    scratch: Path,
    progress: Progress,
    ranks: Ranks | None = None,
) -> Trainer:
    """Build the network, freeze its blocks, and cache their features if the settings say so.

    Args:
        config: Training settings; ``freeze`` is not ``search``.
        hardware: Devices and precision.
        classes: Number of classes.
        images: Training and validation images.
        scratch: Folder for features; used for these settings, images and weights only.
        progress: Progress listener.
        ranks: Processes of the training; None for one.

    Raises:
        CxredgeError: The weights do not fit the network.
    """
    if ranks is None:
        with open_ranks(hardware) as ranks:
            return assemble(config, hardware, classes, images, scratch, progress, ranks)
    fabric = ranks.fabric
    train, val = images[Split.TRAIN], images[Split.VAL]
    torch.manual_seed(config.seed)
    model = build_model(config.network, classes, config.weights, config.dropout)
    freeze_blocks(model, find_network(config.network), config.freeze)
    follow_batches(model)
    if config.weights != "none":
        _restore_statistics(model, train.pixels, config)
    if fabric.device.type == "cpu" and hardware.precision is TrainingPrecision.BF16_MIXED:
        keep_depthwise_in_float32(model)
    # Processors of different kinds round differently.
    ranks.copy_from_first(list(model.state_dict().values()))
    model.to(fabric.device).to(memory_format=torch.channels_last)
    keep_gradients_channels_last(model)
    live = LiveImages(model, config, fabric.device, train, val)
    teacher = Teacher(config, fabric.device) if config.teachers else None
    source = choose_source(model, live, ranks, scratch, hardware.cache_limit_gb, progress)
    batch = SharedBatch(ranks)
    if ranks.size > 1:
        synchronise_batch_norm(model, fabric.device.type == "cpu")
        share_dropout(model, batch)
    targets = build_targets(train, config)
    return Trainer(model, config, ranks, batch, source, targets, teacher)


def _restore_statistics(model: torch.nn.Module, pixels: GreyImage, config: TrainConfig) -> None:
    some = pixels[:: max(1, len(pixels) // _STATISTICS_IMAGES)]
    grey = grey_batches(some, torch.device("cpu"))
    restore_statistics(model, (normalise(batch, config.mean, config.std) for batch in grey))
