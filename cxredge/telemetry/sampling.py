"""State of the machine during a measurement, sampled in a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from cxredge.telemetry.energy import Energy, Rapl, integrate
from cxredge.telemetry.jetson import JetsonState, read_during
from cxredge.telemetry.linux import MachineState, read_state

INTERVAL_S = 0.5


@dataclass(frozen=True)
class Range:
    """Minimum, mean and maximum of a quantity, rounded to two decimals."""

    min: float
    mean: float
    max: float


@dataclass(frozen=True)
class SamplingSummary:
    """Summary of the samples; a quantity that could not be read is None.

    Attributes:
        samples: Number of samples.
        interval_s: Seconds between samples.
        reading_ms_per_sample: Mean time to take one sample.
        frequency_mhz: Mean frequency of the cores.
        temperature_c: Hottest sensor in degrees Celsius.
        load_1min: Number of runnable processes, averaged over a minute.
        memory_available_mb: Memory available without swapping, in MB (10^6 bytes).
        process_memory_mb: Resident memory of this process, in MB (10^6 bytes).
        gpu_clock_mhz: Clock of a Jetson's GPU.
        power_mw: Power of a Jetson's module.
    """

    samples: int
    interval_s: float
    reading_ms_per_sample: float
    frequency_mhz: Range | None
    temperature_c: Range | None
    load_1min: Range | None
    memory_available_mb: Range | None
    process_memory_mb: Range | None
    gpu_clock_mhz: Range | None
    power_mw: Range | None


@dataclass(frozen=True)
class _Sample:
    """One sample: seconds on a monotonic clock, the machine, and the board if it is a Jetson."""

    time_s: float
    machine: MachineState
    board: JetsonState | None


class Sampler:
    """Context manager that samples the machine's state in a thread.

    Args:
        jetson: Whether to read a Jetson's files too.
        interval_s: Seconds between samples; the first is taken on entry and the last on exit.
        root: Folder that holds ``proc`` and ``sys``; tests use another one.
    """

    def __init__(
        self, jetson: bool, interval_s: float = INTERVAL_S, root: Path = Path("/")
    ) -> None:
        self._jetson, self._interval_s, self._root = jetson, interval_s, root
        self._samples: list[_Sample] = []
        self._reading_s = 0.0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)
        self._rapl = Rapl(root)
        self._joules: float | None = None

    def __enter__(self) -> Sampler:
        """Take the first sample and start the thread."""
        self._sample()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the thread and take the last sample."""
        self._stopped.set()
        self._thread.join()
        self._sample()

    def summary(self) -> SamplingSummary:
        """Return minimum, mean and maximum of each quantity."""
        return SamplingSummary(
            samples=len(self._samples),
            interval_s=self._interval_s,
            reading_ms_per_sample=round(1000 * self._reading_s / len(self._samples), 3),
            frequency_mhz=self._range(lambda sample: sample.machine.frequency_mhz),
            temperature_c=self._range(lambda sample: sample.machine.temperature_c),
            load_1min=self._range(lambda sample: sample.machine.load_1min),
            memory_available_mb=self._range(lambda sample: sample.machine.memory_available_mb),
            process_memory_mb=self._range(lambda sample: sample.machine.process_memory_mb),
            gpu_clock_mhz=self._range(_gpu_clock_mhz),
            power_mw=self._range(lambda sample: sample.board.power_mw if sample.board else None),
        )

    def energy(self) -> Energy | None:
        """Return the energy used, or None if neither board nor processor reports it."""
        seconds = self._samples[-1].time_s - self._samples[0].time_s
        if self._joules is not None and seconds > 0:
            return Energy("RAPL", self._joules, seconds)
        measured = [
            (s.time_s, s.board.power_mw) for s in self._samples if s.board and s.board.power_mw
        ]
        return integrate([t for t, _ in measured], [p for _, p in measured])

    def _range(self, read: Callable[[_Sample], float | None]) -> Range | None:
        values = [v for sample in self._samples if (v := read(sample)) is not None]
        if not values:
            return None
        mean = sum(values) / len(values)
        return Range(round(min(values), 2), round(mean, 2), round(max(values), 2))

    def _run(self) -> None:
        while not self._stopped.wait(self._interval_s):
            self._sample()

    def _sample(self) -> None:
        start = time.perf_counter()
        board = read_during(self._root) if self._jetson else None
        self._samples.append(_Sample(start, read_state(self._root), board))
        self._joules = self._rapl.read()
        self._reading_s += time.perf_counter() - start


def _gpu_clock_mhz(sample: _Sample) -> float | None:
    clock = sample.board.gpu_clock if sample.board else None
    return clock.current_mhz if clock else None
