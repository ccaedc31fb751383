"""Ray: the only module that imports it.

Ray places tasks on nodes and notices what died; a task is the call of one function with one shard.
A worker process keeps its bundle open, and Ray gives it the next shard. No object stays in Ray's
store, so nothing grows with the number of images. Ray pickles its own messages.
"""

from __future__ import annotations

import math
import os
import re
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cxredge.artifacts.interruption import uninterrupted
from cxredge.artifacts.temporary import scratch_folder
from cxredge.backends.base import available_cores
from cxredge.cluster.job import Answer, ClusterJob, Lost, Shard
from cxredge.cluster.worker import predict_shard
from cxredge.errors import CxredgeError, DependencyError, WrongUsage

LOCAL = "local"
_STORE_BYTES = 100_000_000
_CONNECT_S = 10.0
_MAX_FOLDER_LETTERS = 44
"""The path of a socket in it may have 107 bytes, of which Ray adds 63."""
_NODES_S = 5.0
"""Seconds after which the cluster is asked again for its nodes."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class ClusterSettings:
    """Which cluster, and how it is used.

    Attributes:
        address: ``local`` for the cores of this machine, ``auto`` for the cluster that this machine
            belongs to, or ``HOST:PORT`` of its head.
        cores: Number of cores per worker.
        finish: Whether each kind of machine finishes a copy of the bundle for itself.
    """

    address: str = LOCAL
    cores: int = 1
    finish: bool = False


class RayCluster:
    """Tasks on a cluster that this process is connected to.

    Args:
        job: The prediction.
        gpus: Number of GPUs per worker.
        start_seconds: Seconds that it took to start the cluster or to connect to it.

    Attributes:
        start_seconds: The same.
    """

    def __init__(self, job: ClusterJob, gpus: int, start_seconds: float) -> None:
        import ray

        self._ray, self._job, self._gpus, self.start_seconds = ray, job, gpus, start_seconds
        # A shard that is lost is sent again by the driver, which says so and counts.
        self._task = ray.remote(num_cpus=job.cores, num_gpus=gpus, max_retries=0)(_run)
        self._pending: dict[Any, Shard] = {}
        self._asked, self._slots = -math.inf, 0

    @property
    def pending(self) -> int:
        """Number of shards that are on their way."""
        return len(self._pending)

    @property
    def slots(self) -> int:
        """Number of workers that the nodes have room for; nodes may join and leave."""
        if time.monotonic() - self._asked > _NODES_S:
            alive = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
            self._slots = sum(map(self._room, alive))
            self._asked = time.monotonic()
        return self._slots

    def submit(self, shard: Shard) -> None:
        """Send a shard to the next worker that is free."""
        self._pending[self._task.remote(self._job, shard)] = shard

    def answers(self, timeout_s: float) -> Iterator[tuple[Shard, str, Answer]]:
        """Yield each shard that has ended, the id of its node, and what came of it.

        Args:
            timeout_s: Maximum time to wait for one.

        Raises:
            CxredgeError: The cluster does not answer, or the worker failed for a reason that is
                no fault of the images.
        """
        references = list(self._pending)
        try:
            ready, _ = self._ray.wait(references, timeout=timeout_s)
            if ready:  # all others that have ended too: waiting for one takes longer with many
                ready, _ = self._ray.wait(references, num_returns=len(references), timeout=0)
        except self._ray.exceptions.RayError as error:
            raise _unreachable("the cluster", error) from None
        for reference in ready:
            shard = self._pending.pop(reference)
            node, answer = self._result(reference)
            yield shard, node, answer

    def _result(self, reference: Any) -> tuple[str, Answer]:
        errors = self._ray.exceptions
        lost = (
            errors.WorkerCrashedError,
            errors.NodeDiedError,
            errors.ObjectLostError,
            errors.OutOfMemoryError,
            errors.LocalRayletDiedError,
        )
        try:
            node, answer = self._ray.get(reference)
        except lost as error:
            return "", Lost(_KINDS.get(type(error).__name__, "its worker died"))
        except errors.RayError as error:
            if "No module named" in str(error):
                raise _not_installed(error) from None
            raise _unreachable("the cluster", error) from None
        return node, answer

    def _room(self, resources: dict[str, float]) -> int:
        room = int(resources.get("CPU", 0)) // self._job.cores
        return min(room, int(resources.get("GPU", 0)) // self._gpus) if self._gpus else room


_KINDS = {
    "NodeDiedError": "its node died",
    "OutOfMemoryError": "its worker was ended because the node ran out of memory",
    "ObjectLostError": "its node died before the rows arrived",
}


@uninterrupted
def open_cluster(settings: ClusterSettings, job: ClusterJob, gpus: int) -> Iterator[RayCluster]:
    """Connect to a cluster; or start one on this machine, and stop it after the block.

    Ray's usage statistics are off, and no dashboard is started. A cluster on this machine accepts
    only processes that have its random token.

    Args:
        settings: Which cluster.
        job: The prediction.
        gpus: Number of GPUs per worker.

    Raises:
        CxredgeError: The cluster cannot be started or reached.
    """
    with (
        _environment(settings),
        scratch_folder("ray") as folder,
        _handlers(),
        # Ray prints messages about nodes on stdout, which belongs to the result.
        redirect_stdout(sys.stderr),
    ):
        import ray

        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "CRITICAL"}
        if settings.address == LOCAL:
            options |= _local_options(folder)
        else:
            _check_listens(settings.address)
        began = time.perf_counter()
        try:
            ray.init(address=settings.address, **options)
        except Exception as error:  # Ray raises many kinds, RuntimeError among them
            raise _unreachable(settings.address, error) from None
        try:
            yield RayCluster(job, gpus, time.perf_counter() - began)
        finally:
            ray.shutdown()


def check_settings(settings: ClusterSettings) -> None:
    """Check what can be checked before there is a cluster.

    Raises:
        DependencyError: Ray is not installed.
        WrongUsage: The address or the number of cores cannot be used.
    """
    if find_spec("ray") is None:
        raise DependencyError(
            "--engine ray requires the Python package 'ray'.",
            "Install it: pip install 'cxredge[ray]'",
        )
    if settings.address.startswith("ray://"):
        raise WrongUsage(
            f"{settings.address} is an address of Ray's client, through which a single process "
            "would pass all rows.",
            "Run the command on a machine of the cluster: --cluster auto",
        )
    if settings.address == LOCAL and settings.cores > available_cores():
        raise WrongUsage(
            f"--cores-per-worker {settings.cores} is more than the {available_cores()} cores of "
            "this machine.",
            "Use fewer, or name a cluster: --cluster HOST:PORT",
        )


def _check_listens(address: str) -> None:
    """Check that something listens at ``HOST:PORT``: Ray itself tries for minutes.

    Raises:
        CxredgeError: Nothing does.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise _unreachable(address, error) from None


