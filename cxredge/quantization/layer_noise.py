"""Quantization noise by layer, and the activation histograms of the noisiest layers.

Signal and noise are sums of squares of each convolution's output over validation images: the signal
is the FP32 output, the noise is the difference of the quantized output from it, including the
errors of earlier layers.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import onnx

from cxredge.artifacts.quantization_record import LayerNoise
from cxredge.data.images import GreyImage
from cxredge.quantization.ranges.histogram import Histogram
from cxredge.quantization.ranges.statistics import Ranges, Statistics
from cxredge.quantization.sessions import session_with_outputs
from cxredge.vocabulary import INPUT_NAME

NOISIEST = 6
"""Number of layers whose activation histograms are kept."""

_IMAGES = 16
_BINS = 48


def measure_layers(
    reference: onnx.ModelProto,
    graph: onnx.ModelProto,
    statistics: Statistics,
    ranges: Ranges,
    pixels: GreyImage,
    in_float: Collection[str],
) -> list[LayerNoise]:
    """Measure the quantization noise of every convolution.

    Args:
        reference: The float network from which the graph was quantized, equalised or centred if it
            was.
        graph: The quantized graph.
        statistics: Statistics of the calibration images on ``reference``.
        ranges: Ranges over which activations are quantized.
        pixels: uint8 (N, S, S) validation images; the first 16 are used.
        in_float: Names of nodes left in float.

    Returns:
        The layers in graph order.
    """
    nodes = [node for node in reference.graph.node if node.op_type == "Conv"]
    snr = _snr_db(reference, graph, [node.output[0] for node in nodes], pixels[:_IMAGES])
    noisiest = {name for name, _ in sorted(snr.items(), key=lambda item: item[1])[:NOISIEST]}
    layers = []
    for node in nodes:
        source, result = node.input[0], node.output[0]
        histogram = statistics.histograms.get(source)
        layers.append(
            LayerNoise(
                node.name,
                source,
                snr.get(result),
                node.name in in_float,
                ranges.get(source),
                (histogram.low, histogram.high) if histogram else None,
                _coarse(histogram) if histogram and result in noisiest else (),
            )
        )
    return layers


def _snr_db(
    reference: onnx.ModelProto, graph: onnx.ModelProto, names: list[str], pixels: GreyImage
) -> Mapping[str, float]:
    """Return the signal-to-noise ratio of tensors in decibels, except those without noise."""
    sessions = [session_with_outputs(model, names) for model in (reference, graph)]
    signal, noise = np.zeros(len(names)), np.zeros(len(names))
    for image in pixels:
        feed = {INPUT_NAME: image[None, None]}
        runs = [session.run(names, feed) for session in sessions]
        for position, (before, after) in enumerate(zip(*runs, strict=True)):
            signal[position] += np.square(before, dtype=np.float64).sum()
            noise[position] += np.square(after - before, dtype=np.float64).sum()
    return {
        name: float(10 * np.log10(s / n))
        for name, s, n in zip(names, signal, noise, strict=True)
        if s > 0 and n > 0
    }


def _coarse(histogram: Histogram) -> tuple[int, ...]:
    """Return the counts in 48 bins of equal width from the minimum to the maximum."""
    low, high = histogram.low, histogram.high
    counts, _ = np.histogram(
        np.clip(histogram.centres, low, high), _BINS, (low, high), weights=histogram.counts
    )
    return tuple(int(count) for count in counts)
