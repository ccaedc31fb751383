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
_PROCESSOR_SENSORS = ("coretemp", "k10temp", "zenpower", "cpu_thermal")


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
        temperature_c: The hottest thermal zone or processor sensor, in degrees Celsius.
        load_1min: Runnable processes, averaged over a minute.
        memory_available_mb: Memory that could be used without swapping.
        steal_ticks: Time that a hypervisor gave to others since boot, in clock ticks.
        throttle_count: How often cores or package slowed down for heat since boot (x86).
        process_memory_mb: Memory that this process holds now.
    """

    governor: str | None
    frequency_mhz: float | None
    temperature_c: float | None
    load_1min: float | None
    memory_available_mb: int | None
    steal_ticks: int | None
    throttle_count: int | None
    process_memory_mb: int | None


def read_machine(root: Path = Path("/")) -> Machine:
    """Return what this machine is.

    Args:
        root: Where ``proc`` and ``sys`` lie; another one in tests.
    """
    cpuinfo = _cpuinfo(root)
    flags = (cpuinfo.get("flags") or cpuinfo.get("Features") or "").split()
    memory = _kilobytes(root / "proc/meminfo").get("MemTotal")
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
    degrees = _degrees_c(root)
    load = (read_text(root / "proc/loadavg") or "").split()
    return MachineState(
        governor=read_text(cpu / "cpu0/cpufreq/scaling_governor"),
        frequency_mhz=sum(known) / len(known) if known else None,
        temperature_c=max(degrees) if degrees else None,
        load_1min=float(load[0]) if load else None,
        memory_available_mb=_kilobytes(root / "proc/meminfo").get("MemAvailable"),
        steal_ticks=_steal(root),
        throttle_count=_throttled(cpu),
        process_memory_mb=_kilobytes(root / "proc/self/status").get("VmRSS"),
    )


def process_age_ms(root: Path = Path("/")) -> float | None:
    """Return how long ago this process started, in milliseconds to the clock tick."""
    uptime = (read_text(root / "proc/uptime") or "").split()
    # The name in brackets may hold spaces; the start is the 20th field after it.
    fields = (read_text(root / "proc/self/stat") or "").rpartition(")")[2].split()
    if not uptime or len(fields) < 20:
        return None
    return (float(uptime[0]) - int(fields[19]) / os.sysconf("SC_CLK_TCK")) * 1000


def _cpuinfo(root: Path) -> dict[str, str]:
    first = (read_text(root / "proc/cpuinfo") or "").split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}


def _kilobytes(path: Path) -> dict[str, int]:
    """Return the sizes that a file lists in kB, in units of 10^6 bytes."""
    lines = (line.split() for line in (read_text(path) or "").splitlines())
    return {
        words[0].rstrip(":"): int(words[1]) * 1024 // 1_000_000
        for words in lines
        if len(words) >= 2 and words[1].isdigit()
    }


def _degrees_c(root: Path) -> list[float]:
    """Return what thermal zones and the processor's own sensors say; AMD has only the latter."""
    paths = list((root / "sys/class/thermal").glob("thermal_zone*/temp"))
    for name in (root / "sys/class/hwmon").glob("hwmon*/name"):
        if read_text(name) in _PROCESSOR_SENSORS:
            paths += name.parent.glob("temp*_input")
    return [value / 1000 for path in paths if (value := read_number(path)) is not None]


def _steal(root: Path) -> int | None:
    words = (read_text(root / "proc/stat") or "").split("\n")[0].split()
    return int(words[8]) if len(words) > 8 else None


def _throttled(cpu: Path) -> int | None:
    """Return the events of all cores and packages; cores of one package repeat its count."""
    kinds = ("core_throttle_count", "package_throttle_count")
    counts = [
        [n for path in cpu.glob(f"cpu[0-9]*/thermal_throttle/{kind}") if (n := read_number(path))]
        for kind in kinds
    ]
    if not any((cpu / "cpu0/thermal_throttle" / kind).exists() for kind in kinds):
        return None
    cores, packages = counts
    return int(sum(cores) + max(packages, default=0))
