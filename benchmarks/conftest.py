"""Fixtures: a MobileNet V1 on phantoms, or your own model and images."""

from __future__ import annotations

import re
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import pytest

from benchmarks.commands import cxredge
from cxredge.artifacts.card import read_card
from cxredge.artifacts.model_card import ExportedCard
from cxredge.artifacts.records import to_json
from cxredge.telemetry.linux import read_machine

RESULTS = Path(__file__).parent / "results" / "speed"
PREDICTED = 200
"""Number of images in the folder to predict."""
_DEFAULT_STORAGE = "file://./.benchmarks"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add options for real images and a real model."""
    group = parser.getgroup("cxredge")
    group.addoption("--images", type=Path, help="a folder of X-rays instead of phantoms")
    group.addoption(
        "--model", type=Path, help="an FP32 model of 'cxredge export' instead of a generated one"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Store results in a folder named after the machine, unless another is given."""
    if getattr(config.option, "benchmark_storage", "") == _DEFAULT_STORAGE:
        machine = read_machine()
        name = f"{machine.cpu or machine.architecture} {machine.cores} cores"
        folder = RESULTS / re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
        config.option.benchmark_storage = folder.as_uri()


def pytest_benchmark_update_machine_info(
    config: pytest.Config, machine_info: dict[str, Any]
) -> None:
    """Describe the machine as in all other results, without its host name."""
    machine_info.clear()
    machine_info.update(to_json(read_machine()))


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``manifest.csv`` and 1024x1024 phantoms."""
    out = tmp_path_factory.mktemp("phantoms")
    cxredge("data", "phantoms", "--patients", 12, "--size", 1024, "--out", out)
    return out


@pytest.fixture(scope="session")
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The FP32 model of ``--model``, or a MobileNet V1 after one epoch on phantoms."""
    given: Path | None = request.config.getoption("--model")
    if given:
        return given
    pytest.importorskip("torch", reason="needs the train extra, or --model")
    phantoms: Path = request.getfixturevalue("phantoms")
    work = tmp_path_factory.mktemp("model")
    cxredge(
        "train", phantoms / "manifest.csv", "--weights", "none", "--freeze", "none",
        "--epochs", 1, "--out", work / "run",
    )  # fmt: skip
    cxredge("export", work / "run", "--out", work / "fp32")
    return work / "fp32"


@pytest.fixture(scope="session")
def calibration(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibration list of 16 images."""
    out = tmp_path_factory.mktemp("calibration") / "calibration.csv"
    cxredge("calibrate", model / "manifest.csv", "--count", 16, "--out", out)
    return out


@pytest.fixture(scope="session")
def bundle(model: Path, calibration: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle for this machine with every precision, regardless of its accuracy."""
    out = tmp_path_factory.mktemp("bundle") / "bundle"
    cxredge(
        "build", model, "--calibration", calibration, "--effort", "quick", "--out", out,
        "--min-agreement", 0, "--max-accuracy-drop", 1,
    )  # fmt: skip
    return out


@pytest.fixture(scope="session")
def images(request: pytest.FixtureRequest) -> list[Path]:
    """The images of ``--images``, or phantoms."""
    given: Path | None = request.config.getoption("--images")
    folder = given or request.getfixturevalue("phantoms") / "images"
    return sorted(path for path in folder.rglob("*.*") if path.is_file())


@pytest.fixture(scope="session")
def folder(images: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of PREDICTED images; images are linked repeatedly if there are fewer."""
    out = tmp_path_factory.mktemp("folder")
    for number, image in enumerate(islice(cycle(images), PREDICTED)):
        (out / f"{number:04d}{image.suffix}").symlink_to(image.resolve())
    return out


@pytest.fixture(scope="session")
def size(model: Path) -> int:
    """Height and width of the network's input in pixels."""
    return read_card(model, ExportedCard).classifier.input_size
