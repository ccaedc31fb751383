"""``cxredge compare``: differences between results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxredge.cli.command import command
from cxredge.cli.output import Outcome, Output
from cxredge.cli.text import table

if TYPE_CHECKING:
    from cxredge.comparison import Comparison, ComparisonRow

_MAX_LISTED = 3


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(app, "compare")(compare)


def _limit(option: str, description: str, most: float | None = 1) -> Any:
    return typer.Option(option, min=0, max=most, help=f"Largest acceptable {description}")


def compare(
    output: Output,
    first: Annotated[
        Path, typer.Argument(metavar="A", help="A bundle, a passport, or a result file.")
    ],
    others: Annotated[
        list[Path], typer.Argument(metavar="B...", help="Results to compare with A.")
    ],
    max_accuracy_drop: Annotated[
        float, _limit("--max-accuracy-drop", "drop of accuracy or macro F1, as a fraction.")
    ] = 0.01,
    max_auroc_drop: Annotated[float, _limit("--max-auroc-drop", "drop of the mean AUROC.")] = 0.01,
    max_sensitivity_drop: Annotated[
        float, _limit("--max-sensitivity-drop", "drop of a class's sensitivity.")
    ] = 0.05,
    max_calibration_error_rise: Annotated[
        float, _limit("--max-calibration-error-rise", "rise of the calibration error.")
    ] = 0.02,
    max_latency_rise: Annotated[
        float, _limit("--max-latency-rise", "relative rise of a latency.", None)
    ] = 0.05,
    across: Annotated[
        list[str] | None,
        typer.Option(
            "--across",
            help="Aspect of benchmarks that may differ, such as machine, target or threads; "
            "repeatable. Benchmarks with other differences are shown as not comparable.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Also write the comparison: .html, .md or .csv.")
    ] = None,
) -> Outcome:
    """Compare bundles, evaluations, benchmarks or passports with A.

    They may come from different devices, precisions or versions. A difference exceeds the noise if
    its 95% interval excludes zero. Exits with code 3 on a regression: a metric is worse, and the
    difference exceeds the noise and the limit.
    """
    from cxredge.artifacts.output_file import check_output_file
    from cxredge.artifacts.records import to_json
    from cxredge.comparison import Limits, read_result_set
    from cxredge.comparison import compare as stage
    from cxredge.errors import GateRefused
    from cxredge.report import write_comparison

    limits = Limits(
        max_accuracy_drop,
        max_auroc_drop,
        max_sensitivity_drop,
        max_calibration_error_rise,
        max_latency_rise,
    )
    if out is not None:
        check_output_file(out)
    compared = [read_result_set(path) for path in others]
    found = stage(read_result_set(first), compared, limits, across or ())
    data = to_json(found)
    if out is not None:
        write_comparison(found, out)
        data["report"] = str(out)
    text = _text(found) + (f"\nWrote {out}" if out else "")
    if found.regressions:
        output.explain(text)
        metrics = "1 metric is" if found.regressions == 1 else f"{found.regressions} metrics are"
        raise GateRefused(
            f"{metrics} worse than in {first}, beyond noise and limit.",
            "Measure again if the machine was busy; otherwise do not ship it.",
            data,
        )
    return Outcome(data, text)


def _text(found: Comparison) -> str:
    header = ["metric", "of", "A", "B", "difference (95%)", "assessment"]
    lines = [table(header, [_cells(row) for row in found.rows])]
    unlike = dict.fromkeys(reason for row in found.rows for reason in row.unlike)
    lines += [
        f"{name} is the same as {found.against}, or a copy: these results were measured once."
        for name in found.same
    ]
    lines += [f"Not comparable: {reason} (if intended: --across)." for reason in unlike]
    lines += [f"Not compared: {reason}." for reason in found.not_compared[:_MAX_LISTED]]
    more = len(found.not_compared) - _MAX_LISTED
    if more > 0:
        lines.append(f"Not compared: {more} more; --json lists all.")
    doubts = dict.fromkeys(doubt for row in found.rows for doubt in row.doubts)
    return "\n".join([*lines, *(f"Reservation: {doubt}." for doubt in doubts)])


def _cells(row: ComparisonRow) -> list[str]:
    from cxredge.report.numbers import in_unit, signed_in_unit

    before, after = (f" {p}" if p else "" for p in row.precisions)
    return [
        row.metric,
        row.of,
        in_unit(row.before, row.unit) + before,
        in_unit(row.after, row.unit) + after,
        signed_in_unit(row.difference, row.difference_ci95, row.before, row.unit),
        row.finding.value,
    ]
