"""The pass over the calibration images: statistics of every activation at constant memory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort

from cxredge.backends.onnxruntime import LEFT_OUT
from cxredge.data.images import GreyImage
from cxredge.errors import CxredgeError
from cxredge.graph.model_file import infer_values
from cxredge.graph.wiring import ACTIVATIONS, WEIGHT_AXES, Wiring
from cxredge.progress import Advance
from cxredge.quantization.ranges.histogram import Histogram, NotFiniteError
from cxredge.quantization.ranges.statistics import Ranges, Statistics, empty_statistics
from cxredge.vocabulary import INPUT_NAME

__all__ = [
    "BATCH", "Ranges", "channel_means", "float_activations", "measure", "measure_ranges",
    "plain_session", "quantizable_activations", "session_with_outputs",
]  # fmt: skip

BATCH = 4
"""Images a run where images are run together."""

_FUSES_OVER_OUTPUTS = "ConvAddActivationFusion"
"""Adds one convolution's output to another's inside that one, also where it is an output of the
graph as well, which then fails to load (seen with ONNX Runtime 1.32). Measuring costs no more
without it."""

_Values = list[npt.NDArray[np.float32]]

_CONVOLUTIONS = frozenset(WEIGHT_AXES)
_QUANTIZABLE = _CONVOLUTIONS | ACTIVATIONS | {
    "Add", "AveragePool", "Concat", "Gemm", "GlobalAveragePool", "MaxPool", "ReduceMean",
}  # fmt: skip


def measure(
    model: onnx.ModelProto,
    batches: Iterable[GreyImage],
    advance: Advance,
    paths: Sequence[Path] = (),
    threads: int = 0,
    wanted: Sequence[str] | None = None,
) -> Statistics:
    """Measure every activation that a quantizer may ask for, in one pass.

    Images are run one by one. That is as fast as batches of a few, takes less memory, and what is
    measured of an image cannot depend on its neighbours, as it would by a last bit where the
    runtime adds up differently for another batch. So batches, order and the number of processes
    leave no trace in the statistics. The next image runs while the values of one are counted.

    Args:
        model: An FP32 model, uint8 (N, 1, S, S) in.
        batches: uint8 (n, S, S) each; read one after the other and not kept.
        advance: Hears of images done.
        paths: Files of the images in the same order, as far as known, for messages.
        threads: That run the network; 0 for all cores but the one that counts.
        wanted: Which activations; None for all that any dialect may quantize.

    Raises:
        CxredgeError: There is no image, nothing to measure, or an activation is NaN or infinite.
    """
    if wanted is None:
        wanted = quantizable_activations(model)
    if not wanted:
        raise CxredgeError(
            "The graph has no float activation that could be quantized.",
            "Its shapes and types must be inferable: export the model again with cxredge export",
        )
    joined = _concatenations(model, wanted)
    names = [name for name in wanted if name not in joined]
    session = _measuring_session(model, names, threads or max(1, (os.cpu_count() or 1) - 1))
    histograms = dict(empty_statistics(names).histograms)
    images = 0
    with contextlib.closing(_one_ahead(_activations(session, names, batches))) as runs:
        for values in runs:
            for name in names:
                # Popped, so that its memory can be reused as soon as it was counted.
                histograms[name] = _counted(histograms[name], values.pop(), name, images, paths)
            images += 1
            advance(1)
    if not images:
        raise CxredgeError("There is no calibration image to measure.", "Give one or more.")
    for name, parts in joined.items():
        histograms[name] = reduce(Histogram.merge, (histograms[part] for part in parts))
    return Statistics(images, {name: histograms[name] for name in wanted})


def measure_ranges(model: onnx.ModelProto, pixels: GreyImage, advance: Advance) -> Ranges:
    """Return the min-max range of every activation that a quantizer may ask for.

    Args:
        model: An FP32 model.
        pixels: uint8 (N, S, S) calibration images.
        advance: Hears of images done.
    """
    batches = (pixels[start : start + BATCH] for start in range(0, len(pixels), BATCH))
    return measure(model, batches, advance).measured()


def _activations(
    session: ort.InferenceSession, names: list[str], batches: Iterable[GreyImage]
) -> Iterator[_Values]:
    """Yield what each image made of each tensor; the last tensor comes first."""
    for batch in batches:
        for image in batch:
            yield session.run(names, {INPUT_NAME: image[None, None]})[::-1]


def _one_ahead(items: Iterator[_Values]) -> Generator[_Values, None, None]:
    """Yield items, the next one being made in a thread meanwhile."""
    with ThreadPoolExecutor(1, thread_name_prefix="infer") as pool:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item


def _counted(
    histogram: Histogram,
    values: npt.NDArray[np.float32],
    name: str,
    image: int,
    paths: Sequence[Path],
) -> Histogram:
    try:
        return histogram.add(values)
    except NotFiniteError:
        wrong = np.count_nonzero(~np.isfinite(values))
        shown = str(paths[image]) if image < len(paths) else f"image {image + 1}"
        raise CxredgeError(
            f"{wrong} of the {values.size} values of activation {name!r} are NaN or infinite for "
            f"{shown}; no range can hold them.",
            "Look at that image; if other images fail as well, train or export the model again.",
        ) from None


def quantizable_activations(model: onnx.ModelProto) -> list[str]:
    """Return the float tensors around operators that can be quantized, in graph order.

    Those are inputs and outputs of convolutions, additions, concatenations, pools, activations
    and fully connected layers, but not of what normalises the image before the first convolution,
    nor what a convolution or addition hands to its activation: kernels round behind that.
    """
    floats = float_activations(model)
    wanted: set[str] = set()
    behind: set[str] = set()
    for node in model.graph.node:
        if node.op_type in _CONVOLUTIONS or behind & set(node.input):
            behind.update(node.output)
            normalises = False
        else:
            normalises = not set(node.input) <= set(floats)
        if node.op_type in _QUANTIZABLE and not normalises:
            wanted |= {*node.input, *node.output}
    wanted -= _inside_kernels(model.graph)
    return [name for name in floats if name in wanted]


def _inside_kernels(graph: onnx.GraphProto) -> set[str]:
    """Return what convolutions and additions give to an activation and to nobody else."""
    wiring = Wiring(graph)
    return {
        node.output[0]
        for node in graph.node
        if node.op_type in _CONVOLUTIONS | {"Add"}
        and wiring.read_once(node.output[0])
        and wiring.readers(node.output[0])[0].op_type in ACTIVATIONS
    }


def _concatenations(model: onnx.ModelProto, names: Sequence[str]) -> dict[str, list[str]]:
    """Return the parts of concatenations of the named tensors, in graph order.

    Their histograms follow from those of the parts. In densely connected networks that is most of
    what there is to count.
    """
    known = set(names)
    return {
        node.output[0]: list(node.input)
        for node in model.graph.node
        if node.op_type == "Concat" and {*node.input, *node.output} <= known
    }


def float_activations(model: onnx.ModelProto) -> list[str]:
    """Return the names of all float tensors that nodes compute, in graph order."""
    typed = {value.name: value.type.tensor_type.elem_type for value in infer_values(model)}
    produced = [name for node in model.graph.node for name in node.output]
    return [name for name in produced if typed.get(name) == onnx.TensorProto.FLOAT]


def session_with_outputs(model: onnx.ModelProto, names: list[str]) -> ort.InferenceSession:
    """Return a session that also gives the named inner tensors, computed as the graph says."""
    return plain_session(_with_outputs(model, names))


def _with_outputs(model: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    present = {output.name for output in exposed.graph.output}
    for name in names:
        if name not in present:
            exposed.graph.output.append(onnx.ValueInfoProto(name=name))
    return exposed


def plain_session(model: onnx.ModelProto) -> ort.InferenceSession:
    """Return a CPU session of a graph held in memory, without fusions."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    return _session(model, options)


def _measuring_session(
    model: onnx.ModelProto, names: list[str], threads: int
) -> ort.InferenceSession:
    """Return a session that gives the named tensors of an FP32 model, as fast as it can be.

    The runtime fuses nothing over a tensor that is asked for, but may choose its faster layouts.
    """
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = threads
    # What is read out outlives the run; blocks laid out for a whole run would leave gaps behind it.
    options.enable_mem_pattern = False
    return _session(_with_outputs(model, names), options, _FUSES_OVER_OUTPUTS)


def _session(
    model: onnx.ModelProto, options: ort.SessionOptions, *left_out: str
) -> ort.InferenceSession:
    options.log_severity_level = 3
    return ort.InferenceSession(
        model.SerializeToString(),
        options,
        providers=["CPUExecutionProvider"],
        disabled_optimizers=[*LEFT_OUT, *left_out],
    )


def channel_means(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return the sum over images of the mean over pixels, by channel, of (N, C, H, W)."""
    means: npt.NDArray[np.float64] = values.mean(axis=(2, 3), dtype=np.float64).sum(axis=0)
    return means
