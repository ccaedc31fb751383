import time
from pathlib import Path

import pytest

from cxredge.telemetry.linux import Machine, MachineState, process_age_ms, read_machine, read_state

X86 = """\
processor\t: 0
model name\t: Intel(R) Xeon(R) CPU : test
flags\t\t: fpu avx2 avx512f hypervisor avx512_vnni amx_int8

processor\t: 1
model name\t: Another
flags\t\t: fpu
"""
ARM = """\
processor\t: 0
BogoMIPS\t: 62.50
Features\t: fp asimd asimddp bf16 i8mm
CPU implementer\t: 0x41
"""
MEMORY = """\
MemTotal:       16000000 kB
MemFree:          500000 kB
MemAvailable:    8000000 kB
HugePages_Total:       0
"""
CPU = "sys/devices/system/cpu"


def tree(root: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def test_x86_machine(tmp_path: Path) -> None:
    found = read_machine(tree(tmp_path, {"proc/cpuinfo": X86, "proc/meminfo": MEMORY}))
    assert found.cpu == "Intel(R) Xeon(R) CPU : test"
    assert found.cpu_flags == ("avx2", "avx512f", "avx512_vnni", "amx_int8")
    assert found.memory_mb == 16384
    assert found.virtual_machine is True
    assert found.cores >= 1


def test_x86_machine_of_bare_metal(tmp_path: Path) -> None:
    cpuinfo = X86.replace("hypervisor ", "")
    assert read_machine(tree(tmp_path, {"proc/cpuinfo": cpuinfo})).virtual_machine is False


def test_arm_board_is_named_by_its_device_tree(tmp_path: Path) -> None:
    model = b"NVIDIA Jetson Orin Nano Developer Kit\0"
    found = read_machine(tree(tmp_path, {"proc/cpuinfo": ARM, "proc/device-tree/model": model}))
    assert found.cpu == "NVIDIA Jetson Orin Nano Developer Kit"
    assert found.cpu_flags == ("asimd", "asimddp", "i8mm", "bf16")
    assert found.memory_mb is None


def test_arm_does_not_report_whether_it_is_virtual(tmp_path: Path) -> None:
    assert read_machine(tree(tmp_path, {"proc/cpuinfo": ARM})).virtual_machine is None


@pytest.mark.parametrize("content", [None, "", "\n", "\n\n\n"])
def test_absent_or_empty_files_are_none(tmp_path: Path, content: str | None) -> None:
    names = [
        "proc/cpuinfo", "proc/meminfo", "proc/loadavg", "proc/stat", "proc/device-tree/model",
        f"{CPU}/cpu0/cpufreq/scaling_governor", f"{CPU}/cpu0/cpufreq/scaling_cur_freq",
        "sys/class/thermal/thermal_zone0/temp",
    ]  # fmt: skip
    if content is not None:
        tree(tmp_path, dict.fromkeys(names, content))
    machine = read_machine(tmp_path)
    assert (machine.cpu, machine.memory_mb, machine.virtual_machine) == (None, None, None)
    assert machine.cpu_flags == ()
    assert read_state(tmp_path) == MachineState(*[None] * 8)


def test_state_of_a_whole_machine(tmp_path: Path) -> None:
    found = read_state(
        tree(
            tmp_path,
            {
                f"{CPU}/cpu0/cpufreq/scaling_governor": "performance\n",
                f"{CPU}/cpu0/cpufreq/scaling_cur_freq": "2000000\n",
                f"{CPU}/cpu1/cpufreq/scaling_cur_freq": "3000000\n",
                f"{CPU}/cpu10/cpufreq/scaling_cur_freq": "4000000\n",
                f"{CPU}/cpufreq/policy0/scaling_cur_freq": "9000000\n",
                "sys/class/thermal/thermal_zone0/temp": "41500\n",
                "sys/class/thermal/thermal_zone1/temp": "63000\n",
                "sys/class/thermal/cooling_device0/temp": "99000\n",
                "sys/class/hwmon/hwmon0/name": "k10temp\n",
                "sys/class/hwmon/hwmon0/temp1_input": "64500\n",
                "sys/class/hwmon/hwmon1/name": "nvme\n",
                "sys/class/hwmon/hwmon1/temp1_input": "80000\n",
                f"{CPU}/cpu0/thermal_throttle/core_throttle_count": "1\n",
                f"{CPU}/cpu0/thermal_throttle/package_throttle_count": "6\n",
                f"{CPU}/cpu1/thermal_throttle/core_throttle_count": "2\n",
                f"{CPU}/cpu1/thermal_throttle/package_throttle_count": "6\n",
                "proc/self/status": "Name:\tpython\nVmRSS:\t  200704 kB\nThreads:\t3\n",
                "proc/loadavg": "0.52 0.58 0.59 1/467 12345\n",
                "proc/meminfo": MEMORY,
                "proc/stat": "cpu  10 11 12 13 14 15 16 77 18 19\ncpu0 1 1 1 1 1 1 1 5 1 1\n",
            },
        )
    )
    assert found == MachineState(
        governor="performance",
        frequency_mhz=3000.0,
        temperature_c=64.5,
        load_1min=0.52,
        memory_available_mb=8192,
        steal_ticks=77,
        throttle_count=9,
        process_memory_mb=205,
    )


def test_unreadable_sensors_are_omitted(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "sys/class/thermal/thermal_zone0/temp": "not a number",
            "sys/class/thermal/thermal_zone1/temp": "50000",
            f"{CPU}/cpu0/cpufreq/scaling_cur_freq": "<unknown>\n",
            f"{CPU}/cpu1/cpufreq/scaling_cur_freq": "1500000\n",
        },
    )
    (root / "sys/class/thermal/thermal_zone2/temp").mkdir(parents=True)
    found = read_state(root)
    assert found.temperature_c == 50.0
    assert found.frequency_mhz == 1500.0


