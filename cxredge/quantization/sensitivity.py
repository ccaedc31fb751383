"""Which layers lose most by INT8: each group of layers quantized alone, the logits compared."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from cxredge.data.images import GreyImage
from cxredge.progress import Advance
from cxredge.quantization.correction.reconstruction import Reconstructed
from cxredge.quantization.judge import infer_graph
from cxredge.quantization.qdq.emit import emit
from cxredge.quantization.ranges.statistics import Ranges
from cxredge.vocabulary import Dialect

_GROUPS = 64


@dataclass(frozen=True)
class Sensitivity:
    """What quantizing a few neighbouring layers costs.

    Attributes:
        nodes: Names of the convolutions, and of the additions that follow them.
        noise: How far quantizing these alone scatters the logits, beyond the shift that all images
            have in common: corrected biases take that out again. Root mean square.
    """

    nodes: tuple[str, ...]
    noise: float


def groups_of(
    model: onnx.ModelProto, keep: Collection[str] = (), most: int = _GROUPS
) -> list[tuple[str, ...]]:
    """Return the layers in graph order, neighbours together, in at most ``most`` groups.

    A layer is a convolution with the additions that follow it: in float together, what they hand
    to each other is not rounded.

    Args:
        model: The FP32 model.
        keep: Names of nodes that are left out.
        most: Groups at most.
    """
    layers: list[list[str]] = []
    for node in model.graph.node:
        if node.op_type == "Conv":
            layers.append([node.name])
        elif node.op_type == "Add" and layers:
            layers[-1].append(node.name)
    left = [layer for layer in layers if layer[0] not in keep]
    size = max(1, -(-len(left) // most))
    parts = (left[start : start + size] for start in range(0, len(left), size))
    return [tuple(name for layer in part for name in layer) for part in parts]


def measure_sensitivities(
    made: Reconstructed,
    ranges: Ranges,
    dialect: Dialect,
    groups: Sequence[tuple[str, ...]],
    pixels: GreyImage,
    advance: Advance,
    keep: Collection[str] = (),
) -> list[Sensitivity]:
    """Measure each group, and return them with the most sensitive first.

    Args:
        made: The model, with the weights that it is quantized with.
        ranges: Ranges of its activations.
        dialect: The dialect to quantize in.
        groups: Names of nodes that are quantized together.
        pixels: uint8 (N, S, S) images; a few are enough for an order.
        advance: Hears of groups done.
        keep: Names of nodes that stay in float whatever is measured.
    """
    reference = infer_graph(made.model, pixels)
    every = {name for group in groups for name in group}.union(keep)
    found = []
    for group in groups:
        graph = emit(made.model, ranges, dialect, False, every - set(group), made.scales)
        moved = infer_graph(graph, pixels) - reference
        found.append(Sensitivity(group, float(np.sqrt(moved.var(axis=0).mean()))))
        advance(1)
    return sorted(found, key=lambda one: -one.noise)


def groups_needed(order: Sequence[Sensitivity], kept: int, error: float, aim: float) -> int:
    """Return how many groups have to stay in float for the logits' error to come down to an aim.

    Rounding errors of different layers have nothing to do with each other, so their squares add up.

    Args:
        order: All groups, the most sensitive first.
        kept: How many of them stay in float already.
        error: Of the logits, with these in float.
        aim: What it has to come down to.
    """
    squares = np.array([one.noise**2 for one in order])
    left = np.append(squares[::-1].cumsum()[::-1], 0.0)
    return int(np.argmax(error**2 * left <= aim**2 * left[kept]))
