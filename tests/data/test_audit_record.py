import json
import shutil
from pathlib import Path

import pytest

from cxredge.data.audit import Audit, audit_images, audit_manifest, source_warnings
from cxredge.data.audit_record import (
    NOT_AUDITED,
    audit_path,
    build_warnings,
    evaluation_warnings,
    recorded_warnings,
    write_audit,
)
from cxredge.data.duplicates import NearDuplicates
from cxredge.data.manifest import Manifest, read_manifest
from cxredge.data.shortcuts import Shortcuts
from cxredge.errors import ArtifactError
from cxredge.progress import Silent


@pytest.fixture
def listed(manifest: Manifest, tmp_path: Path) -> Manifest:
    path = tmp_path / "list.csv"
    shutil.copyfile(manifest.path, path)
    return read_manifest(path)


def audit_with(manifest: Manifest, *warnings: str) -> Audit:
    found = {**vars(audit_manifest(manifest)), "warnings": warnings}
    return Audit(
        **found,
        near_duplicates_across_splits=NearDuplicates(0, 0, ()),
        shortcuts=Shortcuts(None, None),
        unusable={},
    )


def test_audit_is_found_beside_its_manifest_and_repeated_once(listed: Manifest) -> None:
    assert evaluation_warnings(listed)[-1] == NOT_AUDITED
    assert build_warnings(listed) == source_warnings(listed)
    found = audit_with(listed, "Something is wrong.", *evaluation_warnings(listed)[:-1])
    assert (
        write_audit(listed, found) == audit_path(listed) == listed.path.parent / "list.audit.json"
    )
    assert recorded_warnings(listed) == list(found.warnings)
    warnings = evaluation_warnings(listed)
    assert warnings.count("Something is wrong.") == 1
    assert NOT_AUDITED not in warnings
    assert len(warnings) == len(set(warnings))
    assert "Something is wrong." in build_warnings(listed)


def test_audit_of_another_manifest_is_ignored(listed: Manifest) -> None:
    write_audit(listed, audit_with(listed, "Something is wrong."))
    lines = listed.path.read_text().splitlines(keepends=True)
    listed.path.write_text("".join(lines[:-1]))
    assert recorded_warnings(read_manifest(listed.path)) is None
    assert NOT_AUDITED in evaluation_warnings(read_manifest(listed.path))


@pytest.mark.parametrize("content", ["[]", '{"schema": "cxredge.bench/1"}'])
def test_other_json_is_ignored(listed: Manifest, content: str) -> None:
    audit_path(listed).write_text(content)
    assert recorded_warnings(listed) is None


def test_damaged_record_is_an_error_that_names_it(listed: Manifest) -> None:
    audit_path(listed).write_text("{")
    with pytest.raises(ArtifactError, match=r"list\.audit\.json"):
        recorded_warnings(listed)


def test_record_with_a_wrong_value_is_an_error_that_names_the_key(listed: Manifest) -> None:
    path = write_audit(listed, audit_with(listed))
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "patients": -1}))
    with pytest.raises(ArtifactError, match=r"list\.audit\.json .*'patients'.*found -1") as caught:
        recorded_warnings(listed)
    assert "cxredge data audit" in caught.value.hint


def test_record_is_json_without_pixels(manifest: Manifest, listed: Manifest) -> None:
    path = write_audit(listed, audit_images(manifest, Silent()))
    record = json.loads(path.read_text())
    assert record["manifest_sha256"] == listed.sha256
    assert path.stat().st_size < 50_000
