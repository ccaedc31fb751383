"""The folder of heatmaps of a prediction: a picture per row, complete when it appears.

Pictures are written to ``.NAME.partial`` beside the folder, before the rows that they belong to,
and the folder appears after the predictions file. Their names are numbers of rows, never names of
inputs, which may name patients.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cxredge.artifacts.disk_space import FULL, amount
from cxredge.artifacts.exchange import put_folder, sync_tree
from cxredge.backends.base import available_cores
from cxredge.data.images import LoadedImage
from cxredge.errors import ArtifactError, CxredgeError, quoted
from cxredge.heatmaps.pair import draw_pair
from cxredge.inference.answers import PredictionRow
from cxredge.inference.pictures import shown

_PICTURE_BYTES = 400_000
_COMPRESSION = 3
"""Level at which a picture takes less than half the time of the usual one, and a seventh more."""


class HeatmapFolder:
    """Writes pictures of rows.

    Args:
        path: The folder; see :func:`check_heatmap_folder`.
        kept: Number of rows of an interrupted run that are kept with their pictures.

    Attributes:
        path: The folder.

    Raises:
        ArtifactError: The pictures of the kept rows are missing.
    """

    def __init__(self, path: Path, kept: int) -> None:
        self.path, self._partial = path, partial_folder_of(path)
        if kept and not self._partial.is_dir():
            raise ArtifactError(
                f"The heatmaps of the {kept} rows so far are missing: there is no {self._partial}.",
                "Predict without --resume to start over.",
            )
        self._partial.mkdir(exist_ok=True)
        for picture in self._partial.iterdir():
            if not picture.stem.isdecimal() or int(picture.stem) > kept:
                picture.unlink()
        self._pool = ThreadPoolExecutor(available_cores())

    def append(
        self, rows: Sequence[PredictionRow], images: Sequence[LoadedImage | None], before: int
    ) -> None:
        """Write the pictures of rows that have maps.

        Args:
            rows: The rows.
            images: The decoded image of each row; None if it cannot be used.
            before: Number of rows before these.

        Raises:
            CxredgeError: The disk is full.
        """
        jobs = [
            self._pool.submit(self._draw, row, image, before + number)
            for number, (row, image) in enumerate(zip(rows, images, strict=True), start=1)
            if image is not None and row.maps is not None
        ]
        try:
            for job in jobs:
                job.result()
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise CxredgeError(
                f"Cannot write heatmaps to {self._partial.parent}: {error.strerror}. The {before} "
                f"rows before are kept; each picture needs about {amount(_PICTURE_BYTES)}.",
                "Free space there and repeat the command with --resume.",
            ) from None

    def finish(self) -> None:
        """Let the folder appear."""
        finish_heatmaps(self.path)

    def close(self) -> None:
        """Keep the pictures so far; without any, remove the partial folder."""
        self._pool.shutdown(cancel_futures=True)
        if self._partial.is_dir() and not any(self._partial.iterdir()):
            self._partial.rmdir()

    def __enter__(self) -> HeatmapFolder:
        """Return the writer."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the writer."""
        self.close()

    def _draw(self, row: PredictionRow, image: LoadedImage, number: int) -> None:
        draw_pair(shown(row, image)).save(
            self._partial / picture_name(number), "PNG", compress_level=_COMPRESSION
        )


def picture_name(number: int) -> str:
    """Return the name of the picture of a row, counted from 1 in the order of the inputs."""
    return f"{number:06d}.png"


def partial_folder_of(path: Path) -> Path:
    """Return the folder that holds the pictures of an unfinished run."""
    return path.with_name(f".{path.name}.partial")


def check_heatmap_folder(path: Path, inputs: Sequence[Path]) -> None:
    """Check that heatmaps can be written to a folder, before any work.

    Args:
        path: The folder: new or empty.
        inputs: Paths of the images.

    Raises:
        CxredgeError: It holds something or is no folder, is inside an input, or the folder above it
            does not exist or is not writable.
    """
    partial, above = partial_folder_of(path), path.absolute().parent
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise _unusable(path, "it is a file or a link")
    if path.exists() and any(path.iterdir()):
        raise ArtifactError(
            f"{path} is not empty; heatmaps are written to a new folder.",
            f"Choose another folder for --heatmaps, or remove it: rm -r {quoted(path)}",
        )
    if partial.is_symlink() or (partial.exists() and not partial.is_dir()):
        raise _unusable(path, f"{partial}, which holds pictures until the last one, is no folder")
    if not above.is_dir():
        raise CxredgeError(
            f"Cannot write heatmaps to {path}: the folder {above} does not exist.",
            f"Make it first: mkdir -p {quoted(above)}",
        )
    if not os.access(above, os.W_OK | os.X_OK):
        raise _unusable(path, f"{above} is not writable")
    place = Path(os.path.realpath(path))
    for one in inputs:
        if one.is_dir() and place.is_relative_to(os.path.realpath(one)):
            raise _unusable(path, f"it is inside the input {one}, so it would be predicted too")


def _unusable(path: Path, reason: str) -> CxredgeError:
    return CxredgeError(
        f"Cannot write heatmaps to {path}: {reason}.", "Choose another folder for --heatmaps."
    )


def require_heatmaps(path: Path, out: Path) -> None:
    """Let the heatmaps of a finished predictions file appear, if a crash came before.

    Raises:
        ArtifactError: The predictions were made without heatmaps.
    """
    if not finish_heatmaps(path) and not (path.is_dir() and any(path.glob("*.png"))):
        raise ArtifactError(
            f"{out} is finished, but without heatmaps in {path}.",
            "Predict without --resume to make them.",
        )


def finish_heatmaps(path: Path) -> bool:
    """Let a folder whose pictures are all written appear; return whether there was one."""
    partial = partial_folder_of(path)
    if not partial.is_dir():
        return False
    sync_tree(partial)
    put_folder(partial, path)
    return True
