"""What can go wrong, in words a user can act on."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any


class CxredgeError(Exception):
    """A failure the user can understand and mend.

    Args:
        message: What failed, with the value, and what was expected.
        hint: The next thing to do, as a command where there is one.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class ImageProblem(str, Enum):
    """Why an image has no prediction; the ``status`` column of a predictions file."""

    MISSING = "missing"
    EMPTY = "empty"
    UNREADABLE = "unreadable"
    TRUNCATED = "truncated"
    TOO_SMALL = "too_small"
    TOO_LARGE = "too_large"
    NOT_SCALED = "not_scaled"
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


class Caution(str, Enum):
    """What is doubtful about an image that was decoded all the same."""

    SECONDARY_CAPTURE = "secondary_capture"
    BURNED_IN_TEXT = "burned_in_text"
    UNKNOWN_VIEW = "unknown_view"
    LATERAL = "lateral"
    OBLIQUE = "oblique"


class ImageError(CxredgeError):
    """One image cannot be used; the others are not affected."""

    def __init__(self, problem: ImageProblem, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.problem = problem


class DataError(CxredgeError):
    """A data set, manifest or calibration list is not what it should be."""


class ArtifactError(CxredgeError):
    """An artifact is missing, incomplete, altered or of the wrong kind."""


class DependencyError(CxredgeError):
    """A package or device that this command needs is not installed here."""


class WrongUsage(CxredgeError):  # noqa: N818 - the command is wrong, not the machine
    """Something was asked for that cannot be had, whatever the data are."""

    exit_code = 2


class Interrupted(CxredgeError):  # noqa: N818 - a person's wish, not a fault
    """Ctrl-C: what was finished is kept, and the hint says how to go on."""

    exit_code = 130


class GateRefused(CxredgeError):  # noqa: N818 - a refusal is an outcome, not a fault
    """The result is worse than the limits allow; nothing was shipped.

    Args:
        message: What was refused and why.
        hint: What to do instead.
        details: The figures, for ``--json``.
    """

    exit_code = 3

    def __init__(
        self, message: str, hint: str = "", details: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message, hint)
        self.details = details or {}


def quoted(path: Path | str) -> str:
    """Return a path as one word of a command, in quotes where a shell asks for them."""
    return shlex.quote(str(path))
