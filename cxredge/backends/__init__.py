"""Runtimes, one module each, behind the same small interface."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cxredge.backends.base import Session
from cxredge.errors import CxredgeError, WrongUsage

if TYPE_CHECKING:
    from cxredge.backends.tensorrt.session import SessionOptions

BACKENDS = ("onnxruntime", "tensorrt", "tensorrt-rtx")


def open_session(
    path: Path,
    backend: str = "onnxruntime",
    threads: int = 0,
    gpu: SessionOptions | None = None,
) -> Session:
    """Open a model for inference.

    Args:
        path: The model file in the backend's format.
        backend: A name in ``BACKENDS``.
        threads: Threads of one inference; 0 for as many as there are cores. A GPU has no use
            for it.
        gpu: How an engine is run on a GPU; None for its own way.

    Raises:
        WrongUsage: Ways to use a GPU are given for a backend that has none.
        CxredgeError: Unknown backend, or the file cannot be loaded here.
    """
    if backend in ("tensorrt", "tensorrt-rtx"):
        from cxredge.backends.tensorrt.session import TensorRTSession

        return TensorRTSession(path, gpu)
    if gpu is not None:
        raise WrongUsage(
            f"{backend} runs on the processor: there is no GPU memory and no CUDA graph to choose.",
            "Leave --memory and --cuda-graph out.",
        )
    if backend == "onnxruntime":
        from cxredge.backends.onnxruntime import OnnxRuntimeSession

        return OnnxRuntimeSession(path, threads)
    raise CxredgeError(f"Unknown backend '{backend}'. Known: {', '.join(BACKENDS)}.")
