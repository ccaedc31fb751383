"""Files of results: which there are, and what they hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxredge.artifacts.hashing import check_content_hash
from cxredge.artifacts.records import from_json, read_json_file
from cxredge.errors import ArtifactError, quoted
from cxredge.results.bench import BenchResult
from cxredge.results.consistency import contradictions
from cxredge.results.evaluation import Evaluation

Result = Evaluation | BenchResult

RECORDS: Mapping[str, type[Result]] = {
    "cxredge.evaluation/1": Evaluation,
    "cxredge.bench/1": BenchResult,
}
TABLES = (".csv", ".jsonl", ".parquet")
"""Extensions of predictions and manifests, which are easily taken for results."""
_REMEDY = "Measure again: cxredge evaluate or cxredge bench."


@dataclass(frozen=True)
class StoredResults:
    """Results in the ``results`` folder of a bundle.

    Attributes:
        by_path: Results of the bundle by their resolved path, in the order of file names.
        left_out: Reasons why other files were left out, a sentence each.
        damaged: Those of files that are not valid, were changed or contradict themselves.
    """

    by_path: Mapping[Path, Result]
    left_out: tuple[str, ...]
    damaged: tuple[str, ...] = ()


def read_result(path: Path) -> Result:
    """Read a result of ``evaluate`` or ``bench``.

    Raises:
        ArtifactError: The file is missing, or as in :func:`parse_result`.
    """
    if path.suffix.lower() in TABLES:
        raise ArtifactError(
            f"{path} is a table, not a result of cxredge evaluate or bench (.json).",
            f"See what it is: cxredge inspect {quoted(path)}. To measure how accurate predictions "
            "are: cxredge evaluate BUNDLE MANIFEST",
        )
    return parse_result(read_json_file(path, _REMEDY), path)


def parse_result(values: Any, path: Path) -> Result:
    """Validate the JSON value of a result.

    Args:
        values: The JSON value.
        path: Path of the file, for messages.

    Raises:
        ArtifactError: It is something else, does not fit its record, was changed after it was
            written, or its figures contradict each other.
    """
    schema = values.get("schema") if isinstance(values, dict) else None
    record = RECORDS.get(str(schema))
    if record is None:
        raise ArtifactError(
            f"{path} is not a result of cxredge evaluate or bench (schema '{schema}'; expected "
            f"{' or '.join(RECORDS)}).",
            f"See what it is: cxredge inspect {quoted(path)}",
        )
    result = from_json(values, record, path, _REMEDY)
    check_content_hash(values, path, _REMEDY)
    for problem in contradictions(result):
        raise ArtifactError(f"{path} contradicts itself: {problem}.", _REMEDY)
    return result


def read_results_of(bundle: Path, card_sha256: str) -> StoredResults:
    """Read the results folder of a bundle; leave out what is damaged or of another bundle.

    Args:
        bundle: The bundle's folder.
        card_sha256: SHA-256 of its card.
    """
    found: dict[Path, Result] = {}
    left_out, damaged = [], []
    for path in sorted((bundle / "results").glob("*.json")):
        try:
            result = read_result(path)
        except ArtifactError as error:
            damaged.append(error.message.replace(f"{bundle}/", ""))
            left_out.append(damaged[-1])
            continue
        if result.bundle_sha256 == card_sha256:
            found[path.resolve()] = result
        else:
            left_out.append(
                f"results/{path.name} was measured on another bundle (card "
                f"{result.bundle_sha256[:12]}, not {card_sha256[:12]})."
            )
    return StoredResults(found, tuple(left_out), tuple(damaged))
