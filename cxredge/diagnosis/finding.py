"""What a check returns."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import Enum


class Status(str, Enum):
    """How a thing is.

    ``fail``: building for this machine or predicting cannot work here. ``warn``: it works, worse
    than it could, or something that the user may want is missing. ``skip``: it does not concern
    this machine, or cannot be told.
    """

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: The thing.
        status: How it is.
        found: What was found, in words.
        fix: What to do about it; empty where nothing is to be done.
    """

    name: str
    status: Status
    found: str
    fix: str = ""

    def to_json(self) -> dict[str, str]:
        """Return the finding as JSON values."""
        return {**asdict(self), "status": self.status.value}


def ok(name: str, found: str) -> Finding:
    """Return a finding that is as wanted."""
    return Finding(name, Status.OK, found)


def warn(name: str, found: str, fix: str) -> Finding:
    """Return a finding that can be lived with."""
    return Finding(name, Status.WARN, found, fix)


def fail(name: str, found: str, fix: str) -> Finding:
    """Return a finding that keeps cxredge from working here."""
    return Finding(name, Status.FAIL, found, fix)


def skip(name: str, found: str) -> Finding:
    """Return that there is nothing to judge."""
    return Finding(name, Status.SKIP, found)
