"""TensorRT in ordinary memory, with exactly the names that one version has.

Names come from ``tests/data/tensorrt-names.json``: reaching one that the version lacks raises
AttributeError, as the real bindings do, and reaching one that this fake does not know raises too.
Numbers of enum members differ from version to version. An engine is the ONNX file itself, which
ONNX Runtime runs at the addresses that the session sets.
"""

from __future__ import annotations

import base64
import ctypes
import enum
import json
import random
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto

from cxredge.backends.onnxruntime import LEFT_OUT, exact_options
from tests.backends.fake_cuda import FakeGpu
from tests.backends.real_bindings import NAMES

FILE = json.loads(NAMES.read_text())
SUBCLASSED = ("ILogger", "IProfiler", "IProgressMonitor", "IInt8EntropyCalibrator2")


class World:
    """What one test sees and decides.

    Attributes:
        version: As in the names file; ``rtx`` for TensorRT for RTX.
        gpu: Where engines run.
        seen: What was asked of the builder and the runtime, by name.
        parser_code: Name of the code of its errors.
        parser_says: (node index, description) of the parser's errors.
        builder_says: (severity, text) that a build logs.
        loader_says: (severity, text) that loading logs.
        build_fails, load_fails, run_fails, profile_fails: Whether these come to nothing.
        has_driver, has_int8: Whether a builder can be made, and the GPU has INT8 hardware.
    """

    def __init__(self, version: str, gpu: FakeGpu) -> None:
        self.version, self.gpu = version, gpu
        self.seen: dict[str, Any] = {}
        self.parser_code = "INTERNAL_ERROR"
        self.parser_says: list[tuple[int, str]] = []
        self.builder_says: list[tuple[str, str]] = []
        self.loader_says: list[tuple[str, str]] = []
        self.build_fails = self.load_fails = self.run_fails = self.profile_fails = False
        self.has_driver = self.has_int8 = True
        self.profile_shapes: list[tuple[Any, ...]] = []

    @property
    def number(self) -> str:
        return "1.7.1.116" if self.version == "rtx" else self.version


def module(world: World) -> ModuleType:
    """Return the bindings of a version."""
    names = set(FILE["everywhere"])
    names |= {
        name for name, versions in FILE["in some"].items() if world.version in versions.split()
    }
    trt = ModuleType("tensorrt")
    trt.__version__ = world.number
    for one in sorted(name for name in names if "." not in name):
        members = sorted(name.split(".")[1] for name in names if name.startswith(f"{one}."))
        setattr(trt, one, _make_class(world, one, members))
    return trt


def _make_class(world: World, one: str, members: list[str]) -> type:
    capitals = [name for name in members if name.isupper() or name.startswith("SM")]
    if one not in SUBCLASSED and capitals:
        numbers = list(range(len(capitals)))
        random.Random(world.version + one).shuffle(numbers)
        return enum.IntEnum(one, dict(zip(capitals, numbers, strict=True)))
    known = BEHAVIOUR.get(one, {})
    body: dict[str, Any] = {name: known.get(name, _unknown(f"{one}.{name}")) for name in members}
    body["_names"], body["_world"] = frozenset(members), world
    body["__setattr__"] = _set
    if "__init__" in known:
        body["__init__"] = known["__init__"]
    if one in SUBCLASSED:
        # Python code derives from these, and keeps what it likes in them.
        del body["__setattr__"]
    return type(one, (), body)


def _set(self: Any, name: str, value: Any) -> None:
    if not name.startswith("_"):
        if name not in self._names:
            raise AttributeError(f"{type(self).__name__} has no {name} in {self._world.version}")
        self._world.seen[f"{type(self).__name__}.{name}"] = value
    object.__setattr__(self, name, value)


def _unknown(name: str) -> Any:
    def get(self: Any) -> Any:
        raise NotImplementedError(f"the fake has no {name}")

    return property(get, lambda self, value: self.__dict__.__setitem__(name, value))


def _make(world: World, one: str, **private: Any) -> Any:
    """Return an object of a class, with private values."""
    made = object.__new__(getattr(world.trt, one))
    for name, value in private.items():
        object.__setattr__(made, name, value)
    return made


# Building.


def _builder_init(self: Any, logger: Any) -> None:
    if not self._world.has_driver:
        raise TypeError("pybind11::init(): factory function returned nullptr")
    self._logger = logger


