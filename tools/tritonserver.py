"""Install the real ``tritonserver`` beside this environment, for its tests and benchmark.

``python -m tools.tritonserver``, which ``make`` calls: writes ``.venv/triton``, an environment
with the server, NumPy 1 (the server's Python backend of this version reads wrong values from
NumPy 2) and, through a ``.pth`` file, the packages of ``.venv``. The wheel exists for x86-64 Linux
with glibc 2.35 or newer; elsewhere nothing is installed, and the tests that need it say so.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

PACKAGES = ("nvidia-pytriton==0.7.0", "numpy==1.26.4")
"""Pinned here: constraints.txt has the NumPy of everything else."""


def main() -> None:
    """Install the server, or print why there is none."""
    folder = Path(sys.prefix) / "triton"
    venv.create(folder, clear=True, symlinks=True, with_pip=False)
    python = folder / "bin" / "python"
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    command += ["--no-deps", "--only-binary", ":all:", *PACKAGES]
    if subprocess.run(command, check=False).returncode:
        sys.stderr.write("No tritonserver for this machine: its tests are skipped.\n")
        return
    here = sysconfig.get_path("purelib")
    there = here.replace(sys.prefix, str(folder), 1)
    (Path(there) / "project.pth").write_text(f"{here}\n")


if __name__ == "__main__":
    main()
