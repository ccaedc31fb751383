"""One training run as an artifact: resumable while it runs, complete once its card is there."""

from __future__ import annotations

import csv
import io
import json
import pickle
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from safetensors.torch import save_file

from cxredge import metrics, plots
from cxredge.artifacts import (
    CARD_NAME,
    Card,
    Classifier,
    Kind,
    atomic_file,
    read_card,
    sha256_of_file,
    tool_versions,
    up_to_date,
    write_card,
    write_text,
)
from cxredge.data.images import PREPROCESSING
from cxredge.data.manifest import Manifest, load_pixels, write_manifest
from cxredge.errors import ArtifactError, CxredgeError
from cxredge.models import build_model
from cxredge.models.batch_norm import restore_statistics
from cxredge.models.freeze import freeze_blocks
from cxredge.models.zoo import find_network
from cxredge.progress import Progress
from cxredge.training.config import Hardware, TrainConfig
from cxredge.training.fit import (
    Epoch,
    FitState,
    Images,
    Trainer,
    grey_batches,
    normalise,
    predict_logits,
)
from cxredge.vocabulary import Split

WEIGHTS_NAME = "model.safetensors"
MANIFEST_NAME = "manifest.csv"
_CHECKPOINT_NAME = "checkpoint.pt"
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
    finished = _finished_run(out, planned)
    if finished is not None:
        progress.note(f"{out} is up to date: same images, settings and versions.")
        return finished
    fabric = Fabric(
        accelerator=hardware.accelerator, devices=hardware.devices, precision=hardware.precision
    )
    fabric.launch()
    images = _load_images(manifest, config, progress)
    torch.manual_seed(config.seed)
    model = build_model(config.network, len(manifest.classes), config.weights, config.dropout)
    trainable = freeze_blocks(model, find_network(config.network), config.freeze)
    if config.weights != "none":
        sample = images[Split.TRAIN].pixels[
            :: max(1, len(images[Split.TRAIN].pixels) // _STATISTICS_IMAGES)
        ]
        grey = grey_batches(sample, torch.device("cpu"))
        restore_statistics(model, (normalise(b, config.mean, config.std) for b in grey))
    trainer = Trainer(model, config, fabric, images[Split.TRAIN], images[Split.VAL])
    state = _fit(trainer, planned, out, progress)
    model.load_state_dict(state.best)
    facts = {"trainable": trainable, **_facts(state, images, model, config, fabric)}
    if fabric.global_rank == 0:
        return _write_run(out, manifest, model, state, Card(**{**planned.__dict__, "facts": facts}))
    return planned


def _plan(manifest: Manifest, config: TrainConfig, hardware: Hardware) -> Card:
    network = find_network(config.network)
    if len(manifest.classes) < 2:
        raise CxredgeError(f"{manifest.path} has one class only; a classifier needs two.")
    parents = {"manifest": manifest.sha256}
    if config.weights not in ("none", "imagenet"):
        path = Path(config.weights)
        if not path.is_file():
            raise CxredgeError(f"Weights file {path} does not exist.", "Check --weights.")
        parents["weights"] = sha256_of_file(path)
    # The file's name does not decide the result, its content does.
    weights = "file" if "weights" in parents else config.weights
    settings = {**asdict(config), "weights": weights, "augmentation": config.augmentation.value}
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
        config={**settings, "hardware": asdict(hardware)},
        tools=tool_versions("torch", "torchvision", "timm", "lightning-fabric", "pillow"),
    )


def _finished_run(out: Path, planned: Card) -> Card | None:
    if not (out / CARD_NAME).exists():
        return None
    existing = up_to_date(out, planned)
    if existing is None:
        kind = read_card(out).kind.value
        raise ArtifactError(
            f"{out} already holds a {kind} made from other images, settings or versions.",
            "Choose another --out, or delete that folder.",
        )
    return existing


def _load_images(
    manifest: Manifest, config: TrainConfig, progress: Progress
) -> dict[Split, Images]:
    splits = {split: manifest.of(split) for split in Split}
    total = sum(len(entries) for entries in splits.values())
    with progress.task("Decoding X-rays", total) as advance:
        return {
            split: Images(
                load_pixels(entries, config.input_size, lambda: advance(1)),
                np.array([manifest.classes.index(entry.label) for entry in entries]),
            )
            for split, entries in splits.items()
        }


