"""Artifacts: folders and files that a stage leaves behind, each with a card that can be checked.

A card says what an artifact is, what it was made from (SHA-256 of its parents), with which
configuration and tool versions, and what every file in it hashes to. It carries no time of
day, so that the same inputs give the same bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import Enum
from importlib import metadata
from pathlib import Path
from typing import Any

from cxredge import __version__
from cxredge.artifacts.atomic import atomic_file
from cxredge.artifacts.disk_space import writing
from cxredge.errors import ArtifactError, quoted

CARD_NAME = "card.json"
SCHEMAS = {"run": "cxredge.run/1", "model": "cxredge.model/1", "bundle": "cxredge.bundle/2"}
"""By kind; raised when what reads a card would misunderstand an older one."""


class ArtifactKind(str, Enum):
    """What an artifact is."""

    RUN = "run"
    MODEL = "model"
    BUNDLE = "bundle"


_HOW_TO_MAKE = {
    ArtifactKind.RUN: "Train one: cxredge train MANIFEST --out RUN",
    ArtifactKind.MODEL: "Export one: cxredge export RUN --out MODEL",
    ArtifactKind.BUNDLE: "Build one: cxredge build RUN_OR_MODEL --target TARGET --out BUNDLE",
}


@dataclass(frozen=True)
class ClassifierSpec:
    """What every artifact of one network says about it.

    Attributes:
        network: Name in the zoo, such as ``mobilenet_v1``.
        classes: Class names in the order of the logits.
        input_size: Height and width in pixels of the square grey input.
        mean: Mean of grey values scaled to [0, 1]; the same for all channels.
        std: Standard deviation on the same scale.
        preprocessing: Version of the one preprocessing function that fed it.
    """

    network: str
    classes: tuple[str, ...]
    input_size: int
    mean: float
    std: float
    preprocessing: str


@dataclass(frozen=True)
class Card:
    """The facts beside an artifact.

    Attributes:
        kind: What the artifact is.
        classifier: The network it holds.
        parents: SHA-256 of each input the artifact was made from, by role.
        config: The resolved configuration of the stage.
        tools: Versions of what made it, by name.
        files: SHA-256 of every file in the artifact, by path relative to the card.
        facts: What the stage found out: counts, metrics, thresholds.
    """

    kind: ArtifactKind
    classifier: ClassifierSpec
    parents: Mapping[str, str]
    config: Mapping[str, Any]
    facts: Mapping[str, Any] = field(default_factory=dict)
    tools: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the card as JSON values, with the hash that reveals a later edit."""
        body = asdict(self)
        body["kind"] = self.kind.value
        body["classifier"]["classes"] = list(self.classifier.classes)
        body = {"schema": SCHEMAS[self.kind.value], **body}
        return {**body, "card_sha256": sha256_of_json(body)}

    @property
    def stage_key(self) -> str:
        """SHA-256 of everything that decides the result: parents, configuration and tools."""
        return sha256_of_json(
            {"parents": self.parents, "config": self.config, "tools": self.tools, "kind": self.kind}
        )


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def sha256_of_json(value: Any) -> str:
    """Return the SHA-256 of a JSON value in its canonical form (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def tool_versions(*packages: str) -> dict[str, str]:
    """Return the versions of cxredge, Python and the given packages that are installed."""
    versions = {"cxredge": __version__, "python": platform.python_version()}
    for package in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return versions


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text to ``path``, whole or not at all.

    Raises:
        CxredgeError: There is no room for it, or nothing may be written there.
    """
    content = text.encode("utf-8")
    with writing(path.parent, len(content), path.name), atomic_file(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON value to ``path``, indented, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        ArtifactError: The file is missing or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"{path} does not exist.", "Check the path.") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path} is not JSON: {error}.", "Make the artifact again.") from None


