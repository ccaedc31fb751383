"""``cxredge doctor``: what is here and what is missing."""

from __future__ import annotations

from typing import Any

import typer

from cxredge.cli.command import command
from cxredge.cli.output import Outcome, Output
from cxredge.cli.text import table


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(app, "doctor")(doctor)


def doctor(output: Output) -> Outcome:
    """Look at this machine and say what to do about what is missing."""
    from cxredge.diagnosis import diagnose

    found = diagnose()
    return Outcome(found, _text(found), _step(found))


def _step(found: dict[str, Any]) -> str:
    """Return the command to go on with; where bundles cannot be made, one is brought here."""
    if not found["target"]:
        return ""
    if any(f["name"] == "onnx" and f["status"] == "ok" for f in found["findings"]):
        return f"cxredge build RUN --target {found['target']} --out BUNDLE"
    return "cxredge deploy BUNDLE"


def _text(found: dict[str, Any]) -> str:
    machine, findings = found["machine"], found["findings"]
    rows = [[f["status"], f["name"], f["found"]] for f in findings]
    fixes = [
        f"{f['status']}: {f['name']}, {f['found']}\n  {f['fix']}" for f in findings if f["fix"]
    ]
    failed, warned = (sum(f["status"] == s for f in findings) for s in ("fail", "warn"))
    ready = "Ready to build and predict."
    if warned:
        ready += f" To mend first: {warned} marked warn."
    lines = [
        f"{machine['cpu'] or 'unknown processor'}, {machine['cores']} cores, "
        f"{machine['architecture']}, {machine['system']}",
        f"Target: {found['target'] or 'none fits'}",
        "",
        table(["", "what", "found"], rows),
        "",
        *([*fixes, ""] if fixes else []),
        ready if found["ok"] else f"Not ready: {failed} marked fail.",
    ]
    return "\n".join(lines)
