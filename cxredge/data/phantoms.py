"""Generated chest radiographs, to try the toolkit without images of patients.

A phantom is a drawing, not a simulation: a network can learn from it, but it has no diagnostic
value.
"""

from __future__ import annotations

import filecmp
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxredge.artifacts.atomic import current_umask
from cxredge.artifacts.exchange import put_folder, sync_tree
from cxredge.artifacts.temporary import temporary_folder
from cxredge.data.phantom_anatomy import SIDE
from cxredge.data.phantom_exposure import ALL_LABELS, LABELS, develop, place, shot_of
from cxredge.errors import DataError

__all__ = ["ALL_LABELS", "LABELS", "phantom_opacity", "render_phantom", "write_phantoms"]

_MIN_SIZE = 32

# Kinds repeat every 13 images, counted across classes, so that a kind does not reveal a label.
_RARE_KINDS = {2: "jpeg", 4: "grey16", 6: "rgb", 8: "cropped", 10: "jpeg"}
_ROUND = 13


def render_phantom(
    label: str, patient: int, exposure: int, size: int = 256, seed: int = 0
) -> NDArray[np.uint8]:
    """Draw one radiograph; the same arguments draw the same pixels.

    ``seed`` and ``patient`` determine anatomy and posture. The exposure varies the technique
    (brightness, contrast, noise and, slightly, the position) and the extent of the disease.

    Args:
        label: One of ``ALL_LABELS``.
        patient: Number of the patient, 0 or more.
        exposure: Number of the patient's image, 0 or more.
        size: Height and width in pixels, 32 or more.
        seed: Seed of the whole collection, 0 or more.

    Returns:
        uint8 array of shape (size, size), 0 (dark) to 255 (bright).

    Raises:
        DataError: The label is unknown, the size is too small or a number is negative.
    """
    _check_phantom(label, size, min(patient, exposure, seed))
    shot = shot_of(label, patient, exposure, seed)
    film = shot.anatomy.tissue - shot.anatomy.air * (1.0 - shot.density)
    image = Image.fromarray(develop(place(film, shot.position), shot.technique))
    if size != SIDE:
        image = image.resize((size, size), Image.Resampling.LANCZOS)
    return np.asarray(image)


def phantom_opacity(
    label: str, patient: int, exposure: int, size: int = 256, seed: int = 0
) -> NDArray[np.float32]:
    """Return where the disease of a phantom is: by how much it attenuates more than healthy lung.

    Args:
        label: As in :func:`render_phantom`, also the other arguments; the healthy have no disease.
        patient: See :func:`render_phantom`.
        exposure: See :func:`render_phantom`.
        size: See :func:`render_phantom`.
        seed: See :func:`render_phantom`.

    Returns:
        float32 array of shape (size, size), 0 (healthy) to about 0.5, aligned with the pixels.

    Raises:
        DataError: As in :func:`render_phantom`.
    """
    _check_phantom(label, size, min(patient, exposure, seed))
    shot = shot_of(label, patient, exposure, seed)
    placed = Image.fromarray(place(shot.anatomy.air * shot.density, shot.position))
    if size != SIDE:
        placed = placed.resize((size, size), Image.Resampling.BILINEAR)
    return np.array(placed, np.float32)


def _check_phantom(label: str, size: int, least_number: int) -> None:
    if label not in ALL_LABELS:
        raise DataError(f"No phantom has the label {label!r}.", f"Use one of {ALL_LABELS}.")
    if size < _MIN_SIZE:
        raise DataError(
            f"A phantom of {size} pixels is too small.", f"Use {_MIN_SIZE} pixels or more."
        )
    if least_number < 0:
        raise DataError(
            f"Patient, exposure or seed is {least_number}; it must not be negative.",
            "Give 0 or more.",
        )


