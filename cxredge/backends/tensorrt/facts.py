"""Facts of an engine, in a JSON file beside it; the engine file stays as TensorRT wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from cxredge.artifacts.atomic import write_json
from cxredge.artifacts.hashing import sha256_of_file
from cxredge.artifacts.records import read_record, to_json
from cxredge.backends.tensorrt.api import Flavour
from cxredge.backends.tensorrt.settings import RecordedSettings, Typing
from cxredge.errors import ArtifactError


@dataclass(frozen=True)
class EngineLayer:
    """A layer of an engine.

    Attributes:
        name: Name in TensorRT.
        kind: TensorRT's layer type.
        format: Number format of its first output, such as ``int8``.
    """

    name: str
    kind: str
    format: str


@dataclass(frozen=True, kw_only=True)
class EngineFacts:
    """Facts of an engine.

    Attributes:
        schema: Version of the file format.
        plan: Name of its file.
        plan_sha256: SHA-256 of the file.
        size_bytes: Size of the file.
        parents: SHA-256 of the ONNX file (``onnx``) and of what that was made from.
        settings: Settings of the build.
        flavour: Product that built it.
        version: Version of that product.
        typing: Choice of number formats.
        compute_capability: Compute capability of the GPU it was built for.
        gpu: Name of that GPU, or None if it was built without one.
        cuda_version: Newest CUDA version that the driver supports, or None without a driver.
        l4t: Release of Jetson Linux, or None off a Jetson.
        profiles: Smallest, optimal and largest batch size of each optimization profile.
        build_seconds: Duration of the build.
        network_formats: Number of layers by number format, as the parser read the ONNX file.
        layers: Layers of the engine; empty if it was built without its GPU.
        warnings: TensorRT's warnings.
        golden: Result of the golden images on the device; empty until they were run there.
        board: Name of the board in its device tree, or None off a board.
        jetpack: JetPack versions with that release, or None if unknown.
        driver: Version of the driver, or None if it is not reported.
    """

    schema: Literal["cxredge.engine/1"] = "cxredge.engine/1"
    plan: str
    plan_sha256: str
    size_bytes: int
    parents: Mapping[str, str]
    settings: RecordedSettings
    flavour: Flavour
    version: str
    typing: Typing
    compute_capability: str
    gpu: str | None
    cuda_version: str | None
    l4t: str | None
    profiles: tuple[tuple[int, int, int], ...]
    build_seconds: float
    network_formats: Mapping[str, int]
    layers: tuple[EngineLayer, ...] = ()
    warnings: tuple[str, ...] = ()
    golden: Mapping[str, bool | int | float | str | None] = field(default_factory=dict)
    board: str | None = None
    jetpack: str | None = None
    driver: str | None = None


def facts_path(plan: Path) -> Path:
    """Return the path of an engine's facts."""
    return plan.with_name(plan.name + ".json")


def write_facts(plan: Path, facts: EngineFacts) -> None:
    """Write an engine's facts beside it."""
    write_json(facts_path(plan), to_json(facts))


def read_facts(plan: Path) -> EngineFacts | None:
    """Read an engine's facts; return None if there are none.

    Raises:
        ArtifactError: They are damaged, or belong to another file.
    """
    path = facts_path(plan)
    if not path.exists():
        return None
    facts = read_record(path, EngineFacts, f"Delete it, or build {plan.name} again.")
    if plan.stat().st_size != facts.size_bytes or sha256_of_file(plan) != facts.plan_sha256:
        raise ArtifactError(
            f"{plan} is not the engine that {path.name} describes: its SHA-256 differs.",
            "Copy both files again, or build the engine again.",
        )
    return facts


def record_golden(plan: Path, golden: Mapping[str, bool | int | float | str | None]) -> EngineFacts:
    """Add the result of the golden images to an engine's facts.

    Raises:
        ArtifactError: The engine has no facts.
    """
    facts = read_facts(plan)
    if facts is None:
        raise ArtifactError(f"{facts_path(plan)} is missing.", "Build the engine again.")
    complete = replace(facts, golden=dict(golden))
    write_facts(plan, complete)
    return complete
