"""Which candidate is chosen: the fastest that passes, and why no other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cxredge.build.candidates import Candidate
from cxredge.build.choice import choose
from cxredge.build.speed import Variant
from cxredge.bundle.serving import Speed
from cxredge.errors import CxredgeError, GateRefused
from cxredge.gate.gate import GateLimits, compare
from cxredge.metrics.latency import summarise
from cxredge.metrics.near_ties import NearTies
from cxredge.targets import registry
from cxredge.vocabulary import Precision

CPU = registry.find_target("cpu-x86")


def candidate(precision: Precision, milliseconds: float, agreement: float = 1.0) -> Candidate:
    reference = np.tile([2.0, 0.0], (100, 1))
    flipped = reference.copy()
    flipped[: round(100 * (1 - agreement))] = [0.0, 2.0]
    gate = compare(
        reference, flipped, np.zeros(100, int), [str(n) for n in range(100)], GateLimits(1.0, 0.97)
    )
    variant = Variant("onnxruntime", precision, Path("model.onnx"))
    return Candidate(variant, gate, Speed(summarise([milliseconds] * 50)))


def test_auto_takes_the_fastest_that_passes() -> None:
    fp32, int8 = candidate(Precision.FP32, 8.0), candidate(Precision.INT8, 2.0)
    chosen, reason = choose([fp32, int8], None, CPU)
    assert chosen is int8
    assert "4.00 times as fast as fp32" in reason


def test_auto_takes_the_slower_if_the_faster_fails() -> None:
    fp32, int8 = candidate(Precision.FP32, 8.0), candidate(Precision.INT8, 2.0, agreement=0.9)
    chosen, reason = choose([fp32, int8], None, CPU)
    assert chosen is fp32
    assert reason.endswith("int8 was refused: agreement 0.9000 (at least 0.97).")


def test_slower_int8_does_not_ship_though_it_passes() -> None:
    fp32, int8 = candidate(Precision.FP32, 2.0), candidate(Precision.INT8, 8.0)
    assert choose([fp32, int8], None, CPU)[0] is fp32


def with_near_ties(alone: Candidate, near: int) -> Candidate:
    """Have FP32 decide so many of the hundred images."""
    found = NearTies(0.1, 100, images=100, near=near, flipped=0, accuracy=1.0)
    return replace(alone, gate=replace(alone.gate, near_ties=found, cascade=True))


def test_fp32s_time_for_near_ties_counts() -> None:
    fp32, int8 = candidate(Precision.FP32, 8.0), candidate(Precision.INT8, 6.0)
    few, many = with_near_ties(int8, 10), with_near_ties(int8, 30)
    chosen, reason = choose([fp32, few], None, CPU)
    assert chosen is few
    assert "int8 with fp32 for near ties (10.0%) is the fastest" in reason
    assert f"{8 / 6.8:.2f} times as fast as fp32" in reason
    assert choose([fp32, many], None, CPU)[0] is fp32, "6 + 2.4 ms an image"
    elsewhere = replace(few, variant=replace(few.variant, backend="openvino"))
    assert choose([fp32, elsewhere], None, CPU)[0] is fp32, "no FP32 there"


def test_fp32s_time_for_near_ties_counts_also_if_int8_is_requested() -> None:
    fp32 = candidate(Precision.FP32, 8.0)
    int8 = with_near_ties(candidate(Precision.INT8, 2.0), 10)
    slow = with_near_ties(candidate(Precision.INT8, 6.0), 10)
    there = Variant("openvino", Precision.FP32, Path("model.onnx"))
    fp32_there = replace(fp32, variant=there)
    int8_there = replace(int8, variant=replace(there, precision=Precision.INT8))
    chosen, reason = choose([fp32, slow, fp32_there, int8_there], Precision.INT8, CPU)
    assert chosen is int8_there
    assert reason == (
        "int8 was requested and passes the gate, "
        f"{6.8 / 2.8:.2f} times as fast as int8 in ONNX Runtime."
    )


def test_a_ratio_that_is_not_known_is_not_stated() -> None:
    int8 = with_near_ties(candidate(Precision.INT8, 2.0), 10)
    there = replace(int8, variant=replace(int8.variant, backend="openvino"))
    reason = choose([int8, there], Precision.INT8, CPU)[1]
    assert reason.endswith("int8 in OpenVINO also passes.")
    assert "nan" not in reason
    assert "inf" not in reason


def test_overlapping_latencies_are_reported() -> None:
    noisy = summarise([1.0, 5.0] * 50)
    fp32 = replace(candidate(Precision.FP32, 8.0), speed=Speed(noisy))
    int8 = replace(candidate(Precision.INT8, 2.0), speed=Speed(noisy))
    there = replace(int8, variant=Variant("openvino", Precision.INT8, Path("model.onnx")))
    reason = choose([fp32, int8, there], None, CPU)[1]
    assert reason.count(" (within the noise)") == 2
    assert reason.endswith(
        ". Within the noise: on this machine the intervals of the medians overlap."
    )


def test_untimed_candidates_are_taken_in_the_order_of_the_target() -> None:
    given = [
        replace(candidate(precision, 1.0, agreement), speed=None)
        for precision, agreement in (
            (Precision.FP32, 1.0), (Precision.FP16, 1.0), (Precision.INT8, 0.9),
        )
    ]  # fmt: skip
    board = registry.find_target("jetson-orin-nano")
    chosen, reason = choose(given, None, board)
    assert chosen.precision is Precision.FP16
    assert "fp16 passes the gate and is the default" in reason
    assert "fp32 also passes, int8 was refused" in reason
    good = replace(candidate(Precision.INT8, 1.0), speed=None)
    assert choose([*given[:2], good], None, board)[0] is good


def test_what_fails_cannot_be_forced() -> None:
    int8 = candidate(Precision.INT8, 2.0, agreement=0.9)
    with pytest.raises(GateRefused, match=r"int8 refused by the gate: agreement 0\.9000"):
        choose([candidate(Precision.FP32, 8.0), int8], Precision.INT8, CPU)
    with pytest.raises(GateRefused, match="golden images have different results"):
        choose([replace(int8, golden_passed=False)], Precision.INT8, CPU)
    with pytest.raises(CxredgeError, match="There is no int8 candidate; available: fp32"):
        choose([candidate(Precision.FP32, 8.0)], Precision.INT8, CPU)
