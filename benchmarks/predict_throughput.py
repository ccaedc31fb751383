"""Throughput of `cxredge predict`, compared with the machine's bound and with a plain loop.

    python benchmarks/predict_throughput.py BUNDLE --cohen DIR --kermany DIR --work WORK \
        --out benchmarks/results/predict_throughput [--sets png-1024 ...]

Each round runs, in random order, ``cxredge predict``, ``plain_loop.py`` on the same model and on
FP32, and one thread that decodes, preprocesses and infers image by image; its times yield the
bound: cores / seconds per image. Also measured: the seconds from the command to its first row, peak
memory by the number of images, and images per second by batch. The named sets are measured again
and merged into OUT.json. The images are generated in WORK and kept there.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from statistics import median
from typing import Any

from image_sets import IMAGES, SETS, add_arguments, linked, make_set
from other_work import OtherWork

from cxredge.artifacts.atomic import write_json, write_text
from cxredge.artifacts.card import tool_versions
from cxredge.artifacts.records import to_json
from cxredge.backends import open_session
from cxredge.backends.base import available_cores
from cxredge.bundle.bundle import Bundle, open_bundle
from cxredge.data.images import load_grey
from cxredge.inference.pipeline import Stopwatch, infer_images
from cxredge.telemetry.linux import read_machine

HERE = Path(__file__).parent
PLAIN_IMAGES, BOUND_IMAGES, FEW_IMAGES, BATCH_IMAGES = 500, 200, 200, 200
BATCHES = (1, 4, 16)
STARTS = 9
MOST_OTHERS = 0.05


def main() -> None:
    arguments = _arguments()
    bundle, record = open_bundle(arguments.bundle), arguments.out.with_suffix(".json")
    found: dict[str, Any] = {"sets": {}}
    if record.is_file():
        found = json.loads(record.read_text())
    found |= {
        "machine": to_json(read_machine()),
        "tools": tool_versions("onnxruntime", "pillow", "numpy"),
        "network": bundle.card.classifier.network,
        "precision": bundle.precision.value,
        "backend": bundle.backend,
    }
    for name in arguments.sets:
        folder = make_set(name, arguments)
        found["sets"][name] = _measure_set(bundle, folder, arguments)
        print(_row(name, found["sets"][name]), flush=True)
        write_json(record, found)
    write_text(arguments.out.with_suffix(".md"), _page(found))


def _measure_set(bundle: Bundle, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    paths = sorted(folder.iterdir())
    plain, few = (
        linked(folder.with_name(f"{folder.name}-{count}"), paths[:: IMAGES // count], count)
        for count in (PLAIN_IMAGES, FEW_IMAGES)
    )
    out, classes = arguments.work / "predictions.csv", arguments.work / "classes.csv"
    ways = {
        "predict": lambda: _predict(bundle.path, folder, out),
        "predict_few": lambda: _predict(bundle.path, few, out),
        "bound": lambda: _bound(bundle, paths[:: IMAGES // BOUND_IMAGES]),
        "plain": lambda: _plain(bundle.engine, plain, classes),
        "plain_fp32": lambda: _plain(bundle.path / "model-fp32.onnx", plain, classes),
    }
    rounds = _in_random_order(ways, arguments.rounds)
    starts = [_first_row_seconds(bundle.path, folder, out) for _ in range(STARTS)]
    return {
        "rounds": rounds,
        "first_row_seconds": starts,
        "images_per_second_by_batch": _by_batch(bundle, paths[:BATCH_IMAGES], arguments.rounds),
    }


def _in_random_order(ways: dict[str, Any], rounds: int) -> list[dict[str, Any]]:
    """Call each function once per round, after a round that fills caches; return their results.

    Rounds with considerable load by other work do not count and are repeated, up to twice the
    number of rounds; ``others`` is the share of that load.
    """
    order, given = random.Random(0), []
    for attempt in range(2 * rounds + 1):
        others = OtherWork()
        one = {name: ways[name]() for name in order.sample(list(ways), len(ways))}
        given += [{**one, "others": round(others.share(), 3)}] if attempt else []
        if len(_undisturbed(given)) == rounds:
            break
    return given


def _undisturbed(given: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rounds with hardly any load by other work, or those with the least."""
    quiet = [one for one in given if one["others"] <= MOST_OTHERS]
    return quiet or sorted(given, key=lambda one: one["others"])[:3]