def write_phantoms(
    directory: Path,
    patients_per_class: int = 40,
    size: int = 256,
    seed: int = 0,
    labels: Sequence[str] = LABELS,
    on_image: Callable[[], None] | None = None,
) -> int:
    """Write a folder per class, such as ``directory/viral/patient-0007-1.png``, or nothing.

    A patient has 1 to 3 exposures and one label; the file name up to the last dash is the patient.
    File kinds are mixed, to exercise the readers: 8-bit grey, 16-bit and RGB PNG, JPEG, and images
    that are not square.

    Args:
        directory: Folder to write; it must be new, empty, or hold the same phantoms already.
        patients_per_class: Number of patients per label, 1 or more.
        size: Height and width in pixels, 32 or more.
        seed: Seed of the whole collection, 0 or more.
        labels: Classes to write, from ``ALL_LABELS``.
        on_image: Called after every image.

    Returns:
        The number of images written.

    Raises:
        DataError: The folder holds something else, a label is unknown, or a number is out of range.
    """
    _check_request(patients_per_class, size, seed, labels)
    return fill_folder(
        directory,
        labels,
        lambda drawn: _draw(drawn, patients_per_class, size, seed, labels, on_image),
    )


def fill_folder(directory: Path, names: Sequence[str], draw: Callable[[Path], int]) -> int:
    """Write a folder of pictures, or nothing.

    Args:
        directory: Folder to write; it must be new, empty, or hold the same pictures already.
        names: Names of the folders in it.
        draw: Writes the folders into the folder that it is called with; returns how many pictures.

    Returns:
        The number of pictures.

    Raises:
        DataError: The folder holds something else.
    """
    if not _is_empty(directory) and not _has_folders(directory, names):
        raise _occupied(directory)
    directory.parent.mkdir(parents=True, exist_ok=True)
    with temporary_folder(directory) as drawn:
        count = draw(drawn)
        if _is_empty(directory):
            drawn.chmod(0o777 & ~current_umask())
            sync_tree(drawn)
            put_folder(drawn, directory)
        elif not _same_files(drawn, directory):
            raise _occupied(directory)
    return count


def _draw(
    directory: Path,
    patients_per_class: int,
    size: int,
    seed: int,
    labels: Sequence[str],
    on_image: Callable[[], None] | None,
) -> int:
    """Write the folders of the classes; return the number of images."""
    written = 0
    for number in range(patients_per_class * len(labels)):
        folder = directory / labels[number // patients_per_class]
        folder.mkdir(parents=True, exist_ok=True)
        exposures = int(np.random.default_rng([seed, number, 3]).integers(1, 4))
        for exposure in range(exposures):
            pixels = render_phantom(folder.name, number, exposure, size, seed)
            stem = folder / f"patient-{number:04d}-{exposure + 1}"
            _save(pixels, stem, _RARE_KINDS.get(written % _ROUND, "grey"))
            written += 1
            if on_image is not None:
                on_image()
    return written


def _check_request(patients: int, size: int, seed: int, labels: Sequence[str]) -> None:
    for label in labels:
        _check_phantom(label, size, seed)
    if patients < 1 or len(set(labels)) != len(labels) or not labels:
        raise DataError(
            f"Cannot write {patients} patients of each of {tuple(labels)}.",
            "Give 1 patient or more, and each label once.",
        )


def _is_empty(directory: Path) -> bool:
    """Return whether there is nothing, or an empty folder."""
    return not directory.exists() or (directory.is_dir() and not any(directory.iterdir()))


def _has_folders(directory: Path, labels: Sequence[str]) -> bool:
    return directory.is_dir() and {path.name for path in directory.iterdir()} == set(labels)


def _same_files(first: Path, second: Path) -> bool:
    """Return whether two folders hold the same files, as after an interruption."""
    names = {
        folder: {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
        for folder in (first, second)
    }
    if names[first] != names[second]:
        return False
    return all(filecmp.cmp(first / name, second / name, shallow=False) for name in names[first])


def _occupied(directory: Path) -> DataError:
    return DataError(
        f"{directory} exists and is not an empty folder.", "Give a new folder, or empty it."
    )


def _save(pixels: NDArray[np.uint8], stem: Path, kind: str) -> None:
    """Write one image as ``kind``, with fast compression: grain hardly compresses."""
    if kind == "jpeg":
        Image.fromarray(pixels).save(stem.with_name(stem.name + ".jpg"), quality=90)
        return
    image = Image.fromarray(pixels)
    if kind == "grey16":
        image = Image.fromarray(pixels.astype(np.uint16) * np.uint16(257))
    elif kind == "rgb":
        image = image.convert("RGB")
    elif kind == "cropped":
        cut = pixels.shape[0] // 16
        image = image.crop((0, cut, pixels.shape[1], pixels.shape[0] - cut))
    image.save(stem.with_name(stem.name + ".png"), compress_level=1)
