"""Which results belong together, and what speaks against comparing two of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from cxredge.comparison.comparability import ASPECTS, comparable
from cxredge.comparison.sides import Result, ResultKind, ResultSet, kind_of
from cxredge.errors import WrongUsage

_MUST_AGREE = ("scenario", "timed", "samples_per_query")
"""What makes benchmarks different things; ``--across`` does not reach it."""

AGREEABLE = tuple(sorted({*ASPECTS, "clock"} - set(_MUST_AGREE)))
"""What ``--across`` may name."""

_WORDS = {
    ResultKind.EVALUATION: "evaluation",
    ResultKind.BENCH: "benchmark",
    ResultKind.PASSPORT: "passport",
}


@dataclass(frozen=True)
class Pair:
    """Two results of the same thing.

    Attributes:
        before: Of the first side.
        after: Of another one.
        what: What both measured, in words.
        unlike: Why they may not be compared all the same.
        doubts: What each result says against itself.
    """

    before: Result
    after: Result
    what: str
    unlike: tuple[str, ...]
    doubts: tuple[str, ...]


def check_across(across: Collection[str]) -> None:
    """Refuse names of aspects that do not exist or that must agree.

    Raises:
        WrongUsage: There is such a name.
    """
    for name in across:
        if name not in AGREEABLE:
            raise WrongUsage(
                f"Results cannot be compared across '{name}'.", f"Choose of {', '.join(AGREEABLE)}."
            )


def pairs_of(first: ResultSet, other: ResultSet, across: Collection[str]) -> Iterator[Pair | str]:
    """Yield pairs of results, and for a result of either side without a partner, why it has none.

    A result is paired with those of its own precision, with others where there is none.
    """
    for before in first.results:
        kind = kind_of(before)
        partners = [after for after in other.of(kind) if _what(after) == _what(before)]
        same = [p for p in partners if p.get("precision") == before.get("precision")]
        for after in same or partners:
            yield _pair(before, after, across)
        if not partners:
            yield _lonely(first, before, other)
    for after in other.results:
        if not any(_what(before) == _what(after) for before in first.of(kind_of(after))):
            yield _lonely(other, after, first)


def _pair(before: Result, after: Result, across: Collection[str]) -> Pair:
    doubts = tuple(
        f"{side}: {reason}"
        for side, result in (("first", before), ("other", after))
        for reason in result.get("verdict", {}).get("reasons", ())
    )
    return Pair(before, after, _what(before), _unlike(before, after, across), doubts)


def _unlike(before: Result, after: Result, across: Collection[str]) -> tuple[str, ...]:
    """Return what differs besides what is compared; a result's doubts of itself stand apart."""
    kind = kind_of(before)
    if kind is ResultKind.BENCH:
        # Without the verdicts, the reasons are those of the pair alone.
        return comparable({**before, "verdict": {}}, {**after, "verdict": {}}, across).reasons
    if kind is ResultKind.PASSPORT and "machine" not in across:
        return comparable({"machine": before["machine"]}, {"machine": after["machine"]}).reasons
    return ()


def _what(result: Result) -> str:
    kind = kind_of(result)
    if kind is ResultKind.EVALUATION:
        return f"split {result['split']} of manifest {result['manifest_sha256'][:12]}"
    if kind is ResultKind.BENCH:
        count = result.get("samples_per_query", 1)
        return f"{result['scenario']}, {'+'.join(result['timed'])}, {count} a query"
    return "network alone, one image"


def _lonely(side: ResultSet, result: Result, other: ResultSet) -> str:
    kind = kind_of(result)
    mine = f"{_WORDS[kind]} of {side.name} ({_what(result)})"
    theirs = sorted({_what(theirs) for theirs in other.of(kind)})
    if not theirs:
        return f"{mine}: {other.name} has no {_WORDS[kind]}"
    return f"{mine}: {other.name} has {'; '.join(theirs)}"
