"""One training run as an artifact: resumable while it runs, complete once its card is there."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from safetensors.torch import save_file

from cxredge import metrics
from cxredge.artifacts import (
    Card,
    Classifier,
    Kind,
    atomic_file,
    sha256_of_file,
    tool_versions,
    write_card,
    write_text,
)
from cxredge.data.images import PREPROCESSING, GreyImage
from cxredge.data.labelled import LabelledImages, load_labelled
from cxredge.data.manifest import Manifest, write_manifest
from cxredge.errors import CxredgeError
from cxredge.models import build_model
from cxredge.models.batch_norm import restore_statistics
from cxredge.models.freeze import freeze_blocks
from cxredge.models.networks import geometry
from cxredge.models.zoo import find_network
from cxredge.progress import Progress
from cxredge.training.checkpoint import (
    CHECKPOINT_NAME,
    finished_run,
    read_checkpoint,
    write_checkpoint,
)
from cxredge.training.config import Hardware, TrainConfig
from cxredge.training.fit import (
    FitState,
    Trainer,
    grey_batches,
    normalise,
    predict_logits,
)
from cxredge.training.history import Epoch, draw_curves, history_csv
from cxredge.training.memory import keep_freed_memory
from cxredge.vocabulary import Split

WEIGHTS_NAME = "model.safetensors"
MANIFEST_NAME = "manifest.csv"
_STATISTICS_IMAGES = 512


def train(
    manifest: Manifest, config: TrainConfig, hardware: Hardware, out: Path, progress: Progress
) -> Card:
    """Fine-tune a network and write its run, or go on with one that was interrupted.

    Args:
        manifest: Images with train, val and test splits.
        config: The settings.
        hardware: Where to train.
        out: The run's folder: ``model.safetensors``, ``card.json``, ``history.csv``,
            ``curves.svg`` and a copy of the manifest.
        progress: Hears of images decoded and of steps.

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
    fabric = Fabric(
        accelerator=hardware.accelerator,
        devices=hardware.devices,
        precision=hardware.precision.value,
    )
    fabric.launch()
    images = _load_images(manifest, config, progress)
    torch.manual_seed(config.seed)
    model = build_model(config.network, len(manifest.classes), config.weights, config.dropout)
    trainable = freeze_blocks(model, find_network(config.network), config.freeze)
    if config.weights != "none":
        _restore_statistics(model, images[Split.TRAIN].pixels, config)
    trainer = Trainer(model, config, fabric, images[Split.TRAIN], images[Split.VAL])
    if checkpoint is not None:
        trainer.resume(checkpoint)
        done = len(trainer.state.history)
        progress.note(f"Going on after epoch {done} of {config.epochs}.")
    state = _fit(trainer, planned, out, progress)
    model.load_state_dict(state.best)
    facts = {
        "trainable": trainable,
        "geometry": geometry(model),
        **_facts(state, images, model, config, fabric),
    }
    card = replace(planned, facts=facts)
    if fabric.global_rank == 0:
        card = _write_run(out, manifest, model, state, card)
    return card


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
    settings = {**asdict(config), "weights": weights, "augmentation": config.augmentation.value}
    machine = {**asdict(hardware), "precision": hardware.precision.value}
    return Card(
        kind=Kind.RUN,
        classifier=Classifier(
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


def _load_images(
    manifest: Manifest, config: TrainConfig, progress: Progress
) -> dict[Split, LabelledImages]:
    splits = {split: manifest.of(split) for split in Split}
    absent = set(manifest.classes) - {entry.label for entry in splits[Split.TRAIN]}
    if absent:
        raise CxredgeError(f"{manifest.path} has no training images of: {', '.join(absent)}.")
    return {
        split: load_labelled(entries, manifest.classes, config.input_size, progress)
        for split, entries in splits.items()
    }


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


def _facts(
    state: FitState,
    images: dict[Split, LabelledImages],
    model: torch.nn.Module,
    config: TrainConfig,
    fabric: Fabric,
) -> dict[str, Any]:
    best = state.history[state.best_epoch - 1]
    test = images[Split.TEST]
    logits = predict_logits(model, test.pixels, config, fabric.device)
    counts = metrics.confusion(logits, test.labels)
    return {
        "best_epoch": state.best_epoch,
        "epochs": len(state.history),
        "seconds_per_epoch": round(statistics.median(e.seconds for e in state.history), 3),
        "validation": {"accuracy": best.val_accuracy, "loss": round(best.val_loss, 6)},
        "test": {
            "accuracy": metrics.accuracy(logits, test.labels),
            "ci95": list(metrics.wilson(int(np.trace(counts)), len(test.labels))),
            "macro_f1": metrics.macro_f1(logits, test.labels),
            "confusion": counts.tolist(),
        },
        "images": {split.value: len(part.labels) for split, part in images.items()},
    }


def _write_run(
    out: Path, manifest: Manifest, model: torch.nn.Module, state: FitState, card: Card
) -> Card:
    weights = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    note = {"cxredge": json.dumps({"network": card.classifier.network})}
    with atomic_file(out / WEIGHTS_NAME) as temporary:
        save_file(weights, temporary, metadata=note)
    write_manifest(out / MANIFEST_NAME, manifest.entries)
    write_text(out / "history.csv", history_csv(state.history))
    write_text(out / "curves.svg", draw_curves(state.history))
    # The checkpoint goes after the card, so that a crash in between leaves a run that can go on.
    finished = write_card(out, card, without=(CHECKPOINT_NAME,))
    (out / CHECKPOINT_NAME).unlink(missing_ok=True)
    return finished
