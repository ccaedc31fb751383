"""Activation statistics of a calibration set: one histogram per activation, stored as a file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cxredge.artifacts.atomic import atomic_file
from cxredge.errors import ArtifactError, CxredgeError
from cxredge.quantization.ranges.histogram import EMPTY, SIZE, Histogram
from cxredge.quantization.ranges.methods import PERCENTILE, Range, clipped_range
from cxredge.vocabulary import RangeMethod

Ranges = Mapping[str, Range]
"""Lower and upper end of the range of each float activation, by tensor name."""

SCHEMA = "cxredge.statistics/1"
_Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Statistics:
    """Statistics of the activations of a network.

    Attributes:
        images: Number of images measured.
        histograms: Histogram of each activation, by tensor name.
    """

    images: int
    histograms: Mapping[str, Histogram]

    def ranges(
        self, method: RangeMethod, symmetric: bool, percentile: float = PERCENTILE
    ) -> Ranges:
        """Return the range of each activation.

        Args:
            method: The range method.
            symmetric: Whether ranges are (-t, t), for int8 with zero point 0, or for uint8.
            percentile: Percentage of values kept by the method of that name.
        """
        return {
            name: clipped_range(histogram, method, symmetric, percentile)
            for name, histogram in self.histograms.items()
        }

    def min_max(self) -> Ranges:
        """Return the minimum and maximum of each activation, which may exclude zero."""
        return {name: (found.low, found.high) for name, found in self.histograms.items()}

    def moved(self, moves: Mapping[str, float]) -> Statistics:
        """Return the statistics after some activations were shifted down.

        Args:
            moves: Amount subtracted from each activation, by tensor name.
        """
        moved = {name: self.histograms[name].moved(-by) for name, by in moves.items()}
        return replace(self, histograms={**self.histograms, **moved})

    def merge(self, other: Statistics) -> Statistics:
        """Return the statistics of the images of both, which must be of the same graph.

        Raises:
            CxredgeError: The activations differ.
        """
        if self.histograms.keys() != other.histograms.keys():
            unshared = sorted(self.histograms.keys() ^ other.histograms.keys())
            raise CxredgeError(
                f"Statistics of two graphs cannot be merged: only one of them has {unshared[0]!r}.",
                "Measure both parts of the set on the same ONNX file.",
            )
        merged = {name: h.merge(other.histograms[name]) for name, h in self.histograms.items()}
        return Statistics(self.images + other.images, merged)

    def save(self, path: Path, key: str = "") -> None:
        """Write the statistics atomically.

        Args:
            path: The ``.npz`` file.
            key: Cache key of graph and images; see :func:`load_statistics`.
        """
        found = list(self.histograms.values())
        arrays: dict[str, Any] = {
            "schema": np.array(SCHEMA),
            "key": np.array(key),
            "images": np.array(self.images, np.int64),
            "names": np.array(list(self.histograms), dtype=np.str_),
            "exponents": np.array([h.exponent for h in found], np.int64),
            "limits": np.array([(h.low, h.high) for h in found], np.float64).reshape(-1, 2),
            "counts": np.array([h.counts for h in found], np.int64).reshape(-1, SIZE),
        }
        with atomic_file(path) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(stream, **arrays, sha256=np.array(_digest(arrays)))


def empty_statistics(names: list[str]) -> Statistics:
    """Return the statistics of no images."""
    return Statistics(0, dict.fromkeys(names, EMPTY))


def load_statistics(path: Path, key: str = "") -> Statistics:
    """Read statistics and check their integrity.

    Args:
        path: The file.
        key: The key with which they must have been saved.

    Raises:
        ArtifactError: The file is missing, damaged or edited, or has another schema or key.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays: _Arrays = {name: stored[name] for name in stored.files}
        statistics = _from_arrays(arrays, key)
    except FileNotFoundError:
        raise ArtifactError(f"{path} does not exist.", "Check the path.") from None
    except Exception as error:
        # A damaged archive fails in many ways, from an unknown compression to a shape that does not
        # fit into memory.
        raise ArtifactError(
            f"{path} does not hold the expected statistics: {str(error) or type(error).__name__}.",
            "Measure them again.",
        ) from None
    return statistics


def _from_arrays(arrays: _Arrays, key: str) -> Statistics:
    if str(arrays["schema"]) != SCHEMA:
        raise ValueError(f"its schema is {arrays['schema']}, not {SCHEMA}")
    if str(arrays["key"]) != key:
        raise ValueError("they belong to another graph or other images")
    if str(arrays.pop("sha256")) != _digest(arrays):
        raise ValueError("they do not match their own hash")
    histograms = {
        str(name): Histogram(int(exponent), counts, float(low), float(high))
        for name, exponent, counts, (low, high) in zip(
            arrays["names"], arrays["exponents"], arrays["counts"], arrays["limits"], strict=True
        )
    }
    if not all(histogram.is_consistent() for histogram in histograms.values()):
        raise ValueError("a histogram is inconsistent")
    return Statistics(int(arrays["images"]), histograms)


def _digest(arrays: _Arrays) -> str:
    """Return the SHA-256 of all arrays; a zip file protects each only by a 32-bit checksum."""
    digest = hashlib.sha256()
    for name, values in sorted(arrays.items()):
        digest.update(f"{name} {values.dtype.str} {values.shape} ".encode())
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()
