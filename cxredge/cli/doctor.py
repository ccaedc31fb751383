"""``cxredge doctor``: what is here and what is missing."""

from __future__ import annotations

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
    machine = found["machine"]
    rows = [
        ["ok" if f["ok"] else mark, f["what"], f["found"], "" if f["ok"] else f["fix"]]
        for mark, findings in (("MISSING", found["required"]), ("-", found["optional"]))
        for f in findings
    ]
    text = "\n".join(
        [
            f"{machine['cpu'] or 'unknown processor'}, {machine['cores']} cores, "
            f"{machine['architecture']}, {machine['system']}",
            f"Target: {found['target'] or 'none fits'}",
            "",
            table(["", "what", "found", "what to do"], rows),
            "",
            "Ready to build and predict."
            if found["ok"]
            else "Not ready: see the lines marked MISSING.",
        ]
    )
    return Outcome(found, text, "cxredge demo --out demo")
