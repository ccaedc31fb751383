"""Facts about a Linux machine from /proc and /sys; unreadable values are None, never a guess."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cxredge.telemetry.kernel_files import read_number, read_sizes_mb, read_text

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
FAST_INT8 = {
    "x86_64": ("avx512_vnni", "avx_vnni", "amx_int8"),
    "aarch64": ("asimddp", "i8mm"),
}
"""By architecture, instructions that multiply INT8 and accumulate in 32 bits; one is enough."""

_PROCESSOR_SENSORS = ("coretemp", "k10temp", "zenpower", "cpu_thermal")


@dataclass(frozen=True)
class Machine:
    """Facts that do not change during a benchmark.

    Attributes:
        system: Operating system and its release.
        architecture: Processor architecture as the system names it, such as ``x86_64``.
        cpu: Model of the processor, or of the board; None if unknown.
        cores: Number of cores that this process may use.
        cpu_flags: Instruction sets that matter to inference.
        memory_mb: Total memory in MB (10^6 bytes).
        virtual_machine: Whether a hypervisor is reported; None if the processor does not report it.
    """

    system: str
    architecture: str
    cpu: str | None
    cores: int
    cpu_flags: tuple[str, ...]
    memory_mb: int | None
    virtual_machine: bool | None


@dataclass(frozen=True)
class MachineState:
    """Values that may change during a benchmark.

    Attributes:
        governor: Frequency governor of the first core.
        frequency_mhz: Mean frequency over the cores.
        temperature_c: Temperature of the hottest thermal zone or processor sensor, in degrees
            Celsius.
        load_1min: Number of runnable processes, averaged over a minute.
        memory_available_mb: Memory that is available without swapping, in MB (10^6 bytes).
        steal_ticks: Time that the hypervisor gave to other guests since boot, in clock ticks.
        throttle_count: Number of thermal throttling events of cores and packages since boot (x86).
        process_memory_mb: Resident memory of this process, in MB (10^6 bytes).
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
    """Read the facts about this machine.

    Args:
        root: Folder that holds ``proc`` and ``sys``; tests use another one.
    """
    cpuinfo = _cpuinfo(root)
    flags = (cpuinfo.get("flags") or cpuinfo.get("Features") or "").split()
    memory = read_sizes_mb(root / "proc/meminfo").get("MemTotal")
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
    """Read the current state of the machine."""
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
        memory_available_mb=read_sizes_mb(root / "proc/meminfo").get("MemAvailable"),
        steal_ticks=_steal(root),
        throttle_count=_throttled(cpu),
        process_memory_mb=read_sizes_mb(root / "proc/self/status").get("VmRSS"),
    )


def may_saturate(machine: Machine) -> bool:
    """Return whether INT8 accumulation may saturate on a processor.

    x86 runtimes without VNNI multiply uint8 by int8 with VPMADDUBSW, which adds two products with
    signed saturation in 16 bits: 255 * 127 * 2 is 64,770, and 32,767 is kept.
    """
    x86 = machine.architecture.lower() in ("x86_64", "amd64", "i386", "i686")
    return x86 and not set(FAST_INT8["x86_64"]) & set(machine.cpu_flags)


@cache
def may_saturate_here() -> bool:
    """Return whether INT8 accumulation may saturate on this machine, or its flags are unknown."""
    return may_saturate(read_machine())


def process_age_ms(root: Path = Path("/")) -> float | None:
    """Return the age of this process in milliseconds, to the clock tick; None if unreadable."""
    uptime = (read_text(root / "proc/uptime") or "").split()
    # The name in brackets may hold spaces; the start time is the 20th field after it.
    fields = (read_text(root / "proc/self/stat") or "").rpartition(")")[2].split()
    if not uptime or len(fields) < 20:
        return None
    return (float(uptime[0]) - int(fields[19]) / os.sysconf("SC_CLK_TCK")) * 1000


def _cpuinfo(root: Path) -> dict[str, str]:
    first = (read_text(root / "proc/cpuinfo") or "").split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}


def _degrees_c(root: Path) -> list[float]:
    """Return temperatures of thermal zones and processor sensors; AMD has only the latter."""
    paths = list((root / "sys/class/thermal").glob("thermal_zone*/temp"))
    for name in (root / "sys/class/hwmon").glob("hwmon*/name"):
        if read_text(name) in _PROCESSOR_SENSORS:
            paths += name.parent.glob("temp*_input")
    return [value / 1000 for path in paths if (value := read_number(path)) is not None]


def _steal(root: Path) -> int | None:
    words = (read_text(root / "proc/stat") or "").split("\n")[0].split()
    return int(words[8]) if len(words) > 8 else None


def _throttled(cpu: Path) -> int | None:
    """Return the throttling events of all cores and packages.

    Each core of a package repeats the package's count, so the largest one is taken.
    """
    kinds = ("core_throttle_count", "package_throttle_count")
    counts = [
        [n for path in cpu.glob(f"cpu[0-9]*/thermal_throttle/{kind}") if (n := read_number(path))]
        for kind in kinds
    ]
    if not any((cpu / "cpu0/thermal_throttle" / kind).exists() for kind in kinds):
        return None
    cores, packages = counts
    return int(sum(cores) + max(packages, default=0))
