"""Inference with a TensorRT engine."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from cxredge.backends.base import AcceleratorSession, EngineRun, Logits, Outputs, SessionSpec
from cxredge.backends.cuda.memory import CudaMemory, open_memory
from cxredge.backends.interface import Interface, Port, check_interface
from cxredge.backends.tensorrt.api import load_api
from cxredge.backends.tensorrt.engine_file import EngineFile, read_engine_file
from cxredge.backends.tensorrt.explain import OTHER_GPU, explain
from cxredge.backends.tensorrt.log import capture_log
from cxredge.backends.tensorrt.mismatch import explain_mismatch, find_installation
from cxredge.backends.tensorrt.profile_context import (
    ProfileContext,
    SharedBuffers,
    TensorBuffer,
    allocate,
)
from cxredge.data.images import GreyImage
from cxredge.errors import CxredgeError
from cxredge.vocabulary import INPUT_NAME

_FLOAT_BYTES = 4
_KINDS = {"UINT8": "uint8", "FLOAT": "float32"}


class Transfer(str, Enum):
    """Transfer of images to the GPU.

    ``copy``: copied from page-locked memory. ``mapped``: the GPU reads host memory directly, which
    avoids the copy on boards with one memory for GPU and processor, and is slow elsewhere.
    """

    COPY = "copy"
    MAPPED = "mapped"


@dataclass(frozen=True)
class SessionOptions:
    """Options of running an engine.

    Attributes:
        transfer: Transfer of images to the GPU.
        cuda_graphs: Whether to capture the work of a batch size as a CUDA graph.
        library: ``pycuda`` or ``cuda-python``; None for the installed one.
    """

    transfer: Transfer = Transfer.COPY
    cuda_graphs: bool = True
    library: str | None = None


class TensorRTSession(AcceleratorSession):
    """An engine on the first GPU. It belongs to the thread that created it.

    Args:
        path: The engine's file; the facts beside it are used if they exist.
        options: Options of running it; None for the defaults.

    Raises:
        ArtifactError: It is damaged, was built for another device, or is not a classifier of grey
            images.
        DependencyError: TensorRT, a GPU, a library for its memory, or memory is missing.
    """

    def __init__(self, path: Path, options: SessionOptions | None = None) -> None:
        self._options = options or SessionOptions()
        self._file = read_engine_file(path)
        mismatch = explain_mismatch(self._file, find_installation())
        if mismatch:
            raise mismatch
        self._api = load_api(self._file.header.flavour)
        self._memory: CudaMemory = open_memory(self._options.library)
        self._contexts: list[ProfileContext] = []
        try:
            self._logger, self._log = capture_log(self._api)
            self._runtime, self._engine = self._load(self._file)
            found = self._interface = self._read_interface()
            self.spec = SessionSpec(
                size=found.size,
                classes=found.classes,
                backend=self._api.flavour.value.replace("_", "-"),
                threads=1,
                has_distances=found.has_distances,
                map_sides=found.map_sides,
            )
            self._largest = self._read_largest()
            self._create_contexts()
        except BaseException:
            self.close()
            raise

    def run(self, images: GreyImage) -> Outputs:
        """Return all outputs for uint8 images (N, size, size)."""
        most = self._largest[-1]
        parts = (images[i : i + most] for i in range(0, len(images), most))
        return Outputs.joined([self._run(part) for part in parts])

    def infer_in_stages(self, images: GreyImage) -> tuple[Logits, dict[str, float]]:
        """Return logits and milliseconds by stage; at most as many images as the largest batch."""
        shape = self._fill(images)
        stages_ms = self.context_for(len(images)).run_in_stages(len(images), shape)
        return self._read_outputs(len(images)).logits, stages_ms

    def circumstances(self) -> EngineRun:
        """Return how the engine ran."""
        refusals = sorted({each.refusal for each in self._contexts if each.refusal})
        engine = self._engine
        if self._api.has("ICudaEngine.device_memory_size_v2"):
            workspace = engine.device_memory_size_v2
        else:
            workspace = engine.device_memory_size
        return EngineRun(
            tensorrt=self._api.version,
            memory_library=self._memory.library,
            transfer=self._options.transfer.value,
            cuda_graphs=not refusals,
            cuda_graphs_refused=tuple(refusals),
            device_memory_bytes=int(workspace),
        )

    def context_for(self, batch: int) -> ProfileContext:
        """Return the context of the smallest profile that a batch fits in."""
        return self._contexts[next(i for i, most in enumerate(self._largest) if batch <= most)]

    def close(self) -> None:
        """Free the engine and all memory. Closing twice is harmless."""
        # Contexts are destroyed before their engine, the engine before its runtime, memory last. No
        # local variable may refer to a context here, or it would be destroyed last.
        while self._contexts:
            self._contexts.pop().close_graph()
        self._engine = None
        self._runtime = None
        self._memory.close()

    def _run(self, images: GreyImage) -> Outputs:
        shape = self._fill(images)
        self.context_for(len(images)).run(len(images), shape)
        return self._read_outputs(len(images))

    def _fill(self, images: GreyImage) -> tuple[int, ...]:
        """Write images into the host buffer and return the shape of the input."""
        pixels = images.reshape(-1)
        self._image.host.array[: pixels.size] = pixels
        return (len(images), 1, self.spec.size, self.spec.size)

    def _read_outputs(self, batch: int) -> Outputs:
        arrays = {
            name: self._read_output(buffer, self._interface.shape(name, batch))
            for name, buffer in self._outputs.items()
        }
        return self._interface.outputs(self._file.path, arrays, batch)

    def _read_output(self, buffer: TensorBuffer, shape: tuple[int, ...]) -> np.ndarray:
        used = buffer.host.array[: math.prod(shape) * _FLOAT_BYTES]
        found: np.ndarray = used.view(np.float32).reshape(shape).copy()
        return found

    def _load(self, engine_file: EngineFile) -> tuple[Any, Any]:
        trt: Any = self._api.trt
        runtime = trt.Runtime(self._logger)
        facts = engine_file.facts
        carries_runtime = facts is not None and facts.settings.version_compatible
        if self._api.has("Runtime.engine_host_code_allowed") and carries_runtime:
            # Such an engine contains code; its facts show that cxredge built it.
            runtime.engine_host_code_allowed = True
        engine = runtime.deserialize_cuda_engine(engine_file.path.read_bytes())
        if engine is None or any(OTHER_GPU in text for text in self._log.warnings()):
            raise self._failure("load")
        return runtime, engine

    def _read_interface(self) -> Interface:
        """Return the interface of the engine.

        Raises:
            ArtifactError: It is not a classifier of grey images.
        """
        engine, ports = self._engine, []
        for index in range(engine.num_io_tensors):
            name = engine.get_tensor_name(index)
            kind = engine.get_tensor_dtype(name).name
            sides = tuple(side if side >= 0 else None for side in engine.get_tensor_shape(name))
            ports.append(Port(name, _KINDS.get(kind, kind.lower()), sides))
        inputs = [port for port in ports if port.name == INPUT_NAME]
        outputs = [port for port in ports if port.name != INPUT_NAME]
        return check_interface(self._file.path, inputs, outputs)

    def _read_largest(self) -> list[int]:
        """Return the largest batch of each profile."""
        engine = self._engine
        largest = []
        for index in range(engine.num_optimization_profiles):
            _least, _best, most = engine.get_tensor_profile_shape(INPUT_NAME, index)
            largest.append(int(most[0]))
        return largest

    def _create_contexts(self) -> None:
        engine = self._engine
        size, most, found = self.spec.size, self._largest[-1], self._interface
        mapped = self._options.transfer is Transfer.MAPPED
        self._image = allocate(self._memory, size * size, most, mapped)
        self._outputs = {
            name: allocate(
                self._memory, math.prod(found.shape(name, 1)) * _FLOAT_BYTES, most, mapped
            )
            for name in found.names
        }
        shared = SharedBuffers(
            self._api,
            self._memory,
            self._image,
            self._outputs,
            self._options.cuda_graphs,
            lambda: self._failure("run"),
        )
        for index in range(len(self._largest)):
            context = engine.create_execution_context()
            if context is None:
                raise self._failure("allocate an execution context for")
            self._contexts.append(ProfileContext(shared, context, index))

    def _failure(self, verb: str) -> CxredgeError:
        return explain(f"{self._api.title} cannot {verb} {self._file.path.name}", self._log)
