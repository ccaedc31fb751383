"""How often a network is right, and which of its answers to use for what."""

from __future__ import annotations

from collections.abc import Iterator

from cxredge.errors import quoted
from cxredge.metrics.controls import objections
from cxredge.report import numbers
from cxredge.report.blocks import Block, Facts, Missing, Section, Sentences, Table
from cxredge.report.headlines import controls_of
from cxredge.report.reported_bundle import ReportedBundle
from cxredge.results.answered import several_sources
from cxredge.results.coverage import SetCounts, SetCoverage
from cxredge.results.evaluation import Evaluation

_BRACKETS = "In brackets: 95% intervals, the range of the true share that so few X-rays allow."


def rightness_section(reported: ReportedBundle) -> Section:
    """Show how often the label is right, by class, by source and other groups."""
    title, result = "How often it is right", reported.evaluation
    if result is None:
        command = f"cxredge evaluate {quoted(reported.name)} MANIFEST --split test"
        return Section(title, (Missing("How often it is right", command),))
    blocks: list[Block] = [Sentences("", tuple(_lead(reported, result))), _by_class(result)]
    if "source" in result.by or any(len(groups) > 1 for groups in result.by.values()):
        blocks.append(_by_group(result))
    if several_sources(result.called_by_source):
        blocks.append(_by_class_and_source(result))
    if result.auroc_within_source:
        blocks.append(Sentences("", (_least_apart(result),)))
    return Section(title, tuple(blocks))


def answers_section(reported: ReportedBundle) -> Section:
    """Explain label, operating threshold and prediction set, with their rates."""
    title, result = "Which answer to use for what", reported.evaluation
    blocks: list[Block] = [Facts("", tuple(_uses(reported)))]
    if result is not None:
        blocks.append(_screening(result))
        if result.coverage is not None:
            blocks.append(_sets(result.coverage))
    command = f"cxredge evaluate {quoted(reported.name)} MANIFEST --split test"
    if result is None:
        blocks.append(Missing("Rates at the thresholds and of the sets", command))
    elif result.coverage is None and _has_sets(reported):
        blocks.append(Missing("Coverage of the prediction sets", command))
    return Section(title, tuple(blocks))


def _lead(reported: ReportedBundle, result: Evaluation) -> Iterator[str]:
    right = sum(row[index] for index, row in enumerate(result.confusion))
    first = f"The label is right for {numbers.part(right, result.images)} test X-rays"
    found = result.answered
    if found is not None and found.refused:
        left = result.images - found.refused
        first += f", and for {numbers.part(found.right, left)} of those that it answers"
    yield f"{first}. Each of them shows one of the classes."
    if objections(controls_of(reported)):
        yield (
            "These figures do not show that it recognises the disease: X-rays that show none of "
            "the classes are given one as well, as stated above."
        )


def _by_class(result: Evaluation) -> Table:
    rows = []
    for index, name in enumerate(result.classes):
        counts = result.confusion[index]
        others = sorted(
            ((n, other) for n, other in zip(counts, result.classes, strict=True) if other != name),
            key=lambda one: -one[0],
        )
        wrong = "; ".join(f"{other} {n}" for n, other in others if n) or "none"
        row = result.by_class[name]
        rows.append(
            (
                name,
                numbers.count(sum(counts)),
                numbers.percent(row.recall, row.recall_ci95),
                wrong,
            )
        )
    return Table("By class", ("class", "X-rays", "right", "called instead"), tuple(rows), _BRACKETS)


def _by_group(result: Evaluation) -> Table:
    rows = [
        (
            f"{name}: {value}",
            f"{numbers.count(group.images)} of {numbers.count(group.patients)} patients",
            numbers.percent(group.accuracy, group.accuracy_ci95),
            "; ".join(f"{label} {count}" for label, count in group.classes.items()),
        )
        for name, groups in result.by.items()
        if name == "source" or len(groups) > 1
        for value, group in groups.items()
    ]
    names = [name for name, groups in result.by.items() if name == "source" or len(groups) > 1]
    header = ("group", "X-rays", "right", "classes")
    return Table(f"By {numbers.listed(names)}", header, tuple(rows))


def _by_class_and_source(result: Evaluation) -> Table:
    return Table(
        "By class and source",
        ("class", "source", *(f"called {name}" for name in result.classes)),
        tuple(
            (
                one.class_name,
                one.source,
                *(numbers.count(one.called[name]) for name in result.classes),
            )
            for one in several_sources(result.called_by_source)
        ),
    )


