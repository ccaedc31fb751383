"""Clocks, power modes and throttling of a fake machine."""

from __future__ import annotations

from cxredge.diagnosis import clocks
from cxredge.diagnosis.finding import Status
from cxredge.diagnosis.surroundings import Surroundings
from tests.diagnosis.machines import GOVERNOR
from tests.targets.boards import ORIN_NANO_SUPER


class TestClocks:
    GPU = "sys/class/devfreq/17000000.gpu"
    EVENTS = "sys/class/hwmon/hwmon3/oc3_event_cnt"
    MODES = "< POWER_MODEL ID=0 NAME=15W >\n< POWER_MODEL ID=2 NAME=MAXN_SUPER >\n"

    def nvpmodel(self, here: Surroundings, name: str, number: int) -> Surroundings:
        path = here.root / "usr/sbin/nvpmodel"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'#!/bin/sh\nprintf "NV Power Mode: {name}\\n{number}\\n"\n')
        path.chmod(0o755)
        return here

    def test_governor(self, machine) -> None:
        assert clocks.governor(machine()).status is Status.SKIP
        assert clocks.governor(machine({GOVERNOR: "performance\n"})).status is Status.OK
        found = clocks.governor(machine({GOVERNOR: "schedutil\n"}))
        assert "cpupower" in found.fix
        board = clocks.governor(machine({GOVERNOR: "schedutil\n", **ORIN_NANO_SUPER}))
        assert "jetson_clocks" in board.fix

    def test_checks_are_skipped_off_a_jetson(self, machine) -> None:
        for check in (clocks.gpu, clocks.mode, clocks.throttling):
            assert check(machine()).status is Status.SKIP

    def test_checks_are_skipped_if_nothing_is_readable(self, machine) -> None:
        here = machine(ORIN_NANO_SUPER)
        for check in (clocks.gpu, clocks.mode, clocks.throttling):
            assert check(here).status is Status.SKIP

    def test_gpu_clock(self, machine) -> None:
        files = {
            **ORIN_NANO_SUPER,
            f"{self.GPU}/min_freq": "306000000",
            f"{self.GPU}/max_freq": "1020000000",
        }
        found = clocks.gpu(machine(files))
        assert (found.status, found.found) == (Status.WARN, "306 to 1020 MHz, not locked")
        assert "jetson_clocks" in found.fix
        files[f"{self.GPU}/min_freq"] = "1020000000"
        assert clocks.gpu(machine(files)).found == "locked at 1020 MHz"

    def test_power_mode(self, machine) -> None:
        here = machine({**ORIN_NANO_SUPER, "etc/nvpmodel.conf": self.MODES})
        found = clocks.mode(self.nvpmodel(here, "15W", 0))
        assert found.status is Status.WARN
        assert "sudo nvpmodel -m 2 (MAXN_SUPER)" in found.fix
        assert clocks.mode(self.nvpmodel(here, "MAXN_SUPER", 2)).status is Status.OK

    def test_power_mode_if_the_modes_are_unknown(self, machine) -> None:
        assert clocks.mode(self.nvpmodel(machine(ORIN_NANO_SUPER), "15W", 0)).status is Status.OK

    def test_throttling(self, machine) -> None:
        zone = "sys/devices/virtual/thermal/thermal_zone0"
        files = {
            **ORIN_NANO_SUPER,
            self.EVENTS: "0\n",
            f"{zone}/type": "tj",
            f"{zone}/temp": "51000",
        }
        assert clocks.throttling(machine(files)).status is Status.OK
        found = clocks.throttling(machine({**files, self.EVENTS: "4\n"}))
        assert found.status is Status.WARN
        assert "hwmon3/oc3 4, hottest zone 51" in found.found
        hot = clocks.throttling(machine({**files, f"{zone}/temp": "97000", self.EVENTS: "0\n"}))
        assert (hot.status, hot.found) == (Status.WARN, "hottest zone 97 °C")
