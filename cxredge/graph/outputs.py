"""Further outputs of a classifier's graph: class activation maps, and the distance of an image.

Both are computed from what the network computes anyway. They are added to a finished graph, after
quantization or conversion to FP16, and compute in FP32, so that they add no error of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from cxredge.errors import CxredgeError
from cxredge.graph.index import GraphIndex
from cxredge.graph.model_file import infer_values
from cxredge.graph.nodes import Array, copy_of, integers_of, number_of
from cxredge.metrics.reference_bank import ReferenceBank
from cxredge.vocabulary import DISTANCE_NAME, MAPS_NAME, OUTPUT_NAME

_PREFIX = "cxredge"
_POOLS = ("GlobalAveragePool", "ReduceMean")
_PASSES = ("Flatten", "Reshape", "Squeeze", "Cast", "Identity")
"""Operators between pooling and head that do not change values."""
_ENDS_BLOCK = ("Clip", "Relu", "Add", "Concat", "DequantizeLinear")
"""Operators whose results are feature maps as the next layers read them."""
_MIDDLE = ((6, 12), (12, 20))
"""Widths of a picture, from and below, in widths of its maps: about 8 and 16, whatever the
padding."""


@dataclass(frozen=True)
class Head:
    """The end of a classifier: global average pooling and a linear layer.

    Attributes:
        features: Name of the last feature maps, (N, features, height, width).
        pooled: Name of their means, (N, features), that the linear layer reads.
        weight: float (classes, features).
        bias: float (classes,).
    """

    features: str
    pooled: str
    weight: Array
    bias: Array


def find_head(model: onnx.ModelProto) -> Head | None:
    """Return the end of a classifier; None if it is not pooling and one linear layer."""
    index = GraphIndex(model.graph)
    linear = _behind(index, OUTPUT_NAME)
    if linear is None or linear.op_type != "Gemm" or linear.input[1] not in index.constants:
        return None
    pool = _behind(index, linear.input[0])
    if pool is None or pool.op_type not in _POOLS or not _pools_everything(pool, index):
        return None
    weight = index.constants[linear.input[1]].astype(np.float32)
    if not number_of(linear, "transB", 0):
        weight = weight.T
    bias = index.constants.get(linear.input[2]) if len(linear.input) > 2 else None
    found = np.zeros(len(weight), np.float32) if bias is None else bias.astype(np.float32)
    return Head(pool.input[0], linear.input[0], weight, found)


def add_maps(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy that also returns class activation maps.

    The maps are a 1x1 convolution of the last feature maps with the weights of the linear layer.
    Their mean over the picture plus the bias is the logit (Zhou et al. 2016, "Learning Deep
    Features for Discriminative Localization").

    Args:
        model: A graph in any precision; it is not changed.

    Raises:
        CxredgeError: The network does not end with global average pooling and one linear layer.
    """
    head = find_head(model)
    if head is None:
        raise CxredgeError(
            "Class activation maps require global average pooling followed by one linear layer, "
            "and this network ends differently.",
            "Build with --no-heatmaps.",
        )
    tail = _Tail(copy_of(model))
    features = tail.to_float(head.features)
    kernel = tail.constant("map_weight", head.weight[:, :, None, None])
    tail.node("Conv", [features, kernel], MAPS_NAME)
    return tail.finish(MAPS_NAME, ["batch", len(head.weight), *tail.sides(head.features)])


def add_distance(model: onnx.ModelProto, bank: ReferenceBank) -> onnx.ModelProto:
    """Return a copy that also returns the distance of each image from the training images.

    Args:
        model: A graph in any precision; it is not changed.
        bank: Fitted to the features of :func:`feature_graph`.
    """
    tail = _Tail(copy_of(model))
    features = tail.pooled()
    offset = tail.constant("offset", bank.offset)
    # Squares are divided by the number of features before they are added: an engine that computes
    # them in FP16 would overflow for images that are far away.
    share = float(1 / np.sqrt(len(bank.offset)))
    inverse = tail.constant("inverse_scale", share / bank.scale)
    scaled = tail.node("Mul", [tail.node("Sub", [features, offset]), inverse])
    along = tail.product(scaled, bank.axes)
    rest = tail.node("Sub", [tail.sum_of_squares(scaled, 1), tail.sum_of_squares(along, 1)])
    each = tail.node("Unsqueeze", [along, tail.axis(1)])
    apart = tail.node("Sub", [each, tail.constant("vectors", share * bank.vectors[None])])
    nearest = tail.smallest(tail.sum_of_squares(apart, 2), bank.neighbour)
    tail.node("Sqrt", [tail.node("Add", [nearest, tail.node("Relu", [rest])])], DISTANCE_NAME)
    return tail.finish(DISTANCE_NAME, ["batch"])


