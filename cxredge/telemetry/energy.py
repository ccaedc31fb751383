"""Energy that a machine used during a measurement, where the hardware reports it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cxredge.telemetry.kernel_files import read_number, read_text


@dataclass(frozen=True)
class EnergyPerImage:
    """Energy used per image.

    Attributes:
        source: As in :class:`Energy`.
        joules: Total energy.
        mean_watts: Mean power.
        joules_per_image: Energy per image.
    """

    source: str
    joules: float
    mean_watts: float
    joules_per_image: float


@dataclass(frozen=True)
class Energy:
    """Energy used over a period.

    Attributes:
        source: ``power rails`` of the board, or ``RAPL`` of an x86 processor.
        joules: Total energy of the parts that the source covers.
        seconds: Length of the period.
    """

    source: str
    joules: float
    seconds: float

    def per_image(self, images: int) -> EnergyPerImage:
        """Return the energy with its share of each image, rounded as it is reported."""
        return EnergyPerImage(
            source=self.source,
            joules=round(self.joules, 3),
            mean_watts=round(self.joules / self.seconds, 3),
            joules_per_image=round(self.joules / images, 6),
        )


class Rapl:
    """Energy counters of x86 processors (running average power limit), per package.

    By default, only root may read them. The counters wrap after some minutes at full power, so
    they must be read more often than that.

    Args:
        root: Folder that holds ``sys``; tests use another one.
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
        """Whether the machine has such counters and all of them can be read."""
        return bool(self._last) and None not in self._last.values()

    def read(self) -> float | None:
        """Return the joules used since this object was created, or None if unreadable."""
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
    """Integrate power samples by the trapezoidal rule; return None for fewer than two samples."""
    if len(times_s) < 2:
        return None
    joules = sum(
        (b - a) * (p + q) / 2000
        for a, b, p, q in zip(times_s, times_s[1:], milliwatts, milliwatts[1:], strict=False)
    )
    return Energy("power rails", joules, times_s[-1] - times_s[0])
