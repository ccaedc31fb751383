"""``cxredge evaluate``: how right a bundle is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cxredge.cli.command import command
from cxredge.cli.options import BundleArgument, ManifestArgument, SplitOption
from cxredge.cli.output import Outcome, Output, finite
from cxredge.cli.text import near_ties, share, table
from cxredge.errors import quoted
from cxredge.vocabulary import Split


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(app, "evaluate")(evaluate)


def evaluate(
    output: Output,
    bundle: BundleArgument,
    manifest: ManifestArgument,
    split: SplitOption = Split.TEST,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Where to keep the result. [default: BUNDLE/results/]"),
    ] = None,
) -> Outcome:
    """Measure accuracy, AUROC, sensitivity and calibration with 95% intervals.

    Also lists the images on which the engine decides otherwise than FP32.
    """
    from cxredge.artifacts.card import write_json
    from cxredge.bundle.bundle import open_bundle
    from cxredge.data.manifest import read_manifest
    from cxredge.inference.evaluate import evaluate as stage

    found = stage(open_bundle(bundle), read_manifest(manifest), split, output)
    path = out or bundle / "results" / f"evaluate-{split.value}-{found['precision']}.json"
    write_json(path, finite(found))
    return Outcome(
        {"result": str(path), **found},
        _text(found, path),
        f"cxredge bench {quoted(bundle)} --images FOLDER",
    )


def _text(found: dict[str, Any], path: Path) -> str:
    rows = [
        [
            name,
            row["images"],
            share(row["recall"], row["recall_ci95"]),
            share(row["auroc"], row["auroc_ci95"]),
            share(row["sensitivity"], row["sensitivity_ci95"]),
            share(row["specificity"], row["specificity_ci95"]),
        ]
        for name, row in found["by_class"].items()
    ]
    low, high = found["accuracy_difference_fp32_ci95"]
    header = ["class", "images", "recall", "AUROC", "sensitivity*", "specificity*"]
    return "\n".join(
        [
            table(header, rows),
            "* at the operating threshold on the card",
            "",
            f"Accuracy {share(found['accuracy'], found['accuracy_ci95'])}, macro F1 "
            f"{found['macro_f1']:.3f}, AUROC {found['auroc']:.3f}, calibration error "
            f"{found['calibration_error']:.3f}; {found['images']} images of "
            f"{found['patients']} patients, {found['precision']}.",
            *near_ties(found["cascade"]),
            f"Decisions that differ from FP32's: {len(found['flipped'])}. FP32's accuracy is "
            f"{share(found['accuracy_fp32'])} (the difference is {100 * low:+.1f} to "
            f"{100 * high:+.1f} points with 95%).",
            *(f"Warning: {warning}" for warning in found["warnings"]),
            f"Wrote {path}",
        ]
    )
