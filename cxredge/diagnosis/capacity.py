"""Room: memory, swap, shared memory, disk."""

from __future__ import annotations

from cxredge.diagnosis.finding import Finding, fail, ok, skip, warn
from cxredge.diagnosis.surroundings import Surroundings

_LEAST_MEMORY_MB = 1000
# Building engines was seen to be killed on small boards (ultralytics/ultralytics#19614, #14751);
# how much it takes was not measured.
_BUILD_MEMORY_MB = 4000
_LEAST_SHARED_MB = 256
_LEAST_DISK_MB = 2000


def memory(here: Surroundings) -> Finding:
    """There is memory to build and predict in, and in a container no limit below it."""
    name, available = "memory", here.state.memory_available_mb
    limit = memory_limit_mb(here)
    if limit is not None and here.machine.memory_mb and limit < here.machine.memory_mb:
        found = f"{available} MB free, limited to {limit:.0f} MB by a control group"
        available = min(available, int(limit)) if available is not None else int(limit)
    else:
        found = f"{available} MB free"
    if available is None:
        return skip(name, "not available")
    if available < _LEAST_MEMORY_MB:
        return fail(name, found, f"Free some memory: {_LEAST_MEMORY_MB} MB are needed.")
    if available < _BUILD_MEMORY_MB and here.board.is_jetson:
        return warn(
            name,
            f"{found}, little for building an engine",
            "Close the desktop (sudo init 3) and other programs that use the GPU. If a build is "
            "killed, run it again: engines that were finished are kept.",
        )
    return ok(name, found)


def memory_limit_mb(here: Surroundings) -> float | None:
    """Return what a control group allows in MB (10^6 bytes), or None without a limit."""
    for path in ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"):
        text = here.text(path) or ""
        if text.isdecimal():
            return int(text) / 1e6
    return None


def swap(here: Surroundings) -> Finding:
    """A board with little memory has swap to build an engine with."""
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
    """``/dev/shm`` has room for the batches that loading processes hand over when training."""
    name, free = "/dev/shm", here.free_mb(here.root / "dev/shm")  # noqa: S108 - only looked at
    if free is None:
        return skip(name, "not there")
    if free < _LEAST_SHARED_MB:
        fix = "Training may stop with a bus error. Start the container with --ipc=host."
        if not here.board.container:
            fix = "Training may stop with a bus error: sudo mount -o remount,size=1G /dev/shm"
        return warn(name, f"{free:.0f} MB free", fix)
    return ok(name, f"{free:.0f} MB free")


def disk(here: Surroundings) -> Finding:
    """Temporary files and bundles find room."""
    free = here.free_mb(here.temporary)
    if free is None:
        return fail("disk", f"{here.temporary} is not there", "Set TMPDIR to a folder that is.")
    found = f"{free / 1000:.1f} GB free in {here.temporary}"
    if free < _LEAST_DISK_MB:
        return warn("disk", found, "Free some space, or set TMPDIR to a folder that has it.")
    return ok("disk", found)
