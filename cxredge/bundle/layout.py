"""File names in a bundle."""

from __future__ import annotations

from collections.abc import Collection

from cxredge.vocabulary import Precision

GOLDEN_NAME = "golden.npz"
FLIPPED_NAME = "flipped.npz"
ORIENTATION_NAME = "orientation.npz"
PICTURES = frozenset({GOLDEN_NAME, FLIPPED_NAME})
"""Files with X-rays of the data set; they may be deleted before a bundle is handed on."""
PLAN_SUFFIX = ".plan"
CALIBRATION_NAME = "calibration.csv"
TYPED_INT8_NAME = "model-int8-fp16.onnx"
"""INT8 with FP16 between the quantized layers, for builders without a flag for FP16."""


def model_name(precision: Precision) -> str:
    """Return the file name of a precision's ONNX model in a bundle."""
    return f"model-{precision.value}.onnx"


def plan_name(precision: Precision) -> str:
    """Return the file name of the engine that TensorRT builds on the device."""
    return f"model-{precision.value}{PLAN_SUFFIX}"


def ahead_name(precision: Precision, compute_capability: str) -> str:
    """Return the file name of an engine that was built ahead for a compute capability."""
    return f"model-{precision.value}-sm{compute_capability.replace('.', '')}.plan"


def engine_source(precision: Precision, typed: bool, held: Collection[str] = ()) -> str:
    """Return the file name of the ONNX model that an engine is made from.

    Args:
        precision: Precision of the engine.
        typed: Whether the builder uses the types in the file only. A builder with flags converts
            the FP32 file, and the float layers of the INT8 file, to FP16; runtimes for processors
            convert FP32 to BF16.
        held: Names of the files in the bundle.
    """
    if precision is Precision.INT8 and typed and TYPED_INT8_NAME in held:
        return TYPED_INT8_NAME
    by_a_flag = precision in (Precision.BF16, Precision.FP16) and not typed
    return model_name(Precision.FP32 if by_a_flag else precision)


def engine_name(precision: Precision, backend: str) -> str:
    """Return the name of the file that a backend loads.

    ONNX Runtime and OpenVINO load the model, TensorRT an engine. OpenVINO converts FP32 to BF16 and
    FP16 on loading.
    """
    if backend == "openvino":
        return engine_source(precision, typed=False)
    return model_name(precision) if backend == "onnxruntime" else plan_name(precision)


def float_input_name(precision: Precision) -> str:
    """Return the file name of a model with float input, for runtimes without uint8 input."""
    return f"model-{precision.value}-float-input.onnx"
