"""A bundle for an Orin Nano, and a fake Orin Nano."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cxredge.build import engines
from cxredge.errors import CxredgeError
from cxredge.targets import registry
from cxredge.vocabulary import Precision
from tests.backends.bundles.board_builds import build_from
from tests.conftest import Run
from tests.targets.boards import ORIN_NANO_SUPER, tree


@pytest.fixture(scope="session")
def packed(cxredge: Run, model: Path, calibration: Path, tmp_path_factory) -> Path:
    """A bundle for an Orin Nano, packed elsewhere. Shared: copy it before changing it."""
    out = tmp_path_factory.mktemp("packed") / "bundle"
    ran = build_from(cxredge, model, calibration, out)
    assert ran.code == 0, ran.err
    assert ran.json["finished_here"] is False
    return out


@pytest.fixture
def bundle(packed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(packed, tmp_path / "bundle"))


@pytest.fixture
def timings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/cxredge/tensorrt"


@pytest.fixture
def on_board(timings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this machine an Orin Nano."""
    monkeypatch.setattr(registry, "ROOT", tree(tmp_path / "root", ORIN_NANO_SUPER))
    monkeypatch.setattr(registry, "this_machine", lambda: "aarch64")


@pytest.fixture
def cannot_build(monkeypatch: pytest.MonkeyPatch) -> Callable[[Precision], None]:
    """Make engine builds of one precision fail."""
    build = engines.build_engine

    def set_up(precision: Precision) -> None:
        def fails(onnx: Path, plan: Path, settings, progress):
            if settings.precision is precision:
                raise CxredgeError("no kernel fits node conv1.", "Use --precision fp16.")
            return build(onnx, plan, settings, progress)

        monkeypatch.setattr(engines, "build_engine", fails)

    return set_up
