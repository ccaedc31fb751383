"""Simplification of an exported ONNX graph: fewer nodes, the same results.

On a small device every node costs a kernel launch and memory traffic. Exporters leave nodes that
can be merged into a neighbour: padding before a convolution, batch norm behind one, arithmetic on
weights. These passes are exact up to rounding and apply to float graphs, before quantization.

Every pass returns a new model.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from cxredge.graph.nodes import (
    Array,
    attribute_of,
    constants_of,
    copy_of,
    externally_read,
    floats,
    integers_of,
    number_of,
    replace_nodes,
    set_attribute,
    subgraphs,
)

# Their outputs are random, or later stages rely on the nodes.
NEVER_CONSTANT = frozenset(
    {
        "RandomNormal",
        "RandomUniform",
        "RandomNormalLike",
        "RandomUniformLike",
        "Bernoulli",
        "Multinomial",
        "QuantizeLinear",
        "DequantizeLinear",
    }
)


def lean_graph(model: onnx.ModelProto) -> onnx.ModelProto:
    """Apply all passes of this module; the earlier ones enable the later ones.

    Args:
        model: Float model as exported; not changed.

    Returns:
        A checked model with the same inputs and outputs.

    Raises:
        onnx.checker.ValidationError: If ``model`` is not valid.
    """
    onnx.checker.check_model(model)
    model = fold_pads(fold_batch_norms(fold_constants(model)))
    onnx.checker.check_model(model)
    return model


def fold_constants(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace nodes whose inputs are all constant by initializers.

    Args:
        model: Model; not changed. Nodes with subgraphs are kept.

    Returns:
        The model without such nodes; ``Constant`` nodes become initializers too.
    """
    model = copy_of(model)
    graph = model.graph
    constants = constants_of(graph)
    external = externally_read(graph)
    opsets = {opset.domain: opset.version for opset in model.opset_import}
    kept = []
    for node in graph.node:
        known = all(name in constants for name in node.input if name)
        if not known or not _may_fold(node) or external & set(node.output):
            kept.append(node)
            continue
        feeds = {name: constants[name] for name in node.input if name}
        values = ReferenceEvaluator(node, opsets=opsets).run(None, feeds)
        for name, value in zip(node.output, values, strict=True):
            constants[name] = np.asarray(value)
            graph.initializer.append(numpy_helper.from_array(constants[name], name))
    replace_nodes(graph, kept)
    return model


def fold_batch_norms(model: onnx.ModelProto) -> onnx.ModelProto:
    """Fold a batch norm into the convolution before it, if nothing else reads its output.

    With s = scale / sqrt(var + eps), BN(W x + b) = (s W) x + s (b - mean) + bias (Ioffe and
    Szegedy, "Batch Normalization", 2015, algorithm 1, with fixed statistics).

    Args:
        model: Model; not changed. Weights and statistics must be initializers.

    Returns:
        The model without such ``BatchNormalization`` nodes.
    """
    model = copy_of(model)
    graph = model.graph
    constants = constants_of(graph)
    producers = {name: node for node in graph.node for name in node.output}
    kept = []
    for node in graph.node:
        conv = producers.get(node.input[0]) if node.op_type == "BatchNormalization" else None
        if conv is None or not _takes_batch_norm(conv, node, graph, constants):
            kept.append(node)
            continue
        scale, bias, mean, variance = (floats(constants[name]) for name in node.input[1:5])
        weight = floats(constants[conv.input[1]])
        factor = scale / np.sqrt(variance + number_of(node, "epsilon", 1e-5))
        offset = floats(constants[conv.input[2]]) if len(conv.input) > 2 else 0.0
        folded = weight * factor.reshape(-1, *(1,) * (weight.ndim - 1))
        dtype = constants[conv.input[1]].dtype
        names = [f"{node.output[0]}.weight", f"{node.output[0]}.bias"]
        for name, value in zip(names, (folded, (offset - mean) * factor + bias), strict=True):
            graph.initializer.append(numpy_helper.from_array(value.astype(dtype), name))
        conv.input[1:] = names
        conv.output[0] = node.output[0]
    replace_nodes(graph, kept)
    return model


