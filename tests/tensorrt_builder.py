"""Parser and builder of TensorRT for RTX; building requires no GPU."""

from __future__ import annotations

from typing import Any

import onnx
import pytest


def built_bytes(model: onnx.ModelProto) -> tuple[int, list[str]]:
    """Return the size of the plan, and errors and warnings of parser and builder."""
    trt: Any = pytest.importorskip("tensorrt_rtx", reason="needs the rtx extra")
    heard: list[str] = []

    class Listener(trt.ILogger):  # type: ignore[misc]
        def log(self, severity: Any, message: str) -> None:
            if severity in (severity.INTERNAL_ERROR, severity.ERROR, severity.WARNING):
                heard.append(message)

    logger = Listener()
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model.SerializeToString()):
        return 0, [*(parser.get_error(i).desc() for i in range(parser.num_errors)), *heard]
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM86, 0)
    profile = builder.create_optimization_profile()
    shape = network.get_input(0).shape
    profile.set_shape("image", *[(n, *tuple(shape)[1:]) for n in (1, 4, 8)])
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    return (len(bytes(plan)) if plan else 0), heard
