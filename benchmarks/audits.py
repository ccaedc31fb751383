"""Results of ``cxredge data audit`` on the paper's protocols, split by patient and by image.

    python benchmarks/audits.py --cohen DIR --kermany DIR --out benchmarks/results/audits

Writes OUT.json (the whole audit, without file names) and OUT.md (the table).
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from commands import cxredge

from cxredge.artifacts.atomic import write_json, write_text

RUNS = [(p, s) for p in ("cxr-a", "cxr-b", "cxr-c", "full") for s in ("patient", "image")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("cohen", "kermany", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    arguments = parser.parse_args()
    found = {}
    for protocol, split in RUNS:
        with tempfile.TemporaryDirectory() as folder:
            cxredge(
                "data", "prepare", "--protocol", protocol, "--cohen", arguments.cohen,
                "--kermany", arguments.kermany, "--split", split, "--out", folder,
            )  # fmt: skip
            audit = cxredge("data", "audit", Path(folder) / "manifest.csv")
        del audit["near_duplicates_across_splits"]["examples"]
        found[f"{protocol}, by {split}"] = audit
    write_json(arguments.out.with_suffix(".json"), found)
    write_text(arguments.out.with_suffix(".md"), _page(found))


def _page(found: dict[str, Any]) -> str:
    header = [
        "set", "images", "patients", "patients in two splits", "near duplicates across splits",
        "class and source, Cramer's V", "right from the border alone", "right from statistics",
        "chance",
    ]  # fmt: skip
    lines: list[Sequence[object]] = [header, ["---"] * len(header)]
    lines += [_row(name, audit) for name, audit in found.items()]
    return (
        "# What the data audit says of the paper's protocols\n\nSeed 0. The last columns: share of "
        "test images that a linear model gets right (with Wilson's 95% interval) when it sees only "
        "the outer 2 of 32x32 pixels, or only the statistics of grey values; chance is always "
        "naming the largest class. Nothing of a lung is needed for either.\n\n"
        + "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
        + "\n"
    )


def _row(name: str, audit: dict[str, Any]) -> list[object]:
    border, statistics = (audit["shortcuts"][kind] for kind in ("border", "statistics"))
    return [
        name,
        audit["images"],
        audit["patients"],
        audit["patients_in_two_splits"],
        audit["near_duplicates_across_splits"]["count"],
        f"{audit['source_association']:.2f}",
        _share(border),
        _share(statistics),
        f"{border['chance']:.3f}",
    ]


def _share(result: dict[str, Any]) -> str:
    low, high = result["ci95"]
    return f"{result['accuracy']:.3f} ({low:.3f}-{high:.3f})"


if __name__ == "__main__":
    main()
