"""What each node of a cluster did."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from cxredge.cluster.job import Served, Shard, ShardRows


@dataclass
class NodeTally:
    """The work of one node.

    Attributes:
        host: Name of the machine.
        images: Number of images that it predicted.
        began: Time when its first image was read, in seconds since 1970, by its own clock.
        ended: Time when its last row was there.
        processor_seconds: Processor time of its workers, without their start.
        processes: Process numbers of its workers, with those that died.
        served: What ran there: one, unless workers differ.
    """

    host: str
    images: int = 0
    began: float = math.inf
    ended: float = -math.inf
    processor_seconds: float = 0.0
    processes: set[int] = field(default_factory=set)
    served: set[Served] = field(default_factory=set)

    def add(self, shard: Shard, rows: ShardRows) -> None:
        """Count a shard."""
        self.images += len(shard.sources)
        self.began, self.ended = min(self.began, rows.began), max(self.ended, rows.ended)
        self.processor_seconds += rows.processor_seconds
        self.processes.add(rows.process)
        self.served.add(rows.served)

    @property
    def images_per_second(self) -> float:
        """Rate from its first image to its last row."""
        seconds = self.ended - self.began
        return self.images / seconds if seconds > 0 else 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the tally as JSON values."""
        return {
            "host": self.host,
            "images": self.images,
            "images_per_second": round(self.images_per_second, 2),
            "processor_seconds": round(self.processor_seconds, 2),
            "workers": len(self.processes),
            "served": [
                {
                    "bundle": one.how.value,
                    "backend": one.backend,
                    "precision": one.precision.value,
                    "cpu": one.cpu,
                    "not_finished": one.reason,
                }
                for one in sorted(self.served, key=str)
            ],
        }

    def line(self) -> str:
        """Return the tally as a sentence."""
        ran = "; ".join(_words(one) for one in sorted(self.served, key=str))
        return (
            f"{self.host}: {self.images} images, {self.images_per_second:.0f} per second, "
            f"{len(self.processes)} workers. {ran}"
        )


@dataclass
class ClusterTally:
    """Summary of a cluster's work.

    Attributes:
        address: The cluster.
        cores: Number of cores per worker.
        shard_rows: Number of rows per shard.
        start_seconds: Seconds that it took to start the cluster or to connect to it.
        kept_shards: Number of shards that an earlier run had finished.
        lost: Number of times that a shard was lost with its worker or node and sent again, by
            reason.
        nodes: By Ray's id.
    """

    address: str
    cores: int
    shard_rows: int
    start_seconds: float = 0.0
    kept_shards: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    nodes: dict[str, NodeTally] = field(default_factory=dict)

    def add(self, node: str, shard: Shard, rows: ShardRows) -> None:
        """Count a shard."""
        self.nodes.setdefault(node, NodeTally(rows.host)).add(shard, rows)

    def to_json(self) -> dict[str, Any]:
        """Return the summary as JSON values."""
        return {
            "address": self.address,
            "cores_per_worker": self.cores,
            "shard_rows": self.shard_rows,
            "kept_shards": self.kept_shards,
            "start_seconds": round(self.start_seconds, 2),
            "lost": dict(self.lost),
            "nodes": [node.to_json() for node in self.nodes.values()],
        }

    def lines(self) -> list[str]:
        """Return the summary as sentences."""
        found = [f"Cluster {self.address}, up after {self.start_seconds:.1f} s."]
        found += [node.line() for node in self.nodes.values()]
        if self.lost:
            causes = ", ".join(f"{reason} ({n})" for reason, n in sorted(self.lost.items()))
            found.append(f"Sent again to other workers: {causes}.")
        return found


def _words(served: Served) -> str:
    words = (
        f"{served.precision.value} in {served.backend}, bundle {served.how.value} ({served.cpu})"
    )
    return f"{words}; not finished there: {served.reason}" if served.reason else f"{words}."