def feature_graph(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy that returns, instead of logits, the features that distances are computed of.

    They are the means of the feature maps of :func:`find_middle`, and what the network itself
    pools, one layer after the other.

    Args:
        model: A graph in any precision; it is not changed.

    Raises:
        CxredgeError: The network has no global average pooling.
    """
    tail = _Tail(copy_of(model))
    name = tail.node("Identity", [tail.pooled()], f"{_PREFIX}_features")
    del tail.graph.output[:]
    return tail.finish(name, ["batch", "features"])


def feature_widths(model: onnx.ModelProto) -> tuple[int, ...]:
    """Return the number of features of each layer in :func:`feature_graph`.

    Raises:
        CxredgeError: The network has no global average pooling.
    """
    return tuple(width for _, width in _Tail(copy_of(model)).layers())


def find_middle(model: onnx.ModelProto) -> list[str]:
    """Return the names of feature maps in the middle of a network.

    For an eighth and a sixteenth of the picture's width, they are the first maps with the most
    channels; nothing for a width that no maps have. The middle of a network shows how an X-ray was
    taken and processed, its end what is on it.
    """
    values = {v.name: v.type.tensor_type for v in infer_values(model)}
    size = model.graph.input[0].type.tensor_type.shape.dim[2].dim_value
    channels: list[dict[str, int]] = [{} for _ in _MIDDLE]
    for node in model.graph.node:
        name = node.output[0]
        sides = [side.dim_value for side in values[name].shape.dim] if name in values else []
        # The number of images is not fixed; that of the filters of a quantized weight is.
        if node.op_type not in _ENDS_BLOCK or len(sides) != 4 or sides[0]:
            continue
        for (low, high), found in zip(_MIDDLE, channels, strict=True):
            if low <= size / (sides[2] or 1) < high:
                found[name] = sides[1]
    index = GraphIndex(model.graph)
    return [_as_read(max(found, key=lambda n: found[n]), index) for found in channels if found]


class _Tail:
    """Appends nodes to a graph; their tensors are FP32.

    Args:
        model: The graph, changed in place.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model, self.graph = model, model.graph
        self._values = {v.name: v.type.tensor_type for v in infer_values(model)}
        # A graph may have such nodes already.
        self._number = sum(node.name.startswith(_PREFIX) for node in model.graph.node)

    def node(
        self, operator: str, inputs: Sequence[str], output: str = "", **attributes: Any
    ) -> str:
        """Append a node and return the name of its output."""
        self._number += 1
        name = f"{_PREFIX}_{operator}_{self._number}"
        node = helper.make_node(operator, inputs, [output or f"{name}_output"], name, **attributes)
        self.graph.node.append(node)
        return str(node.output[0])

    def constant(self, name: str, values: npt.ArrayLike) -> str:
        """Add an FP32 constant and return its name."""
        array = np.asarray(values, np.float32)
        tensor = numpy_helper.from_array(array, f"{_PREFIX}_{name}")
        self.graph.initializer.append(tensor)
        return str(tensor.name)

    def axis(self, number: int) -> str:
        """Return the name of a constant with one axis."""
        name = f"{_PREFIX}_axis_{number}"
        if all(tensor.name != name for tensor in self.graph.initializer):
            values = np.array([number], np.int64)
            self.graph.initializer.append(numpy_helper.from_array(values, name))
        return name

    def to_float(self, name: str) -> str:
        """Return the name of a tensor in FP32."""
        if name not in self._values or self._values[name].elem_type == TensorProto.FLOAT:
            return name
        return self.node("Cast", [name], to=TensorProto.FLOAT)

    def sides(self, name: str) -> list[int]:
        """Return height and width of feature maps.

        Raises:
            CxredgeError: The file does not determine them.
        """
        shape = self._values[name].shape.dim if name in self._values else []
        found = [side.dim_value for side in shape[2:]]
        if len(found) != 2 or min(found) < 1:
            raise CxredgeError(
                f"The height and width of '{name}' cannot be inferred from the model.",
                "Export it again: cxredge export RUN --out DIR",
            )
        return found

    def pooled(self) -> str:
        """Return the name of the features, see :func:`feature_graph`."""
        names = [name for name, _ in self.layers()]
        return names[0] if len(names) == 1 else self.node("Concat", names, axis=1)

    def layers(self) -> list[tuple[str, int]]:
        """Return name and number of the features of each layer."""
        found = [(self._mean(name), self._channels(name)) for name in find_middle(self.model)]
        return [*found, self._last_pooled()]

    def product(self, name: str, matrix: Array) -> str:
        """Append the product of vectors, (N, F), with a matrix.

        It is a 1x1 convolution: TensorRT for RTX has no FP32 matrix products on Turing GPUs.
        """
        shape = np.array([0, len(matrix), 1, 1], np.int64)
        self.graph.initializer.append(numpy_helper.from_array(shape, f"{_PREFIX}_columns"))
        kernel = self.constant("axes", matrix.T[:, :, None, None])
        columns = self.node("Reshape", [name, f"{_PREFIX}_columns"])
        return self.node("Flatten", [self.node("Conv", [columns, kernel])], axis=1)

    def sum_of_squares(self, name: str, axis: int) -> str:
        """Append the sum of squares over an axis, which is dropped."""
        squares = self.node("Mul", [name, name])
        return self.node("ReduceSum", [squares, self.axis(axis)], keepdims=0)

    def smallest(self, name: str, rank: int) -> str:
        """Append the value of a rank among the values of each row, which is the smallest for 1."""
        count = numpy_helper.from_array(np.array([rank], np.int64), f"{_PREFIX}_rank")
        self.graph.initializer.append(count)
        self._number += 1
        names = [f"{_PREFIX}_TopK_{self._number}_{part}" for part in ("values", "indices")]
        topk = helper.make_node("TopK", [name, count.name], names, names[0], axis=1, largest=0)
        self.graph.node.append(topk)
        # The values are sorted, so that the last one has the rank.
        last = numpy_helper.from_array(np.array(rank - 1, np.int64), f"{_PREFIX}_last")
        self.graph.initializer.append(last)
        return self.node("Gather", [names[0], last.name], axis=1)

    def finish(self, output: str, shape: Sequence[int | str]) -> onnx.ModelProto:
        """Declare an output and return the checked graph."""
        self.graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, shape))
        onnx.checker.check_model(self.model, full_check=True)
        return self.model

    def _last_pooled(self) -> tuple[str, int]:
        """Return the features that the head reads, or a layer before the head, and their number."""
        head = find_head(self.model)
        if head is not None:
            return self.to_float(head.pooled), head.weight.shape[1]
        index = GraphIndex(self.graph)
        node = _behind(index, OUTPUT_NAME)
        while node is not None and not (node.op_type in _POOLS and _pools_everything(node, index)):
            node = index.producers.get(node.input[0]) if node.input else None
        if node is None:
            raise CxredgeError(
                "Distances require a network with global average pooling, and this one has none.",
                "Build with --no-familiarity.",
            )
        flat = self.node("Flatten", [self.to_float(node.output[0])], axis=1)
        return flat, self._channels(node.input[0])

    def _channels(self, maps: str) -> int:
        return int(self._values[maps].shape.dim[1].dim_value)

    def _mean(self, maps: str) -> str:
        return self.node("Flatten", [self.node("GlobalAveragePool", [self.to_float(maps)])], axis=1)


def _as_read(name: str, index: GraphIndex) -> str:
    """Return a tensor as the next layers read it: dequantized, if it is quantized.

    A further reader of the float values would keep a runtime from computing in integers.
    """
    for operator in ("QuantizeLinear", "DequantizeLinear"):
        node = next((one for one in index.readers(name) if one.op_type == operator), None)
        if node is None:
            return name
        name = node.output[0]
    return name


def _behind(index: GraphIndex, name: str) -> onnx.NodeProto | None:
    """Return the node that computes the values of a tensor."""
    node = index.producers.get(name)
    while node is not None and node.op_type in _PASSES:
        node = index.producers.get(node.input[0])
    return node


def _pools_everything(pool: onnx.NodeProto, index: GraphIndex) -> bool:
    """Return whether a pooling node averages over the whole picture."""
    if pool.op_type == "GlobalAveragePool":
        return True
    axes = integers_of(pool, "axes", [])
    if len(pool.input) > 1 and pool.input[1] in index.constants:
        axes = [int(axis) for axis in index.constants[pool.input[1]].tolist()]
    return sorted(axis % 4 for axis in axes) == [2, 3]
