"""Hostile images, archives and names: each is predicted alone, within limits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.campaign.child import Ended, Outcome, run_limited, small_bundle
from benchmarks.campaign.hostile_inputs import Case, cases
from benchmarks.campaign.section import Section

SECONDS = 60
MEMORY_MB = 4000
COLUMNS = ("input", "inputs", "right", "wrong", "crashed", "hung", "slowest s", "peak MB")
VERDICTS = ("right", "wrong", "crashed", "hung")


def run(scratch: Path) -> Section:
    bundle = small_bundle(scratch)
    found = [(case, *_try(case, bundle, scratch / "inputs")) for case in cases()]
    rows = []
    for group in dict.fromkeys(case.group for case, *_ in found):
        rows.append(
            _row(group, [(ended, verdict) for c, ended, verdict in found if c.group == group])
        )
    rows.append(_row("all", [(ended, verdict) for _, ended, verdict in found]))
    notes = [
        f"Each input is predicted alone in a process that may take {SECONDS} s and {MEMORY_MB} MB "
        "of address space. Right: one row for each image with a fitting status, or one sentence "
        "and exit code 1 where there is no input; no traceback."
    ]
    notes += [
        f"{verdict}: `{case.name!r}` ({case.group}), exit code {ended.code}, {ended.err[-200:]!r}"
        for case, ended, verdict in found
        if verdict != "right"
    ]
    return Section("Hostile images", COLUMNS, tuple(rows), tuple(notes))


def _row(group: str, results: list[tuple[Ended, str]]) -> tuple[str, ...]:
    verdicts = [verdict for _, verdict in results]
    return (
        group,
        str(len(results)),
        *(str(verdicts.count(name)) for name in VERDICTS),
        f"{max(ended.seconds for ended, _ in results):.1f}",
        f"{max(ended.peak_mb for ended, _ in results):.0f}",
    )


def _try(case: Case, bundle: Path, folder: Path) -> tuple[Ended, str]:
    folder.mkdir(exist_ok=True)
    path, out = folder / case.name, folder.parent / "rows.jsonl"
    out.unlink(missing_ok=True)
    case.make(path)
    ended = run_limited("predict", bundle, path, "--out", out, seconds=SECONDS, memory_mb=MEMORY_MB)
    if not path.is_dir():
        path.unlink()
    if ended.outcome in (Outcome.CRASHED, Outcome.HUNG):
        return ended, ended.outcome.value
    return ended, "right" if _is_right(case, ended, list(_rows(out))) else "wrong"


def _is_right(case: Case, ended: Ended, rows: list[dict[str, Any]]) -> bool:
    if "\x1b" in ended.out + ended.err:
        return False
    if not case.rows:
        return not rows and ended.code == 1 and ended.err.startswith("Error: ")
    return len(rows) == case.rows and all(row["status"] in case.statuses for row in rows)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    if path.exists():
        with path.open() as stream:
            yield from map(json.loads, stream)
