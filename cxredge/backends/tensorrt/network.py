"""Parsing of an ONNX file into TensorRT's network definition."""

from __future__ import annotations

from collections import Counter
from typing import Any

from cxredge.backends.tensorrt.api import Api
from cxredge.backends.tensorrt.explain import (
    MISREAD_ZERO_POINT,
    RejectedNode,
    explain,
    explain_node,
)
from cxredge.backends.tensorrt.job import Job
from cxredge.backends.tensorrt.log import Log
from cxredge.backends.tensorrt.settings import Typing
from cxredge.errors import ArtifactError
from cxredge.vocabulary import DISTANCE_NAME, INPUT_NAME, MAPS_NAME, OUTPUT_NAME, Precision


def read_network(job: Job, builder: Any, logger: Any, log: Log) -> Any:
    """Parse the model into a network definition.

    Raises:
        ArtifactError: The parser rejects or misreads a node, or the model is not cxredge's or not
            the one for this precision.
    """
    trt: Any = job.api.trt
    network = builder.create_network(_network_flags(job.api, job.typing))
    parser = trt.OnnxParser(network, logger)
    _parse(job, parser, log)
    inputs = [network.get_input(i) for i in range(network.num_inputs)]
    outputs = [network.get_output(i) for i in range(network.num_outputs)]
    names = [tensor.name for tensor in outputs]
    known = names[:1] == [OUTPUT_NAME] and {*names} <= {OUTPUT_NAME, DISTANCE_NAME, MAPS_NAME}
    if [tensor.name for tensor in inputs] != [INPUT_NAME] or not known:
        raise ArtifactError(
            f"{job.doing}: the model must have the input '{INPUT_NAME}' and the output "
            f"'{OUTPUT_NAME}'.",
            "Export it with: cxredge export RUN --out DIR",
        )
    _check_types(job, network)
    return network


def input_size(network: Any) -> int:
    """Return height and width of a network's input in pixels."""
    tensor = network.get_input(0)
    return int(tensor.shape[2])


def count_formats(network: Any) -> dict[str, int]:
    """Return the number of layers by the number format of their first output."""
    formats: Counter[str] = Counter()
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        if layer.num_outputs:
            tensor = layer.get_output(0)
            formats[tensor.dtype.name.lower()] += 1
    return dict(formats.most_common())


def _network_flags(api: Api, typing: Typing) -> int:
    trt: Any = api.trt
    flags = 0
    if api.has("NetworkDefinitionCreationFlag.EXPLICIT_BATCH"):
        flags |= 1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)
    if api.has("NetworkDefinitionCreationFlag.STRONGLY_TYPED") and typing is Typing.STRONG:
        flags |= 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    return flags


def _parse(job: Job, parser: Any, log: Log) -> None:
    parsed = parser.parse(job.onnx)
    if parser.num_errors:
        parser_error = parser.get_error(0)
        name, operator = _node_at(job.onnx, parser_error.node())
        if job.api.has("ParserError.node_name"):
            name = parser_error.node_name() or name
            operator = parser_error.node_operator() or operator
        code = parser_error.code()
        rejected = RejectedNode(name, operator, code.name, parser_error.desc())
        raise explain_node(job.doing, rejected)
    if not parsed:
        raise explain(job.doing, log)
    if any(MISREAD_ZERO_POINT in text for _, text in log.lines):
        raise explain(job.doing, log)


def _check_types(job: Job, network: Any) -> None:
    """Refuse an FP32 model for FP16 with strong typing, where only the file decides."""
    wants_fp16 = job.settings.precision is Precision.FP16 and job.typing is Typing.STRONG
    if wants_fp16 and "half" not in count_formats(network):
        raise ArtifactError(
            f"{job.doing}: the model has no FP16 tensors, and {job.api.title} uses its types.",
            "Use the bundle's model-fp16.onnx.",
        )


def _node_at(onnx_bytes: bytes, index: int) -> tuple[str, str]:
    """Return name and operator of the node at an index, which is all that older parsers report.

    Empty if the onnx package is not installed, as on some devices.
    """
    try:
        import onnx
    except ModuleNotFoundError:
        return "", ""
    nodes = onnx.load_from_string(onnx_bytes).graph.node
    if not 0 <= index < len(nodes):
        return "", ""
    return nodes[index].name, nodes[index].op_type
