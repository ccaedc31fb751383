"""One training run as an artifact: resumable while it runs, complete once its card is there."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from cxredge.artifacts.card import ArtifactKind, Card, ClassifierSpec, sha256_of_file, tool_versions
from cxredge.data.images import PREPROCESSING
from cxredge.data.manifest import Manifest
from cxredge.errors import CxredgeError
from cxredge.models.zoo import find_network
from cxredge.progress import Progress
from cxredge.training.assembly import Images, assemble, load_images
from cxredge.training.checkpoint import (
    finished_run,
    read_checkpoint,
    scratch_folder,
    write_checkpoint,
)
from cxredge.training.config import SEARCH, Hardware, Search, TrainConfig
from cxredge.training.fit import Trainer
from cxredge.training.history import Epoch
from cxredge.training.memory import enough_memory, keep_freed_memory
from cxredge.training.result import run_facts, write_run
from cxredge.training.search import Candidate, best_of, boundaries, search


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
        CxredgeError: ``out`` holds another run, a split is empty, an image cannot be read, the
            training diverged, or the device's memory is too small.
    """
    planned = _plan(manifest, config, hardware)
    if (finished := finished_run(out, planned)) is not None:
        progress.note(f"{out} is up to date: same images, settings and versions.")
        return finished
    checkpoint = read_checkpoint(out, planned.stage_key)
    keep_freed_memory()
    images = images or load_images(manifest, config.input_size, progress)
    scratch = scratch_folder(out, planned.stage_key)
    found: dict[str, Any] = {"freeze": config.freeze}
    if config.freeze == SEARCH:
        tried = _search(manifest, config, hardware, scratch / "search", progress, images)
        found = {"freeze": best_of(tried).freeze, "search": [asdict(trial) for trial in tried]}
    chosen = replace(config, freeze=found["freeze"])
    classes = len(manifest.classes)
    with enough_memory(config.batch_size):
        trainer = assemble(chosen, hardware, classes, images, scratch / "features", progress)
        if checkpoint is not None:
            trainer.resume(checkpoint)
            done = len(trainer.state.history)
            progress.note(f"Going on after epoch {done} of {config.epochs}.")
        _fit(trainer, planned, out, progress)
        trainer.keep_best()
        card = replace(planned, facts={**found, **run_facts(trainer, images)})
    if trainer.fabric.global_rank == 0:
        card = write_run(out, manifest, trainer, card)
    return card


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
        kind=ArtifactKind.RUN,
        classifier=ClassifierSpec(
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


def _fit(trainer: Trainer, planned: Card, out: Path, progress: Progress) -> None:
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

        trainer.fit(after_epoch, lambda: advance(1))
