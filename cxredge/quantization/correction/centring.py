"""Centring of clipped activations around zero, so that they use all int8 levels.

TensorRT's int8 has no zero point, so an output of ReLU6, between 0 and 6, has only 127 levels.
Shifted down by 3 it has 254. No node is added: the shift goes into the bias of the convolution
before and into the limits of the clip, and the biases of the convolutions behind compensate for it
by the sums of their weights. This is exact only without padding, since padded zeros are not
shifted: before pointwise convolutions, but not before depthwise ones.

Biases grow to the size of these sums, up to 140 in MobileNet V1. TensorRT for RTX runs such a clip
in the same kernels as ReLU6; this has not been confirmed for other builders. Therefore only
extensive effort, which aims at the smallest error, centres by default.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from cxredge.graph.index import GraphIndex
from cxredge.graph.nodes import attribute_of, constants_of, copy_of, floats, integers_of
from cxredge.quantization.ranges.statistics import Ranges

_BELOW, _ABOVE = 124, 127
"""Levels of int8 below and above zero. 124 has five significant binary digits, 127 has seven."""


@dataclass(frozen=True)
class CentrableClip:
    """A clipped activation between convolutions, with no other reader.

    Attributes:
        producer: The convolution before.
        clip: Its activation, a Clip from 0.
        limit: Upper limit of the clip.
        readers: The convolutions behind, without padding.
    """

    producer: onnx.NodeProto
    clip: onnx.NodeProto
    limit: float
    readers: tuple[onnx.NodeProto, ...]


@dataclass(frozen=True)
class CentredModel:
    """An equivalent network with clipped activations centred around zero.

    Attributes:
        model: The network.
        ranges: Ranges over which its activations are quantized.
        moves: Amount by which each activation was shifted down, by tensor name.
    """

    model: onnx.ModelProto
    ranges: Ranges
    moves: Mapping[str, float]


def centre(model: onnx.ModelProto, ranges: Ranges) -> CentredModel:
    """Centre the clipped activations of a network where this is exact.

    Args:
        model: The FP32 model; it is not changed.
        ranges: Ranges over which its activations are quantized; of those that are centred, only the
            upper end is used.
    """
    result = copy_of(model)
    constants = constants_of(result.graph)
    moved, moves = dict(ranges), {}
    added: defaultdict[str, np.ndarray] = defaultdict(lambda: np.zeros(1))
    for one in find_centrable_clips(result):
        name = one.clip.output[0]
        step = _step(ranges[name][1])
        move = moves[name] = _BELOW * step
        moved[name] = (-move, _ABOVE * step)
        limits = {f"{name}_low": -move, f"{name}_high": one.limit - move}
        one.clip.input[1:] = list(limits)
        result.graph.initializer.extend(
            numpy_helper.from_array(np.float32(value), limit) for limit, value in limits.items()
        )
        added[one.producer.input[2]] = added[one.producer.input[2]] - move
        for reader in one.readers:
            sums = floats(constants[reader.input[1]]).sum((1, 2, 3))
            added[reader.input[2]] = added[reader.input[2]] + move * sums
    for initializer in result.graph.initializer:
        if initializer.name in added:
            bias = floats(constants[initializer.name]) + added[initializer.name]
            initializer.CopyFrom(numpy_helper.from_array(bias.astype(np.float32), initializer.name))
    return CentredModel(result, moved, moves)


def find_centrable_clips(model: onnx.ModelProto) -> list[CentrableClip]:
    """Return the activations that can be centred, in graph order."""
    index = GraphIndex(model.graph)
    found = []
    for node in model.graph.node:
        if node.op_type != "Clip" or not index.is_read_once(node.input[0]):
            continue
        low, limit = index.bounds(node) or (math.nan, math.nan)
        producer, readers = index.producers.get(node.input[0]), index.readers(node.output[0])
        if producer is None or not readers or node.output[0] in index.externally_read:
            continue
        movable = low == 0 and limit < math.inf and all(map(_pads_nothing, readers))
        if movable and all(_takes_bias(one, index) for one in (producer, *readers)):
            found.append(CentrableClip(producer, node, limit, tuple(readers)))
    return found


def _takes_bias(node: onnx.NodeProto, index: GraphIndex) -> bool:
    """Return whether a node is a convolution of constant weights with a bias that only it reads."""
    names = list(node.input[1:])
    constant = len(names) == 2 and index.constants.keys() >= set(names)
    return node.op_type == "Conv" and constant and index.is_read_once(names[1])


def _pads_nothing(node: onnx.NodeProto) -> bool:
    automatic = attribute_of(node, "auto_pad", b"NOTSET")
    return automatic in (b"NOTSET", b"VALID") and not any(integers_of(node, "pads", []))


def _step(high: float) -> float:
    """Return the scale, of six binary digits, at which a range of this width uses all of int8.

    FP16 represents ``_BELOW`` times such a scale exactly. Otherwise, in a graph typed FP16, zero
    would be rounded, which shifts a whole channel.
    """
    mantissa, exponent = np.frexp(high / (_BELOW + _ABOVE))
    return float(np.ldexp(np.ceil(64 * mantissa) / 64, exponent))
