"""OpenVINO on the CPU: often the fastest runtime there, where it is installed."""

from __future__ import annotations

import sys
import threading
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from cxredge.backends.base import Logits, Session, SessionSpec, available_cores
from cxredge.data.images import GreyImage
from cxredge.errors import ArtifactError, CxredgeError, DependencyError
from cxredge.vocabulary import INPUT_NAME, OUTPUT_NAME, Precision

_ELEMENT_TYPES = {Precision.BF16: "bf16", Precision.FP16: "f16"}
"""What an FP32 model is computed in, as the runtime calls it; otherwise in what is written in it.

OpenVINO takes BF16 or FP16 for FP32 of its own accord where the processor has it, unless told.
"""


class OpenVinoSession(Session):
    """A model in OpenVINO's CPU plugin; threads may share it.

    It is compiled for ``batch`` images, which is faster than for any number. Other numbers of
    them go in parts of that size, the last one filled up.

    Args:
        path: An ONNX file made by cxredge.
        threads: Threads of one inference; 0 for as many as this process may use. As many inferences
            run at a time as there are cores for.
        precision: BF16 or FP16 for an FP32 model that is to be computed so.
        batch: Images an inference when there are many.

    Raises:
        DependencyError: OpenVINO is not installed.
        ArtifactError: The file is damaged or is no classifier of grey images.
        CxredgeError: This processor does not compute in that precision.
    """

    def __init__(
        self, path: Path, threads: int = 0, precision: Precision = Precision.FP32, batch: int = 1
    ) -> None:
        openvino = load_openvino()
        if precision in _ELEMENT_TYPES and precision not in reduced_precisions():
            raise CxredgeError(
                f"This processor does not compute in {precision.value} with OpenVINO.",
                "Choose what serves here anew: cxredge deploy BUNDLE",
            )
        core = openvino.Core()
        model = _read(core, path)
        size, classes = _check_interface(model, path)
        cores = available_cores()
        self.spec = SessionSpec(
            size=size,
            classes=classes,
            backend="openvino",
            threads=threads or cores,
            concurrent=True,
            batch=batch,
        )
        streams = max(1, cores // self.spec.threads)
        settings = {
            "NUM_STREAMS": streams,
            "INFERENCE_NUM_THREADS": streams * self.spec.threads,
            "INFERENCE_PRECISION_HINT": _ELEMENT_TYPES.get(precision, "f32"),
        }
        model.reshape([batch, 1, size, size])
        self._tensor = openvino.Tensor
        self._compiled: Any = core.compile_model(model, "CPU", settings)
        self._of_thread: Any = threading.local()

    def infer(self, images: GreyImage) -> Logits:
        """Return float32 logits (N, classes) of uint8 images (N, size, size)."""
        batch = self.spec.batch
        parts = [self._infer(images[i : i + batch]) for i in range(0, len(images), batch)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def close(self) -> None:
        """Free the model's memory. A second call has no effect."""
        self._of_thread = self._compiled = None

    def _infer(self, images: GreyImage) -> Logits:
        """Infer at most a batch."""
        count, missing = len(images), self.spec.batch - len(images)
        if missing:
            images = np.concatenate([images, np.zeros((missing, *images.shape[1:]), np.uint8)])
        # The request reads the images where they lie; they stay until the inference is over.
        tensor = self._tensor(np.ascontiguousarray(images[:, None]), shared_memory=True)
        request = self._request()
        request.set_input_tensor(tensor)
        # Asynchronous, so that the runtime's own threads compute. infer() computes in the caller's
        # and keeps a stream for each caller, which callers that end have broken before
        # (https://github.com/openvinotoolkit/openvino/issues/24509).
        request.start_async()
        request.wait()
        logits: Logits = request.get_output_tensor().data[:count].copy()
        return logits

    def _request(self) -> Any:
        """Return the calling thread's own request: it holds one inference at a time."""
        request = getattr(self._of_thread, "request", None)
        if request is None:
            request = self._of_thread.request = self._compiled.create_infer_request()
        return request


def is_installed() -> bool:
    """Tell whether OpenVINO is there, without loading it."""
    return find_spec("openvino") is not None


@cache
def reduced_precisions() -> tuple[Precision, ...]:
    """Return what this processor computes FP32 models in besides FP32, most exact range first.

    Raises:
        DependencyError: OpenVINO is not installed.
    """
    found = load_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return tuple(p for p in _ELEMENT_TYPES if p.name in found)


def load_openvino() -> ModuleType:
    """Import OpenVINO without what reports its use.

    Importing the package sends an event over the network where ``openvino_telemetry`` is installed,
    which its wheel requires. OpenVINO goes on without it when it cannot be imported.

    Raises:
        DependencyError: OpenVINO is not installed.
    """
    reporter = "openvino_telemetry"
    before = sys.modules.get(reporter)
    sys.modules[reporter] = None  # type: ignore[assignment]
    try:
        import openvino
    except ImportError as error:
        absent = not is_installed()
        raise DependencyError(
            "This needs OpenVINO, which is not installed here."
            if absent
            else f"OpenVINO is installed here, but cannot be imported: {error}",
            "Install it: pip install 'cxredge[openvino]'. Or let ONNX Runtime serve the bundle on "
            "this machine: cxredge deploy BUNDLE"
            if absent
            else "pip install --force-reinstall openvino",
        ) from None
    finally:
        if before is None:
            del sys.modules[reporter]
        else:
            sys.modules[reporter] = before
    module: ModuleType = openvino
    return module


def _read(core: Any, path: Path) -> Any:
    try:
        return core.read_model(path)
    except RuntimeError as error:
        cause = next((line for line in str(error).splitlines()[::-1] if line.strip()), "")
        raise ArtifactError(
            f"OpenVINO cannot load {path}: {cause.strip()}", "Export or build it again."
        ) from None


def _check_interface(model: Any, path: Path) -> tuple[int, int]:
    """Return input size and number of classes."""
    inputs = [name for port in model.inputs for name in port.names]
    outputs = [name for port in model.outputs for name in port.names]
    if inputs != [INPUT_NAME] or outputs != [OUTPUT_NAME]:
        raise ArtifactError(
            f"{path} takes {inputs} and gives {outputs}; a cxredge model takes '{INPUT_NAME}' and "
            f"gives '{OUTPUT_NAME}'.",
            "Export it with: cxredge export RUN --out DIR",
        )
    size = model.inputs[0].partial_shape[2].get_length()
    classes = model.outputs[0].partial_shape[1].get_length()
    return size, classes
