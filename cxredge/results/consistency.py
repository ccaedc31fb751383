"""Contradictions in a result: each figure is recomputed from what it derives from."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cxredge.metrics.classification import wilson
from cxredge.metrics.latency import summarise
from cxredge.metrics.number_types import as_different_texts
from cxredge.results.answered_consistency import of_answers
from cxredge.results.bench import BenchResult
from cxredge.results.coverage_consistency import of_coverage
from cxredge.results.evaluation import ClassMetrics, Evaluation, Interval

_ROUNDING = 1e-6
_RATES = 1e-4
"""Rounding of the rates of a ROC curve, which are written with four decimals."""
_MILLISECONDS = 1e-3
_MEAN = 2e-4
"""Rounding of a mean of latencies that are rounded too."""
_SECONDS = 1e-3
_RELATIVE = 1e-3


def contradictions(result: Evaluation | BenchResult) -> Iterator[str]:
    """Yield what contradicts itself in a result, a clause each; nothing in a result as written."""
    if isinstance(result, BenchResult):
        yield from _of_bench(result)
    elif not _is_square(result):
        yield (
            f"the confusion matrix must have {len(result.classes)} rows and columns, one for each "
            "class"
        )
    else:
        yield from _of_evaluation(result)


def _is_square(result: Evaluation) -> bool:
    count = len(result.classes)
    return len(result.confusion) == count and all(len(row) == count for row in result.confusion)


def _of_evaluation(result: Evaluation) -> Iterator[str]:
    counts = np.array(result.confusion)
    images, right = int(counts.sum()), int(np.trace(counts))
    if images != result.images or not images:
        yield f"'images' is {result.images}, but the confusion matrix counts {images}"
        return
    yield from _share("accuracy", result.accuracy, result.accuracy_ci95, right, images)
    yield from _differs("macro_f1", result.macro_f1, _macro_f1(counts), "the confusion matrix")
    yield from _of_classes(result, counts)
    yield from _against_fp32(result, right)
    yield from _of_bins(result, right)
    yield from of_answers(result)
    if result.coverage is not None:
        yield from of_coverage(result.coverage, result.classes, counts.sum(axis=1).tolist())
        sets = result.coverage.images
        if result.answered and sets != result.images - result.answered.refused:
            yield f"{result.images - result.answered.refused} images are answered, {sets} have sets"


def _macro_f1(counts: np.ndarray) -> float:
    hits, support = np.diag(counts), counts.sum(axis=1)
    present = support > 0
    total = (support + counts.sum(axis=0))[present]
    return float(np.mean(2 * hits[present] / np.maximum(total, 1)))


def _of_classes(result: Evaluation, counts: np.ndarray) -> Iterator[str]:
    if set(result.by_class) != set(result.classes):
        yield f"'by_class' must hold {', '.join(result.classes)}, one entry for each class"
        return
    for index, name in enumerate(result.classes):
        row, images = result.by_class[name], int(counts[index].sum())
        if row.images != images:
            yield f"'{name}' has {row.images} images, but the confusion matrix counts {images}"
            return
        hits, others = int(counts[index, index]), result.images - images
        yield from _share(f"recall of {name}", row.recall, row.recall_ci95, hits, images)
        yield from _whole(f"sensitivity of {name}", row.sensitivity, row.sensitivity_ci95, images)
        yield from _whole(f"specificity of {name}", row.specificity, row.specificity_ci95, others)
        yield from _on_curve(result, name, row)
        yield from _of_curve(result, name, images, others)
        repeated = result.sensitivity.get(name)
        yield from _differs(f"sensitivity of {name}", repeated, row.sensitivity, "'by_class'")
    areas = [result.by_class[name].auroc for name in result.roc if name in result.by_class]
    known = [area for area in areas if area is not None]
    mean = float(np.mean(known)) if known and len(known) == len(areas) else None
    yield from _differs("auroc", result.auroc, mean, "the mean of the classes")


def _on_curve(result: Evaluation, name: str, row: ClassMetrics) -> Iterator[str]:
    """Compare the area of a class, and its rates at the threshold, with its ROC curve."""
    curve = result.roc.get(name)
    if curve is None:
        return
    false, true = np.array(curve.false_positive_rate), np.array(curve.true_positive_rate)
    if row.auroc is not None:
        area = float(np.sum(np.diff(false) * (true[1:] + true[:-1]) / 2))
        if abs(area - row.auroc) > 5 * _RATES:
            stated, computed = as_different_texts(row.auroc, area)
            yield f"AUROC of {name} is {stated}, but the area below its curve is {computed}"
    if row.sensitivity is not None and row.specificity is not None:
        distance = np.maximum(abs(false - 1 + row.specificity), abs(true - row.sensitivity))
        if not len(distance) or distance.min() > _RATES:
            yield (
                f"sensitivity {row.sensitivity:.4f} and specificity {row.specificity:.4f} of "
                f"{name} are not a point of its ROC curve"
            )


def _of_curve(result: Evaluation, name: str, positives: int, negatives: int) -> Iterator[str]:
    """Check that the rates of a ROC curve ascend from 0 to 1 in steps of whole images."""
    curve = result.roc.get(name)
    if curve is None:
        return
    for rates, images in (
        (np.array(curve.false_positive_rate), negatives),
        (np.array(curve.true_positive_rate), positives),
    ):
        counts = rates * images
        whole = np.abs(counts - counts.round()) <= images * _RATES
        ascends = len(rates) > 1 and not rates[0] and bool((np.diff(rates) >= 0).all())
        if not (ascends and whole.all() and rates[-1] == (1 if images else 0)):
            yield f"the rates of the ROC curve of {name} are not those of {images} images"


def _against_fp32(result: Evaluation, right: int) -> Iterator[str]:
    same = result.images - len(result.flipped)
    yield from _share(
        "agreement_fp32", result.agreement_fp32, result.agreement_fp32_ci95, same, result.images
    )
    gained = sum((f.now == f.label) - (f.fp32 == f.label) for f in result.flipped)
    of_fp32 = (right - gained) / result.images
    yield from _differs("accuracy_fp32", result.accuracy_fp32, of_fp32, "the changed decisions")
    yield from _differs(
        "accuracy_difference_fp32",
        result.accuracy_difference_fp32,
        gained / result.images,
        "the changed decisions",
    )


def _of_bins(result: Evaluation, right: int) -> Iterator[str]:
    bins = result.reliability
    images = sum(one.count for one in bins)
    hits = sum(one.count * one.accuracy for one in bins)
    if images != result.images or abs(hits - right) > 0.01:
        yield (
            f"the bins of the reliability diagram hold {images} images, {hits:.0f} of them right; "
            f"the confusion matrix {result.images}, {right} of them right"
        )
        return
    gaps = sum(one.count * abs(one.accuracy - one.confidence) for one in bins) / images
    yield from _differs("calibration_error", result.calibration_error, gaps, "its bins")


def _share(
    name: str, value: float | None, ci95: Interval | None, hits: int, total: int
) -> Iterator[str]:
    """Compare a share and Wilson's interval with the counts that they derive from."""
    if not total:
        if value is not None:
            yield f"{name} is {value:.4f}, but there are no images"
        return
    if value is None or abs(value - hits / total) > _ROUNDING:
        stated, computed = as_different_texts(value, hits / total)
        yield f"{name} is {stated}, but {hits} of {total} images make {computed}"
        return
    low, high = wilson(hits, total)
    if ci95 is None or max(abs(ci95[0] - low), abs(ci95[1] - high)) > _ROUNDING:
        yield f"the interval of {name} is not Wilson's, {low:.4f} to {high:.4f}"


