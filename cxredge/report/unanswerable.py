"""X-rays that have no right answer, and where in the pictures a network looks."""

from __future__ import annotations

from cxredge.errors import quoted
from cxredge.metrics.controls import OTHER_CLASS, ControlKind, Controls
from cxredge.report import numbers
from cxredge.report.blocks import Block, Missing, Section, Sentences, Table
from cxredge.report.headlines import controls_of
from cxredge.report.reported_bundle import ReportedBundle
from cxredge.results.evaluation import Evaluation

_FAMILIARITY = (
    "Familiarity compares an X-ray with the training images, inside the network. Below 1, the "
    "X-ray is unlike them: it is refused and gets no label (status 'unfamiliar')."
)
_NOT_REFUSED = "This bundle does not measure familiarity and refuses no X-ray: each gets a class."


def unanswerable_section(reported: ReportedBundle) -> Section:
    """Show controls by kind, and how many X-rays of the classes are refused."""
    result = reported.evaluation
    blocks: list[Block] = [Sentences("", (_refusal(reported),))]
    if controls := controls_of(reported):
        blocks.append(_controls(controls))
    else:
        command = (
            "cxredge data folder IMAGES --controls OTHERS --out DATA, then cxredge evaluate "
            f"{quoted(reported.name)} DATA/manifest.csv"
        )
        blocks.append(Missing("Controls, X-rays that show none of the classes", command))
    if result is not None and result.answered is not None:
        blocks.append(Sentences("", (_refused_tests(result),)))
    return Section("What it does with X-rays that it should not answer", tuple(blocks))


def looks_section(reported: ReportedBundle) -> Section:
    """Show how much of the evidence lies in the border, and how far INT8 looks elsewhere."""
    title, result, bundle = "Where it looks", reported.evaluation, reported.bundle
    if bundle is not None and bundle.card.facts.map_grid is None:
        line = (
            "This bundle returns no heatmaps. cxredge build RUN --heatmaps adds them if its "
            "network pools straight into its last layer."
        )
        return Section(title, (Sentences("", (line,)),))
    command = f"cxredge evaluate {quoted(reported.name)} MANIFEST --split test"
    if result is None or not result.border_evidence:
        return Section(title, (Missing("Evidence of heatmaps", command),))
    words = (
        "A heatmap shows how much each part of the picture counts for a class. Marks, tubes and "
        "the edges of the exposure, which can tell the source of an X-ray instead of the disease, "
        "are often in the border."
    )
    lines = [words]
    if (found := result.heatmaps_fp32) is not None and result.precision.value != "fp32":
        name = result.precision.value.upper()
        lines.append(
            f"Heatmaps of {name} beside those of FP32: correlation "
            f"{numbers.fraction(found.correlation)} on average; in "
            f"{numbers.percent(found.peaks_kept)} of {numbers.count(found.images)} X-rays the "
            "strongest place is the same or a neighbour."
        )
    return Section(title, (Sentences("", tuple(lines)), border_table(result)))


def border_table(result: Evaluation) -> Table:
    """Return the share of the evidence in the border by class and source."""
    rows = result.border_evidence
    uniform = numbers.share(rows[0].uniform)
    return Table(
        "Evidence in the border of the picture",
        ("class", "source", "X-rays", "evidence in the border"),
        tuple(
            (
                row.label,
                row.source or "-",
                numbers.count(row.images),
                numbers.percent(row.share, row.share_ci95),
            )
            for row in rows
        ),
        "Share of the positive evidence for the decided class in the outer eighth of the picture "
        f"on each side. A uniform heatmap has {uniform} there.",
    )


def _refusal(reported: ReportedBundle) -> str:
    if reported.bundle is None:
        return _FAMILIARITY
    measured = reported.bundle.operating_point().max_distance is not None
    return _FAMILIARITY if measured else _NOT_REFUSED


def _controls(controls: Controls) -> Table:
    total = sum(found.images for found in controls.values())
    refused = sum(found.refused for found in controls.values())
    has_other = any(OTHER_CLASS in found.called for found in controls.values())
    others = sum(found.called.get(OTHER_CLASS, 0) for found in controls.values())
    named_other = f", {numbers.count(others)} are called {OTHER_CLASS}" if has_other else ""
    return Table(
        f"Controls: {numbers.count(refused)} of {numbers.count(total)} are refused{named_other}",
        (
            "kind",
            "X-rays",
            "refused",
            "called" if has_other else "called, though none of the classes is right",
        ),
        tuple(
            (
                kind,
                numbers.count(found.images),
                numbers.percent(found.refused / found.images, found.refused_ci95),
                _called(found),
            )
            for kind, found in controls.items()
        ),
        f"Controls are X-rays that show none of the classes: the right answer is to refuse them"
        f"{f', or to call them {OTHER_CLASS}' if has_other else ''}. "
        "In brackets: 95% intervals, the range of the true share that so few X-rays allow.",
    )


def _called(found: ControlKind) -> str:
    ranked = sorted(found.called.items(), key=lambda item: (-item[1], item[0]))
    words = [
        f"{name} {number} ({100 * low:.0f}\N{EN DASH}{100 * high:.0f}%)"
        for name, number in ranked
        if number
        for low, high in [found.called_ci95[name]]
    ]
    return "; ".join(words) or "none"


def _refused_tests(result: Evaluation) -> str:
    found = result.answered
    if found is None:
        return ""
    by_class = "; ".join(f"{name} {row.refused}" for name, row in found.by_class.items())
    words = (
        f"Of the X-rays of the classes, {numbers.part(found.refused, result.images)} are refused "
        f"as well ({by_class})."
    )
    if result.precision.value != "fp32":
        name = result.precision.value.upper()
        words += f" {name} refuses or answers {numbers.part(found.alike, result.images)} as FP32."
    return words
