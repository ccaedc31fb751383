"""Summaries of bundles, archives and engines; ``-v`` shows all facts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from cxredge.artifacts.card import held_files
from cxredge.backends import CPU_BACKENDS
from cxredge.backends.tensorrt.facts import EngineFacts
from cxredge.bundle.card import BundleCard
from cxredge.diagnosis.description import (
    ArchiveDescription,
    BundleDescription,
    Description,
    EngineDescription,
    TestedBackend,
    description_as_json,
)
from cxredge.gate.gate import GateResult
from cxredge.metrics.controls import control_sentences
from cxredge.targets.registry import all_targets
from cxredge.targets.trtexec import how_to_deploy


def digest(found: Description) -> dict[str, Any]:
    """Return the entries of a description that are shown, in order; all if it is short."""
    if isinstance(found, BundleDescription):
        return _without_empty(_bundle(found))
    if isinstance(found, ArchiveDescription):
        return _without_empty(_archive(found))
    if isinstance(found, EngineDescription):
        return _without_empty(_engine(found))
    return description_as_json(found)


def _without_empty(entries: dict[str, Any]) -> dict[str, Any]:
    """Leave out entries without content, such as commands of a tool that the target lacks."""
    return {key: value for key, value in entries.items() if value not in ({}, [])}


def _bundle(found: BundleDescription) -> dict[str, Any]:
    return {
        "kind": "bundle",
        "path": found.path,
        **_content(found.card, found.passport.backend if found.passport else ""),
        "serves": _serves(found),
        **_state(found.card, found.signed, found.tried),
        "intact": f"{len(held_files(Path(found.path), found.card))} files match their hashes",
    }


def _archive(found: ArchiveDescription) -> dict[str, Any]:
    return {
        "kind": "archive",
        "path": found.path,
        "sha256": found.sha256,
        "size_bytes": found.size_bytes,
        "next": found.next,
        **_content(found.bundle, ""),
        **_state(found.bundle, found.signed, found.tried),
    }


def _content(card: BundleCard, backend: str) -> dict[str, Any]:
    size, facts = card.classifier.input_size, card.facts
    sentences = control_sentences(facts.gate_of(facts.precision, backend).controls)
    return {
        "network": f"{card.classifier.network}, {size}x{size} grey pixels",
        "classes": list(card.classifier.classes),
        "target": f"{card.config.target}, {card.config.backend}",
        **({"controls": sentences} if sentences else {}),
        "gate": {name.value: _verdict(facts.gate_of(name, backend)) for name in facts.gate},
    }


def _state(card: BundleCard, signed: bool, tried: tuple[TestedBackend, ...]) -> dict[str, Any]:
    return {
        "intact": f"{len(card.files)} files match their hashes",
        "signed": "yes; check the key: cxredge verify --public-key" if signed else "no",
        "trtexec": {name.value: line for name, line in card.facts.trtexec.items()},
        "tried": [f"{trial.extent.value}. {trial.how}" for trial in tried],
    }


def _verdict(gate: GateResult) -> str:
    accuracy = f"accuracy {gate.accuracy:.3f}, {gate.agreement:.1%} agreement with FP32"
    if gate.passed:
        return f"passed, {accuracy}"
    return f"refused ({'; '.join(gate.refusals)}), {accuracy}"


def _serves(found: BundleDescription) -> str:
    passport, card = found.passport, found.card
    if passport is None:
        deploy = how_to_deploy(all_targets().get(card.config.target), Path(found.path))
        return (
            f"{card.facts.precision.value} in ONNX Runtime until it is deployed on its device: "
            f"{deploy}"
        )
    machine = passport.machine.cpu or passport.machine.architecture
    runtime = CPU_BACKENDS.get(passport.backend, passport.backend)
    return f"{passport.precision.value} in {runtime} from {passport.engine}, deployed on {machine}"


def _engine(found: EngineDescription) -> dict[str, Any]:
    fits = {"fits_here": "yes"}
    if not found.fits_here:
        fits = {"fits_here": "no", "why_not": found.why_not, "next": found.next}
    return {
        "kind": found.kind,
        "path": found.path,
        "size_bytes": found.size_bytes,
        "made_with": f"{found.product} {found.version}",
        **fits,
        **(_facts(found.passport) if found.passport else {"passport": "missing"}),
        "tried": [f"{one.target}: {one.extent.value}. {one.how}" for one in found.tried],
    }


def _facts(facts: EngineFacts) -> dict[str, Any]:
    formats = Counter(one.format for one in facts.layers) or facts.network_formats
    device = {
        "GPU": facts.gpu,
        "compute capability": facts.compute_capability,
        "board": facts.board,
        "JetPack": facts.jetpack,
        "Jetson Linux": facts.l4t,
        "driver": facts.driver,
        "CUDA": facts.cuda_version,
    }
    return {
        "precision": facts.settings.precision.value,
        "made_for": {name: value for name, value in device.items() if value},
        "made_of": dict(facts.parents),
        "batches": [_profile(*profile) for profile in facts.profiles],
        "layers_by_format": dict(formats),
        "build_seconds": round(facts.build_seconds, 1),
        "golden_images": _golden(facts),
        **({"warnings": list(facts.warnings)} if facts.warnings else {}),
    }


def _profile(low: int, best: int, high: int) -> str:
    return str(best) if low == high else f"{low} to {high} (optimal at {best})"


def _golden(facts: EngineFacts) -> str:
    if not facts.golden:
        return "not run yet"
    return "same results" if facts.golden["passed"] else "DIFFERENT results"
