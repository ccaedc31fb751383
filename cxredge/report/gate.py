"""The gate in a report: each measure, the thresholds with their drift, the flipped X-rays."""

from __future__ import annotations

from cxredge.bundle.bundle import Bundle
from cxredge.bundle.flipped import read_flipped
from cxredge.gate.gate import GateResult
from cxredge.gate.limits import LimitCheck
from cxredge.gate.thresholds import Drift
from cxredge.metrics.near_ties import NearTies
from cxredge.report import numbers
from cxredge.report.accuracy import effect
from cxredge.report.page import Block, Flip, Flips, Sentences, Table
from cxredge.report.xrays import png
from cxredge.vocabulary import Precision

_MOST_FLIPPED = 100
_SHARES = ("accuracy", "agreement", "sensitivity")


def gate_blocks(bundle: Bundle, pictures: bool) -> list[Block]:
    """Say for every precision but FP32 what the gate found.

    Args:
        bundle: Whose card tells it.
        pictures: Whether the flipped X-rays that the bundle kept are shown.
    """
    compared = [p for p in bundle.precisions if p is not Precision.FP32]
    if not compared:
        return [Sentences("", ("Nothing to compare: the bundle holds FP32 alone.",))]
    return [block for p in compared for block in _of_precision(bundle, p, pictures)]


def _of_precision(bundle: Bundle, precision: Precision, pictures: bool) -> list[Block]:
    gate, name = bundle.card.facts.gate[precision], precision.value.upper()
    blocks: list[Block] = [_measures(gate, name), _thresholds(bundle, gate, name)]
    if gate.cautions:
        blocks.append(Sentences("What the gate could not judge", gate.cautions))
    blocks.append(_flips(bundle, gate, name, pictures))
    if gate.near_ties:
        blocks.append(_near_ties(gate.near_ties, name, gate.cascade))
    return blocks


def _measures(gate: GateResult, name: str) -> Table:
    return Table(
        f"Gate: {name} {'passed' if gate.passed else 'refused'}",
        ("measure", "FP32", name, "difference", "limit", "verdict"),
        tuple(_measure(check) for check in gate.checks),
        f"The same {numbers.count(gate.images)} images of {numbers.count(gate.patients)} "
        "patients in both precisions. In brackets: 95% intervals of a bootstrap over patients, "
        "all measures under the same draws; they are too narrow where very few images differ. A "
        "loss in a class refuses when it exceeds its limit and its interval excludes zero. "
        "Unclear: beyond the limit, but chance could explain it. Sensitivity: each precision at "
        "its own operating thresholds.",
    )


def _measure(check: LimitCheck) -> tuple[str, ...]:
    is_share = check.measure.value in _SHARES
    value = numbers.share if is_share else numbers.fraction
    difference = numbers.points if is_share else numbers.signed
    return (
        check.subject,
        value(check.fp32),
        value(check.candidate),
        difference(check.difference, check.ci95),
        check.limit_text or "none",
        check.verdict.value,
    )


def _thresholds(bundle: Bundle, gate: GateResult, name: str) -> Table:
    aim = numbers.share(bundle.card.config.specificity)
    return Table(
        f"Operating thresholds of FP32 and {name}",
        ("class", "FP32", name, "drift", "sensitivity", "specificity"),
        tuple(
            (
                row.class_name,
                numbers.fraction(row.fp32),
                numbers.fraction(row.candidate),
                numbers.signed(row.drift),
                _rates(row, "sensitivity"),
                _rates(row, "specificity"),
            )
            for row in gate.thresholds
        ),
        f"Each precision's thresholds were set on validation images to reach a specificity of "
        f"{aim}; the rates are of the images compared: FP32, {name} at its own threshold, and "
        f"{name} if FP32's threshold were kept.",
    )


def _rates(row: Drift, rate: str) -> str:
    return " / ".join(numbers.share(getattr(row, f"{rate}{of}")) for of in ("_fp32", "", "_kept"))


def _flips(bundle: Bundle, gate: GateResult, name: str, pictures: bool) -> Block:
    flipped = gate.flipped
    if not flipped:
        return Sentences("", (f"{name} decides all {numbers.count(gate.images)} as FP32.",))
    shown = read_flipped(bundle.path) if pictures else {}
    flips = tuple(
        Flip(
            png=png(shown[flip.index]) if flip.index in shown else "",
            name=f"image {flip.index}",
            truth=flip.label,
            before=f"{flip.fp32} {numbers.share(flip.probability_fp32)}",
            now=f"{flip.now} {numbers.share(flip.probability_now)}",
            effect=effect(vars(flip)),
        )
        for flip in flipped[:_MOST_FLIPPED]
    )
    note = "Numbered as they stand in the split that was compared, from 0."
    if len(flipped) > len(flips):
        note += f" {len(flipped) - len(flips)} more are on the bundle's card."
    alone = f" of {name} alone" if gate.cascade else ""
    title = f"Decisions{alone} that differ from FP32 at build: {len(flipped)} of {gate.images}"
    return Flips(title, name, flips, note)


def _near_ties(found: NearTies, name: str, cascade: bool) -> Sentences:
    which = (
        f"{found.near} of the {numbers.count(found.images)} images compared "
        f"({numbers.share(found.share)}) have their first two logits within "
        f"{numbers.fraction(found.margin)} of each other."
    )
    why = (
        f"{name} raised the class it decides for no further against any other in "
        f"{numbers.count(found.validation_images)} validation images. Where it raises it by "
        "less than the first two lie apart, it decides as FP32; one more image like these exceeds "
        f"all of them with a probability of at most {numbers.fraction(found.risk)}."
    )
    when, verb = "FP32 decides the near ties:", "is then"
    if not cascade:
        when, verb = "FP32 does not decide the near ties here; if it did,", "would be"
    then = (
        f"{when} the agreement {verb} {numbers.share(found.agreement)} and the accuracy "
        f"{numbers.share(found.accuracy)}. The figures above are of {name} alone."
    )
    sentences = [which, why, then]
    if found.expected_flips is not None:
        sentences.append(
            f"By how far {name} moved validation images, {found.expected_flips:.1f} of the "
            f"{numbers.count(found.images)} decisions are expected to differ where it decides "
            "alone. The fewer images, the more it is chance how many do."
        )
    return Sentences(f"Near ties of {name}", tuple(sentences))
