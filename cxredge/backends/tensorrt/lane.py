"""One optimisation profile in use: an execution context, and the graph recorded from it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from cxredge.backends.cuda.driver import Graph
from cxredge.backends.cuda.events import Events
from cxredge.backends.cuda.memory import CudaMemory, HostBuffer
from cxredge.backends.tensorrt.api import Api
from cxredge.errors import CxredgeError
from cxredge.vocabulary import INPUT_NAME, OUTPUT_NAME


@dataclass(frozen=True)
class Tensor:
    """Where one input or output lives.

    Attributes:
        host: Page-locked memory for the largest batch.
        address: Where the GPU reads or writes it.
        bytes_per_image: Size of one image's part.
        copied: Whether host and GPU hold it in two places.
    """

    host: HostBuffer
    address: int
    bytes_per_image: int
    copied: bool


def allocate(memory: CudaMemory, bytes_per_image: int, batch: int, mapped: bool) -> Tensor:
    """Take the memory of a tensor: once if ``mapped``, else on both sides."""
    size = bytes_per_image * batch
    if mapped:
        host = memory.mapped(size)
        return Tensor(host, host.address, bytes_per_image, copied=False)
    return Tensor(memory.pinned(size), memory.device(size), bytes_per_image, copied=True)


@dataclass(frozen=True)
class Wiring:
    """What the lanes of a session share.

    Attributes:
        api: The bindings.
        memory: The GPU's memory, with the stream.
        image, logits: The tensors.
        record: Whether to record CUDA graphs.
        fail: Makes the error to raise when TensorRT refuses to run.
    """

    api: Api
    memory: CudaMemory
    image: Tensor
    logits: Tensor
    record: bool
    fail: Callable[[], CxredgeError]


class Lane:
    """An execution context on one profile.

    A recording is valid only while its context is not changed, so it is dropped when another
    batch size comes, and made the second time that a size comes.

    Args:
        wiring: What it shares with other lanes.
        context: The execution context; this object owns it.
        index: Index of the profile.
    """

    def __init__(self, wiring: Wiring, context: Any, index: int) -> None:
        self._wiring, self._context = wiring, context
        self._batch = 0
        self._graph: Graph | None = None
        self.refusal = "" if wiring.record else "not asked for"
        taken = (
            context.set_optimization_profile_async(index, wiring.memory.stream),
            context.set_tensor_address(INPUT_NAME, wiring.image.address),
            context.set_tensor_address(OUTPUT_NAME, wiring.logits.address),
        )
        if not all(taken):
            raise wiring.fail()
        wiring.memory.synchronize()

    def run(self, batch: int, shape: tuple[int, ...]) -> None:
        """Run a batch that lies in the host's buffer, and wait for its logits.

        Args:
            batch: How many images; within the profile.
            shape: The input's shape for it.
        """
        if self._resize(batch, shape):
            self._enqueue()
        else:
            graph = self._graph = self._graph or self._recording()
            if graph:
                graph.launch()
            else:
                self._enqueue()
        self._wiring.memory.synchronize()

    def run_in_stages(self, batch: int, shape: tuple[int, ...]) -> dict[str, float]:
        """Do what ``run`` does, without a recording, and return milliseconds by stage.

        Returns:
            ``host_to_device``, ``compute``, ``device_to_host`` by the GPU's clock; no copies where
            the GPU uses the host's memory.
        """
        self._resize(batch, shape)
        stages = {"compute": self._execute}
        if self._wiring.image.copied:
            stages = {"host_to_device": self._copy_in, **stages}
        if self._wiring.logits.copied:
            stages["device_to_host"] = self._copy_out
        with closing(Events(self._wiring.memory.stream)) as events:
            events.mark()
            for enqueue in stages.values():
                enqueue()
                events.mark()
            self._wiring.memory.synchronize()
            return dict(zip(stages, events.elapsed_ms(), strict=True))

    def attach_profiler(self, profiler: Any) -> None:
        """Let TensorRT report the time of each layer after each run."""
        context = self._context
        context.profiler = profiler

    def close_graph(self) -> None:
        """Drop the recording."""
        if self._graph is not None:
            self._graph.close()
            self._graph = None

    def _recording(self) -> Graph | None:
        """Record the work for this batch size; where that is refused, note why and go on."""
        context, stream = self._context, self._wiring.memory.stream
        if self._wiring.api.has("IExecutionContext.is_stream_capturable") and not self.refusal:
            capturable = context.is_stream_capturable(stream)
            self.refusal = (
                "" if capturable else f"{self._wiring.api.title} cannot record this engine"
            )
        if self.refusal:
            return None
        try:
            return Graph(stream, self._enqueue)
        except CxredgeError as error:
            self.refusal = error.message
            return None

    def _resize(self, batch: int, shape: tuple[int, ...]) -> bool:
        """Tell the context of another batch size; return whether it is another."""
        if batch == self._batch:
            return False
        self.close_graph()
        context = self._context
        if not context.set_input_shape(INPUT_NAME, shape):
            raise self._wiring.fail()
        self._batch = batch
        return True

    def _enqueue(self) -> None:
        if self._wiring.image.copied:
            self._copy_in()
        self._execute()
        if self._wiring.logits.copied:
            self._copy_out()

    def _copy_in(self) -> None:
        image = self._wiring.image
        used = image.host.array[: self._batch * image.bytes_per_image]
        self._wiring.memory.to_device(image.address, used)

    def _execute(self) -> None:
        context = self._context
        if not context.execute_async_v3(self._wiring.memory.stream):
            raise self._wiring.fail()

    def _copy_out(self) -> None:
        logits = self._wiring.logits
        used = logits.host.array[: self._batch * logits.bytes_per_image]
        self._wiring.memory.to_host(used, logits.address)
