import threading
import time
from pathlib import Path

import pytest

from cxredge.telemetry.sampling import Range, Sampler, SamplingSummary
from tests.targets.boards import tree
from tests.telemetry.test_energy import counters

FREQUENCY = "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq"
MONITOR = "sys/bus/i2c/devices/1-0040"
GPU = "sys/class/devfreq/17000000.gpu"


def board(milliamperes: int = 1000, gpu_hz: int = 624_000_000) -> dict[str, str]:
    return {
        f"{MONITOR}/name": "ina3221\n",
        f"{MONITOR}/hwmon/hwmon3/in1_label": "VDD_IN\n",
        f"{MONITOR}/hwmon/hwmon3/in1_input": "5000\n",
        f"{MONITOR}/hwmon/hwmon3/curr1_input": f"{milliamperes}\n",
        f"{GPU}/cur_freq": f"{gpu_hz}\n",
        f"{GPU}/min_freq": "306000000\n",
        f"{GPU}/max_freq": "624000000\n",
        FREQUENCY: "1500000\n",
    }


def wait_until(condition: object, seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.005)


def test_minimum_mean_and_maximum_of_each_quantity(tmp_path: Path) -> None:
    tree(tmp_path, board())
    with Sampler(jetson=True, interval_s=60, root=tmp_path) as sampler:
        tree(tmp_path, board(milliamperes=2000, gpu_hz=306_000_000))
    found = sampler.summary()
    assert found.samples == 2
    assert found.power_mw == Range(min=5000.0, mean=7500.0, max=10000.0)
    assert found.gpu_clock_mhz == Range(min=306.0, mean=465.0, max=624.0)
    assert found.frequency_mhz == Range(min=1500.0, mean=1500.0, max=1500.0)
    assert found.reading_ms_per_sample > 0


def test_unreadable_quantities_are_none_and_never_zero(tmp_path: Path) -> None:
    with Sampler(jetson=False, interval_s=60, root=tmp_path) as sampler:
        pass
    found = sampler.summary()
    assert found == SamplingSummary(
        found.samples, found.interval_s, found.reading_ms_per_sample, *[None] * 7
    )
    assert sampler.energy() is None


def test_energy_of_a_board_comes_from_its_rails(tmp_path: Path) -> None:
    tree(tmp_path, board(milliamperes=1000))
    with Sampler(jetson=True, interval_s=60, root=tmp_path) as sampler:
        time.sleep(0.05)
    energy = sampler.energy()
    assert energy is not None
    assert energy.source == "power rails"
    assert energy.joules == pytest.approx(5.0 * energy.seconds)
    assert energy.seconds >= 0.05


def test_energy_of_a_processor_comes_from_its_counters(tmp_path: Path) -> None:
    tree(tmp_path, counters(1_000_000))
    with Sampler(jetson=False, interval_s=60, root=tmp_path) as sampler:
        tree(tmp_path, counters(3_000_000))
    energy = sampler.energy()
    assert energy is not None
    assert (energy.source, energy.joules) == ("RAPL", 2.0)


def test_samples_are_taken_during_the_work(tmp_path: Path) -> None:
    tree(tmp_path, {FREQUENCY: "1000000\n"})
    with Sampler(jetson=False, interval_s=0.01, root=tmp_path) as sampler:
        tree(tmp_path, {FREQUENCY: "2000000\n"})
        wait_until(lambda: sampler.summary().samples >= 4)
        tree(tmp_path, {FREQUENCY: "1000000\n"})
    frequency_mhz = sampler.summary().frequency_mhz
    assert frequency_mhz is not None
    assert frequency_mhz.max == 2000.0


def test_the_thread_ends_even_if_the_work_fails(tmp_path: Path) -> None:
    sampler = Sampler(jetson=False, root=tmp_path)
    with pytest.raises(ZeroDivisionError), sampler:
        _ = 1 / 0
    assert "telemetry" not in {thread.name for thread in threading.enumerate()}
