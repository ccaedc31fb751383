"""Golden images: images with their logits at build, which the device must reproduce."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cxredge.backends import CPU_BACKENDS
from cxredge.backends.base import Logits
from cxredge.data.images import GreyImage
from cxredge.errors import ArtifactError
from cxredge.vocabulary import Precision

_MAX_BYTES = 100_000_000


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


def read_golden(path: Path, precisions: Sequence[Precision]) -> Golden:
    """Read goldens.

    Args:
        path: The file.
        precisions: Required precisions.

    Raises:
        ArtifactError: The file is damaged or lacks one of them.
    """
    try:
        with zipfile.ZipFile(path) as members:
            if sum(member.file_size for member in members.infolist()) > _MAX_BYTES:
                raise ValueError("it holds more than a dozen images")
        with np.load(path, allow_pickle=False) as arrays:
            return Golden(
                pixels=arrays["pixels"],
                labels=arrays["labels"],
                logits={p: arrays[f"logits_{p.value}"] for p in precisions},
                of_runtimes={
                    (backend, p): arrays[name]
                    for backend in CPU_BACKENDS
                    for p in precisions
                    if (name := f"logits_{p.value}_{backend}") in arrays.files
                },
            )
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ArtifactError(f"{path} cannot be read: {error}.", "Build the bundle again.") from None
