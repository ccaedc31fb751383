"""The store in which the processes of a training find each other.

The agents of torchrun keep one store over restarts. The addresses that ended processes left in it
are those that a restarted process may read first, and then it waits for nobody (torch 2.15, also
https://github.com/pytorch/pytorch/issues/167288). Every start therefore agrees on a prefix of its
own. The number of restarts would not do: it differs between nodes.
"""

from __future__ import annotations

import json
import time
import uuid
from datetime import timedelta

from torch._C._distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from cxredge.errors import CxredgeError

_PAUSE_SECONDS = 0.02


def meet(rank: int, size: int, wait: timedelta) -> Store:
    """Return a store that only the processes of this start use.

    Args:
        rank: Number of this process.
        size: Number of processes.
        wait: Maximum time to wait for the others.

    Raises:
        CxredgeError: The others did not come.
    """
    store, _, _ = next(rendezvous("env://", rank, size, timeout=wait))
    own = uuid.uuid4().hex
    store.set(f"cxredge/process/{rank}", own)
    end = time.monotonic() + wait.total_seconds()
    while time.monotonic() < end:
        name = _propose(store, size) if rank == 0 else _proposed(store, rank, own)
        if name and _is_accepted(store, rank, size, name):
            return PrefixStore(name, store)
        time.sleep(_PAUSE_SECONDS)
    raise CxredgeError(
        f"The processes of the training did not meet within {wait.total_seconds() / 60:g} minutes.",
        "Start torchrun on all nodes at about the same time, or raise --timeout-minutes.",
    )


def _propose(store: Store, size: int) -> str:
    """Return the name of the start of the processes that are there; empty if one is missing."""
    keys = [f"cxredge/process/{rank}" for rank in range(size)]
    if not store.check(keys):
        return ""
    name = json.dumps([store.get(key).decode() for key in keys])
    store.set("cxredge/start", name)
    return name


def _proposed(store: Store, rank: int, own: str) -> str:
    """Return the name that the first process proposed, if it knows of this process."""
    if not store.check(["cxredge/start"]):
        return ""
    name = store.get("cxredge/start").decode()
    if json.loads(name)[rank] != own:
        return ""
    store.set(f"cxredge/agrees/{rank}", name)
    return name


def _is_accepted(store: Store, rank: int, size: int, name: str) -> bool:
    """Return whether all processes agree to a name; the first process says so."""
    if rank:
        return store.check(["cxredge/agreed"]) and store.get("cxredge/agreed").decode() == name
    keys = [f"cxredge/agrees/{other}" for other in range(1, size)]
    agreed = store.check(keys) and all(store.get(key).decode() == name for key in keys)
    if agreed:
        store.set("cxredge/agreed", name)
    return agreed
