"""The precisions that could ship, and which one does."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cxredge.backends import open_session
from cxredge.bundle import Bundle
from cxredge.data.images import GreyImage
from cxredge.errors import CxredgeError, GateRefused
from cxredge.quantization.gate import GateResult
from cxredge.targets.record import Target
from cxredge.timing import Latency, interleave, summarise
from cxredge.vocabulary import Precision, PrecisionChoice

_WARM_UP, _ROUNDS = 20, 200


@dataclass(frozen=True)
class Candidate:
    """One precision that could ship.

    Attributes:
        precision: Its number format.
        model: The file that serves: its ONNX file, or its engine where one was built.
        gate: The comparison with FP32 on held-out images.
        latency: Batch-1 latency on this machine, or None where it is not the target.
        golden_passed: Whether the golden images came out here as where they were made.
    """

    precision: Precision
    model: Path
    gate: GateResult
    latency: Latency | None
    golden_passed: bool = True

    @property
    def passed(self) -> bool:
        """Whether it may ship."""
        return self.gate.passed and self.golden_passed

    def to_json(self) -> dict[str, Any]:
        """Return the candidate as JSON values."""
        return {
            "precision": self.precision.value,
            "size_bytes": self.model.stat().st_size,
            "accuracy": self.gate.accuracy,
            "agreement": self.gate.agreement,
            "logit_error": self.gate.logit_error,
            "gate": self.gate.to_json(),
            "passed": self.passed,
            "latency_ms": self.latency.to_json() if self.latency else None,
        }


@dataclass(frozen=True)
class Built:
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


def time_candidates(
    models: Mapping[Precision, Path], image: GreyImage, backend: str
) -> dict[Precision, Latency]:
    """Time batch-1 inference of each model in turn, all threads, the input in memory.

    Args:
        models: File by precision, in the backend's format.
        image: uint8 (1, S, S).
        backend: The runtime that loads them.
    """
    with ExitStack() as opened:
        # The newest is closed first: contexts of a GPU can lie on a stack.
        sessions = {p: opened.enter_context(open_session(f, backend)) for p, f in models.items()}
        calls = {p.value: (lambda s=session: s.infer(image)) for p, session in sessions.items()}
        taken = interleave(calls, _WARM_UP, _ROUNDS)
    return {p: summarise(taken[p.value]) for p in models}


def choose(
    candidates: Sequence[Candidate], wanted: PrecisionChoice, target: Target
) -> tuple[Candidate, str]:
    """Return the candidate that ships and why, in a sentence.

    Args:
        candidates: All timed on the target, or none.
        wanted: ``auto`` takes the fastest that passed; where none was timed, the first that passed
            in the target's own order.
        target: The device.

    Raises:
        GateRefused: The one that was asked for, or every one, does not pass.
        CxredgeError: The one that was asked for is not there.
    """
    if wanted is PrecisionChoice.AUTO:
        passing = [candidate for candidate in candidates if candidate.passed]
        if not passing:
            raise _refusal(candidates[0])
        if any(candidate.latency is None for candidate in passing):
            best = min(passing, key=lambda candidate: target.precisions.index(candidate.precision))
            return best, _why_untimed(best, candidates, target)
        best = min(passing, key=lambda candidate: _p50(candidate))
        return best, _why(best, candidates)
    forced = next((c for c in candidates if c.precision.value == wanted.value), None)
    if forced is None:
        held = ", ".join(c.precision.value for c in candidates)
        raise CxredgeError(
            f"There is no {wanted.value} candidate; there is {held}.",
            f"Use --precision {candidates[0].precision.value}, or auto.",
        )
    if not forced.passed:
        raise _refusal(forced)
    return forced, f"{forced.precision.value} was asked for and passes the gate."


def _refusal(candidate: Candidate) -> GateRefused:
    name = candidate.precision.value
    details = {"gate": candidate.gate.to_json(), "precision": name}
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
    return candidate.latency.p50 if candidate.latency else math.inf


def _faster(best: Candidate, other: Candidate) -> str:
    if best.latency is None or other.latency is None:
        return f"{other.precision.value} passes too"
    ratio = other.latency.p50 / best.latency.p50
    words = f"{ratio:.2f} times as fast as {other.precision.value}"
    if other.latency.p50_ci95[0] <= best.latency.p50_ci95[1]:
        words += " (within the noise of this machine: the intervals of the medians overlap)"
    return words


def _why_untimed(best: Candidate, candidates: Sequence[Candidate], target: Target) -> str:
    return _why(
        best,
        candidates,
        f"nothing was timed, because this machine is not {target.name}; {best.precision.value} "
        "passes the gate and is the first choice for it until it is timed there",
    )


def _why(best: Candidate, candidates: Sequence[Candidate], opening: str = "") -> str:
    parts = [opening or f"{best.precision.value} is the fastest that passes the gate"]
    for other in candidates:
        if other is best:
            continue
        if not other.golden_passed:
            parts.append(f"{other.precision.value} gives other results on this machine")
        elif not other.gate.passed:
            parts.append(f"{other.precision.value} was refused: {other.gate.refusal}")
        else:
            parts.append(_faster(best, other))
    return ", ".join(parts) + "."