def _local_options(folder: Path) -> dict[str, Any]:
    if len(str(folder)) > _MAX_FOLDER_LETTERS:
        raise CxredgeError(
            f"The folder for temporary files, {folder.parent}, has a path that is too long for "
            "Ray's sockets.",
            "Set TMPDIR to a shorter one: TMPDIR=/tmp cxredge predict ...",
        )
    return {
        "num_cpus": available_cores(),
        "include_dashboard": False,
        "object_store_memory": _STORE_BYTES,
        "_temp_dir": str(folder),
    }


@contextmanager
def _environment(settings: ClusterSettings) -> Iterator[None]:
    """Set what Ray reads from the environment, and its processes inherit."""
    wanted = {"RAY_USAGE_STATS_ENABLED": "0"}
    if settings.address == LOCAL:
        # Otherwise Ray writes a token to the home. Its ports are open to the network.
        wanted |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


@contextmanager
def _handlers() -> Iterator[None]:
    """Restore the signal handlers, which Ray replaces."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run(job: ClusterJob, shard: Shard) -> tuple[str, Answer]:
    """Predict a shard, in a process of Ray; return the id of its node with the rows."""
    import ray

    return ray.get_runtime_context().get_node_id(), predict_shard(job, shard)


def _not_installed(error: Exception) -> CxredgeError:
    (line,) = re.findall("No module named [^\n]+", str(error))[:1]
    return CxredgeError(
        f"A worker cannot run cxredge: {line}.", "Install the same packages on every node."
    )


def _unreachable(what: str, error: Exception) -> CxredgeError:
    said = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    if what == LOCAL:
        return CxredgeError(
            f"Ray cannot start on this machine: {said.strip()}",
            "Repeat it with --resume when the machine is less busy; without --engine ray, one "
            "process uses all cores.",
        )
    return CxredgeError(
        f"Ray cannot use {what}: {said.strip()}",
        "Check that it runs: ray status --address HOST:PORT. Then repeat with --resume; without "
        "--cluster, the cores of this machine are used.",
    )
