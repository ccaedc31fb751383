"""Images in, one row each out: streamed, in input order, past bad files."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from cxredge.artifacts import CARD_NAME, sha256_of_file, sha256_of_json
from cxredge.backends.base import Session
from cxredge.backends.onnxruntime import available_cores
from cxredge.bundle import Bundle
from cxredge.data.images import GreyImage, load_grey
from cxredge.data.sources import ImageSource
from cxredge.errors import CxredgeError, ImageError
from cxredge.inputs import check_inputs, walk_images
from cxredge.metrics import softmax
from cxredge.progress import Progress
from cxredge.rows import Row, RowWriter

BATCH = 16


@dataclass
class Tally:
    """What a prediction came to.

    Attributes:
        images: Rows written in all, those taken up from an interrupted run included.
        status: Rows written now, by status.
        skipped: Files in the folders that are no images by name, by extension.
        stages: Seconds by stage; those of decoding add up over threads.
        seconds: Wall time.
        first_error: What was wrong with the first image that failed.
    """

    images: int
    status: Counter[str]
    skipped: Counter[str]
    stages: dict[str, float]
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
            "seconds": round(self.seconds, 3),
            "images_per_second": round(new / self.seconds, 2) if self.seconds else 0.0,
            "stages": {name: round(seconds, 3) for name, seconds in self.stages.items()},
        }


@dataclass(frozen=True)
class _Decoded:
    path: ImageSource
    pixels: GreyImage | None
    error: ImageError | None
    seconds: float


def predict(
    bundle: Bundle, paths: Sequence[Path], out: Path, resume: bool, progress: Progress
) -> Tally:
    """Predict every image under ``paths`` and write one row each, in input order.

    Args:
        bundle: What to predict with.
        paths: Files and folders; folders are walked recursively.
        out: ``.csv``, ``.jsonl`` or ``.parquet``; it appears when the last row is written.
        resume: Go on with what an interrupted run of the same job left.
        progress: Hears of images done.

    Returns:
        What it came to. Images that cannot be read have a row with the reason and are counted.

    Raises:
        CxredgeError: A path does not exist, there is no image, or no row can be written.
    """
    check_inputs(paths)
    job = {
        "card": sha256_of_file(bundle.path / CARD_NAME),
        "precision": bundle.precision.value,
        "inputs": sha256_of_json([str(path) for path in paths]),
    }
    writer = RowWriter(out, bundle.card.classifier.classes, job, resume)
    start = time.perf_counter()
    skipped: Counter[str] = Counter()
    tally = Tally(writer.done, Counter(), skipped, {"decode": 0.0, "infer": 0.0, "write": 0.0})
    images = islice(walk_images(paths, skipped), writer.done, None)
    try:
        with bundle.open() as session, progress.task("Predicting", None) as advance:
            for batch in _batches(_decode_ahead(images, session.spec.size)):
                rows = _predict_batch(session, bundle, batch, tally)
                began = time.perf_counter()
                writer.append(rows)
                tally.stages["write"] += time.perf_counter() - began
                tally.images += len(rows)
                advance(len(rows))
        began = time.perf_counter()
        writer.finish()
        tally.stages["write"] += time.perf_counter() - began
    except BaseException:
        writer.close()
        raise
    tally.seconds = time.perf_counter() - start
    return tally


def _decode_ahead(paths: Iterator[ImageSource], size: int) -> Iterator[_Decoded]:
    """Decode in threads, a bounded number of images ahead, and yield in order."""
    workers = available_cores()
    ahead: deque[Future[_Decoded]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for path in paths:
            ahead.append(pool.submit(_decode, path, size))
            if len(ahead) >= BATCH + 2 * workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _decode(path: ImageSource, size: int) -> _Decoded:
    start = time.perf_counter()
    try:
        pixels, error = load_grey(path, size), None
    except ImageError as problem:
        pixels, error = None, problem
    return _Decoded(path, pixels, error, time.perf_counter() - start)


def _batches(decoded: Iterator[_Decoded]) -> Iterator[list[_Decoded]]:
    while batch := list(islice(decoded, BATCH)):
        yield batch


def _predict_batch(
    session: Session, bundle: Bundle, batch: list[_Decoded], tally: Tally
) -> list[Row]:
    good = [item.pixels for item in batch if item.pixels is not None]
    began = time.perf_counter()
    probabilities = iter(softmax(session.infer(np.stack(good))) if good else ())
    tally.stages["infer"] += time.perf_counter() - began
    rows = []
    for item in batch:
        tally.stages["decode"] += item.seconds
        if item.error is None:
            rows.append(_row(item.path, next(probabilities), bundle.card.classifier.classes))
        else:
            tally.first_error = tally.first_error or item.error.message
            status = item.error.problem.value
            rows.append(Row(str(item.path), status, error=item.error.message))
        tally.status[rows[-1].status] += 1
    return rows


def _row(path: ImageSource, probabilities: np.ndarray, classes: Sequence[str]) -> Row:
    best = int(probabilities.argmax())
    rounded = [round(float(p), 6) for p in probabilities]
    return Row(str(path), "ok", classes[best], rounded[best], rounded)


def require_some(tally: Tally, out: Path) -> None:
    """Raise CxredgeError when not a single image could be read."""
    if tally.images and not tally.status["ok"] and sum(tally.status.values()) == tally.images:
        raise CxredgeError(
            f"None of {tally.images} images could be read; the first: {tally.first_error}",
            f"See the column 'error' of {out}.",
        )
