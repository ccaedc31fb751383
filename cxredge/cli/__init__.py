"""The command line: one module per command, listed in the order of the workflow."""

from __future__ import annotations

import importlib
import io
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from cxredge.version import __version__

_COMMANDS = (
    "demo",
    "data",
    "models",
    "train",
    "export",
    "calibrate",
    "quantize",
    "targets",
    "build",
    "sign",
    "deploy",
    "verify",
    "predict",
    "evaluate",
    "bench",
    "report",
    "compare",
    "inspect",
    "doctor",
)


class _Workflow(TyperGroup):
    """Commands and groups in the order of the workflow; Typer lists groups last."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names in the order of ``--help``."""
        return list(_COMMANDS)


app = typer.Typer(
    name="cxredge",
    cls=_Workflow,
    help=(
        "Chest X-ray classifiers on edge devices: fine-tune, export, quantize, build, predict and "
        "measure. Research use only; not a medical device."
    ),
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cxredge {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Print the version."
    ),
) -> None:
    pass


for _name in _COMMANDS:
    importlib.import_module(f"cxredge.cli.{_name}").register(app)


def main() -> None:
    """Run the command line."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # File names may contain bytes that are not UTF-8; stderr escapes them by default.
        sys.stdout.reconfigure(errors="backslashreplace")
    app()
