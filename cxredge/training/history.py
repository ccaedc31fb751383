"""The training history: one record per epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Epoch:
    """One row of the training history.

    Attributes:
        epoch: Number of the epoch, from 1.
        learning_rate: Learning rate of the head at the last step.
        train_loss: Mean cross-entropy of the training images.
        val_loss: Mean cross-entropy of the validation images.
        val_accuracy: Validation accuracy, in [0, 1].
        seconds: Duration of training and validation.
    """

    epoch: int
    learning_rate: float
    train_loss: float
    val_loss: float
    val_accuracy: float
    seconds: float


def best_epoch(history: Sequence[Epoch]) -> int:
    """Return the number of the best epoch, or 0 if there is none.

    The best epoch has the highest validation accuracy, the criterion of the paper; ties go to the
    lowest validation loss.
    """
    if not history:
        return 0
    return max(history, key=lambda e: (e.val_accuracy, -e.val_loss)).epoch
