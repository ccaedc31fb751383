"""Registration of commands: shared options and the error boundary."""

from __future__ import annotations

import functools
import inspect
import os
import signal
from collections.abc import Callable
from typing import Annotated, Any

import typer

from cxredge.artifacts.disk_space import FULL
from cxredge.cli.option_groups import collect, expand
from cxredge.cli.output import Outcome, Output, Verbosity
from cxredge.cli.process import Terminated, terminable
from cxredge.cli.usage import Command
from cxredge.errors import CxredgeError

_JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON value on stdout.")]
_QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print only the result.")]
_VerboseOption = Annotated[
    bool, typer.Option("--verbose", "-v", help="Print more about the progress.")
]

_SHARED = {"as_json": _JsonOption, "quiet": _QuietOption, "verbose": _VerboseOption}
_SIGNALLED = 128
"""Added to the number of the signal that ended a command, as shells do."""


def command(
    app: typer.Typer, name: str, kind: type[Command] = Command
) -> Callable[[Callable[..., Outcome]], Callable[..., None]]:
    """Register a function ``f(output, ...) -> Outcome`` as a command.

    The function's first parameter receives the :class:`Output`; the others become options, a
    dataclass one option per field (see :mod:`cxredge.cli.option_groups`). The command also accepts
    ``--json``, ``-q`` and ``-v``, prints the outcome, and turns errors into a sentence and an exit
    code: 1 failed, 2 wrong usage, 3 refused by a gate, 130 interrupted, 143 terminated.

    Args:
        app: The application or group.
        name: Name of the command.
        kind: Class of the command.
    """

    def register(function: Callable[..., Outcome]) -> Callable[..., None]:
        run = _with_shared_options(function)
        app.command(name, cls=kind)(run)
        return run

    return register


def default_command(
    group: typer.Typer,
) -> Callable[[Callable[..., Outcome]], Callable[..., None]]:
    """Register a function without options as the default of a group (no subcommand)."""

    def register(function: Callable[..., Outcome]) -> Callable[..., None]:
        run = _with_shared_options(function)

        def alone(
            context: typer.Context,
            as_json: _JsonOption = False,
            quiet: _QuietOption = False,
            verbose: _VerboseOption = False,
        ) -> None:
            if context.invoked_subcommand is None:
                run(as_json=as_json, quiet=quiet, verbose=verbose)
            elif as_json or quiet or verbose:
                raise typer.BadParameter(
                    f"give options after the command: {context.invoked_subcommand}."
                )

        group.callback(invoke_without_command=True, help=function.__doc__)(alone)
        return run

    return register


def _with_shared_options(function: Callable[..., Outcome]) -> Callable[..., None]:
    @functools.wraps(function)
    def run(*, as_json: bool, quiet: bool, verbose: bool, **arguments: Any) -> None:
        verbosity = Verbosity(0 if quiet else 2 if verbose else 1)
        output = Output(as_json, verbosity)
        _show(output, _guarded(output, function, collect(own, arguments)))

    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
    shared = [
        inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=kind)
        for key, kind in _SHARED.items()
    ]
    signature = inspect.Signature([*expand(own), *shared])
    run.__signature__ = signature  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
    return run


def _show(output: Output, outcome: Outcome) -> None:
    """Print an outcome; Typer handles a closed pipe, as with ``head``."""
    try:
        output.show(outcome)
    except BrokenPipeError:
        raise
    except OSError as error:
        message = f"Failed to print the result: {error.strerror or error}."
        Output().fail(CxredgeError(message, "Redirect the output to another place."))
        raise typer.Exit(1) from None


def _guarded(
    output: Output, function: Callable[..., Outcome], arguments: dict[str, Any]
) -> Outcome:
    """Call a command; print an error with its hint and exit instead of raising it."""
    try:
        with terminable():
            return function(output, **arguments)
    except Terminated as error:
        output.fail(CxredgeError(f"Terminated by {signal.Signals(error.number).name}."))
        raise typer.Exit(_SIGNALLED + error.number) from None
    except KeyboardInterrupt:
        output.fail(CxredgeError("Interrupted."))
        raise typer.Exit(_SIGNALLED + signal.SIGINT) from None
    except Exception as error:
        explained = _explain(error)
        if explained is None:
            raise
        output.fail(explained)
        raise typer.Exit(explained.exit_code) from None


def _explain(error: Exception) -> CxredgeError | None:
    """Return an exception as an error for the user; None if it is to be raised as it is."""
    if isinstance(error, CxredgeError):
        return error
    if isinstance(error, ModuleNotFoundError):
        return _explain_missing_package(error)
    typers_own = isinstance(error, (typer.Exit, typer.Abort, typer.BadParameter))
    if typers_own or os.environ.get("CXREDGE_DEBUG"):
        return None
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        hint = "Free some space, or choose another disk." if error.errno in FULL else ""
        return CxredgeError(f"{where}{error.strerror or error}", hint)
    return CxredgeError(
        f"Internal error: {type(error).__name__}: {error}",
        "This is a bug in cxredge. Run again with CXREDGE_DEBUG=1 and report it.",
    )


def _explain_missing_package(error: ModuleNotFoundError) -> CxredgeError | None:
    package = (error.name or "").split(".")[0]
    if package not in {*_EXTRAS, *_LEFT_OUT}:
        return None
    requirement = f"'cxredge[{_EXTRAS[package]}]'" if package in _EXTRAS else package
    return CxredgeError(
        f"This command requires the Python package '{package}'.",
        f"Install it: pip install {requirement}",
    )


_EXTRAS = {
    "torch": "train",
    "torchvision": "train",
    "timm": "train",
    "lightning_fabric": "train",
    "safetensors": "train",
    "pyarrow": "parquet",
    "h5py": "keras",
    "cryptography": "signing",
    "pydicom": "dicom",
    "tritonclient": "triton",
}
"""The extra that installs an optional package."""
_LEFT_OUT = ("onnx",)
"""Dependencies of cxredge that requirements-device.txt leaves out."""
