"""Golden images: images with their outputs at build, which the device must reproduce."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cxredge.artifacts.card import ClassifierSpec
from cxredge.backends import CPU_BACKENDS
from cxredge.backends.base import Distances, Logits, Outputs
from cxredge.bundle.arrays import Arrays, describe, read_arrays, require
from cxredge.data.images import GreyImage
from cxredge.vocabulary import Precision

MAX_IMAGES = 100
"""Maximum number of golden images; a build takes about a dozen."""
_LOGITS, _DISTANCE = "logits", "distance"


@dataclass(frozen=True)
class Golden:
    """Images with their outputs where the bundle was built.

    Attributes:
        pixels: uint8 (N, S, S).
        labels: int (N,), true classes.
        logits: float32 (N, classes) by precision.
        of_runtimes: The same by runtime and precision, for further runtimes: each rounds INT8
            differently.
        distances: float32 (N,) by precision; empty if the networks return none, and in bundles of
            earlier versions.
        distances_of_runtimes: The same by runtime and precision, for further runtimes.
    """

    pixels: GreyImage
    labels: np.ndarray
    logits: Mapping[Precision, Logits]
    of_runtimes: Mapping[tuple[str, Precision], Logits] = field(default_factory=dict)
    distances: Mapping[Precision, Distances] = field(default_factory=dict)
    distances_of_runtimes: Mapping[tuple[str, Precision], Distances] = field(default_factory=dict)

    def expected(self, precision: Precision, backend: str) -> Outputs:
        """Return the expected outputs of a runtime, without maps.

        They are those of the first runtime if this one was not installed at the build.
        """
        key = (backend, precision)
        if key in self.of_runtimes:
            return Outputs(self.of_runtimes[key], self.distances_of_runtimes.get(key))
        return Outputs(self.logits[precision], self.distances.get(precision))


def write_golden(path: Path, golden: Golden) -> None:
    """Write goldens as a compressed NumPy archive without pickled objects."""
    arrays: dict[str, Any] = {
        **{_name(_LOGITS, p): values for p, values in golden.logits.items()},
        **{_name(_LOGITS, p, b): values for (b, p), values in golden.of_runtimes.items()},
        **{_name(_DISTANCE, p): values for p, values in golden.distances.items()},
        **{_name(_DISTANCE, p, b): v for (b, p), v in golden.distances_of_runtimes.items()},
    }
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
    required = ["pixels", "labels", *(_name(_LOGITS, p) for p in precisions)]
    missing = [name for name in required if name not in arrays]
    require(not missing, path, f"the arrays {', '.join(required)}", ", ".join(arrays) or "none")
    golden = Golden(
        pixels=arrays["pixels"],
        labels=arrays["labels"],
        logits=_by_precision(arrays, _LOGITS, precisions),
        of_runtimes=_by_runtime(arrays, _LOGITS, precisions),
        distances=_by_precision(arrays, _DISTANCE, precisions),
        distances_of_runtimes=_by_runtime(arrays, _DISTANCE, precisions),
    )
    _check(golden, path, classifier)
    return golden


def _name(kind: str, precision: Precision, backend: str = "") -> str:
    return "_".join(filter(None, (kind, precision.value, backend)))


def _by_precision(
    arrays: Arrays, kind: str, precisions: Sequence[Precision]
) -> dict[Precision, np.ndarray]:
    return {p: arrays[name] for p in precisions if (name := _name(kind, p)) in arrays}


def _by_runtime(
    arrays: Arrays, kind: str, precisions: Sequence[Precision]
) -> dict[tuple[str, Precision], np.ndarray]:
    return {
        (backend, p): arrays[name]
        for backend in CPU_BACKENDS
        for p in precisions
        if (name := _name(kind, p, backend)) in arrays
    }


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
        _check_finite(logits, "logits", (count, classes), path)
    for distances in (*golden.distances.values(), *golden.distances_of_runtimes.values()):
        _check_finite(distances, "distances", (count,), path)
        require(bool((distances >= 0).all()), path, "distances of at least 0", distances.min())


def _check_finite(values: np.ndarray, what: str, shape: tuple[int, ...], path: Path) -> None:
    require(
        values.dtype == np.float32 and values.shape == shape,
        path, f"{what} float32 {shape}", describe(values),
    )  # fmt: skip
    require(bool(np.isfinite(values).all()), path, f"finite {what}", "NaN or infinity")
