"""Checks of the processor: instruction sets and number of threads."""

from __future__ import annotations

import math

from cxredge.diagnosis.finding import Finding, ok, skip, warn
from cxredge.diagnosis.surroundings import Surroundings
from cxredge.telemetry.linux import FAST_INT8

_BF16 = {"x86_64": ("avx512_bf16", "amx_bf16"), "aarch64": ("bf16",)}


def int8(here: Surroundings) -> Finding:
    """Check that the processor has fast INT8 instructions."""
    flags, name = here.machine.cpu_flags, "INT8 instructions"
    # An emulator may show the flags of its host.
    known = FAST_INT8.get(here.machine.architecture, ())
    fast = [flag for flag in known if flag in flags]
    if fast:
        return ok(name, ", ".join(fast))
    if not flags:
        return skip(name, "the processor's flags cannot be read")
    if "avx2" in flags and here.machine.architecture == "aarch64":
        return skip(name, "the reported flags are of another architecture, as under emulation")
    if "avx2" in flags:
        return warn(
            name,
            "AVX2 without VNNI",
            "INT8 may be slower than FP32, because ONNX Runtime must multiply in 16 bits to avoid "
            "saturation; build times both and uses the faster one that passes the gate.",
        )
    if "asimd" in flags:
        return warn(
            name,
            "Arm without dot products (asimddp)",
            "INT8 is hardly faster; build times all and uses the fastest one that passes the gate.",
        )
    return warn(name, "none", "FP32 is probably faster; build times both.")


def bfloat16(here: Surroundings) -> Finding:
    """Check that the processor has BF16, for training and OpenVINO."""
    known = _BF16.get(here.machine.architecture, ())
    found = [flag for flag in known if flag in here.machine.cpu_flags]
    if found:
        return ok("BF16 instructions", ", ".join(found))
    return skip("BF16 instructions", "none; training with --precision bf16-mixed would be slow")


def threads(here: Surroundings) -> Finding:
    """Check that the number of OpenMP threads fits the cores of this process."""
    limit = cpu_limit(here)
    usable = here.cores if limit is None else min(here.cores, max(1, math.floor(limit)))
    quota = "" if limit is None else f", limited to {limit:g} by a control group"
    found = f"{here.cores} cores{quota}"
    wanted = here.environment.get("OMP_NUM_THREADS", "")
    if wanted.split(",")[0].isdecimal():
        threads = int(wanted.split(",")[0])
        found += f", OMP_NUM_THREADS={wanted}"
        if threads > usable:
            return warn(
                "threads",
                found,
                f"More threads than cores slow each other down: export OMP_NUM_THREADS={usable}",
            )
        if threads < usable:
            return warn(
                "threads",
                found,
                "Training does not use all cores: unset OMP_NUM_THREADS",
            )
    if usable < here.cores:
        return warn(
            "threads",
            found,
            f"One thread per core is too many: use bench --threads {usable}, and other commands "
            f"with taskset -c 0-{usable - 1}",
        )
    return ok("threads", found)


def cpu_limit(here: Surroundings) -> float | None:
    """Return the CPU limit of the control group in cores, or None without a limit.

    It is read from ``cpu.max`` of version 2, or from quota and period of version 1.
    """
    both = (here.text("sys/fs/cgroup/cpu.max") or "").split()
    if len(both) != 2:
        group = "sys/fs/cgroup/cpu/cpu.cfs"
        both = [here.text(f"{group}_quota_us") or "", here.text(f"{group}_period_us") or ""]
    quota, period = both
    if not (quota.isdecimal() and period.isdecimal() and int(period)):
        return None
    return int(quota) / int(period)
