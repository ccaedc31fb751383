"""Which results belong together, and the reasons against comparing two of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from cxredge.bundle.passport import Passport
from cxredge.comparison.comparability import ASPECTS, differences_between, machine_difference
from cxredge.comparison.result_set import Result, ResultKind, ResultSet, kind_of
from cxredge.errors import WrongUsage
from cxredge.results.bench import BenchResult
from cxredge.results.evaluation import Evaluation

_MUST_AGREE = ("scenario", "timed", "samples_per_query")
"""Aspects that ``--across`` does not accept; they decide what a benchmark measures."""

ACROSS_CHOICES = tuple(sorted({*ASPECTS, "clock"} - set(_MUST_AGREE)))
"""Aspects that ``--across`` accepts."""

_WORDS = {
    ResultKind.EVALUATION: "evaluation",
    ResultKind.BENCH: "benchmark",
    ResultKind.PASSPORT: "passport",
}


@dataclass(frozen=True)
class Pair:
    """Two results that measured the same thing.

    Attributes:
        before: Result of the first set.
        after: Result of another set.
        what: Quantity that both measured, in words.
        unlike: Reasons against comparing them.
        doubts: Reasons against each result alone.
    """

    before: Result
    after: Result
    what: str
    unlike: tuple[str, ...]
    doubts: tuple[str, ...]


def check_across(across: Collection[str]) -> None:
    """Check names of aspects.

    Raises:
        WrongUsage: A name is unknown, or of an aspect that must agree.
    """
    for name in across:
        if name not in ACROSS_CHOICES:
            raise WrongUsage(
                f"Results cannot be compared across '{name}'.",
                f"Choose from {', '.join(ACROSS_CHOICES)}.",
            )


def pairs_of(first: ResultSet, other: ResultSet, across: Collection[str]) -> Iterator[Pair | str]:
    """Yield pairs of results, and for each result without a counterpart the reason.

    A result is paired with results of the same precision, or if there are none, with all others.
    """
    for before in first.results:
        partners = [after for after in other.of(kind_of(before)) if _what(after) == _what(before)]
        same = [partner for partner in partners if partner.precision is before.precision]
        for after in same or partners:
            yield _pair(before, after, across)
        if not partners:
            yield _without_counterpart(first, before, other)
    for after in other.results:
        if not any(_what(before) == _what(after) for before in first.of(kind_of(after))):
            yield _without_counterpart(other, after, first)


def _pair(before: Result, after: Result, across: Collection[str]) -> Pair:
    doubts = tuple(
        f"{which}: {reason}"
        for which, result in (("first", before), ("other", after))
        if isinstance(result, BenchResult)
        for reason in result.verdict.reasons
    )
    return Pair(before, after, _what(before), _unlike(before, after, across), doubts)


def _unlike(before: Result, after: Result, across: Collection[str]) -> tuple[str, ...]:
    if isinstance(before, BenchResult) and isinstance(after, BenchResult):
        return tuple(differences_between(before, after, across))
    if isinstance(before, Passport) and isinstance(after, Passport):
        return (
            () if "machine" in across else tuple(machine_difference(before.machine, after.machine))
        )
    return ()


def _what(result: Result) -> str:
    if isinstance(result, Evaluation):
        return f"split {result.split.value} of manifest {result.manifest_sha256[:12]}"
    if isinstance(result, BenchResult):
        stages = "+".join(result.timed)
        return f"{result.scenario.value}, {stages}, {result.samples_per_query} per query"
    return "network alone, one image"


def _without_counterpart(mine: ResultSet, result: Result, other: ResultSet) -> str:
    kind = kind_of(result)
    words = f"{_WORDS[kind]} of {mine.name} ({_what(result)})"
    theirs = sorted({_what(theirs) for theirs in other.of(kind)})
    if not theirs:
        return f"{words}: {other.name} has no {_WORDS[kind]}"
    return f"{words}: {other.name} has {'; '.join(theirs)}"
