"""A quantized graph, walked once: cut before every convolution, each part run on stored tensors.

What comes out of a segment is kept for the segments after it and dropped after the last of them,
so a correction that needs every layer's input on the quantized prefix costs about one inference of
each image, not one for every layer.
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

from cxredge.quantization.ranges.measure import BATCH, plain_session

Array = npt.NDArray[Any]
Tensors = dict[str, Array]


@dataclass(frozen=True)
class Segment:
    """The nodes after the convolution before, with the constant ones that they need.

    Attributes:
        nodes: In topological order; a convolution stands alone.
        inputs: Tensors that earlier segments left.
        outputs: Tensors that later ones need.
    """

    nodes: tuple[onnx.NodeProto, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def convolution(self) -> onnx.NodeProto | None:
        """The convolution, if this segment is one."""
        return self.nodes[-1] if self.nodes[-1].op_type == "Conv" else None


class Walk:
    """Runs the segments of a graph in order on a few images.

    Args:
        model: A graph; its initializers may change between segments.
        feeds: What the graph is fed, by input name; the first axis counts images.
    """

    def __init__(self, model: onnx.ModelProto, feeds: Tensors) -> None:
        self.stored = dict(feeds)
        self.segments = _segments(model)
        self._model = model
        self._uses = Counter(name for segment in self.segments for name in segment.inputs)

    def __iter__(self) -> Iterator[Segment]:
        """Yield each segment before it is run; :meth:`run` it before going on."""
        yield from self.segments

    def run(self, segment: Segment, constants: Mapping[str, Array] | None = None) -> Tensors:
        """Run a segment, store what it leaves and drop what no later one needs.

        Args:
            segment: The next one.
            constants: Values to use instead of the graph's, by name; also of tensors that the
                graph would compute from constants.

        Returns:
            Its outputs.
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
        made = {name for node in group for name in node.output}
        if group[-1].op_type != "Conv" and not made & needed_later:
            continue
        used = {name for node in group for name in node.input if name}
        inputs = used - made - constants
        own = _with_ancestors(used & set(folded), folded)
        outputs = made if group[-1].op_type == "Conv" else made & needed_later
        segments.append(Segment((*own, *group), tuple(sorted(inputs)), tuple(sorted(outputs))))
        needed_later |= inputs
    return segments[::-1]


def _constant_nodes(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    """Return the nodes that depend on no image, such as the dequantization of weights."""
    constants = {initializer.name for initializer in model.graph.initializer}
    folded: dict[str, onnx.NodeProto] = {}
    for node in model.graph.node:
        if all(name in constants or name in folded for name in node.input if name):
            folded[node.output[0]] = node
    return folded


def _with_ancestors(names: set[str], nodes: dict[str, onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Return the nodes that make ``names`` and, before them, what these need."""
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
                # Large networks fill a gigabyte here; gathered in place, nothing is held twice.
                outputs[name] = np.empty((count, *value.shape[1:]), value.dtype)
            outputs[name][i : i + BATCH] = value
    return outputs


def _value(name: str, values: npt.NDArray[Any]) -> onnx.ValueInfoProto:
    kind = onnx.helper.np_dtype_to_tensor_dtype(values.dtype)
    return onnx.helper.make_tensor_value_info(name, kind, ["batch", *values.shape[1:]])
