"""``cxredge show``: one X-ray, as a picture and in words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxredge.cli.answered import objection_lines, objections_of
from cxredge.cli.command import command
from cxredge.cli.output import Outcome, Output
from cxredge.cli.text import share, table
from cxredge.errors import CxredgeError

if TYPE_CHECKING:
    from PIL.Image import Image

    from cxredge.inference.pictures import Sheet

_DEFAULT_OUT = Path("show.png")


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(app, "show")(show)


def show(
    output: Output,
    image: Annotated[
        Path,
        typer.Argument(metavar="IMAGE", help="X-ray (PNG, JPEG, DICOM)."),
    ],
    bundle: Annotated[Path, typer.Option("--bundle", help="Folder of a bundle.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="PNG to write or replace. [default: show.png, which must not exist]",
        ),
    ] = None,
    any_view: Annotated[
        bool,
        typer.Option("--any-view", help="Also show a lateral or oblique DICOM view."),
    ] = False,
    answer_all: Annotated[
        bool,
        typer.Option("--answer-all", help="Also label an X-ray unlike the training images."),
    ] = False,
) -> Outcome:
    """Show one X-ray: heatmap, probabilities, set and familiarity.

    Writes them as one picture and prints them in words. The picture shows what is written in the
    X-ray. Research use only.
    """
    from cxredge.bundle.bundle import note_if_strange, open_bundle
    from cxredge.inference.answers import PredictionOptions
    from cxredge.inference.pictures import draw_prediction

    path = out or _DEFAULT_OUT
    _check_out(path, image, chosen=out is not None)
    opened = open_bundle(bundle)
    note_if_strange(opened, output)
    with opened.open() as session:
        sheet = draw_prediction(opened, session, image, PredictionOptions(any_view, answer_all))
    _save(sheet.picture, path)
    objections = objections_of(opened)
    values = {**_values(sheet, path), "objections": objections}
    return Outcome(values, "\n".join([*_lines(sheet, objections), f"Wrote {path}"]))


def _check_out(path: Path, image: Path, *, chosen: bool) -> None:
    """Check before any work that a picture can be written.

    Raises:
        CxredgeError: It is no PNG by its name, is the X-ray itself, or cannot be written.
    """
    from cxredge.artifacts.output_file import check_output_file

    if path.suffix.lower() != ".png":
        raise CxredgeError(f"The picture is a PNG; got '{path.name}'.", "Use --out show.png")
    if not chosen and path.exists():
        raise CxredgeError(
            f"{path} exists.", f"Choose another --out, or replace it with --out {path}"
        )
    if path.exists() and image.exists() and path.samefile(image):
        raise CxredgeError(f"{path} is the X-ray; it would be replaced.", "Use another --out.")
    check_output_file(path)


def _save(picture: Image, path: Path) -> None:
    from cxredge.artifacts.atomic import atomic_file
    from cxredge.artifacts.disk_space import writing

    size = picture.width * picture.height * 3
    with writing(path.absolute().parent, size, path.name), atomic_file(path) as temporary:
        picture.save(temporary, "PNG")


def _values(sheet: Sheet, path: Path) -> dict[str, Any]:
    row = sheet.row
    return {
        "path": row.path,
        "status": row.status,
        "label": row.label,
        "probability": row.probability,
        "probabilities": dict(row.probabilities),
        "set": list(row.prediction_set),
        "familiarity": row.familiarity,
        "decided_by": row.decided_by,
        "margin": row.margin,
        "above_threshold": list(row.above_threshold),
        "cautions": list(row.cautions),
        "error": row.error,
        "evidence": dict(sheet.places),
        "picture": str(path),
    }


def _lines(sheet: Sheet, objections: Sequence[str]) -> list[str]:
    """Return the prediction in words."""
    row, places = sheet.row, sheet.places
    ordered = sorted(row.probabilities.items(), key=lambda item: -item[1])
    if row.label:
        lines = [f"{row.label}, {share(row.probability)} ({row.decided_by})."]
    else:
        lines = [f"No answer: {row.error}"]
    lines += ["", table(["class", "probability"], [[n, share(p)] for n, p in ordered]), ""]
    if row.prediction_set:
        lines.append(f"Classes that cannot be excluded: {', '.join(row.prediction_set)}.")
    if row.label and row.above_threshold:
        lines.append(f"Above their operating threshold: {', '.join(row.above_threshold)}.")
    if row.familiarity is not None and row.label:
        like = "like" if row.familiarity >= 1 else "unlike"
        lines.append(f"Familiarity {row.familiarity:.2f}: {like} the training images.")
    first = ordered[0][0]
    if row.maps is None:
        lines.append(
            "No heatmap: the bundle was built with --no-heatmaps, or its network cannot have one."
        )
    elif first in places:
        lines.append(f"Evidence for {first} is strongest in the {places[first]}.")
    else:
        lines.append(f"No part of the picture is evidence for {first}.")
    lines += [f"Caution: {caution}" for caution in row.cautions]
    lines += objection_lines(objections)
    lines.append("Research use only; not for diagnosis.")
    return lines
