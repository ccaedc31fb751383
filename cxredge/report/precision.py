"""Comparison of the precisions of a bundle: accuracy, size and latency."""

from __future__ import annotations

from pathlib import Path

from cxredge.artifacts.quantization_record import QuantizationSummary
from cxredge.backends import CPU_BACKENDS
from cxredge.bundle.bundle import Bundle
from cxredge.bundle.passport import Passport
from cxredge.bundle.serving import Throughput
from cxredge.errors import quoted
from cxredge.gate.gate import GateResult
from cxredge.metrics.latency import Latency
from cxredge.report import numbers
from cxredge.report.accuracy import flipped_table
from cxredge.report.blocks import Block, Facts, Missing, Section, Sentences, Table
from cxredge.report.circumstances import machine_facts
from cxredge.report.gate import gate_blocks, in_runtime
from cxredge.report.int8_layers import layer_blocks
from cxredge.report.reported_bundle import ReportedBundle
from cxredge.vocabulary import Precision


def precision_section(reported: ReportedBundle, pictures: bool) -> Section:
    """Compare the precisions of a bundle; without a bundle, show the changed decisions only.

    Args:
        reported: The bundle.
        pictures: Whether to show X-rays with changed decisions; they come from the data set.
    """
    blocks: list[Block] = []
    if reported.bundle is not None:
        blocks += _of_bundle(reported.bundle, pictures)
    result = reported.evaluation
    if result is None:
        command = f"cxredge evaluate {quoted(reported.name)} MANIFEST --split test"
        blocks.append(Missing("Decisions that differ from FP32", command))
    elif result.precision is Precision.FP32:
        blocks.append(Sentences("", ("FP32 itself serves.",)))
    elif result.flipped:
        blocks.append(flipped_table(result))
    else:
        line = f"All {numbers.count(result.images)} decisions agree with FP32."
        blocks.append(Sentences("", (line,)))
    if result is not None and result.cascade:
        near, images = result.cascade.near, result.cascade.images
        line = (
            f"FP32 decided {numbers.count(near)} of {numbers.count(images)} images "
            f"({numbers.share(near / images)}), the near ties."
        )
        blocks.append(Sentences("", (line,)))
    return Section("FP32 against INT8", tuple(blocks))


def _of_bundle(bundle: Bundle, pictures: bool) -> list[Block]:
    blocks: list[Block] = [_candidates(bundle), *gate_blocks(bundle, pictures)]
    quantization = bundle.card.facts.quantization
    if quantization:
        blocks += [_quantization(quantization), _steps(quantization)]
        blocks += layer_blocks(quantization.layers, quantization.judged_on.value)
    if bundle.passport is None:
        blocks.append(
            Missing("Latency of each precision", f"cxredge deploy {quoted(bundle.path.name)}")
        )
    else:
        if bundle.passport.throughput:
            blocks.append(_runtimes(bundle.passport))
        blocks.append(
            machine_facts("Machine on which the precision was chosen", bundle.passport.machine)
        )
    return blocks


def _candidates(bundle: Bundle) -> Table:
    timings = bundle.passport.latency_ms if bundle.passport else {}
    rows = []
    for precision in bundle.precisions:
        gate = bundle.card.facts.gate_of(precision, bundle.backend)
        latency = timings.get(precision)
        serves = " (serves)" if precision is bundle.precision else ""
        rows.append(
            (
                precision.value.upper() + serves,
                numbers.share(gate.accuracy),
                _against_fp32(precision, gate),
                numbers.share(gate.agreement, gate.agreement_ci95),
                numbers.megabytes(_file(bundle, precision).stat().st_size),
                *_percentiles(latency),
                "passed" if gate.passed else "refused",
            )
        )
    split, images = bundle.card.config.split.value, bundle.card.facts.gate[Precision.FP32].images
    return Table(
        "Precisions in this bundle",
        (
            "precision",
            "accuracy",
            "difference from FP32",
            "agreement with FP32",
            "size",
            "p50",
            "p90",
            "gate",
        ),
        tuple(rows),
        f"Compared at build on {numbers.count(images)} images of split '{split}'"
        f"{in_runtime(bundle)}, each precision alone. Latency: one image, the network alone "
        "in its fastest runtime, measured in turn on one machine. In brackets: 95% intervals.",
    )


def _percentiles(latency: Latency | None) -> tuple[str, str]:
    if latency is None:
        return numbers.milliseconds(None), numbers.milliseconds(None)
    return numbers.percentile(latency, "p50"), numbers.percentile(latency, "p90")


def _runtimes(passport: Passport) -> Table:
    rows = []
    for candidate in passport.candidates:
        latency, many = candidate.latency_ms, candidate.throughput
        if latency is None or many is None:
            continue
        chosen = (passport.backend, passport.precision)
        serves = (candidate.backend, candidate.precision) == chosen
        rows.append(
            (
                CPU_BACKENDS[candidate.backend] + (" (serves)" if serves else ""),
                candidate.precision.value.upper(),
                numbers.share(candidate.agreement),
                numbers.percentile(latency, "p50"),
                numbers.plain(candidate.threads),
                numbers.count(round(many.images_per_second)),
                _parallel(many),
                "yes" if candidate.passed else "no",
            )
        )
    return Table(
        "Runtimes on this machine",
        (
            "runtime",
            "precision",
            "agreement with FP32",
            "one image, p50",
            "threads",
            "images per second",
            "parallel inferences",
            "gate and golden images",
        ),
        tuple(rows),
        "Agreement: each precision alone, without FP32 for near ties. Latency: the network alone, "
        "each with its best settings. In brackets: 95% intervals.",
    )


def _parallel(many: Throughput) -> str:
    threads = "1 thread" if many.threads == 1 else f"{many.threads} threads"
    return f"{many.lanes} with {threads}, batch {many.batch}"


def _file(bundle: Bundle, precision: Precision) -> Path:
    """Return the file that serves a precision, or its model if it has no engine."""
    runs = precision in bundle.runnable
    return bundle.engine_of(precision) if runs else bundle.model_of(precision)


def _against_fp32(precision: Precision, gate: GateResult) -> str:
    if precision is Precision.FP32:
        return "is FP32"
    difference = gate.accuracy - gate.accuracy_fp32
    return numbers.points(difference, gate.accuracy_difference_ci95)


def _quantization(quantization: QuantizationSummary) -> Facts:
    size, of_fp32 = quantization.size_bytes, quantization.size_bytes_fp32
    kept = "; weights are float32 in the file, INT8 in an engine" if size > of_fp32 / 2 else ""
    return Facts(
        "Quantization",
        (
            ("Dialect", numbers.plain(quantization.dialect.value)),
            ("Calibration images", numbers.plain(quantization.calibration_images)),
            ("Size", f"{size / 1e6:.1f} MB, FP32 {of_fp32 / 1e6:.1f} MB{kept}"),
        ),
    )


def _steps(quantization: QuantizationSummary) -> Table:
    return Table(
        f"Effect of each quantization step, on {quantization.judged_on.value} images",
        ("after", "agreement with FP32", "accuracy", "logit error"),
        tuple(
            (
                step.step,
                numbers.share(step.agreement),
                numbers.share(step.accuracy),
                numbers.fraction(step.logit_error),
            )
            for step in quantization.steps
        ),
        f"Chosen: {quantization.chosen}. Logit error: root mean square difference from FP32's "
        "logits over that of FP32's own.",
    )
