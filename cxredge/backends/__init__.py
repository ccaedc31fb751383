"""Runtimes, one module each, behind the same small interface."""

from __future__ import annotations

from pathlib import Path

from cxredge.backends.base import Session
from cxredge.errors import CxredgeError

BACKENDS = ("onnxruntime", "tensorrt", "tensorrt-rtx")


def open_session(path: Path, backend: str = "onnxruntime", threads: int = 0) -> Session:
    """Open a model for inference.

    Args:
        path: The model file in the backend's format.
        backend: A name in ``BACKENDS``.
        threads: Threads of one inference; 0 for as many as there are cores. A GPU has no use
            for it.

    Raises:
        CxredgeError: Unknown backend, or the file cannot be loaded here.
    """
    if backend == "onnxruntime":
        from cxredge.backends.onnxruntime import OnnxRuntimeSession

        return OnnxRuntimeSession(path, threads)
    if backend in ("tensorrt", "tensorrt-rtx"):
        from cxredge.backends.tensorrt.session import TensorRTSession

        return TensorRTSession(path)
    raise CxredgeError(f"Unknown backend '{backend}'. Known: {', '.join(BACKENDS)}.")
