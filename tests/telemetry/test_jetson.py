from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path

import pytest

from cxredge.telemetry import jetson
from cxredge.telemetry.jetson import (
    Clock,
    JetsonState,
    PowerMode,
    gpu_clock,
    power_mode,
    power_modes,
    read_jetson,
    reasons_not_to_compare,
    temperatures_c,
    throttle_events,
)
from cxredge.telemetry.power_rails import Rail, power_rails, total_power_mw
from tests.targets.boards import tree

GPU = "sys/class/devfreq/17000000.gpu"
MONITOR = "sys/bus/i2c/devices/1-0040"
ZONE = "sys/devices/virtual/thermal/thermal_zone"
MODES = """\
# Orin Nano Super
< PARAM TYPE=FILE NAME=CPU_ONLINE >
< POWER_MODEL ID=0 NAME=15W >
CPU_ONLINE CORE_0 1
< POWER_MODEL ID=1 NAME=25W >
< POWER_MODEL ID=2 NAME=MAXN_SUPER >
< PM_CONFIG DEFAULT=1 >
"""


def command(root: Path, body: str) -> Path:
    path = tree(root, {"usr/sbin/nvpmodel": f"#!/bin/sh\n{body}\n"}) / "usr/sbin/nvpmodel"
    path.chmod(0o755)
    return root


def clocks(lowest: int, highest: int, name: str = GPU) -> dict[str, str]:
    return {
        f"{name}/min_freq": f"{lowest}\n",
        f"{name}/max_freq": f"{highest}\n",
        f"{name}/cur_freq": f"{lowest}\n",
    }


def test_a_machine_that_is_no_jetson(tmp_path: Path) -> None:
    assert read_jetson(tmp_path) == JetsonState(
        power_mode=None,
        gpu_clock=None,
        rails=(),
        power_mw=None,
        temperatures_c={},
        throttle_events={},
    )


def test_locked_and_free_clocks(tmp_path: Path) -> None:
    free = gpu_clock(tree(tmp_path / "free", clocks(306000000, 1020000000)))
    assert free is not None
    assert (free.name, free.lowest_mhz, free.highest_mhz) == ("17000000.gpu", 306.0, 1020.0)
    assert not free.locked
    locked = gpu_clock(tree(tmp_path / "locked", clocks(1020000000, 1020000000)))
    assert locked is not None
    assert locked.locked
    assert locked.current_mhz == 1020.0


def test_the_gpu_is_distinguished_from_other_devices(tmp_path: Path) -> None:
    files = {
        **clocks(1, 1, "sys/class/devfreq/15340000.vic"),
        **clocks(1, 2, "sys/class/devfreq/gpu-gpc-0"),
    }
    found = gpu_clock(tree(tmp_path, files))
    assert found is not None
    assert found.name == "gpu-gpc-0"
    assert gpu_clock(tree(tmp_path / "b", clocks(1, 1, "sys/class/devfreq/15340000.vic"))) is None


def test_power_mode_is_read_from_nvpmodel(tmp_path: Path) -> None:
    root = command(tmp_path, '[ "$1" = -q ] && printf "NV Power Mode: MAXN_SUPER\\n2\\n"')
    assert power_mode(root) == PowerMode("MAXN_SUPER", 2)


@pytest.mark.parametrize("body", ["echo no; exit 1", "echo something else", "exit 0"])
def test_power_mode_is_none_if_nvpmodel_fails(body: str, tmp_path: Path) -> None:
    assert power_mode(command(tmp_path, body)) is None


def test_power_mode_is_none_if_nvpmodel_is_not_executable(tmp_path: Path) -> None:
    assert power_mode(tree(tmp_path, {"usr/sbin/nvpmodel": "text"})) is None


def test_power_mode_is_none_if_nvpmodel_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jetson, "_NVPMODEL_SECONDS", 0.2)
    start = time.perf_counter()
    assert power_mode(command(tmp_path, "exec sleep 20")) is None
    assert time.perf_counter() - start < 10


def test_modes_of_the_board(tmp_path: Path) -> None:
    root = tree(tmp_path, {"etc/nvpmodel.conf": MODES})
    assert power_modes(root) == (
        PowerMode("15W", 0), PowerMode("25W", 1), PowerMode("MAXN_SUPER", 2),
    )  # fmt: skip


def orin_rails() -> dict[str, str]:
    monitor = f"{MONITOR}/hwmon/hwmon3"
    files = {f"{MONITOR}/name": "ina3221\n"}
    rails = {1: ("VDD_IN", 5000, 1200), 2: ("VDD_CPU_GPU_CV", 5000, 400), 3: ("NC", 5000, 9)}
    for channel, (label, millivolts, milliamperes) in {**rails, 7: ("sum", 1, 1)}.items():
        files[f"{monitor}/in{channel}_label"] = f"{label}\n"
        files[f"{monitor}/in{channel}_input"] = f"{millivolts}\n"
        files[f"{monitor}/curr{channel}_input"] = f"{milliamperes}\n"
    return files


def test_rail_power_is_voltage_times_current(tmp_path: Path) -> None:
    rails = power_rails(tree(tmp_path, orin_rails()))
    assert rails == (Rail("VDD_IN", 6000.0), Rail("VDD_CPU_GPU_CV", 2000.0))
    assert total_power_mw(rails) == 6000.0


