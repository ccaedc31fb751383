"""``cxredge data``: from folders of X-rays to a manifest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxredge.cli.audit import audit
from cxredge.cli.command import command
from cxredge.cli.options import OutFolder, PatientKeyOption, ProtocolOption, SeedOption
from cxredge.cli.output import Outcome, Output
from cxredge.cli.text import counts_table
from cxredge.errors import quoted
from cxredge.vocabulary import SplitBy

if TYPE_CHECKING:
    from cxredge.data.prepare import PreparedSet

SplitByOption = Annotated[
    SplitBy,
    typer.Option("--split", help="Unit of splitting: patient, or image as in the paper."),
]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    data = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    app.add_typer(data, name="data", help="Prepare, generate and audit data sets.")
    command(data, "prepare")(prepare)
    command(data, "folder")(folder)
    command(data, "phantoms")(phantoms)
    command(data, "audit")(audit)


def prepare(
    output: Output,
    protocol: ProtocolOption,
    cohen: Annotated[
        Path, typer.Option("--cohen", help="Cohen's set, with metadata.csv and images/.")
    ],
    kermany: Annotated[
        Path, typer.Option("--kermany", help="Kermany's set, with train/ and test/.")
    ],
    out: OutFolder,
    split: SplitByOption = SplitBy.PATIENT,
    seed: SeedOption = 0,
    balanced: Annotated[
        bool,
        typer.Option(
            "--balanced",
            help="Protocol full: reduce each class to the size of the smallest.",
        ),
    ] = False,
    sars: Annotated[
        bool, typer.Option("--sars", help="Protocol full: keep SARS (16 images) as a fifth class.")
    ] = False,
) -> Outcome:
    """Draw one of the paper's data sets, or split all images.

    The protocols cxr-a, cxr-b and cxr-c have the paper's number of images per class and split; full
    splits all images 70/15/15. If an X-ray exists in several files, only one is used, and its
    patients are joined. Writes OUT/manifest.csv.
    """
    from cxredge.artifacts.exclusive import exclusive
    from cxredge.data.prepare import ProtocolOptions, prepare_protocol

    if (balanced or sars) and protocol:
        raise typer.BadParameter(
            "the paper's protocols have fixed counts; use --protocol full.",
            param_hint="--balanced" if balanced else "--sars",
        )
    options = ProtocolOptions(protocol, split, seed, balanced, sars)
    with exclusive(out):
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
            help="Regular expression, searched in the file name without extension; its first group "
            "is the patient. [default: a keyed hash of the PatientID for DICOM files, a separate "
            "patient for every other image]",
        ),
    ] = None,
    patient_key: PatientKeyOption = None,
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
    """List and split a data set with one folder per class."""
    from cxredge.artifacts.exclusive import exclusive
    from cxredge.data.prepare import FolderOptions, prepare_folder

    if min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
        raise typer.BadParameter(f"{fractions} do not add up to 1.", param_hint="--fractions")
    options = FolderOptions(patient, patient_key, keep_burned_in, split, fractions, seed)
    with exclusive(out):
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
    """Generate chest phantoms of four classes, without patient data.

    Writes OUT/images/CLASS/ and OUT/manifest.csv.
    """
    from cxredge.artifacts.exclusive import exclusive
    from cxredge.data.prepare import prepare_phantoms

    with exclusive(out):
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
    if prepared.new_key:
        lines.append(f"Wrote a new secret key for the hashes of patients: {prepared.new_key}")
    next_step = f"cxredge data audit {quoted(prepared.manifest)}"
    return Outcome(to_json(prepared), "\n".join(lines), next_step)
