"""``cxredge data``: from folders of X-rays to a manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxredge.cli.audit import audit
from cxredge.cli.command import command
from cxredge.cli.options import OutFolder, PatientKeyOption, ProtocolOption, SeedOption
from cxredge.cli.output import Outcome, Output
from cxredge.cli.text import controls_line, counts_table
from cxredge.errors import quoted
from cxredge.vocabulary import CLASS_SPLITS, ProtocolName, Split, SplitBy

if TYPE_CHECKING:
    from cxredge.data.patients import PatientRule
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
    kermany: Annotated[
        Path, typer.Option("--kermany", help="Kermany's set, with train/ and test/.")
    ],
    out: OutFolder,
    cohen: Annotated[
        Path | None,
        typer.Option(
            "--cohen",
            help="Cohen's set, with metadata.csv and images/; protocol kermany takes none.",
        ),
    ] = None,
    adults: Annotated[
        Path | None,
        typer.Option(
            "--adults",
            help="X-rays of adults, with metadata.csv (filename, patientid, finding) and images/; "
            "they become controls. Protocol cxr-d requires them: those without a finding become "
            "normal.",
        ),
    ] = None,
    other_share: Annotated[
        float,
        typer.Option(
            "--other-share",
            min=0,
            max=0.9,
            help="Protocol cxr-d: share of the patients with adult pneumonia or Cohen's other "
            "findings who are trained on as the class 'other'; the rest stay controls.",
        ),
    ] = 0.0,
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
    splits all images 70/15/15. cxr-d is cxr-b with adults without a finding in normal, so that not
    every adult has COVID-19. kermany keeps the official test folder; a fifth of the training
    patients validates. If an X-ray exists in several files, only one is used, and its
    patients are joined. Cohen's other pictures become controls: frontal X-rays with another
    finding, laterals and CT slices of patients who are in neither train nor val. Writes
    OUT/manifest.csv, and OUT/left_out.csv with reasons.
    """
    from cxredge.artifacts.exclusive import exclusive
    from cxredge.data.protocol_sets import ProtocolOptions, prepare_kermany, prepare_protocol

    _check_protocol(protocol, cohen, adults, other_share, split)
    if (balanced or sars) and protocol:
        raise typer.BadParameter(
            "the protocols have fixed counts; use --protocol full.",
            param_hint="--balanced" if balanced else "--sars",
        )
    options = ProtocolOptions(protocol, split, seed, balanced, sars, adults, other_share)
    with exclusive(out):
        prepared = (
            prepare_protocol(cohen, kermany, out, options, output)
            if cohen
            else prepare_kermany(kermany, out, options, output)
        )
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
            "is the patient. DICOM files that it does not match have the patient of their header. "
            "[default: a keyed hash of the PatientID for DICOM files, a separate patient for every "
            "other image]",
        ),
    ] = None,
    patient_from: Annotated[
        str,
        typer.Option(
            "--patient-from",
            metavar="<header|name|folder|csv:FILE|image>",
            help="Source of patients. header: PatientID of DICOM files. name: --patient, or the "
            "file name up to its last number. folder: the folder below the class. csv:FILE: a "
            "table with the columns path and patient. image: every image is a separate patient. "
            "--patient names those that a folder or table does not.",
        ),
    ] = "header",
    patient_key: PatientKeyOption = None,
    keep_burned_in: Annotated[
        bool,
        typer.Option(
            "--keep-burned-in", help="Keep DICOM files whose header reports burned-in text."
        ),
    ] = False,
    split_folder: Annotated[
        list[str] | None,
        typer.Option(
            "--split-folder",
            metavar="NAME=SPLIT",
            help="Split of a folder of DIR with another name than train, val or test, such as "
            "dev=val. Can be repeated.",
        ),
    ] = None,
    controls: Annotated[
        Path | None,
        typer.Option(
            "--controls",
            metavar="DIR",
            help="X-rays of the same source that show none of the classes, such as other findings "
            "and laterals: a folder for each kind. No network is trained on them; evaluate and "
            "build count how many are called a class.",
        ),
    ] = None,
    split: SplitByOption = SplitBy.PATIENT,
    fractions: Annotated[
        tuple[float, float, float],
        typer.Option("--fractions", help="Shares of train, val and test; they add up to 1."),
    ] = (0.7, 0.15, 0.15),
    seed: SeedOption = 0,
) -> Outcome:
    """List and split a data set with one folder per class.

    Splits are kept: DIR/train/CLASS/ or DIR/CLASS/train/, named train, training, val, valid,
    validation, test or testing in upper or lower case. Writes OUT/manifest.csv, and
    OUT/left_out.csv with the reason for every image that is not used.
    """
    from cxredge.artifacts.exclusive import exclusive
    from cxredge.data.folder import FolderRules
    from cxredge.data.prepare import FolderOptions, prepare_folder

    if min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
        raise typer.BadParameter(f"{fractions} do not add up to 1.", param_hint="--fractions")
    rules = FolderRules(
        _patient_rule(patient, patient_from), keep_burned_in, _split_folders(split_folder or [])
    )
    options = FolderOptions(rules, patient_key, split, fractions, seed, controls)
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
    controls: Annotated[
        bool,
        typer.Option(
            "--controls",
            help="Generate controls too: other findings, laterals and another body part.",
        ),
    ] = False,
) -> Outcome:
    """Generate chest phantoms of four classes, without patient data.

    Writes OUT/images/CLASS/, OUT/controls/KIND/ if requested, OUT/manifest.csv and
    OUT/left_out.csv.
    """
    from cxredge.artifacts.exclusive import exclusive
    from cxredge.data.prepare import prepare_phantoms

    with exclusive(out):
        return _outcome(prepare_phantoms(out, patients, size, seed, output, controls))


