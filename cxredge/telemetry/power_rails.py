"""What a Jetson draws, from the monitors on its board; no service and no root."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cxredge.telemetry.kernel_files import read_number, read_text

# These rails hold the others, or the whole input of the module.
_TOTAL_RAILS = ("VDD_IN", "POM_5V_IN", "VIN")
_INA3221_CHANNELS = range(1, 7)


@dataclass(frozen=True)
class Rail:
    """A power rail and what it carries now, in milliwatts."""

    name: str
    milliwatts: float


def power_rails(root: Path = Path("/")) -> tuple[Rail, ...]:
    """Return what each rail of the monitors INA3221 and INA238 carries."""
    rails: list[Rail] = []
    for name in sorted((root / "sys/bus/i2c/devices").glob("*/name")):
        kind = read_text(name) or ""
        if "ina3221" in kind:
            rails += _ina3221(name.parent)
        elif "ina238" in kind:
            rails += _ina238(name.parent)
    return tuple(rails)


def total_power_mw(rails: tuple[Rail, ...]) -> float | None:
    """Return the module's power: of the rail that holds all others, or the sum where none does.

    On Thor the rail is VIN, which feeds the carrier board too.
    """
    for name in _TOTAL_RAILS:
        for rail in rails:
            if rail.name == name:
                return rail.milliwatts
    return sum(rail.milliwatts for rail in rails) if rails else None


def _ina3221(device: Path) -> Iterator[Rail]:
    """Yield the rails of one monitor: volts times amperes, or JetPack 4's ready power."""
    for monitor in sorted(device.glob("hwmon/hwmon*")):
        # Channel 7 is the sum of others.
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
