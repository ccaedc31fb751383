"""The questions that decide whether a bundle's numbers hold on a device, with their answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cxredge.data.audit_record import NOT_AUDITED
from cxredge.errors import quoted
from cxredge.report import numbers
from cxredge.report.benches import bench_names, machine_name
from cxredge.report.headlines import gate_of
from cxredge.report.page import Answer, Check
from cxredge.report.sources import Source
from cxredge.vocabulary import Precision, Split


def checks(source: Source) -> tuple[Check, ...]:
    """Ask of the files, the device, the precision, the images, the data and the latency."""
    return (
        _files(source),
        _device(source),
        _precision(source),
        _images(source),
        _data(source),
        _latency(source),
    )


def _files(source: Source) -> Check:
    question = "Are these the files that were built?"
    if source.bundle is None:
        return Check(question, Answer.UNKNOWN, "The bundle was not given.")
    count = len(source.bundle.card.files)
    return Check(question, Answer.YES, f"All {count} files have the hashes on the card.")


def _device(source: Source) -> Check:
    question = "Was it finished on the device?"
    if source.bundle is None:
        return Check(question, Answer.UNKNOWN, "The bundle was not given.")
    passport = source.bundle.passport
    if passport is None:
        target = source.bundle.card.config["target"]
        return Check(question, Answer.NO, f"On {target}, run cxredge build {quoted(source.name)}")
    machine = machine_name({"machine": passport["machine"]})
    return Check(question, Answer.YES, f"Checked and timed on {machine}.")


def _precision(source: Source) -> Check:
    name = source.precision.upper()
    question = f"Does {name} decide as FP32?"
    if source.precision == Precision.FP32.value:
        return Check(question, Answer.YES, "FP32 itself serves.")
    gate = gate_of(source)
    if gate is None:
        return Check(question, Answer.UNKNOWN, "The bundle was not given.")
    verdicts = [check["verdict"] for check in gate["checks"] if check["limit_text"]]
    held, images = verdicts.count("held"), numbers.count(gate["images"])
    evidence = f"{held} of {len(verdicts)} measures held their limits on {images} images."
    if not gate["passed"]:
        return Check(question, Answer.NO, evidence)
    all_held = held == len(verdicts) and not gate["cautions"]
    return Check(question, Answer.YES if all_held else Answer.DOUBTFUL, evidence)


def _images(source: Source) -> Check:
    question = "Was it evaluated on images it never saw?"
    result = source.evaluation
    if result is None:
        command = f"cxredge evaluate {quoted(source.name)} MANIFEST --split test"
        return Check(question, Answer.UNKNOWN, f"Run {command}")
    evidence = (
        f"{numbers.count(result['images'])} images of {numbers.count(result['patients'])} "
        f"patients, split '{result['split']}'."
    )
    unseen = result["split"] == Split.TEST.value
    return Check(question, Answer.YES if unseen else Answer.NO, evidence)


def _data(source: Source) -> Check:
    question = "Are the data free of known shortcuts?"
    found = data_warnings(source)
    if not found and source.evaluation is None:
        return Check(question, Answer.UNKNOWN, "Run cxredge data audit MANIFEST, then evaluate.")
    if found == [NOT_AUDITED]:
        return Check(question, Answer.UNKNOWN, NOT_AUDITED)
    if found:
        words = "the warning" if len(found) == 1 else f"the {len(found)} warnings"
        return Check(question, Answer.NO, f"Read {words} on the data above.")
    return Check(question, Answer.YES, "The audit found nothing to warn of.")


def data_warnings(source: Source) -> list[str]:
    """Return what the card and the evaluations warn of, each once."""
    on_card: Sequence[str] = source.bundle.card.facts.get("warnings", []) if source.bundle else []
    of_results = [text for result in source.evaluations for text in result.get("warnings", [])]
    return list(dict.fromkeys([*on_card, *of_results]))


def _latency(source: Source) -> Check:
    question = "Can the latency be compared with others?"
    result: Mapping[str, Any] | None = source.bench
    if result is None:
        return Check(
            question, Answer.UNKNOWN, f"Run cxredge bench {quoted(source.name)} --images FOLDER"
        )
    name = bench_names(source.benches)[source.benches.index(result)]
    reasons = result["verdict"]["reasons"]
    if not reasons:
        return Check(question, Answer.YES, f"Nothing spoke against it ({name}).")
    words = "1 reason" if len(reasons) == 1 else f"{len(reasons)} reasons"
    return Check(question, Answer.NO, f"{words} against it ({name}), listed with the benchmark.")
