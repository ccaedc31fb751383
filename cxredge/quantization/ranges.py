"""The range of every activation, measured on the calibration images at constant memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort

from cxredge.data.images import GreyImage
from cxredge.onnx_graph import INPUT_NAME
from cxredge.progress import Advance

Ranges = Mapping[str, tuple[float, float]]
"""Lowest and highest value of each float activation, by tensor name."""

BATCH = 4
"""Images a run; the activations of one run are all that is ever held."""


def measure_ranges(model: onnx.ModelProto, pixels: GreyImage, advance: Advance) -> Ranges:
    """Return the min-max range of every float activation.

    Args:
        model: An FP32 model.
        pixels: uint8 (N, S, S) calibration images.
        advance: Hears of images done.

    Returns:
        Ranges that depend neither on the batch size nor on the order of the images.
    """
    names = float_activations(model)
    session = session_with_outputs(model, names)
    low = dict.fromkeys(names, np.inf)
    high = dict.fromkeys(names, -np.inf)
    for start in range(0, len(pixels), BATCH):
        batch = pixels[start : start + BATCH, None]
        for name, values in zip(names, session.run(names, {INPUT_NAME: batch}), strict=True):
            low[name] = min(low[name], float(values.min()))
            high[name] = max(high[name], float(values.max()))
        advance(len(batch))
    return {name: (low[name], high[name]) for name in names}


def float_activations(model: onnx.ModelProto) -> list[str]:
    """Return the names of all float tensors that nodes compute, in graph order."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    typed = {
        value.name: value.type.tensor_type.elem_type
        for value in (*inferred.value_info, *inferred.output)
    }
    produced = [name for node in model.graph.node for name in node.output]
    return [name for name in produced if typed.get(name) == onnx.TensorProto.FLOAT]


def session_with_outputs(model: onnx.ModelProto, names: list[str]) -> ort.InferenceSession:
    """Return a session that also gives the named inner tensors, computed as the graph says."""
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    present = {output.name for output in exposed.graph.output}
    for name in names:
        if name not in present:
            exposed.graph.output.append(onnx.ValueInfoProto(name=name))
    return plain_session(exposed)


def plain_session(model: onnx.ModelProto) -> ort.InferenceSession:
    """Return a CPU session of a graph held in memory, without fusions."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    # Fused nodes would skip the inner tensors that are asked for.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    return ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def channel_means(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return the sum over images of the mean over pixels, by channel, of (N, C, H, W)."""
    means: npt.NDArray[np.float64] = values.mean(axis=(2, 3), dtype=np.float64).sum(axis=0)
    return means
