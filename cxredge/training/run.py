"""Training as an artifact: a run that can be resumed, and is complete once it has a card."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

from cxredge.artifacts.card import (
    CARD_NAME,
    ArtifactKind,
    ClassifierSpec,
    StagePlan,
    read_artifact,
    tool_versions,
)
from cxredge.artifacts.differences import describe_differences
from cxredge.artifacts.exclusive import exclusive
from cxredge.artifacts.hashing import sha256_of_file
from cxredge.artifacts.records import to_json
from cxredge.artifacts.run_card import FreezeCandidate, RunCard, RunFacts
from cxredge.artifacts.run_config import RunConfig, TrainedOn
from cxredge.artifacts.training_images import TrainingImages, read_training_images
from cxredge.data.images import PREPROCESSING
from cxredge.data.manifest import Manifest
from cxredge.data.pseudonyms import patient_key as find_key
from cxredge.data.seen_images import hash_training_images
from cxredge.errors import ArtifactError, CxredgeError
from cxredge.models import build_model
from cxredge.models.xrayvision import require_input_scale
from cxredge.models.zoo import find_network
from cxredge.progress import Progress
from cxredge.training.assembly import Images, assemble, load_images
from cxredge.training.checkpoint import (
    WEIGHTS_NAME,
    finished_run,
    read_checkpoint,
    scratch_folder,
    write_checkpoint,
)
from cxredge.training.config import SEARCH, SearchConfig, TrainConfig, TrainingHardware
from cxredge.training.devices import require_devices
from cxredge.training.fit import Trainer
from cxredge.training.history import Epoch
from cxredge.training.memory import require_memory
from cxredge.training.performance import explain_out_of_memory, keep_freed_memory
from cxredge.training.ranks import Ranks, open_ranks
from cxredge.training.result import run_facts, write_run
from cxredge.training.search import best_of, boundaries, search
from cxredge.training.teacher import read_teacher, require_unseen
from cxredge.training.tracking import Tracking, TrackingConfig, open_tracking
from cxredge.vocabulary import Split


def train(
    manifest: Manifest,
    config: TrainConfig,
    hardware: TrainingHardware,
    out: Path,
    progress: Progress,
    images: Images | None = None,
    patient_key: Path | None = None,
    ranks: Ranks | None = None,
    tracking: TrackingConfig | None = None,
) -> RunCard:
    """Fine-tune a network and write its run, or resume an unfinished run.

    On several devices, every process calls this function; the first one decides and writes.

    Args:
        manifest: Images with train, val and test splits.
        config: Training settings.
        hardware: Devices and precision.
        out: The run's folder: ``model.safetensors``, ``card.json``, ``history.csv``,
            ``curves.svg``, ``training-images.json`` and a copy of the manifest.
        progress: Progress listener.
        images: Decoded images of the manifest; None decodes them.
        patient_key: File with the key of the patients' hashes; None for this user's own.
        ranks: Connected processes of the training; None connects them.
        tracking: Further logs, which the first process writes; None for none. A failure to write
            one is a warning.

    Returns:
        The run's card; that of a finished run of the same inputs is returned without training
        again. Only that of the first process lists the files.

    Raises:
        CxredgeError: ``out`` holds another run, another process is writing it, a split is empty, an
            image cannot be read, the training diverged, the disk is full, or the device ran out of
            memory.
    """
    with nullcontext(ranks) if ranks else open_ranks(hardware) as ranks, _writing(ranks, out):
        return _train(
            ranks, manifest, config, hardware, out, progress, images, patient_key, tracking
        )


@contextmanager
def _writing(ranks: Ranks, out: Path) -> Iterator[None]:
    """Keep other trainings from writing ``out``; the processes of this one write one run."""
    entered = False
    try:
        with exclusive(out) if ranks.is_first else nullcontext():
            entered = True
            ranks.agree()
            yield
    except CxredgeError as error:
        if not entered:
            ranks.agree(error)
        raise


def _train(
    ranks: Ranks,
    manifest: Manifest,
    config: TrainConfig,
    hardware: TrainingHardware,
    out: Path,
    progress: Progress,
    images: Images | None,
    patient_key: Path | None,
    tracking: TrackingConfig | None,
) -> RunCard:
    planned = _agreed_plan(ranks, manifest, config, hardware)
    if (finished := ranks.on_first(lambda: finished_run(out, planned))) is not None:
        progress.note(f"{out} is up to date: same images, settings and versions.")
        if tracking is not None:
            progress.note("Nothing is logged: --logger logs a training while it runs.")
        return finished
    checkpoint = ranks.on_first(lambda: read_checkpoint(out, planned))
    if images is None:
        _check_requirements(ranks, manifest, config, hardware)
    logs = _open_logs(ranks, tracking, out, planned, progress)
    keep_freed_memory()
    if images is None:
        images = load_images(manifest, config.input_size, progress, ranks)
    require_unseen(config.teachers, manifest, images, find_key(patient_key))
    scratch = ranks.on_first(lambda: scratch_folder(out, planned.stage_key))
    freeze, candidates = config.freeze, None
    if freeze == SEARCH:
        candidates = _search(
            ranks, manifest, config, hardware, scratch / "search", progress, images, patient_key
        )
        freeze = best_of(candidates).freeze
    chosen = replace(config, freeze=freeze)
    classes = len(manifest.classes)
    with explain_out_of_memory(config.batch_size):
        features = scratch / "features"
        trainer = assemble(chosen, hardware, classes, images, features, progress, ranks)
        if checkpoint is not None:
            trainer.resume(checkpoint)
            done = len(trainer.state.history)
            progress.note(f"Resuming after epoch {done} of {config.epochs}.")
        _fit(trainer, planned, out, progress, logs)
        trainer.keep_best()
        facts = run_facts(trainer, images, freeze, candidates)
    # Durations differ between the processes.
    facts = ranks.on_first(lambda: facts)
    card = RunCard.of(planned, facts)
    if ranks.is_first:
        seen = _training_images(manifest, images, config, patient_key)
        card = write_run(out, manifest, trainer, card, seen)
        for log in logs:
            log.finish(trainer.state.history, facts)
    return card


def _open_logs(
    ranks: Ranks,
    tracking: TrackingConfig | None,
    out: Path,
    planned: StagePlan[RunConfig],
    progress: Progress,
) -> Sequence[Tracking]:
    """Open the logs in the first process; the others have none."""
    logs: list[Tracking] = []
    if tracking is not None:
        ranks.on_first(lambda: logs.append(open_tracking(tracking, out, planned, progress)))
    return logs


def _agreed_plan(
    ranks: Ranks, manifest: Manifest, config: TrainConfig, hardware: TrainingHardware
) -> StagePlan[RunConfig]:
    """Return the plan of a run, which is the same in all processes.

    Raises:
        CxredgeError: The nodes have different images, weights or versions.
    """
    plans = ranks.together(lambda: plan_run(manifest, config, hardware))
    for rank, plan in enumerate(plans):
        if plan.stage_key != plans[0].stage_key:
            found = describe_differences(to_json(plans[0]), plan)
            raise ranks.common(
                CxredgeError(
                    f"Process {rank} differs from process 0 of the training: {found}.",
                    "Use the same manifest, images, options and versions on all nodes.",
                )
            )
    return plans[0]


def _check_requirements(
    ranks: Ranks, manifest: Manifest, config: TrainConfig, hardware: TrainingHardware
) -> None:
    """Check devices, memory and weights before images are decoded, which can take minutes.

    Raises:
        CxredgeError: A device is missing, the memory is too small, or the weights do not fit or
            cannot be downloaded.
    """

    def check() -> None:
        on_processor = require_devices(hardware)
        sizes = len(manifest.classes), len(manifest.labelled)
        require_memory(config, *sizes, on_processor, hardware)
        # One process per node downloads.
        if config.weights != "none" and ranks.fabric.local_rank == 0:
            build_model(config.network, 0, config.weights)
            if config.weights != "imagenet":
                require_input_scale(Path(config.weights), config.mean, config.std)

    if config.batch_size < ranks.size:
        raise ranks.common(
            CxredgeError(
                f"--batch-size {config.batch_size} is the number of images per step over all "
                f"devices, and there are {ranks.size}.",
                f"Use --batch-size {ranks.size} or more, or fewer devices.",
            )
        )
    ranks.together(check)


def _search(
    ranks: Ranks,
    manifest: Manifest,
    config: TrainConfig,
    hardware: TrainingHardware,
    folder: Path,
    progress: Progress,
    images: Images,
    patient_key: Path | None,
) -> Sequence[FreezeCandidate]:
    """Train from several boundaries, each in a run that a resumed search does not repeat."""
    settings = config.search or SearchConfig()
    trial = replace(config, epochs=settings.epochs, search=None)
    freezes = boundaries(find_network(config.network), settings.points)

    def train_one(freeze: str) -> RunFacts:
        one = replace(trial, freeze=freeze)
        out = folder / freeze
        return train(manifest, one, hardware, out, progress, images, patient_key, ranks).facts

    candidates = search(freezes, train_one, progress)
    progress.note(f"Training with --freeze {best_of(candidates).freeze}.")
    return candidates


def _training_images(
    manifest: Manifest,
    images: Images,
    config: TrainConfig,
    patient_key: Path | None,
) -> TrainingImages:
    """Return the hashes of the images of this run, of its teachers, and of its weights' run."""
    used = {split: (manifest.of(split), images[split].pixels) for split in (Split.TRAIN, Split.VAL)}
    folders = [Path(config.weights).parent] if Path(config.weights).is_file() else []
    folders += [Path(teacher) for teacher in config.teachers]
    earlier = [found for found in map(_earlier_images, folders) if found is not None]
    return hash_training_images(used, find_key(patient_key), earlier)


