"""Checks of the board and of NVIDIA's software for it."""

from __future__ import annotations

import re

from cxredge.diagnosis.finding import Finding, Status, ok, skip, warn
from cxredge.diagnosis.surroundings import Surroundings
from cxredge.errors import CxredgeError
from cxredge.targets.detect import match_board
from cxredge.targets.record import JetPack, Target, version_of
from cxredge.targets.registry import all_targets, check_software

_BINDINGS = "usr/lib/python3*/dist-packages/tensorrt"
_MOUNT_RELEASE = "-v /etc/nv_tegra_release:/etc/nv_tegra_release:ro"
_DLA_COMPILER = "libnvdla_compiler"
# wyoming-whisper-trt#1038 and phanthymotus#154: a package of the host contains it, or none does.
_NO_DLA_COMPILER = (
    "JetPack 6: sudo apt install nvidia-l4t-dla-compiler on the board; containers use it from "
    "there. JetPack 7.2 has no such package: use an image with the TensorRT of the board's JetPack."
)
_OTHER_LIBRARY = (
    "On a board: sudo apt install nvidia-jetpack. In a container: use an image for the board's "
    "release of Jetson Linux, and start it with --runtime nvidia."
)
_FROM_AN_INDEX = (
    "tensorrt tensorrt-cu12 tensorrt-cu12-bindings tensorrt-cu12-libs "
    "tensorrt-cu13 tensorrt-cu13-bindings tensorrt-cu13-libs"
)
_PYTHON_OF_FOLDER = re.compile(r"python(\d+)\.(\d+)$")


def board(here: Surroundings) -> Finding:
    """Check that the board has a target, and that its software is new enough."""
    name, found = "board", here.board
    if not found.is_jetson:
        return skip(name, found.model or "not a Jetson")
    if found.is_hidden:
        return _hidden(here)
    try:
        target = match_board(found, all_targets().values())
    except CxredgeError as error:
        return warn(name, error.message, error.hint)
    if target is None:
        return warn(
            name, found.model or str(found.soc), "No target is known: use --target cpu-arm."
        )
    description = f"{found.model or found.soc}: {target.name}"
    if found.l4t is None:
        return warn(
            name,
            f"{description}, release of Jetson Linux unknown",
            f"In a container, mount it: docker run {_MOUNT_RELEASE}",
        )
    return _software(here, target, description, found.l4t)


def _hidden(here: Surroundings) -> Finding:
    """Return the finding for a Jetson whose device tree is unreadable."""
    names = ", ".join(t.name for t in all_targets().values() if t.detection)
    fix = f"Name the device: --target NAME, one of {names}."
    if here.board.container:
        fix += (
            " Or start the container with -v /proc/device-tree:/proc/device-tree:ro "
            f"{_MOUNT_RELEASE}"
        )
    return warn("board", "a Jetson whose device tree cannot be read here", fix)


def _software(here: Surroundings, target: Target, description: str, l4t: str) -> Finding:
    line = target.jetpack_of(l4t)
    try:
        check_software(target, here.root)
    except CxredgeError as error:
        return Finding("board", Status.FAIL, error.message, error.hint)
    jetpack = f"JetPack {line.versions}" if line else "an unknown JetPack"
    return ok("board", f"{description}, Jetson Linux {l4t} ({jetpack})")


def tensorrt(here: Surroundings) -> Finding:
    """Check that this interpreter can import TensorRT."""
    name = "TensorRT"
    if here.importable("tensorrt"):
        return _imported(here, "tensorrt", here.packages.get("tensorrt", "without a version"))
    if here.importable("tensorrt_rtx"):
        version = f"TensorRT for RTX {here.packages.get('tensorrt-rtx', '')}".strip()
        return _imported(here, "tensorrt_rtx", version)
    outside = here.find(_BINDINGS)
    if outside:
        return _invisible(here, [str(path) for path in outside])
    if here.board.is_jetson:
        return warn(
            name,
            "not installed",
            "sudo apt install nvidia-jetpack; in a container, use an image of NVIDIA for this "
            "release of Jetson Linux.",
        )
    if here.has_nvidia_driver:
        return skip(name, "not installed; with an RTX GPU: pip install 'cxredge[rtx]'")
    return skip(name, "no NVIDIA GPU")


def _imported(here: Surroundings, module: str, version: str) -> Finding:
    """Return the finding for installed bindings, whose libraries may still be missing."""
    cause = here.why_import_fails(module)
    if not cause:
        return _of_the_board(here, version) if module == "tensorrt" else ok("TensorRT", version)
    fix = _OTHER_LIBRARY
    if _DLA_COMPILER in cause:
        fix = _NO_DLA_COMPILER
    elif module == "tensorrt_rtx":
        fix = "pip install --force-reinstall tensorrt-rtx"
    return warn("TensorRT", f"{version}, but it cannot be imported: {cause}", fix)


def _of_the_board(here: Surroundings, version: str) -> Finding:
    """Check that TensorRT is the one of the board's JetPack, or another that runs there.

    Packages from an index are for servers: 11.0 to 11.4.0 support no Jetson, 11.4.1 those with
    JetPack 7.2.2. One that was installed with another package hides JetPack's own.
    """
    line, found = _line_of(here), version_of(version)
    if line is None or not found or found[:2] == version_of(line.tensorrt)[:2]:
        return ok("TensorRT", version)
    own = f"{line.tensorrt} of JetPack {line.versions}"
    if line.runs(version):
        return ok("TensorRT", f"{version}, which runs there instead of {own}")
    others = f" (or {' or '.join(line.also)})" if line.also else ""
    return warn(
        "TensorRT",
        f"{version}, which hides {own} and is not known to run there",
        f"pip uninstall -y {_FROM_AN_INDEX}, and use JetPack's own{others} in: "
        "python3 -m venv --system-site-packages .venv",
    )


def _line_of(here: Surroundings) -> JetPack | None:
    """Return the release line of this board's software, or None if unknown."""
    found = here.board
    if not found.is_jetson or found.l4t is None:
        return None
    lines = (target.jetpack_of(found.l4t) for target in all_targets().values())
    return next((line for line in lines if line), None)


def _invisible(here: Surroundings, outside: list[str]) -> Finding:
    """Return the finding for bindings outside this interpreter's search path."""
    versions = [
        (int(match[1]), int(match[2]))
        for path in outside
        if (match := _PYTHON_OF_FOLDER.search(path.split("/dist-packages")[0]))
    ]
    running = f"{here.python[0]}.{here.python[1]}"
    if versions and here.python[:2] not in versions:
        theirs = ", ".join(f"{major}.{minor}" for major, minor in versions)
        if max(versions) < (3, 10):
            fix = "cxredge requires Python 3.10: build the engine with trtexec; see cxredge targets"
        else:
            newest = ".".join(map(str, max(versions)))
            fix = f"python{newest} -m venv --system-site-packages .venv; install cxredge there."
        found = f"JetPack's bindings are for Python {theirs}; this is Python {running}"
        return warn("TensorRT", found, fix)
    found = f"in {outside[0]}, which is not in this interpreter's search path"
    if "CONDA_PREFIX" in here.environment and not here.virtual_environment:
        fix = "Deactivate conda and use the system's Python: "
    else:
        fix = "Create the environment again with access to the system's packages: "
    return warn(
        "TensorRT",
        found,
        f"{fix}/usr/bin/python{running} -m venv --system-site-packages .venv && "
        ".venv/bin/pip install cxredge",
    )
