"""Every check on a machine that is made up: as wanted, amiss, and none of its business."""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cxredge.backends import openvino as openvino_backend
from cxredge.cli.doctor import _step, _text
from cxredge.diagnosis import (
    capacity,
    clocks,
    cuda,
    diagnose,
    examine,
    jetpack,
    processor,
    software,
)
from cxredge.diagnosis.finding import Status
from cxredge.diagnosis.surroundings import (
    Surroundings,
    installed_packages,
    is_importable,
    why_import_fails,
)
from tests.backends.fake_cuda import FakeDriver, FakeGpu
from tests.targets.boards import ORIN_NANO_SUPER, board, tree

NANO = board("tegra210", "p3448-0000", (32, "7.1"))
PC_GPU = {"proc/driver/nvidia/version": "NVRM version: 580.65\n"}
CORE = dict.fromkeys(("numpy", "pillow", "onnxruntime", "typer", "rich", "jinja2"), "1.0")


def no_library(name: str) -> Any:
    raise OSError(name)


class Library:
    """A shared library whose one function gives a version, as CUDA's do."""

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


@pytest.fixture
def machine(tmp_path: Path) -> Callable[..., Surroundings]:
    """Return a machine of files and properties; bare where nothing is given."""

    def make(files: dict[str, str] | None = None, **properties: Any) -> Surroundings:
        bare: dict[str, Any] = {
            "root": tree(tmp_path / "root", files or {}),
            "environment": {},
            "python": (3, 10, 12),
            "virtual_environment": True,
            "cores": 6,
            "packages": CORE,
            "importable": lambda _: False,
            "why_import_fails": lambda _: "",
            "load_library": no_library,
            "free_mb": lambda _: 5000.0,
            "temporary": Path("/tmp"),
        }
        (tmp_path / "root").mkdir(exist_ok=True)
        return Surroundings(**{**bare, **properties})

    return make


def memory(available_kb: int, total_kb: int = 8_000_000) -> dict[str, str]:
    return {"proc/meminfo": f"MemTotal: {total_kb} kB\nMemAvailable: {available_kb} kB\n"}


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

    def test_a_device_may_do_without_onnx(self, machine) -> None:
        found = software.onnx(machine())
        assert found.status is Status.SKIP
        assert "finished and served here, not made" in found.found
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

    def test_openvino_that_is_not_there(self, machine) -> None:
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


