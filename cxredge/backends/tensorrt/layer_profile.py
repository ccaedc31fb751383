"""Where an engine's time goes, layer by layer."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cxredge.backends.tensorrt.api import Api, load_api
from cxredge.backends.tensorrt.mismatch import read_plan
from cxredge.backends.tensorrt.session import SessionOptions, TensorRTSession
from cxredge.data.images import GreyImage


@dataclass(frozen=True)
class LayerTime:
    """One layer of an engine.

    Attributes:
        name: As TensorRT calls it; fused layers have joined names.
        mean_ms: Mean over the runs. Layers are timed one by one, so their sum is more than the
            latency of the engine.
    """

    name: str
    mean_ms: float


def profile_layers(
    path: Path,
    images: GreyImage,
    runs: int = 50,
    warm_up: int = 10,
    options: SessionOptions | None = None,
) -> list[LayerTime]:
    """Return the layers of an engine, the slowest first.

    Args:
        path: The engine's file.
        images: uint8 (N, size, size), N one of the engine's batch sizes.
        runs: How many runs are averaged.
        warm_up: Runs before, without measuring.
        options: How the engine is run; CUDA graphs are left out, as they hide the layers.

    Raises:
        CxredgeError: The engine cannot be run here.
    """
    options = replace(options or SessionOptions(), cuda_graphs=False)
    profiler = make_profiler(load_api(read_plan(path).header.flavour))
    with TensorRTSession(path, options) as session:
        for _ in range(warm_up):
            session.infer(images)
        session.lane_for(len(images)).attach_profiler(profiler)
        for _ in range(runs):
            session.infer(images)
    times = [LayerTime(name, sum(ms) / runs) for name, ms in profiler.times_ms.items()]
    return sorted(times, key=lambda one: -one.mean_ms)


def make_profiler(api: Api) -> Any:
    """Return a profiler for TensorRT that keeps every time by layer in ``times_ms``."""
    trt: Any = api.trt

    class Profiler(trt.IProfiler):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)
            self.times_ms: dict[str, list[float]] = defaultdict(list)

        def report_layer_time(self, layer: str, ms: float) -> None:
            self.times_ms[layer].append(ms)

    return Profiler()
