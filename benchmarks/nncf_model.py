"""INT8 by NNCF's post-training quantization of an ONNX model; requires only nncf and onnx.

    python benchmarks/nncf_model.py FP32.onnx PIXELS.npy OUT fast|full [mixed|performance]

PIXELS is uint8 (N, S, S); ``fast`` and ``full`` select the bias correction; without a preset, NNCF
chooses one. OUT.onnx is an ONNX model; OUT.xml is an OpenVINO model, which its runtime executes
fastest, and requires openvino too.
"""

from __future__ import annotations

import os
import sys

# Before the import: these variables switch off the telemetry of NNCF, OpenVINO and ONNX Runtime.
os.environ.update(NNCF_CI="1", CI="true", ORT_DISABLE_TELEMETRY="1")

import nncf
import numpy as np
import onnx


def main() -> None:
    fp32, pixels, out, correction, *preset = sys.argv[1:]
    images = np.load(pixels)
    dataset = nncf.Dataset(images, lambda image: {"image": image[None, None]})
    settings = {
        "subset_size": len(images),
        "fast_bias_correction": correction == "fast",
        "preset": nncf.QuantizationPreset(preset[0]) if preset else None,
    }
    if out.endswith(".xml"):
        import openvino

        openvino.save_model(
            nncf.quantize(openvino.Core().read_model(fp32), dataset, **settings), out
        )
    else:
        onnx.save(nncf.quantize(onnx.load(fp32), dataset, **settings), out)


if __name__ == "__main__":
    main()
