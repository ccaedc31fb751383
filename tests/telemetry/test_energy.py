from pathlib import Path

import pytest

from cxredge.telemetry.energy import Energy, EnergyPerImage, Rapl, integrate
from tests.targets.boards import tree

POWERCAP = "sys/class/powercap"


def counters(*packages_uj: int, wrap: int = 1_000_000_000) -> dict[str, str]:
    files = {}
    for index, energy in enumerate(packages_uj):
        folder = f"{POWERCAP}/intel-rapl:{index}"
        files[f"{folder}/name"] = f"package-{index}\n"
        files[f"{folder}/energy_uj"] = f"{energy}\n"
        files[f"{folder}/max_energy_range_uj"] = f"{wrap}\n"
    files[f"{POWERCAP}/intel-rapl:0:0/name"] = "core\n"
    files[f"{POWERCAP}/intel-rapl:0:0/energy_uj"] = "7\n"
    files[f"{POWERCAP}/intel-rapl:0:0/max_energy_range_uj"] = f"{wrap}\n"
    return files


def test_packages_are_summed_without_counting_their_parts_twice(tmp_path: Path) -> None:
    rapl = Rapl(tree(tmp_path, counters(1_000_000, 5_000_000)))
    assert rapl.read() == 0.0
    tree(tmp_path, counters(4_000_000, 6_500_000))
    assert rapl.read() == pytest.approx(4.5)
    tree(tmp_path, counters(4_000_000, 7_000_000))
    assert rapl.read() == pytest.approx(5.0)


def test_counter_that_wraps_keeps_counting(tmp_path: Path) -> None:
    rapl = Rapl(tree(tmp_path, counters(900, wrap=1000)))
    tree(tmp_path, counters(100, wrap=1000))
    assert rapl.read() == pytest.approx(200e-6)


def test_missing_counters_are_none_and_not_zero(tmp_path: Path) -> None:
    assert Rapl(tmp_path).read() is None


def test_unreadable_counters_are_none_and_not_zero(tmp_path: Path) -> None:
    tree(tmp_path, counters(1, 2))
    # A folder in its place is unreadable for root too.
    (tmp_path / POWERCAP / "intel-rapl:1/energy_uj").unlink()
    (tmp_path / POWERCAP / "intel-rapl:1/energy_uj").mkdir()
    assert Rapl(tmp_path).read() is None


def test_counter_that_disappears_is_none_and_not_zero(tmp_path: Path) -> None:
    rapl = Rapl(tree(tmp_path, counters(1)))
    (tmp_path / POWERCAP / "intel-rapl:0/energy_uj").unlink()
    assert rapl.read() is None


def test_power_is_integrated_by_trapezoids() -> None:
    energy = integrate([10.0, 11.0, 13.0], [4000.0, 6000.0, 6000.0])
    assert energy == Energy("power rails", 17.0, 3.0)
    assert energy.per_image(images=100) == EnergyPerImage(
        source="power rails", joules=17.0, mean_watts=5.667, joules_per_image=0.17
    )


@pytest.mark.parametrize("samples", [[], [(1.0, 5.0)]])
def test_too_few_samples_yield_no_energy(samples: list[tuple[float, float]]) -> None:
    assert integrate([t for t, _ in samples], [p for _, p in samples]) is None
