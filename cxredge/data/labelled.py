"""One split of a manifest in memory, ready to be learned from or judged on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cxredge.data.images import GreyImage
from cxredge.data.manifest import Entry, load_pixels
from cxredge.progress import Progress


@dataclass(frozen=True)
class LabelledImages:
    """Images with what is known of them.

    Attributes:
        pixels: uint8 (N, S, S).
        labels: int64 (N,), indices of classes.
        patients: The patient of each image.
    """

    pixels: GreyImage
    labels: npt.NDArray[np.int64]
    patients: list[str]


def load_labelled(
    entries: Sequence[Entry], classes: Sequence[str], size: int, progress: Progress
) -> LabelledImages:
    """Decode entries in their order.

    Args:
        entries: Rows of a manifest.
        classes: Class names in the order of the logits; every label is among them.
        size: Height and width in pixels.
        progress: Hears of images done.

    Raises:
        DataError: An image cannot be read or is not the one that was listed.
    """
    with progress.task("Decoding X-rays", len(entries)) as advance:
        pixels = load_pixels(entries, size, lambda: advance(1))
    labels = np.array([classes.index(entry.label) for entry in entries], dtype=np.int64)
    return LabelledImages(pixels, labels, [entry.patient for entry in entries])
