"""Running a graph in segments, split before and after each convolution, on stored tensors.

The outputs of a segment are stored until the last segment that reads them has run. A correction
that needs the input of every layer as the quantized layers before it compute it therefore costs one
inference per image in total, not one per layer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from cxredge.quantization.sessions import BATCH, plain_session

Array = npt.NDArray[Any]
Tensors = dict[str, Array]


@dataclass(frozen=True)
class Segment:
    """A convolution, or the nodes between convolutions, with the constant nodes that they need.

    Attributes:
        nodes: Nodes in topological order.
        inputs: Names of the inputs, which earlier segments or the feeds provide.
        outputs: Names of the outputs that later segments need.
    """

    nodes: tuple[onnx.NodeProto, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def convolution(self) -> onnx.NodeProto | None:
        """The convolution of this segment, or None if it has none."""
        return self.nodes[-1] if self.nodes[-1].op_type == "Conv" else None


class SegmentRunner:
    """Runs the segments of a graph in order on a few images.

    Args:
        model: A graph; its initializers may change between segments.
        feeds: Values of the graph's inputs by name; the first axis is that of the images.
    """

    def __init__(self, model: onnx.ModelProto, feeds: Tensors) -> None:
        self.stored = dict(feeds)
        self.segments = _segments(model)
        self._model = model
        self._uses = Counter(name for segment in self.segments for name in segment.inputs)

    def __iter__(self) -> Iterator[Segment]:
        """Yield each segment; :meth:`run` it before requesting the next one."""
        yield from self.segments

    def run(self, segment: Segment, constants: Mapping[str, Array] | None = None) -> Tensors:
        """Run a segment, store its outputs and drop the tensors that no later segment needs.

        Args:
            segment: The next segment.
            constants: Values that replace initializers, or tensors computed from constants, by
                name.

        Returns:
            The outputs by name.
        """
        outputs = _run(self._model, segment, self.stored, constants or {})
        for name in segment.inputs:
            self._uses[name] -= 1
            if not self._uses[name]:
                self.stored.pop(name)
        self.stored.update({name: value for name, value in outputs.items() if self._uses[name]})
        return outputs


def _segments(model: onnx.ModelProto) -> list[Segment]:
    folded = _constant_nodes(model)
    groups: list[list[onnx.NodeProto]] = [[]]
    for node in model.graph.node:
        if node.output[0] in folded:
            continue
        if node.op_type == "Conv":
            groups += [[node], []]
        else:
            groups[-1].append(node)
    constants = {initializer.name for initializer in model.graph.initializer} | set(folded)
    needed_later: set[str] = set()
    segments: list[Segment] = []
    for group in reversed([group for group in groups if group]):
        produced = {name for node in group for name in node.output}
        if group[-1].op_type != "Conv" and not produced & needed_later:
            continue
        used = {name for node in group for name in node.input if name}
        inputs = used - produced - constants
        own = _with_ancestors(used & set(folded), folded)
        outputs = produced if group[-1].op_type == "Conv" else produced & needed_later
        segments.append(Segment((*own, *group), tuple(sorted(inputs)), tuple(sorted(outputs))))
        needed_later |= inputs
    return segments[::-1]


def _constant_nodes(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    """Return the nodes that depend on constants only, such as the dequantization of weights."""
    constants = {initializer.name for initializer in model.graph.initializer}
    folded: dict[str, onnx.NodeProto] = {}
    for node in model.graph.node:
        if all(name in constants or name in folded for name in node.input if name):
            folded[node.output[0]] = node
    return folded


def _with_ancestors(names: set[str], nodes: dict[str, onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Return the nodes that produce ``names``, each after the nodes on which it depends."""
    ordered: dict[str, onnx.NodeProto] = {}
    for name in sorted(names):
        node = nodes[name]
        for ancestor in _with_ancestors({i for i in node.input if i in nodes}, nodes):
            ordered.setdefault(ancestor.output[0], ancestor)
        ordered.setdefault(name, node)
    return list(ordered.values())


def _run(
    model: onnx.ModelProto, segment: Segment, stored: Tensors, constants: Mapping[str, Array]
) -> Tensors:
    """Run one segment on the stored tensors, a few images at a time."""
    nodes = [node for node in segment.nodes if not constants.keys() & set(node.output)]
    used = {name for node in nodes for name in node.input}
    kept = [i for i in model.graph.initializer if i.name in used and i.name not in constants]
    given = [numpy_helper.from_array(v, name) for name, v in constants.items() if name in used]
    graph = onnx.helper.make_graph(
        nodes,
        "segment",
        [_value(name, stored[name]) for name in segment.inputs],
        [onnx.ValueInfoProto(name=name) for name in segment.outputs],
        [*kept, *given],
    )
    part = onnx.helper.make_model(
        graph, opset_imports=model.opset_import, ir_version=model.ir_version
    )
    session = plain_session(part)
    count = len(next(iter(stored.values())))
    outputs: Tensors = {}
    for i in range(0, count, BATCH):
        feeds = {name: stored[name][i : i + BATCH] for name in segment.inputs}
        values = session.run(list(segment.outputs), feeds)
        for name, value in zip(segment.outputs, values, strict=True):
            if name not in outputs:
                # Joining batches would need twice the memory, a gigabyte for large networks.
                outputs[name] = np.empty((count, *value.shape[1:]), value.dtype)
            outputs[name][i : i + BATCH] = value
    return outputs


def _value(name: str, values: npt.NDArray[Any]) -> onnx.ValueInfoProto:
    data_type = onnx.helper.np_dtype_to_tensor_dtype(values.dtype)
    return onnx.helper.make_tensor_value_info(name, data_type, ["batch", *values.shape[1:]])
