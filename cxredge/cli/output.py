"""Output of commands: the result on stdout, everything else on stderr.

This is the only module that prints.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from cxredge.errors import CxredgeError, GateRefused
from cxredge.progress import Advance

_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


class Verbosity(int, Enum):
    """Amount of output on stderr."""

    QUIET = 0
    NORMAL = 1
    VERBOSE = 2


@dataclass(frozen=True)
class Outcome:
    """Result of a command.

    Attributes:
        data: The JSON value of ``--json``.
        text: The same as plain text, printed without ``--json``.
        next_step: The command to run next, if there is one.
    """

    data: Any
    text: str
    next_step: str = ""


@dataclass
class Output:
    """Output of one command; also its progress listener."""

    as_json: bool = False
    verbosity: Verbosity = Verbosity.NORMAL
    _depth: int = field(default=0, init=False)

    def show(self, outcome: Outcome) -> None:
        """Print a command's result."""
        if self.as_json:
            self._print_json(outcome.data)
            return
        print(printable(outcome.text), flush=True)
        if outcome.next_step and self.verbosity is not Verbosity.QUIET:
            _say(f"Next: {outcome.next_step}")

    def fail(self, error: CxredgeError) -> None:
        """Print an error on stderr, and as JSON on stdout with ``--json``."""
        _say(f"Error: {error.message}")
        if error.hint:
            _say(f"  {error.hint}")
        if self.as_json:
            self.answer(error)

    def answer(self, error: CxredgeError) -> None:
        """Print an error as JSON on stdout."""
        details = error.details if isinstance(error, GateRefused) else {}
        self._print_json({"error": error.message, "hint": error.hint, **details})

    def explain(self, text: str) -> None:
        """Print the details of a failure, also when quiet."""
        _say(text)

    def note(self, message: str) -> None:
        """Print a message about the progress, unless quiet."""
        if self.verbosity is not Verbosity.QUIET:
            _say(message)

    @contextmanager
    def task(self, description: str, total: int | None) -> Iterator[Advance]:
        """Show a progress bar if stderr is a terminal."""
        if self.verbosity is Verbosity.QUIET or not sys.stderr.isatty() or self._depth:
            if self.verbosity is Verbosity.VERBOSE:
                self.note(f"{description} ({total if total is not None else '?'})")
            yield lambda _: None
            return
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
        )
        self._depth += 1
        try:
            with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
                task = bar.add_task(description, total=total)
                yield lambda count: bar.update(task, advance=count)
        finally:
            self._depth -= 1

    def _print_json(self, value: Any) -> None:
        print(json.dumps(finite(value), indent=2, default=str, allow_nan=False), flush=True)


def printable(text: str) -> str:
    r"""Escape what a terminal obeys instead of showing: file names may hold it.

    Control characters other than line feed and tab become ``\x1b``, marks that turn the direction
    of text ``\u202e``, and bytes of a name that are not UTF-8 ``\xff``.
    """
    return _UNPRINTABLE.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8 (PEP 383)
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _say(text: str) -> None:
    """Print on stderr; work does not stop because nobody can read a message."""
    with suppress(OSError):
        print(printable(text), file=sys.stderr)


def finite(value: Any) -> Any:
    """Replace NaN and infinity, which JSON cannot represent, with null."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
