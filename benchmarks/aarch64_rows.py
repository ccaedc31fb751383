"""Steps of ``aarch64_check.sh`` that compare images and rows.

    python benchmarks/aarch64_rows.py pick MANIFEST --count 32 --out DIR
    python benchmarks/aarch64_rows.py measure SITE_PACKAGES --out FILE.json
    python benchmarks/aarch64_rows.py compare FOUND BUNDLE... --debian S --emulator S --out OUT

``pick`` copies test images and writes their manifest. ``measure`` sums up the size of an
installation. ``compare`` compares a bundle's predictions on Arm with those on x86-64 and writes
OUT.json and OUT.md.
"""

from __future__ import annotations

import argparse
import csv
import shutil
from collections import defaultdict
from dataclasses import replace
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import Any

from cxredge.artifacts.atomic import write_json, write_text
from cxredge.artifacts.records import read_json_file, to_json
from cxredge.data.manifest import Entry, read_manifest, write_manifest
from cxredge.telemetry.linux import read_machine
from cxredge.vocabulary import Split

GOAL_MB = 150
"""Largest size of the device install in MB (10^6 bytes)."""

_INSTALLERS = ("pip", "setuptools", "pkg_resources", "_distutils_hack", "wheel")
_LARGEST = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    picking = commands.add_parser("pick")
    picking.add_argument("manifest", type=Path)
    picking.add_argument("--count", type=int, required=True)
    picking.add_argument("--out", type=Path, required=True)
    comparing = commands.add_parser("compare")
    comparing.add_argument("found", type=Path)
    comparing.add_argument("bundles", nargs="+")
    comparing.add_argument("--out", type=Path, required=True)
    for name in ("debian", "emulator"):
        comparing.add_argument(f"--{name}", required=True)
    measuring = commands.add_parser("measure")
    measuring.add_argument("site_packages", type=Path)
    measuring.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    if arguments.command == "pick":
        pick(arguments.manifest, arguments.count, arguments.out)
    elif arguments.command == "measure":
        write_json(arguments.out, installed(arguments.site_packages))
    else:
        about = {"debian": arguments.debian, "emulator": arguments.emulator}
        body = collect(arguments.found, arguments.bundles, about)
        write_json(arguments.out.with_suffix(".json"), body)
        write_text(arguments.out.with_suffix(".md"), page(body))
        print(arguments.out.with_suffix(".md"))


def collect(found: Path, bundles: list[str], about: dict[str, str]) -> dict[str, Any]:
    """Combine the files that ``aarch64_check.sh`` wrote to a folder."""
    said = {
        name: read_json_file(found / f"{name}.json")
        for name in ("system", "packages", "installed", "listed", "doctor", "verify-listed")
    }
    return {
        "schema": "cxredge.aarch64-check/1",
        "built_on": to_json(read_machine()),
        **about,
        **said["system"],
        "packages": {package["name"]: package["version"] for package in said["packages"]},
        "installed": said["installed"],
        "listed": {**said["listed"], "verified": said["verify-listed"].get("passed", False)},
        "doctor": {key: said["doctor"][key] for key in ("ok", "target")},
        "bundles": {name: compare(found, name) for name in bundles},
    }  # fmt: skip


def pick(manifest: Path, count: int, out: Path) -> None:
    """Copy test images, from the classes in turn, and write the manifest of the copies."""
    by_class: dict[str, list[Entry]] = defaultdict(list)
    for entry in read_manifest(manifest).of(Split.TEST):
        by_class[entry.label].append(entry)
    in_turn = chain.from_iterable(zip_longest(*(by_class[label] for label in sorted(by_class))))
    chosen = list(islice((entry for entry in in_turn if entry), count))
    out.mkdir(parents=True)
    copies = []
    for number, entry in enumerate(chosen):
        path = out / f"{number:03d}{entry.path.suffix}"
        shutil.copyfile(entry.path, path)
        copies.append(replace(entry, path=path))
    write_manifest(out / "manifest.csv", copies)


def compare(found: Path, name: str) -> dict[str, Any]:
    """Return a bundle's results on both machines and the differences of its rows."""
    said = {
        command: {where: read_json_file(found / f"{name}.{command}.{where}.json")
                  for where in ("x86", "arm")}
        for command in ("verify", "predict", "evaluate")
    }  # fmt: skip
    errors = {
        f"{command} on {where}": answer["error"]
        for command, both in said.items()
        for where, answer in both.items()
        if "error" in answer
    }
    kept = ("accuracy", "accuracy_fp32", "macro_f1", "auroc", "precision", "images")
    return {
        "errors": errors,
        "verify": {where: _replays(answer) for where, answer in said["verify"].items()},
        "rows": rows_apart(*(found / f"{name}.{where}.csv" for where in ("x86", "arm"))),
        "evaluate": {
            where: {key: answer[key] for key in kept if key in answer}
            for where, answer in said["evaluate"].items()
        },
        "seconds": {
            where: answer.get("seconds") for where, answer in said["predict"].items()
        },
    }  # fmt: skip


