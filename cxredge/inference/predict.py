"""Images in, one row each out: streamed, in input order, past bad files."""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cxredge.artifacts.card import CARD_NAME, sha256_of_file, sha256_of_json
from cxredge.artifacts.disk_space import FULL, amount
from cxredge.backends.base import available_cores
from cxredge.bundle.bundle import Bundle, note_if_strange
from cxredge.data.images import LoadedImage
from cxredge.data.inputs import check_inputs, walk_images
from cxredge.data.sources import ImageSource
from cxredge.errors import CxredgeError, ImageError
from cxredge.inference.interruption import Interruption
from cxredge.inference.pipeline import Group, infer_images
from cxredge.inference.predictions_file import Row, RowWriter
from cxredge.metrics.classification import Floats, softmax
from cxredge.progress import Progress

STAGES = ("read", "decode", "preprocess", "infer", "write")
_ROW_BYTES = 200  # of a row with a path of usual length, where none was written yet


@dataclass
class Tally:
    """What a prediction came to.

    Attributes:
        images: Rows written in all, those taken up from an interrupted run included.
        status: Rows written now, by status.
        skipped: Files in the folders that are no images by name, by extension.
        cautions: Images predicted although their header makes it doubtful, by caution.
        near_ties: Images that FP32 decided; None where it decides none.
        stages: Wall seconds by stage, added up over the threads that work at the same time: all
            but ``write`` come to about cores times ``seconds`` when no core is idle.
        seconds: Wall time, the loading of the model included.
        first_error: What was wrong with the first image that failed.
    """

    images: int
    skipped: Counter[str]
    status: Counter[str] = field(default_factory=Counter)
    cautions: Counter[str] = field(default_factory=Counter)
    near_ties: int | None = None
    stages: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    seconds: float = 0.0
    first_error: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the contract's keys and what was found besides."""
        new = sum(self.status.values())
        return {
            "images": self.images,
            "ok": self.status["ok"],
            "failed": new - self.status["ok"],
            "resumed": self.images - new,
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
    paths: Sequence[Path],
    out: Path,
    resume: bool,
    progress: Progress,
    any_view: bool = False,
) -> Tally:
    """Predict every image under ``paths`` and write one row each, in input order.

    Args:
        bundle: What to predict with.
        paths: Files, folders and zip archives; folders are walked recursively.
        out: ``.csv``, ``.jsonl`` or ``.parquet``; it appears when the last row is written.
        resume: Go on with what an interrupted run of the same job left.
        progress: Hears of images done.
        any_view: Predict lateral and oblique views too; their rows say so.

    Returns:
        What it came to. Images that cannot be read have a row with the reason and are counted.

    Raises:
        CxredgeError: A path does not exist, there is no image, no row can be written, or what an
            interrupted run left cannot be gone on with.
        KeyboardInterrupt: Ctrl-C, between two batches; the rows so far are kept.
    """
    start = time.perf_counter()
    check_inputs(paths)
    job = _job(bundle, paths, any_view)
    classes = bundle.card.classifier.classes
    note_if_strange(bundle, progress)
    margin = bundle.cascade_margin
    with (
        bundle.open_for_many() as session,
        RowWriter(out, classes, job, resume, session.spec.batch) as writer,
    ):
        tally = Tally(writer.rows, Counter(), near_ties=None if margin is None else 0)
        sources = _after_rows(walk_images(paths, tally.skipped), writer)
        groups = infer_images(session, sources, available_cores(), any_view)
        try:
            with (
                Interruption() as interruption,
                closing(groups),
                progress.task("Predicting", None) as advance,
            ):
                for group in groups:
                    _write(group, classes, writer, tally)
                    advance(len(group.sources))
                    if interruption.wished:
                        raise KeyboardInterrupt
            _finish(writer, tally)
        except OSError as error:
            if error.errno in FULL:
                raise _disk_is_full(error, writer, paths) from None
            raise
    tally.seconds = time.perf_counter() - start
    return tally


