"""File trees of boards, from strings seen on real ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

ORIN_NANO_SUPER = {
    "proc/device-tree/model": "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\0",
    "proc/device-tree/compatible": (
        "nvidia,p3768-0000+p3767-0005-super\0nvidia,p3767-0005\0nvidia,tegra234\0"
    ),
    "etc/nv_tegra_release": (
        "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, "
        "DATE: Wed Jan  8 01:49:37 UTC 2025\n"
    ),
}
THOR = {
    "proc/device-tree/model": "NVIDIA Jetson AGX Thor Developer Kit\0",
    "proc/device-tree/compatible": (
        "nvidia,p4071-0000+p3834-0008\0nvidia,p3834-0008\0nvidia,tegra264\0"
    ),
    "etc/nv_tegra_release": "# R38 (release), REVISION: 4.0, GCID: 1, BOARD: generic\n",
}


def tree(root: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write files under a folder and return it."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def board(soc: str, module: str, l4t: tuple[int, str] | None = None) -> dict[str, str]:
    """Return the files of a board of a module and a Jetson Linux release."""
    files = {"proc/device-tree/compatible": f"nvidia,{module}\0nvidia,{soc}\0"}
    if l4t:
        files["etc/nv_tegra_release"] = f"# R{l4t[0]} (release), REVISION: {l4t[1]}, GCID: 1\n"
    return files
