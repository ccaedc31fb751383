"""Chest X-ray classifiers on edge devices, from a folder of images to a measured INT8 model.

Predict with a bundle from Python::

    import cxredge

    with cxredge.load("bundle") as model:
        row = model.predict("chest.png")
        print(row.label, row.probability)

Importing this package loads nothing else; the names of ``__all__`` are imported on first use.

The stages meet at files, never at function calls::

    data/          images -> manifest.csv       image, class, patient, split
    training/      manifest -> RUN/             fine-tunes a network of models/
    export/        RUN/ -> MODEL/               FP32 ONNX, normalisation inside the graph
    quantization/  MODEL/ + images -> MODEL/    INT8 ONNX in the target's dialect
    build/         MODEL/ -> BUNDLE/            what goes to the device, within the limits of gate/
    inference/     BUNDLE/ + images -> predictions, evaluations
    bench/         BUNDLE/ -> latency, throughput
    report/        results -> one page

They share ``artifacts/`` (cards and records), ``bundle/`` (the format of a bundle), ``backends/``
(runtimes), ``graph/`` (ONNX), ``heatmaps/``, ``metrics/``, ``targets/``, ``telemetry/`` and
``plots/``.
``diagnosis/`` inspects files and machines, ``comparison/`` compares results, ``api`` is the Python
API, and ``cli/`` is the only package that prints. Only ``models/``, ``training/`` and ``export/``
import torch.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from cxredge.version import __version__

if TYPE_CHECKING:
    from cxredge.api import Model, load
    from cxredge.errors import CxredgeError, ImageError
    from cxredge.inference.answers import PredictionRow
    from cxredge.inference.pictures import overlay

__all__ = ["CxredgeError", "ImageError", "Model", "PredictionRow", "__version__", "load", "overlay"]

# Telemetry of the libraries that cxredge uses. They read these variables when they are imported:
# the native library of ONNX Runtime writes a device id and queues events as soon as it is loaded,
# which disable_telemetry_events() is too late to prevent. Child processes inherit the variables.
os.environ.update(
    ORT_DISABLE_TELEMETRY="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    DO_NOT_TRACK="1",
    RAY_USAGE_STATS_ENABLED="0",
    MLFLOW_DISABLE_TELEMETRY="true",
)

_MODULES = {
    "CxredgeError": "cxredge.errors",
    "ImageError": "cxredge.errors",
    "Model": "cxredge.api",
    "PredictionRow": "cxredge.inference.answers",
    "load": "cxredge.api",
    "overlay": "cxredge.inference.pictures",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name not in _MODULES:
        raise AttributeError(f"module 'cxredge' has no attribute '{name}'")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
