"""Artifacts: files of a stage in a folder, with a card that states what they are.

A card states what an artifact is, the SHA-256 of what it was made from, its configuration, the tool
versions, and the SHA-256 of every file. It has no time of day, so that the same inputs give the
same bytes. Each kind of artifact has its own class of card: :mod:`cxredge.artifacts.run_card`,
:mod:`cxredge.artifacts.model_card`, :mod:`cxredge.bundle.card`.
"""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from enum import Enum
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, ClassVar, Generic, TypeVar

import msgspec

from cxredge.artifacts.atomic import write_json
from cxredge.artifacts.derived import differences
from cxredge.artifacts.file_names import compare_files
from cxredge.artifacts.hashing import sha256_of_file, sha256_of_json
from cxredge.artifacts.records import (
    Positive,
    Sha256,
    Share,
    decode_json,
    from_json,
    read_json_file,
    shorten,
    to_json,
)
from cxredge.errors import ArtifactError, quoted
from cxredge.version import __version__
from cxredge.vocabulary import Precision

CARD_NAME = "card.json"
MAX_CLASSES, MAX_INPUT_SIZE = 1000, 4096
_MAX_CLASS_LENGTH = 100
_REMEDY = "Make the artifact again."

Config = TypeVar("Config")
Facts = TypeVar("Facts")


class ArtifactKind(str, Enum):
    """Kind of an artifact."""

    RUN = "run"
    MODEL = "model"
    BUNDLE = "bundle"


SCHEMAS = {
    ArtifactKind.RUN: "cxredge.run/1",
    ArtifactKind.MODEL: "cxredge.model/1",
    ArtifactKind.BUNDLE: "cxredge.bundle/2",
}
"""Raised when a reader would misunderstand an older card."""

_HOW_TO_MAKE = {
    ArtifactKind.RUN: "Train one: cxredge train MANIFEST --out RUN",
    ArtifactKind.MODEL: "Export one: cxredge export RUN --out MODEL",
    ArtifactKind.BUNDLE: "Build one: cxredge build RUN_OR_MODEL --target TARGET --out BUNDLE",
}


@dataclass(frozen=True)
class ClassifierSpec:
    """The network, its classes and its input.

    Attributes:
        network: Name in the zoo, such as ``mobilenet_v1``.
        classes: Class names in the order of the logits.
        input_size: Height and width in pixels of the square grey input.
        mean: Mean of grey values scaled to [0, 1]; the same for all channels.
        std: Standard deviation on the same scale.
        preprocessing: Version of the preprocessing function.
    """

    network: str
    classes: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=MAX_CLASSES)]
    input_size: Annotated[int, msgspec.Meta(ge=1, le=MAX_INPUT_SIZE)]
    mean: Share
    std: Positive
    preprocessing: str

    def __post_init__(self) -> None:
        for name in self.classes:
            if not (name.strip() and name.isprintable() and len(name) <= _MAX_CLASS_LENGTH):
                raise ArtifactError(
                    f"The class name {shorten(name)} is empty, longer than {_MAX_CLASS_LENGTH} "
                    "characters, or has characters that cannot be printed."
                )
        if len(set(self.classes)) < len(self.classes):
            raise ArtifactError(
                f"The class names {', '.join(map(shorten, self.classes[:10]))} are not all "
                "different."
            )


@dataclass(frozen=True)
class StagePlan(Generic[Config]):
    """The part of a card that is known before its stage runs and decides the result.

    Attributes: as in :class:`Card`.
    """

    kind: ArtifactKind
    classifier: ClassifierSpec
    parents: Mapping[str, str]
    config: Config
    tools: Mapping[str, str]

    @property
    def stage_key(self) -> str:
        """SHA-256 of kind, parents, configuration and tools."""
        return _stage_key(to_json(self))


