"""Options of the gate, and its result as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxredge.cli.output import Output
from cxredge.cli.text import share, table
from cxredge.errors import GateRefused

if TYPE_CHECKING:
    from cxredge.data.manifest import Entry
    from cxredge.gate.limits import GateLimits, RefusalLimits

_MAX_FLIPPED = 20


def _limit(option: str, description: str) -> Any:
    return typer.Option(option, min=0, max=1, help=f"Gate: {description}", show_default=False)


@dataclass(frozen=True)
class GateOptions:
    """Limits of the gate, None for the defaults, and the specificity of operating thresholds."""

    max_accuracy_drop: Annotated[
        float | None,
        _limit("--max-accuracy-drop", "largest drop of accuracy, as a fraction. [default: 0.01]"),
    ] = None
    min_agreement: Annotated[
        float | None,
        _limit("--min-agreement", "minimum agreement with FP32, as a fraction. [default: 0.97]"),
    ] = None
    max_auroc_drop: Annotated[
        float | None,
        _limit("--max-auroc-drop", "largest drop of a class's AUROC. [default: 0.01]"),
    ] = None
    max_sensitivity_drop: Annotated[
        float | None,
        _limit("--max-sensitivity-drop", "largest drop of a class's sensitivity. [default: 0.05]"),
    ] = None
    max_calibration_error_rise: Annotated[
        float | None,
        _limit(
            "--max-calibration-error-rise",
            "largest rise of the expected calibration error. [default: 0.02]",
        ),
    ] = None
    specificity: Annotated[
        float,
        typer.Option(
            "--specificity", min=0, max=1, help="Target specificity of operating thresholds."
        ),
    ] = 0.9

    @property
    def named(self) -> dict[str, float]:
        """The limits given on the command line, by their names in ``GateLimits``."""
        limits = {name: value for name, value in asdict(self).items() if name != "specificity"}
        return {name: value for name, value in limits.items() if value is not None}

    def limits(self) -> GateLimits:
        """Return the limits given on the command line, and the defaults of the others."""
        from cxredge.gate.limits import GateLimits

        return GateLimits(**self.named)


@dataclass(frozen=True)
class RefusalOptions:
    """Limits of the gate on controls and refusals, None for the defaults."""

    max_control_rate: Annotated[
        float | None,
        _limit(
            "--max-control-rate",
            "largest share of a kind of controls that is called a class and not refused. [default: "
            "no limit; the share is always shown]",
        ),
    ] = None
    min_refusal_agreement: Annotated[
        float | None,
        _limit(
            "--min-refusal-agreement",
            "smallest share of images that are refused as unfamiliar, or answered, as in FP32. "
            "[default: 0.97]",
        ),
    ] = None

    def limits(self) -> RefusalLimits:
        """Return the limits given on the command line, and the defaults of the others."""
        from cxredge.gate.limits import RefusalLimits

        given = {name: value for name, value in asdict(self).items() if value is not None}
        return RefusalLimits(**given)


def with_paths(gate: Mapping[str, Any], entries: Sequence[Entry]) -> dict[str, Any]:
    """Return a result of the gate with the paths of flipped images added.

    Args:
        gate: The result as JSON values.
        entries: The images that were compared; empty if their manifest is not available.
    """
    if not entries:
        return dict(gate)
    named = [{**flip, "path": str(entries[flip["index"]].path)} for flip in gate["flipped"]]
    return {**gate, "flipped": named}


@contextmanager
def explained(output: Output, entries: Sequence[Entry] = ()) -> Iterator[None]:
    """Print the gate's table if the block raises GateRefused.

    Args:
        output: Output of the command.
        entries: The images that were compared; empty if their manifest is not available.
    """
    try:
        yield
    except GateRefused as refused:
        gate = with_paths(refused.details["gate"], entries)
        if not gate["passed"]:
            output.explain(gate_text(gate, refused.details["precision"].upper()))
        details = {**refused.details, "gate": gate}
        raise GateRefused(refused.message, refused.hint, details) from None


def gate_text(gate: Mapping[str, Any], now: str) -> str:
    """Return the measures with limits and verdicts, the thresholds and the flipped images.

    Args:
        gate: The result as JSON values.
        now: Name of the candidate.
    """
    parts = [
        f"{now} against FP32 on {gate['images']} images of {gate['patients']} patients:",
        table(
            ["measure", "FP32", now, "difference (95%)", "limit", "verdict"],
            [_measure(check) for check in gate["checks"]],
        ),
        *gate["cautions"],
    ]
    if gate["thresholds"]:
        parts += ["", _thresholds(gate["thresholds"], now)]
    parts += ["", _flipped(gate["flipped"], now, gate["cascade"])]
    if gate["unfamiliar"]:
        parts += ["", _unfamiliar(gate["unfamiliar"], now)]
    if gate["near_ties"]:
        parts += ["", _near_ties(gate["near_ties"], now, gate["cascade"])]
    if gate.get("maps"):
        parts += ["", _maps(gate["maps"], now)]
    return "\n".join(parts)


def _measure(check: Mapping[str, Any]) -> list[str]:
    difference, ci95 = check["difference"], check["ci95"]
    interval = f" ({ci95[0]:+.4f} to {ci95[1]:+.4f})" if ci95 else ""
    return [
        check["subject"],
        _number(check["fp32"]),
        _number(check["candidate"]),
        "-" if difference is None else f"{difference:+.4f}{interval}",
        check["limit_text"],
        check["verdict"],
    ]


def _thresholds(rows: Sequence[Mapping[str, Any]], now: str) -> str:
    cells = [
        [
            row["class_name"],
            _number(row["fp32"]),
            _number(row["candidate"]),
            f"{row['drift']:+.4f}",
            *(
                " / ".join(share(row[f"{rate}{of}"]) for of in ("_fp32", "", "_kept"))
                for rate in ("sensitivity", "specificity")
            ),
        ]
        for row in rows
    ]
    of = f"FP32 / {now} / {now} at FP32's threshold"
    header = ["class", "FP32", now, "drift", "sensitivity*", "specificity*"]
    return f"Operating thresholds:\n{table(header, cells)}\n* {of}, on the images compared"


def _flipped(flipped: Sequence[Mapping[str, Any]], now: str, cascade: bool) -> str:
    alone = f" of {now} alone" if cascade else ""
    if not flipped:
        return f"No decision{alone} differs from FP32's."
    rows = [
        [
            flip.get("path", f"image {flip['index']}"),
            flip["label"],
            f"{flip['fp32']} {share(flip['probability_fp32'])}",
            f"{flip['now']} {share(flip['probability_now'])}",
        ]
        for flip in flipped[:_MAX_FLIPPED]
    ]
    listed = table(["image", "true class", "FP32", now], rows)
    more = len(flipped) - len(rows)
    rest = f"\n{more} more are in the output of --json." if more else ""
    return f"Decisions{alone} that differ from FP32's: {len(flipped)}\n{listed}{rest}"


def _near_ties(found: Mapping[str, Any], now: str, cascade: bool) -> str:
    tied = found["near"] - found["at_limit"]
    which = (
        f"Near ties: in {tied} of {found['images']} images ({share(tied / found['images'])}) the "
        f"two largest logits differ by at most {found['margin']:.3f}, the largest shift of {now} "
        f"in favour of its decision on {found['validation_images']} validation images."
    )
    if found["at_limit"]:
        which += f" {found['at_limit']} more are as near to the limit of familiar images."
    expected = found.get("expected_flips")
    if expected is not None:
        which += (
            f" From such shifts, {expected:.1f} of the {found['images']} decisions are expected to "
            "differ."
        )
    when = "FP32 decides the near ties"
    if not cascade:
        when = f"If {when} (the default of bundles for targets that run cxredge)"
    return (
        f"{which} {when}: agreement is then {share(found['agreement'])}, accuracy "
        f"{share(found['accuracy'])}."
    )


def _maps(found: Mapping[str, Any], now: str) -> str:
    return (
        f"Heatmaps of {now}: their mean correlation with FP32's is {found['correlation']:.3f}; in "
        f"{share(found['peaks_kept'])} of {found['images']} images the strongest cell moves by at "
        "most one cell."
    )


def _unfamiliar(found: Mapping[str, Any], now: str) -> str:
    alike = share(found["alike"] / found["images"], found["alike_ci95"])
    then = found["alike_in_cascade"]
    in_cascade = "" if then is None else f"; in {then} if FP32 decides the near ties"
    return (
        f"Refused as unfamiliar: {found['refused_fp32']} of {found['images']} images by FP32, "
        f"{found['refused']} by {now}; alike in {found['alike']} ({alike}){in_cascade}."
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
