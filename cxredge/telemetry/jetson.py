"""Clocks, power mode, temperatures and throttling of a Jetson, from the files of its kernel.

Every function takes the folder that holds ``sys``, ``etc`` and ``usr``. A value that cannot be
read is None or absent, never zero. Neither root nor a service is required.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

from cxredge.telemetry.kernel_files import read_number, read_text
from cxredge.telemetry.power_rails import Rail, power_rails, total_power_mw

_NVPMODEL = "usr/sbin/nvpmodel"
_NVPMODEL_SECONDS = 5.0
_MODE = re.compile(r"NV Power Mode:\s*(\S+)\s+(\d+)")
_MODES = re.compile(r"<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)\s*>")
_GPU = re.compile(r"gpu|gpc|gv11b|gp10b|gm20b|ga10b")
# A thermal zone that is switched off reports -256 degrees.
_OFF_C = -200.0


@dataclass(frozen=True)
class Clock:
    """Clock of a device with dynamic frequency scaling.

    Attributes:
        name: Its folder in ``/sys/class/devfreq``, such as ``17000000.gpu``.
        current_mhz: Current frequency.
        lowest_mhz: Lowest allowed frequency.
        highest_mhz: Highest allowed frequency.
        locked: Whether the frequency is fixed, as after ``jetson_clocks``.
    """

    name: str
    current_mhz: float | None
    lowest_mhz: float
    highest_mhz: float
    locked: bool


@dataclass(frozen=True)
class PowerMode:
    """A mode of nvpmodel; its number differs between boards and releases."""

    name: str
    number: int


@dataclass(frozen=True)
class JetsonState:
    """Values of a board that may change during a benchmark.

    Attributes:
        power_mode: nvpmodel's mode.
        gpu_clock: Clock of the GPU.
        rails: Power per rail.
        power_mw: Power of the whole module, or None if no rail was read.
        temperatures_c: Degrees Celsius by thermal zone; zones that are switched off are absent.
        throttle_events: Over-current events since boot by counter, such as ``hwmon3/oc1``.
    """

    power_mode: PowerMode | None
    gpu_clock: Clock | None
    rails: tuple[Rail, ...]
    power_mw: float | None
    temperatures_c: dict[str, float]
    throttle_events: dict[str, int]


def read_jetson(root: Path = Path("/")) -> JetsonState:
    """Read the current state of the board."""
    return replace(read_during(root), power_mode=power_mode(root))


def read_during(root: Path = Path("/")) -> JetsonState:
    """Read the state without the power mode: running nvpmodel would disturb a measurement."""
    rails = power_rails(root)
    return JetsonState(
        power_mode=None,
        gpu_clock=gpu_clock(root),
        rails=rails,
        power_mw=total_power_mw(rails),
        temperatures_c=temperatures_c(root),
        throttle_events=throttle_events(root),
    )


def reasons_not_to_compare(before: JetsonState, after: JetsonState) -> list[str]:
    """Return the reasons why a measurement between two states is not comparable, if any."""
    found = []
    if after.gpu_clock is None:
        found.append("the GPU's clock cannot be read, so it may have changed")
    elif not after.gpu_clock.locked:
        found.append("the GPU's clock is not locked (sudo jetson_clocks)")
    if before.power_mode != after.power_mode:
        found.append("the power mode changed during the measurement")
    rose = [
        name for name, n in after.throttle_events.items() if n > before.throttle_events.get(name, 0)
    ]
    if rose:
        found.append(f"the board throttled because of over-current ({', '.join(rose)})")
    return found


def gpu_clock(root: Path = Path("/")) -> Clock | None:
    """Return the GPU's clock, or None if no devfreq device is a GPU."""
    for folder in sorted((root / "sys/class/devfreq").glob("*")):
        lowest, highest = read_number(folder / "min_freq"), read_number(folder / "max_freq")
        if _GPU.search(folder.name) and lowest is not None and highest is not None:
            current = read_number(folder / "cur_freq")
            return Clock(
                name=folder.name,
                current_mhz=None if current is None else current / 1e6,
                lowest_mhz=lowest / 1e6,
                highest_mhz=highest / 1e6,
                locked=lowest == highest,
            )
    return None


def power_mode(root: Path = Path("/")) -> PowerMode | None:
    """Return nvpmodel's mode, or None if the command is missing, fails or hangs."""
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
    """Return the modes of this board, in the order of ``nvpmodel.conf``."""
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
    """Return the number of over-current events since boot, by counter."""
    found = {}
    for path in sorted((root / "sys/class/hwmon").glob("hwmon*/oc*_event_cnt")):
        count = read_number(path)
        if count is not None:
            counter = path.name.removesuffix("_event_cnt")
            found[f"{path.parent.name}/{counter}"] = int(count)
    return found