def _whole(name: str, value: float | None, ci95: Interval | None, total: int) -> Iterator[str]:
    """Compare a share of images, whose hits are not stated, with their number."""
    hits = 0 if value is None else round(value * total)
    yield from _share(name, value, ci95, hits, total)


def _differs(name: str, value: float | None, found: float | None, origin: str) -> Iterator[str]:
    if value is None and found is None:
        return
    if value is None or found is None or abs(value - found) > _ROUNDING:
        stated, computed = as_different_texts(value, found)
        yield f"{name} is {stated}, not {computed} as computed from {origin}"


def _of_bench(result: BenchResult) -> Iterator[str]:
    latency, queries = result.latency_ms, result.queries
    if latency.count != queries.count:
        yield f"'queries' counts {queries.count}, but 'latency_ms' {latency.count}"
    if result.verdict.comparable == bool(result.verdict.reasons):
        yield f"'comparable' is {result.verdict.comparable} with {_reasons(result)} against it"
    if latency.count < queries.needed and result.verdict.comparable:
        yield f"'comparable' is true with {latency.count} of {queries.needed} queries"
    if not result.accuracy.golden.passed and result.verdict.comparable:
        yield "'comparable' is true, but the golden images have different results"
    for name, one in {"query": latency, **result.stages_ms}.items():
        if not one.p50 <= one.p90 <= one.p99:
            yield f"the percentiles of '{name}' are not in ascending order"
    yield from _of_rate(result)
    yield from _of_histogram(result)
    yield from _of_score(result)
    yield from _of_accuracy(result)


