"""Known targets, read from the TOML files beside this module, and the target of this machine."""

from __future__ import annotations

import difflib
import platform
import re
from functools import cache
from importlib import resources
from pathlib import Path

from cxredge.errors import CxredgeError
from cxredge.targets.detect import Board, match_board, read_board
from cxredge.targets.record import Target
from cxredge.targets.toml_file import read_target
from cxredge.targets.trtexec import without_cxredge

ROOT = Path("/")

_MACHINES = {"x86_64": "x86_64", "AMD64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}
_GPU_DRIVER = "proc/driver/nvidia/version"


@cache
def all_targets() -> dict[str, Target]:
    """Return all targets by name."""
    files = sorted(
        (f for f in resources.files("cxredge.targets").iterdir() if f.name.endswith(".toml")),
        key=lambda f: f.name,
    )
    targets = [read_target(f.read_text(encoding="utf-8"), f.name) for f in files]
    return {target.name: target for target in targets}


def find_target(name: str) -> Target:
    """Return a target by name; ``here`` is the target of this machine.

    Raises:
        CxredgeError: The name is unknown, or this machine is unknown or not supported.
    """
    if name == "here":
        return target_of_this_machine()
    targets = all_targets()
    if name in targets:
        return targets[name]
    words = re.findall("[a-z0-9]+", name.lower())
    fitting = [target for target in targets if words and all(word in target for word in words)]
    near = " or ".join(map(repr, fitting or difflib.get_close_matches(name, targets, n=1)))
    raise CxredgeError(
        f"Unknown target '{name}'. Known: {', '.join(targets)}, or 'here' for this machine.",
        f"Did you mean {near}?" if near else "See: cxredge targets",
    )


def target_of_this_machine(root: Path | None = None) -> Target:
    """Return the target of this machine: its board, or else its processor.

    Args:
        root: Root of the system's files; tests use another one.

    Raises:
        CxredgeError: The software of the board is too old, the board is ambiguous, or the
            processor is neither x86-64 nor 64-bit Arm.
    """
    board = read_board(root or ROOT)
    target = match_board(board, all_targets().values())
    if target is not None:
        check_software(target, root)
        return target
    if board.is_hidden:
        names = [t.name for t in all_targets().values() if t.detection]
        raise CxredgeError(
            "This is a Jetson, but its device tree cannot be read to identify it.",
            f"Name it, --target cpu-arm for its processor or one of {', '.join(names)}; or, in a "
            "container, mount /proc/device-tree.",
        )
    machine = this_machine()
    for candidate in all_targets().values():
        if candidate.machine == machine and candidate.backend == "onnxruntime":
            return candidate
    raise CxredgeError(f"No target fits this machine ({machine}).", "See: cxredge targets")


def check_software(target: Target, root: Path | None = None) -> None:
    """Refuse a board whose Jetson Linux is known to be too old for cxredge.

    Args:
        target: Target of the board.
        root: Root of the system's files; tests use another one.

    Raises:
        CxredgeError: The software is not supported; the hint has an alternative.
    """
    l4t = read_board(root or ROOT).l4t
    line = target.jetpack_of(l4t) if l4t else None
    if line is None or not line.obstacle:
        return
    raise CxredgeError(
        f"This is a {target.title} with Jetson Linux {l4t} (JetPack {line.versions}): "
        f"{line.obstacle}.",
        without_cxredge(target, line),
    )


def jetpack_of(board: Board) -> str | None:
    """Return the JetPack versions of a board's Jetson Linux, or None if unknown."""
    lines = [t.jetpack_of(board.l4t) for t in all_targets().values()] if board.l4t else []
    return next((line.versions for line in lines if line), None)


def is_here(target: Target, root: Path | None = None) -> bool:
    """Return whether a bundle for a target can be finished on this machine.

    A CPU target requires the same architecture; a board requires a device tree that names it or is
    unreadable; a PC with a GPU requires NVIDIA's driver to be loaded.

    Args:
        target: The target.
        root: Root of the system's files; tests use another one.
    """
    if target.machine != this_machine():
        return False
    if target.backend == "onnxruntime":
        return True
    where = root or ROOT
    if target.detection is None:
        return (where / _GPU_DRIVER).exists()
    board = read_board(where)
    if board.is_hidden:
        # The user's choice is trusted; TensorRT rejects engines of another GPU.
        return True
    try:
        return match_board(board, all_targets().values()) == target
    except CxredgeError:
        return target.detection.soc == board.soc


def describe_this_machine(root: Path | None = None) -> str:
    """Return a description of this machine for messages: the board's name, or the architecture."""
    model, machine = read_board(root or ROOT).model, this_machine()
    if model:
        return f"{model} ({machine})"
    # The bundle of a board has the same architecture, so that alone would not explain a refusal.
    return (
        f"{machine}, without a known board in its device tree" if machine == "aarch64" else machine
    )


def this_machine() -> str:
    """Return this machine's architecture by its Linux name."""
    return _MACHINES.get(platform.machine(), platform.machine())
