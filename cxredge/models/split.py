"""A network split into its frozen and its trained part."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from cxredge.errors import CxredgeError
from cxredge.models.freeze import train_mode
from cxredge.models.networks import Classifier


class CannotSplitError(CxredgeError):
    """The network cannot be split; it can still be trained end to end."""


@dataclass(frozen=True)
class Parts:
    """The two parts of a network; they share its layers.

    Attributes:
        frozen: Maps float32 images (N, 3, H, W) to a tuple of tensors with the batch dimension
            first.
        trained: Maps those tensors to the output of the network. Its state dict has the names of
            the network's state dict.
    """

    frozen: fx.GraphModule
    trained: fx.GraphModule


def split_network(model: Classifier) -> Parts | None:
    """Split a network into the operations that depend on no trained weight, and the others.

    Every operation that depends only on the images and on frozen layers is frozen, regardless of
    its position. Networks with branches can therefore be split too, and more than one tensor may
    cross the boundary (a cell of NASNet reads the last two).

    Args:
        model: A network with its blocks frozen (:func:`~cxredge.models.freeze.freeze_blocks`);
            left in training mode, frozen batch norm in inference mode.

    Returns:
        The parts, or None if no block is frozen.

    Raises:
        CannotSplitError: The network cannot be traced, or computes differently in training and in
            inference.
    """
    graph = _trace(model)
    frozen = _frozen_nodes(model, graph)
    crossing = _crossing(graph, frozen)
    if any(node.op == "placeholder" for node in crossing):
        return None
    while again := [node for node in crossing if _cheap_to_recompute(node, crossing, model)]:
        frozen.remove(again[-1])
        crossing = _crossing(graph, frozen)
    first = _part(model, [n for n in graph.nodes if n in frozen], (), crossing)
    rest = [n for n in graph.nodes if n not in frozen and n.op != "output"]
    result = next(n for n in graph.nodes if n.op == "output").args[0]
    if not isinstance(result, fx.Node):
        raise CannotSplitError("The network returns more than one tensor.")
    return Parts(first, _part(model, rest, crossing, result))


class _LayerTracer(fx.Tracer):
    """Tracer that treats every module with parameters or buffers as a leaf."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        own = next(m.parameters(recurse=False), None), next(m.buffers(recurse=False), None)
        return any(t is not None for t in own) or super().is_leaf_module(m, module_qualified_name)


def _trace(model: nn.Module) -> fx.Graph:
    """Return the operations of a network; they must be equal in training and in inference."""
    try:
        inference = _LayerTracer().trace(model.eval())
        train_mode(model)
        training = _LayerTracer().trace(model)
    except Exception as error:
        # Tracing runs the network's Python code on proxies, which can raise any exception.
        cause = str(error).splitlines()[:1] or [type(error).__name__]
        raise CannotSplitError(f"Its code cannot be traced: {cause[0]}") from None
    if str(training) != str(inference):
        raise CannotSplitError("It computes differently in training and in inference.")
    return training


def _frozen_nodes(model: nn.Module, graph: fx.Graph) -> set[fx.Node]:
    """Return the operations whose results do not change during training."""
    frozen: set[fx.Node] = set()
    for node in graph.nodes:
        constant = node.op != "output" and frozen.issuperset(node.all_input_nodes)
        if constant and node.op == "call_module":
            constant = not _varies(_layer(model, node))
        if constant and node.op == "get_attr":
            constant = False
        if constant:
            frozen.add(node)
    return frozen


def _varies(layer: nn.Module) -> bool:
    """Return whether a layer's result changes in training: by weights, batch or chance."""
    if any(parameter.requires_grad for parameter in layer.parameters()):
        return True
    if isinstance(layer, _DropoutNd):
        return layer.training and layer.p > 0
    return layer.training and isinstance(layer, _BatchNorm)


def _crossing(graph: fx.Graph, frozen: set[fx.Node]) -> list[fx.Node]:
    """Return the frozen operations whose results trained operations use, in order."""
    return [n for n in graph.nodes if n in frozen and not frozen.issuperset(n.users)]


def _cheap_to_recompute(node: fx.Node, crossing: list[fx.Node], model: nn.Module) -> bool:
    """Return whether a tensor should be recomputed from other cached tensors.

    DenseNet concatenates the same features repeatedly, and the inputs of a concatenation are not
    larger than its output. Inception pools tensors that it also convolves, without weights.
    """
    if any(source.op == "placeholder" for source in node.all_input_nodes):
        return False
    if node.op == "call_module" and any(True for _ in _layer(model, node).parameters()):
        return False
    kept = [source in crossing for source in node.all_input_nodes]
    return any(kept) if node.target is torch.cat else all(kept)


def _layer(model: nn.Module, node: fx.Node) -> nn.Module:
    return model.get_submodule(str(node.target))


def _part(
    model: nn.Module,
    nodes: Iterable[fx.Node],
    inputs: Iterable[fx.Node],
    result: fx.Node | Iterable[fx.Node],
) -> fx.GraphModule:
    graph, copies = fx.Graph(), {}
    for node in inputs:
        copies[node] = graph.placeholder(node.name)
    for node in nodes:
        copies[node] = graph.node_copy(node, copies.__getitem__)
    if isinstance(result, fx.Node):
        graph.output(copies[result])
    else:
        graph.output(tuple(copies[node] for node in result))
    return fx.GraphModule(model, graph)
