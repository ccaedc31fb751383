"""Predict image files into a predictions file: streamed, in input order, one row per input."""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
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
from cxredge.inference.answers import ANSWER_FAMILIAR, OK, UNFAMILIAR, PredictionOptions
from cxredge.inference.finished_file import finished_rows, is_finished
from cxredge.inference.heatmap_folder import (
    HeatmapFolder,
    check_heatmap_folder,
    require_heatmaps,
)
from cxredge.inference.interruption import Interruption
from cxredge.inference.pictures import check_has_maps
from cxredge.inference.predictions_file import RowWriter, cautions_in
from cxredge.inference.row_formats import Values, check_output
from cxredge.inference.rows import RowGroup, rows_of
from cxredge.progress import Progress
from cxredge.vocabulary import Precision

STAGES = ("read", "decode", "preprocess", "infer", "write")
_ROW_BYTES = 200  # a row with a path of usual length, as long as none is written


@dataclass
class Tally:
    """Summary of a prediction run.

    Attributes:
        images: Rows in the file, including those of an interrupted run that was resumed.
        resumed: Rows among them from before.
        finished_before: The file was finished when ``--resume`` was given; nothing was predicted.
        replaced: An earlier file was replaced.
        status: Rows in the file, by status.
        skipped: Files in folders and archives that are not images by their names, by extension.
        cautions: Images predicted despite a doubt, by caution.
        near_ties: Images that FP32 decided; None without a cascade.
        stages: Wall seconds by stage, summed over parallel threads: the stages other than
            ``write`` add up to about cores times ``seconds`` if no core is idle.
        seconds: Wall time, including the loading of the model.
        first_error: Error of the first image that failed.
    """

    images: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    resumed: int = 0
    finished_before: bool = False
    replaced: bool = False
    status: Counter[str] = field(default_factory=Counter)
    cautions: Counter[str] = field(default_factory=Counter)
    near_ties: int | None = None
    stages: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    seconds: float = 0.0
    first_error: str = ""

    def add_earlier(self, row: Values) -> None:
        """Count a row of an earlier run."""
        self.images += 1
        self.resumed += 1
        self.status[row["status"]] += 1
        doubts = cautions_in(row["error"])
        self.cautions.update(doubts)
        if row["status"] not in (OK, UNFAMILIAR):
            self.first_error = self.first_error or row["error"]
        if self.near_ties is not None:
            self.near_ties += row["decided_by"] == Precision.FP32

    def add(self, group: RowGroup, write_seconds: float) -> None:
        """Count a group of rows that was written."""
        self.images += len(group.rows)
        for row in group.rows:
            self.status[row.status] += 1
            self.cautions.update(code.value for code in row.caution_codes)
            if row.status != UNFAMILIAR:
                self.first_error = self.first_error or row.error
            if self.near_ties is not None:
                self.near_ties += row.decided_by == Precision.FP32
        self.stages["write"] += write_seconds
        for stage, seconds in group.seconds.items():
            self.stages[stage] += seconds

    def to_json(self) -> dict[str, Any]:
        """Return the summary as JSON values."""
        new = self.images - self.resumed
        return {
            "images": self.images,
            "ok": self.status[OK],
            "failed": self.images - self.status[OK] - self.status[UNFAMILIAR],
            "unfamiliar": self.status[UNFAMILIAR],
            "resumed": self.resumed,
            "finished_before": self.finished_before,
            "replaced": self.replaced,
            "status": dict(self.status),
            "skipped": dict(self.skipped),
            "cautions": dict(self.cautions),
            "near_ties": self.near_ties,
            "seconds": round(self.seconds, 3),
            "images_per_second": round(new / self.seconds, 2) if self.seconds else 0.0,
            "stages": {name: round(seconds, 3) for name, seconds in self.stages.items()},
        }


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
        tally = _count_finished(out, classes, paths)
        if heatmaps is not None:
            require_heatmaps(heatmaps, out)
        return tally
    job = _job(bundle, paths, options, heatmaps)
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


def require_some(tally: Tally, out: Path) -> None:
    """Raise CxredgeError if not a single image could be read."""
    answered = tally.status[OK] + tally.status[UNFAMILIAR]
    if tally.images and not answered:
        raise CxredgeError(
            f"None of {tally.images} images could be read; the first: {tally.first_error}",
            f"See the column 'error' of {out}.",
        )


def _count_finished(out: Path, classes: Sequence[str], paths: Sequence[Place]) -> Tally:
    """Count the rows of a finished file, which must be those of these inputs."""
    tally = Tally(finished_before=True)
    for row in finished_rows(out, classes, walk_places(paths, tally.skipped)):
        tally.add_earlier(row)
    return tally


def _job(
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
