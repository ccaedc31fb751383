"""Inspection of artifacts and result files, without running them."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cxredge.artifacts.card import CARD_NAME, read_artifact
from cxredge.artifacts.hashing import sha256_of_file
from cxredge.artifacts.model_card import MODEL_CARDS
from cxredge.artifacts.records import decode_json, from_json, read_json_file
from cxredge.artifacts.run_card import RunCard
from cxredge.backends.tensorrt.api import Flavour
from cxredge.backends.tensorrt.engine_file import SUFFIXES as ENGINE_SUFFIXES
from cxredge.backends.tensorrt.engine_file import EngineFile, read_engine_file
from cxredge.backends.tensorrt.mismatch import explain_mismatch, find_installation
from cxredge.bundle.archive import check_archive, is_archive
from cxredge.bundle.card import BundleCard
from cxredge.bundle.passport import SCHEMA as PASSPORT_SCHEMA
from cxredge.bundle.passport import parse_passport, read_passport
from cxredge.bundle.signature import is_signed
from cxredge.data.audit_record import SCHEMA as AUDIT_SCHEMA
from cxredge.data.audit_record import AuditFile
from cxredge.data.manifest import COLUMNS, read_manifest
from cxredge.diagnosis.description import (
    ArchiveDescription,
    ArtifactDescription,
    BundleDescription,
    Description,
    EngineDescription,
    ManifestDescription,
    OnnxDescription,
    PredictionsDescription,
    ResultDescription,
    TestedBackend,
    UnfinishedRun,
)
from cxredge.errors import ArtifactError
from cxredge.results.read import RECORDS, parse_result
from cxredge.targets.record import Target
from cxredge.targets.registry import all_targets
from cxredge.targets.trtexec import how_to_deploy

_CARDS = (RunCard, *MODEL_CARDS, BundleCard)
_SUPPORTED = (
    "Supported: runs, models, bundles and their archives, .onnx, .plan, manifest and predictions "
    ".csv, result .json."
)
_LONG_RESULTS = ("histogram_ms", "roc", "reliability")


def inspect(path: Path) -> Description:
    """Describe a run, model, bundle, manifest, ONNX file, engine, predictions file or result.

    Raises:
        CxredgeError: It is none of these, or damaged.
    """
    if path.is_dir():
        return _folder(path)
    if not path.exists():
        raise ArtifactError(f"{path} does not exist.", "Check the path.")
    if not path.is_file():
        raise ArtifactError(f"{path} is a pipe, a device or a socket.", _SUPPORTED)
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
    raise ArtifactError(f"{path} is not a file that cxredge can inspect.", _SUPPORTED)


def _archive(path: Path) -> ArchiveDescription:
    """Describe a bundle's archive without unpacking it."""
    card = check_archive(path)
    return ArchiveDescription(
        path=str(path),
        sha256=sha256_of_file(path),
        size_bytes=path.stat().st_size,
        signed=is_signed(path),
        next=f"on the device: {how_to_deploy(_target_of(card), path)}",
        tried=_tried_on(card),
        bundle=card,
    )


def _folder(path: Path) -> ArtifactDescription | BundleDescription | UnfinishedRun:
    if not (path / CARD_NAME).is_file() and (path / "checkpoint.pt").is_file():
        return UnfinishedRun("unfinished run", str(path), "train again with this --out")
    if not (path / CARD_NAME).is_file():
        known = [path / "manifest.csv", path.parent / CARD_NAME]
        instead = next((f"Give {one}" for one in known if one.is_file()), _SUPPORTED)
        raise ArtifactError(f"{path} is not a cxredge artifact: it has no {CARD_NAME}.", instead)
    card = read_artifact(path, *_CARDS).card
    if not isinstance(card, BundleCard):
        return ArtifactDescription(str(path), card)
    return BundleDescription(str(path), card, is_signed(path), read_passport(path), _tried_on(card))


def _onnx(path: Path) -> OnnxDescription:
    # Devices may lack the onnx package.
    from cxredge.graph.model_file import METADATA_KEY, read_model

    model = read_model(path)
    properties = {entry.key: entry.value for entry in model.metadata_props}
    metadata = properties.get(METADATA_KEY)
    return OnnxDescription(
        kind="onnx",
        path=str(path),
        sha256=sha256_of_file(path),
        size_bytes=path.stat().st_size,
        opset={entry.domain or "ai.onnx": entry.version for entry in model.opset_import},
        inputs=tuple(_shape(value) for value in model.graph.input),
        outputs=tuple(_shape(value) for value in model.graph.output),
        nodes=dict(Counter(node.op_type for node in model.graph.node).most_common()),
        cxredge=_metadata(metadata, path),
    )


