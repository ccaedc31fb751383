"""One training run as an artifact: resumable while it runs, complete once its card is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from lightning_fabric import Fabric

from cxredge import artifacts
from cxredge.artifacts import Card, Kind, sha256_of_file, tool_versions
from cxredge.data.images import PREPROCESSING, GreyImage
from cxredge.data.labelled import LabelledImages, load_labelled
from cxredge.data.manifest import Manifest
from cxredge.errors import CxredgeError
from cxredge.models import build_model
from cxredge.models.batch_norm import restore_statistics
from cxredge.models.freeze import freeze_blocks
from cxredge.models.networks import Classifier
from cxredge.models.zoo import find_network
from cxredge.progress import Progress
from cxredge.training.batches import grey_batches, normalise
from cxredge.training.checkpoint import (
    finished_run,
    read_checkpoint,
    scratch_folder,
    write_checkpoint,
)
from cxredge.training.config import SEARCH, Hardware, Search, TrainConfig
from cxredge.training.fit import FitState, Trainer
from cxredge.training.frozen_features import choose_source
from cxredge.training.history import Epoch
from cxredge.training.memory import keep_freed_memory
from cxredge.training.result import run_facts, write_run
from cxredge.training.search import Candidate, best_of, boundaries, search
from cxredge.training.sources import LiveImages
from cxredge.vocabulary import Split

Images = Mapping[Split, LabelledImages]

_STATISTICS_IMAGES = 512


def train(
    manifest: Manifest,
    config: TrainConfig,
    hardware: Hardware,
    out: Path,
    progress: Progress,
    images: Images | None = None,
) -> Card:
    """Fine-tune a network and write its run, or go on with one that was interrupted.

    Args:
        manifest: Images with train, val and test splits.
        config: The settings.
        hardware: Where to train.
        out: The run's folder: ``model.safetensors``, ``card.json``, ``history.csv``,
            ``curves.svg`` and a copy of the manifest.
        progress: Hears of images decoded and of steps.
        images: The manifest's images where they are already decoded.

    Returns:
        The run's card; a finished run of the same inputs is returned as it is.

    Raises:
        CxredgeError: ``out`` holds another run, a split is empty, an image cannot be read, or the
            training diverged.
    """
    planned = _plan(manifest, config, hardware)
    if (finished := finished_run(out, planned)) is not None:
        progress.note(f"{out} is up to date: same images, settings and versions.")
        return finished
    checkpoint = read_checkpoint(out, planned.stage_key)
    keep_freed_memory()
    images = images or _load_images(manifest, config, progress)
    scratch = scratch_folder(out, planned.stage_key)
    tried: list[Candidate] = []
    if config.freeze == SEARCH:
        tried = _search(manifest, config, hardware, scratch / "search", progress, images)
    fabric = _launch(hardware)
    freeze = best_of(tried).freeze if tried else config.freeze
    model, trainable = _build(config, freeze, manifest.classes, images)
    model.to(fabric.device).to(memory_format=torch.channels_last)
    live = LiveImages(model, config, fabric.device, images[Split.TRAIN], images[Split.VAL])
    source = choose_source(
        model, live, fabric, scratch / "features", hardware.cache_limit_gb, progress
    )
    trainer = Trainer(model, config, fabric, source)
    if checkpoint is not None:
        trainer.resume(checkpoint)
        done = len(trainer.state.history)
        progress.note(f"Going on after epoch {done} of {config.epochs}.")
    state = _fit(trainer, planned, out, progress)
    model.load_state_dict(state.best, strict=False)
    facts = run_facts(state, source, model, config, images)
    if tried:
        facts["search"] = [asdict(candidate) for candidate in tried]
    card = replace(planned, facts={"freeze": freeze, "trainable": trainable, **facts})
    if fabric.global_rank == 0:
        card = write_run(out, manifest, model, state, card)
    return card


def _launch(hardware: Hardware) -> Fabric:
    fabric = Fabric(
        accelerator=hardware.accelerator,
        devices=hardware.devices,
        precision=hardware.precision.value,
    )
    fabric.launch()
    return fabric


def _search(
    manifest: Manifest,
    config: TrainConfig,
    hardware: Hardware,
    folder: Path,
    progress: Progress,
    images: Images,
) -> list[Candidate]:
    """Train from several boundaries, each a run of its own that is not run again."""
    wanted = config.search or Search()
    trial = replace(config, epochs=wanted.epochs, search=None)
    freezes = boundaries(find_network(config.network), wanted.points)

    def train_one(freeze: str) -> Card:
        one = replace(trial, freeze=freeze)
        return train(manifest, one, hardware, folder / freeze, progress, images)

    tried = search(freezes, train_one, progress)
    progress.note(f"Training with --freeze {best_of(tried).freeze}.")
    return tried


def _plan(manifest: Manifest, config: TrainConfig, hardware: Hardware) -> Card:
    network = find_network(config.network)
    if len(manifest.classes) < 2:
        raise CxredgeError(f"{manifest.path} has one class only; a classifier needs two.")
    parents = {"manifest": manifest.sha256}
    if config.weights not in ("none", "imagenet"):
        path = Path(config.weights)
        if not path.is_file():
            raise CxredgeError(
                f"Weights file {path} does not exist.", "Give imagenet, none or a file."
            )
        parents["weights"] = sha256_of_file(path)
    # The file's name does not decide the result, its content does.
    weights = "file" if "weights" in parents else config.weights
    settings = {
        **asdict(config),
        "weights": weights,
        "augmentation": config.augmentation.value,
        "features": config.features.value,
    }
    machine = {**asdict(hardware), "precision": hardware.precision.value}
    # Room for features decides how long a run takes; the card's facts say if they were cached.
    del machine["cache_limit_gb"]
    return Card(
        kind=Kind.RUN,
        classifier=artifacts.Classifier(
            network=network.name,
            classes=manifest.classes,
            input_size=config.input_size,
            mean=config.mean,
            std=config.std,
            preprocessing=PREPROCESSING,
        ),
        parents=parents,
        config={**settings, "hardware": machine},
        tools=tool_versions("torch", "torchvision", "timm", "lightning-fabric", "pillow"),
    )


def _load_images(manifest: Manifest, config: TrainConfig, progress: Progress) -> Images:
    splits = {split: manifest.of(split) for split in Split}
    absent = set(manifest.classes) - {entry.label for entry in splits[Split.TRAIN]}
    if absent:
        raise CxredgeError(f"{manifest.path} has no training images of: {', '.join(absent)}.")
    return {
        split: load_labelled(entries, manifest.classes, config.input_size, progress)
        for split, entries in splits.items()
    }


def _build(
    config: TrainConfig, freeze: str, classes: Sequence[str], images: Images
) -> tuple[Classifier, int]:
    """Return the network with its blocks frozen, and its trainable weights before the head."""
    torch.manual_seed(config.seed)
    model = build_model(config.network, len(classes), config.weights, config.dropout)
    trainable = freeze_blocks(model, find_network(config.network), freeze)
    if config.weights != "none":
        _restore_statistics(model, images[Split.TRAIN].pixels, config)
    return model, trainable


def _restore_statistics(model: torch.nn.Module, pixels: GreyImage, config: TrainConfig) -> None:
    some = pixels[:: max(1, len(pixels) // _STATISTICS_IMAGES)]
    grey = grey_batches(some, torch.device("cpu"))
    restore_statistics(model, (normalise(batch, config.mean, config.std) for batch in grey))


def _fit(trainer: Trainer, planned: Card, out: Path, progress: Progress) -> FitState:
    """Train, leaving a checkpoint after every epoch."""
    left = trainer.config.epochs - len(trainer.state.history)
    with progress.task(f"Training {trainer.config.network}", left * trainer.steps) as advance:

        def after_epoch(epoch: Epoch) -> None:
            progress.note(
                f"epoch {epoch.epoch:3d}  loss {epoch.train_loss:.3f}  validation loss "
                f"{epoch.val_loss:.3f}  accuracy {epoch.val_accuracy:.3f}  {epoch.seconds:.1f} s"
            )
            if trainer.fabric.global_rank == 0:
                write_checkpoint(out, planned.stage_key, trainer.checkpoint())

        return trainer.fit(after_epoch, lambda: advance(1))
