"""Checks of CUDA: driver, runtime, and the Python packages for GPU memory."""

from __future__ import annotations

import ctypes

from cxredge.backends.cuda.driver import read_gpu
from cxredge.diagnosis.finding import Finding, ok, skip, warn
from cxredge.diagnosis.surroundings import Surroundings
from cxredge.errors import DependencyError
from cxredge.targets.record import version_of

_DRIVER = ("libcuda.so.1", "libcuda.so")
_RUNTIME = ("libcudart.so", "libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0")
_HEADERS = (
    "usr/local/cuda*/include/cuda.h",
    "usr/local/cuda*/targets/*/include/cuda.h",
    "usr/include/cuda.h",
)
# Folder, module, package and title.
_LIBRARIES = (
    ("pycuda", "pycuda.driver", "pycuda", "PyCUDA"),
    ("cuda.bindings", "cuda.bindings.runtime", "cuda-bindings", "cuda-python"),
)
_COMPILERS = ("usr/local/cuda*/bin/nvcc", "usr/bin/nvcc")

Version = tuple[int, int]


def library_version(here: Surroundings, names: tuple[str, ...], function: str) -> Version | None:
    """Return the CUDA version that a library reports, without initialising the driver.

    Args:
        here: The machine.
        names: Names of the library; the first that loads is used.
        function: ``cuDriverGetVersion`` or ``cudaRuntimeGetVersion``; both write an int such as
            12060 for 12.6 and return 0.

    Returns:
        None if no such library can be loaded.
    """
    for name in names:
        try:
            get_version = getattr(here.load_library(name), function)
        except (OSError, AttributeError):
            continue
        number = ctypes.c_int(0)
        if get_version(ctypes.byref(number)) == 0 and number.value:
            return number.value // 1000, number.value % 1000 // 10
    return None


def gpu(here: Surroundings) -> Finding:
    """Check that the driver can be initialised and finds a GPU."""
    if not here.has_nvidia_driver:
        return skip("GPU", "no NVIDIA GPU")
    try:
        found = read_gpu(here.load_library)
    except DependencyError as error:
        return warn("GPU", error.message, error.hint)
    shared = "shared with the processor" if found.integrated else "dedicated"
    capability = f"compute capability {found.compute_capability}"
    return ok("GPU", f"{found.name}, {capability}, {found.memory_mb} MB {shared}")


def versions(here: Surroundings) -> Finding:
    """Check that the driver supports every CUDA runtime (else cudaErrorInsufficientDriver, 35)."""
    name = "CUDA"
    driver = library_version(here, _DRIVER, "cuDriverGetVersion")
    runtimes = _runtimes(here)
    listed = ", ".join(f"{source} {_dotted(version)}" for source, version in runtimes.items())
    if driver is None:
        if here.has_nvidia_driver:
            return warn(
                name,
                "there is a GPU, but libcuda.so.1 cannot be loaded",
                "In a container: docker run --runtime nvidia (Jetson) or --gpus all (PC).",
            )
        return skip(name, f"no driver; {listed}" if listed else "no driver")
    found = f"driver for CUDA {_dotted(driver)}" + (f"; {listed}" if listed else "")
    newer = {s: v for s, v in runtimes.items() if _too_new(v, driver, here.board.is_jetson)}
    if not newer:
        return ok(name, found)
    packages = [source for source in newer if source in here.packages]
    fix = "Update the driver (on a Jetson, JetPack)"
    if packages:
        wanted = " ".join(f"'{source}<={driver[0]}.{driver[1]}.999'" for source in packages)
        fix += f"; or install older packages: pip install {wanted}"
    return warn(name, f"{found}: newer than the driver", f"{fix}.")


def _too_new(runtime: Version, driver: Version, is_jetson: bool) -> bool:
    """Return whether a driver may be too old for a runtime.

    On a PC, a driver supports all minor versions of its major version. On Jetson that failed:
    FoundationStereo#209, error 35 on an AGX Orin with JetPack 6.1.
    """
    return runtime > driver if is_jetson else runtime[0] > driver[0]


def _runtimes(here: Surroundings) -> dict[str, Version]:
    """Return the CUDA versions of the system's runtime and of packages that contain one."""
    found = {}
    system = library_version(here, _RUNTIME, "cudaRuntimeGetVersion")
    if system:
        found["libcudart"] = system
    for package in ("cuda-bindings", "cuda-python"):
        numbers = version_of(here.packages.get(package, ""))
        if len(numbers) >= 2:
            found[package] = (numbers[0], numbers[1])
    return found


def memory_layer(here: Surroundings) -> Finding:
    """Check that PyCUDA or cuda-python is installed, or can be."""
    name = "GPU memory from Python"
    for folder, module, package, title in _LIBRARIES:
        if here.importable(folder):
            found = f"{title} {here.packages.get(package, '')}".strip()
            cause = here.why_import_fails(module)
            if not cause:
                return ok(name, found)
            # PyCUDA is compiled against one NumPy and one CUDA, and fails with others.
            again = f"pip install --force-reinstall --no-cache-dir {package}"
            return warn(name, f"{found} cannot be imported: {cause}", again)
    if not here.has_nvidia_driver:
        return skip(name, "no NVIDIA GPU")
    headers, compilers = here.find(*_HEADERS), here.find(*_COMPILERS)
    if not headers:
        return warn(
            name,
            "neither PyCUDA nor cuda-python, and no cuda.h to build PyCUDA with",
            "sudo apt install nvidia-jetpack (Jetson) or cuda-toolkit (PC), then: "
            "pip install pycuda. Or, without a compiler: pip install cuda-python in the driver's "
            "CUDA version.",
        )
    include = headers[0].parent
    path = compilers[0].parent if compilers else include.parent / "bin"
    searched = here.environment.get("PATH", "").split(":")
    prefix = "" if str(path) in searched else f"export PATH={path}:$PATH CPATH={include}; "
    return warn(
        name, f"neither PyCUDA nor cuda-python; cuda.h in {include}", f"{prefix}pip install pycuda"
    )


def _dotted(version: Version) -> str:
    return f"{version[0]}.{version[1]}"
