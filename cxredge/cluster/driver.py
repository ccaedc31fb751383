"""The loop of a prediction on a cluster: shards go out, rows are committed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Protocol

from cxredge.cluster.job import Answer, Lost, Refusal, Shard
from cxredge.cluster.rescue import Rescue
from cxredge.cluster.shards import ShardFolder
from cxredge.cluster.summary import ClusterTally
from cxredge.errors import CxredgeError
from cxredge.inference.interruption import Interruption
from cxredge.inference.tally import Tally
from cxredge.progress import Advance, Progress

_WAIT_S = 1.0
_SILENCE_S = 60.0
"""Seconds after which the user is told that there was no answer, or how far it is."""


class Cluster(Protocol):
    """What the driver needs of a cluster; see :class:`cxredge.cluster.ray_cluster.RayCluster`."""

    start_seconds: float

    @property
    def pending(self) -> int:
        """Number of shards that are on their way."""
        ...

    @property
    def slots(self) -> int:
        """Number of workers that the nodes have room for."""
        ...

    def submit(self, shard: Shard) -> None:
        """Send a shard to the next worker that is free."""
        ...

    def answers(self, timeout_s: float) -> Iterator[tuple[Shard, str, Answer]]:
        """Yield shards that have ended, the id of their nodes, and what came of them."""
        ...


class Driver:
    """Keeps the workers of a cluster busy and commits what they return, in any order.

    Args:
        cluster: Runs the shards.
        shards: Receives their rows.
        tally: Receives the times of the stages and the number of rows that were kept.
        summary: Receives what the nodes did.
        progress: Progress listener.
    """

    def __init__(
        self,
        cluster: Cluster,
        shards: ShardFolder,
        tally: Tally,
        summary: ClusterTally,
        progress: Progress,
    ) -> None:
        self._cluster, self._shards, self._progress = cluster, shards, progress
        self._tally, self._summary = tally, summary
        self._rescue = Rescue(summary.shard_rows)
        self._heard = self._told = time.monotonic()
        self._done = 0

    def run(self, shards: Iterator[Shard]) -> int:
        """Predict all shards that are not finished yet; return the number of rows of all.

        Raises:
            CxredgeError: A worker cannot predict, or the cluster does not answer.
            KeyboardInterrupt: Ctrl-C, between two shards.
            OSError: The disk is full.
        """
        rows = 0
        with (
            Interruption() as interruption,
            self._progress.task("Predicting on the cluster", None) as advance,
        ):
            for shard in shards:
                rows += len(shard.sources)
                if self._shards.has(shard):
                    self._keep(shard, advance)
                else:
                    while self._cluster.pending >= self._window:
                        self._collect(advance, interruption)
                    self._cluster.submit(shard)
                _stop_if(interruption)
            while self._cluster.pending:
                self._collect(advance, interruption)
        return rows

    @property
    def _window(self) -> int:
        """Number of shards to send: one per worker, and some that wait, so that none idles."""
        slots = self._cluster.slots
        return slots + max(2, slots // 4)

    def _keep(self, shard: Shard, advance: Advance) -> None:
        self._tally.resumed += len(shard.sources)
        self._summary.kept_shards += 1
        advance(len(shard.sources))

    def _collect(self, advance: Advance, interruption: Interruption) -> None:
        """Wait for answers, commit rows, and send again what was lost."""
        for shard, node, answer in self._cluster.answers(_WAIT_S):
            self._heard = time.monotonic()
            if isinstance(answer, Refusal):
                raise CxredgeError(answer.message, answer.hint)
            if isinstance(answer, Lost):
                self._send_again(shard, answer, advance)
            else:
                self._summary.add(node, shard, answer)
                for stage, seconds in answer.seconds.items():
                    self._tally.stages[stage] += seconds
                self._commit(self._rescue.whole(shard, answer.lines), advance)
        self._tell()
        _stop_if(interruption)

    def _commit(self, rows: tuple[Shard, bytes] | None, advance: Advance) -> None:
        if rows is not None:
            shard, lines = rows
            self._shards.commit(shard, lines)
            self._done += len(shard.sources)
            advance(len(shard.sources))

    def _send_again(self, shard: Shard, lost: Lost, advance: Advance) -> None:
        self._summary.lost[lost.reason] += 1
        count = len(shard.sources)
        self._progress.note(
            f"Image {shard.first + 1}{f' to {shard.first + count}' if count > 1 else ''} again: "
            f"{lost.reason}."
        )
        again, given_up = self._rescue.after_loss(shard)
        for piece in again:
            self._cluster.submit(piece)
        if given_up is not None:
            self._commit(self._rescue.whole(shard, given_up), advance)

    def _tell(self) -> None:
        """Report progress where no bar shows it, and silence."""
        now = time.monotonic()
        if now - max(self._told, self._heard) > _SILENCE_S:
            self._told = now
            self._progress.note(
                f"No answer for {now - self._heard:.0f} s: {self._cluster.pending} shards wait for "
                f"workers with {self._summary.cores} cores; the nodes have room for "
                f"{self._cluster.slots}."
            )
        elif now - self._told > _SILENCE_S:
            self._told = now
            rates = sum(node.images_per_second for node in self._summary.nodes.values())
            self._progress.note(
                f"{self._done} images predicted, {rates:.0f} per second on "
                f"{len(self._summary.nodes)} nodes."
            )


def _stop_if(interruption: Interruption) -> None:
    if interruption.requested:
        raise KeyboardInterrupt
