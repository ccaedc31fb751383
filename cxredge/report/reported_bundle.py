"""The subjects of a report: bundles with their results, and results without a bundle."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from cxredge.artifacts.card import CARD_NAME
from cxredge.artifacts.hashing import sha256_of_file
from cxredge.bundle.archive import refuse_archive
from cxredge.bundle.bundle import Bundle, open_bundle
from cxredge.bundle.passport import passport_problem
from cxredge.errors import ArtifactError
from cxredge.report import numbers
from cxredge.report.benches import on_target
from cxredge.results.bench import BenchResult
from cxredge.results.evaluation import Evaluation
from cxredge.results.read import Result, read_result, read_results_of
from cxredge.vocabulary import Precision, Scenario, Split

_Kind = TypeVar("_Kind", Evaluation, BenchResult)


@dataclass(frozen=True)
class ReportedBundle:
    """One bundle with its results, or results whose bundle was not given.

    Attributes:
        name: Name of its folder, numbered if several have the same name.
        bundle: The bundle, verified; None if only results were given.
        evaluations: Results of ``evaluate``; those of the serving precision, of the test split and
            of the manifest of the build come first.
        benches: Results of ``bench``; those of the serving precision and from files come first.
    """

    name: str
    bundle: Bundle | None
    evaluations: tuple[Evaluation, ...]
    benches: tuple[BenchResult, ...]

    @property
    def results(self) -> tuple[Result, ...]:
        """All results."""
        return (*self.evaluations, *self.benches)

    @property
    def precision(self) -> Precision:
        """The precision that serves; without a bundle, that of the first result."""
        return self.bundle.precision if self.bundle else self.results[0].precision

    @property
    def evaluation(self) -> Evaluation | None:
        """The evaluation shown in the headlines: of the precision that serves."""
        return _first_of(self.evaluations, self.precision)

    @property
    def bench(self) -> BenchResult | None:
        """The benchmark shown in the headlines: of the precision that serves, on the target."""
        return _first_of([r for r in self.benches if on_target(r)], self.precision)

    @property
    def bench_elsewhere(self) -> BenchResult | None:
        """A benchmark on another machine than the target, if there is none on the target."""
        found = [result for result in self.benches if not on_target(result)]
        return found[0] if found and self.bench is None else None


def read_bundles(paths: Sequence[Path]) -> tuple[list[ReportedBundle], list[str]]:
    """Read bundles and results.

    Args:
        paths: Bundle folders and result files; repeated paths count once.

    Returns:
        The bundles in the order given, and notes on results that were left out or listed
        separately.

    Raises:
        ArtifactError: A path is neither a bundle nor a result, or does not fit its record.
    """
    notes: list[str] = []
    unique = list({path.resolve(): path for path in paths}.values())
    bundles = [_believed(open_bundle(path)) for path in unique if _is_folder(path)]
    cards = [sha256_of_file(bundle.path / CARD_NAME) for bundle in bundles]
    held: list[dict[Path, Result]] = []
    for bundle, card in zip(bundles, cards, strict=True):
        stored = read_results_of(bundle.path, card)
        held.append(dict(stored.by_path))
        notes += [f"Left out: {reason}" for reason in stored.left_out]
        if problem := passport_problem(bundle.path):
            notes.append(f"Left out, all times of the candidates: {problem}")
    separate: dict[str, dict[Path, Result]] = {}
    for path in unique:
        if path.is_dir() or any(path.resolve() in results for results in held):
            continue
        refuse_archive(path)
        result = read_result(path)
        # If two copies share a card, it does not say which of them the result belongs to.
        if cards.count(result.bundle_sha256) == 1:
            held[cards.index(result.bundle_sha256)][path.resolve()] = result
        else:
            separate.setdefault(result.bundle_sha256, {})[path.resolve()] = result
            if bundles:
                notes.append(_why_separate(path, result, cards))
    names = numbers.distinct_names([bundle.path.resolve().name for bundle in bundles])
    reported = [
        _reported(name, bundle, results.values())
        for name, bundle, results in zip(names, bundles, held, strict=True)
    ]
    for card, results in separate.items():
        reported.append(_reported(f"card {card[:12]}", None, results.values()))
    return reported, notes


def _believed(bundle: Bundle) -> Bundle:
    """Return a bundle without the times of a passport that was changed."""
    if bundle.passport is None or not passport_problem(bundle.path):
        return bundle
    reason = "Not known: the passport was changed after it was written."
    passport = replace(
        bundle.passport, latency_ms={}, candidates=(), throughput=None, reason=reason
    )
    return replace(bundle, passport=passport)


def _is_folder(path: Path) -> bool:
    if not path.exists():
        raise ArtifactError(f"{path} does not exist.", "Give a bundle's folder or a result file.")
    return path.is_dir()


def _why_separate(path: Path, result: Result, cards: Sequence[str]) -> str:
    card = result.bundle_sha256
    if card in cards:
        return (
            f"Listed separately: {path.name} may belong to any of several copies of card "
            f"{card[:12]}."
        )
    return (
        f"Listed separately: {path.name} was measured on another bundle than those given (card "
        f"{card[:12]})."
    )


def _reported(name: str, bundle: Bundle | None, results: Iterable[Result]) -> ReportedBundle:
    held = list(results)
    serving = bundle.precision if bundle else None
    evaluations = [result for result in held if isinstance(result, Evaluation)]
    benches = [result for result in held if isinstance(result, BenchResult)]
    of_build = set(bundle.card.parents.values()) if bundle else set()
    evaluations.sort(
        key=lambda r: (
            r.precision is not serving,
            r.split is not Split.TEST,
            r.manifest_sha256 not in of_build,
        )
    )
    benches.sort(
        key=lambda r: (
            r.precision is not serving,
            r.scenario is not Scenario.SINGLE_STREAM,
            "decode" not in r.timed,
        )
    )
    return ReportedBundle(name, bundle, tuple(evaluations), tuple(benches))


def _first_of(results: Sequence[_Kind], precision: Precision) -> _Kind | None:
    return next((result for result in results if result.precision is precision), None)
