"""The last part of a build, on the device: engines, golden images, timing, passport."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cxredge.artifacts.records import to_json
from cxredge.backends import CPU_BACKENDS, installed_on_cpu
from cxredge.backends.batched import NotFiniteError
from cxredge.backends.tensorrt.facts import record_golden
from cxredge.build.candidates import BuildResult, Candidate, listed, serving
from cxredge.build.choice import choose
from cxredge.build.engines import (
    DEFAULT_OPTIONS,
    EngineOptions,
    Engines,
    are_built,
    build_engines,
    check_options,
)
from cxredge.build.speed import Variant, measure_speeds
from cxredge.bundle.bundle import Bundle, open_bundle, open_unfinished, read_golden
from cxredge.bundle.card import BundleCard
from cxredge.bundle.golden import Golden
from cxredge.bundle.passport import write_passport
from cxredge.bundle.replay import replay
from cxredge.bundle.serving import Speed
from cxredge.errors import CxredgeError, quoted
from cxredge.gate.gate import GateResult
from cxredge.progress import Progress
from cxredge.targets.record import Target
from cxredge.targets.registry import check_software, describe_this_machine, find_target, is_here
from cxredge.targets.trtexec import how_to_deploy
from cxredge.vocabulary import Precision


def require_here(card: BundleCard, path: Path) -> Target:
    """Return the target of a bundle if it is this machine.

    Args:
        card: The bundle's card.
        path: Path of the file, for messages.

    Raises:
        CxredgeError: The bundle is for another machine, or the software of this one is too old.
    """
    target = find_target(card.config.target)
    if not is_here(target):
        raise CxredgeError(
            f"{path} is for {target.name} ({target.machine}); this machine is "
            f"{describe_this_machine()}.",
            f"On the device: {how_to_deploy(target, path)}. For this machine: cxredge build "
            "RUN_OR_MODEL --target here --out BUNDLE",
        )
    check_software(target)
    return target


def finish(
    path: Path,
    precision: Precision | None,
    progress: Progress,
    options: EngineOptions = DEFAULT_OPTIONS,
) -> BuildResult:
    """Build engines, repeat the golden images, time the candidates, and write the passport.

    Results of an earlier run are replaced, also if they are incomplete.

    Args:
        path: A bundle's folder.
        precision: A precision of the bundle; None for the fastest that passed the gate.
        progress: Progress listener.
        options: Options of engines that override the packed ones.

    Raises:
        WrongUsage: Options of engines are given, and the target has no engines.
        CxredgeError: The bundle is for another machine, software is missing or too old here, or no
            engine can be built.
        GateRefused: The golden images have different results here, or ``precision`` did not pass.
    """
    bundle = open_unfinished(path)
    target = require_here(bundle.card, path)
    # Engines take minutes; without golden images they could not be checked.
    read_golden(bundle)
    check_options(target, options)
    engines = Engines()
    if are_built(target.backend):
        engines = _build_engines(bundle, target, precision, options, progress)
        bundle = replace(bundle, backend=target.backend)
    candidates = _judge(bundle, target, progress)
    choice = choose(candidates, precision, target, path)
    found = replace(serving(candidates, choice), runtime=engines.runtime, left_out=engines.left_out)
    write_passport(path, found)
    return BuildResult(
        open_bundle(path),
        choice.candidate.gate,
        listed(candidates),
        choice.reason,
        engines.left_out,
    )


def reopen(path: Path, precision: Precision | None, progress: Progress) -> BuildResult:
    """Return the result of an earlier build; on the target, the candidates are timed again.

    Args:
        path: A bundle that is up to date.
        precision: The precision to ship; None for the best that passes the gate.
        progress: Progress listener.
    """
    bundle = open_unfinished(path)
    target = find_target(bundle.card.config.target)
    if is_here(target):
        return finish(path, precision, progress)
    candidates = _judge(bundle, target, progress)
    chosen, reason = choose(candidates, precision, target, path)
    return BuildResult(bundle, chosen.gate, listed(candidates), reason)


def _build_engines(
    bundle: Bundle,
    target: Target,
    precision: Precision | None,
    options: EngineOptions,
    progress: Progress,
) -> Engines:
    """Build the engines of a bundle; with a cascade, FP32 must be among them."""
    if options.calibration:
        progress.note(
            "INT8 is calibrated by TensorRT: on the golden images it must have FP32's classes. "
            "The gate's figures and the margin of near ties are those of cxredge's own INT8, so "
            "this INT8 decides all images alone. Measure it: "
            f"cxredge evaluate {quoted(bundle.path)} MANIFEST"
        )
    engines = build_engines(bundle, target.backend, precision, options, progress)
    runnable = replace(bundle, backend=target.backend).runnable
    if bundle.card.config.cascade and Precision.FP32 not in runnable:
        raise CxredgeError(
            "FP32 is required for near ties and has no engine here: "
            f"{engines.left_out[Precision.FP32.value]}",
            "Build the bundle with --no-cascade, so that INT8 decides alone.",
        )
    return engines


def _judge(bundle: Bundle, target: Target, progress: Progress) -> list[Candidate]:
    """Repeat the golden images in all that runs here, and time it if this is the target."""
    golden = read_golden(bundle)
    here = is_here(target)
    on_cpu = here and target.backend in CPU_BACKENDS
    backends = installed_on_cpu() if on_cpu else (bundle.backend,)
    progress.note("Running the golden images on this machine.")
    served = {backend: replace(bundle, backend=backend) for backend in backends}
    runs = [(backend, p) for backend in backends for p in served[backend].runnable]
    passed: dict[Variant, bool] = {}
    with progress.task("Running the golden images", len(runs)) as advance:
        for backend, p in runs:
            variant = Variant(backend, p, served[backend].engine_of(p))
            passed[variant] = _replay(served[backend], p, golden, progress)
            advance(1)
    speeds: dict[Variant, Speed] = {}
    if here:
        progress.note("Timing the candidates side by side on this machine.")
        speeds = measure_speeds(tuple(passed), golden.pixels[:1], progress)
    return [Candidate(v, _gate(bundle, v), speeds.get(v), passed[v]) for v in passed]


def _gate(bundle: Bundle, variant: Variant) -> GateResult:
    """Return the result of the gate where the bundle was built.

    For a runtime that was not installed there, that of another runtime in the same precision: the
    golden images must have the same results.
    """
    gate = bundle.card.facts.gate_of(variant.precision, variant.backend)
    as_measured = not bundle.was_calibrated_by_tensorrt(variant.precision)
    return replace(gate, cascade=gate.cascade and as_measured)


def _replay(bundle: Bundle, precision: Precision, golden: Golden, progress: Progress) -> bool:
    """Run the golden images in a precision; an engine's facts record the result."""
    try:
        found = replay(bundle, precision, golden)
    except NotFiniteError as error:
        progress.note(error.message)
        return False
    if are_built(bundle.backend):
        record_golden(bundle.engine_of(precision), to_json(found))
    if not found.passed:
        progress.note(
            f"{precision.value} on {bundle.backend} does not reproduce the build: "
            f"{found.differences()}."
        )
    return found.passed
