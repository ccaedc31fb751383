"""Pictures of images with changed decisions, kept in the bundle."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np

from cxredge.bundle.layout import FLIPPED_NAME
from cxredge.data.images import GreyImage
from cxredge.errors import ArtifactError

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


def read_flipped(folder: Path) -> dict[int, GreyImage]:
    """Return the pictures, uint8 (S, S), by the image's index among those compared.

    Raises:
        ArtifactError: The file is damaged.
    """
    path = folder / FLIPPED_NAME
    if not path.exists():
        return {}
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = zip(arrays["indices"], arrays["pixels"], strict=True)
            return {int(index): picture for index, picture in found}
    except (OSError, ValueError, KeyError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}.", "Build the bundle again.") from None
