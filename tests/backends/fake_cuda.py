"""A fake GPU in host memory: the driver, PyCUDA and cuda-python, executed synchronously.

Addresses are real ones of this process, so that a wrong address is a crash or garbage here too.
Work put on the stream while it records is kept, not done; launching the recording does it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from cxredge.backends.cuda.memory import Bytes, HostBuffer

STREAM = 4242
OUT_OF_MEMORY = 2


class FakeGpu:
    """Memory, stream and CUDA graphs.

    Attributes:
        integrated: Whether it shares the processor's memory.
        calls: What was done, by name.
        memory_bytes: How much device memory there is.
        refuses_recording: Whether the driver refuses to record.
        events: How many pieces of work were on the stream before each mark, by its handle.
    """

    def __init__(
        self,
        capability: tuple[int, int] = (8, 7),
        name: str = "Orin",
        integrated: bool = True,
    ) -> None:
        self.capability, self.name, self.integrated = capability, name, integrated
        self.calls: list[str] = []
        self.memory_bytes = 1 << 30
        self.refuses_recording = False
        self.allocations: dict[int, np.ndarray] = {}
        self.recording: list[Callable[[], None]] | None = None
        self.recordings: dict[int, list[Callable[[], None]]] = {}
        self.events: dict[int, int] = {}

    def allocate(self, size_bytes: int) -> int:
        array = np.full(size_bytes, 0xAB, np.uint8)
        self.allocations[array.ctypes.data] = array
        return int(array.ctypes.data)

    def free(self, address: int) -> None:
        del self.allocations[address]

    def enqueue(self, name: str, work: Callable[[], None]) -> None:
        self.calls.append(name)
        if self.recording is None:
            work()
        else:
            self.recording.append(work)

    def copy(self, target: int, source: int, size_bytes: int) -> None:
        self.enqueue("copy", lambda: ctypes.memmove(target, source, size_bytes) and None)

    def wait(self) -> None:
        assert self.recording is None, "waiting would break the recording"
        self.calls.append("synchronize")


class FakeLibrary:
    """A CudaLibrary on a fake GPU."""

    name = "fake"

    def __init__(self, gpu: FakeGpu) -> None:
        self.gpu = gpu
        self.closed = False

    def open(self) -> int:
        return STREAM

    def close(self) -> None:
        self.closed = True

    def allocate(self, size_bytes: int) -> int:
        return self.gpu.allocate(size_bytes)

    def free(self, address: int) -> None:
        self.gpu.free(address)

    def allocate_host(self, size_bytes: int, mapped: bool) -> HostBuffer:
        address = self.gpu.allocate(size_bytes)
        return HostBuffer(self.gpu.allocations[address], address if mapped else 0)

    def free_host(self, buffer: HostBuffer) -> None:
        self.gpu.free(buffer.array.ctypes.data)

    def copy_to_device(self, address: int, source: Bytes) -> None:
        self.gpu.copy(address, source.ctypes.data, source.nbytes)

    def copy_to_host(self, target: Bytes, address: int) -> None:
        self.gpu.copy(target.ctypes.data, address, target.nbytes)

    def synchronize(self) -> None:
        self.gpu.wait()


class FakeDriver:
    """The functions of ``libcuda.so.1`` that the driver module calls."""

    def __init__(self, gpu: FakeGpu, start: int = 0) -> None:
        self.gpu, self.start = gpu, start

    def cuInit(self, flags: int) -> int:  # noqa: N802
        return self.start

    def cuDriverGetVersion(self, version: Any) -> int:  # noqa: N802
        version._obj.value = 12060
        return 0

    def cuDeviceGet(self, device: Any, index: int) -> int:  # noqa: N802
        return 0

    def cuDeviceGetName(self, name: Any, length: int, device: Any) -> int:  # noqa: N802
        name.value = self.gpu.name.encode()
        return 0

    def cuDeviceTotalMem_v2(self, memory: Any, device: Any) -> int:  # noqa: N802
        memory._obj.value = 7_990_000_000
        return 0

    def cuDeviceGetAttribute(self, value: Any, number: int, device: Any) -> int:  # noqa: N802
        major, minor = self.gpu.capability
        value._obj.value = {75: major, 76: minor, 18: int(self.gpu.integrated)}[number]
        return 0

    def cuGetErrorString(self, status: int, text: Any) -> int:  # noqa: N802
        text._obj.value = f"words for {status}".encode()
        return 0

    def cuCtxPopCurrent_v2(self, context: Any) -> int:  # noqa: N802
        self.gpu.calls.append("pop")
        return 0

    def cuStreamBeginCapture_v2(self, stream: Any, mode: int) -> int:  # noqa: N802
        assert stream.value == STREAM
        if self.gpu.refuses_recording:
            return 900
        self.gpu.recording = []
        return 0

    def cuStreamEndCapture(self, stream: Any, graph: Any) -> int:  # noqa: N802
        # A freed handle is not used again while a later one is in use.
        number = max(self.gpu.recordings, default=0) + 1
        self.gpu.recordings[number] = self.gpu.recording or []
        self.gpu.recording = None
        graph._obj.value = number
        return 0

    def cuGraphInstantiateWithFlags(self, run: Any, graph: Any, flags: Any) -> int:  # noqa: N802
        run._obj.value = graph.value
        return 0

    def cuGraphDestroy(self, graph: Any) -> int:  # noqa: N802
        return 0

    def cuGraphExecDestroy(self, run: Any) -> int:  # noqa: N802
        del self.gpu.recordings[run.value]
        return 0

    def cuEventCreate(self, event: Any, flags: int) -> int:  # noqa: N802
        event._obj.value = len(self.gpu.events) + 1
        self.gpu.events[event._obj.value] = -1
        return 0

    def cuEventRecord(self, event: Any, stream: Any) -> int:  # noqa: N802
        assert stream.value == STREAM
        self.gpu.events[event.value] = len(self.gpu.calls)
        return 0

    def cuEventElapsedTime(self, milliseconds: Any, start: Any, end: Any) -> int:  # noqa: N802
        # Every piece of work takes a millisecond; reading the time before waiting is an error.
        if self.gpu.calls[-1] != "synchronize":
            return 600
        milliseconds._obj.value = float(self.gpu.events[end.value] - self.gpu.events[start.value])
        return 0

    def cuEventDestroy_v2(self, event: Any) -> int:  # noqa: N802
        del self.gpu.events[event.value]
        return 0

    def cuGraphLaunch(self, run: Any, stream: Any) -> int:  # noqa: N802
        self.gpu.calls.append("launch")
        for work in self.gpu.recordings[run.value]:
            work()
        return 0


def fake_pycuda(gpu: FakeGpu) -> ModuleType:
    """Return a module like ``pycuda.driver``, with the names of PyCUDA 2024 to 2026 used here."""
    cuda = ModuleType("pycuda.driver")

    class Error(Exception):
        pass

    class Allocation:
        def __init__(self, size: int) -> None:
            if size > gpu.memory_bytes:
                raise Error("cuMemAlloc failed: out of memory")
            self.address = gpu.allocate(size)

        def __int__(self) -> int:
            return self.address

        def free(self) -> None:
            gpu.free(self.address)

        get_device_pointer = __int__

    class Context:
        def push(self) -> None:
            gpu.calls.append("push")

        def detach(self) -> None:
            gpu.calls.append("release")

    class Array(np.ndarray):
        """Makes ``base`` the allocation, as in arrays of page-locked memory."""

        @property
        def base(self) -> Any:
            return self.allocation

    def pagelocked_empty(size: int, dtype: type, mem_flags: int = 0) -> np.ndarray:
        allocation = Allocation(size)
        array = gpu.allocations[int(allocation)].view(Array)
        array.allocation = allocation
        gpu.calls.append(f"pinned {mem_flags}")
        return array

    def to_device(address: int, source: np.ndarray, stream: Any) -> None:
        gpu.copy(address, source.ctypes.data, source.nbytes)

    def to_host(target: np.ndarray, address: int, stream: Any) -> None:
        gpu.copy(target.ctypes.data, address, target.nbytes)

    cuda.Error = Error
    cuda.init = lambda: gpu.calls.append("init")
    cuda.Device = lambda index: SimpleNamespace(retain_primary_context=Context)
    cuda.Stream = lambda: SimpleNamespace(handle=STREAM, synchronize=gpu.wait)
    cuda.mem_alloc = Allocation
    cuda.host_alloc_flags = SimpleNamespace(DEVICEMAP=2)
    cuda.pagelocked_empty = pagelocked_empty
    cuda.memcpy_htod_async, cuda.memcpy_dtoh_async = to_device, to_host
    return cuda


def fake_cuda_python(gpu: FakeGpu) -> ModuleType:
    """Return a module like ``cuda.bindings.runtime``: every function returns (status, ...)."""
    cuda = ModuleType("cuda.bindings.runtime")

    def malloc(size: int, flags: int = 0) -> tuple[int, int]:
        if size > gpu.memory_bytes:
            return OUT_OF_MEMORY, 0
        gpu.calls.append(f"malloc {flags}")
        return 0, gpu.allocate(size)

    def free(address: int) -> tuple[int]:
        gpu.free(address)
        return (0,)

    def copy(target: int, source: int, size: int, kind: int, stream: int) -> tuple[int]:
        assert kind in (1, 2)
        gpu.copy(target, source, size)
        return (0,)

    def synchronize(stream: int) -> tuple[int]:
        gpu.wait()
        return (0,)

    def destroy(stream: int) -> tuple[int]:
        gpu.calls.append("destroy")
        return (0,)

    cuda.cudaSetDevice = lambda index: (0,)
    cuda.cudaStreamCreate = lambda: (0, STREAM)
    cuda.cudaStreamDestroy, cuda.cudaStreamSynchronize = destroy, synchronize
    cuda.cudaMalloc, cuda.cudaHostAlloc = malloc, malloc
    cuda.cudaFree, cuda.cudaFreeHost = free, free
    cuda.cudaHostAllocMapped, cuda.cudaHostAllocDefault = 2, 0
    cuda.cudaHostGetDevicePointer = lambda pointer, flags: (0, pointer)
    cuda.cudaMemcpyAsync = copy
    cuda.cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)
    cuda.cudaGetErrorString = lambda status: (0, b"out of memory")
    return cuda
