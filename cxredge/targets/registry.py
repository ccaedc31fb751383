"""The known targets, read from the TOML files beside this module."""

from __future__ import annotations

import difflib
import platform
from functools import cache
from importlib import resources
from pathlib import Path

from cxredge.errors import CxredgeError, WrongUsage
from cxredge.targets.detect import Board, match_board, read_board
from cxredge.targets.record import Target
from cxredge.targets.toml_file import read_target
from cxredge.targets.trtexec import by_hand
from cxredge.vocabulary import Precision

ROOT = Path("/")

_MACHINES = {"x86_64": "x86_64", "AMD64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}
_GPU_DRIVER = "proc/driver/nvidia/version"


@cache
def all_targets() -> dict[str, Target]:
    """Return the targets by name."""
    files = sorted(
        (f for f in resources.files("cxredge.targets").iterdir() if f.name.endswith(".toml")),
        key=lambda f: f.name,
    )
    targets = [read_target(f.read_text(encoding="utf-8"), f.name) for f in files]
    return {target.name: target for target in targets}


def find_target(name: str) -> Target:
    """Return a target by name; ``here`` is the one that this machine is.

    Raises:
        CxredgeError: There is none of that name, or ``here`` cannot be told or served.
    """
    if name == "here":
        return target_of_this_machine()
    targets = all_targets()
    if name in targets:
        return targets[name]
    near = difflib.get_close_matches(name, targets, n=1)
    raise CxredgeError(
        f"Unknown target '{name}'. Known: {', '.join(targets)}, or 'here' for this machine.",
        f"Did you mean '{near[0]}'?" if near else "See: cxredge targets",
    )


def target_of_this_machine(root: Path | None = None) -> Target:
    """Return the target that this machine is: the board, or else the processor.

    Args:
        root: Where the system's files lie; another one in tests.

    Raises:
        CxredgeError: The board is known and its software too old, it cannot be told which board
            it is, or the processor is neither x86-64 nor 64-bit Arm.
    """
    board = read_board(root or ROOT)
    target = match_board(board, all_targets().values())
    if target is not None:
        check_software(target, root)
        return target
    if board.is_hidden:
        names = [t.name for t in all_targets().values() if t.detection]
        raise CxredgeError(
            "This is a Jetson, and its device tree cannot be read to tell which.",
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
        target: What the board is.
        root: Where the system's files lie; another one in tests.

    Raises:
        CxredgeError: The software line cannot be served; the hint has the way round it.
    """
    l4t = read_board(root or ROOT).l4t
    line = target.jetpack_of(l4t) if l4t else None
    if line is None or not line.obstacle:
        return
    raise CxredgeError(
        f"This is a {target.title} with Jetson Linux {l4t} (JetPack {line.versions}): "
        f"{line.obstacle}.",
        by_hand(target, line),
    )


def jetpack_of(board: Board) -> str | None:
    """Return the JetPack versions that a board's Jetson Linux belongs to, if the table has them."""
    lines = [t.jetpack_of(board.l4t) for t in all_targets().values()] if board.l4t else []
    return next((line.versions for line in lines if line), None)


def is_here(target: Target, root: Path | None = None) -> bool:
    """Return whether a bundle for a target can be finished on this machine.

    A CPU target is here where the architecture is the same; a board, where the device tree says
    so or cannot tell; a PC with a GPU, where NVIDIA's driver is loaded.

    Args:
        target: The target.
        root: Where the system's files lie; another one in tests.
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
        # Whoever names the board is believed; TensorRT refuses what is for another.
        return True
    try:
        return match_board(board, all_targets().values()) == target
    except CxredgeError:
        return target.detection.soc == board.soc


def require_precision(target: Target, precision: Precision | None) -> None:
    """Refuse a precision that a target does not have.

    Raises:
        WrongUsage: With the reason and what to ask for instead.
    """
    if precision is None or precision in target.precisions:
        return
    held = ", ".join(p.value for p in Precision if p in target.precisions)
    instead = f"--precision {target.default_precision.value}"
    hardware = target.hardware
    if precision is Precision.INT8 and not hardware.int8:
        capability = ", ".join(hardware.compute_capabilities)
        raise WrongUsage(
            f"{target.title.split(' (')[0]} (compute capability {capability}) has no INT8 "
            f"hardware: INT8 would run as slowly as FP32 or not at all. {target.name} takes auto, "
            f"{held}.",
            f"Use {instead}.",
        )
    raise WrongUsage(
        f"{target.name} has no {precision.value}; it takes auto, {held}.",
        f"Use {instead}, or auto.",
    )


def cascades(target: Target, precision: Precision | None, wished: bool | None) -> bool:
    """Tell whether FP32 decides near ties: it does unless not wished or nothing would come of it.

    Args:
        target: The device.
        precision: What was asked for.
        wished: None where it was left open.

    Raises:
        WrongUsage: FP32 was asked for alone, or cxredge does not run on the target.
    """
    if not wished:
        return wished is None and precision is not Precision.FP32 and target.runs_cxredge
    if precision is Precision.FP32:
        raise WrongUsage(
            "--cascade lets FP32 decide the near ties of a reduced precision; with --precision "
            "fp32 there is none.",
            "Leave one of them out.",
        )
    if not target.runs_cxredge:
        raise WrongUsage(
            f"cxredge does not run on {target.name}, and it takes cxredge there to let FP32 decide "
            "near ties.",
            "Leave --cascade out.",
        )
    return True


def words_for_this_machine(root: Path | None = None) -> str:
    """Return what this machine is, for messages: the board's name, or the architecture."""
    model, machine = read_board(root or ROOT).model, this_machine()
    if model:
        return f"{model} ({machine})"
    # A board's bundle has the same architecture: that alone would explain nothing.
    return f"{machine}, and names no board in its device tree" if machine == "aarch64" else machine


def this_machine() -> str:
    """Return this machine's architecture under the name that Linux gives it."""
    return _MACHINES.get(platform.machine(), platform.machine())
