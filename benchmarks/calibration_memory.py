"""Peak memory and speed of calibration, compared with ONNX Runtime's Entropy calibrator.

    python benchmarks/calibration_memory.py MODEL.onnx --images FOLDER --work WORK --out OUT

Every measurement is a new process. Both calibrators compute the ranges of symmetric INT8 by entropy
for the same operators from the same image files; they are timed alternately. Images are reused as
often as needed, so that 5,000 images need no disk space; without a folder, phantoms are generated.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import resource
import statistics
import subprocess
import sys
import time
from collections import Counter
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import onnx

from cxredge.artifacts.atomic import write_json, write_text
from cxredge.artifacts.card import tool_versions
from cxredge.artifacts.records import to_json
from cxredge.data.images import load_grey
from cxredge.data.inputs import walk_images
from cxredge.data.manifest import Entry
from cxredge.data.phantoms import write_phantoms
from cxredge.telemetry.linux import read_machine
from cxredge.vocabulary import Dialect, RangeMethod

OURS, ENTROPY = "cxredge", "onnxruntime"
_OPERATORS = [
    "Add", "AveragePool", "Clip", "Concat", "Conv", "Gemm", "GlobalAveragePool", "MaxPool",
    "ReduceMean", "Relu",
]  # fmt: skip
_PATIENTS = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="FP32 model with input uint8 (N, 1, S, S)")
    parser.add_argument("--images", type=Path, help="folder of images; default: generated phantoms")
    parser.add_argument("--work", type=Path, required=True, help="folder for scratch files")
    parser.add_argument("--out", type=Path, required=True, help="OUT.json and OUT.md are written")
    parser.add_argument("--counts", type=int, nargs="+", default=[100, 1000, 5000])
    parser.add_argument(
        "--speed-count", type=int, default=64, help="number of images in the speed comparison"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--child", choices=[OURS, ENTROPY], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        _child(arguments)
        return
    arguments.images = arguments.images or _phantoms(arguments.work)
    memory = [_measure(arguments, OURS, count) for count in arguments.counts]
    pairs = [
        {name: _measure(arguments, name, arguments.speed_count) for name in (OURS, ENTROPY)}
        for _ in range(arguments.repeats)
    ]
    found = {
        "model": arguments.model.name,
        "machine": to_json(read_machine()),
        "tools": tool_versions("onnxruntime", "numpy", "onnx"),
        "memory": memory,
        "growth_mb": round(memory[-1]["peak_rss_mb"] - memory[0]["peak_rss_mb"], 1),
        "pairs": pairs,
        "times_faster": _ratios(pairs, "seconds"),
        "times_less_cpu": _ratios(pairs, "cpu_seconds"),
    }
    write_json(arguments.out.with_suffix(".json"), found)
    write_text(arguments.out.with_suffix(".md"), _page(found))
    print(_page(found))


def _phantoms(work: Path) -> Path:
    folder = work / "phantoms"
    if not folder.exists():
        write_phantoms(folder, _PATIENTS)
    return folder


def _measure(arguments: argparse.Namespace, child: str, count: int) -> dict[str, Any]:
    command = [sys.executable, __file__, str(arguments.model), "--images", str(arguments.images)]
    command += ["--work", str(arguments.work), "--out", str(arguments.out)]
    command += ["--child", child, "--counts", str(count)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def _ratios(pairs: list[dict[str, Any]], key: str) -> list[float]:
    return [round(pair[ENTROPY][key] / pair[OURS][key], 2) for pair in pairs]


def _child(arguments: argparse.Namespace) -> None:
    count = arguments.counts[0]
    sources = sorted(Path(str(one)) for one in walk_images([arguments.images], Counter()))
    paths = list(islice(cycle(sources), count))
    model = onnx.load(arguments.model)
    size = model.graph.input[0].type.tensor_type.shape.dim[-1].dim_value
    run = _ours if arguments.child == OURS else _entropy
    # ONNX Runtime prints its progress.
    with contextlib.redirect_stdout(io.StringIO()):
        start, cpu = time.perf_counter(), time.process_time()
        activations = run(arguments, model, paths, size)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = {
        "images": count,
        "activations": activations,
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu, 2),
        "images_per_second": round(count / seconds, 2),
        "peak_rss_mb": round(peak * (1 if sys.platform == "darwin" else 1024) / 1e6, 1),
    }
    print(json.dumps(found))


def _ours(_: argparse.Namespace, model: onnx.ModelProto, paths: list[Path], size: int) -> int:
    from cxredge.quantization.calibration import measure_entries

    entries = [Entry(path, label="", patient="", source="") for path in paths]
    measured = measure_entries(model, entries, size, lambda _: None, dialect=Dialect.TENSORRT)
    return len(measured.ranges(RangeMethod.ENTROPY, symmetric=True))


def _entropy(
    arguments: argparse.Namespace, _: onnx.ModelProto, paths: list[Path], size: int
) -> int:
    from onnxruntime.quantization import CalibrationDataReader
    from onnxruntime.quantization.calibrate import CalibrationMethod, create_calibrator

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.feeds = ({"image": load_grey(path, size)[None, None]} for path in paths)

        def get_next(self) -> dict[str, Any] | None:
            return next(self.feeds, None)

    calibrator = create_calibrator(
        arguments.model,
        _OPERATORS,
        str(arguments.work / "augmented.onnx"),
        CalibrationMethod.Entropy,
        extra_options={"symmetric": True},
    )
    calibrator.collect_data(Reader())
    return len(list(calibrator.compute_data().keys()))


def _page(found: dict[str, Any]) -> str:
    machine = found["machine"]
    lines = [
        f"# Calibration of {found['model']}",
        "",
        f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}; onnxruntime "
        f"{found['tools']['onnxruntime']}, numpy {found['tools']['numpy']}. Every row is a fresh "
        "process, from image files to the ranges of symmetric int8 by entropy.",
        "",
        "| calibrator | images | activations | seconds | CPU seconds | images/s | peak MB |",
        "|---|---|---|---|---|---|---|",
    ]
    rows = [(OURS, row) for row in found["memory"]]
    rows += [item for pair in found["pairs"] for item in pair.items()]
    lines += [
        f"| {name} | {row['images']} | {row['activations']} | {row['seconds']} "
        f"| {row['cpu_seconds']} | {row['images_per_second']} | {row['peak_rss_mb']} |"
        for name, row in rows
    ]
    growth = f"{found['growth_mb']} MB from {rows[0][1]['images']} images to "
    lines += ["", f"Memory grows by {growth}{found['memory'][-1]['images']}."]
    for key, what in (("times_faster", "time"), ("times_less_cpu", "CPU time")):
        if times := found[key]:
            lines += [
                f"In turn, ONNX Runtime's Entropy calibrator takes {statistics.median(times):.2f} "
                f"times the {what} of cxredge (median of {len(times)}; {min(times)} to "
                f"{max(times)})."
            ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