@dataclass(frozen=True)
class Card(Generic[Config, Facts]):
    """Base class of the cards.

    Attributes:
        classifier: The network in the artifact.
        parents: SHA-256 of each input of the stage, by role.
        config: Resolved configuration of the stage.
        facts: Results of the stage: counts, metrics, thresholds.
        tools: Versions of the software that made it, by name.
        files: SHA-256 of every file in the artifact, by path relative to the card.
    """

    kind: ClassVar[ArtifactKind]
    precisions: ClassVar[tuple[Precision, ...]] = ()
    """For models, the precisions that this class of card describes."""
    removable: ClassVar[frozenset[str]] = frozenset()
    """Files that may be deleted from the artifact, such as pictures of patients."""

    classifier: ClassifierSpec
    parents: Mapping[str, Sha256]
    config: Config
    facts: Facts
    tools: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Sha256] = field(default_factory=dict)

    @classmethod
    def of(cls: type[SomeCard], plan: StagePlan[Any], facts: Any) -> SomeCard:
        """Return the card of a finished stage; the files are added by :func:`write_card`."""
        return cls(plan.classifier, plan.parents, plan.config, facts, plan.tools)

    def to_json(self) -> dict[str, Any]:
        """Return the card as JSON values, with the hash that reveals later changes."""
        kind = self.kind.value
        body = {"schema": SCHEMAS[self.kind], "kind": kind, **to_json(self)}
        return {**body, "card_sha256": sha256_of_json(body)}

    def contradictions(self) -> Iterator[str]:
        """Yield what contradicts itself on the card, a clause each."""
        yield from ()

    @classmethod
    def describes(cls, kind: ArtifactKind, precision: object) -> bool:
        """Return whether a card of this kind and ``config.precision`` belongs to this class."""
        return kind is cls.kind and (not cls.precisions or precision in cls.precisions)


AnyCard = Card[Any, Any]
SomeCard = TypeVar("SomeCard", bound=AnyCard)
SomeCard_co = TypeVar("SomeCard_co", bound=AnyCard, covariant=True)


@dataclass(frozen=True)
class Artifact(Generic[SomeCard_co]):
    """An artifact whose files were compared with its card, or which was just written.

    Attributes:
        path: Its folder.
        card: Its card.
    """

    path: Path
    card: SomeCard_co

    @cached_property
    def card_sha256(self) -> str:
        """SHA-256 of the card's file."""
        return sha256_of_file(self.path / CARD_NAME)


def tool_versions(*packages: str) -> dict[str, str]:
    """Return the versions of cxredge, Python and the given packages that are installed."""
    versions = {"cxredge": __version__, "python": platform.python_version()}
    for package in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return versions


def write_card(folder: Path, card: SomeCard, without: Collection[str] = ()) -> SomeCard:
    """Hash every file in ``folder``, write its card and return the card with the hashes.

    Args:
        folder: The artifact's folder.
        card: The card; its ``files`` are replaced.
        without: Names of files and folders directly inside that are not part of the artifact.
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


def read_card(folder: Path, *cards: type[SomeCard]) -> SomeCard:
    """Read and validate the card of an artifact, but not its files.

    Args:
        folder: The artifact's folder.
        cards: Accepted classes of cards.

    Raises:
        ArtifactError: The card is missing, was edited, does not fit, or is of another kind.
    """
    return parse_card(_read_body(folder, cards), folder / CARD_NAME, *cards)


def read_artifact(folder: Path, *cards: type[SomeCard]) -> Artifact[SomeCard]:
    """Read the card of an artifact and compare every file with it.

    Raises:
        ArtifactError: As :func:`read_card`, or a file is missing or differs.
    """
    card = read_card(folder, *cards)
    check_files(folder, card)
    return Artifact(folder, card)


def decode_card(content: bytes, path: Path, *cards: type[SomeCard]) -> SomeCard:
    """Validate a card that was read from elsewhere than a folder.

    Args:
        content: The bytes of ``card.json``.
        path: Path of the file, for messages.
        cards: Accepted classes of cards.

    Raises:
        ArtifactError: As :func:`read_card`.
    """
    return parse_card(decode_json(content, path, _REMEDY), path, *cards)


def parse_card(body: Any, path: Path, *cards: type[SomeCard]) -> SomeCard:
    """Validate the JSON value of a card.

    Args:
        body: The JSON value.
        path: Path of the file, for messages.
        cards: Accepted classes of cards.

    Raises:
        ArtifactError: It is not a card, was edited, does not fit, or is of another kind.
    """
    kind = _check_header(body, path)
    config = body.get("config")
    precision = config.get("precision") if isinstance(config, dict) else None
    chosen = next((card for card in cards if card.describes(kind, precision)), None)
    if chosen is None:
        of_kind = any(card.kind is kind for card in cards)
        found = " in " + shorten(precision).strip("'") if of_kind else ""
        raise ArtifactError(
            f"{path.parent} is a cxredge {kind.value}{found}; expected a {_names(cards)}.",
            _HOW_TO_MAKE[cards[0].kind],
        )
    record = {k: v for k, v in body.items() if k not in ("schema", "kind", "card_sha256")}
    unknown = record.keys() - {each.name for each in fields(chosen)}
    if unknown:
        raise ArtifactError(f"{path} has an unknown key {shorten(min(unknown))}.", _REMEDY)
    card = from_json(record, chosen, path, _REMEDY)
    for problem in (*differences(record, card), *card.contradictions()):
        raise ArtifactError(f"{path} contradicts itself: {problem}.", _REMEDY)
    return card


def held_files(folder: Path, card: AnyCard) -> tuple[str, ...]:
    """Return the names of a card's files without those that were deleted, which it allows."""
    names = card.files
    return tuple(n for n in names if n not in card.removable or (folder / n).exists())


