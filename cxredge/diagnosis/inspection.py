"""Describing any artifact without running it."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

from cxredge.artifacts.card import (
    CARD_NAME,
    read_artifact,
    sha256_of_file,
)
from cxredge.artifacts.records import read_json_file, to_json
from cxredge.backends.tensorrt.api import Flavour
from cxredge.backends.tensorrt.engine_file import SUFFIXES as ENGINE_SUFFIXES
from cxredge.backends.tensorrt.engine_file import EngineFile, read_engine_file
from cxredge.backends.tensorrt.mismatch import explain_mismatch, find_installation
from cxredge.bundle.archive import check_archive, is_archive
from cxredge.bundle.card import CARDS, BundleCard
from cxredge.bundle.passport import read_passport
from cxredge.bundle.signature import is_signed
from cxredge.data.manifest import COLUMNS, read_manifest
from cxredge.errors import ArtifactError
from cxredge.targets.record import Target
from cxredge.targets.registry import all_targets
from cxredge.targets.trtexec import how_to_deploy

_KNOWN = (
    "It describes runs, models, bundles and their archives, .onnx, .plan, manifest and "
    "predictions .csv, result .json."
)


def inspect(path: Path) -> dict[str, Any]:
    """Describe a run, model, bundle, manifest, ONNX file, engine, predictions file or result.

    Returns:
        A JSON value that begins with ``kind``.

    Raises:
        CxredgeError: It is none of these, or damaged.
    """
    if path.is_dir():
        return _folder(path)
    if not path.exists():
        raise ArtifactError(f"{path} does not exist.", "Check the path.")
    if is_archive(path):
        return _archive(path)
    if path.suffix == ".onnx":
        return _onnx(path)
    if path.suffix in ENGINE_SUFFIXES:
        return _engine(path)
    if path.suffix == ".csv":
        return _csv(path)
    if path.suffix == ".json":
        return _json(path)
    if not path.stat().st_size:
        raise ArtifactError(f"{path} is empty: 0 bytes.", "Copy it again.")
    raise ArtifactError(f"{path} is nothing that cxredge knows.", _KNOWN)


def _archive(path: Path) -> dict[str, Any]:
    """Describe a bundle's archive; it is not unpacked."""
    card = check_archive(path)
    return {
        "kind": "archive",
        "path": str(path),
        "sha256": sha256_of_file(path),
        "size_bytes": path.stat().st_size,
        "signed": is_signed(path),
        "next": f"on the device: {how_to_deploy(_target_of(card), path)}",
        "tried": _tried_on(card),
        "bundle": {**card.to_json(), "intact": True},
    }


def _folder(path: Path) -> dict[str, Any]:
    if not (path / CARD_NAME).is_file() and (path / "checkpoint.pt").is_file():
        return {"kind": "unfinished run", "path": str(path), "next": "train again with this --out"}
    if not (path / CARD_NAME).is_file():
        raise ArtifactError(f"{path} is not a cxredge artifact: it has no {CARD_NAME}.", _KNOWN)
    card = read_artifact(path, *CARDS).card
    found = {"path": str(path), **card.to_json(), "intact": True}
    if isinstance(card, BundleCard):
        found["signed"] = is_signed(path)
        found["passport"] = to_json(read_passport(path))
        found["tried"] = _tried_on(card)
    return {"kind": found.pop("kind"), **found}


def _onnx(path: Path) -> dict[str, Any]:
    # A device may do without the package onnx.
    from cxredge.graph.model_file import METADATA_KEY, read_model

    model = read_model(path)
    properties = {entry.key: entry.value for entry in model.metadata_props}
    known = properties.get(METADATA_KEY)
    return {
        "kind": "onnx",
        "path": str(path),
        "sha256": sha256_of_file(path),
        "size_bytes": path.stat().st_size,
        "opset": {entry.domain or "ai.onnx": entry.version for entry in model.opset_import},
        "inputs": [_shape(value) for value in model.graph.input],
        "outputs": [_shape(value) for value in model.graph.output],
        "nodes": dict(Counter(node.op_type for node in model.graph.node).most_common()),
        "cxredge": json.loads(known) if known else None,
    }


