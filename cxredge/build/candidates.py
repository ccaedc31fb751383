"""The precisions and runtimes that could ship, and which one does."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cxredge.artifacts.records import to_json
from cxredge.backends import CPU_BACKENDS
from cxredge.build.speed import Variant
from cxredge.bundle.bundle import Bundle
from cxredge.bundle.serving import Serving, Speed, TimedCandidate
from cxredge.errors import CxredgeError, GateRefused
from cxredge.gate.gate import GateResult
from cxredge.targets.record import Target
from cxredge.vocabulary import Precision


@dataclass(frozen=True)
class Candidate:
    """One precision in one runtime that could ship.

    Attributes:
        variant: The runtime, the number format, and the file that serves: the ONNX file, or the
            engine where one was built.
        gate: The comparison with FP32 on held-out images.
        speed: What was measured on this machine, or None where it is not the target.
        golden_passed: Whether the golden images came out here as where they were made.
    """

    variant: Variant
    gate: GateResult
    speed: Speed | None = None
    golden_passed: bool = True

    @property
    def precision(self) -> Precision:
        """Its number format."""
        return self.variant.precision

    @property
    def passed(self) -> bool:
        """Whether it may ship."""
        return self.gate.passed and self.golden_passed

    @property
    def near_ties(self) -> float:
        """Share of the images compared that FP32 decides for it."""
        found = self.gate.near_ties if self.gate.cascade else None
        return found.share if found else 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the candidate as JSON values."""
        return {**to_json(self.record()), "gate": to_json(self.gate)}

    def record(self) -> TimedCandidate:
        """Return the candidate as the passport lists it."""
        speed = self.speed
        throughput = speed.throughput if speed else None
        return TimedCandidate(
            backend=self.variant.backend,
            precision=self.precision,
            size_bytes=self.variant.model.stat().st_size,
            accuracy=self.gate.accuracy,
            agreement=self.gate.agreement,
            logit_error=self.gate.logit_error,
            near_ties=self.near_ties,
            passed=self.passed,
            latency_ms=speed.latency.rounded() if speed else None,
            threads=speed.threads if speed else None,
            throughput=throughput.rounded() if throughput else None,
        )


@dataclass(frozen=True)
class BuildResult:
    """What a build came to.

    Attributes:
        bundle: The bundle, checked.
        gate: The comparison of what ships with FP32.
        candidates: What was considered, as JSON values.
        reason: Why the one that ships does, in a sentence.
        left_out: Why a precision has no engine on this machine, in a sentence, by its name.
    """

    bundle: Bundle
    gate: GateResult
    candidates: list[dict[str, Any]]
    reason: str
    left_out: Mapping[str, str] = field(default_factory=dict)


def serving(candidates: Sequence[Candidate], chosen: Candidate, reason: str) -> Serving:
    """Return what a passport says of a choice.

    Args:
        candidates: All, timed on this machine.
        chosen: The one that serves.
        reason: Why, in a sentence.
    """
    timed = sorted((c for c in candidates if c.speed), key=_p50, reverse=True)
    return Serving(
        backend=chosen.variant.backend,
        precision=chosen.precision,
        engine=chosen.variant.model.name,
        speed=chosen.speed,
        # The fastest runtime of a precision comes last and stays.
        latencies={c.precision: c.speed.latency for c in timed if c.speed},
        candidates=[candidate.record() for candidate in candidates],
        reason=reason,
    )


def gates_by_runtime(candidates: Sequence[Candidate]) -> dict[str, dict[Precision, GateResult]]:
    """Return the result of the gate by runtime and precision."""
    found: dict[str, dict[Precision, GateResult]] = {}
    for candidate in candidates:
        of_runtime = found.setdefault(candidate.variant.backend, {})
        of_runtime[candidate.precision] = candidate.gate
    return found


