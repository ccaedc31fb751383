"""The command line: one module per command, listed in the order of the workflow."""

from __future__ import annotations

import functools
import importlib
import io
import sys
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from cxredge.cli.process import open_closed_streams
from cxredge.version import __version__

COMMANDS = {
    "demo": "Run all stages on generated phantoms, in a few minutes.",
    "data": "Prepare, generate and audit data sets.",
    "models": "List the networks and the blocks that the paper trains.",
    "train": "Fine-tune a network by block freezing and keep the best epoch.",
    "export": "Export a run to FP32 ONNX and check it against torch.",
    "calibrate": "Choose calibration images from the training split.",
    "quantize": "Quantize a model to INT8 and show what each step gains.",
    "targets": "List the devices that cxredge builds for.",
    "build": "Build a bundle: export, quantize, compare with FP32, pack.",
    "sign": "Sign a bundle, or its archive, with an Ed25519 key.",
    "deploy": "Finish a bundle on its device: engines, golden images, timing.",
    "verify": "Check all hashes, and run the golden images on this machine.",
    "predict": "Predict X-rays and write one row per input, in input order.",
    "show": "Show one X-ray: heatmap, probabilities, set and familiarity.",
    "evaluate": "Measure accuracy, calibration, refusals and controls.",
    "export-triton": "Write a model repository for NVIDIA Triton.",
    "bench": "Measure latency, throughput and accuracy on this machine.",
    "report": "Write one self-contained page about bundles and their results.",
    "compare": "Compare bundles, evaluations, benchmarks or passports with A.",
    "inspect": "Describe an artifact: kind, origin and integrity.",
    "doctor": "Check this machine and show how to fix what is missing.",
}
"""Names and summaries of the commands, in the order of the workflow.

The summaries are the first sentences of the commands' own help. They stand here so that ``--help``
imports no command.
"""

_UsageError: type[Exception] = typer.BadParameter.__mro__[1]
"""Click's error for wrong usage; Typer does not export it."""
_ClickError: Any = typer.BadParameter.__mro__[2]
"""Click's base class of errors of the command line; Typer does not export it."""


class _Workflow(TyperGroup):
    """Group of commands that imports and builds a command when it is called.

    To build all of them takes longer than to import NumPy.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names in the order of ``--help``."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command; None if there is none of this name."""
        if cmd_name in COMMANDS and cmd_name not in self.commands:
            part = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
            importlib.import_module(f"cxredge.cli.{cmd_name.replace('-', '_')}").register(part)
            self.commands.update(typer.main.get_group(part).commands)
        return super().get_command(ctx, cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return name, command and the remaining arguments.

        Typer suggests a similar name among the commands that were built, so build all of them if
        the name is unknown.
        """
        if args and args[0] not in COMMANDS:
            for name in COMMANDS:
                self.get_command(ctx, name)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run a command; in the message of wrong usage, escape what controls a terminal."""
        try:
            return super().invoke(ctx)
        except _UsageError as error:
            from cxredge.cli.output import printable

            error.message = printable(error.message)  # type: ignore[attr-defined]
            raise

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command; with ``--json``, print wrong usage as JSON too."""
        words = sys.argv[1:] if args is None else list(args)
        answers = standalone_mode and "--json" in words
        run = functools.partial(
            super().main, args, prog_name, complete_var,
            windows_expand_args=windows_expand_args, **extra,
        )  # fmt: skip
        if not answers:
            return run(standalone_mode=standalone_mode)
        try:
            code = run(standalone_mode=False)
        except _ClickError as error:
            _show_as_json(error)
            code = error.exit_code
        sys.exit(code if isinstance(code, int) else 0)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands with their summaries."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


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


def _show_as_json(error: Any) -> None:
    """Print wrong usage on stderr as without ``--json``, and as JSON on stdout."""
    from cxredge.cli.output import Output
    from cxredge.errors import WrongUsage

    error.show()
    path = error.ctx.command_path if getattr(error, "ctx", None) else "cxredge"
    Output(as_json=True).answer(WrongUsage(error.format_message(), f"See: {path} --help"))


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


def main() -> None:
    """Run the command line."""
    open_closed_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # File names may contain bytes that are not UTF-8; stderr escapes them by default.
        sys.stdout.reconfigure(errors="backslashreplace")
    app()
