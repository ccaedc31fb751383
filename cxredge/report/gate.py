"""The gate in a report: each metric, the thresholds with their drift, the changed decisions."""

from __future__ import annotations

from cxredge.backends import CPU_BACKENDS
from cxredge.bundle.bundle import Bundle
from cxredge.bundle.flipped import read_flipped
from cxredge.bundle.layout import FLIPPED_NAME
from cxredge.gate.gate import GateResult
from cxredge.gate.limits import LimitCheck
from cxredge.gate.thresholds import Drift
from cxredge.metrics.maps import MapFidelity
from cxredge.metrics.near_ties import NearTies
from cxredge.report import numbers
from cxredge.report.accuracy import effect
from cxredge.report.blocks import Block, Flip, Flips, Sentences, Table
from cxredge.report.xrays import png
from cxredge.vocabulary import Precision

_MAX_FLIPPED = 100
_SHARES = ("accuracy", "agreement", "sensitivity", "refusal_agreement", "control_rate")


def gate_blocks(bundle: Bundle, pictures: bool) -> list[Block]:
    """Return the gate's result for every precision but FP32.

    Args:
        bundle: The bundle.
        pictures: Whether to show the stored X-rays with changed decisions.
    """
    compared = [p for p in bundle.precisions if p is not Precision.FP32]
    if not compared:
        return [Sentences("", ("Nothing to compare: the bundle holds only FP32.",))]
    return [block for p in compared for block in _of_precision(bundle, p, pictures)]


def _of_precision(bundle: Bundle, precision: Precision, pictures: bool) -> list[Block]:
    facts, name = bundle.card.facts, precision.value.upper()
    gate = facts.gate_of(precision, bundle.backend)
    # Predictions use the thresholds of the build's first runtime, whichever runtime serves.
    thresholds = _thresholds(bundle, facts.gate[precision], name)
    blocks: list[Block] = [_measures(gate, name, in_runtime(bundle)), thresholds]
    if gate.cautions:
        blocks.append(Sentences("Metrics that the gate could not assess", gate.cautions))
    blocks.append(_flips(bundle, gate, name, pictures))
    if gate.near_ties:
        blocks.append(_near_ties(gate.near_ties, name, gate.cascade))
    if gate.maps:
        blocks.append(_maps(gate.maps, name))
    return blocks


def in_runtime(bundle: Bundle) -> str:
    """Return the runtime whose gate is shown, as ' in NAME'; nothing if there is only one."""
    compared = bundle.card.facts.gate_by_runtime
    if len(compared) < 2 or bundle.backend not in compared:
        return ""
    return f" in {CPU_BACKENDS.get(bundle.backend, bundle.backend)}"


def _measures(gate: GateResult, name: str, where: str) -> Table:
    return Table(
        f"Gate: {name}{where} {'passed' if gate.passed else 'refused'}",
        ("metric", "FP32", name, "difference", "limit", "verdict"),
        tuple(_measure(check) for check in gate.checks),
        f"The gate is the list of limits that {name} must keep against FP32 before it may serve. "
        f"Compared: the same {numbers.count(gate.images)} images of {numbers.count(gate.patients)} "
        "patients in both precisions. In brackets: 95% intervals of a bootstrap over patients, "
        "with the same draws for all metrics; they are too narrow if very few images differ. A "
        "loss in a class is refused if it exceeds its limit and its interval excludes zero. "
        "Unclear: beyond the limit, but within what chance can explain. Sensitivity: each "
        "precision at its own operating thresholds.",
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
    config = bundle.card.config
    first = f", in {CPU_BACKENDS[config.backend]}" if in_runtime(bundle) else ""
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
        "A class is listed if its probability reaches its operating threshold. "
        f"The thresholds of each precision were set on validation images for a specificity of "
        f"{aim}{first}. The rates are of the compared images: FP32, {name} at its own threshold, "
        f"and {name} at FP32's threshold.",
    )


def _rates(row: Drift, rate: str) -> str:
    return " / ".join(numbers.share(getattr(row, f"{rate}{of}")) for of in ("_fp32", "", "_kept"))


def _flips(bundle: Bundle, gate: GateResult, name: str, pictures: bool) -> Block:
    flipped = gate.flipped
    if not flipped:
        line = f"All {numbers.count(gate.images)} decisions of {name} agree with FP32."
        return Sentences("", (line,))
    kept = pictures and FLIPPED_NAME in bundle.card.files
    shown = read_flipped(bundle.path, bundle.card.classifier.input_size) if kept else {}
    flips = tuple(
        Flip(
            png=png(shown[flip.index]) if flip.index in shown else "",
            name=f"image {flip.index}",
            truth=flip.label,
            before=f"{flip.fp32} {numbers.share(flip.probability_fp32)}",
            now=f"{flip.now} {numbers.share(flip.probability_now)}",
            effect=effect(flip.label, flip.fp32, flip.now),
        )
        for flip in flipped[:_MAX_FLIPPED]
    )
    note = "Numbered by their position in the compared split, from 0."
    if len(flipped) > len(flips):
        note += f" {len(flipped) - len(flips)} more are on the bundle's card."
    alone = f" of {name} alone" if gate.cascade else ""
    title = f"Decisions{alone} that differ from FP32 at build: {len(flipped)} of {gate.images}"
    return Flips(title, name, flips, note)


def _maps(found: MapFidelity, name: str) -> Sentences:
    words = (
        f"The maps of {name} for the class that FP32 decides correlate with those of FP32 by "
        f"{numbers.fraction(found.correlation)} on average over {numbers.count(found.images)} "
        f"images. In {numbers.share(found.peaks_kept)} of them the strongest cell of the map is "
        "the same or a neighbour."
    )
    return Sentences(f"Heatmaps of {name}", (words,))


def _near_ties(found: NearTies, name: str, cascade: bool) -> Sentences:
    which = (
        "A near tie is an X-ray whose two best classes are closer than the error of quantization, "
        "or that is as near to the limit of familiar X-rays. "
        f"{found.near} of the {numbers.count(found.images)} images compared "
        f"({numbers.share(found.share)}) are near ties: the two largest logits of "
        f"{found.near - found.at_limit} differ by at most {numbers.fraction(found.margin)}, and "
        f"{found.at_limit} more {'is' if found.at_limit == 1 else 'are'} near the limit."
    )
    why = (
        f"The margin is the largest amount by which {name} raised its top class against another "
        f"class in {numbers.count(found.validation_images)} validation images. If it raises the "
        "class by less than the distance of the two largest logits, it agrees with FP32. Another "
        "image like these exceeds the maximum with a probability of at most "
        f"{numbers.fraction(found.risk)}."
    )
    when, verb = "FP32 decides the near ties:", "is then"
    if not cascade:
        when, verb = "FP32 does not decide the near ties here; if it did,", "would be"
    then = (
        f"{when} the agreement {verb} {numbers.share(found.agreement)} and the accuracy "
        f"{numbers.share(found.accuracy)}. The metrics above are of {name} alone."
    )
    sentences = [which, why, then]
    if found.expected_flips is not None:
        sentences.append(
            f"From the logits of validation images, {found.expected_flips:.1f} of the "
            f"{numbers.count(found.images)} decisions are expected to differ if {name} decides "
            "alone. With few images, the observed number depends on chance."
        )
    return Sentences(f"Near ties of {name}", tuple(sentences))
