"""The NVIDIA driver by ctypes: what the GPU is, before any library that would crash without one.

A TensorRT ``Runtime`` made without a driver can end the process when it is destroyed, so the driver
is asked first. Names and numbers are those of the CUDA driver API's header, which keeps them.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cxredge.errors import DependencyError

_LIBRARY = "libcuda.so.1"
_COMPUTE_CAPABILITY_MAJOR, _COMPUTE_CAPABILITY_MINOR, _INTEGRATED = 75, 76, 18
_THREAD_LOCAL_CAPTURE = 1
_DRIVER_VERSION = re.compile(r"^NVRM version:.*?\s(\d+\.\d+(?:\.\d+)*)\s", re.MULTILINE)


@dataclass(frozen=True)
class Gpu:
    """The first GPU of this machine.

    Attributes:
        name: As the driver says it.
        compute_capability: For example ``8.7``.
        memory_mb: All of it, in units of 10^6 bytes; shared with the processor where integrated.
        cuda_version: The newest CUDA that the driver serves, for example ``12.6``.
        integrated: Whether GPU and processor share one memory, as on Jetson boards.
    """

    name: str
    compute_capability: str
    memory_mb: int
    cuda_version: str
    integrated: bool

    def to_json(self) -> dict[str, Any]:
        """Return the facts as JSON values."""
        return asdict(self)


def read_gpu(load: Callable[[str], Any] = ctypes.CDLL) -> Gpu:
    """Ask the driver for the first GPU.

    Args:
        load: Loads a shared library by name; another one in tests.

    Raises:
        DependencyError: There is no driver, no GPU, or they do not fit each other.
    """
    driver = load_driver(load)
    version, device = ctypes.c_int(), ctypes.c_int()
    check(driver, driver.cuDriverGetVersion(ctypes.byref(version)))
    check(driver, driver.cuDeviceGet(ctypes.byref(device), 0))
    name, memory = ctypes.create_string_buffer(256), ctypes.c_size_t()
    check(driver, driver.cuDeviceGetName(name, len(name), device))
    check(driver, driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device))

    def attribute(number: int) -> int:
        value = ctypes.c_int()
        check(driver, driver.cuDeviceGetAttribute(ctypes.byref(value), number, device))
        return value.value

    major, minor = attribute(_COMPUTE_CAPABILITY_MAJOR), attribute(_COMPUTE_CAPABILITY_MINOR)
    return Gpu(
        name=name.value.decode(errors="replace"),
        compute_capability=f"{major}.{minor}",
        memory_mb=memory.value // 1_000_000,
        cuda_version=f"{version.value // 1000}.{version.value % 1000 // 10}",
        integrated=bool(attribute(_INTEGRATED)),
    )


def find_gpu() -> Gpu | None:
    """Return the first GPU, or None where there is none that can be used."""
    try:
        return read_gpu()
    except DependencyError:
        return None


def read_driver_version(root: Path) -> str | None:
    """Return the version of the driver that the kernel has loaded, such as ``540.4.0``.

    Args:
        root: Where ``proc`` lies.

    Returns:
        None where the driver says nothing, as on Jetsons before JetPack 6.
    """
    try:
        text = (root / "proc/driver/nvidia/version").read_text(errors="replace")
    except OSError:
        return None
    found = _DRIVER_VERSION.search(text)
    return found[1] if found else None


def load_driver(load: Callable[[str], Any] = ctypes.CDLL) -> Any:
    """Load and start the driver.

    Raises:
        DependencyError: There is none, or it finds no GPU.
    """
    try:
        driver = load(_LIBRARY)
    except OSError:
        raise DependencyError(
            f"There is no NVIDIA driver on this machine ({_LIBRARY} cannot be loaded).",
            "Run this on the device. In a container, start it with: --runtime nvidia",
        ) from None
    check(driver, driver.cuInit(0))
    return driver


def pop_context(load: Callable[[str], Any] = ctypes.CDLL) -> None:
    """Take the current context off this thread's stack; nothing is destroyed.

    Raises:
        DependencyError: The driver refuses, for example because there is none.
    """
    driver, popped = load_driver(load), ctypes.c_void_p()
    check(driver, driver.cuCtxPopCurrent_v2(ctypes.byref(popped)))


class Graph:
    """Work recorded from a stream, which one call starts again.

    The recording is made by the driver itself because PyCUDA has no functions for it; handles of
    streams are the same for every library.

    Args:
        stream: The stream's handle. Its thread records and starts, no other.
        enqueue: Puts the work on the stream; must not wait for it.

    Raises:
        DependencyError: The driver refuses, for example because the work waits for something.
    """

    def __init__(
        self,
        stream: int,
        enqueue: Callable[[], None],
        load: Callable[[str], Any] = ctypes.CDLL,
    ) -> None:
        self._driver = load_driver(load)
        self._stream = ctypes.c_void_p(stream)
        self._run = ctypes.c_void_p()
        recorded = ctypes.c_void_p()
        begun = self._driver.cuStreamBeginCapture_v2(self._stream, _THREAD_LOCAL_CAPTURE)
        check(self._driver, begun)
        try:
            enqueue()
        finally:
            # Whatever happened, the stream must leave recording, or it is of no more use.
            ended = self._driver.cuStreamEndCapture(self._stream, ctypes.byref(recorded))
        check(self._driver, ended)
        try:
            made = self._driver.cuGraphInstantiateWithFlags(
                ctypes.byref(self._run), recorded, ctypes.c_ulonglong(0)
            )
            check(self._driver, made)
        finally:
            self._driver.cuGraphDestroy(recorded)

    def launch(self) -> None:
        """Put all of the work on the stream again."""
        check(self._driver, self._driver.cuGraphLaunch(self._run, self._stream))

    def close(self) -> None:
        """Free the recording."""
        if self._run:
            self._driver.cuGraphExecDestroy(self._run)
            self._run = ctypes.c_void_p()


def check(driver: Any, status: int) -> None:
    """Raise DependencyError with the driver's words unless it says success."""
    if status == 0:
        return
    text = ctypes.c_char_p()
    driver.cuGetErrorString(status, ctypes.byref(text))
    words = text.value.decode(errors="replace") if text.value else "unknown error"
    raise DependencyError(
        f"The NVIDIA driver says: {words} (CUDA error {status}).", _FIXES.get(status, _ANY_FIX)
    )


_ANY_FIX = "See what is missing: cxredge doctor"
_FIXES = {
    2: "Close other programs that use the GPU, or ask for smaller batches.",
    34: "A stub of the driver is found before the driver: take .../stubs out of LD_LIBRARY_PATH.",
    100: "In a container, start it with --runtime nvidia; else check the GPU with nvidia-smi.",
    803: "The driver's parts have different versions: restart the machine.",
}
