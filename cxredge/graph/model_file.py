"""Reading ONNX files, inferring shapes and writing metadata."""

from __future__ import annotations

import json
import math
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from cxredge.artifacts.card import ClassifierSpec
from cxredge.artifacts.hashing import sha256_of_json
from cxredge.errors import ArtifactError
from cxredge.graph.file_check import check_model_file
from cxredge.vocabulary import NOTICE

FP32_NAME = "model.onnx"
METADATA_KEY = "cxredge"

_LARGEST_SHAPE = 64
"""Maximum number of values of an initializer that may hold a shape."""


def read_model(path: Path) -> onnx.ModelProto:
    """Read and check an ONNX file.

    Raises:
        ArtifactError: The file is missing or not a valid ONNX model.
    """
    check_model_file(path)
    try:
        model = onnx.load(path, load_external_data=False)
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError) as error:
        cause = str(error).strip().splitlines()[0]
        raise ArtifactError(
            f"{path} is not a valid ONNX model: {cause}", "Export it again."
        ) from None
    return model


def infer_values(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """Return the types and shapes of the tensors that nodes compute, where they can be inferred.

    Large weights are passed as shapes without values: copying them would dominate the run time.
    """
    graph = model.graph
    light = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    light.graph.name = graph.name
    light.graph.node.extend(graph.node)
    light.graph.input.extend(graph.input)
    light.graph.output.extend(graph.output)
    light.graph.value_info.extend(graph.value_info)
    inputs = {value.name for value in graph.input}
    for tensor in graph.initializer:
        if math.prod(tensor.dims) <= _LARGEST_SHAPE:
            light.graph.initializer.append(tensor)
        elif tensor.name not in inputs:
            light.graph.input.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    inferred = onnx.shape_inference.infer_shapes(light).graph
    return [*inferred.value_info, *inferred.output]


def write_metadata(model: onnx.ModelProto, classifier: ClassifierSpec, precision: str) -> None:
    """Write classifier and precision into the metadata, so that the file is self-describing."""
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
    """Return a copy whose input is float32 instead of uint8, with the same values from 0 to 255.

    TensorRT before 8.5 has no uint8 inputs (NVIDIA/TensorRT#1503). The graph's first node casts
    its input to float32 in both cases.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    return copy
