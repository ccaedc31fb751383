"""The machine and process that the checks examine, in one record, so that tests can replace it."""

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
    """Return the versions of the distributions in this interpreter, by normalised name."""
    found: dict[str, str] = {}
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        if name:
            found.setdefault(normalised(name), distribution.version)
    return found


def normalised(name: str) -> str:
    """Return the normalised name of a distribution, as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def is_importable(module: str) -> bool:
    """Return whether a module can be found; its parents are imported, but not the module."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def why_import_fails(module: str) -> str:
    """Import a module; return the first line of the error, or an empty string."""
    try:
        importlib.import_module(module)
    except Exception as error:
        # A missing library raises ImportError, a wrong NumPy AttributeError, and others occur.
        return (str(error).splitlines() or [""])[0] or type(error).__name__
    return ""


def cores_of_this_process() -> int:
    """Return the number of cores that this process may use."""
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
        root: Folder that holds ``proc``, ``sys``, ``etc`` and ``usr``.
        environment: Environment variables.
        python: Version of the interpreter.
        virtual_environment: Whether the interpreter runs in a virtual environment.
        cores: Number of cores that this process may use.
        packages: Installed distributions by normalised name.
        importable: Returns whether a module can be found.
        why_import_fails: Imports a module and returns the error in a line; empty if it works.
        load_library: Loads a shared library by name; raises OSError if it is missing.
        free_mb: Returns the free space at a path in MB (10^6 bytes), or None without that path.
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
        """Facts about the board."""
        return read_board(self.root)

    @cached_property
    def machine(self) -> Machine:
        """Facts about the machine."""
        return read_machine(self.root)

    @cached_property
    def state(self) -> MachineState:
        """State of the machine."""
        return read_state(self.root)

    @property
    def has_nvidia_driver(self) -> bool:
        """Whether an NVIDIA driver is loaded, on a PC or on a Jetson."""
        return (self.root / "proc/driver/nvidia/version").exists() or self.board.is_jetson

    def text(self, path: str) -> str | None:
        """Return the content of a file below the root, or None if it is unreadable or empty."""
        try:
            found = (self.root / path).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
        return found.strip("\0\n ") or None

    def find(self, *patterns: str) -> list[Path]:
        """Return the paths below the root that match any of the patterns, sorted."""
        return sorted({path for pattern in patterns for path in self.root.glob(pattern)})
