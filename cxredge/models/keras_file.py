"""Reader for the HDF5 files of Keras weights, layer by layer.

The files have Keras' legacy layout: a root group with the attribute ``layer_names``, and in it one
group per layer with the attribute ``weight_names``. A file of a whole model has the same layout
below ``model_weights``. Nothing is unpickled, and links to other files are rejected.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from cxredge.errors import CxredgeError

Layers = Mapping[str, Mapping[str, Any]]
"""HDF5 datasets by layer and weight name."""

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


@contextmanager
def open_layers(path: Path) -> Iterator[Layers]:
    """Open a file and yield its layers that have weights; data is read on access.

    Raises:
        CxredgeError: The file is missing, damaged, not HDF5 or of another layout, or refers to
            other files.
    """
    import h5py

    if not path.is_file():
        raise CxredgeError(
            f"Weights file {path} does not exist.", "Check --weights (imagenet, none or a file)."
        )
    with path.open("rb") as stream:
        start = stream.read(len(HDF5_SIGNATURE))
    if start != HDF5_SIGNATURE:
        raise CxredgeError(
            f"{path} is not an HDF5 file: it starts with {start!r}, not {HDF5_SIGNATURE!r}.",
            "Check that the file is complete.",
        )
    try:
        with h5py.File(path, "r") as file:
            yield _layers(file)
    except (OSError, RuntimeError) as error:
        # h5py raises these for damaged files, on opening and on reading.
        cause = str(error).splitlines()[0][:200]
        raise CxredgeError(
            f"{path} cannot be read as weights: {cause}", "Check that the file is complete."
        ) from None


def _layers(file: Any) -> Layers:
    root = _child(file, "model_weights") if "model_weights" in file else file
    layers = {
        layer: {
            weight.rsplit("/", 1)[-1].split(":")[0]: _child(_child(root, layer), weight)
            for weight in _names(_child(root, layer), "weight_names")
        }
        for layer in _names(root, "layer_names")
    }
    return {layer: weights for layer, weights in layers.items() if weights}


def _names(group: Any, attribute: str) -> list[str]:
    """Read a list of names; Keras splits long lists into ``attribute0``, ``attribute1``, ..."""
    if attribute in group.attrs:
        parts = [group.attrs[attribute]]
    else:
        parts = []
        while f"{attribute}{len(parts)}" in group.attrs:
            parts.append(group.attrs[f"{attribute}{len(parts)}"])
        if not parts:
            raise CxredgeError(
                f"{group.file.filename}: group '{group.name}' has no attribute '{attribute}'; "
                "expected the legacy layout of Keras (a .h5 file, not .weights.h5 or .keras).",
                "Save it with Keras: model.save('weights.h5')",
            )
    names = [name for part in parts for name in np.asarray(part).tolist()]
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]


def _child(group: Any, path: str) -> Any:
    """Follow a path inside the file; reject links to other files."""
    import h5py

    node = group
    for part in path.strip("/").split("/"):
        link = node.get(part, getlink=True) if isinstance(node, h5py.Group) else None
        if not isinstance(link, h5py.HardLink):
            found = "nothing" if link is None else type(link).__name__
            raise CxredgeError(
                f"{group.file.filename}: '{path}' in '{group.name}' has {found} at '{part}'; "
                "expected a group or dataset in this file."
            )
        node = node[part]
    if isinstance(node, h5py.Dataset) and (node.is_virtual or node.external):
        raise CxredgeError(
            f"{group.file.filename}: '{node.name}' stores its values in another file, which is not "
            "supported."
        )
    return node