def _create_network(self: Any, flags: int) -> Any:
    world = self._world
    kinds = world.trt.NetworkDefinitionCreationFlag
    world.seen["network flags"] = {kind.name for kind in kinds if flags >> int(kind) & 1}
    world.network = _make(world, "INetworkDefinition")
    return world.network


def _create_config(self: Any) -> Any:
    world = self._world
    world.seen.update({"flags": {"TF32"}, "profiles": [], "pools": {}})
    return _make(world, "IBuilderConfig", _profiles=world.seen["profiles"])


def _create_profile(self: Any) -> Any:
    return _make(self._world, "IOptimizationProfile")


def _build(self: Any, network: Any, config: Any) -> bytes | None:
    world = self._world
    for severity, text in world.builder_says:
        self._logger.log(SimpleNamespace(name=severity), text)
    calibrator = world.seen.get("IBuilderConfig.int8_calibrator")
    if calibrator is not None:
        _calibrate(world, calibrator)
    monitor = world.seen.get("IBuilderConfig.progress_monitor")
    if monitor is not None:
        monitor.phase_start("Building", None, 4)
        monitor.phase_start("Timing", "Building", 2)
        monitor.step_complete("Timing", 0)
        monitor.phase_finish("Timing")
        assert monitor.step_complete("Building", 0)
        monitor.phase_finish("Building")
    if world.build_fails:
        return None
    magic = b"vtrt" if world.version == "rtx" else b"ftrt"
    numbers = [int(part) for part in world.number.split(".")]
    head = magic + bytes(20) + bytes([*numbers, 0, 0][:4])
    body = {"onnx": base64.b64encode(network._onnx).decode(), "profiles": world.seen["profiles"]}
    return head + json.dumps(body).encode()


def _calibrate(world: World, calibrator: Any) -> None:
    world.seen["calibration table read"] = table = calibrator.read_calibration_cache()
    world.seen["calibration sums"] = sums = []
    size = calibrator.get_batch_size()
    while table is None and (addresses := calibrator.get_batch(["image"])):
        array = world.gpu.allocations[addresses[0]]
        sums.append((size, int(array.sum())))
    if table is None:
        calibrator.write_calibration_cache(memoryview(b"table"))


def _set_flag(self: Any, flag: Any) -> None:
    self._world.seen["flags"].add(flag.name)


def _clear_flag(self: Any, flag: Any) -> None:
    self._world.seen["flags"].discard(flag.name)


def _set_pool(self: Any, pool: Any, size: int) -> None:
    self._world.seen["pools"][pool.name] = size


def _set_shape(self: Any, name: str, least: Any, best: Any, most: Any) -> None:
    self._shapes = [list(least), list(best), list(most)]


def _add_profile(self: Any, profile: Any) -> int:
    self._profiles.append(profile._shapes)
    return len(self._profiles) - 1


def _create_cache(self: Any, known: bytes) -> Any:
    return None if known == b"damaged" else _make(self._world, "ITimingCache", _known=known)


def _set_cache(self: Any, cache: Any, ignore_mismatch: bool) -> bool:
    assert ignore_mismatch is False
    self._world.seen["timing cache"] = cache._known
    return bool(cache._known != b"of another driver")


def _parser_init(self: Any, network: Any, logger: Any) -> None:
    self._network, self._logger = network, logger


def _parse(self: Any, model: bytes) -> bool:
    self._network._onnx = model
    self._network._graph = onnx.shape_inference.infer_shapes(onnx.load_from_string(model)).graph
    return not self._world.parser_says


def _get_error(self: Any, index: int) -> Any:
    node, text = self._world.parser_says[index]
    return _make(self._world, "ParserError", _node=node, _text=text, _graph=self._network._graph)


def _tensor(network: Any, value: Any) -> Any:
    world = network._world
    kinds = {TensorProto.FLOAT: "FLOAT", TensorProto.FLOAT16: "HALF", TensorProto.UINT8: "UINT8",
             TensorProto.INT8: "INT8", TensorProto.INT32: "INT32"}  # fmt: skip
    kind = kinds.get(value.type.tensor_type.elem_type, "INT32")
    dims = value.type.tensor_type.shape.dim
    shape = tuple(d.dim_value or -1 for d in dims)
    return _make(world, "ITensor", _name=value.name, _shape=shape,
                 _dtype=getattr(world.trt.DataType, kind))  # fmt: skip


