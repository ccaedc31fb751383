"""``cxredge targets``: the known devices."""

from __future__ import annotations

import typer

from cxredge.cli.command import command
from cxredge.cli.output import Outcome, Output
from cxredge.cli.text import table


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(app, "targets")(targets)


def targets(output: Output) -> Outcome:
    """List the devices that can be built for."""
    from cxredge.targets.registry import all_targets, this_machine

    known = list(all_targets().values())
    rows = [
        [
            target.name + (" (here)" if target.machine == this_machine() else ""),
            target.backend,
            target.dialect.value,
            ", ".join(p.value for p in target.precisions),
            target.title,
        ]
        for target in known
    ]
    text = table(["name", "backend", "dialect", "precisions", "what"], rows)
    return Outcome([t.to_json() for t in known], text, "cxredge build RUN --target NAME --out B")