def _reasons(result: BenchResult) -> str:
    count = len(result.verdict.reasons)
    return "one reason" if count == 1 else f"{count or 'no'} reasons"


def _of_rate(result: BenchResult) -> Iterator[str]:
    """Compare images per second with images and seconds, which are rounded."""
    samples, seconds = result.queries.samples, result.seconds
    low = samples / (seconds + _SECONDS)
    high = samples / (seconds - _SECONDS) if seconds > _SECONDS else float("inf")
    if not low - _SECONDS <= result.throughput <= high + _SECONDS:
        yield (
            f"throughput is {result.throughput:.2f}, but {samples} images in {seconds:.3f} s make "
            f"{samples / max(seconds, _SECONDS):.2f} per second"
        )


def _of_histogram(result: BenchResult) -> Iterator[str]:
    """Compare the summary with the latencies, unless only some of these are kept."""
    values, stated = result.histogram_ms, result.latency_ms
    if len(values) != stated.count:
        return
    found = summarise(values)
    for name in ("p50", "p90", "p99", "mean", "cv"):
        one, other = getattr(stated, name), getattr(found, name)
        if abs(one - other) > (_MEAN if name == "mean" else _MILLISECONDS):
            stated_ms, computed = as_different_texts(one, other, 3)
            yield f"{name} is {stated_ms}, but that of the latencies is {computed}"
    for name in ("p50_ci95", "p90_ci95", "p99_ci95"):
        bounds = zip(getattr(stated, name), getattr(found, name), strict=True)
        if any(abs(one - other) > _MILLISECONDS for one, other in bounds):
            yield f"the interval {name} is not that of the latencies"


def _of_score(result: BenchResult) -> Iterator[str]:
    score, latency = result.score, result.latency_ms
    if result.loadgen is not None:
        return
    if score.percentile is None:
        found, unit = result.throughput, "images per second"
    else:
        known = {50: latency.p50, 90: latency.p90, 99: latency.p99}
        found, unit = known.get(score.percentile, score.value), "ms"
    if abs(score.value - found) > _MILLISECONDS + _RELATIVE * abs(found):
        stated, computed = as_different_texts(score.value, found, 3)
        yield f"the score is {stated} {unit}, but the queries give {computed}"


def _of_accuracy(result: BenchResult) -> Iterator[str]:
    found = result.accuracy
    interval = found.accuracy_ci95
    if found.accuracy is not None and isinstance(found.images, int) and isinstance(interval, tuple):
        yield from _whole("accuracy", found.accuracy, interval, found.images)
