"""Cross-layer equalisation: channels of a tensor made to use one range alike.

A tensor has one scale in INT8, and channels that stay far below it lose precision. Between
convolutions, a channel can be made larger by those that make it and smaller by the weights of
those that read it (Nagel et al. 2019, "Data-Free Quantization through Weight Equalization and Bias
Correction", section 4.1). The sums of a residual branch tie all their convolutions together: a
channel has one factor in all of them. ReLU passes any positive factor on; ReLU6 and other clips
only as long as nothing reaches the limit, so a channel is never raised beyond it, and one that
reached it on a calibration image is left alone.

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
from cxredge.graph.nodes import Array, constants_of, copy_of, number_of, observed
from cxredge.progress import Advance
from cxredge.quantization.ranges.measure import BATCH, quantizable_activations, session_with_outputs
from cxredge.vocabulary import INPUT_NAME

Peaks = npt.NDArray[np.float32]

_MOST = 32.0
_PASSING = frozenset({"Add", "AveragePool", "Clip", "MaxPool", "Relu"})
"""What a positive factor of a channel passes through; Clip up to its limit, if it starts at 0."""


@dataclass(frozen=True)
class Span:
    """Convolutions between which channels can be scaled, all by the same factors.

    Attributes:
        makers: Make the channels.
        readers: Read them, and nobody else does.
        limits: The activations between them that are quantized, with what each is clipped at;
            infinite where it is not.
    """

    makers: tuple[onnx.NodeProto, ...]
    readers: tuple[onnx.NodeProto, ...]
    limits: dict[str, float]


def equalise(model: onnx.ModelProto, pixels: GreyImage, advance: Advance) -> onnx.ModelProto:
    """Return a copy of an FP32 model, equal in what it computes, whose channels differ less.

    Args:
        model: The FP32 model.
        pixels: uint8 (N, S, S) calibration images, on which the channels are measured.
        advance: Hears of images done.
    """
    result = copy_of(model)
    spans = find_spans(result)
    if not spans:
        advance(len(pixels))
        return result
    peaks = _peaks(model, [name for span in spans for name in span.limits], pixels, advance)
    constants = _weights(result)
    for span in spans:
        depthwise = all(number_of(reader, "group", 1) > 1 for reader in span.readers)
        power = 1.0 if depthwise else 0.5
        factors = np.minimum.reduce(
            [raise_by(peaks[name], limit, power) for name, limit in span.limits.items()]
        )
        for name in {name for maker in span.makers for name in maker.input[1:]}:
            shape = (-1, *(1,) * (constants[name].ndim - 1))
            constants[name] = constants[name] * factors.reshape(shape)
        for reader in span.readers:
            shape = (-1, 1, 1, 1) if number_of(reader, "group", 1) > 1 else (1, -1, 1, 1)
            constants[reader.input[1]] = constants[reader.input[1]] / factors.reshape(shape)
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


def find_spans(model: onnx.ModelProto) -> list[Span]:
    """Return where channels can be scaled, in graph order."""
    constants = constants_of(model.graph)
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    tied, barred = _ties(model.graph, constants)
    measured = quantizable_activations(model)
    limits = {
        node.output[0]: float(constants[node.input[2]].item())
        for node in model.graph.node
        if node.op_type == "Clip" and _passes(node, constants)
    }
    spans = []
    closed = {tied.root(name) for name in barred}
    for root in dict.fromkeys(tied.root(node.output[0]) for node in convolutions):
        if root in closed:
            continue
        readers = tuple(n for n in convolutions if tied.root(n.input[0]) == root)
        between = [name for name in measured if tied.root(name) == root]
        if readers and between:
            makers = tuple(n for n in convolutions if tied.root(n.output[0]) == root)
            ends = {name: limits.get(name, np.inf) for name in between}
            spans.append(Span(makers, readers, ends))
    return spans


class _Ties:
    """Tensors whose channels have one factor, each group known by one of them, its root."""

    def __init__(self) -> None:
        self._parents: dict[str, str] = {}

    def root(self, name: str) -> str:
        """Return the root of a tensor's group; alone, that is itself."""
        while (parent := self._parents.get(name, name)) != name:
            name = parent
        return name

    def tie(self, names: Iterable[str]) -> None:
        """Make the groups of all these tensors one."""
        first, *others = names
        for other in others:
            self._parents[self.root(other)] = self.root(first)


def _ties(graph: onnx.GraphProto, constants: dict[str, Array]) -> tuple[_Ties, set[str]]:
    """Return which tensors are tied, and those whose channels somebody reads as they are."""
    tied = _Ties()
    shared = Counter(name for node in graph.node for name in node.input if name in constants)
    barred = {*observed(graph), *(value.name for value in graph.input)}
    for node in graph.node:
        names = [*(name for name in node.input if name and name not in constants), node.output[0]]
        if node.op_type == "Conv":
            own = all(shared[name] == 1 for name in node.input[1:] if name)
            if not own or any(name and name not in constants for name in node.input[1:]):
                barred.update(names)
            elif number_of(node, "group", 1) not in (1, constants[node.input[1]].shape[0]):
                barred.add(node.input[0])
        elif _passes(node, constants):
            tied.tie(names)
        else:
            barred.update([*names, *node.output])
    return tied, barred


def _passes(node: onnx.NodeProto, constants: dict[str, Array]) -> bool:
    """Whether a node gives a channel multiplied by a factor, multiplied by that factor."""
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
