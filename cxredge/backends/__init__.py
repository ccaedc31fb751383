"""Runtimes, one module each, behind the same small interface."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cxredge.backends.base import Session
from cxredge.errors import CxredgeError, WrongUsage
from cxredge.vocabulary import Precision

if TYPE_CHECKING:
    from cxredge.backends.tensorrt.session import SessionOptions

CPU_BACKENDS = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
"""Runtimes that load a bundle's ONNX files as they are, with their titles."""

BACKENDS = (*CPU_BACKENDS, "tensorrt", "tensorrt-rtx")


def open_session(
    path: Path,
    backend: str = "onnxruntime",
    threads: int = 0,
    precision: Precision = Precision.FP32,
    batch: int = 1,
    gpu: SessionOptions | None = None,
) -> Session:
    """Open a model for inference.

    Args:
        path: The model file in the backend's format.
        backend: A name in ``BACKENDS``.
        threads: Threads of one inference; 0 for as many as there are cores. A GPU has no use
            for it.
        precision: BF16 or FP16 for an FP32 model that OpenVINO is to compute so. The others
            compute in what is written in the file.
        batch: Images an inference when there are many. An engine has its own.
        gpu: How an engine is run on a GPU; None for its own way.

    Raises:
        DependencyError: The backend is not installed.
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

        return OnnxRuntimeSession(path, threads, batch)
    if backend == "openvino":
        from cxredge.backends.openvino import OpenVinoSession

        return OpenVinoSession(path, threads, precision, batch)
    raise CxredgeError(f"Unknown backend '{backend}'. Known: {', '.join(BACKENDS)}.")


def installed_on_cpu() -> tuple[str, ...]:
    """Return the CPU runtimes that are installed, ONNX Runtime first."""
    from cxredge.backends import openvino

    return ("onnxruntime", "openvino") if openvino.is_installed() else ("onnxruntime",)


def reduced_precisions(backend: str) -> tuple[Precision, ...]:
    """Return in what a CPU runtime computes FP32 models here besides FP32; nothing without it."""
    if backend not in installed_on_cpu() or backend != "openvino":
        return ()
    from cxredge.backends import openvino

    return openvino.reduced_precisions()
