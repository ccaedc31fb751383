"""Python and packages of a fake machine: installed, missing, broken, duplicated."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from cxredge.backends import openvino as openvino_backend
from cxredge.diagnosis import software
from cxredge.diagnosis.finding import Status
from cxredge.diagnosis.surroundings import installed_packages, is_importable, why_import_fails
from tests.diagnosis.machines import CORE


class TestSoftware:
    def test_python(self, machine) -> None:
        assert software.python(machine()).status is Status.OK
        old = software.python(machine(python=(3, 8, 10)))
        assert (old.status, old.found) == (Status.FAIL, "3.8.10")

    def test_packages(self, machine) -> None:
        assert software.packages(machine()).status is Status.OK
        some = {name: version for name, version in CORE.items() if name not in ("rich", "pillow")}
        found = software.packages(machine(packages=some))
        assert (found.status, found.fix) == (Status.FAIL, "pip install pillow rich")
        without_metadata = machine(packages=some, importable=lambda m: m in ("rich", "PIL"))
        assert software.packages(without_metadata).status is Status.OK

    def test_onnx_is_optional(self, machine) -> None:
        found = software.onnx(machine())
        assert found.status is Status.SKIP
        assert "deployed and served here, but not built" in found.found
        assert software.onnx(machine(packages={"onnx": "1.23.2"})).found == "1.23.2"

    def test_onnxruntime_of_this_interpreter(self, machine) -> None:
        assert software.onnxruntime_loads(machine()).status is Status.OK

    def test_onnxruntime_that_breaks_on_import(self, machine, monkeypatch) -> None:
        monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
        found = software.onnxruntime_loads(machine(why_import_fails=why_import_fails))
        assert found.status is Status.FAIL
        assert "cannot be imported: import of onnxruntime halted" in found.found

    def test_providers(self) -> None:
        good = software.judge_providers("1.23", ["CUDAExecutionProvider", "CPUExecutionProvider"])
        assert (good.status, good.found) == (Status.OK, "1.23: CUDA, CPU")
        assert software.judge_providers("1.23", []).status is Status.FAIL

    def test_openvino_that_is_not_installed(self, machine) -> None:
        assert software.openvino_loads(machine()).status is Status.SKIP

    def test_openvino_that_breaks_on_import(self, machine, monkeypatch) -> None:
        monkeypatch.setitem(sys.modules, "openvino", None)
        monkeypatch.setattr("cxredge.backends.openvino.is_installed", lambda: True)
        openvino_backend.reduced_precisions.cache_clear()
        found = software.openvino_loads(machine(packages={"openvino": "2026.4.1"}))
        assert found.status is Status.WARN
        assert "cannot be imported" in found.found
        assert found.fix == "pip install --force-reinstall openvino"

    def test_openvino_of_this_interpreter(self, machine, openvino) -> None:
        found = software.openvino_loads(machine(packages={"openvino": "2026.4.1"}))
        assert found.status is Status.OK
        assert found.found.startswith("2026.4.1: computes in FP32")

    def test_two_onnxruntimes(self, machine) -> None:
        assert software.one_onnxruntime(machine()).status is Status.OK
        found = software.one_onnxruntime(machine(packages={**CORE, "onnxruntime-gpu": "1.20"}))
        assert found.status is Status.WARN
        assert "pip uninstall -y onnxruntime onnxruntime-gpu" in found.fix

    @pytest.mark.parametrize(
        ("tensorrt", "numpy", "status"),
        [
            ("8.5.3.1", "1.26.4", Status.WARN),
            ("8.5.3.1", "2.2.6", Status.OK),
            ("8.5.3.1", "1.23.5", Status.OK),
            ("8.6.1", "1.26.4", Status.OK),
        ],
    )
    def test_numpy_for_tensorrt(self, tensorrt: str, numpy: str, status: Status, machine) -> None:
        packages = {**CORE, "tensorrt": tensorrt, "numpy": numpy}
        found = software.numpy_of_tensorrt(machine(packages=packages))
        assert found.status is status
        assert ("np.bool" in found.found) == (status is Status.WARN)
        assert software.numpy_of_tensorrt(machine()).status is Status.SKIP

    def test_extras(self, machine) -> None:
        packages = {**CORE, "torch": "2.9", "h5py": "3.1"}
        found = {f.name: f for f in software.extras(machine(packages=packages))}
        assert found["extra train"].status is Status.WARN
        assert found["extra train"].fix == "pip install 'cxredge[train]'"
        assert found["extra keras"].status is Status.OK
        assert found["extra parquet"].status is Status.SKIP


def test_this_interpreter() -> None:
    assert {"numpy", "onnxruntime"} <= set(installed_packages())
    assert is_importable("json.decoder")
    assert not is_importable("no_such_package.inside")
    assert why_import_fails("json.decoder") == ""
    assert why_import_fails("no_such_package") == "No module named 'no_such_package'"


def test_every_extra_is_checked() -> None:
    """Every extra of the package; that of TensorRT is checked as GPU memory."""
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    offered = text.split("[project.optional-dependencies]\n")[1].split("\n[")[0]
    names = set(re.findall(r"^(\w+) = ", offered, re.MULTILINE))
    assert names - {"dev", "tensorrt"} == set(software._EXTRAS)
