"""``cxredge bench``: latency and throughput on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxredge.cli.command import command
from cxredge.cli.options import BundleArgument, SplitOption, ThreadsOption
from cxredge.cli.output import Outcome, Output
from cxredge.cli.text import milliseconds, near_ties, table
from cxredge.errors import quoted
from cxredge.metrics.latency import LEAST_COUNTS, SHARES, least_count
from cxredge.vocabulary import HarnessChoice, MemoryChoice, Scenario, Split

if TYPE_CHECKING:
    from cxredge.results.bench import BenchResult, SessionAccuracy
    from cxredge.telemetry.energy import EnergyPerImage

_LAYERS_SHOWN = 10


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(app, "bench")(bench)


def bench(
    output: Output,
    bundle: BundleArgument,
    images: Annotated[
        list[Path] | None,
        typer.Option(
            "--images", help="Image folder or file; repeatable. [default: pixels in memory]"
        ),
    ] = None,
    scenario: Annotated[
        Scenario, typer.Option("--scenario", help="Arrival of queries, as in MLPerf Inference.")
    ] = Scenario.SINGLE_STREAM,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0, help="Minimum duration; MLPerf requires 600.")
    ] = 10.0,
    queries: Annotated[
        int | None,
        typer.Option(
            "--queries",
            min=1,
            help="Minimum number of queries. [default: 1000; offline: 100 batches of 16]",
        ),
    ] = None,
    warm_up: Annotated[
        int, typer.Option("--warm-up", min=0, help="Number of untimed warm-up queries.")
    ] = 50,
    threads: ThreadsOption = 0,
    harness: Annotated[
        HarnessChoice,
        typer.Option(
            "--harness",
            help="Sender of the queries: MLPerf LoadGen (extra 'mlperf') or the built-in loop; "
            "auto uses LoadGen if it is installed.",
        ),
    ] = HarnessChoice.AUTO,
    manifest: Annotated[
        Path | None,
        typer.Option("--manifest", help="Also measure the accuracy of this session on a manifest."),
    ] = None,
    split: SplitOption = Split.TEST,
    memory: Annotated[
        MemoryChoice | None,
        typer.Option(
            "--memory",
            help="Transfer of images to a GPU. pinned (the default): copied from page-locked "
            "memory. mapped: read from host memory, for boards on which CPU and GPU share it. "
            "both: compares them.",
        ),
    ] = None,
    cuda_graph: Annotated[
        bool | None,
        typer.Option(
            "--cuda-graph/--no-cuda-graph",
            help="Whether to use CUDA graphs. [default: if the engine allows it]",
        ),
    ] = None,
    layers: Annotated[
        bool, typer.Option("--layers", help="Also time each layer of a TensorRT engine.")
    ] = False,
    raw: Annotated[
        bool,
        typer.Option("--raw", help="Write the latency of every query instead of at most 2000."),
    ] = False,
    loadgen_logs: Annotated[
        Path | None, typer.Option("--loadgen-logs", help="Folder for the logs of LoadGen.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="File to write. [default: in BUNDLE/results/]"),
    ] = None,
) -> Outcome:
    """Measure latency, throughput and accuracy on this machine.

    Also checks whether the result is comparable with other results.
    """
    from cxredge.bench import BenchConfig, LabelledSplit
    from cxredge.bench import bench as stage
    from cxredge.bundle.bundle import open_bundle
    from cxredge.data.manifest import read_manifest
    from cxredge.results.bench import BenchResult
    from cxredge.results.write import check_out, path_in_bundle, write_result

    check_out(out, bundle, BenchResult)
    config = BenchConfig(
        scenario=scenario,
        seconds=seconds,
        queries=queries,
        warm_up=warm_up,
        threads=threads,
        harness=harness,
        memory=memory,
        cuda_graphs=cuda_graph,
        layers=layers,
        raw=raw,
        loadgen_logs=loadgen_logs,
    )
    labelled = LabelledSplit(read_manifest(manifest), split) if manifest else None
    found = stage(open_bundle(bundle), images or [], config, output, labelled)
    path = out or path_in_bundle(bundle, found, "-mapped" if memory is MemoryChoice.MAPPED else "")
    if path.exists():
        output.note(f"Replacing {path}, an earlier result of bench under the same circumstances.")
    values = write_result(path, found)
    return Outcome(
        {"result": str(path), **values},
        _text(found, path),
        f"cxredge report {quoted(bundle)} --out report.html",
    )


def _text(found: BenchResult, path: Path) -> str:
    rows = [
        [name, *(milliseconds(latency, percentile, 3) for percentile in SHARES)]
        for name, latency in {**found.stages_ms, "query": found.latency_ms}.items()
    ]
    threads = "1 thread" if found.threads == 1 else f"{found.threads} threads"
    lines = [
        table(["stage", "p50 ms", "p90 ms", "p99 ms"], rows),
        *_too_few(found),
        "",
        _score(found),
        f"{found.precision.value}, {threads}, harness {found.harness}: "
        f"{found.queries.count} queries of {found.samples_per_query} in {found.seconds:.1f} s, "
        f"{found.throughput:.1f} images per second, variation {found.latency_ms.cv:.1%}.",
        *near_ties(found.cascade),
        _accuracy(found.accuracy),
        _energy(found.energy),
        "Comparable with other results."
        if found.verdict.comparable
        else "Not comparable with other results:",
        *(f"  - {reason}" for reason in found.verdict.reasons),
        *_gpu_tables(found),
        f"Wrote {path}",
    ]
    return "\n".join(lines)


def _gpu_tables(found: BenchResult) -> list[str]:
    """Return tables of both kinds of memory and of the slowest layers, if measured."""
    lines = []
    if found.memory_ms:
        rows = [
            [kind, milliseconds(ms, "p50", 3), milliseconds(ms, "p90", 3)]
            for kind, ms in found.memory_ms.items()
        ]
        lines += ["", table(["GPU memory", "p50 ms", "p90 ms"], rows), ""]
    if found.layers_ms:
        total = sum(layer.mean_ms for layer in found.layers_ms)
        rows = [
            [f"{layer.mean_ms:.4f}", f"{layer.mean_ms / total:.0%}", layer.name]
            for layer in found.layers_ms[:_LAYERS_SHOWN]
        ]
        title = f"slowest of {len(found.layers_ms)} layers"
        lines += ["", table(["mean ms", "share", title], rows), ""]
    return lines


def _too_few(found: BenchResult) -> list[str]:
    """Return a line about the percentiles that are not shown, if there are any."""
    missing = [
        name
        for name in SHARES
        if any(ms.percentile(name) is None for ms in (*found.stages_ms.values(), found.latency_ms))
    ]
    needed = ", ".join(f"{LEAST_COUNTS[name]} for {name}" for name in missing)
    return [f"-: too few measurements; at least {needed}"] if missing else []


def _score(found: BenchResult) -> str:
    score, scenario = found.score, found.scenario.value
    low, high = score.ci95
    if score.percentile is None:
        return f"{scenario}: {score.value:.1f} images per second ({low:.1f}-{high:.1f})"
    least = least_count(score.percentile / 100)
    if found.latency_ms.count < least:
        return (
            f"{scenario}: the {score.percentile}th percentile counts, which requires at least "
            f"{least} queries; there are {found.latency_ms.count}"
        )
    text = (
        f"{scenario}: {score.percentile}th percentile {score.value:.3f} ms ({low:.3f}-{high:.3f})"
    )
    if score.early_stopping_ms is None:
        return f"{text}; too few queries for MLPerf's early-stopping estimate"
    return f"{text}; MLPerf's early-stopping estimate {score.early_stopping_ms:.3f} ms"


def _accuracy(accuracy: SessionAccuracy) -> str:
    golden = accuracy.golden
    text = (
        f"Golden images: {'as built' if golden.passed else 'NOT as built'}, "
        f"{golden.agreement_fp32:.1%} of {golden.images} classified as in FP32."
    )
    if accuracy.accuracy is None or not accuracy.accuracy_ci95 or not accuracy.split:
        return f"{text} Accuracy was not measured (--manifest)."
    low, high = accuracy.accuracy_ci95
    return (
        f"Accuracy of this session {accuracy.accuracy:.1%} ({low:.1%}-{high:.1%}) on "
        f"{accuracy.images} {accuracy.split.value} images. {text}"
    )


def _energy(energy: EnergyPerImage | None) -> str:
    if energy is None:
        return "Energy: not available on this machine."
    return (
        f"Energy: {energy.joules_per_image:.4g} J per image, {energy.mean_watts:.3g} W "
        f"({energy.source})."
    )
