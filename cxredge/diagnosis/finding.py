"""Findings of the checks."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Status(str, Enum):
    """Status of a finding.

    ``fail``: building for this machine or predicting cannot work. ``warn``: it works, but could be
    better, or something useful is missing. ``skip``: the check does not apply to this machine, or
    its result is unknown.
    """

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"


@dataclass(frozen=True)
class Finding:
    """Result of a check.

    Attributes:
        name: Name of the check.
        status: Its status.
        found: What was found, in words.
        fix: How to fix it; empty if there is nothing to fix.
    """

    name: str
    status: Status
    found: str
    fix: str = ""


def ok(name: str, found: str) -> Finding:
    """Return a finding without a problem."""
    return Finding(name, Status.OK, found)


def warn(name: str, found: str, fix: str) -> Finding:
    """Return a finding that limits cxredge on this machine."""
    return Finding(name, Status.WARN, found, fix)


def fail(name: str, found: str, fix: str) -> Finding:
    """Return a finding that prevents cxredge from working on this machine."""
    return Finding(name, Status.FAIL, found, fix)


def skip(name: str, found: str) -> Finding:
    """Return a finding of a check that does not apply."""
    return Finding(name, Status.SKIP, found)
