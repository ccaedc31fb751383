"""The first layers of a network: cheap to leave in float, dear to quantize."""

from __future__ import annotations

import math

import onnx

from cxredge.graph.model_file import infer_values

STEM_SHARE = 0.025
"""Most of the network's multiplications that may stay in float.

On MobileNet V1 and V2 these are the first convolution and the depthwise one behind it. Errors made
there pass through every layer that follows: left in float they halve MobileNet V1's error of the
logits on validation images. The next one, a full convolution, would cost nearly three times as much
as both for less than a tenth of the error.
"""


def stem(model: onnx.ModelProto, share: float = STEM_SHARE) -> frozenset[str]:
    """Return the names of the first convolutions that together cost at most ``share``.

    Args:
        model: An FP32 model with static shapes but for the batch.
        share: Share of all multiplications of convolutions, in [0, 1].
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


def _multiplications(model: onnx.ModelProto) -> dict[str, int]:
    """Return the multiplications of each convolution for one image, in graph order."""
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
