"""How the processes of a training are started: by torchrun, or by this module.

A training on several devices has one process per device. ``torchrun`` starts them on each node and
describes them in environment variables. On one node, ``cxredge train --devices N`` does without:
it runs the agent of torchrun itself.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cxredge.errors import CxredgeError

EXAMPLE = "torchrun --nnodes 2 --nproc-per-node 8 ... -m cxredge train ...; see docs/scale.md"
_OTHER_LAUNCHERS = {
    "SLURM_STEP_NUM_TASKS": "srun",
    "OMPI_COMM_WORLD_SIZE": "mpirun",
    "PMI_SIZE": "mpirun",
}
"""Variables with the number of processes that a launcher started, which only torchrun connects."""
_GRACE_SECONDS = 10
"""Time between SIGTERM and SIGKILL for the other processes when one has failed."""
_SIGNALLED = 128
"""Added to the number of the signal that ended a process, as shells do."""


@dataclass(frozen=True)
class Launched:
    """The processes that torchrun, or a launcher with its variables, started.

    Attributes:
        rank: Number of this process, from 0.
        size: Number of processes.
        per_node: Number of processes per node.
        local_rank: Number of this process on its node, from 0.
    """

    rank: int
    size: int
    per_node: int
    local_rank: int = 0

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return self.size // self.per_node


class ProcessFailed(CxredgeError):  # noqa: N818 - the failure of another process
    """A process of the training failed.

    Args:
        message: Which one, and how it ended; empty if the process said it itself.
        hint: The next step.
        exit_code: Exit code for this process.
        first: Whether the process was the one that prints results.
    """

    def __init__(self, message: str, hint: str, exit_code: int, first: bool) -> None:
        super().__init__(message, hint)
        self.exit_code = exit_code
        self.first = first


def find_launched(environment: Mapping[str, str] = os.environ) -> Launched | None:
    """Return the processes that a launcher started; None if this process is alone.

    Raises:
        CxredgeError: A launcher that does not connect its processes started several, or the
            variables contradict each other.
    """
    if "RANK" in environment and "WORLD_SIZE" in environment:
        return _read(environment)
    for name, launcher in _OTHER_LAUNCHERS.items():
        count = environment.get(name, "1")
        if count.isdigit() and int(count) > 1:
            raise CxredgeError(
                f"{launcher} started {count} processes of this command ({name}), and each would "
                "train alone.",
                f"Start torchrun once per node, and let it start the processes: {EXAMPLE}",
            )
    return None


def require_one_process(work: str) -> None:
    """Refuse work that every process of a launcher would do again.

    Args:
        work: What is to be done, at the start of a sentence.

    Raises:
        CxredgeError: A launcher started several processes.
    """
    launched = find_launched()
    if launched is not None and launched.size > 1:
        raise CxredgeError(
            f"{work} runs in one process, and the launcher started {launched.size}.",
            "Run the command without torchrun.",
        )


def _read(environment: Mapping[str, str]) -> Launched:
    try:
        rank, size = int(environment["RANK"]), int(environment["WORLD_SIZE"])
        per_node = int(environment.get("LOCAL_WORLD_SIZE", "1"))
        local_rank = int(environment.get("LOCAL_RANK", "-1" if size > 1 else "0"))
    except ValueError:
        rank = size = per_node = local_rank = -1
    if not (0 <= rank < size and 0 <= local_rank < per_node and size % per_node == 0):
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        found = ", ".join(f"{name}={environment.get(name, 'unset')}" for name in names)
        raise CxredgeError(
            f"The variables of the launcher do not describe processes of a training: {found}.",
            f"Use torchrun with as many processes on every node ({EXAMPLE}), or unset RANK and "
            "WORLD_SIZE to train on one device.",
        )
    return Launched(rank, size, per_node, local_rank)


def resolve_devices(
    devices: int | None, nodes: int | None, launched: Launched | None
) -> tuple[int, int]:
    """Return the number of devices per node and the number of nodes.

    Args:
        devices: Devices per node that the user asked for; None for those of the launcher, or 1.
        nodes: Nodes that the user asked for; None for those of the launcher, or 1.
        launched: The processes that a launcher started.

    Raises:
        CxredgeError: The launcher started other numbers.
    """
    if launched is None:
        if nodes is not None and nodes > 1:
            raise CxredgeError(
                f"--nodes {nodes}: this command starts processes on this machine only.",
                f"Start torchrun on each node: {EXAMPLE}",
            )
        return devices or 1, 1
    found = (launched.per_node, launched.nodes)
    wanted = (devices or found[0], nodes or found[1])
    if wanted != found:
        raise CxredgeError(
            f"--devices {wanted[0]} --nodes {wanted[1]}: the launcher started {found[0]} "
            f"process{'es' if found[0] > 1 else ''} per node on {found[1]} "
            f"node{'s' if found[1] > 1 else ''} (WORLD_SIZE={launched.size}).",
            "Leave --devices and --nodes out: they are those of torchrun. Without torchrun, unset "
            "RANK and WORLD_SIZE.",
        )
    return found


def start_processes(count: int, arguments: Sequence[str]) -> None:
    """Run a command of cxredge in several processes of this machine, and wait for them.

    If one fails, the others are ended.

    Args:
        count: Number of processes.
        arguments: Arguments of the command line, of which each process gets a copy.

    Raises:
        ProcessFailed: A process failed.
        KeyboardInterrupt: This process was interrupted or terminated; so were the others.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # Its reports of a failure repeat what the processes print themselves.
    for name in logging.root.manager.loggerDict:
        if name.startswith("torch.distributed.elastic"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (cores or 1) // count)))
    # A process that waits for another one does not react to SIGTERM.
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(_GRACE_SECONDS))
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=count, run_id="cxredge", rdzv_backend="c10d",
        rdzv_endpoint="localhost:0", max_restarts=0,
    )  # fmt: skip
    try:
        elastic_launch(config, sys.executable)("-m", "cxredge", *arguments)
    except ChildFailedError as error:
        codes = {rank: failure.exitcode for rank, failure in error.failures.items()}
        raise _failed(codes, count) from None
    except SignalException as error:
        raise KeyboardInterrupt(error.sigval) from None


def _failed(codes: Mapping[int, int], count: int) -> ProcessFailed:
    """Return the failure of processes from their exit codes, negative for signals."""
    # SIGTERM is how the agent ends the others.
    rank = min(codes, key=lambda one: (codes[one] == -signal.SIGTERM, codes[one]))
    if codes[rank] > 0:
        return ProcessFailed("", "", codes[rank], rank == 0)
    name = signal.Signals(-codes[rank]).name
    return ProcessFailed(
        f"The process of device {rank} of {count} was ended by {name}.",
        "Run the same command again: it resumes after the last finished epoch. SIGKILL ends a "
        "process when the memory is full, or when it no longer answers.",
        _SIGNALLED - codes[rank],
        rank == 0,
    )
