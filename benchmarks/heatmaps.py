"""Heatmaps out of the engine: agreement, border, deletion, latency and size, on real X-rays.

    python benchmarks/heatmaps.py --processor BUNDLE --board BUNDLE --manifest MANIFEST \
        --out benchmarks/results/heatmaps

Both bundles are of one network, built with heatmaps and familiarity: PROCESSOR for this machine,
BOARD for a Jetson, whose INT8 is in TensorRT's dialect and runs in ONNX Runtime here. Parts that
OUT.json has are not measured again, so that an interrupted run is resumed by the same command;
``--again PART`` measures one anew. OUT.md is rewritten from all parts.
"""

from __future__ import annotations

import argparse
import random
import statistics
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from time import perf_counter_ns, process_time_ns
from typing import Any

import numpy as np
import onnx
from heatmaps_page import write_page
from other_work import OtherWork
from PIL import Image, ImageFilter

from cxredge.artifacts.atomic import write_json
from cxredge.artifacts.card import tool_versions
from cxredge.artifacts.records import read_json_file, to_json
from cxredge.backends import open_session
from cxredge.backends.base import Outputs
from cxredge.backends.batched import run_file
from cxredge.bundle.bundle import Bundle, open_bundle
from cxredge.data.loading import LabelledImages, load_labelled
from cxredge.data.manifest import Entry, read_manifest
from cxredge.graph.index import GraphIndex
from cxredge.graph.model_file import read_model
from cxredge.inference.map_evidence import border_evidence
from cxredge.metrics.classification import softmax
from cxredge.metrics.maps import delete_patches, measure_map_fidelity
from cxredge.progress import Silent
from cxredge.telemetry.linux import read_machine
from cxredge.vocabulary import DISTANCE_NAME, MAPS_NAME, Precision, Split

SHARES = (0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1)
OUTPUTS = {"none": (), "familiarity": (DISTANCE_NAME,), "maps": (MAPS_NAME,)}
OUTPUTS["both"] = (DISTANCE_NAME, MAPS_NAME)
BLUR = 12


class Case:
    """The bundles, and the test images with their outputs in every precision."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.processor: Bundle = open_bundle(arguments.processor)
        self.board: Bundle = open_bundle(arguments.board)
        classifier = self.processor.card.classifier
        self.classes, self.grid = classifier.classes, self.processor.card.facts.map_grid
        self.entries: list[Entry] = list(read_manifest(arguments.manifest).of(Split.TEST))
        self.images: LabelledImages = load_labelled(
            self.entries, self.classes, classifier.input_size, Silent()
        )
        self._outputs: dict[tuple[Path, str], Outputs] = {}

    def variants(self) -> dict[str, tuple[Path, str, Precision]]:
        """Return the file, runtime and precision of every variant by name; FP32 comes first."""
        fp32, int8 = Precision.FP32, Precision.INT8
        processor, board = self.processor.model_of, self.board.model_of
        return {
            "FP32, ONNX Runtime": (processor(fp32), "onnxruntime", fp32),
            "FP16, ONNX Runtime": (board(Precision.FP16), "onnxruntime", Precision.FP16),
            "INT8 for the processor, ONNX Runtime": (processor(int8), "onnxruntime", int8),
            "INT8 for TensorRT, ONNX Runtime": (board(int8), "onnxruntime", int8),
            "FP32, OpenVINO": (processor(fp32), "openvino", fp32),
            "INT8 for the processor, OpenVINO": (processor(int8), "openvino", int8),
        }

    def outputs(self, name: str) -> Outputs:
        """Return the outputs of a variant for the test images."""
        file, backend, precision = self.variants()[name]
        if (file, backend) not in self._outputs:
            found = run_file(file, self.images.pixels, backend, precision)
            self._outputs[file, backend] = found
        return self._outputs[file, backend]

    @property
    def fp32(self) -> Outputs:
        """Outputs of FP32 in ONNX Runtime."""
        return self.outputs(next(iter(self.variants())))


def agreement(case: Case) -> dict[str, Any]:
    """Compare the maps of every variant with FP32's, for the class that FP32 decides."""
    decided = case.fp32.logits.argmax(axis=1)
    return {
        name: to_json(measure_map_fidelity(case.fp32.maps, case.outputs(name).maps, decided))
        for name in list(case.variants())[1:]
    }


def border(case: Case) -> list[dict[str, Any]]:
    """Measure the share of the decided class's evidence in the border, by class and source."""
    found: list[dict[str, Any]] = to_json(border_evidence(case.processor, case.entries, case.fp32))
    return found


def deletion(case: Case) -> dict[str, Any]:
    """Remove what the maps name first, and random patches, replaced by mean or blur."""
    pixels = case.images.pixels
    means = np.broadcast_to(pixels.mean(axis=(1, 2), keepdims=True), pixels.shape)
    fills = {
        "mean": means.astype(np.uint8),
        "blurred": np.stack([_blurred(one) for one in pixels]),
    }
    found: dict[str, Any] = {}
    for name in ("FP32, ONNX Runtime", "INT8 for the processor, ONNX Runtime"):
        outputs = case.outputs(name)
        decided = outputs.logits.argmax(axis=1)
        maps = outputs.maps[np.arange(len(decided)), decided]
        groups = {"all": np.ones(len(decided), bool)}
        groups |= {c: decided == n for n, c in enumerate(case.classes) if (decided == n).any()}
        answer = partial(_probability, *case.variants()[name], decided)
        for fill, values in fills.items():
            every = delete_patches(pixels, maps, case.grid, values, answer, SHARES)
            for group, chosen in groups.items():
                curve = every.mean(chosen)
                kept = to_json(curve) | {"area_between": curve.area_between}
                found.setdefault(name, {}).setdefault(group, {})[fill] = kept
            print(name, fill, every.mean().area_between, flush=True)
    return found


