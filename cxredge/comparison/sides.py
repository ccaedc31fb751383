"""What is compared: result files, passports, and bundles with all that they hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from cxredge.artifacts.card import CARD_NAME
from cxredge.artifacts.records import read_json_file, to_json
from cxredge.bundle.archive import refuse_archive
from cxredge.bundle.passport import PASSPORT_NAME, read_passport
from cxredge.errors import ArtifactError, quoted

Result = Mapping[str, Any]


class ResultKind(str, Enum):
    """The kinds of results, as their schemas and readers name them."""

    EVALUATION = "evaluation"
    BENCH = "bench"
    PASSPORT = "passport"


KINDS = {f"cxredge.{kind.value}/1": kind for kind in ResultKind}


@dataclass(frozen=True)
class ResultSet:
    """One thing to compare, with its name and the results that it holds."""

    name: str
    results: Sequence[Result]

    def of(self, kind: ResultKind) -> list[Result]:
        """Return the results of a kind."""
        return [result for result in self.results if kind_of(result) is kind]


def kind_of(result: Result) -> ResultKind:
    """Return what a result is.

    Raises:
        KeyError: It is none that can be compared.
    """
    return KINDS[str(result.get("schema"))]


def read_result_set(path: Path) -> ResultSet:
    """Read a result file, or a bundle's passport and all its results.

    Raises:
        ArtifactError: It is neither, or a bundle without any.
    """
    if not path.is_dir():
        return ResultSet(str(path), [_read_result(path)])
    if not (path / CARD_NAME).is_file():
        raise ArtifactError(f"{path} is no bundle: it has no {CARD_NAME}.", "Give a bundle.")
    results = [_read_result(file) for file in sorted((path / "results").glob("*.json"))]
    passport = read_passport(path)
    if passport is not None:
        results.append(_whole(path / PASSPORT_NAME, to_json(passport)))
    if not results:
        raise ArtifactError(
            f"{path} has no results yet.",
            f"Run cxredge evaluate {quoted(path)} MANIFEST or cxredge bench {quoted(path)}",
        )
    return ResultSet(str(path), results)


_REQUIRED = {
    ResultKind.EVALUATION: ("precision", "split", "manifest_sha256", "accuracy"),
    ResultKind.BENCH: ("precision", "scenario", "timed", "latency_ms"),
    ResultKind.PASSPORT: ("machine", "latency_ms"),
}


def _read_result(path: Path) -> Result:
    refuse_archive(path)
    result = read_json_file(path)
    schema = str(result.get("schema")) if isinstance(result, dict) else "none"
    if schema not in KINDS:
        raise ArtifactError(
            f"{path} is no result that can be compared (schema '{schema}'; expected "
            f"{', '.join(KINDS)}).",
            f"See what it is: cxredge inspect {quoted(path)}",
        )
    return _whole(path, result)


def _whole(path: Path, result: Result) -> Result:
    missing = [key for key in _REQUIRED[kind_of(result)] if key not in result]
    if missing:
        raise ArtifactError(
            f"{path} is not a whole result: it lacks {', '.join(missing)}.", "Measure again."
        )
    return result
