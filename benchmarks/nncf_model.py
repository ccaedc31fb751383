"""INT8 by NNCF's post-training quantization of an ONNX model; needs nncf and onnx alone.

    python benchmarks/nncf_model.py FP32.onnx PIXELS.npy OUT.onnx fast|full

PIXELS is uint8 (N, S, S); ``fast`` and ``full`` name its bias correction.
"""

from __future__ import annotations

import os
import sys

# Before the import, which would count its use.
os.environ["OPENVINO_TELEMETRY_DISABLE"] = os.environ["CI"] = "1"

import nncf
import numpy as np
import onnx


def main() -> None:
    fp32, pixels, out, correction = sys.argv[1:]
    images = np.load(pixels)
    dataset = nncf.Dataset(images, lambda image: {"image": image[None, None]})
    quantized = nncf.quantize(
        onnx.load(fp32),
        dataset,
        subset_size=len(images),
        fast_bias_correction=correction == "fast",
    )
    onnx.save(quantized, out)


if __name__ == "__main__":
    main()
