"""Optimiser, learning-rate schedule, class weights and moving average of the weights."""

from __future__ import annotations

import copy
import math

import torch
from torch import nn

from cxredge.models.networks import Classifier
from cxredge.training.config import TrainConfig


def build_optimizer(model: Classifier, config: TrainConfig) -> torch.optim.Optimizer:
    """Return AdamW with parameter groups for backbone and head, with and without weight decay.

    Args:
        model: The network; frozen parameters are left out.
        config: Training settings.

    Returns:
        An optimiser whose groups hold their peak learning rate under the key ``peak``.
    """
    groups = []
    for module, share in ((model.backbone, config.backbone_rate), (model.head, 1.0)):
        trained = [p for p in module.parameters() if p.requires_grad]
        peak = config.learning_rate * share
        # One-dimensional parameters (batch norm, biases) are not decayed.
        for decay, matrices in ((config.weight_decay, True), (0.0, False)):
            chosen = [p for p in trained if (p.ndim > 1) is matrices]
            if chosen:
                groups.append({"params": chosen, "lr": peak, "peak": peak, "weight_decay": decay})
    # The fused kernel saves a tenth of an epoch on cached features.
    return torch.optim.AdamW(groups, fused=True)


def schedule(done: float, epochs: int) -> float:
    """Return the share of the peak learning rate: one epoch of warm-up, then half a cosine.

    Args:
        done: Share of the training that is done, in [0, 1).
        epochs: Number of epochs.
    """
    warm_up = min(1.0 / epochs, 0.2)
    if done < warm_up:
        return 0.1 + 0.9 * done / warm_up
    return 0.5 * (1 + math.cos(math.pi * (done - warm_up) / (1 - warm_up)))


class WeightAverage:
    """Exponential moving average of a network's weights and statistics.

    With a small validation set, the weights of single epochs fluctuate, and the best epoch is
    partly a matter of chance. The average over the last steps is therefore validated and kept
    (Polyak and Juditsky 1992; as an exponential average in Tarvainen and Valpola 2017).

    Args:
        model: The trained network.
        decay: Weight of the past at each step, in [0, 1); 0 follows the network. The effective
            decay rises from 0 over the first steps, so that the initial weights are forgotten.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False)
        self.steps = 0
        self._decay = decay

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Add the current weights of the network to the average."""
        self.steps += 1
        share = 1 - min(self._decay, (self.steps - 1) / self.steps)
        current = model.state_dict()
        averages, values = [], []
        for name, value in self.model.state_dict().items():
            if value.is_floating_point():
                averages.append(value)
                values.append(current[name])
            else:
                value.copy_(current[name])
        torch._foreach_lerp_(averages, values, share)
