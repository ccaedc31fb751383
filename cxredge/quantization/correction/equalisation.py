"""Cross-layer equalisation: scales channels so that all use the range of their tensor.

A tensor has one scale in INT8, and channels with much smaller values lose precision. Between
convolutions, a channel can be scaled up in the weights of the convolutions that produce it and down
in those that read it (Nagel et al. 2019, "Data-Free Quantization through Weight Equalization and
Bias Correction", section 4.1). Convolutions whose outputs are added in a residual branch share the
factors of their channels. ReLU preserves any positive factor; ReLU6 and other clips only below
their limit, so no channel is scaled beyond it, and one that reached it on a calibration image is
not scaled.

Before a depthwise convolution this costs nothing, as its weights have one scale per channel. Before
another convolution it costs precision of its weights, so the factor is the square root.
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
from cxredge.graph.nodes import Array, constants_of, copy_of, externally_read, number_of
from cxredge.progress import Advance
from cxredge.quantization.ranges.activations import quantizable_activations
from cxredge.quantization.sessions import BATCH, session_with_outputs
from cxredge.vocabulary import INPUT_NAME

Peaks = npt.NDArray[np.float32]

_MAX_FACTOR = 32.0
_PASSING = frozenset({"Add", "AveragePool", "Clip", "MaxPool", "Relu"})
"""Operators that preserve a positive factor of a channel; Clip from 0 does so up to its limit."""


@dataclass(frozen=True)
class ScalingGroup:
    """Convolutions between which channels can be scaled by common factors.

    Attributes:
        producers: Convolutions that produce the channels.
        readers: All convolutions that read them; no other node does.
        limits: Quantizable activations between them, with the limit at which each is clipped;
            infinite if it is not clipped.
    """

    producers: tuple[onnx.NodeProto, ...]
    readers: tuple[onnx.NodeProto, ...]
    limits: dict[str, float]


def equalise(model: onnx.ModelProto, pixels: GreyImage, advance: Advance) -> onnx.ModelProto:
    """Return an equivalent copy of an FP32 model whose channels have more similar ranges.

    Args:
        model: The FP32 model.
        pixels: uint8 (N, S, S) calibration images, on which the channels are measured.
        advance: Progress listener, counting images.
    """
    result = copy_of(model)
    groups = find_scaling_groups(result)
    if not groups:
        advance(len(pixels))
        return result
    peaks = _peaks(model, [name for group in groups for name in group.limits], pixels, advance)
    constants = _weights(result)
    for group in groups:
        depthwise = all(number_of(reader, "group", 1) > 1 for reader in group.readers)
        power = 1.0 if depthwise else 0.5
        factors = np.minimum.reduce(
            [channel_factors(peaks[name], limit, power) for name, limit in group.limits.items()]
        )
        for name in {name for producer in group.producers for name in producer.input[1:]}:
            shape = (-1, *(1,) * (constants[name].ndim - 1))
            constants[name] = constants[name] * factors.reshape(shape)
        for reader in group.readers:
            shape = (-1, 1, 1, 1) if number_of(reader, "group", 1) > 1 else (1, -1, 1, 1)
            constants[reader.input[1]] = constants[reader.input[1]] / factors.reshape(shape)
    for initializer in result.graph.initializer:
        if initializer.name in constants:
            values = constants[initializer.name]
            initializer.CopyFrom(numpy_helper.from_array(values, initializer.name))
    return result


def channel_factors(peaks: Peaks, limit: float, power: float) -> Peaks:
    """Return the factor of each channel, float32 (C,), 1 or more.

    Args:
        peaks: Largest absolute value of each channel, float32 (C,).
        limit: Limit at which the tensor is clipped.
        power: 1 to scale every channel up to the largest; 0.5 for the square root of that factor.
    """
    top = min(float(peaks.max(initial=0.0)), limit)
    room = np.divide(top, peaks, out=np.ones_like(peaks), where=peaks > 0)
    factors: Peaks = np.clip(room, 1.0, _MAX_FACTOR) ** np.float32(power)
    return factors


def find_scaling_groups(model: onnx.ModelProto) -> list[ScalingGroup]:
    """Return the groups of convolutions between which channels can be scaled, in graph order."""
    constants = constants_of(model.graph)
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    tied, barred = _ties(model.graph, constants)
    measured = quantizable_activations(model)
    limits = {
        node.output[0]: float(constants[node.input[2]].item())
        for node in model.graph.node
        if node.op_type == "Clip" and _passes(node, constants)
    }
    groups = []
    closed = {tied.root(name) for name in barred}
    for root in dict.fromkeys(tied.root(node.output[0]) for node in convolutions):
        if root in closed:
            continue
        readers = tuple(n for n in convolutions if tied.root(n.input[0]) == root)
        between = [name for name in measured if tied.root(name) == root]
        if readers and between:
            producers = tuple(n for n in convolutions if tied.root(n.output[0]) == root)
            ends = {name: limits.get(name, np.inf) for name in between}
            groups.append(ScalingGroup(producers, readers, ends))
    return groups


class _TiedTensors:
    """Union-find of tensors whose channels share one factor; a root identifies each group."""

    def __init__(self) -> None:
        self._parents: dict[str, str] = {}

    def root(self, name: str) -> str:
        """Return the root of a tensor's group, which is itself if it is alone."""
        while (parent := self._parents.get(name, name)) != name:
            name = parent
        return name

    def tie(self, names: Iterable[str]) -> None:
        """Merge the groups of these tensors."""
        first, *others = names
        for other in others:
            self._parents[self.root(other)] = self.root(first)


def _ties(graph: onnx.GraphProto, constants: dict[str, Array]) -> tuple[_TiedTensors, set[str]]:
    """Return the tied tensors, and those whose channels must not be scaled."""
    tied = _TiedTensors()
    shared = Counter(name for node in graph.node for name in node.input if name in constants)
    barred = {*externally_read(graph), *(value.name for value in graph.input)}
    for node in graph.node:
        names = [*(name for name in node.input if name and name not in constants), node.output[0]]
        if node.op_type == "Conv":
            unshared = all(shared[name] == 1 for name in node.input[1:] if name)
            if not unshared or any(name and name not in constants for name in node.input[1:]):
                barred.update(names)
            elif number_of(node, "group", 1) not in (1, constants[node.input[1]].shape[0]):
                barred.add(node.input[0])
        elif _passes(node, constants):
            tied.tie(names)
        else:
            barred.update([*names, *node.output])
    return tied, barred


def _passes(node: onnx.NodeProto, constants: dict[str, Array]) -> bool:
    """Return whether scaling an input channel of a node scales its output channel alike."""
    if node.op_type == "Clip":
        low, high = [*node.input[1:3], "", ""][:2]
        return low in constants and high in constants and float(constants[low].item()) == 0.0
    if node.op_type == "Add" and any(name in constants for name in node.input):
        return False
    return node.op_type in _PASSING and len(node.output) == 1


def _weights(model: onnx.ModelProto) -> dict[str, Peaks]:
    return {
        name: values.astype(np.float32)
        for name, values in constants_of(model.graph).items()
        if values.dtype == np.float32
    }


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
