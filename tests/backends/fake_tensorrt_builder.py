"""Builder of the fake TensorRT, from parser to plan."""

from __future__ import annotations

import base64
import json
from types import SimpleNamespace
from typing import Any

import onnx

from tests.backends.fake_tensorrt_world import World, make, tensor


def _builder_init(self: Any, logger: Any) -> None:
    if not self._world.has_driver:
        raise TypeError("pybind11::init(): factory function returned nullptr")
    self._logger = logger


def _create_network(self: Any, flags: int) -> Any:
    world = self._world
    kinds = world.trt.NetworkDefinitionCreationFlag
    world.seen["network flags"] = {kind.name for kind in kinds if flags >> int(kind) & 1}
    world.network = make(world, "INetworkDefinition")
    return world.network


def _create_config(self: Any) -> Any:
    world = self._world
    world.seen.update({"flags": {"TF32"}, "profiles": [], "pools": {}})
    return make(world, "IBuilderConfig", _profiles=world.seen["profiles"])


def _create_profile(self: Any) -> Any:
    return make(self._world, "IOptimizationProfile")


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
    return None if known == b"damaged" else make(self._world, "ITimingCache", _known=known)


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
    return make(self._world, "ParserError", _node=node, _text=text, _graph=self._network._graph)


def _layer(self: Any, index: int) -> Any:
    node = self._graph.node[index]
    known = {v.name: v for v in (*self._graph.value_info, *self._graph.output)}
    return make(self._world, "ILayer", _output=tensor(self, known[node.output[0]]))


BUILDING: dict[str, dict[str, Any]] = {
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
        "get_input": lambda self, i: tensor(self, self._graph.input[i]),
        "get_output": lambda self, i: tensor(self, self._graph.output[i]),
        "num_layers": property(lambda self: len(self._graph.node)),
        "get_layer": _layer,
    },
    "ILayer": {"num_outputs": 1, "get_output": lambda self, i: self._output},
}  # fmt: skip
