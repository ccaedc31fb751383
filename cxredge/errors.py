"""Errors with a message that a user can act on."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any


class CxredgeError(Exception):
    """Failure that the user can understand and fix.

    Args:
        message: What failed, with the value, and what was expected.
        hint: The next step, as a command if there is one.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class ImageProblem(str, Enum):
    """Reason why an image has no prediction; ``status`` column of a predictions file."""

    MISSING = "missing"
    EMPTY = "empty"
    UNREADABLE = "unreadable"
    TRUNCATED = "truncated"
    TOO_SMALL = "too_small"
    TOO_LARGE = "too_large"
    NOT_SCALED = "not_scaled"
    IMPLAUSIBLE = "implausible"
    ENCRYPTED = "encrypted"
    LINK = "link"
    NESTED_ARCHIVE = "nested_archive"
    NOT_INSTALLED = "not_installed"
    UNSUPPORTED = "unsupported"
    BAD_HEADER = "bad_header"
    NOT_A_RADIOGRAPH = "not_a_radiograph"
    FOR_PROCESSING = "for_processing"
    MULTI_FRAME = "multi_frame"
    NO_PIXELS = "no_pixels"
    LATERAL = "lateral"
    OBLIQUE = "oblique"
    NOT_FINITE = "not_finite"
    UNFAMILIAR = "unfamiliar"


class Caution(str, Enum):
    """Warning about an image that was decoded."""

    SECONDARY_CAPTURE = "secondary_capture"
    BURNED_IN_TEXT = "burned_in_text"
    UNKNOWN_VIEW = "unknown_view"
    LATERAL = "lateral"
    OBLIQUE = "oblique"
    NARROW_RANGE = "narrow_range"
    MOSTLY_WHITE = "mostly_white"
    UPSIDE_DOWN = "upside_down"
    INVERTED = "inverted"
    UNFAMILIAR = "unfamiliar"

    @property
    def sentence(self) -> str:
        """The reason in a sentence."""
        return _CAUTION_SENTENCES[self]


_CAUTION_SENTENCES = {
    Caution.SECONDARY_CAPTURE: "The image is a secondary capture, such as a film scan or a "
    "screenshot, not the modality's own image.",
    Caution.BURNED_IN_TEXT: "Text is burned into the pixels.",
    Caution.UNKNOWN_VIEW: "The header's view is not understood; it may not be a frontal X-ray.",
    Caution.LATERAL: "The view is lateral; the network was trained on frontal X-rays.",
    Caution.OBLIQUE: "The view is oblique; the network was trained on frontal X-rays.",
    Caution.NARROW_RANGE: "The grey values span a small part of the range from black to white, "
    "as values that are not scaled to their full depth do.",
    Caution.MOSTLY_WHITE: "More than half of the picture is white: it is overexposed, or has a "
    "wide margin.",
    Caution.UPSIDE_DOWN: "The picture seems to be upside down.",
    Caution.INVERTED: "The picture seems to be inverted: bone is darker than lung.",
    Caution.UNFAMILIAR: "The image is unlike the training images; it was predicted because of "
    "--answer-all.",
}


class ImageError(CxredgeError):
    """One image cannot be used; others are not affected."""

    def __init__(self, problem: ImageProblem, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.problem = problem


class DataError(CxredgeError):
    """A data set, manifest or calibration list is not valid."""


class ArtifactError(CxredgeError):
    """An artifact is missing, incomplete, modified or of the wrong kind."""


class DependencyError(CxredgeError):
    """A required package or device is not installed."""


class WrongUsage(CxredgeError):  # noqa: N818 - an error of the command line
    """The options of a command are not valid, regardless of the data."""

    exit_code = 2


class Interrupted(CxredgeError):  # noqa: N818 - not an error
    """Interrupted by Ctrl-C; finished work is kept, and the hint says how to resume."""

    exit_code = 130


class GateRefused(CxredgeError):  # noqa: N818 - a result, not an error
    """The result violates the limits of the gate; no artifact was written.

    Args:
        message: What was refused and why.
        hint: The next step.
        details: Metrics and limits, for ``--json``.
    """

    exit_code = 3

    def __init__(
        self, message: str, hint: str = "", details: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message, hint)
        self.details = details or {}


def quoted(path: Path | str) -> str:
    """Return a path quoted for a shell command."""
    return shlex.quote(str(path))
