"""What the files of a bundle are called."""

from __future__ import annotations

from collections.abc import Collection

from cxredge.vocabulary import Precision

GOLDEN_NAME = "golden.npz"
CALIBRATION_NAME = "calibration.csv"
TYPED_INT8_NAME = "model-int8-fp16.onnx"
"""INT8 with FP16 between the integers, for builders that have no flag for it."""


def model_name(precision: Precision) -> str:
    """Return the file name of a precision's ONNX model in a bundle."""
    return f"model-{precision.value}.onnx"


def plan_name(precision: Precision) -> str:
    """Return the file name of the engine that TensorRT made of a precision on the device."""
    return f"model-{precision.value}.plan"


def ahead_name(precision: Precision, compute_capability: str) -> str:
    """Return the file name of an engine that was built ahead for a compute capability."""
    return f"model-{precision.value}-sm{compute_capability.replace('.', '')}.plan"


def engine_source(precision: Precision, typed: bool, held: Collection[str] = ()) -> str:
    """Return the file name of the ONNX model that an engine is made from.

    Args:
        precision: Of the engine.
        typed: Whether the builder goes by the types in the file alone. One with flags makes FP16
            of the FP32 file, and of what INT8 leaves in float, as processors' runtimes make BF16.
        held: Names of the files that there are.
    """
    if precision is Precision.INT8 and typed and TYPED_INT8_NAME in held:
        return TYPED_INT8_NAME
    by_a_flag = precision in (Precision.BF16, Precision.FP16) and not typed
    return model_name(Precision.FP32 if by_a_flag else precision)


def engine_name(precision: Precision, backend: str) -> str:
    """Return the file name of what a backend loads.

    ONNX Runtime loads the model, OpenVINO too but reduces FP32 itself, TensorRT an engine.
    """
    if backend == "openvino":
        return engine_source(precision, typed=False)
    return model_name(precision) if backend == "onnxruntime" else plan_name(precision)


def float_input_name(precision: Precision) -> str:
    """Return the file name of a model with float input, for runtimes without uint8 inputs."""
    return f"model-{precision.value}-float-input.onnx"
