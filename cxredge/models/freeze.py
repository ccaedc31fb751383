"""Block freezing: the first blocks of a network keep their ImageNet weights."""

from __future__ import annotations

from torch import nn

from cxredge.models.networks import Classifier
from cxredge.models.zoo import Network, first_trained_block


def freeze_blocks(model: Classifier, network: Network, freeze: str) -> int:
    """Freeze every block before the boundary that ``freeze`` names.

    Args:
        model: The network; its head always trains.
        network: Row of the zoo.
        freeze: ``none``, ``head``, ``paper`` or the first block to train.

    Returns:
        The number of trainable weights before the head.

    Raises:
        CxredgeError: The network has no such block.
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
    """Set a network to training mode, but keep batch norm of frozen blocks in inference mode.

    Otherwise the running statistics of frozen blocks would drift towards those of the new images,
    and their outputs would change.
    """
    model.train()
    for module in model.modules():
        own = list(module.parameters(recurse=False))
        if own and not any(parameter.requires_grad for parameter in own):
            module.eval()