def _check_protocol(
    protocol: ProtocolName | None,
    cohen: Path | None,
    adults: Path | None,
    other_share: float,
    split: SplitBy,
) -> None:
    """Refuse options that a protocol requires, or does not use."""
    is_kermany, is_extended = (
        protocol is ProtocolName.KERMANY,
        protocol is ProtocolName.CXR_D,
    )
    by_image = split is SplitBy.IMAGE
    for wrong, option, problem in (
        (cohen is None and not is_kermany, "--cohen", "give the folder of Cohen's set."),
        (cohen is not None and is_kermany, "--cohen", "protocol kermany does not use it."),
        (adults is None and is_extended, "--adults", "cxr-d requires X-rays of adults."),
        (other_share and not is_extended, "--other-share", "only protocol cxr-d has it."),
        (by_image and (is_extended or is_kermany), "--split", "this protocol splits by patient."),
    ):
        if wrong:
            raise typer.BadParameter(problem, param_hint=option)


def _outcome(prepared: PreparedSet, patients_joined: int = 0) -> Outcome:
    from cxredge.artifacts.records import to_json
    from cxredge.data.protocol_sets import ProtocolSet

    dropped = ", ".join(f"{number} {reason}" for reason, number in prepared.dropped.items())
    lines = [
        counts_table(prepared.counts),
        "",
        *_sources_line(prepared.sources),
        *controls_line(prepared.controls),
    ]
    lines.append(f"Left out: {dropped or 'nothing'}.")
    if isinstance(prepared, ProtocolSet) and prepared.not_drawn:
        lines.append(f"Usable images that the protocol does not use: {prepared.not_drawn}.")
    if patients_joined:
        lines.append(f"Patients joined because they share an X-ray: {patients_joined}.")
    lines += [
        _patients_line(prepared),
        *(f"Warning: {warning}" for warning in prepared.warnings),
        f"Wrote {prepared.manifest} and {prepared.left_out}",
    ]
    if prepared.new_key:
        lines.append(f"Wrote a new secret key for the hashes of patients: {prepared.new_key}")
    next_step = f"cxredge data audit {quoted(prepared.manifest)}"
    return Outcome(to_json(prepared), "\n".join(lines), next_step)


def _sources_line(sources: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Return a line with the images by class and source; no line if there is one source."""
    if len({source for found in sources.values() for source in found}) < 2:
        return []
    by_class = (
        f"{label} {', '.join(f'{number} {source}' for source, number in found.items())}"
        for label, found in sources.items()
    )
    return [f"Sources: {'; '.join(by_class)}."]


def _patients_line(prepared: PreparedSet) -> str:
    found = f"Patients in two splits: {prepared.patients_in_two_splits}"
    if not prepared.images_without_patient:
        return f"{found}."
    return (
        f"{found} of those that are known; unknown for {prepared.images_without_patient} of "
        f"{prepared.images} images."
    )


def _patient_rule(pattern: str | None, source: str) -> PatientRule:
    """Return where the names of patients come from."""
    from cxredge.data.patients import PatientRule
    from cxredge.vocabulary import PatientFrom

    word, _, file = source.partition(":")
    known = {one.value: one for one in PatientFrom}
    is_table = word == PatientFrom.CSV.value
    if word not in known or is_table != bool(file):
        raise typer.BadParameter(
            f"{source!r} is not header, name, folder, csv:FILE or image.",
            param_hint="--patient-from",
        )
    if pattern is not None and word == PatientFrom.IMAGE.value:
        raise typer.BadParameter(
            "--patient names patients, and --patient-from image counts every image as one.",
            param_hint="--patient",
        )
    if pattern is not None and word == PatientFrom.HEADER.value:
        word = PatientFrom.NAME.value
    return PatientRule(known[word], pattern, Path(file) if is_table else None)


def _split_folders(given: Sequence[str]) -> dict[str, Split]:
    """Return the split of each named folder."""
    found = {}
    for text in given:
        name, _, word = text.rpartition("=")
        if not name or word not in [split.value for split in CLASS_SPLITS]:
            raise typer.BadParameter(
                f"{text!r} is not NAME=train, NAME=val or NAME=test.", param_hint="--split-folder"
            )
        found[name] = Split(word)
    return found
