"""Bias correction: quantized weights shift the mean of a channel; its bias shifts it back.

After Nagel et al., "Data-Free Quantization through Weight Equalization and Bias Correction"
(2019), section 4.2, measured on images as in section 4.2.2, and layer after layer: each layer is
corrected on inputs that come from the quantized and corrected layers before it.

The network is walked once. It is cut after every convolution into segments; a segment is run on
the stored outputs of the segments before it, so the whole correction costs about one inference of
each image, not one for every layer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from cxredge.data.images import GreyImage
from cxredge.onnx_graph import INPUT_NAME
from cxredge.progress import Advance
from cxredge.quantization.qdq import emit
from cxredge.quantization.ranges import (
    BATCH,
    Ranges,
    channel_means,
    plain_session,
    session_with_outputs,
)
from cxredge.vocabulary import Dialect

Tensors = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class _Segment:
    """Nodes up to and with one convolution, and the constant ones that they need."""

    nodes: list[onnx.NodeProto]
    inputs: list[str]
    outputs: list[str]


def correct_biases(
    model: onnx.ModelProto,
    ranges: Ranges,
    dialect: Dialect,
    pixels: GreyImage,
    advance: Advance,
    keep: Collection[str] = (),
) -> onnx.ModelProto:
    """Return a copy of an FP32 model whose biases make up for the quantization of its weights.

    Args:
        model: The FP32 model.
        ranges: Ranges of its activations.
        dialect: The dialect it will be emitted in.
        pixels: uint8 (N, S, S) images; their activations after the cuts are held in memory, so a
            few dozen are enough.
        advance: Hears of convolutions done.
        keep: Names of nodes that stay in float.
    """
    corrected = onnx.ModelProto()
    corrected.CopyFrom(model)
    biases = {i.name: i for i in corrected.graph.initializer}
    bias_of = {n.name: n.input[2] for n in _convolutions(model) if len(n.input) > 2}
    targets = _reference_means(model, pixels)
    quantized = emit(model, ranges, dialect, float_bias=True, keep=keep)
    stored: Tensors = {INPUT_NAME: pixels[:, None]}
    segments = _segments(quantized)
    uses = Counter(name for segment in segments for name in segment.inputs)
    for segment in segments:
        outputs = _run(quantized, segment, stored)
        convolution = segment.nodes[-1]
        bias_name = bias_of.get(convolution.name)
        if bias_name is not None:
            values = outputs[convolution.output[0]]
            shift = targets[convolution.name] - channel_means(values) / len(pixels)
            bias = numpy_helper.to_array(biases[bias_name]) + shift.astype(np.float32)
            biases[bias_name].CopyFrom(numpy_helper.from_array(bias, bias_name))
            values += shift.astype(np.float32)[:, None, None]
        for name in segment.inputs:
            uses[name] -= 1
            if not uses[name]:
                stored.pop(name)
        stored.update({name: value for name, value in outputs.items() if uses[name]})
        advance(1)
    return corrected


def count_convolutions(model: onnx.ModelProto) -> int:
    """Return how many convolutions a graph has."""
    return len(_convolutions(model))


def _convolutions(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type == "Conv"]


def _reference_means(model: onnx.ModelProto, pixels: GreyImage) -> dict[str, npt.NDArray[Any]]:
    """Return each convolution's mean output by channel in the FP32 model."""
    convolutions = _convolutions(model)
    outputs = [node.output[0] for node in convolutions]
    session = session_with_outputs(model, outputs)
    totals: dict[str, npt.NDArray[Any]] = {}
    for start in range(0, len(pixels), BATCH):
        values = session.run(outputs, {INPUT_NAME: pixels[start : start + BATCH, None]})
        for node, value in zip(convolutions, values, strict=True):
            totals[node.name] = totals.get(node.name, 0) + channel_means(value)
    return {name: total / len(pixels) for name, total in totals.items()}


def _segments(model: onnx.ModelProto) -> list[_Segment]:
    folded = _constant_nodes(model)
    groups: list[list[onnx.NodeProto]] = [[]]
    for node in model.graph.node:
        if node.output[0] in folded:
            continue
        groups[-1].append(node)
        if node.op_type == "Conv":
            groups.append([])
    constants = {initializer.name for initializer in model.graph.initializer} | set(folded)
    needed_later = {name for node in groups.pop() for name in node.input}
    segments: list[_Segment] = []
    for group in reversed(groups):
        made = {name for node in group for name in node.output}
        used = {name for node in group for name in node.input if name}
        outputs = (made & needed_later) | {group[-1].output[0]}
        inputs = used - made - constants
        own_constants = _with_ancestors(used & set(folded), folded)
        segments.append(_Segment([*own_constants, *group], sorted(inputs), sorted(outputs)))
        needed_later |= inputs
    return segments[::-1]


def _constant_nodes(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    """Return the nodes that depend on no image, such as the dequantization of weights."""
    constants = {initializer.name for initializer in model.graph.initializer}
    folded: dict[str, onnx.NodeProto] = {}
    for node in model.graph.node:
        if all(name in constants or name in folded for name in node.input if name):
            folded[node.output[0]] = node
    return folded


def _with_ancestors(names: set[str], nodes: dict[str, onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Return the nodes that make ``names`` and, before them, what these need."""
    ordered: dict[str, onnx.NodeProto] = {}
    for name in sorted(names):
        node = nodes[name]
        for ancestor in _with_ancestors({i for i in node.input if i in nodes}, nodes):
            ordered.setdefault(ancestor.output[0], ancestor)
        ordered.setdefault(name, node)
    return list(ordered.values())


def _run(model: onnx.ModelProto, segment: _Segment, stored: Tensors) -> Tensors:
    """Run one segment on the stored tensors, a few images at a time."""
    used = {name for node in segment.nodes for name in node.input}
    graph = onnx.helper.make_graph(
        segment.nodes,
        "segment",
        [_value(name, stored[name]) for name in segment.inputs],
        [onnx.ValueInfoProto(name=name) for name in segment.outputs],
        [i for i in model.graph.initializer if i.name in used],
    )
    part = onnx.helper.make_model(
        graph, opset_imports=model.opset_import, ir_version=model.ir_version
    )
    session = plain_session(part)
    count = len(next(iter(stored.values())))
    outputs: Tensors = {}
    for i in range(0, count, BATCH):
        values = session.run(segment.outputs, {n: stored[n][i : i + BATCH] for n in segment.inputs})
        for name, value in zip(segment.outputs, values, strict=True):
            if name not in outputs:
                # Large networks fill a gigabyte here; gathered in place, nothing is held twice.
                outputs[name] = np.empty((count, *value.shape[1:]), value.dtype)
            outputs[name][i : i + BATCH] = value
    return outputs


def _value(name: str, values: npt.NDArray[Any]) -> onnx.ValueInfoProto:
    kind = onnx.helper.np_dtype_to_tensor_dtype(values.dtype)
    return onnx.helper.make_tensor_value_info(name, kind, ["batch", *values.shape[1:]])
