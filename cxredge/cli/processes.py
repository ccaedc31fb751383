"""Commands that run in several processes, of which one speaks."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from cxredge.cli.output import Outcome, Output
from cxredge.cli.process import Terminated
from cxredge.errors import CxredgeError

if TYPE_CHECKING:
    from cxredge.training.config import TrainingHardware
    from cxredge.training.ranks import Ranks

_INTERRUPTED = 130


def run_in_processes(output: Output, count: int) -> None:
    """Run this command in several processes, which print what there is to say.

    Raises:
        typer.Exit: A process failed.
        KeyboardInterrupt: The command was interrupted or terminated.
    """
    from cxredge.training.launch import ProcessFailed, start_processes

    as_json, output.as_json = output.as_json, False  # the first process prints the result
    try:
        start_processes(count, sys.argv[1:])
    except ProcessFailed as error:
        # Of a failure with an exit code, the process has said the reason.
        if error.message:
            output.as_json = as_json and error.first
            output.fail(error)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt as error:
        if error.args == (signal.SIGTERM,):
            raise Terminated(signal.SIGTERM) from None
        raise


def run_as_rank(
    output: Output, hardware: TrainingHardware, run: Callable[[Ranks], Outcome]
) -> Outcome:
    """Run a function in each of the connected processes; the first one returns its outcome.

    Raises:
        typer.Exit: In the other processes, at the end and after an error that the first one prints.
        CxredgeError: The function failed.
    """
    from cxredge.training.launch import find_launched
    from cxredge.training.ranks import open_ranks

    launched = find_launched()
    if launched and launched.rank:
        output.as_json = False
    ranks = None
    try:
        with open_ranks(hardware) as ranks:
            outcome = run(ranks)
    except KeyboardInterrupt:
        if launched and launched.rank:
            raise typer.Exit(_INTERRUPTED) from None
        raise
    except CxredgeError as error:
        if ranks is not None and ranks.is_quiet(error):
            raise typer.Exit(error.exit_code) from None
        if launched and launched.rank:
            error.message = f"Process {launched.rank} of {launched.size}: {error.message}"
        raise
    if not ranks.is_first:
        raise typer.Exit
    return outcome
