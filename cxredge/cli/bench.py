"""``cxredge bench``: latency and throughput on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cxredge.cli.command import command
from cxredge.cli.options import BundleArgument, ThreadsOption
from cxredge.cli.output import Outcome, Output
from cxredge.cli.text import near_ties, table
from cxredge.errors import quoted
from cxredge.vocabulary import HarnessChoice, MemoryChoice, Scenario, Split

_LAYERS_SHOWN = 10


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(app, "bench")(bench)


def bench(
    output: Output,
    bundle: BundleArgument,
    images: Annotated[
        list[Path] | None,
        typer.Option("--images", help="Folder to read from; without it pixels in memory are used."),
    ] = None,
    scenario: Annotated[
        Scenario, typer.Option("--scenario", help="How queries arrive, as in MLPerf.")
    ] = Scenario.SINGLE_STREAM,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0, help="Least time to measure; MLPerf asks for 600.")
    ] = 10.0,
    queries: Annotated[
        int | None,
        typer.Option(
            "--queries",
            min=1,
            help="Least number of queries. [default: 1000; in offline 100 batches of 16]",
        ),
    ] = None,
    warm_up: Annotated[int, typer.Option("--warm-up", min=0, help="Untimed queries before.")] = 50,
    threads: ThreadsOption = 0,
    harness: Annotated[
        HarnessChoice,
        typer.Option(
            "--harness",
            help="Who sends the queries: MLPerf's LoadGen (extra 'mlperf') or our own loop; auto "
            "takes LoadGen where it is installed.",
        ),
    ] = HarnessChoice.AUTO,
    manifest: Annotated[
        Path | None,
        typer.Option("--manifest", help="Measure the same session's accuracy on these images too."),
    ] = None,
    split: Annotated[Split, typer.Option("--split", help="Which images of it.")] = Split.TEST,
    memory: Annotated[
        MemoryChoice | None,
        typer.Option(
            "--memory",
            help="How images reach a GPU: copied from page-locked memory (the default), or read "
            "by the GPU where they are, for boards whose memory is shared; both to compare them.",
        ),
    ] = None,
    cuda_graph: Annotated[
        bool | None,
        typer.Option(
            "--cuda-graph/--no-cuda-graph",
            help="Whether a GPU starts recorded work by one call. [default: where it can]",
        ),
    ] = None,
    layers: Annotated[
        bool, typer.Option("--layers", help="Time each layer of a TensorRT engine besides.")
    ] = False,
    raw: Annotated[
        bool, typer.Option("--raw", help="Keep every query's latency, not at most 2000.")
    ] = False,
    loadgen_logs: Annotated[
        Path | None, typer.Option("--loadgen-logs", help="Folder to keep LoadGen's own logs in.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Where to keep the result. [default: BUNDLE/results/]"),
    ] = None,
) -> Outcome:
    """Measure latency, throughput and accuracy, and say whether the numbers can be compared."""
    from cxredge.artifacts.card import write_json
    from cxredge.bench import BenchConfig, Labelled
    from cxredge.bench import bench as stage
    from cxredge.bundle.bundle import open_bundle
    from cxredge.data.manifest import read_manifest

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
    labelled = Labelled(read_manifest(manifest), split) if manifest else None
    found = stage(open_bundle(bundle), images or [], config, output, labelled)
    source = "files" if images else "memory"
    way = "-mapped" if memory is MemoryChoice.MAPPED else ""
    name = f"bench-{scenario.value}-{source}-{found['precision']}{way}.json"
    path = out or bundle / "results" / name
    write_json(path, found)
    return Outcome(
        {"result": str(path), **found},
        _text(found, path),
        f"cxredge report {quoted(bundle)} --out report.html",
    )


def _text(found: dict[str, Any], path: Path) -> str:
    latency, queries = found["latency_ms"], found["queries"]
    rows = [
        [name, f"{values['p50']:.3f}", f"{values['p90']:.3f}", f"{values['p99']:.3f}"]
        for name, values in {**found["stages_ms"], "query": latency}.items()
    ]
    verdict = found["verdict"]
    lines = [
        table(["stage", "p50 ms", "p90 ms", "p99 ms"], rows),
        "",
        _score(found),
        f"{found['precision']}, {found['threads']} threads, harness {found['harness']}: "
        f"{queries['count']} queries of {found['samples_per_query']} in {found['seconds']:.1f} s, "
        f"{found['throughput']:.1f} images a second, variation {latency['cv']:.1%}.",
        *near_ties(found["cascade"]),
        _accuracy(found["accuracy"]),
        _energy(found["energy"]),
        "Comparable with other results."
        if verdict["comparable"]
        else "Not comparable with other results:",
        *(f"  - {reason}" for reason in verdict["reasons"]),
        *_on_gpu(found),
        f"Wrote {path}",
    ]
    return "\n".join(lines)


def _on_gpu(found: dict[str, Any]) -> list[str]:
    """Return both ways to reach a GPU, and the slowest layers, where they were asked for."""
    lines = []
    if found["memory_ms"]:
        rows = [[way, f"{ms['p50']:.3f}", f"{ms['p90']:.3f}"]
                for way, ms in found["memory_ms"].items()]  # fmt: skip
        lines += ["", table(["GPU's memory", "p50 ms", "p90 ms"], rows), ""]
    if found["layers_ms"]:
        slowest = found["layers_ms"][:_LAYERS_SHOWN]
        total = sum(layer["mean_ms"] for layer in found["layers_ms"])
        rows = [[f"{layer['mean_ms']:.4f}", f"{layer['mean_ms'] / total:.0%}", layer["name"]]
                for layer in slowest]  # fmt: skip
        title = f"slowest of {len(found['layers_ms'])} layers"
        lines += ["", table(["mean ms", "share", title], rows), ""]
    return lines


def _score(found: dict[str, Any]) -> str:
    score = found["score"]
    low, high = score["ci95"]
    if score["percentile"] is None:
        return f"{found['scenario']}: {score['value']:.1f} images a second ({low:.1f}-{high:.1f})"
    text = (
        f"{found['scenario']}: {score['percentile']}th percentile {score['value']:.3f} ms "
        f"({low:.3f}-{high:.3f})"
    )
    if score["early_stopping_ms"] is None:
        return f"{text}; too few queries for MLPerf's early-stopping estimate"
    return f"{text}; MLPerf's early-stopping estimate {score['early_stopping_ms']:.3f} ms"


def _accuracy(accuracy: dict[str, Any]) -> str:
    golden = accuracy["golden"]
    text = (
        f"Golden images: {'as built' if golden['passed'] else 'NOT as built'}, "
        f"{golden['agreement_fp32']:.1%} of {golden['images']} classified as by FP32."
    )
    if accuracy["accuracy"] is None:
        return f"{text} Accuracy was not measured (--manifest)."
    low, high = accuracy["accuracy_ci95"]
    return (
        f"Accuracy of this session {accuracy['accuracy']:.1%} ({low:.1%}-{high:.1%}) on "
        f"{accuracy['images']} {accuracy['split']} images. {text}"
    )


def _energy(energy: dict[str, Any] | None) -> str:
    if energy is None:
        return "Energy: not available on this machine."
    return (
        f"Energy: {energy['joules_per_image']:.4g} J an image, {energy['mean_watts']:.3g} W "
        f"({energy['source']})."
    )
