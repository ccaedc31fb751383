"""Golden images: images with their logits at build, which the device must reproduce."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cxredge.artifacts.card import ClassifierSpec
from cxredge.backends import CPU_BACKENDS
from cxredge.backends.base import Logits
from cxredge.bundle.arrays import describe, read_arrays, require
from cxredge.data.images import GreyImage
from cxredge.vocabulary import Precision

MAX_IMAGES = 100
"""Maximum number of golden images; a build takes about a dozen."""


@dataclass(frozen=True)
class Golden:
    """Images with their logits where the bundle was built.

    Attributes:
        pixels: uint8 (N, S, S).
        labels: int (N,), true classes.
        logits: float32 (N, classes) by precision.
        of_runtimes: The same by runtime and precision, for further runtimes: each rounds INT8
            differently.
    """

    pixels: GreyImage
    labels: np.ndarray
    logits: Mapping[Precision, Logits]
    of_runtimes: Mapping[tuple[str, Precision], Logits] = field(default_factory=dict)

    def expected(self, precision: Precision, backend: str) -> Logits:
        """Return the expected logits of a runtime; the first one's if it was not installed."""
        return self.of_runtimes.get((backend, precision), self.logits[precision])


def write_golden(path: Path, golden: Golden) -> None:
    """Write goldens as a compressed NumPy archive without pickled objects."""
    arrays: dict[str, Any] = {f"logits_{p.value}": v for p, v in golden.logits.items()}
    for (backend, precision), logits in golden.of_runtimes.items():
        arrays[f"logits_{precision.value}_{backend}"] = logits
    np.savez_compressed(path, pixels=golden.pixels, labels=golden.labels.astype(np.int64), **arrays)


def read_golden(path: Path, precisions: Sequence[Precision], classifier: ClassifierSpec) -> Golden:
    """Read goldens.

    Args:
        path: The file.
        precisions: Required precisions.
        classifier: The network, whose input and classes the arrays must fit.

    Raises:
        ArtifactError: The file is damaged, lacks a precision, or does not fit the network.
    """
    arrays = read_arrays(path)
    required = ["pixels", "labels", *(f"logits_{p.value}" for p in precisions)]
    missing = [name for name in required if name not in arrays]
    require(not missing, path, f"the arrays {', '.join(required)}", ", ".join(arrays) or "none")
    golden = Golden(
        pixels=arrays["pixels"],
        labels=arrays["labels"],
        logits={p: arrays[f"logits_{p.value}"] for p in precisions},
        of_runtimes={
            (backend, p): arrays[name]
            for backend in CPU_BACKENDS
            for p in precisions
            if (name := f"logits_{p.value}_{backend}") in arrays
        },
    )
    _check(golden, path, classifier)
    return golden


def _check(golden: Golden, path: Path, classifier: ClassifierSpec) -> None:
    """Raise ArtifactError unless the arrays fit each other and the network."""
    pixels, labels = golden.pixels, golden.labels
    size, classes = classifier.input_size, len(classifier.classes)
    count = len(labels) if labels.ndim else 0
    require(
        labels.dtype.kind == "i" and labels.ndim == 1 and 1 <= count <= MAX_IMAGES,
        path, f"labels int (N,) of 1 to {MAX_IMAGES} images", describe(labels),
    )  # fmt: skip
    require(
        bool(((labels >= 0) & (labels < classes)).all()),
        path, f"labels from 0 to {classes - 1}", f"{labels.min()} to {labels.max()}",
    )  # fmt: skip
    require(
        pixels.dtype == np.uint8 and pixels.shape == (count, size, size),
        path, f"pixels uint8 {(count, size, size)}", describe(pixels),
    )  # fmt: skip
    for logits in (*golden.logits.values(), *golden.of_runtimes.values()):
        require(
            logits.dtype == np.float32 and logits.shape == (count, classes),
            path, f"logits float32 {(count, classes)}", describe(logits),
        )  # fmt: skip
        require(bool(np.isfinite(logits).all()), path, "finite logits", "NaN or infinity")
