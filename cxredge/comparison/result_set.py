"""The results to compare: of a bundle with its passport, or of a single file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from cxredge.artifacts.card import CARD_NAME
from cxredge.artifacts.hashing import sha256_of_file
from cxredge.artifacts.records import read_json_file
from cxredge.bundle.archive import refuse_archive
from cxredge.bundle.passport import Passport, passport_problem, read_passport, read_passport_file
from cxredge.errors import ArtifactError, quoted
from cxredge.results.bench import BenchResult
from cxredge.results.evaluation import Evaluation
from cxredge.results.read import TABLES, parse_result, read_result, read_results_of

_PASSPORT_SCHEMA = "cxredge.passport/1"
_REMEDY = "Measure again: cxredge deploy, cxredge evaluate or cxredge bench."

Result = Evaluation | BenchResult | Passport


class ResultKind(str, Enum):
    """Kinds of results."""

    EVALUATION = "evaluation"
    BENCH = "bench"
    PASSPORT = "passport"


@dataclass(frozen=True)
class ResultSet:
    """Results that are compared together.

    Attributes:
        name: The path as given.
        results: At least one.
        left_out: Reasons why files of the bundle were left out, a sentence each.
    """

    name: str
    results: Sequence[Result]
    left_out: tuple[str, ...] = ()

    def of(self, kind: ResultKind) -> list[Result]:
        """Return the results of a kind."""
        return [result for result in self.results if kind_of(result) is kind]


def kind_of(result: Result) -> ResultKind:
    """Return the kind of a result."""
    if isinstance(result, Evaluation):
        return ResultKind.EVALUATION
    return ResultKind.BENCH if isinstance(result, BenchResult) else ResultKind.PASSPORT


def read_result_set(path: Path) -> ResultSet:
    """Read a result file, or a bundle's passport and all its results.

    Raises:
        ArtifactError: The path is neither, the file does not fit, or the bundle has no results.
    """
    if not path.is_dir():
        return ResultSet(str(path), [_read_file(path)])
    if not (path / CARD_NAME).is_file():
        raise ArtifactError(f"{path} is not a bundle: it has no {CARD_NAME}.", "Give a bundle.")
    stored = read_results_of(path, sha256_of_file(path / CARD_NAME))
    results: list[Result] = list(stored.by_path.values())
    left_out, problem = list(stored.left_out), passport_problem(path)
    passport = read_passport(path)
    if problem:
        left_out.append(problem)
    elif passport is not None:
        results.append(passport)
    if not results:
        raise ArtifactError(
            " ".join([f"{path} has no results yet.", *left_out]),
            f"Run cxredge evaluate {quoted(path)} MANIFEST or cxredge bench {quoted(path)}",
        )
    return ResultSet(str(path), results, tuple(left_out))


def _read_file(path: Path) -> Result:
    refuse_archive(path)
    if path.suffix.lower() in TABLES:
        return read_result(path)
    values = read_json_file(path, _REMEDY)
    if isinstance(values, dict) and values.get("schema") == _PASSPORT_SCHEMA:
        return read_passport_file(path, _REMEDY)
    return parse_result(values, path)
