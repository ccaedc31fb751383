"""Which layers lose most by INT8: each group of layers quantized alone, the logits compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx

from cxredge.data.images import GreyImage
from cxredge.progress import Advance
from cxredge.quantization.judge import infer_graph, logit_error
from cxredge.quantization.qdq import emit
from cxredge.quantization.statistics import Ranges
from cxredge.vocabulary import Dialect

_GROUPS = 32


@dataclass(frozen=True)
class Sensitivity:
    """What quantizing a few neighbouring layers costs.

    Attributes:
        nodes: Names of the convolutions.
        logit_error: Error of the logits when these alone are quantized, as a share of FP32's.
    """

    nodes: tuple[str, ...]
    logit_error: float


def groups_of(model: onnx.ModelProto, most: int = _GROUPS) -> list[tuple[str, ...]]:
    """Return the convolutions in graph order, neighbours together, in at most ``most`` groups."""
    names = [node.name for node in model.graph.node if node.op_type == "Conv"]
    size = -(-len(names) // most)
    return [tuple(names[start : start + size]) for start in range(0, len(names), size)]


def measure_sensitivities(
    model: onnx.ModelProto,
    ranges: Ranges,
    dialect: Dialect,
    groups: Sequence[tuple[str, ...]],
    pixels: GreyImage,
    advance: Advance,
) -> list[Sensitivity]:
    """Measure each group, and return them with the most sensitive first.

    Args:
        model: The FP32 model.
        ranges: Ranges of its activations.
        dialect: The dialect to quantize in.
        groups: Names of convolutions that are quantized together.
        pixels: uint8 (N, S, S) images; a few are enough for an order.
        advance: Hears of groups done.
    """
    reference = infer_graph(model, pixels)
    every = {name for group in groups for name in group}
    found = []
    for group in groups:
        graph = emit(model, ranges, dialect, keep=every - set(group))
        error = logit_error(reference, infer_graph(graph, pixels))
        found.append(Sensitivity(group, error))
        advance(1)
    return sorted(found, key=lambda one: -one.logit_error)
