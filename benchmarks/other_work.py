"""Share of processor time that other processes used during a measurement."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

from cxredge.backends.base import available_cores

_TICKS = os.sysconf("SC_CLK_TCK")
_IDLE = (3, 4)  # positions of idle and iowait in /proc/stat


class OtherWork:
    """Load of other processes since the object was created; requires Linux."""

    def __init__(self) -> None:
        self._wall, self._busy, self._own = time.perf_counter(), _busy_seconds(), _own_seconds()

    def share(self) -> float:
        """Return the share of all cores used by others since then, hypervisor included, in [0, 1].

        This process and its terminated children do not count.
        """
        wall = time.perf_counter() - self._wall
        others = _busy_seconds() - self._busy - (_own_seconds() - self._own)
        return min(1.0, max(0.0, others / (wall * available_cores())))


def _busy_seconds() -> float:
    words = Path("/proc/stat").read_text().split("\n")[0].split()[1:9]
    return sum(int(w) for place, w in enumerate(words) if place not in _IDLE) / _TICKS


def _own_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)
