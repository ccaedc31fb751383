"""Power of a Jetson from the monitors on its board; neither root nor a service is required."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cxredge.telemetry.kernel_files import read_number, read_text

# These rails include the others, or are the input of the whole module.
_TOTAL_RAILS = ("VDD_IN", "POM_5V_IN", "VIN")
_INA3221_CHANNELS = range(1, 7)


@dataclass(frozen=True)
class Rail:
    """A power rail and its current power."""

    name: str
    milliwatts: float


def power_rails(root: Path = Path("/")) -> tuple[Rail, ...]:
    """Read the rails of the INA3221 and INA238 monitors."""
    rails: list[Rail] = []
    for name in sorted((root / "sys/bus/i2c/devices").glob("*/name")):
        kind = read_text(name) or ""
        if "ina3221" in kind:
            rails += _ina3221(name.parent)
        elif "ina238" in kind:
            rails += _ina238(name.parent)
    return tuple(rails)


def total_power_mw(rails: tuple[Rail, ...]) -> float | None:
    """Return the module's power: of the rail that includes the others, or the sum if none does.

    On Thor that rail is VIN, which also feeds the carrier board.
    """
    for name in _TOTAL_RAILS:
        for rail in rails:
            if rail.name == name:
                return rail.milliwatts
    return sum(rail.milliwatts for rail in rails) if rails else None


def _ina3221(device: Path) -> Iterator[Rail]:
    """Yield the rails of one monitor: voltage times current, or the power itself on JetPack 4."""
    for monitor in sorted(device.glob("hwmon/hwmon*")):
        # Channel 7 is a sum of other channels.
        for channel in _INA3221_CHANNELS:
            label = read_text(monitor / f"in{channel}_label")
            millivolts = read_number(monitor / f"in{channel}_input")
            milliamperes = read_number(monitor / f"curr{channel}_input")
            if not _is_rail(label) or millivolts is None or milliamperes is None:
                continue
            yield Rail(str(label), millivolts * milliamperes / 1000)
    for monitor in sorted(device.glob("iio:device*")):
        for path in sorted(monitor.glob("rail_name_*")):
            label, channel_text = read_text(path), path.name.removeprefix("rail_name_")
            milliwatts = read_number(monitor / f"in_power{channel_text}_input")
            if _is_rail(label) and milliwatts is not None:
                yield Rail(str(label), milliwatts)


def _ina238(device: Path) -> Iterator[Rail]:
    for monitor in sorted(device.glob("hwmon/hwmon*")):
        microwatts = read_number(monitor / "power1_input")
        if microwatts is not None:
            yield Rail("VIN", microwatts / 1000)


def _is_rail(label: str | None) -> bool:
    """Return whether a channel is connected; ``NC`` marks those that are not."""
    return bool(label) and "NC" not in str(label)
