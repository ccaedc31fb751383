"""Which layers to keep in float: the cheap ones at the start, and the most sensitive ones.

Sensitivity is measured by quantizing each group of layers alone and comparing the logits.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from cxredge.data.images import GreyImage
from cxredge.graph.model_file import infer_values
from cxredge.progress import Advance
from cxredge.quantization.correction.reconstruction import CorrectedModel
from cxredge.quantization.qdq.emit import emit
from cxredge.quantization.ranges.statistics import Ranges
from cxredge.quantization.sessions import infer_graph
from cxredge.vocabulary import Dialect

STEM_SHARE = 0.025
"""Maximum share of the network's multiplications that the stem may hold.

On MobileNet V1 and V2 the stem is the first convolution and the depthwise one behind it. Errors
made there pass through all later layers: in float, they halve MobileNet V1's logit error on
validation images. The next layer, a full convolution, would cost nearly three times as much as both
and remove less than a tenth of the error.
"""

_GROUPS = 64


@dataclass(frozen=True)
class Sensitivity:
    """Logit error caused by quantizing a group of neighbouring layers.

    Attributes:
        nodes: Names of the convolutions, and of the additions that follow them.
        noise: Standard deviation over images of the change of the logits, as root mean square over
            classes. A shift that all images share does not count: bias correction removes it.
    """

    nodes: tuple[str, ...]
    noise: float


def stem(model: onnx.ModelProto, share: float = STEM_SHARE) -> frozenset[str]:
    """Return the names of the first convolutions that together cost at most ``share``.

    Args:
        model: An FP32 model with static shapes except for the batch.
        share: Share of the multiplications of all convolutions, in [0, 1].
    """
    costs = _multiplications(model)
    allowed = share * sum(costs.values())
    names: list[str] = []
    for name, cost in costs.items():
        allowed -= cost
        if allowed < 0:
            break
        names.append(name)
    return frozenset(names)


def group_layers(
    model: onnx.ModelProto, keep: Collection[str] = (), max_groups: int = _GROUPS
) -> list[tuple[str, ...]]:
    """Return the names of the layers in graph order, neighbours grouped.

    A layer is a convolution with the additions that follow it: if both are in float, the tensor
    between them is not rounded.

    Args:
        model: The FP32 model.
        keep: Names of convolutions to leave out.
        max_groups: Maximum number of groups.
    """
    layers: list[list[str]] = []
    for node in model.graph.node:
        if node.op_type == "Conv":
            layers.append([node.name])
        elif node.op_type == "Add" and layers:
            layers[-1].append(node.name)
    left = [layer for layer in layers if layer[0] not in keep]
    size = max(1, -(-len(left) // max_groups))
    parts = (left[start : start + size] for start in range(0, len(left), size))
    return [tuple(name for layer in part for name in layer) for part in parts]


def measure_sensitivities(
    corrected: CorrectedModel,
    ranges: Ranges,
    dialect: Dialect,
    groups: Sequence[tuple[str, ...]],
    pixels: GreyImage,
    advance: Advance,
    keep: Collection[str] = (),
) -> list[Sensitivity]:
    """Measure the sensitivity of each group and return them, the most sensitive first.

    Args:
        corrected: The model with the weights that are quantized.
        ranges: Ranges of its activations.
        dialect: The dialect of the INT8 graph.
        groups: Names of nodes that are quantized together.
        pixels: uint8 (N, S, S) images; a few suffice to rank the groups.
        advance: Progress listener, counting groups.
        keep: Names of nodes that always stay in float.
    """
    reference = infer_graph(corrected.model, pixels)
    every = {name for group in groups for name in group}.union(keep)
    found = []
    for group in groups:
        in_float = every - set(group)
        graph = emit(corrected.model, ranges, dialect, False, in_float, corrected.scales)
        change = infer_graph(graph, pixels) - reference
        found.append(Sensitivity(group, float(np.sqrt(change.var(axis=0).mean()))))
        advance(1)
    return sorted(found, key=lambda one: -one.noise)


def groups_needed(order: Sequence[Sensitivity], kept: int, error: float, target: float) -> int:
    """Return how many groups must stay in float to reduce the logit error to a target.

    Rounding errors of different layers are assumed independent, so their squares add up.

    Args:
        order: All groups, the most sensitive first.
        kept: Number of groups that are in float already.
        error: Logit error with these in float.
        target: Logit error to reach.
    """
    squares = np.array([one.noise**2 for one in order])
    remaining = np.append(squares[::-1].cumsum()[::-1], 0.0)
    return int(np.argmax(error**2 * remaining <= target**2 * remaining[kept]))


def _multiplications(model: onnx.ModelProto) -> dict[str, int]:
    """Return the number of multiplications per image of each convolution, in graph order."""
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in infer_values(model)
    }
    weights = {initializer.name: initializer.dims for initializer in model.graph.initializer}
    return {
        node.name: math.prod(shapes[node.output[0]][2:]) * math.prod(weights[node.input[1]])
        for node in model.graph.node
        if node.op_type == "Conv"
    }
