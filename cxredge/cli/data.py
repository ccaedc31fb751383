"""``cxredge data``: from folders of X-rays to a manifest."""

from __future__ import annotations

from collections import Counter
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
    from cxredge.data.manifest import Entry, Sample

SplitByOption = Annotated[
    SplitBy, typer.Option("--split", help="Keep patients whole, or split by image as the paper.")
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
            "--balanced", help="full: as many of each class as the smallest has. [default: all]"
        ),
    ] = False,
    sars: Annotated[
        bool, typer.Option("--sars", help="full: keep SARS, 16 images, as a fifth class.")
    ] = False,
) -> Outcome:
    """Draw one of the paper's protocols, CXR A, B or C, or split all images 70/15/15.

    Of an X-ray that is there under several names, one file is used and its patients are joined.
    Writes OUT/manifest.csv with the paper's number of images of each class and split.
    """
    from cxredge.data.cohen import read_cohen
    from cxredge.data.kermany import read_kermany
    from cxredge.data.protocols import draw_full, draw_protocol

    if (balanced or sars) and protocol:
        raise typer.BadParameter(
            "the paper's protocols have fixed counts; use --protocol full.",
            param_hint="--balanced" if balanced else "--sars",
        )
    covid, dropped_covid = read_cohen(cohen)
    pneumonia, dropped_pneumonia = read_kermany(kermany)
    usable, unusable = _check(output, [*covid, *pneumonia])
    usable, copies, joined = _without_copies(output, usable)
    dropped = dropped_covid + dropped_pneumonia + unusable + copies
    if protocol is None:
        entries, left_out = draw_full(usable, split, seed, balanced=balanced, sars=sars)
        return _written(out, entries, dropped + left_out, joined)
    entries = draw_protocol(usable, protocol, split, seed)
    return _written(out, entries, dropped, joined)


def folder(
    output: Output,
    directory: Annotated[
        Path,
        typer.Argument(
            metavar="DIR",
            help="DIR/CLASS/ or DIR/train/CLASS/ with PNG, JPEG, DICOM, folders and zips of them.",
        ),
    ],
    out: OutFolder,
    patient: Annotated[
        str | None,
        typer.Option(
            "--patient",
            help="Regular expression; its first group, searched in the file name without "
            "extension, is the patient. Without it DICOM files tell their patient, of whom a "
            "keyed hash is written, and every other image counts as its own patient.",
        ),
    ] = None,
    patient_key: Annotated[
        Path | None,
        typer.Option(
            "--patient-key",
            help="File with the secret of that hash. [default: one of your own, made once]",
        ),
    ] = None,
    keep_burned_in: Annotated[
        bool,
        typer.Option(
            "--keep-burned-in", help="Keep DICOM whose header says that text is in the picture."
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
    from cxredge.data.folder import has_split_folders, keep_splits, read_folder
    from cxredge.data.protocols import carve_validation, split_fractions
    from cxredge.data.pseudonyms import Pseudonyms

    if min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
        raise typer.BadParameter(f"{fractions} do not add up to 1.", param_hint="--fractions")
    pseudonyms = Pseudonyms(patient_key)
    samples, ignored = read_folder(directory, patient, pseudonyms, keep_burned_in)
    usable, dropped = _check(output, samples)
    if not has_split_folders(directory):
        entries = split_fractions(usable, split, seed, fractions)
    else:
        entries = keep_splits(usable, directory)
        if not any(entry.split.value == "val" for entry in entries):
            entries = carve_validation(entries, split, seed)
    if pseudonyms.used:
        output.note(
            f"Patients are named by a hash with the key in {pseudonyms.key_file}: keep the key, "
            "and keep it from whoever gets the manifest."
        )
    elif patient is None:
        output.note(
            "Every image counts as a patient of its own. If some patients have several images, "
            "say how file names tell them: --patient '^(.+)-[0-9]+$'"
        )
    return _written(out, entries, ignored + dropped)


def phantoms(
    output: Output,
    out: OutFolder,
    patients: Annotated[
        int, typer.Option("--patients", help="Patients of each class.", min=3)
    ] = 40,
    size: Annotated[int, typer.Option("--size", help="Pixels a side.", min=32, max=4096)] = 256,
    seed: SeedOption = 0,
) -> Outcome:
    """Generate chest phantoms of four classes: no patient, no download.

    Writes OUT/images/CLASS/ and OUT/manifest.csv.
    """
    from cxredge.data.folder import read_folder
    from cxredge.data.phantoms import write_phantoms
    from cxredge.data.protocols import split_fractions

    with output.task("Drawing phantoms", None) as advance:
        write_phantoms(out / "images", patients, size, seed, on_image=lambda: advance(1))
    samples, ignored = read_folder(out / "images", PHANTOM_PATIENT)
    usable, dropped = _check(output, samples)
    entries = split_fractions(usable, SplitBy.PATIENT, seed, (0.6, 0.2, 0.2))
    return _written(out, entries, ignored + dropped)


PHANTOM_PATIENT = "^(.+)-[0-9]+$"


def _check(output: Output, samples: list[Sample]) -> tuple[list[Entry], Counter[str]]:
    from cxredge.data.loading import check_samples

    with output.task("Checking images", len(samples)) as advance:
        return check_samples(samples, lambda: advance(1))


def _without_copies(output: Output, usable: list[Entry]) -> tuple[list[Entry], Counter[str], int]:
    from cxredge.data.appearance import hash_images
    from cxredge.data.duplicates import keep_one_of_each

    with output.task("Comparing images", len(usable)) as advance:
        hashes = hash_images(usable, lambda: advance(1))
    kept, joined = keep_one_of_each(usable, hashes)
    return kept, +Counter(near_duplicate=len(usable) - len(kept)), joined


def _written(
    out: Path, entries: list[Entry], dropped: Counter[str], joined: int | None = None
) -> Outcome:
    from cxredge.data.manifest import write_manifest

    manifest = write_manifest(out / "manifest.csv", entries)
    data = {
        "manifest": str(manifest.path),
        "images": len(manifest.entries),
        "counts": manifest.counts(),
        "dropped": dict(sorted(dropped.items())),
        "patients_in_two_splits": manifest.patients_in_two_splits(),
    }
    if joined is not None:
        data["patients_joined"] = joined
    left_out = ", ".join(f"{number} {reason}" for reason, number in sorted(dropped.items()))
    lines = [
        counts_table(manifest.counts()),
        "",
        f"Left out: {left_out or 'nothing'}.",
        f"Patients in two splits: {data['patients_in_two_splits']}.",
        f"Wrote {manifest.path}",
    ]
    if joined:
        lines.insert(3, f"Patients joined, as they share an X-ray: {joined}.")
    return Outcome(data, "\n".join(lines), f"cxredge data audit {quoted(manifest.path)}")