def _engine(path: Path) -> dict[str, Any]:
    """Describe an engine and whether it can run here; it is not loaded."""
    plan = read_engine_file(path)
    mismatch = explain_mismatch(plan, find_installation())
    return {
        "kind": "engine",
        "path": str(path),
        "size_bytes": path.stat().st_size,
        "product": plan.header.flavour.product,
        "version": plan.header.version,
        "fits_here": mismatch is None,
        "why_not": mismatch.message if mismatch else "",
        "next": mismatch.hint if mismatch else "",
        "passport": to_json(plan.facts) if plan.facts else None,
        "tried": _tried(_targets_of(plan)),
    }


def _targets_of(plan: EngineFile) -> list[Target]:
    """Return the targets that an engine may be for: by its product and compute capability."""
    backend = plan.header.flavour.value.replace("_", "-")
    known = [target for target in all_targets().values() if target.backend == backend]
    if plan.header.flavour is Flavour.RTX:
        return known
    capability = plan.facts.compute_capability if plan.facts else None
    return [
        target
        for target in known
        if target.detection and capability in (None, *target.hardware.compute_capabilities)
    ]


def _tried_on(card: BundleCard) -> list[dict[str, str]]:
    """Return what was tried on the device that a bundle is for."""
    target = _target_of(card)
    return _tried([target] if target else [])


def _target_of(card: BundleCard) -> Target | None:
    """Return the device that a bundle is for, or None where this version does not know it."""
    return all_targets().get(card.config.target)


def _tried(targets: list[Target]) -> list[dict[str, str]]:
    """Return what cxredge's makers ran on such hardware, so that nobody takes it for proven."""
    return [
        {"target": target.name, "backend": t.backend, "extent": t.extent.value, "how": t.how}
        for target in targets
        for t in target.verified
    ]


def _shape(value: Any) -> str:
    tensor = value.type.tensor_type
    import onnx

    kind = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
    dims = [d.dim_param or d.dim_value for d in tensor.shape.dim]
    return f"{value.name}: {kind} [{', '.join(map(str, dims))}]"


def _csv(path: Path) -> dict[str, Any]:
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
        reader = csv.DictReader(stream)
        columns = list(reader.fieldnames or ())
        if {"path", "status", "label", "probability"} <= set(columns):
            rows = Counter((row["status"], row["label"]) for row in reader)
            return {
                "kind": "predictions",
                "path": str(path),
                "rows": sum(rows.values()),
                "status": _total(rows, 0),
                "labels": {k: v for k, v in _total(rows, 1).items() if k},
            }
    if set(COLUMNS) <= set(columns):
        manifest = read_manifest(path)
        return {
            "kind": "manifest",
            "path": str(path),
            "sha256": manifest.sha256,
            "images": len(manifest.entries),
            "counts": manifest.counts(),
            "patients_in_two_splits": manifest.patients_in_two_splits(),
        }
    raise ArtifactError(
        f"{path} is neither a manifest nor predictions; its columns are {', '.join(columns)}."
    )


def _total(rows: Counter[tuple[str, str]], index: int) -> dict[str, int]:
    totals: Counter[str] = Counter()
    for key, number in rows.items():
        totals[key[index]] += number
    return dict(totals.most_common())


def _json(path: Path) -> dict[str, Any]:
    value = read_json_file(path)
    if path.name == CARD_NAME:
        return _folder(path.parent)
    if not isinstance(value, dict) or not str(value.get("schema", "")).startswith("cxredge."):
        raise ArtifactError(f"{path} is JSON, but no result of cxredge.")
    long = ("histogram_ms", "roc", "reliability")
    kept = {key: item for key, item in value.items() if key not in (*long, "schema")}
    return {"kind": value["schema"].split(".")[1].split("/")[0], "path": str(path), **kept}
