"""What a report is made from: bundles, and the results that belong to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxredge.artifacts.card import CARD_NAME, sha256_of_file
from cxredge.artifacts.records import read_json_file
from cxredge.bundle.archive import refuse_archive
from cxredge.bundle.bundle import Bundle, open_bundle
from cxredge.errors import ArtifactError, quoted

Result = Mapping[str, Any]

EVALUATION, BENCH = "cxredge.evaluation/1", "cxredge.bench/1"
_COMMON = ("bundle_sha256", "network", "precision", "backend")
_REQUIRED = {
    EVALUATION: (*_COMMON, "manifest_sha256", "accuracy", "by_class", "confusion", "flipped"),
    BENCH: (*_COMMON, "target", "latency_ms", "stages_ms", "throughput", "verdict", "machine"),
}


@dataclass(frozen=True)
class ReportedBundle:
    """One bundle with its results, or results whose bundle was not given.

    Attributes:
        name: The folder's name, told apart from that of others.
        bundle: The bundle, checked; None when only results were given.
        evaluations: Results of ``evaluate``, those of the serving precision and of test first.
        benches: Results of ``bench``, those of the serving precision and from files first.
    """

    name: str
    bundle: Bundle | None
    evaluations: tuple[Result, ...]
    benches: tuple[Result, ...]

    @property
    def precision(self) -> str:
        """The precision that serves, or that the results are of."""
        if self.bundle is not None:
            return self.bundle.precision.value
        return str((self.evaluations + self.benches)[0]["precision"])

    @property
    def evaluation(self) -> Result | None:
        """The evaluation that the headline tells: of the precision that serves."""
        return _first_of(self.evaluations, self.precision)

    @property
    def bench(self) -> Result | None:
        """The benchmark that the headline tells: of the precision that serves."""
        return _first_of(self.benches, self.precision)


def read_bundles(paths: Sequence[Path]) -> tuple[list[ReportedBundle], list[str]]:
    """Read bundles and results.

    Args:
        paths: Bundle folders and result files; one given twice counts once.

    Returns:
        The sources in the order given, and notes on results that were left out or set apart.

    Raises:
        ArtifactError: A path is neither a bundle nor a result.
    """
    notes: list[str] = []
    unique = list({path.resolve(): path for path in paths}.values())
    bundles = [open_bundle(path) for path in unique if _is_folder(path)]
    cards = [sha256_of_file(bundle.path / CARD_NAME) for bundle in bundles]
    taken = [_results_of(b, card, notes) for b, card in zip(bundles, cards, strict=True)]
    strays: dict[str, dict[Path, Result]] = {}
    for path in unique:
        if _is_folder(path) or any(path.resolve() in held for held in taken):
            continue
        result = read_result(path)
        # A card that two copies share does not say whose result this is.
        if cards.count(result["bundle_sha256"]) == 1:
            taken[cards.index(result["bundle_sha256"])][path.resolve()] = result
        else:
            strays.setdefault(result["bundle_sha256"], {})[path.resolve()] = result
            if bundles:
                notes.append(_belongs_elsewhere(path, result, cards))
    names = _distinct([b.path.resolve().name for b in bundles])
    reported = [
        _source(name, bundle, held.values())
        for name, bundle, held in zip(names, bundles, taken, strict=True)
    ]
    for sha, held in strays.items():
        reported.append(_source(f"card {sha[:12]}", None, held.values()))
    return reported, notes


def read_result(path: Path) -> Result:
    """Read a result of ``evaluate`` or ``bench``.

    Raises:
        ArtifactError: It is something else.
    """
    refuse_archive(path)
    result = read_json_file(path)
    schema = result.get("schema") if isinstance(result, dict) else None
    if schema not in _REQUIRED:
        raise ArtifactError(
            f"{path} is no result of cxredge evaluate or bench (schema '{schema}'; expected "
            f"{' or '.join(_REQUIRED)}).",
            f"See what it is: cxredge inspect {quoted(path)}",
        )
    missing = [key for key in _REQUIRED[schema] if key not in result]
    if missing:
        raise ArtifactError(
            f"{path} is not a whole result: it lacks {', '.join(missing)}.", "Measure again."
        )
    known: Result = result
    return known


def _is_folder(path: Path) -> bool:
    if not path.exists():
        raise ArtifactError(f"{path} does not exist.", "Give a bundle's folder or a result file.")
    return path.is_dir()


def _results_of(bundle: Bundle, card: str, notes: list[str]) -> dict[Path, Result]:
    """Read a bundle's results folder; what does not belong to the bundle is noted, not taken."""
    held: dict[Path, Result] = {}
    for path in sorted((bundle.path / "results").glob("*.json")):
        try:
            result = read_result(path)
        except ArtifactError as error:
            notes.append(f"Left out: {error.message}")
            continue
        if result["bundle_sha256"] == card:
            held[path.resolve()] = result
        else:
            notes.append(
                f"Left out: results/{path.name} was measured on another bundle (card "
                f"{str(result['bundle_sha256'])[:12]}, not {card[:12]})."
            )
    return held


def _belongs_elsewhere(path: Path, result: Result, cards: Sequence[str]) -> str:
    card = result["bundle_sha256"]
    if card in cards:
        return f"Set apart: {path.name} could be of any of several copies of card {card[:12]}."
    return (
        f"Set apart: {path.name} was measured on another bundle than those given (card "
        f"{card[:12]})."
    )


def _source(name: str, bundle: Bundle | None, results: Iterable[Result]) -> ReportedBundle:
    held = list(results)
    evaluations = [r for r in held if r["schema"] == EVALUATION]
    benches = [r for r in held if r["schema"] == BENCH]
    serving = bundle.precision.value if bundle else None
    return ReportedBundle(
        name,
        bundle,
        tuple(sorted(evaluations, key=lambda r: (r["precision"] != serving, r["split"] != "test"))),
        tuple(
            sorted(
                benches,
                key=lambda r: (
                    r["precision"] != serving,
                    r["scenario"] != "single-stream",
                    "decode" not in r["timed"],
                ),
            )
        ),
    )


def _first_of(results: Sequence[Result], precision: str) -> Result | None:
    return next((r for r in results if r["precision"] == precision), None)


def _distinct(names: Sequence[str]) -> list[str]:
    """Number names that occur twice; parent folders are not shown, they may tell who."""
    return [
        name if names.count(name) == 1 else f"{name} ({names[: index + 1].count(name)})"
        for index, name in enumerate(names)
    ]
