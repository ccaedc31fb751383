"""Facts about a Linux machine from /proc and /sys; what cannot be read is None, never a guess."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cxredge.telemetry.kernel_files import read_number, read_text

_FLAGS_OF_INTEREST = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "amx_int8",
    "amx_bf16",
    "asimd",
    "asimddp",
    "i8mm",
    "bf16",
)


@dataclass(frozen=True)
class Machine:
    """What does not change while a benchmark runs."""

    system: str
    architecture: str
    cpu: str | None
    cores: int
    cpu_flags: tuple[str, ...]
    memory_mb: int | None
    virtual_machine: bool | None

    def to_json(self) -> dict[str, Any]:
        """Return the facts as JSON values."""
        return {**asdict(self), "cpu_flags": list(self.cpu_flags)}


@dataclass(frozen=True)
class MachineState:
    """What may change while a benchmark runs.

    Attributes:
        governor: The frequency governor of the first core.
        frequency_mhz: Mean frequency over the cores.
        temperature_c: The hottest thermal zone, in degrees Celsius.
        load_1min: Runnable processes, averaged over a minute.
        memory_available_mb: Memory that could be used without swapping.
        steal_ticks: Time that a hypervisor gave to others since boot, in clock ticks.
    """

    governor: str | None
    frequency_mhz: float | None
    temperature_c: float | None
    load_1min: float | None
    memory_available_mb: int | None
    steal_ticks: int | None


def read_machine(root: Path = Path("/")) -> Machine:
    """Return what this machine is.

    Args:
        root: Where ``proc`` and ``sys`` lie; another one in tests.
    """
    cpuinfo = _cpuinfo(root)
    flags = (cpuinfo.get("flags") or cpuinfo.get("Features") or "").split()
    memory = _meminfo(root).get("MemTotal")
    return Machine(
        system=f"{platform.system()} {platform.release()}",
        architecture=platform.machine(),
        cpu=cpuinfo.get("model name") or read_text(root / "proc/device-tree/model"),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1,
        cpu_flags=tuple(flag for flag in _FLAGS_OF_INTEREST if flag in flags),
        memory_mb=memory,
        virtual_machine="hypervisor" in flags if cpuinfo.get("flags") else None,
    )


def read_state(root: Path = Path("/")) -> MachineState:
    """Return what state the machine is in now."""
    cpu = root / "sys/devices/system/cpu"
    frequencies = [read_number(p) for p in sorted(cpu.glob("cpu[0-9]*/cpufreq/scaling_cur_freq"))]
    known = [value / 1000 for value in frequencies if value is not None]
    zones = [read_number(p) for p in (root / "sys/class/thermal").glob("thermal_zone*/temp")]
    degrees = [value / 1000 for value in zones if value is not None]
    load = (read_text(root / "proc/loadavg") or "").split()
    return MachineState(
        governor=read_text(cpu / "cpu0/cpufreq/scaling_governor"),
        frequency_mhz=sum(known) / len(known) if known else None,
        temperature_c=max(degrees) if degrees else None,
        load_1min=float(load[0]) if load else None,
        memory_available_mb=_meminfo(root).get("MemAvailable"),
        steal_ticks=_steal(root),
    )


def _cpuinfo(root: Path) -> dict[str, str]:
    first = (read_text(root / "proc/cpuinfo") or "").split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}


def _meminfo(root: Path) -> dict[str, int]:
    lines = (line.split() for line in (read_text(root / "proc/meminfo") or "").splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1024 // 1_000_000 for words in lines if words}


def _steal(root: Path) -> int | None:
    words = (read_text(root / "proc/stat") or "").split("\n")[0].split()
    return int(words[8]) if len(words) > 8 else None