def _layer(self: Any, index: int) -> Any:
    node = self._graph.node[index]
    known = {v.name: v for v in (*self._graph.value_info, *self._graph.output)}
    return _make(self._world, "ILayer", _output=_tensor(self, known[node.output[0]]))


# Running.


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
        disabled_optimizers=list(LEFT_OUT),
    )
    graph = onnx.load_from_string(model).graph
    ends = {v.name: _tensor(_make(world, "INetworkDefinition"), v)
            for v in (*graph.input, *graph.output)}  # fmt: skip
    return _make(world, "ICudaEngine", _session=session, _ends=ends)


def _create_context(self: Any) -> Any:
    return _make(self._world, "IExecutionContext", _engine_=self, _addresses={}, _shape=None,
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
        (logits,) = self._engine_._session.run(None, {"image": image.reshape(shape)})
        out = logits.astype(np.float32)
        ctypes.memmove(self._addresses["logits"], out.ctypes.data, out.nbytes)

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


def _of(name: str) -> property:
    return property(lambda self: getattr(self, name))


def _nothing(self: Any) -> None:
    """Begin an object that Python code derives from."""


BEHAVIOUR: dict[str, dict[str, Any]] = {
    "ILogger": {"__init__": _nothing},
    "IProfiler": {"__init__": _nothing},
    "IProgressMonitor": {"__init__": _nothing},
    "IInt8EntropyCalibrator2": {"__init__": _nothing},
    "Builder": {
        "__init__": _builder_init,
        "create_network": _create_network,
        "platform_has_fast_int8": property(lambda self: self._world.has_int8),
        "create_builder_config": _create_config,
        "create_optimization_profile": _create_profile,
        "build_serialized_network": _build,
    },
    "IBuilderConfig": {
        "set_flag": _set_flag,
        "clear_flag": _clear_flag,
        "set_memory_pool_limit": _set_pool,
        "add_optimization_profile": _add_profile,
        "create_timing_cache": _create_cache,
        "set_timing_cache": _set_cache,
        "set_compute_capability": lambda self, value, index: self._world.seen.update(
            {"compute capability": value.name}
        ),
        # Settable: a plain value that __setattr__ replaces.
        **dict.fromkeys(
            (
                "profiling_verbosity", "builder_optimization_level", "progress_monitor",
                "int8_calibrator", "num_compute_capabilities",
            )
        ),
    },
    "ITimingCache": {"serialize": lambda self: memoryview(b"timings after " + self._known)},
    "IOptimizationProfile": {"set_shape": _set_shape},
    "OnnxParser": {
        "__init__": _parser_init,
        "parse": _parse,
        "num_errors": property(lambda self: len(self._world.parser_says)),
        "get_error": _get_error,
    },
    "ParserError": {
        "node": lambda self: self._node,
        "desc": lambda self: self._text,
        "code": lambda self: SimpleNamespace(name=self._world.parser_code),
        "node_name": lambda self: self._graph.node[self._node].name,
        "node_operator": lambda self: self._graph.node[self._node].op_type,
    },
    "INetworkDefinition": {
        "num_inputs": property(lambda self: len(self._graph.input)),
        "num_outputs": property(lambda self: len(self._graph.output)),
        "get_input": lambda self, i: _tensor(self, self._graph.input[i]),
        "get_output": lambda self, i: _tensor(self, self._graph.output[i]),
        "num_layers": property(lambda self: len(self._graph.node)),
        "get_layer": _layer,
    },
    "ITensor": {"name": _of("_name"), "shape": _of("_shape"), "dtype": _of("_dtype")},
    "ILayer": {"num_outputs": 1, "get_output": lambda self, i: self._output},
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
        "create_engine_inspector": lambda self: _make(self._world, "EngineInspector"),
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
}  # fmt: skip


def install(world: World, patch: Callable[[str, Any], None]) -> None:
    """Make ``world`` the only TensorRT that can be imported.

    Args:
        world: The version and its GPU.
        patch: Replaces an entry of ``sys.modules`` for one test.
    """
    world.trt = module(world)
    is_rtx = world.version == "rtx"
    patch("tensorrt", None if is_rtx else world.trt)
    patch("tensorrt_rtx", world.trt if is_rtx else None)