def _job(bundle: Bundle, paths: Sequence[Path], any_view: bool) -> dict[str, Any]:
    """Return what decides the rows: a run is gone on with only where all of it is the same."""
    engine = bundle.passport["engine_sha256"] if bundle.passport else None
    return {
        "card": sha256_of_file(bundle.path / CARD_NAME),
        "precision": bundle.precision.value,
        "engine": engine or bundle.card.files[bundle.engine.name],
        "inputs": sha256_of_json([str(path) for path in paths]),
        "any_view": any_view,
    }


def _after_rows(sources: Iterator[ImageSource], writer: RowWriter) -> Iterator[ImageSource]:
    """Pass over the images that have a row, after comparing their names with the rows'.

    Raises:
        CxredgeError: Files have come or gone since, so that the rows are not those of the inputs.
    """
    for path in writer.paths():
        source = next(sources, None)
        if path != str(source):
            raise CxredgeError(
                f"The inputs have changed since the interruption: where {path} was predicted, "
                f"there is now {source or 'nothing'}.",
                "Predict without --resume to start over.",
            )
    return sources


def _write(group: Group, classes: Sequence[str], writer: RowWriter, tally: Tally) -> None:
    rows, found = [], iter(softmax(np.stack(group.logits)) if group.logits else ())
    for source, loaded in zip(group.sources, group.loaded, strict=True):
        if isinstance(loaded, ImageError):
            tally.first_error = tally.first_error or loaded.message
            rows.append(Row(str(source), loaded.problem.value, error=loaded.message))
        else:
            tally.cautions.update(caution.value for caution in loaded.cautions)
            rows.append(_row(source, loaded, next(found), classes))
    began = time.perf_counter()
    writer.append(rows)
    tally.stages["write"] += time.perf_counter() - began
    for stage, seconds in group.seconds.items():
        tally.stages[stage] += seconds
    tally.status.update(row.status for row in rows)
    tally.images += len(rows)
    if tally.near_ties is not None:
        tally.near_ties += group.near_ties


def _row(source: ImageSource, image: LoadedImage, found: Floats, classes: Sequence[str]) -> Row:
    probabilities, best = [round(p, 6) for p in found.tolist()], int(found.argmax())
    cautions = ", ".join(caution.value for caution in image.cautions)
    remark = f"Predicted, but doubtful: {cautions}." if cautions else ""
    return Row(str(source), "ok", classes[best], probabilities[best], probabilities, remark)


def _finish(writer: RowWriter, tally: Tally) -> None:
    began = time.perf_counter()
    writer.finish()
    tally.stages["write"] += time.perf_counter() - began


def _disk_is_full(error: OSError, writer: RowWriter, paths: Sequence[Path]) -> CxredgeError:
    """Say how much is missing: the rows to come, and all rows again in the finished file."""
    images = sum(1 for _ in walk_images(paths, Counter()))
    row_bytes = writer.size_bytes / writer.rows if writer.rows else _ROW_BYTES
    needed_bytes = row_bytes * (2 * images - writer.rows)
    free_bytes = shutil.disk_usage(writer.path.parent).free
    return CxredgeError(
        f"Cannot write to {writer.path.parent}: {os.strerror(error.errno or 0)}. {writer.rows} of "
        f"{images} rows are kept; about {amount(needed_bytes)} are needed for the rest and the "
        f"finished file, {amount(free_bytes)} are free.",
        "Make room there and give the same command with --resume.",
    )


def require_some(tally: Tally, out: Path) -> None:
    """Raise CxredgeError when not a single image could be read."""
    if tally.images and not tally.status["ok"] and sum(tally.status.values()) == tally.images:
        raise CxredgeError(
            f"None of {tally.images} images could be read; the first: {tally.first_error}",
            f"See the column 'error' of {out}.",
        )
