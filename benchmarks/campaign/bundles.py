"""Every command that reads a bundle, on bundles that were tampered with."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from benchmarks.campaign.child import Ended, Outcome, run_limited, small_bundle
from benchmarks.campaign.section import Section
from benchmarks.campaign.tampered import KINDS, Kind

ROOT = Path(__file__).parents[2]
QUICK = (sys.executable, "-m", "tests.quick_search")
"""The command line with a short search for settings: deploy times candidates for a minute."""
SECONDS, MEMORY_MB = 60, 8000
"""Limits of each command. Runtimes reserve address space for their threads; the peak of resident
memory is in the table."""


def run(scratch: Path) -> Section:
    """Try every kind of tampering on every command."""
    bundle = small_bundle(scratch)
    image = next((scratch / "phantoms" / "images").rglob("*.png"))
    return Section(
        title="Bundles that were tampered with",
        columns=("kind", "refused", "done", "crashed", "hung", "seconds", "peak MB"),
        rows=tuple(_row(kind, bundle, image, scratch / "tampered") for kind in KINDS),
        notes=(
            f"{len(KINDS)} kinds, each with hashes that fit again. Columns count the commands "
            "inspect, verify, predict, evaluate, bench, report and deploy (with a short search "
            "for settings); seconds and peak are "
            "those of the slowest and the largest command.",
            f"Limits: {SECONDS} s and {MEMORY_MB} MB of address space for each command.",
        ),
    )


def _row(kind: Kind, bundle: Path, image: Path, folder: Path) -> tuple[str, ...]:
    shutil.rmtree(folder, ignore_errors=True)
    copy = folder / "bundle"
    shutil.copytree(bundle, copy)
    kind.tamper(copy)
    ended = [
        run_limited(*arguments, seconds=SECONDS, memory_mb=MEMORY_MB, command=QUICK, cwd=ROOT)
        for arguments in _commands(copy, image, folder)
    ]
    return _summary(kind.name, ended)


def _commands(bundle: Path, image: Path, out: Path) -> Iterator[tuple[object, ...]]:
    manifest = bundle.parents[1] / "phantoms" / "manifest.csv"
    yield "inspect", bundle, "-v"
    yield "verify", bundle
    yield "predict", bundle, image, "--out", out / "predictions.csv"
    yield "evaluate", bundle, manifest, "--out", out / "evaluation.json"
    yield "bench", bundle, "--seconds", 0, "--queries", 4, "--out", out / "bench.json"
    yield "report", bundle, "--out", out / "report.html"
    yield "deploy", bundle, "--out", out / "deployed"


def _summary(name: str, ended: list[Ended]) -> tuple[str, ...]:
    counts = Counter(one.outcome for one in ended)
    order = (Outcome.REFUSED, Outcome.DONE, Outcome.CRASHED, Outcome.HUNG)
    return (
        name,
        *(str(counts[outcome]) for outcome in order),
        f"{max(one.seconds for one in ended):.1f}",
        f"{max(one.peak_mb for one in ended):.0f}",
    )
