"""A network in two parts: what is frozen, and what is trained on its output."""

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
    """This network cannot be taken apart; it can still be trained end to end."""


@dataclass(frozen=True)
class Parts:
    """Two modules that share their layers with the network they were made from.

    Attributes:
        frozen: Maps float32 images (N, 3, H, W) to a tuple of tensors, each with N first.
        trained: Maps those tensors to what the network returns. Its state dict names tensors as
            the network's does.
    """

    frozen: fx.GraphModule
    trained: fx.GraphModule


def split_network(model: Classifier) -> Parts | None:
    """Divide a network into what no trained weight has a part in, and the rest.

    Every operation whose result depends on the images and on frozen layers alone is frozen,
    wherever it stands; so networks with branches divide as well as straight ones, and more than
    one tensor may cross (a cell of NASNet reads the last two).

    Args:
        model: A network with its blocks frozen (:func:`~cxredge.models.freeze.freeze_blocks`);
            left in training mode, frozen batch norm in inference mode.

    Returns:
        The parts, or None when nothing is frozen.

    Raises:
        CannotSplitError: The network's code cannot be followed operation by operation, or differs
            between training and inference.
    """
    graph = _trace(model)
    frozen = _frozen_nodes(model, graph)
    crossing = _crossing(graph, frozen)
    if any(node.op == "placeholder" for node in crossing):
        return None
    while again := [node for node in crossing if _easily_made(node, crossing, model)]:
        frozen.remove(again[-1])
        crossing = _crossing(graph, frozen)
    first = _part(model, [n for n in graph.nodes if n in frozen], (), crossing)
    rest = [n for n in graph.nodes if n not in frozen and n.op != "output"]
    result = next(n for n in graph.nodes if n.op == "output").args[0]
    if not isinstance(result, fx.Node):
        raise CannotSplitError("The network returns more than one tensor.")
    return Parts(first, _part(model, rest, crossing, result))


class _LayerTracer(fx.Tracer):
    """Follows a network down to the layers that own weights, whoever wrote them."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        own = next(m.parameters(recurse=False), None), next(m.buffers(recurse=False), None)
        return any(t is not None for t in own) or super().is_leaf_module(m, module_qualified_name)


def _trace(model: nn.Module) -> fx.Graph:
    """Return the operations of a network, which must be the same in training and in inference."""
    try:
        inference = _LayerTracer().trace(model.eval())
        train_mode(model)
        training = _LayerTracer().trace(model)
    except Exception as error:
        # Tracing runs the network's own Python on stand-ins, which fails in as many ways.
        cause = str(error).splitlines()[:1] or [type(error).__name__]
        raise CannotSplitError(f"Its code cannot be traced: {cause[0]}") from None
    if str(training) != str(inference):
        raise CannotSplitError("It computes differently in training and in inference.")
    return training


def _frozen_nodes(model: nn.Module, graph: fx.Graph) -> set[fx.Node]:
    """Return the operations whose results training never changes."""
    frozen: set[fx.Node] = set()
    for node in graph.nodes:
        settled = node.op != "output" and frozen.issuperset(node.all_input_nodes)
        if settled and node.op == "call_module":
            settled = not _varies(_layer(model, node))
        if settled and node.op == "get_attr":
            settled = False
        if settled:
            frozen.add(node)
    return frozen


def _varies(layer: nn.Module) -> bool:
    """Whether a layer's result changes while training: by its weights, the batch or chance."""
    if any(parameter.requires_grad for parameter in layer.parameters()):
        return True
    if isinstance(layer, _DropoutNd):
        return layer.training and layer.p > 0
    return layer.training and isinstance(layer, _BatchNorm)


def _crossing(graph: fx.Graph, frozen: set[fx.Node]) -> list[fx.Node]:
    """Return the frozen operations whose results the rest uses, in order."""
    return [n for n in graph.nodes if n in frozen and not frozen.issuperset(n.users)]


def _easily_made(node: fx.Node, crossing: list[fx.Node], model: nn.Module) -> bool:
    """Whether a tensor is better made again from others than kept beside them.

    DenseNet concatenates the same features again and again, and the pieces of a concatenation take
    no more room than it does; Inception pools what it also convolves, without weights in between.
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
