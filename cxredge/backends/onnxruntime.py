"""ONNX Runtime on the CPU: the runtime that is always installed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from cxredge.artifacts.git_lfs import check_fetched
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
from cxredge.errors import ArtifactError
from cxredge.graph.file_check import check_model_file
from cxredge.telemetry.linux import may_saturate_here
from cxredge.vocabulary import INPUT_NAME

# A program may have imported ONNX Runtime before cxredge set ORT_DISABLE_TELEMETRY.
ort.disable_telemetry_events()

DISABLED_OPTIMIZERS = ("WeightBiasQuantization",)
"""Optimisations that are disabled. This one, since ONNX Runtime 1.21, quantizes float weights
between integer layers with one scale for all channels: layers kept in float for their accuracy
become less accurate than in INT8 (microsoft/onnxruntime, pull request 22969)."""

_FATAL = 4
"""Level of the log at which ONNX Runtime prints no errors; they are raised."""
_registering = threading.Lock()
_KINDS = {"tensor(uint8)": "uint8", "tensor(float)": "float32"}

EXACT_ACCUMULATION = ("session.x64quantprecision", "1")
"""Makes an x86 processor without VNNI multiply INT8 in 16 bits and accumulate in 32, where the
faster kernels saturate (kOrtSessionOptionsAvx2PrecisionMode in ONNX Runtime). With VNNI it would
only select slower kernels."""


def exact_options() -> ort.SessionOptions:
    """Return options that compute the same INT8 results on every processor, without log output."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    if may_saturate_here():
        options.add_session_config_entry(*EXACT_ACCUMULATION)
    return options


class OnnxRuntimeSession(Session):
    """A model in ONNX Runtime's CPU provider.

    Args:
        path: An ONNX file made by cxredge.
        threads: Number of threads per inference; 0 for one per core.
        batch: Number of images per inference when there are many.

    Raises:
        ArtifactError: The file is damaged or is not a classifier of grey images.
    """

    def __init__(self, path: Path, threads: int = 0, batch: int = 1) -> None:
        check_model_file(path)
        _limit_memory()
        options = exact_options()
        options.log_severity_level = _FATAL
        options.add_session_config_entry("session.use_env_allocators", "1")
        options.intra_op_num_threads = threads or available_cores()
        try:
            self._session: Any = ort.InferenceSession(
                str(path),
                options,
                providers=["CPUExecutionProvider"],
                disabled_optimizers=list(DISABLED_OPTIMIZERS),
            )
        except Exception as error:
            check_fetched(path)
            # ONNX Runtime's exceptions share no base class below Exception.
            raise failed("ONNX Runtime", "load", path, error) from None
        found = check_interface(
            path, _ports(self._session.get_inputs()), _ports(self._session.get_outputs())
        )
        self._path, self._is_proven, self._interface = path, False, found
        self.spec = SessionSpec(
            size=found.size,
            classes=found.classes,
            backend="onnxruntime",
            threads=options.intra_op_num_threads,
            concurrent=True,
            batch=batch,
            has_distances=found.has_distances,
            map_sides=found.map_sides,
        )

    def run(self, images: GreyImage) -> Outputs:
        """Return all outputs for uint8 images (N, size, size)."""
        feed = {INPUT_NAME: np.ascontiguousarray(images[:, None])}
        arrays = self._run(feed) if self._is_proven else self._run_first(feed)
        return self._interface.outputs(self._path, arrays, len(images))

    def close(self) -> None:
        """Free the model's memory. A second call has no effect."""
        self._session = None

    def _run(self, feed: dict[str, Any], options: Any = None) -> dict[str, Any]:
        """Return the outputs by name."""
        names = self._interface.names
        try:
            arrays = self._session.run(names, feed, options)
        except Exception as error:
            raise failed("ONNX Runtime", "run", self._path, error) from None
        return dict(zip(names, arrays, strict=True))

    def _run_first(self, feed: dict[str, Any]) -> dict[str, Any]:
        """Run with a limit of time: a graph may compute for days."""
        options = ort.RunOptions()
        options.log_severity_level = _FATAL
        watch = threading.Timer(FIRST_INFERENCE_S, setattr, (options, "terminate", True))
        watch.daemon = True
        watch.start()
        try:
            arrays = self._run(feed, options)
        except ArtifactError:
            if options.terminate:
                raise too_slow("ONNX Runtime", self._path) from None
            raise
        finally:
            watch.cancel()
        self._is_proven = True
        return arrays


def run_graph(model: Any, pixels: GreyImage, advance: Callable[[int], None]) -> Any:
    """Return the only output of a graph in memory, one image after the other on every core.

    Args:
        model: An ONNX model (``onnx.ModelProto``).
        pixels: uint8 (N, S, S).
        advance: Called with the number of images that were run since the last call.

    Returns:
        float32 (N, ...).
    """
    options = exact_options()
    options.log_severity_level, options.intra_op_num_threads = _FATAL, 1
    session = ort.InferenceSession(
        model.SerializeToString(),
        options,
        providers=["CPUExecutionProvider"],
        disabled_optimizers=list(DISABLED_OPTIMIZERS),
    )

    def run(index: int) -> Any:
        found = session.run(None, {INPUT_NAME: pixels[index : index + 1, None]})[0]
        advance(1)
        return found

    with ThreadPoolExecutor(available_cores()) as pool:
        return np.concatenate(list(pool.map(run, range(len(pixels)))))


def _limit_memory() -> None:
    """Let all sessions of this process allocate from one arena of bounded size."""
    with _registering:
        _register_arena()


@cache
def _register_arena() -> None:
    info = ort.OrtMemoryInfo(
        "Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT
    )
    ort.create_and_register_allocator(info, ort.OrtArenaCfg({"max_mem": MAX_TENSOR_BYTES}))


def _ports(found: Any) -> list[Port]:
    return [
        Port(
            one.name,
            _KINDS.get(one.type, one.type),
            tuple(side if isinstance(side, int) else None for side in one.shape),
        )
        for one in found
    ]
