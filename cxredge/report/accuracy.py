"""Accuracy: confusion matrix, ROC curves, reliability, metrics by class, changed decisions."""

from __future__ import annotations

from cxredge import plots
from cxredge.artifacts.records import UNSET
from cxredge.errors import quoted
from cxredge.report import numbers
from cxredge.report.blocks import Block, Facts, Figure, Missing, Part, Section, Table
from cxredge.report.reported_bundle import ReportedBundle
from cxredge.report.rightness import within_sources
from cxredge.results.evaluation import ClassMetrics, Evaluation

_MAX_FLIPPED = 100
_UNIT = (0.0, 1.0)


def accuracy_section(reported: ReportedBundle) -> Section:
    """Show each evaluation of the precision that serves, and list all others."""
    title = "Accuracy"
    shown = [r for r in reported.evaluations if r.precision is reported.precision]
    if not shown:
        missing = Missing(
            "Accuracy", f"cxredge evaluate {quoted(reported.name)} MANIFEST --split test"
        )
        return Section(title, (missing, *_all_evaluations(reported)))
    blocks: list[Block] = []
    for number, result in enumerate(shown, 1):
        if len(shown) > 1:
            which = "shown in the headlines" if number == 1 else "another set of images"
            blocks.append(Part(f"{evaluation_name(result)}: {which}"))
        blocks += [
            _overall(result),
            _confusion(result),
            _roc(result),
            _reliability(result),
            _by_class(result),
            *([within_sources(result)] if result.auroc_within_source else []),
        ]
    return Section(title, (*blocks, *_all_evaluations(reported)))


def evaluation_name(result: Evaluation) -> str:
    """Return what was evaluated: the manifest by its hash, and the split."""
    return f"Manifest {result.manifest_sha256[:12]}, split '{result.split.value}'"


def flipped_table(result: Evaluation) -> Table:
    """List the images classified differently from FP32, by their position in the split."""
    flipped = result.flipped
    rows = tuple(
        (
            "not stated" if row.index is UNSET else f"image {row.index}",
            row.label,
            f"{row.fp32} {numbers.share(row.probability_fp32)}",
            f"{row.now} {numbers.share(row.probability_now)}",
            effect(row.label, row.fp32, row.now),
        )
        for row in flipped[:_MAX_FLIPPED]
    )
    left_out = len(flipped) - len(rows)
    note = (
        f"Numbered by their position in split '{result.split.value}', from 0: file names may name "
        "patients."
    )
    if left_out > 0:
        note += f" {left_out} more are in the result file."
    return Table(
        f"Decisions that differ from FP32 in the evaluation: {len(flipped)} of {result.images}",
        ("image", "true class", "FP32", result.precision.value.upper(), "effect"),
        rows,
        note,
    )


def effect(label: str, fp32: str, now: str) -> str:
    """Return the effect of a changed decision.

    Args:
        label: The true class.
        fp32: The class that FP32 predicts.
        now: The class that the other precision predicts.
    """
    if now == label:
        return "now right"
    return "now wrong" if fp32 == label else "wrong in both"


def _overall(result: Evaluation) -> Facts:
    return Facts(
        "",
        (
            (
                "Images",
                f"{numbers.count(result.images)} of {numbers.count(result.patients)} "
                f"patients, split '{result.split.value}'",
            ),
            ("Accuracy", numbers.share(result.accuracy, result.accuracy_ci95)),
            ("Macro F1", numbers.fraction(result.macro_f1, result.macro_f1_ci95)),
            ("AUROC (mean of classes)", numbers.fraction(result.auroc, result.auroc_ci95)),
            (
                "Calibration error",
                f"{numbers.fraction(result.calibration_error, result.calibration_error_ci95)}: "
                "mean difference of the stated probability from the share that is right",
            ),
            (
                "Intervals",
                "95%; Wilson for shares of images, bootstrap over patients for the others",
            ),
        ),
    )


