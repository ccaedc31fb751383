"""``cxredge train``: fine-tune a network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxredge.cli.command import command
from cxredge.cli.options import ManifestArgument, SeedOption
from cxredge.cli.output import Outcome, Output
from cxredge.cli.text import share, table
from cxredge.errors import quoted
from cxredge.vocabulary import Augmentation, FeatureCache, TrainingPrecision

if TYPE_CHECKING:
    from cxredge.training.records import FreezeCandidate, RunFacts


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(app, "train")(train)


def train(
    output: Output,
    manifest: ManifestArgument,
    out: Annotated[Path, typer.Option("--out", help="The run's folder; unfinished, it goes on.")],
    model: Annotated[str, typer.Option("--model", help="See: cxredge models.")] = "mobilenet_v1",
    weights: Annotated[
        str,
        typer.Option(
            "--weights",
            help="imagenet (downloads), none, a .safetensors or .pth file, or Keras' .h5.",
        ),
    ] = "imagenet",
    freeze: Annotated[
        str,
        typer.Option(
            "--freeze",
            help="paper, none, head, search (tries block boundaries), or the first block to train "
            "(cxredge models).",
        ),
    ] = "paper",
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Most epochs.")] = 20,
    patience: Annotated[
        int, typer.Option("--patience", min=1, help="Epochs without improvement before stopping.")
    ] = 10,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Images a step.")] = 32,
    learning_rate: Annotated[
        float, typer.Option("--learning-rate", min=0, help="Peak rate, for the head.")
    ] = 1e-3,
    backbone_rate: Annotated[
        float,
        typer.Option("--backbone-rate", min=0, help="The backbone's rate, as a share of it."),
    ] = 0.3,
    weight_decay: Annotated[
        float, typer.Option("--weight-decay", min=0, help="AdamW's weight decay.")
    ] = 0.05,
    label_smoothing: Annotated[
        float, typer.Option("--label-smoothing", min=0, max=0.9, help="Share spread over classes.")
    ] = 0.1,
    dropout: Annotated[
        float, typer.Option("--dropout", min=0, max=0.9, help="Features dropped before the head.")
    ] = 0.2,
    average_decay: Annotated[
        float,
        typer.Option(
            "--average-decay", min=0, max=0.9999, help="Moving average of weights; 0 for none."
        ),
    ] = 0.9,
    augment: Annotated[
        Augmentation, typer.Option("--augment", help="How far training images are varied.")
    ] = Augmentation.LIGHT,
    views: Annotated[
        int | None,
        typer.Option(
            "--views",
            min=0,
            help="Varied views of each image, used in turn; 0 draws a fresh one every epoch, "
            "which rules out --features. [default: 8 with --features, else 0]",
        ),
    ] = None,
    features: Annotated[
        FeatureCache,
        typer.Option(
            "--features", help="How features of frozen blocks are kept, so that they run once."
        ),
    ] = FeatureCache.OFF,
    cache_limit_gb: Annotated[
        float, typer.Option("--cache-limit-gb", min=0, help="Most disk for these features.")
    ] = 20.0,
    search_points: Annotated[
        int,
        typer.Option(
            "--search-points", min=0, help="Boundaries that a search tries, next to head and none."
        ),
    ] = 6,
    search_epochs: Annotated[
        int, typer.Option("--search-epochs", min=1, help="Most epochs of each of its trials.")
    ] = 10,
    balance: Annotated[
        bool, typer.Option("--balance/--no-balance", help="Let every class count the same.")
    ] = True,
    seed: SeedOption = 0,
    input_size: Annotated[
        int | None,
        typer.Option("--input-size", min=32, help="Pixels a side. [default: the model's]"),
    ] = None,
    mean: Annotated[
        float | None,
        typer.Option("--mean", help="Mean grey value in [0, 1] that the weights expect."),
    ] = None,
    std: Annotated[
        float | None,
        typer.Option(
            "--std",
            help="Standard deviation that they expect. [default: 0.5 and 0.5 "
            "for files, the hub's own for imagenet]",
        ),
    ] = None,
    accelerator: Annotated[
        str, typer.Option("--accelerator", help="auto, cpu, cuda or mps.")
    ] = "auto",
    devices: Annotated[int, typer.Option("--devices", min=1, help="Number of devices.")] = 1,
    precision: Annotated[
        TrainingPrecision, typer.Option("--precision", help="Number format while training.")
    ] = TrainingPrecision.FP32,
) -> Outcome:
    """Fine-tune a network by block freezing and keep the best validation epoch.

    Blocks that are frozen are computed once for each view of an image, and only the rest is
    trained on what they returned. Interrupted, it goes on after the last finished epoch when
    called again.
    """
    from cxredge.data.manifest import read_manifest
    from cxredge.models.zoo import find_network, first_trained_block

    network = find_network(model)
    if freeze != "search":
        first_trained_block(network, freeze)
    listed = read_manifest(manifest)
    hub = weights == "imagenet"

    from cxredge.training.config import SearchConfig, TrainConfig, TrainingHardware
    from cxredge.training.run import train as run

    config = TrainConfig(
        network=network.name,
        weights=weights,
        freeze=freeze,
        epochs=epochs,
        patience=patience,
        batch_size=batch_size,
        learning_rate=learning_rate,
        backbone_rate=backbone_rate,
        weight_decay=weight_decay,
        label_smoothing=label_smoothing,
        dropout=dropout,
        average_decay=average_decay,
        augmentation=augment,
        balance=balance,
        seed=seed,
        input_size=input_size or network.input_size,
        mean=mean if mean is not None else network.hub_mean if hub else 0.5,
        std=std if std is not None else network.hub_std if hub else 0.5,
        views=views if views is not None else 0 if features is FeatureCache.OFF else 8,
        features=features,
        search=SearchConfig(search_points, search_epochs) if freeze == "search" else None,
    )
    hardware = TrainingHardware(accelerator, devices, precision, cache_limit_gb)
    result = run(listed, config, hardware, out, output)
    classes = result.card.classifier.classes
    data = {"run": str(out), "classes": list(classes), **result.facts.to_json()}
    text = _text(out, classes, result.facts)
    return Outcome(data, text, f"cxredge export {quoted(out)} --out MODEL")


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
