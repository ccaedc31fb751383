"""Where in the picture the cells of feature maps lie: the centres of their receptive fields."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from cxredge.graph.index import GraphIndex
from cxredge.graph.nodes import integers_of
from cxredge.metrics.maps import MapGrid
from cxredge.vocabulary import INPUT_NAME

_WINDOWED = ("Conv", "MaxPool", "AveragePool", "LpPool")
_WITHOUT_PLACE = ("GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "Gemm", "MatMul", "Shape")
_ONE_DATA_INPUT = (*_WINDOWED, "Pad", "Slice", "QuantizeLinear", "DequantizeLinear", "Clip")


@dataclass(frozen=True)
class _Axis:
    """Centres of cells along one axis: that of cell i is ``offset + stride * i``, in pixels."""

    stride: float = 1.0
    offset: float = 0.0


_Place = tuple[_Axis, _Axis]


def grid_of(model: onnx.ModelProto, features: str, size: int) -> MapGrid | None:
    """Return where the cells of a tensor lie; None if the graph does not tell.

    A window with padding on one side only, as in Keras, moves the centres, and so does a window of
    even size. Where branches join whose centres differ, their mean is taken.

    Args:
        model: A graph of convolutions and pooling.
        features: Name of feature maps, (N, C, h, w).
        size: Height and width of the input in pixels.
    """
    index = GraphIndex(model.graph)
    places: dict[str, _Place | None] = {INPUT_NAME: (_Axis(), _Axis())}
    for node in model.graph.node:
        place = _place_of(node, index, places)
        for name in node.output:
            places[name] = place
        if features in node.output:
            break
    found = places.get(features)
    if found is None or found[0].stride != found[1].stride:
        return None
    return MapGrid(size, found[0].stride, found[0].offset, found[1].offset)


def _place_of(
    node: onnx.NodeProto, index: GraphIndex, places: dict[str, _Place | None]
) -> _Place | None:
    """Return the place of a node's output; None if it is a constant or a value per channel."""
    if node.op_type in _WITHOUT_PLACE:
        return None
    names = node.input[:1] if node.op_type in _ONE_DATA_INPUT else node.input
    found = [place for name in names if (place := places.get(name)) is not None]
    if not found:
        return None
    rows, columns = (_mean([place[axis] for place in found]) for axis in (0, 1))
    if node.op_type in _WINDOWED:
        return (_windowed(node, index, 0, rows), _windowed(node, index, 1, columns))
    if node.op_type in ("Pad", "Slice"):
        shift = _shift(node, index)
        return (_shifted(rows, shift[0]), _shifted(columns, shift[1]))
    return rows, columns


def _mean(axes: list[_Axis]) -> _Axis:
    """Return the mean place of branches that join, which have the same stride."""
    return _Axis(axes[0].stride, sum(axis.offset for axis in axes) / len(axes))


def _windowed(node: onnx.NodeProto, index: GraphIndex, axis: int, before: _Axis) -> _Axis:
    """Return the place behind a convolution or pooling along an axis."""
    kernel = integers_of(node, "kernel_shape", [])
    if not kernel:
        weight = index.constants.get(node.input[1])
        kernel = [1, 1] if weight is None else list(weight.shape[2:])
    stride = integers_of(node, "strides", [1, 1])[axis]
    dilation = integers_of(node, "dilations", [1, 1])[axis]
    padding = integers_of(node, "pads", [0, 0, 0, 0])[axis]
    moved = _shifted(before, (kernel[axis] - 1) * dilation / 2 - padding)
    return _Axis(before.stride * stride, moved.offset)


def _shift(node: onnx.NodeProto, index: GraphIndex) -> tuple[float, float]:
    """Return by how many cells a Pad or Slice moves the first one, along rows and columns."""
    values = index.constants.get(node.input[1]) if len(node.input) > 1 else None
    numbers = [] if values is None else [int(value) for value in values.reshape(-1).tolist()]
    if node.op_type == "Pad":
        return (-numbers[2], -numbers[3]) if len(numbers) == 8 else (0, 0)
    axes = index.constants.get(node.input[3]) if len(node.input) > 3 else None
    along = range(len(numbers)) if axes is None else axes.reshape(-1).tolist()
    starts = {int(axis) % 4: start for axis, start in zip(along, numbers, strict=False)}
    return (max(starts.get(2, 0), 0), max(starts.get(3, 0), 0))


def _shifted(axis: _Axis, cells: float) -> _Axis:
    return _Axis(axis.stride, axis.offset + cells * axis.stride)