def _predict(bundle: Path, folder: Path, out: Path) -> dict[str, float]:
    """Predict a folder in a separate process."""
    code = (
        "import pathlib, re, sys; from cxredge.cli import main\n"
        "try: main()\n"
        "finally: print(re.search(r'VmHWM:\\s*(\\d+)',"
        " pathlib.Path('/proc/self/status').read_text())[1], file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, "predict", bundle, folder, "--out", out, "--json", "-q"]
    start, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    whole, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    summary = json.loads(done.stdout)
    if summary["ok"] != summary["images"]:
        raise SystemExit(f"{folder}: {summary['status']}")
    return {
        "images_per_second": summary["images_per_second"],
        "images_per_second_of_the_whole_command": round(summary["images"] / whole, 2),
        "processor_seconds": after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime,
        "peak_rss_mb": round(int(done.stderr.split()[-1]) * 1024 / 1e6, 1),
        **{f"{stage}_seconds": seconds for stage, seconds in summary["stages"].items()},
    }


def _bound(bundle: Bundle, paths: Sequence[Path]) -> dict[str, float]:
    """Run every stage on one thread; return the mean milliseconds per image and the bound."""
    seconds: dict[str, float] = {}
    with bundle.open(threads=1) as session:
        began = time.process_time()
        for path in paths:
            stopwatch = Stopwatch(seconds)
            pixels = load_grey(path, session.spec.size, stopwatch)
            session.infer(pixels[None])
            stopwatch("infer")
        processor_ms = 1000 * (time.process_time() - began) / len(paths)
    stages_ms = {f"{stage}_ms": 1000 * s / len(paths) for stage, s in seconds.items()}
    counted = stages_ms["decode_ms"] + stages_ms["preprocess_ms"] + stages_ms["infer_ms"]
    return {
        **stages_ms,
        "processor_ms": processor_ms,
        "images_per_second": 1000 * available_cores() / counted,
    }


def _plain(model: Path, folder: Path, out: Path) -> dict[str, float]:
    command = [sys.executable, HERE / "plain_loop.py", model, folder, out]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    summary = json.loads(done.stdout)
    return {"images_per_second": summary["images"] / summary["seconds"]}


def _first_row_seconds(bundle: Path, folder: Path, out: Path) -> float:
    """Start a prediction, wait until its first row is on disk, and stop it."""
    partial = out.with_name(f".{out.name}.partial")
    partial.unlink(missing_ok=True)
    command = [sys.executable, "-m", "cxredge", "predict", bundle, folder, "--out", out, "-q"]
    start = time.perf_counter()
    with subprocess.Popen(list(map(str, command)), stderr=subprocess.DEVNULL) as running:
        while running.poll() is None:
            if partial.exists() and partial.read_bytes().count(b"\n") > 1:
                break
            time.sleep(0.001)
        seconds = time.perf_counter() - start
        running.kill()
    partial.unlink(missing_ok=True)
    return round(seconds, 3)


def _by_batch(bundle: Bundle, paths: Sequence[Path], rounds: int) -> dict[str, list[float]]:
    """Run the pipeline on the same images with several batch sizes, in random order."""

    def run(batch: int) -> float:
        start = time.perf_counter()
        with closing(infer_images(sessions[batch], iter(paths), available_cores())) as groups:
            done = sum(len(group.sources) for group in groups)
        return done / (time.perf_counter() - start)

    with ExitStack() as opened:
        sessions = {
            batch: opened.enter_context(
                open_session(bundle.engine, bundle.backend, 1, bundle.precision, batch)
            )
            for batch in BATCHES
        }
        ways = {str(batch): lambda batch=batch: run(batch) for batch in BATCHES}
        given = _in_random_order(ways, rounds)
    return {name: [round(one[name], 2) for one in _undisturbed(given)] for name in ways}


def _spread(values: Sequence[float], digits: int) -> str:
    return f"{median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def _ratios(measured: dict[str, Any], over: str) -> list[float]:
    """Return the ratio of predict's images per second to another's, by round."""
    return [
        one["predict"]["images_per_second"] / one[over]["images_per_second"]
        for one in _undisturbed(measured["rounds"])
    ]


def _row(name: str, measured: dict[str, Any]) -> str:
    rounds = _undisturbed(measured["rounds"])
    cells = [
        SETS[name],
        *(_spread([one[way]["images_per_second"] for one in rounds], 0) for way in _WAYS),
        _spread([one["predict"]["images_per_second_of_the_whole_command"] for one in rounds], 0),
        *(_spread(_ratios(measured, way), 2) for way in _WAYS[1:]),
        _spread(measured["first_row_seconds"], 2),
        " / ".join(f"{max(o[way]['peak_rss_mb'] for o in rounds):.0f}" for way in _RUNS),
    ]
    return f"| {' | '.join(cells)} |"


_WAYS = ("predict", "bound", "plain", "plain_fp32")
_RUNS = ("predict_few", "predict")


def _processor_row(name: str, measured: dict[str, Any]) -> str:
    """Describe the memory per image beyond the first few, which include the start-up."""
    ours, one_thread = [], []
    for one in measured["rounds"]:
        few, many = (one[way]["processor_seconds"] for way in _RUNS)
        ours.append(1000 * (many - few) / (IMAGES - FEW_IMAGES))
        one_thread.append(one["bound"]["processor_ms"])
    shares = [single / whole for single, whole in zip(one_thread, ours, strict=True)]
    cells = [SETS[name], _spread(ours, 2), _spread(one_thread, 2), _spread(shares, 2)]
    return f"| {' | '.join(cells)} |"


def _batch_row(name: str, measured: dict[str, Any]) -> str:
    by_batch = measured["images_per_second_by_batch"]
    return f"| {' | '.join([SETS[name], *(_spread(by_batch[str(b)], 0) for b in BATCHES)])} |"


def _stage_row(name: str, measured: dict[str, Any]) -> str:
    stages = ("read", "decode", "preprocess", "infer")
    kept = _undisturbed(measured["rounds"])
    times = ([one["bound"][f"{stage}_ms"] for one in kept] for stage in stages)
    return f"| {' | '.join([SETS[name], *(_spread(t, 2) for t in times)])} |"


def _page(found: dict[str, Any]) -> str:
    machine, tools = found["machine"], found["tools"]
    header = [
        "images", "predict, images/s", "bound", "plain loop", "plain loop, FP32",
        "predict, whole command", "predict / bound", "predict / plain loop",
        "predict / plain loop, FP32", "first row, s", f"peak MB at {FEW_IMAGES} / {IMAGES} images",
    ]  # fmt: skip
    lines = [
        "# Throughput of `cxredge predict`",
        "",
        f"{machine['cpu']}, {machine['cores']} cores ({', '.join(machine['cpu_flags'])}), "
        f"{machine['system']}. {found['network']}, {found['precision'].upper()}, "
        f"{found['backend']}. Versions: {', '.join(f'{n} {v}' for n, v in tools.items())}.",
        "",
        "Medians and ranges over rounds, in each of which all ways ran once in random order: "
        f"`cxredge predict` on {IMAGES} images, the plain loop "
        f"(`benchmarks/plain_loop.py`, all cores in an inference) on {PLAIN_IMAGES} of them, and "
        f"one thread on {BOUND_IMAGES}, whose times of decoding, preprocessing and inference give "
        "the bound: cores / seconds of an image. Ratios are of one round. Images per second count "
        "from the opening of the model to the finished file; *whole command* from the start of "
        f"Python to its end. The first row is on the disk so long after the command ({STARTS} "
        f"starts, warm disk). {_rounds(found)}",
        "",
        *_table(header, [_row(*one) for one in found["sets"].items()]),
        "",
        "## One image on one thread, ms",
        "",
        *_table(
            ["images", "read", "decode", "preprocess", "infer"],
            [_stage_row(*one) for one in found["sets"].items()],
        ),
        "",
        "## Processor time per image, ms",
        "",
        "Over all cores, all rounds; other work on the machine changes it less. Predict's is what "
        f"{IMAGES} images take more than {FEW_IMAGES}, so without the start; the thread's is that "
        "of its stages, reading included.",
        "",
        *_table(
            ["images", "predict", "one thread", "one thread / predict"],
            [_processor_row(*one) for one in found["sets"].items()],
        ),
        "",
        "## Images per second by batch",
        "",
        f"The pipeline alone, {BATCH_IMAGES} images, batches in random order in one process.",
        "",
        *_table(
            ["images", *(f"batch {batch}" for batch in BATCHES)],
            [_batch_row(*one) for one in found["sets"].items()],
        ),
    ]
    return "\n".join(lines) + "\n"


def _rounds(found: dict[str, Any]) -> str:
    counts = []
    for name, measured in found["sets"].items():
        kept = _undisturbed(measured["rounds"])
        most = max(one["others"] for one in kept)
        counts.append(
            f"{SETS[name]}: {len(kept)} of {len(measured['rounds'])} rounds count, others took up "
            f"to {100 * most:.0f}% of the processors in them"
        )
    rule = f"Rounds in which others took more than {100 * MOST_OTHERS:.0f}% do not count"
    return f"{rule} as long as one is left. {'; '.join(counts)}."


def _table(header: list[str], rows: list[str]) -> list[str]:
    return [f"| {' | '.join(header)} |", "|" + "---|" * len(header), *rows]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="OUT.json and OUT.md are written")
    parser.add_argument("--rounds", type=int, default=5)
    add_arguments(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
