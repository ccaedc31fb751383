"""Commands of cxredge, each in a new process; their JSON is returned."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

COMMAND = [sys.executable, "-m", "cxredge"]
"""Command line of cxredge."""


def cxredge(*arguments: object) -> dict[str, Any]:
    """Run a command of cxredge and return its ``--json`` output.

    Raises:
        SystemExit: The command failed; the message has the command and its stderr.
    """
    command = [*COMMAND, *map(str, arguments), "--json", "-q"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result
