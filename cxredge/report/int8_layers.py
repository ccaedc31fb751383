"""INT8 layer by layer: quantization noise, and clipping in the noisiest layers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cxredge import plots
from cxredge.artifacts.quantization_record import LayerNoise
from cxredge.report import numbers
from cxredge.report.blocks import Block, Figure, Table

_SHOWN = 3
"""Number of distributions that are drawn; the table lists all layers that have one."""


def layer_blocks(layers: Sequence[LayerNoise], judged_on: str) -> list[Block]:
    """Return signal-to-noise by layer, the noisiest layers, and the distributions of their inputs.

    Args:
        layers: ``layers`` of a quantization, in graph order; without layers there are no blocks.
        judged_on: The images on which signal and noise were measured.
    """
    measured = [(n, la.snr_db) for n, la in enumerate(layers, 1) if la.snr_db is not None]
    if not measured:
        return []
    noisy = (layer for layer in layers if layer.counts and layer.snr_db is not None)
    worst = sorted(noisy, key=lambda layer: layer.snr_db or 0.0)
    return [
        _profile(layers, measured, judged_on),
        _table(worst),
        *map(_distribution, worst[:_SHOWN]),
    ]


def _profile(
    layers: Sequence[LayerNoise], measured: Sequence[tuple[int, float]], judged_on: str
) -> Figure:
    places, values = [place for place, _ in measured], [snr_db for _, snr_db in measured]
    dots = [plots.Dot(x, y, 2.5) for x, y in zip(places, values, strict=True)]
    line = plots.Line("signal-to-noise", places, values, dots)
    picture = plots.line_chart(
        "Signal-to-noise ratio of each convolution",
        plots.Axis("convolution, in graph order", 1, max(len(layers), 2)),
        plots.Axis("dB", min(0.0, *values), max(*values, 1.0) * 1.05),
        [line],
    )
    return Figure(
        "Signal-to-noise by layer",
        picture,
        f"Output of each convolution in INT8, compared with FP32 on 16 {judged_on} images, "
        "including errors of earlier layers: 20 dB is an error of 10%, 40 dB of 1%.",
    )


def _table(worst: Sequence[LayerNoise]) -> Table:
    rows = [
        (
            layer.name,
            f"{layer.snr_db:.1f} dB",
            "float" if layer.in_float else "INT8",
            _range(layer.measured),
            _range(layer.clipped_to),
        )
        for layer in worst
    ]
    return Table(
        "The noisiest layers",
        ("convolution", "signal-to-noise", "computed in", "range of the input", "quantized range"),
        tuple(rows),
        "The range of the input is that on the calibration images.",
    )


def _distribution(layer: LayerNoise) -> Figure:
    low, high = layer.measured or (0.0, 1.0)
    counts, width = layer.counts, (high - low) / len(layer.counts)
    middles = [low + (index + 0.5) * width for index in range(len(counts))]
    # Most activations are near zero: on a linear axis the clipped tails would be invisible.
    heights = [math.log10(1 + count) for count in counts]
    most = max(heights) * 1.05
    lines = [plots.Line("values", middles, heights)]
    if layer.clipped_to:
        cuts = [cut for cut in layer.clipped_to if low <= cut <= high]
        lines += [plots.Line("end of the INT8 range", [cut, cut], [0, most]) for cut in cuts[:1]]
        lines += [plots.Line("other end of the range", [cut, cut], [0, most]) for cut in cuts[1:]]
    picture = plots.line_chart(
        f"Input values of {layer.name}",
        plots.Axis("value", low, high if high > low else low + 1),
        plots.Axis("log10(1 + values)", 0, most or 1.0),
        lines,
    )
    caption = (
        f"Input of {layer.name} on the calibration images. The quantized range is "
        f"{_range(layer.clipped_to)}; values beyond it are clipped."
    )
    return Figure(f"Input of {layer.name}", picture, caption)


def _range(limits: Sequence[float] | None) -> str:
    if not limits:
        return "-"
    return f"{numbers.significant(limits[0])} to {numbers.significant(limits[1])}"
