"""``cxredge train``: fine-tune a network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxredge.cli.command import command
from cxredge.cli.hardware_options import HardwareOptions
from cxredge.cli.log_options import LogOptions
from cxredge.cli.options import ManifestArgument, PatientKeyOption, SeedOption
from cxredge.cli.output import Outcome, Output
from cxredge.cli.processes import run_as_rank, run_in_processes
from cxredge.cli.text import share, table
from cxredge.cli.train_options import (
    FeatureOptions,
    FitOptions,
    InputOptions,
    SearchOptions,
    StartOptions,
)
from cxredge.errors import CxredgeError, quoted
from cxredge.progress import Progress, Silent
from cxredge.training.recipes import RECIPES, override
from cxredge.vocabulary import RecipeName

if TYPE_CHECKING:
    from cxredge.artifacts.run_card import FreezeCandidate, RunFacts
    from cxredge.data.manifest import Manifest
    from cxredge.training.config import TrainConfig, TrainingHardware
    from cxredge.training.ranks import Ranks
    from cxredge.training.tracking import TrackingConfig


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(app, "train")(train)


def train(
    output: Output,
    *,
    manifest: ManifestArgument,
    out: Annotated[
        Path, typer.Option("--out", help="Folder of the run; an unfinished run is resumed.")
    ],
    recipe: Annotated[
        RecipeName,
        typer.Option("--recipe", help="Preset of the options that state a default for each."),
    ] = RecipeName.PAPER,
    start: StartOptions,
    fit: FitOptions,
    features: FeatureOptions,
    search: SearchOptions,
    seed: SeedOption = 0,
    scaling: InputOptions,
    hardware: HardwareOptions,
    logs: LogOptions,
    patient_key: PatientKeyOption = None,
) -> Outcome:
    """Fine-tune a network by block freezing and keep the best epoch.

    A recipe is a preset of the options; options given override it (docs/training.md).
    Keeps the epoch with the best validation result. Frozen blocks are computed once per view of an
    image; only the rest is trained. After an interruption, the same command resumes after the last
    finished epoch. --devices N trains on several devices of this machine; for several machines,
    torchrun starts the command on each (docs/scale.md). The result does not depend on their number,
    except for rounding.
    """
    from cxredge.data.manifest import read_manifest
    from cxredge.models.zoo import find_network, first_trained_block
    from cxredge.training.launch import find_launched

    def prepare() -> tuple[Manifest, TrainConfig]:
        network = find_network(start.model)
        chosen = override(RECIPES[recipe], start, fit, features)
        if fit.balance_by is not None and not fit.balance:
            raise CxredgeError(
                f"--balance-by {fit.balance_by.value} states what --balance weights equally, and "
                "--no-balance weights nothing.",
                "Leave out one of them.",
            )
        if chosen.freeze != "search":
            first_trained_block(network, chosen.freeze)
        listed = read_manifest(manifest)

        from cxredge.training.config import TrainConfig

        config = TrainConfig(
            network=network.name,
            weights=start.weights,
            **start.teachers(),
            **vars(chosen),
            **{name: value for name, value in vars(fit).items() if not hasattr(chosen, name)},
            seed=seed,
            **scaling.resolved(network, start.weights),
            views=features.resolved_views,
            features=features.features,
            search=search.search(chosen.freeze),
        )
        return listed, config

    def run_in(ranks: Ranks) -> Outcome:
        found: list[tuple[Manifest, TrainConfig]] = []
        ranks.together(lambda: found.append(prepare()))
        listener = output if ranks.is_first else Silent()
        return _train(listener, *found[0], on, out, patient_key, tracking, ranks)

    tracking = logs.tracking()
    launched = find_launched()
    on = hardware.hardware(features.cache_limit_gb, launched)
    if on.devices == 1:
        return _train(output, *prepare(), on, out, patient_key, tracking)
    if launched is not None:
        return run_as_rank(output, on, run_in)
    prepare()
    run_in_processes(output, on.devices)
    raise typer.Exit


def _train(
    progress: Progress,
    manifest: Manifest,
    config: TrainConfig,
    hardware: TrainingHardware,
    out: Path,
    patient_key: Path | None,
    tracking: TrackingConfig | None,
    ranks: Ranks | None = None,
) -> Outcome:
    from cxredge.artifacts.records import to_json
    from cxredge.data.set_warnings import split_warnings
    from cxredge.training.run import train as run

    warnings = split_warnings(manifest)
    for warning in warnings:
        progress.note(f"Warning: {warning}")
    card = run(
        manifest,
        config,
        hardware,
        out,
        progress,
        patient_key=patient_key,
        ranks=ranks,
        tracking=tracking,
    )
    classes = card.classifier.classes
    data = {"run": str(out), "classes": list(classes), "warnings": warnings, **to_json(card.facts)}
    text = _text(out, classes, card.facts)
    return Outcome(data, text, f"cxredge build {quoted(out)} --target here --out BUNDLE")


def _text(out: Path, names: Sequence[str], facts: RunFacts) -> str:
    test = facts.test
    rows = [[name, *row] for name, row in zip(names, test.confusion, strict=True)]
    return "\n".join(
        [
            *_search_lines(facts.search or ()),
            f"Best epoch {facts.best_epoch} of {facts.epochs}, "
            f"{facts.seconds_per_epoch:.1f} s per epoch; validation accuracy "
            f"{share(facts.validation.accuracy)}.",
            f"Test accuracy {share(test.accuracy, test.ci95)}, macro F1 {test.macro_f1:.3f}.",
            table(["true \\ predicted", *names], rows),
            f"Wrote {out}",
        ]
    )


def _search_lines(candidates: Sequence[FreezeCandidate]) -> list[str]:
    rows = [
        [
            candidate.freeze,
            candidate.trainable,
            candidate.epochs,
            round(candidate.seconds, 1),
            share(candidate.accuracy),
            round(candidate.loss, 3),
        ]
        for candidate in candidates
    ]
    header = ["--freeze", "trainable", "epochs", "seconds", "validation accuracy", "loss"]
    return [table(header, rows), ""] if candidates else []
