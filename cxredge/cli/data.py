"""``cxredge data``: from folders of X-rays to a manifest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxredge.cli.audit import audit
from cxredge.cli.command import command
from cxredge.cli.options import OutFolder, ProtocolOption, SeedOption
from cxredge.cli.output import Outcome, Output
from cxredge.cli.text import counts_table
from cxredge.errors import quoted
from cxredge.vocabulary import SplitBy

if TYPE_CHECKING:
    from cxredge.data.prepare import PreparedSet

SplitByOption = Annotated[
    SplitBy,
    typer.Option("--split", help="Keep patients whole, or split by image as in the paper."),
]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    data = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    app.add_typer(data, name="data", help="Make, generate and audit image lists.")
    command(data, "prepare")(prepare)
    command(data, "folder")(folder)
    command(data, "phantoms")(phantoms)
    command(data, "audit")(audit)


def prepare(
    output: Output,
    protocol: ProtocolOption,
    cohen: Annotated[Path, typer.Option("--cohen", help="Cohen's set: metadata.csv, images/.")],
    kermany: Annotated[Path, typer.Option("--kermany", help="Kermany's set: train/, test/.")],
    out: OutFolder,
    split: SplitByOption = SplitBy.PATIENT,
    seed: SeedOption = 0,
    balanced: Annotated[
        bool,
        typer.Option(
            "--balanced",
            help="full: as many images of each class as the smallest has. [default: all]",
        ),
    ] = False,
    sars: Annotated[
        bool, typer.Option("--sars", help="full: keep SARS, 16 images, as a fifth class.")
    ] = False,
) -> Outcome:
    """Draw one of the paper's protocols, CXR A, B or C, or split all images 70/15/15.

    Of an X-ray that exists in several files, one is used, and its patients are joined. Writes
    OUT/manifest.csv with the paper's number of images per class and split.
    """
    from cxredge.data.prepare import ProtocolOptions, prepare_protocol

    if (balanced or sars) and protocol:
        raise typer.BadParameter(
            "the paper's protocols have fixed counts; use --protocol full.",
            param_hint="--balanced" if balanced else "--sars",
        )
    options = ProtocolOptions(protocol, split, seed, balanced, sars)
    prepared = prepare_protocol(cohen, kermany, out, options, output)
    return _outcome(prepared, prepared.patients_joined)


def folder(
    output: Output,
    directory: Annotated[
        Path,
        typer.Argument(
            metavar="DIR",
            help="DIR/CLASS/ or DIR/train/CLASS/ with PNG, JPEG or DICOM files, also in "
            "subfolders and zip archives.",
        ),
    ],
    out: OutFolder,
    patient: Annotated[
        str | None,
        typer.Option(
            "--patient",
            help="Regular expression; its first group, searched in the file name without "
            "extension, is the patient. Without it, the patient of a DICOM file is a keyed hash "
            "of its PatientID, and every other image counts as a separate patient.",
        ),
    ] = None,
    patient_key: Annotated[
        Path | None,
        typer.Option(
            "--patient-key",
            help="File with the key of that hash. [default: this user's key, created once]",
        ),
    ] = None,
    keep_burned_in: Annotated[
        bool,
        typer.Option(
            "--keep-burned-in", help="Keep DICOM files whose header reports burned-in text."
        ),
    ] = False,
    split: SplitByOption = SplitBy.PATIENT,
    fractions: Annotated[
        tuple[float, float, float],
        typer.Option("--fractions", help="Shares of train, val and test; they add up to 1."),
    ] = (0.7, 0.15, 0.15),
    seed: SeedOption = 0,
) -> Outcome:
    """List any set with one folder per class and split it."""
    from cxredge.data.prepare import FolderOptions, prepare_folder

    if min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
        raise typer.BadParameter(f"{fractions} do not add up to 1.", param_hint="--fractions")
    options = FolderOptions(patient, patient_key, keep_burned_in, split, fractions, seed)
    return _outcome(prepare_folder(directory, out, options, output))


def phantoms(
    output: Output,
    out: OutFolder,
    patients: Annotated[
        int, typer.Option("--patients", help="Number of patients per class.", min=3)
    ] = 40,
    size: Annotated[
        int, typer.Option("--size", help="Height and width in pixels.", min=32, max=4096)
    ] = 256,
    seed: SeedOption = 0,
) -> Outcome:
    """Generate chest phantoms of four classes: no patient, no download.

    Writes OUT/images/CLASS/ and OUT/manifest.csv.
    """
    from cxredge.data.prepare import prepare_phantoms

    return _outcome(prepare_phantoms(out, patients, size, seed, output))


def _outcome(prepared: PreparedSet, patients_joined: int = 0) -> Outcome:
    from cxredge.artifacts.records import to_json

    dropped = ", ".join(f"{number} {reason}" for reason, number in prepared.dropped.items())
    lines = [counts_table(prepared.counts), "", f"Left out: {dropped or 'nothing'}."]
    if patients_joined:
        lines.append(f"Patients joined because they share an X-ray: {patients_joined}.")
    lines += [
        f"Patients in two splits: {prepared.patients_in_two_splits}.",
        f"Wrote {prepared.manifest}",
    ]
    next_step = f"cxredge data audit {quoted(prepared.manifest)}"
    return Outcome(to_json(prepared), "\n".join(lines), next_step)