def _metadata(text: str | None, path: Path) -> object:
    """Return what cxredge wrote into an ONNX file's metadata, or None."""
    if not text:
        return None
    return decode_json(text.encode(), f"The metadata of {path}", "Export it again.")


def _engine(path: Path) -> EngineDescription:
    """Describe an engine and whether it can run here, without loading it."""
    engine_file = read_engine_file(path)
    mismatch = explain_mismatch(engine_file, find_installation())
    return EngineDescription(
        kind="engine",
        path=str(path),
        size_bytes=path.stat().st_size,
        product=engine_file.header.flavour.product,
        version=engine_file.header.version,
        fits_here=mismatch is None,
        why_not=mismatch.message if mismatch else "",
        next=mismatch.hint if mismatch else "",
        passport=engine_file.facts,
        tried=_tried(_targets_of(engine_file)),
    )


def _targets_of(engine_file: EngineFile) -> list[Target]:
    """Return the targets that an engine may be for, by product and compute capability."""
    flavour, facts = engine_file.header.flavour, engine_file.facts
    backend = flavour.value.replace("_", "-")
    known = [target for target in all_targets().values() if target.backend == backend]
    if flavour is Flavour.RTX:
        return known
    capability = facts.compute_capability if facts else None
    return [
        target
        for target in known
        if target.detection and capability in (None, *target.hardware.compute_capabilities)
    ]


def _tried_on(card: BundleCard) -> tuple[TestedBackend, ...]:
    """Return the developers' tests on the target of a bundle."""
    target = _target_of(card)
    return _tried([target] if target else [])


def _target_of(card: BundleCard) -> Target | None:
    """Return the target of a bundle, or None if this version does not know it."""
    return all_targets().get(card.config.target)


def _tried(targets: Iterable[Target]) -> tuple[TestedBackend, ...]:
    """Return the developers' tests on targets, which show how far each one is proven."""
    return tuple(
        TestedBackend(target.name, trial.backend, trial.extent, trial.how)
        for target in targets
        for trial in target.verified
    )


def _shape(value: Any) -> str:
    tensor = value.type.tensor_type
    import onnx

    kinds = onnx.TensorProto.DataType
    known = tensor.elem_type in kinds.values()
    kind = kinds.Name(tensor.elem_type).lower() if known else f"type {tensor.elem_type}"
    dims = [d.dim_param or d.dim_value for d in tensor.shape.dim]
    return f"{value.name}: {kind} [{', '.join(map(str, dims))}]"


def _csv(path: Path) -> PredictionsDescription | ManifestDescription:
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
        reader = csv.DictReader(stream)
        columns = list(reader.fieldnames or ())
        if {"path", "status", "label", "probability"} <= set(columns):
            return _predictions(path, reader)
    if set(COLUMNS) <= set(columns):
        return _manifest(path)
    raise ArtifactError(
        f"{path} is neither a manifest nor a predictions file; its columns are "
        f"{', '.join(columns)}."
    )


def _predictions(path: Path, rows: Iterable[dict[str, str]]) -> PredictionsDescription:
    status: Counter[str] = Counter()
    labels: Counter[str] = Counter()
    for row in rows:
        status[row["status"]] += 1
        labels[row["label"]] += 1
    count = sum(status.values())
    del labels[""]
    return PredictionsDescription(
        "predictions", str(path), count, dict(status.most_common()), dict(labels.most_common())
    )


def _manifest(path: Path) -> ManifestDescription:
    manifest = read_manifest(path)
    return ManifestDescription(
        kind="manifest",
        path=str(path),
        sha256=manifest.sha256,
        images=len(manifest.labelled),
        counts=manifest.counts(),
        controls=manifest.control_counts(),
        patients_in_two_splits=manifest.patients_in_two_splits(),
    )


def _json(path: Path) -> Description:
    values = read_json_file(path)
    if path.name == CARD_NAME:
        return _folder(path.parent)
    if not isinstance(values, dict) or not str(values.get("schema", "")).startswith("cxredge."):
        raise ArtifactError(f"{path} is JSON, but not a result of cxredge.")
    _validate(values, path)
    kept = {k: value for k, value in values.items() if k not in (*_LONG_RESULTS, "schema")}
    return ResultDescription(values["schema"].split(".")[1].split("/")[0], str(path), kept)


def _validate(values: Mapping[str, Any], path: Path) -> None:
    """Validate a result, a passport or an audit; other documents are shown as they are.

    Raises:
        ArtifactError: It does not fit, was changed, or its figures contradict each other.
    """
    schema = values["schema"]
    if schema in RECORDS:
        parse_result(values, path)
    elif schema == PASSPORT_SCHEMA:
        parse_passport(values, path)
    elif schema == AUDIT_SCHEMA:
        from_json(values, AuditFile, path, "Audit the set again: cxredge data audit MANIFEST")
