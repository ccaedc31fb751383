"""``cxredge evaluate``: metrics of a bundle on labelled images."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxredge.cli.answered import answers_lines
from cxredge.cli.command import command
from cxredge.cli.evidence import evidence_lines
from cxredge.cli.options import BundleArgument, ManifestArgument, PatientKeyOption, SplitOption
from cxredge.cli.output import Outcome, Output
from cxredge.cli.text import near_ties, set_lines, share, table
from cxredge.errors import quoted
from cxredge.vocabulary import Split

if TYPE_CHECKING:
    from cxredge.data.manifest import Manifest
    from cxredge.results.evaluation import Evaluation

_MAX_FLIPPED = 20


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
        typer.Option("--out", help="File to write. [default: in BUNDLE/results/]"),
    ] = None,
    patient_key: PatientKeyOption = None,
) -> Outcome:
    """Measure accuracy, calibration, refusals and controls.

    Metrics have 95% confidence intervals. Also lists the images that the bundle classifies
    differently from FP32, by their position in the split, and counts the images and patients that
    the network was trained on. If the manifest has controls, it says first what they are called.
    Results of several manifests are kept side by side; measuring the
    same again replaces the earlier result. No result holds a file name.
    """
    from cxredge.bundle.bundle import open_bundle
    from cxredge.data.manifest import read_manifest
    from cxredge.inference.evaluate import evaluate as stage
    from cxredge.results.evaluation import Evaluation
    from cxredge.results.write import check_out, path_in_bundle, write_result

    check_out(out, bundle, Evaluation)
    opened, listed = open_bundle(bundle), read_manifest(manifest)
    found = stage(opened, listed, split, output, patient_key)
    path = out or path_in_bundle(bundle, found)
    if path.exists():
        output.note(f"Replacing {path}, an earlier result of evaluate.")
    values = write_result(path, found)
    return Outcome(
        {"result": str(path), **values},
        _text(found, path),
        f"cxredge bench {quoted(bundle)} --images {_images(listed, split)}",
    )


def _images(manifest: Manifest, split: Split) -> str:
    """Return the folder that holds all images of a split, for the command line."""
    folders = {entry.path.absolute().parent for entry in manifest.of(split)}
    shared = Path(os.path.commonpath(folders))
    return quoted(shared) if shared != Path(shared.anchor) else "FOLDER"


def _text(found: Evaluation, path: Path) -> str:
    from cxredge.metrics.controls import control_sentences

    rows = [
        [
            name,
            row.images,
            share(row.recall, row.recall_ci95),
            share(row.auroc, row.auroc_ci95),
            share(row.sensitivity, row.sensitivity_ci95),
            share(row.specificity, row.specificity_ci95),
        ]
        for name, row in found.by_class.items()
    ]
    header = ["class", "images", "recall", "AUROC", "sensitivity*", "specificity*"]
    return "\n".join(
        [
            *control_sentences(found.controls),
            *([""] if found.controls else []),
            table(header, rows),
            "* at the operating threshold on the card",
            "",
            f"Accuracy {share(found.accuracy, found.accuracy_ci95)}, macro F1 "
            f"{_fraction(found.macro_f1)}, AUROC {_fraction(found.auroc)}, calibration error "
            f"{_fraction(found.calibration_error)}; {found.images} images of {found.patients} "
            f"patients, {found.precision.value}.",
            *near_ties(found.cascade),
            *answers_lines(found),
            *set_lines(found.coverage),
            *evidence_lines(found),
            *_seen_lines(found),
            *_unknown_lines(found),
            f"Decisions that differ from FP32: {len(found.flipped)}. Accuracy of FP32: "
            f"{share(found.accuracy_fp32)}{_difference(found)}.",
            *_changed(found),
            *(f"Warning: {warning}" for warning in found.warnings),
            f"Wrote {path}",
        ]
    )


def _seen_lines(found: Evaluation) -> list[str]:
    """Return how many of the images and patients the network was trained on."""
    seen = found.seen
    if seen is None:
        return ["Seen in training: not known; the bundle does not list its training images."]
    patients = (
        "patients not compared"
        if seen.patients is None
        else f"{seen.patients} of {found.patients} patients"
    )
    return [f"Seen in training: {seen.images} of {found.images} images, {patients}."]


def _changed(found: Evaluation) -> list[str]:
    """Return a line with the positions of the changed decisions in the split."""
    if not found.flipped:
        return []
    shown = ", ".join(str(flip.index) for flip in found.flipped[:_MAX_FLIPPED])
    more = len(found.flipped) - _MAX_FLIPPED
    rest = f" and {more} more in the result" if more > 0 else ""
    return [f"Their positions in split '{found.split.value}', from 0: {shown}{rest}."]


def _unknown_lines(found: Evaluation) -> list[str]:
    if not found.images_without_patient:
        return []
    return [
        f"The patient of {found.images_without_patient} of {found.images} images is not known; "
        "each counts as a patient of its own."
    ]


def _fraction(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _difference(found: Evaluation) -> str:
    low, high = found.accuracy_difference_fp32_ci95
    if low is None or high is None:
        return ""
    return f" (95% interval of the difference: {100 * low:+.1f} to {100 * high:+.1f} points)"
