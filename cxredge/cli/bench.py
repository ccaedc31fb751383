"""``cxredge bench``: latency and throughput on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cxredge.cli.command import command
from cxredge.cli.options import BundleArgument, ThreadsOption
from cxredge.cli.output import Outcome, Output
from cxredge.cli.text import table
from cxredge.vocabulary import Scenario


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
        float, typer.Option("--seconds", min=0, help="Least time to measure.")
    ] = 10.0,
    queries: Annotated[int, typer.Option("--queries", min=1, help="Least number.")] = 1000,
    warm_up: Annotated[int, typer.Option("--warm-up", min=0, help="Untimed queries before.")] = 50,
    threads: ThreadsOption = 0,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Where to keep the result. [default: BUNDLE/results/]"),
    ] = None,
) -> Outcome:
    """Measure latency and throughput, and say whether the numbers can be compared."""
    from cxredge.artifacts import write_json
    from cxredge.bench import BenchConfig
    from cxredge.bench import bench as stage
    from cxredge.bundle import open_bundle

    config = BenchConfig(scenario, seconds, queries, warm_up, threads)
    found = stage(open_bundle(bundle), images or [], config, output)
    source = "files" if images else "memory"
    name = f"bench-{scenario.value}-{source}-{found['precision']}.json"
    path = out or bundle / "results" / name
    write_json(path, found)
    return Outcome(
        {"result": str(path), **found},
        _text(found, path),
        f"cxredge report {bundle} --out report.html",
    )


def _text(found: dict[str, Any], path: Path) -> str:
    latency = found["latency_ms"]
    rows = [
        [name, f"{values['p50']:.3f}", f"{values['p90']:.3f}", f"{values['p99']:.3f}"]
        for name, values in {**found["stages_ms"], "query": latency}.items()
    ]
    verdict = found["verdict"]
    lines = [
        table(["stage", "p50 ms", "p90 ms", "p99 ms"], rows),
        "",
        f"{found['scenario']}, {found['precision']}, {found['threads']} threads: "
        f"{latency['count']} queries of {found['samples_per_query']} in {found['seconds']:.1f} s, "
        f"{found['throughput']:.1f} images a second, variation {latency['cv']:.1%}.",
        "Comparable with other results."
        if verdict["comparable"]
        else "Not comparable with other results:",
        *(f"  - {reason}" for reason in verdict["reasons"]),
        f"Wrote {path}",
    ]
    return "\n".join(lines)
