"""Detection of the board, from the device tree and the release files of Jetson Linux.

Compute capability and TensorRT version are not derived from the board: the backend reads them from
the driver and the library. In a container these files are often missing; then only the kernel, if
built for Tegra, shows that this is a Jetson.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cxredge.errors import CxredgeError
from cxredge.targets.record import Target

_DEVICE_TREE = ("proc/device-tree", "sys/firmware/devicetree/base")
_RELEASE = re.compile(r"R(\d+).*REVISION:\s*([\d.]+)")
_PACKAGE = re.compile(r"^Package: nvidia-l4t-core\n(?:.+\n)*?Version: ([\d.]+)", re.MULTILINE)
_SOC = "nvidia,tegra"


@dataclass(frozen=True)
class Board:
    """Facts about the board from the system's files.

    Attributes:
        model: Name in the device tree, such as ``NVIDIA Jetson Orin Nano Developer Kit``.
        compatible: Part numbers in the device tree, the system on chip last.
        l4t: Release of Jetson Linux, such as ``36.4.3``.
        tegra_kernel: Whether the kernel, in a container the host's, was built for Tegra.
        container: Whether this process appears to run in a container.
    """

    model: str | None
    compatible: tuple[str, ...]
    l4t: str | None
    tegra_kernel: bool
    container: bool

    @property
    def soc(self) -> str | None:
        """The system on chip, such as ``nvidia,tegra234``."""
        return next((c for c in reversed(self.compatible) if c.startswith(_SOC)), None)

    @property
    def is_jetson(self) -> bool:
        """Whether any file shows that this is a Jetson."""
        return self.soc is not None or self.l4t is not None or self.tegra_kernel

    @property
    def is_hidden(self) -> bool:
        """Whether this is a Jetson whose device tree is unreadable, as in many containers."""
        return self.is_jetson and self.soc is None and self.model is None


def read_board(root: Path = Path("/")) -> Board:
    """Read the facts about the board.

    Args:
        root: Folder that holds ``proc``, ``sys``, ``etc`` and ``var``; tests use another one.
    """
    model = _device_tree(root, "model")
    compatible = _device_tree(root, "compatible")
    return Board(
        model=model[0] if model else None,
        compatible=compatible,
        l4t=_l4t(root),
        tegra_kernel="-tegra" in _text(root / "proc/version"),
        container=_in_container(root),
    )


def match_board(board: Board, targets: Iterable[Target]) -> Target | None:
    """Return the target of a board, or None if it is not a known Jetson.

    The module's part number decides first, then the name in the device tree, then the system on
    chip if only one target has it.

    Raises:
        CxredgeError: It is a Jetson, and the files fit several targets.
    """
    known = [(target, target.detection) for target in targets if target.detection]
    for target, detection in known:
        if any(module in entry for module in detection.modules for entry in board.compatible):
            return target
    for target, detection in known:
        if board.model and any(name in board.model for name in detection.models):
            return target
    alike = [target for target, detection in known if board.soc and detection.soc == board.soc]
    if len(alike) > 1:
        names = [target.name for target in alike]
        raise CxredgeError(
            f"This is a Jetson with {board.soc} that matches no target: "
            f"'{board.model or ', '.join(board.compatible)}'.",
            f"Name it: --target {names[0]}, or {', '.join(names[1:])}.",
        )
    return alike[0] if alike else None


def _device_tree(root: Path, name: str) -> tuple[str, ...]:
    """Return the NUL-terminated strings of a property."""
    texts = (_text(root / folder / name) for folder in _DEVICE_TREE)
    found = next((text for text in texts if text), "")
    return tuple(part.strip() for part in found.split("\0") if part.strip())


def _l4t(root: Path) -> str | None:
    """Read the release of Jetson Linux from its file, or from the list of installed packages."""
    release = _RELEASE.search(_text(root / "etc/nv_tegra_release"))
    if release:
        return f"{release[1]}.{release[2]}"
    package = _PACKAGE.search(_text(root / "var/lib/dpkg/status"))
    return package[1] if package else None


def _in_container(root: Path) -> bool:
    if (root / ".dockerenv").exists() or (root / "run/.containerenv").exists():
        return True
    control_groups = _text(root / "proc/1/cgroup")
    return any(name in control_groups for name in ("docker", "kubepods", "containerd", "lxc"))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
