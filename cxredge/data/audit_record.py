"""The audit kept beside its manifest, so that later stages repeat what it warned of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cxredge.artifacts.card import read_json, write_json
from cxredge.data.audit import audit_warnings, source_warnings
from cxredge.data.manifest import Manifest

SCHEMA = "cxredge.audit/1"
NOT_AUDITED = (
    "The images were not audited for near duplicates across splits and for shortcuts: "
    "cxredge data audit MANIFEST"
)


def audit_path(manifest: Manifest) -> Path:
    """Return where a manifest's audit is kept: ``manifest.audit.json`` beside it."""
    return manifest.path.with_suffix(".audit.json")


def write_audit(manifest: Manifest, found: Mapping[str, Any]) -> Path:
    """Keep an audit, bound to its manifest by hash."""
    path = audit_path(manifest)
    write_json(path, {"schema": SCHEMA, "manifest_sha256": manifest.sha256, **found})
    return path


def recorded_warnings(manifest: Manifest) -> list[str] | None:
    """Return what the audit of exactly this manifest warned of; None when there is none.

    Raises:
        ArtifactError: The file is there and is not JSON.
    """
    path = audit_path(manifest)
    if not path.is_file():
        return None
    record = read_json(path)
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        return None
    if record.get("manifest_sha256") != manifest.sha256:
        return None
    return [str(sentence) for sentence in record.get("warnings", [])]


def evaluation_warnings(manifest: Manifest) -> list[str]:
    """Return what must be read beside a result on this set: the manifest's and the audit's."""
    recorded = recorded_warnings(manifest)
    more = [NOT_AUDITED] if recorded is None else recorded
    return list(dict.fromkeys([*audit_warnings(manifest), *more]))


def build_warnings(manifest: Manifest) -> list[str]:
    """Return what a bundle's card says of its data: the sources, and the audit if there is one."""
    return list(dict.fromkeys([*source_warnings(manifest), *(recorded_warnings(manifest) or [])]))
