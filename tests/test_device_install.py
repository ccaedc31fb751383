"""The device install consists of wheels for the boards, and its size is limited.

pip resolves for the Python and C library of a board; ``benchmarks/aarch64_check.sh`` installs and
runs the result. Requires a package registry that pip is configured for; skipped if none responds.
"""

from __future__ import annotations

import email
import re
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

pytestmark = pytest.mark.slow

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
# In MB (10^6 bytes). MOST_MB limits the dependencies that pip resolves, which can also make
# bundles; GOAL_MB limits the packages that a device loads (requirements-device.txt).
MOST_MB = {"3.10": 190, "3.12": 180}
GOAL_MB = 150
LISTED = Path(__file__).parents[1] / "requirements-device.txt"
WITHOUT_WHEELS = {"pycuda"}
EXTRAS = ("openvino", "dicom", "tensorrt", "parquet")


@dataclass(frozen=True)
class Board:
    """Platform of the wheels: JetPack 6 is Ubuntu 22.04, JetPack 7 is Ubuntu 24.04."""

    python: str
    glibc_minor: int

    @property
    def pip_options(self) -> list[str]:
        tags = [f"manylinux_2_{n}_aarch64" for n in range(17, self.glibc_minor + 1)]
        options = ["--only-binary", ":all:", "--implementation", "cp"]
        options += ["--python-version", self.python]
        for tag in [*tags, "manylinux2014_aarch64"]:
            options += ["--platform", tag]
        for abi in (f"cp{self.python.replace('.', '')}", "abi3", "none"):
            options += ["--abi", abi]
        return options

    def wants(self, requirement: Requirement) -> bool:
        """Return whether the markers of a requirement hold on the board, not on this machine."""
        here = {
            "python_version": self.python,
            "python_full_version": f"{self.python}.0",
            "platform_machine": "aarch64",
            "sys_platform": "linux",
            "platform_system": "Linux",
            "extra": "",
        }
        return requirement.marker is None or requirement.marker.evaluate(here)


BOARDS = {"3.10": Board("3.10", 35), "3.12": Board("3.12", 39)}


def pip(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pip", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def plain(requirement: Requirement) -> str:
    return f"{requirement.name}{requirement.specifier}"


def requirements(board: Board, lines: list[str]) -> list[str]:
    return [plain(r) for r in map(Requirement, lines) if board.wants(r)]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("registry")
    small = ("download", "--retries", "0", "--timeout", "15", "--no-deps", "--no-cache-dir")
    tried = pip(*small, "--only-binary", ":all:", "--dest", str(folder), "shellingham")
    if tried.returncode:
        pytest.skip(f"no package registry responds: {tried.stderr.strip().splitlines()[-1]}")


def download(board: Board, folder: Path) -> None:
    """Download the device install, until the dependencies of every wheel are present."""
    missing = requirements(board, PROJECT["dependencies"])
    while missing:
        done = pip("download", "--quiet", "--dest", str(folder), *board.pip_options, *missing)
        assert done.returncode == 0, done.stderr
        missing = still_missing(board, folder)


def still_missing(board: Board, folder: Path) -> list[str]:
    have, wanted = set(), {}
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            (name,) = (n for n in archive.namelist() if re.fullmatch(r"[^/]+info/METADATA", n))
            metadata = email.message_from_bytes(archive.read(name))
        have.add(canonicalize_name(metadata["Name"]))
        for line in metadata.get_all("Requires-Dist") or ():
            requirement = Requirement(line)
            if board.wants(requirement):
                wanted[canonicalize_name(requirement.name)] = plain(requirement)
    return [line for name, line in wanted.items() if name not in have]


def unpacked_mb(folder: Path) -> dict[str, float]:
    """Return the unpacked size in MB of each wheel in a folder, by package name."""
    sizes = {}
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            name = canonicalize_name(wheel.name.split("-")[0])
            sizes[name] = sum(file.file_size for file in archive.infolist()) / 1e6
    return sizes


@pytest.fixture(scope="module")
def downloaded(registry: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folders = {python: tmp_path_factory.mktemp(f"wheels-{python}") for python in BOARDS}
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda python: download(BOARDS[python], folders[python]), folders))
    return folders


@pytest.mark.parametrize("python", BOARDS)
def test_the_device_install_consists_of_wheels(python: str, downloaded, record_property) -> None:
    folder = downloaded[python]
    wheels = sorted(file.name for file in folder.iterdir())
    assert all(name.endswith(".whl") for name in wheels)
    assert not [name for name in wheels if name.startswith(("torch", "nvidia"))]
    size_mb = sum(unpacked_mb(folder).values())
    record_property("unpacked_mb", round(size_mb, 1))
    assert size_mb < MOST_MB[python], f"{size_mb:.1f} MB in {len(wheels)} wheels"


@pytest.mark.parametrize("python", BOARDS)
def test_the_packages_of_a_device_stay_below_the_size_goal(
    python: str, downloaded, record_property
) -> None:
    lines = [line for line in LISTED.read_text().splitlines() if line[0] not in "#-"]
    wanted = [one for one in map(Requirement, lines) if BOARDS[python].wants(one)]
    sizes = unpacked_mb(downloaded[python])
    listed = {name: sizes[name] for name in (canonicalize_name(one.name) for one in wanted)}
    size_mb = sum(listed.values())
    record_property("unpacked_mb", round(size_mb, 1))
    largest = sorted(listed.items(), key=lambda item: -item[1])[:5]
    assert size_mb < GOAL_MB, f"{size_mb:.1f} MB, the largest: {largest}"


def test_extras_are_wheels_except_for_the_known_ones(registry: None, tmp_path: Path) -> None:
    def resolves(board: Board, *lines: str) -> bool:
        asked = ("install", "--dry-run", "--ignore-installed", "--quiet", "--target", str(tmp_path))
        return pip(*asked, *board.pip_options, *lines).returncode == 0

    jobs: dict[str, tuple[str, ...]] = {}
    for python, board in BOARDS.items():
        optional = PROJECT["optional-dependencies"]
        lines = requirements(board, [line for extra in EXTRAS for line in optional[extra]])
        compiled = [line for line in lines if Requirement(line).name in WITHOUT_WHEELS]
        assert len(compiled) == len(WITHOUT_WHEELS)
        jobs[f"{python}, wheels"] = tuple(set(lines) - set(compiled))
        jobs |= {f"{python}, compiled: {line}": (line,) for line in compiled}
    with ThreadPoolExecutor(len(jobs)) as pool:
        boards = [BOARDS[name.split(",")[0]] for name in jobs]
        came = pool.map(lambda board, lines: resolves(board, *lines), boards, jobs.values())
        found = dict(zip(jobs, came, strict=True))
    assert found == {name: name.endswith(", wheels") for name in jobs}
