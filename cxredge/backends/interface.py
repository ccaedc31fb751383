"""Inputs and outputs that a runtime found in a model, and whether they are those of cxredge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cxredge.artifacts.card import MAX_CLASSES, MAX_INPUT_SIZE
from cxredge.backends.base import Outputs
from cxredge.errors import ArtifactError
from cxredge.vocabulary import DISTANCE_NAME, INPUT_NAME, MAPS_NAME, OUTPUT_NAME

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


@dataclass(frozen=True)
class Interface:
    """Input and outputs of a model of cxredge.

    Attributes:
        size: Height and width of an image in pixels.
        classes: Number of logits per image.
        has_distances: Whether the model also returns distances.
        map_sides: Height and width of its class activation maps; None if it returns none.
    """

    size: int
    classes: int
    has_distances: bool
    map_sides: tuple[int, int] | None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the outputs, in the order of :class:`~cxredge.backends.base.Outputs`."""
        optional = ((DISTANCE_NAME, self.has_distances), (MAPS_NAME, self.map_sides is not None))
        return (OUTPUT_NAME, *(name for name, present in optional if present))

    def shape(self, name: str, images: int) -> tuple[int, ...]:
        """Return the shape of an output for a number of images."""
        shapes = {
            OUTPUT_NAME: (images, self.classes),
            DISTANCE_NAME: (images,),
            MAPS_NAME: (images, self.classes, *(self.map_sides or ())),
        }
        return shapes[name]

    def outputs(self, path: Path, arrays: Mapping[str, Any], images: int) -> Outputs:
        """Return what a model computed, by name, as outputs.

        Raises:
            ArtifactError: An array has another shape or type than the model declares.
        """
        for name in self.names:
            found, expected = arrays[name], self.shape(name, images)
            if found.shape != expected or found.dtype != np.float32:
                raise ArtifactError(
                    f"{path} returned {found.dtype} {list(found.shape)} as '{name}' for {images} "
                    f"images; expected float32 {list(expected)}.",
                    "Export or build it again.",
                )
        return Outputs(arrays[OUTPUT_NAME], arrays.get(DISTANCE_NAME), arrays.get(MAPS_NAME))


def check_interface(path: Path, inputs: Sequence[Port], outputs: Sequence[Port]) -> Interface:
    """Return the interface of a model.

    Raises:
        ArtifactError: The model is not a classifier of grey images.
    """
    by_name = {port.name: port for port in outputs}
    names = [i.name for i in inputs], [o.name for o in outputs]
    known = {OUTPUT_NAME, DISTANCE_NAME, MAPS_NAME}
    fits = OUTPUT_NAME in by_name and by_name.keys() <= known and len(by_name) == len(outputs)
    if names[0] != [INPUT_NAME] or not fits:
        raise ArtifactError(
            f"{path} has the inputs {names[0]} and the outputs {names[1]}; a cxredge model has "
            f"'{INPUT_NAME}' and '{OUTPUT_NAME}', and may have '{DISTANCE_NAME}' and "
            f"'{MAPS_NAME}'.",
            "Export it with: cxredge export RUN --out DIR",
        )
    size, classes = _check_classifier(path, inputs[0], by_name[OUTPUT_NAME])
    distance, maps = by_name.get(DISTANCE_NAME), by_name.get(MAPS_NAME)
    if distance and (distance.kind, len(distance.shape)) != ("float32", 1):
        raise _wrong_output(path, distance, "float32 [N]")
    return Interface(size, classes, distance is not None, _map_sides(path, maps, classes))


def _check_classifier(path: Path, image: Port, logits: Port) -> tuple[int, int]:
    """Return input size and number of classes."""
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


def _map_sides(path: Path, maps: Port | None, classes: int) -> tuple[int, int] | None:
    """Return height and width of the maps; None if the model returns none."""
    if maps is None:
        return None
    if maps.kind == "float32" and len(maps.shape) == 4 and maps.shape[1] == classes:
        height, width = maps.shape[2:]
        if height is not None and width is not None and max(height, width) <= MAX_INPUT_SIZE:
            return height, width
    raise _wrong_output(path, maps, f"float32 [N, {classes}, height, width]")


def _wrong_output(path: Path, port: Port, expected: str) -> ArtifactError:
    return ArtifactError(
        f"{path} returns {_words(port)} as '{port.name}'; expected {expected}.",
        "Build it again.",
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
