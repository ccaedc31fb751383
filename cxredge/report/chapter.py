"""A bundle and its results become a chapter: warnings and headlines first, then the sections."""

from __future__ import annotations

from cxredge import metrics
from cxredge.report import numbers
from cxredge.report.about import (
    data_section,
    provenance_section,
    purpose_section,
    training_section,
)
from cxredge.report.accuracy import accuracy_section
from cxredge.report.latency import bench_name, latency_section
from cxredge.report.page import Chapter, Headline
from cxredge.report.precision import precision_section
from cxredge.report.sources import Result, Source
from cxredge.report.xrays import xray_section
from cxredge.vocabulary import Precision, Scenario, Split


def write_chapter(source: Source, pictures: bool) -> Chapter:
    """Say everything about one source."""
    if source.bundle is not None:
        network = source.bundle.card.classifier.network
        target = str(source.bundle.card.config["target"])
    else:
        results = source.evaluations + source.benches
        network = str(results[0]["network"])
        target = next((str(r["target"]) for r in source.benches), "target not stated")
    return Chapter(
        name=source.name,
        network=network,
        precision=source.precision,
        target=target,
        warnings=_warnings(source),
        headlines=headlines(source),
        sections=(
            purpose_section(source),
            data_section(source),
            training_section(source),
            accuracy_section(source),
            precision_section(source, pictures),
            latency_section(source),
            xray_section(source, pictures),
            provenance_section(source),
        ),
    )


def headlines(source: Source) -> tuple[Headline, ...]:
    """Return the row of large numbers; what was not measured is there and says so."""
    p50, p90 = (_latency(source.bench, p) for p in ("p50", "p90"))
    return (_accuracy(source), _agreement(source), p50, p90, _size(source), _throughput(source))


def _warnings(source: Source) -> tuple[str, ...]:
    found: list[str] = []
    if source.bundle is not None:
        found += source.bundle.card.facts.get("warnings", [])
        if source.precision != Precision.FP32.value:
            found += source.bundle.card.facts["gate"][source.precision]["cautions"]
        if source.bundle.passport is None:
            target = source.bundle.card.config["target"]
            found.append(
                f"Not finished on its target ({target}): nothing was timed or checked there."
            )
    for result in source.evaluations:
        found += result.get("warnings", [])
        if result["split"] != Split.TEST.value:
            found.append(
                f"One evaluation is on '{result['split']}' images, which the network or its "
                "thresholds have seen: it is optimistic."
            )
    for result in source.benches:
        reasons = result["verdict"]["reasons"]
        if reasons:
            found.append(
                f"Latency ({bench_name(result)}) is not comparable with other results: "
                + "; ".join(reasons)
                + "."
            )
    return tuple(dict.fromkeys(found))


def _accuracy(source: Source) -> Headline:
    result = source.evaluation
    if result is not None:
        value, ci95 = result["accuracy"], tuple(result["accuracy_ci95"])
        detail = f"{numbers.count(result['images'])} images, split '{result['split']}'"
    elif source.bundle is not None:
        gate = source.bundle.card.facts["gate"][source.precision]
        value, images = gate["accuracy"], gate["images"]
        ci95 = metrics.wilson(round(value * images), images)
        split = source.bundle.card.config["split"]
        detail = f"at build: {numbers.count(images)} images, split '{split}'"
    else:
        return _unmeasured("Accuracy", "cxredge evaluate")
    return Headline("Accuracy", numbers.share(value), _with(ci95, detail), value, ci95)


def _agreement(source: Source) -> Headline:
    label = "Agreement with FP32"
    if source.precision == Precision.FP32.value:
        return Headline(label, "is FP32", "the reference itself serves")
    result = source.evaluation
    if result is not None:
        value, images = result["agreement_fp32"], result["images"]
    elif source.bundle is not None:
        gate = source.bundle.card.facts["gate"][source.precision]
        value, images = gate["agreement"], gate["images"]
    else:
        return _unmeasured(label, "cxredge evaluate")
    ci95 = metrics.wilson(round(value * images), images)
    detail = "same class on the same images" + ("" if result else ", at build")
    return Headline(label, numbers.share(value), _with(ci95, detail), value, ci95)


def _latency(result: Result | None, percentile: str) -> Headline:
    label = "Latency, median" if percentile == "p50" else "Latency, 90th percentile"
    if result is None:
        return _unmeasured(label, "cxredge bench")
    value, low_high = (result["latency_ms"][key] for key in (percentile, f"{percentile}_ci95"))
    bounds = f"{numbers.significant(low_high[0])}\N{EN DASH}{numbers.significant(low_high[1])} ms"
    return Headline(
        label,
        numbers.milliseconds(value),
        f"95%: {bounds}; {bench_name(result)}",
        value,
        (low_high[0], low_high[1]),
    )


def _size(source: Source) -> Headline:
    if source.bundle is None:
        return Headline("Size", numbers.MISSING, "the bundle was not given")
    size = source.bundle.engine.stat().st_size
    return Headline("Size", numbers.megabytes(size), source.bundle.engine.name, size / 1e6)


def _throughput(source: Source) -> Headline:
    """Prefer the offline scenario, which is there to measure throughput."""
    of_precision = [r for r in source.benches if r["precision"] == source.precision]
    offline = (r for r in of_precision if r["scenario"] == Scenario.OFFLINE.value)
    result = next(offline, source.bench)
    if result is None:
        return _unmeasured("Images a second", "cxredge bench")
    value = result["throughput"]
    detail = f"{bench_name(result)}, {result['threads']} threads"
    return Headline("Images a second", numbers.significant(value), detail, value)


def _unmeasured(label: str, command: str) -> Headline:
    return Headline(label, "not measured", f"run {command}")


def _with(ci95: tuple[float, float], detail: str) -> str:
    return f"95%: {numbers.bounds(ci95, 100, 1).strip(' ()')}%; {detail}"
