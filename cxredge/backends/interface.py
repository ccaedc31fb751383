"""Inputs and outputs that a runtime found in a model, and whether they are those of cxredge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cxredge.artifacts.card import MAX_CLASSES, MAX_INPUT_SIZE
from cxredge.backends.base import Logits
from cxredge.errors import ArtifactError
from cxredge.vocabulary import INPUT_NAME, OUTPUT_NAME

MAX_TENSOR_BYTES = 4 * 10**9
"""Maximum size of a tensor that a model computes; a batch of 16 of the largest network of the zoo
has tensors of 0.2 GB."""
FIRST_INFERENCE_S = 120
"""Maximum seconds of a session's first inference. Later ones do the same work."""


@dataclass(frozen=True)
class Port:
    """An input or output of a model.

    Attributes:
        name: Its name.
        kind: Type of its elements, in NumPy's terms; the runtime's own term for others.
        shape: Its sides; None for one that is not fixed.
    """

    name: str
    kind: str
    shape: tuple[int | None, ...]


def check_interface(path: Path, inputs: Sequence[Port], outputs: Sequence[Port]) -> tuple[int, int]:
    """Return input size in pixels and number of classes.

    Raises:
        ArtifactError: The model is not a classifier of grey images.
    """
    names = [i.name for i in inputs], [o.name for o in outputs]
    if names != ([INPUT_NAME], [OUTPUT_NAME]):
        raise ArtifactError(
            f"{path} has the inputs {names[0]} and the outputs {names[1]}; a cxredge model has "
            f"'{INPUT_NAME}' and '{OUTPUT_NAME}'.",
            "Export it with: cxredge export RUN --out DIR",
        )
    (image,), (logits,) = inputs, outputs
    size = image.shape[2] if len(image.shape) == 4 else None
    classes = logits.shape[1] if len(logits.shape) == 2 else None
    fits = (
        (image.kind, logits.kind) == ("uint8", "float32")
        and image.shape[1:] == (1, size, size)
        and size is not None
        and 1 <= size <= MAX_INPUT_SIZE
        and classes is not None
        and 1 <= classes <= MAX_CLASSES
    )
    if not fits or size is None or classes is None:
        raise ArtifactError(
            f"{path} maps {_words(image)} to {_words(logits)}; a cxredge model maps "
            "uint8 [N, 1, size, size] to float32 [N, classes].",
            "Export it with: cxredge export RUN --out DIR",
        )
    return size, classes


def check_logits(path: Path, logits: Logits, images: int, classes: int) -> None:
    """Raise ArtifactError if a model returned another shape than it declares."""
    if logits.shape != (images, classes) or logits.dtype != np.float32:
        raise ArtifactError(
            f"{path} returned {logits.dtype} {list(logits.shape)} for {images} images; expected "
            f"float32 {[images, classes]}.",
            "Export or build it again.",
        )


def failed(runtime: str, doing: str, path: Path, error: Exception, line: int = 0) -> ArtifactError:
    """Return an error of a runtime as one sentence of at most 300 characters.

    Args:
        runtime: Title of the runtime.
        doing: What it failed to do with the file, such as ``load``.
        path: The file.
        error: Its exception.
        line: Index of the line of its message that states the cause.
    """
    lines = [text.strip() for text in str(error).splitlines() if text.strip()]
    cause = lines[line] if lines else type(error).__name__
    cause = cause if len(cause) <= 300 else cause[:297] + "..."
    return ArtifactError(
        f"{runtime} failed to {doing} {path}: {cause}", "Export or build it again."
    )


def too_slow(runtime: str, path: Path) -> ArtifactError:
    """Return the error of a first inference that was ended."""
    return ArtifactError(
        f"{runtime} was stopped: one inference with {path} took more than {FIRST_INFERENCE_S} s.",
        "Check where the model comes from, or run it on a faster machine.",
    )


def _words(port: Port) -> str:
    sides = ", ".join("?" if side is None else str(side) for side in port.shape)
    return f"{port.kind} [{sides}]"