def _earlier_images(folder: Path) -> TrainingImages | None:
    """Return the training images of a run; None if the folder is not one."""
    if not (folder / CARD_NAME).is_file():
        return None
    try:
        return read_training_images(folder, read_artifact(folder, RunCard).card)
    except ArtifactError:
        return None


def plan_run(
    manifest: Manifest, config: TrainConfig, hardware: TrainingHardware
) -> StagePlan[RunConfig]:
    """Return the inputs, settings and tools of a run.

    Raises:
        CxredgeError: There is one class only, the network is unknown, or the weights file is
            missing.
    """
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
    teachers = [read_teacher(folder, manifest.classes) for folder in config.teachers]
    for number, teacher in enumerate(teachers, 1):
        parents[f"teacher_{number}"] = teacher.card.files[WEIGHTS_NAME]
    # The content of files decides the result, not their names.
    stated = {
        "weights": "file" if "weights" in parents else config.weights,
        "teachers": tuple(teacher.card.classifier.network for teacher in teachers),
    }
    # The cache limit affects the duration only; the card's facts say whether features were cached.
    trained_on = TrainedOn(hardware.accelerator, hardware.devices, hardware.precision)
    return StagePlan(
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
        config=RunConfig(**{**vars(config), **stated}, hardware=trained_on),
        tools=tool_versions("torch", "torchvision", "timm", "lightning-fabric", "pillow"),
    )


def _fit(
    trainer: Trainer,
    planned: StagePlan[RunConfig],
    out: Path,
    progress: Progress,
    logs: Sequence[Tracking],
) -> None:
    """Train, and write a checkpoint after every epoch."""
    left = trainer.config.epochs - len(trainer.state.history)
    with progress.task(f"Training {trainer.config.network}", left * trainer.steps) as advance:

        def after_epoch(epoch: Epoch) -> None:
            progress.note(
                f"epoch {epoch.epoch:3d}  loss {epoch.train_loss:.3f}  validation loss "
                f"{epoch.val_loss:.3f}  accuracy {epoch.val_accuracy:.3f}  {epoch.seconds:.1f} s"
            )
            trainer.ranks.on_first(lambda: write_checkpoint(out, planned, trainer.checkpoint()))
            for log in logs:
                log.epochs(trainer.state.history)

        trainer.fit(after_epoch, lambda: advance(1))
