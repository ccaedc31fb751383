import json
import shutil
from pathlib import Path

import pytest

from cxredge.data.audit import audit_images, source_warnings
from cxredge.data.audit_record import (
    NOT_AUDITED,
    audit_path,
    build_warnings,
    evaluation_warnings,
    recorded_warnings,
    write_audit,
)
from cxredge.data.manifest import Manifest, read_manifest
from cxredge.errors import ArtifactError
from cxredge.progress import Silent


@pytest.fixture
def listed(manifest: Manifest, tmp_path: Path) -> Manifest:
    path = tmp_path / "list.csv"
    shutil.copyfile(manifest.path, path)
    return read_manifest(path)


def test_audit_is_found_beside_its_manifest_and_repeated_once(listed: Manifest) -> None:
    assert evaluation_warnings(listed)[-1] == NOT_AUDITED
    assert build_warnings(listed) == source_warnings(listed)
    found = {"warnings": ["Something is wrong.", *evaluation_warnings(listed)[:-1]]}
    assert (
        write_audit(listed, found) == audit_path(listed) == listed.path.parent / "list.audit.json"
    )
    assert recorded_warnings(listed) == found["warnings"]
    warnings = evaluation_warnings(listed)
    assert warnings.count("Something is wrong.") == 1
    assert NOT_AUDITED not in warnings
    assert len(warnings) == len(set(warnings))
    assert "Something is wrong." in build_warnings(listed)


def test_audit_of_another_manifest_does_not_count(listed: Manifest) -> None:
    write_audit(listed, {"warnings": ["Something is wrong."]})
    lines = listed.path.read_text().splitlines(keepends=True)
    listed.path.write_text("".join(lines[:-1]))
    assert recorded_warnings(read_manifest(listed.path)) is None
    assert NOT_AUDITED in evaluation_warnings(read_manifest(listed.path))


@pytest.mark.parametrize("content", ["[]", '{"schema": "cxredge.bench/1"}'])
def test_other_json_does_not_count(listed: Manifest, content: str) -> None:
    audit_path(listed).write_text(content)
    assert recorded_warnings(listed) is None


def test_damaged_record_is_an_error_that_names_it(listed: Manifest) -> None:
    audit_path(listed).write_text("{")
    with pytest.raises(ArtifactError, match=r"list\.audit\.json"):
        recorded_warnings(listed)


def test_record_is_json_without_pixels(manifest: Manifest, listed: Manifest) -> None:
    path = write_audit(listed, audit_images(manifest, Silent()))
    record = json.loads(path.read_text())
    assert record["manifest_sha256"] == listed.sha256
    assert path.stat().st_size < 50_000
