"""Building bundles: export, quantize, measure, gate, pack, and finish on the device.

The public functions are imported on first use: making a bundle requires onnx and, from a run,
torch, neither of which a device needs to finish one.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cxredge.build.build import build_bundle
    from cxredge.build.candidates import BuildResult
    from cxredge.build.config import BuildConfig
    from cxredge.build.deploy import deploy_bundle
    from cxredge.build.engines import EngineOptions

__all__ = ["BuildConfig", "BuildResult", "EngineOptions", "build_bundle", "deploy_bundle"]

_MODULE_OF = {
    "BuildConfig": "config",
    "BuildResult": "candidates",
    "EngineOptions": "engines",
    "build_bundle": "build",
    "deploy_bundle": "deploy",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