def _confusion(result: Evaluation) -> Figure:
    names, counts = result.classes, result.confusion
    return Figure(
        "Confusion matrix",
        plots.heat_table("Confusion matrix", names, counts),
        "Images by true class (rows) and predicted class (columns); percentages of the row.",
        Table(
            "Confusion matrix (rows: true class; columns: predicted class)",
            ("true class", *names),
            tuple((name, *map(str, row)) for name, row in zip(names, counts, strict=True)),
        ),
    )


def _roc(result: Evaluation) -> Figure:
    by_class = result.by_class
    lines = [
        plots.Line(
            f"{name} {numbers.fraction(by_class[name].auroc)}",
            curve.false_positive_rate,
            curve.true_positive_rate,
            _operating_point(by_class[name]),
        )
        for name, curve in result.roc.items()
    ]
    return Figure(
        "ROC curves",
        plots.line_chart(
            "ROC curves, one class versus the rest",
            plots.Axis("1 \N{MINUS SIGN} specificity", *_UNIT),
            plots.Axis("sensitivity", *_UNIT),
            lines,
            diagonal=True,
        ),
        "One class versus the rest, with its AUROC. Dots: operating thresholds. Dashed line: "
        "chance.",
    )


def _operating_point(row: ClassMetrics) -> tuple[plots.Dot, ...]:
    if row.specificity is None or row.sensitivity is None:
        return ()
    return (plots.Dot(1 - row.specificity, row.sensitivity),)


def _reliability(result: Evaluation) -> Figure:
    bins, images = result.reliability, result.images
    x, y = [b.confidence for b in bins], [b.accuracy for b in bins]
    # Readers compare areas, not radii.
    dots = [plots.Dot(b.confidence, b.accuracy, 3 + 11 * (b.count / images) ** 0.5) for b in bins]
    return Figure(
        "Reliability",
        plots.line_chart(
            "Reliability: accuracy by predicted probability",
            plots.Axis("predicted probability", *_UNIT),
            plots.Axis("accuracy", *_UNIT),
            [plots.Line("bins of the top probability", x, y, dots)],
            diagonal=True,
        ),
        "Accuracy of the top class by its predicted probability. On the dashed line, "
        "probabilities are calibrated. The area of a dot grows with its number of images.",
        Table(
            "Reliability",
            ("probability", "images", "mean probability", "accuracy"),
            tuple(
                (
                    f"{b.low:.1f} to {b.high:.1f}",
                    str(b.count),
                    numbers.share(b.confidence),
                    numbers.share(b.accuracy),
                )
                for b in bins
            ),
        ),
    )


def _by_class(result: Evaluation) -> Table:
    return Table(
        "Metrics by class",
        ("class", "images", "recall", "AUROC", "threshold", "sensitivity", "specificity"),
        tuple(
            (
                name,
                numbers.count(row.images),
                numbers.share(row.recall, row.recall_ci95),
                numbers.fraction(row.auroc, row.auroc_ci95),
                numbers.fraction(row.threshold),
                numbers.share(row.sensitivity, row.sensitivity_ci95),
                numbers.share(row.specificity, row.specificity_ci95),
            )
            for name, row in result.by_class.items()
        ),
        "In brackets: 95% intervals. Recall is that of the most probable class; sensitivity and "
        "specificity are those at the operating threshold, which was set on validation images.",
    )


def _all_evaluations(reported: ReportedBundle) -> tuple[Table, ...]:
    if len(reported.evaluations) < (1 if reported.evaluation is None else 2):
        return ()
    rows = tuple(
        (
            r.precision.value.upper(),
            r.split.value,
            numbers.count(r.images),
            numbers.share(r.accuracy, r.accuracy_ci95),
            numbers.fraction(r.macro_f1, r.macro_f1_ci95),
            numbers.fraction(r.auroc, r.auroc_ci95),
            r.manifest_sha256[:12],
        )
        for r in reported.evaluations
    )
    header = ("precision", "split", "images", "accuracy", "macro F1", "AUROC", "manifest")
    return (Table("All evaluations of this bundle", header, rows),)