def check_files(folder: Path, card: AnyCard, complete: bool = False) -> None:
    """Compare every file of an artifact with the hash on its card.

    Args:
        folder: The artifact's folder.
        card: Its card.
        complete: Whether files that may be deleted must be there too.

    Raises:
        ArtifactError: A file is missing or differs.
    """
    names = card.files if complete else held_files(folder, card)
    compare_files(folder, {name: card.files[name] for name in names}, folder / CARD_NAME)


def up_to_date(
    folder: Path, plan: StagePlan[Any], card: type[SomeCard]
) -> Artifact[SomeCard] | None:
    """Return the artifact in ``folder`` if it has the same inputs and is intact, else None.

    Args:
        folder: Output folder of the stage.
        plan: Inputs and settings of the stage.
        card: The class of its card.
    """
    try:
        body = _read_body(folder, (card,))
        # Hashed as written: a record may leave out keys of another version.
        if not isinstance(body, dict) or _stage_key(body) != plan.stage_key:
            return None
        existing = parse_card(body, folder / CARD_NAME, card)
        check_files(folder, existing, complete=True)
    except ArtifactError:
        return None
    return Artifact(folder, existing)


def _stage_key(body: Mapping[str, Any]) -> str:
    deciding = ("parents", "config", "tools", "kind")
    return sha256_of_json({key: body.get(key) for key in deciding})


def _read_body(folder: Path, cards: Collection[type[AnyCard]]) -> Any:
    path = folder / CARD_NAME
    if not folder.exists():
        raise ArtifactError(f"{folder} does not exist.", "Check the path.")
    if folder.is_file():
        raise ArtifactError(
            f"{folder} is a file; expected the folder of a cxredge {_names(cards)}.",
            f"See what it is: cxredge inspect {quoted(folder)}",
        )
    if not path.is_file():
        raise ArtifactError(
            f"{folder} is not a cxredge {_names(cards)}: it has no {CARD_NAME}.",
            _instead_of(folder, cards),
        )
    return read_json_file(path)


def _check_header(body: Any, path: Path) -> ArtifactKind:
    """Return the kind of a card, after checking its hash and its schema."""
    if not isinstance(body, dict) or not {"card_sha256", "schema", "kind"} <= body.keys():
        raise ArtifactError(
            f"{path} is not a cxredge card: 'card_sha256', 'schema' or 'kind' is missing.", _REMEDY
        )
    signed = {key: value for key, value in body.items() if key != "card_sha256"}
    if body["card_sha256"] != sha256_of_json(signed):
        raise ArtifactError(
            f"{path} was changed after it was written: it does not match its own hash.",
            "Make the artifact again with cxredge instead of editing its card.",
        )
    kind = next((kind for kind in ArtifactKind if kind.value == body["kind"]), None)
    if kind is None:
        known = ", ".join(ArtifactKind)
        raise ArtifactError(
            f"{path} is not a cxredge card: its kind is {shorten(body['kind'])}; expected {known}.",
            _REMEDY,
        )
    if body["schema"] != SCHEMAS[kind]:
        raise ArtifactError(
            f"{path} has schema {shorten(body['schema'])}; this cxredge reads '{SCHEMAS[kind]}'.",
            "Make the artifact again with this version.",
        )
    return kind


def _instead_of(folder: Path, cards: Collection[type[AnyCard]]) -> str:
    """Return what to give instead of a folder without a card."""
    if (folder.parent / CARD_NAME).is_file():
        return f"Give the folder that holds {CARD_NAME}: {folder.parent}"
    return " ".join(f"{_HOW_TO_MAKE[kind]}." for kind in dict.fromkeys(c.kind for c in cards))


def _names(cards: Collection[type[AnyCard]]) -> str:
    """Return the accepted kinds in words; precisions are named if only some are accepted."""
    kinds = dict.fromkeys(card.kind for card in cards)
    if len(kinds) == len(ArtifactKind):
        return "artifact"
    of_models = [p.value for card in cards for p in card.precisions]
    some = ArtifactKind.MODEL in kinds and of_models and Precision.INT8.value not in of_models
    words = {kind: kind.value for kind in kinds}
    if some:
        words[ArtifactKind.MODEL] = f"model in {' or '.join(of_models)}"
    return " or ".join(words.values())
