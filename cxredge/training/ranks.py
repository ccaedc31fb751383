"""The processes of a training, one per device, and what they tell each other.

Gradients and batch statistics are exchanged by the device's own library. Everything else (errors,
decisions, images, logits) goes through the processors' memory with gloo, whatever the device, so
that it is the same code on every machine.
"""

from __future__ import annotations

import atexit
import ctypes
import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.utilities.distributed import _destroy_dist_connection

from cxredge.errors import CxredgeError
from cxredge.training.config import TrainingHardware
from cxredge.training.devices import open_devices, require_devices, require_processes
from cxredge.training.launch import find_launched
from cxredge.training.rendezvous import meet

T = TypeVar("T")
S = TypeVar("S", bound=Sequence[Any])
_PR_SET_PDEATHSIG = 1
_LOST = ("gloo", "NCCL", "Connection", "Timed out", "Socket", "store")
"""Words of the errors that torch raises if another process has ended or does not answer."""


class Ranks:
    """The processes of a training; one process alone is the usual case.

    Every process calls the same methods in the same order. A :class:`CxredgeError` of one process
    is raised in all of them; only the first process is to print it (:meth:`is_quiet`).

    Args:
        hardware: Devices and precision.
        rank: Number of this process, from 0.
        size: Number of processes.
        group: Group of processes for objects in the processors' memory; None for one process.
    """

    def __init__(
        self, hardware: TrainingHardware, rank: int = 0, size: int = 1, group: Any = None
    ) -> None:
        self.rank = rank
        self.size = size
        self._hardware = hardware
        self._group = group
        self._common: CxredgeError | None = None

    @cached_property
    def fabric(self) -> Fabric:
        """The launched devices."""
        return open_devices(self._hardware)

    @property
    def is_first(self) -> bool:
        """Whether this process decides, prints and writes."""
        return self.rank == 0

    def is_quiet(self, error: CxredgeError) -> bool:
        """Return whether the first process prints this error."""
        return error is self._common and not self.is_first

    def part(self, items: S) -> S:
        """Return this process's share of a sequence: as many as the others', or one more."""
        start, stop = self.bounds(len(items))
        share: Any = items[start:stop]
        return cast(S, share)

    def bounds(self, count: int) -> tuple[int, int]:
        """Return the first index of this process's share of a sequence, and that behind it."""
        least, more = divmod(count, self.size)
        start = self.rank * least + min(self.rank, more)
        return start, start + least + (self.rank < more)

    def together(self, function: Callable[[], T]) -> list[T]:
        """Call a function in every process, and return all results in the order of the ranks.

        Raises:
            CxredgeError: That of the first process that failed.
        """
        if self.size == 1:
            return [function()]
        outcome: Any = self._outcome(function)
        outcomes: list[Any] = [None] * self.size
        dist.all_gather_object(outcomes, outcome, group=self._group)
        return [self._result(one) for one in outcomes]

    def on_first(self, function: Callable[[], T]) -> T:
        """Call a function in the first process, and return its result in all.

        Raises:
            CxredgeError: The function failed.
        """
        if self.size == 1:
            return function()
        outcome: list[Any] = [self._outcome(function) if self.is_first else None]
        dist.broadcast_object_list(outcome, 0, group=self._group)
        result: T = self._result(outcome[0])
        return result

    def agree(self, error: CxredgeError | None = None) -> None:
        """Raise the error of the first process that has one, in all processes."""

        def fail() -> None:
            if error is not None:
                raise error

        self.together(fail)

    def common(self, error: CxredgeError) -> CxredgeError:
        """Return an error that every process is about to raise, marked for one to print it."""
        self._common = error
        return error

    def total(self, value: float) -> float:
        """Return the sum of a number over the processes."""
        if self.size == 1:
            return value
        number = torch.tensor([value], dtype=torch.float64)
        dist.all_reduce(number, group=self._group)
        return number.item()

    def barrier(self) -> None:
        """Wait for the other processes."""
        self.total(0.0)

    def copy_from_first(self, tensors: Sequence[torch.Tensor]) -> None:
        """Overwrite tensors of the processors' memory or of devices with those of the first."""
        if self.size == 1:
            return
        with torch.no_grad():
            for tensor in tensors:
                values = tensor.cpu().contiguous()
                dist.broadcast(values, 0, group=self._group)
                tensor.copy_(values)

    def require_equal(self, weights: Sequence[torch.Tensor]) -> None:
        """Check that all processes have the same weights, to the last bit.

        Raises:
            CxredgeError: They do not.
        """
        if self.size == 1:
            return
        sums = torch.stack([tensor.double().sum() for tensor in weights]).tolist()
        others = self.together(lambda: sums)
        if any(other != others[0] for other in others):
            raise self.common(
                CxredgeError(
                    "The devices of the training no longer have the same weights.",
                    "Check the memory of the devices, or train with --devices 1.",
                )
            )

    def _outcome(self, function: Callable[[], T]) -> tuple[str, Any]:
        try:
            return "result", function()
        except CxredgeError as error:
            # Errors of classes with further arguments cannot be sent as they are.
            plain = type(error).__init__ is CxredgeError.__init__
            kind = type(error) if plain else CxredgeError
            return "error", (kind, error.message, error.hint)

    def _result(self, outcome: tuple[str, Any]) -> Any:
        how, value = outcome
        if how == "result":
            return value
        kind, message, hint = value
        raise self.common(kind(message, hint))


