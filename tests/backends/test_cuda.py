"""GPU memory: one contract for both libraries, on a fake GPU and on a real one if present."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from cxredge.backends.cuda import driver, memory
from cxredge.backends.cuda.driver import Gpu, find_gpu, read_gpu
from cxredge.backends.cuda.memory import CudaMemory, open_memory
from cxredge.backends.cuda.work import CudaGraph
from cxredge.errors import CxredgeError, DependencyError
from tests.backends.fake_cuda import (
    FakeDriver,
    FakeGpu,
    FakeLibrary,
    fake_cuda_python,
    fake_pycuda,
)
from tests.targets.boards import tree

LIBRARIES = ("pycuda", "cuda-python")


def on_a_gpu(name: str) -> CudaMemory:
    if find_gpu() is None:
        pytest.skip("needs an NVIDIA GPU")
    try:
        return open_memory(name)
    except DependencyError as error:
        pytest.skip(f"needs {name}: {error.message}")


@pytest.fixture(
    params=[
        *(pytest.param((name, "fake"), id=f"{name}-fake") for name in LIBRARIES),
        *(pytest.param((name, "real"), id=f"{name}-real", marks=pytest.mark.gpu)
          for name in LIBRARIES),
    ]
)  # fmt: skip
def gpu_memory(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    name, kind = request.param
    if kind == "real":
        with on_a_gpu(name) as opened:
            yield opened
        return
    gpu = FakeGpu()
    monkeypatch.setitem(sys.modules, "pycuda.driver", fake_pycuda(gpu))
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", fake_cuda_python(gpu))
    monkeypatch.setattr(driver, "load_driver", lambda load: FakeDriver(gpu))
    with open_memory(name) as opened:
        yield opened
    assert gpu.allocations == {}


def test_copied_bytes_are_the_same(gpu_memory: CudaMemory) -> None:
    sent, back = gpu_memory.pinned(1000), gpu_memory.pinned(1000)
    address = gpu_memory.device(1000)
    sent.array[:] = np.arange(1000) % 251
    back.array[:] = 0
    gpu_memory.to_device(address, sent.array)
    gpu_memory.to_host(back.array, address)
    gpu_memory.synchronize()
    np.testing.assert_array_equal(back.array, sent.array)


def test_part_of_a_buffer_is_copied(gpu_memory: CudaMemory) -> None:
    host, address = gpu_memory.pinned(64), gpu_memory.device(64)
    host.array[:] = 1
    gpu_memory.to_device(address, host.array)
    gpu_memory.synchronize()
    host.array[:] = 2
    gpu_memory.to_device(address, host.array[:16])
    gpu_memory.to_host(host.array, address)
    gpu_memory.synchronize()
    assert host.array.tolist() == [2] * 16 + [1] * 48


def test_mapped_memory_is_shared(gpu_memory: CudaMemory) -> None:
    shared, host = gpu_memory.mapped(32), gpu_memory.pinned(32)
    assert shared.address
    shared.array[:] = 7
    gpu_memory.to_host(host.array, shared.address)
    gpu_memory.synchronize()
    assert set(host.array) == {7}


def test_a_graph_repeats_the_work(gpu_memory: CudaMemory) -> None:
    sent, back = gpu_memory.pinned(8), gpu_memory.pinned(8)
    address = gpu_memory.device(8)

    def work() -> None:
        gpu_memory.to_device(address, sent.array)
        gpu_memory.to_host(back.array, address)

    back.array[:] = 0
    graph = CudaGraph(gpu_memory.stream, work)
    gpu_memory.synchronize()
    assert set(back.array) == {0}, "capturing does no work"
    for value in (3, 4):
        sent.array[:] = value
        graph.launch()
        gpu_memory.synchronize()
        assert set(back.array) == {value}
    graph.close()
    graph.close()


def test_closed_memory_is_refused(gpu_memory: CudaMemory) -> None:
    gpu_memory.close()
    with pytest.raises(CxredgeError, match="after it was closed"):
        gpu_memory.device(8)
    gpu_memory.close()


def test_another_thread_is_refused(gpu_memory: CudaMemory) -> None:
    found: list[str] = []

    def use() -> None:
        try:
            gpu_memory.pinned(8)
        except CxredgeError as error:
            found.append(str(error))

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert "Open one session per thread" in found[0]


def test_too_little_memory_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, module, fake in (
        ("pycuda", "pycuda.driver", fake_pycuda),
        ("cuda-python", "cuda.bindings.runtime", fake_cuda_python),
    ):
        gpu = FakeGpu()
        gpu.memory_bytes = 100
        monkeypatch.setitem(sys.modules, module, fake(gpu))
        monkeypatch.setattr(driver, "load_driver", lambda load, gpu=gpu: FakeDriver(gpu))
        opened = open_memory(name)
        with pytest.raises(
            DependencyError, match=r"allocating 1000 bytes of GPU memory.*out of memory"
        ):
            opened.device(1000)
        opened.close()


def test_pycuda_uses_the_primary_context(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = FakeGpu()
    monkeypatch.setitem(sys.modules, "pycuda.driver", fake_pycuda(gpu))
    monkeypatch.setattr(driver, "load_driver", lambda load: FakeDriver(gpu))
    with open_memory("pycuda") as opened:
        opened.pinned(4)
        opened.mapped(4)
    assert gpu.calls == ["init", "push", "pinned 0", "pinned 2", "synchronize", "release", "pop"]
    assert "pycuda.autoinit" not in sys.modules


def test_cuda_python_maps_memory_only_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = FakeGpu()
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", fake_cuda_python(gpu))
    with open_memory("cuda-python") as opened:
        assert opened.pinned(4).address == 0
        assert opened.mapped(4).address != 0
    assert gpu.calls == ["malloc 0", "malloc 2", "synchronize", "destroy"]


def test_the_newest_allocation_is_freed_first(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = FakeGpu()
    freed: list[int] = []
    monkeypatch.setattr(gpu, "free", freed.append)
    opened = CudaMemory(FakeLibrary(gpu))
    taken = [opened.device(8), opened.mapped(8).address, opened.device(8)]
    opened.close()
    assert freed == taken[::-1]


def test_a_missing_library_names_what_to_install(monkeypatch) -> None:
    for module in ("pycuda", "pycuda.driver", "cuda.bindings.runtime", "cuda.cudart", "cuda"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DependencyError, match=r"pip install pycuda .*pip install cuda-python"):
        open_memory()


def test_the_context_is_released_even_if_freeing_fails() -> None:
    gpu = FakeGpu()
    library = FakeLibrary(gpu)
    opened = CudaMemory(library)
    opened.device(8)
    gpu.allocations.clear()
    with pytest.raises(KeyError):
        opened.close()
    assert library.closed
    opened.close()


def test_the_gpu_is_described() -> None:
    found = read_gpu(lambda name: FakeDriver(FakeGpu()))
    assert found == Gpu(
        name="Orin",
        compute_capability="8.7",
        memory_mb=7990,
        cuda_version="12.6",
        integrated=True,
    )


@pytest.mark.parametrize(
    ("status", "fix"), [(100, "nvidia-smi"), (803, "restart"), (34, "stubs"), (999, "doctor")]
)
def test_driver_errors_have_a_fix(status: int, fix: str) -> None:
    with pytest.raises(
        DependencyError, match=rf"words for {status} \(CUDA error {status}\)"
    ) as why:
        read_gpu(lambda name: FakeDriver(FakeGpu(), start=status))
    assert fix in why.value.hint


@pytest.mark.parametrize(
    ("text", "version"),
    [
        (
            "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  540.4.0  Release Build  "
            "(buildbrain@mobile-u64)\nGCC version:  gcc version 11.4.0 (Ubuntu)\n",
            "540.4.0",
        ),
        (
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun Jul 27 06:54:38 UTC\n",
            "580.65.06",
        ),
        ("GCC version:  gcc version 11.4.0 (Ubuntu)\n", None),
        (None, None),
    ],
)
def test_driver_version(text: str | None, version: str | None, tmp_path: Path) -> None:
    files = {} if text is None else {"proc/driver/nvidia/version": text}
    assert driver.read_driver_version(tree(tmp_path, files)) == version


def test_missing_driver_is_reported() -> None:
    def load(name: str) -> object:
        raise OSError(name)

    with pytest.raises(DependencyError, match="no NVIDIA driver") as why:
        read_gpu(load)
    assert "--runtime nvidia" in why.value.hint


def test_a_failed_capture_leaves_the_stream_usable() -> None:
    gpu = FakeGpu()

    def fail() -> None:
        raise RuntimeError("cannot enqueue")

    with pytest.raises(RuntimeError):
        CudaGraph(4242, fail, lambda name: FakeDriver(gpu))
    assert gpu.recording is None


def test_the_real_cuda_python_has_every_name_used() -> None:
    runtime = pytest.importorskip("cuda.bindings.runtime", reason="needs cuda-python")
    fake = fake_cuda_python(FakeGpu())
    assert {n for n in dir(fake) if n.startswith("cuda")} <= set(dir(runtime))
    for kind in ("cudaMemcpyHostToDevice", "cudaMemcpyDeviceToHost"):
        assert int(getattr(runtime.cudaMemcpyKind, kind)) == getattr(fake.cudaMemcpyKind, kind)
    assert int(runtime.cudaStream_t(5)) == 5


def test_the_real_cuda_python_reports_a_missing_gpu() -> None:
    pytest.importorskip("cuda.bindings.runtime", reason="needs cuda-python")
    if find_gpu() is not None:
        pytest.skip("there is a GPU")
    with pytest.raises(DependencyError, match="CUDA failed while selecting the GPU"):
        open_memory("cuda-python")


def test_libraries_of_the_table_exist() -> None:
    assert set(memory._LIBRARIES) == set(LIBRARIES)
