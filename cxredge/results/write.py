"""Files of results: their names, and when an earlier one is replaced."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cxredge.artifacts.atomic import write_json
from cxredge.artifacts.hashing import with_content_hash
from cxredge.artifacts.output_file import check_output_file
from cxredge.artifacts.records import to_json
from cxredge.errors import ArtifactError, CxredgeError, quoted
from cxredge.results.bench import BenchResult
from cxredge.results.evaluation import Evaluation
from cxredge.results.read import Result, read_result

_MAX_SAME_NAME = 10_000


def write_result(path: Path, result: Result) -> dict[str, Any]:
    """Write a result with the hash of its content; return its JSON values."""
    values = with_content_hash(to_json(result))
    write_json(path, values)
    return values


def path_in_bundle(bundle: Path, result: Result, more: str = "") -> Path:
    """Return the path of a result in the ``results`` folder of a bundle.

    The name states what was measured. A file of another measurement is not replaced: an evaluation
    of another manifest gets the first digits of the manifest's hash, a benchmark under other
    circumstances a number.

    Args:
        bundle: The bundle's folder.
        result: The result.
        more: Further words of the name.
    """
    free = None
    for name in _names(result, more):
        path = bundle / "results" / f"{name}.json"
        if not path.exists():
            free = free or path
            if name != _stem(result, more):
                break
        elif _holds(path, result):
            return path
    if free is None:
        raise ArtifactError(
            f"{bundle / 'results'} holds too many results of one name.", "Use --out FILE."
        )
    return free


def check_out(path: Path | None, bundle: Path, kind: type[Result]) -> None:
    """Check that a result can be written, before any work.

    Args:
        path: Its file; None for one in the bundle.
        bundle: The bundle's folder.
        kind: Kind of the result; a file that holds something else is not replaced.

    Raises:
        ArtifactError: The path is a file that is not such a result.
        CxredgeError: It is a folder, its folder does not exist, or it is not writable.
    """
    if path is None:
        folder = next((one for one in (bundle / "results", bundle) if one.is_dir()), None)
        if folder is not None and not os.access(folder, os.W_OK | os.X_OK):
            raise CxredgeError(
                f"The result cannot be written: {folder} is not writable.",
                "Write it to another folder with --out FILE.",
            )
        return
    check_output_file(path)
    if path.exists() and not isinstance(_read(path), kind):
        raise ArtifactError(
            f"{path} exists and is not a valid result of this command; it is not replaced.",
            f"Choose another --out, or see what it is: cxredge inspect {quoted(path)}",
        )


def _names(result: Result, more: str) -> Iterator[str]:
    """Yield the possible names of a result, the preferred first."""
    yield _stem(result, more)
    of_subject = _stem(result, more)
    if isinstance(result, Evaluation):
        of_subject += f"-{result.manifest_sha256[:12]}"
        yield of_subject
    for number in range(2, _MAX_SAME_NAME):
        yield f"{of_subject}-{number}"


def _stem(result: Result, more: str) -> str:
    if isinstance(result, Evaluation):
        return f"evaluate-{result.split.value}-{result.precision.value}{more}"
    origin = "files" if "decode" in result.timed else "memory"
    return f"bench-{result.scenario.value}-{origin}-{result.precision.value}{more}"


def _holds(path: Path, result: Result) -> bool:
    """Return whether a file holds an earlier result of the same measurement."""
    found = _read(path)
    return found is not None and _subject(found) == _subject(result)


def _read(path: Path) -> Result | None:
    try:
        return read_result(path)
    except ArtifactError:
        return None


def _subject(result: Result) -> tuple[object, ...]:
    """Return what decides whether two results are of the same measurement."""
    shared = (result.bundle_sha256, result.precision, result.backend)
    if isinstance(result, Evaluation):
        return (*shared, result.manifest_sha256, result.split)
    return (*shared, *_circumstances(result))


def _circumstances(result: BenchResult) -> tuple[object, ...]:
    mode = result.jetson.before.power_mode if result.jetson else None
    return (
        result.engine_sha256, result.scenario, result.timed, result.samples_per_query,
        result.threads, result.harness, result.images, result.machine.cpu, result.machine.cores,
        result.state.before.governor, mode,
    )  # fmt: skip
