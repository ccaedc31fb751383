"""The NVIDIA driver through ctypes: facts about the GPU, and a check that it is usable.

A TensorRT ``Runtime`` created without a driver can end the process when it is destroyed, so the
driver is called first. Names and numbers are those of the CUDA driver API, which are stable.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxredge.errors import DependencyError

_LIBRARY = "libcuda.so.1"
_COMPUTE_CAPABILITY_MAJOR, _COMPUTE_CAPABILITY_MINOR, _INTEGRATED = 75, 76, 18
_DRIVER_VERSION = re.compile(r"^NVRM version:.*?\s(\d+\.\d+(?:\.\d+)*)\s", re.MULTILINE)


@dataclass(frozen=True)
class Gpu:
    """The first GPU of this machine.

    Attributes:
        name: Name as the driver reports it.
        compute_capability: CUDA compute capability, for example ``8.7``.
        memory_mb: Total memory in MB (10^6 bytes); shared with the processor if integrated.
        cuda_version: Newest CUDA version that the driver supports, for example ``12.6``.
        integrated: Whether GPU and processor share one memory, as on Jetson boards.
    """

    name: str
    compute_capability: str
    memory_mb: int
    cuda_version: str
    integrated: bool


def read_gpu(load: Callable[[str], Any] = ctypes.CDLL) -> Gpu:
    """Read the facts about the first GPU from the driver.

    Args:
        load: Loads a shared library by name; tests use another one.

    Raises:
        DependencyError: There is no driver or no GPU, or they do not fit each other.
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
    """Return the first GPU, or None if there is no usable one."""
    try:
        return read_gpu()
    except DependencyError:
        return None


def read_driver_version(root: Path) -> str | None:
    """Return the version of the loaded kernel driver, such as ``540.4.0``.

    Args:
        root: Folder that holds ``proc``.

    Returns:
        None if the driver does not report it, as on Jetsons before JetPack 6.
    """
    try:
        text = (root / "proc/driver/nvidia/version").read_text(errors="replace")
    except OSError:
        return None
    found = _DRIVER_VERSION.search(text)
    return found[1] if found else None


def load_driver(load: Callable[[str], Any] = ctypes.CDLL) -> Any:
    """Load and initialise the driver.

    Raises:
        DependencyError: There is no driver, or it finds no GPU.
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
    """Pop the current context off this thread's stack without destroying it.

    Raises:
        DependencyError: The driver refuses, for example because the stack is empty.
    """
    driver, popped = load_driver(load), ctypes.c_void_p()
    check(driver, driver.cuCtxPopCurrent_v2(ctypes.byref(popped)))


def check(driver: Any, status: int) -> None:
    """Raise DependencyError with the driver's message unless the status is success."""
    if status == 0:
        return
    text = ctypes.c_char_p()
    driver.cuGetErrorString(status, ctypes.byref(text))
    words = text.value.decode(errors="replace") if text.value else "unknown error"
    raise DependencyError(
        f"The NVIDIA driver failed: {words} (CUDA error {status}).", _FIXES.get(status, _ANY_FIX)
    )


_ANY_FIX = "See what is missing: cxredge doctor"
_FIXES = {
    2: "Close other programs that use the GPU, or choose smaller batches.",
    34: "A stub of the driver is found before the driver: remove .../stubs from LD_LIBRARY_PATH.",
    100: "Start a container with --runtime nvidia; otherwise check the GPU with nvidia-smi.",
    803: "The kernel and user parts of the driver have different versions: restart the machine.",
}
