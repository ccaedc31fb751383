"""What happens to the images of a worker that died."""

from __future__ import annotations

from collections import Counter

from cxredge.cluster.job import Shard
from cxredge.data.sources import Source
from cxredge.errors import ImageProblem
from cxredge.inference.answers import PredictionRow
from cxredge.inference.predictions_file import line_of

TRIES = 3
"""Times that a shard is sent before its halves are, and that a single image is."""


class Rescue:
    """Finds the image that ends its worker, so that all others have their rows.

    A shard that was lost several times is sent in halves. The rows of its pieces are kept until
    the shard is whole.

    Args:
        shard_rows: Number of images per shard.
    """

    def __init__(self, shard_rows: int) -> None:
        self._shard_rows = shard_rows
        self._tries: Counter[tuple[int, int]] = Counter()
        self._whole: dict[int, Shard] = {}
        self._lines: dict[int, dict[int, bytes]] = {}

    def after_loss(self, shard: Shard) -> tuple[list[Shard], bytes | None]:
        """Return what to send again, and a row instead if a single image ends every worker."""
        count, parent = len(shard.sources), self._parent(shard)
        key = (shard.first, count)
        self._tries[key] += 1
        if self._tries[key] < TRIES and (count == 1 or parent is shard):
            return [shard], None
        if count == 1:
            return [], line_of(_ends_workers(shard.sources[0], self._tries[key]))
        self._whole[parent.first] = parent
        self._lines.setdefault(parent.first, {})
        half = count // 2
        return [
            Shard(shard.first, shard.sources[:half]),
            Shard(shard.first + half, shard.sources[half:]),
        ], None

    def whole(self, shard: Shard, lines: bytes) -> tuple[Shard, bytes] | None:
        """Return the shard and its rows if these are all; None as long as pieces are missing."""
        self._tries.pop((shard.first, len(shard.sources)), None)
        parent = self._parent(shard)
        if parent is shard:
            return shard, lines
        found = self._lines[parent.first]
        found[shard.first] = lines
        if sum(part.count(b"\n") for part in found.values()) < len(parent.sources):
            return None
        del self._whole[parent.first], self._lines[parent.first]
        return parent, b"".join(found[first] for first in sorted(found))

    def _parent(self, shard: Shard) -> Shard:
        """Return the shard that was split, of which this one is a piece; or this one."""
        return self._whole.get(shard.first - shard.first % self._shard_rows, shard)


def _ends_workers(source: Source, times: int) -> PredictionRow:
    return PredictionRow(
        str(source),
        ImageProblem.UNREADABLE.value,
        error=f"{source} ended the worker that predicted it, {times} times.",
    )
