"""What a bundle still needs where it will run: engines, goldens replayed, candidates timed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cxredge.backends import CPU_BACKENDS, installed_on_cpu
from cxredge.backends.tensorrt.facts import record_golden
from cxredge.build.candidates import BuildResult, Candidate, choose, serving
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
    """Return the target of a bundle, which has to be this machine.

    Args:
        card: The bundle's card.
        path: Where it was read, for messages.

    Raises:
        CxredgeError: The bundle is for another kind of machine, or this one's software is too old.
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
    """On the device: build engines, replay the goldens, time the candidates, write the passport.

    What an earlier run left is replaced, be it whole or not.

    Args:
        path: A bundle.
        precision: A precision of the bundle; None for the fastest that passed the gate.
        progress: Hears what is going on.
        options: Options of engines that override the packed ones.

    Raises:
        WrongUsage: Something is asked of engines, and the target has none.
        CxredgeError: The bundle is for another kind of machine, this one's software is missing or
            too old, or no engine can be built.
        GateRefused: The goldens come out differently here, or the forced precision did not pass.
    """
    bundle = open_unfinished(path)
    target = require_here(bundle.card, path)
    check_options(target, options)
    cascade = bundle.card.config.cascade
    engines = Engines()
    if are_built(target.backend):
        if options.calibration:
            progress.note(
                "INT8 is calibrated by TensorRT: it is held to FP32's classes on the golden "
                "images. The gate's figures are those of cxredge's own INT8, and so is how near a "
                "tie is: this one decides all images by itself. Measure it: "
                f"cxredge evaluate {quoted(path)} MANIFEST"
            )
        engines = build_engines(bundle, target.backend, precision, options, progress)
        bundle = replace(bundle, backend=target.backend)
        if cascade and Precision.FP32 not in bundle.runnable:
            raise CxredgeError(
                "FP32 is to decide near ties and has no engine here: "
                f"{engines.left_out[Precision.FP32.value]}",
                "Make the bundle with --no-cascade, so that INT8 decides alone.",
            )
    candidates = _judge(bundle, target, progress)
    chosen, reason = choose(candidates, precision, target)
    found = replace(
        serving(candidates, chosen, reason), runtime=engines.runtime, left_out=engines.left_out
    )
    write_passport(path, found)
    listed = [candidate.to_json() for candidate in candidates]
    return BuildResult(open_bundle(path), chosen.gate, listed, reason, engines.left_out)


def reopen(path: Path, precision: Precision | None, progress: Progress) -> BuildResult:
    """Return what an earlier build of the same inputs came to; on the target, times are taken anew.

    Args:
        path: A bundle that is up to date.
        precision: What was asked for.
        progress: Hears what is going on.
    """
    bundle = open_unfinished(path)
    target = find_target(bundle.card.config.target)
    if is_here(target):
        return finish(path, precision, progress)
    candidates = _judge(bundle, target, progress)
    chosen, reason = choose(candidates, precision, target)
    return BuildResult(bundle, chosen.gate, [c.to_json() for c in candidates], reason)


def _judge(bundle: Bundle, target: Target, progress: Progress) -> list[Candidate]:
    """Replay the goldens of what runs here; time it where this machine is the target."""
    golden = read_golden(bundle)
    here = is_here(target)
    on_cpu = here and target.backend in CPU_BACKENDS
    backends = installed_on_cpu() if on_cpu else (bundle.backend,)
    progress.note("Replaying the golden images on this machine.")
    passed = {
        Variant(backend, p, served.engine_of(p)): _replay(served, p, golden)
        for backend in backends
        for served in (replace(bundle, backend=backend),)
        for p in served.runnable
    }
    speeds: dict[Variant, Speed] = {}
    if here:
        progress.note("Timing the candidates side by side on this machine.")
        speeds = measure_speeds(tuple(passed), golden.pixels[:1])
    return [Candidate(v, _gate(bundle, v), speeds.get(v), passed[v]) for v in passed]


def _gate(bundle: Bundle, variant: Variant) -> GateResult:
    """Return how a variant did where the bundle was built, or another runtime's of its precision.

    A runtime that was not there has to give what another one gave for the golden images.
    """
    gate = bundle.card.facts.gate_of(variant.precision, variant.backend)
    as_measured = not bundle.was_calibrated_by_tensorrt(variant.precision)
    return replace(gate, cascade=gate.cascade and as_measured)


def _replay(bundle: Bundle, precision: Precision, golden: Golden) -> bool:
    """Run the goldens of a precision; an engine's facts keep how they came out."""
    found = replay(bundle, precision, golden)
    if are_built(bundle.backend):
        record_golden(bundle.engine_of(precision), found.to_json())
    return found.passed