def _least_apart(result: Evaluation) -> str:
    one = min(result.auroc_within_source, key=lambda found: found.auroc)
    return (
        "Within one source, the source does not give the class away. Least told apart there: "
        f"{one.class_name} from {one.against} in {one.source}, AUROC "
        f"{_two_digits(one.auroc, one.auroc_ci95)}; 1 is always, 0.5 is chance. All pairs are in "
        "the appendix."
    )


def within_sources(result: Evaluation) -> Table:
    """Return how well classes are told apart within one source."""
    return Table(
        "Told apart within one source",
        ("class", "source", "told from", "X-rays", "AUROC"),
        tuple(
            (
                one.class_name,
                one.source,
                one.against,
                f"{numbers.count(one.images)} / {numbers.count(one.others)}",
                _two_digits(one.auroc, one.auroc_ci95),
            )
            for one in result.auroc_within_source
        ),
        "Within one source, the source does not give the class away. AUROC: how often an X-ray of "
        "the class gets the higher probability of the two; 0.5 is chance.",
    )


def _two_digits(value: float, ci95: tuple[float | None, float | None]) -> str:
    return f"{value:.2f}{numbers.bounds(ci95, 1, 2)}"


def _uses(reported: ReportedBundle) -> Iterator[tuple[str, str]]:
    result = reported.evaluation
    yield (
        "Label",
        "the most probable class. For one answer per X-ray; it is always one of the classes, "
        "however small the difference to the next",
    )
    yield (
        "Operating threshold",
        "a limit of the probability of one class, set on validation X-rays. For screening for one "
        "class: every X-ray at or above the limit is listed, whatever its label",
    )
    if _has_sets(reported):
        target = _target(reported)
        share = f" in {numbers.percent(target)} of X-rays like the validation images"
        yield (
            "Prediction set",
            f"the classes that cannot be excluded: it holds the right class{share}. For ruling "
            "out: a class outside the set is unlikely; a set of several says that the X-ray does "
            "not decide",
        )
    else:
        yield (
            "Prediction set",
            "this bundle has none; cxredge build RUN --coverage 0.9 adds the classes that cannot "
            "be excluded",
        )
    if result is not None and result.calibration_error is not None:
        points = 100 * result.calibration_error
        yield (
            "Calibration error",
            f"{points:.0f} points: so far the stated probability of the label is, on average, from "
            "the share that is right",
        )


def _has_sets(reported: ReportedBundle) -> bool:
    if reported.bundle is not None:
        return bool(reported.bundle.operating_point().set_levels)
    return reported.evaluation is not None and reported.evaluation.coverage is not None


def _target(reported: ReportedBundle) -> float | None:
    if reported.bundle is not None:
        return reported.bundle.card.config.set_coverage
    found = reported.evaluation.coverage if reported.evaluation else None
    return found.target if found else None


def _screening(result: Evaluation) -> Table:
    return Table(
        "At the operating thresholds",
        ("class", "listed from", "found, of those with it", "not listed, of those without"),
        tuple(
            (
                name,
                numbers.percent(row.threshold),
                numbers.percent(row.sensitivity, row.sensitivity_ci95),
                numbers.percent(row.specificity, row.specificity_ci95),
            )
            for name, row in result.by_class.items()
        ),
        "Sensitivity: share found of the X-rays with the class. Specificity: share not listed of "
        "the X-rays of the other classes.",
    )


def _sets(coverage: SetCoverage) -> Table:
    rows = [(name, *_set_cells(row)) for name, row in coverage.by_class.items()]
    return Table(
        "Prediction sets",
        ("class", "answered", "set holds the class", "set of one class", "classes per set"),
        (*rows, ("all", *_set_cells(coverage))),
        f"Derived for {numbers.percent(coverage.target)} of each class on validation X-rays; "
        "refused X-rays have no set.",
    )


def _set_cells(row: SetCounts) -> tuple[str, ...]:
    return (
        numbers.count(row.images),
        numbers.percent(row.coverage, row.coverage_ci95),
        numbers.percent(row.single_share, row.single_share_ci95),
        numbers.MISSING if row.mean_size is None else f"{row.mean_size:.2f}",
    )
