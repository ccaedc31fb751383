"""Classification of a folder of images by cxredge and by its alternatives.

    python benchmarks/peers.py BUNDLE... --run RUN --calibration LIST --nncf PYTHON \
        --cohen DIR --kermany DIR --work WORK --out benchmarks/results/peers

Compares ``cxredge predict`` with a plain loop over ONNX Runtime on FP32 and on the INT8 of its own
quantizer, OpenVINO on NNCF's INT8, and torch, eager and compiled. Each is a separate process; all
run once per round in random order on the same images, and their agreement with FP32 is reported.
Ratios are relative to the first bundle; further bundles may be the same one deployed with another
runtime. PYTHON is an interpreter with nncf. Without it, or without OpenVINO or torch, these are
left out.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from commands import cxredge
from image_sets import IMAGES, SETS, add_arguments, linked, make_set
from other_work import OtherWork

from cxredge.artifacts.atomic import write_json, write_text
from cxredge.artifacts.card import tool_versions
from cxredge.artifacts.records import to_json
from cxredge.bundle.bundle import Bundle, open_bundle
from cxredge.data.loading import load_labelled
from cxredge.progress import Silent
from cxredge.quantization.calibration_set import read_calibration
from cxredge.telemetry.linux import read_machine
from cxredge.vocabulary import Split

HERE = Path(__file__).parent
COUNT = 500
REFERENCE = "onnxruntime, plain loop, FP32"
Summary = dict[str, float]
Peer = Callable[[Path, Path], Summary]
"""Classifies the images of a folder, writes the classes to a file and returns its times."""


def main() -> None:
    arguments = _arguments()
    bundles = [open_bundle(path) for path in arguments.bundles]
    record = arguments.out.with_suffix(".json")
    arguments.work.mkdir(parents=True, exist_ok=True)
    ours = {_name(bundle): partial(_ours, bundle) for bundle in bundles}
    peers: dict[str, Peer] = {**ours, **_peers(bundles[0], arguments)}
    found: dict[str, Any] = json.loads(record.read_text()) if record.is_file() else {}
    found = {"sets": {}, "others": {}, **found}
    found |= {
        "machine": to_json(read_machine()),
        "tools": tool_versions("onnxruntime", "openvino", "torch", "pillow"),
        "network": bundles[0].card.classifier.network,
        "ours": list(ours),
    }
    for name in arguments.sets:
        paths = sorted(make_set(name, arguments).iterdir())
        folder = linked(arguments.work / f"{name}-{COUNT}", paths[:: IMAGES // COUNT], COUNT)
        found["sets"][name], found["others"][name] = _measure(peers, folder, arguments)
        print(*_rows(found["sets"][name], found["ours"]), sep="\n", flush=True)
        write_json(record, found)
    write_text(arguments.out.with_suffix(".md"), _page(found))


def _name(bundle: Bundle) -> str:
    return f"cxredge predict, {bundle.precision.value.upper()} in {bundle.backend}"


def _peers(bundle: Bundle, arguments: argparse.Namespace) -> dict[str, Peer]:
    fp32, work = bundle.path / "model-fp32.onnx", arguments.work
    pixels = work / "calibration.npy"
    listed = read_calibration(arguments.calibration).of(Split.TRAIN)
    about = bundle.card.classifier
    np.save(pixels, load_labelled(listed, about.classes, about.input_size, Silent()).pixels)
    ort_int8, nncf_int8 = work / "ort-int8.onnx", work / "nncf-int8.xml"
    _make(ort_int8, sys.executable, "ort_model.py", fp32, pixels, ort_int8, "cpu", "minmax")
    peers: dict[str, Peer] = {
        REFERENCE: _script("plain_loop.py", fp32),
        "onnxruntime, plain loop, its own INT8": _script("plain_loop.py", ort_int8),
    }
    if arguments.nncf and find_spec("openvino"):
        _make(nncf_int8, arguments.nncf, "nncf_model.py", fp32, pixels, nncf_int8, "fast")
        peers["OpenVINO, NNCF INT8"] = _script("plain_openvino.py", nncf_int8)
    if arguments.run and find_spec("torch"):
        peers["torch, eager"] = _script("plain_torch.py", "eager", arguments.run)
        peers["torch.compile"] = _script("plain_torch.py", "compiled", arguments.run)
    return peers


def _make(out: Path, python: str, script: str, *parts: object) -> None:
    if not out.exists():
        subprocess.run([python, str(HERE / script), *map(str, parts)], check=True)


def _script(script: str, *parts: object) -> Peer:
    def run(folder: Path, out: Path) -> Summary:
        command = [sys.executable, str(HERE / script), *map(str, (*parts, folder, out))]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        summary: Summary = json.loads(done.stdout)
        return summary

    return run


def _ours(bundle: Bundle, folder: Path, out: Path) -> Summary:
    table = out.with_name("predictions.csv")
    summary = cxredge("predict", bundle.path, folder, "--out", table)
    with table.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    classes = bundle.card.classifier.classes
    with out.open("w", newline="") as stream:
        csv.writer(stream).writerows([row["path"], classes.index(row["label"])] for row in rows)
    return {"images": summary["images"], "first": 0, "first_s": 0.0, "seconds": summary["seconds"]}


def _measure(
    peers: dict[str, Peer], folder: Path, arguments: argparse.Namespace
) -> tuple[dict[str, dict[str, Any]], list[float]]:
    """Return times and decisions of each alternative, and the load of other work, by round."""
    order, out = random.Random(0), arguments.work / "classes.csv"
    summary: dict[str, list[Summary]] = {name: [] for name in peers}
    decided: dict[str, list[str]] = {}
    shares: list[float] = []
    for _ in range(arguments.rounds + 1):
        others = OtherWork()
        for name in order.sample(list(peers), len(peers)):
            summary[name].append(peers[name](folder, out))
            with out.open(newline="") as stream:
                decided[name] = [row[1] for row in csv.reader(stream)]
        shares.append(round(others.share(), 3))
    # The first round fills the caches of files and compilers.
    found = {
        name: {
            "whole": [one["images"] / one["seconds"] for one in summary[name][1:]],
            "after_first": [
                (one["images"] - one["first"]) / (one["seconds"] - one["first_s"])
                for one in summary[name][1:]
            ],
            "first_s": [one["first_s"] for one in summary[name][1:]],
            "images": len(decided[name]),
            "as_fp32": sum(a == b for a, b in zip(decided[name], decided[REFERENCE], strict=True)),
        }
        for name in peers
    }
    return found, shares[1:]


def _spread(values: Sequence[float], digits: int) -> str:
    return f"{median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def _rows(measured: dict[str, dict[str, Any]], names: Sequence[str]) -> list[str]:
    """Return a row per alternative; ``names`` are the bundles, and the first is the reference."""
    rows, ours = [], measured[names[0]]["whole"]
    for name, one in measured.items():
        ratios = {
            kind: [a / b for a, b in zip(ours, one[kind], strict=True)]
            for kind in ("whole", "after_first")
        }
        cells = [
            name,
            _spread(one["whole"], 0),
            _spread(ratios["whole"], 2),
            "-" if name in names else _spread(one["after_first"], 0),
            "-" if name in names else _spread(ratios["after_first"], 2),
            "-" if name in names else _spread(one["first_s"], 1),
            f"{one['as_fp32']} of {one['images']}",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def _page(found: dict[str, Any]) -> str:
    machine = found["machine"]
    lines = [
        "# cxredge predict beside what people would use instead",
        "",
        f"{machine['cpu']}, {machine['cores']} cores ({', '.join(machine['cpu_flags'])}), "
        f"{machine['system']}. {found['network']}. Versions: "
        f"{', '.join(f'{name} {version}' for name, version in found['tools'].items())}.",
        "",
        f"{COUNT} images in files to classes in a file, each way a process of its own, all ways "
        "once a round in random order after a round that is not counted; medians and ranges, "
        f"ratios within a round, of {found['ours'][0]} to the way. Imports are not counted for "
        "anyone; opening the model is. *After the first* leaves out what comes until the first "
        "image or batch, compilation included. torch decodes in as many processes as there are "
        "cores. What other work on the machine took of its cores in each round is said.",
    ]
    for name, measured in found["sets"].items():
        lines += [
            "",
            f"## {SETS[name]}",
            "",
            f"Others: {', '.join(f'{100 * share:.0f}%' for share in found['others'][name])}.",
            "",
            "| way | images/s | ratio | images/s after the first | ratio | seconds to the first "
            "| decides as FP32 |",
            "|---|---|---|---|---|---|---|",
            *_rows(measured, found["ours"]),
        ]
    return "\n".join(lines) + "\n"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE")
    parser.add_argument("--run", type=Path, help="the run that the bundle was built from")
    parser.add_argument("--calibration", type=Path, required=True, help="for the others' INT8")
    parser.add_argument("--nncf", help="Python interpreter with nncf and openvino")
    parser.add_argument("--out", type=Path, required=True, help="OUT.json and OUT.md are written")
    parser.add_argument("--rounds", type=int, default=3)
    add_arguments(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
