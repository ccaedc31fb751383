"""Cost of the cascade, in which FP32 decides near ties: INT8 alone compared with the cascade.

    python benchmarks/cascade.py ALONE CASCADE --manifest MANIFEST --work WORK \
        --out benchmarks/results/cascade

ALONE and CASCADE are bundles of the same model for this machine, built with ``--no-cascade`` and
without it. In each round, in random order, both predict 2,000 images (the manifest's test images,
repeated), process them one by one (``bench``, single-stream) and as a stream (offline), with the
threads and batches that are fastest for ALONE. Ratios are computed within rounds.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
from pathlib import Path
from statistics import median
from typing import Any

from commands import cxredge
from image_sets import IMAGES, linked
from other_work import OtherWork

from cxredge.artifacts.atomic import write_json, write_text
from cxredge.artifacts.card import tool_versions
from cxredge.artifacts.records import to_json
from cxredge.bundle.bundle import open_bundle
from cxredge.bundle.passport import PASSPORT_NAME
from cxredge.data.manifest import read_manifest
from cxredge.telemetry.linux import read_machine
from cxredge.vocabulary import Split

FIGURES = (
    "predict, images per second",
    "offline, images per second",
    "one image, mean ms",
    "one image, p50 ms",
    "one image, p90 ms",
    "one image, p99 ms",
)


def main() -> None:
    arguments = _arguments()
    entries = read_manifest(arguments.manifest).of(Split.TEST)
    images = linked(arguments.work / "test", [entry.path for entry in entries], IMAGES)
    arguments.cascade = _with_settings_of(arguments.alone, arguments.cascade, arguments.work)
    bundles = {"alone": arguments.alone, "cascade": arguments.cascade}
    rounds = [_round(bundles, images, arguments) for _ in range(arguments.rounds)]
    serves = open_bundle(arguments.cascade)
    evaluated = cxredge("evaluate", arguments.cascade, arguments.manifest)
    found = {
        "machine": to_json(read_machine()),
        "tools": tool_versions("onnxruntime", "openvino", "numpy"),
        "network": serves.card.classifier.network,
        "precision": serves.precision.value,
        "backend": serves.backend,
        "images": len(entries),
        "cascade": evaluated["cascade"],
        "flipped": {
            "alone": len(cxredge("evaluate", arguments.alone, arguments.manifest)["flipped"]),
            "cascade": len(evaluated["flipped"]),
        },
        "rounds": rounds,
    }
    write_json(arguments.out.with_suffix(".json"), found)
    write_text(arguments.out.with_suffix(".md"), _page(found))


def _with_settings_of(alone: Path, cascade: Path, work: Path) -> Path:
    """Return a copy of a bundle with the threads and batches of another."""
    copy = work / "cascade"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(cascade, copy)
    one, other = (json.loads((b / PASSPORT_NAME).read_text()) for b in (alone, copy))
    if one["engine"] != other["engine"] or one["backend"] != other["backend"]:
        raise SystemExit(f"{alone} and {cascade} are not served by the same precision and runtime.")
    write_json(copy / PASSPORT_NAME, other | {key: one[key] for key in ("threads", "throughput")})
    return copy


def _round(
    bundles: dict[str, Path], images: Path, arguments: argparse.Namespace
) -> dict[str, dict[str, float]]:
    """Measure both bundles once, and the share of processor time used by other work."""
    order = random.sample(list(bundles), len(bundles))
    other = OtherWork()
    taken = {name: _measure(bundles[name], images, arguments) for name in order}
    taken["other_work"] = {"share": other.share()}
    print(taken, flush=True)
    return taken


def _measure(bundle: Path, images: Path, arguments: argparse.Namespace) -> dict[str, float]:
    out = arguments.work / "predictions.csv"
    predicted = cxredge("predict", bundle, images, "--out", out)
    timed = ["bench", bundle, "--images", images, "--harness", "builtin", "--seconds"]
    streamed = cxredge(*timed, arguments.seconds, "--scenario", "offline", "--queries", 10)
    single = cxredge(*timed, arguments.seconds, "--scenario", "single-stream", "--queries", 1000)
    latency = single["latency_ms"]
    values = (
        predicted["images_per_second"],
        streamed["throughput"],
        1000 / single["throughput"],
        *(latency[p] for p in ("p50", "p90", "p99")),
    )
    return dict(zip(FIGURES, values, strict=True))


def _page(found: dict[str, Any]) -> str:
    machine, cascade, flipped = found["machine"], found["cascade"], found["flipped"]
    lines = [
        "# What it costs that FP32 decides near ties",
        "",
        f"{found['network']}, {found['precision']} in {found['backend']}, {found['images']} test "
        f"images. {machine['cpu']}, {machine['cores']} cores "
        f"({', '.join(machine['cpu_flags'])}), {machine['system']}. "
        f"{', '.join(f'{name} {version}' for name, version in found['tools'].items())}. Near ties: "
        f"first two logits within {cascade['margin']:.3f}; {cascade['near']} of "
        f"{cascade['images']}. Decisions that differ from FP32's: {flipped['alone']} alone, "
        f"{flipped['cascade']} with FP32. Medians of {len(found['rounds'])} rounds, in random "
        "order; ratios within rounds, with their range. An image is read from its file.",
        "",
        "| | alone | with FP32 for near ties | ratio |",
        "|---|---|---|---|",
    ]
    for figure in FIGURES:
        alone, both = ([r[way][figure] for r in found["rounds"]] for way in ("alone", "cascade"))
        ratios = [two / one for one, two in zip(alone, both, strict=True)]
        lines.append(
            f"| {figure} | {median(alone):.1f} | {median(both):.1f} | {median(ratios):.2f} "
            f"({min(ratios):.2f}-{max(ratios):.2f}) |"
        )
    others = [r["other_work"]["share"] for r in found["rounds"]]
    lines += ["", f"Other work took {100 * median(others):.0f}% of the processor meanwhile."]
    return "\n".join(lines) + "\n"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("alone", type=Path, help="bundle of build --no-cascade")
    parser.add_argument("cascade", type=Path, help="bundle of the same model without that option")
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--work", type=Path, required=True, help="folder for what is made; stays")
    parser.add_argument("--out", type=Path, required=True, help="OUT.json and OUT.md are written")
    return parser.parse_args()


if __name__ == "__main__":
    main()
