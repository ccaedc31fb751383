"""All that the checks look at, in one record, so that tests can hand them another machine."""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import metadata
from pathlib import Path

from cxredge.targets.detect import Board, read_board
from cxredge.telemetry.linux import Machine, MachineState, read_machine, read_state


def installed_packages() -> dict[str, str]:
    """Return the versions of the distributions that this interpreter sees, by normalised name."""
    found: dict[str, str] = {}
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        if name:
            found.setdefault(normalised(name), distribution.version)
    return found


def normalised(name: str) -> str:
    """Return a distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def is_importable(module: str) -> bool:
    """Return whether a module would be found; it is not imported, its parents are."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def why_import_fails(module: str) -> str:
    """Import a module; return what went wrong in a line, or an empty string."""
    try:
        importlib.import_module(module)
    except Exception as error:
        # A missing library raises ImportError, a wrong NumPy AttributeError, and there are others.
        return (str(error).splitlines() or [""])[0] or type(error).__name__
    return ""


def cores_of_this_process() -> int:
    """Return how many cores the scheduler may use for this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _free_mb(path: Path) -> float | None:
    try:
        return shutil.disk_usage(path).free / 1e6
    except OSError:
        return None


@dataclass(frozen=True)
class Surroundings:
    """A machine and this process on it.

    Attributes:
        root: Where ``proc``, ``sys``, ``etc`` and ``usr`` lie.
        environment: Environment variables.
        python: Version of the interpreter.
        virtual_environment: Whether the interpreter runs in one.
        cores: Cores that the scheduler may use for this process.
        packages: Installed distributions by normalised name.
        importable: Tells whether a module would be found.
        why_import_fails: Imports a module and tells what went wrong, in a line; empty if nothing.
        load_library: Loads a shared library by name; raises OSError where there is none.
        free_mb: Free space at a path in MB (10^6 bytes), or None where there is no such path.
        temporary: Folder of temporary files.
    """

    root: Path = Path("/")
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    python: tuple[int, int, int] = (sys.version_info[0], sys.version_info[1], sys.version_info[2])
    virtual_environment: bool = sys.prefix != sys.base_prefix
    cores: int = field(default_factory=cores_of_this_process)
    packages: Mapping[str, str] = field(default_factory=installed_packages)
    importable: Callable[[str], bool] = is_importable
    why_import_fails: Callable[[str], str] = why_import_fails
    load_library: Callable[[str], ctypes.CDLL] = ctypes.CDLL
    free_mb: Callable[[Path], float | None] = _free_mb
    temporary: Path = field(default_factory=lambda: Path(tempfile.gettempdir()))

    @cached_property
    def board(self) -> Board:
        """What the files say about the board."""
        return read_board(self.root)

    @cached_property
    def machine(self) -> Machine:
        """What does not change."""
        return read_machine(self.root)

    @cached_property
    def state(self) -> MachineState:
        """What does."""
        return read_state(self.root)

    @property
    def has_nvidia_driver(self) -> bool:
        """Whether a GPU's driver is loaded, on a PC or on a Jetson."""
        return (self.root / "proc/driver/nvidia/version").exists() or self.board.is_jetson

    def text(self, path: str) -> str | None:
        """Return what a file below the root holds, or None where it cannot be read or is empty."""
        try:
            found = (self.root / path).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
        return found.strip("\0\n ") or None

    def find(self, *patterns: str) -> list[Path]:
        """Return the paths below the root that fit any of the patterns, sorted."""
        return sorted({path for pattern in patterns for path in self.root.glob(pattern)})
