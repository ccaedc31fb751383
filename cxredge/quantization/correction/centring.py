"""Clipped activations moved to lie around zero: all of int8 for what ReLU6 leaves half of it.

TensorRT's int8 has no zero point, so values between 0 and 6 have 127 steps. Moved down by 3 they
have 254, and no node is added: the convolution before takes the move in its bias, the clip in its
limits, and the convolutions behind make up for it in their biases, with the sums of their weights.
That is exact only where nothing is padded, as padding is zero and stays zero: in front of pointwise
convolutions, but not of depthwise ones.

Biases grow by that to the size of those sums, up to 140 in MobileNet V1. TensorRT for RTX runs such
a clip in the kernels that run ReLU6; other builders were not seen doing it. So only extensive
effort, which wants the smallest error, tries it by itself.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from cxredge.graph.nodes import attribute_of, constants_of, copy_of, floats, integers_of
from cxredge.graph.wiring import Wiring
from cxredge.quantization.ranges.statistics import Ranges

_BELOW, _ABOVE = 124, 127
"""Steps of int8 on both sides of zero. Five binary digits tell the first, seven 127."""


@dataclass(frozen=True)
class Bridge:
    """A clipped activation between convolutions, which no other node reads.

    Attributes:
        maker: The convolution before.
        clip: Its activation, a Clip that begins at 0.
        limit: Where that ends.
        readers: The convolutions behind, none of which pads.
    """

    maker: onnx.NodeProto
    clip: onnx.NodeProto
    limit: float
    readers: tuple[onnx.NodeProto, ...]


@dataclass(frozen=True)
class Centred:
    """A network with clipped activations around zero, equal in what it computes.

    Attributes:
        model: The network.
        ranges: What its activations are quantized over.
        moves: By how much activations were moved down, by tensor name.
    """

    model: onnx.ModelProto
    ranges: Ranges
    moves: Mapping[str, float]


def centre(model: onnx.ModelProto, ranges: Ranges) -> Centred:
    """Centre the clipped activations of a network, where that changes nothing.

    Args:
        model: The FP32 model; it is not changed.
        ranges: What its activations are quantized over; of those to centre, the upper end counts.
    """
    result = copy_of(model)
    constants = constants_of(result.graph)
    moved, moves = dict(ranges), {}
    added: defaultdict[str, np.ndarray] = defaultdict(lambda: np.zeros(1))
    for bridge in find_bridges(result):
        name = bridge.clip.output[0]
        step = _step(ranges[name][1])
        move = moves[name] = _BELOW * step
        moved[name] = (-move, _ABOVE * step)
        limits = {f"{name}_low": -move, f"{name}_high": bridge.limit - move}
        bridge.clip.input[1:] = list(limits)
        result.graph.initializer.extend(
            numpy_helper.from_array(np.float32(value), limit) for limit, value in limits.items()
        )
        added[bridge.maker.input[2]] = added[bridge.maker.input[2]] - move
        for reader in bridge.readers:
            sums = floats(constants[reader.input[1]]).sum((1, 2, 3))
            added[reader.input[2]] = added[reader.input[2]] + move * sums
    for initializer in result.graph.initializer:
        if initializer.name in added:
            bias = floats(constants[initializer.name]) + added[initializer.name]
            initializer.CopyFrom(numpy_helper.from_array(bias.astype(np.float32), initializer.name))
    return Centred(result, moved, moves)


def find_bridges(model: onnx.ModelProto) -> list[Bridge]:
    """Return the activations that can be centred, in graph order."""
    wiring = Wiring(model.graph)
    found = []
    for node in model.graph.node:
        if node.op_type != "Clip" or not wiring.read_once(node.input[0]):
            continue
        low, limit = wiring.bounds(node) or (math.nan, math.nan)
        maker, readers = wiring.producers.get(node.input[0]), wiring.readers(node.output[0])
        if maker is None or not readers or node.output[0] in wiring.fixed:
            continue
        movable = low == 0 and limit < math.inf and all(map(_pads_nothing, readers))
        if movable and all(_takes_bias(one, wiring) for one in (maker, *readers)):
            found.append(Bridge(maker, node, limit, tuple(readers)))
    return found


def _takes_bias(node: onnx.NodeProto, wiring: Wiring) -> bool:
    """Whether a node is a convolution of constant weights, with a bias of its own to be changed."""
    names = list(node.input[1:])
    constant = len(names) == 2 and wiring.constants.keys() >= set(names)
    return node.op_type == "Conv" and constant and wiring.read_once(names[1])


def _pads_nothing(node: onnx.NodeProto) -> bool:
    automatic = attribute_of(node, "auto_pad", b"NOTSET")
    return automatic in (b"NOTSET", b"VALID") and not any(integers_of(node, "pads", []))


def _step(high: float) -> float:
    """Return the step at which a range of this end has all of int8, of six binary digits.

    FP16 has ``_BELOW`` of such steps exactly. In a graph that is typed FP16, zero would else be off
    by a rounding, in all values of a channel alike.
    """
    mantissa, exponent = np.frexp(high / (_BELOW + _ABOVE))
    return float(np.ldexp(np.ceil(64 * mantissa) / 64, exponent))
