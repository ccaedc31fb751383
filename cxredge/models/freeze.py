"""Block freezing: the first blocks of a network keep their ImageNet weights."""

from __future__ import annotations

from torch import nn

from cxredge.models.networks import Classifier
from cxredge.models.zoo import Network, first_trained_block


def freeze_blocks(model: Classifier, network: Network, freeze: str) -> int:
    """Freeze every block before the boundary that ``freeze`` names.

    Args:
        model: The network; its head always trains.
        network: Its row of the zoo.
        freeze: ``none``, ``head``, ``paper`` or the first block to train.

    Returns:
        The number of trainable weights before the head.

    Raises:
        CxredgeError: No such block.
    """
    first = first_trained_block(network, freeze)
    model.backbone.requires_grad_(False)
    trained = False
    for block in network.blocks:
        trained = trained or block.name == first
        for module in block.modules:
            model.backbone.get_submodule(module).requires_grad_(trained)
    return sum(p.numel() for p in model.backbone.parameters() if p.requires_grad)


def train_mode(model: nn.Module) -> None:
    """Put a network into training mode, but leave batch norm of frozen blocks in inference mode.

    Otherwise the frozen blocks' running statistics would drift to those of the new images, and
    the blocks would no longer compute what they did.
    """
    model.train()
    for module in model.modules():
        own = list(module.parameters(recurse=False))
        if own and not any(parameter.requires_grad for parameter in own):
            module.eval()
