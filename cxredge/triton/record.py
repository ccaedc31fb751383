"""Record of an exported version: what it was made from, and the hash of every file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cxredge.artifacts.atomic import write_json
from cxredge.artifacts.card import CARD_NAME, tool_versions
from cxredge.artifacts.hashing import sha256_of_file, with_content_hash
from cxredge.artifacts.records import UNSET, Sha256, UnsetType, read_record, to_json
from cxredge.bundle.bundle import Bundle
from cxredge.vocabulary import Precision

RECORD_NAME = "cxredge.json"


@dataclass(frozen=True, kw_only=True)
class ExportRecord:
    """Origin of one version of a model in a repository.

    Attributes:
        schema: Version of the file format.
        model: Name of the model.
        version: Its version.
        card_file_sha256: SHA-256 of the card file of the bundle.
        backend: Triton's backend.
        precision: Precision of the network; that of the bundle for the model that takes files.
        files: SHA-256 of every file of the version, by path.
        tools: Versions of the software that wrote it, by name.
        content_sha256: SHA-256 of the other keys.
    """

    schema: Literal["cxredge.triton/1"] = "cxredge.triton/1"
    model: str
    version: int
    card_file_sha256: Sha256
    backend: str
    precision: Precision
    files: Mapping[str, Sha256]
    tools: Mapping[str, str]
    content_sha256: Sha256 | UnsetType = UNSET


def write_export_record(
    folder: Path, bundle: Bundle, model: str, version: int, backend: str, precision: Precision
) -> None:
    """Hash every file of a version's folder and write its record."""
    files = {
        path.relative_to(folder).as_posix(): sha256_of_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    record = ExportRecord(
        model=model,
        version=version,
        card_file_sha256=sha256_of_file(bundle.path / CARD_NAME),
        backend=backend,
        precision=precision,
        files=files,
        tools=tool_versions("onnxruntime", "openvino", "numpy", "pillow", "onnx", "tritonclient"),
    )
    write_json(folder / RECORD_NAME, with_content_hash(to_json(record)))


def is_same_export(folder: Path, written: Path) -> bool:
    """Return whether a version that exists is the one that was just written elsewhere."""
    path = folder / RECORD_NAME
    if not path.is_file():
        return False
    remedy = "Choose another --version."
    return read_record(path, ExportRecord, remedy) == read_record(
        written / RECORD_NAME, ExportRecord, remedy
    )
