"""A bundle: what goes to a device, and how the device checks that it still computes the same.

``card.json`` says what the bundle is and never changes; ``passport.json`` is written on the device
that the engine was chosen on, and is bound to the card by its hash.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cxredge.artifacts import (
    Card,
    Kind,
    check_files,
    read_card,
)
from cxredge.backends import open_session
from cxredge.backends.base import Logits, Session
from cxredge.data.images import PREPROCESSING, GreyImage
from cxredge.errors import ArtifactError
from cxredge.metrics import softmax
from cxredge.passport import read_passport
from cxredge.vocabulary import Precision

GOLDEN_NAME = "golden.npz"
CALIBRATION_NAME = "calibration.csv"
MAX_PROBABILITY_DIFFERENCE = {Precision.FP32: 1e-3, Precision.FP16: 1e-2, Precision.INT8: 2e-2}
"""How far a probability may move on another machine, by precision; the class must not change."""


@dataclass(frozen=True)
class Golden:
    """Images with the outputs they gave where the bundle was built.

    Attributes:
        pixels: uint8 (N, S, S).
        labels: int (N,), true classes.
        logits: float32 (N, classes) by precision.
    """

    pixels: GreyImage
    labels: np.ndarray
    logits: Mapping[Precision, Logits]


@dataclass(frozen=True)
class Replay:
    """What the goldens gave on this machine, for one precision."""

    precision: Precision
    images: int
    max_logit_difference: float
    max_probability_difference: float
    classes_changed: int
    passed: bool

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return {**self.__dict__, "precision": self.precision.value}


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files were checked.

    Attributes:
        path: Its folder.
        card: Its card.
        passport: What was found on this device, or None when it was not finished on one.
        precision: The precision that serves.
    """

    path: Path
    card: Card
    passport: Mapping[str, Any] | None
    precision: Precision

    @property
    def engine(self) -> Path:
        """The file that the backend loads."""
        return self.path / model_name(self.precision)

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """The precisions that the bundle holds."""
        return tuple(p for p in Precision if model_name(p) in self.card.files)

    @property
    def backend(self) -> str:
        """What runs the engine: the target's runtime once the bundle was finished on a device.

        Until then it holds ONNX files alone, and ONNX Runtime runs them.
        """
        return str(self.card.config["backend"]) if self.passport else "onnxruntime"

    @property
    def thresholds(self) -> Mapping[str, float]:
        """Operating threshold by class, derived for the precision that serves."""
        thresholds: Mapping[str, float] = self.card.facts["thresholds"][self.precision.value]
        return thresholds

    def open(self, precision: Precision | None = None, threads: int = 0) -> Session:
        """Load the engine, or the model of another precision in the bundle."""
        path = self.path / model_name(precision or self.precision)
        return open_session(path, self.backend, threads)


def model_name(precision: Precision) -> str:
    """Return the file name of a precision's ONNX model in a bundle."""
    return f"model-{precision.value}.onnx"


def float_input_name(precision: Precision) -> str:
    """Return the file name of a model with float input, for runtimes without uint8 inputs."""
    return f"model-{precision.value}-float-input.onnx"


def open_bundle(path: Path) -> Bundle:
    """Read a bundle and check all its files.

    Raises:
        ArtifactError: It is no bundle, a file is missing or differs, or it expects another
            preprocessing than this version has.
    """
    card = read_card(path, Kind.BUNDLE)
    check_files(path, card)
    if card.classifier.preprocessing != PREPROCESSING:
        raise ArtifactError(
            f"{path} was built for preprocessing '{card.classifier.preprocessing}'; this cxredge "
            f"has '{PREPROCESSING}'.",
            f"Install cxredge {card.tools.get('cxredge', '')} or build the bundle again.",
        )
    passport = read_passport(path)
    precision = Precision(passport["precision"] if passport else card.facts["precision"])
    return Bundle(path, card, passport, precision)


def write_golden(path: Path, golden: Golden) -> None:
    """Write goldens as a compressed NumPy archive without pickled objects."""
    arrays: dict[str, Any] = {f"logits_{p.value}": v for p, v in golden.logits.items()}
    np.savez_compressed(path, pixels=golden.pixels, labels=golden.labels.astype(np.int64), **arrays)


def read_golden(bundle: Bundle) -> Golden:
    """Read a bundle's goldens.

    Raises:
        ArtifactError: The file is not what a bundle holds.
    """
    path = bundle.path / GOLDEN_NAME
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return Golden(
                pixels=arrays["pixels"],
                labels=arrays["labels"],
                logits={p: arrays[f"logits_{p.value}"] for p in bundle.precisions},
            )
    except (OSError, ValueError, KeyError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}.", "Build the bundle again.") from None


def replay(bundle: Bundle, precision: Precision, golden: Golden) -> Replay:
    """Run the goldens on this machine and compare with what they gave where they were made."""
    with bundle.open(precision) as session:
        logits = np.concatenate([session.infer(image[None]) for image in golden.pixels])
    expected = golden.logits[precision]
    difference = float(np.abs(softmax(logits) - softmax(expected)).max())
    changed = int((logits.argmax(axis=1) != expected.argmax(axis=1)).sum())
    return Replay(
        precision=precision,
        images=len(logits),
        max_logit_difference=float(np.abs(logits - expected).max()),
        max_probability_difference=difference,
        classes_changed=changed,
        passed=changed == 0 and difference <= MAX_PROBABILITY_DIFFERENCE[precision],
    )
