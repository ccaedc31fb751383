"""Memory for images: shared by threads, never exceeded, and an image that exceeds it has a row."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.uid import DeflatedExplicitVRLittleEndian

from cxredge.data import memory_budget as module
from cxredge.data.images import load_grey
from cxredge.data.memory_budget import MAX_BUDGET, MemoryBudget, MemoryPool, available_memory
from cxredge.errors import ImageError, ImageProblem
from tests.data.image_files import encode, save
from tests.dicom_files import dicom

RNG = np.random.default_rng(5)


def limit(monkeypatch: pytest.MonkeyPatch, size_bytes: int) -> MemoryBudget:
    budget = MemoryBudget.of(size_bytes)
    for name in ("raster", "sources", "dicom.picture", "dicom.header"):
        monkeypatch.setattr(f"cxredge.data.{name}.memory_budget", lambda: budget)
    return budget


def free_bytes(budget: MemoryBudget) -> int:
    return sum(pool._free_bytes for pool in (budget.files, budget.unpacked, budget.pixels))


def test_threads_wait_until_there_is_enough() -> None:
    pool, lock, used, peak = MemoryPool(100, "to be read"), threading.Lock(), 0, 0

    def work(size: int) -> None:
        nonlocal used, peak
        with pool.reserve("a.png", size):
            with lock:
                used += size
                peak = max(peak, used)
            with lock:
                used -= size

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, [100, 60, 60, 1, 0, 40, 99] * 30))
    assert peak <= 100
    assert pool._free_bytes == 100


def test_more_than_the_pool_is_refused_at_once() -> None:
    pool = MemoryPool(5_000_000, "to be decoded")
    with (
        pytest.raises(ImageError, match=r"a\.png needs up to 6 MB to be decoded; 5 MB") as caught,
        pool.reserve("a.png", 5_000_001),
    ):
        pass
    assert caught.value.problem is ImageProblem.TOO_LARGE


@pytest.mark.parametrize(
    ("content", "budget_bytes"),
    [
        pytest.param(encode(Image.new("RGBA", (600, 600), "white")), 3_000_000, id="rgba"),
        pytest.param(
            encode(Image.fromarray(np.full((600, 600), 65535, np.uint16))), 3_000_000, id="16-bit"
        ),
        pytest.param(
            encode(Image.new("RGB", (1600, 1600), "white"), "JPEG", progressive=True),
            10_000_000,
            id="progressive",
        ),
        pytest.param(dicom(RNG.integers(0, 4096, (600, 600)).astype(np.uint16)), 3_000_000),
        pytest.param(
            dicom(np.full((600, 600), 9, np.uint8), DeflatedExplicitVRLittleEndian),
            1_000_000,
            id="deflated",
        ),
    ],
)
def test_an_image_that_needs_too_much_is_one_failed_image(
    content: bytes, budget_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = limit(monkeypatch, budget_bytes)
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(ImageError, match="MB are available to images on this machine") as caught:
        load_grey(tmp_path / "a", 32)
    assert caught.value.problem is ImageProblem.TOO_LARGE
    small = save(tmp_path / "small.png", Image.new("L", (64, 64), 9))
    assert load_grey(small, 32).max() == 9
    assert free_bytes(budget) == budget_bytes


def test_images_that_fit_one_after_the_other_are_all_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = RNG.integers(0, 256, (500, 500, 4), np.uint8)
    path = save(tmp_path / "a.png", Image.fromarray(noise, "RGBA"))
    expected = load_grey(path, 64)
    budget = limit(monkeypatch, 16_000_000)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: load_grey(path, 64), range(24)))
    assert all((one == expected).all() for one in found)
    assert free_bytes(budget) == 16_000_000


def test_running_out_of_memory_is_one_failed_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    path = save(tmp_path / "a.png", Image.new("L", (64, 64)))
    monkeypatch.setattr("cxredge.data.raster.to_grey", fail)
    with pytest.raises(ImageError, match="not enough memory to decode") as caught:
        load_grey(path, 32)
    assert caught.value.problem is ImageProblem.TOO_LARGE


def test_available_memory_is_the_least_of_system_and_control_group(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemTotal: 900 kB\nMemAvailable:   300 kB\n")
    assert available_memory(tmp_path) == 300 * 1024
    (tmp_path / "sys/fs/cgroup/memory.max").write_text("2000\n")
    assert available_memory(tmp_path) == 2000
    (tmp_path / "sys/fs/cgroup/memory.max").write_text("max\n")
    assert available_memory(tmp_path) == 300 * 1024


@pytest.mark.parametrize(
    ("available", "expected"),
    [(2_000_000_000, 1_000_000_000), (10**12, MAX_BUDGET), (None, 1_000_000_000)],
)
def test_the_budget_is_half_of_what_is_available(
    available: int | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "available_memory", lambda: available)
    assert free_bytes(module.memory_budget.__wrapped__()) == expected
