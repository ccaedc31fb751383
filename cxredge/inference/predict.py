"""Predict image files into a predictions file: streamed, in input order, one row per input."""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from cxredge.artifacts.card import CARD_NAME
from cxredge.artifacts.disk_space import FULL, amount
from cxredge.artifacts.exclusive import exclusive
from cxredge.artifacts.hashing import sha256_of_file, sha256_of_json
from cxredge.bundle.bundle import Bundle, note_if_strange
from cxredge.data.path_list import PathList
from cxredge.data.places import Place, check_places, walk_places
from cxredge.data.sources import Source
from cxredge.errors import CxredgeError
from cxredge.inference.answers import ANSWER_FAMILIAR, PredictionOptions
from cxredge.inference.finished_file import finished_rows, is_finished
from cxredge.inference.heatmap_folder import (
    HeatmapFolder,
    check_heatmap_folder,
    require_heatmaps,
)
from cxredge.inference.interruption import Interruption
from cxredge.inference.pictures import check_has_maps
from cxredge.inference.predictions_file import RowWriter
from cxredge.inference.row_formats import check_output
from cxredge.inference.rows import RowGroup, rows_of
from cxredge.inference.tally import Tally
from cxredge.progress import Progress

_ROW_BYTES = 200  # a row with a path of usual length, as long as none is written


def predict(
    bundle: Bundle,
    paths: Sequence[Place],
    out: Path,
    resume: bool,
    progress: Progress,
    options: PredictionOptions = ANSWER_FAMILIAR,
    heatmaps: Path | None = None,
) -> Tally:
    """Predict every image under ``paths`` and write one row each, in input order.

    Args:
        bundle: Predicts.
        paths: Files, folders and zip archives, addresses of such in remote storage, and lists of
            images; folders are walked recursively.
        out: ``.csv``, ``.jsonl`` or ``.parquet``; it appears when the last row is written.
        resume: Continue an interrupted run of the same job.
        progress: Progress listener.
        options: Which images are answered.
        heatmaps: Folder for a picture of each X-ray beside its heatmap, named by the number of its
            row; it appears after ``out``. None for no pictures.

    Returns:
        The summary. Images that cannot be read have a row with the reason and are counted.

    Raises:
        CxredgeError: A path does not exist, there is no image, a row cannot be written, the
            interrupted run cannot be resumed, or the bundle has no heatmaps.
        KeyboardInterrupt: Ctrl-C, between two groups of rows; the rows so far are kept.
    """
    start = time.perf_counter()
    check_output(out)
    check_places(paths)
    classes = bundle.card.classifier.classes
    if resume and is_finished(out):
        tally = count_finished(out, classes, paths)
        if heatmaps is not None:
            with exclusive(heatmaps):  # also removes the lock of a process that was killed
                require_heatmaps(heatmaps, out)
        return tally
    job = job_of(bundle, paths, options, heatmaps)
    note_if_strange(bundle, progress)
    with ExitStack() as opened:
        session = opened.enter_context(bundle.open_for_many())
        if heatmaps is not None:
            check_has_maps(bundle, session)
            check_heatmap_folder(heatmaps, [p for p in paths if isinstance(p, Path)])
            opened.enter_context(exclusive(heatmaps))
        batch = session.spec.batch
        writer = opened.enter_context(RowWriter(out, classes, job, resume, batch))
        folder = opened.enter_context(HeatmapFolder(heatmaps, writer.rows)) if heatmaps else None
        tally = Tally(replaced=out.exists(), near_ties=None if session.cascade is None else 0)
        sources = _skip_rows(walk_places(paths, tally.skipped), writer, tally)
        try:
            rows = rows_of(bundle, session, sources, options)
            _write(rows, writer, folder, tally, progress)
            began = time.perf_counter()
            writer.finish()
            if folder is not None:
                folder.finish()
            tally.stages["write"] += time.perf_counter() - began
        except OSError as error:
            if error.errno in FULL:
                raise _disk_is_full(error, writer, paths) from None
            raise
    tally.seconds = time.perf_counter() - start
    return tally


def count_finished(out: Path, classes: Sequence[str], paths: Sequence[Place]) -> Tally:
    """Count the rows of a finished file, which must be those of these inputs.

    Raises:
        ArtifactError: They are not.
    """
    tally = Tally(finished_before=True)
    for row in finished_rows(out, classes, walk_places(paths, tally.skipped)):
        tally.add_earlier(row)
    return tally


def job_of(
    bundle: Bundle, paths: Sequence[Place], options: PredictionOptions, heatmaps: Path | None
) -> dict[str, Any]:
    """Return what determines the rows; a run is resumed only if all of it is equal."""
    engine = bundle.passport.engine_sha256 if bundle.passport else None
    pictures = {} if heatmaps is None else {"heatmaps": str(heatmaps)}
    return {
        "card": sha256_of_file(bundle.path / CARD_NAME),
        "precision": bundle.precision.value,
        "engine": engine or bundle.card.files[bundle.engine.name],
        "inputs": sha256_of_json([_identity(path) for path in paths]),
        "any_view": options.any_view,
        "answer_all": options.answer_all,
        **pictures,
    }


def _identity(place: Place) -> str:
    """Return what identifies an input without walking it; of a list, its content too."""
    return f"{place.base} {place.sha256()}" if isinstance(place, PathList) else str(place)


def _skip_rows(sources: Iterator[Source], writer: RowWriter, tally: Tally) -> Iterator[Source]:
    """Count the rows so far and skip their images, whose paths must be the same.

    Raises:
        CxredgeError: Files were added or removed since, so that the rows are not of these inputs.
    """
    for row in writer.kept():
        source = next(sources, None)
        if row["path"] != str(source):
            raise CxredgeError(
                f"The inputs have changed since the interruption: expected {row['path']}, found "
                f"{source or 'nothing'}.",
                "Predict without --resume to start over.",
            )
        tally.add_earlier(row)
    return sources


def _write(
    groups: Generator[RowGroup, None, None],
    writer: RowWriter,
    folder: HeatmapFolder | None,
    tally: Tally,
    progress: Progress,
) -> None:
    """Write all rows, each after its picture, and close the generator.

    Raises:
        KeyboardInterrupt: Ctrl-C, between two groups.
        OSError: A row cannot be written.
    """
    with (
        Interruption() as interruption,
        closing(groups),
        progress.task("Predicting", None) as advance,
    ):
        for group in groups:
            began = time.perf_counter()
            if folder is not None:
                folder.append(group.rows, group.images, writer.rows)
            writer.append(group.rows)
            tally.add(group, time.perf_counter() - began)
            advance(len(group.rows))
            if interruption.requested:
                raise KeyboardInterrupt


def _disk_is_full(error: OSError, writer: RowWriter, paths: Sequence[Place]) -> CxredgeError:
    """Return an error with an estimate of the space needed: the rest, and the final file."""
    images = sum(1 for _ in walk_places(paths, Counter()))
    row_bytes = writer.size_bytes / writer.rows if writer.rows else _ROW_BYTES
    needed_bytes = row_bytes * (2 * images - writer.rows)
    free_bytes = shutil.disk_usage(writer.path.parent).free
    return CxredgeError(
        f"Cannot write to {writer.path.parent}: {os.strerror(error.errno or 0)}. {writer.rows} of "
        f"{images} rows are kept; about {amount(needed_bytes)} are needed for the rest and the "
        f"final file, {amount(free_bytes)} are free.",
        "Free space there and repeat the command with --resume.",
    )
