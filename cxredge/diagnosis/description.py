"""Descriptions of artifacts and result files, as ``cxredge inspect`` reports them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from cxredge.artifacts.card import AnyCard
from cxredge.artifacts.records import to_json
from cxredge.backends.tensorrt.facts import EngineFacts
from cxredge.bundle.card import BundleCard
from cxredge.bundle.passport import Passport
from cxredge.targets.record import Extent


@dataclass(frozen=True)
class TestedBackend:
    """A developers' test of a backend on a target; see :class:`~cxredge.targets.record.Trial`."""

    target: str
    backend: str
    extent: Extent
    how: str


@dataclass(frozen=True)
class ArtifactDescription:
    """Description of an intact run or model folder.

    Attributes:
        path: The folder.
        card: Its card.
    """

    path: str
    card: AnyCard


@dataclass(frozen=True)
class BundleDescription:
    """Description of an intact bundle folder.

    Attributes:
        path: The folder.
        card: Its card.
        signed: Whether it has a signature.
        passport: Its passport, or None if it was not deployed.
        tried: Tests of the backend on its target.
    """

    path: str
    card: BundleCard
    signed: bool
    passport: Passport | None
    tried: tuple[TestedBackend, ...]


@dataclass(frozen=True)
class ArchiveDescription:
    """Description of a bundle's archive.

    Attributes:
        path: The archive.
        sha256: SHA-256 of the archive.
        size_bytes: Size of the archive.
        signed: Whether it has a signature.
        next: Command that deploys it.
        tried: Tests of the backend on its target.
        bundle: Card of the bundle inside.
    """

    path: str
    sha256: str
    size_bytes: int
    signed: bool
    next: str
    tried: tuple[TestedBackend, ...]
    bundle: BundleCard


@dataclass(frozen=True)
class UnfinishedRun:
    """A training run that was interrupted.

    Attributes:
        kind: Kind of the description.
        path: The folder.
        next: Command that resumes it.
    """

    kind: Literal["unfinished run"]
    path: str
    next: str


@dataclass(frozen=True)
class OnnxDescription:
    """Description of an ONNX file.

    Attributes:
        kind: Kind of the description.
        path: The file.
        sha256: SHA-256 of the file.
        size_bytes: Size of the file.
        opset: Version of each operator set by domain.
        inputs, outputs: Name, type and shape of each input and output.
        nodes: Number of nodes by operator, most frequent first.
        cxredge: JSON value that cxredge wrote into the file's metadata, or None.
    """

    kind: Literal["onnx"]
    path: str
    sha256: str
    size_bytes: int
    opset: Mapping[str, int]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: Mapping[str, int]
    cxredge: object


@dataclass(frozen=True)
class EngineDescription:
    """Description of an engine file.

    Attributes:
        kind: Kind of the description.
        path: The file.
        size_bytes: Size of the file.
        product: TensorRT or TensorRT for RTX.
        version: Version that built it.
        fits_here: Whether it can run on this machine, as far as is known without loading it.
        why_not: Reason why it cannot; empty if it can.
        next: Next step in that case; empty if it can.
        passport: The facts beside it, or None if they are missing.
        tried: Tests of the backend on targets that the engine may be for.
    """

    kind: Literal["engine"]
    path: str
    size_bytes: int
    product: str
    version: str
    fits_here: bool
    why_not: str
    next: str
    passport: EngineFacts | None
    tried: tuple[TestedBackend, ...]


@dataclass(frozen=True)
class PredictionsDescription:
    """Description of a predictions file.

    Attributes:
        kind: Kind of the description.
        path: The file.
        rows: Number of rows.
        status: Number of rows by status, most frequent first.
        labels: Number of rows by predicted class, most frequent first.
    """

    kind: Literal["predictions"]
    path: str
    rows: int
    status: Mapping[str, int]
    labels: Mapping[str, int]


@dataclass(frozen=True)
class ManifestDescription:
    """Description of a manifest.

    Attributes:
        kind: Kind of the description.
        path: The file.
        sha256: SHA-256 of the file.
        images: Number of images.
        counts: Number of images by split and class.
        patients_in_two_splits: Number of patients with images in several splits.
        controls: Number of controls by kind.
    """

    kind: Literal["manifest"]
    path: str
    sha256: str
    images: int
    counts: Mapping[str, Mapping[str, int]]
    patients_in_two_splits: int
    controls: Mapping[str, int]


@dataclass(frozen=True)
class ResultDescription:
    """Description of a result file of another command.

    Attributes:
        kind: Kind of the result, from its schema.
        path: The file.
        values: Its values, without long lists.
    """

    kind: str
    path: str
    values: Mapping[str, object]


Description = (
    ArtifactDescription
    | BundleDescription
    | ArchiveDescription
    | UnfinishedRun
    | OnnxDescription
    | EngineDescription
    | PredictionsDescription
    | ManifestDescription
    | ResultDescription
)


def description_as_json(found: Description) -> dict[str, Any]:
    """Return a description as JSON values, ``kind`` first; the keys of a card are not nested."""
    if isinstance(found, ResultDescription):
        return {"kind": found.kind, "path": found.path, **found.values}
    if isinstance(found, ArchiveDescription):
        bundle = {**found.bundle.to_json(), "intact": True}
        return {"kind": "archive", **to_json(found), "bundle": bundle}
    if isinstance(found, ArtifactDescription):
        return _with_card(found.path, found.card)
    if isinstance(found, BundleDescription):
        return {
            **_with_card(found.path, found.card),
            "signed": found.signed,
            "passport": to_json(found.passport),
            "tried": to_json(found.tried),
        }
    values: dict[str, Any] = to_json(found)
    return values


def _with_card(path: str, card: AnyCard) -> dict[str, Any]:
    body = card.to_json()
    return {"kind": body.pop("kind"), "path": path, **body, "intact": True}
