"""The precisions and runtimes that could ship, and the result of a build."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from cxredge.build.speed import Variant
from cxredge.bundle.bundle import Bundle
from cxredge.bundle.operating_point import OperatingPoint
from cxredge.bundle.serving import Serving, Speed, TimedCandidate
from cxredge.gate.gate import GateResult
from cxredge.vocabulary import Precision


@dataclass(frozen=True)
class Candidate:
    """One precision in one runtime that could ship.

    Attributes:
        variant: The runtime, the precision, and the file that it loads: the ONNX file or, if one
            was built, the engine.
        gate: The comparison with FP32 on held-out images.
        speed: Its speed on this machine; None if this machine is not the target.
        golden_passed: The golden images have the expected results on this machine.
        operating_point: Its limits; None where a bundle is finished, whose card has them.
    """

    variant: Variant
    gate: GateResult
    speed: Speed | None = None
    golden_passed: bool = True
    operating_point: OperatingPoint | None = None

    @property
    def precision(self) -> Precision:
        """Its precision."""
        return self.variant.precision

    @property
    def passed(self) -> bool:
        """Whether it may ship."""
        return self.gate.passed and self.golden_passed

    @property
    def near_ties(self) -> float:
        """Share of the compared images that FP32 decides for it."""
        found = self.gate.near_ties if self.gate.cascade else None
        return found.share if found else 0.0

    @property
    def p50_ms(self) -> float:
        """Median latency of one image; infinite if not timed."""
        return self.speed.latency.p50 if self.speed else math.inf

    def timed(self) -> TimedCandidate:
        """Return the candidate as a passport lists it."""
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


class Choice(NamedTuple):
    """The candidate that ships.

    Attributes:
        candidate: The candidate.
        reason: Reason for the choice, in a sentence.
    """

    candidate: Candidate
    reason: str


@dataclass(frozen=True)
class BuildResult:
    """Result of a build, or of finishing a bundle on its device.

    Attributes:
        bundle: The bundle; its files were checked.
        gate: The comparison of the precision that ships with FP32.
        candidates: All candidates, each with its comparison with FP32.
        reason: Reason for the choice, in a sentence.
        left_out: Reason, in a sentence, by precision that has no engine on this machine.
        archive: The bundle as one file, if it was packed.
    """

    bundle: Bundle
    gate: GateResult
    candidates: tuple[tuple[TimedCandidate, GateResult], ...]
    reason: str
    left_out: Mapping[str, str] = field(default_factory=dict)
    archive: Path | None = None


def listed(candidates: Sequence[Candidate]) -> tuple[tuple[TimedCandidate, GateResult], ...]:
    """Return the candidates of a result, which outlive the files that were measured."""
    return tuple((candidate.timed(), candidate.gate) for candidate in candidates)


def serving(candidates: Sequence[Candidate], choice: Choice) -> Serving:
    """Return the part of a passport that describes a choice.

    Args:
        candidates: All candidates, timed on this machine.
        choice: The one that serves.
    """
    chosen, reason = choice
    timed = sorted((c for c in candidates if c.speed), key=lambda c: c.p50_ms, reverse=True)
    return Serving(
        backend=chosen.variant.backend,
        precision=chosen.precision,
        engine=chosen.variant.model.name,
        speed=chosen.speed,
        # The fastest runtime of a precision comes last and stays.
        latencies={c.precision: c.speed.latency for c in timed if c.speed},
        candidates=[candidate.timed() for candidate in candidates],
        reason=reason,
    )
