"""The state of the machine while something runs, sampled beside it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from cxredge.telemetry.energy import Energy, Rapl, integrate
from cxredge.telemetry.jetson import JetsonState, read_during
from cxredge.telemetry.linux import MachineState, read_state

INTERVAL_S = 0.5


@dataclass(frozen=True)
class Moment:
    """One sample: seconds on a clock that only goes on, the machine, and the board if it is one."""

    time_s: float
    machine: MachineState
    board: JetsonState | None


# What is summed up over the samples, and where it is found in one.
_QUANTITIES: dict[str, Callable[[Moment], float | None]] = {
    "frequency_mhz": lambda moment: moment.machine.frequency_mhz,
    "temperature_c": lambda moment: moment.machine.temperature_c,
    "load_1min": lambda moment: moment.machine.load_1min,
    "memory_available_mb": lambda moment: moment.machine.memory_available_mb,
    "process_memory_mb": lambda moment: moment.machine.process_memory_mb,
    "gpu_clock_mhz": lambda m: (
        m.board.gpu_clock.current_mhz if m.board and m.board.gpu_clock else None
    ),
    "power_mw": lambda moment: moment.board.power_mw if moment.board else None,
}


class Sampler:
    """Samples the machine's state in a thread between entering and leaving.

    Args:
        jetson: Whether to read a Jetson's files too.
        interval_s: Seconds between samples; the first and the last are taken on entering and on
            leaving.
        root: Where ``proc`` and ``sys`` lie; another one in tests.
    """

    def __init__(
        self, jetson: bool, interval_s: float = INTERVAL_S, root: Path = Path("/")
    ) -> None:
        self._jetson, self._interval_s, self._root = jetson, interval_s, root
        self._moments: list[Moment] = []
        self._reading_s = 0.0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)
        self._rapl = Rapl(root)
        self._joules: float | None = None

    def __enter__(self) -> Sampler:
        """Take the first sample and go on beside the caller."""
        self._sample()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the last sample and end the thread."""
        self._stopped.set()
        self._thread.join()
        self._sample()

    def summary(self) -> dict[str, Any]:
        """Return least, mean and most of each quantity as JSON values; None where unreadable."""
        found: dict[str, Any] = {
            "samples": len(self._moments),
            "interval_s": self._interval_s,
            "reading_ms_per_sample": round(1000 * self._reading_s / len(self._moments), 3),
        }
        for name, read in _QUANTITIES.items():
            values = [v for moment in self._moments if (v := read(moment)) is not None]
            found[name] = (
                {
                    "min": round(min(values), 2),
                    "mean": round(sum(values) / len(values), 2),
                    "max": round(max(values), 2),
                }
                if values
                else None
            )
        return found

    def energy(self) -> Energy | None:
        """Return the energy used, or None where neither board nor processor can tell."""
        seconds = self._moments[-1].time_s - self._moments[0].time_s
        if self._joules is not None and seconds > 0:
            return Energy("RAPL", self._joules, seconds)
        measured = [
            (m.time_s, m.board.power_mw) for m in self._moments if m.board and m.board.power_mw
        ]
        return integrate([t for t, _ in measured], [p for _, p in measured])

    def _run(self) -> None:
        while not self._stopped.wait(self._interval_s):
            self._sample()

    def _sample(self) -> None:
        start = time.perf_counter()
        board = read_during(self._root) if self._jetson else None
        self._moments.append(Moment(start, read_state(self._root), board))
        self._joules = self._rapl.read()
        self._reading_s += time.perf_counter() - start
