"""A copy of a bundle that was finished for one kind of machine, kept in the user's cache."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from cxredge.artifacts.card import CARD_NAME, tool_versions
from cxredge.artifacts.file_lock import OWN_FILE, Locked, lock
from cxredge.artifacts.hashing import sha256_of_file, sha256_of_json
from cxredge.artifacts.interruption import uninterrupted
from cxredge.build.deploy import deploy_bundle
from cxredge.bundle.bundle import open_bundle
from cxredge.errors import ArtifactError
from cxredge.telemetry.linux import read_machine

_POLL_S = 0.5
_LETTERS = 16


def finished_copy(bundle: Path) -> Path:
    """Return a copy of a bundle that was finished on this kind of machine; finish it if needed.

    Machines of one kind have the same processor, number of cores and versions. The processes of a
    machine wait for the first of them, so that nothing else runs while candidates are timed.

    Args:
        bundle: The bundle's folder, which is not changed.

    Raises:
        CxredgeError: The bundle is for another machine, or cannot be finished here.
        GateRefused: The golden images have different results here.
    """
    place = _cache() / f"{sha256_of_file(bundle / CARD_NAME)[:_LETTERS]}-{kind_of_machine()}"
    place.parent.mkdir(parents=True, exist_ok=True)
    with _alone(place.with_name(f"{place.name}.lock")):
        if not _is_finished(place):
            deploy_bundle(bundle, place)
    return place


def kind_of_machine() -> str:
    """Return a name for all machines on which the same engine and settings are best."""
    machine = read_machine()
    facts = [
        *(machine.architecture, machine.cpu or "", machine.cores, *machine.cpu_flags),
        *sorted(tool_versions("onnxruntime", "openvino", "tensorrt").items()),
        *_gpus(),
    ]
    return sha256_of_json(facts)[:_LETTERS]


def _gpus(root: Path = Path("/proc/driver/nvidia/gpus")) -> list[str]:
    """Return the models of NVIDIA GPUs, as the driver names them."""
    found = []
    for path in sorted(root.glob("*/information")):
        lines = path.read_text(errors="replace").splitlines()
        found += [line.split(":", 1)[1].strip() for line in lines if line.startswith("Model:")]
    return found


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "cxredge" / "finished"


def _is_finished(place: Path) -> bool:
    try:
        return place.is_dir() and open_bundle(place).passport is not None
    except ArtifactError:
        return False


@uninterrupted
def _alone(path: Path) -> Iterator[None]:
    """Wait until no other process holds the lock of a file, and hold it during the block."""
    descriptor = os.open(path, OWN_FILE | os.O_CREAT, 0o600)
    try:
        while lock(descriptor) is Locked.BY_ANOTHER:
            time.sleep(_POLL_S)
        yield
    finally:
        os.close(descriptor)
