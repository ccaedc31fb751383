"""Checks of capacity: memory, swap, shared memory and disk."""

from __future__ import annotations

from cxredge.diagnosis.finding import Finding, fail, ok, skip, warn
from cxredge.diagnosis.surroundings import Surroundings

_MIN_MEMORY_MB = 1000
# Engine builds were killed on small boards (ultralytics/ultralytics#19614, #14751); how much memory
# they need was not measured.
_BUILD_MEMORY_MB = 4000
_MIN_SHARED_MB = 256
_MIN_DISK_MB = 2000


def memory(here: Surroundings) -> Finding:
    """Check the free memory for building and predicting, and a container's limit."""
    name, available = "memory", here.state.memory_available_mb
    limit = memory_limit_mb(here)
    if limit is not None and here.machine.memory_mb and limit < here.machine.memory_mb:
        found = f"{available} MB free, limited to {limit:.0f} MB by a control group"
        available = min(available, int(limit)) if available is not None else int(limit)
    else:
        found = f"{available} MB free"
    if available is None:
        return skip(name, "not available")
    if available < _MIN_MEMORY_MB:
        return fail(name, found, f"Free some memory: at least {_MIN_MEMORY_MB} MB are required.")
    if available < _BUILD_MEMORY_MB and here.board.is_jetson:
        return warn(
            name,
            f"{found}, which may be too little to build an engine",
            "Close the desktop (sudo init 3) and other programs that use the GPU. If a build is "
            "killed, run it again: finished engines are kept.",
        )
    return ok(name, found)


def memory_limit_mb(here: Surroundings) -> float | None:
    """Return the memory limit of the control group in MB (10^6 bytes), or None without a limit."""
    for path in ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"):
        text = here.text(path) or ""
        if text.isdecimal():
            return int(text) / 1e6
    return None


def swap(here: Surroundings) -> Finding:
    """Check that a board with little memory has swap for building engines."""
    name, available = "swap", here.state.memory_available_mb
    lines = (here.text("proc/swaps") or "").splitlines()[1:]
    sizes_kib = [words[2] for line in lines if len(words := line.split()) > 2]
    swap_mb = sum(int(kib) * 1024 / 1e6 for kib in sizes_kib if kib.isdecimal())
    if here.text("proc/swaps") is None or available is None:
        return skip(name, "not available")
    found = f"{swap_mb:.0f} MB" if swap_mb else "none"
    if swap_mb == 0 and available < _BUILD_MEMORY_MB and here.board.is_jetson:
        return warn(
            name,
            f"none, with {available} MB of memory free",
            "Building an engine may be killed. Add swap: "
            "sudo fallocate -l 8G /swapfile && sudo chmod 600 /swapfile && "
            "sudo mkswap /swapfile && sudo swapon /swapfile",
        )
    return ok(name, found)


def shared_memory(here: Surroundings) -> Finding:
    """Check the free space in ``/dev/shm``, where the data loaders of training pass batches."""
    name, free = "/dev/shm", here.free_mb(here.root / "dev/shm")  # noqa: S108 - only read
    if free is None:
        return skip(name, "missing")
    if free < _MIN_SHARED_MB:
        fix = "Training may stop with a bus error. Start the container with --ipc=host."
        if not here.board.container:
            fix = "Training may stop with a bus error: sudo mount -o remount,size=1G /dev/shm"
        return warn(name, f"{free:.0f} MB free", fix)
    return ok(name, f"{free:.0f} MB free")


def disk(here: Surroundings) -> Finding:
    """Check the free disk space for temporary files and bundles."""
    free = here.free_mb(here.temporary)
    if free is None:
        return fail("disk", f"{here.temporary} does not exist", "Set TMPDIR to an existing folder.")
    found = f"{free / 1000:.1f} GB free in {here.temporary}"
    if free < _MIN_DISK_MB:
        return warn("disk", found, "Free some space, or set TMPDIR to a folder with more.")
    return ok("disk", found)
