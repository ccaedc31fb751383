"""Conversion of an FP32 model to FP16 weights and activations, with unchanged inputs and outputs.

The types in the graph are FP16, as strongly typed TensorRT networks require, so no runtime option
is needed. ONNX Runtime also runs it on a CPU, with weights rounded to FP16 and much of the
arithmetic in FP32, so that the gate can judge it on any machine.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from cxredge.artifacts.card import Artifact, ArtifactKind, tool_versions, write_card
from cxredge.artifacts.disk_space import writing
from cxredge.artifacts.folder import atomic_folder
from cxredge.artifacts.model_card import (
    ExportedCard,
    HalfPrecisionCard,
    HalfPrecisionConfig,
    NoFacts,
)
from cxredge.artifacts.training_images import copy_training_images
from cxredge.errors import ArtifactError
from cxredge.graph import model_file as onnx_graph
from cxredge.graph.nodes import copy_of, subgraphs
from cxredge.vocabulary import OUTPUT_NAME

_TENSOR_ATTRIBUTE = {"Constant": "value", "ConstantOfShape": "value"}
# Their scales and regions must be FP32 even if the data are FP16.
_REFUSED = ("QuantizeLinear", "DequantizeLinear", "Resize")


def write_fp16(model: Artifact[ExportedCard], out: Path) -> HalfPrecisionCard:
    """Convert an FP32 model to an FP16 model folder.

    Args:
        model: An FP32 model.
        out: Folder to write: ``model.onnx``, ``card.json``.

    Raises:
        ArtifactError: The model has values outside FP16's range.
    """
    source = model.card
    graph = to_fp16(onnx_graph.read_model(model.path / onnx_graph.FP32_NAME))
    onnx_graph.write_metadata(graph, source.classifier, "fp16")
    room = writing(out.parent, graph.ByteSize(), f"the model {out.name}")
    with room, atomic_folder(out, ArtifactKind.MODEL.value) as folder:
        onnx.save(graph, folder / onnx_graph.FP32_NAME)
        copy_training_images(model.path, source, folder)
        card = HalfPrecisionCard(
            classifier=source.classifier,
            parents={"fp32": source.files[onnx_graph.FP32_NAME]},
            config=HalfPrecisionConfig(),
            facts=NoFacts(),
            tools=tool_versions("onnx", "numpy"),
        )
        return write_card(folder, card)


def to_fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy that computes in FP16; the input stays uint8, the logits stay FP32.

    Raises:
        ArtifactError: A constant is outside FP16's range, or the graph is quantized or has
            subgraphs.
    """
    copy = copy_of(model)
    graph = copy.graph
    for tensor in graph.initializer:
        _round(tensor)
    for node in graph.node:
        _convert(node)
    for value in graph.value_info:
        _retype(value)
    _widen_output(graph)
    onnx.checker.check_model(copy)
    return copy


def _convert(node: onnx.NodeProto) -> None:
    if node.op_type in _REFUSED or subgraphs(node):
        raise ArtifactError(
            f"Node '{node.name}' ({node.op_type}) is not supported in FP16 models.",
            "Make the FP16 model from an FP32 model of: cxredge export RUN --out DIR",
        )
    for attribute in node.attribute:
        if attribute.name == _TENSOR_ATTRIBUTE.get(node.op_type):
            _round(attribute.t)
        elif node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
            attribute.i = TensorProto.FLOAT16


def _round(tensor: onnx.TensorProto) -> None:
    """Round an FP32 tensor to FP16 in place; other types are unchanged."""
    if tensor.data_type != TensorProto.FLOAT:
        return
    values = numpy_helper.to_array(tensor)
    largest = float(np.abs(values).max(initial=0.0))
    if largest > float(np.finfo(np.float16).max):
        raise ArtifactError(
            f"'{tensor.name}' has values up to {largest:.3g}; the largest FP16 number is 65504.",
            "Use --precision fp32, or int8 if the target supports it.",
        )
    tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), tensor.name))


def _retype(value: onnx.ValueInfoProto) -> None:
    if value.type.tensor_type.elem_type == TensorProto.FLOAT:
        value.type.tensor_type.elem_type = TensorProto.FLOAT16


def _widen_output(graph: onnx.GraphProto) -> None:
    """Rename the output of the last node, which is now FP16, and cast it to the FP32 output."""
    name = f"{OUTPUT_NAME}_fp16"
    for node in graph.node:
        for field in (node.input, node.output):
            for index, text in enumerate(field):
                if text == OUTPUT_NAME:
                    field[index] = name
    cast = helper.make_node("Cast", [name], [OUTPUT_NAME], "logits_to_fp32", to=TensorProto.FLOAT)
    graph.node.append(cast)
