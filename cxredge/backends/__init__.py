"""Runtimes, one module each, behind the same small interface."""

from __future__ import annotations

from pathlib import Path

from cxredge.backends.base import Session
from cxredge.errors import CxredgeError

BACKENDS = ("onnxruntime",)


def open_session(path: Path, backend: str = "onnxruntime", threads: int = 0) -> Session:
    """Open a model for inference.

    Args:
        path: The model file in the backend's format.
        backend: A name in ``BACKENDS``.
        threads: Threads of one inference; 0 for as many as there are cores.

    Raises:
        CxredgeError: Unknown backend, or the file cannot be loaded.
    """
    if backend == "onnxruntime":
        from cxredge.backends.onnxruntime import OnnxRuntimeSession

        return OnnxRuntimeSession(path, threads)
    raise CxredgeError(f"Unknown backend '{backend}'. Known: {', '.join(BACKENDS)}.")