def write_card(folder: Path, card: Card, without: Collection[str] = ()) -> Card:
    """Hash every file in ``folder``, write its card and return the card with those hashes.

    Args:
        folder: The artifact's folder.
        card: The card; its ``files`` are replaced.
        without: Names of files and folders right inside it that are no part of the artifact.
    """
    skipped = {CARD_NAME, *without}
    files = {
        path.relative_to(folder).as_posix(): sha256_of_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] not in skipped
    }
    complete = replace(card, files=files)
    write_json(folder / CARD_NAME, complete.to_json())
    return complete


def read_card(folder: Path, *kinds: ArtifactKind) -> Card:
    """Read and check the card of an artifact, but not its files.

    Args:
        folder: The artifact's folder.
        kinds: What is accepted; anything when empty.

    Raises:
        ArtifactError: There is no card, it was edited, or the artifact is of another kind.
    """
    path = folder / CARD_NAME
    wanted = " or ".join(kind.value for kind in kinds) or "artifact"
    if not folder.exists():
        raise ArtifactError(f"{folder} does not exist.", "Check the path.")
    if folder.is_file():
        raise ArtifactError(
            f"{folder} is a file; a cxredge {wanted} is a folder, or a bundle's archive.",
            f"See what it is: cxredge inspect {quoted(folder)}",
        )
    if not path.is_file():
        raise ArtifactError(
            f"{folder} is not a cxredge {wanted}: it has no {CARD_NAME}.",
            f"See what it is: cxredge inspect {quoted(folder)}",
        )
    return parse_card(read_json(path), path, *kinds)


def parse_card(body: Any, path: Path, *kinds: ArtifactKind) -> Card:
    """Check what a card's JSON holds.

    Args:
        body: The JSON value.
        path: Where it was read, for messages.
        kinds: What is accepted; anything when empty.

    Raises:
        ArtifactError: It is no card, was edited, or the artifact is of another kind.
    """
    try:
        stated = body.pop("card_sha256")
        schema = body.pop("schema")
        intact = stated == sha256_of_json({"schema": schema, **body})
        card = _card_from_json(body) if intact else None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"{path} is not a cxredge card ({type(error).__name__}: {error}).",
            "Make the artifact again.",
        ) from None
    if card is None:
        raise ArtifactError(
            f"{path} was changed after it was written: it does not match its own hash.",
            "Make the artifact again with cxredge instead of editing its card.",
        )
    if schema != SCHEMAS[card.kind.value]:
        raise ArtifactError(
            f"{path} has schema '{schema}'; this cxredge reads '{SCHEMAS[card.kind.value]}'.",
            "Make the artifact again with this version.",
        )
    if kinds and card.kind not in kinds:
        wanted = " or ".join(kind.value for kind in kinds)
        raise ArtifactError(
            f"{path.parent} is a cxredge {card.kind.value}; expected a {wanted}.",
            _HOW_TO_MAKE[kinds[0]],
        )
    return card


def check_files(folder: Path, card: Card) -> None:
    """Compare every file of an artifact with the hash on its card.

    Raises:
        ArtifactError: A file is missing or differs.
    """
    for name, expected in card.files.items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise ArtifactError(f"{folder / CARD_NAME} names a file outside its folder: {name}.")
        if not path.is_file():
            raise ArtifactError(f"{path} is missing.", "Copy or build the artifact again.")
        found = sha256_of_file(path)
        if found != expected:
            raise ArtifactError(
                f"{path} is damaged: SHA-256 {found[:12]}… instead of {expected[:12]}….",
                "Copy or build the artifact again.",
            )


def up_to_date(folder: Path, card: Card) -> Card | None:
    """Return the card in ``folder`` if that artifact was made from the same inputs and is whole."""
    try:
        existing = read_card(folder, card.kind)
        if existing.stage_key != card.stage_key:
            return None
        check_files(folder, existing)
    except ArtifactError:
        return None
    return existing


def _card_from_json(body: dict[str, Any]) -> Card:
    classifier = dict(body["classifier"])
    classifier["classes"] = tuple(classifier["classes"])
    return Card(
        **{**body, "kind": ArtifactKind(body["kind"]), "classifier": ClassifierSpec(**classifier)}
    )
