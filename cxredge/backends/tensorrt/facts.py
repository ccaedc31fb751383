"""The passport of an engine: a JSON file beside it; the engine itself stays plain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from cxredge.artifacts.card import read_json, sha256_of_file, write_json
from cxredge.backends.tensorrt.api import Flavour
from cxredge.errors import ArtifactError

SCHEMA = "cxredge.engine/1"


@dataclass(frozen=True)
class EngineFacts:
    """What an engine is and where it belongs.

    Attributes:
        plan: Its file's name.
        plan_sha256: SHA-256 of the file.
        size_bytes: Size of the file.
        parents: SHA-256 of the ONNX file (``onnx``) and of what that was made from.
        settings: What was asked for.
        flavour: The product.
        version: Its version.
        typing: ``flags`` or ``strong``.
        compute_capability: Of the GPU it was built for.
        gpu: That GPU's name, or None where it was built without one.
        board: The board's name in its device tree, or None off a board.
        cuda_version: The newest CUDA that the driver serves, or None without one.
        l4t: NVIDIA's Linux release, or None off a Jetson.
        jetpack: The JetPack versions with that release, or None where that is not known.
        driver: The driver's own version, or None where it does not say.
        profiles: Least, best and largest batch size of each.
        build_seconds: What the build took.
        network_formats: Number of layers by number format, as the parser understood the file.
        layers: Name and number format of each layer of the engine; empty where the inspector could
            not be asked, for want of the GPU.
        warnings: What TensorRT warned of.
        golden: How the golden images came out on the device, once they were run there.
    """

    plan: str
    plan_sha256: str
    size_bytes: int
    parents: Mapping[str, str]
    settings: Mapping[str, Any]
    flavour: Flavour
    version: str
    typing: str
    compute_capability: str
    gpu: str | None
    cuda_version: str | None
    l4t: str | None
    profiles: Sequence[Sequence[int]]
    build_seconds: float
    network_formats: Mapping[str, int]
    layers: Sequence[Mapping[str, str]] = ()
    warnings: Sequence[str] = ()
    golden: Mapping[str, Any] = field(default_factory=dict)
    board: str | None = None
    jetpack: str | None = None
    driver: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the facts as JSON values."""
        return {"schema": SCHEMA, **asdict(self), "flavour": self.flavour.value}


def facts_path(plan: Path) -> Path:
    """Return where the facts of an engine lie."""
    return plan.with_name(plan.name + ".json")


def write_facts(plan: Path, facts: EngineFacts) -> None:
    """Write an engine's facts beside it."""
    write_json(facts_path(plan), facts.to_json())


def read_facts(plan: Path) -> EngineFacts | None:
    """Return an engine's facts, or None where there are none.

    Raises:
        ArtifactError: They are damaged, or belong to another file.
    """
    path = facts_path(plan)
    if not path.exists():
        return None
    body = read_json(path)
    try:
        if body.pop("schema") != SCHEMA:
            raise ValueError(f"its schema is not {SCHEMA}")
        facts = EngineFacts(**{**body, "flavour": Flavour(body["flavour"])})
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"{path} is no passport of an engine ({type(error).__name__}: {error}).",
            f"Delete it, or build {plan.name} again.",
        ) from None
    if plan.stat().st_size != facts.size_bytes or sha256_of_file(plan) != facts.plan_sha256:
        raise ArtifactError(
            f"{plan} is not the engine that {path.name} describes: its SHA-256 differs.",
            "Copy both files again, or build the engine again.",
        )
    return facts


def record_golden(plan: Path, golden: Mapping[str, Any]) -> EngineFacts:
    """Add to an engine's facts how the golden images came out.

    Raises:
        ArtifactError: The engine has no facts.
    """
    facts = read_facts(plan)
    if facts is None:
        raise ArtifactError(f"{facts_path(plan)} is missing.", "Build the engine again.")
    complete = replace(facts, golden=dict(golden))
    write_facts(plan, complete)
    return complete