def test_zero_and_negative_temperatures_are_kept(tmp_path: Path) -> None:
    for degrees in (0, -5000):
        tree(tmp_path, {"sys/class/thermal/thermal_zone0/temp": f"{degrees}\n"})
        assert read_state(tmp_path).temperature_c == degrees / 1000


def test_steal_is_none_if_the_kernel_does_not_report_it(tmp_path: Path) -> None:
    tree(tmp_path, {"proc/stat": "cpu  10 11 12 13\n"})
    assert read_state(tmp_path).steal_ticks is None


def test_throttle_count_is_zero_if_the_processor_never_throttled(tmp_path: Path) -> None:
    tree(tmp_path, {f"{CPU}/cpu0/thermal_throttle/core_throttle_count": "0\n"})
    assert read_state(tmp_path).throttle_count == 0


def test_age_of_a_process(tmp_path: Path) -> None:
    fields = ["S", *"0" * 18, "12340", "0"]
    stat = f"4711 (a name) with) {' '.join(fields)}\n"
    tree(tmp_path, {"proc/self/stat": stat, "proc/uptime": "125.50 240.00\n"})
    assert process_age_ms(tmp_path) == pytest.approx(2100.0)


@pytest.mark.parametrize(
    "files", [{}, {"proc/uptime": "1.0 1.0\n"}, {"proc/uptime": "1 1", "proc/self/stat": "1 (x) S"}]
)
def test_unreadable_age_is_none(files: dict[str, str | bytes], tmp_path: Path) -> None:
    assert process_age_ms(tree(tmp_path, files)) is None


def test_this_process_is_younger_than_the_machine() -> None:
    age = process_age_ms()
    assert age is not None
    assert 0 < age < time.clock_gettime(time.CLOCK_BOOTTIME) * 1000


def test_this_machine_can_be_read() -> None:
    machine = read_machine()
    assert isinstance(machine, Machine)
    assert machine.system
    read_state()
