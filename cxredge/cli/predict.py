"""``cxredge predict``: one row per image."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxredge.artifacts.interruption import uninterrupted
from cxredge.cli.answered import objection_lines, objections_of
from cxredge.cli.cluster import ClusterOptions
from cxredge.cli.command import command
from cxredge.cli.options import BundleArgument
from cxredge.cli.output import Outcome, Output
from cxredge.errors import CxredgeError, Interrupted, WrongUsage, quoted

if TYPE_CHECKING:
    from cxredge.bundle.bundle import Bundle
    from cxredge.cluster.ray_cluster import ClusterSettings
    from cxredge.cluster.summary import ClusterTally
    from cxredge.data.places import Place
    from cxredge.inference.answers import PredictionOptions
    from cxredge.inference.tally import Tally

_DEFAULT_OUT = Path("predictions.csv")


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(app, "predict")(predict)


def predict(
    output: Output,
    bundle: BundleArgument,
    places: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATH...",
            help="Images (PNG, JPEG, DICOM), folders and zip files; or images and folders in "
            "remote storage, such as s3://BUCKET/FOLDER (extra 's3').",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="File to write or replace: .csv, .jsonl or .parquet. [default: predictions.csv, "
            "which must not exist]",
        ),
    ] = None,
    listed: Annotated[
        Path | None,
        typer.Option(
            "--paths",
            metavar="FILE",
            help="List of images, one path or address per line; - is standard input. Relative "
            "paths begin at the folder of FILE. Every line has a row.",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume an interrupted prediction.")
    ] = False,
    any_view: Annotated[
        bool,
        typer.Option(
            "--any-view",
            help="Also predict lateral and oblique DICOM views; their rows carry a caution.",
        ),
    ] = False,
    answer_all: Annotated[
        bool,
        typer.Option(
            "--answer-all",
            help="Also predict X-rays that are unlike the training images; their rows carry a "
            "caution.",
        ),
    ] = False,
    heatmaps: Annotated[
        Path | None,
        typer.Option(
            "--heatmaps",
            metavar="DIR",
            help="New folder for a picture of each X-ray beside its heatmap, named by the number "
            "of its row (000001.png is the first). A picture shows what is written in the X-ray.",
        ),
    ] = None,
    cluster: ClusterOptions = ClusterOptions(),  # noqa: B008 - frozen
) -> Outcome:
    """Predict X-rays and write one row per input, in input order.

    The row of a file that cannot be read contains the reason. With --engine ray, a cluster predicts
    an archive of millions; finished shards are kept when the command, a worker or a machine is
    killed. Research use only.
    """
    from cxredge.bundle.bundle import open_bundle
    from cxredge.inference.answers import PredictionOptions
    from cxredge.inference.tally import require_some

    path = out or _DEFAULT_OUT
    _check(places, listed, heatmaps, cluster)
    if out is None and not resume and path.exists():
        raise CxredgeError(
            f"{path} exists.", f"Choose another --out, or replace it with --out {path}"
        )
    given = PredictionOptions(any_view, answer_all)
    try:
        with _inputs(places or (), listed) as inputs:
            opened = open_bundle(bundle)
            tally, summary = _run(
                output, opened, inputs, path, resume, given, heatmaps, cluster.settings()
            )
    except KeyboardInterrupt:
        again = ["cxredge", "predict", bundle, *(places or ())]
        again += ["--paths", listed] if listed else []
        again += ["--out", path, "--resume"]
        again += ["--any-view"] if any_view else []
        again += ["--answer-all"] if answer_all else []
        again += ["--heatmaps", heatmaps] if heatmaps else []
        again += cluster.words()
        raise Interrupted(
            "Interrupted; the rows so far are kept.",
            f"Resume with: {shlex.join(str(word) for word in again)}",
        ) from None
    require_some(tally, path)
    manifest = _manifest_of([Path(place) for place in places or ()])
    objections = objections_of(opened)
    return Outcome(
        {
            "predictions": str(path),
            "heatmaps": str(heatmaps) if heatmaps else None,
            "engine": cluster.engine.value,
            "objections": objections,
            **tally.to_json(),
            "cluster": summary.to_json() if summary else None,
        },
        "\n".join(
            [
                *_lines(tally, path, heatmaps),
                *(summary.lines() if summary else ()),
                *objection_lines(objections),
            ]
        ),
        f"cxredge evaluate {quoted(bundle)} {quoted(manifest)}" if manifest else "",
    )


def _check(
    places: Sequence[str] | None,
    listed: Path | None,
    heatmaps: Path | None,
    cluster: ClusterOptions,
) -> None:
    """Refuse options that do not go together."""
    if not places and listed is None:
        raise WrongUsage(
            "There is nothing to predict.", "Give images, folders or zip files, or --paths FILE."
        )
    if cluster.settings() is not None and heatmaps is not None:
        raise WrongUsage(
            "--heatmaps is not available with --engine ray: a cluster returns rows, not pictures.",
            "Leave one of them out; show draws single X-rays: cxredge show IMAGE --bundle BUNDLE",
        )


def _run(
    output: Output,
    bundle: Bundle,
    inputs: Sequence[Place],
    path: Path,
    resume: bool,
    options: PredictionOptions,
    heatmaps: Path | None,
    settings: ClusterSettings | None,
) -> tuple[Tally, ClusterTally | None]:
    """Predict in this process or on a cluster."""
    if settings is None:
        from cxredge.inference.predict import predict as stage

        return stage(bundle, inputs, path, resume, output, options, heatmaps), None
    from cxredge.cluster.predict import predict_on_cluster

    return predict_on_cluster(bundle, inputs, path, resume, output, options, settings)


@uninterrupted
def _inputs(places: Sequence[str], listed: Path | None) -> Iterator[list[Place]]:
    """Yield what was given to predict: the arguments, then the list."""
    from cxredge.data.path_list import reading_list
    from cxredge.data.places import place_of

    given = [place_of(place) for place in places]
    if listed is None:
        yield given
    else:
        with reading_list(listed) as images:
            yield [*given, images]


def _manifest_of(paths: Sequence[Path]) -> Path | None:
    """Return the manifest in a predicted folder or in the one above; None if there is none."""
    places = (place / "manifest.csv" for path in paths for place in (path, path.parent))
    return next((place for place in places if place.is_file()), None)


def _lines(tally: Tally, path: Path, heatmaps: Path | None) -> list[str]:
    data = tally.to_json()
    lines = [_summary(data, path)]
    if data["failed"]:
        lines.append(f"{data['failed']} have no prediction; the first: {tally.first_error}")
    if data["unfamiliar"]:
        lines.append(
            f"{data['unfamiliar']} are unlike the training images and have no label (status "
            "unfamiliar); --answer-all labels them."
        )
    if data["near_ties"]:
        lines.append(f"Near ties that FP32 decided: {data['near_ties']}.")
    if data["cautions"]:
        doubts = ", ".join(f"{n} {doubt}" for doubt, n in sorted(data["cautions"].items()))
        lines.append(f"Predicted, with doubts: {doubts}.")
    if data["skipped"]:
        kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(data["skipped"].items()))
        lines.append(f"Skipped, not images by their names: {kinds}.")
    if not tally.finished_before:
        lines.append(f"{'Replaced' if tally.replaced else 'Wrote'} {path}")
    if heatmaps is not None:
        lines.append(f"Heatmaps: {heatmaps}, a picture for each row that the network answered.")
    return lines


def _summary(data: dict[str, Any], path: Path) -> str:
    counts = f"{data['ok']} of {data['images']} images predicted"
    if data["finished_before"]:
        return (
            f"{path} is finished: {counts}, all of them before. Leave out --resume to predict them "
            "again."
        )
    speed = f"{data['seconds']:.1f} s ({data['images_per_second']:.0f} per second)"
    if data["resumed"]:
        new = data["images"] - data["resumed"]
        return f"{counts}; {data['resumed']} rows are from before, {new} took {speed}."
    return f"{counts} in {speed}."
