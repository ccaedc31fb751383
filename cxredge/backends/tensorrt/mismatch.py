"""Reasons why an engine cannot run on this machine, found before it is deserialized."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cxredge.backends.cuda.driver import Gpu, find_gpu
from cxredge.backends.tensorrt.api import Flavour, installed_versions, numbers
from cxredge.backends.tensorrt.engine_file import EngineFile
from cxredge.backends.tensorrt.facts import EngineFacts
from cxredge.errors import ArtifactError, CxredgeError, DependencyError, quoted
from cxredge.targets import registry
from cxredge.targets.detect import read_board

# Major versions between which NVIDIA guarantees that version-compatible engines load.
_COMPATIBLE_MAJORS = ((8, 10), (10, 11))


@dataclass(frozen=True)
class Installation:
    """TensorRT, GPU and board of a machine.

    Attributes:
        versions: Installed products of TensorRT, with their versions.
        gpu: The GPU, or None if there is no usable one.
        board: Name of the board in its device tree; None on other machines.
    """

    versions: Mapping[Flavour, str]
    gpu: Gpu | None
    board: str | None = None


def find_installation() -> Installation:
    """Return TensorRT, GPU and board of this machine."""
    return Installation(installed_versions(), find_gpu(), read_board(registry.ROOT).model)


def explain_mismatch(engine_file: EngineFile, here: Installation) -> CxredgeError | None:
    """Return the reason why an engine cannot run on a machine, or None if no reason is known."""
    header, name = engine_file.header, engine_file.path.name
    rebuild = f"Build it here: cxredge deploy {quoted(engine_file.path.parent)}"
    if header.flavour not in here.versions:
        install = (
            "pip install 'cxredge[rtx]'" if header.flavour is Flavour.RTX else "cxredge doctor"
        )
        return DependencyError(
            f"{name} needs {header.flavour.product} {header.version}, which is not installed here.",
            f"Install it or see what is missing: {install}",
        )
    installed = here.versions[header.flavour]
    if not _versions_fit(engine_file, installed):
        return ArtifactError(
            f"{name} was built with {header.flavour.product} {header.version}; this device has "
            f"{installed}.",
            rebuild,
        )
    if here.gpu is None:
        return DependencyError(
            f"{name} needs an NVIDIA GPU, and none is usable here.",
            "See what is missing: cxredge doctor",
        )
    facts = engine_file.facts
    difference = _other_device(facts, here.gpu, here.board) if facts else ""
    return ArtifactError(f"{name} was built {difference}.", rebuild) if difference else None


def _other_device(facts: EngineFacts, gpu: Gpu, board: str | None) -> str:
    """Return how the device of an engine differs from this one, in words; empty if it does not."""
    if facts.compute_capability != gpu.compute_capability:
        return (
            f"for compute capability {facts.compute_capability} ({facts.gpu or 'ahead of time'}); "
            f"this GPU is {gpu.name} with {gpu.compute_capability}"
        )
    if facts.gpu not in (None, gpu.name):
        return f"on {facts.gpu}; this GPU is {gpu.name}, on which it may be slow or inaccurate"
    if facts.board and board and facts.board != board:
        return (
            f"on {facts.board}; this is {board}, whose GPU may have fewer cores under the same name"
        )
    return ""


def _versions_fit(engine_file: EngineFile, installed: str) -> bool:
    """Return whether a runtime can load an engine: the same version, or a newer compatible one.

    The bindings do not always report the fourth number, so only the numbers of both are compared.
    """
    written, running = numbers(engine_file.header.version), numbers(installed)
    shared = min(len(written), len(running), 3)
    if engine_file.facts and engine_file.facts.settings.version_compatible:
        compatible = running[0] == written[0] or (written[0], running[0]) in _COMPATIBLE_MAJORS
        return compatible and running[:shared] >= written[:shared]
    return running[:shared] == written[:shared]
