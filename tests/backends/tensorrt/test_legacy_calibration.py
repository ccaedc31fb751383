"""TensorRT's own calibrator: each batch is read once, and tables are kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from cxredge.backends.tensorrt.builder import build_engine
from cxredge.backends.tensorrt.settings import EngineConfig, LegacyCalibration
from cxredge.data.manifest import read_manifest, write_manifest
from cxredge.errors import CxredgeError
from cxredge.vocabulary import Precision
from tests.backends.conftest import Fake
from tests.backends.tensorrt.conftest import FLAGS, STRONG


class TestLegacyCalibration:
    @pytest.fixture
    def settings(self, calibration: Path, tmp_path: Path) -> EngineConfig:
        legacy = LegacyCalibration(calibration, tmp_path / "tables", batch=8)
        return EngineConfig(Precision.INT8, calibration=legacy)

    @pytest.mark.parametrize("version", FLAGS)
    def test_reads_every_batch_once_and_keeps_the_table(
        self, version: str, settings: EngineConfig, fake: Fake, fp32: Path, tmp_path: Path
    ) -> None:
        world = fake(version)
        facts = build_engine(fp32, tmp_path / "m.plan", settings)
        assert facts.settings.legacy_calibration is True
        assert world.seen["flags"] == {"INT8", "FP16", "TF32"}
        sums = world.seen["calibration sums"]
        assert len(sums) == len({total for _, total in sums}) == 3
        assert world.gpu.allocations == {}, "freed once the engine is built"
        (table,) = (tmp_path / "tables").iterdir()
        assert table.read_bytes() == b"table"
        build_engine(fp32, tmp_path / "m.plan", settings)
        assert world.seen["calibration table read"] == b"table"
        assert world.seen["calibration sums"] == []

    def test_table_depends_on_model_and_images(
        self, settings: EngineConfig, fake: Fake, fp32: Path, calibration: Path, tmp_path: Path
    ) -> None:
        fake("10.3.0")
        build_engine(fp32, tmp_path / "m.plan", settings)
        other = onnx.load(fp32)
        other.graph.name = "other"
        onnx.save(other, tmp_path / "other.onnx")
        build_engine(tmp_path / "other.onnx", tmp_path / "m.plan", settings)
        entries = read_manifest(calibration).entries
        fewer = write_manifest(tmp_path / "fewer.csv", entries[:16])
        legacy = LegacyCalibration(fewer.path, tmp_path / "tables")
        build_engine(fp32, tmp_path / "m.plan", replace(settings, calibration=legacy))
        fake("10.16.1.11")
        build_engine(fp32, tmp_path / "m.plan", settings)
        assert len(list((tmp_path / "tables").iterdir())) == 4

    def test_a_missing_image_ends_the_calibration(
        self, settings: EngineConfig, fake: Fake, fp32: Path, tmp_path: Path, monkeypatch
    ) -> None:
        from cxredge.backends.tensorrt import calibrator
        from cxredge.errors import ImageError, ImageProblem

        def lost(path: Path, size: int) -> np.ndarray:
            raise ImageError(ImageProblem.MISSING, f"{path} does not exist.")

        monkeypatch.setattr(calibrator, "load_grey", lost)
        fake("10.3.0")
        with pytest.raises(ImageError, match="does not exist"):
            build_engine(fp32, tmp_path / "m.plan", settings)
        assert not (tmp_path / "tables").exists()
        assert not (tmp_path / "m.plan").exists()

    @pytest.mark.parametrize("version", STRONG)
    def test_is_refused_by_versions_without_it(
        self, version: str, settings: EngineConfig, fake: Fake, fp32: Path, tmp_path: Path
    ) -> None:
        fake(version)
        with pytest.raises(CxredgeError, match="cannot calibrate a strongly typed network"):
            build_engine(fp32, tmp_path / "m.plan", settings)

    def test_is_only_for_int8(self, settings: EngineConfig) -> None:
        with pytest.raises(CxredgeError, match="for int8, not for fp16"):
            replace(settings, precision=Precision.FP16)
