"""Moments of the input patches and outputs of a convolution, over images and positions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx

from cxredge.graph.nodes import integers_of, number_of
from cxredge.quantization.correction.rounding import Moments, Values

Maps = npt.NDArray[np.float32]
Positions = npt.NDArray[np.int64]

_IMAGES = 8


def layer_moments(
    node: onnx.NodeProto, inputs: Maps, target: Maps, kernel: tuple[int, int], positions: int
) -> Moments:
    """Return the moments of a convolution's input patches and target outputs.

    Args:
        node: The convolution.
        inputs: Its input, float32 (N, C, H, W).
        target: Its target output, float32 (N, K, H', W').
        kernel: Height and width of its kernel.
        positions: Maximum number of output positions per image, drawn at random.
    """
    groups = int(number_of(node, "group", 1))
    rng = np.random.default_rng(0)
    height, width = target.shape[2:]
    total = 0
    sums: list[Values] = []
    for start in range(0, len(inputs), _IMAGES):
        batch = slice(start, start + _IMAGES)
        drawn = rng.permutation(height * width)[:positions]
        rows, columns = np.divmod(drawn, width)
        x = patches_at(node, inputs[batch], kernel, rows, columns)
        x = x.reshape(groups, -1, x.shape[-1])
        y = target[batch, :, rows, columns].transpose(1, 2, 0).reshape(groups, -1, x.shape[-1])
        if not sums:
            # In float32, sums of squares are precise enough only around a value near the mean.
            around_in, around_out = x.mean(-1, keepdims=True), y.mean(-1, keepdims=True)
        x, y = x - around_in, y - around_out
        total += x.shape[-1]
        parts = [x.sum(-1), y.sum(-1), x @ x.swapaxes(1, 2), y @ x.swapaxes(1, 2)]
        found = [part.astype(np.float64) for part in parts]
        sums = [a + b for a, b in zip(sums, found, strict=True)] if sums else found
    mean_in, mean_out = sums[0] / total, sums[1] / total
    return Moments(
        mean_in + around_in[..., 0],
        mean_out + around_out[..., 0],
        sums[2] / total - mean_in[:, :, None] * mean_in[:, None, :],
        sums[3] / total - mean_out[:, :, None] * mean_in[:, None, :],
    )


def patches_at(
    node: onnx.NodeProto, maps: Maps, kernel: tuple[int, int], rows: Positions, columns: Positions
) -> Maps:
    """Return the input patches of a convolution at some of its output positions.

    Args:
        node: The convolution, with its strides, padding and dilations.
        maps: Its input, float32 (N, C, H, W).
        kernel: Height and width of its kernel.
        rows: Rows of the positions in the output, int64 (P,).
        columns: Their columns, int64 (P,).

    Returns:
        float32 (C, kernel height, kernel width, P * N).
    """
    strides = integers_of(node, "strides", [1, 1])
    dilations = integers_of(node, "dilations", [1, 1])
    top, left, bottom, right = integers_of(node, "pads", [0, 0, 0, 0])
    padded = np.pad(maps, ((0, 0), (0, 0), (top, bottom), (left, right)))
    y = rows[:, None] * strides[0] + np.arange(kernel[0]) * dilations[0]
    x = columns[:, None] * strides[1] + np.arange(kernel[1]) * dilations[1]
    taken: Maps = padded[:, :, y[:, :, None], x[:, None, :]]  # (N, C, P, kh, kw)
    count, channels, places = taken.shape[:3]
    patches: Maps = taken.transpose(1, 3, 4, 2, 0).reshape(channels, *kernel, places * count)
    return patches
