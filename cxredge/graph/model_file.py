"""Small things every stage needs to know about an ONNX file."""

from __future__ import annotations

import json
import math
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from cxredge.artifacts.card import ClassifierSpec, sha256_of_json
from cxredge.errors import ArtifactError
from cxredge.vocabulary import NOTICE

FP32_NAME = "model.onnx"
METADATA_KEY = "cxredge"

_LARGEST_SHAPE = 64
"""Values of an initializer that an operator may take a shape from, at most."""


def read_model(path: Path) -> onnx.ModelProto:
    """Read and check an ONNX file.

    Raises:
        ArtifactError: The file is missing or not a valid ONNX model.
    """
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except FileNotFoundError:
        raise ArtifactError(f"{path} does not exist.", "Check the path.") from None
    except (DecodeError, onnx.checker.ValidationError) as error:
        cause = str(error).strip().splitlines()[0]
        raise ArtifactError(
            f"{path} is not a valid ONNX model: {cause}", "Export it again."
        ) from None
    return model


def infer_values(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """Return type and shape of the tensors that nodes compute, as far as they can be told.

    Large weights are given by their shapes alone: copying them takes longer than all the rest.
    """
    graph = model.graph
    light = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    light.graph.name = graph.name
    light.graph.node.extend(graph.node)
    light.graph.input.extend(graph.input)
    light.graph.output.extend(graph.output)
    light.graph.value_info.extend(graph.value_info)
    told = {value.name for value in graph.input}
    for tensor in graph.initializer:
        if math.prod(tensor.dims) <= _LARGEST_SHAPE:
            light.graph.initializer.append(tensor)
        elif tensor.name not in told:
            light.graph.input.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    inferred = onnx.shape_inference.infer_shapes(light).graph
    return [*inferred.value_info, *inferred.output]


def describe(model: onnx.ModelProto, classifier: ClassifierSpec, precision: str) -> None:
    """Write what the graph is into its metadata, so that the file explains itself alone."""
    facts = {
        "network": classifier.network,
        "classes": list(classifier.classes),
        "input_size": classifier.input_size,
        "preprocessing": classifier.preprocessing,
        "precision": precision,
    }
    properties = {
        METADATA_KEY: json.dumps(facts, sort_keys=True),
        "cxredge.fingerprint": sha256_of_json(facts)[:16],
        "notice": NOTICE,
    }
    del model.metadata_props[:]
    for key, value in properties.items():
        model.metadata_props.add(key=key, value=value)
    model.doc_string = NOTICE
    model.producer_name = "cxredge"


def with_float_input(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy that takes the same pixel values, 0 to 255, as float32 instead of uint8.

    TensorRT before 8.5 has no uint8 inputs (NVIDIA/TensorRT#1503). The graph's first node casts
    its input in any case.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    return copy


def size_bytes(path: Path) -> int:
    """Return the size of a file."""
    return path.stat().st_size
