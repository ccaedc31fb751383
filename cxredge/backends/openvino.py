"""OpenVINO on the CPU: an optional runtime, often the fastest."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from cxredge.backends.base import Outputs, Session, SessionSpec, available_cores
from cxredge.backends.interface import (
    FIRST_INFERENCE_S,
    MAX_TENSOR_BYTES,
    Port,
    check_interface,
    failed,
    too_slow,
)
from cxredge.data.images import GreyImage
from cxredge.errors import ArtifactError, CxredgeError, DependencyError
from cxredge.graph.file_check import check_model_file
from cxredge.vocabulary import Precision

_IMPORTING = threading.Lock()

_KINDS = {"u8": "uint8", "f32": "float32"}
_ELEMENT_TYPES = {Precision.BF16: "bf16", Precision.FP16: "f16"}
"""OpenVINO's names of the reduced precisions for FP32 models.

Without a hint, OpenVINO computes FP32 models in BF16 or FP16 if the processor supports it.
"""


class OpenVinoSession(Session):
    """A model in OpenVINO's CPU plugin; threads may share it.

    It is compiled for ``batch`` images, which is faster than for a dynamic number. Other numbers of
    images are split into parts of that size, the last one padded.

    Args:
        path: An ONNX file made by cxredge.
        threads: Number of threads per inference; 0 for one per core. Inferences run in parallel
            on the remaining cores.
        precision: BF16 or FP16 to compute an FP32 model in it.
        batch: Number of images per inference when there are many.

    Raises:
        DependencyError: OpenVINO is not installed.
        ArtifactError: The file is damaged or is not a classifier of grey images.
        CxredgeError: This processor does not support the precision.
    """

    def __init__(
        self, path: Path, threads: int = 0, precision: Precision = Precision.FP32, batch: int = 1
    ) -> None:
        openvino = load_openvino()
        if precision in _ELEMENT_TYPES and precision not in reduced_precisions():
            raise CxredgeError(
                f"OpenVINO does not support {precision.value} on this processor.",
                "Choose what serves here again: cxredge deploy BUNDLE",
            )
        check_model_file(path)
        core = openvino.Core()
        model = _read(core, path)
        found = check_interface(path, _ports(model.inputs), _ports(model.outputs))
        self._path, self._is_proven, self._interface = path, False, found
        cores = available_cores()
        self.spec = SessionSpec(
            size=found.size,
            classes=found.classes,
            backend="openvino",
            threads=threads or cores,
            concurrent=True,
            batch=batch,
            has_distances=found.has_distances,
            map_sides=found.map_sides,
        )
        streams = max(1, cores // self.spec.threads)
        settings = {
            "NUM_STREAMS": streams,
            "INFERENCE_NUM_THREADS": streams * self.spec.threads,
            "INFERENCE_PRECISION_HINT": _ELEMENT_TYPES.get(precision, "f32"),
        }
        self._tensor = openvino.Tensor
        try:
            model.reshape([batch, 1, found.size, found.size])
            _check_sizes(model, path)
            self._compiled: Any = core.compile_model(model, "CPU", settings)
        except RuntimeError as error:
            raise failed("OpenVINO", "compile", path, error, line=-1) from None
        self._of_thread: Any = threading.local()

    def run(self, images: GreyImage) -> Outputs:
        """Return all outputs for uint8 images (N, size, size)."""
        batch = self.spec.batch
        starts = range(0, len(images), batch)
        return Outputs.joined([self._run(images[i : i + batch]) for i in starts])

    def close(self) -> None:
        """Free the model's memory. A second call has no effect."""
        self._of_thread = self._compiled = None

    def _run(self, images: GreyImage) -> Outputs:
        """Infer at most one batch."""
        count, missing = len(images), self.spec.batch - len(images)
        if missing:
            images = np.concatenate([images, np.zeros((missing, *images.shape[1:]), np.uint8)])
        # The request reads the images in place; they stay alive until the inference has ended.
        tensor = self._tensor(np.ascontiguousarray(images[:, None]), shared_memory=True)
        request = self._request()
        request.set_input_tensor(tensor)
        # Asynchronous, so that the runtime's threads compute. infer() computes in the caller's
        # thread and keeps a stream per caller, which breaks when callers end
        # (https://github.com/openvinotoolkit/openvino/issues/24509).
        try:
            request.start_async()
            self._wait(request)
            arrays = {
                name: request.get_tensor(name).data[:count].copy() for name in self._interface.names
            }
        except RuntimeError as error:
            raise failed("OpenVINO", "run", self._path, error, line=-1) from None
        return self._interface.outputs(self._path, arrays, count)

    def _wait(self, request: Any) -> None:
        """Wait for a request; the first one has a limit of time, as a graph may take days."""
        if self._is_proven:
            request.wait()
            return
        if not request.wait_for(1000 * FIRST_INFERENCE_S):
            request.cancel()
            raise too_slow("OpenVINO", self._path)
        self._is_proven = True

    def _request(self) -> Any:
        """Return the request of the calling thread; a request runs one inference at a time."""
        request = getattr(self._of_thread, "request", None)
        if request is None:
            request = self._of_thread.request = self._compiled.create_infer_request()
        return request