@contextmanager
def open_ranks(hardware: TrainingHardware) -> Iterator[Ranks]:
    """Connect the processes of a training during the block.

    Raises:
        CxredgeError: A device is missing, the launcher started another number of processes, or
            another process ended or does not answer.
    """
    require_processes(hardware)
    if hardware.devices == 1:
        yield Ranks(hardware)
        return
    try:
        yield _connected(hardware)
    except BaseException as error:
        # Closing NCCL's connections waits for the other processes, which may never come.
        atexit.unregister(_destroy_dist_connection)
        if isinstance(error, RuntimeError) and _is_lost(error):
            raise _lost(error, hardware) from None
        raise


def _connected(hardware: TrainingHardware) -> Ranks:
    _end_with_launcher()
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    wait = timedelta(minutes=hardware.timeout_minutes)
    with _stdout_for_results():
        _join(hardware, wait)
        fabric = open_devices(hardware)
        group: Any = dist.group.WORLD
        if dist.get_backend() != "gloo":
            group = dist.new_group(backend="gloo", timeout=wait)
        ranks = Ranks(hardware, fabric.global_rank, fabric.world_size, group)
        ranks.fabric = fabric
        ranks.barrier()
    return ranks


def _join(hardware: TrainingHardware, wait: timedelta) -> None:
    """Make the group of processes that Fabric uses, with its library for the device."""
    on_processor = require_devices(hardware)
    launched = find_launched()
    if launched is None:
        return
    store = meet(launched.rank, launched.size, wait)
    device = None if on_processor else torch.device("cuda", launched.local_rank)
    dist.init_process_group(
        "gloo" if on_processor else "nccl",
        store=store,
        rank=launched.rank,
        world_size=launched.size,
        timeout=wait,
        device_id=device,
    )
    if not on_processor:
        # As Fabric does for the groups that it makes itself.
        atexit.register(_destroy_dist_connection)


def _is_lost(error: RuntimeError) -> bool:
    return isinstance(error, dist.DistError) or any(word in str(error) for word in _LOST)


def _lost(error: RuntimeError, hardware: TrainingHardware) -> CxredgeError:
    # gloo puts a place in its source code first, and advice behind.
    cause = re.sub(r"^\[\S*\] *", "", str(error).strip()).splitlines()[0].split(". ")[0]
    return CxredgeError(
        "Another process of the training ended or did not answer within "
        f"{hardware.timeout_minutes:g} minutes: {cause.removesuffix('.')}.",
        "Its own message says why, unless it was killed. Run the same command again: it resumes "
        "after the last finished epoch. --timeout-minutes sets how long processes wait.",
    )


def _end_with_launcher() -> None:
    """Let the kernel terminate this process when its launcher ends, however it ends."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


@contextmanager
def _stdout_for_results() -> Iterator[None]:
    """Send what libraries print on stdout to stderr: gloo reports its connections there."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
