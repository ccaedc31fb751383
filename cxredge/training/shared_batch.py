"""A batch that several processes share: each computes a slice of its images.

All processes draw the same batches from the same seed, so that the order of the images does not
depend on the number of devices. What is drawn or averaged per batch is that of the whole batch.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cxredge.training.ranks import Ranks


class SharedBatch:
    """The current batch of a training.

    Args:
        ranks: Processes of the training.

    Attributes:
        count: Number of images of the whole batch.
        start: Index of the first image of this process.
        stop: Index behind its last one.
    """

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        self.count = self.start = self.stop = 0

    def __deepcopy__(self, _: object) -> SharedBatch:
        """Return the same batch, for the copy of a network that is averaged."""
        return self

    def take(self, rows: Tensor) -> Tensor:
        """Begin a batch and return the rows of this process.

        Args:
            rows: int64 (N,), rows of the whole batch.
        """
        self.count = len(rows)
        self.start, self.stop = 0, self.count
        if not self._is_repeated:
            self.start, self.stop = self._ranks.bounds(self.count)
        return rows[self.own]

    @property
    def own(self) -> slice:
        """Positions in the batch of the images of this process."""
        return slice(self.start, self.stop)

    @property
    def is_whole(self) -> bool:
        """Whether this process computes all images of the batch."""
        return self.stop - self.start == self.count

    def loss(self, logits: Tensor, probabilities: Tensor, weights: Tensor) -> Tensor:
        """Return the share of this process in the mean loss of the batch, for its gradient.

        The mean over the processes, which data parallelism computes of their gradients, is the mean
        loss of the whole batch.

        Args:
            logits: float32 (n, classes), of this process's images.
            probabilities: float32 (n, classes), targets of the same images.
            weights: float32 (N,), weights of all images of the batch.
        """
        losses = F.cross_entropy(logits, probabilities, reduction="none")
        total = (losses * weights[self.own]).sum() / weights.sum()
        return total * (1 if self._is_repeated else self._ranks.size)

    def mean_loss(self, share: Tensor) -> float:
        """Return the mean loss of the whole batch from the processes' shares."""
        return self._ranks.total(share.item()) / self._ranks.size

    @property
    def _is_repeated(self) -> bool:
        """Whether every process computes the whole batch: there are fewer images than processes.

        A process without images would have no batch statistics. Only the last batch of an epoch can
        be so small.
        """
        return self.count < self._ranks.size


def share_dropout(model: nn.Module, batch: SharedBatch) -> None:
    """Let dropout draw its masks for the whole batch, so that they do not depend on the devices.

    Args:
        model: Changed in place.
        batch: The current batch of the training.
    """
    for module in model.modules():
        if type(module) is nn.Dropout and module.p > 0:
            # Only the class changes, as the split network calls this very module.
            module.__class__ = _SharedDropout
            module._batch = batch  # type: ignore[assignment]


class _SharedDropout(nn.Dropout):
    """Dropout of a slice of a batch."""

    _batch: SharedBatch

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return input
        whole = torch.ones((self._batch.count, *input.shape[1:]), device=input.device)
        mask = F.dropout(whole, self.p)[self._batch.own]
        return input * mask.to(input.dtype)
