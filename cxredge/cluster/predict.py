"""The driver of a prediction on a cluster: it walks the inputs, sends shards and commits rows."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from cxredge.backends import CPU_BACKENDS
from cxredge.bundle.bundle import Bundle
from cxredge.cluster.driver import Driver
from cxredge.cluster.identity import files_sha256
from cxredge.cluster.job import ClusterJob, Shard
from cxredge.cluster.ray_cluster import ClusterSettings, check_settings, open_cluster
from cxredge.cluster.shards import ShardFolder
from cxredge.cluster.summary import ClusterTally
from cxredge.data.path_list import PathList
from cxredge.data.places import Place, check_places, local_roots, walk_places
from cxredge.data.sources import Source
from cxredge.inference.answers import ANSWER_FAMILIAR, PredictionOptions
from cxredge.inference.finished_file import is_finished
from cxredge.inference.predict import count_finished, job_of
from cxredge.inference.row_formats import check_output
from cxredge.inference.tally import Tally
from cxredge.progress import Progress
from cxredge.version import __version__

SHARD_ROWS = 256
"""Images per shard: a multiple of every batch, so that batches are those of one machine, and about
a second of work, so that a shard that is lost costs little."""

_MAX_ROOTS = 16


def predict_on_cluster(
    bundle: Bundle,
    places: Sequence[Place],
    out: Path,
    resume: bool,
    progress: Progress,
    options: PredictionOptions = ANSWER_FAMILIAR,
    settings: ClusterSettings = ClusterSettings(),  # noqa: B008 - frozen
) -> tuple[Tally, ClusterTally]:
    """Predict every image on a cluster and write one row each, in input order.

    The rows are those of :func:`cxredge.inference.predict.predict`. Finished shards are kept, by
    name, when this process, a worker or a node is killed.

    Args:
        bundle: Predicts; every node sees its folder.
        places: See :func:`cxredge.inference.predict.predict`.
        out: ``.csv``, ``.jsonl`` or ``.parquet``; it appears when the last row is there.
        resume: Keep the shards of an interrupted run of the same job.
        progress: Progress listener.
        options: Which images are answered.
        settings: Which cluster.

    Returns:
        The summary of the rows, and that of the cluster.

    Raises:
        CxredgeError: A path does not exist here or on a worker, the cluster cannot be used, or
            the interrupted run cannot be resumed.
        KeyboardInterrupt: Ctrl-C; the finished shards are kept.
    """
    start = time.perf_counter()
    check_settings(settings)
    check_output(out)
    check_places(places)
    summary = ClusterTally(settings.address, settings.cores, SHARD_ROWS)
    if resume and is_finished(out):
        return count_finished(out, bundle.card.classifier.classes, places), summary
    identity = job_of(bundle, places, options, None)
    identity |= {"shard_rows": SHARD_ROWS, "finish": settings.finish}
    job = _job(bundle, places, options, settings)
    has_cascade = bundle.cascade_margin is not None or (
        settings.finish and bundle.card.config.cascade
    )
    tally = Tally(replaced=out.exists(), near_ties=0 if has_cascade else None)
    gpus = 0 if bundle.backend in CPU_BACKENDS else 1
    with ShardFolder(out, bundle.card.classifier.classes, identity, resume) as shards:
        with open_cluster(settings, job, gpus) as cluster:
            summary.start_seconds = cluster.start_seconds
            driver = Driver(cluster, shards, tally, summary, progress)
            rows = driver.run(shards_of(walk_places(places, tally.skipped)))
        began = time.perf_counter()
        shards.finish(rows, SHARD_ROWS, tally.add_row)
        tally.stages["write"] += time.perf_counter() - began
    tally.seconds = time.perf_counter() - start
    return tally, summary


def shards_of(sources: Iterator[Source], rows: int = SHARD_ROWS) -> Iterator[Shard]:
    """Yield consecutive images in shards.

    Args:
        sources: The images.
        rows: Number of images per shard; the last one has the rest.
    """
    first = 0
    while some := tuple(islice(sources, rows)):
        yield Shard(first, some)
        first += len(some)


def _job(
    bundle: Bundle, places: Sequence[Place], options: PredictionOptions, settings: ClusterSettings
) -> ClusterJob:
    local = [place.base if isinstance(place, PathList) else place for place in places]
    is_relative = any(isinstance(place, Path) and not place.is_absolute() for place in local)
    here = [root.absolute() for root in local_roots(places) if root.exists()]
    path = bundle.path.absolute()
    return ClusterJob(
        __version__,
        path,
        files_sha256(path),
        settings.finish,
        options,
        settings.cores,
        # A shell may have listed every file of a folder.
        tuple(dict.fromkeys(here))[:_MAX_ROOTS],
        Path.cwd() if is_relative else None,
    )
