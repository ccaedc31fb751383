"""The passport: what was found on the device that a bundle serves on, bound to its card."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cxredge.artifacts import CARD_NAME, read_json, sha256_of_file, tool_versions, write_json
from cxredge.errors import ArtifactError
from cxredge.telemetry.linux import read_machine
from cxredge.timing import Latency
from cxredge.vocabulary import Precision

PASSPORT_NAME = "passport.json"


def write_passport(
    bundle: Path,
    precision: Precision,
    engine: str,
    latencies: Mapping[Precision, Latency],
    reason: str,
) -> None:
    """Write beside a bundle's card what serves on this machine.

    Args:
        bundle: The bundle's folder.
        precision: What serves.
        engine: Name of its file.
        latencies: Batch-1 latency of every candidate on this machine.
        reason: Why this one, in a sentence.
    """
    write_json(
        bundle / PASSPORT_NAME,
        {
            "schema": "cxredge.passport/1",
            "card_file_sha256": sha256_of_file(bundle / CARD_NAME),
            "precision": precision.value,
            "engine": engine,
            "engine_sha256": sha256_of_file(bundle / engine),
            "reason": reason,
            "machine": read_machine().to_json(),
            "tools": tool_versions("onnxruntime", "numpy", "pillow"),
            "latency_ms": {p.value: latency.to_json() for p, latency in latencies.items()},
        },
    )


def read_passport(bundle: Path) -> Mapping[str, Any] | None:
    """Return a bundle's passport, or None where it was not finished on a device.

    Raises:
        ArtifactError: It is damaged or belongs to another bundle.
    """
    path = bundle / PASSPORT_NAME
    if not path.exists():
        return None
    passport = read_json(path)
    bound_to = passport.get("card_file_sha256") if isinstance(passport, dict) else None
    if bound_to != sha256_of_file(bundle / CARD_NAME):
        raise ArtifactError(
            f"{path} belongs to another bundle.",
            f"Delete it and run here: cxredge build {bundle}",
        )
    found: Mapping[str, Any] = passport
    return found
