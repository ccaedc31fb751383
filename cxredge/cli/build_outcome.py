"""The result of ``cxredge build`` and ``deploy`` as text and as JSON values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxredge.artifacts.records import to_json
from cxredge.backends import CPU_BACKENDS
from cxredge.bundle.archive import SIGNATURE_NAME
from cxredge.bundle.bundle import count_pictures
from cxredge.cli.gate import gate_text, with_paths
from cxredge.cli.output import Outcome
from cxredge.cli.text import share, table
from cxredge.errors import quoted
from cxredge.metrics.controls import control_sentences
from cxredge.targets.registry import find_target
from cxredge.vocabulary import Precision

_HEADER = (
    "runtime", "precision", "MB", "accuracy", "agreement", "p50 ms", "p90 ms", "threads",
    "images/s (inferences x threads)", "gate", "near ties to FP32",
)  # fmt: skip

if TYPE_CHECKING:
    from cxredge.build.candidates import BuildResult
    from cxredge.bundle.bundle import Bundle
    from cxredge.bundle.serving import TimedCandidate
    from cxredge.data.manifest import Entry
    from cxredge.gate.gate import GateResult


def _candidate(timed: TimedCandidate, gate: GateResult, entries: Sequence[Entry]) -> dict[str, Any]:
    """Return a candidate as JSON values; its comparison with FP32 precedes the verdict."""
    values = to_json(timed)
    return {
        **{key: values.pop(key) for key in [*values][: [*values].index("passed")]},
        "gate": with_paths(to_json(gate), entries),
        **values,
    }


def _row(candidate: Mapping[str, Any]) -> list[str]:
    """Return a candidate's row of the table."""
    latency, throughput = candidate["latency_ms"], candidate["throughput"]
    parallel = "-"
    if throughput:
        rate, lanes = throughput["images_per_second"], throughput["lanes"]
        parallel = f"{rate:.0f} ({lanes} x {throughput['threads']}, batch {throughput['batch']})"
    return [
        candidate["backend"],
        candidate["precision"],
        f"{candidate['size_bytes'] / 1e6:.1f}",
        share(candidate["accuracy"]),
        share(candidate["agreement"]),
        *(_milliseconds(latency, percentile) for percentile in ("p50", "p90")),
        str(candidate["threads"] or "-"),
        parallel,
        "yes" if candidate["passed"] else "no",
        share(candidate["near_ties"]) if candidate["gate"]["cascade"] else "-",
    ]


def _milliseconds(latency: Mapping[str, Any] | None, percentile: str) -> str:
    known = latency is not None and percentile in latency["supported_percentiles"]
    return f"{latency[percentile]:.2f}" if latency and known else "-"


def _title(candidate: Mapping[str, Any], candidates: Sequence[Mapping[str, Any]]) -> str:
    """Return a candidate's precision, and its runtime if there are several."""
    name, backend = str(candidate["precision"]).upper(), candidate["backend"]
    if all(other["backend"] == backend for other in candidates):
        return name
    return f"{name} in {CPU_BACKENDS[backend]}"


def _remaining_step(bundle: Bundle, archive: Path | None) -> str:
    """Return the command that remains to be run on the device, on the archive if it exists."""
    target = find_target(bundle.card.config.target)
    if target.runs_cxredge:
        carried = archive or bundle.path
        return (
            "Nothing was timed, because this machine is not the target. On the target: cxredge "
            f"deploy {quoted(carried)}"
        )
    line = bundle.card.facts.trtexec[bundle.precision]
    if archive:
        where, line = "an empty folder", f"tar -xf {quoted(archive)} && {line}"
    else:
        where = str(bundle.path)
    return f"cxredge does not run on {target.name}. On the device, in {where}: {line}"


def _pictures(counts: Mapping[str, int]) -> list[str]:
    """Return a line about the X-rays that travel inside the bundle, if there are any."""
    files = {
        "golden": ("golden image", "golden images", "(golden.npz)"),
        "flipped": ("changed decision", "changed decisions", "(flipped.npz)"),
    }
    held = [
        f"{counts[key]} {one if counts[key] == 1 else many} {file}"
        for key, (one, many, file) in files.items()
        if counts[key]
    ]
    if not held:
        return []
    return [
        f"X-rays of the data set inside: {' and '.join(held)}. Whoever gets the bundle or its "
        "archive gets them. To hand it on without, delete these files; verify then cannot compare "
        "results, and deploy refuses a bundle without golden images."
    ]


def outcome_of(
    built: BuildResult, entries: Sequence[Entry] = (), manifest: Path | None = None
) -> Outcome:
    """Return the result of a build with the next step.

    Args:
        built: The bundle and its candidates.
        entries: The images that were compared; empty if their manifest is not available.
        manifest: Their manifest, for the next step.
    """
    bundle, facts, archive = built.bundle, built.bundle.card.facts, built.archive
    candidates = [_candidate(timed, gate, entries) for timed, gate in built.candidates]
    data = {
        "bundle": str(bundle.path),
        "target": bundle.card.config.target,
        "backend": bundle.backend if bundle.passport else bundle.card.config.backend,
        "precision": bundle.precision.value,
        "threads": bundle.passport.threads if bundle.passport else None,
        "throughput": to_json(bundle.passport.throughput) if bundle.passport else None,
        "engine": str(bundle.engine),
        "gate": with_paths(to_json(built.gate), entries),
        "candidates": candidates,
        "reason": built.reason,
        "left_out": dict(built.left_out),
        "finished_here": bundle.passport is not None,
        "engines": to_json(facts.engines),
        "engines_left_out": dict(facts.engines_left_out),
        "signed": (bundle.path / SIGNATURE_NAME).is_file(),
        "archive": str(archive) if archive else None,
        "trtexec": to_json(facts.trtexec),
        "xrays": dict(count_pictures(bundle)),
    }
    rows = [_row(candidate) for candidate in candidates]
    prebuilt = [
        f"{engine['file']}: for GPUs of compute capability {engine['compute_capability']}"
        for engine in data["engines"]
    ] + [f"{name} was left out: {why}" for name, why in data["engines_left_out"].items()]
    compared = [
        gate_text(c["gate"], _title(c, candidates)) + "\n"
        for c in candidates
        if c["precision"] != Precision.FP32.value
    ]
    left_out = [
        f"{name} has no engine on this machine: {why}" for name, why in built.left_out.items()
    ]
    sentences = control_sentences(built.gate.controls)
    lines = [
        *sentences,
        *([""] if sentences else []),
        *compared,
        table(_HEADER, rows),
        "",
        *prebuilt,
        *left_out,
        built.reason,
        f"Wrote {bundle.path}",
        *_pictures(data["xrays"]),
    ]
    next_step = f"cxredge predict {quoted(bundle.path)} FOLDER --out predictions.csv"
    if manifest is not None:
        next_step = f"cxredge evaluate {quoted(bundle.path)} {quoted(manifest)}"
    if archive:
        lines.append(f"Packed {archive}, {archive.stat().st_size / 1e6:.1f} MB")
    if bundle.passport is None:
        lines.append(_remaining_step(bundle, archive))
    return Outcome(data, "\n".join(lines), next_step)
