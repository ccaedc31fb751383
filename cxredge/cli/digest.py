"""Summaries of bundles, archives and engines; ``-v`` shows all facts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cxredge.targets.registry import all_targets
from cxredge.targets.trtexec import how_to_deploy

Found = Mapping[str, Any]


def digest(found: Found) -> dict[str, Any]:
    """Return the entries of a description to show, in order; all of them if it is short."""
    shorten = _SHORTER.get(str(found["kind"]))
    return shorten(found) if shorten else dict(found)


def _bundle(found: Found) -> dict[str, Any]:
    classifier, config, facts = found["classifier"], found["config"], found["facts"]
    size = classifier["input_size"]
    return {
        "kind": found["kind"],
        "path": found["path"],
        "network": f"{classifier['network']}, {size}x{size} grey pixels",
        "classes": classifier["classes"],
        "target": f"{config['target']}, {config['backend']}",
        "gate": {name: _verdict(gate) for name, gate in facts["gate"].items()},
        "serves": _serves(found),
        "intact": f"{len(found['files'])} files match their hashes",
        "signed": "yes; check the key: cxredge verify --public-key" if found["signed"] else "no",
        "trtexec": facts.get("trtexec") or {},
        "tried": [f"{t['extent']}. {t['how']}" for t in found["tried"]],
    }


def _archive(found: Found) -> dict[str, Any]:
    inside = {**found["bundle"], "path": "", "signed": found["signed"], "passport": None}
    about = _bundle({**inside, "tried": found["tried"]})
    outside = {key: found[key] for key in ("kind", "path", "sha256", "size_bytes", "next")}
    return outside | {key: about[key] for key in about if key not in (*outside, "serves")}


def _verdict(gate: Found) -> str:
    accuracy = f"accuracy {gate['accuracy']:.3f}, {gate['agreement']:.1%} agreement with FP32"
    if gate["passed"]:
        return f"passed, {accuracy}"
    return f"refused ({'; '.join(gate['refusals'])}), {accuracy}"


def _serves(found: Found) -> str:
    passport = found["passport"]
    if passport is None:
        return (
            f"{found['facts']['precision']} in ONNX Runtime until it is deployed on its device: "
            f"{how_to_deploy(all_targets().get(found['config']['target']), Path(found['path']))}"
        )
    machine = passport["machine"]["cpu"] or passport["machine"]["architecture"]
    return f"{passport['precision']} from {passport['engine']}, deployed on {machine}"


def _engine(found: Found) -> dict[str, Any]:
    facts = found["passport"]
    fits = {"fits_here": "yes"}
    if not found["fits_here"]:
        fits = {"fits_here": "no", "why_not": found["why_not"], "next": found["next"]}
    head = {
        "kind": found["kind"],
        "path": found["path"],
        "size_bytes": found["size_bytes"],
        "made_with": f"{found['product']} {found['version']}",
        **fits,
    }
    tried = {"tried": [f"{t['target']}: {t['extent']}. {t['how']}" for t in found["tried"]]}
    return head | (_passport(facts) if facts else {"passport": "missing"}) | tried


def _passport(facts: Found) -> dict[str, Any]:
    formats = Counter(layer["format"] for layer in facts["layers"]) or facts["network_formats"]
    where = {
        "GPU": facts["gpu"],
        "compute capability": facts["compute_capability"],
        "board": facts["board"],
        "JetPack": facts["jetpack"],
        "Jetson Linux": facts["l4t"],
        "driver": facts["driver"],
        "CUDA": facts["cuda_version"],
    }
    return {
        "precision": facts["settings"]["precision"],
        "made_for": {name: value for name, value in where.items() if value},
        "made_of": facts["parents"],
        "batches": [_profile(*profile) for profile in facts["profiles"]],
        "layers_by_format": dict(formats),
        "build_seconds": round(facts["build_seconds"], 1),
        "golden_images": _golden(facts["golden"]),
        **({"warnings": facts["warnings"]} if facts["warnings"] else {}),
    }


def _profile(low: int, best: int, high: int) -> str:
    return str(best) if low == high else f"{low} to {high} (optimal at {best})"


def _golden(golden: Found) -> str:
    if not golden:
        return "not run yet"
    return "same results" if golden["passed"] else "DIFFERENT results"


_SHORTER: dict[str, Callable[[Found], dict[str, Any]]] = {
    "bundle": _bundle,
    "archive": _archive,
    "engine": _engine,
}