def fold_pads(model: onnx.ModelProto) -> onnx.ModelProto:
    """Move zero padding into the nodes that read it.

    A ``Pad`` is removed if all its readers can do the padding: a ``Conv`` always, an
    ``AveragePool`` by including the padding in the count, a ``MaxPool`` only behind a ReLU, because
    its own padding is never the maximum, whereas a zero exceeds negative values.

    Args:
        model: Model; not changed. Amounts of padding must be initializers, see `fold_constants`.

    Returns:
        The model without such ``Pad`` nodes.
    """
    model = copy_of(model)
    graph = model.graph
    constants = constants_of(graph)
    producers = {name: node for node in graph.node for name in node.output}
    external = externally_read(graph)
    kept = []
    for node in graph.node:
        amounts = _spatial_zero_padding(node, constants) if node.op_type == "Pad" else None
        if amounts is None or node.output[0] in external:
            kept.append(node)
            continue
        not_negative = _is_not_negative(producers.get(node.input[0]), constants)
        readers = [reader for reader in graph.node if node.output[0] in reader.input]
        if not all(
            _takes_pads(reader, node.output[0], amounts, not_negative) for reader in readers
        ):
            kept.append(node)
            continue
        for reader in readers:
            _add_pads(reader, amounts)
            reader.input[0] = node.input[0]
    replace_nodes(graph, kept)
    return model


def _may_fold(node: onnx.NodeProto) -> bool:
    return node.op_type not in NEVER_CONSTANT and not node.domain and not subgraphs(node)


def _takes_batch_norm(
    conv: onnx.NodeProto,
    norm: onnx.NodeProto,
    graph: onnx.GraphProto,
    constants: dict[str, Array],
) -> bool:
    """Return whether a batch norm can be folded into the node before it."""
    between = norm.input[0]
    return (
        conv.op_type == "Conv"
        and all(name in constants for name in (*conv.input[1:], *norm.input[1:5]))
        and sum(list(node.input).count(between) for node in graph.node) == 1
        and between not in externally_read(graph)
        and not number_of(norm, "training_mode", 0)
    )


def _spatial_zero_padding(node: onnx.NodeProto, constants: dict[str, Array]) -> list[int] | None:
    """Return the amounts (top, left, bottom, right) of a ``Pad``.

    Returns:
        None if the amounts are not constant, or if the node does not pad with zeros or pads other
        axes than height and width.
    """
    names = [name for name in node.input[1:] if name]
    if attribute_of(node, "mode", b"constant") != b"constant" or not names:
        return None
    if any(name not in constants for name in names):
        return None
    inputs = [constants[name] if name else None for name in (*node.input[1:], "", "")]
    amounts, value, axes = inputs[:3]
    if amounts is None or (value is not None and value.size and value.any()):
        return None
    if axes is None:
        full = amounts.tolist()
    else:
        full = [0] * 8
        for number, axis in enumerate(int(axis) % 4 for axis in axes.tolist()):
            full[axis], full[axis + 4] = amounts.tolist()[number :: axes.size]
    if len(full) != 8 or min(full) < 0 or any(full[axis] for axis in (0, 1, 4, 5)):
        return None
    return [int(full[axis]) for axis in (2, 3, 6, 7)]


def _is_not_negative(node: onnx.NodeProto | None, constants: dict[str, Array]) -> bool:
    """Return whether the node guarantees that its output has no negative values."""
    if node is None:
        return False
    if node.op_type == "Clip" and len(node.input) > 1 and node.input[1] in constants:
        return bool((constants[node.input[1]] >= 0).all())  # type: ignore[operator]
    return node.op_type in {"Relu", "Sigmoid", "HardSigmoid"}


def _takes_pads(node: onnx.NodeProto, padded: str, amounts: list[int], not_negative: bool) -> bool:
    """Return whether the padding can be moved into a reader's ``pads`` with the same result."""
    if list(node.input).count(padded) != 1 or node.input[0] != padded:
        return False
    if attribute_of(node, "auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        return False
    if node.op_type == "Conv":
        return True
    if node.op_type not in {"AveragePool", "MaxPool"} or len(node.output) > 1:
        return False
    own = integers_of(node, "pads", [0] * 4)
    window = integers_of(node, "kernel_shape", [])
    # A window must contain at least one pixel; runtimes refuse larger padding.
    if any(a + b >= size for a, b, size in zip(own, amounts, [*window, *window], strict=True)):
        return False
    if number_of(node, "ceil_mode", 0) or max(integers_of(node, "dilations", [1, 1])) > 1:
        return False
    if node.op_type == "MaxPool":
        return not_negative
    return not any(own) or bool(number_of(node, "count_include_pad", 0))


def _add_pads(node: onnx.NodeProto, amounts: list[int]) -> None:
    own = integers_of(node, "pads", [0] * 4)
    set_attribute(node, "auto_pad", "NOTSET")  # may have been VALID
    set_attribute(node, "pads", [a + b for a, b in zip(own, amounts, strict=True)])
    if node.op_type == "AveragePool":
        set_attribute(node, "count_include_pad", 1)
