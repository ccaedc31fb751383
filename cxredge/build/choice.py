"""Choice of the candidate that ships, with the reason in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from cxredge.artifacts.records import to_json
from cxredge.backends import CPU_BACKENDS
from cxredge.build.candidates import Candidate, Choice
from cxredge.errors import CxredgeError, GateRefused, quoted
from cxredge.gate.fidelity import Measure
from cxredge.targets.record import Target
from cxredge.vocabulary import Precision

_IN_NOISE = " (within the noise)"


def choose(
    candidates: Sequence[Candidate],
    wanted: Precision | None,
    target: Target,
    bundle: Path | None = None,
) -> Choice:
    """Return the candidate that ships and the reason, in a sentence.

    Args:
        candidates: All timed on the target, or none.
        wanted: A precision; None for the fastest that passed, including FP32's time for near
            ties, or if none was timed, the first that passed in the target's order.
        target: The device.
        bundle: The bundle's folder, if there is one already, for messages.

    Raises:
        GateRefused: No candidate, or none in ``wanted``, passes.
        CxredgeError: There is no candidate in ``wanted``.
    """
    requested = [c for c in candidates if wanted in (c.precision, None)]
    if wanted and not requested:
        available = list(dict.fromkeys(c.precision.value for c in candidates))
        raise CxredgeError(
            f"There is no {wanted.value} candidate; available: {', '.join(available)}.",
            f"Use --precision {available[0]}, or auto.",
        )
    passing = [candidate for candidate in requested if candidate.passed]
    if not passing:
        raise _refusal(requested[0], _title(requested[0], candidates), bundle)
    untimed = any(candidate.speed is None for candidate in passing)
    order = target.precisions.index
    best = min(
        passing,
        key=lambda c: order(c.precision) if untimed else c.p50_ms + _added_ms(c, candidates),
    )
    if wanted:
        words = f"{wanted.value} was requested and passes the gate"
        others = [c for c in requested if c is not best]
        return Choice(best, _reason(best, others, candidates, words))
    others = [c for c in candidates if c is not best]
    if untimed:
        return Choice(best, _untimed_reason(best, others, candidates, target))
    return Choice(best, _reason(best, others, candidates))


def _title(candidate: Candidate, candidates: Sequence[Candidate]) -> str:
    """Return a candidate's precision, and its runtime if there are several."""
    name, backend = candidate.precision.value, candidate.variant.backend
    if all(other.variant.backend == backend for other in candidates):
        return name
    return f"{name} in {CPU_BACKENDS[backend]}"


def _refusal(candidate: Candidate, name: str, bundle: Path | None) -> GateRefused:
    details = {"gate": to_json(candidate.gate), "precision": candidate.precision.value}
    if not candidate.golden_passed:
        return GateRefused(
            f"{name} refused: the golden images have different results on this machine.",
            f"See how large the differences are: cxredge verify {quoted(bundle or 'BUNDLE')}",
            details,
        )
    if all(one.measure is Measure.CONTROL_RATE for one in candidate.gate.refused):
        return GateRefused(
            f"{name} refused by the gate: {candidate.gate.refusal}.",
            "No precision is better than its network: train on more sources, refuse more images "
            "with a smaller --familiar-share, or allow it with --max-control-rate.",
            details,
        )
    return GateRefused(
        f"{name} refused by the gate: {candidate.gate.refusal}.",
        f"Use fp32 (--precision auto), calibrate on more images, or allow the loss with "
        f"{candidate.gate.loosening}.",
        details,
    )


def _added_ms(candidate: Candidate, candidates: Sequence[Candidate]) -> float:
    """Return the average time per image that FP32 adds for near ties, in the same runtime."""
    if not candidate.near_ties:
        return 0.0
    backend = candidate.variant.backend
    fp32 = (c for c in candidates if c.precision is Precision.FP32)
    fp32_ms = min((c.p50_ms for c in fp32 if c.variant.backend == backend), default=math.inf)
    return candidate.near_ties * fp32_ms


def _untimed_reason(
    best: Candidate, others: Sequence[Candidate], candidates: Sequence[Candidate], target: Target
) -> str:
    return _reason(
        best,
        others,
        candidates,
        f"nothing was timed, because this machine is not {target.name}; "
        f"{_title(best, candidates)} "
        "passes the gate and is the default for this target until it is timed there",
    )


def _reason(
    best: Candidate, others: Sequence[Candidate], candidates: Sequence[Candidate], opening: str = ""
) -> str:
    """Return the reason for a choice.

    Args:
        best: The candidate that ships.
        others: Candidates to compare it with.
        candidates: All candidates: FP32's time for near ties counts, also if it is not compared.
        opening: First words; by default that the candidate is the fastest.
    """
    name = _title(best, candidates)
    if best.near_ties:
        name += f" with fp32 for near ties ({100 * best.near_ties:.1f}%)"
    parts = [opening or f"{name} is the fastest that passes the gate"]
    for other in others:
        name = _title(other, candidates)
        if not other.golden_passed:
            parts.append(f"{name} has different results on this machine")
        elif not other.gate.passed:
            parts.append(f"{name} was refused: {other.gate.refusal}")
        else:
            parts.append(_speed_ratio(best, other, candidates))
    words = ", ".join(parts) + "."
    if _IN_NOISE in words:
        words += " Within the noise: on this machine the intervals of the medians overlap."
    return words


def _speed_ratio(best: Candidate, other: Candidate, candidates: Sequence[Candidate]) -> str:
    name = _title(other, candidates)
    if best.speed is None or other.speed is None:
        return f"{name} also passes"
    one, two = best.speed.latency, other.speed.latency
    to_one, to_two = _added_ms(best, candidates), _added_ms(other, candidates)
    if not math.isfinite(to_one + to_two):
        # Near ties need FP32, which was not timed in that runtime.
        return f"{name} also passes"
    words = f"{(two.p50 + to_two) / (one.p50 + to_one):.2f} times as fast as {name}"
    if two.p50_ci95[0] + to_two <= one.p50_ci95[1] + to_one:
        words += _IN_NOISE
    return words
