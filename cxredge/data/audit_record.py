"""The audit file beside a manifest: later stages repeat its warnings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cxredge.artifacts.atomic import write_json
from cxredge.artifacts.records import Sha256, from_json, read_json_file, to_json
from cxredge.data.audit import Audit, control_warnings, manifest_warnings, source_warnings
from cxredge.data.manifest import Manifest
from cxredge.data.set_warnings import split_warnings
from cxredge.errors import quoted

SCHEMA = "cxredge.audit/1"
NOT_AUDITED = (
    "The images were not audited for near duplicates across splits and for shortcuts: "
    "cxredge data audit MANIFEST"
)


@dataclass(frozen=True)
class AuditSubject:
    """The schema of an audit file, and the manifest that it belongs to."""

    schema: str
    manifest_sha256: Sha256


@dataclass(frozen=True)
class AuditFile(Audit, AuditSubject):
    """Content of ``manifest.audit.json``."""


def audit_path(manifest: Manifest) -> Path:
    """Return the path of a manifest's audit: ``manifest.audit.json`` beside it."""
    return manifest.path.with_suffix(".audit.json")


def write_audit(manifest: Manifest, audit: Audit) -> Path:
    """Write an audit beside its manifest, bound to it by hash."""
    path = audit_path(manifest)
    content = AuditFile(schema=SCHEMA, manifest_sha256=manifest.sha256, **vars(audit))
    write_json(path, to_json(content))
    return path


def recorded_warnings(manifest: Manifest) -> list[str] | None:
    """Return the warnings of this manifest's audit; None if it was not audited.

    An audit of an earlier content of the manifest does not count.

    Raises:
        ArtifactError: The file exists and is not a valid audit.
    """
    path = audit_path(manifest)
    if not path.is_file():
        return None
    remedy = f"Audit the set again: cxredge data audit {quoted(manifest.path)}"
    values = read_json_file(path, remedy)
    if not isinstance(values, dict) or values.get("schema") != SCHEMA:
        return None
    if values.get("manifest_sha256") != manifest.sha256:
        return None
    return list(from_json(values, AuditFile, path, remedy).warnings)


def evaluation_warnings(manifest: Manifest) -> list[str]:
    """Return the warnings that belong beside a result on this set: manifest's and audit's."""
    recorded = recorded_warnings(manifest)
    more = [NOT_AUDITED] if recorded is None else recorded
    return list(dict.fromkeys([*manifest_warnings(manifest), *more]))


def build_warnings(manifest: Manifest) -> list[str]:
    """Return the warnings for a bundle's card: patients, classes, sources, and the audit's."""
    recorded = recorded_warnings(manifest) or []
    own = [*split_warnings(manifest), *source_warnings(manifest), *control_warnings(manifest)]
    found = [*own, *recorded]
    return list(dict.fromkeys(found))
