"""Searching the freeze point: one training for each of a few block boundaries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cxredge.artifacts.card import Card
from cxredge.models.zoo import Network
from cxredge.progress import Progress


@dataclass(frozen=True)
class Candidate:
    """What training from one boundary cost and gave.

    Attributes:
        freeze: ``head``, ``none`` or the first block that was trained.
        trainable: Trainable weights before the head.
        epochs: Epochs until the patience or the epochs were used up.
        seconds: Time of these epochs and of computing frozen features.
        accuracy: Validation accuracy of the best epoch, in [0, 1].
        loss: Its validation loss.
    """

    freeze: str
    trainable: int
    epochs: int
    seconds: float
    accuracy: float
    loss: float


def boundaries(network: Network, points: int) -> list[str]:
    """Return the freeze points to try, from the least that is trained to the most.

    Args:
        network: The network.
        points: Number of block boundaries between ``head`` and ``none``, spread evenly over the
            blocks; all boundaries if there are no more.
    """
    names = [block.name for block in network.blocks]
    points = min(points, len(names) - 1)
    chosen = [names[round(len(names) * n / (points + 1))] for n in range(points, 0, -1)]
    return ["head", *chosen, "none"]


def search(
    freezes: Sequence[str], train_one: Callable[[str], Card], progress: Progress
) -> list[Candidate]:
    """Train from each boundary and tell what came of it.

    Args:
        freezes: The freeze points.
        train_one: Trains from one of them and returns the run's card.
        progress: Hears of each result.
    """
    found = []
    for number, freeze in enumerate(freezes, start=1):
        progress.note(f"Search {number} of {len(freezes)}: --freeze {freeze}")
        candidate = _candidate(freeze, train_one(freeze))
        progress.note(
            f"--freeze {freeze}: validation accuracy {candidate.accuracy:.3f}, loss "
            f"{candidate.loss:.3f}, {candidate.trainable:,} weights, {candidate.seconds:.0f} s"
        )
        found.append(candidate)
    return found


def best_of(candidates: Sequence[Candidate]) -> Candidate:
    """Return the one to keep.

    The highest validation accuracy, as the paper kept; of equal ones the lowest validation loss.
    """
    return max(candidates, key=lambda c: (c.accuracy, -c.loss))


def _candidate(freeze: str, card: Card) -> Candidate:
    facts = card.facts
    return Candidate(
        freeze=freeze,
        trainable=facts["trainable"],
        epochs=facts["epochs"],
        seconds=facts["seconds"],
        accuracy=facts["validation"]["accuracy"],
        loss=facts["validation"]["loss"],
    )
