"""A worker: it opens the bundle once, then predicts one shard after the other."""

from __future__ import annotations

import os
import socket
import time
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path

from cxredge.backends.base import Session
from cxredge.bundle.bundle import Bundle, open_bundle
from cxredge.bundle.passport import strange_here
from cxredge.cluster.finished_copy import finished_copy
from cxredge.cluster.identity import files_sha256
from cxredge.cluster.job import ClusterJob, Refusal, Served, ServedAs, Shard, ShardRows
from cxredge.errors import CxredgeError, GateRefused
from cxredge.inference.predictions_file import line_of
from cxredge.inference.rows import rows_of
from cxredge.telemetry.linux import read_machine
from cxredge.version import __version__


class _Opened:
    """The bundle of one job, open in this process.

    Attributes:
        job: The job.
        bundle: Its bundle.
        session: Its session.
        served: What runs.
    """

    def __init__(self, job: ClusterJob) -> None:
        self.job = job
        _check(job)
        path, reason = _bundle_for(job)
        self.bundle = open_bundle(path)
        self._closing = ExitStack()
        self.session: Session = self._closing.enter_context(self.bundle.open_for_many(job.cores))
        self.served = _served(self.bundle, reason)

    def close(self) -> None:
        """Free the network's memory."""
        self._closing.close()


_opened: _Opened | None = None
"""Opening takes seconds and a shard about as long, so a process opens its bundle once."""


def predict_shard(job: ClusterJob, shard: Shard) -> ShardRows | Refusal:
    """Return the rows of a shard: those of ``cxredge predict`` on one machine.

    Args:
        job: The prediction.
        shard: The images.
    """
    host = socket.gethostname()
    try:
        opened = _open(job)
        began, busy = time.time(), time.process_time()
        lines, seconds = _predict(opened, shard)
        ended, busy = time.time(), time.process_time() - busy
    except CxredgeError as error:
        return Refusal(f"Worker on {host}: {error.message}", error.hint)
    except ModuleNotFoundError as error:
        return Refusal(
            f"Worker on {host}: the Python package '{error.name}' is not installed there.",
            "Install the same packages on every node.",
        )
    return ShardRows(lines, seconds, began, ended, busy, host, os.getpid(), opened.served)


def _open(job: ClusterJob) -> _Opened:
    global _opened
    if _opened is None or _opened.job != job:
        if _opened is not None:
            _opened.close()
            _opened = None
        _opened = _Opened(job)
    return _opened


def _predict(opened: _Opened, shard: Shard) -> tuple[bytes, dict[str, float]]:
    job = opened.job
    lines: list[bytes] = []
    seconds: Counter[str] = Counter()
    sources = iter(shard.sources)
    groups = rows_of(opened.bundle, opened.session, sources, job.options, job.cores)
    with closing(groups):
        for group in groups:
            lines += [line_of(row) for row in group.rows]
            seconds.update(group.seconds)
    return b"".join(lines), dict(seconds)


def _check(job: ClusterJob) -> None:
    """Check that this machine has what the driver has.

    Raises:
        CxredgeError: It has not.
    """
    if job.version != __version__:
        raise CxredgeError(
            f"cxredge {__version__} is installed; the driver has {job.version}.",
            f"Install the same version on every node: pip install cxredge=={job.version}",
        )
    for path in (job.bundle, *job.roots, *([job.folder] if job.folder else [])):
        if not path.exists():
            raise CxredgeError(
                f"{path} does not exist there.",
                "Use a path that every node sees, such as a shared file system, or copy it to the "
                "same path on each node.",
            )
    if files_sha256(job.bundle) != job.files_sha256:
        raise CxredgeError(
            f"{job.bundle} is not the bundle of the driver: its card or passport differs.",
            "Copy the driver's bundle there.",
        )
    if job.folder is not None:
        os.chdir(job.folder)


def _bundle_for(job: ClusterJob) -> tuple[Path, str]:
    """Return the bundle to open, and why it was not finished here if that was asked for."""
    if not job.finish:
        return job.bundle, ""
    try:
        return finished_copy(job.bundle), ""
    except GateRefused:
        raise
    except CxredgeError as error:
        return job.bundle, error.message


def _served(bundle: Bundle, reason: str) -> Served:
    how = ServedAs.AS_PACKED
    if bundle.passport is not None:
        strange = strange_here(bundle.path, bundle.card.config.target, bundle.passport)
        how = ServedAs.FINISHED_ELSEWHERE if strange else ServedAs.FINISHED
    machine = read_machine()
    return Served(
        how, bundle.backend, bundle.precision, machine.cpu or machine.architecture, reason
    )
