"""The passport: the choice on the device that a bundle serves on, bound to card and engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cxredge.artifacts.atomic import write_json
from cxredge.artifacts.card import CARD_NAME, tool_versions
from cxredge.artifacts.file_names import MAX_BYTES
from cxredge.artifacts.hashing import check_content_hash, sha256_of_file, with_content_hash
from cxredge.artifacts.records import (
    UNSET,
    Sha256,
    Threads,
    UnsetType,
    from_json,
    read_json_file,
    read_record,
    to_json,
)
from cxredge.backends import CPU_BACKENDS
from cxredge.bundle.serving import Serving, Throughput, TimedCandidate
from cxredge.errors import ArtifactError, quoted
from cxredge.metrics.latency import Latency
from cxredge.targets.registry import all_targets
from cxredge.targets.trtexec import how_to_deploy
from cxredge.telemetry.linux import Machine, read_machine
from cxredge.vocabulary import Precision

PASSPORT_NAME = "passport.json"
SCHEMA = "cxredge.passport/1"


@dataclass(frozen=True, kw_only=True)
class Passport:
    """Choice of the runtime and precision that serve on one machine.

    Attributes:
        schema: Version of the file format.
        card_file_sha256: SHA-256 of the bundle's card file.
        backend: The runtime that serves.
        precision: The precision that serves.
        threads: Number of threads per inference that is fastest for one image; 0 if the runtime
            does not use it.
        throughput: Fastest settings for many images; None on a GPU.
        engine: Name of the file that the runtime loads.
        engine_sha256: Its SHA-256.
        reason: Reason for the choice, in a sentence.
        left_out: Reason, in a sentence, by precision that has no engine on this machine.
        machine: The machine.
        tools: Versions of the software, by name.
        latency_ms: Latency of one image by precision, each in its fastest runtime.
        candidates: All candidates that were timed.
        content_sha256: SHA-256 of the other keys; UNSET in passports of older versions.
    """

    schema: Literal["cxredge.passport/1"] = "cxredge.passport/1"
    card_file_sha256: Sha256
    backend: str
    precision: Precision
    threads: Threads = 0
    throughput: Throughput | None = None
    engine: str
    engine_sha256: Sha256
    reason: str
    left_out: Mapping[str, str] = field(default_factory=dict)
    machine: Machine
    tools: Mapping[str, str]
    latency_ms: Mapping[Precision, Latency]
    candidates: tuple[TimedCandidate, ...]
    content_sha256: Sha256 | UnsetType = UNSET


def write_passport(bundle: Path, serving: Serving) -> None:
    """Write the choice on this machine beside a bundle's card.

    Args:
        bundle: The bundle's folder.
        serving: The choice.
    """
    speed = serving.speed
    throughput = speed.throughput if speed else None
    passport = Passport(
        card_file_sha256=sha256_of_file(bundle / CARD_NAME),
        backend=serving.backend,
        precision=serving.precision,
        threads=speed.threads if speed else 0,
        throughput=throughput.rounded() if throughput else None,
        engine=serving.engine,
        engine_sha256=sha256_of_file(bundle / serving.engine),
        reason=serving.reason,
        left_out=serving.left_out,
        machine=read_machine(),
        tools={**tool_versions("onnxruntime", "openvino", "numpy", "pillow"), **serving.runtime},
        latency_ms={p: latency.rounded() for p, latency in serving.latencies.items()},
        candidates=tuple(serving.candidates),
    )
    write_json(bundle / PASSPORT_NAME, with_content_hash(to_json(passport)))


def read_passport(bundle: Path) -> Passport | None:
    """Return a bundle's passport; None if it was not finished on a device.

    Raises:
        ArtifactError: It is damaged or belongs to another bundle.
    """
    path = bundle / PASSPORT_NAME
    if not path.exists():
        return None
    passport = read_record(path, Passport, _finish_again(bundle))
    if passport.card_file_sha256 != sha256_of_file(bundle / CARD_NAME):
        raise ArtifactError(f"{path} belongs to another bundle.", _finish_again(bundle))
    return passport


def passport_problem(bundle: Path) -> str:
    """Return why the times in a bundle's passport are not to be believed; empty if they are.

    The engine that serves is bound by its hash, so that such a bundle can be used.
    """
    path = bundle / PASSPORT_NAME
    if not path.exists():
        return ""
    try:
        parse_passport(read_json_file(path), Path(PASSPORT_NAME))
    except ArtifactError as error:
        return error.message
    return ""


def read_passport_file(path: Path, remedy: str) -> Passport:
    """Read a passport, wherever it lies, for the times that it states.

    Args:
        path: The file.
        remedy: Hint for the user if it is not valid, as a sentence.

    Raises:
        ArtifactError: As :func:`parse_passport`.
    """
    return parse_passport(read_json_file(path, remedy), path, remedy)


def parse_passport(
    values: Any, path: Path, remedy: str = "Finish the bundle again: cxredge deploy BUNDLE"
) -> Passport:
    """Validate the JSON value of a passport, and the times that it states.

    Args:
        values: The JSON value.
        path: Path of the file, for messages.
        remedy: Hint for the user if it is not valid, as a sentence.

    Raises:
        ArtifactError: It is not valid, was changed after it was written, or contradicts itself.
    """
    passport = from_json(values, Passport, path, remedy)
    check_content_hash(values, path, remedy)
    for problem in _contradictions(passport):
        raise ArtifactError(f"{path} contradicts itself: {problem}.", remedy)
    return passport


def _contradictions(passport: Passport) -> Iterator[str]:
    """Yield what contradicts the candidates that were timed, a clause each."""
    timed = [one for one in passport.candidates if one.latency_ms is not None]
    if not timed:
        return
    for precision, stated in passport.latency_ms.items():
        found = [one.latency_ms for one in timed if one.precision is precision]
        if stated not in found or any(one and one.p50 < stated.p50 for one in found):
            yield f"the latency of {precision.value} is not that of its fastest runtime"
    chosen = (passport.backend, passport.precision)
    serves = [one for one in timed if (one.backend, one.precision) == chosen and one.passed]
    if not serves:
        yield f"no candidate that passed is {passport.precision.value} in {passport.backend}"
    elif serves[0].throughput != passport.throughput:
        yield "the throughput is not that of the candidate that serves"


def check_backend(bundle: Path, passport: Passport, of_target: str) -> None:
    """Refuse a passport whose runtime does not serve the bundle's target.

    Args:
        bundle: The bundle's folder.
        passport: Its passport.
        of_target: The target's runtime; any runtime for processors stands for all of them.

    Raises:
        ArtifactError: The target does not have that runtime.
    """
    known = CPU_BACKENDS if of_target in CPU_BACKENDS else (of_target,)
    if passport.backend not in known:
        raise ArtifactError(
            f"{bundle / PASSPORT_NAME} names the runtime '{passport.backend}'; the bundle's target "
            f"is served by {' or '.join(known)}.",
            _finish_again(bundle),
        )


def strange_here(bundle: Path, target: str, passport: Passport | None) -> str:
    """Return a note on a bundle that was not finished on this machine; empty if it was.

    Args:
        bundle: The bundle's folder.
        target: The machine that it was built for.
        passport: Its passport, or None.
    """
    if passport is None:
        deploy = how_to_deploy(all_targets().get(target), bundle)
        return (
            f"{bundle} is for {target} and was not finished there; ONNX Runtime runs it on this "
            f"machine's processor. On the device: {deploy}"
        )
    here, there = read_machine(), passport.machine
    if (here.architecture, here.cpu) == (there.architecture, there.cpu):
        return ""
    return (
        f"{bundle} was finished on another machine ({there.cpu or 'unknown'}; this one is "
        f"{here.cpu or here.architecture}), so that another precision may be best here. "
        f"Choose again: cxredge deploy {quoted(bundle)}"
    )


def check_engine(
    bundle: Path,
    passport: Passport,
    name_of: Callable[[Precision], str],
    checked: Mapping[str, str],
) -> None:
    """Compare the engine that serves with the passport.

    Args:
        bundle: The bundle's folder.
        passport: Its passport.
        name_of: Returns the file name of a precision's engine; the passport may name no other.
        checked: SHA-256 of files that were already compared with the card, by name.

    Raises:
        ArtifactError: The engine is missing, is not the one that the bundle was finished with, or
            is of a kind that its runtime does not load.
    """
    remedy, engine = _finish_again(bundle), passport.engine
    served_from = name_of(passport.precision)
    if engine != served_from:
        raise ArtifactError(
            f"{bundle / PASSPORT_NAME} names the engine '{engine}'; {passport.precision.value} is "
            f"served from {served_from}.",
            remedy,
        )
    path = bundle / engine
    if not path.is_file():
        raise ArtifactError(f"{path} is missing; the bundle was finished with it.", remedy)
    if path.stat().st_size > MAX_BYTES:
        raise ArtifactError(f"{path} has more than {MAX_BYTES / 1e9:.0f} GB.", remedy)
    found = checked.get(engine) or sha256_of_file(path)
    if found != passport.engine_sha256:
        raise ArtifactError(
            f"{path} is not the engine that this bundle was finished with: SHA-256 {found[:12]}… "
            f"instead of {passport.engine_sha256[:12]}….",
            remedy,
        )


def _finish_again(bundle: Path) -> str:
    return f"Finish the bundle on this device again: cxredge deploy {quoted(bundle)}"