def _replays(answer: dict[str, Any]) -> dict[str, Any]:
    return {one["precision"]: one for one in answer.get("replays", [])}


def rows_apart(first: Path, second: Path) -> dict[str, Any]:
    """Compare two predictions files row by row; their probabilities have six decimals."""
    tables = []
    for path in (first, second):
        with path.open(newline="", encoding="utf-8") as stream:
            tables.append(list(csv.DictReader(stream)))
    ours, theirs = tables
    classes = [name for name in ours[0] if name.startswith("p_")]
    apart = [
        max(abs(float(a[name] or 0) - float(b[name] or 0)) for name in classes)
        for a, b in zip(ours, theirs, strict=False)
    ]
    identity = ("path", "status", "label")
    return {
        "rows": [len(ours), len(theirs)],
        "same": [[row[key] for key in identity] for row in ours]
        == [[row[key] for key in identity] for row in theirs],
        "identical_rows": sum(a == b for a, b in zip(ours, theirs, strict=False)),
        "max_probability_difference": max(apart, default=0.0),
    }


def installed(site_packages: Path) -> dict[str, Any]:
    """Return the size of an installation in MB (10^6 bytes), without pip, and its largest parts."""
    sizes = {
        part.name: sum(f.stat().st_size for f in [part, *part.rglob("*")] if f.is_file()) / 1e6
        for part in site_packages.iterdir()
        if part.name.split("-")[0] not in _INSTALLERS
    }
    largest = sorted(sizes, key=lambda name: -sizes[name])[:_LARGEST]
    return {
        "mb": round(sum(sizes.values()), 1),
        "goal_mb": GOAL_MB,
        "largest_mb": {name: round(sizes[name], 1) for name in largest},
    }


def page(body: dict[str, Any]) -> str:
    """Return the result as Markdown."""
    size = body["installed"]
    parts = ", ".join(f"{name} {mb}" for name, mb in size["largest_mb"].items())
    lines = [
        "# The device install on 64-bit Arm",
        "",
        f"Debian {body['debian']} for arm64, Python {body['python']}, {body['libc']}, emulated by "
        f"{body['emulator']} on {body['built_on']['cpu']}, where the bundles were built. Emulation "
        "says what is computed, nothing about speed.",
        "",
        f"From wheels alone: {size['mb']} MB installed, without pip and compiled Python (goal: "
        f"under {size['goal_mb']}). The largest parts in MB: {parts}. The packages of "
        f"`requirements-device.txt` alone: {body['listed']['mb']} MB, with which `verify` of the "
        f"first bundle {'passes' if body['listed']['verified'] else 'fails'}.",
        "",
        f"`doctor` says {'ready' if body['doctor']['ok'] else 'not ready'}, target "
        f"`{body['doctor']['target']}`.",
        "",
        "| bundle | golden images, largest change of a probability on Arm | rows x86 / Arm | same "
        "path, status, label | identical rows | largest difference of a probability | accuracy "
        "x86 / Arm |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *(_row(name, one) for name, one in body["bundles"].items()),
    ]
    errors = [f"- {name}, {where}: {error}"
              for name, one in body["bundles"].items()
              for where, error in one["errors"].items()]  # fmt: skip
    return "\n".join([*lines, *(["", "Refused:", "", *errors] if errors else [])]) + "\n"


def _row(name: str, one: dict[str, Any]) -> str:
    goldens = ", ".join(
        f"{precision} {replay['max_probability_difference']:.1e}"
        + ("" if replay["passed"] else " (refused)")
        for precision, replay in one["verify"]["arm"].items()
    )
    rows = one["rows"]
    accuracies = [
        f"{found['accuracy']:.4f}" if "accuracy" in found else "-"
        for found in (one["evaluate"]["x86"], one["evaluate"]["arm"])
    ]
    cells = [
        name,
        goldens,
        " / ".join(map(str, rows["rows"])),
        "yes" if rows["same"] else "no",
        str(rows["identical_rows"]),
        f"{rows['max_probability_difference']:.1e}",
        " / ".join(accuracies),
    ]
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