def test_an_unreadable_rail_is_omitted(tmp_path: Path) -> None:
    files = orin_rails()
    del files[f"{MONITOR}/hwmon/hwmon3/curr1_input"]
    assert power_rails(tree(tmp_path, files)) == (Rail("VDD_CPU_GPU_CV", 2000.0),)


def test_power_of_boards_without_a_total_rail_is_the_sum() -> None:
    assert total_power_mw((Rail("GPU", 1000.0), Rail("CPU", 500.0))) == 1500.0
    assert total_power_mw(()) is None


def test_jetpack_4_reports_power_directly(tmp_path: Path) -> None:
    monitor = "sys/bus/i2c/devices/6-0040"
    files = {
        f"{monitor}/name": "ina3221x\n",
        f"{monitor}/iio:device0/rail_name_0": "POM_5V_IN\n",
        f"{monitor}/iio:device0/in_power0_input": "2340\n",
        f"{monitor}/iio:device0/rail_name_1": "POM_5V_GPU\n",
        f"{monitor}/iio:device0/in_power1_input": "123\n",
    }
    rails = power_rails(tree(tmp_path, files))
    assert rails == (Rail("POM_5V_IN", 2340.0), Rail("POM_5V_GPU", 123.0))
    assert total_power_mw(rails) == 2340.0


def test_thor_reports_its_input_in_microwatts(tmp_path: Path) -> None:
    files = {
        "sys/bus/i2c/devices/2-0044/name": "ina238\n",
        "sys/bus/i2c/devices/2-0044/hwmon/hwmon4/power1_input": "30500000\n",
        **orin_rails(),
    }
    files = {k: v.replace("VDD_IN", "VDD_GPU") for k, v in files.items()}
    rails = power_rails(tree(tmp_path, files))
    assert Rail("VIN", 30500.0) in rails
    assert total_power_mw(rails) == 30500.0


def test_temperatures(tmp_path: Path) -> None:
    files = {
        f"{ZONE}0/type": "cpu-thermal\n", f"{ZONE}0/temp": "48500\n",
        f"{ZONE}1/type": "cv0-thermal\n", f"{ZONE}1/temp": "-256000\n",
        f"{ZONE}2/type": "gpu-thermal\n", f"{ZONE}2/temp": "\n",
    }  # fmt: skip
    assert temperatures_c(tree(tmp_path, files)) == {"cpu-thermal": 48.5}


def test_throttle_events(tmp_path: Path) -> None:
    files = {
        "sys/class/hwmon/hwmon3/oc1_event_cnt": "0\n",
        "sys/class/hwmon/hwmon3/oc3_event_cnt": "7\n",
        "sys/class/hwmon/hwmon3/name": "soctherm\n",
    }
    root = tree(tmp_path, files)
    assert throttle_events(root) == {"hwmon3/oc1": 0, "hwmon3/oc3": 7}


def test_the_whole_state(tmp_path: Path) -> None:
    tree(tmp_path, {**clocks(5, 5), **orin_rails()})
    root = command(tmp_path, 'printf "NV Power Mode: 15W\\n0\\n"')
    found = read_jetson(root)
    assert found.power_mode == PowerMode("15W", 0)
    assert found.gpu_clock is not None
    assert found.gpu_clock.locked
    assert found.rails[0] == Rail("VDD_IN", 6000.0)
    assert found.power_mw == 6000.0


STEADY = JetsonState(
    power_mode=PowerMode("MAXN_SUPER", 2),
    gpu_clock=Clock("17000000.gpu", 1020.0, 1020.0, 1020.0, locked=True),
    rails=(),
    power_mw=None,
    temperatures_c={},
    throttle_events={"hwmon3/oc1": 3},
)


def test_measurements_on_a_steady_board_are_comparable() -> None:
    assert reasons_not_to_compare(STEADY, STEADY) == []


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (replace(STEADY, gpu_clock=None), "cannot be read"),
        (replace(STEADY, gpu_clock=Clock("gpu", 1.0, 1.0, 2.0, locked=False)), "not locked"),
        (replace(STEADY, power_mode=PowerMode("15W", 0)), "power mode changed"),
        (
            replace(STEADY, throttle_events={"hwmon3/oc1": 4}),
            "throttled because of over-current.*hwmon3/oc1",
        ),
    ],
)
def test_reasons_not_to_compare(after: JetsonState, words: str) -> None:
    found = reasons_not_to_compare(STEADY, after)
    assert len(found) == 1
    assert re.search(words, found[0])


def test_a_benchmark_on_a_board_records_its_state(cxredge, bundle: Path, monkeypatch) -> None:
    states = iter([STEADY, replace(STEADY, throttle_events={"hwmon3/oc1": 9})])
    monkeypatch.setattr("cxredge.bench.run._board_state", lambda: next(states))
    found = cxredge("bench", bundle, "--seconds", 0, "--queries", 5, "--json").json
    assert found["jetson"]["before"]["power_mode"] == {"name": "MAXN_SUPER", "number": 2}
    assert found["jetson"]["after"]["throttle_events"] == {"hwmon3/oc1": 9}
    assert any("over-current" in reason for reason in found["verdict"]["reasons"])


def test_a_benchmark_elsewhere_records_no_board(cxredge, bundle: Path) -> None:
    found = cxredge("bench", bundle, "--seconds", 0, "--queries", 5, "--json").json
    assert found["jetson"] is None
