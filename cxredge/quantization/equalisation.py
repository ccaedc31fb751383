"""Cross-layer equalisation: channels of a tensor made to use one range alike.

A tensor has one scale in INT8, and channels that stay far below it lose precision. Where two
convolutions follow each other, a channel of the first can be made larger and the second's weights
for it smaller by as much (Nagel et al. 2019, "Data-Free Quantization through Weight Equalization
and Bias Correction", section 4.1). ReLU passes any positive factor on; ReLU6 and other clips only
as long as nothing reaches the limit, so a channel is never raised beyond it, and one that reached
it on a calibration image is left alone.

In front of a depthwise convolution this is free, as its weights have a scale for each channel. In
front of another one it costs precision of its weights, and the factor is the square root.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from cxredge.data.images import GreyImage
from cxredge.onnx_graph import INPUT_NAME
from cxredge.onnx_nodes import constants_of, copy_of, number_of
from cxredge.progress import Advance
from cxredge.quantization.ranges import BATCH, session_with_outputs

Peaks = npt.NDArray[np.float32]

_MOST = 32.0
_PASSING = ("Relu", "Clip")


@dataclass(frozen=True)
class Pair:
    """Two convolutions in a row.

    Attributes:
        first: Makes the channels.
        second: Alone reads them.
        tensor: What it reads.
        limit: What the channels are clipped at; infinite where they are not.
    """

    first: onnx.NodeProto
    second: onnx.NodeProto
    tensor: str
    limit: float


def equalise(model: onnx.ModelProto, pixels: GreyImage, advance: Advance) -> onnx.ModelProto:
    """Return a copy of an FP32 model, equal in what it computes, whose channels differ less.

    Args:
        model: The FP32 model.
        pixels: uint8 (N, S, S) calibration images, on which the channels are measured.
        advance: Hears of images done.
    """
    result = copy_of(model)
    pairs = find_pairs(result)
    peaks = _peaks(model, [pair.tensor for pair in pairs], pixels, advance)
    constants = _weights(result)
    for pair in pairs:
        depthwise = number_of(pair.second, "group", 1) > 1
        factors = raise_by(peaks[pair.tensor], pair.limit, 1.0 if depthwise else 0.5)
        for name in pair.first.input[1:]:
            shape = (-1, *(1,) * (constants[name].ndim - 1))
            constants[name] = constants[name] * factors.reshape(shape)
        name = pair.second.input[1]
        shape = (-1, 1, 1, 1) if depthwise else (1, -1, 1, 1)
        constants[name] = constants[name] / factors.reshape(shape)
    for initializer in result.graph.initializer:
        if initializer.name in constants:
            values = constants[initializer.name]
            initializer.CopyFrom(numpy_helper.from_array(values, initializer.name))
    return result


def raise_by(peaks: Peaks, limit: float, power: float) -> Peaks:
    """Return the factor of each channel, float32 (C,), 1 or more.

    Args:
        peaks: Largest absolute value of each channel, float32 (C,).
        limit: What the tensor is clipped at.
        power: 1 to raise every channel to the largest; 0.5 to go half the way, in octaves.
    """
    top = min(float(peaks.max(initial=0.0)), limit)
    room = np.divide(top, peaks, out=np.ones_like(peaks), where=peaks > 0)
    factors: Peaks = np.clip(room, 1.0, _MOST) ** np.float32(power)
    return factors


def find_pairs(model: onnx.ModelProto) -> list[Pair]:
    """Return the convolutions that read what one other makes, and that alone."""
    constants = constants_of(model.graph)
    uses = Counter(name for node in model.graph.node for name in node.input)
    uses.update(output.name for output in model.graph.output)
    producers = {name: node for node in model.graph.node for name in node.output}
    pairs = []
    for node in _convolutions(model.graph.node):
        source = producers.get(node.input[0])
        limit = np.inf
        if source is not None and source.op_type in _PASSING and uses[node.input[0]] == 1:
            if source.op_type == "Clip":
                low, high = (float(constants[name].item()) for name in source.input[1:3])
                if low != 0.0:
                    continue
                limit = high
            before = producers.get(source.input[0])
            alone = uses[source.input[0]] == 1
        else:
            before, alone = source, uses[node.input[0]] == 1
        groups = number_of(node, "group", 1)
        channels = constants[node.input[1]].shape[0]
        if before is not None and before.op_type == "Conv" and alone and groups in (1, channels):
            pairs.append(Pair(before, node, node.input[0], limit))
    return pairs


def _weights(model: onnx.ModelProto) -> dict[str, Peaks]:
    return {
        name: values.astype(np.float32)
        for name, values in constants_of(model.graph).items()
        if values.dtype == np.float32
    }


def _convolutions(nodes: Iterable[onnx.NodeProto]) -> list[onnx.NodeProto]:
    return [node for node in nodes if node.op_type == "Conv"]


def _peaks(
    model: onnx.ModelProto, names: list[str], pixels: GreyImage, advance: Advance
) -> dict[str, Peaks]:
    """Return the largest absolute value of each channel over all images and positions."""
    session = session_with_outputs(model, names)
    peaks: dict[str, Peaks] = {}
    for start in range(0, len(pixels), BATCH):
        batch = pixels[start : start + BATCH, None]
        for name, values in zip(names, session.run(names, {INPUT_NAME: batch}), strict=True):
            found = np.abs(values).max(axis=(0, 2, 3))
            peaks[name] = np.maximum(peaks.get(name, found), found)
        advance(len(batch))
    return peaks
