"""Fewer nodes at export: speed-up of NASNetMobile by fusions that do not change its results.

    python benchmarks/fusions.py MODEL --rounds 9 --work WORK --out benchmarks/results/fusions

MODEL is an FP32 folder written by ``export`` for ``nasnet_mobile``. Three rewrites are tried, alone
and combined. Each variant is compared with the original on noise and timed by the processor time of
an inference on one thread, in each runtime, alternately.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from cxredge.artifacts.atomic import write_json, write_text
from cxredge.artifacts.card import tool_versions
from cxredge.artifacts.records import to_json
from cxredge.backends import installed_on_cpu, open_session, reduced_precisions
from cxredge.graph.nodes import constants_of, copy_of, integers_of, number_of, replace_nodes
from cxredge.telemetry.linux import read_machine
from cxredge.vocabulary import Precision

SETTLE, CALLS = 4, 12


def merge_pointwise(model: onnx.ModelProto) -> onnx.ModelProto:
    """Merge pointwise convolutions of the same input into one, and split its output."""
    model = copy_of(model)
    graph, constants = model.graph, constants_of(model.graph)
    kept = list(graph.node)
    for name, readers in _readers(graph).items():
        convs = [node for node in readers if _is_pointwise(node) and node.input[0] == name]
        if len(convs) < 2:
            continue
        weights = [constants[node.input[1]] for node in convs]
        bias = np.concatenate([constants[node.input[2]] for node in convs])
        merged = _with_weights(graph, convs[0], np.concatenate(weights), bias, f"{name}.merged")
        sizes = _constant(graph, f"{name}.sizes", np.array([len(w) for w in weights], np.int64))
        outputs = [node.output[0] for node in convs]
        split = helper.make_node(
            "Split", [merged.output[0], sizes], outputs, f"{name}.split", axis=1
        )
        at = min(kept.index(node) for node in convs)
        kept = [node for node in kept if node not in convs]
        kept[at:at] = [merged, split]
    replace_nodes(graph, kept)
    return model


def add_inside(model: onnx.ModelProto) -> onnx.ModelProto:
    """Merge the sum of two pointwise convolutions into one of their concatenated inputs."""
    model = copy_of(model)
    graph, constants = model.graph, constants_of(model.graph)
    readers = _readers(graph)
    producers = {name: node for node in graph.node for name in node.output}
    kept = list(graph.node)
    for node in list(graph.node):
        convs = [producers.get(name) for name in node.input] if node.op_type == "Add" else []
        if len(convs) != 2 or node.input[0] == node.input[1]:
            continue
        if not all(c and _is_pointwise(c) and len(readers[c.output[0]]) == 1 for c in convs):
            continue
        name = node.output[0]
        beside = helper.make_node(
            "Concat", [c.input[0] for c in convs], [f"{name}.beside"], f"{name}.concat", axis=1
        )
        weights = np.concatenate([constants[c.input[1]] for c in convs], axis=1)
        bias = constants[convs[0].input[2]] + constants[convs[1].input[2]]
        summed = _with_weights(graph, convs[0], weights, bias, name)
        summed.input[0] = beside.output[0]
        at = kept.index(node)
        kept[at : at + 1] = [beside, summed]
        kept = [other for other in kept if other not in convs]
    replace_nodes(graph, kept)
    return model


def double_later(model: onnx.ModelProto) -> onnx.ModelProto:
    """Remove sums of a value with itself if the following pointwise weights can be doubled."""
    model = copy_of(model)
    graph = model.graph
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in onnx.shape_inference.infer_shapes(model).graph.value_info
    }
    for node in [n for n in graph.node if n.op_type == "Add" and n.input[0] == n.input[1]]:
        readers = _readers(graph)
        concat = readers[node.output[0]][0]
        if len(readers[node.output[0]]) != 1 or concat.op_type != "Concat":
            continue
        convs = _pointwise_behind(concat.output[0], readers)
        if convs is None:
            continue
        at = list(concat.input).index(node.output[0])
        begin = sum(shapes[name][1] for name in concat.input[:at])
        channels = slice(begin, begin + shapes[node.output[0]][1])
        for conv in convs:
            tensor = next(t for t in graph.initializer if t.name == conv.input[1])
            weights = numpy_helper.to_array(tensor).copy()
            weights[:, channels] *= 2
            tensor.CopyFrom(numpy_helper.from_array(weights, tensor.name))
        concat.input[at] = node.input[0]
    used = {name for node in graph.node for name in node.input} | {graph.output[0].name}
    replace_nodes(graph, [node for node in graph.node if used & set(node.output)])
    return model


def _pointwise_behind(
    name: str, readers: Mapping[str, list[onnx.NodeProto]]
) -> list[onnx.NodeProto] | None:
    """Return the convolutions that read a value, maybe after a ReLU; None if others read it."""
    found: list[onnx.NodeProto] = []
    for node in readers.get(name, []):
        behind = (
            _pointwise_behind(node.output[0], readers)
            if node.op_type == "Relu"
            else [node]
            if node.op_type == "Conv" and number_of(node, "group", 1) == 1
            else None
        )
        if behind is None:
            return None
        found += behind
    return found or None


def _readers(graph: onnx.GraphProto) -> dict[str, list[onnx.NodeProto]]:
    found: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            found.setdefault(name, []).append(node)
    return found


def _is_pointwise(node: onnx.NodeProto) -> bool:
    return (
        node.op_type == "Conv"
        and integers_of(node, "kernel_shape", []) == [1, 1]
        and integers_of(node, "strides", [1, 1]) == [1, 1]
        and number_of(node, "group", 1) == 1
    )


def _with_weights(
    graph: onnx.GraphProto, conv: onnx.NodeProto, weights: np.ndarray, bias: np.ndarray, output: str
) -> onnx.NodeProto:
    node = onnx.NodeProto()
    node.CopyFrom(conv)
    node.name = f"{output}.conv"
    node.input[1] = _constant(graph, f"{output}.weights", weights)
    node.input[2] = _constant(graph, f"{output}.bias", bias)
    node.output[0] = output
    return node


def _constant(graph: onnx.GraphProto, name: str, values: np.ndarray) -> str:
    graph.initializer.append(numpy_helper.from_array(values, name))
    return name


VARIANTS: dict[str, tuple[Callable[[onnx.ModelProto], onnx.ModelProto], ...]] = {
    "as exported": (),
    "pointwise of one input merged": (merge_pointwise,),
    "sums inside pointwise": (add_inside,),
    "doublings in later weights": (double_later,),
    "doublings and merged": (double_later, merge_pointwise),
    "doublings and sums": (double_later, add_inside),
}


def main() -> None:
    arguments = _arguments()
    arguments.work.mkdir(parents=True, exist_ok=True)
    original = onnx.load(arguments.model / "model.onnx")
    size = original.graph.input[0].type.tensor_type.shape.dim[2].dim_value
    pixels = np.random.default_rng(0).integers(0, 256, (2, size, size), dtype=np.uint8)
    ways = [(b, p) for b in installed_on_cpu() for p in (Precision.FP32, *reduced_precisions(b))]
    facts: dict[str, Any] = {}
    sessions = {}
    for number, (name, rewrites) in enumerate(VARIANTS.items()):
        model = original
        for rewrite in rewrites:
            model = rewrite(model)
        onnx.checker.check_model(model, full_check=True)
        path = arguments.work / f"fusion-{number}.onnx"
        onnx.save(model, path)
        with open_session(arguments.model / "model.onnx") as one, open_session(path) as other:
            difference = float(np.abs(one.infer(pixels) - other.infer(pixels)).max())
        facts[name] = {"nodes": len(model.graph.node), "largest_difference": difference}
        for backend, precision in ways:
            session = open_session(path, backend, 1, precision)
            sessions[name, f"{precision.value} in {backend}"] = session
    taken: dict[tuple[str, str], list[float]] = {key: [] for key in sessions}
    order, shuffle = list(sessions), random.Random(0)
    for _ in range(arguments.rounds):
        shuffle.shuffle(order)
        for key in order:
            taken[key].append(_processor_ms(sessions[key], pixels[:1]))
    for (name, way), milliseconds in taken.items():
        facts[name].setdefault("processor_ms", {})[way] = [round(ms, 3) for ms in milliseconds]
    found = {
        "machine": to_json(read_machine()),
        "tools": tool_versions("onnx", "onnxruntime", "openvino"),
        "rounds": arguments.rounds,
        "variants": facts,
    }
    write_json(arguments.out.with_suffix(".json"), found)
    write_text(arguments.out.with_suffix(".md"), _page(found))


def _processor_ms(session: Any, image: np.ndarray) -> float:
    taken = []
    for _ in range(SETTLE + CALLS):
        began = time.process_time()
        session.infer(image)
        taken.append((time.process_time() - began) * 1000)
    return median(taken[SETTLE:])


def _page(found: Mapping[str, Any]) -> str:
    machine, variants = found["machine"], found["variants"]
    base = variants["as exported"]["processor_ms"]
    lines = [
        "# Fusions of NASNetMobile at export",
        "",
        f"{machine['cpu']}, {machine['cores']} cores, virtual. Versions: "
        f"{', '.join(f'{name} {version}' for name, version in found['tools'].items())}. Time of "
        f"the processor for an image on one thread, over that of the graph as exported: median of "
        f"{found['rounds']} rounds (least-largest); in each all variants take turns.",
        "",
        f"| variant | nodes | largest difference of a logit | {' | '.join(base)} |",
        "|" + "---|" * (3 + len(base)),
    ]
    for name, facts in variants.items():
        cells = []
        for way, milliseconds in facts["processor_ms"].items():
            ratios = [a / b for a, b in zip(milliseconds, base[way], strict=True)]
            spread = f"{median(ratios):.3f} ({min(ratios):.2f}-{max(ratios):.2f})"
            cells.append(f"{median(milliseconds):.1f} ms" if name == "as exported" else spread)
        difference = f"{facts['largest_difference']:.1e}"
        lines.append(f"| {name} | {facts['nodes']} | {difference} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--work", type=Path, required=True, help="folder for the rewritten models")
    parser.add_argument("--out", type=Path, required=True, help="OUT.json and OUT.md are written")
    return parser.parse_args()


if __name__ == "__main__":
    main()