class TestCapacity:
    def test_memory(self, machine) -> None:
        assert capacity.memory(machine()).status is Status.SKIP
        assert capacity.memory(machine(memory(4_000_000))).status is Status.OK
        assert capacity.memory(machine(memory(500_000))).status is Status.FAIL

    def test_memory_for_building_an_engine(self, machine) -> None:
        found = capacity.memory(machine({**ORIN_NANO_SUPER, **memory(2_000_000)}))
        assert found.status is Status.WARN
        assert "sudo init 3" in found.fix

    @pytest.mark.parametrize(
        "path", ["sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"]
    )
    def test_memory_limit_of_a_container(self, path: str, machine) -> None:
        found = capacity.memory(machine({**memory(6_000_000), path: "800000000\n"}))
        assert found.status is Status.FAIL
        assert "limited to 800 MB" in found.found

    def test_no_limit_is_no_limit(self, machine) -> None:
        files = {**memory(6_000_000), "sys/fs/cgroup/memory.max": "max\n"}
        assert capacity.memory(machine(files)).found == "6144 MB free"
        huge = {"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}
        del files["sys/fs/cgroup/memory.max"]
        (machine().root / "sys/fs/cgroup/memory.max").unlink()
        assert capacity.memory(machine({**files, **huge})).found == "6144 MB free"

    def test_swap_for_a_small_board(self, machine) -> None:
        header = "Filename Type Size Used Priority\n"
        files = {**ORIN_NANO_SUPER, **memory(3_000_000), "proc/swaps": header}
        found = capacity.swap(machine(files))
        assert found.status is Status.WARN
        assert "mkswap" in found.fix
        files["proc/swaps"] += "/swapfile file 8388604 0 -2\n"
        assert capacity.swap(machine(files)).found == "8590 MB"
        assert capacity.swap(machine(files)).status is Status.OK

    def test_swap_is_no_matter_on_a_pc(self, machine) -> None:
        files = {**memory(3_000_000), "proc/swaps": "Filename Type Size Used Priority\n"}
        assert capacity.swap(machine(files)).status is Status.OK
        assert capacity.swap(machine()).status is Status.OK

    def test_shared_memory(self, machine) -> None:
        assert capacity.shared_memory(machine(free_mb=lambda _: 4000.0)).status is Status.OK
        assert capacity.shared_memory(machine(free_mb=lambda _: None)).status is Status.SKIP
        found = capacity.shared_memory(machine({".dockerenv": ""}, free_mb=lambda _: 64.0))
        assert found.status is Status.WARN
        assert "--ipc=host" in found.fix

    def test_disk(self, machine) -> None:
        assert capacity.disk(machine()).status is Status.OK
        assert capacity.disk(machine(free_mb=lambda _: 900.0)).status is Status.WARN
        assert capacity.disk(machine(free_mb=lambda _: None)).status is Status.FAIL


class TestProcessor:
    @pytest.mark.parametrize(
        ("architecture", "cpuinfo", "status", "words"),
        [
            ("x86_64", "flags : avx2 avx512f avx512_vnni", Status.OK, "avx512_vnni"),
            ("x86_64", "flags : avx2 avx_vnni", Status.OK, "avx_vnni"),
            ("x86_64", "flags : avx2 avx512f", Status.WARN, "AVX2 without VNNI"),
            ("x86_64", "flags : sse4_2", Status.SKIP, "cannot be read"),
            ("aarch64", "Features : asimd asimddp i8mm", Status.OK, "asimddp, i8mm"),
            ("aarch64", "Features : asimd", Status.WARN, "without dot products"),
            # QEMU shows programs for Arm the processor of its host.
            ("aarch64", "flags : avx2 avx512_vnni", Status.SKIP, "not this architecture's"),
        ],
    )
    def test_int8(
        self, architecture: str, cpuinfo: str, status: Status, words: str, machine, monkeypatch
    ) -> None:
        monkeypatch.setattr("platform.machine", lambda: architecture)
        found = processor.int8(machine({"proc/cpuinfo": cpuinfo + "\n"}))
        assert found.status is status
        assert words in found.found

    def test_bfloat16(self, machine, monkeypatch) -> None:
        monkeypatch.setattr("platform.machine", lambda: "x86_64")
        assert processor.bfloat16(machine({"proc/cpuinfo": "flags : amx_bf16"})).found == "amx_bf16"
        assert processor.bfloat16(machine({"proc/cpuinfo": "flags : avx2"})).status is Status.SKIP
        monkeypatch.setattr("platform.machine", lambda: "aarch64")
        assert processor.bfloat16(machine({"proc/cpuinfo": "Features : bf16"})).found == "bf16"
        of_the_host = machine({"proc/cpuinfo": "flags : avx512_bf16"})
        assert processor.bfloat16(of_the_host).status is Status.SKIP

    @pytest.mark.parametrize(
        "files",
        [
            {"sys/fs/cgroup/cpu.max": "250000 100000\n"},
            {
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "250000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
        ],
    )
    def test_cpu_limit_of_a_container(self, files: dict[str, str], machine) -> None:
        assert processor.cpu_limit(machine(files)) == 2.5
        found = processor.threads(machine(files))
        assert found.status is Status.WARN
        assert "limited to 2.5" in found.found
        assert "bench --threads 2" in found.fix

    @pytest.mark.parametrize(
        "files",
        [
            {},
            {"sys/fs/cgroup/cpu.max": "max 100000\n"},
            {
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
        ],
    )
    def test_no_limit(self, files: dict[str, str], machine) -> None:
        assert processor.cpu_limit(machine(files)) is None
        assert processor.threads(machine(files)).status is Status.OK

    @pytest.mark.parametrize(
        ("wanted", "status"), [("12", Status.WARN), ("6", Status.OK), ("2", Status.WARN)]
    )
    def test_openmp(self, wanted: str, status: Status, machine) -> None:
        here = machine(environment={"OMP_NUM_THREADS": wanted})
        assert processor.threads(here).status is status

    def test_openmp_that_makes_no_sense(self, machine) -> None:
        here = machine(environment={"OMP_NUM_THREADS": "many"})
        assert processor.threads(here).status is Status.OK


class TestJetPack:
    def test_known_board(self, machine) -> None:
        found = jetpack.board(machine(ORIN_NANO_SUPER))
        assert found.status is Status.OK
        assert "jetson-orin-nano, Jetson Linux 36.4.3 (JetPack 6.1 to 6.2.2)" in found.found

    def test_old_software(self, machine) -> None:
        found = jetpack.board(machine(NANO))
        assert found.status is Status.FAIL
        assert "TensorRT is 8.2.1" in found.found
        assert "trtexec" in found.fix

    def test_no_board(self, machine) -> None:
        assert jetpack.board(machine()).status is Status.SKIP

    def test_unclear_board(self, machine) -> None:
        found = jetpack.board(machine(board("tegra234", "p9999-0000")))
        assert found.status is Status.WARN
        assert "--target jetson-agx-orin" in found.fix

    def test_container_without_the_device_tree(self, machine) -> None:
        files = {".dockerenv": "", "proc/version": "Linux version 5.15.148-tegra (x)\n"}
        found = jetpack.board(machine(files))
        assert found.status is Status.WARN
        assert "cannot be read" in found.found
        assert "/proc/device-tree:/proc/device-tree:ro" in found.fix
        assert "jetson-orin-nano" in found.fix

    def test_board_without_release_file(self, machine) -> None:
        found = jetpack.board(machine(board("tegra234", "p3767-0005")))
        assert found.status is Status.WARN
        assert "release of Jetson Linux unknown" in found.found

    def test_tensorrt_there(self, machine) -> None:
        here = machine(importable=lambda m: m == "tensorrt", packages={"tensorrt": "10.3.0"})
        assert jetpack.tensorrt(here).found == "10.3.0"
        rtx = machine(importable=lambda m: m == "tensorrt_rtx", packages={"tensorrt-rtx": "1.7.1"})
        assert jetpack.tensorrt(rtx).found == "TensorRT for RTX 1.7.1"

    @pytest.mark.parametrize(
        ("cause", "fix"),
        [
            ("libnvdla_compiler.so: cannot open shared object file", "nvidia-l4t-dla-compiler"),
            ("libnvinfer.so.10: cannot open shared object file", "sudo apt install nvidia-jetpack"),
        ],
    )
    def test_tensorrt_that_breaks_on_import(self, cause: str, fix: str, machine) -> None:
        here = machine(
            ORIN_NANO_SUPER,
            importable=lambda m: m == "tensorrt",
            why_import_fails=lambda m: cause,
            packages={"tensorrt": "10.3.0"},
        )
        found = jetpack.tensorrt(here)
        assert found.status is Status.WARN
        assert found.found == f"10.3.0, and cannot be imported: {cause}"
        assert fix in found.fix

    @pytest.mark.parametrize(
        ("version", "status"),
        [
            ("10.3.0", Status.OK),
            ("without a version", Status.OK),
            ("11.4.0.106", Status.WARN),
        ],
    )
    def test_tensorrt_that_hides_the_board_s_own(
        self, version: str, status: Status, machine
    ) -> None:
        here = machine(
            ORIN_NANO_SUPER,
            importable=lambda m: m == "tensorrt",
            packages={"tensorrt": version},
        )
        found = jetpack.tensorrt(here)
        assert found.status is status
        if status is Status.WARN:
            assert "JetPack 6.1 to 6.2.2 brings 10.3, which is hidden by it" in found.found
            assert "pip uninstall -y tensorrt" in found.fix
            unknown = {k: v for k, v in ORIN_NANO_SUPER.items() if "nv_tegra_release" not in k}
            (here.root / "etc/nv_tegra_release").unlink()
            again = machine(unknown, importable=here.importable, packages=here.packages)
            assert jetpack.tensorrt(again).status is Status.OK

    def test_tensorrt_for_rtx_that_breaks_on_import(self, machine) -> None:
        here = machine(
            importable=lambda m: m == "tensorrt_rtx", why_import_fails=lambda m: "no libraries"
        )
        assert jetpack.tensorrt(here).fix == "pip install --force-reinstall tensorrt-rtx"

    BINDINGS = "usr/lib/python3.10/dist-packages/tensorrt/__init__.py"

    def test_tensorrt_outside_the_virtual_environment(self, machine) -> None:
        found = jetpack.tensorrt(machine({**ORIN_NANO_SUPER, self.BINDINGS: ""}))
        assert found.status is Status.WARN
        assert "/usr/bin/python3.10 -m venv --system-site-packages" in found.fix

    def test_tensorrt_outside_conda(self, machine) -> None:
        here = machine(
            {**ORIN_NANO_SUPER, self.BINDINGS: ""},
            virtual_environment=False,
            environment={"CONDA_PREFIX": "/opt/conda"},
        )
        assert jetpack.tensorrt(here).fix.startswith("Leave conda")

    def test_tensorrt_of_another_python(self, machine) -> None:
        here = machine({**ORIN_NANO_SUPER, self.BINDINGS: ""}, python=(3, 12, 1))
        found = jetpack.tensorrt(here)
        assert "for Python 3.10; this is Python 3.12" in found.found
        assert found.fix.startswith("python3.10 -m venv --system-site-packages")
        old = {self.BINDINGS.replace("3.10", "3.8"): ""}
        (here.root / self.BINDINGS).unlink()
        (here.root / self.BINDINGS).parent.rmdir()
        assert "trtexec" in jetpack.tensorrt(machine(old)).fix

    def test_tensorrt_missing(self, machine) -> None:
        assert jetpack.tensorrt(machine()).status is Status.SKIP
        assert "nvidia-jetpack" in jetpack.tensorrt(machine(ORIN_NANO_SUPER)).fix

    def test_tensorrt_missing_on_a_pc(self, machine) -> None:
        assert "cxredge[rtx]" in jetpack.tensorrt(machine(PC_GPU)).found


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
        load = lambda _: FakeDriver(FakeGpu(), start=status)  # noqa: E731
        found = cuda.gpu(machine(PC_GPU, load_library=load))
        assert found.status is Status.WARN
        assert fix in found.fix

    def test_driver_that_a_container_does_not_see(self, machine) -> None:
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

    def test_on_a_pc_the_major_version_counts(self, machine) -> None:
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
    def test_memory_layer_there(self, module: str, words: str, machine) -> None:
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

    def test_headers_and_no_compiler_on_the_path(self, machine) -> None:
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


class TestClocks:
    GOVERNOR = "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
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
        assert clocks.governor(machine({self.GOVERNOR: "performance\n"})).status is Status.OK
        found = clocks.governor(machine({self.GOVERNOR: "schedutil\n"}))
        assert "cpupower" in found.fix
        board = clocks.governor(machine({self.GOVERNOR: "schedutil\n", **ORIN_NANO_SUPER}))
        assert "jetson_clocks" in board.fix

    def test_elsewhere_there_is_nothing_to_judge(self, machine) -> None:
        for check in (clocks.gpu, clocks.mode, clocks.throttling):
            assert check(machine()).status is Status.SKIP

    def test_a_board_that_tells_nothing(self, machine) -> None:
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

    def test_power_mode_where_the_modes_are_not_known(self, machine) -> None:
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


def test_a_bare_machine_and_a_board_are_examined_to_the_end(machine) -> None:
    for files in ({}, ORIN_NANO_SUPER, NANO):
        findings = examine(machine(files))
        names = [finding.name for finding in findings]
        assert len(names) == len(set(names))
        for finding in findings:
            assert bool(finding.fix) == (finding.status in (Status.WARN, Status.FAIL)), finding


def test_a_failure_makes_the_machine_unready(machine) -> None:
    assert diagnose(machine(memory(4_000_000)))["ok"] is True
    found = diagnose(machine({**NANO, **memory(4_000_000)}))
    assert found["ok"] is False
    assert found["target"] is None
    assert found["jetson"] is not None


def test_this_interpreter() -> None:
    assert {"numpy", "onnxruntime"} <= set(installed_packages())
    assert is_importable("json.decoder")
    assert not is_importable("no_such_package.inside")
    assert why_import_fails("json.decoder") == ""
    assert why_import_fails("no_such_package") == "No module named 'no_such_package'"


def test_what_could_be_better_is_counted_at_the_end(machine) -> None:
    fine = {**memory(4_000_000), "sys/fs/cgroup/cpu.max": "max 100000\n"}
    assert _text(diagnose(machine(fine))).endswith("Ready to build and predict.")
    slow = {**fine, TestClocks.GOVERNOR: "schedutil\n"}
    text = _text(diagnose(machine(slow)))
    assert text.endswith("Ready to build and predict. To mend first: 1 marked warn.")
    text = _text(diagnose(machine(slow, python=(3, 8, 10))))
    assert text.endswith("Not ready: 1 marked fail.")


def test_the_next_step_is_one_that_this_machine_can_take(machine) -> None:
    """Without onnx no bundle is made, but one that was brought is finished."""
    found = diagnose(machine(packages={**CORE, "onnx": "1.23.2"}))
    if target := found["target"]:
        assert _step(found) == f"cxredge build RUN --target {target} --out BUNDLE"
    found = diagnose(machine(packages=CORE, importable=lambda _: False))
    assert _step({**found, "target": "jetson-orin-nano"}) == "cxredge build BUNDLE"
    assert _step({**found, "target": None}) == ""


def test_every_extra_is_looked_for() -> None:
    """All that pip offers; that of TensorRT is looked for as memory of the GPU."""
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    offered = text.split("[project.optional-dependencies]\n")[1].split("\n[")[0]
    names = set(re.findall(r"^(\w+) = ", offered, re.MULTILINE))
    assert names - {"dev", "tensorrt"} == set(software._EXTRAS)


def test_command(cxredge) -> None:
    ran = cxredge("doctor", "--json")
    assert ran.code == 0
    assert {"name", "status", "found", "fix"} == set(ran.json["findings"][0])
    text = cxredge("doctor").out
    assert "Ready to build and predict." in text
