"""``cxredge doctor``: diagnosis of this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from cxredge.cli.command import command
from cxredge.cli.output import Outcome, Output
from cxredge.cli.text import table

if TYPE_CHECKING:
    from cxredge.diagnosis import Diagnosis


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(app, "doctor")(doctor)


def doctor(output: Output) -> Outcome:
    """Check this machine and show how to fix what is missing."""
    from cxredge.artifacts.records import to_json
    from cxredge.diagnosis import diagnose

    found = diagnose()
    return Outcome(to_json(found), _text(found), _step(found))


def _step(found: Diagnosis) -> str:
    """Return the next command: without ``onnx``, bundles can be deployed but not built."""
    if not found.target:
        return ""
    if any(one.name == "onnx" and one.status == "ok" for one in found.findings):
        return f"cxredge build RUN --target {found.target} --out BUNDLE"
    return "cxredge deploy BUNDLE"


def _text(found: Diagnosis) -> str:
    machine = found.machine
    rows = [[one.status.value, one.name, one.found] for one in found.findings]
    fixes = [
        f"{one.status.value}: {one.name}, {one.found}\n  {one.fix}"
        for one in found.findings
        if one.fix
    ]
    failed, warned = (sum(one.status == s for one in found.findings) for s in ("fail", "warn"))
    ready = "Ready to build and predict."
    if warned:
        ready += f" {warned} warning{'s' if warned > 1 else ''}."
    lines = [
        f"{machine.cpu or 'unknown processor'}, {machine.cores} cores, "
        f"{machine.architecture}, {machine.system}",
        f"Target: {found.target or 'no known target'}",
        "",
        table(["", "check", "found"], rows),
        "",
        *([*fixes, ""] if fixes else []),
        ready if found.ok else f"Not ready: {failed} failure{'s' if failed > 1 else ''}.",
    ]
    return "\n".join(lines)
