"""What a bundle still needs where it will run: its goldens replayed, its candidates timed."""

from __future__ import annotations

from pathlib import Path

from cxredge import bundle as bundles
from cxredge.bundle import Bundle, model_name, open_bundle
from cxredge.candidates import Built, Candidate, choose, time_candidates
from cxredge.errors import CxredgeError
from cxredge.passport import write_passport
from cxredge.progress import Progress
from cxredge.quantization.gate import GateResult
from cxredge.targets.record import Target
from cxredge.targets.registry import (
    check_software,
    find_target,
    is_here,
    words_for_this_machine,
)
from cxredge.timing import Latency
from cxredge.vocabulary import Precision, PrecisionChoice


def finish(path: Path, precision: PrecisionChoice, progress: Progress) -> Built:
    """On the device: replay the goldens, time what passed the gate, and write the passport.

    Args:
        path: A bundle.
        precision: ``auto`` for the fastest that passed, or one that the bundle holds.
        progress: Hears what is going on.

    Raises:
        CxredgeError: The bundle is for another kind of machine, or this one's software is too old.
        GateRefused: The goldens come out differently here, or the forced precision did not pass.
    """
    bundle = open_bundle(path)
    target = find_target(bundle.card.config["target"])
    if not is_here(target):
        raise CxredgeError(
            f"{path} is for {target.name} ({target.machine}); this machine is "
            f"{words_for_this_machine()}.",
            "Run this on the device, or build another one here with --target here.",
        )
    check_software(target)
    candidates = _judge(bundle, target, progress)
    chosen, reason = choose(candidates, precision, target)
    latencies = {c.precision: c.latency for c in candidates if c.latency}
    write_passport(path, chosen.precision, model_name(chosen.precision), latencies, reason)
    return Built(open_bundle(path), chosen.gate, [c.to_json() for c in candidates], reason)


def reopen(path: Path, precision: PrecisionChoice, progress: Progress) -> Built:
    """Return what an earlier build of the same inputs came to; on the target, times are taken anew.

    Args:
        path: A bundle that is up to date.
        precision: What was asked for.
        progress: Hears what is going on.
    """
    bundle = open_bundle(path)
    target = find_target(bundle.card.config["target"])
    if is_here(target):
        return finish(path, precision, progress)
    candidates = _judge(bundle, target, progress)
    chosen, reason = choose(candidates, precision, target)
    return Built(bundle, chosen.gate, [c.to_json() for c in candidates], reason)


def _judge(bundle: Bundle, target: Target, progress: Progress) -> list[Candidate]:
    """Replay the goldens of every precision; time them where this machine is the target."""
    golden = bundles.read_golden(bundle)
    models = {p: bundle.path / model_name(p) for p in bundle.precisions}
    latencies: dict[Precision, Latency] = {}
    progress.note("Replaying the golden images on this machine.")
    if is_here(target):
        progress.note("Timing the candidates side by side on this machine.")
        latencies = time_candidates(models, golden.pixels[:1], target.backend)
    return [
        Candidate(
            p,
            model,
            GateResult.from_json(bundle.card.facts["gate"][p.value]),
            latencies.get(p),
            bundles.replay(bundle, p, golden).passed,
        )
        for p, model in models.items()
    ]
