"""The processor: its instructions and how many threads make sense."""

from __future__ import annotations

import math

from cxredge.diagnosis.finding import Finding, ok, skip, warn
from cxredge.diagnosis.surroundings import Surroundings
from cxredge.telemetry.linux import FAST_INT8

_BF16 = {"x86_64": ("avx512_bf16", "amx_bf16"), "aarch64": ("bf16",)}


def int8(here: Surroundings) -> Finding:
    """The processor multiplies INT8 faster than FP32."""
    flags, name = here.machine.cpu_flags, "INT8 instructions"
    # An emulator may show the flags of the machine that it runs on.
    known = FAST_INT8.get(here.machine.architecture, ())
    fast = [flag for flag in known if flag in flags]
    if fast:
        return ok(name, ", ".join(fast))
    if not flags:
        return skip(name, "the processor's flags cannot be read")
    if "avx2" in flags and here.machine.architecture == "aarch64":
        return skip(name, "the flags shown are not this architecture's, as under emulation")
    if "avx2" in flags:
        return warn(
            name,
            "AVX2 without VNNI",
            "INT8 may be slower than FP32 here, as ONNX Runtime has to multiply in 16 bits for "
            "exact sums; build --precision auto times both and takes the faster that passes.",
        )
    if "asimd" in flags:
        return warn(
            name,
            "Arm without dot products (asimddp)",
            "INT8 gains little here; build --precision auto takes the faster that passes.",
        )
    return warn(name, "none", "Expect FP32 to be the faster; use build --precision auto.")


def bfloat16(here: Surroundings) -> Finding:
    """The processor has BF16, which training and OpenVINO can use."""
    known = _BF16.get(here.machine.architecture, ())
    found = [flag for flag in known if flag in here.machine.cpu_flags]
    if found:
        return ok("BF16 instructions", ", ".join(found))
    return skip("BF16 instructions", "none; --precision bf16-mixed would be slow in training")


def threads(here: Surroundings) -> Finding:
    """Threads of OpenMP and the cores that this process really gets go together."""
    limit = cpu_limit(here)
    usable = here.cores if limit is None else min(here.cores, max(1, math.floor(limit)))
    quota = "" if limit is None else f", limited to {limit:g} by a control group"
    found = f"{here.cores} cores{quota}"
    wanted = here.environment.get("OMP_NUM_THREADS", "")
    if wanted.split(",")[0].isdecimal():
        asked = int(wanted.split(",")[0])
        found += f", OMP_NUM_THREADS={wanted}"
        if asked > usable:
            return warn(
                "threads",
                found,
                f"More threads than cores wait for each other: export OMP_NUM_THREADS={usable}",
            )
        if asked < usable:
            return warn(
                "threads",
                found,
                "Training uses fewer cores than there are: unset OMP_NUM_THREADS",
            )
    if usable < here.cores:
        return warn(
            "threads",
            found,
            f"One thread a core is too many here: bench --threads {usable}, and other commands "
            f"under: taskset -c 0-{usable - 1}",
        )
    return ok("threads", found)


def cpu_limit(here: Surroundings) -> float | None:
    """Return the cores' worth of time that a control group allows, or None without a limit.

    Reads ``cpu.max`` of version 2, or the quota and period of version 1.
    """
    both = (here.text("sys/fs/cgroup/cpu.max") or "").split()
    if len(both) != 2:
        group = "sys/fs/cgroup/cpu/cpu.cfs"
        both = [here.text(f"{group}_quota_us") or "", here.text(f"{group}_period_us") or ""]
    quota, period = both
    if not (quota.isdecimal() and period.isdecimal() and int(period)):
        return None
    return int(quota) / int(period)
