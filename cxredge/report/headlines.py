"""The headline numbers of a bundle, including those not measured."""

from __future__ import annotations

from cxredge.gate.gate import GateResult
from cxredge.metrics import classification as metrics
from cxredge.metrics.controls import Controls, objections
from cxredge.metrics.latency import LEAST_COUNTS
from cxredge.metrics.near_ties import NearTies
from cxredge.report import numbers
from cxredge.report.benches import bench_names, joules_per_image, on_target
from cxredge.report.page import Headline
from cxredge.report.reported_bundle import ReportedBundle
from cxredge.results.bench import BenchResult
from cxredge.results.evaluation import Interval
from cxredge.vocabulary import Precision, Scenario

_EVALUATE, _BENCH = "cxredge evaluate", "cxredge bench"


def headlines(reported: ReportedBundle) -> tuple[Headline, ...]:
    """Return accuracy, agreement with FP32 and size, then latency, throughput and energy."""
    return (
        _accuracy(reported),
        _lowest_sensitivity(reported),
        _agreement(reported),
        _size(reported),
        _latency(reported, "p50"),
        _latency(reported, "p90"),
        _throughput(reported),
        _energy(reported),
    )


def gate_of(reported: ReportedBundle) -> GateResult | None:
    """Return the gate's result for what serves, precision and runtime; None without a bundle."""
    if reported.bundle is None:
        return None
    return reported.bundle.card.facts.gate_of(reported.precision, reported.bundle.backend)


def controls_of(reported: ReportedBundle) -> Controls:
    """Return what controls are called: in the evaluation, else at build; empty without any."""
    if reported.evaluation is not None and reported.evaluation.controls:
        return reported.evaluation.controls
    gate = gate_of(reported)
    return gate.controls if gate is not None else {}


def _as_served(gate: GateResult) -> GateResult | NearTies:
    """Return the part of a gate's result with accuracy and agreement of what serves."""
    return gate.near_ties if gate.cascade and gate.near_ties else gate


def _accuracy(reported: ReportedBundle) -> Headline:
    result, gate, label = reported.evaluation, gate_of(reported), "Accuracy"
    if result is not None:
        value, ci95 = result.accuracy, result.accuracy_ci95
        detail = f"{numbers.count(result.images)} images, split '{result.split.value}'"
        detail += _contradicted(reported)
    elif gate is not None and reported.bundle is not None:
        value, images = _as_served(gate).accuracy, gate.images
        ci95 = metrics.wilson(round(value * images), images)
        split = reported.bundle.card.config.split.value
        detail = f"at build: {numbers.count(images)} images, split '{split}'"
        detail += _contradicted(reported)
    else:
        return _unmeasured(label, _EVALUATE)
    return _share(label, value, ci95, detail)


def _lowest_sensitivity(reported: ReportedBundle) -> Headline:
    label = "Lowest sensitivity of a class"
    rows = reported.evaluation.by_class if reported.evaluation else {}
    known = [
        (row.sensitivity, row.sensitivity_ci95, name)
        for name, row in rows.items()
        if row.sensitivity is not None and row.sensitivity_ci95 is not None
    ]
    if not known:
        return _unmeasured(label, _EVALUATE)
    value, ci95, name = min(known, key=lambda one: one[0])
    detail = f"of {name}, at its operating threshold{_contradicted(reported)}"
    return _share(label, value, ci95, detail)


def _contradicted(reported: ReportedBundle) -> str:
    """Return words if controls are called the classes as well; else nothing."""
    return "; controls get a class as well" if objections(controls_of(reported)) else ""


def _agreement(reported: ReportedBundle) -> Headline:
    label = "Agreement with FP32"
    if reported.precision is Precision.FP32:
        return Headline(label, "is FP32", "FP32 serves")
    result, gate = reported.evaluation, gate_of(reported)
    if result is not None:
        value, images = result.agreement_fp32, result.images
        near = result.cascade.near if result.cascade else 0
    elif gate is not None:
        value, images = _as_served(gate).agreement, gate.images
        near = gate.near_ties.near if gate.cascade and gate.near_ties else 0
    else:
        return _unmeasured(label, _EVALUATE)
    detail = "same class on the same images" + ("" if result else ", at build")
    if near:
        detail += f"; FP32 decided {numbers.share(near / images)} of them, the near ties"
    return _share(label, value, metrics.wilson(round(value * images), images), detail)


def _size(reported: ReportedBundle) -> Headline:
    if reported.bundle is None:
        return Headline("Size", numbers.MISSING, "the bundle was not given")
    files = [reported.bundle.engine]
    if reported.bundle.cascade_margin is not None:
        files.append(reported.bundle.engine_of(Precision.FP32))
    size = sum(file.stat().st_size for file in files)
    names = " and ".join(file.name for file in files)
    return Headline("Size", numbers.megabytes(size), names, size / 1e6)


def _latency(reported: ReportedBundle, percentile: str) -> Headline:
    label = "Latency, median" if percentile == "p50" else "Latency, 90th percentile"
    result = reported.bench
    if result is None:
        return _unmeasured(label, _BENCH, reported)
    found = result.latency_ms.percentile(percentile)
    if found is None:
        least = LEAST_COUNTS[percentile]
        detail = f"{result.latency_ms.count} of at least {least}; {_name(reported, result)}"
        return Headline(label, numbers.TOO_FEW, detail)
    _, value, (low, high) = found
    between = f"95%: {numbers.significant(low)}\N{EN DASH}{numbers.significant(high)} ms"
    text, detail = numbers.milliseconds(value), f"{between}; {_name(reported, result)}"
    return Headline(label, text, detail, value, (low, high))


def _throughput(reported: ReportedBundle) -> Headline:
    """Return the throughput, preferably of the offline scenario, which measures it."""
    of_precision = [
        r for r in reported.benches if r.precision is reported.precision and on_target(r)
    ]
    offline = (r for r in of_precision if r.scenario is Scenario.OFFLINE)
    result = next(offline, reported.bench)
    if result is None:
        return _unmeasured("Images per second", _BENCH, reported)
    value = result.throughput
    detail = f"{_name(reported, result)}; threads: {result.threads}"
    return Headline("Images per second", numbers.significant(value), detail, value)


def _energy(reported: ReportedBundle) -> Headline:
    label = "Energy per image"
    if reported.bench is None:
        return _unmeasured(label, _BENCH, reported)
    value = joules_per_image(reported.bench)
    if value is None:
        return Headline(label, "not measured", "this machine does not report its power")
    return Headline(label, numbers.joules(value), _name(reported, reported.bench), value)


def _name(reported: ReportedBundle, result: BenchResult) -> str:
    return bench_names(reported.benches)[reported.benches.index(result)]


def _unmeasured(label: str, command: str, reported: ReportedBundle | None = None) -> Headline:
    """Return a headline without a value; times of another machine are not the target's."""
    elsewhere = reported.bench_elsewhere if reported and command == _BENCH else None
    if elsewhere is None:
        return Headline(label, "not measured", f"run {command}")
    return Headline(label, "not measured", f"on {elsewhere.target}; run {command} there")


def _share(label: str, value: float, ci95: Interval, detail: str) -> Headline:
    between = f"95%: {numbers.bounds(ci95, 100, 1).strip(' ()')}%"
    return Headline(label, numbers.share(value), f"{between}; {detail}", value, ci95)
