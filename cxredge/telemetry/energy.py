"""Energy that a machine used while something ran, where it can tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxredge.telemetry.kernel_files import read_number, read_text


@dataclass(frozen=True)
class Energy:
    """What was used.

    Attributes:
        source: What told: ``power rails`` of the board or ``RAPL`` of an x86 processor.
        joules: Energy used in all, of what the source covers.
        seconds: For how long.
    """

    source: str
    joules: float
    seconds: float

    def to_json(self, images: int) -> dict[str, Any]:
        """Return the energy as JSON values, with joules per image."""
        return {
            "source": self.source,
            "joules": round(self.joules, 3),
            "mean_watts": round(self.joules / self.seconds, 3),
            "joules_per_image": round(self.joules / images, 6),
        }


class Rapl:
    """The energy counters of x86 processors (running average power limit), by package.

    Kernels let only root read them unless the administrator says otherwise. The counters wrap
    after some minutes at full power, so they have to be read more often than that.

    Args:
        root: Where ``sys`` lies; another one in tests.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._wraps = {
            package: read_number(package / "max_energy_range_uj")
            for package in sorted((root / "sys/class/powercap").glob("intel-rapl:*"))
            if (read_text(package / "name") or "").startswith("package")
        }
        self._last = {package: read_number(package / "energy_uj") for package in self._wraps}
        self._used_uj = 0.0

    @property
    def readable(self) -> bool:
        """Whether there are packages and all can be read."""
        return bool(self._last) and None not in self._last.values()

    def read(self) -> float | None:
        """Return joules used since this object was made, or None where they cannot be read."""
        if not self.readable:
            return None
        for package, before in self._last.items():
            now = read_number(package / "energy_uj")
            if now is None or before is None:
                return None
            used = now - before
            if used < 0:
                used += self._wraps[package] or 0
            self._used_uj += used
            self._last[package] = now
        return self._used_uj / 1e6


def integrate(times_s: Sequence[float], milliwatts: Sequence[float]) -> Energy | None:
    """Return the energy under samples of power, by trapezoids; None for fewer than two samples."""
    if len(times_s) < 2:
        return None
    joules = sum(
        (b - a) * (p + q) / 2000
        for a, b, p, q in zip(times_s, times_s[1:], milliwatts, milliwatts[1:], strict=False)
    )
    return Energy("power rails", joules, times_s[-1] - times_s[0])
