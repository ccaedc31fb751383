"""Search for the freeze point: one training for each of a few block boundaries."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cxredge.artifacts.run_card import FreezeCandidate, RunFacts
from cxredge.models.zoo import Network
from cxredge.progress import Progress


def boundaries(network: Network, points: int) -> list[str]:
    """Return the freeze points to try, in ascending order of trained blocks.

    Args:
        network: The network.
        points: Number of block boundaries between ``head`` and ``none``, spread evenly over the
            blocks; all boundaries if the network has fewer.
    """
    names = [block.name for block in network.blocks]
    points = min(points, len(names) - 1)
    chosen = [names[round(len(names) * n / (points + 1))] for n in range(points, 0, -1)]
    return ["head", *chosen, "none"]


def search(
    freezes: Sequence[str], train_one: Callable[[str], RunFacts], progress: Progress
) -> list[FreezeCandidate]:
    """Train from each freeze point.

    Args:
        freezes: The freeze points.
        train_one: Trains from one of them and returns the facts of the run.
        progress: Progress listener.

    Returns:
        One candidate per freeze point, in their order.
    """
    candidates = []
    for number, freeze in enumerate(freezes, start=1):
        progress.note(f"Search {number} of {len(freezes)}: --freeze {freeze}")
        candidate = _candidate(freeze, train_one(freeze))
        progress.note(
            f"--freeze {freeze}: validation accuracy {candidate.accuracy:.3f}, loss "
            f"{candidate.loss:.3f}, {candidate.trainable:,} weights, {candidate.seconds:.0f} s"
        )
        candidates.append(candidate)
    return candidates


def best_of(candidates: Sequence[FreezeCandidate]) -> FreezeCandidate:
    """Return the best candidate.

    The best one has the highest validation accuracy, the criterion of the paper; ties go to the
    lowest validation loss.
    """
    return max(candidates, key=lambda c: (c.accuracy, -c.loss))


def _candidate(freeze: str, facts: RunFacts) -> FreezeCandidate:
    return FreezeCandidate(
        freeze=freeze,
        trainable=facts.trainable,
        epochs=facts.epochs,
        seconds=facts.seconds,
        accuracy=facts.validation.accuracy,
        loss=facts.validation.loss,
    )