def choose(
    candidates: Sequence[Candidate], wanted: Precision | None, target: Target
) -> tuple[Candidate, str]:
    """Return the candidate that ships and why, in a sentence.

    Args:
        candidates: All timed on the target, or none.
        wanted: A precision; None for the fastest that passed, including FP32's time for near
            ties, or if none was timed, the first that passed in the target's order.
        target: The device.

    Raises:
        GateRefused: The one that was asked for, or every one, does not pass.
        CxredgeError: The one that was asked for is not there.
    """
    held = list(dict.fromkeys(c.precision.value for c in candidates))
    asked = [c for c in candidates if wanted in (c.precision, None)]
    if wanted and not asked:
        raise CxredgeError(
            f"There is no {wanted.value} candidate; there is {', '.join(held)}.",
            f"Use --precision {held[0]}, or auto.",
        )
    passing = [candidate for candidate in asked if candidate.passed]
    if not passing:
        raise _refusal(asked[0], _title(asked[0], candidates))
    untimed = any(candidate.speed is None for candidate in passing)
    order = target.precisions.index
    best = min(
        passing, key=lambda c: order(c.precision) if untimed else _p50(c) + _added_ms(c, candidates)
    )
    if wanted:
        words = f"{wanted.value} was asked for and passes the gate"
        return best, f"{words}." if len(asked) == 1 else _why(best, asked, words)
    return best, _why_untimed(best, candidates, target) if untimed else _why(best, candidates)


def _title(candidate: Candidate, candidates: Sequence[Candidate]) -> str:
    """Return a candidate's precision, and its runtime where there are several."""
    name, backend = candidate.precision.value, candidate.variant.backend
    if all(other.variant.backend == backend for other in candidates):
        return name
    return f"{name} in {CPU_BACKENDS[backend]}"


def _refusal(candidate: Candidate, name: str) -> GateRefused:
    details = {"gate": to_json(candidate.gate), "precision": candidate.precision.value}
    if not candidate.golden_passed:
        return GateRefused(
            f"{name} refused: the golden images come out differently on this machine.",
            "See how far: cxredge verify BUNDLE",
            details,
        )
    return GateRefused(
        f"{name} refused by the gate: {candidate.gate.refusal}.",
        f"Ship fp32 (--precision auto), calibrate on more images, or allow the loss with "
        f"{candidate.gate.loosening}.",
        details,
    )


def _p50(candidate: Candidate) -> float:
    return candidate.speed.latency.p50 if candidate.speed else math.inf


def _added_ms(candidate: Candidate, candidates: Sequence[Candidate]) -> float:
    """Return what FP32 adds to an image on average, in the same runtime, for the near ties."""
    if not candidate.near_ties:
        return 0.0
    backend = candidate.variant.backend
    fp32 = (c for c in candidates if c.precision is Precision.FP32)
    taken = min((_p50(c) for c in fp32 if c.variant.backend == backend), default=math.inf)
    return candidate.near_ties * taken


def _faster(best: Candidate, other: Candidate, candidates: Sequence[Candidate]) -> str:
    name = _title(other, candidates)
    if best.speed is None or other.speed is None:
        return f"{name} passes too"
    one, two = best.speed.latency, other.speed.latency
    to_one, to_two = _added_ms(best, candidates), _added_ms(other, candidates)
    words = f"{(two.p50 + to_two) / (one.p50 + to_one):.2f} times as fast as {name}"
    if two.p50_ci95[0] + to_two <= one.p50_ci95[1] + to_one:
        words += " (within the noise of this machine: the intervals of the medians overlap)"
    return words


def _why_untimed(best: Candidate, candidates: Sequence[Candidate], target: Target) -> str:
    return _why(
        best,
        candidates,
        f"nothing was timed, because this machine is not {target.name}; "
        f"{_title(best, candidates)} "
        "passes the gate and is the first choice for it until it is timed there",
    )


def _why(best: Candidate, candidates: Sequence[Candidate], opening: str = "") -> str:
    name = _title(best, candidates)
    if best.near_ties:
        name += f" with fp32 for near ties ({100 * best.near_ties:.1f}%)"
    parts = [opening or f"{name} is the fastest that passes the gate"]
    for other in candidates:
        name = _title(other, candidates)
        if other is best:
            continue
        if not other.golden_passed:
            parts.append(f"{name} gives other results on this machine")
        elif not other.gate.passed:
            parts.append(f"{name} was refused: {other.gate.refusal}")
        else:
            parts.append(_faster(best, other, candidates))
    return ", ".join(parts) + "."