def _fit(trainer: Trainer, planned: Card, out: Path, progress: Progress) -> FitState:
    """Train, leaving a checkpoint after every epoch, and take up one that is there."""
    checkpoint = out / _CHECKPOINT_NAME
    if checkpoint.exists():
        trainer.resume(_read_checkpoint(checkpoint, planned.stage_key))
        done = len(trainer.state.history)
        progress.note(f"Going on after epoch {done} of {trainer.config.epochs}.")
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ArtifactError(f"{out} exists and is not an unfinished run.", "Choose another --out.")
    steps = len(trainer._loader)
    with _epoch_bar(progress, trainer, steps) as (advance, describe):

        def after_epoch(epoch: Epoch) -> None:
            describe(epoch)
            if trainer.fabric.global_rank == 0:
                with atomic_file(checkpoint) as temporary:
                    torch.save({**trainer.checkpoint(), "stage_key": planned.stage_key}, temporary)

        return trainer.fit(after_epoch, advance)


@contextmanager
def _epoch_bar(progress: Progress, trainer: Trainer, steps: int) -> Iterator[Any]:
    left = trainer.config.epochs - len(trainer.state.history)
    with progress.task(f"Training {trainer.config.network}", left * steps) as advance:

        def describe(epoch: Epoch) -> None:
            progress.note(
                f"epoch {epoch.epoch:3d}  loss {epoch.train_loss:.3f}  validation loss "
                f"{epoch.val_loss:.3f}  accuracy {epoch.val_accuracy:.3f}  {epoch.seconds:.1f} s"
            )

        yield (lambda: advance(1)), describe


def _read_checkpoint(path: Path, stage_key: str) -> dict[str, Any]:
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise ArtifactError(
            f"{path} is damaged: {str(error).splitlines()[0]}", f"Delete {path.parent} and train."
        ) from None
    if checkpoint.get("stage_key") != stage_key:
        raise ArtifactError(
            f"{path.parent} holds an unfinished run of other images, settings or versions.",
            "Choose another --out, or delete that folder.",
        )
    return checkpoint


def _facts(
    state: FitState,
    images: dict[Split, Images],
    model: torch.nn.Module,
    config: TrainConfig,
    fabric: Fabric,
) -> dict[str, Any]:
    best = state.history[state.best_epoch - 1]
    facts: dict[str, Any] = {
        "best_epoch": state.best_epoch,
        "epochs": len(state.history),
        "seconds_per_epoch": round(statistics.median(e.seconds for e in state.history), 3),
        "validation": {"accuracy": best.val_accuracy, "loss": round(best.val_loss, 6)},
    }
    test = images[Split.TEST]
    logits = predict_logits(model, test.pixels, config, fabric.device)
    counts = metrics.confusion(logits, test.labels)
    facts["test"] = {
        "accuracy": metrics.accuracy(logits, test.labels),
        "ci95": list(metrics.wilson(int(np.trace(counts)), len(test.labels))),
        "macro_f1": metrics.macro_f1(logits, test.labels),
        "confusion": counts.tolist(),
    }
    facts["images"] = {split.value: len(part.labels) for split, part in images.items()}
    return facts


def _write_run(
    out: Path, manifest: Manifest, model: torch.nn.Module, state: FitState, card: Card
) -> Card:
    weights = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    note = {"cxredge": json.dumps({"network": card.classifier.network})}
    with atomic_file(out / WEIGHTS_NAME) as temporary:
        save_file(weights, temporary, metadata=note)
    write_manifest(out / MANIFEST_NAME, manifest.entries)
    write_text(out / "history.csv", _history_csv(state))
    write_text(out / "curves.svg", draw_curves(state.history))
    (out / _CHECKPOINT_NAME).unlink(missing_ok=True)
    return write_card(out, card)


def _history_csv(state: FitState) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(Epoch.__dataclass_fields__), lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {k: round(v, 6) if isinstance(v, float) else v for k, v in vars(epoch).items()}
        for epoch in state.history
    )
    return text.getvalue()


def draw_curves(history: list[Epoch]) -> str:
    """Return training and validation loss and validation accuracy by epoch, as SVG."""
    x = [epoch.epoch for epoch in history]
    lines = [
        plots.Line("training loss", x, [epoch.train_loss for epoch in history]),
        plots.Line("validation loss", x, [epoch.val_loss for epoch in history]),
        plots.Line("validation accuracy", x, [epoch.val_accuracy for epoch in history]),
    ]
    top = max(1.0, *(value for line in lines for value in line.y))
    return plots.line_chart(
        "Training", plots.Axis("epoch", 1, max(2, x[-1])), plots.Axis("", 0, top), lines
    )
