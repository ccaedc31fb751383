"""Where INT8 loses: signal-to-noise layer by layer, and what the ranges of the worst layers cut.

Signal and noise are sums over validation images of what each convolution gives: signal in the
FP32 network, noise in how far the quantized network is from it, errors of earlier layers included.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from cxredge.data.images import GreyImage
from cxredge.quantization.ranges.histogram import Histogram
from cxredge.quantization.ranges.measure import session_with_outputs
from cxredge.quantization.ranges.statistics import Ranges, Statistics
from cxredge.vocabulary import INPUT_NAME

WORST = 6
"""Layers whose activations are kept as histograms."""

_IMAGES = 16
_BINS = 48


@dataclass(frozen=True)
class Layer:
    """One convolution.

    Attributes:
        name: Of the node.
        reads: The activation that it reads.
        snr_db: Signal-to-noise ratio of its output in decibels; None where nothing differs.
        in_float: Whether it was left in floating point.
        clipped_to: The range that the activation it reads is quantized over.
        measured: The smallest and largest value of that activation on the calibration images.
        counts: Its values in 48 bins of equal width over ``measured``; of the worst layers alone.
    """

    name: str
    reads: str
    snr_db: float | None
    in_float: bool
    clipped_to: tuple[float, float] | None
    measured: tuple[float, float] | None
    counts: tuple[int, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values, rounded to what can be told apart."""
        return {
            "name": self.name,
            "reads": self.reads,
            "snr_db": None if self.snr_db is None else round(self.snr_db, 1),
            "in_float": self.in_float,
            "clipped_to": self.clipped_to and [float(f"{v:.4g}") for v in self.clipped_to],
            "measured": self.measured and [float(f"{v:.4g}") for v in self.measured],
            "counts": list(self.counts),
        }


def measure_layers(
    reference: onnx.ModelProto,
    graph: onnx.ModelProto,
    statistics: Statistics,
    ranges: Ranges,
    pixels: GreyImage,
    in_float: Collection[str],
) -> list[Layer]:
    """Compare every convolution of a quantized graph with the network that it was made from.

    Args:
        reference: The float network, its channels equalised if the quantized graph's were.
        graph: The quantized graph.
        statistics: Of the calibration images on ``reference``.
        ranges: What activations are quantized over.
        pixels: uint8 (N, S, S) validation images; the first 16 are used.
        in_float: Names of nodes left in floating point.

    Returns:
        The layers in graph order.
    """
    nodes = [node for node in reference.graph.node if node.op_type == "Conv"]
    snr = _snr_db(reference, graph, [node.output[0] for node in nodes], pixels[:_IMAGES])
    worst = {name for name, _ in sorted(snr.items(), key=lambda item: item[1])[:WORST]}
    layers = []
    for node in nodes:
        reads, gives = node.input[0], node.output[0]
        histogram = statistics.histograms.get(reads)
        shown = histogram is not None and gives in worst
        layers.append(
            Layer(
                node.name,
                reads,
                snr.get(gives),
                node.name in in_float,
                ranges.get(reads),
                (histogram.low, histogram.high) if histogram else None,
                _coarse(histogram) if histogram and shown else (),
            )
        )
    return layers


def _snr_db(
    reference: onnx.ModelProto, graph: onnx.ModelProto, names: list[str], pixels: GreyImage
) -> Mapping[str, float]:
    """Return the signal-to-noise ratio of tensors in decibels; those without noise are left out."""
    sessions = [session_with_outputs(model, names) for model in (reference, graph)]
    signal, noise = np.zeros(len(names)), np.zeros(len(names))
    for image in pixels:
        feed = {INPUT_NAME: image[None, None]}
        runs = [session.run(names, feed) for session in sessions]
        for index, (before, after) in enumerate(zip(*runs, strict=True)):
            signal[index] += np.square(before, dtype=np.float64).sum()
            noise[index] += np.square(after - before, dtype=np.float64).sum()
    return {
        name: float(10 * np.log10(s / n))
        for name, s, n in zip(names, signal, noise, strict=True)
        if s > 0 and n > 0
    }


def _coarse(histogram: Histogram) -> tuple[int, ...]:
    """Return the counts in few bins of equal width from the smallest to the largest value."""
    low, high = histogram.low, histogram.high
    counts, _ = np.histogram(
        np.clip(histogram.centres, low, high), _BINS, (low, high), weights=histogram.counts
    )
    return tuple(int(count) for count in counts)
