"""The driver of a prediction on a cluster alone, and what follows for many machines.

    python -m benchmarks.ray_driver COUNT WORK

predicts a list of COUNT paths with workers that answer at once, in this process, and prints the
driver's times and peak memory. :func:`simulate` takes the measured figures to any number of
machines.
"""

from __future__ import annotations

import heapq
import json
import random
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cxredge.cluster.driver import Driver
from cxredge.cluster.job import Answer, Served, ServedAs, Shard, ShardRows
from cxredge.cluster.predict import SHARD_ROWS, shards_of
from cxredge.cluster.shards import ShardFolder
from cxredge.cluster.summary import ClusterTally
from cxredge.data.path_list import reading_list
from cxredge.data.places import walk_places
from cxredge.inference.answers import PredictionRow
from cxredge.inference.predictions_file import line_of
from cxredge.inference.tally import Tally
from cxredge.progress import Silent
from cxredge.vocabulary import Precision

_CLASSES = ("covid19", "normal", "bacterial", "viral")
_WINDOW = 200


class InstantCluster:
    """Answers every shard at once, with rows of the usual length."""

    start_seconds = 0.0
    slots = _WINDOW

    def __init__(self) -> None:
        p = {"covid19": 0.012345, "normal": 0.912345, "bacterial": 0.052345, "viral": 0.022965}
        row = PredictionRow(
            "/archive/2026/000000/000000000000.dcm", "ok", "normal", 0.912345, p, "int8", 0.86,
            ("normal",), prediction_set=("normal",), familiarity=1.234567,
        )  # fmt: skip
        self._line = line_of(row)
        self._waiting: list[Shard] = []
        self._served = Served(ServedAs.AS_PACKED, "onnxruntime", Precision.INT8, "none")

    @property
    def pending(self) -> int:
        """Number of shards that wait."""
        return len(self._waiting)

    def submit(self, shard: Shard) -> None:
        """Accept a shard."""
        self._waiting.append(shard)

    def answers(self, timeout_s: float) -> Iterator[tuple[Shard, str, Answer]]:
        """Answer all shards."""
        waiting, self._waiting = self._waiting, []
        for shard in waiting:
            lines = self._line * len(shard.sources)
            yield shard, "node", ShardRows(lines, {}, 0.0, 1.0, 1.0, "host", 1, self._served)


def write_list(path: Path, count: int, first: Path | None = None) -> Path:
    """Write a list of paths that do not exist, behind one that does."""
    with path.open("w") as stream:
        if first is not None:
            stream.write(f"{first}\n")
        stream.writelines(
            f"/archive/2026/{n // 1000:06d}/{n:012d}.dcm\n"
            for n in range(count - (first is not None))
        )
    return path


def run_driver(count: int, work: Path) -> dict[str, Any]:
    """Run the driver over a list of paths; return its times and its peak memory."""
    out, listed = work / "driver.csv", write_list(work / "driver.txt", count)
    tally, began, busy = Tally(), time.perf_counter(), time.process_time()
    with ShardFolder(out, _CLASSES, {}, resume=False) as shards, reading_list(listed) as images:
        summary = ClusterTally("none", 1, SHARD_ROWS)
        driver = Driver(InstantCluster(), shards, tally, summary, Silent())
        rows = driver.run(shards_of(walk_places([images], tally.skipped)))
        sent, sent_busy = time.perf_counter() - began, time.process_time() - busy
        shards.finish(rows, SHARD_ROWS, tally.add_row)
    assert tally.images == count
    out.unlink()
    listed.unlink()
    return {
        "paths": count,
        "seconds_of_shards": round(sent, 2),
        "processor_seconds_of_shards": round(sent_busy, 2),
        "processor_seconds_of_merging": round(time.process_time() - busy - sent_busy, 2),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


def simulate(
    machines: int, cores: int, images_per_second: float, images: int, driver: dict[str, float]
) -> dict[str, float]:
    """Return the seconds and images per second of a prediction on equal machines.

    Every worker takes the next shard as soon as it is free; the driver handles one shard after the
    other, and merges at the end.

    Args:
        machines: Number of machines.
        cores: Number of cores of each, one worker per core.
        images_per_second: Rate of a worker.
        images: Number of images.
        driver: ``start_seconds``, ``seconds_per_shard``, ``merge_seconds_per_image``, and
            ``spread``, the coefficient of variation of a shard's time.
    """
    draw = random.Random(0)
    free = [driver["start_seconds"]] * (machines * cores)
    driver_free, end = driver["start_seconds"], 0.0
    for first in range(0, images, SHARD_ROWS):
        rows = min(SHARD_ROWS, images - first)
        ready = heapq.heappop(free)
        driver_free = max(driver_free, ready) + driver["seconds_per_shard"]
        took = rows / images_per_second * max(0.2, draw.gauss(1, driver["spread"]))
        heapq.heappush(free, max(ready, driver_free) + took)
        end = max(end, max(ready, driver_free) + took)
    seconds = end + images * driver["merge_seconds_per_image"]
    return {"seconds": round(seconds, 1), "images_per_second": round(images / seconds, 1)}


if __name__ == "__main__":
    print(json.dumps(run_driver(int(sys.argv[1]), Path(sys.argv[2]))))
