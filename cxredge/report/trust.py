"""Questions whose answers decide whether the numbers of a bundle can be relied on."""

from __future__ import annotations

from cxredge.artifacts.card import held_files
from cxredge.artifacts.records import UNSET
from cxredge.artifacts.training_images import TRAINING_IMAGES_NAME
from cxredge.bundle.bundle import Bundle
from cxredge.bundle.passport import passport_problem
from cxredge.data.audit_record import NOT_AUDITED
from cxredge.errors import quoted
from cxredge.gate.limits import LimitVerdict
from cxredge.metrics.controls import objections
from cxredge.report import numbers
from cxredge.report.benches import bench_names, machine_name, machine_of
from cxredge.report.gate import in_runtime
from cxredge.report.headlines import controls_of, gate_of
from cxredge.report.page import Answer, TrustQuestion
from cxredge.report.reported_bundle import ReportedBundle
from cxredge.results.evaluation import Evaluation
from cxredge.vocabulary import Precision, Split


def trust_questions(reported: ReportedBundle) -> tuple[TrustQuestion, ...]:
    """Return the questions about files, device, precision, images, data and latency."""
    return (
        _files(reported),
        _device(reported),
        _precision(reported),
        _images(reported),
        _data(reported),
        _latency(reported),
    )


def _files(reported: ReportedBundle) -> TrustQuestion:
    question = "Are the files unchanged since the build?"
    if reported.bundle is None:
        return TrustQuestion(question, Answer.UNKNOWN, "The bundle was not given.")
    bundle = reported.bundle
    count = len(held_files(bundle.path, bundle.card))
    evidence = f"All {count} files match the hashes on the card."
    unhashed = sum(result.content_sha256 is UNSET for result in reported.results)
    if unhashed:
        words = f"{unhashed} of {len(reported.results)} results have no hash of their own"
        return TrustQuestion(
            question, Answer.DOUBTFUL, f"{evidence} {words}: an older version wrote them."
        )
    if reported.results:
        count = len(reported.results)
        match = (
            "1 result matches its hash and names"
            if count == 1
            else (f"{count} results match their own hashes and name")
        )
        evidence += f" {match} this card."
    return TrustQuestion(question, Answer.YES, evidence)


def _device(reported: ReportedBundle) -> TrustQuestion:
    question = "Was the bundle finished on the device?"
    if reported.bundle is None:
        return TrustQuestion(question, Answer.UNKNOWN, "The bundle was not given.")
    passport = reported.bundle.passport
    if passport is None:
        target = reported.bundle.card.config.target
        return TrustQuestion(
            question, Answer.NO, f"On {target}, run cxredge deploy {quoted(reported.name)}"
        )
    if problem := passport_problem(reported.bundle.path):
        return TrustQuestion(question, Answer.DOUBTFUL, problem)
    machine = machine_name(passport.machine)
    return TrustQuestion(question, Answer.YES, f"Checked and timed on {machine}.")


def _precision(reported: ReportedBundle) -> TrustQuestion:
    name = reported.precision.value.upper()
    question = f"Does {name} agree with FP32?"
    if reported.precision is Precision.FP32:
        return TrustQuestion(question, Answer.YES, "FP32 itself serves.")
    gate = gate_of(reported)
    if gate is None:
        return TrustQuestion(question, Answer.UNKNOWN, "The bundle was not given.")
    verdicts = [check.verdict for check in gate.checks if check.limit_text]
    held, images = verdicts.count(LimitVerdict.HELD), numbers.count(gate.images)
    where = in_runtime(reported.bundle) if reported.bundle else ""
    evidence = (
        f"{held} of {len(verdicts)} metrics are within their limits on {images} images{where}."
    )
    if not gate.passed:
        return TrustQuestion(question, Answer.NO, evidence)
    all_held = held == len(verdicts) and not gate.cautions
    return TrustQuestion(question, Answer.YES if all_held else Answer.DOUBTFUL, evidence)


