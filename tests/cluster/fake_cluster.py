"""A cluster in this process, whose workers die as a test says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from cxredge.cluster.job import Answer, ClusterJob, Lost, Refusal, Shard
from cxredge.cluster.ray_cluster import ClusterSettings
from cxredge.cluster.worker import predict_shard

Fate = Callable[[Shard], Answer | None]
"""What happens to a shard before it is predicted; None if nothing does."""


def spare(_: Shard) -> None:
    """Let every worker live."""


class FakeCluster:
    """Runs shards in the caller's thread, the last one first, so that they end out of order."""

    start_seconds = 0.25

    def __init__(self, job: ClusterJob, fate: Fate = spare, slots: int = 2) -> None:
        self.slots = slots
        self.sent: list[tuple[int, int]] = []
        self.most_pending = 0
        self._job, self._fate, self._waiting = job, fate, list[Shard]()

    @property
    def pending(self) -> int:
        return len(self._waiting)

    def submit(self, shard: Shard) -> None:
        self.sent.append((shard.first, len(shard.sources)))
        self._waiting.append(shard)
        self.most_pending = max(self.most_pending, len(self._waiting))

    def answers(self, timeout_s: float) -> Iterator[tuple[Shard, str, Answer]]:
        shard = self._waiting.pop()
        yield shard, f"node-{shard.first % 2}", self._fate(shard) or predict_shard(self._job, shard)


class Deaths:
    """Workers that die with certain shards or images, a number of times each."""

    def __init__(self, times: int, *, first: int | None = None, name: str = "\0") -> None:
        self._times, self._first, self._name = times, first, name

    def __call__(self, shard: Shard) -> Answer | None:
        is_meant = shard.first == self._first or any(self._name in str(s) for s in shard.sources)
        if not is_meant or not self._times:
            return None
        self._times -= 1
        return Lost("its worker died")


def refuse(_: Shard) -> Answer:
    return Refusal("Worker on a: no bundle.", "Copy it there.")


def use(patch: pytest.MonkeyPatch, fate: Fate = spare) -> list[FakeCluster]:
    """Let predictions on a cluster use fake ones; return those that were opened."""
    opened: list[FakeCluster] = []

    @contextmanager
    def open_fake(_: ClusterSettings, job: ClusterJob, gpus: int) -> Iterator[FakeCluster]:
        opened.append(FakeCluster(job, fate))
        yield opened[-1]

    patch.setattr("cxredge.cluster.predict.open_cluster", open_fake)
    patch.setattr("cxredge.cluster.predict.check_settings", lambda _: None)
    return opened
