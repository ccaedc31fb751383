"""A delivered bundle, a folder or an archive, is checked, unpacked and finished on its device."""

from __future__ import annotations

from pathlib import Path

from cxredge.artifacts.exclusive import exclusive
from cxredge.build.candidates import BuildResult
from cxredge.build.engines import DEFAULT_OPTIONS, EngineOptions, check_options
from cxredge.build.finish import finish, require_here
from cxredge.bundle.bundle import open_unfinished, read_golden
from cxredge.bundle.delivery import deliver, destination, read_delivered
from cxredge.bundle.signature import check_signature, read_public_key
from cxredge.graph.file_check import check_model_file
from cxredge.progress import Progress, Silent
from cxredge.vocabulary import Precision


def deploy_bundle(
    source: Path,
    out: Path | None = None,
    precision: Precision | None = None,
    options: EngineOptions = DEFAULT_OPTIONS,
    public_key: Path | None = None,
    progress: Progress | None = None,
) -> BuildResult:
    """Finish a bundle on the device that this machine is.

    Args:
        source: A bundle's folder or its archive.
        out: Folder of the finished bundle; None for the folder itself or, for an archive, one
            beside it.
        precision: A precision of the bundle; None for the fastest that passed the gate.
        options: Options of engines that override what the bundle was packed with.
        public_key: Refuse a bundle that was not signed with the private key to this one (PEM).
        progress: Progress listener.

    Raises:
        ArtifactError: The source is not an intact bundle, its signature does not match, or another
            process is writing the folder.
        WrongUsage: Options of engines are given, and the target has no engines.
        CxredgeError: The bundle is for another machine, or no engine can be built.
        GateRefused: The golden images have different results here, or ``precision`` did not pass.
    """
    progress = progress or Silent()
    card = read_delivered(source)
    check_options(require_here(card, source), options)
    if public_key:
        check_signature(source, read_public_key(public_key))
        progress.note(f"{source} was signed with the key to {public_key}.")
    folder = destination(source, out)
    with exclusive(folder):
        delivered = deliver(source, folder, progress, _check_usable)
        return finish(delivered, precision, progress, options)


def _check_usable(folder: Path) -> None:
    """Refuse a bundle that no device can finish, so that it does not replace one that works."""
    bundle = open_unfinished(folder)
    read_golden(bundle)
    for name in bundle.card.files:
        if name.endswith(".onnx"):
            check_model_file(folder / name)
