"""``cxredge report`` (being written)."""
from pathlib import Path
import typer
from cxredge.cli.command import command
from cxredge.cli.output import Outcome, Output
def register(app: typer.Typer) -> None:
    command(app, "report")(report)
def report(output: Output, paths: list[Path], out: Path) -> Outcome:
    return Outcome({}, "")
