"""One optimization profile in use: an execution context and the CUDA graph captured from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from cxredge.backends.cuda.memory import CudaMemory, HostBuffer
from cxredge.backends.cuda.work import CudaEvents, CudaGraph
from cxredge.backends.tensorrt.api import Api
from cxredge.errors import CxredgeError
from cxredge.vocabulary import INPUT_NAME


@dataclass(frozen=True)
class TensorBuffer:
    """Memory of one input or output tensor.

    Attributes:
        host: Page-locked memory for the largest batch.
        address: Address that the GPU reads or writes.
        bytes_per_image: Size per image.
        copied: Whether host and GPU have separate memory, so that the tensor is copied.
    """

    host: HostBuffer
    address: int
    bytes_per_image: int
    copied: bool


def allocate(memory: CudaMemory, bytes_per_image: int, batch: int, mapped: bool) -> TensorBuffer:
    """Allocate the memory of a tensor: shared by host and GPU if ``mapped``, else one on each."""
    size = bytes_per_image * batch
    if mapped:
        host = memory.mapped(size)
        return TensorBuffer(host, host.address, bytes_per_image, copied=False)
    return TensorBuffer(memory.pinned(size), memory.device(size), bytes_per_image, copied=True)


@dataclass(frozen=True)
class SharedBuffers:
    """Buffers and stream that the contexts of a session share.

    Attributes:
        api: The bindings.
        memory: GPU memory, with the stream.
        image: Buffer of the input.
        outputs: Buffer of each output, by name.
        capture: Whether to capture CUDA graphs.
        failure: Factory of the error to raise if TensorRT fails to run.
    """

    api: Api
    memory: CudaMemory
    image: TensorBuffer
    outputs: Mapping[str, TensorBuffer]
    capture: bool
    failure: Callable[[], CxredgeError]


class ProfileContext:
    """An execution context on one optimization profile.

    A CUDA graph is valid only while its context is unchanged. It is dropped when the batch size
    changes, and captured at the second run of a batch size.

    Args:
        shared: Buffers and stream of the session.
        context: TensorRT's execution context, owned by this object.
        index: Index of the profile.
    """

    def __init__(self, shared: SharedBuffers, context: Any, index: int) -> None:
        self._shared, self._context = shared, context
        self._batch = 0
        self._graph: CudaGraph | None = None
        self.refusal = "" if shared.capture else "not requested"
        buffers = {INPUT_NAME: shared.image, **shared.outputs}
        accepted = (
            context.set_optimization_profile_async(index, shared.memory.stream),
            *(context.set_tensor_address(name, one.address) for name, one in buffers.items()),
        )
        if not all(accepted):
            raise shared.failure()
        shared.memory.synchronize()

    def run(self, batch: int, shape: tuple[int, ...]) -> None:
        """Run the batch in the host's buffer and wait for its outputs.

        Args:
            batch: Number of images; within the profile.
            shape: Shape of the input for that batch.
        """
        if self._resize(batch, shape):
            self._enqueue()
        else:
            graph = self._graph = self._graph or self._capture()
            if graph:
                graph.launch()
            else:
                self._enqueue()
        self._shared.memory.synchronize()

    def run_in_stages(self, batch: int, shape: tuple[int, ...]) -> dict[str, float]:
        """Run the batch without a CUDA graph and return the milliseconds of each stage.

        Returns:
            ``host_to_device``, ``compute``, ``device_to_host``, timed by the GPU; only ``compute``
            if host and GPU share the memory.
        """
        self._resize(batch, shape)
        stages = {"compute": self._execute}
        if self._shared.image.copied:
            stages = {"host_to_device": self._copy_in, **stages}
        if self._shared.image.copied:
            stages["device_to_host"] = self._copy_out
        with closing(CudaEvents(self._shared.memory.stream)) as events:
            events.record()
            for enqueue in stages.values():
                enqueue()
                events.record()
            self._shared.memory.synchronize()
            return dict(zip(stages, events.elapsed_ms(), strict=True))

    def attach_profiler(self, profiler: Any) -> None:
        """Make TensorRT report the time of each layer after each run."""
        context = self._context
        context.profiler = profiler

    def close_graph(self) -> None:
        """Drop the CUDA graph."""
        if self._graph is not None:
            self._graph.close()
            self._graph = None

    def _capture(self) -> CudaGraph | None:
        """Capture the work of this batch size; on a refusal, record the reason and return None."""
        context, stream = self._context, self._shared.memory.stream
        if self._shared.api.has("IExecutionContext.is_stream_capturable") and not self.refusal:
            capturable = context.is_stream_capturable(stream)
            self.refusal = (
                "" if capturable else f"{self._shared.api.title} cannot capture this engine"
            )
        if self.refusal:
            return None
        try:
            return CudaGraph(stream, self._enqueue)
        except CxredgeError as error:
            self.refusal = error.message
            return None

    def _resize(self, batch: int, shape: tuple[int, ...]) -> bool:
        """Set the batch size of the context; return whether it changed."""
        if batch == self._batch:
            return False
        self.close_graph()
        context = self._context
        if not context.set_input_shape(INPUT_NAME, shape):
            raise self._shared.failure()
        self._batch = batch
        return True

    def _enqueue(self) -> None:
        if self._shared.image.copied:
            self._copy_in()
        self._execute()
        if self._shared.image.copied:
            self._copy_out()

    def _copy_in(self) -> None:
        image = self._shared.image
        used = image.host.array[: self._batch * image.bytes_per_image]
        self._shared.memory.to_device(image.address, used)

    def _execute(self) -> None:
        context = self._context
        if not context.execute_async_v3(self._shared.memory.stream):
            raise self._shared.failure()

    def _copy_out(self) -> None:
        for output in self._shared.outputs.values():
            used = output.host.array[: self._batch * output.bytes_per_image]
            self._shared.memory.to_host(used, output.address)
