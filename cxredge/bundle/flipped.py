"""Pictures of the images that a precision decides otherwise than FP32, kept in the bundle."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np

from cxredge.data.images import GreyImage
from cxredge.errors import ArtifactError

FLIPPED_NAME = "flipped.npz"
MOST = 24
"""Pictures in a bundle; the card lists every flipped image."""


def write_flipped(folder: Path, pixels: GreyImage, indices: Collection[int]) -> None:
    """Keep pictures of the first flipped images; write nothing when there are none.

    Args:
        folder: The bundle's folder.
        pixels: uint8 (N, S, S), all images that were compared.
        indices: Which of them flipped in any precision.
    """
    chosen = np.array(sorted(indices)[:MOST], dtype=np.int64)
    if len(chosen):
        np.savez_compressed(folder / FLIPPED_NAME, indices=chosen, pixels=pixels[chosen])


def read_flipped(folder: Path) -> dict[int, GreyImage]:
    """Return the pictures, uint8 (S, S), by the image's place among those compared.

    Raises:
        ArtifactError: The file is not what a bundle holds.
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
