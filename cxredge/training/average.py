"""A moving average of the weights: steadier from epoch to epoch than the weights themselves."""

from __future__ import annotations

import copy

import torch
from torch import nn


class WeightAverage:
    """Keeps an exponential moving average of a network's weights and statistics.

    Validation sets here are small, and the weights of single epochs jump about; picking the best
    epoch then picks luck. The average over the last steps (Polyak and Juditsky 1992; as an
    exponential average in Tarvainen and Valpola 2017) is what is validated and kept.

    Args:
        model: The network that is trained.
        decay: Weight of the past at each step, in [0, 1); 0 follows the network itself. It rises
            from 0 over the first steps, so that the start does not linger.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False)
        self.steps = 0
        self._decay = decay

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take a step of the network into the average."""
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
