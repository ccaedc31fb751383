"""Pictures of images with changed decisions, kept in the bundle."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np

from cxredge.bundle.arrays import describe, read_arrays, require
from cxredge.bundle.layout import FLIPPED_NAME
from cxredge.data.images import GreyImage

MAX_IMAGES = 24
"""Maximum number of pictures in a bundle; the card lists every changed decision."""


def write_flipped(folder: Path, pixels: GreyImage, indices: Collection[int]) -> None:
    """Write pictures of the first images with changed decisions, if there are any.

    Args:
        folder: The bundle's folder.
        pixels: uint8 (N, S, S), all images that were compared.
        indices: Indices of the images whose decision changed in any precision.
    """
    chosen = np.array(sorted(indices)[:MAX_IMAGES], dtype=np.int64)
    if len(chosen):
        np.savez_compressed(folder / FLIPPED_NAME, indices=chosen, pixels=pixels[chosen])


def read_flipped(folder: Path, input_size: int) -> dict[int, GreyImage]:
    """Return the pictures, uint8 (S, S), by the image's index among those compared.

    Args:
        folder: The bundle's folder.
        input_size: Height and width of the pictures.

    Raises:
        ArtifactError: The file is damaged, or holds something else.
    """
    path = folder / FLIPPED_NAME
    if not path.exists():
        return {}
    arrays = read_arrays(path)
    require({"indices", "pixels"} <= arrays.keys(), path, "indices and pixels", ", ".join(arrays))
    indices, pixels = arrays["indices"], arrays["pixels"]
    require(
        indices.dtype.kind == "i" and indices.ndim == 1 and len(indices) <= MAX_IMAGES,
        path, f"indices int (N,) of at most {MAX_IMAGES} images", describe(indices),
    )  # fmt: skip
    shape = (len(indices), input_size, input_size)
    require(
        pixels.dtype == np.uint8 and pixels.shape == shape,
        path, f"pixels uint8 {shape}", describe(pixels),
    )  # fmt: skip
    return {int(index): picture for index, picture in zip(indices, pixels, strict=True)}
