"""Clocks, power mode, temperatures and throttling of a Jetson, from its own files.

Every function takes the folder that ``sys``, ``etc`` and ``usr`` lie in; what cannot be read is
None or absent, never zero. Nothing here needs root or a service.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cxredge.telemetry.kernel_files import read_number, read_text
from cxredge.telemetry.power_rails import Rail, power_rails, total_power_mw

_NVPMODEL = "usr/sbin/nvpmodel"
_NVPMODEL_SECONDS = 5.0
_MODE = re.compile(r"NV Power Mode:\s*(\S+)\s+(\d+)")
_MODES = re.compile(r"<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)\s*>")
_GPU = re.compile(r"gpu|gpc|gv11b|gp10b|gm20b|ga10b")
# A zone whose part is switched off reports -256 degrees.
_OFF_C = -200.0


@dataclass(frozen=True)
class Clock:
    """The clock of a device that scales by itself.

    Attributes:
        name: Its folder in ``/sys/class/devfreq``, such as ``17000000.gpu``.
        current_mhz: Now.
        lowest_mhz: The least that is allowed.
        highest_mhz: The most that is allowed.
    """

    name: str
    current_mhz: float | None
    lowest_mhz: float
    highest_mhz: float

    @property
    def locked(self) -> bool:
        """Whether it cannot change, which is what ``jetson_clocks`` sees to."""
        return self.lowest_mhz == self.highest_mhz


@dataclass(frozen=True)
class PowerMode:
    """A mode of nvpmodel. Numbers mean something else on every board and release."""

    name: str
    number: int


@dataclass(frozen=True)
class JetsonState:
    """What may change while a benchmark runs.

    Attributes:
        power_mode: nvpmodel's mode.
        gpu_clock: The GPU's clock.
        rails: Power by rail.
        power_mw: The whole module's power, or None where no rail holds it.
        temperatures_c: Degrees Celsius by thermal zone; zones that are switched off are absent.
        throttle_events: Over-current events since boot by counter, such as ``hwmon3/oc1``.
    """

    power_mode: PowerMode | None
    gpu_clock: Clock | None
    rails: tuple[Rail, ...]
    power_mw: float | None
    temperatures_c: dict[str, float]
    throttle_events: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """Return the state as JSON values."""
        found = asdict(self)
        found["rails"] = list(found["rails"])
        if self.gpu_clock:
            found["gpu_clock"]["locked"] = self.gpu_clock.locked
        return found


def read_jetson(root: Path = Path("/")) -> JetsonState:
    """Return the state of the board now."""
    return replace(read_during(root), power_mode=power_mode(root))


def read_during(root: Path = Path("/")) -> JetsonState:
    """Return the state without the power mode: asking nvpmodel would disturb what is measured."""
    rails = power_rails(root)
    return JetsonState(
        power_mode=None,
        gpu_clock=gpu_clock(root),
        rails=rails,
        power_mw=total_power_mw(rails),
        temperatures_c=temperatures_c(root),
        throttle_events=throttle_events(root),
    )


def doubts(before: JetsonState, after: JetsonState) -> list[str]:
    """Return why what ran between two states should not be compared; empty if nothing speaks so."""
    found = []
    if after.gpu_clock is None:
        found.append("the GPU's clock cannot be read, so it may have changed")
    elif not after.gpu_clock.locked:
        found.append("the GPU's clock is not locked (sudo jetson_clocks)")
    if before.power_mode != after.power_mode:
        found.append("the power mode changed meanwhile")
    rose = [
        name for name, n in after.throttle_events.items() if n > before.throttle_events.get(name, 0)
    ]
    if rose:
        found.append(f"the board slowed itself down for too much current ({', '.join(rose)})")
    return found


def gpu_clock(root: Path = Path("/")) -> Clock | None:
    """Return the GPU's clock, or None where no devfreq device is a GPU."""
    for folder in sorted((root / "sys/class/devfreq").glob("*")):
        lowest, highest = read_number(folder / "min_freq"), read_number(folder / "max_freq")
        if _GPU.search(folder.name) and lowest is not None and highest is not None:
            current = read_number(folder / "cur_freq")
            return Clock(
                folder.name, None if current is None else current / 1e6, lowest / 1e6, highest / 1e6
            )
    return None


def power_mode(root: Path = Path("/")) -> PowerMode | None:
    """Return nvpmodel's mode, or None where the command is not there, fails or hangs."""
    command = root / _NVPMODEL
    try:
        done = subprocess.run(
            [command, "-q"],
            capture_output=True,
            text=True,
            timeout=_NVPMODEL_SECONDS,
            check=True,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    found = _MODE.search(done.stdout)
    return PowerMode(found[1], int(found[2])) if found else None


def power_modes(root: Path = Path("/")) -> tuple[PowerMode, ...]:
    """Return the modes that this board has, in the order of nvpmodel's own file."""
    found = _MODES.findall(read_text(root / "etc/nvpmodel.conf") or "")
    return tuple(PowerMode(name, int(number)) for number, name in found)


def temperatures_c(root: Path = Path("/")) -> dict[str, float]:
    """Return degrees Celsius by thermal zone."""
    found = {}
    for zone in sorted((root / "sys/devices/virtual/thermal").glob("thermal_zone*")):
        name, value = read_text(zone / "type"), read_number(zone / "temp")
        if name and value is not None and value / 1000 > _OFF_C:
            found[name] = value / 1000
    return found


def throttle_events(root: Path = Path("/")) -> dict[str, int]:
    """Return how often the board slowed itself down for too much current since boot."""
    found = {}
    for path in sorted((root / "sys/class/hwmon").glob("hwmon*/oc*_event_cnt")):
        count = read_number(path)
        if count is not None:
            counter = path.name.removesuffix("_event_cnt")
            found[f"{path.parent.name}/{counter}"] = int(count)
    return found
