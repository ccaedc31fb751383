"""Run a command within limits and print how it ended, as JSON.

    python launcher.py SECONDS MEMORY_BYTES STDOUT_FD STDERR_FD COMMAND...

A process inherits the peak memory of the one that started it, even across ``exec``. This one has
few megabytes, so that the figure is the command's.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from typing import Any


def main() -> None:
    seconds, memory_bytes, out, err = float(sys.argv[1]), *map(int, sys.argv[2:5])
    child = os.fork()
    if not child:
        os.setsid()
        os.dup2(out, 1)
        os.dup2(err, 2)
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.execv(sys.argv[5], sys.argv[5:])
    killed = False

    def kill(*_: Any) -> None:
        nonlocal killed
        killed = True
        os.killpg(child, signal.SIGKILL)

    signal.signal(signal.SIGALRM, kill)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    _, status, usage = os.wait4(child, 0)
    signal.setitimer(signal.ITIMER_REAL, 0)
    print(json.dumps({"status": status, "peak_kib": usage.ru_maxrss, "killed": killed}))


if __name__ == "__main__":
    main()
