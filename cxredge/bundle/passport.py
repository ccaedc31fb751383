"""The passport: what was found on the device that a bundle serves on, bound to its card."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cxredge.artifacts.card import CARD_NAME, read_json, sha256_of_file, tool_versions, write_json
from cxredge.artifacts.records import to_json
from cxredge.backends import CPU_BACKENDS
from cxredge.bundle.serving import Serving
from cxredge.errors import ArtifactError, quoted
from cxredge.targets.registry import all_targets
from cxredge.targets.trtexec import how_to_deploy
from cxredge.telemetry.linux import read_machine
from cxredge.vocabulary import Precision

PASSPORT_NAME = "passport.json"


def write_passport(bundle: Path, serving: Serving) -> None:
    """Write beside a bundle's card what serves on this machine.

    Args:
        bundle: The bundle's folder.
        serving: What was found.
    """
    throughput = serving.speed.throughput if serving.speed else None
    write_json(
        bundle / PASSPORT_NAME,
        {
            "schema": "cxredge.passport/1",
            "card_file_sha256": sha256_of_file(bundle / CARD_NAME),
            "backend": serving.backend,
            "precision": serving.precision.value,
            "threads": serving.speed.threads if serving.speed else 0,
            "throughput": throughput.to_json() if throughput else None,
            "engine": serving.engine,
            "engine_sha256": sha256_of_file(bundle / serving.engine),
            "reason": serving.reason,
            "left_out": dict(serving.left_out),
            "machine": to_json(read_machine()),
            "tools": {
                **tool_versions("onnxruntime", "openvino", "numpy", "pillow"),
                **serving.runtime,
            },
            "latency_ms": {p.value: latency.to_json() for p, latency in serving.latencies.items()},
            "candidates": list(serving.candidates),
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
            f"Make it anew on this device: cxredge deploy {quoted(bundle)}",
        )
    found: Mapping[str, Any] = passport
    return found


def backend_of(bundle: Path, passport: Mapping[str, Any], of_target: str) -> str:
    """Return the runtime that a bundle was finished with.

    Args:
        bundle: The bundle's folder.
        passport: Its passport.
        of_target: The target's runtime; a target whose runtime is on the CPU takes any of those.

    Raises:
        ArtifactError: It is none that the target has.
    """
    backend = passport.get("backend", of_target)
    known = CPU_BACKENDS if of_target in CPU_BACKENDS else (of_target,)
    if backend not in known:
        raise ArtifactError(
            f"{bundle / PASSPORT_NAME} names the runtime '{backend}'; the bundle's target is "
            f"served by {' or '.join(known)}.",
            f"Finish the bundle on this device again: cxredge deploy {quoted(bundle)}",
        )
    return str(backend)


def strange_here(bundle: Path, target: str, passport: Mapping[str, Any] | None) -> str:
    """Return what to know of a bundle that was not finished on this machine; empty if it was.

    Args:
        bundle: The bundle's folder.
        target: The machine that it was built for.
        passport: Its passport, or None where it has none.
    """
    again = f"cxredge deploy {quoted(bundle)}"
    if passport is None:
        deploy = how_to_deploy(all_targets().get(target), bundle)
        return (
            f"{bundle} is for {target} and was not finished there; ONNX Runtime runs it on this "
            f"machine's processor. On the device: {deploy}"
        )
    here, there = to_json(read_machine()), passport.get("machine", {})
    if all(there.get(fact) == here[fact] for fact in ("architecture", "cpu")):
        return ""
    return (
        f"{bundle} was finished on another machine ({there.get('cpu') or 'unknown'}; this one is "
        f"{here['cpu'] or here['architecture']}), so that another precision may be best here. "
        f"Choose anew: {again}"
    )


def check_engine(
    bundle: Path,
    passport: Mapping[str, Any],
    name_of: Callable[[Precision], str],
    checked: Mapping[str, str],
) -> Precision:
    """Return the precision that serves, after comparing its engine with the passport.

    Args:
        bundle: The bundle's folder.
        passport: Its passport.
        name_of: Gives the file name of a precision's engine; the passport may name no other.
        checked: SHA-256 of files that were compared with the card already, by name.

    Raises:
        ArtifactError: The passport says too little, or the engine is missing, is another one than
            the device was finished with, or is of a kind that its runtime does not load.
    """
    mend = f"Finish the bundle on this device again: cxredge deploy {quoted(bundle)}"
    try:
        precision = Precision(passport["precision"])
        engine, expected = passport["engine"], passport["engine_sha256"]
    except (KeyError, ValueError) as error:
        raise ArtifactError(
            f"{bundle / PASSPORT_NAME} is damaged ({type(error).__name__}: {error}).", mend
        ) from None
    if engine != name_of(precision):
        raise ArtifactError(
            f"{bundle / PASSPORT_NAME} names the engine '{engine}'; {precision.value} is served "
            f"from {name_of(precision)}.",
            mend,
        )
    path = bundle / engine
    if not path.is_file():
        raise ArtifactError(f"{path} is missing; the bundle was finished with it.", mend)
    found = checked.get(engine) or sha256_of_file(path)
    if found != expected:
        raise ArtifactError(
            f"{path} is not the engine that this bundle was finished with: SHA-256 {found[:12]}… "
            f"instead of {str(expected)[:12]}….",
            mend,
        )
    return precision
