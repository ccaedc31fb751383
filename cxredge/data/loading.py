"""Decoded images of a manifest: checked, all at once, with their labels, or in batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cxredge.data.images import GreyImage, load_xray
from cxredge.data.left_out import LeftOut
from cxredge.data.manifest import Entry, Sample
from cxredge.data.sources import sha256_of_source
from cxredge.errors import DataError, ImageError, ImageProblem
from cxredge.progress import Progress

BATCH = 8


@dataclass(frozen=True)
class LabelledImages:
    """Images with their labels and patients.

    Attributes:
        pixels: uint8 (N, S, S).
        labels: int64 (N,), class indices; -1 for controls.
        patients: The patient of each image.
        sources: The collection that each image is from.
    """

    pixels: GreyImage
    labels: npt.NDArray[np.int64]
    patients: list[str]
    sources: list[str]


def check_samples(
    samples: Sequence[Sample], on_image: Callable[[], None] = lambda: None
) -> tuple[list[Entry], LeftOut]:
    """Decode and hash every sample, and leave out the unusable ones.

    Returns:
        The usable samples as entries, whose split is still to be set; and the samples that were
        left out, by reason. Of files with equal bytes only the first is kept, so that no copy
        crosses a split.
    """

    def check(sample: Sample) -> Entry | str:
        try:
            load_xray(sample.path, 32)
            return Entry(**sample.__dict__, sha256=sha256_of_source(sample.path))
        except ImageError as error:
            return error.problem.value
        finally:
            on_image()

    kept: dict[str, Entry] = {}
    dropped = LeftOut()
    with ThreadPoolExecutor() as pool:
        for sample, outcome in zip(samples, pool.map(check, samples), strict=True):
            if isinstance(outcome, str):
                dropped.leave(sample.path, outcome)
            elif outcome.sha256 in kept:
                dropped.leave(sample.path, "duplicate")
            else:
                kept[outcome.sha256] = outcome
    return list(kept.values()), dropped


def load_entry(entry: Entry, size: int) -> GreyImage:
    """Decode one entry to uint8 (size, size).

    Raises:
        DataError: The image is missing or unreadable, or has changed since the manifest was made.
    """
    try:
        pixels = load_xray(entry.path, size).pixels
        sha256 = sha256_of_source(entry.path) if entry.sha256 else ""
    except ImageError as error:
        raise DataError(error.message, _remedy(entry.path, error)) from None
    if sha256 != entry.sha256:
        raise DataError(
            f"{entry.path} changed since the manifest was made.", "Make the manifest again."
        )
    return pixels


def _remedy(path: Path, error: ImageError) -> str:
    """Return the next step for an image of a manifest that cannot be read."""
    missing = [above for above in path.parents if not above.exists()]
    if error.problem is not ImageProblem.MISSING or not missing:
        return "Make the manifest again."
    return (
        f"The folder {missing[-1]} is not there. If it was moved, make the manifest again; images "
        "beneath the folder of their manifest can be moved together with it."
    )


def load_pixels(
    entries: Sequence[Entry], size: int, on_image: Callable[[], None] = lambda: None
) -> GreyImage:
    """Decode entries in their order.

    Returns:
        uint8 array, shape (len(entries), size, size).

    Raises:
        DataError: See :func:`load_entry`.
    """

    def load(entry: Entry) -> GreyImage:
        pixels = load_entry(entry, size)
        on_image()
        return pixels

    pixels = np.empty((len(entries), size, size), dtype=np.uint8)
    with ThreadPoolExecutor() as pool:
        for index, image in enumerate(pool.map(load, entries)):
            pixels[index] = image
    return pixels


Decode = Callable[[Sequence[Entry], int, Callable[[], None]], GreyImage]
"""Signature of :func:`load_pixels`."""


def load_labelled(
    entries: Sequence[Entry],
    classes: Sequence[str],
    size: int,
    progress: Progress,
    decode: Decode = load_pixels,
) -> LabelledImages:
    """Decode entries in their order, with their labels and patients.

    Args:
        entries: Rows of a manifest.
        classes: Class names in the order of the logits; they include every label.
        size: Height and width in pixels.
        progress: Progress listener.
        decode: Decodes the entries.

    Raises:
        DataError: See :func:`load_entry`.
    """
    with progress.task("Decoding X-rays", len(entries)) as advance:
        pixels = decode(entries, size, lambda: advance(1))
    index = {"": -1, **{name: number for number, name in enumerate(classes)}}
    labels = np.array([index[entry.label] for entry in entries], dtype=np.int64)
    patients = [entry.patient for entry in entries]
    return LabelledImages(pixels, labels, patients, [entry.source for entry in entries])


def stream_pixels(
    entries: Sequence[Entry], size: int, batch: int = BATCH, threads: int | None = None
) -> Generator[GreyImage, None, None]:
    """Yield the images of entries in order, batch by batch; at most two batches are decoded ahead.

    Threads decode while the caller works; closing the generator stops them.

    Args:
        entries: Rows of a manifest.
        size: Height and width in pixels.
        batch: Images per batch.
        threads: Number of decoding threads; None for the default of ``ThreadPoolExecutor``.

    Yields:
        uint8 (n, size, size); n is ``batch``, or the remainder for the last one.

    Raises:
        DataError: See :func:`load_entry`.
    """
    ahead: deque[Future[GreyImage]] = deque()
    waiting = iter(entries)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
    try:
        for start in range(0, len(entries), batch):
            wanted = min(batch, len(entries) - start)
            while len(ahead) < wanted + 2 * batch and (entry := next(waiting, None)):
                ahead.append(pool.submit(load_entry, entry, size))
            yield np.stack([ahead.popleft().result() for _ in range(wanted)])
    finally:
        pool.shutdown(cancel_futures=True)
