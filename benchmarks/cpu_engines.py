"""Runtime, precision and settings of a bundle, compared with all alternatives on this processor.

    python benchmarks/cpu_engines.py engines --case NAME=MODEL,CALIBRATION \
        --nncf PYTHON --work WORK --out benchmarks/results/cpu_engines
    python benchmarks/cpu_engines.py shares --case NAME=MODEL,CALIBRATION --work WORK --out ...
    python benchmarks/cpu_engines.py one-by-one --case NAME=MODEL,CALIBRATION --work WORK --out ...

``engines`` and ``processor`` time all runtimes and precisions of a bundle built here, and
OpenVINO's ``benchmark_app`` on NNCF's INT8 models (both presets, full bias correction, the same
calibration images; PYTHON has nncf and openvino) and on the bundle's INT8. ``shares`` times INT8
with different shares of the network in float. ``one-by-one`` measures how runtimes that alternate
call by call affect each other. MODEL is a folder written by ``export``. Bundles and models are
built before timing and kept in WORK. The alternatives are then timed in a different random order in
each round. Results of earlier calls stay in OUT.json; OUT.md is rewritten from all of them.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from cpu_engines_page import write_page

from cxredge.artifacts.atomic import write_json
from cxredge.artifacts.card import read_artifact, read_card, tool_versions
from cxredge.artifacts.model_card import ExportedCard, QuantizedCard
from cxredge.artifacts.records import read_json_file, to_json
from cxredge.backends import CPU_BACKENDS, open_session
from cxredge.backends.base import Session
from cxredge.backends.batched import infer_all
from cxredge.bundle.layout import engine_name
from cxredge.data.loading import load_labelled
from cxredge.data.manifest import Manifest, read_manifest
from cxredge.metrics.latency import interleave, take_turns
from cxredge.progress import Silent
from cxredge.quantization import quantize as quantization
from cxredge.quantization.calibration_set import read_calibration
from cxredge.quantization.config import QuantizeConfig
from cxredge.quantization.float_layers import stem
from cxredge.telemetry.linux import read_machine
from cxredge.vocabulary import Dialect, Precision, Split

HERE = Path(__file__).parent
PRESETS = ("mixed", "performance")
SHARES = (0.0, 0.025, 0.06)
RESTS = {
    "onnxruntime": ("onnxruntime", Precision.FP32),
    "openvino": ("openvino", Precision.FP32),
    "openvino, float parts in BF16": ("openvino", Precision.BF16),
}
"""Runtimes, and the precision of the float parts of an INT8 model in each."""
WARM_UP_S = 0.3
BENCHMARK_APP = (
    # The package that reports its use is left out.
    "import sys; sys.modules['openvino_telemetry'] = None; "
    "from openvino.tools.benchmark.main import main; main()"
)


@dataclass(frozen=True)
class Case:
    """One network: a model folder and a calibration list."""

    name: str
    model: Path
    calibration: Path

    @classmethod
    def parse(cls, text: str) -> Case:
        """Read ``NAME=MODEL,CALIBRATION``."""
        name, rest = text.split("=", 1)
        return cls(name, *map(Path, rest.split(",")))

    @property
    def fp32(self) -> Path:
        """The FP32 ONNX file."""
        return self.model / "model.onnx"

    def pixels(self, manifest: Manifest, split: Split) -> np.ndarray:
        """Return the images of a split, uint8 (N, S, S)."""
        classifier = read_card(self.model, ExportedCard).classifier
        entries = manifest.of(split)
        return load_labelled(entries, classifier.classes, classifier.input_size, Silent()).pixels


@dataclass(frozen=True)
class Alternative:
    """Functions that measure one alternative for the given number of seconds; None if not measured.

    Attributes:
        processor_ms: Processor time per image, batch 1, on one thread.
        latency_ms: Median wall time per image, batch 1.
        images_per_second: Throughput on many images.
    """

    processor_ms: Callable[[float], float] | None
    latency_ms: Callable[[float], float] | None
    images_per_second: Callable[[float], float] | None = None


def main() -> None:
    arguments = _arguments()
    arguments.work.mkdir(parents=True, exist_ok=True)
    out = arguments.out.with_suffix(".json")
    found = {part: {} for part in PARTS} | (read_json_file(out) if out.is_file() else {})
    measure = PARTS[arguments.part]
    with ExitStack() as opened:
        for case in map(Case.parse, arguments.case):
            facts, alternatives = measure(case, arguments, opened)
            if arguments.prepare:
                continue
            if arguments.part == "engines":
                alternatives = {n: replace(a, processor_ms=None) for n, a in alternatives.items()}
            taken = _take_turns(alternatives, arguments.rounds, arguments.seconds)
            found[arguments.part][case.name] = {
                "network": read_card(case.model, ExportedCard).classifier.network,
                "rounds": arguments.rounds,
                "seconds": arguments.seconds,
                **facts,
                "alternatives": taken,
            }
    if not arguments.prepare:
        found["machine"] = to_json(read_machine())
        found["tools"] = tool_versions("onnxruntime", "openvino", "onnx", "numpy")
        write_json(out, found)
        write_page(found, arguments.out.with_suffix(".md"))


def _take_turns(
    alternatives: Mapping[str, Alternative], rounds: int, seconds: float
) -> dict[str, dict[str, list[float]]]:
    """Time all alternatives in every round, in random order; return their results by round."""
    order, shuffle = list(alternatives), random.Random(0)
    taken: dict[str, dict[str, list[float]]] = {name: {} for name in alternatives}
    for _ in range(rounds):
        shuffle.shuffle(order)
        for name in order:
            one = alternatives[name]
            for figure, measure in vars(one).items():
                if measure is not None:
                    taken[name].setdefault(figure, []).append(round(measure(seconds), 4))
            print(name, taken[name], flush=True)
    return taken


def _engines(
    case: Case, arguments: argparse.Namespace, opened: ExitStack
) -> tuple[dict[str, Any], dict[str, Alternative]]:
    """Return the alternatives of a network, and the decisions of its INT8 models on test images."""
    bundle = arguments.work / f"{case.name}-bundle"
    if not bundle.is_dir():
        _run(sys.executable, "-m", "cxredge", "build", case.model, "--target", "here",
             "--calibration", case.calibration, "--no-cascade", "--out", bundle, "-q")  # fmt: skip
    models = {p: _nncf(case, p, arguments) for p in PRESETS}
    passport = read_json_file(bundle / "passport.json")
    images = case.pixels(read_manifest(case.model / "manifest.csv"), Split.TEST)
    with open_session(case.fp32) as session:
        reference = infer_all(session, images)
    alternatives, kept = {}, {}
    for candidate in passport["candidates"]:
        precision, backend = Precision(candidate["precision"]), candidate["backend"]
        name = f"{precision.value} in {backend}"
        file = bundle / engine_name(precision, backend)
        many = candidate["throughput"]
        one = open_session(file, backend, candidate["threads"], precision)
        all_cores = open_session(file, backend, many["threads"], precision, many["batch"])
        single = open_session(file, backend, 1, precision)
        alternatives[name] = Alternative(
            partial(_processor_ms, opened.enter_context(single), images),
            partial(_latency_ms, opened.enter_context(one), images),
            partial(_rate, opened.enter_context(all_cores), images, many["lanes"]),
        )
        kept[name] = _kept(reference, infer_all(one, images))
    for preset, model in models.items():
        name = f"benchmark_app, NNCF {preset}"
        alternatives[name] = _app(model, images.shape[1])
        with open_session(model, "openvino") as session:
            kept[name] = _kept(reference, infer_all(session, images))
    alternatives["benchmark_app, our int8"] = _app(bundle / "model-int8.onnx", images.shape[1])
    chosen = f"{passport['precision']} in {passport['backend']}"
    settings = {
        f"{c['precision']} in {c['backend']}": {**c["throughput"], "threads_latency": c["threads"]}
        for c in passport["candidates"]
    }
    return {"chosen": chosen, "settings": settings, "kept": kept}, alternatives


def _shares(
    case: Case, arguments: argparse.Namespace, opened: ExitStack
) -> tuple[dict[str, Any], dict[str, Alternative]]:
    """Return INT8 with several shares of the network in float, and the agreement of each."""
    manifest = read_manifest(case.model / "manifest.csv")
    images = case.pixels(manifest, Split.TEST)
    with open_session(case.fp32) as session:
        reference = infer_all(session, images)
    alternatives, kept = {}, {}
    for share in SHARES:
        folder = arguments.work / f"{case.name}-share-{share:g}"
        if not folder.is_dir():
            quantization.stem = partial(stem, share=share)
            config = QuantizeConfig(Dialect.CPU, float_stem=True)
            fp32 = read_artifact(case.model, ExportedCard)
            quantization.quantize(fp32, case.calibration, manifest, config, folder, Silent())
        card = read_card(folder, QuantizedCard)
        for runtime, (backend, rest) in RESTS.items():
            session, single = (
                opened.enter_context(open_session(folder / "model.onnx", backend, threads, rest))
                for threads in (0, 1)
            )
            name = f"{share:g} in {runtime}"
            alternatives[name] = Alternative(
                partial(_processor_ms, single, images), partial(_latency_ms, session, images)
            )
            kept[name] = {
                "in_float": len(card.facts.in_float),
                "step": card.facts.chosen,
                **_kept(reference, infer_all(session, images)),
            }
    return {"kept": kept}, alternatives


def _one_by_one(
    case: Case, arguments: argparse.Namespace, opened: ExitStack
) -> tuple[dict[str, Any], dict[str, Alternative]]:
    """Return medians of alternating single calls, and of calls in sequences, by round."""
    bundle = arguments.work / f"{case.name}-bundle"
    image = case.pixels(read_manifest(case.model / "manifest.csv"), Split.TEST)[:1]
    calls = {}
    for backend in CPU_BACKENDS:
        for precision in (Precision.FP32, Precision.INT8):
            session = open_session(bundle / engine_name(precision, backend), backend)
            opened.enter_context(session)
            calls[f"{precision.value} in {backend}"] = partial(session.infer, image)
    ways = {
        "one by one": partial(interleave, calls, 3, 60),
        "in stretches": partial(take_turns, calls, 0.3),
    }
    medians: dict[str, dict[str, list[float]]] = {way: {} for way in ways}
    for _ in range(0 if arguments.prepare else arguments.rounds):
        for way, take in ways.items():
            for name, milliseconds in take().items():
                medians[way].setdefault(name, []).append(round(median(milliseconds), 4))
    return {"medians_ms": medians}, {}


def _kept(reference: np.ndarray, logits: np.ndarray) -> dict[str, float]:
    """Return the agreement with FP32 and the logit error."""
    same = float((reference.argmax(1) == logits.argmax(1)).mean())
    error = float(np.sqrt(((logits - reference) ** 2).mean() / (reference**2).mean()))
    return {"images": len(logits), "agreement": round(same, 4), "logit_error": round(error, 4)}


def _latency_ms(session: Session, images: np.ndarray, seconds: float) -> float:
    """Return the median time of single images, using different images in turn."""
    taken: list[float] = []
    start = time.perf_counter()
    while (now := time.perf_counter()) - start < WARM_UP_S + seconds:
        session.infer(images[len(taken) % len(images)][None])
        if now - start > WARM_UP_S:
            taken.append((time.perf_counter() - now) * 1000)
    return median(taken)


def _processor_ms(session: Session, images: np.ndarray, seconds: float) -> float:
    """Return the median processor time of single images."""
    taken: list[float] = []
    start = time.perf_counter()
    while time.perf_counter() - start < WARM_UP_S + seconds:
        began = time.process_time()
        session.infer(images[len(taken) % len(images)][None])
        taken.append((time.process_time() - began) * 1000)
    return median(taken[len(taken) // 4 :])


def _rate(session: Session, images: np.ndarray, lanes: int, seconds: float) -> float:
    """Return images per second with ``lanes`` threads that each process batches."""
    batch = session.spec.batch
    parts = [images[i : i + batch] for i in range(0, len(images) - batch + 1, batch)]
    done = [0] * lanes
    start = time.perf_counter()

    def lane(number: int) -> None:
        while (now := time.perf_counter() - start) < WARM_UP_S + seconds:
            session.infer(parts[done[number] % len(parts)])
            done[number] += now > WARM_UP_S

    with ThreadPoolExecutor(lanes) as pool:
        list(pool.map(lane, range(lanes)))
    return sum(done) * batch / (time.perf_counter() - start - WARM_UP_S)


def _app(model: Path, size: int) -> Alternative:
    """Return ``benchmark_app`` with its own hints, which choose streams, threads and requests."""

    def run(*settings: object) -> str:
        shape = f"[1,1,{size},{size}]"
        return _run(sys.executable, "-c", BENCHMARK_APP, "-m", model, "-d", "CPU",
                    "-shape", shape, *settings)  # fmt: skip

    def hinted(hint: str, seconds: float) -> str:
        return run("-hint", hint, "-t", max(1, round(seconds)))

    def processor_s(inferences: int) -> float:
        before = os.times()
        run("-hint", "none", "-nthreads", 1, "-nstreams", 1, "-api", "sync", "-niter", inferences)
        after = os.times()
        return sum(after[2:4]) - sum(before[2:4])

    def processor_ms(seconds: float) -> float:
        few, many = 100, 100 + round(400 * seconds)
        return (processor_s(many) - processor_s(few)) / (many - few) * 1000

    def latency_ms(seconds: float) -> float:
        return float(re.search(r"Median:\s+([\d.]+) ms", hinted("latency", seconds))[1])

    def images_per_second(seconds: float) -> float:
        return float(re.search(r"Throughput:\s+([\d.]+) FPS", hinted("throughput", seconds))[1])

    return Alternative(processor_ms, latency_ms, images_per_second)


def _nncf(case: Case, preset: str, arguments: argparse.Namespace) -> Path:
    """Return NNCF's INT8 model of the network; build it if it is missing."""
    model = arguments.work / f"{case.name}-nncf-{preset}.xml"
    if not model.is_file():
        pixels = arguments.work / f"{case.name}-calibration.npy"
        np.save(pixels, case.pixels(read_calibration(case.calibration), Split.TRAIN))
        _run(arguments.nncf, HERE / "nncf_model.py", case.fp32, pixels, model, "full", preset)
    return model


def _run(*command: object) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def _processor(
    case: Case, arguments: argparse.Namespace, opened: ExitStack
) -> tuple[dict[str, Any], dict[str, Alternative]]:
    """Return the same alternatives, restricted to processor time."""
    _, alternatives = _engines(case, arguments, opened)
    return {}, {
        n: replace(a, latency_ms=None, images_per_second=None) for n, a in alternatives.items()
    }


PARTS = {
    "engines": _engines,
    "processor": _processor,
    "shares": _shares,
    "one-by-one": _one_by_one,
}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=tuple(PARTS))
    parser.add_argument("--case", action="append", required=True, help="NAME=MODEL,CALIBRATION")
    parser.add_argument("--nncf", help="Python interpreter with nncf and openvino")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--seconds", type=float, default=2.0, help="duration of each measurement in a round"
    )
    parser.add_argument(
        "--prepare", action="store_true", help="build the models without timing them"
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for bundles and models")
    parser.add_argument("--out", type=Path, required=True, help="OUT.json and OUT.md are written")
    return parser.parse_args()


if __name__ == "__main__":
    main()
