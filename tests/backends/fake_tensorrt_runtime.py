"""Runtime of the fake TensorRT: loading and running engines."""

from __future__ import annotations

import base64
import ctypes
import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime

from cxredge.backends.onnxruntime import DISABLED_OPTIMIZERS, exact_options
from tests.backends.fake_tensorrt_world import make, tensor


def _deserialize(self: Any, plan: bytes) -> Any:
    world = self._world
    for severity, text in world.loader_says:
        self._logger.log(SimpleNamespace(name=severity), text)
    if world.load_fails:
        return None
    body = json.loads(plan[28:])
    world.profile_shapes = body["profiles"]
    model = base64.b64decode(body["onnx"])
    session = onnxruntime.InferenceSession(
        model,
        exact_options(),
        providers=["CPUExecutionProvider"],
        disabled_optimizers=list(DISABLED_OPTIMIZERS),
    )
    graph = onnx.load_from_string(model).graph
    ends = {v.name: tensor(make(world, "INetworkDefinition"), v)
            for v in (*graph.input, *graph.output)}  # fmt: skip
    return make(world, "ICudaEngine", _session=session, _ends=ends)


def _create_context(self: Any) -> Any:
    return make(self._world, "IExecutionContext", _engine_=self, _addresses={}, _shape=None,
                _index=None)  # fmt: skip


def _set_profile(self: Any, index: int, stream: int) -> bool:
    self._index = index
    return not self._world.profile_fails


def _set_address(self: Any, name: str, address: int) -> bool:
    self._addresses[name] = address
    return True


def _set_input_shape(self: Any, name: str, shape: tuple[int, ...]) -> bool:
    least, _, most = self._world.profile_shapes[self._index]
    fits = least[0] <= shape[0] <= most[0]
    self._shape = tuple(shape) if fits else self._shape
    return fits


def _execute(self: Any, stream: int) -> bool:
    world, shape = self._world, self._shape
    if world.run_fails:
        return False
    world.seen.setdefault("profiles run", []).append(self._index)
    profiler = self.__dict__.get("profiler")

    def work() -> None:
        size = int(np.prod(shape))
        image = np.frombuffer(ctypes.string_at(self._addresses["image"], size), np.uint8)
        session = self._engine_._session
        found = session.run(None, {"image": image.reshape(shape)})
        for output, values in zip(session.get_outputs(), found, strict=True):
            array = np.ascontiguousarray(values, np.float32)
            ctypes.memmove(self._addresses[output.name], array.ctypes.data, array.nbytes)

    world.gpu.enqueue("execute", work)
    if profiler is not None:
        profiler.report_layer_time("conv1", 0.25)
        profiler.report_layer_time("gemm", 0.5)
    return True


def _information(self: Any, form: Any) -> str:
    assert form.name == "JSON"
    outputs = [{"Name": "x", "Format/Datatype": "Int8 NC/32HW32 format"}]
    layer = {"Name": "conv1 + clip1", "LayerType": "CaskConvolution", "Outputs": outputs}
    return json.dumps({"Layers": [layer, "a name alone"]})


def _keep_logger(self: Any, logger: Any) -> None:
    self._logger = logger


RUNNING: dict[str, dict[str, Any]] = {
    "Runtime": {
        "__init__": _keep_logger,
        "deserialize_cuda_engine": _deserialize,
        "engine_host_code_allowed": False,
    },
    "ICudaEngine": {
        "num_io_tensors": property(lambda self: len(self._ends)),
        "get_tensor_name": lambda self, i: list(self._ends)[i],
        "get_tensor_dtype": lambda self, name: self._ends[name]._dtype,
        "get_tensor_shape": lambda self, name: self._ends[name]._shape,
        "get_tensor_profile_shape": lambda self, name, i: self._world.profile_shapes[i],
        "num_optimization_profiles": property(lambda self: len(self._world.profile_shapes)),
        "create_execution_context": _create_context,
        "create_engine_inspector": lambda self: make(self._world, "EngineInspector"),
        "device_memory_size": 1000,
        "device_memory_size_v2": 1000,
    },
    "EngineInspector": {"get_engine_information": _information},
    "IExecutionContext": {
        "set_optimization_profile_async": _set_profile,
        "set_tensor_address": _set_address,
        "set_input_shape": _set_input_shape,
        "execute_async_v3": _execute,
        "is_stream_capturable": lambda self, stream: True,
        "profiler": None,
    },
}
