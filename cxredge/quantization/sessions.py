"""ONNX Runtime sessions of graphs in memory."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
import onnxruntime as ort

from cxredge.artifacts.temporary import scratch_folder
from cxredge.backends.base import Logits
from cxredge.backends.batched import infer_file
from cxredge.backends.onnxruntime import DISABLED_OPTIMIZERS
from cxredge.data.images import GreyImage
from cxredge.graph.nodes import copy_of

BATCH = 4
"""Batch size where images are run in batches."""

_FUSES_OVER_OUTPUTS = "ConvAddActivationFusion"
"""Fuses an addition into one of its convolutions even if the other convolution's output is also a
graph output; such a graph fails to load (seen with ONNX Runtime 1.32). Disabling it does not make
measuring slower."""


def infer_graph(graph: onnx.ModelProto, pixels: GreyImage) -> Logits:
    """Return the logits of a graph, computed with all optimisations.

    Args:
        graph: The graph.
        pixels: uint8 (N, S, S).

    Returns:
        float32 (N, classes).
    """
    with scratch_folder("quantize") as folder:
        path = folder / "graph.onnx"
        onnx.save(graph, path)
        return infer_file(path, pixels)


def plain_session(model: onnx.ModelProto) -> ort.InferenceSession:
    """Return a session without operator fusion."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    return _session(model, options)


def session_with_outputs(model: onnx.ModelProto, names: Sequence[str]) -> ort.InferenceSession:
    """Return a session without operator fusion that can also return the named inner tensors."""
    return plain_session(_with_outputs(model, names))


def measuring_session(
    model: onnx.ModelProto, names: Sequence[str], threads: int
) -> ort.InferenceSession:
    """Return a fast session of an FP32 model that can also return the named inner tensors.

    The runtime does not fuse across graph outputs, but may choose faster memory layouts.
    """
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = threads
    # Outputs outlive the run, so a memory pattern planned for whole runs would leave gaps.
    options.enable_mem_pattern = False
    return _session(_with_outputs(model, names), options, _FUSES_OVER_OUTPUTS)


def _with_outputs(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    exposed = copy_of(model)
    present = {output.name for output in exposed.graph.output}
    for name in names:
        if name not in present:
            exposed.graph.output.append(onnx.ValueInfoProto(name=name))
    return exposed


def _session(
    model: onnx.ModelProto, options: ort.SessionOptions, *disabled: str
) -> ort.InferenceSession:
    options.log_severity_level = 3
    return ort.InferenceSession(
        model.SerializeToString(),
        options,
        providers=["CPUExecutionProvider"],
        disabled_optimizers=[*DISABLED_OPTIMIZERS, *disabled],
    )