def is_installed() -> bool:
    """Return whether OpenVINO is installed, without importing it."""
    return find_spec("openvino") is not None


@cache
def reduced_precisions() -> tuple[Precision, ...]:
    """Return the reduced precisions that this processor supports for FP32 models, BF16 first.

    Raises:
        DependencyError: OpenVINO is not installed.
    """
    found = load_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return tuple(p for p in _ELEMENT_TYPES if p.name in found)


@contextmanager
def _without_telemetry() -> Iterator[None]:
    """Make the import of ``openvino_telemetry`` fail."""
    reporter = "openvino_telemetry"
    before = sys.modules.get(reporter)
    sys.modules[reporter] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if before is None:
            del sys.modules[reporter]
        else:
            sys.modules[reporter] = before


def load_openvino() -> ModuleType:
    """Import OpenVINO without its telemetry.

    Importing the package sends an event over the network if ``openvino_telemetry`` is installed,
    which its wheel requires. OpenVINO works without it.

    Raises:
        DependencyError: OpenVINO is not installed.
    """
    with _IMPORTING, _without_telemetry():
        try:
            import openvino
        except ImportError as error:
            absent = not is_installed()
            raise DependencyError(
                "OpenVINO is required and not installed."
                if absent
                else f"OpenVINO is installed, but cannot be imported: {error}",
                "Install it: pip install 'cxredge[openvino]'. Or let ONNX Runtime serve the bundle "
                "on this machine: cxredge deploy BUNDLE"
                if absent
                else "pip install --force-reinstall openvino",
            ) from None
    module: ModuleType = openvino
    return module


def _read(core: Any, path: Path) -> Any:
    try:
        return core.read_model(path)
    except RuntimeError as error:
        raise failed("OpenVINO", "load", path, error, line=-1) from None


def _ports(found: Any) -> list[Port]:
    return [
        Port(
            name,
            _KINDS.get(port.element_type.get_type_name(), port.element_type.get_type_name()),
            tuple(side.get_length() if side.is_static else None for side in port.partial_shape)
            if port.partial_shape.rank.is_static
            else (),
        )
        for port in found
        for name in port.names
    ]


def _check_sizes(model: Any, path: Path) -> None:
    """Refuse a model with a tensor that is too large, or whose size depends on the pixels.

    Compiling computes constant tensors, so this comes before.
    """
    for operation in model.get_ops():
        for port in operation.outputs():
            if port.partial_shape.is_dynamic:
                raise ArtifactError(
                    f"{path} computes a tensor of unknown size; those of a cxredge model are "
                    "fixed.",
                    "Export or build it again.",
                )
            size_bytes = math.prod(port.partial_shape.to_shape()) * port.element_type.size
            if size_bytes > MAX_TENSOR_BYTES:
                raise ArtifactError(
                    f"{path} computes a tensor of {size_bytes / 1e9:.0f} GB; at most "
                    f"{MAX_TENSOR_BYTES / 1e9:.0f} GB are computed.",
                    "Export or build it again.",
                )
