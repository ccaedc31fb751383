"""Files and packages of fake machines."""

from __future__ import annotations

from tests.targets.boards import board

NANO = board("tegra210", "p3448-0000", (32, "7.1"))
PC_GPU = {"proc/driver/nvidia/version": "NVRM version: 580.65\n"}
CORE = dict.fromkeys(("numpy", "pillow", "onnxruntime", "typer", "rich", "jinja2"), "1.0")
GOVERNOR = "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"


def memory(available_kb: int, total_kb: int = 8_000_000) -> dict[str, str]:
    return {"proc/meminfo": f"MemTotal: {total_kb} kB\nMemAvailable: {available_kb} kB\n"}
