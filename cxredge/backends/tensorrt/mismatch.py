"""Why an engine cannot run here, before anything is deserialized."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cxredge.backends.cuda.driver import Gpu, find_gpu
from cxredge.backends.tensorrt.api import Flavour, installed_versions, numbers
from cxredge.backends.tensorrt.facts import EngineFacts, read_facts
from cxredge.backends.tensorrt.plan import PlanHeader, read_header
from cxredge.errors import ArtifactError, CxredgeError, DependencyError, quoted
from cxredge.targets import registry
from cxredge.targets.detect import read_board

# Between which major versions NVIDIA promises that a version-compatible engine loads.
_COMPATIBLE_MAJORS = ((8, 10), (10, 11))


@dataclass(frozen=True)
class Plan:
    """An engine file, as far as it can be known without loading it.

    Attributes:
        path: The file.
        header: What it says of itself.
        facts: Its passport, or None where that was lost.
    """

    path: Path
    header: PlanHeader
    facts: EngineFacts | None


@dataclass(frozen=True)
class Here:
    """What this machine can run.

    Attributes:
        versions: The products of TensorRT that are installed.
        gpu: Its GPU, or None where none can be used.
        board: The board's name in its device tree, or None off a board.
    """

    versions: Mapping[Flavour, str]
    gpu: Gpu | None
    board: str | None = None


def read_plan(path: Path) -> Plan:
    """Read an engine's header and passport.

    Raises:
        ArtifactError: It is no engine, or the passport belongs to another file.
    """
    header, facts = read_header(path), read_facts(path)
    if header is None and facts is not None:
        header = PlanHeader(facts.flavour, facts.version)
    if header is None:
        raise ArtifactError(
            f"{path} does not begin as a TensorRT engine does, and no passport lies beside it.",
            "Build it with: cxredge deploy BUNDLE",
        )
    return Plan(path, header, facts)


def look_here() -> Here:
    """Look which TensorRT, GPU and board this machine has."""
    return Here(installed_versions(), find_gpu(), read_board(registry.ROOT).model)


def explain_mismatch(plan: Plan, here: Here) -> CxredgeError | None:
    """Return why an engine cannot run on a machine, or None where nothing speaks against it."""
    flavour, facts, name = plan.header.flavour, plan.facts, plan.path.name
    rebuild = f"Build it here: cxredge deploy {quoted(plan.path.parent)}"
    if flavour not in here.versions:
        install = "pip install 'cxredge[rtx]'" if flavour is Flavour.RTX else "cxredge doctor"
        return DependencyError(
            f"{name} needs {flavour.product} {plan.header.version}, which is not installed here.",
            f"Install it or see what is missing: {install}",
        )
    installed = here.versions[flavour]
    if not _versions_fit(plan, installed):
        return ArtifactError(
            f"{name} was built with {flavour.product} {plan.header.version}; this device has "
            f"{installed}.",
            rebuild,
        )
    if here.gpu is None:
        return DependencyError(
            f"{name} needs an NVIDIA GPU, and none can be used here.",
            "See what is missing: cxredge doctor",
        )
    if facts and facts.compute_capability != here.gpu.compute_capability:
        return ArtifactError(
            f"{name} was built for compute capability {facts.compute_capability} "
            f"({facts.gpu or 'ahead of time'}); this GPU is {here.gpu.name} with "
            f"{here.gpu.compute_capability}.",
            rebuild,
        )
    if facts and facts.gpu not in (None, here.gpu.name):
        return ArtifactError(
            f"{name} was built on {facts.gpu}; this GPU is {here.gpu.name}, for which it may be "
            "slow or wrong.",
            rebuild,
        )
    if facts and facts.board and here.board and facts.board != here.board:
        return ArtifactError(
            f"{name} was built on {facts.board}; this is {here.board}, whose GPU may have fewer "
            "cores under the same name.",
            rebuild,
        )
    return None


def _versions_fit(plan: Plan, installed: str) -> bool:
    """Tell whether a runtime reads a plan: the same version, or a newer one if it was asked for.

    The bindings do not always give the fourth number, so only what both give is compared.
    """
    written, running = numbers(plan.header.version), numbers(installed)
    shared = min(len(written), len(running), 3)
    if plan.facts and plan.facts.settings.get("version_compatible"):
        near = running[0] == written[0] or (written[0], running[0]) in _COMPATIBLE_MAJORS
        return near and running[:shared] >= written[:shared]
    return running[:shared] == written[:shared]
