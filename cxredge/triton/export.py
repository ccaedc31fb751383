"""Export of a bundle to a model repository of NVIDIA Triton."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cxredge.artifacts.disk_space import writing
from cxredge.artifacts.exclusive import exclusive
from cxredge.artifacts.folder import atomic_folder
from cxredge.artifacts.temporary import scratch_folder
from cxredge.backends import CPU_BACKENDS
from cxredge.bundle.bundle import Bundle
from cxredge.errors import ArtifactError, quoted
from cxredge.progress import Progress
from cxredge.triton.check import check_network
from cxredge.triton.model_config import (
    CONFIG_NAME,
    LABELS_NAME,
    WARM_UP_NAME,
    check_same_contract,
    cxr_config,
    network_config,
)
from cxredge.triton.network import Network, network_of
from cxredge.triton.options import TritonOptions
from cxredge.triton.record import is_same_export, write_export_record
from cxredge.triton.version_files import fill_version, warm_up_tensor
from cxredge.vocabulary import Precision, TritonDevice

_KIND = "triton repository"


@dataclass(frozen=True)
class Exported:
    """Result of an export.

    Attributes:
        repository: Folder of the repository.
        version: Version that was written.
        network: The bare network.
        checked_images: Number of images on which the bare network computed what the bundle
            computes, bit for bit; None if it cannot run here as Triton runs it.
        up_to_date: The repository held the same version already.
    """

    repository: Path
    version: int
    network: Network
    checked_images: int | None
    up_to_date: bool = False


@dataclass(frozen=True)
class _Model:
    """A model of the repository.

    Attributes:
        name: Its name.
        shared: Files that all versions share, by path.
        backend: Triton's backend.
        precision: Precision of its network.
        fill: Writes a version's files into its folder.
    """

    name: str
    shared: Mapping[str, bytes]
    backend: str
    precision: Precision
    fill: Callable[[Path], None]


@dataclass(frozen=True)
class _Export:
    """An export whose settings were checked."""

    bundle: Bundle
    network: Network
    models: tuple[_Model, _Model]
    version: int

    def write(self, folder: Path, version: str = "") -> int | None:
        """Write both models below a folder; return the number of images that were compared."""
        for model in self.models:
            place = folder / model.name / version
            place.mkdir(parents=True, exist_ok=True)
            model.fill(place)
            write_export_record(
                place, self.bundle, model.name, self.version, model.backend, model.precision
            )
        return check_network(self.bundle, self.network, folder / self.models[0].name / version)


def export_triton(
    bundle: Bundle, out: Path, options: TritonOptions, progress: Progress
) -> Exported:
    """Write a bundle as two models: the bare network, and one that takes files.

    Args:
        bundle: The bundle, its files checked.
        out: Folder of the repository.
        options: Settings of the export.
        progress: Progress listener.

    Raises:
        ArtifactError: ``out`` holds something else, the version exists with other content, the new
            version does not fit the others, or the network computes something else in Triton.
        CxredgeError: Triton cannot run what was requested.
        DependencyError: Triton's client library is not installed.
    """
    network = network_of(bundle, options)
    export = _Export(bundle, network, _models(bundle, network, options), options.version or 1)
    size_bytes = sum(path.stat().st_size for path in bundle.path.rglob("*") if path.is_file())
    with exclusive(out), writing(out.parent, 3 * size_bytes, f"the repository {out.name}"):
        add = options.version is not None
        _check_existing(out, export.models) if add else _require_new(out, options)
        progress.note("Writing both models and comparing the network with the bundle's.")
        if add:
            return _add(export, out)
        with atomic_folder(out, _KIND) as temporary:
            checked = export.write(temporary, str(export.version))
            for model in export.models:
                _write_shared(model, temporary / model.name)
    return Exported(out, export.version, network, checked)


def _models(bundle: Bundle, network: Network, options: TritonOptions) -> tuple[_Model, _Model]:
    classifier = bundle.card.classifier
    labels = "".join(f"{name}\n" for name in classifier.classes).encode()
    on_gpu = bundle.backend not in CPU_BACKENDS
    own = cxr_config(
        len(classifier.classes), TritonDevice.GPU if on_gpu else TritonDevice.CPU, options
    )
    bare = network_config(network, classifier.input_size, options)
    return (
        _Model(
            options.network_name,
            {CONFIG_NAME: bare.encode(), LABELS_NAME: labels},
            network.backend.value,
            network.precision,
            network.write,
        ),
        _Model(
            options.name,
            {
                CONFIG_NAME: own.encode(),
                LABELS_NAME: labels,
                f"warmup/{WARM_UP_NAME}": warm_up_tensor(classifier.input_size),
            },
            "python",
            bundle.precision,
            lambda folder: fill_version(folder, bundle, options.images),
        ),
    )


def _require_new(out: Path, options: TritonOptions) -> None:
    """Refuse a repository that holds the models already."""
    folders = [out / name for name in (options.name, options.network_name)]
    entries = [entry.name for one in folders if one.is_dir() for entry in one.iterdir()]
    versions = [int(name) for name in entries if name.isdecimal()]
    if versions:
        raise ArtifactError(
            f"{out} holds version {max(versions)} of {options.name}.",
            f"Add a version: --version {max(versions) + 1}. Or choose another --out.",
        )


def _check_existing(out: Path, models: tuple[_Model, ...]) -> None:
    """Require a repository with these models, whose configuration and labels fit."""
    for model in models:
        config = out / model.name / CONFIG_NAME
        if not config.is_file():
            raise ArtifactError(
                f"{out} has no model {model.name}, so that there is nothing to add a version to.",
                "Write a new repository: leave --version out.",
            )
        check_same_contract(model.shared[CONFIG_NAME].decode(), config)
        labels = out / model.name / LABELS_NAME
        if not labels.is_file() or labels.read_bytes() != model.shared[LABELS_NAME]:
            raise ArtifactError(
                f"The classes of the new version are not those of {labels}.",
                "Export it under another name (--name), or to a new repository.",
            )


def _write_shared(model: _Model, folder: Path) -> None:
    for name, content in model.shared.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _add(export: _Export, out: Path) -> Exported:
    """Add a version to both models of a repository.

    Triton may be polling the folder: a version appears complete, and until then its name is no
    number, which Triton ignores. The same version of a run that was killed is completed.
    """
    with scratch_folder("triton") as scratch:
        checked = export.write(scratch)
        missing = [model.name for model in export.models if not _holds(export, out, scratch, model)]
        for name in missing:
            with atomic_folder(out / name / str(export.version), _KIND) as temporary:
                shutil.copytree(scratch / name, temporary, dirs_exist_ok=True)
    return Exported(out, export.version, export.network, checked, not missing)


def _holds(export: _Export, out: Path, scratch: Path, model: _Model) -> bool:
    """Return whether a repository holds the version; refuse one with other content."""
    target = out / model.name / str(export.version)
    if not target.exists():
        return False
    if is_same_export(target, scratch / model.name):
        return True
    raise ArtifactError(
        f"{target} exists and holds something else.",
        f"Choose another --version, or delete it: rm -r {quoted(target)}",
    )