def _blurred(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(BLUR)))


def _probability(
    file: Path, backend: str, precision: Precision, decided: np.ndarray, pixels: np.ndarray
) -> np.ndarray:
    logits = run_file(file, pixels, backend, precision).logits
    return softmax(logits)[np.arange(len(decided)), decided]


def size(case: Case) -> dict[str, dict[str, int]]:
    """Return the size of each file with each set of outputs, in bytes."""
    return {
        name: {
            label: len(_with(read_model(file), kept).SerializeToString())
            for label, kept in OUTPUTS.items()
        }
        for name, (file, backend, _) in case.variants().items()
        if backend == "onnxruntime"
    }


def latency(case: Case) -> dict[str, Any]:
    """Time one image with each set of outputs, in turn, in random order within each round.

    On one thread, processor time is measured, which other work on the machine hardly changes; on
    two threads, wall time, as threads that wait for each other use the processor too.
    """
    rounds, calls = case.arguments.rounds, case.arguments.calls
    wanted = [n for n in case.variants() if "TensorRT" not in n and "FP16" not in n]
    found: dict[str, Any] = {}
    other, shuffle = OtherWork(), random.Random(0)
    image = case.images.pixels[:1]
    case.arguments.work.mkdir(parents=True, exist_ok=True)
    for threads in case.arguments.threads:
        for name in wanted:
            file, backend, precision = case.variants()[name]
            with ExitStack() as opened:
                timed: dict[str, Callable[[], object]] = {}
                for label, kept in OUTPUTS.items():
                    path = case.arguments.work / f"{file.stem}-{label}.onnx"
                    onnx.save(_with(read_model(file), kept), path)
                    session = open_session(path, backend, threads, precision)
                    timed[label] = partial(opened.enter_context(session).run, image)
                clock = process_time_ns if threads == 1 else perf_counter_ns
                taken = _take_turns(timed, rounds, calls, shuffle, clock)
            found.setdefault(name, {})[f"{threads}"] = taken
            print(name, threads, {k: statistics.median(v) for k, v in taken.items()}, flush=True)
    return {"rounds": rounds, "calls": calls, "other_work": other.share(), "variants": found}


def _take_turns(
    timed: dict[str, Callable[[], object]],
    rounds: int,
    calls: int,
    shuffle: random.Random,
    clock: Callable[[], int],
) -> dict[str, list[float]]:
    """Return milliseconds per image by round: within each, calls alternate in random order.

    A round's figure is the median of its calls, which other work on the machine hardly moves.
    """
    taken: dict[str, list[float]] = {label: [] for label in timed}
    for number in range(-2, rounds):
        each: dict[str, list[float]] = {label: [] for label in timed}
        for _ in range(calls):
            order = list(timed)
            shuffle.shuffle(order)
            for label in order:
                start = clock()
                timed[label]()
                each[label].append((clock() - start) / 1e6)
        if number >= 0:
            for label, values in each.items():
                taken[label].append(statistics.median(values))
    return taken


def _with(model: onnx.ModelProto, kept: tuple[str, ...]) -> onnx.ModelProto:
    """Return a model with some of its further outputs, without what only the others need."""
    dropped = {DISTANCE_NAME, MAPS_NAME} - set(kept)
    graph = model.graph
    outputs = [output for output in graph.output if output.name not in dropped]
    del graph.output[:]
    graph.output.extend(outputs)
    index = GraphIndex(graph)
    needed, waiting = set(), [output.name for output in outputs]
    while waiting:
        node = index.producers.get(waiting.pop())
        if node is not None and node.output[0] not in needed:
            needed.add(node.output[0])
            waiting += [name for name in node.input if name]
    nodes = [node for node in graph.node if node.output[0] in needed]
    del graph.node[:]
    graph.node.extend(nodes)
    read = {name for node in nodes for name in node.input}
    for field in (graph.initializer, graph.value_info):
        left = [item for item in field if item.name in read]
        del field[:]
        field.extend(left)
    return model


PARTS = {
    "agreement": agreement,
    "border": border,
    "size": size,
    "latency": latency,
    "deletion": deletion,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processor", type=Path, required=True, help="bundle for this machine")
    parser.add_argument("--board", type=Path, required=True, help="bundle for a Jetson")
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=40, help="images per round and variant")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="per inference")
    parser.add_argument("--again", choices=PARTS, action="append", default=[])
    parser.add_argument("--work", type=Path, required=True, help="folder for what is made; stays")
    parser.add_argument("--out", type=Path, required=True, help="OUT.json and OUT.md are written")
    arguments = parser.parse_args()
    out = arguments.out.with_suffix(".json")
    case = Case(arguments)
    found: dict[str, Any] = read_json_file(out) if out.is_file() else {}
    found |= {
        "machine": to_json(read_machine()),
        "tools": tool_versions("onnxruntime", "openvino", "numpy"),
        "network": case.processor.card.classifier.network,
        "images": len(case.entries),
        "patients": len({entry.patient for entry in case.entries}),
        "manifest_sha256": read_manifest(arguments.manifest).sha256,
    }
    for part, measure in PARTS.items():
        if part not in found or part in arguments.again:
            found[part] = measure(case)
            write_json(out, found)
            write_page(found, arguments.out.with_suffix(".md"))
    write_page(found, arguments.out.with_suffix(".md"))


if __name__ == "__main__":
    main()