def _images(reported: ReportedBundle) -> TrustQuestion:
    question = "Was it evaluated on unseen images?"
    result = reported.evaluation
    if result is None:
        command = f"cxredge evaluate {quoted(reported.name)} MANIFEST --split test"
        return TrustQuestion(question, Answer.UNKNOWN, f"Run {command}")
    evidence = (
        f"{numbers.count(result.images)} images of {numbers.count(result.patients)} "
        f"patients, split '{result.split.value}'."
    )
    answer, words = _unseen(result, reported.bundle)
    return TrustQuestion(question, answer, f"{evidence} {words}")


def _unseen(result: Evaluation, bundle: Bundle | None) -> tuple[Answer, str]:
    """Compare the evaluated images and patients with those that were trained on.

    A result's counts are believed only if its bundle lists the training images.
    """
    seen = result.seen
    if seen is None or (bundle and TRAINING_IMAGES_NAME not in bundle.card.files):
        words = "The bundle does not list the images that it was trained on."
        return Answer.UNKNOWN if result.split is Split.TEST else Answer.NO, words
    used = max(seen.images, seen.validation_images)
    words = f"{numbers.count(seen.images)} of the images were trained on"
    if seen.validation_images:
        words += f", and {numbers.count(seen.validation_images)} chose the epoch"
    if seen.patients is None:
        words += "; patients were not compared: train and evaluate with one --patient-key."
        return Answer.NO if used else Answer.DOUBTFUL, words
    words += f", and images of {numbers.count(seen.patients)} of the patients."
    unnamed = seen.images_without_patient + seen.training_images_without_patient
    if unnamed:
        words += f" {numbers.count(unnamed)} images of training and evaluation have no known "
        words += "patient."
    if used or seen.patients or unnamed:
        return Answer.NO if used else Answer.DOUBTFUL, words
    return Answer.YES, "None of the images and none of the patients was trained on."


def _data(reported: ReportedBundle) -> TrustQuestion:
    question = "Are the data free of known shortcuts?"
    found = data_warnings(reported)
    if against := objections(controls_of(reported)):
        return TrustQuestion(question, Answer.NO, against[0])
    if not found and reported.evaluation is None:
        return TrustQuestion(
            question, Answer.UNKNOWN, "Run cxredge data audit MANIFEST, then evaluate."
        )
    if found == [NOT_AUDITED]:
        return TrustQuestion(question, Answer.UNKNOWN, NOT_AUDITED)
    if found:
        words = "the warning" if len(found) == 1 else f"the {len(found)} warnings"
        return TrustQuestion(question, Answer.NO, f"Read {words} on the data above.")
    return TrustQuestion(question, Answer.YES, "The audit has no warnings.")


def data_warnings(reported: ReportedBundle) -> list[str]:
    """Return the warnings on the card and of the evaluations, each once."""
    on_card = reported.bundle.card.facts.warnings if reported.bundle else ()
    of_results = [text for result in reported.evaluations for text in result.warnings]
    return list(dict.fromkeys([*on_card, *of_results]))


def _latency(reported: ReportedBundle) -> TrustQuestion:
    question = "Can the latency be compared with other results?"
    result, elsewhere = reported.bench, reported.bench_elsewhere
    if elsewhere is not None:
        where = f"Measured on {machine_of(elsewhere)}, which is not the target, {elsewhere.target}."
        return TrustQuestion(question, Answer.NO, where)
    if result is None:
        return TrustQuestion(
            question, Answer.UNKNOWN, f"Run cxredge bench {quoted(reported.name)} --images FOLDER"
        )
    name = bench_names(reported.benches)[reported.benches.index(result)]
    reasons = result.verdict.reasons
    if not reasons:
        return TrustQuestion(question, Answer.YES, f"No reason against it was found ({name}).")
    words = "1 reason" if len(reasons) == 1 else f"{len(reasons)} reasons"
    return TrustQuestion(
        question, Answer.NO, f"{words} against it ({name}), listed with the benchmark."
    )
