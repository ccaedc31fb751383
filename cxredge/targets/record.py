"""Records of a device, as a target's TOML file describes it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from cxredge.vocabulary import Dialect, Precision

TENSORRT_FLOOR = (8, 5)
"""The first TensorRT with named tensors and uint8 inputs, which cxredge requires."""

_STRONGLY_TYPED_FLOOR = (11,)

PYTHON_FLOOR = (3, 10)
"""The oldest Python that cxredge supports."""


@dataclass(frozen=True)
class Hardware:
    """Capabilities of the hardware.

    Attributes:
        compute_capabilities: CUDA compute capabilities, such as ``8.7``; empty without a GPU. Only
            for messages: at run time the driver reports it.
        int8: Whether it has instructions for INT8.
        fp16: Whether it has instructions for FP16.
        dla_cores: Number of deep learning accelerators, on the module with the most.
        memory_gb: Memory sizes of the modules, shared by GPU and CPU, in GB; empty if it varies.
    """

    compute_capabilities: tuple[str, ...]
    int8: bool
    fp16: bool
    dla_cores: int
    memory_gb: tuple[int, ...]


@dataclass(frozen=True)
class JetPack:
    """One release line of a device's software. Only for messages: versions are read at run time.

    Attributes:
        versions: JetPack versions, such as ``6.1 to 6.2.x``.
        l4t: First release of Jetson Linux, such as ``36.4.0``, and the last one or the branch of
            all that follow, such as ``36.x``.
        tensorrt: TensorRT version in it.
        cuda: CUDA version in it.
        python: Python version of its TensorRT bindings.
        also: Other TensorRT versions that are known to run there, each with newer patches.
    """

    versions: str
    l4t: tuple[str, ...]
    tensorrt: str
    cuda: str
    python: str
    also: tuple[str, ...] = ()

    def covers(self, l4t: str) -> bool:
        """Return whether a release of Jetson Linux belongs to this line."""
        first, last, found = (version_of(text) for text in (*self.l4t, l4t))
        # A line that ends with 36.x or 38.4 includes 36.5.2 and 38.4.1.
        return first <= (*found, 0, 0) and found[: len(last)] <= last

    def runs(self, tensorrt: str) -> bool:
        """Return whether a TensorRT version is JetPack's own, or known to run beside it."""
        found = version_of(tensorrt)
        if found[:2] == version_of(self.tensorrt)[:2]:
            return True
        return any(found[:2] == version_of(v)[:2] and found >= version_of(v) for v in self.also)

    @property
    def obstacle(self) -> str:
        """Reason why cxredge cannot use its TensorRT; empty if it can."""
        if version_of(self.tensorrt) < TENSORRT_FLOOR:
            wanted = ".".join(map(str, TENSORRT_FLOOR))
            return f"its TensorRT is {self.tensorrt}, and cxredge requires {wanted} or newer"
        if version_of(self.python) < PYTHON_FLOOR:
            wanted = ".".join(map(str, PYTHON_FLOOR))
            return (
                f"its TensorRT {self.tensorrt} has bindings for Python {self.python}, and cxredge "
                f"requires Python {wanted} or newer"
            )
        return ""


@dataclass(frozen=True)
class Detection:
    """Entries of the device tree that identify a device.

    Attributes:
        soc: System on chip, the last entry of ``compatible``.
        modules: Part numbers of modules in ``compatible``, such as ``p3767-0005``.
        models: Parts of ``model``.
    """

    soc: str
    modules: tuple[str, ...]
    models: tuple[str, ...]


@dataclass(frozen=True)
class Note:
    """A note for the user.

    Attributes:
        text: The note.
        source: Its source.
        verified: Whether the source was read or the fact measured; otherwise it is from memory.
    """

    text: str
    source: str
    verified: bool


class Extent(str, Enum):
    """Extent of the developers' tests of a backend on a kind of device.

    ``ran``: on that hardware. ``emulated``: with its instructions on other hardware, which shows
    what is computed but not how fast. ``built``: engines were built by the real builder but not
    run. ``never``: not tested yet.
    """

    RAN = "ran"
    EMULATED = "emulated"
    BUILT = "built"
    NEVER = "never"


@dataclass(frozen=True)
class Trial:
    """Test of a backend on a kind of device.

    Attributes:
        backend: The runtime.
        extent: Extent of the tests.
        how: Hardware and results; if it never ran, what was tested instead.
    """

    backend: str
    extent: Extent
    how: str


@dataclass(frozen=True)
class Target:
    """One kind of device.

    Attributes:
        name: Value of ``--target``.
        title: Description.
        backend: Runtime that serves it.
        dialect: Q/DQ dialect of its INT8 models.
        precisions: Supported precisions, in order of preference until they are timed on the device.
        machine: Processor architecture, as ``uname -m`` reports it on Linux.
        hardware: Capabilities of the hardware.
        notes: Notes for the user.
        verified: Tests by backend; the target's own backend first.
        jetpack: Release lines of its software, oldest first; empty for other devices.
        power_modes: Known names of nvpmodel's modes. Their numbers differ between boards and
            releases, and are read on the device.
        detection: How it is recognised; None for other devices than boards.
    """

    name: str
    title: str
    backend: str
    dialect: Dialect
    precisions: tuple[Precision, ...]
    machine: str
    hardware: Hardware
    notes: tuple[Note, ...]
    verified: tuple[Trial, ...]
    jetpack: tuple[JetPack, ...] = ()
    power_modes: tuple[str, ...] = ()
    detection: Detection | None = None

    @property
    def default_precision(self) -> Precision:
        """Precision that is preferred until precisions are timed on the device."""
        return self.precisions[0]

    @property
    def extent(self) -> Extent:
        """Extent of the tests of the target's own backend."""
        return next(trial.extent for trial in self.verified if trial.backend == self.backend)

    @property
    def runs_cxredge(self) -> bool:
        """Whether cxredge can use the device's runtime, with the newest software for it."""
        return not self.jetpack or not self.jetpack[-1].obstacle

    @property
    def needs_float_input(self) -> bool:
        """Whether its newest TensorRT is older than 8.5, which introduced uint8 inputs."""
        return bool(self.jetpack) and version_of(self.jetpack[-1].tensorrt) < TENSORRT_FLOOR

    @property
    def strongly_typed(self) -> bool:
        """Whether its newest runtime takes number formats only from the ONNX file (strong typing).

        This holds for TensorRT from 11 on, and for TensorRT for RTX.
        """
        newest = version_of(self.jetpack[-1].tensorrt) if self.jetpack else ()
        return self.backend == "tensorrt-rtx" or newest >= _STRONGLY_TYPED_FLOOR

    def jetpack_of(self, l4t: str) -> JetPack | None:
        """Return the release line of a Jetson Linux release, or None if unknown."""
        return next((line for line in self.jetpack if line.covers(l4t)), None)


def version_of(text: str) -> tuple[int, ...]:
    """Return the leading numbers of a version, such as (36, 4, 3) for ``36.4.3-20250107``."""
    numbers: list[int] = []
    for part in text.split("."):
        digits = part[: next((i for i, c in enumerate(part) if not c.isdigit()), len(part))]
        if not digits:
            break
        numbers.append(int(digits))
        if digits != part:
            break
    return tuple(numbers)
