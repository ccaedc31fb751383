"""From images to prediction rows: one row per image, in input order."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice

from cxredge.backends.base import Session, available_cores
from cxredge.bundle.bundle import Bundle
from cxredge.data.images import LoadedImage, load_xray
from cxredge.data.in_memory import ImageInput, name_of
from cxredge.data.remote import RemoteFile
from cxredge.errors import ImageError
from cxredge.inference.answers import ANSWER_FAMILIAR, PredictionOptions, PredictionRow, answer_of
from cxredge.inference.pipeline import Group, infer_images

REMOTE_READERS = 4
"""Threads per core if the first image is in remote storage: most of them wait for it."""


@dataclass(frozen=True)
class RowGroup:
    """Rows of consecutive images, and the time that they took.

    Attributes:
        rows: One per image, in input order.
        seconds: Wall seconds by stage: ``read``, ``decode``, ``preprocess``, ``infer``.
        images: The decoded image of each row; None for one that cannot be used.
    """

    rows: Sequence[PredictionRow]
    seconds: Mapping[str, float]
    images: Sequence[LoadedImage | None]


def rows_of(
    bundle: Bundle,
    session: Session,
    images: Iterator[ImageInput],
    options: PredictionOptions = ANSWER_FAMILIAR,
    cores: int = 0,
) -> Generator[RowGroup, None, None]:
    """Predict images on several cores, a bounded number ahead of the consumer.

    ``cxredge predict``, the Python API and the workers of a cluster call this function, so their
    rows are equal. Close the generator if it is not exhausted; work in progress is then finished.

    Args:
        bundle: The bundle that the session was opened from.
        session: Used by this generator alone until it ends, unless it is concurrent.
        images: Consumed in the caller's thread.
        options: Which images are answered.
        cores: Number of cores to use; 0 for all that this process may use.

    Yields:
        Groups of rows in input order: whole batches of the session, then the remainder.
    """
    first = list(islice(images, 1))
    workers = cores or available_cores()
    if first and isinstance(first[0], RemoteFile):
        workers *= REMOTE_READERS
    sources = chain(first, images)
    with closing(infer_images(session, sources, workers, options.any_view)) as groups:
        for group in groups:
            decoded = [one if isinstance(one, LoadedImage) else None for one in group.loaded]
            yield RowGroup(_rows(bundle, group, options), group.seconds, decoded)


def predict_one(
    bundle: Bundle,
    session: Session,
    image: ImageInput,
    options: PredictionOptions = ANSWER_FAMILIAR,
) -> PredictionRow:
    """Predict one image in the caller's thread.

    Args:
        bundle: The bundle that the session was opened from.
        session: Runs the network.
        image: The image.
        options: Which images are answered.

    Returns:
        The prediction; its status is ``ok`` or ``unfamiliar``.

    Raises:
        ImageError: The image cannot be used; ``problem`` says why.
    """
    loaded = load_xray(image, session.spec.size, any_view=options.any_view)
    outputs = session.run(loaded.pixels[None])
    return answer_of(bundle, image, loaded, outputs, 0, options)


def _rows(bundle: Bundle, group: Group, options: PredictionOptions) -> list[PredictionRow]:
    rows: list[PredictionRow] = []
    index = 0
    for source, loaded in zip(group.sources, group.loaded, strict=True):
        if isinstance(loaded, ImageError):
            rows.append(_failed(source, loaded))
        elif group.outputs is not None:
            try:
                rows.append(answer_of(bundle, source, loaded, group.outputs, index, options))
            except ImageError as problem:
                rows.append(_failed(source, problem))
            index += 1
    return rows


def _failed(source: ImageInput, problem: ImageError) -> PredictionRow:
    return PredictionRow(name_of(source), problem.problem.value, error=problem.message)
