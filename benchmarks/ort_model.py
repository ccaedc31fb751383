"""INT8 by ONNX Runtime's ``quantize_static``, as its documentation recommends.

    python benchmarks/ort_model.py FP32.onnx PIXELS.npy OUT.onnx tensorrt|cpu METHOD

PIXELS is uint8 (N, S, S). For TensorRT, activations are symmetric and biases stay in float, because
its parser refuses the default.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

# Before the import: loading ONNX Runtime would start its telemetry.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "percentile": CalibrationMethod.Percentile,
    "entropy": CalibrationMethod.Entropy,
}
_TENSORRT = {
    "ActivationSymmetric": True,
    "WeightSymmetric": True,
    "QuantizeBias": False,
    "AddQDQPairToWeight": True,
}


class Images(CalibrationDataReader):
    """Reader that returns one image after the other."""

    def __init__(self, pixels: np.ndarray) -> None:
        self._images = iter(pixels)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next image as the model's input, or None after the last."""
        image = next(self._images, None)
        return None if image is None else {"image": image[None, None]}


def main() -> None:
    fp32, pixels, out, dialect, method = sys.argv[1:]
    tensorrt = dialect == "tensorrt"
    quantize_static(
        Path(fp32),
        Path(out),
        Images(np.load(pixels)),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QInt8 if tensorrt else QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=METHODS[method],
        extra_options=_TENSORRT if tensorrt else {},
    )


if __name__ == "__main__":
    main()
