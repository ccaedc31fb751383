"""GPU, driver and packages for GPU memory of a fake machine."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import pytest

from cxredge.diagnosis import cuda
from cxredge.diagnosis.finding import Status
from tests.backends.fake_cuda import FakeDriver, FakeGpu
from tests.diagnosis.machines import PC_GPU
from tests.targets.boards import ORIN_NANO_SUPER


class Library:
    """A shared library whose function reports a version, as CUDA's do."""

    def __init__(self, function: str, version: int, code: int = 0) -> None:
        def answer(pointer: Any) -> int:
            ctypes.cast(pointer, ctypes.POINTER(ctypes.c_int))[0] = version
            return code

        setattr(self, function, answer)


def libraries(**versions: int) -> Callable[[str], Any]:
    known = {
        "libcuda.so.1": ("cuDriverGetVersion", versions.get("driver")),
        "libcudart.so.12": ("cudaRuntimeGetVersion", versions.get("runtime")),
    }

    def load(name: str) -> Any:
        function, version = known.get(name, ("", None))
        if version is None:
            raise OSError(name)
        return Library(function, version)

    return load


class TestCuda:
    def test_no_gpu(self, machine) -> None:
        assert cuda.versions(machine()).status is Status.SKIP
        assert cuda.memory_layer(machine()).status is Status.SKIP

    def test_gpu(self, machine) -> None:
        assert cuda.gpu(machine()).status is Status.SKIP
        found = cuda.gpu(machine(PC_GPU, load_library=lambda _: FakeDriver(FakeGpu())))
        assert found.status is Status.OK
        assert found.found == ("Orin, compute capability 8.7, 7990 MB shared with the processor")

    @pytest.mark.parametrize(("status", "fix"), [(803, "restart"), (34, "stubs")])
    def test_gpu_that_does_not_start(self, status: int, fix: str, machine) -> None:
        driver = FakeDriver(FakeGpu(), start=status)
        found = cuda.gpu(machine(PC_GPU, load_library=lambda _: driver))
        assert found.status is Status.WARN
        assert fix in found.fix

    def test_driver_that_is_missing_in_a_container(self, machine) -> None:
        found = cuda.versions(machine(PC_GPU))
        assert found.status is Status.WARN
        assert "--gpus all" in found.fix

    def test_runtime_of_the_driver_s_version(self, machine) -> None:
        found = cuda.versions(machine(PC_GPU, load_library=libraries(driver=12060, runtime=12060)))
        assert found.status is Status.OK
        assert found.found == "driver for CUDA 12.6; libcudart 12.6"

    def test_package_newer_than_the_driver(self, machine) -> None:
        here = machine(
            ORIN_NANO_SUPER,
            load_library=libraries(driver=12060, runtime=12060),
            packages={"cuda-bindings": "12.9.2"},
        )
        found = cuda.versions(here)
        assert found.status is Status.WARN
        assert "cuda-bindings 12.9: newer than the driver" in found.found
        assert "pip install 'cuda-bindings<=12.6.999'" in found.fix

    def test_on_a_pc_only_the_major_version_matters(self, machine) -> None:
        load = libraries(driver=12060)
        minor = machine(PC_GPU, load_library=load, packages={"cuda-bindings": "12.9.2"})
        assert cuda.versions(minor).status is Status.OK
        major = machine(PC_GPU, load_library=load, packages={"cuda-bindings": "13.0.1"})
        assert cuda.versions(major).status is Status.WARN

    def test_libraries_that_fail_or_lack_the_function(self, machine) -> None:
        def load(name: str) -> Any:
            return Library("cuDriverGetVersion", 12060, code=35)

        assert (
            cuda.library_version(machine(load_library=load), ("x",), "cuDriverGetVersion") is None
        )
        assert cuda.library_version(machine(load_library=load), ("x",), "another") is None

    @pytest.mark.parametrize(
        ("module", "words"), [("pycuda", "PyCUDA"), ("cuda.bindings", "cuda-python")]
    )
    def test_memory_layer_installed(self, module: str, words: str, machine) -> None:
        found = cuda.memory_layer(machine(ORIN_NANO_SUPER, importable=lambda m: m == module))
        assert found.status is Status.OK
        assert words in found.found

    def test_memory_layer_of_another_numpy(self, machine) -> None:
        here = machine(
            ORIN_NANO_SUPER,
            importable=lambda m: m == "pycuda",
            why_import_fails=lambda m: "module 'numpy' has no attribute 'bool'",
            packages={"pycuda": "2020.1"},
        )
        found = cuda.memory_layer(here)
        assert found.status is Status.WARN
        assert "PyCUDA 2020.1 cannot be imported: module 'numpy'" in found.found
        assert found.fix == "pip install --force-reinstall --no-cache-dir pycuda"

    def test_no_headers(self, machine) -> None:
        found = cuda.memory_layer(machine(ORIN_NANO_SUPER))
        assert found.status is Status.WARN
        assert "no cuda.h" in found.found

    def test_headers_without_a_compiler_on_the_path(self, machine) -> None:
        files = {
            **ORIN_NANO_SUPER,
            "usr/local/cuda-12.6/include/cuda.h": "",
            "usr/local/cuda-12.6/bin/nvcc": "",
        }
        here = machine(files, environment={"PATH": "/usr/bin:/bin"})
        compiler = here.root / "usr/local/cuda-12.6/bin"
        assert f"export PATH={compiler}:$PATH CPATH=" in cuda.memory_layer(here).fix
        on_path = machine(files, environment={"PATH": f"/bin:{compiler}"})
        assert cuda.memory_layer(on_path).fix == "pip install pycuda"
