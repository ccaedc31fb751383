"""Running cxredge as a person would: one process a command, its JSON back."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

COMMAND = [sys.executable, "-m", "cxredge"]
"""What starts cxredge."""


def cxredge(*arguments: object) -> dict[str, Any]:
    """Run a command of cxredge and return what it prints with ``--json``.

    Raises:
        SystemExit: The command failed; with the command and what it said.
    """
    command = [*COMMAND, *map(str, arguments), "--json", "-q"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result
