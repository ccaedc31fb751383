"""Layers of an engine: number formats by TensorRT's inspector, times by its profiler."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

from cxredge.backends.base import LayerTime
from cxredge.backends.tensorrt.api import Api, load_api
from cxredge.backends.tensorrt.engine_file import read_engine_file
from cxredge.backends.tensorrt.facts import EngineLayer
from cxredge.backends.tensorrt.session import SessionOptions, TensorRTSession
from cxredge.data.images import GreyImage

# The inspector writes, for example, "Int8 NC/32HW32", "Half NHWC8" or "Row major linear FP32".
_FORMATS = (
    (r"int8", "int8"),
    (r"bfloat16|bf16", "bf16"),
    (r"half|fp16|float16", "fp16"),
    (r"fp32|float", "fp32"),
    (r"uint8", "uint8"),
    (r"int32|int64|bool", "other"),
)


def read_layers(api: Api, engine: Any) -> tuple[EngineLayer, ...]:
    """Return the layers of an engine."""
    trt: Any = api.trt
    inspector = engine.create_engine_inspector()
    return parse_layers(inspector.get_engine_information(trt.LayerInformationFormat.JSON))


def parse_layers(text: str) -> tuple[EngineLayer, ...]:
    """Return the layers in the inspector's output; none if it lists only names or is not JSON.

    Args:
        text: A JSON object with ``Layers``: objects if the engine was built with detailed
            verbosity, names otherwise.
    """
    try:
        entries = json.loads(text).get("Layers", [])
    except (AttributeError, ValueError):
        return ()
    return tuple(
        EngineLayer(
            name=str(entry.get("Name", "")),
            kind=str(entry.get("LayerType", "")),
            format=_format(entry.get("Outputs") or []),
        )
        for entry in entries
        if isinstance(entry, dict)
    )


def _format(outputs: list[dict[str, Any]]) -> str:
    """Return the number format of a layer's first output."""
    if not outputs:
        return "none"
    first = outputs[0]
    text = str(first.get("Format/Datatype") or first.get("Datatype") or first.get("Format") or "")
    for pattern, name in _FORMATS:
        if re.search(rf"(?<![a-z]){pattern}", text.lower()):
            return name
    return text or "unknown"


def profile_layers(
    path: Path,
    images: GreyImage,
    runs: int = 50,
    warm_up: int = 10,
    options: SessionOptions | None = None,
) -> list[LayerTime]:
    """Return the time of each layer of an engine, the slowest first.

    Args:
        path: The engine's file.
        images: uint8 (N, size, size), N one of the engine's batch sizes.
        runs: Number of runs that are averaged.
        warm_up: Number of untimed runs before.
        options: Options of the session; CUDA graphs are disabled, because they hide the layers.

    Raises:
        CxredgeError: The engine cannot be run here.
    """
    options = replace(options or SessionOptions(), cuda_graphs=False)
    profiler = make_profiler(load_api(read_engine_file(path).header.flavour))
    with TensorRTSession(path, options) as session:
        for _ in range(warm_up):
            session.infer(images)
        session.context_for(len(images)).attach_profiler(profiler)
        for _ in range(runs):
            session.infer(images)
    times = [LayerTime(name, sum(ms) / runs) for name, ms in profiler.times_ms.items()]
    return sorted(times, key=lambda one: -one.mean_ms)


def make_profiler(api: Api) -> Any:
    """Return a TensorRT profiler that collects times by layer in ``times_ms``."""
    trt: Any = api.trt

    class Profiler(trt.IProfiler):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)
            self.times_ms: dict[str, list[float]] = defaultdict(list)

        def report_layer_time(self, layer: str, ms: float) -> None:
            self.times_ms[layer].append(ms)

    return Profiler()
