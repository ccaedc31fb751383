"""Runtimes behind one interface, a module or package each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cxredge.backends.base import Session
from cxredge.errors import CxredgeError, WrongUsage
from cxredge.vocabulary import Precision

if TYPE_CHECKING:
    from cxredge.backends.tensorrt.session import SessionOptions

CPU_BACKENDS = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
"""Runtimes that load a bundle's ONNX files directly, with their titles."""

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
        threads: Number of threads per inference; 0 for one per core. Not used on a GPU.
        precision: BF16 or FP16 if OpenVINO is to compute an FP32 model in it. Otherwise the
            file determines the precision.
        batch: Number of images per inference when there are many. Not used by an engine, which
            has its own.
        gpu: Options of running an engine; None for the defaults.

    Raises:
        DependencyError: The backend is not installed.
        WrongUsage: GPU options are given for a backend on the processor.
        CxredgeError: Unknown backend, or the file cannot be loaded here.
    """
    if backend in ("tensorrt", "tensorrt-rtx"):
        from cxredge.backends.tensorrt.session import TensorRTSession

        return TensorRTSession(path, gpu)
    if gpu is not None:
        raise WrongUsage(
            f"{backend} runs on the processor, which has no GPU memory and no CUDA graphs.",
            "Omit --memory and --cuda-graph.",
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
    """Return the reduced precisions of FP32 models in a CPU runtime on this machine, if any."""
    if backend not in installed_on_cpu() or backend != "openvino":
        return ()
    from cxredge.backends import openvino

    return openvino.reduced_precisions()
