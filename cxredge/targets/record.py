"""What is known of a device: the records that a target's TOML file is read into."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from cxredge.vocabulary import Dialect, Precision

TENSORRT_FLOOR = (8, 5)
"""The first TensorRT with named tensors and uint8 inputs, which cxredge is written for."""

_BY_TYPES_ALONE = (11,)

PYTHON_FLOOR = (3, 10)
"""The first Python that cxredge runs on."""


@dataclass(frozen=True)
class Hardware:
    """What the silicon can do.

    Attributes:
        compute_capabilities: CUDA compute capabilities, such as ``8.7``; none without a GPU. For
            messages: at run time the driver is asked.
        int8: Whether it has instructions for INT8.
        fp16: Whether it has instructions for FP16.
        dla_cores: Deep learning accelerators, on the module that has most.
        memory_gb: Memory of the modules of this kind, GPU and CPU together, in GB; none where it
            varies.
    """

    compute_capabilities: tuple[str, ...]
    int8: bool
    fp16: bool
    dla_cores: int
    memory_gb: tuple[int, ...]


@dataclass(frozen=True)
class JetPack:
    """One line of the device's software. For messages: installed versions are asked at run time.

    Attributes:
        versions: JetPack versions, such as ``6.1 to 6.2.2``.
        l4t: First and last Jetson Linux release, such as ``36.4.0``.
        tensorrt: TensorRT that comes with it.
        cuda: CUDA that comes with it.
        python: Python that its TensorRT bindings are for.
    """

    versions: str
    l4t: tuple[str, ...]
    tensorrt: str
    cuda: str
    python: str

    def covers(self, l4t: str) -> bool:
        """Return whether a Jetson Linux release belongs to this line."""
        first, last, found = (version_of(text) for text in (*self.l4t, l4t))
        # A line that ends with 38.4 holds 38.4.1 too.
        return first <= (*found, 0, 0) and found[: len(last)] <= last

    @property
    def obstacle(self) -> str:
        """Why cxredge cannot drive its TensorRT, in words; empty where it can."""
        if version_of(self.tensorrt) < TENSORRT_FLOOR:
            wanted = ".".join(map(str, TENSORRT_FLOOR))
            return f"its TensorRT is {self.tensorrt}, and cxredge needs {wanted} or newer"
        if version_of(self.python) < PYTHON_FLOOR:
            wanted = ".".join(map(str, PYTHON_FLOOR))
            return (
                f"its TensorRT {self.tensorrt} has bindings for Python {self.python}, and cxredge "
                f"needs Python {wanted} or newer"
            )
        return ""


@dataclass(frozen=True)
class Detection:
    """How the device is told from others by its device tree.

    Attributes:
        soc: The system on chip, as the last entry of ``compatible`` names it.
        modules: Part numbers of modules that ``compatible`` holds, such as ``p3767-0005``.
        models: What ``model`` may contain.
    """

    soc: str
    modules: tuple[str, ...]
    models: tuple[str, ...]


@dataclass(frozen=True)
class Note:
    """One thing that a person should know.

    Attributes:
        text: What.
        source: Who says so.
        verified: Whether the source was read or the thing measured; otherwise it is from memory.
    """

    text: str
    source: str
    verified: bool


class Extent(str, Enum):
    """How far a backend was taken on a kind of device, by those who made cxredge.

    ``ran``: on that hardware. ``emulated``: its instructions, on other hardware, which says what is
    computed and nothing about speed. ``built``: what runs there was made, by the real builder,
    and not run. ``never``: nothing of that yet.
    """

    RAN = "ran"
    EMULATED = "emulated"
    BUILT = "built"
    NEVER = "never"


@dataclass(frozen=True)
class Trial:
    """What was tried of a backend on a kind of device.

    Attributes:
        backend: The runtime.
        extent: How far it was taken.
        how: On what, and what was seen; of what never ran, what was done instead.
    """

    backend: str
    extent: Extent
    how: str


@dataclass(frozen=True)
class Target:
    """One kind of device.

    Attributes:
        name: What ``--target`` takes.
        title: What it is, in words.
        backend: The runtime that serves it.
        dialect: How INT8 is written for it.
        precisions: What can be built, in the order in which it is taken while nothing was timed
            on the device.
        machine: Processor architecture, as ``uname -m`` says it on Linux.
        hardware: What the silicon can do.
        notes: What a person should know.
        verified: What ran on it, by backend; the target's own first.
        jetpack: The software lines that exist for it, oldest first; none for other devices.
        power_modes: Names of nvpmodel's modes that were seen. Their numbers differ from board to
            board and from release to release, and are asked on the device.
        detection: How it is recognised; None for what is no board.
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
        """What is built where nobody asked and nothing was timed on the device."""
        return self.precisions[0]

    @property
    def extent(self) -> Extent:
        """How far the target's own backend was taken on it."""
        return next(trial.extent for trial in self.verified if trial.backend == self.backend)

    @property
    def runs_cxredge(self) -> bool:
        """Whether cxredge can drive the device's runtime, with the newest software for it."""
        return not self.jetpack or not self.jetpack[-1].obstacle

    @property
    def needs_float_input(self) -> bool:
        """Whether its newest TensorRT is one that takes no uint8 input, which came with 8.5."""
        return bool(self.jetpack) and version_of(self.jetpack[-1].tensorrt) < TENSORRT_FLOOR

    @property
    def goes_by_types(self) -> bool:
        """Whether its newest runtime computes in the types of the file and has no flags for them.

        TensorRT from 11 on, and TensorRT for RTX.
        """
        newest = version_of(self.jetpack[-1].tensorrt) if self.jetpack else ()
        return self.backend == "tensorrt-rtx" or newest >= _BY_TYPES_ALONE

    def jetpack_of(self, l4t: str) -> JetPack | None:
        """Return the software line of a Jetson Linux release, if it is known."""
        return next((line for line in self.jetpack if line.covers(l4t)), None)

    def to_json(self) -> dict[str, Any]:
        """Return the target as JSON values."""
        return {**_plain(self), "default_precision": self.default_precision.value}


def version_of(text: str) -> tuple[int, ...]:
    """Return the leading numbers of a version, such as (36, 4, 3) of ``36.4.3-20250107``."""
    numbers: list[int] = []
    for part in text.split("."):
        digits = part[: next((i for i, c in enumerate(part) if not c.isdigit()), len(part))]
        if not digits:
            break
        numbers.append(int(digits))
        if digits != part:
            break
    return tuple(numbers)


def _plain(value: Any) -> Any:
    if hasattr(value, "__dataclass_fields__"):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value.value if isinstance(value, Enum) else value
